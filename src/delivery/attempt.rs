//! One attempt: encode in the endpoint's dialect, sign, post, and let the ledger decide what follows.
//! What is said is the delivery's and pinned; where and how it is sent is the endpoint's of this moment.
//! Refuses to know queues and the store.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::RETRY_AFTER;
use tokio::time::Instant;
use tracing::error;

use super::recipient::Recipient;
use super::trouble::Trouble;
use super::wire::{Answer, Exchange, MOST_KEPT, Wire};
use crate::clock::Clock;
use crate::dialect::{self, Links, Outgoing, Policy};
use crate::ledger;
use crate::ledger::Next;
use crate::ledger::settle::Outcome;
use crate::metrics::{AttemptResult, Metrics};
use crate::model::delivery::Attempt;
use crate::model::{DeliveryState, EventBody};
use crate::store::link;
use crate::store::{AccountConfigs, Owned, Settlement};

/// Makes attempts.
pub struct Attempter {
    /// The wire.
    pub wire: Wire,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// For the accounts' tags and the key of links.
    pub configs: Arc<dyn AccountConfigs>,
    /// The address under which the world reaches this house, for links. No slash at the end.
    pub public_url: String,
}

/// What an attempt came to.
pub struct Attempted {
    /// To be written.
    pub settlement: Settlement,
    /// Whether any HTTP answer came, for the breaker.
    pub answered: bool,
    /// How long it took.
    pub latency: Duration,
}

impl Attempter {
    /// Attempts a delivery once. Should a defect of ours break the attempt off, that is an attempt that failed: the
    /// delivery goes on by its policy, and so does everything else.
    ///
    /// `start` is when the lease was found to outlast it: nothing is sent later than its timeout after that.
    pub async fn attempt(&self, recipient: &Recipient, owned: &Owned, start: Instant) -> Attempted {
        let policy = recipient.policy(owned.dialect);
        let at = self.clock.now();
        match AssertUnwindSafe(self.exchange(recipient, owned, &policy, start)).catch_unwind().await {
            Ok(attempted) => attempted,
            Err(_) => {
                error!(event = %owned.event.id, endpoint = %recipient.endpoint.id, "an attempt broke off; this is a defect");
                let latency = self.clock.now().since(at);
                let answer = Answer { latency, result: Err(Trouble::Internal) };
                self.settlement(owned, &policy, at, answer, owned.body.get().unwrap_or_default())
            }
        }
    }

    async fn exchange(
        &self,
        recipient: &Recipient,
        owned: &Owned,
        policy: &Policy,
        start: Instant,
    ) -> Attempted {
        let dialect = dialect::get(owned.dialect);
        let body = owned.body.get_or_make(|| {
            let transcript = || self.transcript_link(owned);
            dialect.encode(&owned.event, &owned.shape, &Links { transcript: &transcript }).into()
        });
        let at = self.clock.now();
        let outgoing = Outgoing { event_id: &owned.event.id, at, body: &body };
        let mut headers = recipient.headers.clone();
        headers.extend(dialect.sign(&outgoing, &recipient.endpoint.credential));
        let target = recipient.target.clone();
        let account = owned.endpoint.account;
        let timeout = policy.timeout;
        let exchange = Exchange { target, headers, body: body.clone(), start, timeout, account };
        let answer = self.wire.post(exchange).await;
        self.settlement(owned, policy, at, answer, body)
    }

