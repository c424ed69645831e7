//! Wrong API keys: who gives many is limited before the store is asked, and nobody else.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use crate::api_rig::{House, PATIENCE, Reply};

const STRANGER: &str = "127.0.0.2";

/// A request from one of the machine's own addresses.
async fn ask(house: &House, from: &str, method: &str, path: &str, header: &str) -> Reply {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    let mut stream = socket.connect(house.address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{header}\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::timeout(PATIENCE, Reply::read(&mut stream)).await.unwrap()
}

#[tokio::test]
async fn an_address_that_gives_many_wrong_keys_is_limited_before_the_store_is_asked() {
    let house = House::open().await;
    for number in 0..20 {
        let key = format!("Authorization: Bearer pck_{number}");
        assert_eq!(ask(&house, STRANGER, "GET", "/v1/sources", &key).await.status, 401);
    }
    // Whatever would be asked of the store now is a 503.
    house.store.close().await.unwrap();
    // Every way in that takes a key.
    let bearer = "Authorization: Bearer pck_more";
    let own = "x-api-key: pck_more";
    for (method, path, header) in [
        ("GET", "/v1/sources", bearer),
        ("POST", "/v1/keys", bearer),
        ("GET", "/v1/events/stream", bearer),
        ("PUT", "/agents/a", bearer),
        ("PUT", "/agents/a", own),
        ("POST", "/api/v1/batch", own),
        ("GET", "/getConversationLogs/c", own),
        ("GET", "/callRecordings", own),
        ("POST", "/aiDialerCallbackWithData", own),
        ("POST", "/aiDialerCallbackWithData", bearer),
    ] {
        let limited = ask(&house, STRANGER, method, path, header).await;
        assert_eq!(limited.problem(), (429, "too_many_wrong_keys".to_owned(), vec![]), "{method} {path}");
        assert_eq!(limited.header("retry-after"), Some("1"));
        let asked = ask(&house, "127.0.0.3", method, path, header).await.status;
        assert_eq!(asked, 503, "another address is not limited: {method} {path}");
    }
    house.counted("postcall_keys_limited_total 10").await;
}

#[tokio::test]
async fn a_right_key_is_not_refused_for_the_wrong_ones_of_its_address() {
    let house = House::open().await;
    let right = format!("Authorization: Bearer {}", house.key);
    assert_eq!(house.get("/v1/sources").await.status, 200, "this node has seen it");
    for number in 0..40 {
        let key = format!("Authorization: Bearer pck_{number}");
        let status = ask(&house, STRANGER, "GET", "/v1/sources", &key).await.status;
        assert_eq!(status, if number < 20 { 401 } else { 429 });
    }
    assert_eq!(ask(&house, STRANGER, "GET", "/v1/sources", &right).await.status, 200);
    // Whose key was right is known now: its neighbours' wrong ones are only wrong.
    for number in 0..40 {
        let key = format!("Authorization: Bearer pck_{number}");
        assert_eq!(ask(&house, STRANGER, "GET", "/v1/sources", &key).await.status, 401);
    }
}

#[tokio::test]
async fn many_first_requests_with_a_right_key_are_all_answered() {
    let house = House::open().await;
    let right = format!("Authorization: Bearer {}", house.key);
    let asked = (0..100).map(|_| ask(&house, STRANGER, "GET", "/v1/sources", &right));
    for reply in futures_util::future::join_all(asked).await {
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}
