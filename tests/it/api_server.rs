//! The server: slow and broken clients, and a stop that finishes what is under way.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api_rig::{House, PATIENCE, Reply, cllr_body};

#[tokio::test]
async fn a_body_that_does_not_come_gets_a_408() {
    let house = House::with(|settings| settings.body_speed.grace = Duration::from_millis(100)).await;
    let source = house.source(&house.key, "cllr").await;
    let path = &source["url"].as_str().unwrap()["https://calls.example".len()..];
    for path in [path, "/in/nobody"] {
        let begun = format!("POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\n{{\"call");
        let reply = house.raw(begun.as_bytes()).await;
        assert_eq!(reply.problem(), (408, "body_too_slow".to_owned(), vec![]));
    }
    let key = &house.key;
    let begun = format!(
        "POST /v1/sources HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n"
    );
    assert_eq!(house.raw(begun.as_bytes()).await.problem().0, 408);
    let begun = begun.replace("Host: here", "Host: here\r\nIdempotency-Key: k");
    assert_eq!(house.raw(begun.as_bytes()).await.problem().0, 408);
}

#[tokio::test]
async fn what_is_no_http_gets_an_answer_or_a_closed_door() {
    let house = House::open().await;
    for (bytes, status) in [
        (b"nonsense\r\n\r\n".to_vec(), 400),
        (b"GET / HTTP/1.1\r\nHost: here\r\nContent-Length: x\r\n\r\n".to_vec(), 400),
        ([b"GET / HTTP/1.1\r\nX: ".as_slice(), &vec![b'x'; 40_000], b"\r\n\r\n"].concat(), 431),
        ([b"GET / HTTP/1.1\r\n".as_slice(), &b"X: y\r\n".repeat(200), b"\r\n"].concat(), 431),
    ] {
        assert_eq!(house.raw(&bytes).await.status, status);
    }
    assert_eq!(house.send("GET", "/healthz", &[], b"").await.status, 200);
}

#[tokio::test]
async fn a_client_may_close_its_half_and_still_gets_the_answer() {
    let house = House::open().await;
    let source = house.source(&house.key, "cllr").await;
    let path = &source["url"].as_str().unwrap()["https://calls.example".len()..];
    let body = cllr_body("half");
    let head = format!("POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    let reply = tokio::time::timeout(PATIENCE, Reply::read(&mut stream)).await.unwrap();
    assert_eq!(reply.text(), r#"{"received":true}"#);
}

#[tokio::test]
async fn a_connection_carries_many_requests() {
    let house = House::open().await;
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
        while !seen.ends_with(b"{\"status\":\"ok\"}") {
            let mut buffer = [0; 1024];
            let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
            assert_ne!(read, 0);
            seen.extend_from_slice(&buffer[..read]);
        }
        seen.clear();
    }
}

#[tokio::test]
async fn a_stop_finishes_what_is_under_way() {
    let mut house = House::open().await;
    let source = house.source(&house.key, "cllr").await;
    let path = &source["url"].as_str().unwrap()["https://calls.example".len()..];
    let body = cllr_body("last");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut under_way = TcpStream::connect(house.address).await.unwrap();
    under_way.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body: it is reading this request now.
    let mut go_on = [0; 25];
    tokio::time::timeout(PATIENCE, under_way.read_exact(&mut go_on)).await.unwrap().unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");

    house.stop.take().unwrap().send(()).unwrap();
    // It no longer listens once a connection is refused.
    let refused = async {
        while TcpStream::connect(house.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.unwrap();
    under_way.write_all(&body).await.unwrap();
    let reply = tokio::time::timeout(PATIENCE, Reply::read(&mut under_way)).await.unwrap();
    assert_eq!(reply.text(), r#"{"received":true}"#);
    tokio::time::timeout(PATIENCE, house.served).await.unwrap().unwrap();
}
