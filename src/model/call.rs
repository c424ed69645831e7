//! The call record: everything that the five systems ever say about one call, under one set of names.
//! A `Call` is also what a single body says of a call, with all else left out. Its JSON is the `data` of an event.
//! Refuses to know how two bodies are merged (`ledger::merge`) and how any system spells these fields (`dialect`).

use serde::{Deserialize, Serialize};

use super::json::{Fields, Raw};
use super::step::{Outcome, Stage};
use super::text::Text;
use super::time::{Millis, Time};

/// Walks over the leaves of two records. The ledger decides, leaf by leaf, which value stands.
pub trait Judge {
    /// Decides between what is known and what is said for one field.
    fn leaf<T: Serialize + PartialEq>(&mut self, path: &'static str, known: &mut Option<T>, said: Option<T>);
    /// The same for each key of a free-form object.
    fn entries(&mut self, path: &'static str, known: &mut Fields, said: Fields);
}

/// A part of the record: optional fields, each a leaf of the merge under `prefix.field`.
macro_rules! part {
    ($(#[$doc:meta])* $name:ident in $prefix:literal { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        pub struct $name {
            $($(#[$field_doc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $field: Option<$kind>,)*
        }

        impl $name {
            /// Whether nothing is known.
            pub fn is_empty(&self) -> bool {
                true $(&& self.$field.is_none())*
            }

            fn merge(&mut self, said: Self, judge: &mut impl Judge) {
                $(judge.leaf(concat!($prefix, ".", stringify!($field)), &mut self.$field, said.$field);)*
            }
        }
    };
}

part! {
    /// The person at the other end.
    Contact in "contact" {
        /// The dialer's id of the contact (seed 002 `contactId`).
        id: Text,
        /// Name.
        name: Text,
        /// Phone number, normalised by `model::phone`.
        phone: Text,
        /// E-mail address.
        email: Text,
        /// Seed 001 `callerDetails`: the keys beyond name, phone number and email, as an object.
        details: Raw,
    }
}

part! {
    /// The line of ours that the call used.
    Line in "line" {
        /// The vendor's id of the number (seed 003 `phone_number.id`).
        id: Text,
        /// The number, normalised.
        number: Text,
    }
}

part! {
    /// The agent, assistant or prompt that spoke.
    Agent in "agent" {
        /// Its id. Seed 004 writes a number; its digits are kept as text.
        id: Text,
        /// Its name.
        name: Text,
    }
}

part! {
    /// The campaign that the call belongs to.
    Campaign in "campaign" {
        /// Its id.
        id: Text,
        /// Its name.
        name: Text,
    }
}

part! {
    /// The recording.
    Recording in "recording" {
        /// Where to fetch it.
        url: Text,
        /// Its length, which may differ from the call's.
        duration_seconds: Millis,
    }
}

part! {
    /// What was said, in whatever forms it came.
    Transcript in "transcript" {
        /// Where to fetch it (seed 001).
        url: Text,
        /// One readable string, as the vendor formatted it (seeds 003 and 004).
        text: Text,
        /// The turns.
        turns: Vec<Turn>,
    }
}

part! {
    /// What an AI made of the call.
    Analysis in "analysis" {
        /// Summary in words.
        summary: Text,
        /// Whether the call reached its goal.
        success: bool,
        /// Sentiment as a word: `positive`.
        sentiment: Text,
        /// How sure the analysis is of it, 0 to 1, digits as sent.
        sentiment_confidence: Raw,
        /// Sentiment in detail (seed 001), an object.
        sentiment_detail: Raw,
        /// Mood in a word (seed 001).
        mood: Text,
        /// Score from 0 to 100 (seed 001), digits as sent.
        score: Raw,
        /// Call category (seed 001), intent (seed 002).
        classification: Text,
        /// Business outcome in words (seed 001 `callOutcome`), not the telephone outcome.
        result: Text,
        /// Interests and needs (seed 001), an object.
        interests_and_needs: Raw,
        /// What to do next: an object (seed 001) or an array.
        action_items: Raw,
    }
}

part! {
    /// What the call cost, in the vendor's currency, digits as sent.
    Cost in "cost" {
        /// The sum.
        total: Raw,
        /// Its parts, an object.
        breakdown: Raw,
    }
}

part! {
    /// Why a call failed.
    Failure in "failure" {
        /// In words.
        reason: Text,
        /// As a code.
        code: Text,
    }
}

/// Who says a turn. Other speakers keep the vendor's word.
pub const ASSISTANT: &str = "assistant";
/// The person at the other end, in a turn.
pub const USER: &str = "user";

/// One turn of the conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// [`ASSISTANT`], [`USER`], or the vendor's own word for somebody else.
    pub role: Text,
    /// What was said.
    pub text: Text,
    /// When, if the vendor gives a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// How far into the call, if the vendor gives that (seed 003 `MM:SS`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_seconds: Option<Millis>,
    /// Whatever else the vendor says about the turn.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub more: Fields,
}

/// Which way the call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// They called.
    Inbound,
    /// We called.
    Outbound,
}

/// Who picked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnsweredBy {
    /// A person.
    Human,
    /// Voicemail or another machine.
    Machine,
}

/// What was removed from a record on purpose; the later one includes the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Erased {
    /// What was said, past the account's age for it.
    Transcript,
    /// Everything about the person.
    Person,
}

