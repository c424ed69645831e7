//! One new connection: a name becomes addresses, the guard judges each, TCP and TLS are set up.
//! The very addresses that were judged are connected to, so that a name cannot change between check and use; those that
//! `names` remembers are judged like all others.
//! Refuses to know what is sent, and who keeps the connection afterwards.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::bounds::MOST_BUFFERED;
use super::guard::Guard;
use super::meter::{Meter, Metered};
use super::names::Names;
use super::trouble::{Limit, Phase, Trouble};
use crate::model::AccountKey;

/// The sending half of an open connection. Dropping it closes the connection.
pub(super) struct Sender {
    requests: http1::SendRequest<Full<Bytes>>,
    meter: Arc<Meter>,
}

impl Sender {
    /// Whether another request can be sent, as far as is known.
    pub(super) fn is_ready(&self) -> bool {
        self.requests.is_ready()
    }

    /// Waits until another request can be sent; says whether it ever can.
    pub(super) async fn ready(&mut self) -> bool {
        self.requests.ready().await.is_ok()
    }

    /// Sends a request and waits for the head of its answer. Nothing of it is written when its time is up.
    pub(super) async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
        limit: Limit,
    ) -> Result<Response<Incoming>, Trouble> {
        let meter = Arc::clone(&self.meter);
        hyper::ext::on_informational(&mut request, move |_| meter.informational());
        self.meter.begin(limit);
        let answer = self.requests.send_request(request).await;
        self.meter.end();
        match answer {
            _ if self.meter.is_flooded() => Err(Trouble::Informational),
            Err(_) if limit.is_over() => Err(limit.timeout(Phase::Answer)),
            answer => answer.map_err(|error| Trouble::of_connection(&error)),
        }
    }
}

/// Addresses that are tried for one connection.
const MOST_TRIED: usize = 8;

/// How long an address is waited for before the next one is tried beside it (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Why a wire cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRoots {
    /// Not PEM.
    #[error("the extra root certificates are not PEM: {0}")]
    NotPem(String),
    /// PEM without a certificate.
    #[error("the file of extra root certificates holds no certificate")]
    Empty,
    /// A certificate that cannot be an authority's.
    #[error("an extra root certificate cannot be used: {0}")]
    Unusable(String),
}

/// Opens connections to whom the guard lets through.
pub(super) struct Connector {
    guard: Guard,
    names: Names,
    tls: TlsConnector,
}

impl Connector {
    /// Trusts Mozilla's roots, and those in `extra_roots` (PEM).
    pub(super) fn new(guard: Guard, names: Names, extra_roots: Option<&[u8]>) -> Result<Self, BadRoots> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(pem) = extra_roots {
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|e| BadRoots::NotPem(e.to_string()))?;
                roots.add(certificate).map_err(|e| BadRoots::Unusable(e.to_string()))?;
            }
            if roots.len() == before {
                return Err(BadRoots::Empty);
            }
        }
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|e| BadRoots::Unusable(e.to_string()))?
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { guard, names, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Opens a connection to the URL's host. Its name is what TLS asks for and what the certificate must bear; to look it up
    /// counts for `account`.
    pub(super) async fn open(&self, url: &Url, account: AccountKey, limit: Limit) -> Result<Sender, Trouble> {
        let addresses = limit.hold(Phase::Resolve, self.addresses(url, account)).await??;
        let tcp = limit.hold(Phase::Connect, first_to_accept(&addresses)).await??;
        // Requests are written whole; waiting for more to send (Nagle) would only delay them.
        tcp.set_nodelay(true).map_err(|e| Trouble::Connect(e.to_string()))?;
        if url.scheme() == "http" {
            return handshake(tcp).await;
        }
        let tls = limit
            .hold(Phase::Tls, self.tls.connect(server_name(url)?, tcp))
            .await?
            .map_err(|e| Trouble::Tls(e.to_string()))?;
        handshake(tls).await
    }

    /// The addresses of the URL's host that the guard lets through; never empty.
    async fn addresses(&self, url: &Url, account: AccountKey) -> Result<Vec<SocketAddr>, Trouble> {
        let port = url.port_or_known_default().unwrap_or_default();
        let found: Vec<SocketAddr> = match url.host() {
            Some(Host::Ipv4(ip)) => vec![(ip, port).into()],
            Some(Host::Ipv6(ip)) => vec![(ip, port).into()],
            Some(Host::Domain(name)) => {
                let known = self.names.addresses(name, account).await;
                let known = known
                    .map_err(|why| Trouble::Resolve(format!("the name {name} does not resolve: {why}")))?;
                in_turn(&known).map(|ip| (ip, port).into()).collect()
            }
            None => Vec::new(),
        };
        let mut refusal = None;
        let mut passed = Vec::with_capacity(found.len().min(MOST_TRIED));
        for address in found {
            match self.guard.check(address.ip()) {
                Ok(()) if passed.len() == MOST_TRIED => break,
                Ok(()) => passed.push(address),
                Err(refused) => refusal = refusal.or(Some(refused)),
            }
        }
        match refusal {
            _ if !passed.is_empty() => Ok(passed),
            Some(refused) => Err(refused.into()),
            None => Err(Trouble::Resolve(format!("{url} has a host without addresses"))),
        }
    }
}

