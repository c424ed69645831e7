//! The SQL that both databases speak. Statements are written once, with `?` for parameters; `template.rs` says what of them only
//! PostgreSQL reads. Does not depend on tables, and on whose transaction it is.

mod batching;
pub mod bulk;
mod connection;
mod error;
pub mod page_scrub;
mod pending;
mod postgres;
mod row;
mod template;
mod value;

pub use self::connection::{Connection, Rows};
pub use self::error::{Error, OptionalExtension, Result};
pub use self::postgres::Wire;
pub use self::row::Row;
pub use self::value::{BEGINNING, ToValue, Value};
pub(crate) use crate::params;
