//! A receiver that answers with `103 Early Hints` and nothing else, as fast as it can: reading them for as long as an
//! attempt may last keeps a processor busy.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::attack::{Attack, Prepared};
use super::script::{Script, Then};
use super::target::Target;

/// What it says.
const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n";

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "informational",
    about: "4 events a second to a receiver that answers with 103 without end",
    needs: None,
    beside: None,
    prepare,
};

fn prepare(target: &Target) -> Prepared<'_> {
    Box::pin(async {
        let trouble = |error: std::io::Error| error.to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(trouble)?;
        let url = format!("http://{}/", listener.local_addr().map_err(trouble)?);
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::task::spawn_local(async move {
                    let said = HINT.repeat(256);
                    let mut heard = [0; 4096];
                    // It goes on until the other side has had enough.
                    let _ = stream.read(&mut heard).await;
                    while stream.write_all(said.as_bytes()).await.is_ok() {}
                });
            }
        });
        target.endpoint(&url, json!({"timeout_seconds": 30})).await?;
        let theirs = target.clone();
        let requests = Box::new(move |number| Bytes::from(theirs.event(number)));
        Ok(Script { connections: 1, addresses: 1, requests, then: Then::Read(Duration::from_millis(250)) })
    })
}
