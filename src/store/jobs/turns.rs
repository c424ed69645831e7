//! Whose turn it is in each job of maintenance: accounts go one after the other, and one for which a job failed rests for a
//! while, longer each time, in that job alone. Pure: is told the time and what came of it.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::{AccountKey, Time};
use crate::store::StoreError;

/// How long an account rests after the first failure, and at the most.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// The turns of all jobs.
#[derive(Debug)]
pub struct JobTurns {
    /// For whom each job did its last step.
    last: Vec<AccountKey>,
    /// Up to which time each job looked further on, behind what is due for the longest.
    looked_up_to: Vec<i64>,
    resting: HashMap<(usize, AccountKey), Rest>,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    failures: u32,
    until: Time,
}

/// Who may have a job's next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    after: AccountKey,
    resting: Vec<AccountKey>,
    looked_up_to: i64,
}

impl JobTurns {
    /// Of so many jobs.
    pub fn new(jobs: usize) -> Self {
        Self {
            last: vec![AccountKey::NONE; jobs],
            looked_up_to: vec![i64::MIN; jobs],
            resting: HashMap::new(),
        }
    }

    /// The next turn of a job; nothing while the job itself rests, which failed for no account.
    pub fn next(&self, job: usize, now: Time) -> Option<Turn> {
        let is_resting = |rest: &Rest| {
            // A clock that was set back must not make it longer.
            let left = rest.until.since(now);
            left > Duration::ZERO && left <= REST.1
        };
        let of_job = self.resting.iter().filter(|((of, _), rest)| *of == job && is_resting(rest));
        let mut resting: Vec<AccountKey> = of_job.map(|((_, account), _)| *account).collect();
        resting.sort_unstable();
        let is_open = !resting.contains(&AccountKey::NONE);
        is_open.then(|| Turn { after: self.last[job], resting, looked_up_to: self.looked_up_to[job] })
    }

    /// How far a job looked, if not to the end: the next look goes on from there.
    pub fn looked(&mut self, job: usize, up_to: Option<i64>) {
        self.looked_up_to[job] = up_to.unwrap_or(i64::MIN);
    }

    /// A step was done. True when it had failed before.
    pub fn worked(&mut self, job: usize, account: AccountKey) -> bool {
        self.last[job] = account;
        self.resting.remove(&(job, account)).is_some()
    }

    /// It was found out whose turn it is, if anybody's. True when even that had failed before.
    pub fn found(&mut self, job: usize) -> bool {
        self.resting.remove(&(job, AccountKey::NONE)).is_some()
    }

    /// A step failed. True for the first time.
    pub fn failed(&mut self, job: usize, account: AccountKey, now: Time) -> bool {
        self.last[job] = account;
        let rest = self.resting.entry((job, account)).or_insert(Rest { failures: 0, until: now });
        let pause = REST.0.saturating_mul(1 << rest.failures.min(16)).min(REST.1);
        rest.failures = rest.failures.saturating_add(1);
        rest.until = now.after(pause);
        rest.failures == 1
    }
}

impl Turn {
    /// Up to which time was looked the last time.
    pub fn looked_up_to(&self) -> i64 {
        self.looked_up_to
    }

    /// The account whose turn it is among these.
    pub fn among(&self, due: &[AccountKey]) -> Option<AccountKey> {
        let open = || due.iter().copied().filter(|account| !self.resting.contains(account));
        open().filter(|account| *account > self.after).min().or_else(|| open().min())
    }

    /// The first of these that does not rest.
    pub fn in_order(&self, due: &[AccountKey]) -> Option<AccountKey> {
        due.iter().copied().find(|account| !self.resting.contains(account))
    }

    /// The account whose turn it is, from what finds the first account after another one for which something is due.
    pub fn first(
        &self,
        first_after: impl Fn(AccountKey) -> Result<Option<AccountKey>, StoreError>,
    ) -> Result<Option<AccountKey>, StoreError> {
        let (mut after, mut is_again) = (self.after, false);
        loop {
            match first_after(after)? {
                Some(account) if is_again && account > self.after => return Ok(None),
                Some(account) if !self.resting.contains(&account) => return Ok(Some(account)),
                Some(account) => after = account,
                None if is_again => return Ok(None),
                None => (after, is_again) = (AccountKey::NONE, true),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The accounts of a number of steps, of those for which there is always something to do.
    fn served(turns: &mut JobTurns, due: &[i64], now: Time, steps: usize) -> Vec<i64> {
        let find = |after: AccountKey| {
            Ok(due.iter().copied().filter(|&account| account > after.0).min().map(AccountKey))
        };
        let all: Vec<AccountKey> = due.iter().copied().map(AccountKey).collect();
        let step = |turns: &mut JobTurns| {
            let turn = turns.next(0, now)?;
            let account = turn.first(find).unwrap();
            assert_eq!(turn.among(&all), account, "both ways of looking say the same");
            let account = account?;
            turns.worked(0, account);
            Some(account.0)
        };
        (0..steps).map_while(|_| step(turns)).collect()
    }

    #[test]
    fn accounts_take_turns() {
        let (mut turns, now) = (JobTurns::new(2), Time::from_seconds(1000).unwrap());
        assert_eq!(served(&mut turns, &[3, 7, 5], now, 7), [3, 5, 7, 3, 5, 7, 3]);
        assert_eq!(served(&mut turns, &[3], now, 2), [3, 3]);
        assert_eq!(served(&mut turns, &[1, 9], now, 3), [9, 1, 9]);
        assert_eq!(served(&mut turns, &[], now, 3), [0; 0]);
        assert_eq!(turns.next(1, now).unwrap().after, AccountKey::NONE, "each job has its own");
        let due = [3, 7].map(AccountKey);
        turns.worked(1, due[0]);
        assert_eq!(turns.next(1, now).unwrap().in_order(&due), Some(due[0]), "until it is done");
        turns.failed(1, due[0], now);
        assert_eq!(turns.next(1, now).unwrap().in_order(&due), Some(due[1]));
    }

    #[test]
    fn who_failed_rests_alone_and_longer_each_time() {
        let (mut turns, begin) = (JobTurns::new(2), Time::from_seconds(1000).unwrap());
        let bad = AccountKey(5);
        let mut now = begin;
        assert!(turns.failed(0, bad, now));
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let rest = Duration::from_secs(seconds);
            assert_eq!(served(&mut turns, &[3, 5, 7], now, 4).iter().filter(|&&of| of == 5).count(), 0);
            assert!(turns.next(1, now).unwrap().resting.is_empty(), "another job goes on for it");
            assert_eq!(turns.next(0, now.after(rest - Duration::from_micros(1))).unwrap().resting, [bad]);
            now = now.after(rest);
            assert_eq!(turns.next(0, now).unwrap().resting, []);
            assert!(!turns.failed(0, bad, now), "it is known");
        }
        assert_eq!(served(&mut turns, &[5], now, 1), [0; 0], "alone it rests too");
        let set_back = Time::from_seconds(10).unwrap();
        assert_eq!(turns.next(0, set_back).unwrap().resting, [], "a clock that was set back");
        assert!(turns.worked(0, bad) && !turns.worked(0, bad));
    }

    #[test]
    fn a_job_that_fails_for_no_account_rests_itself() {
        let (mut turns, now) = (JobTurns::new(2), Time::from_seconds(1000).unwrap());
        turns.failed(1, AccountKey::NONE, now);
        assert_eq!(turns.next(1, now), None);
        assert!(turns.next(0, now).is_some() && turns.next(1, now.after(REST.0)).is_some());
        assert!(turns.found(1) && !turns.found(1) && turns.next(1, now).is_some());
    }
}