/// IPv6 and IPv4 by turns, IPv6 first (RFC 8305, section 4): without a way out for one of them the other is the next one tried.
fn in_turn(addresses: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    let (mut six, mut four): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|ip| ip.is_ipv6());
    six.reverse();
    four.reverse();
    let mut is_six = false;
    std::iter::from_fn(move || {
        is_six = !is_six;
        let (first, second) = if is_six { (&mut six, &mut four) } else { (&mut four, &mut six) };
        first.pop().or_else(|| second.pop())
    })
}

/// Tries the addresses in turn; the next one starts when the one before has failed or had its head start.
async fn first_to_accept(addresses: &[SocketAddr]) -> Result<TcpStream, Trouble> {
    let attempt = async |address: SocketAddr| (address, TcpStream::connect(address).await);
    let mut waiting = addresses.iter();
    let mut tried = FuturesUnordered::new();
    let mut failed: Option<(SocketAddr, io::Error)> = None;
    loop {
        if let Some(address) = waiting.next() {
            tried.push(attempt(*address));
        }
        let more = !waiting.as_slice().is_empty();
        tokio::select! {
            outcome = tried.next() => match outcome {
                Some((_, Ok(stream))) => return Ok(stream),
                Some((address, Err(error))) => failed = Some((address, error)),
                None => break,
            },
            () = sleep(HEAD_START), if more => {}
        }
    }
    Err(Trouble::Connect(match failed {
        Some((address, error)) => format!("{address} does not take connections: {error}"),
        None => "there is no address to connect to".to_owned(),
    }))
}

fn server_name(url: &Url) -> Result<ServerName<'static>, Trouble> {
    let unfit = || Trouble::UrlInvalid(format!("{url} has a host that no certificate can be made out for"));
    match url.host() {
        Some(Host::Domain(name)) => ServerName::try_from(name.to_owned()).map_err(|_| unfit()),
        Some(Host::Ipv4(ip)) => Ok(IpAddr::from(ip).into()),
        Some(Host::Ipv6(ip)) => Ok(IpAddr::from(ip).into()),
        None => Err(unfit()),
    }
}

/// Starts HTTP on a stream and lets it run by itself; it ends when its sender is dropped.
async fn handshake<S>(stream: S) -> Result<Sender, Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let meter = Arc::new(Meter::default());
    let (requests, connection) = http1::Builder::new()
        .max_buf_size(MOST_BUFFERED)
        .handshake(TokioIo::new(Metered::new(stream, Arc::clone(&meter))))
        .await
        .map_err(|e| Trouble::of_connection(&e))?;
    // What ends a connection reaches whoever waits on its sender; there is nobody else to tell.
    tokio::spawn(async move { drop(connection.await) });
    Ok(Sender { requests, meter })
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    fn bound() -> TcpSocket {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket
    }

    #[test]
    fn both_families_are_tried_by_turns() {
        let parse = |text: &[&str]| text.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
        let given = parse(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"]);
        let expected = parse(&["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"]);
        assert_eq!(in_turn(&given).collect::<Vec<_>>(), expected);
        assert_eq!(in_turn(&given[..1]).collect::<Vec<_>>(), given[..1]);
    }

    #[tokio::test]
    async fn an_address_that_refuses_or_hangs_does_not_stop_the_next() {
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = good.local_addr().unwrap();
        let not_listening = bound();
        let refusing = not_listening.local_addr().unwrap();
        // A queue of one, which is full: Linux drops further attempts without an answer.
        let full = bound().listen(0).unwrap();
        let hanging = full.local_addr().unwrap();
        let _queued = TcpStream::connect(hanging).await.unwrap();
        for addresses in [&[refusing, good][..], &[hanging, good], &[hanging, refusing, good]] {
            let stream = first_to_accept(addresses).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), good);
        }
        assert_eq!(first_to_accept(&[refusing]).await.unwrap_err().code(), "connect");
        assert_eq!(first_to_accept(&[]).await.unwrap_err().code(), "connect");
    }
}
