//! `/v1/batches`: batches of contacts, given in one request and taken in step by step; how far they have come, whom to
//! call, and their end. Refuses to know what a call does to them: that is the ledger's and the store's.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::batch_form::{self, Asked, BatchForm, Style};
use super::body::{Id, Json};
use super::calls::CallRecord;
use super::cursor::{List, Listed, json_size};
use super::endpoint_form;
use super::form::Form;
use super::minutes::Minutes;
use super::problem::Problem;
use super::query::Query;
use super::shown_once::{Revealed, once};
use super::state::ApiState;
use crate::clock::random_bytes;
use crate::model::batch::Statistics;
use crate::model::endpoint::Scope;
use crate::model::id::{self, Kind};
use crate::model::json::Raw;
use crate::model::{DialectName, Endpoint, EventType, Secret, Text, Time};
use crate::store::batches::{
    BatchState, BatchView, CANCELLED, CONTACTS_IN_STEP, ContactView, Ended, Failure, NewBatch, Opened,
    Reporters,
};
use crate::store::{Batches, EndpointRef, StoreError};

/// Parts that one transaction writes: some hundred KiB.
const PARTS: usize = 40;
/// Contacts that one page shows at most.
const MOST_CONTACTS_SHOWN: usize = 1000;

/// A batch and how far it has come.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Batch)]
pub struct BatchRecord {
    id: String,
    /// `ingesting` while contacts are taken in, then `scheduled`, `pending` or `processing`; at the end `completed`,
    /// `failed` or `cancelled`.
    status: &'static str,
    #[schema(value_type = Option<String>)]
    name: Option<Text>,
    #[schema(value_type = Option<String>)]
    agent_id: Option<Text>,
    #[schema(value_type = Option<String>)]
    user_id: Option<Text>,
    /// `total`, `processed`, `succeeded` and `failed` are numbers of contacts; `percent_complete` and `success_rate` are
    /// in percent.
    #[schema(value_type = Object)]
    statistics: Statistics,
    /// How many of the contacts are taken in by now.
    contacts_taken_in: i64,
    /// Whether all are. Only a sealed batch completes.
    sealed: bool,
    max_attempts: i64,
    #[schema(value_type = Option<f64>)]
    lost_after_minutes: Option<Minutes>,
    #[schema(value_type = Option<Object>)]
    metric_schema: Option<Raw>,
    #[schema(value_type = Option<Object>)]
    options: Option<Raw>,
    /// The sources that may report on it, if it names them. What others say of its calls counts for nothing.
    source_ids: Option<Vec<String>>,
    /// If it names none: the dialect of the sources that may, also of those made later; `null` is every source.
    source_dialect: Option<String>,
    /// The endpoints that were made with it. They go a week after its end.
    endpoint_ids: Vec<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    scheduled_at: Option<Time>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    /// When its first call was heard of.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Time>,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Time>,
    /// Why it failed, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    error: Option<Text>,
    /// Why it failed, as a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    code: Option<Text>,
    /// The secret that the endpoints of all batches of this account sign with; shown once, when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    secret: Option<Revealed>,
}

/// A contact of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Contact)]
pub struct ContactRecord {
    /// Ours, `con_..`. A dialer that says it as the contact's or the call's id need not say number and batch.
    id: String,
    /// `open` while it may be called, then `succeeded` or `failed`.
    state: &'static str,
    /// Calls heard of and requests that nobody answered.
    calls: i64,
    /// Of them over.
    attempts: i64,
    /// The giver's own id.
    #[schema(value_type = Option<String>)]
    contact_id: Option<Text>,
    #[schema(value_type = String)]
    phone: Text,
    #[schema(value_type = Option<String>)]
    name: Option<Text>,
    #[schema(value_type = Option<String>)]
    email: Option<Text>,
    #[schema(value_type = Option<String>)]
    company: Option<Text>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Raw>,
}

/// Why a batch is stopped.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation; `fail` reads it")]
pub struct FailureForm {
    /// In words.
    error: String,
    /// As a code, for programs. Default `FAILED`.
    code: Option<String>,
}

/// A secret, shown once.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchSecret {
    /// Signs for the endpoints of batches that are made from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    secret: Option<Revealed>,
}

