//! The addresses of names, remembered for as long as their answer says. A name is asked for once however many wait for it,
//! and each account has its share of the look-ups under way, so that a name server which hangs is waited for by those alone
//! whose names it has. Does not depend on how an answer is found (`resolver`) and which addresses may be used (`guard`).

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};

use crate::metrics::Metrics;
use crate::model::AccountKey;

/// Look-ups that one account may have under way. An endpoint has one at the most, as it has one name.
pub const MOST_LOOKUPS_OF_ACCOUNT: usize = 16;
/// Look-ups under way of all accounts together. Beyond them each account may still have one.
pub const MOST_LOOKUPS: usize = 256;
/// How long a look-up may take. What it finds later than that helps no attempt.
pub const LONGEST_LOOKUP: Duration = Duration::from_secs(10);
/// Names that are remembered.
pub const MOST_NAMES: usize = 8192;
/// Addresses of one name that are remembered.
pub const MOST_ADDRESSES: usize = 32;
/// How long addresses are remembered, whatever their answer says: who moves a name has waited for longer.
pub const LONGEST_REMEMBERED: Duration = Duration::from_secs(300);
/// How long it is remembered that a name does not exist, whatever the answer says.
pub const LONGEST_ABSENT: Duration = Duration::from_secs(60);
/// How long a failure is remembered that says nothing about the name (RFC 2308, section 7): a name server that is away is
/// not asked for each attempt.
pub const FAILURE_REMEMBERED: Duration = Duration::from_secs(5);

/// Finds the addresses of a name, without remembering them.
pub trait Resolve: Send + Sync + 'static {
    /// Asks for a name's addresses.
    fn resolve<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = Found> + Send + 'a>>;
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its addresses, and for how long they hold.
    Addresses(Vec<IpAddr>, Duration),
    /// That it has none: why, and for how long that holds.
    None(String, Duration),
    /// Nothing: what went wrong.
    Failed(String),
}

/// Remembers names. Clones share what they remember.
#[derive(Clone)]
pub struct Names(Arc<Inner>);

struct Inner {
    resolver: Box<dyn Resolve>,
    metrics: Arc<Metrics>,
    known: Mutex<HashMap<Box<str>, Arc<Entry>>>,
    accounts: Mutex<HashMap<AccountKey, Arc<Semaphore>>>,
    all: Arc<Semaphore>,
}

/// One name.
struct Entry {
    /// Whether a look-up began. Until then those who wait for their turn compete for beginning it.
    is_asked: AtomicBool,
    answer: watch::Sender<Option<Answer>>,
}

#[derive(Clone)]
struct Answer {
    addresses: Result<Arc<[IpAddr]>, Arc<str>>,
    until: Instant,
}

/// The right to have a look-up under way.
struct Turn {
    _own: Option<OwnedSemaphorePermit>,
    /// Of [`MOST_LOOKUPS`]; an account's first look-up needs none.
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Names {
    /// Remembers nothing yet. Look-ups are counted in `metrics`.
    pub fn new(resolver: impl Resolve, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner {
            resolver: Box::new(resolver),
            metrics,
            known: Mutex::default(),
            accounts: Mutex::default(),
            all: Arc::new(Semaphore::new(MOST_LOOKUPS)),
        }))
    }

    /// The addresses of a name; never empty. A look-up counts for `account`. It goes on when the caller stops waiting, so
    /// that the next one finds what it brought.
    ///
    /// # Errors
    /// Why there are none, in the words of a sentence.
    pub async fn addresses(&self, name: &str, account: AccountKey) -> Result<Arc<[IpAddr]>, Arc<str>> {
        let entry = self.0.entry(name);
        let mut answers = entry.answer.subscribe();
        let is_asked = entry.is_asked.load(Ordering::Acquire);
        let turn = tokio::select! {
            biased;
            _ = answers.wait_for(Option::is_some) => None,
            turn = self.0.turn(account), if !is_asked => Some(turn),
        };
        if let Some(turn) = turn.filter(|_| !entry.is_asked.swap(true, Ordering::AcqRel)) {
            tokio::spawn(Arc::clone(&self.0).ask(name.to_owned(), Arc::clone(&entry), turn));
        }
        // The entry keeps the sending half, so this ends with an answer.
        let _ = answers.wait_for(Option::is_some).await;
        let answer = answers.borrow().clone();
        answer.map_or_else(|| Err(Arc::from("its look-up was given up")), |answer| answer.addresses)
    }
}

