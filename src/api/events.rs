//! `/v1/events`: the feed of an account, oldest first, to be polled in place of webhooks or compared with them.
//! Refuses to know who was told what: that is `deliveries`.

use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::cursor::{DEFAULT_LIMIT, List, Listed};
use super::problem::{BAD_CURSOR, Problem};
use super::query::Query;
use super::state::ApiState;
use crate::model::id::Kind;
use crate::model::{Event, Raw, Time};
use crate::store::{AccountConfigs, Page};

/// Events on a page at most.
const MOST: usize = 1000;

/// An event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    id: String,
    /// `call.ended` and so on.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The vendor's time, or when it was heard.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Time,
    /// The source that told.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_id: Option<String>,
    /// Marked as a test by its sender: shown here, told to nobody.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    test: bool,
    /// The call or batch as it was known then; for `call.updated` also `changed`.
    #[schema(value_type = Object)]
    data: Option<Raw>,
}

impl EventView {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// As it is shown, here and in the stream.
    pub fn of(event: Event) -> Self {
        Self {
            kind: event.kind.as_str(),
            timestamp: event.at,
            test: event.test,
            data: Raw::parse(&event.data_json()),
            id: event.id,
            source_id: event.source_id,
        }
    }
}

/// The position of a cursor: a `next_cursor` of the feed or the id of an event.
pub fn position(configs: &dyn AccountConfigs, caller: &Caller, cursor: &str) -> Option<i64> {
    List::Events.open(configs.link_key(), caller.tag, cursor).or_else(|| caller.number(Kind::Event, cursor))
}

/// What to do about a cursor that is none.
pub const CURSORS: &str =
    "Pass on a \"next_cursor\" of this list or the \"id\" of an event, or leave it out.";

/// Something that came after the cursor is past the account's retention.
pub fn expired() -> Problem {
    let detail = "Events after this cursor are older than the account keeps them, and gone. Leave \"after\" out to \
        read on from the oldest event that is there.";
    Problem::new(StatusCode::GONE, "cursor_expired", detail)
}

/// Read the feed
///
/// To follow it, pass the last event's `id`, or `next_cursor` while there is one, as `after`; `/v1/events/stream` brings
/// what is new by itself. Without `after` it begins with the oldest event that the account still keeps. A page ends at
/// its limit or at 1 MiB, whichever comes first.
#[utoipa::path(
    get, path = "/v1/events", tag = "Events",
    params(
        ("after" = Option<String>, Query, description = "A `next_cursor`, or the `id` of the last event that was seen"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, default 50"),
    ),
    responses(
        (status = 200, description = "Oldest first", body = Listed<EventView>),
        (status = 410, description = "`cursor_expired`: events after the cursor are past the account's retention"),
    ),
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Answer<Listed<EventView>>, Problem> {
    let mut query = Query::read(query.as_deref());
    let after = query.take("after").and_then(|after| {
        let place = position(&*state.store, &caller, &after);
        if place.is_none() {
            query.wrong("after", BAD_CURSOR, CURSORS);
        }
        place
    });
    let page = Page { after, limit: query.limit(DEFAULT_LIMIT, MOST) };
    query.finish()?;
    let found = state.store.events(caller.account, page).await?.ok_or_else(expired)?;
    let end = found.events.last().filter(|_| found.more);
    let next_cursor = end.map(|last| List::Events.seal(state.store.link_key(), caller.tag, last.position));
    Ok(Answer(Listed { data: found.events.into_iter().map(EventView::of).collect(), next_cursor }))
}
