//! The honest users beside an attack: a sender of signed events in two dialects at a steady rate, whatever the answers do;
//! a receiver; and probes that ask for `/healthz` and the API, each on a connection of its own. A latency counts from when
//! the request was due. Does not depend on which attack there is.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::Full;
use hyper::Request;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{interval, sleep, timeout};

use super::attack::{Attack, Beside};
use super::signed;
use super::target::Target;
use crate::bodies::{Bodies, Body, ORDINARY};
use crate::clock::now;
use crate::lateness::{Lateness, Quantiles};
use crate::pacer::Pacer;
use crate::part::Sink;
use crate::postcall::Postcall;
use crate::sink::Schedule;
use crate::wire::{self, Connection};

/// Events a second, the two dialects in turns.
const RATE: u32 = 200;
/// After so many requests a connection is given up, so that opening one is measured too.
const REQUESTS_PER_CONNECTION: u32 = 50;
/// How long an event waits for its answer. One that has none counts as late as that.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two probes of the same kind.
const PROBE_PAUSE: Duration = Duration::from_millis(100);
/// How long a probe waits for its answer.
const PROBE_PATIENCE: Duration = Duration::from_secs(3);
/// How long accepted events may take to the receiver after the last was sent.
const ARRIVAL: Duration = Duration::from_secs(20);
/// Time for everything to be set up before the first event is due, in microseconds.
const HEAD_START: u64 = 50_000;

/// What was measured in a stretch of time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Window {
    /// From when an event was due to its answer. Without a 200 in time it counts as the whole patience.
    pub ingest: Quantiles,
    /// From when an event was due to its arrival at the receiver.
    pub delivered: Quantiles,
    /// Events that were sent.
    pub sent: u64,
    /// Their answers by status, or what came in place of one.
    pub answers: BTreeMap<String, u64>,
    /// Events that were answered 200 and did not arrive.
    pub lost: u64,
    /// The probes.
    pub probes: Vec<Probe>,
}

impl Window {
    /// Events that were not answered 200.
    pub fn refused(&self) -> u64 {
        self.answers.iter().filter(|(answer, _)| *answer != "200").map(|(_, count)| count).sum()
    }
}

/// A request that is made again and again beside an attack.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Probe {
    /// Method and path.
    pub what: String,
    /// How often it was made.
    pub made: u64,
    /// How often there was no good answer in time.
    pub unanswered: u64,
}

/// The honest users of one server.
pub struct Honest {
    sink: Sink,
    senders: Rc<Senders>,
    probes: Vec<(Beside, String)>,
    base: String,
}

/// What sends.
struct Senders {
    host: String,
    voicegenie: String,
    standard: String,
    bodies: Rc<Bodies>,
    next: Cell<u64>,
    idle: RefCell<Vec<(Connection, u32)>>,
}

/// What is noted while a window lasts.
#[derive(Default)]
struct Notes {
    answers: BTreeMap<String, u64>,
    lateness: Lateness,
}

impl Honest {
    /// Makes what they need on a server.
    pub async fn start(postcall: &Postcall, attack: &Attack) -> Result<Self, String> {
        let sink = Sink::start().await?;
        postcall.endpoint(sink.url(), json!({})).await?;
        let voicegenie = postcall.source().await?;
        let standard = json!({"name": "honest", "dialect": "standard", "secret": signed::SECRET});
        let standard = postcall.source_of(standard).await?;
        let (host, _) = wire::split(&postcall.door("/"))?;
        let health = Beside { method: "GET", path: "/healthz", body: "" };
        let api = Beside { method: "GET", path: "/v1/events?limit=1", body: "" };
        let bearer = format!("Bearer {}", postcall.key());
        let probes = [health, api].into_iter().chain(attack.beside);
        Ok(Self {
            sink,
            senders: Rc::new(Senders {
                host,
                voicegenie,
                standard,
                bodies: Bodies::new(ORDINARY, "honest"),
                next: Cell::new(0),
                idle: RefCell::default(),
            }),
            probes: probes.map(|probe| (probe, bearer.clone())).collect(),
            base: postcall.door(""),
        })
    }

    /// What an attacker knows of them, and has of its own.
    pub async fn target(&self, postcall: &Postcall) -> Result<Target, String> {
        Target::of(postcall, self.senders.standard.clone(), self.captured()).await
    }

