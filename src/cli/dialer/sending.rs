//! Plays a plan over HTTP: each body when it is due, signed as its dialect demands, and counts what came back.
//! Latency counts from when a request was due, so that a slow server cannot hide by slowing its clients.
//! Refuses to retry: what a vendor that never does would lose is what the count shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::plan::Plan;
use super::said::Said;
use crate::clock::{Clock, System};
use crate::delivery::wire::{self, Answer, Exchange, Wire};
use crate::dialect::{self, Outgoing, js_json};
use crate::model::secret::Credential;
use crate::model::{AccountKey, DialectName};

/// Requests under way at a time.
const MOST_AT_ONCE: usize = 64;
/// For one request.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a play goes, and what it signs with.
#[derive(Clone, Debug)]
pub struct Target {
    /// The door's URL.
    pub url: String,
    /// The dialect that is spoken there.
    pub dialect: DialectName,
    /// Empty for an unsigned source.
    pub credential: Credential,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Requests sent.
    pub sent: u64,
    /// Answered with 2xx.
    pub accepted: u64,
    /// Of them marked `duplicate`.
    pub duplicates: u64,
    /// Of them marked `quarantined`.
    pub quarantined: u64,
    /// Everything else, by what it was: `401`, `no answer (connect)`.
    pub other: BTreeMap<String, u64>,
    /// From when a request was due to the end of its answer, in microseconds; only of those that were answered.
    pub latency: Histogram<u64>,
    /// How long it all took.
    pub took: Duration,
}

/// One minute, in microseconds: more than any request has.
const LONGEST: u64 = 60_000_000;

/// A histogram of microseconds with three digits.
pub fn micros() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are constants that fit each other")
}

/// Adds a length of time.
pub fn note(histogram: &mut Histogram<u64>, length: Duration) {
    histogram.saturating_record(u64::try_from(length.as_micros()).unwrap_or(LONGEST).clamp(1, LONGEST));
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            sent: 0,
            accepted: 0,
            duplicates: 0,
            quarantined: 0,
            other: BTreeMap::new(),
            latency: micros(),
            took: Duration::ZERO,
        }
    }
}

impl Tally {
    /// Adds a play that came after.
    pub fn add(&mut self, later: &Self) {
        self.sent += later.sent;
        self.accepted += later.accepted;
        self.duplicates += later.duplicates;
        self.quarantined += later.quarantined;
        for (what, count) in &later.other {
            *self.other.entry(what.clone()).or_default() += count;
        }
        // Both have the same bounds.
        let _ = self.latency.add(&later.latency);
        self.took += later.took;
    }

    fn note(&mut self, latency: Duration, answer: &Answer) {
        match &answer.result {
            Ok(response) => {
                note(&mut self.latency, latency);
                if response.is_success() {
                    self.accepted += 1;
                    let is_marked = |mark: &str| {
                        let body: serde_json::Value =
                            serde_json::from_slice(&response.body).unwrap_or_default();
                        body[mark] == true
                    };
                    self.duplicates += u64::from(is_marked("duplicate"));
                    self.quarantined += u64::from(is_marked("quarantined"));
                } else {
                    *self.other.entry(response.status.to_string()).or_default() += 1;
                }
            }
            Err(trouble) => *self.other.entry(format!("no answer ({})", trouble.code())).or_default() += 1,
        }
    }
}

/// Plays a plan. `progress` hears how many calls have begun, `sends` each body at the moment when it goes out.
pub async fn play(
    wire: &Wire,
    plan: &mut Plan,
    target: Target,
    mut progress: impl FnMut(u64),
    sends: impl Fn(&Said),
) -> Tally {
    let (mut tally, mut under_way) = (Tally::default(), JoinSet::new());
    let (room, target) = (Arc::new(Semaphore::new(MOST_AT_ONCE)), Arc::new(target));
    let (mut next, start) = (plan.upcoming().await, Instant::now());
    while let Some(due) = next {
        let when = start + due.at;
        sleep_until(when).await;
        // Closed by nobody.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { break };
        sends(&due.said);
        progress(plan.calls_begun());
        tally.sent += 1;
        let (wire, target) = (wire.clone(), Arc::clone(&target));
        under_way.spawn(async move {
            let answer = wire.post(request(&target, &due.said)).await;
            drop(place);
            (when.elapsed(), answer)
        });
        while let Some(Ok((latency, answer))) = under_way.try_join_next() {
            tally.note(latency, &answer);
        }
        next = plan.upcoming().await;
    }
    while let Some(done) = under_way.join_next().await {
        if let Ok((latency, answer)) = done {
            tally.note(latency, &answer);
        }
    }
    tally.took = start.elapsed();
    tally
}

/// The request of one body. The vendors of seeds 000, 002 and 003 sign `JSON.stringify(payload)`, whatever digits they
/// then send; the others sign what they send, or nothing.
fn request(target: &Target, said: &Said) -> Exchange {
    let body = said.body.as_bytes();
    let is_signed_anew =
        matches!(target.dialect, DialectName::Voicegenie | DialectName::Dialgen | DialectName::Aloro);
    let anew = is_signed_anew.then(|| js_json::stringify_parse(body).ok()).flatten();
    let id = said.message_id();
    let outgoing = Outgoing { event_id: &id, at: System.now(), body: anew.as_deref().unwrap_or(body) };
    Exchange {
        target: wire::Target::of(&target.url),
        headers: dialect::get(target.dialect).sign(&outgoing, &target.credential),
        body: Bytes::copy_from_slice(body),
        start: Instant::now(),
        timeout: PATIENCE,
        account: AccountKey::DEFAULT,
    }
}
