//! Every column of numbers that a store keeps, with who sees to it that its numbers can be: at an import, where an import brings
//! it, and when something loops over it, allocates by it or converts it. Fails for a column that is not in the table, so that
//! whoever adds one says who checks it. Refuses to know what the numbers mean.

use std::collections::BTreeSet;

use super::postgres::Postgres;
use super::scene::{Fixture, Scene};
use super::sqlite::Sqlite;

/// Where the numbers of a column come from, and who checks them.
enum From {
    /// The key or number of a record. At an import `Arriving::number` holds it to what its account has handed out; a number
    /// that does not fit a key reaches no other account (`keys::pack`), and nothing loops over it.
    Record,
    /// The store alone writes it: an import cannot say it. A damaged one costs its own record, as `read` says.
    Store {
        /// What a damaged one comes to.
        read: &'static str,
    },
    /// An import brings it.
    Import {
        /// Who refuses one that cannot be.
        checked: &'static str,
        /// What a damaged one comes to.
        read: &'static str,
    },
}
use From::{Import, Record, Store};

/// A moment: compared, shown, and added to without overflow (`Time::after`).
const MOMENT: &str = "compared and shown; `Time::after` does not overflow";
/// Read as one of a few values.
const CODE: &str = "a code: an unknown one is damage, or the last of the known ones";
const SHOWN: &str = "shown, and added to in one statement";
const SPAN: &str = "`retention::length`: nothing for what is negative; added by `Time::after`";
const SAID: From = Import { checked: "`Time` of its line", read: MOMENT };
const TIME: From = Store { read: MOMENT };
const SUM: From = Store { read: SHOWN };
const FLAG: From = Store { read: CODE };
const WORD: From = Import { checked: "a word of its line, parsed", read: CODE };
/// A head hands out numbers.
const HEAD: From =
    Import { checked: "`plausible::misfit`", read: "`Head::of` refuses what leaves no room in a key" };
const HASH: From = Store { read: "compared" };

