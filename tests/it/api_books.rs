//! Analytics, campaigns, agents and seed 000's related endpoints, as callers see them.

use postcall::clock::{Clock, System};
use postcall::dialect;
use postcall::model::DialectName;
use serde_json::{Value, json};

use crate::api_rig::{House, Reply, cllr_body};

/// Seed 000 "Example Request", with other values.
fn voicegenie(call: &str, event: &str, campaign: &str, data: Value) -> Vec<u8> {
    json!({
        "call_uuid": call, "event": event, "campaign_id": campaign, "phone_number": "+919876543210",
        "call_data": data, "timestamp": "2024-01-16T10:35:00Z",
    })
    .to_string()
    .into_bytes()
}

async fn actions(house: &House, source: &Value, body: &[u8]) -> Value {
    house.bring(source, body).await.json()["data"]["actions_taken"].clone()
}

async fn sample(house: &House) -> Value {
    let source = house.source(&house.key, "voicegenie").await;
    let sample = dialect::get(DialectName::Voicegenie).sample(None, System.now());
    assert_eq!(house.bring(&source, &sample).await.status, 200);
    source
}

#[tokio::test]
async fn the_answer_to_a_callback_lists_what_happened_and_only_that() {
    let house = House::open().await;
    let source = house.source(&house.key, "voicegenie").await;
    let started = voicegenie("a", "call_initiated", "camp", json!({}));
    let both = json!(["campaign_record_updated", "analytics_recorded"]);
    assert_eq!(actions(&house, &source, &started).await, both);
    assert_eq!(actions(&house, &source, &started).await, json!([]), "a repeat");
    let ringing = voicegenie("a", "call_ringing", "camp", json!({}));
    assert_eq!(actions(&house, &source, &ringing).await, json!([]), "it goes on being in progress");

    house.endpoint(&house.key, "voicegenie").await;
    let answered = voicegenie("a", "call_answered", "camp", json!({}));
    assert_eq!(actions(&house, &source, &answered).await, json!(["webhook_triggered"]));
    let ended = voicegenie("a", "call_ended", "camp", json!({ "outcome": "completed", "duration": 60 }));
    let all = json!(["campaign_record_updated", "analytics_recorded", "webhook_triggered"]);
    assert_eq!(actions(&house, &source, &ended).await, all);
    let alone = br#"{"call_uuid":"b","event":"call_ended","timestamp":"2024-01-16T10:35:00Z"}"#;
    assert_eq!(actions(&house, &source, alone).await, json!(["analytics_recorded", "webhook_triggered"]));
    assert_eq!(actions(&house, &source, b"nonsense").await, json!([]));
}

#[tokio::test]
async fn analytics_show_the_calls_as_they_stand() {
    let house = House::open().await;
    let source = sample(&house).await;
    let busy = voicegenie("b", "call_failed", "other", json!({ "outcome": "busy" }));
    assert_eq!(house.bring(&source, &busy).await.status, 200);

    let day = "from=2024-01-16&to=2024-01-17";
    let shown = house.get(&format!("/v1/analytics?{day}&by=hour")).await.json();
    assert_eq!(
        (&shown["from"], &shown["to"]),
        (&json!("2024-01-16T00:00:00Z"), &json!("2024-01-17T00:00:00Z"))
    );
    let total = &shown["total"];
    assert_eq!((&total["calls"], &total["connection_rate"]), (&json!(2), &json!(50)));
    assert_eq!((&total["outcomes"]["completed"], &total["outcomes"]["busy"]), (&json!(1), &json!(1)));
    assert_eq!(
        total["duration_seconds"],
        json!({ "calls": 1, "total": 245, "mean": 245, "p50": 270, "p95": 270 })
    );
    assert_eq!(total["sentiments"], json!({ "positive": 1, "neutral": 0, "negative": 0, "other": 0 }));
    assert_eq!(total["success_rate"], Value::Null, "nobody says");
    assert_eq!(shown["data"].as_array().unwrap().len(), 1);
    assert_eq!(shown["data"][0]["begins_at"], "2024-01-16T10:00:00Z");
    assert_eq!(shown["data"][0]["calls"], 2);

    let by = house.get(&format!("/v1/analytics?{day}&by=campaign&limit=1")).await.json();
    assert_eq!(by["data"][0]["campaign_id"], "507f1f77bcf86cd799439013");
    let cursor = by["next_cursor"].as_str().expect("there is another");
    let rest = house.get(&format!("/v1/analytics?{day}&by=campaign&limit=1&cursor={cursor}")).await.json();
    assert_eq!((&rest["data"][0]["campaign_id"], &rest["next_cursor"]), (&json!("other"), &Value::Null));
    let one = house.get(&format!("/v1/analytics?{day}&campaign_id=other")).await.json();
    assert_eq!((&one["total"]["calls"], one["data"].as_array().unwrap().len()), (&json!(1), 0));
    let none = house.get("/v1/analytics").await.json();
    assert_eq!((&none["total"]["calls"], &none["total"]["connection_rate"]), (&json!(0), &Value::Null));
    let stranger = house.tenant("stranger").await;
    let theirs =
        house.call(&stranger, "GET", &format!("/v1/analytics?{day}&campaign_id=other"), &Value::Null).await;
    assert_eq!(theirs.json()["total"]["calls"], 0);
}

