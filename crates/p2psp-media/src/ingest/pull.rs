//! Fetches a stream from an HTTP server: over TLS where asked, through redirects, from Shoutcast servers too. Dials again
//! when it ends or stalls, unless it was a file, which is paced by its own clock and ends for good.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use data_encoding::BASE64;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, LOCATION, USER_AGENT};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tracing::{info, warn};

use super::IngestError;
use super::backoff::Backoff;
use super::feed::{Closed, Feed, Silence};
use super::icy::IcyStripper;
use super::pace::{Pace, Pacer};
use super::pump::push_paced;
use super::source::HttpUrl;

/// Longest time for a connection with TLS, and for the head of a response.
const DIAL_MAX: Duration = Duration::from_secs(10);
/// Most redirects in a row.
const REDIRECTS_MAX: usize = 5;
/// Largest response head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// How an attempt ended.
enum FetchEnd {
    /// Nobody takes records any more.
    Closed,
    /// A file came to its end.
    Complete,
    /// In words, and whether media had come before.
    Broken { why: String, was_live: bool },
}

impl From<Closed> for FetchEnd {
    fn from(Closed: Closed) -> Self {
        Self::Closed
    }
}

pub(super) async fn run(url: HttpUrl, feed: &mut Feed) -> Result<(), IngestError> {
    let tls = tls_connector()?;
    let mut backoff = Backoff::new();
    loop {
        let end = tokio::select! {
            dialed = open(&url, &tls) => match dialed {
                Ok(opened) => receive(opened, feed).await,
                Err(why) => FetchEnd::Broken { why, was_live: false },
            },
            () = feed.closed() => FetchEnd::Closed,
        };
        let (why, was_live) = match end {
            FetchEnd::Closed => return Ok(()),
            FetchEnd::Complete => {
                info!(source = feed.name(), "the file has ended");
                // Nobody left to tell if the receiver is gone.
                return feed.finish().await.or(Ok(()));
            }
            FetchEnd::Broken { why, was_live } => (why, was_live),
        };
        if feed.finish().await.is_err() {
            return Ok(());
        }
        if was_live {
            backoff.reset();
        }
        let again_in = backoff.delay();
        warn!(source = feed.name(), why, ?again_in, "the source is not to be had; trying again");
        feed.restarting();
        if feed.wait_until(Instant::now() + again_in).await.is_err() {
            return Ok(());
        }
    }
}

/// A response that brings media, and the task that drives its connection; dropping that ends both.
struct Opened {
    response: Response<Incoming>,
    _driver: JoinSet<()>,
}

/// Asks for `url`, and for what it redirects to.
async fn open(url: &HttpUrl, tls: &TlsConnector) -> Result<Opened, String> {
    let mut url = url.clone();
    for _ in 0..=REDIRECTS_MAX {
        let opened = timeout(DIAL_MAX, ask(&url, tls))
            .await
            .map_err(|_| format!("{url} did not answer in time"))??;
        let status = opened.response.status();
        if status.is_success() {
            return Ok(opened);
        }
        if !status.is_redirection() {
            return Err(format!("{url} answers {status}: check the URL, and that its source is on the air"));
        }
        let location = opened.response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
        url = location.and_then(|l| resolve(&url, l)).ok_or_else(|| format!("{url} redirects to nowhere"))?;
    }
    Err(format!("more than {REDIRECTS_MAX} redirects, the last to {url}"))
}

async fn ask(url: &HttpUrl, tls: &TlsConnector) -> Result<Opened, String> {
    let failed =
        |what: &str, error: &dyn std::error::Error| format!("cannot {what} {}: {error}", url.authority());
    let tcp =
        TcpStream::connect((url.host.as_str(), url.port)).await.map_err(|e| failed("connect to", &e))?;
    let io: Box<dyn Io> = if url.tls {
        let name = ServerName::try_from(url.host.clone()).map_err(|e| failed("name", &e))?;
        Box::new(tls.connect(name, tcp).await.map_err(|e| failed("agree on TLS with", &e))?)
    } else {
        Box::new(tcp)
    };
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(IcyStatus::new(io)))
        .await
        .map_err(|e| failed("speak HTTP with", &e))?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // What goes wrong here, the body tells as well.
        connection.await.ok();
    });
    let request = request(url).map_err(|e| failed("ask", &e))?;
    let response = sender.send_request(request).await.map_err(|e| failed("get an answer from", &e))?;
    Ok(Opened { response, _driver: driver })
}

/// Without `Icy-MetaData`, servers leave titles out.
fn request(url: &HttpUrl) -> Result<Request<Empty<Bytes>>, http::Error> {
    let mut request = Request::get(&url.path)
        .header(HOST, url.authority())
        .header(USER_AGENT, concat!("p2psp/", env!("CARGO_PKG_VERSION")));
    if let Some(credentials) = &url.credentials {
        let pair = format!("{}:{}", credentials.user, credentials.password);
        request = request.header(AUTHORIZATION, format!("Basic {}", BASE64.encode(pair.as_bytes())));
    }
    request.body(Empty::new())
}

