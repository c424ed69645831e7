//! An account as lines of JSON: what is in each line, and what becomes of lines that come back. The order of the lines is
//! the store's; refuses to know how they travel.

use std::collections::BTreeMap;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use crate::ledger::tally::Dimension;
use crate::model::id::{self, Kind, Tag};
use crate::model::{Attempt, Raw, Text, Time};

/// The version of these lines. A reader refuses a later one.
pub const VERSION: u32 = 1;

/// What of secrets goes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// None: what is imported gets new ones, and its endpoints are disabled until they are set.
    Without,
    /// As they lie in the store: they open where the same `master.key` is.
    Sealed,
    /// So that anybody who has the lines can use them.
    Clear,
}

/// How far an export goes: the numbers that the account had handed out when it began. What comes later is not in it, so
/// whatever a line points to is in a line, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// The feed's.
    pub position: i64,
    /// The calls'.
    pub calls: i64,
    /// The deliveries'.
    pub deliveries: i64,
    /// The given batches'.
    pub batches: i64,
}

/// What records of a kind go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Numbers that the account handed out.
    Numbers(Kind),
    /// Campaigns and agents: the vendor's ids.
    Names(Dimension),
}

/// The record after which an export goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// One that has a number.
    Number(Kind, i64),
    /// A campaign or an agent.
    Name(Dimension, Text),
}

impl After {
    /// What it goes by.
    pub fn keys(&self) -> Keys {
        match self {
            Self::Number(kind, _) => Keys::Numbers(*kind),
            Self::Name(dimension, _) => Keys::Names(*dimension),
        }
    }

    fn write(&self, tag: Tag) -> String {
        match self {
            Self::Number(kind, number) => id::format(*kind, tag, *number),
            Self::Name(dimension, name) => {
                format!("{}{}", mark(*dimension, tag), BASE64URL_NOPAD.encode(name.as_bytes()))
            }
        }
    }

    fn read(text: &str, tag: Tag) -> Option<Self> {
        let kinds = [
            Kind::Source,
            Kind::Endpoint,
            Kind::Batch,
            Kind::Event,
            Kind::Call,
            Kind::Contact,
            Kind::Replay,
            Kind::Delivery,
        ];
        let numbered = kinds.into_iter().find_map(|kind| Some((kind, id::parse(kind, text)?)));
        if let Some((kind, (of, number))) = numbered {
            return (of == tag).then_some(Self::Number(kind, number));
        }
        [Dimension::Campaign, Dimension::Agent].into_iter().find_map(|dimension| {
            let name = BASE64URL_NOPAD.decode(text.strip_prefix(&mark(dimension, tag))?.as_bytes()).ok()?;
            Some(Self::Name(dimension, Text::from_bytes(name)))
        })
    }
}

/// What stands in front of a name in a cursor: the account's mark, as in ids.
fn mark(dimension: Dimension, tag: Tag) -> String {
    let word = if dimension == Dimension::Campaign { "campaign" } else { "agent" };
    format!("{word}_{tag:?}")
}

/// Where an export goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// After this record; `None` is the beginning.
    pub after: Option<After>,
    /// To here.
    pub heads: Heads,
}

impl Cursor {
    /// As text.
    pub fn write(&self, tag: Tag) -> String {
        let Heads { position, calls, deliveries, batches } = self.heads;
        let after = self.after.as_ref().map(|after| after.write(tag)).unwrap_or_default();
        format!("{after}.{position}.{calls}.{deliveries}.{batches}")
    }

    /// The inverse of [`Self::write`].
    pub fn read(text: &str, tag: Tag) -> Option<Self> {
        let mut parts = text.split('.');
        let after = parts.next()?;
        let mut number = || parts.next()?.parse().ok();
        let heads =
            Heads { position: number()?, calls: number()?, deliveries: number()?, batches: number()? };
        if parts.next().is_some() {
            return None;
        }
        if after.is_empty() {
            return Some(Self { after: None, heads });
        }
        Some(Self { after: Some(After::read(after, tag)?), heads })
    }
}

