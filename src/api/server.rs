//! Accepts connections and speaks HTTP/1.1 on them, with a limit to everything: connections, headers, patience.
//! Refuses to know routes.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::peer::Peer;

/// Connections at the same time; more wait to be accepted.
const MOST_CONNECTIONS: usize = 16_384;
/// How long the headers of a request may take, and how long a connection may stay idle between two.
const HEADER_PATIENCE: Duration = Duration::from_secs(60);
/// The most that is read ahead on a connection, in bytes.
const READ_AHEAD: usize = 64 * 1024;
/// The largest head of a request, in bytes; past that 431.
const LARGEST_HEAD: usize = 32 * 1024;
/// How long requests that are under way may take after the stop.
const FAREWELL: Duration = Duration::from_secs(30);
/// Wait after an accept that failed, as it does when no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown` is done, then finishes what is under way.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE);
    http.max_buf_size(READ_AHEAD).max_header_size(LARGEST_HEAD);
    // A client may close its half once it has sent all, and still wants the answer.
    http.half_close(true);
    let mut shutdown = pin!(shutdown);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, accept(&listener).await)
        };
        let (place, (stream, address)) = tokio::select! {
            next = next => next,
            () = &mut shutdown => break,
        };
        let (router, peer) = (TowerToHyperService::new(router.clone()), Peer::direct(address.ip()));
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            router.call(request)
        });
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "a connection broke");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(FAREWELL, graceful.shutdown()).await.is_err() {
        warn!("requests were still under way {FAREWELL:?} after the stop");
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(%error, "a connection keeps its delay");
                }
                return (stream, address);
            }
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
