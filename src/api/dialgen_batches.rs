//! Batches under seed 002's own addresses and in its shapes, so that a client of that system needs only another base
//! URL. Refuses to know more of batches than `batches` does.

use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::batch_form::Style;
use super::batches::{self, find, take_in};
use super::body::Json;
use super::problem::Problem;
use super::query::Query;
use super::redact;
use super::shown_once::{Revealed, once};
use super::state::ApiState;
use crate::model::id::Kind;
use crate::model::json::Raw;
use crate::model::time::Millis;
use crate::model::{Outcome, Stage, Text, Time};
use crate::store::batches::BatchView;
use crate::store::{CallView, Page};

/// Calls that a status shows at most; `/v1/batches/{id}/calls` has them all.
const MOST_CALLS: usize = 1000;
/// Calls that a check shows unless asked.
const RECENT: usize = 10;

/// What is said of a batch that was taken.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    success: bool,
    batch_id: String,
    /// `ingesting`.
    status: &'static str,
    message: String,
    links: Links,
    /// What the webhooks of all batches of this account are signed with; shown once, when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    secret: Option<Revealed>,
}

/// Where to look.
#[derive(Debug, Serialize, ToSchema)]
pub struct Links {
    /// The state of the batch.
    status: String,
    /// The same for people.
    dashboard: String,
}

/// Make a batch in Dialgen's shape
///
/// As `POST /v1/batches`, with the names of seed 002: `agentId`, `userId`, `contacts` of `phoneNumber`, and `options` with
/// `webhooks`, `retryStrategy.maxAttempts` (default 3) and `lostAfterMinutes`. `sourceIds` names the sources that may report
/// on it; left out, those in the dialect `dialgen` may, also if they are made later. The key may be in `x-api-key`.
#[utoipa::path(
    post, path = "/api/v1/batch", tag = "Batches", request_body(content = Object),
    responses((status = 202, description = "All of it is on disk", body = Taken)),
)]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    Json(body): Json,
) -> Result<Response, Problem> {
    let (number, secret) = take_in(&state, &caller, body, Style::Seed).await?;
    let view = state.store.batch(caller.account, number).await?.ok_or_else(Problem::internal)?;
    let (id, base) = (caller.id(Kind::Batch, number), &state.settings.public_url);
    Ok(once(StatusCode::ACCEPTED, |reveal| Taken {
        success: true,
        status: "ingesting",
        message: format!("{} contacts are being taken in", view.tally.total),
        links: Links {
            status: format!("{base}/api/v1/batch/check-status?batchId={id}"),
            dashboard: format!("{base}/v1/batches/{id}"),
        },
        batch_id: id.clone(),
        secret: secret.as_ref().and_then(|secret| reveal.secret(secret)),
    }))
}

/// List batches in Dialgen's shape
#[utoipa::path(
    get, path = "/api/v1/batch/list", tag = "Batches",
    params(("limit" = Option<u32>, Query, description = "1 to 100, default 50")),
    responses((status = 200, description = "Newest first", body = DialgenBatches)),
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Answer<DialgenBatches>, Problem> {
    let mut query = Query::read(query.as_deref());
    // Its clients name the user everywhere; an account's batches are one list here.
    query.take("userId");
    let limit = query.limit(super::cursor::DEFAULT_LIMIT, super::cursor::MOST);
    query.finish()?;
    let found = state.store.batches(caller.account, Page { after: None, limit }).await?;
    let now = state.clock.now();
    let batches = found.iter().map(|view| DialgenBatch::of(&caller, view, now)).collect();
    Ok(Answer(DialgenBatches { success: true, batches }))
}

/// Read a batch in Dialgen's shape
#[utoipa::path(
    get, path = "/api/v1/batch/check-status", tag = "Batches",
    params(
        ("batchId" = String, Query),
        ("limit" = Option<u32>, Query, description = "Recent calls to show, 1 to 100, default 10"),
    ),
    responses((status = 200, description = "The batch with its recent calls", body = DialgenBatch)),
)]
pub async fn check(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Answer<DialgenBatch>, Problem> {
    let (view, limit) = asked(&state, &caller, query.as_deref(), RECENT).await?;
    let page = Page { after: None, limit: limit.min(super::cursor::MOST) };
    let calls = state.store.batch_calls(caller.account, view.number, page).await?;
    Ok(Answer(DialgenBatch {
        recent_calls: Some(calls.into_iter().map(DialgenCall::of).collect()),
        webhooks: Some(webhooks(&caller, &view)),
        ..DialgenBatch::of(&caller, &view, state.clock.now())
    }))
}

/// Read the calls of a batch in Dialgen's shape
#[utoipa::path(
    get, path = "/api/v1/status/batch", tag = "Batches", params(("batchId" = String, Query)),
    responses((status = 200, description = "The newest thousand calls", body = DialgenBatch)),
)]
pub async fn status(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Answer<DialgenBatch>, Problem> {
    let (view, limit) = asked(&state, &caller, query.as_deref(), MOST_CALLS).await?;
    let calls = state.store.batch_calls(caller.account, view.number, Page { after: None, limit }).await?;
    Ok(Answer(DialgenBatch {
        calls: Some(calls.into_iter().map(DialgenCall::of).collect()),
        ..DialgenBatch::of(&caller, &view, state.clock.now())
    }))
}

async fn asked(
    state: &ApiState,
    caller: &Caller,
    query: Option<&str>,
    limit: usize,
) -> Result<(BatchView, usize), Problem> {
    let mut query = Query::read(query);
    query.take("userId");
    let id = query.take("batchId");
    if id.is_none() {
        query.wrong("batchId", "missing", "Say which batch: ?batchId=bat_...");
    }
    let limit = query.limit(limit, MOST_CALLS);
    query.finish()?;
    Ok((find(&*state.store, caller, &id.unwrap_or_default()).await?, limit))
}

/// Batches in the names of seed 002.
#[derive(Debug, Serialize, ToSchema)]
pub struct DialgenBatches {
    success: bool,
    batches: Vec<DialgenBatch>,
}

/// A batch in the names of seed 002.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DialgenBatch {
    success: bool,
    batch_id: String,
    /// `ingesting`, `scheduled`, `pending`, `processing`, `completed`, `cancelled` or `failed`.
    status: &'static str,
    #[schema(value_type = Option<String>)]
    agent_id: Option<Text>,
    #[schema(value_type = Option<String>)]
    user_id: Option<Text>,
    statistics: DialgenNumbers,
    performance: Performance,
    timestamps: Timestamps,
    /// The sources that may report on it, if it names them.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_ids: Option<Vec<String>>,
    /// If it names none: the dialect of those that may.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_dialect: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    error: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    code: Option<Text>,
    /// The newest calls, where asked for with the check.
    #[serde(skip_serializing_if = "Option::is_none")]
    recent_calls: Option<Vec<DialgenCall>>,
    /// The calls, where asked for by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    calls: Option<Vec<DialgenCall>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhooks: Option<Vec<DialgenWebhook>>,
}

