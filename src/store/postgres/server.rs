//! The way to the server: its URL, TLS under the roots that the house trusts, and the check that its tables were sealed
//! under our key. Refuses to know what is asked of it.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::Host;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::sharding_check;
use crate::store::StoreError;
use crate::store::sql::{self, Connection, OptionalExtension, Wire, params};
use crate::store::vault::Vault;

/// How long a connection may take to come about.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long the network may be silent before a connection counts as gone.
const NETWORK_PATIENCE: Duration = Duration::from_secs(8);

/// How connections are made.
#[derive(Clone)]
pub struct Server {
    config: Arc<Config>,
    tls: MakeRustlsConnect,
}

impl Server {
    /// Reads a URL such as `postgres://user:password@host:5432/database?sslmode=require`. Wherever TLS is used, the
    /// certificate must be good for the host. `roots` are trusted beside the public ones.
    ///
    /// # Errors
    /// A sentence for the operator; it never shows the password.
    pub fn new(url: &str, roots: Option<&[u8]>) -> Result<Self, String> {
        let mut config: Config = url
            .parse()
            .map_err(|error| format!("the database URL cannot be read: {error}. Write it like postgres://user:password@host:5432/database"))?;
        config.application_name("postcall");
        config.connect_timeout(CONNECT_PATIENCE);
        config.tcp_user_timeout(NETWORK_PATIENCE);
        config.keepalives_idle(NETWORK_PATIENCE);
        config.keepalives_interval(Duration::from_secs(2));
        config.keepalives_retries(3);
        let mut trusted = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for certificate in roots.into_iter().flat_map(CertificateDer::pem_slice_iter) {
            let certificate =
                certificate.map_err(|error| format!("a root certificate cannot be read: {error}"))?;
            trusted
                .add(certificate)
                .map_err(|error| format!("a root certificate cannot be used: {error}"))?;
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(trusted)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config), tls: MakeRustlsConnect::new(tls) })
    }

    /// A new connection.
    pub fn open(&self) -> sql::Result<Connection> {
        Ok(Connection::Postgres(Box::new(Wire::connect(&self.config, &self.tls, sharding_check::check)?)))
    }

    /// The settings, for a connection that listens.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The TLS settings.
    pub fn tls(&self) -> MakeRustlsConnect {
        self.tls.clone()
    }

    /// Where it leads, without the password.
    pub fn place(&self) -> String {
        let ports = self.config.get_ports();
        let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        let host = |(at, host): (usize, &Host)| match host {
            Host::Tcp(name) => format!("{name}:{}", port(at)),
            Host::Unix(path) => path.display().to_string(),
        };
        let hosts: Vec<String> = self.config.get_hosts().iter().enumerate().map(host).collect();
        format!("{} at {}", self.config.get_dbname().unwrap_or("postgres"), hosts.join(", "))
    }
}

/// Refuses a schema that Citus keeps whole on a machine of its own choice: statements of several commands, and those that ask
/// for the time, do not reach it there. `pg_dist_schema` is where Citus lists them, from version 12 on.
pub fn check_schema(db: &Connection) -> Result<(), StoreError> {
    let has_list = "SELECT 1 WHERE to_regclass('pg_catalog.pg_dist_schema') IS NOT NULL";
    if !db.prepare_cached(has_list)?.exists(())? {
        return Ok(());
    }
    let listed =
        "SELECT nspname::TEXT FROM pg_namespace JOIN pg_catalog.pg_dist_schema ON schemaid = pg_namespace.oid
         WHERE nspname = current_schema()";
    let name: Option<String> = db.prepare_cached(listed)?.query_row((), |row| row.get(0)).optional()?;
    match name {
        None => Ok(()),
        Some(name) => Err(StoreError::Unavailable(format!(
            "the schema {name} is one that Citus distributes, and postcall does not run in such a schema. Use a schema that is \
             not distributed; to divide accounts over databases, run an installation for each (docs/scale.md)"
        ))),
    }
}

/// Refuses to work under another key than the data was sealed with.
pub fn check_key(db: &Connection, vault: &Vault) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING",
        params!["key check", vault.seal(b"postcall")],
    )?;
    let sealed: Option<Vec<u8>> = db
        .prepare_cached("SELECT value FROM meta WHERE name = ?")?
        .query_row(["key check"], |row| row.get(0))
        .optional()?;
    let opens = sealed.is_some_and(|sealed| vault.open(&sealed).is_ok());
    if opens {
        return Ok(());
    }
    Err(StoreError::Unavailable(
        "the data was sealed under another master.key than the one in the data directory; every node needs the same one"
            .to_owned(),
    ))
}