impl BatchRecord {
    fn of(caller: &Caller, view: BatchView, now: Time, secret: Option<Revealed>) -> Self {
        let status = status(&view, now);
        let (error, code) = view.failure.map(|why| (why.error, why.code)).unzip();
        let (source_ids, source_dialect) = reporters(caller, &view.given.reporters);
        Self {
            id: caller.id(Kind::Batch, view.number),
            status,
            name: view.given.name,
            agent_id: view.given.agent_id,
            user_id: view.given.user_id,
            statistics: view.tally.statistics(),
            contacts_taken_in: view.taken_in,
            sealed: view.taken_in == view.tally.total && view.state >= BatchState::Sealed,
            max_attempts: view.max_attempts,
            lost_after_minutes: view.lost_after.map(Minutes),
            metric_schema: view.given.metric_schema,
            options: view.given.options,
            source_ids,
            source_dialect,
            endpoint_ids: view
                .given
                .endpoints
                .iter()
                .map(|&number| caller.id(Kind::Endpoint, number))
                .collect(),
            scheduled_at: view.given.scheduled_at,
            created_at: view.created_at,
            started_at: view.started_at,
            ended_at: view.ended_at,
            error,
            code,
            secret,
        }
    }
}

impl ContactRecord {
    fn of(caller: &Caller, view: ContactView) -> Self {
        let state = match (view.book.is_closed, view.book.is_reached()) {
            (false, _) => "open",
            (true, true) => "succeeded",
            (true, false) => "failed",
        };
        Self {
            id: caller.id(Kind::Contact, view.number),
            state,
            calls: view.book.heard,
            attempts: view.book.ended,
            contact_id: view.contact.id,
            phone: view.contact.phone,
            name: view.contact.name,
            email: view.contact.email,
            company: view.contact.company,
            metadata: view.contact.metadata,
        }
    }
}

/// Who may report on a batch: the ids of the sources that it names, or the dialect of those that may.
pub fn reporters(caller: &Caller, reporters: &Reporters) -> (Option<Vec<String>>, Option<String>) {
    match reporters {
        Reporters::All => (None, None),
        Reporters::Dialect(name) => (None, Some(name.clone())),
        Reporters::Listed(sources) => {
            (Some(sources.iter().map(|&number| caller.id(Kind::Source, number)).collect()), None)
        }
    }
}

/// The word for how far a batch has come, as seed 002's API has them; `failed` is ours.
pub fn status(view: &BatchView, now: Time) -> &'static str {
    match view.state {
        BatchState::Arriving | BatchState::Ingesting => "ingesting",
        BatchState::Sealed if view.started_at.is_some() => "processing",
        BatchState::Sealed if view.given.scheduled_at.is_some_and(|start| now < start) => "scheduled",
        BatchState::Sealed => "pending",
        BatchState::Completed => "completed",
        BatchState::Failed if view.failure.as_ref().is_some_and(|why| why.code == *CANCELLED) => "cancelled",
        BatchState::Failed => "failed",
    }
}

/// The batch of an id.
///
/// # Errors
/// 404 when this account has none of that id.
pub async fn find(batches: &dyn Batches, caller: &Caller, id: &str) -> Result<BatchView, Problem> {
    let missing = || Problem::not_found("batch");
    let number = caller.number(Kind::Batch, id).ok_or_else(missing)?;
    batches.batch(caller.account, number).await?.ok_or_else(missing)
}

/// Reads a body and takes the batch in, as far as the caller waits for it: all of it is on disk then. Gives its number,
/// and the secret if one was made.
///
/// # Errors
/// What is wrong with the body; 402 when no call minutes are left.
pub async fn take_in(
    state: &ApiState,
    caller: &Caller,
    body: Bytes,
    style: Style,
) -> Result<(i64, Option<Secret>), Problem> {
    // The body is there: whoever is slow to send one keeps nobody waiting.
    let turn = state.intakes.take(caller.account).await;
    let (config, tag) = (Arc::clone(&caller.config), caller.tag);
    let source = move |id: &str| {
        let (_, number) = id::parse(Kind::Source, id).filter(|(of, _)| *of == tag)?;
        config.source(number).map(|source| source.number)
    };
    let (state, caller) = (state.clone(), caller.clone());
    // A task of its own: a caller that hangs up shall not leave half a batch, nor let another one in beside it.
    let taken = tokio::spawn(async move {
        let _turn = turn;
        let reader = state.clone();
        // A large body takes a while to read, and somebody else's request may wait for this thread.
        let read = tokio::task::spawn_blocking(move || {
            batch_form::read(&body, style, reader.courier.as_ref(), source)
        });
        keep(&state, &caller, read.await.map_err(|_| Problem::internal())??).await
    });
    taken.await.map_err(|_| Problem::internal())?
}

