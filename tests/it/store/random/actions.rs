//! What may happen to a store, and how often. Refuses to know what comes of it.
//!
//! Everything is picked by a place among what is there, and there is little of it: few calls, two people, few endpoints. So
//! actions meet each other, and a list of actions means something after some were taken out of it.

use postcall::model::endpoint::Part;
use postcall::model::{Outcome, Step};
use proptest::prelude::*;

/// Calls of an account.
const CALLS: usize = 2;
/// People who are called.
pub const PHONES: [&str; 2] = ["+15551230001", "+15551230002"];
/// More than any repeat is remembered.
const FOR_LONG: i64 = 31 * 24 * 3600;

/// How an endpoint is to be.
#[derive(Clone, Debug)]
pub struct Wish {
    pub ordered: bool,
    /// For what the end of a call is held, and for so many seconds.
    pub waits: Option<(Vec<Part>, u64)>,
}

/// What a body says of a call.
#[derive(Clone, Debug)]
pub struct Says {
    pub account: usize,
    pub call: usize,
    pub step: Step,
    /// The vendor's time.
    pub at: Option<i64>,
    /// Which person, if it says.
    pub phone: Option<usize>,
    pub recording: bool,
    pub transcript: bool,
    /// Which of the account's batches, if any.
    pub batch: Option<usize>,
}

impl Says {
    /// Says what comes next of a call of which this was said last: it is answered, it ends, and then all is known of it.
    pub fn go_on_after(&mut self, before: Option<Step>) {
        let ended = Step::Ended(Outcome::Completed);
        (self.step, self.recording, self.transcript) = match before {
            None => (Step::Answered, false, false),
            Some(Step::Ended(_)) => (ended, true, true),
            Some(_) => (ended, false, false),
        };
    }
}

#[derive(Clone, Debug)]
pub enum Body {
    New(Says),
    /// The same, but of the next step of its call.
    Next(Says),
    /// One that was said before, once more.
    Again(usize),
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug)]
pub enum Came {
    Delivered,
    /// To be tried again after so many seconds.
    Failed(u64),
    Dead,
    /// The receiver answered 410.
    Gone,
}

/// A delivery that is under way, by its place among those of the call that the group's first body is about, or of all.
#[derive(Clone, Copy, Debug)]
pub struct Settles {
    pub of_first_call: bool,
    pub at: usize,
    pub came: Came,
}

/// Bodies and settlements of one commit.
#[derive(Clone, Debug)]
pub struct Both {
    pub bodies: Vec<Body>,
    pub settled: Vec<Settles>,
}

/// Which deliveries are replayed.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    All,
    OfCall(usize),
    OfEvent(usize),
    OfEndpoint(usize),
    Dead,
}

#[derive(Clone, Debug)]
pub enum Action {
    /// So many places for each endpoint from now on.
    Room(usize),
    Commit(Both),
    /// After so many seconds, the same beside a round of maintenance, again and again until that is over.
    Together(i64, Both),
    /// So many deliveries of an endpoint that there is something for.
    Claim(usize, usize),
    /// Deliveries that are under way are given back.
    Release(usize),
    Retry(usize, usize),
    Cancel(usize, usize),
    MakeEndpoint(usize, Wish),
    ChangeEndpoint(usize, usize, Wish),
    DeleteEndpoint(usize, usize),
    DisableEndpoint(usize, usize),
    EnableEndpoint(usize, usize),
    /// What is recorded is kept for so many seconds from now on.
    Keep(usize, Option<u64>),
    /// What was said is.
    KeepTranscripts(usize, Option<u64>),
    Erase(usize, usize),
    /// A batch with these people, and for how many seconds a call of it may take.
    Give(usize, Vec<usize>, Option<u64>),
    EndBatch(usize, usize),
    /// If it is damaged, its row cannot be read, so that the job fails for its account until it is repaired.
    Replay {
        account: usize,
        which: Which,
        to: Option<usize>,
        rate: f64,
        dry_run: bool,
        damaged: bool,
    },
    CancelReplay(usize, usize),
    Repair,
    /// One round of maintenance.
    Chore,
    /// Rounds until there is nothing more to do.
    Chores,
    /// The clock goes on, or back.
    Wait(i64),
    Crash,
    /// An account goes into another one beside it, whose endpoints are told of it or not.
    Copy(usize, bool),
    /// All accounts go into another store.
    Move,
}

/// A place among what is there.
fn at() -> std::ops::Range<usize> {
    0..100
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Initiated),
        1 => Just(Step::Ringing),
        3 => Just(Step::Answered),
        6 => Just(Step::Ended(Outcome::Completed)),
        1 => Just(Step::Ended(Outcome::Failed)),
        1 => Just(Step::Ended(Outcome::Lost)),
    ]
}

fn says() -> impl Strategy<Value = Says> {
    let who = (0..2usize, 0..CALLS, step(), prop::option::of(0..3i64));
    let what = (prop::option::of(0..PHONES.len()), prop::bool::weighted(0.3), prop::bool::weighted(0.6));
    (who, what, prop::option::weighted(0.3, 0..2usize)).prop_map(
        |((account, call, step, at), (phone, recording, transcript), batch)| Says {
            account,
            call,
            step,
            at,
            phone,
            recording,
            transcript,
            batch,
        },
    )
}

