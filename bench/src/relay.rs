//! The bare relay: takes a POST, posts its body to the sink, answers. No storage, no signature, no books: the limit that
//! postcall is measured against.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};

use crate::wire;

type Idle = Rc<RefCell<Vec<SendRequest<Full<Bytes>>>>>;

/// Relays to the sink until it is killed.
pub async fn run(target: &str) -> Result<(), String> {
    let (host, _) = wire::split(target)?;
    let idle = Idle::default();
    wire::answer(move |request| {
        let (idle, host) = (Rc::clone(&idle), host.clone());
        async move {
            let status = relay(request, &idle, &host).await.unwrap_or(502);
            let mut response = Response::new(Full::new(Bytes::from_static(b"{\"received\":true}")));
            *response.status_mut() = status.try_into().unwrap_or_default();
            response
        }
    })
    .await
}

async fn relay(request: Request<hyper::body::Incoming>, idle: &Idle, host: &str) -> Result<u16, String> {
    let body = request.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    let kept = idle.borrow_mut().pop();
    let mut sender = match kept {
        Some(sender) => sender,
        None => wire::connect(host).await?,
    };
    let onward = Request::post("/").header("host", host).header("content-type", "application/json");
    let onward = onward.body(Full::new(body)).map_err(|error| error.to_string())?;
    let (status, _) = wire::send(&mut sender, onward).await?;
    idle.borrow_mut().push(sender);
    Ok(status)
}
