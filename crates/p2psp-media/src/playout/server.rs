//! The listening socket and its connections. Owns their number, their deadlines and the shutdown; what is answered is
//! decided in [`super::routes`].

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use serde_json::Value;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::body::Closing;
use super::config::{PlayoutConfig, REFUSALS_MAX, REQUEST_HEAD_BYTES_MAX};
use super::counters::{Counters, PlayoutStats, count};
use super::guard::GuardedIo;
use super::routes::{App, answer, answer_full};
use super::shared::SharedSpool;

/// Pause after the system refused to hand over a connection, usually for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Why the player port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Someone else listens there.
    #[error(
        "player port {port} on {ip} is in use by another program: choose another port with --player, or 0 for any \
         free one",
        port = .0.port(), ip = .0.ip()
    )]
    InUse(SocketAddr),
    /// The system reserves the port.
    #[error(
        "player port {port} needs privileges that this process lacks: choose one above 1023 with --player",
        port = .0.port()
    )]
    Denied(SocketAddr),
    /// No interface has the address.
    #[error("player address {ip} is not one of this machine's: choose another, or 127.0.0.1", ip = .0.ip())]
    NotOurs(SocketAddr),
    /// Anything else.
    #[error("cannot open player port {address}: {source}; choose another address with --player")]
    Other {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Connections that ended by themselves within the grace period.
    pub finished: usize,
    /// Connections that were cut when it was over.
    pub aborted: usize,
}

/// A bound player port. It answers once [`PlayoutServer::run`] is polled.
pub struct PlayoutServer {
    listener: TcpListener,
    local: SocketAddr,
    app: Arc<App>,
    closing: watch::Sender<bool>,
}

impl std::fmt::Debug for PlayoutServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlayoutServer").field("local", &self.local).finish_non_exhaustive()
    }
}

impl PlayoutServer {
    /// Opens the port. `stats` gives the JSON object behind `/stats` and `/events`; it is called once a second per
    /// event feed, on the server's task, and must not block.
    ///
    /// # Errors
    /// The port cannot be had; the error says what to do.
    pub async fn bind(
        config: PlayoutConfig,
        spool: SharedSpool,
        stats: impl Fn() -> Value + Send + Sync + 'static,
    ) -> Result<Self, BindError> {
        let address = config.listen;
        let listener = TcpListener::bind(address).await.map_err(|source| bind_error(address, source))?;
        let local = listener.local_addr().map_err(|source| bind_error(address, source))?;
        let (closing, closing_seen) = watch::channel(false);
        let app = App {
            config,
            spool,
            counters: Arc::new(Counters::default()),
            stats: Box::new(stats),
            closing: Closing(closing_seen),
        };
        Ok(Self { listener, local, app: Arc::new(app), closing })
    }

    /// The address really listened on, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The player page's URL for a browser on this machine.
    pub fn player_url(&self) -> String {
        let mut address = self.local;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("http://{address}/")
    }

    /// A function that gives the port's counters, also while it runs and after.
    pub fn stats(&self) -> impl Fn() -> PlayoutStats + Send + Sync + 'static {
        let app = Arc::clone(&self.app);
        move || app.snapshot()
    }

    /// A function that gives when the first stream byte of all went to a player.
    pub fn first_byte(&self) -> impl Fn() -> Option<Instant> + Send + Sync + 'static {
        let app = Arc::clone(&self.app);
        move || app.counters.first_byte.get().copied()
    }

    /// Serves until `shutdown` ends; then takes no more connections, lets streams send what the ring still holds for
    /// them, and cuts what is left after [`PlayoutConfig::shutdown_grace`].
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> ShutdownReport {
        let Self { listener, app, closing, .. } = self;
        let mut shutdown = pin!(shutdown);
        // Each connection's task ends by itself on errors and is cut, at the latest, when this set is dropped.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.as_mut() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => admit(&app, stream, &mut connections),
                    Err(error) => {
                        warn!(%error, "cannot take a player's connection");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                },
            }
        }
        drop(listener);
        closing.send_replace(true);
        let open = connections.len();
        let drain = async { while connections.join_next().await.is_some() {} };
        // Running out of time is one of the two expected outcomes, told by what is left.
        timeout(app.config.shutdown_grace, drain).await.ok();
        let aborted = connections.len();
        connections.shutdown().await;
        ShutdownReport { finished: open - aborted, aborted }
    }
}

fn admit(app: &Arc<App>, stream: TcpStream, connections: &mut JoinSet<()>) {
    let limit = app.config.connections_max;
    if connections.len() >= limit.saturating_add(REFUSALS_MAX) {
        count(&app.counters.refused_full);
        return;
    }
    let full = connections.len() >= limit;
    connections.spawn(serve(Arc::clone(app), stream, full));
}

async fn serve(app: Arc<App>, stream: TcpStream, full: bool) {
    let Ok(local) = stream.local_addr() else { return };
    let socket = SockRef::from(&stream);
    // Both are tuning: without them the stream still plays.
    if let Err(error) =
        socket.set_tcp_nodelay(true).and_then(|()| socket.set_send_buffer_size(app.config.send_buffer_bytes))
    {
        debug!(%error, "cannot tune a player's socket");
    }
    let io = GuardedIo::new(stream, app.config.stalled_max, Arc::clone(&app.counters));
    let service = service_fn(|request: Request<Incoming>| {
        let app = Arc::clone(&app);
        async move {
            // Nothing here takes a request body: dropping it makes the connection close instead of reading on.
            let (request, _) = request.into_parts();
            let reply = if full { answer_full(&app) } else { answer(&app, local, &request).await };
            Ok::<_, Infallible>(reply)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.config.header_timeout)
        .max_buf_size(REQUEST_HEAD_BYTES_MAX)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = app.closing.clone().begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        if error.is_timeout() {
            count(&app.counters.idle);
        } else if error.is_parse() {
            count(&app.counters.refused_malformed);
        }
        debug!(%error, "a player's connection ended early");
    }
}

fn bind_error(address: SocketAddr, source: io::Error) -> BindError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the kinds with a next step of their own; the rest is told as is"
    )]
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        io::ErrorKind::PermissionDenied => BindError::Denied(address),
        io::ErrorKind::AddrNotAvailable => BindError::NotOurs(address),
        _ => BindError::Other { address, source },
    }
}
