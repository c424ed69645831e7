//! The numbers of many calls: what one call adds to them, and what can be read off their sums. A call that changes takes
//! away what it added before and adds what it adds now, so the sums are always those of the records as they stand.
//! All of it whole numbers, so sums agree to the last digit in whatever order they were made.
//! Refuses to know where sums are kept and of what time they are asked.

use super::merge::CallBook;
use crate::model::step::Stage;
use crate::model::{Call, Outcome, Text, Time, decimal};

/// Microseconds of an hour.
const HOUR: i64 = 3_600_000_000;
/// Upper edges of the buckets that durations are counted in, in seconds. A percentile is the edge of the bucket that it
/// lies in: never too small, and from four seconds to half an hour at most a quarter too large.
pub const EDGES: [u32; 46] = [
    1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 20, 25, 30, 35, 40, 45, 50, 60, 75, 90, 105, 120, 150, 180, 210,
    240, 270, 300, 360, 420, 480, 540, 600, 720, 900, 1080, 1200, 1500, 1800, 2400, 2700, 3600, 5400, 7200,
];
/// The longest call in milliseconds, seven days; what is longer is no duration. Also the edge of the last bucket.
const LONGEST: u64 = 7 * 24 * 3600 * 1000;
/// The most that a call costs: past that, sums could overflow. In millionths, as all money here.
const DEAREST: i64 = 10_000_000 * 1_000_000;
/// The longest id in bytes that calls are counted by; no vendor's is near it.
const LONGEST_ID: usize = 256;
/// Decimal places of money.
pub const MONEY_PLACES: u32 = 6;
/// Decimal places of scores.
pub const SCORE_PLACES: u32 = 3;
/// The best score (seed 001: 0 to 100), in thousandths.
const BEST: i64 = 100_000;

/// What was felt, as far as it can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sentiment {
    /// `positive`
    Positive,
    /// `neutral`
    Neutral,
    /// `negative`
    Negative,
    /// Any other word.
    Other,
}

impl Sentiment {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Positive, Self::Neutral, Self::Negative, Self::Other];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Positive => "positive",
            Self::Neutral => "neutral",
            Self::Negative => "negative",
            Self::Other => "other",
        }
    }

    fn of(word: &Text) -> Self {
        let word = word.to_str().trim().to_ascii_lowercase();
        Self::ALL.into_iter().find(|known| known.as_str() == word).unwrap_or(Self::Other)
    }
}

/// What calls are counted by, beside their account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// The campaign.
    Campaign,
    /// The batch.
    Batch,
    /// The agent, assistant or prompt.
    Agent,
}

/// Where a call counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// The hour in which it ended, UTC, in hours since 1970; `None` as long as it has not.
    pub hour: Option<i64>,
    /// Its campaign.
    pub campaign: Option<Text>,
    /// Its batch.
    pub batch: Option<Text>,
    /// Its agent.
    pub agent: Option<Text>,
}

impl Place {
    /// What it is counted by, beside the account.
    pub fn dimensions(&self) -> impl Iterator<Item = (Dimension, &Text)> {
        let all = [
            (Dimension::Campaign, &self.campaign),
            (Dimension::Batch, &self.batch),
            (Dimension::Agent, &self.agent),
        ];
        all.into_iter().filter_map(|(dimension, id)| Some((dimension, id.as_ref()?)))
    }
}

/// How far a call has come, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Asked for and not dialed yet.
    Requested,
    /// Being dialed or talked on.
    InProgress,
    /// Over.
    Ended(Outcome),
}

/// What one call adds to the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// How far it has come.
    pub state: State,
    /// Whether it reached its goal, where somebody says.
    pub success: Option<bool>,
    /// Its length in milliseconds.
    pub duration: Option<u64>,
    /// What was felt.
    pub sentiment: Option<Sentiment>,
    /// Its score from 0 to 100, in thousandths.
    pub score: Option<i64>,
    /// What it cost, in millionths of the vendor's currency.
    pub cost: Option<i64>,
    /// Whether there is a recording.
    pub is_recorded: bool,
}

/// What a call adds, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contribution {
    /// Where.
    pub place: Place,
    /// What.
    pub facts: Facts,
}

