//! The generator: posts what was signed ahead, flat out or at a steady rate. At a steady rate each latency counts from
//! when the request was due, not from when it could be sent, so that a stall is not hidden (coordinated omission).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::Full;
use hyper::Request;
use tokio::task::{JoinSet, LocalSet};

use crate::bodies::Signed;
use crate::parts::Part;
use crate::sink::{Schedule, millis, now};
use crate::wire;

/// Where to send what.
pub struct Load<'a> {
    url: &'a str,
    bodies: &'a Rc<[Signed]>,
}

/// What came of it.
pub struct Sent {
    /// When it began, in microseconds since 1970.
    pub start: u64,
    /// Requests that were answered 200.
    pub accepted: u64,
    /// Half of the answers came within this, in milliseconds.
    pub p50: f64,
    /// 99 of 100 did.
    pub p99: f64,
}

/// Connections of the steady load: enough that none is ever waited for.
const STEADY_CONNECTIONS: usize = 64;

impl<'a> Load<'a> {
    /// Sends these bodies there, each once.
    pub fn of(url: &'a str, bodies: &'a Rc<[Signed]>) -> Self {
        Self { url, bodies }
    }

    /// As fast as answers come, on so many connections.
    pub async fn flat_out(&self, connections: usize, lasting: Duration) -> Result<Sent, String> {
        self.run(connections, lasting, None).await
    }

    /// So many per second, whatever the answers do. The sink is told the schedule.
    pub async fn steady(&self, per_second: u32, lasting: Duration, sink: &Part) -> Result<Sent, String> {
        let schedule = Schedule { start: now() + 100_000, interval: 1_000_000.0 / f64::from(per_second) };
        sink.follow(schedule).await?;
        self.run(STEADY_CONNECTIONS, lasting, Some(schedule)).await
    }

    async fn run(
        &self,
        connections: usize,
        lasting: Duration,
        schedule: Option<Schedule>,
    ) -> Result<Sent, String> {
        let (host, path) = wire::split(self.url)?;
        let run = Rc::new(Run {
            host,
            path,
            bodies: Rc::clone(self.bodies),
            schedule,
            until: Instant::now() + lasting,
            next: Cell::new(0),
            accepted: Cell::new(0),
            lateness: RefCell::new(Histogram::new(3).map_err(|error| error.to_string())?),
        });
        let start = now();
        LocalSet::new()
            .run_until(async {
                let mut all = JoinSet::new();
                for _ in 0..connections {
                    all.spawn_local(Rc::clone(&run).connection());
                }
                while let Some(done) = all.join_next().await {
                    done.map_err(|error| error.to_string())??;
                }
                Ok::<(), String>(())
            })
            .await?;
        if run.next.get() >= run.bodies.len() {
            eprintln!("note: everything that was signed ahead was sent before the time was up");
        }
        let lateness = run.lateness.borrow();
        let quantile = |quantile| millis(lateness.value_at_quantile(quantile));
        Ok(Sent { start, accepted: run.accepted.get(), p50: quantile(0.5), p99: quantile(0.99) })
    }
}

/// One run, shared by its connections.
struct Run {
    host: String,
    path: String,
    bodies: Rc<[Signed]>,
    schedule: Option<Schedule>,
    until: Instant,
    next: Cell<usize>,
    accepted: Cell<u64>,
    lateness: RefCell<Histogram<u64>>,
}

impl Run {
    /// Sends one request after the other on one connection.
    async fn connection(self: Rc<Self>) -> Result<(), String> {
        let mut sender = wire::connect(&self.host).await?;
        while Instant::now() < self.until {
            let number = self.next.get();
            let Some(signed) = self.bodies.get(number) else { break };
            self.next.set(number + 1);
            let due = self.schedule.map_or_else(now, |schedule| schedule.due(number));
            let early = due.saturating_sub(now());
            if early > 0 {
                tokio::time::sleep(Duration::from_micros(early)).await;
            }
            let request = Request::post(&self.path)
                .header("host", &self.host)
                .header("content-type", "application/json")
                .header("x-webhook-signature", &signed.signature)
                .body(Full::new(Bytes::clone(&signed.body)))
                .map_err(|error| error.to_string())?;
            let (status, body) = wire::send(&mut sender, request).await?;
            if status != 200 {
                return Err(format!("answered {status}: {}", String::from_utf8_lossy(&body)));
            }
            self.accepted.set(self.accepted.get() + 1);
            self.lateness.borrow_mut().saturating_record(now().saturating_sub(due));
        }
        Ok(())
    }
}
