//! Seed 000's related endpoints in their documented shapes: `GET /getConversationLogs/{callId}` and
//! `GET /callRecordings`. Refuses to know how records are kept.

use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::analytics::moment;
use super::auth::Caller;
use super::body::Id;
use super::calls::{self, CallName};
use super::problem::Problem;
use super::query::Query;
use super::state::ApiState;
use crate::model::call::{ASSISTANT, Turn, USER};
use crate::model::id::Kind;
use crate::model::time::Millis;
use crate::model::{Call, DialectName, Fields, Raw, Text, Time};
use crate::store::{CallFilter, CallView, Page};

/// Recordings on a page unless asked, and at most (the first is the seed's).
const DEFAULT_LIMIT: usize = 20;
const MOST: usize = 100;
/// Calls that are looked through for one page, and in one reading: the newest ones.
const MOST_LOOKED_AT: usize = 20_000;
const AT_ONCE: usize = 500;
/// Sources that an ambiguous id is answered with.
const MOST_CANDIDATES: usize = 20;
/// Seconds of a day.
const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// `{"success":true,"message":..,"data":..}`
#[derive(Debug, Serialize, ToSchema)]
pub struct SeedAnswer<T> {
    /// Always true.
    success: bool,
    message: &'static str,
    data: T,
}

fn refused(status: StatusCode, message: &str) -> Response {
    (status, Answer(json!({ "success": false, "message": message }))).into_response()
}

/// Puts a refusal of a key that is not valid into the shape of these paths.
pub async fn in_its_shape(response: Response) -> Response {
    match response.status() {
        StatusCode::UNAUTHORIZED => refused(StatusCode::UNAUTHORIZED, "Send a valid API key as x-api-key."),
        _ => response,
    }
}

/// What was said in a call, as seed 000's conversation logs have it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConversationLog {
    #[schema(value_type = String)]
    call_uuid: Text,
    #[schema(value_type = Option<String>)]
    campaign_id: Option<Text>,
    #[schema(value_type = Option<String>)]
    phone_number: Option<Text>,
    /// In seconds.
    #[schema(value_type = Option<f64>)]
    duration: Option<Millis>,
    /// How it ended, or how far it has come.
    status: &'static str,
    #[schema(value_type = Vec<Object>)]
    conversation: Vec<Said>,
    sentiment_analysis: SentimentAnalysis,
    summary: Summary,
    metadata: Metadata,
}

/// One turn.
#[derive(Debug, Serialize)]
struct Said {
    timestamp: Option<String>,
    role: Text,
    content: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<Raw>,
    audio_url: Option<Raw>,
}

/// What was felt.
#[derive(Debug, Serialize, ToSchema)]
pub struct SentimentAnalysis {
    #[schema(value_type = Option<String>)]
    overall_sentiment: Option<Text>,
    #[schema(value_type = Option<f64>)]
    confidence: Option<Raw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    emotions: Option<Raw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    intent: Option<Text>,
}

/// The conversation in numbers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Summary {
    total_turns: usize,
    user_turns: usize,
    assistant_turns: usize,
    /// Seconds from a turn of the person to the assistant's next, where both have times.
    #[schema(value_type = Option<f64>)]
    avg_response_time: Option<Millis>,
    /// What came of it in business, where the vendor says; else how the call ended.
    #[schema(value_type = Option<String>)]
    outcome: Option<Text>,
}

/// What spoke, and where the recording is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Metadata {
    #[schema(value_type = Option<String>)]
    script_id: Option<Text>,
    #[schema(value_type = Option<String>)]
    script_name: Option<Text>,
    #[schema(value_type = Option<String>)]
    recording_url: Option<Text>,
}

fn status(call: &Call) -> &'static str {
    call.outcome.map_or(call.stage.as_str(), |outcome| outcome.as_str())
}

impl ConversationLog {
    fn of(call: Call) -> Self {
        let status = status(&call);
        let turns = call.transcript.turns.unwrap_or_default();
        let count = |role: &str| turns.iter().filter(|turn| turn.role == *role).count();
        let emotions = call.analysis.sentiment_detail.as_ref().and_then(|detail| {
            let mut detail = detail.as_object()?;
            detail.take("emotions").map(|token| Raw::of(&token))
        });
        Self {
            call_uuid: call.call_id,
            campaign_id: call.campaign.id,
            phone_number: call.contact.phone,
            duration: call.duration_seconds,
            status,
            sentiment_analysis: SentimentAnalysis {
                overall_sentiment: call.analysis.sentiment.or(call.analysis.mood),
                confidence: call.analysis.sentiment_confidence,
                emotions,
                intent: call.analysis.classification,
            },
            summary: Summary {
                total_turns: turns.len(),
                user_turns: count(USER),
                assistant_turns: count(ASSISTANT),
                avg_response_time: response_time(&turns),
                outcome: call.analysis.result.or_else(|| call.outcome.map(|outcome| outcome.as_str().into())),
            },
            metadata: Metadata {
                script_id: call.agent.id,
                script_name: call.agent.name,
                recording_url: call.recording.url,
            },
            conversation: turns.into_iter().map(said).collect(),
        }
    }
}

