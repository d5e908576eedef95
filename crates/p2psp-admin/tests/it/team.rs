//! A splitter whose team is a journal that the test writes, behind the real server.

use p2psp_admin::{
    Admin, Answer, Bind, Doors, Guard, Journal, LimitsChange, Process, Refusal, Server, SplitterBackend,
    client::{Connection, Credentials},
    v1,
};
use p2psp_wire::PeerId;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinHandle,
    time::timeout,
};

/// Longest wait for what must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// What waits for the machine at most, as in a real splitter.
const QUEUE_MAX: usize = 64;

/// The limits that a team begins with.
pub(crate) const LIMITS: v1::TeamLimits =
    v1::TeamLimits { team_size_max: 128, own_copies_max: 3, uplink_bits_per_s: 100_000_000, ban_ms: 600_000 };

#[derive(Debug)]
pub(crate) struct Team {
    pub(crate) peers: Journal<v1::Peer>,
    pub(crate) bans: Mutex<BTreeMap<PeerId, Duration>>,
    pub(crate) drains: AtomicU32,
    pub(crate) limits: Mutex<v1::TeamLimits>,
    /// Commands that changed a limit.
    pub(crate) changes: AtomicU32,
    /// Whoever holds it keeps the machine from answering.
    pub(crate) machine: tokio::sync::Mutex<()>,
    /// Room in the machine's queue.
    queue: Semaphore,
    log_level: Mutex<String>,
}

pub(crate) fn peer_id(n: u16) -> PeerId {
    let mut key = [9; 32];
    key[..2].copy_from_slice(&n.to_be_bytes());
    PeerId::new(key)
}

pub(crate) fn peer(slot: u16) -> v1::Peer {
    let mut peer = v1::Peer {
        slot: slot.into(),
        peer: peer_id(slot).to_string(),
        remote: "192.0.2.1:4480".to_owned(),
        weight: 16,
        ..v1::Peer::default()
    };
    peer.set_state(v1::PeerState::Ready);
    peer
}

impl Team {
    /// Stands in the machine's queue; whoever gives up waiting leaves what it asked there.
    async fn turn(&self) -> Result<(), Refusal> {
        self.queue.try_acquire().map_err(|_| Refusal::Busy)?.forget();
        drop(self.machine.lock().await);
        self.queue.add_permits(1);
        Ok(())
    }

    /// How many stand in the machine's queue.
    pub(crate) fn queued(&self) -> usize {
        QUEUE_MAX - self.queue.available_permits()
    }

    fn seat(&self, peer: PeerId) -> Option<u16> {
        self.peers.slots().into_iter().find(|slot| peer_id(*slot) == peer)
    }
}

impl SplitterBackend for Team {
    fn info(&self) -> v1::Info {
        let mut info = v1::Info { channel: "c".to_owned(), ..v1::Info::default() };
        info.set_role(v1::Role::Splitter);
        info.set_state(v1::RuntimeState::Ready);
        info
    }

    fn channel(&self) -> v1::Channel {
        v1::Channel {
            source: "testcard".to_owned(),
            source_state: "live".to_owned(),
            ..v1::Channel::default()
        }
    }

    fn team(&self) -> v1::Team {
        let team_peers = u32::try_from(self.peers.slots().len()).unwrap();
        let figures = v1::SplitterFigures { team_peers, ..v1::SplitterFigures::default() };
        let v1::TeamLimits { team_size_max, own_copies_max, uplink_bits_per_s, ban_ms } =
            *self.limits.lock().unwrap();
        let channel = "c".to_owned();
        v1::Team { channel, team_size_max, uplink_bits_per_s, figures: Some(figures), own_copies_max, ban_ms }
    }

    fn peers(&self) -> &Journal<v1::Peer> {
        &self.peers
    }

