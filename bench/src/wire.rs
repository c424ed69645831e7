//! The least HTTP that a benchmark needs: a connection to post on, and a loop that answers.
//! Refuses to know what is said.

use std::convert::Infallible;
use std::future::Future;

use bytes::{Buf, Bytes};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::bodies::Body;

/// A connection.
pub type Connection = SendRequest<Full<Body>>;

/// A body of one piece.
pub fn whole(body: impl Into<Bytes>) -> Full<Body> {
    Full::new(body.into().chain(Bytes::new()))
}

/// The host and port of `http://host:port/path`, and the path.
pub fn split(url: &str) -> Result<(String, String), String> {
    let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url} does not begin with http://"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    Ok((host.to_owned(), format!("/{path}")))
}

/// Opens a connection.
pub async fn connect(host: &str) -> Result<Connection, String> {
    let stream = TcpStream::connect(host).await.map_err(|error| format!("{host}: {error}"))?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Sends one request; gives status and body.
pub async fn send(connection: &mut Connection, request: Request<Full<Body>>) -> Result<(u16, Bytes), String> {
    let trouble = |error: hyper::Error| error.to_string();
    connection.ready().await.map_err(trouble)?;
    let response = connection.send_request(request).await.map_err(trouble)?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map_err(trouble)?.to_bytes();
    Ok((status, body))
}

/// Sends one request on a connection of its own.
pub async fn once(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Result<(u16, Bytes), String> {
    let (host, path) = split(url)?;
    let mut request = Request::builder().method(method).uri(path).header("host", &host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(whole(body)).map_err(|error| error.to_string())?;
    send(&mut connect(&host).await?, request).await
}

/// A free port on loopback, whose URL is the first line printed: that is how whoever started this learns it.
pub async fn listen() -> Result<TcpListener, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
    println!("http://{}", listener.local_addr().map_err(|error| error.to_string())?);
    Ok(listener)
}

/// Answers for ever on a free port, on the one thread that this runs on.
pub async fn answer<F, A>(respond: F) -> Result<(), String>
where
    F: Fn(Request<Incoming>) -> A + Clone + 'static,
    A: Future<Output = Response<Full<Bytes>>> + 'static,
{
    let listener = listen().await?;
    tokio::task::LocalSet::new().run_until(serve(listener, respond)).await
}

/// Answers for ever on a port, as local tasks of the one thread that this runs on.
pub async fn serve<F, A>(listener: TcpListener, respond: F) -> Result<(), String>
where
    F: Fn(Request<Incoming>) -> A + Clone + 'static,
    A: Future<Output = Response<Full<Bytes>>> + 'static,
{
    loop {
        let (stream, _) = listener.accept().await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let respond = respond.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| {
                let answer = respond(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            // A client that hangs up ends its connection; there is nobody to tell.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
