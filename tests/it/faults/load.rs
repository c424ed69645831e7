//! The load: senders that tell every node of calls, one event after the other, until each is answered 200, and a giver of
//! batches whose calls go through all nodes too. Remembers what was answered; refuses to know what became of it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::nodes::KEY;
use super::receivers::Receivers;
use super::vendors::{Call, Contact, Said};
use super::{Fact, PATIENCE};
use crate::harness::{Answer, Client};

const SENDERS: usize = 8;
/// From one event of a sender to its next, at the least.
const PACE: Duration = Duration::from_millis(25);
/// Contacts of the first batch, and of each one after it.
const CONTACTS: [usize; 2] = [300, 30];
/// How long a sender waits for an answer.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a sender leaves a door alone that refused, or gave no answer.
const REST: Duration = Duration::from_millis(200);

/// How an endpoint of a fault test is delivered to: its timeout within any lease, its retries soon.
pub fn endpoint(mut about: Value) -> Value {
    about["timeout_seconds"] = json!(1);
    about["retry_delays_seconds"] = json!(vec![0.05; 50]);
    about
}

/// What the doors said, for people.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// How often each status came.
    pub by_status: BTreeMap<u16, usize>,
    /// 503 that did not say when to come again.
    pub without_retry_after: usize,
    /// The longest that a 503 took to come.
    pub slowest_503: Duration,
    /// No answer: refused, broken off, or not in time.
    pub none: usize,
    /// 200 that said that the event was known, though this sender had no 200 for it.
    pub known: usize,
}

/// What was promised.
#[derive(Clone, Debug, Default)]
pub struct Promised {
    /// Events that were answered 200.
    pub accepted: Vec<Fact>,
    /// Batches that were answered 202 and whose endpoint was answered 201: id, contacts, and the endpoint's path.
    pub batches: Vec<(String, usize, String)>,
    /// What else the doors said.
    pub answers: Answers,
}

/// Senders that are at work.
pub struct Load {
    inner: Arc<Inner>,
    giver: JoinHandle<()>,
    senders: Vec<JoinHandle<()>>,
}

struct Inner {
    doors: Vec<Door>,
    /// The sources' paths by their dialects.
    paths: BTreeMap<&'static str, String>,
    receivers: Receivers,
    promised: Mutex<Promised>,
    /// Calls to contacts that nobody has made yet.
    queue: Mutex<VecDeque<Call>>,
    turn: AtomicUsize,
    calls: AtomicUsize,
    /// How many events each door answered with 200, and how many requests with 503.
    said: watch::Sender<Vec<Counts>>,
    /// No new batches.
    stopping: watch::Sender<bool>,
    /// No new calls, but to contacts.
    ending: AtomicBool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    accepted: usize,
    refused: usize,
    silent: usize,
}

struct Door {
    client: Client,
    rests_until: Mutex<Instant>,
}

impl Load {
    /// Begins to send to the doors of all nodes.
    pub fn begin(doors: &[SocketAddr], paths: BTreeMap<&'static str, String>, receivers: &Receivers) -> Self {
        let said = watch::Sender::new(vec![Counts::default(); doors.len()]);
        let door = |address: &SocketAddr| Door {
            client: Client::new(*address, KEY),
            rests_until: Mutex::new(Instant::now()),
        };
        let inner = Arc::new(Inner {
            doors: doors.iter().map(door).collect(),
            paths,
            receivers: receivers.clone(),
            promised: Mutex::default(),
            queue: Mutex::default(),
            turn: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            said,
            stopping: watch::Sender::new(false),
            ending: AtomicBool::new(false),
        });
        let senders = (0..SENDERS).map(|_| tokio::spawn(Arc::clone(&inner).send())).collect();
        let giver = tokio::spawn(Arc::clone(&inner).give());
        Self { inner, giver, senders }
    }

    /// Events that were answered 200 so far.
    pub fn accepted(&self) -> usize {
        self.inner.said.borrow().iter().map(|door| door.accepted).sum()
    }

    /// Waits until so many more events were answered 200.
    pub async fn more(&self, count: usize) {
        let goal = self.accepted() + count;
        let enough = |now: &Vec<Counts>| now.iter().map(|door| door.accepted).sum::<usize>() >= goal;
        self.until(enough, "events are accepted").await;
    }

