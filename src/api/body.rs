//! Reads bodies: never more than the limit, never slower than the minimum speed, and within the memory budget. A body is
//! read only for a route that takes any sender's (ingest) or for a caller who is known. Does not depend on what is in a body.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame};
use tokio::time::Instant;

use super::auth::Caller;
use super::budget::{Budget, Held, Refused, Share, Waiting};
use super::pace::{Pace, Speed};
use super::problem::Problem;
use super::state::ApiState;
use crate::metrics::BodyRefusal;
use crate::model::AccountKey;

/// What is read and thrown away of a body that is too large, so that its sender hears why: a server that closes
/// on unread bytes resets the connection, and the answer is lost with it.
const MOST_DRAINED: usize = 16 << 20;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is larger than the limit.
    TooLarge,
    /// It is slower than the minimum speed.
    TooSlow,
    /// The connection broke.
    Broken,
    /// The memory budget has no room for it.
    Refused(Refused),
}

impl From<Refused> for Unread {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl Unread {
    /// What the sender is told. `most` is the limit, `again` what to do.
    pub fn problem(self, most: usize, speed: Speed, again: &str) -> Problem {
        match self {
            Self::TooLarge => {
                let detail = format!("The body is larger than {most} bytes. Send less at once.");
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
            }
            Self::Broken => {
                let detail = format!("The body broke off. {again}");
                Problem::new(StatusCode::BAD_REQUEST, "incomplete_body", detail)
            }
            Self::TooSlow => {
                let (speed, grace) = (speed.slowest / 1024, speed.grace.as_secs_f64());
                let detail = format!(
                    "The body came too slowly: send at least {speed} KiB a second, more where much is held in memory, \
                     without pauses of more than {grace} seconds. {again}"
                );
                Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail).closing()
            }
            Self::Refused(Refused::AccountFull) => {
                let detail = format!(
                    "This account's requests that are under way hold as much memory as one account may have. Send fewer \
                     large bodies at the same time. {again}"
                );
                Problem::unavailable_because(detail)
            }
            Self::Refused(refused @ (Refused::Full | Refused::Displaced)) => {
                let detail = format!("Too many bodies are being received at the moment. {again}");
                let problem = Problem::unavailable_because(detail);
                if refused == Refused::Displaced { problem.closing() } else { problem }
            }
        }
    }
}

/// A body that is being received, and what has come of it.
pub struct Receiving {
    body: Body,
    waiting: Waiting,
    pace: Pace,
    grace: Duration,
    /// The bytes that came last. Whoever wants to be read further waits for these: a body that comes in one piece never does.
    last: usize,
}

impl Receiving {
    /// Begins to receive a body.
    ///
    /// # Errors
    /// When there is no room for another one.
    pub fn begin(body: Body, budget: &Arc<Budget>, share: Share, speed: Speed) -> Result<Self, Refused> {
        Ok(Self { body, waiting: budget.wait(share)?, pace: Pace::new(speed), grace: speed.grace, last: 0 })
    }

    /// What has come.
    pub fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When it breaks off, is too slow or had to make way.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Unread> {
        loop {
            // A wait for the turn counts as one for the sender where places are short, and not for its speed.
            self.waiting.begin_wait(self.grace.saturating_sub(self.pace.left()));
            let last = std::mem::take(&mut self.last);
            if !self.body.is_end_stream() {
                tokio::select! {
                    biased;
                    () = self.waiting.displaced() => return Err(Unread::Refused(Refused::Displaced)),
                    () = self.waiting.turn(last) => {}
                }
            }
            let began = Instant::now();
            let frame = tokio::select! {
                biased;
                () = self.waiting.displaced() => return Err(Unread::Refused(Refused::Displaced)),
                frame = tokio::time::timeout(self.pace.left(), self.body.frame()) => frame,
            };
            self.waiting.end_wait();
            self.pace.waited(began.elapsed());
            match frame {
                Err(_) => return Err(Unread::TooSlow),
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) => return Err(Unread::Broken),
                Ok(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    return Ok(Some(data));
                }
            }
        }
    }

    /// Bytes came, and so many are held or were thrown away by now.
    pub fn came(&mut self, bytes: usize, held: usize) {
        self.last = bytes;
        self.pace.came(bytes, held);
    }

    /// Throws away what came, and what still comes up to a limit.
    async fn drain(&mut self, mut came: usize, most: usize) -> Result<(), Unread> {
        self.waiting.discard();
        while came <= most {
            let Some(data) = self.next().await? else { return Ok(()) };
            came += data.len();
            self.came(data.len(), came);
        }
        Ok(())
    }
}

/// Reads a body whole.
///
/// # Errors
/// 413 when it is too large, 503 when there is no room for it, 408 when it is too slow, 400 when it breaks off.
pub async fn read(body: Body, state: &ApiState, share: Share, most: usize) -> Result<Held, Problem> {
    let speed = state.settings.body_speed;
    gather(body, &state.budget, share, speed, most).await.map_err(|unread| {
        note(&state.budget, share, unread);
        unread.problem(most, speed, "Send the same request again in a moment.")
    })
}

/// Counts a body that was not read because of its speed or for want of room. Whoever makes another one lose its place has
/// counted that.
pub fn note(budget: &Budget, share: Share, unread: Unread) {
    match unread {
        Unread::TooSlow => budget.refused(share, BodyRefusal::Slow),
        Unread::Refused(Refused::Full | Refused::AccountFull) => budget.refused(share, BodyRefusal::Full),
        Unread::Refused(Refused::Displaced) | Unread::TooLarge | Unread::Broken => {}
    }
}