/// A part of an export.
#[derive(Clone, Debug, Default)]
pub struct Exported {
    /// Lines, each one JSON object.
    pub lines: Vec<String>,
    /// Where it goes on; `None` at the end.
    pub next: Option<Cursor>,
}

/// What can be sent to, by the rules of whoever sends: settings that come in are held to them as those that are given by
/// hand.
pub trait WireRules: Send + Sync {
    /// Whether this URL may be sent to.
    ///
    /// # Errors
    /// Why not, in a sentence for the caller.
    fn check_url(&self, url: &str) -> Result<(), String>;

    /// Whether this header may be added to requests.
    ///
    /// # Errors
    /// Why not, in a sentence for the caller.
    fn check_header(&self, name: &str, value: &str) -> Result<(), String>;
}

/// Lines that come in together.
#[derive(Clone)]
pub struct Import {
    /// Each with its number in the file.
    pub lines: Vec<(u64, String)>,
    /// Whether endpoints stay active: otherwise they are disabled, so that two houses do not tell the same.
    pub deliver: bool,
    /// Whether an `end` ends it: not while lines before it were wrong.
    pub may_end: bool,
    /// Whether records keep their ids, where no other account has them: who brings them must not choose for himself.
    pub keeps_ids: bool,
    /// What can be sent to from here.
    pub rules: Arc<dyn WireRules>,
    /// When.
    pub now: Time,
}

/// What became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// How many were written, by kind.
    pub added: BTreeMap<String, u64>,
    /// How many were there already.
    pub unchanged: u64,
    /// Lines that were left out.
    pub wrong: Vec<Wrong>,
    /// The import is over: the account goes on from here.
    pub ended: bool,
    /// Nothing more can be imported: what is wrong concerns all further lines.
    pub stopped: bool,
}

/// A line that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Its number in the file.
    pub line: u64,
    /// What is wrong, for programs.
    pub code: &'static str,
    /// What to do about it.
    pub detail: String,
}

/// Writes a line: the kind in front of its fields.
pub fn line(kind: &str, fields: &impl Serialize) -> String {
    let json = serde_json::to_string(fields).unwrap_or_default();
    match json.strip_prefix('{') {
        Some("}") | None => format!("{{\"kind\":\"{kind}\"}}"),
        Some(rest) => format!("{{\"kind\":\"{kind}\",{rest}"),
    }
}

/// `account`, the first line: settings, and the numbers that it has handed out.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccountLine {
    /// See [`VERSION`].
    pub version: u32,
    /// `acc_..`: its tag is in every other id.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// When it was made.
    pub created_at: Time,
    /// In microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<i64>,
    /// In microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcript_retention: Option<i64>,
    /// In microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_memory: Option<i64>,
    /// The last event.
    pub position: i64,
    /// The last call.
    pub calls: i64,
    /// The last delivery.
    pub deliveries: i64,
    /// The last source.
    pub sources: i64,
    /// The last endpoint.
    pub endpoints: i64,
    /// Events up to here are gone by their age.
    pub purged: i64,
    /// Transcripts up to here are.
    pub transcripts_gone: i64,
    /// The last given batch.
    #[serde(default)]
    pub batches: i64,
    /// The last replay.
    #[serde(default)]
    pub replays: i64,
    /// Call minutes that are left, in milliseconds; nothing is unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_credit: Option<i64>,
    /// What the endpoints of batches sign with, in base64; only when secrets were asked for in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_secret: Option<String>,
    /// The same, sealed, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_secret_sealed: Option<String>,
}

/// `source`.
#[derive(Debug, Serialize, Deserialize)]
pub struct SourceLine {
    /// `src_..`
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its dialect.
    pub dialect: String,
    /// When it was made.
    pub created_at: Time,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Time>,
    /// Credential and URL token in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Raw>,
    /// The same, sealed, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
}

