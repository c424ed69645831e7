//! Transcripts as JSON: for holders of a key under the call, for holders of a link without one.
//! Refuses to know how a link is made: that is `store::link`.

use axum::Json as Answer;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::body::Id;
use super::problem::Problem;
use super::state::ApiState;
use crate::model::call::{Transcript, Turn};
use crate::model::{Call, Erased, Text};
use crate::store::link::{self, Opened};

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
    /// What was said.
    ///
    /// # Errors
    /// 404 when nothing is known of it, 410 when it was removed on purpose.
    pub fn of(call: Call) -> Result<Self, Problem> {
        if call.transcript.is_empty() {
            return Err(match call.erased {
                None => Problem::not_found("transcript"),
                Some(erased) => gone(erased),
            });
        }
        let Transcript { url, text, turns } = call.transcript;
        Ok(Self { call_id: call.call_id, text, turns: turns.unwrap_or_default(), url })
    }
}

fn gone(erased: Erased) -> Problem {
    let detail = match erased {
        Erased::Transcript => "The transcript is older than the account keeps transcripts, and gone.",
        Erased::Person => "The person of this call was erased, and the transcript with them.",
    };
    Problem::new(StatusCode::GONE, "transcript_gone", detail)
}

/// Read a transcript by its link
///
/// The link is the key: it came with a delivery, and opens this transcript and nothing else. It holds for 30 to 60 days.
#[utoipa::path(
    get, path = "/t/{token}", tag = "Calls", params(("token" = String, Path)),
    responses(
        (status = 200, description = "What was said", body = TranscriptView),
        (status = 404, description = "No such link, or no transcript any more"),
        (status = 410, description = "`link_expired`; `transcript_gone`: past its age, or erased with its person"),
    ),
)]
pub async fn linked(State(state): State<ApiState>, Id(token): Id) -> Result<Answer<TranscriptView>, Problem> {
    let missing = || Problem::not_found("transcript");
    let opened = link::open_transcript(state.store.link_key(), &token, state.clock.now());
    let (tag, number) = match opened.ok_or_else(missing)? {
        Opened::Transcript(tag, number) => (tag, number),
        Opened::Expired => {
            let detail =
                "This link has expired. Read the transcript with an API key, or have the event sent again.";
            return Err(Problem::new(StatusCode::GONE, "link_expired", detail));
        }
    };
    let account = state.store.config_by_tag(tag).ok_or_else(missing)?.account.key;
    let found = state.store.call(account, number).await?.ok_or_else(missing)?;
    TranscriptView::of(found.call).map(Answer)
}
