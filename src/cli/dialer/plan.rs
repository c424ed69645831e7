//! What a dialer sends when: the bodies of made-up calls in the order of time, some late and some twice. Pure; does not
//! depend on how they are sent.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::mpsc;

use super::bodies;
use super::callee::{Callee, Played};
use super::said::{Moment, Said};
use super::story::{self, End};
use crate::model::time::duration;
use crate::model::{DialectName, Time};

/// How far a dialer departs from one event after the other, each once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Disorder {
    /// Chance that an event is sent a second time, in percent.
    pub duplicates: f64,
    /// Chance that an event is late by up to two seconds, so that later ones overtake it, in percent.
    pub late: f64,
}

/// What to play.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Script {
    /// The vendor.
    pub dialect: DialectName,
    /// How many calls.
    pub calls: u64,
    /// Calls started per second.
    pub rate: f64,
    /// Which calls: the same number gives the same ones.
    pub seed: u64,
    /// How they are sent.
    pub disorder: Disorder,
    /// When the first call was placed, by the vendor's clock.
    pub start: Time,
}

/// A body with the time at which it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// From the start of the play.
    pub at: Duration,
    /// What is sent.
    pub said: Arc<Said>,
    sequence: u64,
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// Everything that is sent, in the order of time. Calls are made up only when their time comes, so that a million of
/// them takes no more memory than the few that are under way.
pub struct Plan {
    script: Script,
    batch: String,
    rng: Rng,
    next_call: u64,
    succeeded: u64,
    sequence: u64,
    waiting: BinaryHeap<Reverse<Due>>,
    callees: Option<mpsc::Receiver<Callee>>,
    played: Played,
}

impl Script {
    /// The plan of this script.
    pub fn plan(self) -> Plan {
        let mut rng = Rng::with_seed(!self.seed);
        let batch = format!("batch_{:012x}", rng.u64(..) >> 16);
        Plan {
            script: self,
            batch,
            rng,
            next_call: 0,
            succeeded: 0,
            sequence: 0,
            waiting: BinaryHeap::new(),
            callees: None,
            played: Played::default(),
        }
    }

    /// The plan of one call to each of these contacts, as they become known; `calls` counts for nothing.
    pub fn plan_for(self, callees: mpsc::Receiver<Callee>) -> Plan {
        Plan { callees: Some(callees), ..Self { calls: u64::MAX, ..self }.plan() }
    }

    fn start_of(&self, call: u64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "nobody plays 2^53 calls")]
        let seconds = call as f64 / self.rate;
        duration(seconds)
    }
}

impl Plan {
    /// How many calls were made up so far.
    pub fn calls_begun(&self) -> u64 {
        self.next_call
    }

    /// What became of the contacts that were called.
    pub fn played(&self) -> Played {
        self.played
    }

    /// What is sent next, as soon as it is known whom the next call is for.
    pub async fn upcoming(&mut self) -> Option<Due> {
        while self.has_room_for_a_call() {
            let Some(callees) = &mut self.callees else {
                self.begin_call(None);
                continue;
            };
            match callees.recv().await {
                Some(callee) => self.begin_call(Some(callee)),
                None => self.script.calls = self.next_call,
            }
        }
        self.waiting.pop().map(|Reverse(due)| due)
    }

    /// Nothing comes before its call begins, so what is due by then is next; else another call comes first.
    fn has_room_for_a_call(&self) -> bool {
        self.next_call < self.script.calls
            && self.waiting.peek().is_none_or(|Reverse(due)| due.at > self.script.start_of(self.next_call))
    }

    fn begin_call(&mut self, callee: Option<Callee>) {
        let (number, Script { seed, start, .. }) = (self.next_call, self.script);
        self.next_call += 1;
        let story = match callee {
            Some(callee) => story::story_of(seed, callee, number, start),
            None => story::story(seed, number, start),
        };
        let (begins, is_reached) = (self.script.start_of(number), story.end == End::Completed);
        self.succeeded += u64::from(is_reached);
        let said = bodies::said(self.script.dialect, &story, &self.batch);
        if let Some(callee) = &story.callee {
            self.played.add(callee, is_reached, !said.is_empty());
        }
        for said in said {
            self.put(begins, said);
        }
        if self.callees.is_none()
            && self.next_call == self.script.calls
            && self.script.dialect == DialectName::Dialgen
        {
            let (start, end) = (self.script.start, story.placed.after(Duration::from_secs(60)));
            let body = bodies::dialgen_batch(&self.batch, self.next_call, self.succeeded, start, end);
            self.put(begins, Said { call_id: self.batch.clone(), moment: Moment::Batch, body });
        }
    }

    fn put(&mut self, begins: Duration, said: Said) {
        let said = Arc::new(said);
        let mut at = begins + said.moment.offset();
        // The dice are rolled alike whatever the rates are: raising one does not shuffle the rest.
        let (late, late_by, twice, twice_by) =
            (self.rng.f64(), self.rng.u64(300..2000), self.rng.f64(), self.rng.u64(20..2000));
        let Disorder { duplicates, late: lateness } = self.script.disorder;
        if late * 100.0 < lateness {
            at += Duration::from_millis(late_by);
        }
        if twice * 100.0 < duplicates {
            self.push(at + Duration::from_millis(twice_by), Arc::clone(&said));
        }
        self.push(at, said);
    }

