//! The little of an HTTP client that reading our own peers' player ports takes. One connection for each request.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, Response, body::Incoming, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use p2psp_net::tasks;
use serde_json::Value;
use std::{error::Error, net::SocketAddr};
use tokio::net::TcpStream;

/// Most bytes of a peer's statistics; they are a few kilobytes.
const JSON_BYTES_MAX: usize = 256 * 1024;

pub(super) type HttpError = Box<dyn Error + Send + Sync>;

/// Starts a GET; the body is the caller's to read.
pub(super) async fn get(address: SocketAddr, path: &str) -> Result<Response<Incoming>, HttpError> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the body, or with whoever drops it; its error is the body's as well.
    drop(tasks::spawn("http client", async move { connection.await.ok() }));
    let request = Request::get(path).header(HOST, address.to_string()).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if response.status().is_success() {
        Ok(response)
    } else {
        Err(format!("{path}: {}", response.status()).into())
    }
}

/// A JSON document.
pub(super) async fn get_json(address: SocketAddr, path: &str) -> Result<Value, HttpError> {
    let body = get(address, path).await?.into_body();
    let bytes = Limited::new(body, JSON_BYTES_MAX).collect().await?.to_bytes();
    Ok(serde_json::from_slice(&bytes)?)
}
