//! Events: immutable facts, with the snapshot of what was known then.
//! Refuses to know who hears them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::call::Call;
pub use super::event_type::EventType;
pub use super::step::{Outcome, Stage, Step};
use super::text::Text;
use super::time::Time;

/// What a dialect reads out of one body about one call or batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// Something about a call.
    Call(Box<HeardCall>),
    /// Something about a batch.
    Batch(Box<HeardBatch>),
}

/// The most that an identifier may have, in bytes. Databases find records by them, and what is longer than some thousand
/// bytes fits into no index.
pub const LONGEST_IDENTIFIER: usize = 512;

impl Heard {
    /// An identifier that is longer than [`LONGEST_IDENTIFIER`], by its name.
    pub fn long_identifier(&self) -> Option<&'static str> {
        match self {
            Self::Call(heard) => heard.long_identifier(),
            Self::Batch(heard) => long_identifier_of_batch(&heard.batch),
        }
    }
}

impl HeardCall {
    /// An identifier that is longer than [`LONGEST_IDENTIFIER`], by its name.
    pub fn long_identifier(&self) -> Option<&'static str> {
        long_identifier_of_call(&self.call)
    }
}

/// The same of what an event tells.
pub fn long_identifier(body: &EventBody) -> Option<&'static str> {
    match body {
        EventBody::Call { call, .. } => long_identifier_of_call(call),
        EventBody::Batch(batch) => long_identifier_of_batch(batch),
        _ => None,
    }
}

fn long_identifier_of_call(call: &Call) -> Option<&'static str> {
    first_long([
        ("call_id", Some(&call.call_id)),
        ("batch_id", call.batch_id.as_ref()),
        ("batch_id", call.claimed_batch_id.as_ref()),
        ("user_id", call.user_id.as_ref()),
        ("campaign_id", call.campaign.id.as_ref()),
        ("agent_id", call.agent.id.as_ref()),
        ("contact_id", call.contact.id.as_ref()),
    ])
}

fn long_identifier_of_batch(batch: &Batch) -> Option<&'static str> {
    first_long([
        ("batch_id", Some(&batch.batch_id)),
        ("agent_id", batch.agent_id.as_ref()),
        ("user_id", batch.user_id.as_ref()),
    ])
}

fn first_long<const N: usize>(named: [(&'static str, Option<&Text>); N]) -> Option<&'static str> {
    let is_long = |id: &Text| id.as_bytes().len() > LONGEST_IDENTIFIER;
    named.into_iter().find_map(|(name, id)| id.is_some_and(is_long).then_some(name))
}

/// A step of a call, and what the body says of the call.
#[derive(Clone, Debug, PartialEq)]
pub struct HeardCall {
    /// Which step.
    pub step: Step,
    /// The vendor's time of it.
    pub at: Option<Time>,
    /// What the body says. `stage`, `outcome` and `contradicting_outcomes` are left at their defaults.
    pub call: Call,
}

/// The end of a batch as a vendor tells it (seed 002).
#[derive(Clone, Debug, PartialEq)]
pub struct HeardBatch {
    /// `batch.completed` or `batch.failed`.
    pub kind: EventType,
    /// The vendor's time of it.
    pub at: Option<Time>,
    /// What the body says.
    pub batch: Batch,
}

/// What changed when the real end of a call takes the place of `lost`.
pub const CORRECTED: &str = "outcome";

/// What an event is about.
#[derive(Clone, Debug, PartialEq)]
pub enum EventBody {
    /// A call, as it was known when the event was recorded.
    Call {
        /// The snapshot.
        call: Arc<Call>,
        /// For `call.updated`: the dotted names of what is new. For a real end after `lost`: [`CORRECTED`]. Empty
        /// otherwise.
        changed: Vec<String>,
    },
    /// A batch.
    Batch(Box<Batch>),
    /// An endpoint that was disabled.
    Endpoint(EndpointDisabled),
}

/// The body of `endpoint.disabled`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointDisabled {
    /// Its id, `ep_..`.
    pub endpoint_id: String,
    /// Why.
    pub reason: String,
}

/// One immutable fact.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its place in the account's feed: contiguous, in commit order.
    pub position: i64,
    /// Its id outside, `evt_..`: the same in every delivery, retry and replay.
    pub id: String,
    /// What happened.
    pub kind: EventType,
    /// When: the vendor's time where it gave one, else when postcall heard it.
    pub at: Time,
    /// An inbound test: shown, never booked, deduped or forwarded.
    pub test: bool,
    /// The source that told, `src_..`.
    pub source_id: Option<String>,
    /// About what.
    pub body: EventBody,
}

impl Event {
    /// The vendor's call id, when this is about a call.
    pub fn call_id(&self) -> Option<&Text> {
        match &self.body {
            EventBody::Call { call, .. } => Some(&call.call_id),
            _ => None,
        }
    }

    /// The `data` object as JSON text: the snapshot, and for `call.updated` what changed.
    pub fn data_json(&self) -> String {
        self.body.to_json()
    }
}

impl EventBody {
    /// The snapshot as JSON text: what the store keeps and what the standard dialect sends as `data`.
    pub fn to_json(&self) -> String {
        let written = match self {
            Self::Call { call, .. } => serde_json::to_string(&**call),
            Self::Batch(batch) => serde_json::to_string(batch),
            Self::Endpoint(endpoint) => serde_json::to_string(endpoint),
        };
        let mut json = written.expect("plain data serialises");
        if let Self::Call { changed, .. } = self
            && !changed.is_empty()
        {
            json.pop();
            json.push_str(",\"changed\":");
            json.push_str(&serde_json::to_string(changed).expect("strings serialise"));
            json.push('}');
        }
        json
    }

    /// The inverse of [`Self::to_json`].
    ///
    /// # Errors
    /// When the text is not what `to_json` writes for this type of event.
    pub fn from_json(kind: EventType, json: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Changed {
            #[serde(default)]
            changed: Vec<String>,
        }
        Ok(match kind {
            EventType::BatchCompleted | EventType::BatchFailed => Self::Batch(serde_json::from_str(json)?),
            EventType::EndpointDisabled => Self::Endpoint(serde_json::from_str(json)?),
            _ => {
                // Ends are read more often than anything else, and few of them correct another.
                let corrects = matches!(kind, EventType::CallEnded | EventType::CallFailed)
                    && json.ends_with(r#","changed":["outcome"]}"#);
                let changed = match kind {
                    _ if corrects => vec![CORRECTED.to_owned()],
                    EventType::CallUpdated => serde_json::from_str::<Changed>(json)?.changed,
                    _ => Vec::new(),
                };
                Self::Call { call: Arc::new(serde_json::from_str(json)?), changed }
            }
        })
    }
}
