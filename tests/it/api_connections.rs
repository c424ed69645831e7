//! Clients that keep their connections waiting, and those that they must not lock out.

use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;

use crate::api_rig::{House, PATIENCE, PUBLIC_URL, Reply, cllr_body};
use crate::harness;
use crate::home::Home;

/// The machine's own addresses: whoever sets the house up has the first, the others are strangers.
const OWN: &str = "127.0.0.1";
const STRANGER: &str = "127.0.0.2";
const NEIGHBOUR: &str = "127.0.0.3";

const DOCS: &[u8] = b"GET /docs HTTP/1.1\r\nHost: here\r\n\r\n";
const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n";
const HALF_A_HEAD: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: here\r\nX-";
const HALF_A_BODY: &[u8] = b"POST /in/nobody HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\n{";

/// A connection from one of the machine's addresses, with as little room for what comes as the kernel allows.
async fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    socket.bind(SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// Asks for much and reads nothing.
async fn never_reads(from: &str, to: SocketAddr) -> TcpStream {
    let mut stream = connect(from, to).await;
    stream.write_all(&DOCS.repeat(60)).await.unwrap();
    stream
}

/// Waits until the server has closed a connection, without reading from it.
async fn closed(stream: &mut TcpStream) {
    let more = DOCS.repeat(1000);
    let closed = async { while stream.write_all(&more).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, closed).await.expect("the server closes the connection");
}

/// Reads until the server closes; gives what came.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("the server closes");
    all
}

/// Whether a request on this connection is still answered.
async fn is_open(stream: &mut TcpStream) -> bool {
    if stream.write_all(HEALTH).await.is_err() {
        return false;
    }
    let (mut seen, mut buffer) = (Vec::new(), [0; 1024]);
    while !seen.ends_with(b"{\"status\":\"ok\"}") {
        match tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.expect("an answer or an end") {
            Ok(read @ 1..) => seen.extend_from_slice(&buffer[..read]),
            _ => return false,
        }
    }
    true
}

/// Streams of the feed: connections that are at work and wait for nobody.
async fn streams(house: &House, count: usize) -> Vec<TcpStream> {
    let request = format!(
        "GET /v1/events/stream HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {}\r\n\r\n",
        house.key
    );
    let mut open = Vec::new();
    for _ in 0..count {
        let mut stream = connect(OWN, house.address).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        until(&mut stream, b"retry: 1000\n\n").await;
        open.push(stream);
    }
    open
}

/// Reads until something has come.
async fn until(stream: &mut TcpStream, end: &[u8]) {
    let mut seen = Vec::new();
    while !seen.windows(end.len()).any(|part| part == end) {
        let mut buffer = [0; 1024];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..read]);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_loses_its_connection() {
    let house = House::with(|settings| settings.limits.write_grace = Duration::from_millis(200)).await;
    let mut stream = never_reads(STRANGER, house.address).await;
    closed(&mut stream).await;
    house.counted("postcall_connections_cut_total{reason=\"slow_reader\"} 1").await;
    house.counted("postcall_connections 0").await;
}

#[tokio::test]
async fn reading_a_byte_now_and_then_does_not_keep_a_connection() {
    let house = House::with(|settings| {
        settings.limits.write_grace = Duration::from_millis(500);
        settings.limits.write_rate = 1 << 20;
    })
    .await;
    let mut stream = never_reads(STRANGER, house.address).await;
    // A hundred bytes a second.
    let dripping = async {
        let mut byte = [0];
        while stream.read_exact(&mut byte).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = dripping => {}
        () = house.counted("postcall_connections_cut_total{reason=\"slow_reader\"} 1") => {}
    }
}

