//! A receiver that answers 503 to everything: what it is sent is tried and stays pending.
//! Refuses to know what is sent.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Response, StatusCode};

use crate::wire;

/// Answers until it is killed.
pub async fn run() -> Result<(), String> {
    wire::answer(|request| async {
        // Read to its end, so that the connection carries the next one.
        let _ = request.collect().await;
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    })
    .await
}
