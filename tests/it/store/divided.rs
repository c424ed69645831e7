//! What has to hold so that PostgreSQL's tables can be divided by account over many machines, asked of a real catalog
//! and of real rows. That statements say whose rows they mean is checked wherever one is prepared, in every test.

use std::collections::{BTreeMap, BTreeSet};

use postcall::store::postgres::sharding_check::{LOCAL, divided};
use postcall::store::postgres::tables::TABLES;

use super::postgres::Postgres;
use super::scene::Scene;
use crate::database::Database;

/// Every row says the account that its key begins with.
pub fn no_row_says_another_account(database: &Database) {
    let astray: Vec<String> = TABLES
        .iter()
        .filter(|(table, key)| key[0] != "account" && !LOCAL.contains(table))
        .map(|(table, key)| {
            // A hash is of no account.
            let key = key.iter().find(|part| **part != "hash").unwrap();
            format!("SELECT '{table}', {key}, account FROM {table} WHERE account <> {key} >> 40")
        })
        .collect();
    assert_eq!(database.sql(&astray.join(" UNION ALL ")), "");
}

#[tokio::test]
async fn every_table_but_a_few_can_be_divided_by_account() {
    let scene = Scene::<Postgres>::new().await;
    let database = &scene.place.database;
    let lines = |sql: &str| database.sql(sql).lines().map(str::to_owned).collect::<BTreeSet<String>>();
    let partitions = "SELECT inhrelid FROM pg_inherits";
    let tables = lines(&format!(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
         AND oid NOT IN ({partitions})"
    ));
    let named = divided().chain(LOCAL).map(str::to_owned).collect::<BTreeSet<String>>();
    assert_eq!(tables, named, "each table is divided or stays whole");

    let with_account = lines(
        "SELECT attrelid::regclass FROM pg_attribute
         WHERE attname = 'account' AND attnotnull AND atttypid = 'bigint'::regtype AND NOT attisdropped
             AND attgenerated = '' AND attidentity = '' AND NOT atthasdef",
    );
    let without: Vec<&str> = divided().filter(|table| !with_account.contains(*table)).collect();
    assert_eq!(without, Vec::<&str>::new(), "have no such column");

    // Only what has the account in it can be unique where each machine knows its own rows alone.
    let unique = database.sql(&format!(
        "SELECT indrelid::regclass, string_agg(attname, ',' ORDER BY attnum)
         FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey)
         WHERE indisunique AND indrelid NOT IN ({partitions}) AND indrelid::regclass::text NOT LIKE 'pg_%'
         GROUP BY indexrelid, indrelid"
    ));
    let mut keys: BTreeMap<&str, usize> = BTreeMap::new();
    for (table, columns) in unique.lines().filter_map(|line| line.split_once('|')) {
        if divided().any(|divided| divided == table) {
            assert!(columns.split(',').any(|column| column == "account"), "{table} has a key of {columns}");
            *keys.entry(table).or_default() += 1;
        }
    }
    assert_eq!(keys.len(), divided().count(), "each has a key");
    // Whoever references a row elsewhere would have to reach for another machine, and a trigger would see a part.
    let references = "SELECT conrelid::regclass FROM pg_constraint WHERE contype = 'f'
        UNION ALL SELECT tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal";
    assert_eq!(database.sql(references), "");
    scene.finish().await;
}

/// What an operator is told to call names every table, in words that PostgreSQL takes.
#[test]
fn the_operator_is_told_of_every_table() {
    let told = include_str!("../../../docs/scale.md");
    let call = |table: &str| format!("SELECT create_distributed_table('{table}', 'account'");
    let missing: Vec<&str> = divided().filter(|table| !told.contains(&call(table))).collect();
    assert_eq!(missing, Vec::<&str>::new());
    let whole = LOCAL.iter().filter(|table| told.contains(&call(table)));
    assert_eq!(whole.count(), 0, "these stay where they are");
}
