//! Where requests go: a URL taken apart once, not for every request.
//! Refuses to know who is behind it and whether it may be reached: that is the guard's.

use std::sync::Arc;

use http::{HeaderValue, Uri};
use url::{Position, Url};

use super::guard::parse_url;
use super::trouble::Trouble;

/// A URL ready for requests, or the reason why nothing can be sent to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Target(Arc<Result<Parts, Trouble>>);

/// The parts of a URL that a request needs.
#[derive(Debug)]
pub(super) struct Parts {
    /// The whole.
    pub(super) url: Url,
    /// Path and query.
    pub(super) uri: Uri,
    /// Host and port, for the header.
    pub(super) host: HeaderValue,
}

impl Target {
    /// Takes a URL apart. What is wrong with it shows when something is sent.
    pub fn of(url: &str) -> Self {
        Self(Arc::new(Parts::of(url)))
    }

    /// The host's name or address; empty when nothing can be sent.
    pub fn host(&self) -> &str {
        self.parts().ok().and_then(|parts| parts.url.host_str()).unwrap_or_default()
    }

    pub(super) fn parts(&self) -> Result<&Parts, Trouble> {
        Result::as_ref(&self.0).map_err(Clone::clone)
    }
}

impl Parts {
    fn of(url: &str) -> Result<Self, Trouble> {
        let url = parse_url(url).map_err(Trouble::UrlInvalid)?;
        // What it is stays out of it: its query may hold a credential.
        let unfit =
            |e: &dyn std::fmt::Display| Trouble::UrlInvalid(format!("the URL cannot be posted to: {e}"));
        let uri = Uri::try_from(&url[Position::BeforePath..Position::AfterQuery]).map_err(|e| unfit(&e))?;
        let host = HeaderValue::from_str(&url[Position::BeforeHost..Position::BeforePath]);
        let host = host.map_err(|e| unfit(&e))?;
        Ok(Self { url, uri, host })
    }

    /// Scheme, host and port; there are no credentials in between.
    pub(super) fn origin(&self) -> &str {
        &self.url[..Position::BeforePath]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_falls_into_its_parts() {
        let target = Target::of("https://Example.com:8443/a b?c={d}|é#e");
        let parts = target.parts().unwrap();
        assert_eq!(parts.host, "example.com:8443");
        assert_eq!(parts.uri, "/a%20b?c={d}|%C3%A9");
        assert_eq!(parts.origin(), "https://example.com:8443");
    }

    #[test]
    fn what_cannot_be_posted_to_says_why() {
        for url in ["example.com", "ftp://example.com", "https://user@example.com"] {
            assert!(matches!(Target::of(url).parts(), Err(Trouble::UrlInvalid(_))), "{url}");
        }
    }
}