#[tokio::test]
async fn absurd_questions_are_answered_with_what_to_do() {
    let house = House::open().await;
    for (query, field) in [
        ("by=year", "by unknown_value"),
        ("from=yesterday", "from wrong_type"),
        ("to=99999-01-01", "to wrong_type"),
        ("from=-9999-01-01T00:00:00Z", "from wrong_type"),
        ("from=2024-01-02&to=2024-01-01", "from out_of_range"),
        ("from=2024-01-01&to=2024-01-01", "from out_of_range"),
        ("from=1990-01-01&to=2024-01-01", "from out_of_range"),
        ("by=hour&from=2024-01-01&to=2024-03-01", "from out_of_range"),
        ("campaign_id=a&agent_id=b", "agent_id not_together"),
        ("by=agent&campaign_id=a", "campaign_id not_together"),
        ("cursor=AAAA", "cursor bad_cursor"),
        ("recount=true", "recount unknown_field"),
    ] {
        let (status, _, fields) = house.get(&format!("/v1/analytics?{query}")).await.problem();
        assert_eq!((status, fields), (400, vec![field.to_owned()]), "{query}");
    }
}

#[tokio::test]
async fn campaigns_are_made_by_calls_or_by_hand() {
    let house = House::open().await;
    let source = house.source(&house.key, "voicegenie").await;
    for (call, event) in [("a", "call_initiated"), ("b", "call_ended")] {
        let body = voicegenie(call, event, "camp/1", json!({ "outcome": "completed" }));
        assert_eq!(house.bring(&source, &body).await.status, 200);
    }
    let path = "/v1/campaigns/camp%2F1";
    let camp = house.get(path).await.json();
    assert_eq!((&camp["campaign_id"], &camp["name"]), (&json!("camp/1"), &Value::Null));
    assert_eq!(
        camp["progress"],
        json!({ "expected_calls": null, "calls": 2, "requested": 0, "in_progress": 1, "ended": 1, "percent_complete": 50 })
    );
    assert_eq!(camp["ended"]["outcomes"]["completed"], 1);
    let changed = house.patch(path, json!({ "name": "March", "expected_calls": 3 })).await.json();
    assert_eq!(
        (&changed["name"], &changed["progress"]["percent_complete"]),
        (&json!("March"), &json!(33.33))
    );
    let changed = house.patch(path, json!({ "expected_calls": null })).await.json();
    assert_eq!((&changed["name"], &changed["progress"]["expected_calls"]), (&json!("March"), &Value::Null));

    let made = house.post("/v1/campaigns", json!({ "campaign_id": "new", "expected_calls": 5 })).await;
    assert_eq!((made.status, &made.json()["progress"]["percent_complete"]), (201, &json!(0)));
    let again = house.post("/v1/campaigns", json!({ "campaign_id": "new" })).await.problem();
    assert_eq!((again.0, again.1.as_str()), (409, "already_there"));
    let wrong = house.post("/v1/campaigns", json!({ "name": "", "expected_calls": -1 })).await.problem();
    assert_eq!(wrong.2, ["campaign_id missing", "name empty", "expected_calls out_of_range"]);

    let listed = house.get("/v1/campaigns?limit=1").await.json();
    assert_eq!(listed["data"][0]["campaign_id"], "camp/1");
    let cursor = listed["next_cursor"].as_str().unwrap();
    let rest = house.get(&format!("/v1/campaigns?cursor={cursor}")).await.json();
    assert_eq!((&rest["data"][0]["campaign_id"], &rest["next_cursor"]), (&json!("new"), &Value::Null));
    assert_eq!(house.get(&format!("/v1/agents?cursor={cursor}")).await.problem().1, "bad_cursor");

    let stranger = house.tenant("stranger").await;
    assert_eq!(house.call(&stranger, "GET", path, &Value::Null).await.problem().0, 404);
    let theirs = house.call(&stranger, "POST", "/v1/campaigns", &json!({ "campaign_id": "new" })).await;
    assert_eq!(theirs.status, 201, "an id that another account has is as free as any");
    assert_eq!(house.get("/v1/campaigns/nobody").await.problem().0, 404);
}

