//! The admin port: what is served, on which addresses, and until when. Owns listeners, connections and whether the process counts as
//! ready; what is answered is decided in [`route`] and in the services.

mod door;
mod route;

use crate::{
    access::{Caller, Scope},
    backend::{PeerBackend, Process, SplitterBackend},
    bind::{Accepted, Bind, BindError, Listener},
    guard::{Guard, GuardError, Renewed},
    metrics,
    service::limits::{CONNECTIONS_MAX, STREAMS_MAX},
    v1::{Info, RuntimeState},
};
use futures_util::future::{join, join_all};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use route::{App, Visit};
use std::{
    convert::Infallible,
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

/// Pause after the system refused to hand over a connection, usually for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may go without showing a token, where tokens are asked for; longer than any client's first call, short
/// enough that strangers do not fill the port by doing nothing.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an idle HTTP/2 connection is asked for a sign of life, and how long that may take: who reads nothing gives none.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head of a request.
const HEAD_BYTES_MAX: u32 = 16 * 1024;
/// How long calls that are under way get when the process ends.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// How often the health service looks whether the process is ready.
const HEALTH_PERIOD: Duration = Duration::from_secs(1);

/// What the admin API is about: one process with one role.
#[derive(Clone)]
pub struct Admin {
    pub(crate) process: Arc<dyn Process>,
    pub(crate) role: Role,
}

/// The backend of a role.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    Splitter(Arc<dyn SplitterBackend>),
    Peer(Arc<dyn PeerBackend>),
}

impl Admin {
    /// The admin API of a splitter.
    #[must_use]
    pub fn splitter(process: Arc<dyn Process>, backend: Arc<dyn SplitterBackend>) -> Self {
        Self { process, role: Role::Splitter(backend) }
    }

    /// The admin API of a peer.
    #[must_use]
    pub fn peer(process: Arc<dyn Process>, backend: Arc<dyn PeerBackend>) -> Self {
        Self { process, role: Role::Peer(backend) }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("role", &self.role).finish_non_exhaustive()
    }
}

/// What all parts of the API share.
#[derive(Debug)]
pub(crate) struct Shared {
    role: Role,
    draining: watch::Sender<bool>,
    closing: watch::Sender<bool>,
}

impl Shared {
    /// The process as it is now.
    pub(crate) fn info(&self) -> Info {
        let mut info = match &self.role {
            Role::Splitter(backend) => backend.info(),
            Role::Peer(backend) => backend.info(),
        };
        info.pid = std::process::id();
        if *self.draining.borrow() {
            info.set_state(RuntimeState::Draining);
            "the process is leaving".clone_into(&mut info.reason);
        }
        info
    }

    /// The process counts as leaving from now on.
    pub(crate) fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// Turns true when the API itself ends.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// What Prometheus is told.
    fn metrics(&self) -> String {
        let info = self.info();
        match &self.role {
            Role::Splitter(backend) => {
                metrics::splitter(&info, &metrics::SplitterView::new(backend.team(), backend.channel()))
            }
            Role::Peer(backend) => metrics::peer(&info, &metrics::PeerView::new(backend.status())),
        }
    }
}

/// Open addresses; they answer once [`Server::run`] is polled.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Listener>,
    doors: Doors,
}

/// What stands at open addresses; it can be changed while they answer. Clones are of the same addresses.
#[derive(Clone, Debug)]
pub struct Doors {
    binds: Arc<[Bind]>,
    guard: watch::Sender<Guard>,
}

impl Doors {
    /// Puts another guard there, for everyone who comes from now on. Connections that are open go on if only the certificate is
    /// another one; if it is who is let in, those over TCP are closed within a second, so that nobody stays who would not be let in
    /// any more.
    ///
    /// # Errors
    ///
    /// It would leave an address open to others: then everything stays as it is.
    pub fn replace(&self, guard: Guard) -> Result<Renewed, GuardError> {
        self.binds.iter().try_for_each(|bind| guard.covers(bind))?;
        let mut renewed = Renewed::default();
        self.guard.send_if_modified(|old| {
            renewed = guard.renewed(old);
            *old = guard;
            renewed != Renewed::default()
        });
        Ok(renewed)
    }
}

impl Server {
    /// Opens all addresses. Unix sockets ask nothing but their owner's rights; loopback asks for tokens if there are any; all
    /// others speak TLS and ask for whatever `guard` has.
    ///
    /// # Errors
    ///
    /// One of them cannot be had, or others could reach it and nobody would ask who they are; the error says what to do.
    pub async fn open(binds: &[Bind], guard: Guard) -> Result<Self, BindError> {
        binds.iter().try_for_each(|bind| guard.covers(bind))?;
        let (mut listeners, mut real) = (Vec::new(), Vec::new());
        for bind in binds {
            let listener = Listener::open(bind).await?;
            real.push(listener.bind().map_err(|source| BindError::Other { bind: bind.clone(), source })?);
            listeners.push(listener);
        }
        Ok(Self { listeners, doors: Doors { binds: real.into(), guard: watch::Sender::new(guard) } })
    }

    /// The addresses with their real ports.
    #[must_use]
    pub fn binds(&self) -> &[Bind] {
        &self.doors.binds
    }

    /// How what stands at them is changed.
    #[must_use]
    pub fn doors(&self) -> Doors {
        self.doors.clone()
    }

