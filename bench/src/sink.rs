//! The sink: answers 200 at once and counts; each call once, whatever comes twice. When it knows the schedule it also
//! measures how late each call is, from when its request was due.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response};
use serde::{Deserialize, Serialize};

use crate::bodies::MARK;
use crate::wire;

/// When requests are due: number n at `start + n * interval`, in microseconds since 1970.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Schedule {
    /// The first one.
    pub start: u64,
    /// The distance.
    pub interval: f64,
}

impl Schedule {
    /// When request number `number` is due.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "microseconds of one run"
    )]
    pub fn due(self, number: usize) -> u64 {
        self.start + (number as f64 * self.interval) as u64
    }
}

/// What the sink has seen.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Distinct calls.
    pub distinct: u64,
    /// Requests.
    pub requests: u64,
    /// When the last new call came, in microseconds since 1970.
    pub last: u64,
    /// Half of the calls were at most this late, in milliseconds.
    pub p50: f64,
    /// 99 of 100 were.
    pub p99: f64,
}

#[derive(Default)]
struct State {
    known: Vec<bool>,
    seen: Seen,
    schedule: Option<Schedule>,
    lateness: Option<Histogram<u64>>,
}

/// Microseconds since 1970: the clock that all processes share.
#[expect(clippy::disallowed_methods, reason = "the benchmark's own door to the clock")]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Answers until it is killed. `GET /` tells what was seen, `PUT /` gives the schedule.
pub async fn run() -> Result<(), String> {
    let state = Rc::new(RefCell::new(State::default()));
    wire::answer(move |request: Request<hyper::body::Incoming>| {
        let state = Rc::clone(&state);
        async move {
            let method = request.method().clone();
            let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let mut state = state.borrow_mut();
            let answer = match method {
                Method::GET => serde_json::to_string(&state.tell()).unwrap_or_default(),
                Method::PUT => {
                    state.schedule = serde_json::from_slice(&body).ok();
                    state.lateness = Histogram::new(3).ok();
                    String::new()
                }
                _ => {
                    state.take(&body);
                    String::from("{\"received\":true}")
                }
            };
            Response::new(Full::new(Bytes::from(answer)))
        }
    })
    .await
}

impl State {
    fn take(&mut self, body: &[u8]) {
        self.seen.requests += 1;
        let Some(number) = number_of(body) else { return };
        if self.known.len() <= number {
            self.known.resize(number + 1, false);
        }
        if std::mem::replace(&mut self.known[number], true) {
            return;
        }
        let now = now();
        self.seen.distinct += 1;
        self.seen.last = now;
        if let (Some(schedule), Some(lateness)) = (self.schedule, &mut self.lateness) {
            let due = schedule.due(number);
            lateness.saturating_record(now.saturating_sub(due));
        }
    }

    fn tell(&self) -> Seen {
        let late =
            |quantile| self.lateness.as_ref().map_or(0.0, |all| millis(all.value_at_quantile(quantile)));
        Seen { p50: late(0.5), p99: late(0.99), ..self.seen }
    }
}

/// Microseconds as milliseconds.
#[expect(clippy::cast_precision_loss, reason = "microseconds of one run")]
pub fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

/// The number in a call's id, wherever the dialect puts it.
fn number_of(body: &[u8]) -> Option<usize> {
    let mark = MARK.as_bytes();
    let at = body.windows(mark.len()).position(|part| part == mark)? + mark.len();
    let digits = body[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&body[at..at + digits]).ok()?.parse().ok()
}