async fn put_agent(house: &House, key: &str, id: &str, body: &str) -> Reply {
    let headers = [("x-api-key", key), ("Content-Type", "application/json")];
    house.send("PUT", &format!("/agents/{id}"), &headers, body.as_bytes()).await
}

#[tokio::test]
async fn an_agents_post_call_webhook_is_an_endpoint() {
    let house = House::open().await;
    // Seed 001 "Configuration", among settings that are none of ours.
    let settings =
        r#"{"prompt": "Be kind.", "webhooks": {"postCall": "http://crm.example/webhook/call-completed"}}"#;
    let agent = put_agent(&house, &house.key, "ann", settings).await;
    assert_eq!(agent.status, 200, "{agent:?}");
    let agent = agent.json();
    assert_eq!(agent["webhooks"]["postCall"], "http://crm.example/webhook/call-completed");
    let endpoint = house
        .get(&format!("/v1/endpoints/{}", agent["webhooks"]["endpoint_id"].as_str().unwrap()))
        .await
        .json();
    assert_eq!((&endpoint["dialect"], &endpoint["agent_id"]), (&json!("cllr"), &json!("ann")));
    assert_eq!((&endpoint["retry_delays_seconds"], &endpoint["timeout_seconds"]), (&json!([]), &json!(10)));

    // Only this agent's calls go there.
    let source = house.source(&house.key, "aloro").await;
    for (call, agent) in [("a", "ann"), ("b", "bob")] {
        let body = json!({ "event": "call.ended", "data": { "call": { "id": call, "status": "completed" },
            "assistant": { "id": agent, "name": "Customer Support" } } });
        assert_eq!(house.bring(&source, body.to_string().as_bytes()).await.status, 200);
    }
    let owed = house.get("/v1/deliveries").await.json();
    assert_eq!(owed["data"].as_array().unwrap().iter().map(|one| &one["call_id"]).collect::<Vec<_>>(), ["a"]);
    let ann = house.get("/v1/agents/ann").await.json();
    assert_eq!((&ann["name"], &ann["ended"]["calls"]), (&json!("Customer Support"), &json!(1)));

    let moved = house
        .patch("/v1/agents/ann", json!({ "webhooks": { "postCall": "https://crm.example/2" } }))
        .await
        .json();
    assert_eq!(moved["webhooks"]["endpoint_id"], agent["webhooks"]["endpoint_id"], "it is the same endpoint");
    assert_eq!(moved["webhooks"]["postCall"], "https://crm.example/2");
    let same = put_agent(&house, &house.key, "ann", r#"{"name": "Ann"}"#).await.json();
    assert_eq!(
        (&same["name"], &same["webhooks"]["postCall"]),
        (&json!("Ann"), &json!("https://crm.example/2"))
    );
    let gone = put_agent(&house, &house.key, "ann", r#"{"webhooks": {"postCall": null}}"#).await.json();
    assert_eq!(gone["webhooks"], json!({ "postCall": null }));
    assert_eq!(house.get("/v1/endpoints").await.json()["data"], json!([]));

    let refused =
        put_agent(&house, &house.key, "ann", r#"{"webhooks": {"postCall": "ftp://crm.example"}}"#).await;
    assert_eq!(refused.problem().2, ["webhooks.postCall url_refused"]);
    let made = house
        .post("/v1/agents", json!({ "agent_id": "eve", "webhooks": { "postCall": "https://crm.example/3" } }))
        .await;
    assert_eq!((made.status, &made.json()["webhooks"]["postCall"]), (201, &json!("https://crm.example/3")));
    assert_eq!(house.post("/v1/agents", json!({ "agent_id": "eve" })).await.problem().1, "already_there");
    assert_eq!(put_agent(&house, "pck_wrong", "ann", "{}").await.problem().0, 401);
    let stranger = house.tenant("stranger").await;
    for method in ["GET", "PATCH"] {
        assert_eq!(house.call(&stranger, method, "/v1/agents/ann", &json!({})).await.problem().0, 404);
    }
    let listed = house.get("/v1/agents").await.json();
    let ids: Vec<&Value> =
        listed["data"].as_array().unwrap().iter().map(|agent| &agent["agent_id"]).collect();
    assert_eq!(ids, ["ann", "bob", "eve"]);
}

async fn seed(house: &House, path: &str) -> Reply {
    house.send("GET", path, &[("x-api-key", &house.key)], b"").await
}

#[tokio::test]
async fn conversation_logs_have_seed_000s_shape() {
    let house = House::open().await;
    sample(&house).await;
    let log = seed(&house, "/getConversationLogs/call-uuid-abc123").await;
    assert_eq!(
        log.json(),
        json!({ "success": true, "message": "Conversation logs retrieved successfully", "data": {
            "call_uuid": "call-uuid-abc123", "campaign_id": "507f1f77bcf86cd799439013",
            "phone_number": "+919876543210", "duration": 245, "status": "completed",
            "conversation": [
                { "timestamp": "2024-01-16T10:30:15Z", "role": "assistant",
                  "content": "Hi, I'm Alex from VoiceGenie.", "audio_url": null },
                { "timestamp": "2024-01-16T10:30:22Z", "role": "user", "content": "Hello", "audio_url": null },
            ],
            "sentiment_analysis": { "overall_sentiment": "positive", "confidence": 0.87 },
            "summary": { "total_turns": 2, "user_turns": 1, "assistant_turns": 1, "avg_response_time": null,
                         "outcome": "completed" },
            "metadata": { "script_id": null, "script_name": null,
                "recording_url": "https://voicegenie-recordings.s3.amazonaws.com/recordings/2024/call-uuid-abc123.mp3" },
        }})
    );
    let missing = seed(&house, "/getConversationLogs/nobody").await;
    assert_eq!((missing.status, &missing.json()["success"]), (404, &json!(false)));
    let stranger = house.tenant("stranger").await;
    let path = "/getConversationLogs/call-uuid-abc123";
    assert_eq!(house.send("GET", path, &[("x-api-key", &stranger)], b"").await.status, 404);
    let nobody = house.send("GET", path, &[], b"").await;
    assert_eq!((nobody.status, &nobody.json()["success"]), (401, &json!(false)));
}

#[tokio::test]
async fn recordings_are_listed_by_page_and_filter() {
    let house = House::open().await;
    let source = sample(&house).await;
    for (call, campaign, at) in
        [("b", "camp", "2024-02-01"), ("c", "camp", "2024-02-02"), ("d", "camp", "2024-02-03")]
    {
        let body = json!({ "call_uuid": call, "event": "call_ended", "campaign_id": campaign,
            "call_data": { "recording_url": format!("https://r.example/{call}.wav?sig=x"), "duration": 5 },
            "timestamp": format!("{at}T12:00:00Z") });
        assert_eq!(house.bring(&source, body.to_string().as_bytes()).await.status, 200);
    }
    let none = voicegenie("e", "call_failed", "camp", json!({ "outcome": "busy" }));
    assert_eq!(house.bring(&source, &none).await.status, 200);
    // One without any campaign.
    let cllr = house.source(&house.key, "cllr").await;
    assert_eq!(house.bring(&cllr, &cllr_body("f")).await.status, 200);

    let listed = async |query: &str| {
        let answer = seed(&house, &format!("/callRecordings?{query}")).await.json();
        let recordings = answer["data"]["recordings"].as_array().unwrap().clone();
        let ids: Vec<String> =
            recordings.iter().map(|one| one["call_uuid"].as_str().unwrap().to_owned()).collect();
        (ids, answer["data"]["pagination"].clone(), recordings)
    };
    let (ids, pagination, _) = listed("").await;
    assert_eq!(ids, ["f", "d", "c", "b", "call-uuid-abc123"]);
    assert_eq!(pagination, json!({ "page": 1, "limit": 20, "total": 5, "total_pages": 1 }));
    let (ids, pagination, _) = listed("campaign_id=camp&page=2&limit=2").await;
    assert_eq!(ids, ["b"]);
    assert_eq!(pagination, json!({ "page": 2, "limit": 2, "total": 3, "total_pages": 2 }));
    let (_, _, recordings) = listed("call_uuid=call-uuid-abc123").await;
    assert_eq!(
        recordings,
        [json!({ "call_uuid": "call-uuid-abc123",
            "recording_url": "https://voicegenie-recordings.s3.amazonaws.com/recordings/2024/call-uuid-abc123.mp3",
            "duration": 245, "file_size": null, "format": "mp3", "transcription_available": true,
            "campaign_id": "507f1f77bcf86cd799439013", "phone_number": "+919876543210", "status": "completed",
            "created_at": "2024-01-16T10:30:15Z" })]
    );
    assert_eq!(listed("start_date=2024-01-16&end_date=2024-01-16").await.0, ["call-uuid-abc123"]);
    assert_eq!(listed("end_date=2024-01-16T10:30:15Z").await.0, Vec::<String>::new());
    for query in ["page=0", "limit=0", "limit=101", "start_date=soon", "campaign=x"] {
        assert_eq!(seed(&house, &format!("/callRecordings?{query}")).await.problem().0, 400, "{query}");
    }
    let far = listed("page=99999999999999").await;
    assert_eq!(far.0, Vec::<String>::new());
}
