//! Asks name servers, as the system's configuration says: the hosts file first, then the servers of `resolv.conf` with its
//! search domains. `hickory-resolver` does the asking, without threads: `getaddrinfo` holds one for each look-up, for as long
//! as a name server pleases. Does not depend on who asks and what is remembered (`names`).

use std::fs::{File, metadata};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};
use tracing::warn;

use super::names::{FAILURE_REMEMBERED, Found, LONGEST_REMEMBERED, Resolve};

const HOSTS: &str = "/etc/hosts";
const SERVERS: &str = "/etc/resolv.conf";

/// Requests that one TCP connection to a name server carries at a time: all that may be under way (two for each name).
const MOST_OF_CONNECTION: usize = 2 * super::names::MOST_LOOKUPS;

/// How long one question to the name servers may take, and how often it is asked again: together less than a look-up may
/// take, so that a name whose IPv6 question is never answered has its IPv4 addresses.
const LONGEST_REQUEST: Duration = Duration::from_secs(3);
const MOST_RETRIES: usize = 1;

/// Resolves names as the system is configured, or by name servers of the operator's choice.
pub struct SystemResolver {
    /// In place of the system's.
    servers: Vec<SocketAddr>,
    current: Mutex<Option<(Stamp, Arc<Configured>)>>,
}

/// When the files were changed that the configuration was read from.
type Stamp = [Option<SystemTime>; 2];

struct Configured {
    dns: TokioResolver,
    hosts: Hosts,
}

impl SystemResolver {
    /// Asks these name servers; without any, those of the system. Whatever is wrong with the system's configuration shows
    /// in the log and in what is looked up, and stops nothing.
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers, current: Mutex::default() }
    }

    /// By the configuration as it is now. Files that were changed are read again, as the system's own resolver does it.
    fn configured(&self) -> Result<Arc<Configured>, NetError> {
        let changed = |path: &str| metadata(path).and_then(|about| about.modified()).ok();
        let stamp = [changed(HOSTS), changed(SERVERS)];
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some((read, configured)) if *read == stamp => Ok(Arc::clone(configured)),
            _ => {
                let configured = Arc::new(Configured::read(&self.servers)?);
                *current = Some((stamp, Arc::clone(&configured)));
                Ok(configured)
            }
        }
    }
}

impl Configured {
    fn read(servers: &[SocketAddr]) -> Result<Self, NetError> {
        Self::of(system_conf::read_system_conf(), servers)
    }

    /// By what was read of the system, which may be nothing.
    fn of(
        system: Result<(ResolverConfig, ResolverOpts), NetError>,
        servers: &[SocketAddr],
    ) -> Result<Self, NetError> {
        let (system, mut options) = system.unwrap_or_else(|error| {
            if servers.is_empty() {
                warn!(%error, "{SERVERS} cannot be read; names are asked of 127.0.0.1, --name-server names another");
            }
            // What resolv.conf(5) says for this case.
            let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
            (ResolverConfig::from_name_servers(vec![local]), ResolverOpts::default())
        });
        let config = if servers.is_empty() {
            system
        } else {
            let (domain, search, _) = system.into_parts();
            ResolverConfig::from_parts(domain, search, servers.iter().map(server).collect())
        };
        // What is absent is told by the IPv4 answer; which address is tried first is decided at connect.
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // Names are remembered by `names`, and hosts are looked up here: by the name as it is, before any search domain.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.max_active_requests = MOST_OF_CONNECTION;
        options.timeout = options.timeout.min(LONGEST_REQUEST);
        options.attempts = options.attempts.min(MOST_RETRIES);
        let mut dns = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *dns.options_mut() = options;
        Ok(Self { dns: dns.build()?, hosts: read_hosts(Path::new(HOSTS)) })
    }

    /// What the hosts file says.
    fn in_hosts(&self, name: &Name) -> Vec<IpAddr> {
        let of = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(of);
        found
            .flat_map(|lookup| lookup.answers().iter().filter_map(|it| it.data.ip_addr()).collect::<Vec<_>>())
            .collect()
    }
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let by = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    NameServerConfig::new(address.ip(), true, vec![by(ConnectionConfig::udp()), by(ConnectionConfig::tcp())])
}

