//! Bodies that do not end, as strangers and tenants send them: who is read, what is held, and who makes way.

use std::net::{Ipv4Addr, SocketAddr};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::api_rig::{House, PATIENCE, PUBLIC_URL, Reply, cllr_body};

/// The routes that read a body before they know whether its sender may send one: the proof is in the body.
const INGEST: [(&str, &str); 2] = [("post", "/in/{source}"), ("post", "/aiDialerCallbackWithData")];
/// Where the honest vendor and the callers are, as everything that `House` sends.
const HONEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
/// Where the strangers are.
const STRANGE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

async fn connect(house: &House, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(house.address).await.unwrap()
}

/// Begins a request: its head, and all of its body but the last bytes.
async fn begin(
    house: &House,
    from: Ipv4Addr,
    request: &str,
    headers: &str,
    size: usize,
    sent: usize,
) -> TcpStream {
    let mut stream = connect(house, from).await;
    let head = format!("{request} HTTP/1.1\r\nHost: here\r\n{headers}Content-Length: {size}\r\n\r\n");
    // A server that answers before it has read all closes the connection.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&vec![b' '; sent]).await;
    stream
}

/// What `/metrics` says of a number.
async fn number(house: &House, name: &str) -> usize {
    let metrics = house.send("GET", "/metrics", &[], b"").await;
    let line = metrics.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in /metrics")).parse().unwrap()
}

/// Bytes of bodies that are held.
async fn held(house: &House, share: &str) -> usize {
    number(house, &format!("postcall_body_bytes{{share=\"{share}\"}}")).await
}

