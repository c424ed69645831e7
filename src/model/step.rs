//! The steps of a call: how far it has come, how it ended, and the type of event that each step is.
//! Does not depend on what else is known of a call.

use serde::{Deserialize, Serialize};

use super::event_type::EventType;

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Asked for.
    #[default]
    Requested,
    /// Dialing started.
    Initiated,
    /// Ringing.
    Ringing,
    /// Answered.
    Answered,
    /// Over, one way or another.
    Ended,
}

impl Stage {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Initiated => "initiated",
            Self::Ringing => "ringing",
            Self::Answered => "answered",
            Self::Ended => "ended",
        }
    }
}

/// How a call ended, as the telephone sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Somebody talked.
    Completed,
    /// A machine took it.
    Voicemail,
    /// Nobody picked up.
    NoAnswer,
    /// The line was busy.
    Busy,
    /// It could not be placed or broke down.
    Failed,
    /// Called off.
    Canceled,
    /// No terminal event came by the deadline; provisional.
    Lost,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 7] = [
        Self::Completed,
        Self::Voicemail,
        Self::NoAnswer,
        Self::Busy,
        Self::Failed,
        Self::Canceled,
        Self::Lost,
    ];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Voicemail => "voicemail",
            Self::NoAnswer => "no_answer",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Lost => "lost",
        }
    }

    /// Reads a vendor's word for an outcome, whatever its case, hyphens or spaces. `None` for a
    /// word that says nothing about how the call ended.
    pub fn parse(word: &str) -> Option<Self> {
        let word = word.trim().to_ascii_lowercase().replace(['-', ' '], "_");
        Some(match word.as_str() {
            "completed" | "complete" | "success" | "succeeded" | "answered" | "ended" | "done" => {
                Self::Completed
            }
            "voicemail" | "machine" => Self::Voicemail,
            "no_answer" | "noanswer" | "unanswered" | "missed" | "not_answered" => Self::NoAnswer,
            "busy" => Self::Busy,
            "failed" | "failure" | "error" => Self::Failed,
            "canceled" | "cancelled" => Self::Canceled,
            "lost" => Self::Lost,
            _ => return None,
        })
    }

    /// The outcome decides the type of the terminal event, not the vendor's name for it (`docs/dialects.md`).
    pub fn event_type(self) -> EventType {
        match self {
            Self::Completed | Self::Voicemail => EventType::CallEnded,
            _ => EventType::CallFailed,
        }
    }
}

/// One step in a call's life: an outcome comes with the last one and with no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Asked for.
    Requested,
    /// Dialing started.
    Initiated,
    /// Ringing.
    Ringing,
    /// Answered.
    Answered,
    /// Over.
    Ended(Outcome),
}

impl Step {
    /// The stage without the outcome.
    pub fn stage(self) -> Stage {
        match self {
            Self::Requested => Stage::Requested,
            Self::Initiated => Stage::Initiated,
            Self::Ringing => Stage::Ringing,
            Self::Answered => Stage::Answered,
            Self::Ended(_) => Stage::Ended,
        }
    }

    /// The event type that this step is, when it is heard for the first time.
    pub fn event_type(self) -> EventType {
        match self {
            Self::Requested => EventType::CallRequested,
            Self::Initiated => EventType::CallInitiated,
            Self::Ringing => EventType::CallRinging,
            Self::Answered => EventType::CallAnswered,
            Self::Ended(outcome) => outcome.event_type(),
        }
    }
}
