//! `/v1/analytics`: the numbers of an account's calls, by hour, day, campaign, batch or agent. Says what was asked and
//! writes the sums as people read them; refuses to know how they are kept.

use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::cursor::List;
use super::problem::Problem;
use super::query::Query;
use super::state::ApiState;
use crate::ledger::Tally;
use crate::ledger::tally::{Dimension, MONEY_PLACES, SCORE_PLACES, Sentiment, begin_of, hour};
use crate::model::time::Millis;
use crate::model::{Outcome, Raw, Text, Time, decimal};
use crate::store::analytics::{Grain, Span, Subject};

/// Hours that are shown unless asked: a day by the hour, thirty days otherwise.
const USUAL_HOURS: i64 = 24;
const USUAL_DAYS: i64 = 30;
/// The longest stretch in hours: ten years, 31 days by the hour.
const MOST_HOURS: i64 = 10 * 366 * 24;
const MOST_BY_HOUR: i64 = 31 * 24;

/// The numbers of some calls that ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct Numbers {
    /// Calls that ended.
    calls: i64,
    /// How they ended: `completed`, `voicemail`, `no_answer`, `busy`, `failed`, `canceled`, `lost`.
    #[schema(value_type = std::collections::BTreeMap<String, i64>)]
    outcomes: Outcomes,
    /// Of `calls`, those with outcome `completed`, in percent; `null` without calls.
    #[schema(value_type = Option<f64>)]
    connection_rate: Option<Raw>,
    /// Calls that reached their goal, and those that did not, where the vendor says.
    succeeded: i64,
    not_succeeded: i64,
    /// Of these two, the first in percent; `null` without either.
    #[schema(value_type = Option<f64>)]
    success_rate: Option<Raw>,
    duration_seconds: Durations,
    /// Calls by what was felt: `positive`, `neutral`, `negative`, `other` for any other word.
    #[schema(value_type = std::collections::BTreeMap<String, i64>)]
    sentiments: Sentiments,
    score: Scores,
    cost: Costs,
}

/// The lengths of the calls that have one, in seconds.
#[derive(Debug, Serialize, ToSchema)]
pub struct Durations {
    /// Calls that have one.
    calls: i64,
    #[schema(value_type = f64)]
    total: Millis,
    #[schema(value_type = Option<f64>)]
    mean: Option<Millis>,
    /// The upper edge of the bucket in which the median lies.
    p50: Option<u32>,
    /// The upper edge of the bucket in which the 95th percentile lies.
    p95: Option<u32>,
}

/// The scores of the calls that have one from 0 to 100.
#[derive(Debug, Serialize, ToSchema)]
pub struct Scores {
    /// Calls that have one.
    calls: i64,
    #[schema(value_type = Option<f64>)]
    mean: Option<Raw>,
}

/// What the calls cost that have a price, in the vendor's currency.
#[derive(Debug, Serialize, ToSchema)]
pub struct Costs {
    /// Calls that have one.
    calls: i64,
    #[schema(value_type = f64)]
    total: Raw,
    #[schema(value_type = Option<f64>)]
    mean: Option<Raw>,
}

/// Counts by outcome, in the order of [`Outcome::ALL`].
#[derive(Debug)]
pub struct Outcomes([i64; Outcome::ALL.len()]);

impl Outcomes {
    /// Of a tally.
    pub fn of(tally: &Tally) -> Self {
        Self(Outcome::ALL.map(|outcome| tally.outcome(outcome)))
    }
}

impl Serialize for Outcomes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Outcome::ALL.map(Outcome::as_str).iter().zip(&self.0))
    }
}

#[derive(Debug)]
struct Sentiments([i64; Sentiment::ALL.len()]);

impl Serialize for Sentiments {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Sentiment::ALL.map(Sentiment::as_str).iter().zip(&self.0))
    }
}

/// A rate of hundredths of a percent, as percent.
pub fn percent(rate: i64) -> Raw {
    decimal::show(rate, 2)
}

fn mean(sum: i64, count: i64) -> Option<i64> {
    decimal::ratio(sum, count, 0)
}

