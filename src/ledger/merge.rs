//! A call is the fold of all that was heard of it, in canonical order: stage, then the vendor's time, then content.
//! Each field keeps the rank of what it came from and yields only to a higher rank, so any order and any
//! repetition of the same bodies end in the same record. Receipt time decides nothing.
//! Refuses to know who is told about the change.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::call::Judge;
use crate::model::event::{HeardBatch, HeardCall};
use crate::model::json::Fields;
use crate::model::{Call, Erased, EventType, Outcome, Stage, Step, Time};

/// The place of a body in the canonical order of its call. A body without a time comes before those with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rank {
    stage: Stage,
    at: Option<Time>,
}

/// What the books keep of a call beside the record itself: enough to go on folding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Marks {
    /// The stages that were heard: a repeated one is a duplicate or an update.
    stages: Vec<Stage>,
    /// The terminal outcomes that were heard, each with its earliest time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    terminals: Vec<(Outcome, Option<Time>)>,
    /// The rank of every field that is not in `ranks`.
    base: Rank,
    /// The ranks of fields that came from another body than the first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    ranks: BTreeMap<String, Rank>,
}

impl Marks {
    /// The vendor's time of the end that stands, where it gave one.
    pub fn ended_at(&self) -> Option<Time> {
        self.terminals.first().and_then(|&(_, at)| at)
    }

    /// The stages that were received.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Whether an end was received, and the call not only given up as lost.
    pub fn has_real_end(&self) -> bool {
        self.terminals.iter().any(|&(outcome, _)| outcome != Outcome::Lost)
    }
}

/// One call in the books.
#[derive(Clone, Debug, PartialEq)]
pub struct CallBook {
    /// The record as it stands; shared with the snapshot of its last event.
    pub call: Arc<Call>,
    /// What it takes to go on.
    pub marks: Marks,
}

impl CallBook {
    /// The book of a call whose person is erased: it goes on where it was, and takes nothing personal any more.
    #[must_use]
    pub fn without_person(self) -> Self {
        let mut marks = self.marks;
        marks.ranks.retain(|path, _| !path.starts_with("variables.") && !path.starts_with("metadata."));
        Self { call: Arc::new(Arc::unwrap_or_clone(self.call).without_person()), marks }
    }
}

/// What hearing something did to the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A step was heard for the first time.
    Step(EventType),
    /// The first real end of a call that was given up as `lost`: it is told once more, and says that it corrects.
    Corrected(EventType),
    /// A step was heard before and now brought these fields, by their dotted names.
    Updated(Vec<String>),
    /// A duplicate but for a URL that the vendor signed anew: the record takes it, nobody is told.
    Renewed,
    /// Nothing new: a duplicate.
    Nothing,
}

/// Folds what was heard into the call's book; `None` is a call that nobody heard of before.
pub fn hear(book: Option<CallBook>, heard: HeardCall) -> (CallBook, Change) {
    let rank = Rank { stage: heard.step.stage(), at: heard.at };
    let (mut book, mut changed, renewed) = match book {
        Some(book) => fold(book, heard.call, rank),
        None => (open(heard.call, rank), Vec::new(), false),
    };

    let mut corrects = false;
    let is_first = match heard.step {
        Step::Ended(outcome) => {
            let (is_first, outcomes_changed) = end(&mut book, outcome, heard.at);
            if outcomes_changed {
                changed.push("outcome".to_owned());
            }
            corrects = is_first && book.marks.terminals.len() > 1;
            is_first
        }
        _ => !book.marks.stages.contains(&heard.step.stage()),
    };
    let reached = heard.step.stage();
    if !book.marks.stages.contains(&reached) {
        book.marks.stages.push(reached);
        book.marks.stages.sort_unstable();
    }
    let call = Arc::make_mut(&mut book.call);
    call.stage = call.stage.max(reached);

    let change = if corrects {
        Change::Corrected(heard.step.event_type())
    } else if is_first {
        Change::Step(heard.step.event_type())
    } else if !changed.is_empty() {
        Change::Updated(changed)
    } else if renewed {
        Change::Renewed
    } else {
        Change::Nothing
    };
    (book, change)
}

