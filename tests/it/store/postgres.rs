//! PostgreSQL as a place for the suite, and what only holds for it: a database that others may open, and the key beside it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Cluster, FAST, Stop};
use postcall::model::secret::Credential;
use postcall::model::{Outcome, Rights, Secret, Step};
use postcall::store::postgres::{Options, PostgresStore};
use postcall::store::{Maintenance, Store, StoreError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use super::divided::no_row_says_another_account;
use super::scene::{Fixture, Scene, new_key, says, some_time, source};
use crate::database::Database;
use crate::home::over_postgres;

const ENDED: Step = Step::Ended(Outcome::Completed);
/// So small that the suite meets it.
const QUARANTINE_QUOTA: i64 = 3;

/// A database, and a data directory for the key.
pub struct Postgres {
    pub database: Database,
    pub data: TempDir,
}

impl Postgres {
    /// Another node on the same database.
    pub fn join(&self) -> Arc<dyn Store> {
        open(&self.database, self.data.path()).unwrap()
    }
}

pub fn open(database: &Database, data: &Path) -> Result<Arc<dyn Store>, String> {
    over_postgres(&database.url(), data, QUARANTINE_QUOTA)
}

/// Tables with a row for each account or node: few, and in the cache.
const SMALL: &[&str] = &["accounts", "nodes", "migrations", "meta"];

impl Fixture for Postgres {
    const GIVES_BACK_BY_A_CHORE: bool = true;
    const PASSES_OVER: bool = false;
    const CASES_OF: u32 = 4;

    async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        Self { database: Database::new(), data }
    }

    async fn open(&mut self) -> Arc<dyn Store> {
        open(&self.database, self.data.path()).unwrap()
    }

    async fn reopen(&mut self) -> Arc<dyn Store> {
        self.database.orphan();
        self.database.end_leases();
        let store = self.open().await;
        // So early that by its time nothing is due.
        store.maintain(some_time()).await.unwrap();
        store
    }

    fn sql(&self, statement: &str) {
        self.database.sql(statement);
    }

    /// In any row of any table.
    fn holds(&self, needle: &[u8]) -> bool {
        holds(&dump(&self.database), needle)
    }

    fn check(&self) {
        // Plans are kept, and a table that is empty in a test has millions of rows one day.
        if let Some(walked) = self.database.walked_over(SMALL) {
            assert_eq!(walked, "", "statements walked over whole tables (name|walks|rows)");
        }
        no_row_says_another_account(&self.database);
    }
}

/// Everything in a database as text, bytes in hex.
pub fn dump(database: &Database) -> String {
    let tables = database.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'");
    tables.lines().map(|table| database.sql(&format!("SELECT t FROM \"{table}\" t"))).collect()
}

fn holds(dump: &str, needle: &[u8]) -> bool {
    let hex = data_encoding::HEXLOWER.encode(needle);
    dump.contains(&hex) || std::str::from_utf8(needle).is_ok_and(|text| dump.contains(text))
}

#[tokio::test]
async fn secrets_cannot_be_read_in_the_tables() {
    let scene = Scene::<Postgres>::new().await;
    let secrets =
        ["whsec_QUIET", "Bearer-QUIET-0123", "token-QUIET", "X-Api-QUIET", "user:QUIET@", "shown-QUIET"];
    let [secret, bearer, token, header, user, shown] = secrets;
    let credential =
        Credential { bearer_token: Some(Secret::new(bearer)), ..Credential::of_secret(Secret::new(secret)) };
    let mut door = source(scene.account);
    door.credential = credential.clone();
    door.url_token = Some(Secret::new(token));
    scene.store.put_source(door, None).await.unwrap();
    let change = |endpoint: &mut postcall::model::Endpoint| {
        endpoint.url = format!("https://{user}crm.example/");
        endpoint.headers = vec![("X-Key".to_owned(), header.to_owned())];
        endpoint.credential = credential;
    };
    scene.endpoint(change).await;
    let (store, key) = (scene.store.clone(), b"k".to_vec());
    store.begin_idempotent(scene.account, key.clone(), [7; 32], scene.now).await.unwrap();
    store.finish_idempotent(scene.account, key, Some((201, shown.as_bytes().to_vec()))).await.unwrap();
    let key = "pk_QUIET_api_key";
    let hash = postcall::store::vault::hash_api_key(key);
    store.create_key(new_key(scene.account, "visible name", Rights::ALL, hash)).await.unwrap();
    scene.step("visible call", Step::Ended(Outcome::Completed)).await;

    let dump = dump(&scene.place.database);
    assert!(holds(&dump, b"visible call") && holds(&dump, b"visible name"), "it is the right place to look");
    for secret in secrets.iter().chain([&key]) {
        assert!(!holds(&dump, secret.as_bytes()), "{secret} lies open");
        let encoded = data_encoding::BASE64.encode(secret.as_bytes());
        assert!(!holds(&dump, encoded.trim_end_matches('=').as_bytes()), "{secret} lies open, encoded");
    }
    assert!(
        !dump.is_empty()
            && !holds(&dump, &std::fs::read(scene.place.data.path().join("master.key")).unwrap())
    );
    scene.finish().await;
}