const NUMBERS: &[(&str, &[(&str, From)])] = &[
    (
        "accounts",
        &[
            ("account", Record),
            (
                "tag",
                Import {
                    checked: "40 bits of an id; taken over for admins alone",
                    read: "`Tag::from_random` masks",
                },
            ),
            ("origin", Import { checked: "40 bits of an id", read: "`Tag::from_random` masks" }),
            ("created_at", SAID),
            ("position", HEAD),
            ("calls", HEAD),
            ("deliveries", HEAD),
            ("quarantined", Store { read: "`Head::of` refuses what leaves no room in a key" }),
            ("sources", HEAD),
            ("endpoints", HEAD),
            (
                "batches",
                Import { checked: "`plausible::misfit`", read: "`batches::open` is full past LAST_BATCH" },
            ),
            ("replays", HEAD),
            ("keys", SUM),
            ("erasures", SUM),
            ("retention", Import { checked: "`plausible::misfit`", read: SPAN }),
            ("transcript_retention", Import { checked: "`plausible::misfit`", read: SPAN }),
            ("repeat_memory", Import { checked: "`plausible::misfit`", read: SPAN }),
            ("purge_at", TIME),
            ("transcripts_at", TIME),
            ("tombstones_at", TIME),
            ("retention_set_at", TIME),
            ("imported_at", TIME),
            ("slot_ends", TIME),
            (
                "purged",
                Import {
                    checked: "`plausible::misfit`: no further than position",
                    read: "steps of a few rows",
                },
            ),
            ("purged_deliveries", Store { read: "an edge: compared" }),
            (
                "transcripts_gone",
                Import {
                    checked: "`plausible::misfit`: no further than position",
                    read: "steps of a few rows",
                },
            ),
            ("calls_filed", Store { read: "compared" }),
            ("call_credit", Import { checked: "`plausible::misfit`", read: SHOWN }),
            ("importing", FLAG),
            ("tombstones", SUM),
            ("endpoint_limit", Store { read: "`limits::read`: the usual one for what does not fit" }),
            ("source_limit", Store { read: "`limits::read`: the usual one for what does not fit" }),
            ("key_limit", Store { read: "`limits::read`: the usual one for what does not fit" }),
            ("revision", Store { read: "compared" }),
        ],
    ),
    (
        "api_keys",
        &[
            ("id", Record),
            ("admin", FLAG),
            ("rights", FLAG),
            ("created_at", TIME),
            ("revoked_at", TIME),
            ("expires_at", TIME),
            ("last_used_at", TIME),
        ],
    ),
    ("sources", &[("id", Record), ("created_at", SAID), ("deleted_at", SAID), ("in_quarantine", SUM)]),
    (
        "endpoints",
        &[
            ("id", Record),
            (
                "revision",
                Import { checked: "`moving_settings::check_shapes`", read: "finds a shape, or none" },
            ),
            ("created_at", SAID),
            ("deleted_at", SAID),
            ("swept", FLAG),
            (
                "of_batch",
                Import { checked: "true or false, counted by `limits::check_of_batch`", read: CODE },
            ),
        ],
    ),
    (
        "shapes",
        &[
            ("endpoint", Record),
            (
                "revision",
                Import {
                    checked: "`moving_settings::check_shapes`",
                    read: "compared; the next one is one more",
                },
            ),
        ],
    ),
    (
        "endpoint_sums",
        &[
            ("endpoint", Record),
            ("owed", Import { checked: "`moving_settings::gone_of`, then counted", read: SHOWN }),
            ("delivered", Import { checked: "`moving_settings::gone_of`, then counted", read: SHOWN }),
            ("pending", Store { read: SHOWN }),
            ("dead", Import { checked: "`moving_settings::gone_of`, then counted", read: SHOWN }),
            ("cancelled", Import { checked: "`moving_settings::gone_of`, then counted", read: SHOWN }),
        ],
    ),
    (
        "purged",
        &[
            ("endpoint", Record),
            ("delivered", Import { checked: "`moving_settings::gone_of`", read: SHOWN }),
            ("dead", Import { checked: "`moving_settings::gone_of`", read: SHOWN }),
            ("cancelled", Import { checked: "`moving_settings::gone_of`", read: SHOWN }),
        ],
    ),
    (
        "calls",
        &[
            ("id", Record),
            ("hash", HASH),
            ("source", Record),
            ("outcome", Import { checked: "that of the record", read: "an index, or none" }),
            ("event", Import { checked: "an event of this call that came before", read: "found, or damage" }),
            ("updated_at", SAID),
            ("counted", Import { checked: "`updated_at` of its line", read: MOMENT }),
        ],
    ),
    ("call_hashes", &[("hash", HASH), ("call", Record)]),
    ("batches", &[("source", Record), ("completed", FLAG), ("failed", FLAG)]),
    (
        "events",
        &[
            ("id", Record),
            ("kind", WORD),
            ("at", SAID),
            ("source", Record),
            ("call", Record),
            (
                "previous",
                Import {
                    checked: "an earlier one of its call",
                    read: "`spans::before`: a chain leads back, or ends",
                },
            ),
            ("test", WORD),
            (
                "first_delivery",
                Import {
                    checked: "`HandedOut::end_of`, `plausible::are_in_order`",
                    read: "`spans`, `read::own_deliveries`: what lies there, no further than the next event's",
                },
            ),
            (
                "deliveries",
                Import {
                    checked: "`HandedOut::end_of`, `plausible::are_owed`, `are_in_order`",
                    read: "`spans`, `read::own_deliveries`: what lies there, no further than the next event's",
                },
            ),
        ],
    ),
    (
        "open",
        &[
            ("id", Import { checked: "one of its event's own, or behind them", read: "found, or not" }),
            ("endpoint", Record),
            ("event", Record),
            ("call", Import { checked: "its event's call", read: "found, or not" }),
            ("revision", Import { checked: "a shape of its endpoint", read: "finds a shape, or is damage" }),
            ("state", Import { checked: "follows from its line and those before it", read: CODE }),
            ("due", SAID),
            (
                "tries",
                Import {
                    checked: "`plausible::are_attempts`",
                    read: "a u32, and damage when one more does not fit",
                },
            ),
            ("owner", Store { read: "compared" }),
            ("snapshot", Import { checked: "a later event of its call", read: "found, or damage" }),
            ("replay", Record),
        ],
    ),
    ("bodies", &[("delivery", Record)]),
    (
        "settled",
        &[
            ("id", Import { checked: "one of its event's own, or behind them", read: "found, or not" }),
            ("endpoint", Record),
            ("event", Record),
            ("revision", Import { checked: "a shape of its endpoint", read: "compared" }),
            ("state", WORD),
        ],
    ),
    ("quarantine", &[("id", Record), ("source", Record), ("received_at", TIME)]),
    (
        "idempotency",
        &[
            ("account", Record),
            ("created_at", TIME),
            ("status", Store { read: "a u16, or damage" }),
            ("owner", Store { read: "compared" }),
        ],
    ),
    (
        "slots",
        &[("account", Record), ("ends", TIME), ("first", Store { read: "compared; steps of a few rows" })],
    ),
    ("out_of_credit", &[("account", Record)]),
    (
        "given_batches",
        &[
            ("id", Record),
            ("account", Record),
            ("state", WORD),
            ("intake", FLAG),
            (
                "total",
                Import {
                    checked: "`moving_batches::take_batch`; a batch that lacks some fails when it is sealed",
                    read: "compared and shown",
                },
            ),
            (
                "taken_in",
                Import {
                    checked: "counted from its contacts; of one that is over, `take_batch`",
                    read: SHOWN,
                },
            ),
            (
                "succeeded",
                Import {
                    checked: "counted from its contacts; of one that is over, `take_batch`",
                    read: SHOWN,
                },
            ),
            (
                "failed",
                Import {
                    checked: "counted from its contacts; of one that is over, `take_batch`",
                    read: SHOWN,
                },
            ),
            ("max_attempts", Import { checked: "`moving_batches::take_batch`", read: "compared" }),
            ("lost_after", Import { checked: "`moving_batches::take_batch`", read: SPAN }),
            ("created_at", SAID),
            ("started_at", SAID),
            ("ended_at", SAID),
            ("release_at", SAID),
            ("owner", Store { read: "compared" }),
        ],
    ),
    (
        "intake",
        &[(
            "id",
            Import { checked: "`moving_batches::is_taken`", read: "its contacts are counted from it on" },
        )],
    ),
    (
        "contacts",
        &[
            ("id", Import { checked: "a place of its batch that is nobody's", read: "found, or not" }),
            ("heard", Import { checked: "`moving_batches::take_one`", read: SHOWN }),
            ("ended", Import { checked: "`moving_batches::take_one`", read: SHOWN }),
            ("completed", Import { checked: "`moving_batches::take_one`", read: SHOWN }),
            ("is_open", WORD),
            ("due", Import { checked: "`moving_batches::put_off`", read: MOMENT }),
        ],
    ),
    ("contact_keys", &[("hash", HASH), ("contact", Record)]),
    (
        "batch_calls",
        &[
            ("call", Record),
            ("batch", Record),
            ("contact", Import { checked: "a place of its batch", read: "found, or not" }),
            ("counted", Import { checked: "that of the record", read: "an index, or none" }),
        ],
    ),
    ("watched", &[("call", Record), ("due", Import { checked: "`moving_batches::put_off`", read: MOMENT })]),
    (
        "scheduled",
        &[
            ("batch", Record),
            ("due", Import { checked: "`Time` of its line, clamped by `scheduled::rest`", read: MOMENT }),
            (
                "told",
                Import { checked: "a contact of its batch", read: "the place after which contacts are read" },
            ),
        ],
    ),
    (
        "tombstones",
        &[
            ("id", Record),
            ("hash", HASH),
            ("rest", HASH),
            ("received", Store { read: "a set of bits" }),
            ("removed_at", TIME),
        ],
    ),
    ("held", &[("delivery", Record), ("call", Record), ("endpoint", Record), ("until", SAID)]),
    (
        "rendered",
        &[
            ("delivery", Record),
            ("snapshot", Import { checked: "a later event of its call", read: "found, or damage" }),
        ],
    ),
    (
        "erasures",
        &[
            ("id", Record),
            ("requested_at", TIME),
            ("place", Store { read: "the place after which rows are read" }),
            ("erased_at", TIME),
            ("overwritten_at", TIME),
        ],
    ),
    (
        "erasure_calls",
        &[
            ("erasure", Record),
            ("call", Record),
            ("at", Store { read: "an event, found or not; the chain leads back" }),
        ],
    ),
    ("overwritten", &[("id", Record)]),
    (
        "replays",
        &[
            ("id", Record),
            ("created_at", SAID),
            ("target", Record),
            ("rate", Import { checked: "`RATES`", read: "`ledger::replay::pace` clamps" }),
            ("dry", WORD),
            ("state", WORD),
            ("next_at", TIME),
            (
                "position",
                Import { checked: "`moving_replays::take`", read: "the place after which events are read" },
            ),
            (
                "last",
                Import {
                    checked: "`moving_replays::take`",
                    read: "the place up to which events are read, in steps",
                },
            ),
            ("total", Import { checked: "`moving_replays::take`", read: SHOWN }),
            ("examined", Import { checked: "`moving_replays::take`", read: SHOWN }),
            ("deliveries", Import { checked: "`moving_replays::take`", read: SHOWN }),
            ("finished_at", SAID),
        ],
    ),
    ("replayed", &[("event", Record), ("delivery", Record), ("replay", Record)]),
    (
        "mentioned",
        &[
            ("account", Record),
            ("about", Store { read: CODE }),
            ("named", WORD),
            ("expected_calls", Import { checked: "a u32", read: "a u32, or damage" }),
            ("created_at", SAID),
        ],
    ),
    // What calls add, each bounded by `ledger::tally::facts`; an import brings none of it.
    ("tallies", &[("account", Record), ("about", Store { read: CODE }), ("*", SUM)]),
    ("tallies_gone", &[("account", Record), ("about", Store { read: CODE }), ("*", SUM)]),
    // PostgreSQL's own.
    ("nodes", &[("*", Store { read: "compared" })]),
    ("migrations", &[("*", Store { read: "compared" })]),
];

