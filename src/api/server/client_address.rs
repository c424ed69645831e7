//! Whose address a request comes from. Only a proxy that the operator named is believed when it says for whom it speaks,
//! in `X-Forwarded-For`; the standard `Forwarded` is not read, for a proxy that writes the one passes on what a client
//! wrote into the other. Who speaks for others and was not named is taken for a proxy that nobody named.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;
use tokio::time::Instant;
use tracing::warn;

use crate::api::peer::{Peer, Peers};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// How long nothing more is logged of proxies that nobody named.
const LOG_PAUSE: Duration = Duration::from_secs(3600);

/// Which proxies are believed.
#[derive(Debug)]
pub struct ClientAddresses {
    trusted: Vec<IpNet>,
    peers: Arc<Peers>,
    logged: Mutex<Option<Instant>>,
}

impl ClientAddresses {
    /// Believes proxies in these networks.
    pub fn new(trusted: Vec<IpNet>, peers: Arc<Peers>) -> Self {
        Self { trusted, peers, logged: Mutex::default() }
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }

    /// Who opened a connection from this address.
    pub fn of_connection(&self, address: IpAddr) -> Peer {
        let address = address.to_canonical();
        match self.is_trusted(address) {
            // It speaks for others, and has not said yet for whom.
            true => Peer::through(address, address),
            false => Peer::direct(address),
        }
    }

    /// Whom a request on such a connection comes from.
    pub fn of_request(&self, opened_by: Peer, headers: &HeaderMap) -> Peer {
        let is_forwarded = headers.contains_key(FORWARDED_FOR);
        if opened_by.through.is_some() {
            let client = is_forwarded.then(|| client(headers, |address| self.is_trusted(address))).flatten();
            return client.map_or(opened_by, Peer::direct);
        }
        if !is_forwarded && !headers.contains_key(header::FORWARDED) {
            return opened_by;
        }
        let proxy = opened_by.address;
        if self.peers.found_proxy(proxy) {
            self.log(proxy);
        }
        Peer::through(proxy, client(headers, |_| false).unwrap_or(proxy))
    }

    fn log(&self, proxy: IpAddr) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|logged| logged.elapsed() >= LOG_PAUSE) {
            *logged = Some(Instant::now());
            warn!(
                %proxy,
                "requests from this address name other clients, as a proxy does, but no --trusted-proxy names it: limits by \
                 address do not apply to it. If it is your proxy, start postcall with --trusted-proxy {proxy}; otherwise a \
                 client writes such headers itself"
            );
        }
    }
}

/// The client that the last trusted proxy saw: the right-most entry of `X-Forwarded-For` that is not trusted itself.
/// `None` if there is none, or if what stands there is no address.
fn client(headers: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    for line in headers.get_all(FORWARDED_FOR).iter().rev() {
        for entry in line.to_str().ok()?.rsplit(',') {
            let address = address(entry.trim())?;
            if !is_trusted(address) {
                return Some(address);
            }
        }
    }
    None
}

/// An address, also in brackets or with a port, as some proxies write it.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let value = |value: &str| HeaderValue::from_bytes(value.as_bytes()).unwrap();
        lines.iter().map(|(name, said)| (HeaderName::from_static(name), value(said))).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_trusted_proxy_is_believed_about_the_last_client_before_it() {
        let networks =
            ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"].map(|network| network.parse().unwrap());
        let clients = ClientAddresses::new(networks.to_vec(), Arc::default());
        for (opened_by, lines, client) in [
            ("10.0.0.1", &["203.0.113.5"][..], Some("203.0.113.5")),
            ("10.0.0.1", &["198.51.100.1, 203.0.113.5"], Some("203.0.113.5")),
            ("10.0.0.1", &["198.51.100.1", "203.0.113.5"], Some("203.0.113.5")),
            // Proxies one behind the other.
            ("10.0.0.1", &["198.51.100.1, 203.0.113.5 ,10.9.9.9,  192.0.2.7"], Some("203.0.113.5")),
            ("10.0.0.1", &["203.0.113.5", "10.9.9.9"], Some("203.0.113.5")),
            ("2001:db8::1", &["203.0.113.5"], Some("203.0.113.5")),
            ("::ffff:10.0.0.1", &["::ffff:203.0.113.5"], Some("203.0.113.5")),
            ("192.0.2.7", &["203.0.113.5:4711"], Some("203.0.113.5")),
            ("192.0.2.7", &["2001:db9::5"], Some("2001:db9::5")),
            ("192.0.2.7", &["[2001:db9::5]"], Some("2001:db9::5")),
            ("192.0.2.7", &["[2001:db9::5]:4711"], Some("2001:db9::5")),
            // It does not say for whom it speaks.
            ("10.0.0.1", &[], None),
            ("10.0.0.1", &["10.9.9.9"], None),
            ("10.0.0.1", &["203.0.113.5, unknown"], None),
            ("10.0.0.1", &["203.0.113.5,"], None),
            ("10.0.0.1", &["203.0.113.5, \u{e9}"], None),
        ] {
            let said: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            let peer = clients.of_request(clients.of_connection(ip(opened_by)), &headers(&said));
            let proxy = ip(opened_by).to_canonical();
            let expected = match client {
                Some(client) => Peer { address: ip(client), through: None },
                None => Peer { address: proxy, through: Some(proxy) },
            };
            assert_eq!(peer, expected, "{opened_by} {lines:?}");
            assert!(clients.peers.is_limited(peer) == client.is_some());
        }
    }

    #[test]
    fn nobody_else_is_believed_and_who_speaks_for_others_is_a_proxy_that_nobody_named() {
        let clients = ClientAddresses::new(vec!["10.0.0.0/8".parse().unwrap()], Arc::default());
        let opened_by = clients.of_connection(ip("192.0.2.7"));
        let direct = Peer { address: ip("192.0.2.7"), through: None };
        assert_eq!(clients.of_request(opened_by, &headers(&[("x-real-ip", "203.0.113.5")])), direct);
        assert!(clients.peers.is_limited(direct));
        for (name, said, client) in [
            ("x-forwarded-for", "203.0.113.5", "203.0.113.5"),
            // It does not choose whom it passes for by naming a trusted proxy.
            ("x-forwarded-for", "203.0.113.5, 10.0.0.1", "10.0.0.1"),
            ("x-forwarded-for", "nonsense", "192.0.2.7"),
            ("forwarded", "for=203.0.113.5", "192.0.2.7"),
        ] {
            let peer = clients.of_request(opened_by, &headers(&[(name, said)]));
            assert_eq!(peer, Peer { address: ip(client), through: Some(ip("192.0.2.7")) }, "{name}: {said}");
            assert!(!clients.peers.is_limited(peer));
        }
        assert!(!clients.peers.is_limited(direct), "also a request of it that names nobody");
        // A named proxy's Forwarded is not read: it may be a client's.
        let proxy = clients.of_connection(ip("10.0.0.1"));
        assert_eq!(clients.of_request(proxy, &headers(&[("forwarded", "for=203.0.113.5")])), proxy);
    }
}