    /// A signed request that its source has not seen yet, as it goes over the wire.
    fn captured(&self) -> String {
        let Senders { host, voicegenie, .. } = &*self.senders;
        let mut call = Bodies::new(ORDINARY, "captured").next();
        let length = call.body.remaining();
        let body = String::from_utf8_lossy(&call.body.copy_to_bytes(length)).into_owned();
        let signature = call.signature;
        format!(
            "POST {voicegenie} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             x-webhook-signature: {signature}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    }

    /// Sends and probes for so long, and waits until what was accepted has arrived.
    pub async fn window(&self, lasting: Duration) -> Result<Window, String> {
        let start = now() + HEAD_START;
        let schedule = Schedule { first: self.senders.next.get(), start, interval: 1e6 / f64::from(RATE) };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "events of one run")]
        let count = (f64::from(RATE) * lasting.as_secs_f64()) as u64;
        self.sink.begin(Some(schedule)).await?;
        let pacer = Pacer::start(schedule, count)?;
        let notes = Rc::new(RefCell::new(Notes::default()));
        let local = LocalSet::new();
        let sending = async {
            let mut sent = JoinSet::new();
            for number in schedule.first..schedule.first + count {
                pacer.permits.acquire().await.map_err(|error| error.to_string())?.forget();
                let due = schedule.due(number).unwrap_or_default();
                let (senders, notes) = (Rc::clone(&self.senders), Rc::clone(&notes));
                sent.spawn_local(async move { senders.send(number, due, &notes).await });
            }
            self.senders.next.set(schedule.first + count);
            while sent.join_next().await.is_some() {}
            Ok::<(), String>(())
        };
        let probing = async {
            let mut all = JoinSet::new();
            for (probe, bearer) in &self.probes {
                all.spawn_local(ask_again(self.base.clone(), *probe, bearer.clone(), lasting));
            }
            all.join_all().await
        };
        let both = async { tokio::join!(sending, probing) };
        let (sent, probes) = local.run_until(both).await;
        sent?;
        let Notes { answers, lateness } = notes.take();
        let accepted = answers.get("200").copied().unwrap_or_default();
        let deadline = now() + micros(ARRIVAL);
        let seen = loop {
            let seen = self.sink.seen().await?;
            if seen.distinct >= accepted || now() > deadline {
                break seen;
            }
            sleep(PROBE_PAUSE).await;
        };
        Ok(Window {
            ingest: lateness.quantiles(),
            delivered: seen.late,
            sent: count,
            answers,
            lost: accepted.saturating_sub(seen.distinct),
            probes,
        })
    }
}

impl Senders {
    /// Sends one event and notes its answer.
    async fn send(&self, number: u64, due: u64, notes: &RefCell<Notes>) {
        let answer = match timeout(PATIENCE, self.answer(number)).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(_)) => "broken off".to_owned(),
            Err(_) => "no answer".to_owned(),
        };
        let mut notes = notes.borrow_mut();
        let late = if answer == "200" { u128::from(now() - due) } else { PATIENCE.as_micros() };
        notes.lateness.record(u64::try_from(late).unwrap_or(u64::MAX));
        *notes.answers.entry(answer).or_default() += 1;
    }

    async fn answer(&self, number: u64) -> Result<u16, String> {
        let request = self.request(number)?;
        let idle = self.idle.borrow_mut().pop();
        let (mut connection, used) = match idle {
            Some(idle) => idle,
            None => (wire::connect(&self.host).await?, 0),
        };
        let (status, _) = wire::send(&mut connection, request).await?;
        if used + 1 < REQUESTS_PER_CONNECTION {
            self.idle.borrow_mut().push((connection, used + 1));
        }
        Ok(status)
    }

    /// Even numbers are voicegenie's, odd ones standard's.
    fn request(&self, number: u64) -> Result<Request<Full<Body>>, String> {
        let post = |path: &str| {
            Request::post(path).header("host", &self.host).header("content-type", "application/json")
        };
        let request = if number.is_multiple_of(2) {
            let call = self.bodies.call(number);
            post(&self.voicegenie).header("x-webhook-signature", call.signature).body(Full::new(call.body))
        } else {
            let body = signed::body(number, "honest");
            let headers = signed::headers(number, &body);
            let with = headers
                .into_iter()
                .fold(post(&self.standard), |request, (name, value)| request.header(name, value));
            with.body(wire::whole(Bytes::from(body)))
        };
        request.map_err(|error| error.to_string())
    }
}

/// Asks the same again and again for so long, whatever became of the question before.
async fn ask_again(base: String, probe: Beside, bearer: String, lasting: Duration) -> Probe {
    let mut sum = Probe { what: format!("{} {}", probe.method, probe.path), ..Probe::default() };
    let (mut pauses, end) = (interval(PROBE_PAUSE), now() + micros(lasting));
    let mut asked = JoinSet::new();
    while now() < end {
        pauses.tick().await;
        asked.spawn_local(timeout(
            PROBE_PATIENCE,
            ask(format!("{base}{}", probe.path), probe, bearer.clone()),
        ));
    }
    while let Some(answer) = asked.join_next().await {
        sum.made += 1;
        sum.unanswered += u64::from(!matches!(answer, Ok(Ok(true))));
    }
    sum
}

/// Whether the answer is a good one.
async fn ask(url: String, probe: Beside, bearer: String) -> bool {
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let answer = wire::once(probe.method, &url, &headers, probe.body.to_owned()).await;
    matches!(answer, Ok((200..300, _)))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