/// Waits until a number of `/metrics` is as expected, and gives it.
async fn until(house: &House, name: &str, expected: impl Fn(usize) -> bool) -> usize {
    let asking = async {
        loop {
            let number = number(house, name).await;
            if expected(number) {
                return number;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the number in time")
}

/// Waits until the bytes of a share are as expected, and gives them.
async fn until_held(house: &House, share: &str, expected: impl Fn(usize) -> bool) -> usize {
    until(house, &format!("postcall_body_bytes{{share=\"{share}\"}}"), expected).await
}

/// The status of the next answer on a connection, which may be an interim one.
async fn next_status(stream: &mut TcpStream) -> u16 {
    let mut line = [0; 12];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut line)).await.expect("an answer in time").unwrap();
    std::str::from_utf8(&line[9..]).unwrap().parse().unwrap()
}

#[tokio::test]
async fn no_route_but_ingest_reads_a_body_before_it_knows_the_caller() {
    let house = House::open().await;
    let document = house.send("GET", "/openapi.json", &[], b"").await.json();
    let mut requests = Vec::new();
    for path in document["paths"].as_object().unwrap().keys() {
        for method in ["get", "head", "post", "put", "patch", "delete", "options"] {
            for key in ["", "Authorization: Bearer pck_wrong\r\n", "x-api-key: pck_wrong\r\n"] {
                for idempotency in ["", "Idempotency-Key: k\r\n"] {
                    requests.push((method, path.clone(), format!("{key}{idempotency}")));
                }
            }
        }
    }
    assert!(requests.len() > 1000, "the document lists the routes");
    for some in requests.chunks(100) {
        let answers = some.iter().map(async |(method, path, headers)| {
            let target = path.replace(['{', '}'], "");
            let request = format!("{} {target}", method.to_ascii_uppercase());
            // Whoever reads a body asks for it first, with a 100.
            let headers = format!("{headers}Content-Type: application/json\r\nExpect: 100-continue\r\n");
            let mut stream = begin(&house, STRANGE, &request, &headers, 1000, 999).await;
            next_status(&mut stream).await
        });
        for ((method, path, headers), status) in some.iter().zip(join_all(answers).await) {
            let takes_any_body = INGEST.contains(&(*method, path.as_str()));
            // `/aiDialerCallbackWithData` refuses a wrong key before it reads, and so many wrong keys are limited.
            let expected: &[u16] = match takes_any_body {
                true => &[100],
                false => &[200, 400, 401, 404, 405, 429],
            };
            assert!(expected.contains(&status), "{method} {path} with {headers:?}: {status}");
        }
    }
    until_held(&house, "unproven", |held| held == 0).await;
    assert_eq!(held(&house, "account").await, 0);
}

#[tokio::test]
async fn bodies_of_every_ingest_route_and_of_keyed_routes_count() {
    const SIZE: usize = 64 * 1024;
    let house = House::open().await;
    for (method, path) in INGEST {
        let request = format!("{} {path}", method.to_ascii_uppercase());
        let begun = begin(&house, STRANGE, &request, "", SIZE, SIZE - 1).await;
        until_held(&house, "unproven", |held| (SIZE - 1..=SIZE).contains(&held)).await;
        drop(begun);
        until_held(&house, "unproven", |held| held == 0).await;
    }
    let key = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", house.key);
    for request in ["POST /v1/sources", "PUT /agents/a", "POST /v1/batches", "POST /v1/import"] {
        for more in ["", "Idempotency-Key: k\r\n"] {
            let headers = format!("{key}{more}");
            let begun = begin(&house, HONEST, request, &headers, SIZE, SIZE - 1).await;
            // An import does not know how long a line will be, and its buffer doubles.
            until_held(&house, "account", |held| (SIZE - 1..2 * SIZE).contains(&held)).await;
            drop(begun);
            until_held(&house, "account", |held| held == 0).await;
        }
    }
}

#[tokio::test]
async fn unproven_bodies_hold_a_small_share_and_keep_no_honest_one_out() {
    const SIZE: usize = 256 * 1024;
    let house = House::with(|settings| {
        settings.max_body = SIZE;
        settings.max_load = 128 * SIZE;
    })
    .await;
    let source = house.source(&house.key, "cllr").await;
    // An eighth of all.
    let most = 16 * SIZE;
    let strangers = (0..128).map(|_| begin(&house, STRANGE, "POST /in/nobody", "", SIZE, SIZE - 1));
    let strangers = join_all(strangers).await;
    let mut seen = until_held(&house, "unproven", |held| held > most / 2).await;
    for call in 0..100 {
        let reply = house.bring(&source, &cllr_body(&format!("c-{call}"))).await;
        assert_eq!((reply.status, reply.text()), (200, r#"{"received":true}"#), "{call}");
        seen = seen.max(held(&house, "unproven").await);
    }
    assert!(seen <= most, "{seen}");
    drop(strangers);
    until_held(&house, "unproven", |held| held == 0).await;
}

#[tokio::test]
async fn a_thousand_connections_that_lack_a_byte_hold_no_more() {
    // Two descriptors for each.
    rlimit::increase_nofile_limit(4096).unwrap();
    const SIZE: usize = 16 * 1024;
    let house = House::with(|settings| {
        settings.max_body = SIZE;
        settings.max_load = 128 * SIZE;
    })
    .await;
    let source = house.source(&house.key, "cllr").await;
    let mut strangers = Vec::new();
    for _ in 0..1000 {
        strangers.push(begin(&house, STRANGE, "POST /in/nobody", "", SIZE, SIZE - 1).await);
        if strangers.len() % 100 == 0 {
            let reply = house.bring(&source, &cllr_body(&format!("c-{}", strangers.len()))).await;
            assert_eq!(reply.text(), r#"{"received":true}"#);
            let held = held(&house, "unproven").await;
            assert!(held <= 16 * SIZE, "{held}");
        }
    }
    // Each of them was read or refused, and none of them is waited for that has no place.
    let refused = "postcall_bodies_refused_total{share=\"unproven\",reason=\"displaced\"}";
    assert!(number(&house, refused).await >= 1000 - 16 - 100, "they made way");
}

#[tokio::test]
async fn who_loses_its_place_hears_it_and_the_connection_closes() {
    const SIZE: usize = 64 * 1024;
    let house = House::with(|settings| {
        settings.max_body = SIZE;
        settings.max_load = 8 * SIZE;
    })
    .await;
    let mut first = begin(&house, STRANGE, "POST /in/nobody", "", SIZE, SIZE - 1).await;
    until_held(&house, "unproven", |held| held >= SIZE - 1).await;
    let _second = begin(&house, STRANGE, "POST /in/nobody", "", SIZE, SIZE - 1).await;
    until_held(&house, "unproven", |held| held >= 2 * (SIZE - 1)).await;
    let _third = begin(&house, STRANGE, "POST /in/nobody", "", SIZE, SIZE - 1).await;
    let reply = tokio::time::timeout(PATIENCE, Reply::read(&mut first)).await.unwrap();
    assert_eq!(reply.problem(), (503, "unavailable".to_owned(), vec![]));
    assert_eq!((reply.header("retry-after"), reply.header("connection")), (Some("1"), Some("close")));
}

#[tokio::test]
async fn a_sender_that_proved_itself_is_no_stranger_afterwards() {
    const SIZE: usize = 64 * 1024;
    let house = House::open().await;
    let source = house.source(&house.key, "cllr").await;
    let path = source["url"].as_str().unwrap().strip_prefix(PUBLIC_URL).unwrap();
    let body = cllr_body("c-1");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut vendor = connect(&house, STRANGE).await;
    vendor.write_all(head.as_bytes()).await.unwrap();
    vendor.write_all(&body[..10]).await.unwrap();
    until_held(&house, "unproven", |held| held > 0).await;
    vendor.write_all(&body[10..]).await.unwrap();
    let reply = tokio::time::timeout(PATIENCE, Reply::read(&mut vendor)).await.unwrap();
    assert_eq!(reply.text(), r#"{"received":true}"#);

    let _next = begin(&house, STRANGE, &format!("POST {path}"), "", SIZE, SIZE - 1).await;
    until_held(&house, "proven", |held| held >= SIZE - 1).await;
    assert_eq!(held(&house, "unproven").await, 0);
}

#[tokio::test]
async fn a_body_that_stops_coming_gets_a_408_and_its_bytes_are_gone() {
    let house = House::with(|settings| {
        settings.body_speed.grace = std::time::Duration::from_millis(100);
    })
    .await;
    let key = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", house.key);
    for (request, headers) in [
        ("POST /in/nobody", ""),
        ("POST /v1/sources", &*key),
        ("POST /v1/batches", &key),
        ("POST /v1/import", &key),
    ] {
        let mut begun = begin(&house, STRANGE, request, headers, 100_000, 99_999).await;
        let reply = tokio::time::timeout(PATIENCE, Reply::read(&mut begun)).await.unwrap();
        assert_eq!(reply.problem(), (408, "body_too_slow".to_owned(), vec![]), "{request}");
        assert_eq!(reply.header("connection"), Some("close"));
    }
    for share in ["unproven", "account"] {
        assert_eq!(held(&house, share).await, 0);
        let slow = format!("postcall_bodies_refused_total{{share=\"{share}\",reason=\"slow\"}}");
        assert!(number(&house, &slow).await > 0);
    }
}

/// Requests with a key may hold 10 MiB of it, those of one account 9 MiB.
const LOAD: usize = 16 << 20;
const ACCOUNT_MOST: usize = LOAD / 8 * 5 / 10 * 9;

fn batch() -> Value {
    json!({ "contacts": [{ "phone": "+15551234567" }] })
}

#[tokio::test]
async fn one_account_that_drips_batches_keeps_no_other_waiting() {
    const SIZE: usize = 512 * 1024;
    let house = House::with(|settings| settings.max_load = LOAD).await;
    let (dripping, honest) = (house.tenant("dripping").await, house.tenant("honest").await);
    let headers = format!("Authorization: Bearer {dripping}\r\nContent-Type: application/json\r\n");
    let drips = (0..40).map(async |at| {
        let path = if at % 2 == 0 { "POST /v1/batches" } else { "POST /api/v1/batch" };
        let named = format!("{headers}Idempotency-Key: {at}\r\n");
        begin(&house, HONEST, path, if at % 4 < 2 { &headers } else { &named }, SIZE, SIZE - 1).await
    });
    let drips = join_all(drips).await;
    let mut seen = until_held(&house, "account", |held| held > ACCOUNT_MOST - 2 * SIZE).await;
    for _ in 0..10 {
        let made = house.call(&honest, "POST", "/v1/batches", &batch()).await;
        assert_eq!(made.status, 202, "{made:?}");
        seen = seen.max(held(&house, "account").await);
    }
    assert!(seen <= ACCOUNT_MOST, "{seen}");
    drop(drips);
    until_held(&house, "account", |held| held == 0).await;
    let made = house.call(&dripping, "POST", "/v1/batches", &batch()).await;
    assert_eq!(made.status, 202, "{made:?}");
}

#[tokio::test]
async fn an_account_that_fills_its_part_hears_that_it_did() {
    const SIZE: usize = 512 * 1024;
    let house = House::with(|settings| settings.max_load = LOAD).await;
    let headers = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", house.key);
    let begun = begin(&house, HONEST, "POST /v1/batches", &headers, 32 << 20, ACCOUNT_MOST + SIZE);
    let mut begun = begun.await;
    let reply = tokio::time::timeout(PATIENCE, Reply::read(&mut begun)).await.unwrap();
    assert_eq!(reply.status, 413, "no batch can be larger than that part: {reply:?}");

    let some = join_all((0..32).map(|_| begin(&house, HONEST, "POST /v1/batches", &headers, SIZE, SIZE - 1)));
    let some = some.await;
    // 18 of them fit. One that is refused while others are half there might have fit in the end.
    let full = "postcall_bodies_refused_total{share=\"account\",reason=\"full\"}";
    let refused = until(&house, full, |refused| refused >= 32 - 18).await;
    assert!(refused <= 24, "{refused}");
    assert!(held(&house, "account").await <= ACCOUNT_MOST);
    for mut stream in some {
        let mut line = [0; 12];
        if stream.try_read(&mut line).is_ok() {
            assert_eq!(&line, b"HTTP/1.1 503");
            let rest = tokio::time::timeout(PATIENCE, read_all(&mut stream)).await.unwrap();
            assert!(rest.contains("This account's requests"), "{rest}");
            return;
        }
    }
    panic!("some were answered");
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer is the end of it, too.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn unfinished_lines_of_imports_hold_no_more_than_an_accounts_part() {
    const LINE: usize = 12 << 20;
    let house = House::with(|settings| settings.max_load = LOAD).await;
    let (dripping, honest) = (house.tenant("dripping").await, house.tenant("honest").await);
    let headers = format!("Authorization: Bearer {dripping}\r\n");
    let lines = (0..8).map(async |_| {
        let begun = begin(&house, HONEST, "POST /v1/import", &headers, 2 * LINE, LINE);
        tokio::time::timeout(PATIENCE, begun).await
    });
    let asking = async {
        let mut seen = 0;
        while seen < ACCOUNT_MOST / 2 {
            seen = seen.max(held(&house, "account").await);
        }
        for _ in 0..10 {
            let head = format!("Authorization: Bearer {honest}\r\n");
            let mut import = begin(&house, HONEST, "POST /v1/import", &head, 0, 0).await;
            assert_eq!(next_status(&mut import).await, 200);
            seen = seen.max(held(&house, "account").await);
        }
        seen
    };
    let (seen, lines) = tokio::join!(asking, join_all(lines));
    assert!(seen <= LOAD / 8 * 5, "{seen}");
    drop(lines);
    until_held(&house, "account", |held| held == 0).await;
}

#[tokio::test]
async fn an_account_imports_one_at_a_time() {
    let house = House::open().await;
    let other = house.tenant("other").await;
    let begin = async |key: &str| {
        let headers = format!("Authorization: Bearer {key}\r\nExpect: 100-continue\r\n");
        begin(&house, HONEST, "POST /v1/import", &headers, 100, 99).await
    };
    let mut first = begin(&house.key).await;
    assert_eq!(next_status(&mut first).await, 100, "it is read");
    let mut second = begin(&house.key).await;
    let mut others = begin(&other).await;
    assert_eq!(next_status(&mut others).await, 100, "another account's is read beside it");
    let mut byte = [0];
    let none = second.try_read(&mut byte);
    assert!(none.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "not read yet");
    drop(first);
    assert_eq!(next_status(&mut second).await, 100, "its turn");
}