    /// Answers until `end` ends. From the end of `leaving` on the process counts as not ready.
    pub async fn run(self, admin: Admin, leaving: impl Future<Output = ()>, end: impl Future<Output = ()>) {
        let (draining, closing) = (watch::channel(false).0, watch::channel(false).0);
        let shared = Arc::new(Shared { role: admin.role.clone(), draining, closing });
        let app = Arc::new(App::new(admin, Arc::clone(&shared), self.doors.guard.subscribe()));
        let leave = async {
            leaving.await;
            shared.drain();
            std::future::pending::<()>().await;
        };
        let ended = async {
            end.await;
            shared.closing.send_replace(true);
        };
        let doors = self.listeners.into_iter().zip(self.doors.binds.iter());
        let serve = doors.map(|(listener, bind)| {
            let guard = self.doors.guard.subscribe();
            let door = Door { is_remote: bind.remote().is_some(), guard, app: Arc::clone(&app) };
            serve(listener, door, shared.closing())
        });
        let serve = join_all(serve);
        tokio::select! {
            _ = join(serve, ended) => {}
            () = leave => {}
            () = watch_health(&app, &shared) => {}
        }
    }
}

/// Tells the health service whether the process is ready; never ends.
async fn watch_health(app: &App, shared: &Shared) {
    let mut ticks = interval(HEALTH_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut draining = shared.draining.subscribe();
    loop {
        app.set_health(shared.info().state() == RuntimeState::Ready).await;
        tokio::select! {
            _ = ticks.tick() => {}
            _ = draining.changed() => {}
        }
    }
}

/// Waits for the end of the API.
async fn over(closing: &mut watch::Receiver<bool>) {
    // Without a sender it is over, too.
    closing.wait_for(|closing| *closing).await.ok();
}

/// What stands behind an address.
#[derive(Clone)]
struct Door {
    /// Other machines reach it.
    is_remote: bool,
    guard: watch::Receiver<Guard>,
    app: Arc<App>,
}

/// Serves the connections of one address until the API ends.
async fn serve(listener: Listener, door: Door, mut closing: watch::Receiver<bool>) {
    // Each connection's task ends by itself on errors and is cut, at the latest, when this set is dropped.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = over(&mut closing) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok(_) if connections.len() >= CONNECTIONS_MAX => {
                    door.app.refused(&format_args!("a connection: {CONNECTIONS_MAX} are open already"));
                }
                Ok(accepted) => {
                    connections.spawn(welcome(accepted, door.clone(), closing.clone()));
                }
                Err(error) => {
                    warn!(%error, "cannot take an admin connection");
                    sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    drop(listener);
    let drain = async { while connections.join_next().await.is_some() {} };
    // Whoever still reads then is cut.
    timeout(CLOSE_GRACE, drain).await.ok();
    connections.shutdown().await;
}

/// Finds out who comes, as far as the connection says, and serves them.
async fn welcome(accepted: Accepted, door: Door, closing: watch::Receiver<bool>) {
    let Door { is_remote, guard: doors, app } = door;
    let guard = doors.borrow().clone();
    match accepted {
        Accepted::Unix(stream) => {
            let name =
                stream.peer_cred().map_or_else(|_| "socket".to_owned(), |who| format!("uid {}", who.uid()));
            let visit = Visit { caller: Some(Caller::new(&name, Scope::Admin)), is_local_port: false };
            // Whoever opens the socket may stay, whatever is asked elsewhere.
            connection(stream, visit, app, closing, std::future::pending()).await;
        }
        Accepted::Tcp(stream, _) if !is_remote => {
            let caller = guard.tokens.is_none().then(|| Caller::new("loopback", Scope::Admin));
            let visit = Visit { caller, is_local_port: true };
            connection(stream, visit, app, closing, changed(doors, guard)).await;
        }
        Accepted::Tcp(stream, from) => {
            // The guard covers the address, so there is one.
            let Some(tls) = guard.tls.clone() else { return };
            let stream = match timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(tls).accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return app.refused(&format_args!("{from}: {error}")),
                Err(_) => {
                    return app.refused(&format_args!("{from}: no handshake within {HANDSHAKE_TIMEOUT:?}"));
                }
            };
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let caller = match (&guard.tokens, certificate) {
                (None, Some(certificate)) => {
                    Some(Caller::new(&format!("certificate {}", fingerprint(certificate)), Scope::Admin))
                }
                _ => None,
            };
            let visit = Visit { caller, is_local_port: false };
            connection(stream, visit, app, closing, changed(doors, guard)).await;
        }
    }
}

/// Waits until others are let in than `guard` lets in.
async fn changed(mut doors: watch::Receiver<Guard>, guard: Guard) {
    if doors.wait_for(|new| new.renewed(&guard).callers).await.is_err() {
        // Nobody is left who could change it.
        std::future::pending::<()>().await;
    }
}

/// The beginning of a certificate's SHA-256, as `openssl x509 -fingerprint -sha256` tells it, in lower case and without colons.
fn fingerprint(certificate: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, certificate);
    hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

async fn connection<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    visit: Visit,
    app: Arc<App>,
    mut closing: watch::Receiver<bool>,
    changed: impl Future<Output = ()>,
) {
    let known = AtomicBool::new(visit.caller.is_some());
    let (visit, known) = (Arc::new(visit), Arc::new(known));
    let shown = Arc::clone(&known);
    let service = service_fn(move |request: Request<Incoming>| {
        let (app, visit, shown) = (Arc::clone(&app), Arc::clone(&visit), Arc::clone(&shown));
        async move { Ok::<_, Infallible>(app.answer(&visit, &shown, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let strange = async {
        sleep(TOKEN_TIMEOUT).await;
        if known.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = over(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = changed => {
            connection.as_mut().graceful_shutdown();
            // What still runs then was begun under the old guard.
            match timeout(CLOSE_GRACE, connection).await {
                Ok(result) => result,
                Err(_) => return debug!("an admin connection was cut: who is let in has changed"),
            }
        }
        () = strange => return debug!("an admin connection was closed: it showed no token"),
    };
    if let Err(error) = result {
        debug!(%error, "an admin connection ended early");
    }
}