/// The book of a call that nobody heard of before. Each leaf that is said takes the place of nothing and has the rank
/// of its body, so what is said is the record as it stands.
fn open(said: Call, base: Rank) -> CallBook {
    let (stage, outcome, contradicting_outcomes) = Default::default();
    CallBook {
        call: Arc::new(Call { stage, outcome, contradicting_outcomes, ..said }),
        marks: Marks { stages: Vec::new(), terminals: Vec::new(), base, ranks: BTreeMap::new() },
    }
}

/// Folds what is said into a book that is open. Says also what changed, by dotted names, and whether a URL was renewed.
fn fold(mut book: CallBook, said: Call, rank: Rank) -> (CallBook, Vec<String>, bool) {
    let mut fold = Fold { marks: &mut book.marks, rank, changed: Vec::new(), renewed: false };
    let call = Arc::make_mut(&mut book.call);
    // What was removed on purpose does not come back with a repeat or a late part.
    let said = match call.erased {
        None => said,
        Some(Erased::Transcript) => said.without_transcript(),
        Some(Erased::Person) => said.without_person(),
    };
    call.merge(said, &mut fold);
    let Fold { changed, renewed, .. } = fold;
    (book, changed, renewed)
}

/// Books a terminal outcome. Any real one beats `lost`; among real ones the first in canonical order stands and
/// the others are kept as contradictions. Says whether this is the call's end being heard for the first time, and
/// whether what is known of its outcomes changed.
fn end(book: &mut CallBook, outcome: Outcome, at: Option<Time>) -> (bool, bool) {
    let terminals = &mut book.marks.terminals;
    let had_real = terminals.iter().any(|&(known, _)| known != Outcome::Lost);
    let was_empty = terminals.is_empty();
    match terminals.iter_mut().find(|(known, _)| *known == outcome) {
        Some((_, earliest)) => *earliest = [*earliest, at].into_iter().flatten().min(),
        None => terminals.push((outcome, at)),
    }
    terminals.sort_unstable_by_key(|&(outcome, at)| (outcome == Outcome::Lost, at.is_none(), at, outcome));

    let call = Arc::make_mut(&mut book.call);
    let before = (call.outcome, std::mem::take(&mut call.contradicting_outcomes));
    call.outcome = terminals.first().map(|&(outcome, _)| outcome);
    call.contradicting_outcomes =
        terminals.iter().skip(1).map(|&(outcome, _)| outcome).filter(|&o| o != Outcome::Lost).collect();
    let changed = before != (call.outcome, call.contradicting_outcomes.clone());
    let is_first = if outcome == Outcome::Lost { was_empty } else { !had_real };
    (is_first, changed)
}

/// The merge of one body, with its rank.
struct Fold<'a> {
    marks: &'a mut Marks,
    rank: Rank,
    changed: Vec<String>,
    renewed: bool,
}

impl Fold<'_> {
    /// Whether what is said takes the place of what is known; keeps the field's rank up to date.
    fn weigh(&mut self, path: &str, content: Option<std::cmp::Ordering>) -> bool {
        use std::cmp::Ordering::{Equal, Greater};
        let Some(content) = content else {
            self.set_rank(path);
            return true;
        };
        let known = self.marks.ranks.get(path).copied().unwrap_or(self.marks.base);
        if content == Equal {
            if self.rank > known {
                self.set_rank(path);
            }
            return false;
        }
        let takes = self.rank > known || (self.rank == known && content == Greater);
        if takes {
            self.set_rank(path);
        }
        takes
    }

    fn set_rank(&mut self, path: &str) {
        if self.rank == self.marks.base {
            self.marks.ranks.remove(path);
        } else {
            self.marks.ranks.insert(path.to_owned(), self.rank);
        }
    }
}

impl Judge for Fold<'_> {
    fn leaf<T: Serialize + PartialEq>(&mut self, path: &'static str, known: &mut Option<T>, said: Option<T>) {
        let Some(said) = said else { return };
        let content = known.as_ref().map(|known| {
            if *known == said { std::cmp::Ordering::Equal } else { text_of(&said).cmp(&text_of(known)) }
        });
        let is_envelope = known.as_ref().is_some_and(|known| is_renewed_url(path, known, &said));
        if self.weigh(path, content) {
            if is_envelope {
                self.renewed = true;
            } else {
                self.changed.push(path.to_owned());
            }
            *known = Some(said);
        }
    }

    fn entries(&mut self, path: &'static str, known: &mut Fields, said: Fields) {
        known.merge(said, |key, known, said| {
            let path = format!("{path}.{key}");
            let takes = self.weigh(&path, known.map(|known| said.get().cmp(known.get())));
            if takes {
                self.changed.push(path);
            }
            takes
        });
    }
}

