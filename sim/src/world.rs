//! The world: nodes with a machine each, driven by one queue of events through the same [`drain`](p2psp_core::drain) that real hosts use. Owns
//! time, and the life and death of nodes and links; what the network does to a packet is `network`'s business.

mod step;

use crate::{
    Rng,
    links::{End, EndState, Event, Fault, NodeId, Port, Shared, Table, Traffic},
    mischief::{Harm, Lie, Poison, Withholds},
    network::{Loss, NetworkConfig, Uplink},
    oracle::{Oracle, PeerView},
    stream::{ChunkRecord, Sender, StreamSpec, Streams},
    trace::TraceHash,
};
use p2psp_core::{
    DelayHistogram, Instant, LinkDown, LinkId, Links as _, Peer, PeerConfig, PeerEvent, PeerStats,
    Protection, SigningKey, Splitter, SplitterConfig, SplitterEvent, SplitterStats, Wake,
};
use p2psp_wire::{ChannelId, ChunkNumber, Control, Epoch, PeerId, StreamHeader};
use std::time::Duration;

/// Where every node's wall clock stands when the world begins: microseconds since 1970-01-01 UTC.
const WORLD_BEGIN_UNIX_US: u64 = 1_700_000_000_000_000;
/// A node's own clock began up to this long before the world did, so that nothing can rest on clocks that agree.
const CLOCK_OFFSET_MAX: Duration = Duration::from_secs(100_000);
/// How often the oracle looks at every machine's counters and bounds.
const CHECK_SPAN: Duration = Duration::from_millis(250);

/// A team of the world: one splitter and its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TeamId(usize);

/// A simulated network with nodes on it. The same calls on the same seed give the same run, delivery by delivery.
#[derive(Debug)]
pub struct World {
    now: Instant,
    checked: Instant,
    nodes: Vec<Node>,
    teams: Vec<Team>,
    shared: Shared,
    rng: Rng,
    trace: TraceHash,
    events: u64,
    deliveries: u64,
    messages: u64,
    peer_events: Vec<PeerEvent>,
    splitter_events: Vec<SplitterEvent>,
    watched: Option<NodeId>,
    watch_log: Vec<Arrival>,
}

/// A chunk that came to the watched peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When.
    pub at: Instant,
    /// From whom.
    pub from: NodeId,
    /// Which.
    pub number: ChunkNumber,
    /// What the sender was to the chunk.
    pub sender: Sender,
}

#[derive(Debug)]
struct Team {
    splitter: NodeId,
    channel: ChannelId,
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    team: usize,
    id: PeerId,
    table: Table,
    uplink: Uplink,
    /// What this node's clock shows when the world's shows zero.
    clock_offset: Duration,
    /// What the machine asked for last, in the world's time.
    wake: Option<Wake>,
    wake_queued: Option<Instant>,
    woken: Instant,
    hasty_wakes: u32,
}

#[derive(Debug)]
enum Kind {
    Splitter(Box<Splitter>),
    Peer {
        machine: Box<Peer>,
        window_chunks: u32,
    },
    /// Left or crashed; what it had counted.
    Gone {
        stats: Box<PeerStats>,
        delays: Box<DelayHistogram>,
    },
}

impl World {
    /// An empty world. `perfect` turns on the oracle's strict rules.
    #[must_use]
    pub fn new(config: NetworkConfig, perfect: bool, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let (network, streams) = (rng.fork(), Streams::new(rng.fork()));
        Self {
            now: Instant::ORIGIN,
            checked: Instant::ORIGIN,
            nodes: Vec::new(),
            teams: Vec::new(),
            shared: Shared::new(config, network, streams, Oracle::new(perfect)),
            rng,
            trace: TraceHash::default(),
            events: 0,
            deliveries: 0,
            messages: 0,
            peer_events: Vec::new(),
            splitter_events: Vec::new(),
            watched: None,
            watch_log: Vec::new(),
        }
    }

