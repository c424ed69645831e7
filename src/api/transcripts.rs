//! Transcripts as JSON: for holders of a key under the call, for holders of a link without one.
//! Refuses to know how a link is made: that is `store::link`.

use axum::Json as Answer;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::body::Id;
use super::problem::Problem;
use crate::model::call::{Transcript, Turn};
use crate::model::{Call, Text};
use crate::store::link;

/// What was said in a call, in whatever forms it came.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Transcript)]
pub struct TranscriptView {
    #[schema(value_type = String)]
    call_id: Text,
    /// One readable string, as the vendor formatted it.
    #[schema(value_type = Option<String>)]
    text: Option<Text>,
    /// The turns: `role` (`assistant`, `user`), `text`, `at` or `offset_seconds`.
    #[schema(value_type = Vec<Object>)]
    turns: Vec<Turn>,
    /// Where the vendor keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    url: Option<Text>,
}

impl TranscriptView {
    /// `None` when nothing is known of what was said.
    pub fn of(call: Call) -> Option<Self> {
        if call.transcript.is_empty() {
            return None;
        }
        let Transcript { url, text, turns } = call.transcript;
        Some(Self { call_id: call.call_id, text, turns: turns.unwrap_or_default(), url })
    }
}

/// Read a transcript by its link
///
/// The link is the key: it came with a delivery, and opens this transcript and nothing else.
#[utoipa::path(
    get, path = "/t/{token}", tag = "Calls", params(("token" = String, Path)),
    responses(
        (status = 200, description = "What was said", body = TranscriptView),
        (status = 404, description = "No such link, or no transcript any more"),
    ),
)]
pub async fn linked(State(state): State<ApiState>, Id(token): Id) -> Result<Answer<TranscriptView>, Problem> {
    let missing = || Problem::not_found("transcript");
    let (tag, number) = link::open_transcript(state.store.link_key(), &token).ok_or_else(missing)?;
    let account = state.store.config_by_tag(tag).ok_or_else(missing)?.account.key;
    let found = state.store.call(account, number).await?.ok_or_else(missing)?;
    TranscriptView::of(found.call).map(Answer).ok_or_else(missing)
}