impl Inner {
    fn known(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Entry>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a name and still holds, or an entry that waits for its answer.
    fn entry(&self, name: &str) -> Arc<Entry> {
        let now = Instant::now();
        let mut known = self.known();
        if let Some(entry) = known.get(name).filter(|entry| !entry.is_over(now)) {
            return Arc::clone(entry);
        }
        if known.len() >= MOST_NAMES {
            make_room(&mut known, now);
        }
        let entry = Arc::new(Entry { is_asked: AtomicBool::new(false), answer: watch::Sender::new(None) });
        known.insert(name.into(), Arc::clone(&entry));
        entry
    }

    /// Waits until the account may have one more look-up under way.
    async fn turn(&self, account: AccountKey) -> Turn {
        let share = self.share(account);
        // No semaphore of this file is ever closed.
        let own = Arc::clone(&share).acquire_owned().await.ok();
        let is_first = share.available_permits() + 1 == MOST_LOOKUPS_OF_ACCOUNT;
        let of_all = if is_first { None } else { Arc::clone(&self.all).acquire_owned().await.ok() };
        Turn { _own: own, _of_all: of_all }
    }

    fn share(&self, account: AccountKey) -> Arc<Semaphore> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = accounts.get(&account) {
            return Arc::clone(share);
        }
        // A share that nobody waits for and nobody has a part of is as good as a new one.
        accounts.retain(|_, share| Arc::strong_count(share) > 1);
        let share = Arc::new(Semaphore::new(MOST_LOOKUPS_OF_ACCOUNT));
        accounts.insert(account, Arc::clone(&share));
        share
    }

    async fn ask(self: Arc<Self>, name: String, entry: Arc<Entry>, turn: Turn) {
        self.metrics.lookup_began();
        let asking = AssertUnwindSafe(timeout(LONGEST_LOOKUP, self.resolver.resolve(&name))).catch_unwind();
        let found = match asking.await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => Found::Failed(format!("no name server answered in {LONGEST_LOOKUP:?}")),
            Err(_) => Found::Failed("postcall itself failed to look it up".to_owned()),
        };
        self.metrics.lookup_ended(matches!(found, Found::Failed(_)));
        let (addresses, holds) = match found {
            Found::Addresses(addresses, holds) if !addresses.is_empty() => {
                let kept: Arc<[IpAddr]> = addresses.into_iter().take(MOST_ADDRESSES).collect();
                (Ok(kept), holds.min(LONGEST_REMEMBERED))
            }
            Found::Addresses(..) => (Err("it has no addresses".into()), FAILURE_REMEMBERED),
            Found::None(why, holds) => (Err(why.into()), holds.min(LONGEST_ABSENT)),
            Found::Failed(why) => (Err(why.into()), FAILURE_REMEMBERED),
        };
        entry.answer.send_replace(Some(Answer { addresses, until: Instant::now() + holds }));
        drop(turn);
    }
}

impl Entry {
    /// Whether its answer holds no more.
    fn is_over(&self, now: Instant) -> bool {
        self.answer.borrow().as_ref().is_some_and(|answer| answer.until <= now)
    }

    /// Whether somebody waits for it, or it is being asked for.
    fn is_awaited(self: &Arc<Self>) -> bool {
        self.answer.borrow().is_none() && Arc::strong_count(self) > 1
    }
}

