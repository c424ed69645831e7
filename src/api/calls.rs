//! `/v1/calls`: the records of calls, with their transcripts and recordings. Refuses to know how a record came
//! to be what it is.

use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::body::Id;
use super::cursor::{List, Listed, json_size};
use super::problem::{Candidate, Problem};
use super::query::Query;
use super::state::ApiState;
use super::transcripts::TranscriptView;
use crate::model::id::Kind;
use crate::model::time::Millis;
use crate::model::{Call, Outcome, Text, Time};
use crate::store::{CallFilter, CallView, Calls, Page};

/// Calls that an ambiguous id is answered with.
const MOST_CANDIDATES: usize = 20;
/// The code of a `source_id` that stands alone, and what to do about it.
pub const NEEDS_CALL_ID: &str = "needs_call_id";
/// Vendors' ids are looked up source by source; a source alone has no list of its calls.
pub const SOURCE_ALONE: &str = "It says whose call call_id is: give call_id too, or leave it out.";

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

/// How a request names a call: by our id of it or the vendor's, and for a vendor's by the source too where several
/// sources have a call of that id.
#[derive(Debug)]
pub struct CallName {
    id: String,
    /// `Some(None)` is a source that the account does not have.
    source: Option<Option<i64>>,
}

impl CallName {
    /// A name of these parts.
    pub fn new(id: String, source: Option<Option<i64>>) -> Self {
        Self { id, source }
    }

    /// Of the id in a path, with the parameter `source_id`. Other parameters are passed over, as they always were.
    ///
    /// # Errors
    /// 400 when `source_id` is no id.
    pub fn read(id: String, query: Option<&str>, caller: &Caller) -> Result<Self, Problem> {
        let mut query = Query::read(query);
        let source = query.id(caller, "source_id", Kind::Source);
        query.finish_leniently()?;
        Ok(Self { id, source })
    }

    /// Of the parameters `call_id` and `source_id` of a list.
    pub fn read_filter(query: &mut Query, caller: &Caller) -> Option<Self> {
        let (id, source) = (query.take("call_id"), query.id(caller, "source_id", Kind::Source));
        if id.is_none() && source.is_some() {
            query.wrong("source_id", NEEDS_CALL_ID, SOURCE_ALONE);
        }
        id.map(|id| Self { id, source })
    }

    /// The filter of calls by the vendor's id; `None` when nothing can fit.
    fn filter(&self, outcome: Option<Outcome>) -> Option<CallFilter> {
        let call_id = Some(Text::from(self.id.as_str()));
        match self.source {
            Some(None) => None,
            source => Some(CallFilter { call_id, source: source.flatten(), outcome }),
        }
    }
}

/// The calls that a name may mean, newest first: the one of our id, or those of a vendor's id, one for each source.
///
/// # Errors
/// When the store cannot be read.
pub async fn named(
    calls: &dyn Calls,
    caller: &Caller,
    name: &CallName,
    limit: usize,
) -> Result<Vec<CallView>, Problem> {
    let Some(filter) = name.filter(None) else { return Ok(Vec::new()) };
    // Ours goes first: no vendor can take it away by calling its own call so.
    if let Some(number) = caller.number(Kind::Call, &name.id)
        && let Some(found) = calls.call(caller.account, number).await?
    {
        return Ok(Vec::from_iter(
            Some(found).filter(|view| filter.source.is_none_or(|is| is == view.source)),
        ));
    }
    Ok(calls.calls(caller.account, filter, Page { after: None, limit }).await?)
}

/// The call of a name.
///
/// # Errors
/// 404 when this account has none, 409 with the candidates when several sources have one.
pub async fn find(calls: &dyn Calls, caller: &Caller, name: &CallName) -> Result<CallView, Problem> {
    let mut found = named(calls, caller, name, MOST_CANDIDATES).await?;
    if found.len() < 2 {
        return found.pop().ok_or_else(|| Problem::not_found("call"));
    }
    let candidate = |view: &CallView| Candidate {
        id: caller.id(Kind::Call, view.number),
        source_id: caller.id(Kind::Source, view.source),
        updated_at: view.updated_at,
    };
    Err(Problem::ambiguous_call(found.iter().map(candidate).collect()))
}

