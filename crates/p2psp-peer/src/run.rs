//! A running peer: starts node and player port, watches over both, and takes them down in order.

use crate::{
    admin::{self, Backend},
    bridge::{Bridge, millis},
    config::{Config, Player},
    error::{Ended, RunError, StartError},
    progress::{Progress, Trouble},
    reach,
    snapshot::{Figures, Snapshot, Subject},
};
use p2psp_admin::{Journal, PeerBackend, unix_ms, v1};
use p2psp_core::{LeftReason, Peer, PeerConfig};
use p2psp_media::playout::{self, PlayoutServer, PlayoutStats, SharedSpool, ShutdownReport, SpoolLimits};
use p2psp_net::{Driver, Handle, Node, NodeConfig, StatsFeed, tasks};
use p2psp_wire::PeerId;
use std::{
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep_until, timeout_at},
};
use tracing::{debug, info, warn};

/// How often the statistics are taken.
const STATS_PERIOD: Duration = Duration::from_secs(1);
/// Ports tried above the one asked for, where that is wished.
const PORTS_TRIED: u16 = 100;

/// A peer at work. Dropping it ends it without goodbye; [`Running::run_until`] is the polite way.
#[derive(Debug)]
pub struct Running {
    config: Config,
    /// The first splitter, as the link names it.
    splitter: String,
    local: SocketAddr,
    me: PeerId,
    started: Instant,
    handle: Handle<Peer>,
    driver: Driver,
    progress: watch::Receiver<Progress>,
    player: Option<PlayerPort>,
    stats: watch::Sender<Snapshot>,
    /// The teammates as operators see them.
    neighbours: Arc<Journal<v1::Neighbour>>,
    /// Their view is worth renewing before the next second.
    changed: Arc<Notify>,
    /// Somebody looks at it; for nobody it is not renewed.
    is_watched: bool,
    started_unix_ms: u64,
}

/// The player port and the task that serves it.
struct PlayerPort {
    url: String,
    address: SocketAddr,
    stats: Box<dyn Fn() -> PlayoutStats + Send + Sync>,
    first_byte: Box<dyn Fn() -> Option<Instant> + Send + Sync>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<ShutdownReport>,
}

impl Running {
    /// Opens the ports and begins to join.
    ///
    /// # Errors
    ///
    /// The splitter's name has no address, or a port cannot be had.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let started = Instant::now();
        let splitter = config.link.splitters.first().cloned().unwrap_or_default();
        let found = reach::resolve(&config.link.splitters).await?;
        let listen = config.listen.unwrap_or_else(|| reach::any_address(&found));
        let addresses = reach::reachable(listen, found);
        if addresses.is_empty() {
            return Err(StartError::Family { host: splitter, listen });
        }

        let me = config.identity.peer_id();
        let mut node_config = NodeConfig::new(listen, config.identity.clone());
        node_config.uplink_bits_per_s = config.uplink_bits_per_s;
        let node = Node::bind(node_config)?;
        let local = node.local_addr();

        let subject = Subject { peer: me, channel: config.link.channel, listen: local };
        let (stats, stats_seen) = watch::channel(Snapshot::new(&subject));
        let spool = SharedSpool::new(SpoolLimits::default());
        let player = match &config.player {
            Some(player) => Some(open_player(player, &spool, stats_seen).await?),
            None => None,
        };