fn came() -> impl Strategy<Value = Came> {
    prop_oneof![
        6 => Just(Came::Delivered),
        4 => (0..3u64).prop_map(Came::Failed),
        2 => Just(Came::Dead),
        1 => Just(Came::Gone),
    ]
}

fn both() -> impl Strategy<Value = Both> {
    let body = prop_oneof![
        6 => says().prop_map(Body::New),
        2 => says().prop_map(Body::Next),
        1 => at().prop_map(Body::Again),
    ];
    let settles = (any::<bool>(), at(), came()).prop_map(|(of_first_call, at, came)| Settles {
        of_first_call,
        at,
        came,
    });
    (prop::collection::vec(body, 0..4), prop::collection::vec(settles, 0..3))
        .prop_map(|(bodies, settled)| Both { bodies, settled })
}

/// A call goes on, and what is under way of it may be settled in the same group.
fn next() -> impl Strategy<Value = Both> {
    let settles = (at(), came()).prop_map(|(at, came)| Settles { of_first_call: true, at, came });
    (says(), prop::option::of(settles)).prop_map(|(says, settled)| Both {
        bodies: vec![Body::Next(says)],
        settled: settled.into_iter().collect(),
    })
}

fn wish() -> impl Strategy<Value = Wish> {
    let parts = prop::sample::subsequence(vec![Part::Recording, Part::Transcript], 1..=2);
    (prop::bool::weighted(0.7), prop::option::of((parts, 2..9u64)))
        .prop_map(|(ordered, waits)| Wish { ordered, waits })
}

fn replay() -> impl Strategy<Value = Action> {
    let which = prop_oneof![
        2 => Just(Which::All),
        1 => (0..CALLS).prop_map(Which::OfCall),
        1 => at().prop_map(Which::OfEvent),
        1 => at().prop_map(Which::OfEndpoint),
        1 => Just(Which::Dead),
    ];
    let kind = (prop::bool::weighted(0.1), prop::bool::weighted(0.2));
    let rate = prop_oneof![3 => Just(1000.0), 1 => Just(1.0)];
    (0..2usize, which, prop::option::weighted(0.2, at()), rate, kind).prop_map(
        |(account, which, to, rate, (dry_run, damaged))| Action::Replay {
            account,
            which,
            to,
            rate,
            dry_run,
            damaged,
        },
    )
}

/// Two accounts at first, and a third one that may come.
const ACCOUNT: std::ops::Range<usize> = 0..3;

fn seconds(range: std::ops::Range<u64>) -> impl Strategy<Value = Option<u64>> {
    prop::option::weighted(0.8, range)
}

pub fn action() -> impl Strategy<Value = Action> {
    let clock = prop_oneof![8 => 0..4i64, 4 => 4..12i64, 2 => -6..0i64, 1 => Just(4000), 1 => Just(FOR_LONG)];
    let people = prop::sample::subsequence(vec![0, 1], 1..=2);
    let one = at;
    prop_oneof![
        4 => prop_oneof![Just(0), Just(1), Just(usize::MAX)].prop_map(Action::Room),
        30 => both().prop_map(Action::Commit),
        30 => next().prop_map(Action::Commit),
        6 => (0..9i64, both()).prop_map(|(seconds, both)| Action::Together(seconds, both)),
        30 => (one(), 1..6usize).prop_map(|(at, places)| Action::Claim(at, places)),
        1 => one().prop_map(Action::Release),
        3 => (ACCOUNT, one()).prop_map(|(account, at)| Action::Retry(account, at)),
        3 => (ACCOUNT, one()).prop_map(|(account, at)| Action::Cancel(account, at)),
        2 => (ACCOUNT, wish()).prop_map(|(account, wish)| Action::MakeEndpoint(account, wish)),
        2 => (ACCOUNT, one(), wish()).prop_map(|(account, at, wish)| Action::ChangeEndpoint(account, at, wish)),
        1 => (ACCOUNT, one()).prop_map(|(account, at)| Action::DeleteEndpoint(account, at)),
        1 => (ACCOUNT, one()).prop_map(|(account, at)| Action::DisableEndpoint(account, at)),
        3 => (ACCOUNT, one()).prop_map(|(account, at)| Action::EnableEndpoint(account, at)),
        2 => (ACCOUNT, seconds(1..15)).prop_map(|(account, kept)| Action::Keep(account, kept)),
        3 => (ACCOUNT, seconds(1..8)).prop_map(|(account, kept)| Action::KeepTranscripts(account, kept)),
        2 => (ACCOUNT, 0..PHONES.len()).prop_map(|(account, phone)| Action::Erase(account, phone)),
        2 => (ACCOUNT, people, prop::option::of(5..10u64)).prop_map(|(account, people, lost)| Action::Give(account, people, lost)),
        1 => (ACCOUNT, one()).prop_map(|(account, at)| Action::EndBatch(account, at)),
        6 => replay(),
        1 => (ACCOUNT, one()).prop_map(|(account, at)| Action::CancelReplay(account, at)),
        2 => Just(Action::Repair),
        10 => Just(Action::Chore),
        5 => Just(Action::Chores),
        12 => clock.prop_map(Action::Wait),
        1 => Just(Action::Crash),
        1 => (ACCOUNT, any::<bool>()).prop_map(|(account, deliver)| Action::Copy(account, deliver)),
        1 => Just(Action::Move),
    ]
}