/// What a call adds to the numbers of its account. `heard` is when its end was heard, for a vendor that gives no time.
/// A call that has not ended adds nothing but itself.
pub fn contribution(book: &CallBook, heard: Time) -> Contribution {
    let call = &*book.call;
    let id = |id: &Option<Text>| id.clone().filter(|id| !id.is_empty() && id.as_bytes().len() <= LONGEST_ID);
    let ended = call.outcome.map(|_| call.ended_at.or(book.marks.ended_at()).unwrap_or(heard));
    Contribution {
        place: Place {
            hour: ended.map(hour),
            campaign: id(&call.campaign.id),
            batch: id(&call.batch_id),
            agent: id(&call.agent.id),
        },
        facts: facts(call),
    }
}

/// The hour of a moment, in hours since 1970.
pub fn hour(time: Time) -> i64 {
    time.as_micros().div_euclid(HOUR)
}

/// The moment at which an hour begins.
pub fn begin_of(hour: i64) -> Time {
    Time::from_micros(hour.saturating_mul(HOUR))
}

fn facts(call: &Call) -> Facts {
    let Some(outcome) = call.outcome else {
        let state = if call.stage == Stage::Requested { State::Requested } else { State::InProgress };
        return Facts {
            state,
            success: None,
            duration: None,
            sentiment: None,
            score: None,
            cost: None,
            is_recorded: false,
        };
    };
    let score = call.analysis.score.as_ref().and_then(|score| decimal::scale(score, SCORE_PLACES));
    let cost = call.cost.total.as_ref().and_then(|total| decimal::scale(total, MONEY_PLACES));
    Facts {
        state: State::Ended(outcome),
        success: call.analysis.success,
        duration: call.duration_seconds.map(|length| length.0).filter(|&length| length <= LONGEST),
        sentiment: call.analysis.sentiment.as_ref().or(call.analysis.mood.as_ref()).map(Sentiment::of),
        score: score.filter(|score| (0..=BEST).contains(score)),
        cost: cost.filter(|cost| cost.unsigned_abs() <= DEAREST.unsigned_abs()),
        is_recorded: call.recording.url.is_some(),
    }
}

/// The columns of a [`Tally`] before those of the durations.
const PLAIN: [&str; 22] = [
    "requested",
    "in_progress",
    "completed",
    "voicemail",
    "no_answer",
    "busy",
    "failed",
    "canceled",
    "lost",
    "succeeded",
    "not_succeeded",
    "timed",
    "milliseconds",
    "positive",
    "neutral",
    "negative",
    "other",
    "scored",
    "score",
    "priced",
    "cost",
    "recorded",
];
const REQUESTED: usize = 0;
const IN_PROGRESS: usize = 1;
const OUTCOMES: usize = 2;
const SUCCEEDED: usize = 9;
const TIMED: usize = 11;
const SENTIMENTS: usize = 13;
const SCORED: usize = 17;
const PRICED: usize = 19;
const RECORDED: usize = 21;
const BUCKETS: usize = EDGES.len() + 1;
/// How many numbers a tally has.
pub const WIDTH: usize = PLAIN.len() + BUCKETS;

/// The sums of any number of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally([i64; WIDTH]);

impl Default for Tally {
    fn default() -> Self {
        Self([0; WIDTH])
    }
}

impl Tally {
    /// The names of its numbers, in order.
    pub fn names() -> impl Iterator<Item = String> {
        let plain = PLAIN.into_iter().map(str::to_owned);
        plain.chain((0..BUCKETS).map(|bucket| format!("duration_{bucket}")))
    }

    /// From its numbers.
    pub fn of(numbers: [i64; WIDTH]) -> Self {
        Self(numbers)
    }

    /// Its numbers.
    pub fn numbers(&self) -> &[i64; WIDTH] {
        &self.0
    }