#[tokio::test]
async fn a_slow_reader_that_goes_on_gets_everything() {
    let house = House::with(|settings| settings.limits.write_grace = Duration::from_millis(500)).await;
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    stream.write_all(&DOCS.repeat(60)).await.unwrap();
    let (mut seen, mut buffer) = (0, vec![0; 64 * 1024]);
    let page = house.send("GET", "/docs", &[], b"").await.bytes.len() - "connection: close\r\n".len();
    while seen < 60 * page {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(read, 0, "cut off after {seen} bytes");
        seen += read;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(seen, 60 * page);
}

#[tokio::test]
async fn streams_and_idle_connections_are_not_measured() {
    let house = House::with(|settings| {
        settings.heartbeat = Duration::from_millis(50);
        settings.limits.write_grace = Duration::from_millis(100);
        settings.limits.head_patience = Duration::from_millis(100);
    })
    .await;
    let mut idle = connect(STRANGER, house.address).await;
    assert!(is_open(&mut idle).await);
    let mut stream = streams(&house, 1).await.remove(0);
    for _ in 0..10 {
        until(&mut stream, b":\n\n").await;
    }
    assert!(is_open(&mut idle).await, "idle for five times the patience for heads");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_given_up() {
    let house = House::with(|settings| settings.limits.head_patience = Duration::from_millis(100)).await;
    let mut silent = connect(STRANGER, house.address).await;
    assert_eq!(rest(&mut silent).await, b"", "nothing was asked");
    let mut half = connect(STRANGER, house.address).await;
    assert!(is_open(&mut half).await);
    half.write_all(HALF_A_HEAD).await.unwrap();
    assert_eq!(rest(&mut half).await, b"");
    house.counted("postcall_connections_cut_total{reason=\"slow_head\"} 2").await;
    // A byte now and then makes it no better.
    let (mut reads, mut writes) = connect(STRANGER, house.address).await.into_split();
    let dripping = tokio::spawn(async move {
        while writes.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let ended = tokio::time::timeout(PATIENCE, reads.read(&mut [0; 64])).await.expect("the server closes");
    assert!(matches!(ended, Ok(0) | Err(_)));
    house.counted("postcall_connections_cut_total{reason=\"slow_head\"} 3").await;
    dripping.abort();
}

#[tokio::test]
async fn who_is_known_may_open_connections_before_they_are_needed() {
    let house = House::with(|settings| settings.limits.head_patience = Duration::from_millis(100)).await;
    house.source(&house.key, "cllr").await;
    let mut early = connect(OWN, house.address).await;
    let mut stranger = connect(STRANGER, house.address).await;
    assert_eq!(rest(&mut stranger).await, b"");
    assert!(is_open(&mut early).await, "its address used a valid key");
}

#[tokio::test]
async fn a_strangers_new_connection_takes_the_place_of_its_own_oldest() {
    let house = House::with(|settings| settings.limits.connections_per_address = 3).await;
    let mut of_stranger = Vec::new();
    let mut of_neighbour = connect(NEIGHBOUR, house.address).await;
    assert!(is_open(&mut of_neighbour).await);
    for _ in 0..4 {
        of_stranger.push(connect(STRANGER, house.address).await);
        assert!(is_open(of_stranger.last_mut().unwrap()).await);
    }
    assert_eq!(rest(&mut of_stranger[0]).await, b"");
    for stream in &mut of_stranger[1..] {
        assert!(is_open(stream).await);
    }
    assert!(is_open(&mut of_neighbour).await);
    house.counted("postcall_connections_cut_total{reason=\"evicted\"} 1").await;
}

#[tokio::test]
async fn proven_addresses_and_proxies_have_as_many_connections_as_they_like() {
    let house = House::with(|settings| settings.limits.connections_per_address = 3).await;
    // A vendor, which has sent a body that its source proved or used a valid key.
    house.source(&house.key, "cllr").await;
    let mut vendor = Vec::new();
    for _ in 0..10 {
        vendor.push(connect(OWN, house.address).await);
    }
    for stream in &mut vendor {
        assert!(is_open(stream).await);
    }
    // A proxy that nobody named.
    let forwarded = b"GET /healthz HTTP/1.1\r\nHost: here\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n";
    let mut proxy = Vec::new();
    for _ in 0..10 {
        let mut stream = connect(STRANGER, house.address).await;
        stream.write_all(forwarded).await.unwrap();
        until(&mut stream, b"{\"status\":\"ok\"}").await;
        proxy.push(stream);
    }
    for stream in &mut proxy {
        assert!(is_open(stream).await);
    }
    assert!(!house.metrics.text().contains("postcall_connections_cut_total{reason=\"evicted\"} 1"));
}

#[tokio::test]
async fn strangers_lock_nobody_out() {
    let house = House::with(|settings| settings.limits.connections = 8).await;
    let source = house.source(&house.key, "cllr").await;
    let mut vendor = connect(OWN, house.address).await;
    assert!(is_open(&mut vendor).await);
    let mut strangers = Vec::new();
    // Some of them behind a proxy that nobody named.
    for number in 0..40 {
        let begun: &[u8] = match number % 5 {
            0 => b"",
            1 => HALF_A_HEAD,
            2 => HALF_A_BODY,
            3 => b"POST /in/nobody HTTP/1.1\r\nHost: here\r\nX-Forwarded-For: 203.0.113.9\r\nContent-Length: 9\r\n\r\n{",
            _ => b"",
        };
        let mut stream = match number % 5 {
            4 => never_reads(STRANGER, house.address).await,
            _ => connect(STRANGER, house.address).await,
        };
        stream.write_all(begun).await.unwrap();
        strangers.push(stream);
        if number % 8 == 7 {
            // Somebody who has not been here before brings a call.
            let path = source["url"].as_str().unwrap().strip_prefix(PUBLIC_URL).unwrap();
            let body = cllr_body(&format!("call-{number}"));
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let mut honest = connect(NEIGHBOUR, house.address).await;
            honest.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
            let reply = tokio::time::timeout(PATIENCE, Reply::read(&mut honest)).await.unwrap();
            assert_eq!((reply.status, reply.text()), (200, r#"{"received":true}"#));
        }
    }
    assert!(is_open(&mut vendor).await, "idle the longest, and proven");
    for stream in &mut strangers[..30] {
        closed(stream).await;
    }
}

#[tokio::test]
async fn health_is_answered_when_all_connections_are_taken() {
    let house = House::with(|settings| settings.limits.connections = 4).await;
    let source = house.source(&house.key, "cllr").await;
    house.counted("postcall_connections 0").await;
    let taken = streams(&house, 4).await;
    // More silent connections than the reserve has room for.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(connect(STRANGER, house.address).await);
    }
    for path in ["/healthz", "/readyz"] {
        let reply = house.raw(format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n").as_bytes()).await;
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    }
    let refused = house.bring(&source, &cllr_body("c")).await;
    assert_eq!(refused.problem(), (503, "too_many_connections".to_owned(), vec![]));
    assert_eq!((refused.header("retry-after"), refused.header("connection")), (Some("1"), Some("close")));
    assert!(house.metrics.text().contains("postcall_connections_refused_total{reason=\"full\"} 103"));
    drop(taken);
    // Once a stream has ended, there is a place again.
    house.store.close().await.unwrap();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_who_neither_reads_nor_sends() {
    let mut house = House::with(|settings| settings.limits.stop_patience = Duration::from_millis(200)).await;
    let source = house.source(&house.key, "cllr").await;
    house.counted("postcall_connections 0").await;
    let mut stalled = Vec::new();
    for number in 0..40 {
        let from = if number % 2 == 0 { OWN } else { STRANGER };
        stalled.push(match number % 4 {
            0 | 1 => never_reads(from, house.address).await,
            _ => {
                let mut stream = connect(from, house.address).await;
                stream.write_all(HALF_A_BODY).await.unwrap();
                stream
            }
        });
    }
    // A body that comes bit by bit, at a speed that a person would call slow.
    let path = source["url"].as_str().unwrap().strip_prefix(PUBLIC_URL).unwrap();
    let body = [cllr_body("slow"), vec![b' '; 16 * 1024]].concat();
    let mut slow = connect(OWN, house.address).await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    until(&mut slow, b"100 Continue\r\n\r\n").await;
    house.counted("postcall_connections 41").await;
    house.stop.take().unwrap().send(()).unwrap();
    for part in body.chunks(body.len().div_ceil(20)) {
        slow.write_all(part).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let reply = tokio::time::timeout(PATIENCE, Reply::read(&mut slow)).await.unwrap();
    assert_eq!(reply.text(), r#"{"received":true}"#);
    (&mut house.served).await.unwrap();
    // They were closed, and not left to the end of all patience.
    house.counted("postcall_connections_cut_total{reason=\"stop\"} 40").await;
}

#[tokio::test]
async fn a_named_proxy_is_believed_and_others_are_not() {
    let house =
        House::with(|settings| settings.trusted_proxies = vec!["127.0.0.2/32".parse().unwrap()]).await;
    let wrong = async |from: &str, said: &str| {
        let mut stream = connect(from, house.address).await;
        let request = format!(
            "GET /v1/sources HTTP/1.1\r\nHost: here\r\nConnection: close\r\nAuthorization: Bearer wrong\r\n{said}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        tokio::time::timeout(PATIENCE, Reply::read(&mut stream)).await.unwrap().status
    };
    for _ in 0..20 {
        assert_eq!(wrong(STRANGER, "X-Forwarded-For: 203.0.113.9\r\n").await, 401);
    }
    assert_eq!(wrong(STRANGER, "X-Forwarded-For: 198.51.100.1, 203.0.113.9\r\n").await, 429);
    assert_eq!(
        wrong(STRANGER, "X-Forwarded-For: 203.0.113.9, 203.0.113.10\r\n").await,
        401,
        "another client"
    );
    assert_eq!(wrong(STRANGER, "").await, 401, "the proxy itself has no limit");
    assert_eq!(wrong("127.0.0.4", "").await, 401);
    for _ in 0..30 {
        assert_eq!(
            wrong(NEIGHBOUR, "X-Forwarded-For: 203.0.113.9\r\n").await,
            401,
            "no limit by what it says"
        );
    }
}

#[tokio::test]
async fn metrics_can_have_an_address_of_their_own() {
    let home = Home::new();
    let mut settings = home.settings();
    settings.metrics_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    settings.admin_key = Some("admin-key-of-the-tests".to_owned());
    let app = postcall::app::App::start(settings).await.unwrap();
    let public = harness::Client::new(app.address(), "admin-key-of-the-tests");
    let operators = harness::Client::new(app.metrics_address().unwrap(), "admin-key-of-the-tests");
    assert_eq!(public.get("/metrics").await.expect(404).json()["code"], "no_route");
    public.get("/healthz").await.expect(200);
    let text = operators.get("/metrics").await.expect(200).body;
    assert!(text.ends_with(b"# EOF\n"));
    for path in ["/healthz", "/readyz"] {
        operators.get(path).await.expect(200);
    }
    for path in ["/v1/sources", "/docs"] {
        operators.get(path).await.expect(404);
    }
    operators.post("/in/nobody", json!({})).await.expect(404);
    app.stop().await;
}

/// A server in a process of its own, so that its memory can be measured.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_stalled_connections_of_each_kind_take_little_memory() {
    const EACH: usize = 1000;
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let home = Home::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_postcall"))
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(home.arguments())
        .env("POSTCALL_ADMIN_KEY", "admin-key-of-the-tests")
        .env("POSTCALL_LOG", "error")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address: SocketAddr = loop {
        let line = lines.next_line().await.unwrap().expect("it says where it listens");
        if let Some(address) = line.strip_prefix("listening on http://") {
            break address.parse().unwrap();
        }
    };
    let status = format!("/proc/{}/status", child.id().unwrap());
    let resident_kb = || {
        let status = std::fs::read_to_string(&status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap()
    };
    let big_head = [b"GET /healthz HTTP/1.1\r\nX: ".as_slice(), &vec![b'x'; 31 * 1024]].concat();
    let metrics = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n".repeat(60);
    let openapi = b"GET /openapi.json HTTP/1.1\r\nHost: here\r\n\r\n".repeat(60);
    let docs = DOCS.repeat(60);
    let kinds = [&big_head[..], &docs, &metrics, &openapi, HALF_A_BODY];
    let mut open = Vec::new();
    for kind in kinds {
        for number in 0..EACH {
            // No more than one address may have.
            let from = format!("127.1.{}.{}", number / 500, open.len() / EACH + 1);
            let mut stream = connect(&from, address).await;
            let _ = stream.write_all(kind).await;
            open.push(stream);
        }
        let probe = harness::Client::new(address, "admin-key-of-the-tests");
        probe.get("/healthz").await.expect(200);
        let most = resident_kb();
        assert!(most < 300 * 1024, "{most} kB after {} connections", open.len());
    }
}