fn text_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Vendors sign their URLs anew at each delivery; only the query differs then, and that brings nothing.
fn is_renewed_url<T: Serialize>(path: &str, known: &T, said: &T) -> bool {
    let place = |url: &T| text_of(url).split(['?', '"']).nth(1).map(str::to_owned);
    path.ends_with(".url") && place(known) == place(said)
}

/// What the books keep of a batch whose end a vendor tells (seed 002).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchBook {
    /// `batch.completed` was heard.
    pub completed: bool,
    /// `batch.failed` was heard.
    pub failed: bool,
}

impl BatchBook {
    /// Books the end of a batch; `None` when it was heard before.
    pub fn hear(&mut self, heard: &HeardBatch) -> Option<EventType> {
        let seen = match heard.kind {
            EventType::BatchCompleted => &mut self.completed,
            _ => &mut self.failed,
        };
        (!std::mem::replace(seen, true)).then_some(heard.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::text::Text;

    fn heard(step: Step, at: Option<i64>, fill: impl FnOnce(&mut Call)) -> HeardCall {
        let mut call = Call { call_id: Text::from("c1"), ..Call::default() };
        fill(&mut call);
        HeardCall { step, at: at.and_then(Time::from_seconds), call }
    }

    fn summary(text: &'static str) -> impl FnOnce(&mut Call) {
        move |call| call.analysis.summary = Some(Text::from(text))
    }

    #[test]
    fn a_repeat_brings_nothing_and_a_later_part_is_an_update() {
        let ended = || heard(Step::Ended(Outcome::Completed), Some(10), summary("short"));
        let (book, change) = hear(None, ended());
        assert_eq!(change, Change::Step(EventType::CallEnded));
        let (book, change) = hear(Some(book), ended());
        assert_eq!(change, Change::Nothing);
        let late = heard(Step::Ended(Outcome::Completed), Some(20), |call| {
            call.recording.url = Some(Text::from("https://r/1?sig=a"));
        });
        let (book, change) = hear(Some(book), late);
        assert_eq!(change, Change::Updated(vec!["recording.url".to_owned()]));
        let renewed = heard(Step::Ended(Outcome::Completed), Some(30), |call| {
            call.recording.url = Some(Text::from("https://r/1?sig=b"));
        });
        let (book, change) = hear(Some(book), renewed);
        assert_eq!(change, Change::Renewed, "a URL signed anew is no news");
        assert_eq!(book.call.recording.url, Some(Text::from("https://r/1?sig=b")));
    }

    #[test]
    fn terminal_stays_terminal_and_contradictions_are_flagged() {
        let (book, _) = hear(None, heard(Step::Ended(Outcome::Completed), Some(10), |_| {}));
        let (book, change) = hear(Some(book), heard(Step::Ringing, Some(5), |_| {}));
        assert_eq!(change, Change::Step(EventType::CallRinging));
        assert_eq!(book.call.stage, Stage::Ended);
        let (book, change) = hear(Some(book), heard(Step::Ended(Outcome::Failed), Some(11), |_| {}));
        assert_eq!(change, Change::Updated(vec!["outcome".to_owned()]));
        assert_eq!(book.call.outcome, Some(Outcome::Completed));
        assert_eq!(book.call.contradicting_outcomes, [Outcome::Failed]);
    }

    #[test]
    fn a_real_end_replaces_a_lost_one_and_is_the_one_delivery() {
        let (book, change) = hear(None, heard(Step::Ended(Outcome::Lost), Some(90), |_| {}));
        assert_eq!(change, Change::Step(EventType::CallFailed));
        let (book, change) = hear(Some(book), heard(Step::Ended(Outcome::Completed), Some(100), |_| {}));
        assert_eq!(change, Change::Corrected(EventType::CallEnded));
        assert_eq!(
            (book.call.outcome, book.call.contradicting_outcomes.len()),
            (Some(Outcome::Completed), 0)
        );
        let (_, change) = hear(Some(book), heard(Step::Ended(Outcome::Lost), Some(110), |_| {}));
        assert_eq!(change, Change::Nothing);
    }

    #[test]
    fn what_was_erased_does_not_come_back() {
        let ended = |name: &'static str| {
            heard(Step::Ended(Outcome::Completed), Some(10), |call| {
                call.contact.name = Some(Text::from(name));
                call.transcript.text = Some(Text::from("hello"));
                call.agent.id = Some(Text::from(name));
            })
        };
        let (book, _) = hear(None, ended("Ann"));
        let aged = CallBook { call: Arc::new(Call::clone(&book.call).without_transcript()), ..book.clone() };
        assert_eq!(hear(Some(aged.clone()), ended("Ann")), (aged, Change::Nothing));
        let erased = book.without_person();
        assert_eq!(hear(Some(erased.clone()), ended("Ann")), (erased.clone(), Change::Nothing));
        let (book, change) = hear(Some(erased), ended("Zoe"));
        assert_eq!(change, Change::Updated(vec!["agent.id".to_owned()]));
        assert_eq!((&book.call.contact.name, book.call.transcript.is_empty()), (&None, true));
    }

    #[test]
    fn batches_end_once() {
        let heard = |kind| HeardBatch { kind, at: None, batch: crate::model::Batch::default() };
        let mut book = BatchBook::default();
        assert_eq!(book.hear(&heard(EventType::BatchCompleted)), Some(EventType::BatchCompleted));
        assert_eq!(book.hear(&heard(EventType::BatchCompleted)), None);
        assert_eq!(book.hear(&heard(EventType::BatchFailed)), Some(EventType::BatchFailed));
    }

    mod any_order {
        use super::*;
        use crate::model::Raw;
        use proptest::prelude::*;

        fn step() -> impl Strategy<Value = Step> {
            prop_oneof![
                Just(Step::Initiated),
                Just(Step::Ringing),
                Just(Step::Answered),
                prop::sample::select(Outcome::ALL.to_vec()).prop_map(Step::Ended),
            ]
        }

        fn body() -> impl Strategy<Value = HeardCall> {
            let value = prop::option::of(prop::sample::select(vec!["a", "b", "c"]));
            let url =
                prop::option::of(prop::sample::select(vec!["https://r/1?x", "https://r/1?y", "https://r/2"]));
            let fields = prop::collection::vec((prop::sample::select(vec!["k", "l"]), 0..3i32), 0..3);
            (step(), prop::option::of(0..4i64), value.clone(), value, url, fields).prop_map(
                |(step, at, name, summary, url, fields)| {
                    heard(step, at, |call| {
                        call.contact.name = name.map(Text::from);
                        call.analysis.summary = summary.map(Text::from);
                        call.recording.url = url.map(Text::from);
                        call.variables =
                            fields.iter().map(|(key, n)| (Text::from(*key), Raw::from_value(n))).collect();
                    })
                },
            )
        }

        /// The record with free-form keys in a fixed order: JSON objects have none.
        fn books(bodies: &[HeardCall]) -> (Call, impl PartialEq + std::fmt::Debug) {
            let mut book = None;
            for body in bodies {
                book = Some(hear(book, body.clone()).0);
            }
            let book = book.expect("at least one body");
            let mut call = Arc::unwrap_or_clone(book.call);
            let mut variables: Vec<_> = call.variables.into_iter().collect();
            variables.sort_by(|a, b| a.0.cmp(&b.0));
            call.variables = variables.into_iter().collect();
            (call, (book.marks.terminals, book.marks.stages))
        }

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(2000))]
            #[test]
            fn the_first_body_opens_the_book_that_folding_it_would_make(said in body()) {
                let rank = Rank { stage: said.step.stage(), at: said.at };
                let nothing = Call { call_id: said.call.call_id.clone(), ..Call::default() };
                let (folded, _, renewed) = fold(open(nothing, rank), said.call.clone(), rank);
                prop_assert_eq!((open(said.call, rank), false), (folded, renewed));
            }

            #[test]
            fn and_any_repetition_end_in_the_same_books(
                (bodies, shuffled) in prop::collection::vec(body(), 1..7).prop_flat_map(|bodies| {
                    let repeated: Vec<HeardCall> = bodies.iter().chain(&bodies).cloned().collect();
                    (Just(bodies), Just(repeated).prop_shuffle())
                })
            ) {
                prop_assert_eq!(books(&bodies), books(&shuffled));
            }
        }
    }
}