    /// Whether it is the sum of nothing.
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|&number| number == 0)
    }

    /// Adds a call.
    pub fn add(&mut self, facts: &Facts) {
        self.book(facts, 1);
    }

    /// Takes a call away.
    pub fn take(&mut self, facts: &Facts) {
        self.book(facts, -1);
    }

    /// Adds other sums.
    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, number)| *sum = sum.saturating_add(*number));
    }

    fn book(&mut self, facts: &Facts, sign: i64) {
        let mut add = |at: usize, amount: i64| self.0[at] = self.0[at].saturating_add(sign * amount);
        match facts.state {
            State::Ended(outcome) => add(OUTCOMES + place_of(&Outcome::ALL, outcome), 1),
            State::Requested => add(REQUESTED, 1),
            State::InProgress => add(IN_PROGRESS, 1),
        }
        if let Some(success) = facts.success {
            add(if success { SUCCEEDED } else { SUCCEEDED + 1 }, 1);
        }
        if let Some(length) = facts.duration {
            add(TIMED, 1);
            add(TIMED + 1, i64::try_from(length).unwrap_or(0));
            add(PLAIN.len() + bucket(length), 1);
        }
        if let Some(sentiment) = facts.sentiment {
            add(SENTIMENTS + place_of(&Sentiment::ALL, sentiment), 1);
        }
        for (at, amount) in [(SCORED, facts.score), (PRICED, facts.cost)] {
            if let Some(amount) = amount {
                add(at, 1);
                add(at + 1, amount);
            }
        }
        add(RECORDED, i64::from(facts.is_recorded));
    }

    /// Calls that are asked for and not dialed yet.
    pub fn requested(&self) -> i64 {
        self.0[REQUESTED]
    }

    /// Calls that are being dialed or talked on.
    pub fn in_progress(&self) -> i64 {
        self.0[IN_PROGRESS]
    }

    /// Calls that ended.
    pub fn ended(&self) -> i64 {
        self.0[OUTCOMES..OUTCOMES + Outcome::ALL.len()].iter().sum()
    }

    /// Calls that ended so.
    pub fn outcome(&self, outcome: Outcome) -> i64 {
        self.0[OUTCOMES + place_of(&Outcome::ALL, outcome)]
    }

    /// Of all calls that ended, those in which somebody talked, in hundredths of a percent.
    pub fn connection_rate(&self) -> Option<i64> {
        decimal::ratio(self.outcome(Outcome::Completed), self.ended(), 4)
    }

    /// Calls that reached their goal, and those that did not, where somebody says.
    pub fn successes(&self) -> [i64; 2] {
        [self.0[SUCCEEDED], self.0[SUCCEEDED + 1]]
    }

    /// Of the calls whose success is known, those that reached their goal, in hundredths of a percent.
    pub fn success_rate(&self) -> Option<i64> {
        let [yes, no] = self.successes();
        decimal::ratio(yes, yes + no, 4)
    }

    /// How many calls have a duration, and all of them in milliseconds.
    pub fn durations(&self) -> (i64, i64) {
        (self.0[TIMED], self.0[TIMED + 1])
    }

    /// The duration that so many percent of the calls do not exceed, as the edge of its bucket, in seconds.
    pub fn percentile(&self, percent: i64) -> Option<u32> {
        let count = self.0[TIMED];
        if count <= 0 {
            return None;
        }
        let rank = (count * percent + 99) / 100;
        let mut below = 0;
        let buckets = &self.0[PLAIN.len()..];
        let at = buckets.iter().position(|&in_bucket| {
            below += in_bucket;
            below >= rank
        })?;
        Some(EDGES.get(at).copied().unwrap_or(u32::try_from(LONGEST / 1000).unwrap_or(u32::MAX)))
    }

    /// Calls in which this was felt.
    pub fn sentiment(&self, sentiment: Sentiment) -> i64 {
        self.0[SENTIMENTS + place_of(&Sentiment::ALL, sentiment)]
    }

    /// How many calls have a score, and the sum in thousandths.
    pub fn scores(&self) -> (i64, i64) {
        (self.0[SCORED], self.0[SCORED + 1])
    }

    /// How many calls have a price, and the sum in millionths.
    pub fn costs(&self) -> (i64, i64) {
        (self.0[PRICED], self.0[PRICED + 1])
    }

    /// Calls with a recording.
    pub fn recorded(&self) -> i64 {
        self.0[RECORDED]
    }
}

fn place_of<T: PartialEq>(all: &[T], one: T) -> usize {
    all.iter().position(|known| *known == one).unwrap_or(0)
}

