//! The queues in memory as the store uses them, and the deliveries that a node owns. Does not depend on how a delivery is
//! attempted: `delivery` implements the queues.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::Place;
use crate::model::endpoint::Shape;
use crate::model::{AccountKey, DialectName, Event, Time};

/// An endpoint of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointRef {
    /// The account.
    pub account: AccountKey,
    /// The endpoint's number in it.
    pub number: i64,
}

/// The memory queues, as far as the store needs them: delivery implements it, the store calls it.
pub trait Queues: Send + Sync {
    /// A place for a fresh delivery with a snapshot of so many bytes, or none: then it is born unowned and claimed
    /// later. Called inside the transaction.
    fn reserve(&self, endpoint: EndpointRef, bytes: usize) -> Option<Place>;
    /// Deliveries that this node owns, after the commit that made them so.
    fn dispatch(&self, owned: Vec<Owned>);
    /// Endpoints that have unowned deliveries due at once, after the commit.
    fn wake(&self, endpoints: Vec<EndpointRef>);
    /// An unowned delivery of this endpoint falls due then.
    fn wake_at(&self, endpoint: EndpointRef, due: Time);
    /// Deliveries that were dispatched and whose attempts are on disk, with the places that they gave back.
    fn settled(&self, done: Vec<(EndpointRef, Place)>);
    /// Deliveries that shall not be attempted, wherever in memory they are; what is on the wire already is.
    fn call_off(&self, _: &[(EndpointRef, i64)]) {}
}

/// A delivery that this node owns and has to attempt.
#[derive(Debug)]
pub struct Owned {
    /// The endpoint.
    pub endpoint: EndpointRef,
    /// The delivery's number in its account.
    pub delivery: i64,
    /// The call whose order it keeps; `None` when it keeps none.
    pub ordered_call: Option<i64>,
    /// The number of the attempt that comes next.
    pub attempt: u32,
    /// What is said.
    pub event: Arc<Event>,
    /// In which dialect, pinned.
    pub dialect: DialectName,
    /// In which shape, pinned.
    pub shape: Shape,
    /// The revision of dialect and shape.
    pub revision: i64,
    /// The number of the call in the books, for links.
    pub call: Option<i64>,
    /// The bytes to send.
    pub body: Body,
    /// The place in the queue; given back when this is dropped.
    pub place: Place,
}

/// The bytes that a delivery sends: those of its first attempt, or yet to be made. Deliveries of one event in one dialect
/// and shape share them, so they are made once however many endpoints are told.
#[derive(Clone, Debug, Default)]
pub struct Body(Arc<OnceLock<Bytes>>);

impl Body {
    /// As they were first sent.
    pub fn sent(bytes: Bytes) -> Self {
        Self(Arc::new(OnceLock::from(bytes)))
    }

    /// The bytes, unless nobody has made them yet.
    pub fn get(&self) -> Option<Bytes> {
        self.0.get().cloned()
    }

    /// The bytes, made now unless they are there.
    pub fn get_or_make(&self, make: impl FnOnce() -> Bytes) -> Bytes {
        self.0.get_or_init(make).clone()
    }
}

/// What a claim came to.
#[derive(Debug)]
pub struct Claimed {
    /// The deliveries, oldest first.
    pub owned: Vec<Owned>,
    /// Whether more may be due: the claim ended for lack of places, or because the bodies were large.
    pub more: bool,
}
