//! What a database has to be, its threads, and the store on top of it: each method of the traits is one transaction.
//! Does not depend on which database it is.

pub mod database;
pub mod read_permits;
pub mod readers;
pub mod store;
pub mod writer_thread;