impl Numbers {
    /// As people read them.
    pub fn of(tally: &Tally) -> Self {
        let millis = |sum: i64| Millis(u64::try_from(sum).unwrap_or(0));
        let ((timed, length), (scored, score), (priced, cost)) =
            (tally.durations(), tally.scores(), tally.costs());
        let [succeeded, not_succeeded] = tally.successes();
        Self {
            calls: tally.ended(),
            outcomes: Outcomes::of(tally),
            connection_rate: tally.connection_rate().map(percent),
            succeeded,
            not_succeeded,
            success_rate: tally.success_rate().map(percent),
            duration_seconds: Durations {
                calls: timed,
                total: millis(length),
                mean: mean(length, timed).map(millis),
                p50: tally.percentile(50),
                p95: tally.percentile(95),
            },
            sentiments: Sentiments(Sentiment::ALL.map(|sentiment| tally.sentiment(sentiment))),
            score: Scores {
                calls: scored,
                mean: mean(score, scored).map(|mean| decimal::show(mean, SCORE_PLACES)),
            },
            cost: Costs {
                calls: priced,
                total: decimal::show(cost, MONEY_PLACES),
                mean: mean(cost, priced).map(|mean| decimal::show(mean, MONEY_PLACES)),
            },
        }
    }
}

/// The numbers of a stretch of time.
#[derive(Debug, Serialize, ToSchema)]
pub struct Analytics {
    /// The first hour, UTC.
    #[schema(value_type = String, format = DateTime)]
    from: Time,
    /// The hour after the last.
    #[schema(value_type = String, format = DateTime)]
    to: Time,
    /// All calls that were asked about in one.
    total: Numbers,
    /// One for each hour, day, campaign, batch or agent in which a call ended; empty unless `by` is given.
    data: Vec<Part>,
    /// Where the next page begins, by campaign, batch or agent; `null` when there is none.
    next_cursor: Option<String>,
}

/// The numbers of one hour, day, campaign, batch or agent.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Part {
    /// Where the hour or the day begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    begins_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    campaign_id: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    batch_id: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    agent_id: Option<Text>,
    #[serde(flatten)]
    #[schema(value_type = Numbers)]
    numbers: Option<Numbers>,
}

impl Part {
    fn of_time(begin: i64, tally: &Tally) -> Self {
        Self { begins_at: Some(begin_of(begin)), numbers: Some(Numbers::of(tally)), ..Self::default() }
    }

    fn of(dimension: Dimension, id: Text, tally: &Tally) -> Self {
        let part = Self { numbers: Some(Numbers::of(tally)), ..Self::default() };
        match dimension {
            Dimension::Campaign => Self { campaign_id: Some(id), ..part },
            Dimension::Batch => Self { batch_id: Some(id), ..part },
            Dimension::Agent => Self { agent_id: Some(id), ..part },
        }
    }
}

/// What the numbers are split by.
#[derive(Clone, Copy)]
enum By {
    Time(Grain),
    Of(Dimension),
}

const BY: [(&str, By); 5] = [
    ("hour", By::Time(Grain::Hour)),
    ("day", By::Time(Grain::Day)),
    ("campaign", By::Of(Dimension::Campaign)),
    ("batch", By::Of(Dimension::Batch)),
    ("agent", By::Of(Dimension::Agent)),
];