/// Columns that stand beside a key on PostgreSQL: what it begins with, and the week of a partition.
const BESIDE: [&str; 2] = ["account", "week"];

fn is_listed(table: &str, column: &str) -> bool {
    let columns = NUMBERS.iter().find(|(name, _)| *name == table);
    columns.is_some_and(|(_, columns)| {
        columns.iter().any(|(name, from)| {
            let is_said = match from {
                Record => true,
                Store { read } => !read.is_empty(),
                Import { checked, read } => !checked.is_empty() && !read.is_empty(),
            };
            (*name == column || *name == "*") && is_said
        })
    })
}

fn judge(columns: &BTreeSet<(String, String)>, beside: &[&str]) {
    assert!(columns.len() > 150, "the schema was read: {}", columns.len());
    let missing: Vec<_> = columns
        .iter()
        .filter(|(table, column)| !is_listed(table, column) && !beside.contains(&column.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "a new column of numbers: say in tests/it/store/numbers.rs who checks it at an import, and what a damaged one \
         comes to when it is read: {missing:?}"
    );
}

#[tokio::test]
async fn each_number_of_the_embedded_store_has_somebody_who_checks_it() {
    let scene = Scene::<Sqlite>::new().await;
    let db = rusqlite::Connection::open(scene.place.dir.path().join("postcall.db")).unwrap();
    let mut statement = db
        .prepare(
            "SELECT tables.name, columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
             WHERE tables.type = 'table' AND columns.type IN ('INTEGER', 'REAL')",
        )
        .unwrap();
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let columns: BTreeSet<(String, String)> = found.collect::<Result<_, _>>().unwrap();
    judge(&columns, &[]);
    // Nothing is said of a column that is gone.
    for (table, listed) in NUMBERS {
        let is_there = |column: &str| columns.contains(&((*table).to_owned(), column.to_owned()));
        for (column, _) in *listed {
            assert!(*column == "*" || is_there(column), "{table}.{column} is listed, and is not there");
        }
    }
    drop(statement);
    scene.finish().await;
}

#[tokio::test]
async fn each_number_over_postgres_has_somebody_who_checks_it() {
    let mut place = Postgres::new().await;
    let store = place.open().await;
    let found = place.database.sql(
        "SELECT c.table_name || ' ' || c.column_name FROM information_schema.columns c
         WHERE c.table_schema = 'public' AND c.data_type IN ('bigint', 'integer', 'smallint', 'double precision', 'real')
         AND NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhrelid = to_regclass(quote_ident(c.table_name)))",
    );
    let columns = found
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(table, column)| (table.to_owned(), column.to_owned()));
    judge(&columns.collect(), &BESIDE);
    store.close().await.unwrap();
}