async fn keep(state: &ApiState, caller: &Caller, asked: Asked) -> Result<(i64, Option<Secret>), Problem> {
    let (account, now) = (caller.account, state.clock.now());
    let new = NewBatch {
        account,
        given: asked.said,
        contacts: i64::try_from(asked.contacts.len()).unwrap_or(i64::MAX),
        max_attempts: asked.max_attempts,
        lost_after: asked.lost_after,
        created_at: now,
    };
    let batch = match state.store.open_batch(new).await? {
        Opened::As(batch) => batch,
        Opened::OutOfCredit => {
            let detail =
                "No call minutes are left. Set \"call_minutes\" of the account, then send the batch again.";
            return Err(Problem::new(StatusCode::PAYMENT_REQUIRED, "insufficient_credits", detail));
        }
        Opened::Full => {
            return Err(Problem::from(StoreError::Unavailable("no number for a batch".to_owned())));
        }
    };
    let mut contacts = asked.contacts.into_iter().peekable();
    let mut first = 1;
    while contacts.peek().is_some() {
        let mut some = Vec::with_capacity(PARTS);
        while some.len() < PARTS && contacts.peek().is_some() {
            some.push(contacts.by_ref().take(CONTACTS_IN_STEP).collect::<Vec<_>>());
        }
        let count: usize = some.iter().map(Vec::len).sum();
        state.store.add_contacts(account, batch, first, some).await?;
        first += count;
    }
    let id = Text::from(caller.id(Kind::Batch, batch));
    let kinds: [&[EventType]; 3] = [
        &[EventType::BatchCompleted],
        &[EventType::CallEnded, EventType::CallFailed],
        &[EventType::BatchFailed],
    ];
    let endpoint = |(url, events): (Option<String>, &[EventType])| {
        Some(Endpoint {
            url: url?,
            dialect: DialectName::Dialgen,
            events: Some(events.to_vec()),
            scope: Scope { batch_id: Some(id.clone()), ..Scope::default() },
            ..endpoint_form::blank(account, now)
        })
    };
    let endpoints = asked.webhooks.into_iter().zip(kinds).filter_map(endpoint).collect();
    let shown = state.store.begin_batch(account, batch, endpoints, fresh_secret()).await?;
    Ok((batch, shown))
}

fn fresh_secret() -> Secret {
    Secret::new(HEXLOWER.encode(&random_bytes::<32>()))
}

/// Make a batch
///
/// The answer comes when all of it is on disk; its contacts are then taken in step by step, each with a `call.requested`
/// event, and the batch shows how far that is. It completes when every contact has had a completed call or its last
/// allowed attempt. A call counts for a contact when its body names the batch (as batch or campaign) and the contact's
/// number or id, or the contact's `con_..` id alone, as the contact's or the call's, and its source may report on the batch:
/// `source_ids` names who may.
#[utoipa::path(
    post, path = "/v1/batches", tag = "Batches", request_body = BatchForm,
    responses((status = 202, description = "All of it is on disk", body = BatchRecord)),
)]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    Json(body): Json,
) -> Result<Response, Problem> {
    let (number, secret) = take_in(&state, &caller, body, Style::Ours).await?;
    let view = state.store.batch(caller.account, number).await?.ok_or_else(Problem::internal)?;
    let now = state.clock.now();
    Ok(once(StatusCode::ACCEPTED, |reveal| {
        let secret = secret.as_ref().and_then(|secret| reveal.secret(secret));
        BatchRecord::of(&caller, view.clone(), now, secret)
    }))
}

/// List batches
#[utoipa::path(
    get, path = "/v1/batches", tag = "Batches",
    params(("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 100, default 50")),
    responses((status = 200, description = "Newest first", body = Listed<BatchRecord>)),
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Answer<Listed<BatchRecord>>, Problem> {
    let (mut query, key) = (Query::read(query.as_deref()), state.store.link_key());
    let page = List::Batches.page(&mut query, key, caller.tag);
    query.finish()?;
    let found = state.store.batches(caller.account, page).await?;
    let (found, next_cursor) = List::Batches.cut(found, page, key, caller.tag, |view| view.number);
    let now = state.clock.now();
    let data = found.into_iter().map(|view| BatchRecord::of(&caller, view, now, None)).collect();
    Ok(Answer(Listed { data, next_cursor }))
}

/// Read a batch
#[utoipa::path(
    get, path = "/v1/batches/{id}", tag = "Batches", params(("id" = String, Path)),
    responses((status = 200, description = "The batch", body = BatchRecord)),
)]
pub async fn read(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Answer<BatchRecord>, Problem> {
    let view = find(&*state.store, &caller, &id).await?;
    Ok(Answer(BatchRecord::of(&caller, view, state.clock.now(), None)))
}

/// List the contacts of a batch
///
/// In the order given. A dialer that polls asks for `state=open`: those may be called.
#[utoipa::path(
    get, path = "/v1/batches/{id}/contacts", tag = "Batches",
    params(
        ("id" = String, Path), ("state" = Option<String>, Query, description = "open"),
        ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 1000, default 50"),
    ),
    responses((status = 200, description = "In the order given", body = Listed<ContactRecord>)),
)]
pub async fn contacts(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    RawQuery(query): RawQuery,
) -> Result<Answer<Listed<ContactRecord>>, Problem> {
    let batch = find(&*state.store, &caller, &id).await?.number;
    let (mut query, key) = (Query::read(query.as_deref()), state.store.link_key());
    let only_open = query.word("state", |word| (word == "open").then_some(()), &["open"]).is_some();
    let page = List::Contacts.page_of(&mut query, key, caller.tag, MOST_CONTACTS_SHOWN);
    query.finish()?;
    let found = state.store.contacts(caller.account, batch, only_open, page).await?;
    let (found, next_cursor) = List::Contacts.cut(found, page, key, caller.tag, |view| view.number);
    let data = found.into_iter().map(|view| ContactRecord::of(&caller, view)).collect();
    Ok(Answer(Listed { data, next_cursor }))
}