async fn gather(
    mut body: Body,
    budget: &Arc<Budget>,
    share: Share,
    speed: Speed,
    most: usize,
) -> Result<Held, Unread> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > MOST_DRAINED.max(most) {
        return Err(Unread::TooLarge);
    }
    // Most bodies come with their head, in one piece, which is passed on as it is.
    let mut first = match what_is_there(&mut body).await {
        Poll::Pending => None,
        Poll::Ready(None) => return Ok(budget.hold(share, Bytes::new())?),
        Poll::Ready(Some(Err(_))) => return Err(Unread::Broken),
        Poll::Ready(Some(Ok(frame))) => frame.into_data().ok(),
    };
    if let Some(whole) = first.take_if(|data| data.len() <= most && body.is_end_stream()) {
        return Ok(budget.hold(share, whole)?);
    }
    let expected = if announced > 0 { announced } else { most };
    let mut receiving = Receiving::begin(body, budget, share, speed)?;
    let mut came = 0;
    loop {
        let data = match first.take() {
            Some(data) => data,
            None => match receiving.next().await? {
                Some(data) => data,
                None => return Ok(receiving.waiting.finish()?),
            },
        };
        let is_whole = came == 0 && receiving.body.is_end_stream();
        came += data.len();
        receiving.came(data.len(), came);
        if came > most {
            receiving.drain(came, MOST_DRAINED.max(most)).await?;
            return Err(Unread::TooLarge);
        }
        if is_whole {
            return Ok(budget.hold(share, data)?);
        }
        receiving.waiting.push(&data, expected)?;
    }
}

/// What is there of a body without waiting for it.
async fn what_is_there(body: &mut Body) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *body).poll_frame(context))).await
}

/// The largest body in bytes of a request with an API key that brings no contacts: settings of every kind are far below it.
/// Reading one takes a processor for two milliseconds at the most, so that nobody waits long behind it.
const LARGEST_FORM: usize = 256 << 10;
/// The largest body with contacts in bytes: some 600 for each of 100,000.
const LARGEST_BATCH: usize = 64 << 20;

/// Whether requests to this address bring contacts.
fn takes_contacts(path: &str) -> bool {
    matches!(path, "/v1/batches" | "/api/v1/batch")
}

/// Reads the body of a request with an API key.
///
/// # Errors
/// As for [`read`].
pub async fn read_keyed(
    body: Body,
    state: &ApiState,
    account: AccountKey,
    path: &str,
) -> Result<Bytes, Problem> {
    let most = match takes_contacts(path) {
        true => LARGEST_BATCH.min(state.budget.limits().account),
        false => LARGEST_FORM.min(state.settings.max_body),
    };
    Ok(read(body, state, Share::Account(account), most).await?.into_counted())
}

/// Marks a request whose body is in memory, and counted, already.
#[derive(Clone, Copy, Debug)]
pub struct InMemory;

/// A JSON body as it came, empty when none did. Only of a caller who is known: without one nothing is read.
#[derive(Debug)]
pub struct Json(pub Bytes);

impl FromRequest<ApiState> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let Some(caller) = parts.extensions.get::<Caller>() else { return Err(Problem::unauthorized()) };
        let bytes = match parts.extensions.get::<InMemory>() {
            Some(InMemory) => body.collect().await.map_err(|_| Problem::internal())?.to_bytes(),
            None => read_keyed(body, state, caller.account, parts.uri.path()).await?,
        };
        if !bytes.is_empty() && !is_json(&parts.headers) {
            let detail = "Send JSON, and say so: \"Content-Type: application/json\".";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail));
        }
        Ok(Self(bytes))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The id in a path; what cannot be one is as absent as any other unknown id.
#[derive(Debug)]
pub struct Id(pub String);

impl FromRequestParts<ApiState> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id)).map_err(|_| Problem::not_found("id"))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::stream;

    use super::super::budget::Limits;
    use super::*;
    use crate::metrics::Metrics;

    const KIB: usize = 1024;
    const PIECE: usize = 4 * KIB;
    const SIZE: usize = 64 * KIB;

    /// A body that lacks its last piece. Counts what is read of it.
    fn unfinished(read: &Arc<AtomicUsize>) -> Body {
        let read = Arc::clone(read);
        let pieces = stream::unfold(0, move |came| {
            let read = Arc::clone(&read);
            async move {
                if came + PIECE >= SIZE {
                    std::future::pending::<()>().await;
                }
                read.fetch_add(PIECE, Ordering::Relaxed);
                Some((Ok::<_, Infallible>(Bytes::from(vec![b' '; PIECE])), came + PIECE))
            }
        });
        Body::from_stream(pieces)
    }

    /// What is read in so many seconds of 100 senders who begin again whenever they are refused, and how often they began.
    async fn read_in(seconds: u64, share: Share) -> (usize, usize) {
        let budget = Budget::new(Limits::of(64 * SIZE, SIZE), Arc::new(Metrics::new()));
        let (read, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..100 {
            let (budget, read, begun) = (Arc::clone(&budget), Arc::clone(&read), Arc::clone(&begun));
            tokio::spawn(async move {
                loop {
                    begun.fetch_add(1, Ordering::Relaxed);
                    let _ = gather(unfinished(&read), &budget, share, Speed::default(), SIZE).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        (read.load(Ordering::Relaxed), begun.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_that_begin_again_at_once_are_read_no_faster() {
        let (read, begun) = read_in(5, Share::Unproven).await;
        assert!(begun > 500, "they made way for each other: {begun}");
        // Eight bodies a second, eight at once, and of each the piece that came with its head.
        let most = (5 + 1) * 8 * SIZE + begun * PIECE;
        assert!(read <= most, "{} of {} KiB", read / KIB, most / KIB);
        let (proven, _) = read_in(1, Share::Proven).await;
        assert!(proven > 2 * most, "who is proven waits for nothing: {} KiB", proven / KIB);
    }
}
