//! `/v1/events/stream`: the feed as server-sent events, for readers that want to be told and not to ask. The same feed in
//! the same order as `/v1/events`: whoever reconnects with the id of the last event misses nothing and hears nothing twice.
//! A page at a time and only as fast as the reader reads, so a slow one costs a page of memory and no read transaction.
//! Refuses to know how the store learns that there is more: it is given a signal.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::auth::{self, Caller};
use super::events::{CURSORS, EventView, expired, position};
use super::open_streams::{MOST_OF_ACCOUNT, OpenStream};
use super::peer::Peer;
use super::problem::{BAD_CURSOR, Problem};
use super::query::Query;
use super::state::ApiState;
use crate::model::AccountKey;
use crate::model::id::Kind;
use crate::store::feed::FeedPage;
use crate::store::{Page, StoreError};

/// Events on a page at most.
const PAGE: usize = 500;
/// What a reader that reconnects is asked to wait first, in milliseconds; sent at once, so that every proxy between
/// passes the head of the answer on.
const GREETING: &str = "retry: 1000\n\n";
const HEARTBEAT: &str = ":\n\n";
/// The `after` of a reader that wants what is new and nothing else.
const LATEST: &str = "latest";

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Asks proxies not to gather what belongs to the reader at once.
const NO_BUFFERING: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// Follow the feed
///
/// Server-sent events: `id` is the event's, `data` the event as in `/v1/events`. They come complete and in the order of the
/// feed. A reader that reconnects sends the last id as `Last-Event-ID`, as browsers do by themselves, and goes on from
/// there. Without it and without `after` the stream begins with the oldest event that the account still keeps; with
/// `after=latest` it begins with the next one. Comments come every 15 seconds so that the connection stays open. Should the
/// reader fall behind the account's retention, the last message is of type `cursor_expired` with a problem document.
#[utoipa::path(
    get, path = "/v1/events/stream", tag = "Events",
    params(
        ("after" = Option<String>, Query, description = "The `id` of the last event that was seen, a `next_cursor` of `/v1/events`, or `latest`"),
        ("Last-Event-ID" = Option<String>, Header, description = "The same, and stronger than `after`"),
    ),
    responses(
        (status = 200, description = "Events, for as long as the reader stays", body = String, content_type = "text/event-stream"),
        (status = 410, description = "`cursor_expired`: events after the cursor are past the account's retention"),
        (status = 429, description = "`too_many_streams`: close one first"),
    ),
)]
pub async fn follow(
    State(state): State<ApiState>,
    caller: Caller,
    peer: Peer,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut query = Query::read(query.as_deref());
    let after = query.take("after");
    // A browser goes on sending the query that it began with.
    let (name, cursor) = match headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()) {
        Some(id) if !id.is_empty() => ("Last-Event-ID", Some(id.to_owned())),
        _ => ("after", after),
    };
    let is_latest = cursor.as_deref() == Some(LATEST);
    let mut after = cursor.filter(|_| !is_latest).and_then(|cursor| {
        let place = position(&*state.store, &caller, &cursor);
        if place.is_none() {
            query.wrong(name, BAD_CURSOR, CURSORS);
        }
        place
    });
    query.finish()?;
    let place = state.streams.begin(caller.account).ok_or_else(too_many)?;
    let news = state.store.follow(caller.account).await?;
    if is_latest {
        after = Some(*news.borrow());
    }
    let key = auth::bearer(&headers).ok_or_else(Problem::unauthorized)?.to_owned();
    let ended = state.streams.ended();
    let mut follower = Follower {
        account: caller.account,
        after,
        news,
        ended,
        peer,
        key,
        checked: Instant::now(),
        state,
        _place: place,
    };
    // The first page before the head of the answer: what is wrong can still be said by its status.
    let first = follower.read().await?.ok_or_else(expired)?;
    let mut said = String::new();
    if let Some(after) = after {
        // Also a reader that has heard nothing yet comes back to where it began.
        said = format!("id: {}\n", caller.id(Kind::Event, after));
    }
    said.push_str(GREETING);
    follower.say(first, &mut said);
    let pages = unfold((Some(Bytes::from(said)), Some(follower)), |(ready, follower)| async {
        if let Some(ready) = ready {
            return Some((Ok::<_, std::convert::Infallible>(ready), (None, follower)));
        }
        let mut follower = follower?;
        let (said, is_last) = follower.next().await?;
        Some((Ok(said), (None, (!is_last).then_some(follower))))
    });
    let mut response = Response::new(Body::from_stream(pages));
    let head = response.headers_mut();
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    head.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    head.insert(NO_BUFFERING.0, NO_BUFFERING.1);
    Ok(response)
}

