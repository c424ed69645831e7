//! One dialer with a source of its own, which tells one node of calls that have ended. Refuses to know what else is in a call.

use http::Method;
use serde_json::{Value, json};

use super::nodes::Node;
use super::vendors;
use crate::harness::{Answer, hmac_hex};
use crate::programs::SECRET;

/// The dialer.
pub struct Dialer {
    door: String,
}

impl Dialer {
    /// Makes its source.
    pub async fn of(node: &Node) -> Self {
        let source = node.api().source(vendors::source("voicegenie")).await;
        Self { door: format!("/in/{}", source["id"].as_str().expect("an id")) }
    }

    /// Tells of a call, once.
    pub async fn tell(&self, node: &Node, call: &str, phone: &str, data: Value) -> Answer {
        let body =
            json!({"call_uuid": call, "event": "call_ended", "phone_number": phone, "call_data": data});
        let body = body.to_string();
        let proof = hmac_hex(SECRET, body.as_bytes());
        let headers = [("x-webhook-signature", proof.as_str())];
        node.api().send(Method::POST, &self.door, &headers, body).await.expect("an answer")
    }
}