fn said(turn: Turn) -> Said {
    let more = |more: &Fields, key| more.get(key).cloned();
    Said {
        timestamp: turn.at.map(Time::rfc3339_seconds),
        confidence: more(&turn.more, "confidence"),
        audio_url: more(&turn.more, "audio_url"),
        role: turn.role,
        content: turn.text,
    }
}

/// How long the assistant took to answer, on average.
fn response_time(turns: &[Turn]) -> Option<Millis> {
    let moment = |turn: &Turn| {
        turn.at
            .map(|at| at.as_micros() / 1000)
            .or_else(|| turn.offset_seconds.and_then(|offset| i64::try_from(offset.0).ok()))
    };
    let answers = turns.windows(2).filter(|two| two[0].role == *USER && two[1].role == *ASSISTANT);
    let waits: Vec<u64> = answers
        .filter_map(|two| u64::try_from(moment(&two[1])?.checked_sub(moment(&two[0])?)?).ok())
        .collect();
    let count = u64::try_from(waits.len()).ok().filter(|&count| count > 0)?;
    Some(Millis(waits.iter().sum::<u64>() / count))
}

/// Read the conversation log of a call, as seed 000 does
///
/// The key comes in `x-api-key` or `Authorization: Bearer`. Where several sources have a call of this id, the one of a source
/// in the dialect `voicegenie` is meant.
#[utoipa::path(
    get, path = "/getConversationLogs/{callId}", tag = "Doors",
    params(
        ("callId" = String, Path, description = "The vendor's id of the call"),
        ("source_id" = Option<String>, Query, description = "Whose call it is, where several sources have one of this id"),
    ),
    responses(
        (status = 200, description = "What was said", body = SeedAnswer<ConversationLog>),
        (status = 404, description = "`{\"success\":false,\"message\":..}`: no such call in this account"),
        (status = 409, description = "The same: several sources have one, and the message names them"),
    ),
)]
pub async fn read(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let name = CallName::read(id, query.as_deref(), &caller)?;
    let found = match only(&caller, calls::named(&*state.store, &caller, &name, MOST_CANDIDATES).await?) {
        Ok(found) => found,
        Err((status, message)) => return Ok(refused(status, &message)),
    };
    let data = ConversationLog::of(found.call);
    let message = "Conversation logs retrieved successfully";
    Ok(Answer(SeedAnswer { success: true, message, data }).into_response())
}

/// The one call that is meant. These addresses are VoiceGenie's, so among several its own goes first.
fn only(caller: &Caller, mut found: Vec<CallView>) -> Result<CallView, (StatusCode, String)> {
    if found.len() > 1 {
        let is_own = |view: &CallView| {
            caller.config.source(view.source).is_some_and(|source| source.dialect == DialectName::Voicegenie)
        };
        if found.iter().filter(|view| is_own(view)).count() == 1 {
            found.retain(is_own);
        }
    }
    if found.len() > 1 {
        let sources: Vec<String> = found.iter().map(|view| caller.id(Kind::Source, view.source)).collect();
        let message = format!(
            "Several sources have a call of this id. Say which with ?source_id=: {}.",
            sources.join(", ")
        );
        return Err((StatusCode::CONFLICT, message));
    }
    found.pop().ok_or_else(|| (StatusCode::NOT_FOUND, "This account has no such call.".to_owned()))
}

/// A page of recordings.
#[derive(Debug, Serialize, ToSchema)]
pub struct Recordings {
    recordings: Vec<Recording>,
    pagination: Pagination,
}

/// A recording, as seed 000 lists it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CallRecording)]
pub struct Recording {
    #[schema(value_type = String)]
    call_uuid: Text,
    #[schema(value_type = String)]
    recording_url: Text,
    /// In seconds: of the recording, else of the call.
    #[schema(value_type = Option<f64>)]
    duration: Option<Millis>,
    /// In bytes; nobody tells us.
    file_size: Option<u64>,
    /// By the end of the URL's path.
    format: Option<String>,
    transcription_available: bool,
    #[schema(value_type = Option<String>)]
    campaign_id: Option<Text>,
    #[schema(value_type = Option<String>)]
    phone_number: Option<Text>,
    status: &'static str,
    created_at: String,
}

/// Which page of how many.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pagination {
    page: usize,
    limit: usize,
    total: usize,
    total_pages: usize,
}

/// When a call was, for lists by date: when it began as far as anybody says, else when it was last heard of.
fn date(view: &CallView) -> Time {
    let call = &view.call;
    let first_turn = call.transcript.turns.as_ref().and_then(|turns| turns.first()?.at);
    call.started_at.or(call.created_at).or(first_turn).or(call.ended_at).unwrap_or(view.updated_at)
}

