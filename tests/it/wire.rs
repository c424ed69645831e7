//! The wire client against real servers on loopback, each written out as the bytes that it sends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use postcall::delivery::guard::Guard;
use postcall::delivery::wire::{
    Answer, BadRoots, Exchange, MOST_BEFORE_ANSWER, MOST_INFORMATIONAL, MOST_KEPT, Phase, Response, Target,
    Trouble, Wire,
};
use postcall::model::AccountKey;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// For what must not take long; a test that needs it all has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// For what must be cut off.
const SHORT: Duration = Duration::from_millis(400);

struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    /// Hands each connection, with its number from 1 on, to `handle`.
    async fn start<H, F>(handle: H) -> Self
    where
        H: Fn(usize, TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::spawn(handle(number, stream));
            }
        });
        Self { address, accepted }
    }

    /// Answers every request of every connection with the same bytes.
    async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::start(move |_, stream| converse(stream, Arc::clone(&answer))).await
    }

    /// Answers one request with these bytes and closes.
    async fn answering_once(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::start(move |_, mut stream| {
            let answer = Arc::clone(&answer);
            async move {
                request(&mut stream).await;
                let _ = stream.write_all(&answer).await;
            }
        })
        .await
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    fn url(&self) -> String {
        format!("http://{}/hook?a=b", self.address)
    }

    fn at(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}/hook", self.address.port())
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: Arc<[u8]>) {
    while request(&mut stream).await.is_some() {
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Reads one request to its end: head and body as they came. `None` when the client closed.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read);
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            if text.len() >= end + 4 + length.map_or(0, |digits| digits.parse().unwrap()) {
                return Some(text.into_owned());
            }
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}

/// Waits for the client to close.
async fn closed(stream: &mut TcpStream) {
    let mut rest = [0; 1024];
    while matches!(stream.read(&mut rest).await, Ok(1..)) {}
}

fn wire() -> Wire {
    allowing(&["127.0.0.0/8", "::1/128"])
}

fn allowing(networks: &[&str]) -> Wire {
    Wire::new(guard(networks), None).unwrap()
}

fn guard(networks: &[&str]) -> Guard {
    Guard::new(networks.iter().map(|network| network.parse().unwrap()).collect())
}

async fn post_within(wire: &Wire, url: impl Into<String>, timeout: Duration) -> Answer {
    let body = Bytes::from_static(br#"{"event":"call.ended"}"#);
    let (target, account) = (Target::of(&url.into()), AccountKey::DEFAULT);
    let start = Instant::now();
    wire.post(Exchange { target, headers: Vec::new(), body, start, timeout, account }).await
}

async fn post(wire: &Wire, url: impl Into<String>) -> Result<Response, Trouble> {
    post_within(wire, url, PATIENCE).await.result
}

#[tokio::test]
async fn a_request_says_what_it_must_and_no_more() {
    let (heard, mut hears) = mpsc::unbounded_channel();
    let server = Server::start(move |_, mut stream| {
        let heard = heard.clone();
        async move {
            heard.send(request(&mut stream).await.unwrap()).unwrap();
            stream.write_all(OK).await.unwrap();
        }
    })
    .await;
    let exchange = Exchange {
        target: Target::of(&server.url()),
        headers: vec![
            ("webhook-id".parse().unwrap(), "evt_1".parse().unwrap()),
            ("content-length".parse().unwrap(), "1".parse().unwrap()),
        ],
        body: Bytes::from_static(b"{\"a\":1}"),
        start: Instant::now(),
        timeout: PATIENCE,
        account: AccountKey::DEFAULT,
    };
    let response = wire().post(exchange).await.result.unwrap();
    assert_eq!((response.status, response.body.as_slice(), response.truncated), (200, &b"ok"[..], false));
    let expected = format!(
        "POST /hook?a=b HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\nuser-agent: postcall/{}\r\n\
         webhook-id: evt_1\r\ncontent-length: 7\r\n\r\n{{\"a\":1}}",
        server.address,
        env!("CARGO_PKG_VERSION"),
    );
    assert_eq!(hears.recv().await.unwrap(), expected);
}

#[tokio::test]
async fn one_connection_carries_one_request_after_another() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let empty = b"HTTP/1.1 204 No Content\r\n\r\n";
    let failed = b"HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\noh!";
    for answer in [OK, chunked, empty, failed] {
        let server = Server::answering(answer).await;
        let wire = wire();
        for _ in 0..50 {
            post(&wire.clone(), server.url()).await.unwrap();
        }
        assert_eq!(server.accepted(), 1, "{}", String::from_utf8_lossy(answer));
    }
}

