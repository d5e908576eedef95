//! The bench as an HTTP client: one request per connection. Owns nothing of what the answers mean.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, body::Incoming, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::TcpStream, task::spawn_local, time::timeout};

use crate::BenchError;

/// Most bytes of a JSON answer.
const JSON_BYTES_MAX: usize = 1 << 20;
/// Most time for one.
const JSON_WITHIN: Duration = Duration::from_secs(10);

/// Asks for a page and gives its body as it comes. Must run in a `LocalSet`.
///
/// # Errors
/// No connection, or an answer other than 200.
pub async fn open(authority: &str, path: &str) -> Result<Incoming, BenchError> {
    let fail = |cause: String| BenchError::Http { url: format!("http://{authority}{path}"), cause };
    let stream = TcpStream::connect(authority).await.map_err(|cause| fail(cause.to_string()))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|cause| fail(cause.to_string()))?;
    spawn_local(async move {
        // How it ends shows in the body.
        connection.await.ok();
    });
    let request = Request::get(path)
        .header(HOST, authority)
        .body(Empty::<Bytes>::new())
        .map_err(|cause| fail(cause.to_string()))?;
    let response = sender.send_request(request).await.map_err(|cause| fail(cause.to_string()))?;
    if response.status() != hyper::StatusCode::OK {
        return Err(fail(response.status().to_string()));
    }
    Ok(response.into_body())
}

/// Asks for a page of JSON. Must run in a `LocalSet`.
///
/// # Errors
/// No connection, no 200, too long, too late, or not that JSON.
pub async fn json<T: DeserializeOwned>(authority: &str, path: &str) -> Result<T, BenchError> {
    let fail = |cause: String| BenchError::Http { url: format!("http://{authority}{path}"), cause };
    let ask = async {
        let body = open(authority, path).await?;
        let body =
            Limited::new(body, JSON_BYTES_MAX).collect().await.map_err(|cause| fail(cause.to_string()))?;
        serde_json::from_slice(&body.to_bytes()).map_err(|cause| fail(cause.to_string()))
    };
    timeout(JSON_WITHIN, ask).await.unwrap_or_else(|_| Err(fail("no answer in time".into())))
}