    fn push(&mut self, at: Duration, said: Arc<Said>) {
        self.sequence += 1;
        self.waiting.push(Reverse(Due { at, said, sequence: self.sequence }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{self, Reading, js_json};
    use crate::model::event::Heard;
    use crate::model::{Outcome, Step};

    fn script(dialect: DialectName, seed: u64) -> Script {
        Script {
            dialect,
            calls: 300,
            rate: 1000.0,
            seed,
            disorder: Disorder::default(),
            start: Time::parse("2025-01-20T09:00:00Z").unwrap(),
        }
    }

    /// Everything that a script sends.
    fn all(script: Script) -> Vec<Due> {
        run_out(&mut script.plan())
    }

    fn run_out(plan: &mut Plan) -> Vec<Due> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut dues, mut next) = (Vec::new(), runtime.block_on(plan.upcoming()));
        while let Some(due) = next {
            dues.push(due);
            next = runtime.block_on(plan.upcoming());
        }
        dues
    }

    fn step(said: &Said) -> Option<Step> {
        match said.moment {
            Moment::Initiated => Some(Step::Initiated),
            Moment::Ringing => Some(Step::Ringing),
            Moment::Answered => Some(Step::Answered),
            Moment::Ended | Moment::Updated | Moment::Batch => None,
        }
    }

    #[test]
    fn every_body_is_json_that_its_dialect_reads() {
        for name in DialectName::ALL {
            let mut ends = std::collections::BTreeSet::new();
            for due in all(script(name, 7)) {
                let said = &*due.said;
                assert!(js_json::stringify_parse(said.body.as_bytes()).is_ok(), "{}", said.body);
                let Reading::Events(heard) = dialect::get(name).read(said.body.as_bytes()) else {
                    panic!("{name} does not read {}", said.body);
                };
                let [heard] = &heard[..] else { panic!("not one event: {}", said.body) };
                match heard {
                    Heard::Call(heard) => {
                        assert_eq!(heard.call.call_id.to_str(), said.call_id);
                        match step(said) {
                            Some(expected) => assert_eq!(heard.step, expected),
                            None => assert!(matches!(heard.step, Step::Ended(_)), "{}", said.body),
                        }
                        if let Step::Ended(outcome) = heard.step {
                            ends.insert(outcome);
                        }
                        let mut unknown = heard.call.metadata.iter().map(|(key, _)| key.to_str());
                        assert!(unknown.all(|key| key == "notes" || key == "call.notes"), "{}", said.body);
                    }
                    Heard::Batch(heard) => assert_eq!(heard.batch.batch_id.to_str(), said.call_id),
                }
            }
            let all = match name {
                DialectName::Cllr | DialectName::Air => vec![Outcome::Completed],
                // MISSED says no more than that nobody talked.
                DialectName::Dialgen => vec![Outcome::Completed, Outcome::NoAnswer, Outcome::Failed],
                _ => Outcome::ALL[..5].to_vec(),
            };
            assert_eq!(ends.into_iter().collect::<Vec<_>>(), all, "{name}");
        }
    }

    #[test]
    fn bodies_have_the_habits_of_vendors() {
        let bodies = |name| all(script(name, 7)).iter().map(|due| due.said.body.clone()).collect::<Vec<_>>();
        let is_fixed = |body: &String| js_json::stringify_parse(body.as_bytes()).unwrap() == body.as_bytes();
        assert!(bodies(DialectName::Voicegenie).iter().any(|body| body.contains(r#"\ud83d""#)), "cut emoji");
        assert!(!bodies(DialectName::Aloro).iter().any(is_fixed), "0.10 is no number of JavaScript's");
        assert!(bodies(DialectName::Air).iter().all(|body| body.is_ascii()), "escaped");
        assert!(bodies(DialectName::Cllr).iter().all(|body| body.contains(r#""+1-"#)), "dashes");
    }

    #[test]
    fn a_seed_plays_the_same_again() {
        let disorder = Disorder { duplicates: 20.0, late: 30.0 };
        let play = |seed| all(Script { disorder, ..script(DialectName::Voicegenie, seed) });
        assert_eq!(play(7), play(7));
        assert_ne!(play(7), play(8));
    }

    #[test]
    fn without_disorder_each_comes_once_and_in_its_order() {
        let mut last: std::collections::HashMap<String, Moment> = std::collections::HashMap::new();
        let mut at = Duration::ZERO;
        for due in all(script(DialectName::Standard, 1)) {
            assert!(due.at >= at, "in the order of time");
            at = due.at;
            if let Some(before) = last.insert(due.said.call_id.clone(), due.said.moment) {
                assert!(before < due.said.moment, "{before:?} before {:?}", due.said.moment);
            }
        }
        assert_eq!(last.len(), 300);
    }

    #[test]
    fn disorder_repeats_and_delays_as_much_as_was_asked() {
        let disorder = Disorder { duplicates: 25.0, late: 25.0 };
        let plain = all(script(DialectName::Standard, 1));
        let mixed = all(Script { disorder, ..script(DialectName::Standard, 1) });
        assert!(mixed.is_sorted());
        let repeated = mixed.len() - plain.len();
        let (least, most) = (plain.len() / 5, plain.len() * 3 / 10);
        assert!((least..most).contains(&repeated), "{repeated} of {}", plain.len());
        let mut heard: std::collections::HashMap<&str, Moment> = std::collections::HashMap::new();
        let overtaken = mixed.iter().filter(|due| {
            let latest = heard.entry(&due.said.call_id).or_insert(due.said.moment);
            let is_overtaken = *latest > due.said.moment;
            *latest = (*latest).max(due.said.moment);
            is_overtaken
        });
        assert!(overtaken.count() > plain.len() / 20);
    }
}
