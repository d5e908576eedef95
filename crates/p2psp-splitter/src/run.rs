//! A running splitter: starts node and ingest door, watches over both, and takes them down in order.

use crate::{
    admin::{self, Backend, InForce},
    config::{Config, Integrity, OnEnd},
    door::Door,
    epoch,
    error::{Ended, RunError, StartError},
    events::{Events, Team},
    gaps::Gaps,
    place,
    snapshot::{IngestFigures, Snapshot},
};
use p2psp_admin::{Journal, SplitterBackend, unix_ms, v1};
use p2psp_core::{Splitter, SplitterConfig};
use p2psp_net::{Driver, Handle, Node, NodeConfig, StatsFeed};
use p2psp_wire::{ChannelLink, Epoch, PeerId, Slot};
use std::{
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval, timeout_at},
};
use tracing::{info, warn};

/// How often the statistics are taken.
const STATS_PERIOD: Duration = Duration::from_secs(1);

/// A splitter at work. Dropping it ends it without goodbye; [`Running::run_until`] is the polite way.
#[derive(Debug)]
pub struct Running {
    config: Config,
    link: ChannelLink,
    local: SocketAddr,
    epoch: Epoch,
    started: Instant,
    handle: Handle<Splitter>,
    driver: Driver,
    team: watch::Receiver<Team>,
    door: Door,
    gaps: Gaps,
    stats: watch::Sender<Snapshot>,
    /// The members as operators see them.
    peers: Arc<Journal<v1::Peer>>,
    /// Their view is worth renewing before the next second.
    changed: Arc<Notify>,
    /// Somebody looks at it; for nobody it is not renewed.
    is_watched: bool,
    /// The team's limits as operators see and change them.
    limits: Arc<InForce>,
    started_unix_ms: u64,
}

impl Running {
    /// Opens the team's port and the source.
    ///
    /// # Errors
    ///
    /// Settings that do not fit together, a port that cannot be had, a source that cannot be opened.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let started = Instant::now();
        config.check()?;
        let channel = config.identity.channel_id();
        let mut node_config = NodeConfig::new(config.listen, config.identity.clone());
        node_config.uplink_bits_per_s = config.uplink_bits_per_s;
        let node = Node::bind(node_config)?;
        let local = node.local_addr();
        let link = place::link(channel, local, &config.advertise);
        let epoch = epoch::next(config.epoch_file.as_deref(), SystemTime::now());

