//! Dialects: how each system writes events, proves who it is, and wants to be retried.
//! One file a system, each both reading and writing. Refuses to know the store, the network and the clock.

pub mod air;
pub mod aloro;
mod arrived;
pub mod check;
pub mod cllr;
mod contract;
pub mod dialgen;
pub mod js_json;
mod read;
pub mod signature;
pub mod standard;
pub mod transcript;
pub mod voicegenie;
mod write;

pub use arrived::{Arrived, LARGEST_RESERIALISED, Work};
pub use contract::{Dialect, Links, Mismatch, Outgoing, Policy, Proof, Reading, Receipt, ReceiptKind, fires};

use crate::model::DialectName;

/// The dialect of a name.
pub fn get(name: DialectName) -> &'static dyn Dialect {
    match name {
        DialectName::Voicegenie => &voicegenie::Voicegenie,
        DialectName::Cllr => &cllr::Cllr,
        DialectName::Dialgen => &dialgen::Dialgen,
        DialectName::Aloro => &aloro::Aloro,
        DialectName::Air => &air::Air,
        DialectName::Standard => &standard::Standard,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{EventType, Text, Time};

    /// The seeds: timeout and waits in seconds.
    #[test]
    fn policies_are_those_of_the_seeds() {
        const STANDARD: &[u64] = &[5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
        for (name, timeout, delays, jitter, slow_after) in [
            (DialectName::Voicegenie, 30, &[60, 300, 900, 1_800][..], false, None),
            (DialectName::Cllr, 10, &[], false, None),
            (DialectName::Dialgen, 30, &[1, 5, 25], false, Some(5)),
            (DialectName::Aloro, 20, &[60, 300, 900, 3_600], false, Some(5)),
            (DialectName::Air, 20, STANDARD, false, None),
            (DialectName::Standard, 20, STANDARD, true, None),
        ] {
            let expected = Policy {
                timeout: Duration::from_secs(timeout),
                retry_delays: delays.iter().copied().map(Duration::from_secs).collect(),
                jitter,
                slow_after: slow_after.map(Duration::from_secs),
            };
            assert_eq!(get(name).policy(), expected, "{name}");
            assert_eq!(get(name).name(), name);
        }
    }

    fn receipt(kind: ReceiptKind, call_id: Option<&str>, actions: &[&'static str]) -> Receipt {
        Receipt {
            kind,
            call_id: call_id.map(Text::from),
            processed_at: Time::parse("2024-01-16T10:35:01.9Z").unwrap(),
            actions: actions.to_vec(),
        }
    }

    /// Seed 000 "Success Response".
    #[test]
    fn voicegenie_is_answered_as_its_seed_prints() {
        let answer = |receipt| get(DialectName::Voicegenie).answer(&receipt);
        let actions = ["campaign_record_updated", "analytics_recorded", "webhook_triggered"];
        assert_eq!(
            answer(receipt(ReceiptKind::Recorded, Some("call-uuid-abc123"), &actions)),
            r#"{"success":true,"message":"Callback processed successfully","data":{"call_uuid":"call-uuid-abc123","processed_at":"2024-01-16T10:35:01Z","actions_taken":["campaign_record_updated","analytics_recorded","webhook_triggered"]}}"#
        );
        assert_eq!(
            answer(receipt(ReceiptKind::Quarantined, None, &[])),
            r#"{"success":true,"message":"Callback processed successfully","data":{"call_uuid":null,"processed_at":"2024-01-16T10:35:01Z","actions_taken":[]},"quarantined":true}"#
        );
        assert!(answer(receipt(ReceiptKind::Duplicate, Some("a"), &[])).ends_with(r#"},"duplicate":true}"#));
    }

    #[test]
    fn the_others_are_answered_received() {
        for name in DialectName::ALL.into_iter().filter(|&name| name != DialectName::Voicegenie) {
            let answer = |kind| get(name).answer(&receipt(kind, None, &[]));
            assert_eq!(answer(ReceiptKind::Recorded), r#"{"received":true}"#);
            assert_eq!(answer(ReceiptKind::Ignored), r#"{"received":true}"#);
            assert_eq!(answer(ReceiptKind::Duplicate), r#"{"received":true,"duplicate":true}"#);
            assert_eq!(answer(ReceiptKind::Quarantined), r#"{"received":true,"quarantined":true}"#);
        }
    }

    /// Seed 004 lists what its sample holds.
    #[test]
    fn airs_sample_is_full() {
        let sample = get(DialectName::Air).sample(None, Time::from_micros(0));
        let body: serde_json::Value = serde_json::from_slice(&sample).unwrap();
        let call = body["call"].as_object().unwrap();
        let mut keys: Vec<&str> = call.keys().map(String::as_str).collect();
        keys.sort_unstable();
        let expected = "cachedLeadName callRecordingUrl campaignId createdAt direction duration fromNumber \
                        leadData llmAnsweredBy promptId sid toNumber transcript";
        assert_eq!(keys.join(" "), expected);
        assert!(body["headers"].is_object() && call["campaignId"].is_null() && call["leadData"].is_null());
    }

    #[test]
    fn samples_of_the_standard_dialect_are_marked_as_tests() {
        let standard = get(DialectName::Standard);
        let now = Time::parse("2025-01-01T00:00:00Z").unwrap();
        assert_eq!(standard.sample(None, now), standard.sample(Some(EventType::CallEnded), now));
        for kind in EventType::ALL {
            let sample = standard.sample(Some(kind), now);
            let body: serde_json::Value = serde_json::from_slice(&sample).unwrap();
            assert_eq!((&body["type"], &body["test"]), (&kind.as_str().into(), &true.into()));
            assert_eq!(body["timestamp"], "2025-01-01T00:00:00Z");
            let reading = standard.read(&sample);
            assert!(matches!(reading, Reading::Test(_) | Reading::Ignored(_)), "{reading:?}");
        }
    }
}
