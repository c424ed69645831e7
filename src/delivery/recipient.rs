//! An endpoint made ready for attempts: what follows from its settings alone is worked out once, not for every attempt.
//! Refuses to know what is said.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::target::Target;
use super::wire::check_header;
use crate::dialect::{self, Policy};
use crate::model::{DialectName, Endpoint};

/// An endpoint in the settings of this moment.
pub struct Recipient {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Where it is.
    pub target: Target,
    /// The headers that its owner wants.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    policy: Policy,
}

impl Recipient {
    /// Works out what follows from the settings.
    pub fn of(endpoint: Arc<Endpoint>) -> Self {
        let headers = endpoint.headers.iter().filter_map(|(name, value)| check_header(name, value).ok());
        Self {
            target: Target::of(&endpoint.url),
            headers: headers.collect(),
            policy: policy(&endpoint, endpoint.dialect),
            endpoint,
        }
    }

    /// How a delivery in a dialect is tried. It may be older than the endpoint's present dialect.
    pub fn policy(&self, dialect: DialectName) -> Cow<'_, Policy> {
        match dialect == self.endpoint.dialect {
            true => Cow::Borrowed(&self.policy),
            false => Cow::Owned(policy(&self.endpoint, dialect)),
        }
    }
}

/// The dialect's policy, with what the endpoint sets itself. Delays that somebody set are meant to the letter: no
/// jitter.
pub fn policy(endpoint: &Endpoint, dialect: DialectName) -> Policy {
    let mut policy = dialect::get(dialect).policy();
    policy.timeout = endpoint.delivering.timeout_or(policy.timeout);
    if let Some(delays) = &endpoint.delivering.retry_delays {
        policy.retry_delays.clone_from(delays);
        policy.jitter = false;
    }
    policy
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{AccountKey, Time};

    #[test]
    fn a_timeout_of_less_than_a_second_counts_as_one() {
        let mut endpoint = Endpoint {
            account: AccountKey::DEFAULT,
            number: 1,
            id: String::new(),
            revision: 1,
            url: "https://crm.example/hook".to_owned(),
            dialect: DialectName::Cllr,
            shape: <_>::default(),
            events: None,
            scope: <_>::default(),
            completed_only: false,
            ordered: true,
            headers: Vec::new(),
            plain_headers: <_>::default(),
            delivering: <_>::default(),
            credential: <_>::default(),
            state: crate::model::endpoint::EndpointState::Active,
            of_batch: false,
            created_at: Time::from_micros(0),
        };
        for (given, expected) in [(Some(2), 1000), (Some(1000), 1000), (Some(1500), 1500), (None, 10_000)] {
            endpoint.delivering.timeout = given.map(Duration::from_millis);
            let found = policy(&endpoint, endpoint.dialect).timeout;
            assert_eq!(found, Duration::from_millis(expected), "{given:?}");
        }
    }
}