    /// Starts a splitter with its stream. `uplink` is in bits a second.
    pub fn add_team(
        &mut self,
        stream: StreamSpec,
        uplink: Option<u64>,
        tune: impl FnOnce(&mut SplitterConfig),
    ) -> TeamId {
        let team = TeamId(self.teams.len());
        let key = SigningKey::from_seed(&self.key());
        let channel = key.as_ref().and_then(SigningKey::channel).unwrap_or(ChannelId::new([0; 32]));
        let mut config = SplitterConfig::new(channel, Epoch(1), self.unix_us());
        config.protection =
            key.zip(stream.parity).map(|(key, parity)| Protection { key, signs_chunks: false, parity });
        tune(&mut config);
        let offset = self.rng.span(CLOCK_OFFSET_MAX);
        let mut machine = Splitter::new(config, self.now + offset);
        let header =
            StreamHeader { version: 0, content_type: "video/mp2t".into(), bytes: bytes::Bytes::new() };
        machine.set_header(self.now + offset, header);
        let splitter =
            self.add_node(Kind::Splitter(Box::new(machine)), channel.into(), team.0, uplink, offset);
        self.teams.push(Team { splitter, channel });
        self.shared.streams.add(stream);
        self.shared.queue.push(stream.start.max(self.now), Event::Ingest { team: team.0 });
        self.drain(splitter);
        team
    }

    /// Starts a peer that joins a team. `uplink` is in bits a second.
    pub fn add_peer(
        &mut self,
        team: TeamId,
        uplink: Option<u64>,
        tune: impl FnOnce(&mut PeerConfig),
    ) -> NodeId {
        let (channel, splitter) =
            self.teams.get(team.0).map_or((ChannelId::new([0; 32]), NodeId(0)), |t| (t.channel, t.splitter));
        let offset = self.rng.span(CLOCK_OFFSET_MAX);
        let mut config = PeerConfig::new(channel, vec![splitter.address()]);
        config.origin_unix_us = WORLD_BEGIN_UNIX_US - micros(offset);
        config.allow_unsigned =
            self.shared.streams.get(team.0).is_none_or(|stream| stream.spec.parity.is_none());
        tune(&mut config);
        let (id, window_chunks) = (PeerId::new(self.key()), config.window_chunks);
        let machine = Box::new(Peer::new(config, id, self.rng.next(), self.now + offset));
        let node = self.add_node(Kind::Peer { machine, window_chunks }, id, team.0, uplink, offset);
        self.drain(node);
        node
    }

    /// Runs until `at`, everything due then included.
    pub fn run_until(&mut self, at: Instant) {
        while let Some((now, event)) = self.shared.queue.pop(at) {
            self.now = self.now.max(now);
            self.events += 1;
            self.handle(event);
            if self.now.since(self.checked) >= CHECK_SPAN {
                self.check_stats();
            }
        }
        self.now = self.now.max(at);
    }

    /// Runs for a span.
    pub fn run_for(&mut self, span: Duration) {
        self.run_until(self.now + span);
    }

    /// Asks a peer to leave politely.
    pub fn leave(&mut self, node: NodeId) {
        let now = self.now;
        if let Some(Node { kind: Kind::Peer { machine, .. }, clock_offset, .. }) =
            self.nodes.get_mut(node.index())
        {
            machine.leave(now + *clock_offset);
            self.drain(node);
        }
    }

    /// Kills a peer: not a packet leaves it any more.
    pub fn crash(&mut self, node: NodeId) {
        if self.is_alive(node) {
            self.take_down(node, LinkDown::TimedOut);
        }
    }

    /// From now on a peer relays something else than it was given.
    pub fn poison(&mut self, node: NodeId, how: Poison) {
        self.shared.mischief.poison(node, how);
    }

    /// What a poisoner has done.
    #[must_use]
    pub fn harm(&self, node: NodeId) -> Harm {
        self.shared.mischief.harm(node).cloned().unwrap_or_default()
    }