        let (progress_sender, progress) = watch::channel(Progress::default());
        let mut bridge = Bridge::new(spool, progress_sender, splitter.clone(), started);
        let mut peer_config = PeerConfig::new(config.link.channel, addresses.clone());
        peer_config.candidates = reach::candidates(local, &config.advertise, &addresses);
        peer_config.eco = config.eco;
        peer_config.agent.clone_from(&config.agent);
        peer_config.relay = config.relay;
        peer_config.uplink_bits_per_s_max = Some(config.uplink_bits_per_s);
        peer_config.target_delay = config.target_delay;
        peer_config.window_chunks = config.window_chunks();
        peer_config.rejoin = config.rejoin;
        peer_config.allow_unsigned = config.allow_unsigned;
        if config.allow_unsigned {
            warn!("a stream that nobody signs would be played too: this is for laboratories");
        }
        debug!(candidates = ?peer_config.candidates, splitter = ?addresses, "joining");
        let started_unix_ms = unix_ms();
        let changed = Arc::new(Notify::new());
        let look = Arc::clone(&changed);
        let (handle, driver) = node.start(
            move |now, clock| {
                peer_config.origin_unix_us = clock.origin_unix_us();
                Peer::new(peer_config, me, seed(me), now)
            },
            move |event| {
                if admin::is_worth_a_look(&event) {
                    look.notify_one();
                }
                bridge.on_event(event);
            },
        );
        Ok(Self {
            config,
            splitter,
            local,
            me,
            started,
            handle,
            driver,
            progress,
            player,
            stats,
            neighbours: Arc::new(Journal::new(started_unix_ms)),
            changed,
            is_watched: false,
            started_unix_ms,
        })
    }

    /// This peer's identity.
    #[must_use]
    pub const fn peer_id(&self) -> PeerId {
        self.me
    }

    /// The address of its UDP socket, with the real port.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The player page, if players are served.
    #[must_use]
    pub fn player_url(&self) -> Option<&str> {
        self.player.as_ref().map(|player| player.url.as_str())
    }

    /// The statistics, renewed once a second and at the end.
    #[must_use]
    pub fn stats(&self) -> StatsFeed<Snapshot> {
        StatsFeed::new(self.stats.subscribe())
    }

    /// What operators see, for the admin API; works for as long as the peer runs.
    #[must_use]
    pub fn admin(&mut self) -> Arc<dyn PeerBackend> {
        self.is_watched = true;
        Arc::new(Backend {
            handle: self.handle.clone(),
            stats: self.stats.subscribe(),
            neighbours: Arc::clone(&self.neighbours),
            player: self.player_url().map(str::to_owned),
            started_unix_ms: self.started_unix_ms,
        })
    }

    /// Runs until the stream is over, there is no place for this peer, or `stop` ends; then leaves politely, within the
    /// grace time.
    ///
    /// # Errors
    ///
    /// [`RunError`]: no seat, expelled, or the node failed.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> Result<Ended, RunError> {
        let outcome = self.run(pin!(stop)).await;
        let until = tokio::time::Instant::now() + self.config.grace;
        if matches!(outcome, Ok(Ended::Asked)) && !self.leave(until).await {
            warn!("could not say goodbye to everyone in time; they will notice by themselves");
        }
        self.take_stats().await;
        self.handle.shutdown(until.saturating_duration_since(tokio::time::Instant::now())).await;
        if let Some(player) = self.player.take() {
            player.close().await;
        }
        outcome
    }

    async fn run(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> Result<Ended, RunError> {
        let mut ticks = interval(STATS_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let give_up_at = self.config.join_timeout.map(|span| tokio::time::Instant::now() + span);
        let mut lookup = Lookup::new(&self.config.link.splitters);
        loop {
            let (given_up, never_seated) = {
                let progress = self.progress.borrow_and_update();
                if let Some(reason) = progress.left {
                    return ended(reason, progress.trouble.clone(), progress.welcome_after.is_some());
                }
                if let (true, Some(trouble)) = (progress.is_hopeless(), &progress.trouble) {
                    return Err(RunError::NoSeat(trouble.clone()));
                }
                lookup.after(progress.losses);
                (progress.trouble.clone(), progress.welcome_after.is_none())
            };
            let patience = give_up_at.filter(|_| never_seated);
            tokio::select! {
                () = stop.as_mut() => return Ok(Ended::Asked),
                // Its sender lives as long as the driver, whose end is the next arm's business.
                Ok(()) = self.progress.changed() => {}
                end = &mut self.driver => {
                    end?;
                    return Ok(Ended::Asked);
                }
                () = sleep_until(patience.unwrap_or_else(tokio::time::Instant::now)), if patience.is_some() => {
                    let splitter = self.splitter.clone();
                    return Err(RunError::NoSeat(given_up.unwrap_or(Trouble::Unreachable { splitter })));
                }
                addresses = lookup.found() => {
                    let addresses = reach::reachable(self.local, addresses);
                    // A node that is gone ends the loop by its own arm.
                    let set = self.handle.call(move |peer, _| peer.set_splitter_addresses(addresses));
                    set.await.ok();
                }
                _ = ticks.tick() => self.take_stats().await,
                () = self.changed.notified(), if self.is_watched => {
                    let neighbours = Arc::clone(&self.neighbours);
                    let renew = move |peer: &mut Peer, _| admin::refresh(&neighbours, &peer.teammates());
                    // A node that is gone ends the loop by its own arm.
                    self.handle.call(renew).await.ok();
                }
            }
        }
    }

    /// Says goodbye; true when all of it was said before `until`.
    async fn leave(&mut self, until: tokio::time::Instant) -> bool {
        if self.handle.call(|peer, now| peer.leave(now)).await.is_err() {
            return true;
        }
        timeout_at(until, self.progress.wait_for(|progress| progress.left.is_some())).await.is_ok()
    }

    async fn take_stats(&self) {
        // Without a node the last figures stand.
        let neighbours = self.is_watched.then(|| Arc::clone(&self.neighbours));
        let look = move |peer: &mut Peer, _| {
            if let Some(neighbours) = neighbours {
                admin::refresh(&neighbours, &peer.teammates());
            }
            Figures::of(peer)
        };
        let Ok(figures) = self.handle.call(look).await else { return };
        let mut snapshot = Snapshot::new(&self.subject())
            .with_progress(&self.progress.borrow(), self.started.elapsed())
            .with_machine(&figures);
        snapshot.net = self.handle.stats();
        if let Some(player) = &self.player {
            snapshot.playout = Some((player.stats)());
            let first_byte = (player.first_byte)();
            snapshot.first_byte_ms = first_byte.map(|at| millis(at.saturating_duration_since(self.started)));
        }
        self.stats.send_replace(snapshot);
    }

    fn subject(&self) -> Subject {
        Subject { peer: self.me, channel: self.config.link.channel, listen: self.local }
    }
}

/// Seeks the splitter's names again when it was lost: they may have got other addresses.
struct Lookup {
    hosts: Vec<String>,
    losses: u64,
    task: Option<JoinHandle<Result<Vec<SocketAddr>, StartError>>>,
}

impl Lookup {
    fn new(hosts: &[String]) -> Self {
        let hosts = if reach::has_names(hosts) { hosts.to_vec() } else { Vec::new() };
        Self { hosts, losses: 0, task: None }
    }

    /// Begins a lookup when `losses` has grown, one at a time.
    fn after(&mut self, losses: u64) {
        if losses > self.losses && self.task.is_none() && !self.hosts.is_empty() {
            self.losses = losses;
            let hosts = self.hosts.clone();
            self.task = Some(tasks::spawn("name lookup", async move { reach::resolve(&hosts).await }));
        }
    }

    /// Addresses once there are some; for ever pending without a lookup. Cancel safe.
    async fn found(&mut self) -> Vec<SocketAddr> {
        loop {
            let Some(task) = &mut self.task else { return std::future::pending().await };
            let result = task.await;
            self.task = None;
            match result {
                Ok(Ok(addresses)) => return addresses,
                Ok(Err(error)) => debug!(%error, "the old addresses stay in use"),
                Err(error) => debug!(%error, "a name lookup did not end"),
            }
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn open_player(
    player: &Player,
    spool: &SharedSpool,
    stats: watch::Receiver<Snapshot>,
) -> Result<PlayerPort, StartError> {
    let mut config = player.playout.clone();
    let first = config.listen.port();
    let last = if player.next_free && first != 0 { first.saturating_add(PORTS_TRIED) } else { first };
    let server = loop {
        let stats = stats.clone();
        let figures = move || serde_json::to_value(&*stats.borrow()).unwrap_or_default();
        match PlayoutServer::bind(config.clone(), spool.clone(), figures).await {
            Err(playout::BindError::InUse(address)) if address.port() < last => {
                config.listen.set_port(address.port() + 1);
            }
            server => break server?,
        }
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let (url, address) = (server.player_url(), server.local_addr());
    let (stats, first_byte) = (Box::new(server.stats()), Box::new(server.first_byte()));
    let task = tasks::spawn(
        "player port",
        server.run(async {
            // A sender that is dropped means the same as one that is used.
            stopped.await.ok();
        }),
    );
    Ok(PlayerPort { url, address, stats, first_byte, stop, task })
}

impl PlayerPort {
    /// Lets players have what is left, then closes.
    async fn close(self) {
        drop(self.stop);
        match self.task.await {
            Ok(report) => info!(finished = report.finished, cut = report.aborted, "closed the player port"),
            Err(error) => warn!(%error, "the player port ended badly"),
        }
    }
}

impl std::fmt::Debug for PlayerPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlayerPort").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What the machine's last word means for the run. Who never had a seat has lost none: the trouble on the way there is the cause.
fn ended(reason: LeftReason, trouble: Option<Trouble>, was_seated: bool) -> Result<Ended, RunError> {
    match (reason, trouble) {
        (LeftReason::Asked, _) => Ok(Ended::Asked),
        (LeftReason::StreamEnded, _) => Ok(Ended::StreamEnded),
        (LeftReason::Expelled, _) => Err(RunError::Expelled),
        (LeftReason::Refused | LeftReason::Unsigned, Some(trouble)) => Err(RunError::NoSeat(trouble)),
        (LeftReason::SplitterLost, Some(trouble)) if !was_seated => Err(RunError::NoSeat(trouble)),
        (LeftReason::Refused | LeftReason::Unsigned | LeftReason::SplitterLost, _) => {
            Err(RunError::SplitterLost)
        }
    }
}

/// Spreads peers that start together; what it decides is not secret.
fn seed(me: PeerId) -> u64 {
    me.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