async fn receive(opened: Opened, feed: &mut Feed) -> FetchEnd {
    let Opened { response, _driver } = opened;
    let header = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
    feed.cutter().hint_content_type(header(CONTENT_TYPE).unwrap_or_default());
    let interval = header(HeaderName::from_static("icy-metaint")).and_then(|n| n.parse().ok());
    let mut titles = interval.and_then(IcyStripper::new);
    // What has a length is a file, and would come as fast as the network can.
    let is_file = header(CONTENT_LENGTH).is_some();
    let (start, mut pacer) = (Instant::now(), Pacer::new(if is_file { Pace::Clock } else { Pace::Unpaced }));
    let mut body = response.into_body();
    let (mut media, mut was_live) = (Vec::new(), false);
    feed.connected();
    loop {
        let deadline = feed.silence_deadline();
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = sleep_until(deadline) => match feed.on_silence().await {
                Ok(Silence::Short) => continue,
                Ok(Silence::Stall) => {
                    return FetchEnd::Broken { why: "it has stalled".into(), was_live };
                }
                Err(closed) => return closed.into(),
            },
            () = feed.closed() => return FetchEnd::Closed,
        };
        let data = match frame {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => return FetchEnd::Broken { why: error.to_string(), was_live },
            None if is_file => return FetchEnd::Complete,
            None => return FetchEnd::Broken { why: "the server has ended it".into(), was_live },
        };
        match &mut titles {
            Some(titles) => titles.strip(data, &mut media),
            None => media.push(data),
        }
        for bytes in media.drain(..) {
            was_live |= !bytes.is_empty();
            let pushed = if is_file {
                push_paced(bytes, &mut pacer, start, feed).await
            } else {
                feed.push(&bytes).await
            };
            if let Err(closed) = pushed {
                return closed.into();
            }
        }
    }
}

/// The URL that a `Location` means, seen from `base`. Credentials go to no other host.
fn resolve(base: &HttpUrl, location: &str) -> Option<HttpUrl> {
    if location.contains("://") {
        let mut url = HttpUrl::parse(location).ok()?;
        if url.credentials.is_none() && url.host == base.host && url.tls >= base.tls {
            url.credentials.clone_from(&base.credentials);
        }
        return Some(url);
    }
    let path = if location.starts_with('/') {
        location.to_owned()
    } else {
        let directory = base.path.split('?').next()?.rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{directory}/{location}")
    };
    Some(HttpUrl { path, ..base.clone() })
}

fn tls_connector() -> Result<TlsConnector, rustls::Error> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connection on which the status line of Shoutcast, `ICY 200 OK`, reads as HTTP's.
struct IcyStatus<T> {
    inner: T,
    /// The first bytes while they may still be `ICY `, then what stands for them until it is read.
    first: Vec<u8>,
    decided: bool,
}

impl<T> IcyStatus<T> {
    const ICY: &[u8] = b"ICY ";

    fn new(inner: T) -> Self {
        Self { inner, first: Vec::new(), decided: false }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for IcyStatus<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.decided {
            let mut bytes = [0; 4];
            let wanted = Self::ICY.len() - self.first.len();
            let mut read = ReadBuf::new(bytes.get_mut(..wanted).unwrap_or_default());
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut read))?;
            let ended = read.filled().is_empty();
            self.first.extend_from_slice(read.filled());
            let is_icy = Self::ICY.starts_with(&self.first);
            self.decided = ended || !is_icy || self.first.len() == Self::ICY.len();
            if self.first == Self::ICY {
                self.first = b"HTTP/1.0 ".to_vec();
            }
        }
        if self.first.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, out);
        }
        let n = self.first.len().min(out.remaining());
        let mut first = self.first.as_slice();
        out.put_slice(first.get(..n).unwrap_or_default());
        first.advance(n);
        self.first = first.to_vec();
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for IcyStatus<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_followed_as_a_browser_would_but_passwords_stay() {
        let base = HttpUrl::parse("https://me:secret@a.example/live/now.ts?x=1").unwrap();
        for (location, expected, keeps) in [
            ("http://b.example/c", Some("http://b.example/c"), false),
            ("https://a.example:8443/c", Some("https://a.example:8443/c"), true),
            ("http://a.example/c", Some("http://a.example/c"), false),
            ("/other", Some("https://a.example/other"), true),
            ("next.ts", Some("https://a.example/live/next.ts"), true),
            ("ftp://a.example/c", None, false),
        ] {
            let url = resolve(&base, location);
            assert_eq!(url.as_ref().map(ToString::to_string).as_deref(), expected, "{location}");
            assert_eq!(url.is_some_and(|u| u.credentials.is_some()), keeps, "{location}");
        }
    }

    #[tokio::test]
    async fn a_shoutcast_status_line_reads_as_http() {
        use tokio::io::AsyncReadExt;

        for (stream, expected) in [
            ("ICY 200 OK\r\n\r\nmedia", "HTTP/1.0 200 OK\r\n\r\nmedia"),
            ("HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n"),
            ("IC", "IC"),
            ("", ""),
        ] {
            let mut text = String::new();
            IcyStatus::new(stream.as_bytes()).read_to_string(&mut text).await.unwrap();
            assert_eq!(text, expected);
        }
    }
}