    fn settlement(
        &self,
        owned: &Owned,
        policy: &Policy,
        at: crate::model::Time,
        answer: Answer,
        body: Bytes,
    ) -> Attempted {
        let now = self.clock.now();
        let answered = answer.result.is_ok();
        let latency = answer.latency;
        let mut attempt = Attempt {
            number: owned.attempt,
            at,
            latency_ms: milliseconds(latency),
            status: None,
            error: None,
            response_body: None,
            slow: false,
        };
        let mut outcome = Outcome { number: owned.attempt, status: None, retry_after: None };
        match answer.result {
            Ok(response) => {
                self.metrics.attempted(owned.dialect, AttemptResult::of_status(response.status), latency);
                outcome.status = Some(response.status);
                outcome.retry_after = response
                    .headers
                    .get(RETRY_AFTER)
                    .and_then(|value| value.to_str().ok())
                    .and_then(|value| ledger::settle::retry_after(value, now));
                attempt.status = Some(response.status);
                attempt.slow =
                    response.is_success() && policy.slow_after.is_some_and(|limit| latency > limit);
                if !response.is_success() {
                    attempt.error = Some(refusal(response.status));
                }
                if !response.body.is_empty() {
                    attempt.response_body = Some(kept_text(&response.body, MOST_KEPT));
                }
            }
            Err(trouble) => {
                self.metrics.attempted(owned.dialect, kind_of(&trouble), latency);
                if matches!(trouble, Trouble::Informational) {
                    self.metrics.flooded();
                }
                attempt.error = Some(trouble.to_string());
            }
        }
        let decision = ledger::decide(outcome, policy, now, self.clock.dice());
        match decision.next {
            Next::Delivered => self.metrics.settled(DeliveryState::Delivered),
            Next::Dead => self.metrics.settled(DeliveryState::Dead),
            Next::RetryAt(_) => {
                self.metrics.settled(DeliveryState::Pending);
                self.metrics.retry_scheduled();
            }
        }
        let settlement = Settlement {
            endpoint: owned.endpoint,
            delivery: owned.delivery,
            ordered_call: owned.ordered_call,
            event: owned.event.position,
            revision: owned.revision,
            attempt,
            decision,
            body,
        };
        Attempted { settlement, answered, latency }
    }

    /// Where the call's transcript can be fetched, if it came inline.
    fn transcript_link(&self, owned: &Owned) -> Option<String> {
        let has_transcript = match &owned.event.body {
            EventBody::Call { call, .. } => {
                call.transcript.url.is_none()
                    && (call.transcript.turns.is_some() || call.transcript.text.is_some())
            }
            EventBody::Batch(_) | EventBody::Endpoint(_) => false,
        };
        let account = self.configs.config(owned.endpoint.account);
        owned.call.filter(|_| has_transcript).zip(account).map(|(call, config)| {
            let (key, now) = (self.configs.link_key(), self.clock.now());
            link::transcript_url(&self.public_url, key, config.account.tag, call, now)
        })
    }
}

fn milliseconds(latency: Duration) -> f64 {
    (latency.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

fn kind_of(trouble: &Trouble) -> AttemptResult {
    match trouble {
        Trouble::Timeout { .. } => AttemptResult::Timeout,
        Trouble::Refused(_) | Trouble::UrlInvalid(_) => AttemptResult::Refused,
        Trouble::Resolve(_) | Trouble::Connect(_) | Trouble::Tls(_) => AttemptResult::Connect,
        Trouble::Reset(_) | Trouble::Protocol(_) | Trouble::Informational | Trouble::Internal => {
            AttemptResult::Broken
        }
    }
}

/// What is kept of an answer as text, in at most so many bytes. A byte that is no text becomes three when it is decoded.
pub(super) fn kept_text(body: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(most)]);
    text[..text.floor_char_boundary(most)].to_owned()
}

fn refusal(status: u16) -> String {
    match status {
        300..=399 => format!(
            "status {status}: redirects are not followed; set the endpoint's URL to the final address"
        ),
        410 => "status 410: the endpoint says that it is gone for good, so it was disabled".to_owned(),
        _ => format!("status {status}: any 2xx counts as delivered"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_takes_no_more_room_as_text_than_it_may() {
        assert_eq!(kept_text(b"thank you", 64), "thank you");
        assert_eq!(kept_text(b"thank you", 5), "thank");
        // Three bytes for each that is no text.
        let garbage = kept_text(&[0xff; 1000], 1000);
        assert_eq!((garbage.len(), garbage.chars().count()), (999, 333));
        assert_eq!(kept_text("aé".as_bytes(), 2), "a\u{fffd}"[..1], "no half of a letter");
        assert!(kept_text(&[0xc3; MOST_KEPT], MOST_KEPT).len() <= MOST_KEPT);
    }
}
