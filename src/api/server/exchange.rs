//! What surrounds each request: whom it comes from, whether its connection has a slot, and bodies that write down whom
//! the connection waits for. Does not know any route but those of the node's health.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::service::{Service, service_fn};
use hyper_util::service::TowerToHyperService;

use super::client_address::ClientAddresses;
use super::connection::{Connection, Table, UnderWay};
use super::slots::{Lease, Slots};
use crate::api::problem::Problem;
use crate::metrics::Refusal;

/// What a connection without a slot may still ask for.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// Answers the requests of one connection.
pub fn service(
    lease: &Lease,
    clients: Arc<ClientAddresses>,
    router: Router,
) -> impl Service<Request<Incoming>, Response = Response<AnswerBody>, Error = Infallible, Future: Send> {
    let (connection, slots) = (Arc::clone(lease), Arc::clone(lease.slots()));
    let router = TowerToHyperService::new(router);
    service_fn(move |mut request: Request<Incoming>| {
        let peer = clients.of_request(connection.peer(), request.headers());
        let under_way = connection.begin(peer);
        request.extensions_mut().insert(peer);
        let refusal = connection.refusal();
        let problem = refusal.filter(|_| !HEALTH.contains(&request.uri().path())).map(refuse);
        let answer = match problem {
            Some(problem) => Err(problem),
            None => Ok(router.call(request.map(|body| RequestBody::wrap(body, &connection, &slots)))),
        };
        async move {
            let mut response = match answer {
                Ok(answer) => answer.await?,
                Err(problem) => problem.into_response(),
            };
            if refusal.is_some() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| AnswerBody { body, under_way }))
        }
    })
}

fn refuse(refusal: Refusal) -> Problem {
    let (status, detail) = match refusal {
        Refusal::Full => (
            StatusCode::SERVICE_UNAVAILABLE,
            "All connections of this node are taken. Send the request again in a moment.",
        ),
        Refusal::Address => (
            StatusCode::TOO_MANY_REQUESTS,
            "This address has all the connections that one address may have. Send several requests on one connection, \
             or close some.",
        ),
    };
    Problem::retry_after(status, "too_many_connections", detail, 1)
}

/// The body of a request; while more of it is awaited, the connection waits for its client.
struct RequestBody {
    body: Incoming,
    connection: Arc<Connection>,
    slots: Arc<Slots>,
    /// Since when the rest is awaited. What comes moves it on by as much time as it takes at the minimum speed: a client
    /// that sends a little now and then is not thereby a quick one.
    since: Option<u64>,
}

impl RequestBody {
    fn wrap(body: Incoming, connection: &Arc<Connection>, slots: &Arc<Slots>) -> Body {
        if body.is_end_stream() {
            return Body::empty();
        }
        Body::new(Self { body, connection: Arc::clone(connection), slots: Arc::clone(slots), since: None })
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        let slots = &this.slots;
        match (&polled, this.since) {
            (Poll::Pending, since) => {
                let since = *this.since.insert(since.unwrap_or_else(|| slots.now()));
                this.connection.awaits_body(Some(since));
            }
            (Poll::Ready(frame), Some(since)) => {
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                let worth = slots.limits().time_for(data.map_or(0, Bytes::len)).as_micros();
                let since = since.saturating_add(u64::try_from(worth).unwrap_or(u64::MAX));
                this.since = Some(since.min(slots.now()));
                this.connection.awaits_body(None);
            }
            (Poll::Ready(_), None) => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if self.since.is_some() {
            self.connection.awaits_body(None);
        }
    }
}

/// The body of an answer, whose bytes are held until the client has read them. The request is under way until it is
/// dropped.
pub struct AnswerBody {
    body: Body,
    under_way: UnderWay,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            this.under_way.connection().holds_answer(data.len());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