#[tokio::test]
async fn requests_at_the_same_time_have_a_connection_each_and_keep_them() {
    let server = Server::answering(OK).await;
    let wire = wire();
    for _ in 0..5 {
        let posts = (0..8).map(|_| post(&wire, server.url()));
        for result in futures_util::future::join_all(posts).await {
            assert_eq!(result.unwrap().status, 200);
        }
    }
    assert_eq!(server.accepted(), 8);
}

/// Connections that wait for their next request are bounded for each origin, so that one receiver leaves room for others.
#[tokio::test]
async fn connections_that_wait_are_bounded_for_each_origin() {
    const AT_ONCE: usize = 300;
    let together = Arc::new(tokio::sync::Barrier::new(AT_ONCE));
    let server = Server::start(move |_, mut stream| {
        let together = Arc::clone(&together);
        async move {
            while request(&mut stream).await.is_some() {
                together.wait().await;
                if stream.write_all(OK).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let wire = wire();
    for _ in 0..2 {
        let posts = (0..AT_ONCE).map(|_| post(&wire, server.url()));
        for result in futures_util::future::join_all(posts).await {
            assert_eq!(result.unwrap().status, 200);
        }
    }
    // A quarter of all that may wait was kept of the first three hundred.
    assert!(server.accepted() >= AT_ONCE + AT_ONCE - 256, "{} connections", server.accepted());
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let elsewhere = Server::answering(OK).await;
    for status in [301, 302, 303, 307, 308] {
        let answer =
            format!("HTTP/1.1 {status} Go\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", elsewhere.url());
        let server = Server::answering(answer).await;
        let response = post(&wire(), server.url()).await.unwrap();
        assert_eq!((response.status, response.is_success()), (status, false));
    }
    assert_eq!(elsewhere.accepted(), 0);
}

#[tokio::test]
async fn interim_answers_are_passed_over() {
    let server = Server::answering([b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", OK].concat()).await;
    assert_eq!(post(&wire(), server.url()).await.unwrap().status, 200);
}

/// On loopback the kernel takes some megabytes off the sender's hands before anybody reads them.
const KERNEL: usize = 16 << 20;

#[tokio::test]
async fn informational_answers_without_end_are_cut_and_their_connection_closed() {
    for flood in [
        "HTTP/1.1 103 Early Hints\r\n\r\n".to_owned(),
        format!("HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n", "a".repeat(32_000)),
    ] {
        let (sent, mut sends) = mpsc::unbounded_channel();
        let server = Server::start(move |_, mut stream| {
            let (sent, flood) = (sent.clone(), flood.clone());
            async move {
                request(&mut stream).await;
                let mut bytes = 0;
                while stream.write_all(flood.as_bytes()).await.is_ok() {
                    bytes += flood.len();
                }
                sent.send(bytes).unwrap();
            }
        })
        .await;
        let trouble = post(&wire(), server.url()).await.unwrap_err();
        assert_eq!(trouble.code(), "informational", "{trouble}");
        assert!(trouble.to_string().contains("send a final status"), "{trouble}");
        let bytes = sends.recv().await.unwrap();
        assert!(bytes <= MOST_BEFORE_ANSWER + KERNEL, "{bytes} bytes");
    }
}

#[tokio::test]
async fn a_number_of_informational_answers_is_passed_over_and_one_more_is_not() {
    let answer = |count: usize| [&b"HTTP/1.1 102 Processing\r\n\r\n".repeat(count), OK].concat();
    let server = Server::answering(answer(MOST_INFORMATIONAL)).await;
    let wire = wire();
    for _ in 0..3 {
        assert_eq!(post(&wire, server.url()).await.unwrap().status, 200, "counted for each request anew");
    }
    assert_eq!(server.accepted(), 1);
    let server = Server::answering(answer(MOST_INFORMATIONAL + 1)).await;
    assert_eq!(post(&wire, server.url()).await.unwrap_err().code(), "informational");
}

/// What else a receiver may send without end, in place of an answer or in it.
#[tokio::test]
async fn heads_and_framing_without_end_are_cut() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (begins, goes_on, what) in [
        ("HTTP/1.1 200 OK\r\nX-A: ", "aaaaaaaaaaaaaaaa".to_owned(), "a header"),
        ("HTTP/1.1 200 OK\r\n", "X-A: a\r\n".to_owned(), "headers"),
        ("HTTP/1.1 ", "2".to_owned(), "a status"),
        (chunked, "1;".to_owned() + &"a".repeat(100), "a chunk's extension"),
        (chunked, format!("1;{}\r\na\r\n", "a".repeat(1000)), "chunks with extensions"),
        (&format!("{chunked}0\r\n"), "X-A: a\r\n".to_owned(), "trailers"),
    ] {
        let (sent, mut sends) = mpsc::unbounded_channel();
        let (first, rest) = (begins.to_owned(), goes_on.repeat(64));
        let server = Server::start(move |_, mut stream| {
            let (sent, first, rest) = (sent.clone(), first.clone(), rest.clone());
            async move {
                request(&mut stream).await;
                let mut bytes = first.len();
                let _ = stream.write_all(first.as_bytes()).await;
                while stream.write_all(rest.as_bytes()).await.is_ok() {
                    bytes += rest.len();
                }
                sent.send(bytes).unwrap();
            }
        })
        .await;
        let trouble = post(&wire(), server.url()).await.expect_err(what);
        assert!(matches!(trouble.code(), "protocol" | "reset"), "{what}: {trouble}");
        let bytes = sends.recv().await.unwrap();
        assert!(bytes <= MOST_BEFORE_ANSWER + KERNEL, "{what}: {bytes} bytes");
    }
}

#[tokio::test]
async fn an_endless_body_is_cut_and_its_connection_closed() {
    let (ended, mut ends) = mpsc::unbounded_channel();
    let server = Server::start(move |_, mut stream| {
        let ended = ended.clone();
        async move {
            request(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            while stream.write_all(b"8\r\nendless \r\n").await.is_ok() {}
            ended.send(()).unwrap();
        }
    })
    .await;
    let response = post(&wire(), server.url()).await.unwrap();
    assert_eq!((response.status, response.body.len(), response.truncated), (200, MOST_KEPT, true));
    assert!(response.body.starts_with(b"endless endless "));
    ends.recv().await.unwrap();
}

#[tokio::test]
async fn a_body_that_is_longer_than_what_is_kept_is_not_waited_for() {
    let (ended, mut ends) = mpsc::unbounded_channel();
    let server = Server::start(move |_, mut stream| {
        let ended = ended.clone();
        async move {
            request(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", MOST_KEPT + 2);
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&[b'x'; MOST_KEPT + 1]).await.unwrap();
            closed(&mut stream).await;
            ended.send(()).unwrap();
        }
    })
    .await;
    let response = post(&wire(), server.url()).await.unwrap();
    assert!(response.truncated);
    ends.recv().await.unwrap();
}

#[tokio::test]
async fn sixty_four_kibibytes_are_kept_to_the_byte() {
    let plain = |length: usize| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        [head.as_bytes(), &vec![b'x'; length]].concat()
    };
    let chunked = |length: usize| {
        let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n");
        [head.as_bytes(), &vec![b'x'; length], b"\r\n0\r\n\r\n"].concat()
    };
    let until_close = |length: usize| [b"HTTP/1.1 200 OK\r\n\r\n", &vec![b'x'; length][..]].concat();
    for (length, truncated) in [(MOST_KEPT - 1, false), (MOST_KEPT, false), (MOST_KEPT + 1, true)] {
        for answer in [plain(length), chunked(length), until_close(length)] {
            let server = Server::answering_once(answer).await;
            let response = post(&wire(), server.url()).await.unwrap();
            assert_eq!((response.body.len(), response.truncated), (length.min(MOST_KEPT), truncated));
        }
    }
}

/// Sends a head and then a byte now and then, for ever.
async fn dripping(head: &'static str) -> Server {
    Server::start(move |_, mut stream| async move {
        request(&mut stream).await;
        let _ = stream.write_all(head.as_bytes()).await;
        let mut beat = tokio::time::interval(Duration::from_millis(10));
        while stream.write_all(b"x").await.is_ok() {
            beat.tick().await;
        }
    })
    .await
}

#[tokio::test]
async fn the_timeout_covers_the_body() {
    let server = dripping("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await;
    let answer = post_within(&wire(), server.url(), SHORT).await;
    assert_eq!(answer.result.unwrap_err(), Trouble::Timeout { phase: Phase::Body, limit: SHORT });
    assert!(answer.latency >= SHORT);

    let server = dripping("HTTP/1.1 200 OK\r\nX-Slow: ").await;
    let answer = post_within(&wire(), server.url(), SHORT).await;
    assert_eq!(answer.result.unwrap_err(), Trouble::Timeout { phase: Phase::Answer, limit: SHORT });
}

#[tokio::test]
async fn a_failure_is_known_from_its_head() {
    let server = dripping("HTTP/1.1 410 Gone\r\nContent-Length: 1000000\r\n\r\n").await;
    let response = post_within(&wire(), server.url(), SHORT).await.result.unwrap();
    assert_eq!((response.status, response.truncated), (410, true));
    assert!(response.body.starts_with(b"x"));

    let short = "HTTP/1.1 503 Later\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\nlat";
    let server = Server::answering_once(short).await;
    let response = post(&wire(), server.url()).await.unwrap();
    assert_eq!((response.status, response.body.as_slice(), response.truncated), (503, &b"lat"[..], true));
    assert_eq!(response.headers["retry-after"], "7");
}

#[tokio::test]
async fn a_success_whose_body_breaks_off_is_none() {
    let plain = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nthr";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nthr\r\n";
    for answer in [plain, chunked] {
        let server = Server::answering_once(answer).await;
        assert_eq!(post(&wire(), server.url()).await.unwrap_err().code(), "reset", "{answer}");
    }
}

#[tokio::test]
async fn silence_is_a_timeout_in_its_phase() {
    let server = Server::start(|_, mut stream| async move { closed(&mut stream).await }).await;
    for (scheme, phase) in [("http", Phase::Answer), ("https", Phase::Tls)] {
        let answer = post_within(&wire(), server.at(scheme, "127.0.0.1"), SHORT).await;
        assert_eq!(answer.result.unwrap_err(), Trouble::Timeout { phase, limit: SHORT });
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told_from_the_rest() {
    // Bound and not listening: the port stays ours, and connecting to it is refused.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let trouble = post(&wire(), format!("http://{}/", socket.local_addr().unwrap())).await.unwrap_err();
    assert_eq!(trouble.code(), "connect");
    assert!(trouble.to_string().contains("refused"), "{trouble}");
}

#[tokio::test]
async fn a_name_without_addresses_is_told_from_the_rest() {
    // RFC 1035, 2.3.4: a label has 63 octets at most, so that no resolver needs to ask anybody.
    let trouble = post(&wire(), format!("http://{}.invalid/", "a".repeat(64))).await.unwrap_err();
    assert_eq!(trouble.code(), "resolve", "{trouble}");
}

#[tokio::test]
async fn addresses_are_judged_at_connect() {
    let server = Server::answering(OK).await;
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let trouble = post(&allowing(&["10.0.0.0/8"]), server.at("http", host)).await.unwrap_err();
        assert_eq!(trouble.code(), "address_refused", "{host}");
        assert!(trouble.to_string().contains("--allow-network"), "{trouble}");
    }
    assert_eq!(server.accepted(), 0);
    for host in ["127.0.0.1", "localhost", "2130706433"] {
        assert_eq!(post(&wire(), server.at("http", host)).await.unwrap().status, 200, "{host}");
    }
}

#[tokio::test]
async fn only_urls_that_can_be_posted_to_are_tried() {
    for url in ["ftp://127.0.0.1/", "127.0.0.1:80", "http://user:pw@127.0.0.1/"] {
        assert_eq!(post(&wire(), url).await.unwrap_err().code(), "url_invalid", "{url}");
    }
}

#[tokio::test]
async fn a_connection_that_the_server_closed_costs_no_attempt() {
    // The first connection answers once; the second request on it is read and the connection closed: what a
    // client sees when a keep-alive timeout and its request cross.
    let (heard, mut hears) = mpsc::unbounded_channel();
    let server = Server::start(move |number, mut stream| {
        let heard = heard.clone();
        async move {
            request(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            if number == 1 {
                heard.send(request(&mut stream).await.is_some()).unwrap();
            } else {
                closed(&mut stream).await;
            }
        }
    })
    .await;
    let wire = wire();
    for _ in 0..2 {
        assert_eq!(post(&wire, server.url()).await.unwrap().status, 200);
    }
    assert!(hears.recv().await.unwrap(), "the second request went out on the first connection");
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_connection_that_waited_too_long_is_not_used() {
    let server = Server::answering(OK).await;
    let wire = wire();
    for (waited, accepted) in [(0, 1), (40, 1), (40, 1), (60, 2)] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(waited)).await;
        tokio::time::resume();
        post(&wire, server.url()).await.unwrap();
        assert_eq!(server.accepted(), accepted);
    }
}

#[tokio::test]
async fn a_server_that_closes_after_each_answer_gets_a_connection_each() {
    let unannounced = Server::answering_once(OK).await;
    let announced =
        Server::answering_once("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
    let old = Server::answering_once("HTTP/1.0 200 OK\r\n\r\nok").await;
    for server in [unannounced, announced, old] {
        let wire = wire();
        for _ in 0..20 {
            assert_eq!(post(&wire, server.url()).await.unwrap().body, b"ok");
        }
        assert_eq!(server.accepted(), 20);
    }
}

#[tokio::test]
async fn a_new_connection_that_breaks_is_not_tried_again() {
    let server = Server::answering_once("").await;
    assert_eq!(post(&wire(), server.url()).await.unwrap_err().code(), "reset");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn what_is_not_http_is_told_from_the_rest() {
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(128 * 1024));
    let garbled = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n";
    for answer in ["SSH-2.0-OpenSSH_9.9\r\n", &long, garbled] {
        let server = Server::answering_once(answer).await;
        let trouble = post(&wire(), server.url()).await.unwrap_err();
        assert_eq!(trouble.code(), "protocol", "{trouble}");
    }
}

/// An authority made for one test, and a server for `name` under it.
async fn tls_server(name: &str) -> (Server, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();

    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = Server::start(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let (_, session) = stream.get_ref();
            let asked = session.server_name().unwrap_or("nobody").to_owned();
            let spoken = String::from_utf8_lossy(session.alpn_protocol().unwrap_or_default()).into_owned();
            let body = format!("{asked} {spoken}");
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            converse(stream, answer.into_bytes().into()).await;
        }
    })
    .await;
    (server, authority.pem())
}

fn trusting(authority: &str) -> Wire {
    Wire::new(guard(&["127.0.0.0/8", "::1/128"]), Some(authority.as_bytes())).unwrap()
}

#[tokio::test]
async fn tls_trusts_the_extra_root_and_asks_for_the_name_in_the_url() {
    let (server, authority) = tls_server("localhost").await;
    let wire = trusting(&authority);
    for _ in 0..3 {
        let response = post(&wire, server.at("https", "localhost")).await.unwrap();
        assert_eq!(String::from_utf8(response.body).unwrap(), "localhost http/1.1");
    }
    assert_eq!(server.accepted(), 1);

    let (server, authority) = tls_server("127.0.0.1").await;
    let response = post(&trusting(&authority), server.at("https", "127.0.0.1")).await.unwrap();
    assert_eq!(String::from_utf8(response.body).unwrap(), "nobody http/1.1");
}

#[tokio::test]
async fn tls_trusts_nobody_else() {
    let (server, authority) = tls_server("localhost").await;
    let (_, another) = tls_server("localhost").await;
    let named_otherwise = server.at("https", "127.0.0.1");
    for (wire, url, part) in [
        (wire(), server.at("https", "localhost"), "UnknownIssuer"),
        (trusting(&another), server.at("https", "localhost"), "certificate"),
        (trusting(&authority), named_otherwise, "not valid for name"),
    ] {
        let trouble = post(&wire, url).await.unwrap_err();
        assert_eq!(trouble.code(), "tls");
        assert!(trouble.to_string().contains(part), "{trouble}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_the_rest() {
    let server = Server::start(|_, mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        closed(&mut stream).await;
    })
    .await;
    assert_eq!(post(&wire(), server.at("https", "127.0.0.1")).await.unwrap_err().code(), "tls");
}

#[test]
fn extra_roots_must_be_certificates() {
    let build = |pem: &str| Wire::new(Guard::default(), Some(pem.as_bytes())).err();
    assert_eq!(build(""), Some(BadRoots::Empty));
    let encoded = |bytes: &str| format!("-----BEGIN CERTIFICATE-----\n{bytes}\n-----END CERTIFICATE-----\n");
    assert!(matches!(build(&encoded("!")), Some(BadRoots::NotPem(_))));
    assert!(matches!(build(&encoded("AAAA")), Some(BadRoots::Unusable(_))));
}
