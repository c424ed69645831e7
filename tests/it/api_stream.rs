//! The feed as a stream: complete and in order for whoever follows the cursor, whatever happens to the connection.

use std::sync::Arc;
use std::time::Duration;

use postcall::model::{AccountKey, Time};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api_rig::{House, PATIENCE, Reply, cllr_body};

/// One connection to the stream, read message by message.
struct Reader {
    stream: TcpStream,
    /// What came and is not yet decoded; then what is decoded and not yet a whole message.
    wire: Vec<u8>,
    text: Vec<u8>,
    is_over: bool,
}

/// A message: its fields by name, the lines of `data` joined.
#[derive(Debug, Default, PartialEq)]
struct Message {
    id: String,
    event: String,
    data: String,
    comments: usize,
}

impl Reader {
    /// Opens the stream; gives the answer when it is another one.
    async fn open(house: &House, key: &str, query: &str, last: Option<&str>) -> Result<Self, Reply> {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let request = format!(
            "GET /v1/events/stream{query} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {key}\r\n{last}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reader = Self { stream, wire: Vec::new(), text: Vec::new(), is_over: false };
        let end = loop {
            assert!(reader.more().await, "a head: {:?}", String::from_utf8_lossy(&reader.wire));
            if let Some(end) = reader.wire.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
        };
        let head = String::from_utf8(reader.wire[..end].to_vec()).unwrap().to_ascii_lowercase();
        if !head.starts_with("http/1.1 200") {
            reader.stream.shutdown().await.unwrap();
            return Err(house.call(key, "GET", &format!("/v1/events/stream{query}"), &Value::Null).await);
        }
        for line in
            ["content-type: text/event-stream", "transfer-encoding: chunked", "cache-control: no-store"]
        {
            assert!(head.contains(line), "{head}");
        }
        reader.wire.drain(..end + 4);
        Ok(reader)
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("it goes on");
        let read = read.unwrap_or(0);
        self.wire.extend_from_slice(&buffer[..read]);
        read > 0
    }

    /// Takes whole chunks off the wire.
    fn decode(&mut self) {
        while let Some(line) = self.wire.windows(2).position(|two| two == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&self.wire[..line]).unwrap(), 16).unwrap();
            if self.wire.len() < line + size + 4 {
                return;
            }
            self.is_over |= size == 0;
            self.text.extend_from_slice(&self.wire[line + 2..line + 2 + size]);
            self.wire.drain(..line + size + 4);
        }
    }

    /// The next message, comments and greetings alone included; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Message> {
        loop {
            self.decode();
            if let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
                let text = String::from_utf8(self.text.drain(..end + 2).collect()).unwrap();
                let mut message = Message::default();
                for line in text.lines().filter(|line| !line.is_empty()) {
                    match line.split_once(':').unwrap() {
                        ("", _) => message.comments += 1,
                        ("id", id) => message.id = id.trim().to_owned(),
                        ("event", event) => message.event = event.trim().to_owned(),
                        ("data", data) => message.data += &format!("{}\n", data.trim()),
                        ("retry", _) => {}
                        other => panic!("{other:?}"),
                    }
                }
                return Some(message);
            }
            if self.is_over || !self.more().await {
                return None;
            }
        }
    }

    /// The next event's id; heartbeats are passed over.
    async fn event(&mut self) -> Option<String> {
        loop {
            let message = self.next().await?;
            if message.data.is_empty() {
                continue;
            }
            let json: Value = serde_json::from_str(&message.data).unwrap();
            assert_eq!(json["id"], message.id);
            return Some(message.id);
        }
    }
}