/// Read the numbers
///
/// Of the calls that ended from `from` on and before `to`, by the vendor's time of the end (where it gives none, by when
/// the end was heard). Hours and days are UTC; `from` and `to` are cut to whole hours. A call that is corrected later
/// counts as it stands now. Calls that are gone by the account's retention go on counting.
#[utoipa::path(
    get, path = "/v1/analytics", tag = "Analytics",
    params(
        ("from" = Option<String>, Query, description = "RFC 3339 or a date; 30 days before `to` (a day, by the hour) unless given"),
        ("to" = Option<String>, Query, description = "The same; the end of this hour unless given. At most ten years after `from`, 31 days by the hour"),
        ("by" = Option<String>, Query, description = "hour, day, campaign, batch or agent; left out, only the total"),
        ("campaign_id" = Option<String>, Query, description = "Only calls of this campaign. One of the three ids at most, and none with `by=campaign`, `batch` or `agent`"),
        ("batch_id" = Option<String>, Query, description = "Only calls of this batch"),
        ("agent_id" = Option<String>, Query, description = "Only calls of this agent"),
        ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "Of campaigns, batches or agents: 1 to 100, default 50"),
    ),
    responses((status = 200, description = "The numbers", body = Analytics)),
)]
pub async fn read(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Answer<Analytics>, Problem> {
    let (mut query, key) = (Query::read(query.as_deref()), state.store.link_key());
    let read = |word: &str| BY.into_iter().find(|(name, _)| *name == word).map(|(_, by)| by);
    let by = query.word("by", read, &BY.map(|(name, _)| name));
    let subject = subject(&mut query, by);
    let span = span(&mut query, by, state.clock.now());
    let page = List::Analytics.text_page(&mut query, key, caller.tag);
    query.finish()?;

    let account = caller.account;
    let total = state.store.tallies(account, subject.clone(), span, None).await?.pop();
    let total = Numbers::of(&total.map(|(_, tally)| tally).unwrap_or_default());
    let (data, next) = match by {
        None => (Vec::new(), None),
        Some(By::Time(grain)) => {
            let found = state.store.tallies(account, subject, span, Some(grain)).await?;
            (found.iter().map(|(begin, tally)| Part::of_time(*begin, tally)).collect(), None)
        }
        Some(By::Of(dimension)) => {
            let (found, next) = state.store.tallies_by(account, dimension, span, page).await?;
            (found.into_iter().map(|(id, tally)| Part::of(dimension, id, &tally)).collect(), next)
        }
    };
    let next_cursor = next.map(|id| List::Analytics.seal_text(key, caller.tag, &id));
    let (from, to) = span.times();
    Ok(Answer(Analytics { from, to, total, data, next_cursor }))
}

fn subject(query: &mut Query, by: Option<By>) -> Subject {
    let mut subject = Subject::Account;
    for (name, dimension) in
        [("campaign_id", Dimension::Campaign), ("batch_id", Dimension::Batch), ("agent_id", Dimension::Agent)]
    {
        let Some(id) = query.take(name) else { continue };
        if subject != Subject::Account || matches!(by, Some(By::Of(_))) {
            let detail = "Numbers are kept of one campaign, batch or agent at a time: give one id, and by=hour or day.";
            query.wrong(name, "not_together", detail);
        }
        subject = Subject::Of(dimension, Text::from(id));
    }
    subject
}

fn span(query: &mut Query, by: Option<By>, now: Time) -> Span {
    let by_hour = matches!(by, Some(By::Time(Grain::Hour)));
    let to = moment(query, "to").map_or(hour(now) + 1, |to| hour(Time::from_micros(to.as_micros() - 1)) + 1);
    let usual = if by_hour { USUAL_HOURS } else { USUAL_DAYS * 24 };
    let from = moment(query, "from").map_or(to - usual, hour);
    let (most, words) = if by_hour { (MOST_BY_HOUR, "31 days") } else { (MOST_HOURS, "ten years") };
    let span = Span { from, to };
    if span.hours() <= 0 {
        query.wrong("from", "out_of_range", "Give a time before \"to\".");
    } else if span.hours() > most {
        query.wrong("from", "out_of_range", format!("Give a time at most {words} before \"to\"."));
    }
    span
}

/// A moment, or the beginning of a day, between the years 1 and 9998.
pub fn moment(query: &mut Query, name: &'static str) -> Option<Time> {
    let text = query.take(name)?;
    let time = Time::parse(&text).or_else(|| Time::parse(&format!("{text}T00:00:00Z")));
    let (first, last) = (Time::parse("0001-01-01T00:00:00Z"), Time::parse("9998-01-01T00:00:00Z"));
    let time = time.filter(|&time| Some(time) >= first && Some(time) < last);
    if time.is_none() {
        query.wrong(name, "wrong_type", "Give a time as 2026-01-31T12:00:00Z or a date as 2026-01-31.");
    }
    time
}
