//! What can be set about the API. Does not depend on where a setting comes from.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::pace::Speed;
use super::server::Limits;

/// The memory that the bodies of all requests together may take unless set, in bytes.
pub const BODY_MEMORY: usize = 128 << 20;

/// What can be set about the API.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What every link that leaves the house begins with, without a slash at the end.
    pub public_url: String,
    /// The largest body in bytes.
    pub max_body: usize,
    /// The memory that the bodies of all requests together may take, in bytes; past that 503.
    pub max_load: usize,
    /// How fast a body has to come.
    pub body_speed: Speed,
    /// How often a stream says that it is there when there is nothing else to say.
    pub heartbeat: Duration,
    /// What clients are allowed.
    pub limits: Limits,
    /// Networks of the proxies whose word counts for whom a request comes from.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether the numbers are served elsewhere, and not here.
    pub hides_metrics: bool,
}

impl Settings {
    /// The defaults: bodies of 1 MiB, 128 MiB together. Without a public URL, links lead to where we listen.
    pub fn new(public_url: Option<&str>, listen: SocketAddr) -> Self {
        let host = if listen.ip().is_unspecified() { "localhost".to_owned() } else { host_of(listen) };
        let public_url = match public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{host}:{}", listen.port()),
        };
        Self {
            public_url,
            max_body: 1 << 20,
            max_load: BODY_MEMORY,
            body_speed: Speed::default(),
            heartbeat: Duration::from_secs(15),
            limits: Limits::default(),
            trusted_proxies: Vec::new(),
            hides_metrics: false,
        }
    }
}

fn host_of(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}