    fn expel(&self, peer: PeerId, ban: Duration) -> Answer<'_, u32> {
        Box::pin(async move {
            let slot = self.ban(peer, ban).await?;
            slot.ok_or_else(|| Refusal::NotFound(format!("{peer} has no seat")))
        })
    }

    fn ban(&self, peer: PeerId, ban: Duration) -> Answer<'_, Option<u32>> {
        Box::pin(async move {
            let slot = self.seat(peer);
            // What is in the queue is carried out, whether or not its answer is waited for.
            if self.queue.available_permits() > 0 {
                self.bans.lock().unwrap().insert(peer, ban);
                slot.into_iter().for_each(|slot| self.peers.remove(slot, "expelled"));
            }
            self.turn().await?;
            Ok(slot.map(u32::from))
        })
    }

    fn unban(&self, peer: PeerId) -> Answer<'_, ()> {
        let removed = self.bans.lock().unwrap().remove(&peer).map(|_| ());
        Box::pin(async move { removed.ok_or_else(|| Refusal::NotFound(format!("{peer} is not banned"))) })
    }

    fn bans(&self) -> Answer<'_, Vec<(PeerId, Duration)>> {
        Box::pin(async move {
            self.turn().await?;
            Ok(self.bans.lock().unwrap().iter().map(|(peer, ban)| (*peer, *ban)).collect())
        })
    }

    fn set_weight_limit(&self, peer: PeerId, limit: Option<u32>) -> Answer<'_, Option<u32>> {
        Box::pin(async move {
            let slot = self.seat(peer).ok_or_else(|| Refusal::NotFound(format!("{peer} has no seat")))?;
            self.changes.fetch_add(1, Ordering::Relaxed);
            let mut before = None;
            self.peers.update(slot, |peer| before = std::mem::replace(&mut peer.weight_limit, limit));
            Ok(before)
        })
    }

    fn update_limits(&self, change: LimitsChange) -> Answer<'_, v1::TeamLimits> {
        self.changes.fetch_add(1, Ordering::Relaxed);
        let mut limits = self.limits.lock().unwrap();
        let LimitsChange { team_size_max, own_copies_max, uplink_bits_per_s, ban } = change;
        limits.team_size_max = team_size_max.map_or(limits.team_size_max, u32::from);
        limits.own_copies_max = own_copies_max.map_or(limits.own_copies_max, u32::from);
        limits.uplink_bits_per_s = uplink_bits_per_s.unwrap_or(limits.uplink_bits_per_s);
        limits.ban_ms = ban.map_or(limits.ban_ms, |ban| u64::try_from(ban.as_millis()).unwrap());
        let limits = *limits;
        Box::pin(async move { Ok(limits) })
    }
}

impl Process for Team {
    fn config(&self) -> String {
        "[splitter]\npassword = \"(set)\"\n".to_owned()
    }

    fn log_level(&self) -> String {
        self.log_level.lock().unwrap().clone()
    }

    fn set_log_level(&self, filter: &str) -> Result<String, Refusal> {
        if filter == "loud" {
            return Err(Refusal::Invalid { field: "filter", problem: "is no level".to_owned() });
        }
        Ok(std::mem::replace(&mut *self.log_level.lock().unwrap(), filter.to_owned()))
    }

    fn drain(&self) {
        self.drains.fetch_add(1, Ordering::Relaxed);
    }
}

/// A running admin port.
pub(crate) struct Lab {
    pub(crate) team: Arc<Team>,
    pub(crate) unix: Bind,
    pub(crate) tcp: std::net::SocketAddr,
    pub(crate) doors: Doors,
    leave: Option<oneshot::Sender<()>>,
    end: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    folder: PathBuf,
}

impl Lab {
    /// A team with members in the slots 0 to `members`, that one apart.
    pub(crate) async fn open(name: &str, members: u16) -> Self {
        Self::guarded(name, members, "127.0.0.1:0", Guard::default()).await
    }

    /// The same at another address, behind a guard.
    pub(crate) async fn guarded(name: &str, members: u16, tcp: &str, guard: Guard) -> Self {
        let folder = std::env::temp_dir().join(format!("p2psp-admin-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let team = Arc::new(Team {
            peers: Journal::new(0xfeed),
            bans: Mutex::default(),
            drains: AtomicU32::new(0),
            limits: Mutex::new(LIMITS),
            changes: AtomicU32::new(0),
            machine: tokio::sync::Mutex::default(),
            queue: Semaphore::new(QUEUE_MAX),
            log_level: Mutex::new("info".to_owned()),
        });
        for slot in 0..members {
            team.peers.put(slot, peer(slot));
        }
        let unix = Bind::Unix(folder.join("admin.sock"));
        let binds = [unix.clone(), tcp.parse().unwrap()];
        let server = Server::open(&binds, guard).await.unwrap();
        let Some(Bind::Tcp(tcp)) = server.binds().get(1).cloned() else { panic!("the second is no socket") };
        let doors = server.doors();
        let (leave, leaving) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel::<()>();
        let process: Arc<dyn Process> = Arc::<Team>::clone(&team);
        let admin = Admin::splitter(process, Arc::<Team>::clone(&team));
        let task = tokio::spawn(server.run(admin, async { leaving.await.unwrap_or_default() }, async {
            ended.await.unwrap_or_default()
        }));
        Self { team, unix, tcp, doors, leave: Some(leave), end: Some(end), task, folder }
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(&self.unix.clone().into(), &Credentials::default(), DEADLINE).await.unwrap()
    }

    /// The process begins to leave.
    pub(crate) fn leave(&mut self) {
        self.leave.take().unwrap().send(()).unwrap();
    }

    /// Ends the API; panics when it does not end in time.
    pub(crate) async fn close(mut self) {
        self.end.take().unwrap().send(()).unwrap();
        timeout(DEADLINE, &mut self.task).await.unwrap().unwrap();
        let Bind::Unix(socket) = &self.unix else { panic!("a socket") };
        assert!(!socket.exists(), "the socket's file is taken away");
        std::fs::remove_dir(&self.folder).unwrap();
    }
}
