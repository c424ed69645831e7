//! The types of events that an endpoint can subscribe to. Does not depend on what an event says.

/// Every event type that an endpoint can subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    /// A batch or API asks a dialer to call.
    CallRequested,
    /// Queued, dialing started.
    CallInitiated,
    /// Ringing.
    CallRinging,
    /// Answered, conversation starting.
    CallAnswered,
    /// Outcome completed or voicemail.
    CallEnded,
    /// Any other outcome.
    CallFailed,
    /// Something new about a call whose stage was heard before.
    CallUpdated,
    /// Every contact of a batch has its terminal call.
    BatchCompleted,
    /// A batch stopped.
    BatchFailed,
    /// An endpoint answered 410, or somebody disabled it.
    EndpointDisabled,
}

impl EventType {
    /// Every type, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::CallRequested,
        Self::CallInitiated,
        Self::CallRinging,
        Self::CallAnswered,
        Self::CallEnded,
        Self::CallFailed,
        Self::CallUpdated,
        Self::BatchCompleted,
        Self::BatchFailed,
        Self::EndpointDisabled,
    ];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallRequested => "call.requested",
            Self::CallInitiated => "call.initiated",
            Self::CallRinging => "call.ringing",
            Self::CallAnswered => "call.answered",
            Self::CallEnded => "call.ended",
            Self::CallFailed => "call.failed",
            Self::CallUpdated => "call.updated",
            Self::BatchCompleted => "batch.completed",
            Self::BatchFailed => "batch.failed",
            Self::EndpointDisabled => "endpoint.disabled",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The number in the store. Never reuse one.
    pub fn code(self) -> i64 {
        Self::ALL.iter().position(|&kind| kind == self).map_or(0, |at| i64::try_from(at).unwrap_or(0))
    }

    /// The inverse of [`Self::code`].
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }
}