/// List the calls of a batch
#[utoipa::path(
    get, path = "/v1/batches/{id}/calls", tag = "Batches",
    params(
        ("id" = String, Path),
        ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 100, default 50"),
    ),
    responses((status = 200, description = "Newest first", body = Listed<CallRecord>)),
)]
pub async fn calls(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    RawQuery(query): RawQuery,
) -> Result<Answer<Listed<CallRecord>>, Problem> {
    let batch = find(&*state.store, &caller, &id).await?.number;
    let (mut query, key) = (Query::read(query.as_deref()), state.store.link_key());
    let page = List::BatchCalls.page(&mut query, key, caller.tag);
    query.finish()?;
    let found = state.store.batch_calls(caller.account, batch, page).await?;
    let (found, next_cursor) = List::BatchCalls.cut_by_size(
        found,
        page,
        key,
        caller.tag,
        |view| view.number,
        |view| json_size(&view.call),
    );
    let data = found.into_iter().map(|view| CallRecord::of(&caller, view)).collect();
    Ok(Answer(Listed { data, next_cursor }))
}

/// Stop a batch as failed
///
/// `batch.failed` is told, once. Calls that end later still count in its numbers.
#[utoipa::path(
    post, path = "/v1/batches/{id}/fail", tag = "Batches", params(("id" = String, Path)), request_body = FailureForm,
    responses((status = 200, description = "The batch as it is now", body = BatchRecord)),
)]
pub async fn fail(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json,
) -> Result<Answer<BatchRecord>, Problem> {
    let number = find(&*state.store, &caller, &id).await?.number;
    let mut form = Form::read(&body)?;
    let (error, code) = (form.text("error"), form.text("code").value());
    let error = form.required("error", error);
    form.finish()?;
    let failure =
        Failure { error: error.unwrap_or_default(), code: code.unwrap_or_else(|| Text::from("FAILED")) };
    end(&state, &caller, number, failure).await
}

/// Cancel a batch
///
/// `batch.failed` is told, once, with the code `CANCELLED`. Calls that end later still count in its numbers.
#[utoipa::path(
    post, path = "/v1/batches/{id}/cancel", tag = "Batches", params(("id" = String, Path)),
    responses((status = 200, description = "The batch as it is now", body = BatchRecord)),
)]
pub async fn cancel(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json,
) -> Result<Answer<BatchRecord>, Problem> {
    let number = find(&*state.store, &caller, &id).await?.number;
    Form::read(&body)?.finish()?;
    end(&state, &caller, number, Failure::cancelled()).await
}

async fn end(
    state: &ApiState,
    caller: &Caller,
    number: i64,
    failure: Failure,
) -> Result<Answer<BatchRecord>, Problem> {
    let (account, now) = (caller.account, state.clock.now());
    let (ended, wake): (Ended, Vec<EndpointRef>) =
        state.store.end_batch(account, number, failure, now).await?;
    state.queues.wake(wake);
    let view = state.store.batch(account, number).await?.ok_or_else(|| Problem::not_found("batch"))?;
    match ended {
        Ended::Done => Ok(Answer(BatchRecord::of(caller, view, now, None))),
        Ended::Missing => Err(Problem::not_found("batch")),
        Ended::Over => {
            let detail = format!("This batch has ended: it is {}. Make a new one.", status(&view, now));
            Err(Problem::conflict("batch_over", detail))
        }
    }
}

/// Make a new secret for batches
///
/// Endpoints of batches that are made from now on sign with it; those of earlier batches keep theirs, and each can be
/// rotated by itself.
#[utoipa::path(
    post, path = "/v1/account/rotate-batch-secret", tag = "Batches",
    responses((status = 200, description = "The secret is shown here and never again", body = BatchSecret)),
)]
pub async fn renew_secret(
    State(state): State<ApiState>,
    caller: Caller,
    Json(body): Json,
) -> Result<Response, Problem> {
    Form::read(&body)?.finish()?;
    let secret = fresh_secret();
    state.store.renew_batch_secret(caller.account, secret.clone()).await?;
    Ok(once(StatusCode::OK, |reveal| BatchSecret { secret: reveal.secret(&secret) }))
}
