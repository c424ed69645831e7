//! Plain data: calls, batches, events, sources, endpoints, deliveries, attempts and their ids.
//! Knows what things are; refuses to know how they travel, where they are kept or what follows from them.

pub mod account;
pub mod batch;
pub mod bounds;
pub mod call;
pub mod decimal;
pub mod delivery;
pub mod dialect_name;
pub mod endpoint;
pub mod erased;
pub mod event;
pub mod event_type;
pub mod id;
pub mod json;
pub mod mac;
pub mod mention;
pub mod phone;
pub mod printable;
pub mod replay;
pub mod rights;
pub mod secret;
pub mod source;
pub mod step;
pub mod text;
pub mod time;
pub mod token;

pub use account::{AccountKey, ApiKey};
pub use batch::Batch;
pub use call::{Call, Erased};
pub use delivery::{Attempt, DeliveryState};
pub use dialect_name::DialectName;
pub use endpoint::Endpoint;
pub use event::{Event, EventBody};
pub use event_type::EventType;
pub use json::{Fields, Raw};
pub use mac::Mac;
pub use mention::Mention;
pub use rights::{Right, Rights};
pub use secret::Secret;
pub use source::Source;
pub use step::{Outcome, Stage, Step};
pub use text::Text;
pub use time::Time;
pub use token::{Object, Token};