/// The record of one call, or what one body says of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The vendor's id of the call. Ours is the store's business.
    pub call_id: Text,
    /// How far the call has come.
    #[serde(default)]
    pub stage: Stage,
    /// How it ended; present exactly when `stage` is `ended`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Terminal outcomes that were heard and disagree with `outcome`, in canonical order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contradicting_outcomes: Vec<Outcome>,
    /// Which way the call went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Who picked up, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<AnsweredBy>,
    /// Whether the call was handed to a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transferred: Option<bool>,
    /// The batch that the call belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<Text>,
    /// The batch of the account that the vendor named though the call's source may not report on it: the call counts for
    /// nothing there. No dialect reads this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_batch_id: Option<Text>,
    /// The dialer's user (seed 002 `userId`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Text>,
    /// When the call record was made or the call was placed (seed 004 `createdAt`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
    /// When the conversation began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the call ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// Length of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<Millis>,
    /// The person at the other end.
    #[serde(default, skip_serializing_if = "Contact::is_empty")]
    pub contact: Contact,
    /// The line of ours that the call used.
    #[serde(default, skip_serializing_if = "Line::is_empty")]
    pub line: Line,
    /// Who spoke for us.
    #[serde(default, skip_serializing_if = "Agent::is_empty")]
    pub agent: Agent,
    /// The campaign.
    #[serde(default, skip_serializing_if = "Campaign::is_empty")]
    pub campaign: Campaign,
    /// The recording.
    #[serde(default, skip_serializing_if = "Recording::is_empty")]
    pub recording: Recording,
    /// What was said.
    #[serde(default, skip_serializing_if = "Transcript::is_empty")]
    pub transcript: Transcript,
    /// What an AI made of it.
    #[serde(default, skip_serializing_if = "Analysis::is_empty")]
    pub analysis: Analysis,
    /// What it cost.
    #[serde(default, skip_serializing_if = "Cost::is_empty")]
    pub cost: Cost,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Failure::is_empty")]
    pub failure: Failure,
    /// Seed 002 `metricSchema`, as sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric_schema: Option<Raw>,
    /// Custom values, types kept (`custom_data`, `metricJson`, `variables`, `leadData`).
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub variables: Fields,
    /// What a body said beyond all this, under dotted names of where it stood.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub metadata: Fields,
    /// What was removed from the record on purpose. Not a leaf of the merge: no body says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<Erased>,
}

impl Call {
    /// Takes in what a body says, leaf by leaf, as `judge` decides. Stage and outcomes are not leaves: the ledger
    /// has rules of its own for them.
    pub fn merge(&mut self, said: Self, judge: &mut impl Judge) {
        judge.leaf("direction", &mut self.direction, said.direction);
        judge.leaf("answered_by", &mut self.answered_by, said.answered_by);
        judge.leaf("transferred", &mut self.transferred, said.transferred);
        judge.leaf("batch_id", &mut self.batch_id, said.batch_id);
        judge.leaf("claimed_batch_id", &mut self.claimed_batch_id, said.claimed_batch_id);
        judge.leaf("user_id", &mut self.user_id, said.user_id);
        judge.leaf("created_at", &mut self.created_at, said.created_at);
        judge.leaf("started_at", &mut self.started_at, said.started_at);
        judge.leaf("ended_at", &mut self.ended_at, said.ended_at);
        judge.leaf("duration_seconds", &mut self.duration_seconds, said.duration_seconds);
        self.contact.merge(said.contact, judge);
        self.line.merge(said.line, judge);
        self.agent.merge(said.agent, judge);
        self.campaign.merge(said.campaign, judge);
        self.recording.merge(said.recording, judge);
        self.transcript.merge(said.transcript, judge);
        self.analysis.merge(said.analysis, judge);
        self.cost.merge(said.cost, judge);
        self.failure.merge(said.failure, judge);
        judge.leaf("metric_schema", &mut self.metric_schema, said.metric_schema);
        judge.entries("variables", &mut self.variables, said.variables);
        judge.entries("metadata", &mut self.metadata, said.metadata);
    }
}
