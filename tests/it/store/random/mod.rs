//! Whatever happens in whatever order: random lists of actions, done to a store and to a tiny model beside it. Each list
//! comes from a seed, which is printed where it fails, with the shortest list that does.
//!
//! - `actions.rs`: what may happen.
//! - `books.rs`: what the model knows of one account.
//! - `house.rs`: does it to both.
//! - `looking.rs`: compares.
//!
//! The suite runs some seeds that are always the same: what it says of a change does not depend on chance. `cargo xtask random`
//! runs fresh ones for as long as it is told to, or one again.

mod actions;
mod books;
mod house;
mod looking;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use self::actions::{Action, action};
use self::house::{Counts, House};
use super::scene::Fixture;

/// Runs this seed and no other.
const SEED: &str = "POSTCALL_TEST_SEED";
/// Runs fresh seeds for so many minutes.
const MINUTES: &str = "POSTCALL_TEST_MINUTES";
/// How many seeds the suite runs over a store where a round trip costs nothing.
const USUAL: u64 = 16;
/// How long is looked for a shorter list that fails.
const SHRINKING: Duration = Duration::from_secs(120);

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    #[expect(clippy::disallowed_methods, reason = "the door of the tests")]
    let set = std::env::var(name).ok().filter(|set| !set.is_empty());
    set.map(|set| set.parse().unwrap_or_else(|_| panic!("{name} is {set:?}, which is no number")))
}

fn fresh() -> u64 {
    // So few that they are easily written down.
    u64::from(u32::from_be_bytes(postcall::clock::random_bytes()))
}

/// The seeds of a run, one after the other.
fn seeds(cases_of: u32) -> Box<dyn Iterator<Item = u64>> {
    let start = Instant::now();
    match (setting::<u64>(SEED), setting::<u64>(MINUTES)) {
        (Some(seed), _) => Box::new(std::iter::once(seed)),
        (None, Some(minutes)) => {
            let end = Duration::from_secs(60 * minutes);
            Box::new(std::iter::repeat_with(fresh).take_while(move |_| start.elapsed() < end))
        }
        (None, None) => Box::new(1..=USUAL / u64::from(cases_of)),
    }
}

/// Run by the suite over each store.
pub fn whatever_happens_in_whatever_order<F: Fixture>() {
    let (mut all, mut ran, start) = (Counts::new(), 0, Instant::now());
    for seed in seeds(F::CASES_OF) {
        run::<F>(seed, &mut all);
        ran += 1;
    }
    println!("{ran} seeds in {:?}: {all:?}", start.elapsed());
}

/// Does what a seed says, and adds to the counts.
fn run<F: Fixture>(seed: u64, all: &mut Counts) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let shrinking = u32::try_from(SHRINKING.as_millis()).unwrap();
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_time: shrinking,
        // The greatest number means few.
        max_shrink_iters: u32::MAX - 1,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let counts = RefCell::new(Counts::new());
    let actions = prop::collection::vec(action(), 1..110);
    let ran = TestRunner::new_with_rng(config, rng).run(&actions, |actions: Vec<Action>| {
        runtime.block_on(async {
            let mut house = House::<F>::new().await;
            for action in &actions {
                house.act(action).await;
            }
            *counts.borrow_mut() = house.drain().await;
        });
        Ok(())
    });
    let once_more = format!("seed {seed} (once more: cargo xtask random --seed {seed})");
    match ran {
        Ok(()) => {}
        Err(TestError::Fail(why, actions)) => {
            let actions: Vec<String> = actions.iter().map(|action| format!("\n  {action:?}")).collect();
            panic!("{once_more}: {why}\nthe shortest list that fails:{}", actions.concat());
        }
        Err(aborted) => panic!("{once_more}: {aborted}"),
    }
    counts.into_inner().into_iter().for_each(|(what, many)| *all.entry(what).or_default() += many);
}