/// Forgets what holds no more, and if that is not enough an eighth of the rest: so it is not done for every name that comes.
fn make_room(known: &mut HashMap<Box<str>, Arc<Entry>>, now: Instant) {
    known.retain(|_, entry| !entry.is_over(now));
    let mut excess = (known.len() + MOST_NAMES / 8).saturating_sub(MOST_NAMES);
    known.retain(|_, entry| {
        let stays = excess == 0 || entry.is_awaited();
        excess -= usize::from(!stays);
        stays
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Notify;
    use tokio::task::JoinSet;

    use super::*;

    const HOLDS: Duration = Duration::from_secs(60);

    /// Answers what the name says, `hang...` never.
    #[derive(Clone, Default)]
    struct Script {
        asked: Arc<AtomicUsize>,
        under_way: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
        /// Let go one by one.
        gate: Arc<Notify>,
    }

    struct UnderWay(Arc<AtomicUsize>);

    impl Drop for UnderWay {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Resolve for Script {
        fn resolve<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = Found> + Send + 'a>> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            let under_way = UnderWay(Arc::clone(&self.under_way));
            Box::pin(async move {
                let _under_way = under_way;
                let address = IpAddr::from([192, 0, 2, 1]);
                match name.split('.').next().unwrap_or_default() {
                    "gated" => self.gate.notified().await,
                    "absent" => return Found::None("there is no such name".to_owned(), HOLDS),
                    "failing" => return Found::Failed("refused".to_owned()),
                    "brief" => return Found::Addresses(vec![address], Duration::ZERO),
                    "many" => return Found::Addresses(vec![address; 4000], HOLDS),
                    "broken" => panic!("a bug"),
                    hanging if hanging.starts_with("hang") => std::future::pending().await,
                    _ => {}
                }
                Found::Addresses(vec![address], HOLDS)
            })
        }
    }

    fn names() -> (Names, Script) {
        let script = Script::default();
        (Names::new(script.clone(), Arc::new(Metrics::new())), script)
    }

    const ONE: AccountKey = AccountKey(1);
    const TWO: AccountKey = AccountKey(2);

    #[tokio::test(start_paused = true)]
    async fn an_answer_holds_as_long_as_it_says() {
        let (names, script) = names();
        let asked = async |name: &str, wait: Duration| {
            tokio::time::advance(wait).await;
            let before = script.asked.load(Ordering::SeqCst);
            let _ = names.addresses(name, ONE).await;
            script.asked.load(Ordering::SeqCst) - before
        };
        let second = Duration::from_secs(1);
        for name in ["a.example", "absent.example"] {
            assert_eq!(asked(name, Duration::ZERO).await, 1, "{name}");
            assert_eq!(asked(name, HOLDS - second).await, 0, "{name} holds");
            assert_eq!(asked(name, second).await, 1, "{name} is over");
        }
        assert_eq!(asked("brief.example", Duration::ZERO).await, 1);
        assert_eq!(
            asked("brief.example", Duration::ZERO).await,
            1,
            "an answer that holds for no time at all"
        );
        assert_eq!(asked("failing.example", Duration::ZERO).await, 1);
        assert_eq!(asked("failing.example", FAILURE_REMEMBERED - second).await, 0);
        assert_eq!(asked("failing.example", second).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_wait_for_a_name_ask_once() {
        let (names, script) = names();
        let mut waiting = JoinSet::new();
        for account in 0..200 {
            let names = names.clone();
            waiting.spawn(async move { names.addresses("gated.example", AccountKey(account % 3)).await });
        }
        while script.asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        script.gate.notify_one();
        while let Some(answer) = waiting.join_next().await {
            assert_eq!(answer.unwrap().unwrap().len(), 1);
        }
        assert_eq!(script.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_hang_are_bounded_and_cost_another_account_nothing() {
        let (names, script) = names();
        let mut waiting = JoinSet::new();
        for number in 0..200 {
            let names = names.clone();
            waiting.spawn(async move { names.addresses(&format!("hang{number}.example"), ONE).await });
        }
        while script.under_way.load(Ordering::SeqCst) < MOST_LOOKUPS_OF_ACCOUNT {
            tokio::task::yield_now().await;
        }
        let start = Instant::now();
        assert!(names.addresses("a.example", TWO).await.is_ok());
        assert_eq!(start.elapsed(), Duration::ZERO, "it does not wait for the other account's");
        while let Some(answer) = waiting.join_next().await {
            assert!(answer.unwrap().unwrap_err().contains("no name server answered"));
        }
        assert_eq!(script.most.load(Ordering::SeqCst), MOST_LOOKUPS_OF_ACCOUNT + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn every_account_has_one_look_up_however_many_hang() {
        let (names, script) = names();
        let accounts = i64::try_from(MOST_LOOKUPS / MOST_LOOKUPS_OF_ACCOUNT).unwrap() + 8;
        let mut waiting = JoinSet::new();
        for number in 0..accounts * 100 {
            let names = names.clone();
            let account = AccountKey(10 + number % accounts);
            waiting.spawn(async move { names.addresses(&format!("hang{number}.example"), account).await });
        }
        while script.under_way.load(Ordering::SeqCst) < MOST_LOOKUPS {
            tokio::task::yield_now().await;
        }
        let start = Instant::now();
        assert!(names.addresses("a.example", ONE).await.is_ok());
        assert_eq!(start.elapsed(), Duration::ZERO);
        let bound = MOST_LOOKUPS + usize::try_from(accounts).unwrap() + 1;
        assert!(script.most.load(Ordering::SeqCst) <= bound);
        waiting.abort_all();
    }

    /// An attempt's time may be up before its name server answers; the answer is there for the next one.
    #[tokio::test(start_paused = true)]
    async fn a_look_up_outlives_who_asked_for_it() {
        let (names, script) = names();
        let impatient = timeout(Duration::from_secs(1), names.addresses("gated.example", ONE)).await;
        assert!(impatient.is_err());
        script.gate.notify_one();
        assert!(names.addresses("gated.example", ONE).await.is_ok());
        assert_eq!(script.asked.load(Ordering::SeqCst), 1);
        // Who gave up before its turn came leaves a name that the next one can ask for.
        let held: Vec<_> =
            (0..MOST_LOOKUPS_OF_ACCOUNT).map(|number| format!("hang{number}.example")).collect();
        for name in &held {
            let _ = timeout(Duration::from_millis(1), names.addresses(name, ONE)).await;
        }
        let late = timeout(Duration::from_secs(1), names.addresses("late.example", ONE)).await;
        assert!(late.is_err(), "the account has no turn left");
        assert!(names.addresses("late.example", TWO).await.is_ok(), "another account's turn");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let (names, script) = names();
        assert_eq!(names.addresses("many.example", ONE).await.unwrap().len(), MOST_ADDRESSES);
        for number in 0..MOST_NAMES + 100 {
            assert!(names.addresses(&format!("n{number}.example"), ONE).await.is_ok());
        }
        assert!(names.0.known().len() <= MOST_NAMES);
        assert_eq!(script.asked.load(Ordering::SeqCst), MOST_NAMES + 101);
        assert!(names.0.accounts.lock().unwrap().len() <= 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_that_breaks_off_is_a_failure() {
        let (names, _) = names();
        assert!(names.addresses("broken.example", ONE).await.unwrap_err().contains("itself failed"));
    }
}
