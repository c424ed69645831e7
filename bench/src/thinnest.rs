//! The thinnest relay: the bare relay's work on one thread, hyper alone, no router, no pool library. Leaner than a
//! server is written; it says how much of the bare relay's cost is the usual machinery.
//! Refuses to know what it passes on.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};

use crate::wire::{self, Connection};

type Idle = Rc<RefCell<Vec<Connection>>>;

/// Relays to the sink until it is killed.
pub async fn run(target: &str) -> Result<(), String> {
    let (host, path) = wire::split(target)?;
    let idle = Idle::default();
    wire::answer(move |request| {
        let (idle, host, path) = (Rc::clone(&idle), host.clone(), path.clone());
        async move {
            let status = relay(request, &idle, &host, &path).await.unwrap_or(502);
            let mut response = Response::new(Full::new(Bytes::from_static(b"{\"received\":true}")));
            *response.status_mut() = status.try_into().unwrap_or_default();
            response
        }
    })
    .await
}

async fn relay(
    request: Request<hyper::body::Incoming>,
    idle: &Idle,
    host: &str,
    path: &str,
) -> Result<u16, String> {
    let body = request.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    let kept = idle.borrow_mut().pop();
    let mut connection = match kept {
        Some(connection) => connection,
        None => wire::connect(host).await?,
    };
    let onward = Request::post(path).header("host", host).header("content-type", "application/json");
    let onward = onward.body(wire::whole(body)).map_err(|error| error.to_string())?;
    let (status, _) = wire::send(&mut connection, onward).await?;
    idle.borrow_mut().push(connection);
    Ok(status)
}
