//! The door where publishers come: HTTP PUT and POST, Icecast PUT and SOURCE. One publisher at a time; a newcomer is
//! refused while another sends, and takes over once that one has been silent for a while.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use data_encoding::BASE64;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::IngestError;
use super::feed::{Closed, Feed};
use super::http_body::{BodyDecoder, Decoded};
use super::http_head::{Framing, Head, HeadError, parse_head};
use super::pump::reserve;
use super::reply::Reply;
use super::source::{Credentials, Listen};
use super::status::IngestState;

/// Connections that may be in the course of saying what they want, or of being told no. Further ones are closed.
const GREETINGS_MAX: usize = 16;
/// A request's head must be there after so long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests on one connection before the one that brings the stream: libshout asks for options first.
const REQUESTS_MAX: usize = 4;
/// A publisher that is silent for so long is hung up on: its connection is most likely dead.
const PUBLISHER_SILENCE_MAX: Duration = Duration::from_secs(60);
/// After an accept failed, for want of file descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn run(listen: &Listen, feed: &mut Feed) -> Result<(), IngestError> {
    let bind_error = |source| IngestError::Bind { address: listen.address, source };
    let listener = TcpListener::bind(listen.address).await.map_err(bind_error)?;
    let local = listener.local_addr().map_err(bind_error)?;
    feed.update(|status| status.local_address = Some(local));
    if listen.credentials.is_none() && !local.ip().is_loopback() {
        warn!(%local, "anyone who reaches this port can publish: set a password, as in push:source:PASSWORD@{local}");
    }
    info!(%local, "waiting for a publisher");
    let mut door = Door { listen: listen.clone(), greetings: JoinSet::new(), publisher: None, publishers: 0 };
    loop {
        let deadline = feed.silence_deadline();
        let served = tokio::select! {
            accepted = listener.accept() => door.on_accept(accepted, feed).await,
            Some(greeted) = door.greetings.join_next() => match greeted {
                Ok(Greeting::Candidate(candidate)) => door.on_candidate(*candidate, feed).await,
                Ok(Greeting::Refused) => {
                    feed.update(|status| status.refused += 1);
                    Ok(())
                }
                Ok(Greeting::Gone) | Err(_) => Ok(()),
            },
            media = next(&mut door.publisher) => door.on_media(media, feed).await,
            () = sleep_until(deadline), if door.publisher.is_some() => door.on_silence(feed).await,
            () = feed.closed() => Err(Closed),
        };
        if let Err(Closed) = served {
            return Ok(());
        }
    }
}

struct Door {
    listen: Listen,
    greetings: JoinSet<Greeting>,
    publisher: Option<Publisher>,
    publishers: u64,
}

/// How the first words with a connection went.
enum Greeting {
    Candidate(Box<Candidate>),
    Refused,
    /// It left, or was only told no.
    Gone,
}

/// A connection that may bring the stream.
struct Candidate {
    stream: TcpStream,
    address: SocketAddr,
    head: Head,
    /// What came after the head.
    buf: BytesMut,
}

struct Publisher {
    stream: TcpStream,
    address: SocketAddr,
    body: BodyDecoder,
    buf: BytesMut,
    heard: Instant,
    /// It is told that all went well when its body has ended; otherwise it was told at once.
    reply_at_end: bool,
}