fn recording(view: CallView) -> Option<Recording> {
    let (created_at, call) = (date(&view).rfc3339_seconds(), view.call);
    let status = status(&call);
    let url = call.recording.url?;
    Some(Recording {
        format: format(&url.to_str()),
        duration: call.recording.duration_seconds.or(call.duration_seconds),
        file_size: None,
        transcription_available: !call.transcript.is_empty(),
        campaign_id: call.campaign.id,
        phone_number: call.contact.phone,
        call_uuid: call.call_id,
        recording_url: url,
        status,
        created_at,
    })
}

/// The letters after the last dot of a URL's last part.
fn format(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?;
    let (_, last) = path.rsplit_once('/')?;
    let (_, end) = last.rsplit_once('.')?;
    let is_format = (2..=5).contains(&end.len()) && end.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_format.then(|| end.to_ascii_lowercase())
}

/// Which recordings are asked for.
struct Wanted {
    campaign: Option<Text>,
    since: Option<Time>,
    /// Without it.
    until: Option<Time>,
}

impl Wanted {
    fn fits(&self, view: &CallView) -> bool {
        let date = date(view);
        view.call.recording.url.is_some()
            && (self.campaign.is_none() || view.call.campaign.id == self.campaign)
            && self.since.is_none_or(|since| date >= since)
            && self.until.is_none_or(|until| date < until)
    }
}

/// List recordings, as seed 000 does
///
/// Newest first, among the newest 20,000 calls of the account. The key comes in `x-api-key` or `Authorization: Bearer`.
#[utoipa::path(
    get, path = "/callRecordings", tag = "Doors",
    params(
        ("campaign_id" = Option<String>, Query), ("call_uuid" = Option<String>, Query),
        ("source_id" = Option<String>, Query, description = "Whose call `call_uuid` is"),
        ("start_date" = Option<String>, Query, description = "Calls from this date or time on"),
        ("end_date" = Option<String>, Query, description = "Calls up to the end of this date, or before this time"),
        ("page" = Option<u32>, Query, description = "1 and on"),
        ("limit" = Option<u32>, Query, description = "1 to 100, default 20"),
    ),
    responses((status = 200, description = "Newest first", body = SeedAnswer<Recordings>)),
)]
pub async fn recordings(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut query = Query::read(query.as_deref());
    let call_id = query.take("call_uuid").map(Text::from);
    let source = query.id(&caller, "source_id", Kind::Source);
    if source.is_some() && call_id.is_none() {
        query.wrong(
            "source_id",
            calls::NEEDS_CALL_ID,
            "It says whose call call_uuid is: give call_uuid too, or leave it out.",
        );
    }
    let since = moment(&mut query, "start_date");
    let ends_a_day = query.peek("end_date").is_some_and(|text| Time::parse(text).is_none());
    let until = moment(&mut query, "end_date").map(|end| if ends_a_day { end.after(DAY) } else { end });
    let wanted = Wanted { campaign: query.take("campaign_id").map(Text::from), since, until };
    let limit = query.limit(DEFAULT_LIMIT, MOST);
    let page = match query.take("page").map(|page| page.parse::<usize>()) {
        None => 1,
        Some(Ok(page @ 1..)) => page,
        Some(_) => {
            query.wrong("page", "out_of_range", "Give a whole number from 1 on.");
            1
        }
    };
    query.finish()?;

    let (mut after, mut looked_at, mut total, mut recordings) = (None, 0, 0, Vec::new());
    let first = (page - 1).saturating_mul(limit);
    // Of a source that the account does not have there is nothing.
    while source != Some(None) {
        let filter = CallFilter { call_id: call_id.clone(), source: source.flatten(), outcome: None };
        let part = state.store.calls(caller.account, filter, Page { after, limit: AT_ONCE }).await?;
        let is_last = part.len() < AT_ONCE;
        looked_at += part.len();
        after = part.last().map(|view| view.number);
        for view in part.into_iter().filter(|view| wanted.fits(view)) {
            if total >= first && recordings.len() < limit {
                recordings.extend(recording(view));
            }
            total += 1;
        }
        if is_last || looked_at >= MOST_LOOKED_AT {
            break;
        }
    }
    let pagination = Pagination { page, limit, total, total_pages: total.div_ceil(limit) };
    let message = "Call recordings retrieved successfully";
    let data = Recordings { recordings, pagination };
    Ok(Answer(SeedAnswer { success: true, message, data }).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_ends_of_paths() {
        for (url, expected) in [
            ("https://r.example/a/b.mp3", Some("mp3")),
            ("https://r.example/a/b.OGG?sig=x.wav", Some("ogg")),
            ("https://r.example/Recordings/RE123", None),
            ("https://r.example/a.b/c", None),
        ] {
            assert_eq!(format(url).as_deref(), expected, "{url}");
        }
    }
}