fn bucket(milliseconds: u64) -> usize {
    EDGES.partition_point(|&edge| u64::from(edge) * 1000 < milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::hear;
    use crate::model::Raw;
    use crate::model::event::HeardCall;
    use crate::model::step::Step;
    use crate::model::time::Millis;

    fn book(step: Step, at: Option<&str>, fill: impl FnOnce(&mut Call)) -> CallBook {
        let mut call = Call { call_id: Text::from("c1"), ..Call::default() };
        fill(&mut call);
        hear(None, HeardCall { step, at: at.and_then(Time::parse), call }).0
    }

    fn of_durations(seconds: &[f64]) -> Tally {
        let mut tally = Tally::default();
        for &seconds in seconds {
            let ended = book(Step::Ended(Outcome::Completed), None, |call| {
                call.duration_seconds = Millis::from_seconds(seconds);
            });
            tally.add(&contribution(&ended, Time::from_micros(0)).facts);
        }
        tally
    }

    #[test]
    fn a_call_counts_in_the_hour_in_which_it_ended() {
        let heard = Time::parse("2026-01-01T12:34:00Z").unwrap();
        let hour_of =
            |book: &CallBook| contribution(book, heard).place.hour.map(|hour| begin_of(hour).to_string());
        let ended = Step::Ended(Outcome::Busy);
        assert_eq!(hour_of(&book(Step::Ringing, Some("2025-01-01T10:59:59Z"), |_| {})), None);
        assert_eq!(hour_of(&book(ended, None, |_| {})).unwrap(), "2026-01-01T12:00:00Z");
        assert_eq!(
            hour_of(&book(ended, Some("2025-01-01T10:59:59Z"), |_| {})).unwrap(),
            "2025-01-01T10:00:00Z"
        );
        let said = book(ended, Some("2025-01-01T10:59:59Z"), |call| {
            call.ended_at = Time::parse("1969-12-31T23:59:59Z")
        });
        assert_eq!(hour_of(&said).unwrap(), "1969-12-31T23:00:00Z");
    }

    #[test]
    fn what_is_absurd_is_not_counted() {
        let said = book(Step::Ended(Outcome::Completed), None, |call| {
            call.duration_seconds = Millis::from_seconds(1e9);
            call.cost.total = Raw::parse("1e12");
            call.analysis.score = Raw::parse("101");
            call.campaign.id = Some(Text::from("x".repeat(LONGEST_ID + 1)));
        });
        let Contribution { place, facts } = contribution(&said, Time::from_micros(0));
        assert_eq!((facts.duration, facts.cost, facts.score, place.campaign), (None, None, None, None));
    }

    #[test]
    fn what_was_added_can_be_taken_away() {
        let said = book(Step::Ended(Outcome::Completed), None, |call| {
            call.duration_seconds = Millis::from_seconds(61.0);
            call.cost.total = Raw::parse("0.45");
            call.analysis.score = Raw::parse("85.5");
            call.analysis.success = Some(true);
            call.analysis.mood = Some(Text::from(" Positive"));
        });
        let facts = contribution(&said, Time::from_micros(0)).facts;
        let mut tally = Tally::default();
        tally.add(&facts);
        assert_eq!((tally.ended(), tally.costs(), tally.scores()), (1, (1, 450_000), (1, 85_500)));
        assert_eq!((tally.connection_rate(), tally.success_rate()), (Some(10_000), Some(10_000)));
        assert_eq!(tally.sentiment(Sentiment::Positive), 1);
        tally.take(&facts);
        assert!(tally.is_zero());
        assert_eq!(tally.success_rate(), None);
    }

    #[test]
    fn percentiles_are_edges_of_buckets() {
        assert_eq!(Tally::default().percentile(50), None);
        let tally = of_durations(&[0.0, 1.0, 1.001, 59.0, 60.0, 61.0, 119.0, 7200.0, 7201.0, 9999.0]);
        // The fifth and the tenth of ten.
        assert_eq!((tally.percentile(50), tally.percentile(95)), (Some(60), Some(604_800)));
        assert_eq!(of_durations(&[0.5]).percentile(95), Some(1));
        assert_eq!(of_durations(&[245.0]).percentile(50), Some(270));
        assert!(EDGES.is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn every_number_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<String> = Tally::names().collect();
        assert_eq!(names.len(), WIDTH);
        assert_eq!(PLAIN[OUTCOMES..SUCCEEDED], Outcome::ALL.map(Outcome::as_str));
        assert_eq!(PLAIN[SENTIMENTS..SCORED], Sentiment::ALL.map(Sentiment::as_str));
        assert_eq!(
            (PLAIN[SUCCEEDED], PLAIN[TIMED], PLAIN[PRICED], PLAIN[RECORDED]),
            ("succeeded", "timed", "priced", "recorded")
        );
    }
}
