//! What the HTTP door says to publishers: status lines, and one sentence that helps. Owns no decision.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A refused sender is listened to for so long, so that it reads why before its connection breaks.
const LINGER: Duration = Duration::from_secs(1);
/// And for so many bytes.
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// Writing a few hundred bytes to a fresh connection takes no longer, or nobody is there.
const WRITE_MAX: Duration = Duration::from_secs(2);

/// The methods that carry a stream.
const ALLOW: &str = "Allow: PUT, POST, SOURCE, OPTIONS\r\n";

/// A reply to a publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply<'a> {
    Continue,
    /// The stream is taken, or was.
    Ok,
    /// What the door can do; the connection stays.
    Options,
    BadRequest(&'a str),
    Conflict {
        icecast: bool,
        silent_s: u64,
    },
    HeadTooLarge(&'a str),
    NotAllowed,
    NotFound {
        path: &'a str,
    },
    Timeout,
    Unauthorized,
}

impl Reply<'_> {
    pub(super) fn text(self) -> String {
        let close = "Connection: close\r\n";
        let (status, fields, body) = match self {
            Self::Continue => return "HTTP/1.1 100 Continue\r\n\r\n".into(),
            Self::Ok => ("200 OK", close.to_owned(), String::new()),
            Self::Options => ("200 OK", ALLOW.to_owned(), String::new()),
            Self::BadRequest(why) => ("400 Bad Request", close.to_owned(), why.to_owned()),
            Self::Conflict { icecast, silent_s } => (
                // Icecast says 403, and its tools know what that means.
                if icecast { "403 Mountpoint in use" } else { "409 Conflict" },
                close.to_owned(),
                format!(
                    "another publisher is sending here: end it, or come when it was silent for {silent_s} s"
                ),
            ),
            Self::HeadTooLarge(why) => {
                ("431 Request Header Fields Too Large", close.to_owned(), why.to_owned())
            }
            Self::NotAllowed => (
                "405 Method Not Allowed",
                format!("{ALLOW}{close}"),
                "this port takes a stream by PUT, POST or Icecast SOURCE; players find it at a peer"
                    .to_owned(),
            ),
            Self::NotFound { path } => {
                ("404 Not Found", close.to_owned(), format!("this port takes a stream at {path} only"))
            }
            Self::Timeout => (
                "408 Request Timeout",
                close.to_owned(),
                "the request did not come to its end in time".to_owned(),
            ),
            Self::Unauthorized => (
                "401 Unauthorized",
                format!("WWW-Authenticate: Basic realm=\"p2psp source\"\r\n{close}"),
                "user or password is wrong".to_owned(),
            ),
        };
        let body = if body.is_empty() { body } else { body + "\n" };
        let content_type = if body.is_empty() { "" } else { "Content-Type: text/plain\r\n" };
        format!("HTTP/1.1 {status}\r\n{fields}{content_type}Content-Length: {}\r\n\r\n{body}", body.len())
    }

    /// Sends the reply; false if the other end does not take it.
    pub(super) async fn send(self, stream: &mut TcpStream) -> bool {
        let text = self.text();
        matches!(timeout(WRITE_MAX, stream.write_all(text.as_bytes())).await, Ok(Ok(())))
    }

    /// Sends the reply and ends the connection in such a way that the other end can read it.
    pub(super) async fn send_last(self, mut stream: TcpStream) {
        if !self.send(&mut stream).await || stream.shutdown().await.is_err() {
            return;
        }
        let mut sink = vec![0; 4096];
        let mut left = LINGER_BYTES_MAX;
        let drain = async {
            while let Ok(n) = stream.read(&mut sink).await
                && n > 0
                && left > n
            {
                left -= n;
            }
        };
        // Whether it ends in time changes nothing: the reply is out.
        timeout(LINGER, drain).await.ok();
    }
}