#[tokio::test]
async fn another_key_opens_nothing() {
    let mut scene = Scene::<Postgres>::new().await;
    let database = &scene.place.database;
    let other = tempfile::tempdir().unwrap();
    let refused = open(database, other.path()).err().unwrap();
    assert!(refused.contains("master.key"), "{refused}");
    assert!(!other.path().join("master.key").exists(), "no new one stands in the way of the old one");
    std::fs::write(other.path().join("master.key"), [7; 32]).unwrap();
    let refused = open(database, other.path()).err().unwrap();
    assert!(refused.contains("master.key"), "{refused}");
    std::fs::copy(scene.place.data.path().join("master.key"), other.path().join("master.key")).unwrap();
    let second = open(database, other.path()).unwrap();
    assert_eq!(second.config(scene.account).unwrap().sources.len(), 1);
    second.close().await.unwrap();
    scene.crash().await;
    assert_eq!(scene.store.config(scene.account).unwrap().sources.len(), 1);
    scene.finish().await;
}

/// What is not there cannot be written, and everybody who asks is told so.
#[tokio::test]
async fn a_table_that_is_gone_makes_a_node_unready_over_postgres() {
    let scene = Scene::<Postgres>::new().await;
    assert_eq!(scene.store.ready().await, Ok(()));
    scene.place.sql("ALTER TABLE calls RENAME TO elsewhere");
    let refused = scene.try_commit(vec![scene.incoming(says("a", ENDED))], Vec::new()).await;
    assert!(matches!(refused, Err(StoreError::Damaged(_))), "{refused:?}");
    assert!(matches!(scene.store.ready().await, Err(StoreError::Damaged(_))));
    assert!(scene.store.trouble().is_damaged);
    scene.place.sql("ALTER TABLE elsewhere RENAME TO calls");
    scene.hear([says("a", ENDED)]).await;
    scene.finish().await;
}

#[tokio::test]
async fn what_cannot_be_reached_is_said_in_a_sentence() {
    let data = tempfile::tempdir().unwrap();
    let database = Database::new();
    let url = database.url();
    let wrong_password =
        url.replacen("postgres:", "postgres:not-", 2).replacen("postgres:not-//", "postgres://", 1);
    let (server, _) = url.rsplit_once('/').unwrap();
    let elsewhere = "postgres://postgres:secret@127.0.0.1:1/books";
    for wrong in ["nonsense", &wrong_password, &format!("{server}/nowhere"), elsewhere] {
        let refused = over_postgres(wrong, data.path(), QUARANTINE_QUOTA).err().unwrap();
        assert!(refused.len() > 20 && refused.contains(' '), "{refused}");
        let password = wrong.split(['@', ':']).nth(2).unwrap_or("no password");
        assert!(!refused.contains(password), "a password is not for the log: {refused}");
    }
}

#[tokio::test]
async fn the_tables_of_a_newer_postcall_are_left_alone() {
    let scene = Scene::<Postgres>::new().await;
    let Postgres { database, data } = &scene.place;
    // One that this program can work beside, and then one that it cannot.
    database.sql("INSERT INTO migrations (version, reads_from) VALUES (1000, 1)");
    open(database, data.path()).unwrap().close().await.unwrap();
    database.sql("INSERT INTO migrations (version, reads_from) VALUES (1001, 1001)");
    let refused = open(database, data.path()).err().unwrap();
    assert!(refused.contains("newer postcall"), "{refused}");
    scene.finish().await;
}

/// Citus is not at hand: its list of schemas is made as it makes it (citus--11.3-1--12.0-1.sql).
#[tokio::test]
async fn a_schema_that_citus_distributes_is_refused() {
    let scene = Scene::<Postgres>::new().await;
    let Postgres { database, data } = &scene.place;
    database.sql(
        "SET allow_system_table_mods = on;
         CREATE TABLE pg_catalog.pg_dist_schema (schemaid oid PRIMARY KEY, colocationid int NOT NULL UNIQUE);
         CREATE SCHEMA cell_7;
         INSERT INTO pg_catalog.pg_dist_schema SELECT oid, 1 FROM pg_namespace WHERE nspname = 'cell_7'",
    );
    let in_schema = |name: &str| {
        let url = database.url();
        let url = format!("{url}{}options=-csearch_path%3D{name}", if url.contains('?') { '&' } else { '?' });
        over_postgres(&url, data.path(), QUARANTINE_QUOTA)
    };
    let refused = in_schema("cell_7").err().expect("it is refused");
    assert!(refused.contains("the schema cell_7") && refused.contains("docs/scale.md"), "{refused}");
    assert_eq!(database.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'cell_7'").trim(), "0");
    in_schema("public").expect("another one is not").close().await.unwrap();
    scene.finish().await;
}

/// With TLS the server's certificate must be good for its name, by a root that we were told to trust.
#[tokio::test(flavor = "multi_thread")]
async fn the_way_to_the_database_is_encrypted_and_checked() {
    let authority = {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let server = Cluster::start(FAST).unwrap();
    for (name, content) in [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())] {
        let path = server.data().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let owner = std::fs::metadata(server.data()).unwrap();
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    server.set("ssl", "on").unwrap();
    server.restart(Stop::Fast).unwrap();
    let data = tempfile::tempdir().unwrap();
    let open = |mode: &str, roots: Option<String>| {
        let url = format!("{}?sslmode={mode}", server.url("postgres"));
        let options = Options {
            quarantine_quota: 1,
            lease: Duration::from_secs(60),
            name: "test".to_owned(),
            roots: roots.map(String::into_bytes),
        };
        PostgresStore::open(&url, data.path(), options)
    };
    let stranger = open("require", None).err().expect("nobody vouches for it");
    assert!(stranger.contains("certificate"), "{stranger}");
    let store = open("require", Some(authority.pem())).unwrap();
    let encrypted = "SELECT count(*) > 3 AND bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE application_name = 'postcall'";
    assert_eq!(server.sql("postgres", encrypted).unwrap().trim(), "t");
    store.close().await.unwrap();
}