    /// Waits until every door has answered so many more with 200.
    pub async fn more_at_each(&self, count: usize) {
        self.until_each(|door| door.accepted, count, "every node accepts events").await;
    }

    /// Waits until every door has answered so many more with 503.
    pub async fn more_refused_at_each(&self, count: usize) {
        self.until_each(|door| door.refused, count, "every node says that it cannot").await;
    }

    /// Waits until that door has answered so many more with 503.
    pub async fn more_refused_at(&self, door: usize, count: usize) {
        let goal = self.inner.said.borrow()[door].refused + count;
        self.until(|now| now[door].refused >= goal, "this node says that it cannot").await;
    }

    /// Waits until every door has answered so many more with 503, or not at all.
    pub async fn more_without_200_at_each(&self, count: usize) {
        self.until_each(|door| door.refused + door.silent, count, "nobody is told 200").await;
    }

    async fn until_each(&self, of: impl Fn(&Counts) -> usize, count: usize, what: &str) {
        let before = self.inner.said.borrow().clone();
        let enough =
            |now: &Vec<Counts>| now.iter().zip(&before).all(|(now, before)| of(now) >= of(before) + count);
        self.until(enough, what).await;
    }

    async fn until(&self, mut enough: impl FnMut(&Vec<Counts>) -> bool, what: &str) {
        let mut said = self.inner.said.subscribe();
        let reached = tokio::time::timeout(PATIENCE, said.wait_for(|now| enough(now))).await;
        let Ok(reached) = reached else {
            let answers = self.inner.promised().answers.clone();
            panic!("in vain: {what}: {answers:?}");
        };
        reached.expect("the load lives as long as its handle");
    }

    /// Ends: no new calls, but those that were begun and those of every batch are told to their end.
    pub async fn end(self) -> Promised {
        self.inner.stopping.send_replace(true);
        self.giver.await.expect("the giver of batches does not panic");
        self.inner.ending.store(true, Ordering::Release);
        for sender in self.senders {
            sender.await.expect("a sender does not panic");
        }
        self.inner.promised().clone()
    }
}

impl Inner {
    fn promised(&self) -> MutexGuard<'_, Promised> {
        self.promised.lock().expect("no sender panics with it in its hands")
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// One sender: call after call, every other one to a contact as long as there are any.
    async fn send(self: Arc<Self>) {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(call) = self.next_call() {
            for said in call.events() {
                pace.tick().await;
                self.tell(&said).await;
            }
        }
    }

    fn next_call(&self) -> Option<Call> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let is_ending = self.ending.load(Ordering::Acquire);
        let waiting = if number.is_multiple_of(2) || is_ending { self.queue().pop_front() } else { None };
        waiting.or_else(|| (!is_ending).then(|| Call::new(number)))
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Call>> {
        self.queue.lock().expect("no sender panics with it in its hands")
    }

    /// Sends one event until it is answered 200.
    async fn tell(&self, said: &Said) {
        let path = &self.paths[said.dialect];
        let start = Instant::now();
        loop {
            let at = self.door().await;
            let proof = said.proof();
            let headers: Vec<(&str, &str)> =
                proof.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let answer = self.ask(at, Method::POST, path, &headers, said.body.clone()).await;
            if let Some(answer) = answer.filter(|answer| answer.status == 200) {
                let answer = answer.json();
                assert!(answer.get("quarantined").is_none(), "{:?} was not read", said.fact);
                let mut promised = self.promised();
                promised.accepted.push(said.fact.clone());
                promised.answers.known += usize::from(answer.get("duplicate").is_some());
                drop(promised);
                self.said.send_modify(|doors| doors[at].accepted += 1);
                return;
            }
            assert!(start.elapsed() < PATIENCE, "no node takes {:?}", said.fact);
        }
    }

    /// The next door in turn that does not rest.
    async fn door(&self) -> usize {
        loop {
            let now = Instant::now();
            let mut soonest = now + REST;
            for _ in 0..self.doors.len() {
                let at = self.turn.fetch_add(1, Ordering::Relaxed) % self.doors.len();
                let until = *self.doors[at].rests_until.lock().expect("it is only read and set");
                if until <= now {
                    return at;
                }
                soonest = soonest.min(until);
            }
            tokio::time::sleep_until(soonest.into()).await;
        }
    }

