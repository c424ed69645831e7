//! Whom a call of a batch is for, and what became of those who were called. Refuses to know where contacts come from
//! and how a vendor writes them.

use std::sync::Arc;

/// A contact of a batch that is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callee {
    /// The batch's id, `bat_…`.
    pub batch: Arc<str>,
    /// postcall's id of the contact, `con_…`.
    pub contact: String,
    /// The id that the contact was given with.
    pub given_id: Option<String>,
    /// The number that is called.
    pub phone: String,
    /// Their name, where the batch knows it.
    pub name: Option<String>,
    /// Their e-mail address, where the batch knows it.
    pub email: Option<String>,
    /// Calls to them that are over.
    pub attempts: u64,
    /// Calls that they get before they count as failed.
    pub most_attempts: u64,
}

impl Callee {
    /// The id by which a dialer that keeps one speaks of them: the giver's own, else ours.
    pub fn id(&self) -> &str {
        self.given_id.as_ref().unwrap_or(&self.contact)
    }

    /// Whether nobody calls them again, however this call ends.
    pub fn has_one_call_left(&self) -> bool {
        self.attempts + 1 >= self.most_attempts
    }

    /// A number for this call alone: the next call to the same contact is another one, and to play a batch again does
    /// not play the calls of another batch. FNV-1a.
    pub fn number(&self) -> u64 {
        let bytes = self.contact.bytes().chain(self.attempts.to_be_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }
}

/// What became of those who were called, as it was played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Played {
    /// Calls.
    pub calls: u64,
    /// Of them those in which a person talked.
    pub reached: u64,
    /// Those that ended otherwise and were the contact's last.
    pub given_up: u64,
    /// Those that ended otherwise, of which the vendor says nothing.
    pub unsaid: u64,
}

impl Played {
    /// One more call.
    pub fn add(&mut self, callee: &Callee, is_reached: bool, is_said: bool) {
        self.calls += 1;
        self.reached += u64::from(is_reached);
        self.unsaid += u64::from(!is_said);
        self.given_up += u64::from(is_said && !is_reached && callee.has_one_call_left());
    }

    /// With another play.
    pub fn and(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            reached: self.reached + other.reached,
            given_up: self.given_up + other.given_up,
            unsaid: self.unsaid + other.unsaid,
        }
    }
}