    /// A node says what its machine would not, if the two have a link.
    pub fn say(&mut self, from: NodeId, to: NodeId, message: &Control) {
        let now = self.now;
        let Some(Node { table, uplink, .. }) = self.nodes.get_mut(from.index()) else { return };
        let is_theirs = |(_, end): &(LinkId, &End)| end.to == to && end.state == EndState::Open;
        let Some(link) = table.iter().find(is_theirs).map(|(link, _)| link) else { return };
        Port { node: from, now, table, uplink, shared: &mut self.shared }.send_control(now, link, message);
    }

    /// Gives a node another uplink, in bits a second.
    pub fn set_uplink(&mut self, node: NodeId, bits_per_second: u64) {
        if let Some(node) = self.nodes.get_mut(node.index()) {
            node.uplink.set_rate(bits_per_second);
        }
    }

    /// From now on a peer withholds some of what it should relay.
    pub fn withhold(&mut self, node: NodeId, what: Withholds) {
        self.shared.mischief.withhold(node, what);
    }

    /// From now on a peer says what is not so.
    pub fn lie(&mut self, node: NodeId, lie: Lie) {
        self.shared.mischief.lie(node, lie);
    }

    /// Ends a team's stream.
    pub fn close(&mut self, team: TeamId) {
        let now = self.now;
        let Some(splitter) = self.teams.get(team.0).map(|team| team.splitter) else { return };
        if let Some(stream) = self.shared.streams.get_mut(team.0) {
            stream.ended = true;
        }
        if let Some(Node { kind: Kind::Splitter(machine), clock_offset, .. }) =
            self.nodes.get_mut(splitter.index())
        {
            machine.close(now + *clock_offset);
            self.drain(splitter);
        }
    }

    /// Breaks, or mends, the way from one node to another. A link that stays silent for the idle time dies, and
    /// at the other end by the silence of the first.
    pub fn set_fault(&mut self, from: NodeId, to: NodeId, fault: Fault) {
        if fault == Fault::Clear {
            self.shared.faults.remove(&(from, to));
        } else {
            self.shared.faults.insert((from, to), fault);
        }
        let idle = self.shared.config.idle_timeout;
        let Some(node) = self.nodes.get_mut(from.index()) else { return };
        for (_, end) in node.table.iter_mut().filter(|(_, end)| end.to == to && end.state != EndState::Closed)
        {
            end.fault = fault;
            if fault != Fault::Silence {
                end.silent_since = None;
            } else if end.silent_since.is_none() {
                end.silent_since = Some(self.now);
                let why = LinkDown::TimedOut;
                self.shared.queue.push(self.now + idle, Event::LinkDown { node: to, link: end.to_link, why });
            }
        }
    }

    /// Mends all ways, and ends all loss.
    pub fn mend(&mut self) {
        let broken: Vec<(NodeId, NodeId)> = self.shared.faults.keys().copied().collect();
        for (from, to) in broken {
            self.set_fault(from, to, Fault::Clear);
        }
        self.shared.config.loss = Loss::None;
        self.shared.config.splitter_loss = None;
    }

    /// What the way from one node to another does now.
    #[must_use]
    pub fn fault(&self, from: NodeId, to: NodeId) -> Fault {
        self.shared.fault(from, to)
    }

    /// The network, to change while it runs; delays hold for links made from then on.
    pub const fn network_mut(&mut self) -> &mut NetworkConfig {
        &mut self.shared.config
    }

    /// The splitter of a team.
    #[must_use]
    pub fn splitter(&self, team: TeamId) -> Option<NodeId> {
        self.teams.get(team.0).map(|team| team.splitter)
    }

    /// Records every chunk that comes to this peer from now on.
    pub fn watch(&mut self, node: NodeId) {
        self.watched = Some(node);
        self.watch_log.clear();
    }

    /// What came to the watched peer.
    #[must_use]
    pub fn arrivals(&self) -> &[Arrival] {
        &self.watch_log
    }

    /// The world's time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The digest of all deliveries so far.
    #[must_use]
    pub const fn trace_hash(&self) -> TraceHash {
        self.trace
    }