/// The ids of the whole feed, page by page.
async fn feed(house: &House) -> Vec<String> {
    let (mut ids, mut after): (Vec<String>, String) = (Vec::new(), String::new());
    loop {
        let page = house.get(&format!("/v1/events?limit=100{after}")).await.json();
        ids.extend(
            page["data"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else { return ids };
        after = format!("&after={cursor}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_reconnects_anywhere_misses_nothing_while_writers_race() {
    const WRITERS: usize = 8;
    const EACH: usize = 60;
    let house = Arc::new(House::open().await);
    let source = Arc::new(house.source(&house.key, "cllr").await);
    let readers: Vec<_> = (0..3u64)
        .map(|seed| {
            let house = Arc::clone(&house);
            tokio::spawn(async move {
                let (mut seen, mut dice): (Vec<String>, u64) = (Vec::new(), seed + 1);
                while seen.len() < WRITERS * EACH {
                    let last = seen.last().cloned();
                    let mut reader =
                        Reader::open(&house, &house.key, "", last.as_deref()).await.map_err(|_| ()).unwrap();
                    // A xorshift decides after how many events, and in the middle of which, the line breaks.
                    dice ^= dice << 13;
                    dice ^= dice >> 7;
                    dice ^= dice << 17;
                    for _ in 0..dice % 40 {
                        if seen.len() == WRITERS * EACH {
                            break;
                        }
                        seen.push(reader.event().await.expect("the stream stays open"));
                    }
                }
                seen
            })
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (house, source) = (Arc::clone(&house), Arc::clone(&source));
            tokio::spawn(async move {
                for call in 0..EACH {
                    let reply = house.bring(&source, &cllr_body(&format!("c-{writer}-{call}"))).await;
                    assert_eq!(reply.status, 200);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let expected = feed(&house).await;
    assert_eq!(expected.len(), WRITERS * EACH);
    for reader in readers {
        assert_eq!(reader.await.unwrap(), expected, "no gap, no repeat, in the order of the feed");
    }
}

#[tokio::test]
async fn a_stream_begins_where_it_is_told_to() {
    let house = House::open().await;
    let source = house.source(&house.key, "cllr").await;
    for call in ["a", "b", "c"] {
        house.bring(&source, &cllr_body(call)).await;
    }
    let ids = feed(&house).await;
    let cursor = house.get("/v1/events?limit=1").await.json()["next_cursor"].as_str().unwrap().to_owned();
    for (query, last, expected) in [
        (String::new(), None, 0),
        (format!("?after={}", ids[0]), None, 1),
        (format!("?after={cursor}"), None, 1),
        (format!("?after={}", ids[0]), Some(ids[1].as_str()), 2),
        ("?after=latest".to_owned(), Some(ids[1].as_str()), 2),
    ] {
        let mut reader =
            Reader::open(&house, &house.key, &query, last).await.unwrap_or_else(|r| panic!("{r:?}"));
        assert_eq!(reader.event().await.as_ref(), Some(&ids[expected]), "{query} {last:?}");
    }
    let mut reader =
        Reader::open(&house, &house.key, "?after=latest", None).await.unwrap_or_else(|r| panic!("{r:?}"));
    house.bring(&source, &cllr_body("d")).await;
    assert_eq!(reader.event().await, feed(&house).await.pop());

    // Another account's cursor is none, and its events are told to nobody else.
    let other = house.tenant("other").await;
    let query = format!("?after={}", ids[0]);
    let refused = Reader::open(&house, &other, &query, None).await.err().unwrap();
    assert_eq!(refused.problem(), (400, "bad_cursor".to_owned(), vec!["after bad_cursor".to_owned()]));
    assert_eq!(house.get("/v1/events/stream?limit=3").await.problem().0, 400);
    let mut theirs = Reader::open(&house, &other, "", None).await.unwrap_or_else(|r| panic!("{r:?}"));
    house.bring(&source, &cllr_body("e")).await;
    let their_source = house.source(&other, "cllr").await;
    house.bring(&their_source, &cllr_body("theirs")).await;
    let first = theirs.next().await.unwrap();
    let told = if first.data.is_empty() { theirs.next().await.unwrap() } else { first };
    assert!(told.data.contains("\"theirs\""), "{told:?}");
}

#[tokio::test]
async fn a_quiet_stream_stays_open_and_ends_with_its_key_and_with_the_house() {
    let beat = |settings: &mut postcall::api::Settings| settings.heartbeat = Duration::from_millis(20);
    let mut house = House::with(beat).await;
    let made = house.post("/v1/keys", json!({"name": "reader"})).await.json();
    let key = made["key"].as_str().unwrap();
    let mut theirs = Reader::open(&house, key, "", None).await.unwrap_or_else(|r| panic!("{r:?}"));
    let mut mine = Reader::open(&house, &house.key, "", None).await.unwrap_or_else(|r| panic!("{r:?}"));
    let mut beats = 0;
    while beats < 3 {
        beats += theirs.next().await.unwrap().comments;
    }
    house.delete(&format!("/v1/keys/{}", made["id"].as_str().unwrap())).await;
    while theirs.next().await.is_some() {}
    assert!(theirs.is_over, "it ends, it does not break off");

    house.stop.take().unwrap().send(()).unwrap();
    while mine.next().await.is_some() {}
    assert!(mine.is_over, "it ends, it does not break off");
    tokio::time::timeout(PATIENCE, &mut house.served).await.expect("the house closes").unwrap();
}

#[tokio::test]
async fn too_many_streams_and_a_cursor_past_the_retention_are_refused() {
    let beat = |settings: &mut postcall::api::Settings| settings.heartbeat = Duration::from_millis(20);
    let house = House::with(beat).await;
    let source = house.source(&house.key, "cllr").await;
    house.bring(&source, &cllr_body("a")).await;
    house.bring(&source, &cllr_body("b")).await;
    let first = feed(&house).await[0].clone();
    let mut open = Vec::new();
    let refused = loop {
        match Reader::open(&house, &house.key, "", None).await {
            Ok(reader) => open.push(reader),
            Err(refused) => break refused,
        }
    };
    assert_eq!((open.len(), refused.problem().1), (32, "too_many_streams".to_owned()));
    open.clear();

    let kept = Some(Duration::from_secs(60));
    house.store.set_retention(AccountKey::DEFAULT, kept, Time::from_micros(0)).await.unwrap();
    let later = Time::parse("2100-01-01T00:00:00Z").unwrap();
    while house.store.maintain(later).await.unwrap().more {}
    // A reader that is gone is noticed when it is said something, a heartbeat at the latest.
    let expired = loop {
        let reply = house.get(&format!("/v1/events/stream?after={first}")).await;
        if reply.status != 429 {
            break reply;
        }
    };
    assert_eq!(expired.problem(), (410, "cursor_expired".to_owned(), vec![]));
    let mut rest = Reader::open(&house, &house.key, "", None).await.unwrap_or_else(|r| panic!("{r:?}"));
    house.bring(&source, &cllr_body("c")).await;
    assert_eq!(rest.event().await, feed(&house).await.pop());
}

#[tokio::test]
async fn a_page_ends_by_its_bytes_too() {
    let house = House::open().await;
    let source = house.source(&house.key, "cllr").await;
    let long = "x".repeat(300_000);
    for call in 0..10 {
        let body = json!({"callId": format!("c-{call}"), "callAnalysis": {"summary": long}}).to_string();
        assert_eq!(house.bring(&source, body.as_bytes()).await.status, 200);
    }
    let page = house.get("/v1/events?limit=1000").await;
    assert!(page.body.len() < 1_100_000, "{}", page.body.len());
    assert_eq!(page.json()["data"].as_array().unwrap().len(), 3);
    assert!(page.json()["next_cursor"].is_string());
    assert_eq!(feed(&house).await.len(), 10);
    // A reader that does not read holds nobody up, and gets all of it in the end.
    let mut reader = Reader::open(&house, &house.key, "", None).await.unwrap_or_else(|r| panic!("{r:?}"));
    house.bring(&source, &cllr_body("last")).await;
    for id in feed(&house).await {
        assert_eq!(reader.event().await, Some(id));
    }
}
