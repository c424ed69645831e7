//! A tenant with a thousand endpoints at one host: each of its events is a thousand requests.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Response;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::attack::{Attack, Prepared};
use super::script::{Script, Then};
use super::target::Target;
use crate::wire;

/// Endpoints.
const ENDPOINTS: usize = 1_000;
/// Of them made at a time.
const AT_A_TIME: usize = 16;

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "many-endpoints",
    about: "2 events a second to 1,000 endpoints of one tenant at one host",
    needs: None,
    beside: None,
    prepare,
};

fn prepare(target: &Target) -> Prepared<'_> {
    Box::pin(async {
        let trouble = |error: std::io::Error| error.to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(trouble)?;
        let host = format!("http://{}", listener.local_addr().map_err(trouble)?);
        tokio::task::spawn_local(wire::serve(listener, |request| async {
            // Read to its end, so that the connection carries the next one.
            let _ = request.collect().await;
            Response::new(Full::new(Bytes::new()))
        }));
        let mut making = JoinSet::new();
        for number in 0..ENDPOINTS {
            if making.len() == AT_A_TIME {
                making.join_next().await;
            }
            let (target, url) = (target.clone(), format!("{host}/{number}"));
            // Past the limit of an account they are refused, which is as it should be.
            making.spawn_local(async move { target.endpoint(&url, json!({})).await });
        }
        making.join_all().await;
        let theirs = target.clone();
        let requests = Box::new(move |number| Bytes::from(theirs.event(number)));
        Ok(Script { connections: 1, addresses: 1, requests, then: Then::Read(Duration::from_millis(500)) })
    })
}
