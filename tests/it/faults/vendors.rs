//! Calls as the vendors of four dialects tell of them, event by event, proven as each vendor does.
//! Refuses to know where they go and what becomes of them.

use serde_json::{Value, json};

use super::Fact;
use crate::harness::hmac_hex;
use crate::programs::{SECRET, STANDARD_SECRET};
use crate::vendors::standard_proof;

/// The dialects of the sources. Calls of a batch are told of in the last one.
pub const DIALECTS: [&str; 4] = ["voicegenie", "aloro", "standard", "dialgen"];

/// A source of a dialect, as it is made.
pub fn source(dialect: &str) -> Value {
    let secret = if dialect == "standard" { STANDARD_SECRET } else { SECRET };
    json!({"name": format!("a dialer that speaks {dialect}"), "dialect": dialect, "secret": secret})
}

/// A contact of a batch.
#[derive(Clone, Debug)]
pub struct Contact {
    pub batch: String,
    pub phone: String,
}

/// A call that is to be told of.
#[derive(Clone, Debug)]
pub struct Call {
    number: usize,
    contact: Option<Contact>,
}

/// One event of a call, as it is sent: the same bytes however often.
pub struct Said {
    pub dialect: &'static str,
    pub fact: Fact,
    pub body: Vec<u8>,
}

impl Call {
    /// A call of no batch, in a dialect that its number decides.
    pub fn new(number: usize) -> Self {
        Self { number, contact: None }
    }

    /// A call to a contact of a batch.
    pub fn to(number: usize, contact: Contact) -> Self {
        Self { number, contact: Some(contact) }
    }

    /// Its events in their order.
    pub fn events(&self) -> Vec<Said> {
        let dialect = match self.contact {
            Some(_) => "dialgen",
            None => DIALECTS[self.number % 3],
        };
        let about = format!("{dialect}-{}", self.number);
        let end = if self.number.is_multiple_of(5) { "call.failed" } else { "call.ended" };
        let kinds = match dialect {
            "dialgen" => vec!["call.answered", end],
            "standard" => vec!["call.initiated", "call.answered", end],
            _ => vec!["call.initiated", "call.ringing", "call.answered", end],
        };
        let said = |(step, kind): (usize, &str)| {
            let fact = Fact::new(about.clone(), kind);
            let body = self.body(dialect, &fact, &format!("2026-01-16T10:35:{:02}Z", 10 * step));
            Said { dialect, fact, body: body.to_string().into_bytes() }
        };
        kinds.into_iter().enumerate().map(said).collect()
    }

    fn body(&self, dialect: &str, fact: &Fact, at: &str) -> Value {
        let Fact { about, kind } = fact;
        let pick = |initiated: &str, ringing: &str, answered: &str, ended: &str, failed: &str| {
            let word = match kind.as_str() {
                "call.initiated" => initiated,
                "call.ringing" => ringing,
                "call.answered" => answered,
                "call.ended" => ended,
                _ => failed,
            };
            json!(word)
        };
        match dialect {
            "voicegenie" => {
                let data = match kind.as_str() {
                    "call.ended" => json!({"duration": 245, "outcome": "completed"}),
                    "call.failed" => json!({"duration": 0, "outcome": "no_answer"}),
                    _ => json!({}),
                };
                json!({"call_uuid": about, "event": kind.replace('.', "_"), "phone_number": "+919876543210",
                    "call_data": data, "timestamp": at})
            }
            "aloro" => {
                let status = pick("initiated", "ringing", "in_progress", "completed", "no_answer");
                json!({"event": "call.ended", "timestamp": at,
                    "data": {"call": {"id": about, "phone": "+1234567890", "status": status}}})
            }
            "standard" => {
                let mut data = json!({"call_id": about, "direction": "outbound"});
                match kind.as_str() {
                    "call.ended" => data["outcome"] = json!("completed"),
                    "call.failed" => data["outcome"] = json!("no_answer"),
                    _ => {}
                }
                json!({"type": kind, "timestamp": at, "data": data})
            }
            _ => {
                let status = pick("ONGOING", "ONGOING", "ONGOING", "COMPLETED", "MISSED");
                let mut data = json!({"id": about, "status": status});
                if let Some(contact) = &self.contact {
                    data["batchId"] = json!(contact.batch);
                    data["phoneNumber"] = json!(contact.phone);
                }
                json!({"callData": data})
            }
        }
    }
}

impl Said {
    /// The headers that prove it, made for each time that it is sent.
    pub fn proof(&self) -> Vec<(&'static str, String)> {
        let hex = hmac_hex(SECRET, &self.body);
        match self.dialect {
            "voicegenie" => vec![("x-webhook-signature", hex)],
            "aloro" => vec![("x-aloro-signature", format!("sha256={hex}"))],
            "standard" => standard_proof(&format!("{}-{}", self.fact.about, self.fact.kind), &self.body),
            _ => vec![("x-dialgen-signature", hex)],
        }
    }
}
