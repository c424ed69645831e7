//! Configuration as it lies at rest: everything that may hold a secret, sealed as one value. URLs and headers often
//! hold one. Refuses to know where it lies.

use std::collections::BTreeSet;
use std::time::Duration;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::model::endpoint::{Delivering, Shape, Wait};
use crate::model::secret::{Credential, DatedSecret, MOST_SECRETS, Secret};
use crate::model::{DialectName, Endpoint, Source, Text, Time};
use crate::store::StoreError;
use crate::store::packed::damaged;
use crate::store::vault::Vault;

#[derive(Serialize, Deserialize)]
struct SealedSecret {
    secret: String,
    active_from: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
}

/// Secrets and bearer token.
#[derive(Default, Serialize, Deserialize)]
pub struct SealedCredential {
    secrets: Vec<SealedSecret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bearer_token: Option<String>,
}

/// What is sealed of a source.
#[derive(Serialize, Deserialize)]
pub struct SealedSource {
    pub name: String,
    pub credential: SealedCredential,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_after: Option<Duration>,
}

/// What is sealed of an endpoint.
#[derive(Serialize, Deserialize)]
pub struct SealedEndpoint {
    pub url: String,
    pub dialect: String,
    pub shape: Shape,
    pub events: Option<Vec<String>>,
    pub agent_id: Option<Text>,
    pub campaign_id: Option<Text>,
    pub batch_id: Option<Text>,
    pub completed_only: bool,
    pub ordered: bool,
    pub headers: Vec<(String, String)>,
    /// An older version leaves these out: then all headers are write-only.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub plain_headers: BTreeSet<String>,
    pub timeout: Option<Duration>,
    pub retry_delays: Option<Vec<Duration>>,
    pub max_in_flight: Option<u32>,
    pub rate_limit: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
    pub credential: SealedCredential,
}

impl SealedCredential {
    fn of(credential: &Credential) -> Self {
        let secrets = credential.secrets.iter().map(|dated| SealedSecret {
            secret: encode(&dated.secret),
            active_from: dated.active_from.as_micros(),
            expires_at: dated.expires_at.map(Time::as_micros),
        });
        Self { secrets: secrets.collect(), bearer_token: credential.bearer_token.as_ref().map(encode) }
    }

    /// One that nobody knows, in place of one that was left out.
    pub fn unknown(chance: [u8; 32]) -> Self {
        let secret = SealedSecret { secret: BASE64.encode(&chance), active_from: i64::MIN, expires_at: None };
        Self { secrets: vec![secret], bearer_token: Some(BASE64.encode(&chance)) }
    }

    /// The bearer token, as sealed values write secrets.
    pub fn token(self) -> Option<String> {
        self.bearer_token
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty() && self.bearer_token.is_none()
    }

    /// The credential.
    pub fn open(&self) -> Result<Credential, StoreError> {
        if self.secrets.len() > MOST_SECRETS {
            return Err(damaged("more secrets than a credential holds"));
        }
        let secrets = self.secrets.iter().map(|sealed| {
            Ok(DatedSecret {
                secret: decode(&sealed.secret)?,
                active_from: Time::from_micros(sealed.active_from),
                expires_at: sealed.expires_at.map(Time::from_micros),
            })
        });
        Ok(Credential {
            secrets: secrets.collect::<Result<_, StoreError>>()?,
            bearer_token: self.bearer_token.as_deref().map(decode).transpose()?,
        })
    }
}

impl SealedSource {
    /// A source, ready to be sealed.
    pub fn of(source: &Source) -> Self {
        Self {
            name: source.name.clone(),
            credential: SealedCredential::of(&source.credential),
            url_token: source.url_token.as_ref().map(encode),
            lost_after: source.lost_after,
        }
    }
}

impl SealedEndpoint {
    /// An endpoint, ready to be sealed.
    pub fn of(endpoint: &Endpoint) -> Self {
        let names = |events: &Vec<_>| {
            events.iter().map(|kind: &crate::model::EventType| kind.as_str().to_owned()).collect()
        };
        Self {
            url: endpoint.url.clone(),
            dialect: endpoint.dialect.as_str().to_owned(),
            shape: endpoint.shape.clone(),
            events: endpoint.events.as_ref().map(names),
            agent_id: endpoint.scope.agent_id.clone(),
            campaign_id: endpoint.scope.campaign_id.clone(),
            batch_id: endpoint.scope.batch_id.clone(),
            completed_only: endpoint.completed_only,
            ordered: endpoint.ordered,
            headers: endpoint.headers.clone(),
            plain_headers: endpoint.plain_headers.clone(),
            timeout: endpoint.delivering.timeout,
            retry_delays: endpoint.delivering.retry_delays.clone(),
            max_in_flight: endpoint.delivering.max_in_flight,
            rate_limit: endpoint.delivering.rate_limit,
            wait: endpoint.delivering.wait.clone(),
            credential: SealedCredential::of(&endpoint.credential),
        }
    }
}

/// How an endpoint wants to be treated.
pub fn delivering_of(sealed: &SealedEndpoint) -> Delivering {
    Delivering {
        timeout: sealed.timeout,
        retry_delays: sealed.retry_delays.clone(),
        max_in_flight: sealed.max_in_flight,
        rate_limit: sealed.rate_limit,
        wait: sealed.wait.clone(),
    }
}

fn encode(secret: &Secret) -> String {
    BASE64.encode(secret.expose())
}

/// The inverse of how secrets are written inside sealed values.
pub fn decode(text: &str) -> Result<Secret, StoreError> {
    let bytes = BASE64.decode(text.as_bytes());
    bytes.map(Secret::new).map_err(damaged)
}

/// The dialect of a stored name.
pub fn dialect_of(name: &str) -> Result<DialectName, StoreError> {
    DialectName::parse(name).ok_or_else(|| damaged(format!("unknown dialect {name}")))
}

/// Opens a sealed value.
pub fn open<T: for<'a> Deserialize<'a>>(vault: &Vault, sealed: &[u8]) -> Result<T, StoreError> {
    let plain = vault.open(sealed).map_err(damaged)?;
    serde_json::from_slice(&plain).map_err(damaged)
}

/// Seals a value.
pub fn seal<T: Serialize>(vault: &Vault, value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value)
        .map(|plain| vault.seal(&plain))
        .map_err(|error| StoreError::Data(error.to_string()))
}
