//! The rooms: all that postcall keeps, each kind of record in a file of its own with its tables, its statements and what it
//! does in a transaction. Written once, in the SQL that both databases speak. Refuses to know HTTP, the rules of the
//! ledger, and which database there is.

mod ahead;
pub mod arriving;
pub mod batches;
mod books;
pub mod call_index;
mod codec;
pub mod config;
mod contacts;
pub mod credit;
pub mod database;
pub mod edges;
pub mod erasure;
mod fanned;
mod filter;
mod head;
pub mod holds;
pub mod keys;
pub mod leaving;
pub mod limits;
mod list;
mod loaded;
pub mod mentioned;
pub mod moving_batches;
mod moving_deliveries;
mod moving_names;
mod moving_replays;
mod owning;
mod placing;
pub mod read;
pub mod readers;
pub mod record;
mod replay_steps;
pub mod replays;
mod retention;
mod retiring;
mod rows;
pub mod scheduled;
mod sealed;
mod settle;
pub mod store;
pub mod tallies;
pub mod thread;
pub mod transcripts;
pub mod upkeep;
mod watchdog;
