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
    if let Some(timeout) = endpoint.delivering.timeout {
        policy.timeout = timeout;
    }
    if let Some(delays) = &endpoint.delivering.retry_delays {
        policy.retry_delays.clone_from(delays);
        policy.jitter = false;
    }
    policy
}
