//! The sink: answers 200 at once and counts; each call once, whatever comes twice. When it knows the schedule it also
//! measures how late each call is, from when its request was due. Refuses to know who sends.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response};
use serde::{Deserialize, Serialize};

use crate::bodies::number_of;
use crate::clock::now;
use crate::lateness::{Lateness, Quantiles};
use crate::wire;

/// When calls are due: the one of number `first + n` at `start + n * interval`, in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Schedule {
    /// The number of the first call.
    pub first: u64,
    /// When it is due.
    pub start: u64,
    /// The distance.
    pub interval: f64,
}

impl Schedule {
    /// When call `number` is due; `None` for one of an earlier schedule.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "microseconds of one run"
    )]
    pub fn due(self, number: u64) -> Option<u64> {
        let place = number.checked_sub(self.first)?;
        Some(self.start + (place as f64 * self.interval) as u64)
    }

    /// How many calls are due by then.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "calls of one run"
    )]
    pub fn due_by(self, time: u64) -> u64 {
        let Some(passed) = time.checked_sub(self.start) else { return 0 };
        (passed as f64 / self.interval) as u64 + 1
    }
}

/// What the sink has seen since it was last told to begin anew.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Calls that never came before.
    pub distinct: u64,
    /// Requests.
    pub requests: u64,
    /// When the last new call came, in microseconds.
    pub last_new: u64,
    /// When the last request came.
    pub last: u64,
    /// When the first request after the latest mark came; 0 while none did.
    pub first_since_mark: u64,
    /// How late the calls were, where a schedule is known.
    pub late: Quantiles,
}

struct State {
    known: Vec<bool>,
    seen: Seen,
    schedule: Option<Schedule>,
    lateness: Lateness,
}

/// Where it is told that what comes from now on is to be told apart from what came before.
pub const MARK_PATH: &str = "mark";

/// Answers until it is killed. `GET /` tells what was seen, `PUT /` begins anew, with a schedule or without,
/// `PUT /mark` sets a mark.
pub async fn run() -> Result<(), String> {
    let state = State { known: Vec::new(), seen: Seen::default(), schedule: None, lateness: Lateness::new() };
    let state = Rc::new(RefCell::new(state));
    wire::answer(move |request: Request<hyper::body::Incoming>| {
        let state = Rc::clone(&state);
        async move {
            let method = request.method().clone();
            let is_mark = request.uri().path().ends_with(MARK_PATH);
            let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let mut state = state.borrow_mut();
            let answer = match method {
                Method::GET => serde_json::to_string(&state.tell()).unwrap_or_default(),
                Method::PUT if is_mark => {
                    state.seen.first_since_mark = 0;
                    String::new()
                }
                Method::PUT => {
                    state.begin(serde_json::from_slice(&body).ok());
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
    fn begin(&mut self, schedule: Option<Schedule>) {
        self.seen = Seen::default();
        self.schedule = schedule;
        self.lateness = Lateness::new();
    }

    fn take(&mut self, body: &[u8]) {
        let now = now();
        self.seen.requests += 1;
        self.seen.last = now;
        if self.seen.first_since_mark == 0 {
            self.seen.first_since_mark = now;
        }
        let Some(number) = number_of(body) else { return };
        let place = usize::try_from(number).unwrap_or_default();
        if self.known.len() <= place {
            self.known.resize(place + 1, false);
        }
        if std::mem::replace(&mut self.known[place], true) {
            return;
        }
        self.seen.distinct += 1;
        self.seen.last_new = now;
        if let Some(due) = self.schedule.and_then(|schedule| schedule.due(number)) {
            self.lateness.record(now.saturating_sub(due));
        }
    }

    fn tell(&self) -> Seen {
        Seen { late: self.lateness.quantiles(), ..self.seen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_due_one_interval_after_the_other() {
        let schedule = Schedule { first: 10, start: 1_000, interval: 250.0 };
        assert_eq!(schedule.due(9), None);
        assert_eq!(schedule.due(10), Some(1_000));
        assert_eq!(schedule.due(14), Some(2_000));
        assert_eq!((schedule.due_by(999), schedule.due_by(1_000)), (0, 1));
        assert_eq!((schedule.due_by(1_249), schedule.due_by(1_250)), (1, 2));
    }

    #[test]
    fn each_call_counts_once_and_later_rounds_know_it() {
        let mut state =
            State { known: Vec::new(), seen: Seen::default(), schedule: None, lateness: Lateness::new() };
        let body = |number: u64| format!(r#"{{"call_uuid":"bench-{number:010}-0"}}"#).into_bytes();
        [3, 5, 3].iter().for_each(|&number| state.take(&body(number)));
        assert_eq!((state.seen.distinct, state.seen.requests), (2, 3));
        let start = now() - 3_000_000;
        state.begin(Some(Schedule { first: 6, start, interval: 1.0 }));
        [5, 6].iter().for_each(|&number| state.take(&body(number)));
        let seen = state.tell();
        assert_eq!((seen.distinct, seen.requests), (1, 2));
        assert!(seen.late.p99 >= 3_000.0, "late by three seconds and not clamped: {:?}", seen.late);
    }
}
