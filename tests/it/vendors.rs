//! Vendors of all dialects and what they send: one of everything, nastier than usual, proven as each vendor does.
//! Refuses to know who hears of it.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64;
use http::Method;
use serde_json::json;

use crate::harness::{Client, hmac_hex};
use crate::programs::{SECRET, STANDARD_SECRET, TOKEN};

/// Two line ends of Unicode, which stand for themselves in JSON and did not in JavaScript before 2019.
const LINE_ENDS: &str = "\u{2028}\u{2029}";

/// Values that vendors send and that printers of JSON disagree about.
pub const NASTY: &str = concat!(
    r#"{"10":"ten","2":"two","b":0.30,"a":1e21,"tiny":1e-7,"z":-0,"one":1.0,"E":1.5E3,
    "long":9007199254740993,"longer":123456789012345678901234567890,"huge":1e400,"twice":1,"\u0074wice":2,
    "half":"\ud83d","other half":"\ude00!","whole":"\ud83d\ude00 😀 नमस्ते","half \ud83d":true,
    "lines":""#,
    "\u{2028}\u{2029}",
    r#"\u2028\u2029","esc\/aped":"\/\u0001\u007f\"\\","":"no key","__proto__":{"constructor":{}},
    "deep":[[{"1":[],"0":{}}],null,true],"4294967294":1,"4294967295":0,"01":0}"#
);

/// What a vendor sends: to the door of its dialect, about which call or batch, which step of it.
pub struct Sent {
    pub dialect: &'static str,
    pub about: &'static str,
    pub step: &'static str,
    body: String,
}

/// One of everything, each with the nasty values wherever its dialect has room for free values.
pub fn sent() -> Vec<Sent> {
    let sent = |dialect, about, step, body| Sent { dialect, about, step, body };
    let free = NASTY.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).expect("an object");
    let voicegenie = |about, step, outcome: &str| {
        let body = format!(
            r#"{{"call_uuid":"{about}","event":"{step}","campaign_id":"507f1f77bcf86cd799439013","phone_number":"+919876543210",
            "call_data":{{"duration":245.0,"recording_url":"https:\/\/example.com\/r.mp3?a=1&b=\u00fc","transcript":[
            {{"timestamp":"2024-01-16T10:30:15Z","role":"assistant","content":"Hi \ud83d"}},
            {{"timestamp":"2024-01-16T10:30:22Z","role":"user","content":"नमस्ते {LINE_ENDS} \u2029"}}],{outcome}
            "sentiment":{{"overall":"positive","confidence":0.870}},"custom_data":{{{free},"nasty":{NASTY}}}}},
            "timestamp":"2024-01-16T10:35:00Z"}}"#
        );
        sent("voicegenie", about, step, body)
    };
    let dialgen = |about, status: &'static str, step| {
        let body = format!(
            r#"{{"success":true,"callData":{{"id":"{about}","contactId":"c-1","agentId":"ag-1","batchId":"","status":"{status}",
            "startTime":"2025-11-15T14:30:00.000Z","endTime":"2025-11-15T14:33:00.000Z","duration":180.50,
            "phoneNumber":"+1234567890","contactName":"Zo\u00eb \ud83d","transcription":[{{"role":"user","content":"\ude00"}}],
            "summary":"one\u2028two{LINE_ENDS}three","metricJson":{{"intent":"SALES","confidence":0.950,{free},"nasty":{NASTY}}}}},
            "metricSchema":{NASTY}}}"#
        );
        sent("dialgen", about, step, body)
    };
    vec![
        voicegenie("vg-1", "call_initiated", ""),
        voicegenie("vg-1", "call_ringing", ""),
        voicegenie("vg-1", "call_answered", ""),
        voicegenie("vg-1", "call_ended", r#""outcome":"completed","#),
        voicegenie("vg-2", "call_failed", r#""outcome":"no_answer","#),
        dialgen("dg-1", "COMPLETED", "call_ended"),
        dialgen("dg-2", "FAILED", "call_failed"),
        sent(
            "dialgen",
            "batch-1",
            "batch.completed",
            r#"{"event":"batch.completed","batchId":"batch-1","agentId":"ag-1","userId":"u-1","statistics":{"total":1e3,
            "processed":1000.0,"succeeded":850,"failed":150,"percentComplete":100.00,"successRate":85.10},
            "timestamps":{"createdAt":"2025-11-15T14:00:00.000Z","completedAt":"2025-11-15T16:30:00.000Z"}}"#
                .to_owned(),
        ),
        sent(
            "dialgen",
            "batch-2",
            "batch.failed",
            r#"{"event":"batch.failed","batchId":"batch-2","agentId":"ag-1","error":"Insufficient call minutes \ud83d",
            "code":"INSUFFICIENT_CREDITS","timestamp":"2025-11-15T14:05:00.000Z"}"#
                .to_owned(),
        ),
        sent(
            "aloro",
            "al-1",
            "call_ended",
            format!(
                r#"{{"event":"call.ended","timestamp":"2024-03-15T14:30:00Z","data":{{"call":{{"id":"al-1","phone":"+1234567890",
                "direction":"inbound","status":"completed","duration":180,"started_at":"2024-03-15T14:27:00Z"}},
                "variables":{{"status":true,"summary":"half an emoji: \ud83d",{free},"nasty":{NASTY}}},
                "transcript":{{"formatted":"AI: Hello \ude00\nCustomer: ok","timestamped":[{{"speaker":"ai",
                "text":"Hello \ude00","timestamp":"00:00"}}]}},"recording":{{"url":"https://example.com/r","duration":180.0}},
                "cost":{{"total":0.450,"breakdown":{{"voice":0.30,"2":1,"1":1e-7}}}}}}}}"#
            ),
        ),
        sent(
            "aloro",
            "al-2",
            "call_ended",
            format!(
                r#"{{"call_id":"al-2","phone":"+1234567890","duration":180,"status":"completed",
                "variables":{{"nasty":{NASTY}}},"transcript":"AI: \ud83d\nCustomer: yes","recording_url":"https://example.com/r"}}"#
            ),
        ),
        sent(
            "air",
            "CA1",
            "call_ended",
            format!(
                r#"{{"call":{{"sid":"CA1","llmAnsweredBy":"human","promptId":25673,"fromNumber":"+15550100001",
                "toNumber":"+15550100002","direction":"outbound-api","duration":44,"campaignId":null,
                "cachedLeadName":"Tyler \ud83d","transcript":"BOT: ~ \"Hey\" \ud83d\nHUMAN:  how's it {LINE_ENDS} going",
                "createdAt":"2023-12-31 23:12:05.62705+00","leadData":{{{free},"nasty":{NASTY}}}}},"headers":{{}}}}"#
            ),
        ),
        sent(
            "cllr",
            "cl-1",
            "call_ended",
            format!(
                r#"{{"callId":"cl-1","recordingUri":"https://example.com/r.ogg","callerDetails":{{"name":"John \ud83d",
                "phoneNumber":"+1-555-123-4567","nasty":{NASTY}}},"callAnalysis":{{"summary":"{LINE_ENDS}\u2028","score":85.50,
                "interestsAndNeeds":{NASTY},"actionItems":{NASTY},"sentiment":{{"overall":"positive","detail":{NASTY}}}}}}}"#
            ),
        ),
        sent(
            "standard",
            "st-1",
            "call_ended",
            format!(
                r#"{{"type":"call.ended","timestamp":"2024-01-16T10:35:00Z","data":{{"call_id":"st-1","outcome":"completed",
                "analysis":{{"score":85.50,"summary":"\ud83d"}},"variables":{{{free},"nasty":{NASTY}}}}}}}"#
            ),
        ),
    ]
}