impl Door {
    async fn on_accept(
        &mut self,
        accepted: io::Result<(TcpStream, SocketAddr)>,
        feed: &Feed,
    ) -> Result<(), Closed> {
        match accepted {
            Ok((stream, address)) if self.greetings.len() < GREETINGS_MAX => {
                self.greetings.spawn(greet(stream, address, self.listen.clone()));
            }
            Ok((_, address)) => {
                debug!(%address, "too many connections are waiting to publish: closed this one");
                feed.update(|status| status.refused += 1);
            }
            Err(error) => {
                warn!(%error, "cannot accept a publisher's connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
        Ok(())
    }

    async fn on_candidate(&mut self, candidate: Candidate, feed: &mut Feed) -> Result<(), Closed> {
        let takeover_after = feed.options.takeover_after;
        let Candidate { mut stream, address, head, buf } = candidate;
        if let Some(current) = &self.publisher {
            if current.heard.elapsed() < takeover_after {
                warn!(%address, current = %current.address, "refused a second publisher while another is sending");
                feed.update(|status| status.refused += 1);
                let silent_s = takeover_after.as_secs().max(1);
                self.greetings.spawn(async move {
                    Reply::Conflict { icecast: head.is_icecast, silent_s }.send_last(stream).await;
                    Greeting::Gone
                });
                return Ok(());
            }
            info!(%address, previous = %current.address, "a new publisher takes over from a silent one");
            self.publisher = None;
            feed.finish().await?;
        }
        // A body of known end is answered when it has ended, except that Icecast's tools send only after a 200.
        let reply_at_end = head.expects_continue || !matches!(head.framing, Framing::ToEnd);
        let welcome = match (head.expects_continue, reply_at_end) {
            (true, _) => Reply::Continue.send(&mut stream).await,
            (false, true) => true,
            (false, false) => Reply::Ok.send(&mut stream).await,
        };
        if !welcome {
            debug!(%address, "a publisher left before it was welcomed");
            return Ok(());
        }
        info!(%address, path = head.path, method = head.method, "a publisher came");
        if self.publishers > 0 {
            feed.restarting();
        }
        self.publishers += 1;
        feed.cutter().hint_content_type(head.content_type.as_deref().unwrap_or_default());
        feed.connected();
        let body = BodyDecoder::new(head.framing);
        self.publisher = Some(Publisher { stream, address, body, buf, heard: Instant::now(), reply_at_end });
        Ok(())
    }

    async fn on_media(
        &mut self,
        media: Result<Option<Bytes>, String>,
        feed: &mut Feed,
    ) -> Result<(), Closed> {
        let why = match media {
            Ok(Some(bytes)) => return feed.push(&bytes).await,
            Ok(None) => "it has ended".to_owned(),
            Err(why) => why,
        };
        self.part(&why, feed).await
    }

    async fn on_silence(&mut self, feed: &mut Feed) -> Result<(), Closed> {
        feed.on_silence().await?;
        let dead = self.publisher.as_ref().is_some_and(|p| p.heard.elapsed() >= PUBLISHER_SILENCE_MAX);
        if dead { self.part("it was silent for too long", feed).await } else { Ok(()) }
    }

    async fn part(&mut self, why: &str, feed: &mut Feed) -> Result<(), Closed> {
        let Some(publisher) = self.publisher.take() else { return Ok(()) };
        info!(address = %publisher.address, why, "the publisher is gone; waiting for the next");
        let broken = !publisher.body.may_end();
        if publisher.reply_at_end || broken {
            self.greetings.spawn(async move {
                let reply =
                    if broken { Reply::BadRequest("the body was cut short or is broken") } else { Reply::Ok };
                reply.send_last(publisher.stream).await;
                Greeting::Gone
            });
        }
        feed.finish().await?;
        feed.set_state(IngestState::Connecting);
        Ok(())
    }
}

/// The publisher's next bytes; never resolves without a publisher. Safe to cancel.
async fn next(publisher: &mut Option<Publisher>) -> Result<Option<Bytes>, String> {
    let Some(publisher) = publisher else { return std::future::pending().await };
    loop {
        match publisher.body.decode(&mut publisher.buf) {
            Ok(Decoded::Data(bytes)) => {
                publisher.heard = Instant::now();
                return Ok(Some(bytes));
            }
            Ok(Decoded::End) => return Ok(None),
            Ok(Decoded::NeedMore) => {}
            Err(error) => return Err(error.to_string()),
        }
        reserve(&mut publisher.buf);
        match publisher.stream.read_buf(&mut publisher.buf).await {
            Ok(0) if publisher.body.may_end() => return Ok(None),
            Ok(0) => return Err("its connection ended before its body".into()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Reads what a connection wants, and refuses what cannot be.
async fn greet(mut stream: TcpStream, address: SocketAddr, listen: Listen) -> Greeting {
    let mut buf = BytesMut::new();
    for _ in 0..REQUESTS_MAX {
        let head = match timeout(HEAD_TIMEOUT, read_head(&mut stream, &mut buf)).await {
            Ok(Ok(Some(head))) => head,
            Ok(Ok(None)) => return Greeting::Gone,
            Ok(Err(error)) => {
                debug!(%address, %error, "refused a request");
                let why = error.to_string();
                let reply = match error {
                    HeadError::TooLarge | HeadError::TooManyFields => Reply::HeadTooLarge(&why),
                    HeadError::Malformed | HeadError::Length | HeadError::Coding => Reply::BadRequest(&why),
                };
                reply.send_last(stream).await;
                return Greeting::Refused;
            }
            Err(_) => {
                Reply::Timeout.send_last(stream).await;
                return Greeting::Refused;
            }
        };
        if head.method == "OPTIONS" {
            if !Reply::Options.send(&mut stream).await {
                return Greeting::Gone;
            }
            continue;
        }
        let refusal = judge(&head, &listen);
        if let Some(reply) = refusal {
            info!(%address, method = head.method, path = head.path, ?reply, "refused a publisher");
            reply.send_last(stream).await;
            return Greeting::Refused;
        }
        return Greeting::Candidate(Box::new(Candidate { stream, address, head, buf }));
    }
    Greeting::Refused
}

/// `None` if the connection ended.
async fn read_head(stream: &mut TcpStream, buf: &mut BytesMut) -> Result<Option<Head>, HeadError> {
    loop {
        if let Some((head, len)) = parse_head(buf)? {
            // The head is done with; what follows is media.
            drop(buf.split_to(len));
            return Ok(Some(head));
        }
        match stream.read_buf(buf).await {
            Ok(n) if n > 0 => {}
            Ok(_) | Err(_) => return Ok(None),
        }
    }
}

/// Why this request brings no stream.
fn judge<'a>(head: &Head, listen: &'a Listen) -> Option<Reply<'a>> {
    if !matches!(head.method.as_str(), "PUT" | "POST" | "SOURCE") {
        return Some(Reply::NotAllowed);
    }
    if let Some(wanted) = &listen.credentials
        && !is_authorized(head.authorization.as_deref(), wanted)
    {
        return Some(Reply::Unauthorized);
    }
    match &listen.path {
        Some(path) if *path != head.path => Some(Reply::NotFound { path }),
        Some(_) | None => None,
    }
}

/// Basic authentication, RFC 7617.
fn is_authorized(field: Option<&str>, wanted: &Credentials) -> bool {
    let given = field
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, token)| BASE64.decode(token.trim().as_bytes()).ok())
        .unwrap_or_default();
    let wanted = format!("{}:{}", wanted.user, wanted.password);
    // In a time that does not depend on where they differ.
    given.len() == wanted.len()
        && given.iter().zip(wanted.bytes()).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}