/// `endpoint`, with what shapes the bodies of its deliveries.
#[derive(Debug, Serialize, Deserialize)]
pub struct EndpointLine {
    /// `ep_..`
    pub id: String,
    /// When it was made.
    pub created_at: Time,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Time>,
    /// Why it is not sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<String>,
    /// Whether a batch brought it along.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_batch: bool,
    /// Whether it signs.
    pub has_secret: bool,
    /// The revision of dialect and shape.
    pub revision: i64,
    /// Every revision that a delivery may point to.
    pub shapes: Vec<ShapeLine>,
    /// Deliveries that are gone by their age: delivered, dead, cancelled.
    pub gone: [i64; 3],
    /// Everything else; with its secrets only when they were asked for in clear.
    pub settings: Raw,
    /// The settings with their secrets, sealed, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
}

/// One revision of what shapes a body.
#[derive(Debug, Serialize, Deserialize)]
pub struct ShapeLine {
    /// Which.
    pub revision: i64,
    /// In which dialect.
    pub dialect: String,
    /// With which options.
    pub shape: Raw,
}

/// `event`.
#[derive(Debug, Serialize, Deserialize)]
pub struct EventLine {
    /// `evt_..`
    pub id: String,
    /// `call.ended` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// The vendor's time, or when it was heard.
    pub timestamp: Time,
    /// `src_..`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_id: Option<String>,
    /// The call in the books, `call_..`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The call's event before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// An inbound test.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
    /// Its deliveries are numbered in a row from this one on.
    pub first_delivery: String,
    /// How many they are.
    pub deliveries: i64,
    /// The snapshot.
    pub data: Raw,
}

/// `call`: what the books keep of it beside its last event.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallLine {
    /// `call_..`
    pub id: String,
    /// `src_..`
    pub source_id: String,
    /// The vendor's id.
    pub call_id: Text,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Its last event: the record is that one's snapshot, unless there is a `record`.
    pub event: String,
    /// What it takes to go on merging.
    pub marks: Raw,
    /// The record, where it differs from the last snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Raw>,
    /// When something was last heard of it.
    pub updated_at: Time,
    /// The contact that it counts for, `con_..`, or while nobody knows which one, the given batch, `bat_..`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts_for: Option<String>,
    /// As what: `heard`, `ended` or `completed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<String>,
    /// While it is watched: when it is given up as lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_at: Option<Time>,
}

/// `delivery`, with every attempt.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeliveryLine {
    /// `dlv_..`
    pub id: String,
    /// `evt_..`
    pub event_id: String,
    /// `ep_..`
    pub endpoint_id: String,
    /// The revision of the endpoint's shape that it is written in.
    pub revision: i64,
    /// `pending`, `delivered`, `dead` or `cancelled`.
    pub state: String,
    /// While pending: when it is tried next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Time>,
    /// While pending: the call whose order it keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// While pending: whether an earlier one of that call goes first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
    /// While pending: whether it is held until `due`, or until what its endpoint wants with it is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// The later event of its call whose snapshot it says, where it was held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// The replay that planned it, `rpl_..`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_id: Option<String>,
    /// Every attempt.
    pub attempts: Vec<Attempt>,
    /// The bytes that were first sent, in base64, where they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_were_given() {
        let (tag, heads) = (Tag(7), Heads { position: 9, calls: 3, deliveries: 12, batches: 2 });
        let name = After::Name(Dimension::Agent, Text::from("ann.of \u{1f600}"));
        let numbers = [After::Number(Kind::Event, 5), After::Number(Kind::Delivery, 12), name.clone()];
        for after in numbers.into_iter().map(Some).chain([None]) {
            let cursor = Cursor { after, heads };
            assert_eq!(Cursor::read(&cursor.write(tag), tag), Some(cursor));
        }
        let others = [After::Number(Kind::Event, 5), name];
        let [event, agent] = others.map(|after| Cursor { after: Some(after), heads }.write(Tag(8)));
        for text in ["", "x", "evt_1.1.1.1.1", ".1.1.1", ".1.1.1.1.1", ".a.1.1.1", &event, &agent] {
            assert_eq!(Cursor::read(text, tag), None, "{text}");
        }
    }
}
