//! `/v1/quarantine`: authenticated bodies that no dialect could read. Shown as they came, read again when the reader
//! has learned, or discarded. Refuses to repair them.

use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use data_encoding::BASE64;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::body::{Id, Json};
use super::cursor::{List, Listed};
use super::form::Form;
use super::problem::Problem;
use super::query::Query;
use super::state::ApiState;
use crate::dialect::{self, Reading, ReceiptKind};
use crate::model::id::Kind;
use crate::model::{Right, Time};
use crate::store::{Incoming, Parsed, Quarantine, Quarantined, Recorded};

/// A body in quarantine.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Quarantined)]
pub struct QuarantinedView {
    id: String,
    source_id: String,
    #[schema(value_type = String, format = DateTime)]
    received_at: Time,
    /// Why it could not be read.
    reason: String,
    content_type: Option<String>,
    /// In bytes.
    size: usize,
}

/// A body in quarantine, whole.
#[derive(Debug, Serialize, ToSchema)]
pub struct QuarantinedBody {
    #[serde(flatten)]
    about: QuarantinedView,
    /// `text`, or `base64` when it is not UTF-8.
    encoding: &'static str,
    /// As it came.
    body: String,
}

/// What came of reading it again.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reprocessed {
    /// `recorded`, `duplicate` or `ignored`: it has left the quarantine.
    result: &'static str,
    /// Deliveries that it owes.
    deliveries_planned: usize,
}

impl QuarantinedView {
    fn of(caller: &Caller, body: &Quarantined) -> Self {
        Self {
            id: caller.id(Kind::Quarantined, body.number),
            source_id: caller.id(Kind::Source, body.source),
            received_at: body.received_at,
            reason: body.reason.clone(),
            content_type: body.content_type.clone(),
            size: body.body.len(),
        }
    }
}

fn missing() -> Problem {
    Problem::not_found("quarantined body")
}

async fn find(quarantine: &dyn Quarantine, caller: &Caller, id: &str) -> Result<Quarantined, Problem> {
    let number = caller.number(Kind::Quarantined, id).ok_or_else(missing)?;
    quarantine.quarantined(caller.account, number).await?.ok_or_else(missing)
}

/// List the quarantine
#[utoipa::path(
    get, path = "/v1/quarantine", tag = "Quarantine",
    params(("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 100, default 50")),
    responses((status = 200, description = "Newest first", body = Listed<QuarantinedView>)),
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Answer<Listed<QuarantinedView>>, Problem> {
    let (mut query, key) = (Query::read(query.as_deref()), state.store.link_key());
    let page = List::Quarantine.page(&mut query, key, caller.tag);
    query.finish()?;
    let found = state.store.quarantine(caller.account, page).await?;
    let (found, next_cursor) = List::Quarantine.cut(found, page, key, caller.tag, |body| body.number);
    let data = found.iter().map(|body| QuarantinedView::of(&caller, body)).collect();
    Ok(Answer(Listed { data, next_cursor }))
}

/// Read a quarantined body
#[utoipa::path(
    get, path = "/v1/quarantine/{id}", tag = "Quarantine", params(("id" = String, Path)),
    responses((status = 200, description = "As it came", body = QuarantinedBody)),
)]
pub async fn read(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Answer<QuarantinedBody>, Problem> {
    let found = find(&*state.store, &caller, &id).await?;
    let about = QuarantinedView::of(&caller, &found);
    let (encoding, body) = match std::str::from_utf8(&found.body) {
        Ok(text) => ("text", text.to_owned()),
        Err(_) => ("base64", BASE64.encode(&found.body)),
    };
    Ok(Answer(QuarantinedBody { about, encoding, body }))
}

/// Read a quarantined body again
///
/// With the source's dialect as it is now. What can be read is recorded as if it had just come, and leaves the
/// quarantine. A body that the dialect ignores is discarded, which needs the right `erase` too.
#[utoipa::path(
    post, path = "/v1/quarantine/{id}/reprocess", tag = "Quarantine", params(("id" = String, Path)),
    responses(
        (status = 200, description = "It was read", body = Reprocessed),
        (status = 409, description = "It still cannot be read, or its source is gone"),
    ),
)]
pub async fn reprocess(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json,
) -> Result<Answer<Reprocessed>, Problem> {
    let found = find(&*state.store, &caller, &id).await?;
    Form::read(&body)?.finish()?;
    let source = caller.config.source(found.source).ok_or_else(|| {
        Problem::conflict("source_deleted", "Its source is deleted, and with it the dialect. Discard it.")
    })?;
    let parsed = match dialect::get(source.dialect).read(&found.body) {
        Reading::Events(heard) => Parsed::events(heard),
        Reading::Test(heard) => Parsed::Test(heard),
        Reading::Ignored(_) => {
            // There is nothing in it to record: to take it out is to discard it.
            caller.require(Right::Erase)?;
            state.store.discard(caller.account, found.number).await?;
            return Ok(Answer(Reprocessed { result: "ignored", deliveries_planned: 0 }));
        }
        Reading::Unreadable(why) => return Err(unreadable(&why)),
    };
    let Quarantined { number, received_at, content_type, body: raw, .. } = found;
    let (account, source) = (caller.account, source.number);
    let incoming = Incoming { account, source, received_at, raw, content_type, parsed };
    let (kind, planned) = match state.writer.record(incoming).await? {
        Recorded::Done { kind, planned, .. } => (kind, planned),
        Recorded::QuotaExceeded => return Err(unreadable("the store cannot take it")),
    };
    // Recorded first: dying in between leaves it here once more, and the next try finds a duplicate.
    state.store.discard(account, number).await?;
    state.metrics.planned(planned);
    let result = match kind {
        ReceiptKind::Recorded => "recorded",
        ReceiptKind::Duplicate => "duplicate",
        ReceiptKind::Ignored => "ignored",
        ReceiptKind::Quarantined => return Err(unreadable("the store cannot take it")),
    };
    Ok(Answer(Reprocessed { result, deliveries_planned: planned }))
}

fn unreadable(why: &str) -> Problem {
    let detail = format!("It still cannot be read: {why}. Change the source's dialect, or discard it.");
    Problem::conflict("still_unreadable", detail)
}

/// Discard a quarantined body
#[utoipa::path(
    delete, path = "/v1/quarantine/{id}", tag = "Quarantine", params(("id" = String, Path)),
    responses((status = 204, description = "It is gone")),
)]
pub async fn discard(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    let number = caller.number(Kind::Quarantined, &id).ok_or_else(missing)?;
    match state.store.discard(caller.account, number).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(missing()),
    }
}
