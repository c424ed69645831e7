//! What can go wrong with an attempt short of an answer, as data: a code for machines and a sentence for the
//! endpoint's owner. Refuses to know what follows from it: that is the ledger's.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::bounds::{MOST_BEFORE_ANSWER, MOST_INFORMATIONAL};
use super::guard::Refused;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The time for the whole exchange was up.
    #[error("not done within {limit:?}: {phase}")]
    Timeout {
        /// What was going on.
        phase: Phase,
        /// The time that the exchange had.
        limit: Duration,
    },
    /// The guard lets through none of the host's addresses.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The host's name has no addresses.
    #[error("{0}")]
    Resolve(String),
    /// No address of the host took the connection.
    #[error("{0}")]
    Connect(String),
    /// The TLS handshake failed: certificate, name, or no TLS at all.
    #[error("the TLS handshake failed: {0}")]
    Tls(String),
    /// The connection closed before the answer was complete.
    #[error("the connection broke before the answer was complete: {0}")]
    Reset(String),
    /// What came back is not HTTP/1, or a head of more than 64 KiB.
    #[error("what came back cannot be read as HTTP/1: {0}")]
    Protocol(String),
    /// Too many informational answers (1xx) came in place of one.
    #[error(
        "more than {MOST_INFORMATIONAL} informational answers (1xx) or {} KiB of them came before an answer, so the connection \
         was closed; send a final status such as 200",
        MOST_BEFORE_ANSWER / 1024
    )]
    Informational,
    /// A defect of postcall broke the attempt off.
    #[error("postcall itself failed to make this attempt; its log says more")]
    Internal,
    /// The URL cannot be posted to; `guard::parse_url` says why.
    #[error("{0}")]
    UrlInvalid(String),
}

impl Trouble {
    /// The stable short name, for metrics and for filters.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "timeout",
            Self::Refused(_) => "address_refused",
            Self::Resolve(_) => "resolve",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Reset(_) => "reset",
            Self::Protocol(_) => "protocol",
            Self::Informational => "informational",
            Self::Internal => "internal",
            Self::UrlInvalid(_) => "url_invalid",
        }
    }

    /// Sorts an error of an established connection: did it end, or does it speak something else?
    pub(super) fn of_connection(error: &hyper::Error) -> Self {
        use std::error::Error;
        let io = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
        let sentence = match io {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        // InvalidInput and InvalidData are a chunk size that is no number and a TLS record that is none.
        let garbled = io.is_some_and(|cause| {
            matches!(cause.kind(), std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData)
        });
        if error.is_parse() || garbled { Self::Protocol(sentence) } else { Self::Reset(sentence) }
    }
}

/// The parts of an exchange, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The host's name becomes addresses.
    Resolve,
    /// TCP.
    Connect,
    /// TLS.
    Tls,
    /// The request goes out, the answer's head comes in.
    Answer,
    /// The answer's body comes in.
    Body,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "the name was still being resolved",
            Self::Connect => "nobody had taken the connection",
            Self::Tls => "the TLS handshake was still going on",
            Self::Answer => "the connection stood, but no answer had come",
            Self::Body => "the answer had begun, but its body was not complete",
        })
    }
}

/// The time that an exchange has, all phases together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    until: Instant,
    whole: Duration,
}

impl Limit {
    pub(super) fn from(start: Instant, whole: Duration) -> Self {
        /// Beyond any policy, and far from where adding to a clock overflows.
        const LONGEST: Duration = Duration::from_secs(24 * 3600);
        let whole = whole.min(LONGEST);
        Self { until: start + whole, whole }
    }

    /// Lets `work` go on until the time is up.
    pub(super) async fn hold<T>(self, phase: Phase, work: impl Future<Output = T>) -> Result<T, Trouble> {
        timeout_at(self.until, work).await.map_err(|_| self.timeout(phase))
    }

    /// Whether the time is up.
    pub(super) fn is_over(self) -> bool {
        Instant::now() >= self.until
    }

    /// What it is when the time is up.
    pub(super) fn timeout(self, phase: Phase) -> Trouble {
        Trouble::Timeout { phase, limit: self.whole }
    }
}