    /// Sends a request to a door and notes what it said. A door that did not take it rests.
    async fn ask(
        &self,
        at: usize,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> Option<Answer> {
        let door = &self.doors[at];
        let start = Instant::now();
        let answer = tokio::time::timeout(ANSWER, door.client.send(method, path, headers, body)).await;
        let answer = answer.ok().and_then(Result::ok);
        let mut promised = self.promised();
        let answers = &mut promised.answers;
        match &answer {
            None => answers.none += 1,
            Some(answer) => {
                *answers.by_status.entry(answer.status.as_u16()).or_default() += 1;
                if answer.status == 503 {
                    answers.slowest_503 = answers.slowest_503.max(start.elapsed());
                    answers.without_retry_after += usize::from(!answer.headers.contains_key("retry-after"));
                }
            }
        }
        drop(promised);
        match answer.as_ref().map(|answer| answer.status.as_u16()) {
            Some(503) => self.said.send_modify(|doors| doors[at].refused += 1),
            None => self.said.send_modify(|doors| doors[at].silent += 1),
            Some(_) => {}
        }
        if answer.as_ref().is_none_or(|answer| !answer.status.is_success()) {
            *door.rests_until.lock().expect("it is only read and set") = Instant::now() + REST;
        }
        answer
    }

    /// Gives a batch, and the next one when all contacts of the one before have been called.
    async fn give(self: Arc<Self>) {
        let mut stopping = self.stopping.subscribe();
        let mut pace = tokio::time::interval(PACE);
        for round in 0.. {
            let (batch, contacts) = self.give_one(round).await;
            {
                let mut queue = self.queue();
                for contact in contacts {
                    // The calls of contacts have numbers of their own.
                    let number = 1_000_000 + self.calls.fetch_add(1, Ordering::Relaxed);
                    queue.push_back(Call::to(number, Contact { batch: batch.clone(), phone: contact }));
                }
            }
            while !self.queue().is_empty() && !self.is_stopping() {
                tokio::select! {
                    _ = pace.tick() => {}
                    _ = stopping.wait_for(|stopping| *stopping) => {}
                }
            }
            if self.is_stopping() {
                return;
            }
        }
    }

    /// One batch and the endpoint that hears of it alone. What got no answer is made again under another name: nobody
    /// knows whether it was made.
    async fn give_one(&self, round: usize) -> (String, Vec<String>) {
        let count = CONTACTS[round.min(1)];
        let phones: Vec<String> = (0..count).map(|number| format!("+1555{round:03}{number:04}")).collect();
        let contacts: Vec<Value> = phones.iter().map(|phone| json!({"phone": phone})).collect();
        let batch = json!({"contacts": contacts, "agent_id": "agent-7"});
        let batch = self.make("/v1/batches", 202, |_| batch.clone()).await;
        let id = batch["id"].as_str().expect("an id").to_owned();
        let about = |attempt: usize| {
            let url = self.receivers.url(&format!("batch-{round}-{attempt}"));
            endpoint(json!({"url": url, "dialect": "dialgen", "batch_id": id}))
        };
        let made = self.make("/v1/endpoints", 201, about).await;
        let path = made["url"].as_str().and_then(|url| url.rsplit('/').next()).expect("a path").to_owned();
        self.promised().batches.push((id.clone(), count, path));
        (id, phones)
    }

    async fn make(&self, path: &str, status: u16, about: impl Fn(usize) -> Value) -> Value {
        let bearer = format!("Bearer {KEY}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let start = Instant::now();
        for attempt in 0.. {
            let at = self.door().await;
            let answer = self.ask(at, Method::POST, path, &headers, about(attempt).to_string()).await;
            if let Some(answer) = answer.filter(|answer| answer.status != 503) {
                return answer.expect(status).json();
            }
            assert!(start.elapsed() < PATIENCE, "no node makes {path}");
        }
        unreachable!("the numbers have no end")
    }
}
