//! The tables of the embedded store, most of them next to their room, and the way from an older set of them to today's.
//! Refuses to know what the rows mean.

use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::store::analytics::rollups;
use crate::store::batches::{batch_rows, schedule};
use crate::store::calls::tombstones;
use crate::store::config::{accounts, api_keys, limits};
use crate::store::deliveries::{deferral_rows, replays};
use crate::store::lifetime::transcripts;
use crate::store::records::erase;
use crate::store::transfer::{batches, import_line};
use crate::store::tx::watermarks;

/// Every migration, oldest first; `user_version` counts those that were applied. Never edit one that was released.
const MIGRATIONS: &[&str] = &[
    r"
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

-- The head of an account hands out its numbers; position is the feed's, contiguous and in commit order.
CREATE TABLE accounts (
    account INTEGER PRIMARY KEY, tag INTEGER NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    position INTEGER NOT NULL DEFAULT 0, calls INTEGER NOT NULL DEFAULT 0, deliveries INTEGER NOT NULL DEFAULT 0,
    quarantined INTEGER NOT NULL DEFAULT 0, sources INTEGER NOT NULL DEFAULT 0,
    endpoints INTEGER NOT NULL DEFAULT 0, keys INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE api_keys (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, admin INTEGER NOT NULL, hash BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL, revoked_at INTEGER
);
CREATE TABLE sources (
    id INTEGER PRIMARY KEY, dialect TEXT NOT NULL, sealed BLOB NOT NULL, created_at INTEGER NOT NULL,
    deleted_at INTEGER, in_quarantine INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE endpoints (
    id INTEGER PRIMARY KEY, revision INTEGER NOT NULL, sealed BLOB NOT NULL, disabled TEXT,
    created_at INTEGER NOT NULL, deleted_at INTEGER, swept INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX endpoints_to_sweep ON endpoints (id) WHERE deleted_at IS NOT NULL AND swept = 0;
-- What shapes a body, for as long as a delivery may point to it.
CREATE TABLE shapes (
    endpoint INTEGER NOT NULL, revision INTEGER NOT NULL, dialect TEXT NOT NULL, shape TEXT NOT NULL,
    PRIMARY KEY (endpoint, revision)
) WITHOUT ROWID;
-- owed = delivered + pending + dead + cancelled, counted at each transition.
CREATE TABLE endpoint_sums (
    endpoint INTEGER PRIMARY KEY, owed INTEGER NOT NULL, delivered INTEGER NOT NULL, pending INTEGER NOT NULL,
    dead INTEGER NOT NULL, cancelled INTEGER NOT NULL
);

-- The record of a call is the snapshot in its last event, unless a renewed URL made it differ (then it is here).
CREATE TABLE calls (
    id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, source INTEGER NOT NULL, vendor_id BLOB NOT NULL,
    outcome INTEGER, event INTEGER NOT NULL, marks BLOB NOT NULL, record BLOB, updated_at INTEGER NOT NULL
);
CREATE INDEX calls_by_hash ON calls (hash);
CREATE INDEX calls_by_outcome ON calls (outcome, id) WHERE outcome IS NOT NULL;
CREATE TABLE batches (
    source INTEGER NOT NULL, vendor_id BLOB NOT NULL, completed INTEGER NOT NULL, failed INTEGER NOT NULL,
    PRIMARY KEY (source, vendor_id)
) WITHOUT ROWID;

-- Append-only. previous chains the events of one call; the deliveries of an event are numbered in a row.
CREATE TABLE events (
    id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, at INTEGER NOT NULL, source INTEGER, call INTEGER,
    previous INTEGER, test INTEGER NOT NULL, first_delivery INTEGER NOT NULL, deliveries INTEGER NOT NULL,
    body BLOB NOT NULL
);

-- Open deliveries: state 0 claimable, 1 waiting for an earlier one of the same call, 2 owned by this process.
CREATE TABLE open (
    id INTEGER PRIMARY KEY, endpoint INTEGER NOT NULL, event INTEGER NOT NULL, call INTEGER,
    revision INTEGER NOT NULL, state INTEGER NOT NULL, due INTEGER NOT NULL, tries INTEGER NOT NULL, attempts BLOB
);
CREATE INDEX open_due ON open (endpoint, due, id) WHERE state = 0;
CREATE INDEX open_order ON open (call, endpoint, id) WHERE call IS NOT NULL;
CREATE INDEX open_by_endpoint ON open (endpoint, id);
-- The body as first sent, from the first failed attempt on until it is delivered or called off.
CREATE TABLE bodies (delivery INTEGER PRIMARY KEY, body BLOB NOT NULL);
-- Settled deliveries, append-only but for retries by hand: state 1 delivered, 2 dead, 3 cancelled.
CREATE TABLE settled (
    id INTEGER PRIMARY KEY, endpoint INTEGER NOT NULL, event INTEGER NOT NULL, revision INTEGER NOT NULL,
    state INTEGER NOT NULL, attempts BLOB
);
-- Each row is in one of the two.
CREATE INDEX settled_delivered ON settled (endpoint, id) WHERE state = 1;
CREATE INDEX settled_otherwise ON settled (endpoint, state, id) WHERE state <> 1;

CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, received_at INTEGER NOT NULL, reason TEXT NOT NULL,
    content_type TEXT, body BLOB NOT NULL
);
CREATE TABLE idempotency (
    account INTEGER NOT NULL, name BLOB NOT NULL, fingerprint BLOB NOT NULL, created_at INTEGER NOT NULL,
    status INTEGER, sealed BLOB, PRIMARY KEY (account, name)
) WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (created_at);
",
    r"
-- retention in microseconds, NULL is for ever; the account is looked at when purge_at comes. The feed up to position
-- purged is gone. slot_ends is the newest slot's.
ALTER TABLE accounts ADD COLUMN retention INTEGER;
ALTER TABLE accounts ADD COLUMN purge_at INTEGER;
ALTER TABLE accounts ADD COLUMN purged INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN slot_ends INTEGER NOT NULL DEFAULT 0;
CREATE INDEX accounts_to_purge ON accounts (purge_at) WHERE purge_at IS NOT NULL;
-- When events were recorded, for whole slots of time: from position first on it was before ends.
CREATE TABLE slots (
    account INTEGER NOT NULL, ends INTEGER NOT NULL, first INTEGER NOT NULL, PRIMARY KEY (account, ends)
) WITHOUT ROWID;
-- The settled deliveries that are gone; with the rows that are there they make up the sums.
CREATE TABLE purged (
    endpoint INTEGER PRIMARY KEY, delivered INTEGER NOT NULL, dead INTEGER NOT NULL, cancelled INTEGER NOT NULL
);
",
    r"
-- Calls by the upper half of their hash. The calls of an account up to calls_filed are in it, later ones may be.
CREATE TABLE call_hashes (hash INTEGER NOT NULL, call INTEGER NOT NULL, PRIMARY KEY (hash, call)) WITHOUT ROWID;
INSERT INTO call_hashes SELECT hash >> 32, id FROM calls INDEXED BY calls_by_hash ORDER BY hash;
DROP INDEX calls_by_hash;
ALTER TABLE accounts ADD COLUMN calls_filed INTEGER NOT NULL DEFAULT 0;
UPDATE accounts SET calls_filed = calls;
",
    erase::TABLES,
    transcripts::COLUMNS,
    import_line::COLUMNS,
    batch_rows::TABLES,
    rollups::TABLES,
    replays::TABLES,
    deferral_rows::TABLES,
    accounts::NODES,
    batches::COLUMNS,
    schedule::TABLES,
    watermarks::COLUMNS,
    api_keys::RIGHTS,
    tombstones::TABLES,
    limits::COLUMNS,
    deferral_rows::BY_SNAPSHOT,
];

/// How long a statement waits for another connection.
pub const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// Settings that every connection needs. WAL and full synchronous: a commit is on disk when it returns. What is deleted
/// is overwritten where that costs no further page; an erasure sees to the others.
pub fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = 0; PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -65536; PRAGMA mmap_size = 0;
         PRAGMA secure_delete = FAST;",
    )?;
    // Without this guarantee SQLite plans some statements anew each time they are run, in case the value of a parameter
    // makes a partial index usable.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.busy_timeout(BUSY_PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}

/// Brings the tables up to date.
///
/// # Errors
/// When the file was written by a newer postcall, or SQLite refuses.
pub fn migrate(connection: &mut Connection) -> Result<(), String> {
    let trouble = |error: rusqlite::Error| error.to_string();
    let applied: u32 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(trouble)?;
    let applied = usize::try_from(applied).unwrap_or(usize::MAX);
    if applied > MIGRATIONS.len() {
        return Err(format!(
            "the data was written by a newer postcall (schema {applied}, this one knows {})",
            MIGRATIONS.len()
        ));
    }
    for (version, migration) in (1u32..).zip(MIGRATIONS).skip(applied) {
        let transaction = connection.transaction().map_err(trouble)?;
        transaction.execute_batch(migration).map_err(trouble)?;
        transaction.pragma_update(None, "user_version", version).map_err(trouble)?;
        transaction.commit().map_err(trouble)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountKey, Rights};
    use crate::store::layout::keys::pack;

    /// Keys of an older store can do what they could, and no answer that it kept is there any more.
    #[test]
    fn older_keys_keep_their_rights_and_older_answers_are_forgotten() {
        let mut db = Connection::open_in_memory().unwrap();
        let before = MIGRATIONS.iter().position(|migration| *migration == api_keys::RIGHTS).unwrap();
        db.execute_batch(&MIGRATIONS[..before].concat()).unwrap();
        db.pragma_update(None, "user_version", u32::try_from(before).unwrap()).unwrap();
        for (number, admin) in [(1, true), (2, false)] {
            let key = pack(AccountKey::DEFAULT, number);
            db.execute(
                "INSERT INTO api_keys (id, name, admin, hash, created_at) VALUES (?, 'k', ?, ?, 0)",
                rusqlite::params![key, admin, [u8::try_from(number).unwrap(); 32]],
            )
            .unwrap();
        }
        db.execute_batch(
            "INSERT INTO idempotency (account, name, fingerprint, created_at, status, sealed) VALUES
             (1, x'01', x'', 0, 201, x'00'), (1, x'02', x'', 0, NULL, NULL);",
        )
        .unwrap();
        migrate(&mut db).unwrap();
        let left: i64 = db
            .query_row("SELECT SUM(name = x'02') * COUNT(*) FROM idempotency", [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, 1, "what was under way goes on");
        let db = crate::store::sql::Connection::Sqlite(db);
        let rights = |hash| api_keys::find(&db, &[hash; 32]).unwrap().unwrap().rights;
        assert_eq!((rights(1), rights(2)), (Rights::ALL, Rights::PLAIN));
        let key = api_keys::find(&db, &[2; 32]).unwrap().unwrap();
        assert_eq!((key.expires_at, key.last_used_at), (None, None));
    }

    /// Calls of an older store are found afterwards.
    #[test]
    fn the_index_of_calls_moves() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch(&MIGRATIONS[..2].concat()).unwrap();
        db.pragma_update(None, "user_version", 2).unwrap();
        db.execute_batch(
            "INSERT INTO accounts (account, tag, name, created_at, calls) VALUES (1, 1, 'one', 0, 3);
             INSERT INTO calls (id, hash, source, vendor_id, event, marks, updated_at) VALUES
             (10, -1, 1, x'', 1, x'', 0), (11, 9223372036854775807, 1, x'', 1, x'', 0), (12, 4294967296, 1, x'', 1, x'', 0);",
        )
        .unwrap();
        migrate(&mut db).unwrap();
        let db = crate::store::sql::Connection::Sqlite(db);
        for (hash, call) in [(-1, 10), (i64::MAX, 11), (4_294_967_296, 12)] {
            assert_eq!(crate::store::calls::index::filed(&db, hash, call), Ok(vec![call]));
        }
        let filed = db.sqlite().query_row("SELECT calls_filed FROM accounts", [], |row| row.get::<_, i64>(0));
        assert_eq!(filed, Ok(3));
    }
}
