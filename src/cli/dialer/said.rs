//! One body that a vendor sends: of which call it is and of which moment. Does not depend on who sends it when.

use std::time::Duration;

/// The moments of a call that vendors speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Moment {
    /// Dialing started.
    Initiated,
    /// Ringing.
    Ringing,
    /// Picked up.
    Answered,
    /// Over.
    Ended,
    /// The recording or the analysis came later.
    Updated,
    /// The end of a batch.
    Batch,
}

impl Moment {
    /// When in a call's simulated life it comes: a life is pressed into a second and a half, in its order.
    pub fn offset(self) -> Duration {
        Duration::from_millis(match self {
            Self::Initiated => 0,
            Self::Ringing => 200,
            Self::Answered => 500,
            Self::Ended => 1000,
            Self::Updated | Self::Batch => 1500,
        })
    }
}

/// One body that a vendor sends.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The call's id as the body spells it (the batch's, at the end of one).
    pub call_id: String,
    /// What of the call.
    pub moment: Moment,
    /// The body.
    pub body: String,
}

impl Said {
    /// The id of the message, the same when it is sent twice.
    pub fn message_id(&self) -> String {
        format!("msg_{}_{:?}", self.call_id, self.moment).to_ascii_lowercase()
    }
}
