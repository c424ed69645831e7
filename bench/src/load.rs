//! The generator: posts calls flat out or at a steady rate. At a steady rate each latency counts from when the request
//! was due, not from when it could be sent, so that a stall is not hidden (coordinated omission).
//! Refuses to know who answers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use tokio::task::{JoinSet, LocalSet};

use crate::bodies::Bodies;
use crate::clock::now;
use crate::lateness::Lateness;
use crate::pacer::Pacer;
use crate::part::Sink;
use crate::sent::Sent;
use crate::sink::Schedule;
use crate::wire;

/// Requests under way at a time, whoever is measured.
pub const CONNECTIONS: usize = 128;
/// Time for the connections to be opened before the first request of a steady load is due, in microseconds.
const HEAD_START: u64 = 100_000;

/// Where to send what.
pub struct Load<'a> {
    url: &'a str,
    bodies: &'a Rc<Bodies>,
}

/// When a load ends.
#[derive(Clone, Copy)]
pub enum Until {
    /// After so long.
    Time(Duration),
    /// After so many calls.
    Count(u64),
    /// When the other side is gone, which is no error then.
    Cut,
}

impl<'a> Load<'a> {
    /// Sends these calls there.
    pub fn of(url: &'a str, bodies: &'a Rc<Bodies>) -> Self {
        Self { url, bodies }
    }

    /// As fast as answers come.
    pub async fn flat_out(&self, until: Until) -> Result<Sent, String> {
        self.run(until, None).await
    }

    /// So many per second, whatever the answers do. The sink begins anew with this schedule.
    pub async fn steady(&self, per_second: u32, lasting: Duration, sink: &Sink) -> Result<Sent, String> {
        let schedule = self.schedule(per_second);
        sink.begin(Some(schedule)).await?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "calls of one run")]
        let count = (f64::from(per_second) * lasting.as_secs_f64()) as u64;
        let until = Until::Time(lasting + Duration::from_micros(HEAD_START));
        self.run(until, Some((schedule, count))).await
    }

    /// So many per second for as long as something else takes; gives what came of both.
    pub async fn steady_beside<T>(
        &self,
        per_second: u32,
        sink: &Sink,
        other: impl Future<Output = Result<T, String>>,
    ) -> Result<(Sent, T), String> {
        let schedule = self.schedule(per_second);
        sink.begin(Some(schedule)).await?;
        let run = self.prepare(Until::Count(u64::MAX), Some((schedule, u64::MAX)))?;
        let other = async {
            let done = other.await;
            run.close();
            done
        };
        tokio::try_join!(Rc::clone(&run).all(), other)
    }

    fn schedule(&self, per_second: u32) -> Schedule {
        Schedule {
            first: self.bodies.upcoming(),
            start: now() + HEAD_START,
            interval: 1e6 / f64::from(per_second),
        }
    }

    async fn run(&self, until: Until, pace: Option<(Schedule, u64)>) -> Result<Sent, String> {
        self.prepare(until, pace)?.all().await
    }

    fn prepare(&self, until: Until, pace: Option<(Schedule, u64)>) -> Result<Rc<Run>, String> {
        let (host, path) = wire::split(self.url)?;
        let start = pace.map_or_else(now, |(schedule, _)| schedule.start);
        let pacer = pace.map(|(schedule, count)| Pacer::start(schedule, count)).transpose()?;
        let (end, most) = match until {
            Until::Time(lasting) => {
                (now() + u64::try_from(lasting.as_micros()).unwrap_or(u64::MAX), u64::MAX)
            }
            Until::Count(count) => (u64::MAX, count),
            Until::Cut => (u64::MAX, u64::MAX),
        };
        Ok(Rc::new(Run {
            host,
            path,
            bodies: Rc::clone(self.bodies),
            start,
            end,
            most: pace.map_or(most, |(_, count)| count),
            may_be_cut: matches!(until, Until::Cut),
            schedule: pace.map(|(schedule, _)| schedule),
            pacer,
            taken: Cell::new(0),
            accepted: Cell::new(0),
            answers: RefCell::new(Lateness::new()),
        }))
    }
}

/// One run, shared by its connections.
struct Run {
    host: String,
    path: String,
    bodies: Rc<Bodies>,
    start: u64,
    end: u64,
    most: u64,
    may_be_cut: bool,
    schedule: Option<Schedule>,
    pacer: Option<Pacer>,
    taken: Cell<u64>,
    accepted: Cell<u64>,
    answers: RefCell<Lateness>,
}

impl Run {
    /// Sends on all connections until there is no more to send.
    async fn all(self: Rc<Self>) -> Result<Sent, String> {
        LocalSet::new()
            .run_until(async {
                let mut all = JoinSet::new();
                for _ in 0..CONNECTIONS {
                    all.spawn_local(Rc::clone(&self).connection());
                }
                while let Some(done) = all.join_next().await {
                    done.map_err(|error| error.to_string())??;
                }
                Ok::<(), String>(())
            })
            .await?;
        let (accepted, answers) = (self.accepted.get(), self.answers.borrow().quantiles());
        Ok(Sent { start: self.start, accepted, answers })
    }

    async fn connection(self: Rc<Self>) -> Result<(), String> {
        match self.send_all().await {
            Err(_) if self.may_be_cut => Ok(()),
            done => done,
        }
    }

    /// Sends one request after the other on one connection.
    async fn send_all(&self) -> Result<(), String> {
        let mut connection = wire::connect(&self.host).await?;
        while let Some(due) = self.next_due().await {
            let call = self.bodies.next();
            let request = Request::post(&self.path)
                .header("host", &self.host)
                .header("content-type", "application/json")
                .header("x-webhook-signature", call.signature)
                .body(Full::new(call.body))
                .map_err(|error| error.to_string())?;
            let (status, body) = wire::send(&mut connection, request).await?;
            if status != 200 {
                return Err(format!("answered {status}: {}", String::from_utf8_lossy(&body)));
            }
            self.accepted.set(self.accepted.get() + 1);
            self.answers.borrow_mut().record(now().saturating_sub(due));
        }
        Ok(())
    }

    /// When the next request is due, once it is; `None` when there is no more to send.
    async fn next_due(&self) -> Option<u64> {
        if let Some(pacer) = &self.pacer {
            pacer.permits.acquire().await.ok()?.forget();
        }
        let place = self.taken.get();
        if place >= self.most || now() >= self.end {
            self.close();
            return None;
        }
        self.taken.set(place + 1);
        if place + 1 == self.most {
            self.close();
        }
        match self.schedule {
            None => Some(now()),
            Some(schedule) => schedule.due(schedule.first + place),
        }
    }

    /// Nobody is to wait for a permit that never comes.
    fn close(&self) {
        if let Some(pacer) = &self.pacer {
            pacer.permits.close();
        }
    }
}
