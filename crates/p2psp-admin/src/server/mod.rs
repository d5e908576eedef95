//! The admin port: what is served, on which addresses, and until when. Owns listeners, connections and whether the process counts as
//! ready; what is answered is decided in [`route`] and in the services.

mod calls;
mod crowd;
mod door;
mod patient;
mod refusals;
mod reply;
mod route;
pub(crate) mod tls;

use crate::{
    access::{Caller, Scope},
    backend::{PeerBackend, Process, SplitterBackend},
    bind::{Accepted, Bind, BindError, Listener},
    causes::{causes, chain},
    guard::{Guard, GuardError, Renewed, certificate_name},
    metrics,
    service::limits::{CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_BYTES_READ, STREAMS_MAX},
    v1::{Info, RuntimeState},
};
use crowd::{Crowd, Room};
use futures_util::future::{join, join_all};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use patient::Patient;
use reply::Carriers;
use route::{App, Visit};
use std::{
    convert::Infallible,
    error::Error,
    fmt, io,
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
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{debug, warn};

/// Pause after the system refused to hand over a connection, usually for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How long a connection may go without a request of someone who is let in; longer than any client's first call, short enough that
/// nobody fills the port by doing nothing.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an idle HTTP/2 connection is asked for a sign of life, and how long that may take: who reads nothing gives none, also where
/// what it left unread has room in the system's buffers. Together as long as [`UNREAD_MAX`](crate::limits::UNREAD_MAX).
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer's pieces that wait for room in a connection, each call.
const SEND_BYTES_MAX: usize = 16 * 1024;
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
    /// Whether [`Self::replace`] would take it.
    ///
    /// # Errors
    ///
    /// It would leave an address open to others.
    pub fn check(&self, guard: &Guard) -> Result<(), GuardError> {
        self.binds.iter().try_for_each(|bind| guard.covers(bind))
    }

    /// Puts another guard there, for everyone who comes from now on. Connections that are open go on if only the certificate is
    /// another one; if it is who is let in, those over TCP are closed within a second, so that nobody stays who would not be let in
    /// any more.
    ///
    /// # Errors
    ///
    /// It would leave an address open to others: then everything stays as it is.
    pub fn replace(&self, guard: Guard) -> Result<Renewed, GuardError> {
        self.check(&guard)?;
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
        let serve = async {
            join_all(serve).await;
            // What was begun is told to the audit, if it ends soon.
            timeout(CLOSE_GRACE, app.over()).await.ok();
        };
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
    let mut told = None;
    loop {
        // Whoever watches hears of changes only.
        let is_ready = shared.info().state() == RuntimeState::Ready;
        if told.replace(is_ready) != Some(is_ready) {
            app.set_health(is_ready).await;
        }
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
    // Each connection's task ends by itself on errors and is cut, at the latest, when the crowd is dropped.
    let mut crowd = Crowd::default();
    loop {
        tokio::select! {
            () = over(&mut closing) => break,
            () = crowd.left() => {}
            accepted = listener.accept() => match accepted {
                Ok(accepted) => take(accepted, &door, &closing, &mut crowd),
                Err(error) => {
                    warn!(%error, "cannot take an admin connection");
                    sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    drop(listener);
    // Whoever still reads then is cut.
    timeout(CLOSE_GRACE, crowd.gone()).await.ok();
    crowd.close().await;
}

/// Lets a connection in, if there is room.
fn take(accepted: Accepted, door: &Door, closing: &watch::Receiver<bool>, crowd: &mut Crowd) {
    let from = accepted.from();
    let told = |from: &Arc<str>, what: &str| {
        let why = format!("{CONNECTIONS_MAX} connections are open: {what}");
        door.app.refusals().tell_connection(from, None, "CROWD", &why);
    };
    match crowd.room() {
        Room::Free => {}
        Room::GaveWay(oldest) => told(&oldest, "this one had asked for nothing, and gave way to a new one"),
        Room::Full => return told(&from, "it was closed at once"),
    }
    let known = Arc::new(AtomicBool::new(false));
    let connection = welcome(accepted, door.clone(), Arc::clone(&known), closing.clone());
    crowd.enter(from, known, connection);
}

/// Finds out who comes, as far as the connection says, and serves them.
async fn welcome(accepted: Accepted, door: Door, known: Arc<AtomicBool>, closing: watch::Receiver<bool>) {
    let Door { is_remote, guard: doors, app } = door;
    let (guard, from, asked) = (doors.borrow().clone(), accepted.from(), Arc::default());
    match accepted {
        Accepted::Unix(stream) => {
            let name =
                stream.peer_cred().map_or_else(|_| "socket".to_owned(), |who| format!("uid {}", who.uid()));
            let caller = Some(Caller::new(&name, Scope::Admin));
            let visit = Visit { from, caller, is_local_port: false, known, asked };
            // Whoever opens the socket may stay, whatever is asked elsewhere.
            connection(stream, visit, app, closing, std::future::pending()).await;
        }
        Accepted::Tcp(stream, _) if !is_remote => {
            let caller = guard.tokens.is_none().then(|| Caller::new("loopback", Scope::Admin));
            let visit = Visit { from, caller, is_local_port: true, known, asked };
            connection(stream, visit, app, closing, changed(doors, guard)).await;
        }
        Accepted::Tcp(stream, _) => {
            // The guard covers the address, so there is one.
            let Some(config) = guard.tls.clone() else { return };
            let stream = match tls::accept(config, stream).await {
                Ok(stream) => stream,
                Err(tls::Failure { reason, why }) => {
                    return app.refusals().tell_connection(&from, None, reason, &why);
                }
            };
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let caller = match (&guard.tokens, certificate) {
                (None, Some(certificate)) => Some(Caller::new(&certificate_name(certificate), Scope::Admin)),
                _ => None,
            };
            let visit = Visit { from, caller, is_local_port: false, known, asked };
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

async fn connection<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    visit: Visit,
    app: Arc<App>,
    mut closing: watch::Receiver<bool>,
    changed: impl Future<Output = ()>,
) {
    let known = Arc::clone(&visit.known);
    let asked = Arc::clone(&visit.asked);
    let (from, by) = (Arc::clone(&visit.from), visit.caller.as_ref().map(|caller| Arc::clone(&caller.name)));
    let refusals = Arc::clone(app.refusals());
    let visit = Arc::new(visit);
    let service = service_fn(move |request: Request<Incoming>| {
        let (app, visit) = (Arc::clone(&app), Arc::clone(&visit));
        async move { Ok::<_, Infallible>(app.answer(&visit, request).await) }
    });
    let mut builder = auto::Builder::new(Carriers);
    // A head that is too long in HTTP/1.1 is refused by its own rules.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_header_list_size(HEAD_BYTES_READ);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(Patient::new(stream)), service));
    let strange = async {
        sleep(STRANGER_TIMEOUT).await;
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
        () = strange => {
            let why = format!("no request of anyone who is let in within {STRANGER_TIMEOUT:?}");
            return match asked.load(Ordering::Relaxed) {
                true => debug!(%why, "an admin connection was closed"),
                false => refusals.tell_connection(&from, by.as_ref(), "SILENT", &why),
            };
        }
    };
    let Err(error) = result else { return };
    match ended_by(error.as_ref()) {
        // A connection that is kept for later, as scrapers do, ends in silence.
        Some("SILENT") | None if asked.load(Ordering::Relaxed) => debug!(%error, "an admin connection ended"),
        Some(reason) => refusals.tell_connection(&from, by.as_ref(), reason, &chain(error.as_ref())),
        None => debug!(%error, "an admin connection ended early"),
    }
}

/// Why the server ended a connection; `None` where the other side went away.
fn ended_by(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut reason = None;
    for cause in causes(error) {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return (error.kind() == io::ErrorKind::TimedOut).then_some("UNREAD");
        }
        if let Some(error) = cause.downcast_ref::<hyper::Error>() {
            reason = match error {
                gone if gone.is_incomplete_message() || gone.is_closed() || gone.is_canceled() => None,
                // A ping that was not answered is the source of this one; a head that did not come has none.
                late if late.is_timeout() && late.source().is_some() => Some("UNREAD"),
                late if late.is_timeout() => Some("SILENT"),
                _ => Some("NO_HTTP"),
            };
        }
    }
    reason
}
