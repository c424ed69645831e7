//! What follows from an attempt: delivered, tried again at a time, or dead.
//! Pure: attempt, policy, now and dice in; decision out. Refuses to know endpoints, queues and the store.

use std::time::Duration;

use crate::dialect::Policy;
use crate::model::Time;
use crate::model::time::duration;

/// The result of one attempt, as far as the decision depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which attempt this was; 1 for the first.
    pub number: u32,
    /// The status that came back, if one did.
    pub status: Option<u16>,
    /// `Retry-After` in seconds from now, if the answer had one.
    pub retry_after: Option<Duration>,
}

/// What happens next to the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A 2xx came back.
    Delivered,
    /// It is tried again then.
    RetryAt(Time),
    /// It is not tried again.
    Dead,
}

/// The decision after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What happens to the delivery.
    pub next: Next,
    /// Whether the endpoint said that it is gone for good (410).
    pub disable_endpoint: bool,
}

/// The most that chance adds to a wait, as a part of it.
const JITTER: f64 = 0.1;

/// The shortest wait between two attempts. Without it an endpoint with fifty waits of zero costs fifty attempts in the time
/// that a refused connection takes.
pub const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// Decides after an attempt that ended at `now`. Every non-2xx is retried but 410 (`docs/dialects.md`). `Retry-After` on 429
/// and 503 may lengthen a wait, to the following step's at most. `dice` is between 0 and 1.
pub fn decide(outcome: Outcome, policy: &Policy, now: Time, dice: f64) -> Decision {
    let next = match outcome.status {
        Some(200..=299) => Next::Delivered,
        Some(410) => return Decision { next: Next::Dead, disable_endpoint: true },
        _ => match wait(outcome, policy, dice) {
            Some(wait) => Next::RetryAt(now.after(wait)),
            None => Next::Dead,
        },
    };
    Decision { next, disable_endpoint: false }
}

fn wait(outcome: Outcome, policy: &Policy, dice: f64) -> Option<Duration> {
    let step = usize::try_from(outcome.number.checked_sub(1)?).ok()?;
    let scheduled = (*policy.retry_delays.get(step)?).max(SHORTEST_WAIT);
    let scheduled = if policy.jitter {
        duration(scheduled.as_secs_f64() * (1.0 + JITTER * dice.clamp(0.0, 1.0)))
    } else {
        scheduled
    };
    let asked = match outcome.status {
        Some(429 | 503) => outcome.retry_after.unwrap_or_default(),
        _ => Duration::ZERO,
    };
    let most = policy.retry_delays.get(step + 1).copied().unwrap_or(scheduled).max(scheduled);
    Some(asked.clamp(scheduled, most))
}

/// Reads `Retry-After` (RFC 9110, 10.2.3): seconds, or a date.
pub fn retry_after(value: &str, now: Time) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    Time::parse(value).map(|then| then.since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(delays: &[u64]) -> Policy {
        Policy {
            timeout: Duration::from_secs(20),
            retry_delays: delays.iter().copied().map(Duration::from_secs).collect(),
            jitter: false,
            slow_after: None,
        }
    }

    fn after(number: u32, status: Option<u16>, retry_after: Option<u64>) -> Outcome {
        Outcome { number, status, retry_after: retry_after.map(Duration::from_secs) }
    }

    /// Seed 002: 1 s, 5 s, 25 s, then dropped.
    #[test]
    fn the_schedule_is_walked_to_its_end() {
        let now = Time::from_seconds(1000).unwrap();
        let dialgen = policy(&[1, 5, 25]);
        let next = |number| decide(after(number, Some(500), None), &dialgen, now, 0.5).next;
        for (number, seconds) in [(1, 1001), (2, 1005), (3, 1025)] {
            assert_eq!(next(number), Next::RetryAt(Time::from_seconds(seconds).unwrap()));
        }
        assert_eq!(next(4), Next::Dead);
        assert_eq!(decide(after(1, None, None), &policy(&[]), now, 0.0).next, Next::Dead);
    }

    #[test]
    fn retry_after_lengthens_up_to_the_following_step() {
        let now = Time::from_seconds(0).unwrap();
        let policy = policy(&[1, 5, 25]);
        let wait = |number, status, asked| match decide(after(number, Some(status), asked), &policy, now, 0.0)
            .next
        {
            Next::RetryAt(at) => at.as_seconds(),
            other => panic!("{other:?}"),
        };
        assert_eq!(wait(1, 429, Some(3)), 3);
        assert_eq!(wait(1, 503, Some(300)), 5);
        assert_eq!(wait(1, 429, Some(0)), 1);
        assert_eq!(wait(3, 429, Some(300)), 25);
        assert_eq!(wait(1, 500, Some(3)), 1, "only 429 and 503");
    }

    /// Fifty waits of zero would be fifty attempts in the time that a refused connection takes.
    #[test]
    fn waits_below_a_tenth_of_a_second_count_as_that() {
        let now = Time::from_seconds(0).unwrap();
        let hasty =
            Policy { retry_delays: [0, 1, 99, 100, 101].map(Duration::from_millis).into(), ..policy(&[]) };
        for (number, millis) in [(1, 100), (2, 100), (3, 100), (4, 100), (5, 101)] {
            let next = decide(after(number, Some(500), None), &hasty, now, 0.0).next;
            assert_eq!(next, Next::RetryAt(now.after(Duration::from_millis(millis))), "{number}");
        }
        let next = decide(after(1, Some(429), Some(0)), &hasty, now, 0.0).next;
        assert_eq!(
            next,
            Next::RetryAt(now.after(Duration::from_millis(100))),
            "also where the receiver asks for none"
        );
    }

    #[test]
    fn gone_is_dead_and_any_2xx_is_delivered() {
        let now = Time::from_seconds(0).unwrap();
        let decided = |status| decide(after(1, Some(status), None), &policy(&[1]), now, 0.0);
        assert_eq!(decided(410), Decision { next: Next::Dead, disable_endpoint: true });
        for status in [200, 201, 204, 299] {
            assert_eq!(decided(status).next, Next::Delivered);
        }
        for status in [301, 307, 400, 401, 404, 500] {
            assert!(matches!(decided(status).next, Next::RetryAt(_)), "{status}");
        }
    }

    #[test]
    fn chance_only_adds() {
        let now = Time::from_seconds(0).unwrap();
        let standard = Policy { jitter: true, ..policy(&[100]) };
        for dice in [0.0, 0.5, 1.0] {
            let Next::RetryAt(at) = decide(after(1, Some(500), None), &standard, now, dice).next else {
                panic!()
            };
            assert!((100..=110).contains(&at.as_seconds()));
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Time::parse("2026-01-01T00:00:00Z").unwrap();
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Thu, 01 Jan 2026 00:01:00 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("soon", now), None);
    }
}
