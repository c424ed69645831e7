//! Accepts connections, and runs each in a task of its own until it ends or has to make way. Does not depend on what a
//! connection keeps waiting for.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use super::client_address::ClientAddresses;
use super::exchange::service;
use super::slots::{Lease, Slots};
use super::socket::Socket;
use crate::api::ApiState;

/// How long a connection may stay idle between two requests.
const IDLE_PATIENCE: Duration = Duration::from_secs(60);
/// How long a connection that has no slot may take for all that it does.
const RESERVE_PATIENCE: Duration = Duration::from_secs(5);
/// The most that is read ahead on a connection, in bytes.
const READ_AHEAD: usize = 32 * 1024;
/// The largest head of a request, in bytes; past that 431.
const LARGEST_HEAD: usize = 32 * 1024;
/// The most that the kernel keeps for a connection beyond what its client has room for, in bytes.
const UNSENT: u32 = 64 * 1024;
/// How long the kernel keeps what a client does not acknowledge or has no room for.
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);
/// How long requests that are under way may take after the stop.
const FAREWELL: Duration = Duration::from_secs(30);
/// Wait after an accept that failed, as it does when no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown` is done, then finishes what is under way.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    state: &ApiState,
    shutdown: impl Future<Output = ()>,
) {
    let settings = &state.settings;
    let slots = Slots::new(settings.limits.clone(), Arc::clone(&state.peers), Arc::clone(&state.metrics));
    let clients = ClientAddresses::new(settings.trusted_proxies.clone(), Arc::clone(&state.peers));
    let (clients, graceful) = (Arc::new(clients), GracefulShutdown::new());
    prepare(&listener);
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, address) = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = &mut shutdown => break,
        };
        let lease = slots.admit(clients.of_connection(address.ip()));
        tokio::spawn(run(stream, lease, Arc::clone(&clients), router.clone(), graceful.watcher()));
    }
    drop(listener);
    tokio::select! {
        finished = tokio::time::timeout(FAREWELL, graceful.shutdown()) => if finished.is_err() {
            warn!("requests were still under way {FAREWELL:?} after the stop");
        },
        () = slots.close_stalled() => {}
    }
}

/// What accepted sockets inherit. The kernel's own limits hold without it, which are larger.
fn prepare(listener: &TcpListener) {
    let socket = SockRef::from(listener);
    if let Err(error) = socket.set_tcp_nodelay(true) {
        debug!(%error, "connections keep their delay");
    }
    #[cfg(target_os = "linux")]
    {
        let set = socket.set_tcp_notsent_lowat(UNSENT);
        if let Err(error) = set.and_then(|()| socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))) {
            debug!(%error, "the kernel keeps more for a client that does not read");
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection, until it ends or has to make way while it waits for its client.
async fn run(
    stream: TcpStream,
    lease: Lease,
    clients: Arc<ClientAddresses>,
    router: Router,
    watcher: Watcher,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(IDLE_PATIENCE);
    http.max_buf_size(READ_AHEAD).max_header_size(LARGEST_HEAD);
    // A client may close its half once it has sent all, and still wants the answer.
    http.half_close(true);
    let socket = TokioIo::new(Socket::new(stream, &lease));
    let service = service(&lease, clients, router);
    let mut served = pin!(watcher.watch(http.serve_connection(socket, service)));
    let mut reserve_ends = pin!(async {
        match lease.refusal() {
            Some(_) => tokio::time::sleep(RESERVE_PATIENCE).await,
            None => std::future::pending().await,
        }
    });
    loop {
        tokio::select! {
            ended = &mut served => {
                if let Err(error) = ended {
                    debug!(%error, "a connection broke");
                }
                return;
            }
            () = lease.asked_to_leave() => match lease.waits_since() {
                Some(_) => return,
                // A request came meanwhile.
                None => lease.slots().keep(&lease),
            },
            () = &mut reserve_ends => return,
        }
    }
}