/// A file that cannot be read is as good as an empty one.
fn read_hosts(path: &Path) -> Hosts {
    let mut hosts = Hosts::default();
    if let Ok(file) = File::open(path)
        && let Err(error) = hosts.read_hosts_conf(file)
    {
        warn!(%error, "{} cannot be read to its end", path.display());
    }
    hosts
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = Found> + Send + 'a>> {
        Box::pin(async move {
            let configured = match self.configured() {
                Ok(configured) => configured,
                Err(error) => return Found::Failed(error.to_string()),
            };
            let Ok(asked) = Name::from_utf8(name) else {
                return Found::None("it is no name that DNS can have".to_owned(), LONGEST_REMEMBERED);
            };
            let known = configured.in_hosts(&asked);
            if !known.is_empty() {
                return Found::Addresses(known, LONGEST_REMEMBERED);
            }
            match configured.dns.lookup_ip(name).await {
                Ok(found) => {
                    let holds = found.as_lookup().answers().iter().map(|record| record.ttl).min();
                    let holds = Duration::from_secs(holds.unwrap_or_default().into());
                    Found::Addresses(found.iter().collect(), holds)
                }
                Err(error) => not_found(&error),
            }
        })
    }
}

fn not_found(error: &NetError) -> Found {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(absent)) => {
            let holds = absent.negative_ttl.map(|seconds| Duration::from_secs(seconds.into()));
            match absent.response_code {
                ResponseCode::NXDomain => {
                    Found::None("there is no such name".to_owned(), holds.unwrap_or(FAILURE_REMEMBERED))
                }
                ResponseCode::NoError => {
                    Found::None("it has no addresses".to_owned(), holds.unwrap_or(FAILURE_REMEMBERED))
                }
                code => Found::Failed(format!("its name server answered: {code}")),
            }
        }
        NetError::Timeout => Found::Failed("no name server answered in time".to_owned()),
        other => Found::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// hosts(5): an address, then names; what follows `#` is a remark.
    #[test]
    fn the_hosts_file_is_asked_by_the_name_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        std::fs::write(&path, "192.0.2.7 Crm.internal crm # ours\n2001:db8::7 crm\nnonsense crm\n").unwrap();
        let dns = TokioResolver::builder_with_config(
            ResolverConfig::from_name_servers(vec![]),
            TokioRuntimeProvider::default(),
        );
        let configured = Configured { dns: dns.build().unwrap(), hosts: read_hosts(&path) };
        let of = |name: &str| configured.in_hosts(&Name::from_utf8(name).unwrap());
        assert_eq!(of("crm"), ["192.0.2.7", "2001:db8::7"].map(|text| text.parse::<IpAddr>().unwrap()));
        assert_eq!(of("crm.internal."), ["192.0.2.7".parse::<IpAddr>().unwrap()]);
        assert!(of("other").is_empty());
        assert!(
            read_hosts(&directory.path().join("missing"))
                .lookup_static_host(&Query::query(Name::from_utf8("crm").unwrap(), RecordType::A))
                .is_none()
        );
    }

    #[tokio::test]
    async fn without_a_configuration_what_needs_none_is_found() {
        let nothing = || Err(NetError::from("there is no such file"));
        for servers in [vec![], vec![SocketAddr::from(([192, 0, 2, 53], 5353))]] {
            let configured = Configured::of(nothing(), &servers).unwrap();
            assert!(configured.dns.lookup_ip("localhost").await.is_ok());
        }
    }

    #[tokio::test]
    async fn localhost_needs_no_name_server() {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        let found = SystemResolver::new(vec![nobody]).resolve("x.localhost").await;
        let Found::Addresses(addresses, _) = found else { panic!("{found:?}") };
        assert!(addresses.iter().all(IpAddr::is_loopback) && !addresses.is_empty());
    }
}