fn too_many() -> Problem {
    let detail =
        format!("An account may have {MOST_OF_ACCOUNT} streams open. Close one, or read /v1/events.");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", detail)
}

/// One reader on its way along the feed.
struct Follower {
    state: ApiState,
    account: AccountKey,
    /// The last position that was said; `None` before anything was.
    after: Option<i64>,
    news: watch::Receiver<i64>,
    ended: watch::Receiver<bool>,
    /// Who reads.
    peer: Peer,
    /// The key that opened the stream, and when it was last asked whether it still does.
    key: String,
    checked: Instant,
    _place: OpenStream,
}

impl Follower {
    /// What to say next, and whether that is the end. Waits until there is something.
    async fn next(&mut self) -> Option<(Bytes, bool)> {
        let heartbeat = self.state.settings.heartbeat;
        loop {
            if *self.ended.borrow() || !self.may_go_on().await {
                return None;
            }
            // Seen before the look: whatever is committed after it rings again.
            let newest = *self.news.borrow_and_update();
            if self.after.is_none_or(|after| after < newest) {
                let mut said = String::new();
                match self.read().await {
                    Ok(Some(page)) => self.say(page, &mut said),
                    Ok(None) => return Some((farewell(), true)),
                    Err(error) => {
                        // The reader comes back with its last id.
                        warn!(%error, "a stream of the feed ends: the store cannot be read");
                        return None;
                    }
                }
                if !said.is_empty() {
                    return Some((said.into(), false));
                }
            }
            tokio::select! {
                moved = self.news.changed() => moved.ok()?,
                _ = self.ended.changed() => return None,
                () = sleep(heartbeat) => return Some((Bytes::from_static(HEARTBEAT.as_bytes()), false)),
            }
        }
    }

    async fn read(&self) -> Result<Option<FeedPage>, StoreError> {
        self.state.store.events(self.account, Page { after: self.after, limit: PAGE }).await
    }

    /// Writes a page down and moves on behind it.
    fn say(&mut self, page: FeedPage, said: &mut String) {
        for event in page.events {
            self.after = Some(event.position);
            let view = EventView::of(event);
            message(view.id(), &serde_json::to_string(&view).unwrap_or_default(), said);
        }
    }

    /// A key that was revoked opens nothing any more, also no stream that it opened before.
    async fn may_go_on(&mut self) -> bool {
        if self.checked.elapsed() < self.state.settings.heartbeat {
            return true;
        }
        self.checked = Instant::now();
        // While the store cannot be asked, the stream has nothing to say anyway.
        auth::find(&self.state, self.peer, &self.key).await.is_ok_and(|key| key.is_some())
    }
}

/// One message. Vendors' values are kept as they came, line breaks between their tokens included, and each line of a
/// message begins anew.
fn message(id: &str, json: &str, said: &mut String) {
    said.push_str("id: ");
    said.push_str(id);
    for line in json.split(['\n', '\r']).filter(|line| !line.is_empty()) {
        said.push_str("\ndata: ");
        said.push_str(line);
    }
    said.push_str("\n\n");
}

fn farewell() -> Bytes {
    format!("event: cursor_expired\ndata: {}\n\n", expired().json()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_line_breaks_in_what_vendors_send() {
        let mut said = String::new();
        message("evt_1", "{\"a\":{\r\n\r\n\"b\": 1}}", &mut said);
        assert_eq!(said, "id: evt_1\ndata: {\"a\":{\ndata: \"b\": 1}}\n\n");
    }
}
