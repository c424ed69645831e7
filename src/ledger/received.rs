//! Which steps of a call, or ends of a batch, were received: what is left to know of a record when it is removed, so that a
//! body that comes once more is known as a repeat. Pure; does not depend on where it is kept.

use super::merge::{BatchBook, Marks};
use crate::model::{EventType, Outcome, Stage, Step};

/// A set of steps. Its bits are stored, so none is ever used for something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received(u8);

/// A real end. An end that was given up as `lost` has a bit of its own: the real one is still to come.
const ENDED: u8 = 1 << 4;
const LOST: u8 = 1 << 5;
/// The ends of a batch; no call has them.
const BATCH_COMPLETED: u8 = 1 << 6;
const BATCH_FAILED: u8 = 1 << 7;

impl Received {
    /// The set of these bits, which [`Self::bits`] gave.
    pub fn from_bits(bits: i64) -> Self {
        Self(u8::try_from(bits).unwrap_or(0))
    }

    /// Its bits.
    pub fn bits(self) -> i64 {
        self.0.into()
    }

    /// Nothing.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in one of the two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The steps that a call went through.
    pub fn of_call(marks: &Marks) -> Self {
        let stages = marks.stages().iter().map(|&stage| match stage {
            Stage::Requested => 1,
            Stage::Initiated => 1 << 1,
            Stage::Ringing => 1 << 2,
            Stage::Answered => 1 << 3,
            Stage::Ended if marks.has_real_end() => ENDED,
            Stage::Ended => LOST,
        });
        Self(stages.fold(0, |all, bit| all | bit))
    }

    /// The ends of a batch that were told.
    pub fn of_batch(book: BatchBook) -> Self {
        let completed = if book.completed { BATCH_COMPLETED } else { 0 };
        let failed = if book.failed { BATCH_FAILED } else { 0 };
        Self(completed | failed)
    }

    /// Whether this step is a repeat. After a real end there is no news in a call being lost.
    pub fn has_step(self, step: Step) -> bool {
        let any_of = match step {
            Step::Requested => 1,
            Step::Initiated => 1 << 1,
            Step::Ringing => 1 << 2,
            Step::Answered => 1 << 3,
            Step::Ended(Outcome::Lost) => ENDED | LOST,
            Step::Ended(_) => ENDED,
        };
        self.0 & any_of != 0
    }

    /// Whether this end of a batch is a repeat.
    pub fn has_end(self, kind: EventType) -> bool {
        let bit = if kind == EventType::BatchCompleted { BATCH_COMPLETED } else { BATCH_FAILED };
        self.0 & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::hear;
    use crate::model::event::HeardCall;
    use crate::model::{Call, Text};

    fn after(steps: &[Step]) -> Received {
        let mut book = None;
        for &step in steps {
            let call = Call { call_id: Text::from("c"), ..Call::default() };
            book = Some(hear(book, HeardCall { step, at: None, call }).0);
        }
        Received::of_call(&book.unwrap().marks)
    }

    #[test]
    fn only_what_was_received_is_a_repeat() {
        let all = [
            Step::Requested,
            Step::Initiated,
            Step::Ringing,
            Step::Answered,
            Step::Ended(Outcome::Completed),
        ];
        for one in all {
            for other in all {
                assert_eq!(after(&[one]).has_step(other), one == other, "{one:?}, then {other:?}");
            }
        }
        assert!(all.iter().all(|&step| after(&all).has_step(step)));
        assert!(after(&[all[4]]).has_step(Step::Ended(Outcome::Failed)), "another end is an end again");
        assert!(all.iter().all(|&step| !Received::default().has_step(step)));
    }

    #[test]
    fn the_real_end_of_a_lost_call_is_still_to_come() {
        let lost = Step::Ended(Outcome::Lost);
        assert!(!after(&[lost]).has_step(Step::Ended(Outcome::Completed)));
        assert!(after(&[lost]).has_step(lost));
        assert!(after(&[Step::Ended(Outcome::Completed)]).has_step(lost));
        assert!(after(&[lost, Step::Ended(Outcome::Failed)]).has_step(Step::Ended(Outcome::Completed)));
    }

    #[test]
    fn each_end_of_a_batch_is_known_by_itself() {
        let completed = Received::of_batch(BatchBook { completed: true, failed: false });
        assert!(completed.has_end(EventType::BatchCompleted) && !completed.has_end(EventType::BatchFailed));
        let both = completed.and(Received::of_batch(BatchBook { completed: false, failed: true }));
        assert!(both.has_end(EventType::BatchCompleted) && both.has_end(EventType::BatchFailed));
        assert_eq!(Received::from_bits(both.bits()), both);
        assert!(Received::of_batch(BatchBook::default()).is_empty());
    }
}