/// List calls
///
/// A page ends at its limit or at 4 MiB, whichever comes first.
#[utoipa::path(
    get, path = "/v1/calls", tag = "Calls",
    params(
        ("call_id" = Option<String>, Query, description = "The vendor's id: every source's call of that id"),
        ("source_id" = Option<String>, Query, description = "Whose call `call_id` is"),
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
    let name = CallName::read_filter(&mut query, &caller);
    query.finish()?;
    let filter = match &name {
        Some(name) => name.filter(outcome),
        None => Some(CallFilter { outcome, ..CallFilter::default() }),
    };
    let found = match filter {
        Some(filter) => state.store.calls(caller.account, filter, page).await?,
        None => Vec::new(),
    };
    let size = |view: &CallView| json_size(&view.call);
    let (found, next_cursor) =
        List::Calls.cut_by_size(found, page, key, caller.tag, |view| view.number, size);
    let data = found.into_iter().map(|view| CallRecord::of(&caller, view)).collect();
    Ok(Answer(Listed { data, next_cursor }))
}

/// Read a call
#[utoipa::path(
    get, path = "/v1/calls/{id}", tag = "Calls",
    params(
        ("id" = String, Path, description = "`call_..`, or the vendor's id"),
        ("source_id" = Option<String>, Query, description = "Whose call it is, where several sources have one of the vendor's id"),
    ),
    responses(
        (status = 200, description = "All that is known of it", body = CallRecord),
        (status = 409, description = "`ambiguous_call`: several sources have one, see `candidates`"),
    ),
)]
pub async fn read(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    RawQuery(query): RawQuery,
) -> Result<Answer<CallRecord>, Problem> {
    let name = CallName::read(id, query.as_deref(), &caller)?;
    let found = find(&*state.store, &caller, &name).await?;
    Ok(Answer(CallRecord::of(&caller, found)))
}

/// Read the transcript of a call
#[utoipa::path(
    get, path = "/v1/calls/{id}/transcript", tag = "Calls",
    params(
        ("id" = String, Path, description = "`call_..`, or the vendor's id"),
        ("source_id" = Option<String>, Query, description = "Whose call it is, where several sources have one of the vendor's id"),
    ),
    responses(
        (status = 200, description = "What was said", body = TranscriptView),
        (status = 409, description = "`ambiguous_call`: several sources have one, see `candidates`"),
        (status = 410, description = "`transcript_gone`: past its age, or erased with its person"),
    ),
)]
pub async fn transcript(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    RawQuery(query): RawQuery,
) -> Result<Answer<TranscriptView>, Problem> {
    let name = CallName::read(id, query.as_deref(), &caller)?;
    let found = find(&*state.store, &caller, &name).await?;
    TranscriptView::of(found.call).map(Answer)
}

/// Find the recording of a call
#[utoipa::path(
    get, path = "/v1/calls/{id}/recording", tag = "Calls",
    params(
        ("id" = String, Path, description = "`call_..`, or the vendor's id"),
        ("source_id" = Option<String>, Query, description = "Whose call it is, where several sources have one of the vendor's id"),
    ),
    responses(
        (status = 200, description = "Where it is", body = RecordingView),
        (status = 409, description = "`ambiguous_call`: several sources have one, see `candidates`"),
    ),
)]
pub async fn recording(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    RawQuery(query): RawQuery,
) -> Result<Answer<RecordingView>, Problem> {
    let name = CallName::read(id, query.as_deref(), &caller)?;
    let Call { call_id, recording, .. } = find(&*state.store, &caller, &name).await?.call;
    let url = recording.url.ok_or_else(|| Problem::not_found("recording"))?;
    Ok(Answer(RecordingView { call_id, url, duration_seconds: recording.duration_seconds }))
}
