//! `/v1/calls`: the records of calls, with their transcripts and recordings. Refuses to know how a record came
//! to be what it is.

use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::auth::Caller;
use super::body::Id;
use super::cursor::{List, Listed, json_size};
use super::problem::Problem;
use super::query::Query;
use super::transcripts::TranscriptView;
use crate::model::id::Kind;
use crate::model::time::Millis;
use crate::model::{Call, Outcome, Text, Time};
use crate::store::{CallFilter, CallView, Page};

/// A call: its ids and all that is known of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Call)]
pub struct CallRecord {
    /// Ours, `call_..`; `call_id` is the vendor's.
    id: String,
    source_id: String,
    /// When something was last heard of it.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Time,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    call: Call,
}

/// Where the recording of a call is.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordingView {
    #[schema(value_type = String)]
    call_id: Text,
    /// Where the vendor keeps it.
    #[schema(value_type = String)]
    url: Text,
    /// Its length.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    duration_seconds: Option<Millis>,
}

impl CallRecord {
    /// As it is shown.
    pub fn of(caller: &Caller, view: CallView) -> Self {
        Self {
            id: caller.id(Kind::Call, view.number),
            source_id: caller.id(Kind::Source, view.source),
            updated_at: view.updated_at,
            call: view.call,
        }
    }
}

/// The call of an id: ours, or the vendor's (the newest one then).
///
/// # Errors
/// 404 when this account has none.
pub async fn find(state: &ApiState, caller: &Caller, id: &str) -> Result<CallView, Problem> {
    if let Some(number) = caller.number(Kind::Call, id)
        && let Some(found) = state.store.call(caller.account, number).await?
    {
        return Ok(found);
    }
    let mut found = of_vendor_id(state, caller, id, 1).await?;
    found.pop().ok_or_else(|| Problem::not_found("call"))
}

/// The calls of a vendor's id, newest first: several sources may know the same one.
///
/// # Errors
/// When the store cannot be read.
pub async fn of_vendor_id(
    state: &ApiState,
    caller: &Caller,
    id: &str,
    limit: usize,
) -> Result<Vec<CallView>, Problem> {
    let filter = CallFilter { call_id: Some(Text::from(id)), outcome: None };
    Ok(state.store.calls(caller.account, filter, Page { after: None, limit }).await?)
}

/// List calls
///
/// A page ends at its limit or at 4 MiB, whichever comes first.
#[utoipa::path(
    get, path = "/v1/calls", tag = "Calls",
    params(
        ("call_id" = Option<String>, Query, description = "The vendor's id"),
        ("outcome" = Option<String>, Query, description = "completed, voicemail, no_answer, busy, failed, canceled, lost"),
        ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 100, default 50"),
    ),
    responses((status = 200, description = "Newest first", body = Listed<CallRecord>)),
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Answer<Listed<CallRecord>>, Problem> {
    let (mut query, key) = (Query::read(query.as_deref()), state.store.link_key());
    let page = List::Calls.page(&mut query, key, caller.tag);
    let read = |word: &str| Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == word);
    let outcome = query.word("outcome", read, &Outcome::ALL.map(Outcome::as_str));
    let filter = CallFilter { call_id: query.take("call_id").map(Text::from), outcome };
    query.finish()?;
    let found = state.store.calls(caller.account, filter, page).await?;
    let size = |view: &CallView| json_size(&view.call);
    let (found, next_cursor) =
        List::Calls.cut_by_size(found, page, key, caller.tag, |view| view.number, size);
    let data = found.into_iter().map(|view| CallRecord::of(&caller, view)).collect();
    Ok(Answer(Listed { data, next_cursor }))
}

/// Read a call
#[utoipa::path(
    get, path = "/v1/calls/{id}", tag = "Calls",
    params(("id" = String, Path, description = "`call_..`, or the vendor's id")),
    responses((status = 200, description = "All that is known of it", body = CallRecord)),
)]
pub async fn read(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Answer<CallRecord>, Problem> {
    let found = find(&state, &caller, &id).await?;
    Ok(Answer(CallRecord::of(&caller, found)))
}

/// Read the transcript of a call
#[utoipa::path(
    get, path = "/v1/calls/{id}/transcript", tag = "Calls",
    params(("id" = String, Path, description = "`call_..`, or the vendor's id")),
    responses(
        (status = 200, description = "What was said", body = TranscriptView),
        (status = 410, description = "`transcript_gone`: past its age, or erased with its person"),
    ),
)]
pub async fn transcript(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Answer<TranscriptView>, Problem> {
    let found = find(&state, &caller, &id).await?;
    TranscriptView::of(found.call).map(Answer)
}

/// Find the recording of a call
#[utoipa::path(
    get, path = "/v1/calls/{id}/recording", tag = "Calls",
    params(("id" = String, Path, description = "`call_..`, or the vendor's id")),
    responses((status = 200, description = "Where it is", body = RecordingView)),
)]
pub async fn recording(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Answer<RecordingView>, Problem> {
    let Call { call_id, recording, .. } = find(&state, &caller, &id).await?.call;
    let url = recording.url.ok_or_else(|| Problem::not_found("recording"))?;
    Ok(Answer(RecordingView { call_id, url, duration_seconds: recording.duration_seconds }))
}