    /// Events handled so far.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Chunks delivered so far.
    #[must_use]
    pub const fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// The judge of this run.
    #[must_use]
    pub const fn oracle(&self) -> &Oracle {
        &self.shared.oracle
    }

    /// Datagrams that the network lost.
    #[must_use]
    pub const fn datagrams_lost(&self) -> u64 {
        self.shared.datagrams_lost
    }

    /// What all nodes have sent.
    #[must_use]
    pub const fn traffic(&self) -> Traffic {
        self.shared.traffic
    }

    /// A team's chunks so far, by number.
    #[must_use]
    pub fn chunks(&self, team: TeamId) -> &[ChunkRecord] {
        self.shared.streams.get(team.0).map_or(&[], |stream| &stream.records)
    }

    /// What a splitter counted.
    #[must_use]
    pub fn splitter_stats(&self, team: TeamId) -> SplitterStats {
        let node = self.teams.get(team.0).and_then(|team| self.nodes.get(team.splitter.index()));
        match node.map(|node| &node.kind) {
            Some(Kind::Splitter(machine)) => machine.stats(),
            _ => SplitterStats::default(),
        }
    }

    /// What a peer counted, while it lived if it is gone.
    #[must_use]
    pub fn peer_stats(&self, node: NodeId) -> PeerStats {
        match self.nodes.get(node.index()).map(|node| &node.kind) {
            Some(Kind::Peer { machine, .. }) => machine.stats(),
            Some(Kind::Gone { stats, .. }) => **stats,
            _ => PeerStats::default(),
        }
    }

    /// A peer's delays from chunk time to arrival.
    #[must_use]
    pub fn delays(&self, node: NodeId) -> DelayHistogram {
        match self.nodes.get(node.index()).map(|node| &node.kind) {
            Some(Kind::Peer { machine, .. }) => machine.delays().clone(),
            Some(Kind::Gone { delays, .. }) => (**delays).clone(),
            _ => DelayHistogram::default(),
        }
    }

    /// What a peer's owner saw.
    #[must_use]
    pub fn view(&self, node: NodeId) -> PeerView {
        self.shared.oracle.view(node).cloned().unwrap_or_default()
    }

    /// Whether a node has neither left nor crashed.
    #[must_use]
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.nodes.get(node.index()).is_some_and(|node| !matches!(node.kind, Kind::Gone { .. }))
    }

    /// A node's open links: to whom, and how many payload bytes went there.
    pub fn links(&self, node: NodeId) -> impl Iterator<Item = (NodeId, u64)> {
        let table = self.nodes.get(node.index()).map(|node| &node.table);
        let open = |(_, end): &(LinkId, &End)| end.state == EndState::Open;
        table.into_iter().flat_map(Table::iter).filter(open).map(|(_, end)| (end.to, end.payload_bytes))
    }

    /// Packet bytes that a node has sent, overhead included.
    #[must_use]
    pub fn bytes_sent(&self, node: NodeId) -> u64 {
        self.nodes.get(node.index()).map_or(0, |node| node.uplink.bytes_sent)
    }

    /// Sets a node's pacer, as a host does whose machine leaves the rate to it.
    pub fn pace(&mut self, node: NodeId, bits_per_second: u64) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(node.index()) {
            node.uplink.pace(now, bits_per_second);
        }
    }

    /// The most that waited in a node's uplink, in time, since the last call.
    pub fn take_backlog_max(&mut self, node: NodeId) -> Duration {
        self.nodes.get_mut(node.index()).map_or(Duration::ZERO, |node| node.uplink.take_backlog_max())
    }

    /// Lets the oracle compare every living peer's counters with what it saw, and its bounds; done every so often as the world runs.
    pub fn check_stats(&mut self) {
        self.checked = self.now;
        for (node, id) in self.nodes.iter().zip((0..).map(NodeId)) {
            if let Kind::Peer { machine, window_chunks } = &node.kind {
                self.shared.oracle.check_stats(self.now, id, &machine.stats(), *window_chunks);
            }
        }
    }
}

/// Whole microseconds of a span.
fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