/// The doors of all dialects.
pub struct Doors(BTreeMap<&'static str, String>);

impl Doors {
    pub async fn open(api: &Client) -> Self {
        let mut doors = BTreeMap::new();
        for dialect in ["voicegenie", "cllr", "dialgen", "aloro", "air", "standard"] {
            let mut source = json!({"name": format!("a dialer that speaks {dialect}"), "dialect": dialect});
            match dialect {
                "cllr" => {}
                "air" => source["bearer_token"] = json!(TOKEN),
                "standard" => source["secret"] = json!(STANDARD_SECRET),
                _ => source["secret"] = json!(SECRET),
            }
            doors.insert(dialect, api.source(source).await["url"].as_str().expect("a URL").to_owned());
        }
        Self(doors)
    }

    /// Brings one body, proven as its vendor proves it.
    pub async fn bring(&self, api: &Client, sent: &Sent) {
        let body = sent.body.as_bytes();
        let proof = match sent.dialect {
            "voicegenie" => vec![("x-webhook-signature", hmac_hex(SECRET, body))],
            "dialgen" => vec![("x-dialgen-signature", hmac_hex(SECRET, body))],
            "aloro" => vec![("x-aloro-signature", format!("sha256={}", hmac_hex(SECRET, body)))],
            "air" => vec![("authorization", format!("Bearer {TOKEN}"))],
            "standard" => standard_proof(sent.about, body),
            _ => Vec::new(),
        };
        let mut headers: Vec<(&str, &str)> =
            proof.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.push(("content-type", "application/json"));
        let answer = api.send(Method::POST, &self.0[sent.dialect], &headers, sent.body.clone()).await;
        let answer = answer.expect("the door answers").expect(200).json();
        assert!(answer.get("quarantined").is_none(), "{} {} was not read", sent.dialect, sent.about);
        assert!(answer.get("duplicate").is_none(), "{} {} was not new", sent.dialect, sent.about);
    }
}

/// The headers of Standard Webhooks, by its specification.
pub fn standard_proof(id: &str, body: &[u8]) -> Vec<(&'static str, String)> {
    #[expect(clippy::disallowed_methods, reason = "a vendor has a clock of its own")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs().to_string();
    let secret = STANDARD_SECRET.trim_start_matches("whsec_");
    let secret = BASE64.decode(secret.as_bytes()).expect("base64");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
    let content = [id.as_bytes(), now.as_bytes(), body].join(&b'.');
    let signature = format!("v1,{}", BASE64.encode(ring::hmac::sign(&key, &content).as_ref()));
    vec![("webhook-id", id.to_owned()), ("webhook-timestamp", now), ("webhook-signature", signature)]
}