/// Seed 002 `statistics`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DialgenNumbers {
    total: i64,
    processed: i64,
    succeeded: i64,
    failed: i64,
    #[schema(value_type = Option<f64>)]
    percent_complete: Option<Raw>,
    #[schema(value_type = Option<f64>)]
    success_rate: Option<Raw>,
}

/// How the intake comes along.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Performance {
    contacts_taken_in: i64,
}

/// Seed 002 `timestamps`, to the millisecond.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timestamps {
    created_at: String,
    started_at: Option<String>,
    completed_at: Option<String>,
}

/// A call in the names of seed 002.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DialgenCall {
    #[schema(value_type = String)]
    call_id: Text,
    /// `SCHEDULED`, `ONGOING`, `COMPLETED`, `MISSED` or `FAILED`.
    status: &'static str,
    start_time: Option<String>,
    #[schema(value_type = Option<String>)]
    phone_number: Option<Text>,
    #[schema(value_type = Option<String>)]
    error: Option<Text>,
    /// In seconds.
    #[schema(value_type = Option<f64>)]
    duration: Option<Millis>,
    #[schema(value_type = Option<String>)]
    recording_url: Option<Text>,
}

/// An endpoint that was made with a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DialgenWebhook {
    endpoint_id: String,
    url: String,
    events: Vec<&'static str>,
}

impl DialgenBatch {
    fn of(caller: &Caller, view: &BatchView, now: Time) -> Self {
        let numbers = view.tally.statistics();
        let (error, code) = view.failure.clone().map(|why| (why.error, why.code)).unzip();
        let (source_ids, source_dialect) = batches::reporters(caller, &view.given.reporters);
        Self {
            success: true,
            source_ids,
            source_dialect,
            batch_id: caller.id(Kind::Batch, view.number),
            status: batches::status(view, now),
            agent_id: view.given.agent_id.clone(),
            user_id: view.given.user_id.clone(),
            statistics: DialgenNumbers {
                total: view.tally.total,
                processed: view.tally.processed(),
                succeeded: view.tally.succeeded,
                failed: view.tally.failed,
                percent_complete: numbers.percent_complete,
                success_rate: numbers.success_rate,
            },
            performance: Performance { contacts_taken_in: view.taken_in },
            timestamps: Timestamps {
                created_at: view.created_at.rfc3339_millis(),
                started_at: view.started_at.map(Time::rfc3339_millis),
                completed_at: view.ended_at.map(Time::rfc3339_millis),
            },
            error,
            code,
            recent_calls: None,
            calls: None,
            webhooks: None,
        }
    }
}

fn webhooks(caller: &Caller, view: &BatchView) -> Vec<DialgenWebhook> {
    let of = |number: &i64| {
        let endpoint = caller.config.endpoint(*number)?;
        Some(DialgenWebhook {
            endpoint_id: endpoint.id.clone(),
            url: redact::url(&endpoint.url),
            events: endpoint.events.iter().flatten().map(|kind| kind.as_str()).collect(),
        })
    };
    view.given.endpoints.iter().filter_map(of).collect()
}

impl DialgenCall {
    fn of(view: CallView) -> Self {
        let call = view.call;
        let status = match call.outcome {
            None if call.stage < Stage::Answered => "SCHEDULED",
            None => "ONGOING",
            Some(Outcome::Completed) => "COMPLETED",
            Some(Outcome::Failed | Outcome::Lost) => "FAILED",
            Some(_) => "MISSED",
        };
        Self {
            call_id: call.call_id,
            status,
            start_time: call.started_at.map(Time::rfc3339_millis),
            phone_number: call.contact.phone,
            error: call.failure.reason,
            duration: call.duration_seconds,
            recording_url: call.recording.url,
        }
    }
}