        let (team_sender, team) = watch::channel(Team::default());
        let started_unix_ms = unix_ms();
        let (peers, changed) = (Arc::new(Journal::new(started_unix_ms)), Arc::new(Notify::new()));
        let mut events = Events::new(team_sender, Arc::clone(&peers), Arc::clone(&changed));
        let (team_size_max, protection) = (config.team_size_max, config.protection());
        let own_copies_max = config.own_copies_max;
        let fairness = config.fairness.clone();
        let (handle, driver) = node.start(
            move |now, clock| {
                let epoch_unix_us = clock.origin_unix_us().saturating_add(now.as_micros());
                let mut splitter_config = SplitterConfig::new(channel, epoch, epoch_unix_us);
                splitter_config.team_size_max = team_size_max;
                splitter_config.own_copies_max = own_copies_max;
                splitter_config.protection = protection;
                splitter_config.fairness = fairness;
                Splitter::new(splitter_config, now)
            },
            move |event| events.on_event(event),
        );
        let (source, ingest) = (config.source.clone(), config.ingest());
        let gaps = Gaps::new(ingest.stall_after);
        let mut door = Door::open(source, ingest, config.wait_peers, team.clone(), handle.clone());
        if config.wait_peers == 0 {
            door.opened().await?;
        }
        let figures = IngestFigures::new(&config.source.to_string(), &door.status(), Duration::ZERO);
        let (stats, _) = watch::channel(Snapshot::new(&link, local, epoch, config.integrity, figures));
        info!(%local, epoch = epoch.0, "the splitter is open");
        if config.integrity == Integrity::None {
            warn!(
                "the stream is not signed: any peer can put what it likes into it, and only peers that allow it join; this \
                 is for laboratories"
            );
        }
        let limits = Arc::new(InForce::of(&config));
        Ok(Self {
            config,
            link,
            local,
            epoch,
            started,
            handle,
            driver,
            team,
            door,
            gaps,
            stats,
            peers,
            changed,
            is_watched: false,
            limits,
            started_unix_ms,
        })
    }

    /// The link by which peers join.
    #[must_use]
    pub const fn link(&self) -> &ChannelLink {
        &self.link
    }

    /// The address of its UDP socket, with the real port.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The number of this run.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Where the source is awaited, for doors that listen.
    #[must_use]
    pub fn ingest_addr(&self) -> Option<SocketAddr> {
        self.door.status().local_address
    }

    /// The statistics, renewed once a second and at the end.
    #[must_use]
    pub fn stats(&self) -> StatsFeed<Snapshot> {
        StatsFeed::new(self.stats.subscribe())
    }

    /// What operators see and may do, for the admin API; works for as long as the splitter runs.
    #[must_use]
    pub fn admin(&mut self) -> Arc<dyn SplitterBackend> {
        self.is_watched = true;
        self.steering()
    }

    /// The same for those who read no members: those are not written down for them.
    #[must_use]
    pub fn steering(&self) -> Arc<dyn SplitterBackend> {
        let (handle, stats, peers) = (self.handle.clone(), self.stats.subscribe(), Arc::clone(&self.peers));
        Arc::new(Backend::new(handle, stats, peers, Arc::clone(&self.limits), self.started_unix_ms))
    }

    /// Runs until the source is over, or `stop` ends; then sends what is left of the stream and says goodbye, within the
    /// grace time.
    ///
    /// # Errors
    ///
    /// [`RunError`]: the source or the node failed.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> Result<Ended, RunError> {
        let outcome = self.run(pin!(stop)).await;
        let until = tokio::time::Instant::now() + self.config.grace;
        self.door.close(until).await;
        if !self.say_goodbye(until).await {
            warn!("could not say goodbye to everyone in time; they will notice by themselves");
        }
        self.take_stats().await;
        self.handle.shutdown(until.saturating_duration_since(tokio::time::Instant::now())).await;
        outcome
    }

    async fn run(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> Result<Ended, RunError> {
        let mut ticks = interval(STATS_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.as_mut() => return Ok(Ended::Asked),
                end = &mut self.driver => {
                    end?;
                    return Ok(Ended::Asked);
                }
                end = self.door.ended() => match (end, self.config.on_end) {
                    (Ok(()), OnEnd::Exit) => {
                        info!("the source has ended");
                        return Ok(Ended::SourceEnded);
                    }
                    (Ok(()), OnEnd::Wait) => info!("the source has ended; the team is kept together until stopped"),
                    (Err(error), OnEnd::Exit) => return Err(error),
                    // The door has logged the reason.
                    (Err(_), OnEnd::Wait) => info!("without a source now; the team is kept together until stopped"),
                },
                _ = ticks.tick() => self.take_stats().await,
                () = self.changed.notified(), if self.is_watched => {
                    let peers = Arc::clone(&self.peers);
                    let renew = move |splitter: &mut Splitter, now| {
                        admin::refresh(&peers, splitter.member_views(now));
                    };
                    // A node that is gone ends the loop by its own arm.
                    self.handle.call(renew).await.ok();
                }
            }
        }
    }

    /// Ends the stream; true when every member knows of it before `until`.
    async fn say_goodbye(&mut self, until: tokio::time::Instant) -> bool {
        if self.handle.call(|splitter, now| splitter.close(now)).await.is_err() {
            return true;
        }
        timeout_at(until, self.team.wait_for(|team| team.closed)).await.is_ok()
    }

    async fn take_stats(&mut self) {
        let peers = self.is_watched.then(|| Arc::clone(&self.peers));
        let team = self.team.clone();
        let figures = self.handle.call(move |splitter, now| {
            if let Some(peers) = peers {
                admin::refresh(&peers, splitter.member_views(now));
            }
            // On the driver's task all events so far have been taken: both counts are of one moment.
            let counts = (splitter.stats(), team.borrow().refusals);
            (counts, splitter.roster().collect::<Vec<(Slot, PeerId)>>())
        });
        // Without a node the last figures stand.
        let Ok(((stats, refusals), roster)) = figures.await else { return };
        let (uptime, status) = (self.started.elapsed(), self.door.status());
        let gap = self.gaps.look(uptime, &status.state);
        let ingest = IngestFigures::new(&self.config.source.to_string(), &status, gap);
        let newest = self.stats.borrow().clone();
        let renewed = newest.renewed(uptime, (&stats, refusals), &roster, ingest, self.handle.stats());
        self.stats.send_replace(renewed);
    }
}
