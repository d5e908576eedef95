//! What must hold whatever the network does, checked as it happens: each chunk plays at most once and in order, with the bytes
//! that were ingested; nobody dials itself; a machine keeps its own bounds. On a network declared perfect, more: no gap, no
//! duplicate, no chunk sent back to its origin, no link hung up in anger.

use crate::{links::NodeId, stream::Streams};
use p2psp_core::{CloseCode, Instant, LeftReason, LinkId, PeerEvent, PeerStats};
use p2psp_wire::{Chunk, ChunkNumber, Datagram, Epoch, PeerId, Slot, limits::TEAM_SIZE_MAX};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

/// Ways are told apart up to so many milliseconds.
const WAY_MS_MAX: usize = 4096;
/// Violations told in full; the rest are counted.
const TOLD_MAX: usize = 20;

/// What a peer has done, as its owner saw it.
#[derive(Clone, Debug, Default)]
pub struct PeerView {
    /// Index of its team.
    pub team: usize,
    /// When it was started.
    pub started: Instant,
    /// Its seat, once it has one.
    pub slot: Option<Slot>,
    /// When it got that.
    pub joined: Option<Instant>,
    /// When it played its first chunk.
    pub first_play: Option<Instant>,
    /// Which chunk that was.
    pub first_number: Option<ChunkNumber>,
    /// The longest that a chunk took from the splitter's input to its play-out.
    pub longest_way: Duration,
    /// Chunks played.
    pub played: u64,
    /// Chunks it reported as gaps.
    pub lost: u64,
    /// Gaps reported.
    pub gaps: u64,
    /// When the last gap was.
    pub last_gap: Option<Instant>,
    /// Copies that came from teammates.
    pub received: u64,
    /// Sum of their delays since the splitter took them in.
    pub delay_sum: Duration,
    /// Refusals it was told of.
    pub refused: u64,
    /// It is out, and why.
    pub left: Option<LeftReason>,
    /// When that was.
    pub left_at: Option<Instant>,
    /// It is off the network: left or crashed.
    pub down: bool,
    epoch: Option<Epoch>,
    /// The next chunk to play.
    expected: Option<ChunkNumber>,
}

impl PeerView {
    /// Played, out of what was due.
    #[must_use]
    pub fn continuity(&self) -> f64 {
        if self.played + self.lost == 0 { 1.0 } else { self.played as f64 / (self.played + self.lost) as f64 }
    }

    /// The mean delay of copies from teammates.
    #[must_use]
    pub fn mean_delay(&self) -> Duration {
        self.delay_sum.checked_div(u32::try_from(self.received).unwrap_or(u32::MAX)).unwrap_or_default()
    }

    /// From its start to its first chunk played.
    #[must_use]
    pub fn start_up(&self) -> Option<Duration> {
        self.first_play.map(|at| at.since(self.started))
    }
}

/// How long chunks took from the splitter's input to their play-out, in milliseconds; the last place takes what took longer.
#[derive(Clone, Debug)]
pub struct Ways(Box<[u64; WAY_MS_MAX]>);

impl Default for Ways {
    fn default() -> Self {
        Self(Box::new([0; WAY_MS_MAX]))
    }
}

impl Ways {
    fn record(&mut self, way: Duration) {
        let millis = usize::try_from(way.as_millis()).unwrap_or(usize::MAX);
        if let Some(count) = self.0.get_mut(millis.min(WAY_MS_MAX - 1)) {
            *count += 1;
        }
    }

    /// The whole milliseconds, rounded up, that `per_mille` of 1000 do not exceed; zero of nothing.
    #[must_use]
    pub fn quantile(&self, per_mille: u64) -> Duration {
        let rank = (self.0.iter().sum::<u64>() * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.0.iter().zip(1..).find(|(count, _)| {
            seen += **count;
            seen >= rank
        });
        found.map_or(Duration::ZERO, |(_, millis)| Duration::from_millis(millis))
    }
}

/// The judge.
#[derive(Debug, Default)]
pub struct Oracle {
    /// By node; a splitter has none.
    views: Vec<Option<PeerView>>,
    ids: Vec<PeerId>,
    /// Of all peers.
    ways: Ways,
    /// The network is perfect from its start on and nobody crashes.
    perfect: bool,
    told: Vec<String>,
    violations: u64,
    hangups: BTreeMap<CloseCode, u64>,
    rules_broken: BTreeMap<&'static str, u64>,
}

impl Oracle {
    pub(crate) fn new(perfect: bool) -> Self {
        Self { perfect, ..Self::default() }
    }

    pub(crate) fn add_node(&mut self, now: Instant, node: NodeId, id: PeerId, team: Option<usize>) {
        debug_assert_eq!(node.index(), self.ids.len(), "nodes are added in order");
        self.ids.push(id);
        self.views.push(team.map(|team| PeerView { team, started: now, ..PeerView::default() }));
    }

    /// What a peer has done; `None` for a splitter.
    #[must_use]
    pub fn view(&self, node: NodeId) -> Option<&PeerView> {
        self.views.get(node.index())?.as_ref()
    }

    /// How long chunks took to the players of all peers.
    #[must_use]
    pub const fn ways(&self) -> &Ways {
        &self.ways
    }

    /// The first violations in words.
    #[must_use]
    pub fn told(&self) -> &[String] {
        &self.told
    }

    /// How many violations there were.
    #[must_use]
    pub const fn violations(&self) -> u64 {
        self.violations
    }

    /// Links hung up by machines, by code.
    pub fn hangups(&self) -> impl Iterator<Item = (CloseCode, u64)> {
        self.hangups.iter().map(|(code, count)| (*code, *count))
    }

    /// Rules that machines found their links to break, by name.
    pub fn rules_broken(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.rules_broken.iter().map(|(what, count)| (*what, *count))
    }

    pub(crate) fn violation(&mut self, now: Instant, node: NodeId, what: impl FnOnce() -> String) {
        self.violations += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(format!("{:.6} s, node {}: {}", now.as_nanos() as f64 / 1e9, node.0, what()));
        }
    }

    pub(crate) fn on_dial(&mut self, now: Instant, node: NodeId, peer: PeerId, addresses: &[SocketAddr]) {
        if self.ids.get(node.index()) == Some(&peer) {
            self.violation(now, node, || "dials itself".into());
        }
        if addresses.is_empty() {
            self.violation(now, node, || "dials no address".into());
        }
    }

    pub(crate) fn on_hangup(&mut self, now: Instant, node: NodeId, link: LinkId, code: CloseCode) {
        *self.hangups.entry(code).or_default() += 1;
        if self.perfect && !matches!(code, CloseCode::Done | CloseCode::Duplicate | CloseCode::Refused) {
            self.violation(now, node, || {
                format!("hangs up link {} with {code:?} on a perfect network", link.0)
            });
        }
    }

    /// A forward set contains neither its own peer nor the chunk's origin.
    pub(crate) fn on_send(
        &mut self,
        now: Instant,
        from: NodeId,
        to: NodeId,
        train: &[Datagram],
        streams: &Streams,
    ) {
        if from == to {
            self.violation(now, from, || "sends chunks to itself".into());
        }
        if train.is_empty() {
            self.violation(now, from, || "sends an empty train".into());
        }
        let (true, Some(_), Some(view)) = (self.perfect, self.view(from), self.view(to)) else { return };
        let (Some(slot), Some(joined)) = (view.slot, view.joined) else { return };
        let returned = train.iter().find(|datagram| {
            let record = streams.record(view.team, datagram.number());
            datagram.origin() == slot && record.is_some_and(|record| record.ingested > joined)
        });
        if let Some(number) = returned.map(Datagram::number) {
            self.violation(now, from, || format!("sends chunk {number} back to its origin"));
        }
    }

    pub(crate) fn on_rule_broken(&mut self, now: Instant, node: NodeId, what: &'static str) {
        *self.rules_broken.entry(what).or_default() += 1;
        if self.perfect {
            self.violation(now, node, || format!("finds a rule broken: {what}"));
        }
    }

    pub(crate) fn on_peer_event(&mut self, now: Instant, node: NodeId, event: &PeerEvent, streams: &Streams) {
        let Some(Some(view)) = self.views.get_mut(node.index()) else { return };
        match event {
            PeerEvent::Play(chunk) => {
                let number = chunk.number();
                let in_order = view.expected.is_none_or(|expected| expected == number);
                let expected = view.expected.replace(number.next());
                view.played += 1;
                view.first_play.get_or_insert(now);
                view.first_number.get_or_insert(number);
                let team = view.team;
                if let Some(record) = streams.record(team, number) {
                    let way = now.since(record.ingested);
                    view.longest_way = view.longest_way.max(way);
                    self.ways.record(way);
                }
                if !in_order {
                    self.violation(now, node, || format!("plays chunk {number} where {expected:?} is due"));
                }
                self.check_bytes(now, node, team, chunk, streams);
            }
            PeerEvent::Gap { first, chunks } => {
                let in_order = view.expected.is_none_or(|expected| expected == *first);
                let expected = view.expected.replace(first.plus(*chunks));
                view.lost += chunks;
                view.gaps += 1;
                view.last_gap = Some(now);
                if !in_order || *chunks == 0 {
                    self.violation(now, node, || {
                        format!("gap of {chunks} at {first} where {expected:?} is due")
                    });
                }
                if self.perfect {
                    self.violation(now, node, || format!("gap of {chunks} at {first} on a perfect network"));
                }
            }
            PeerEvent::Joined { slot, epoch, .. } => {
                view.slot = Some(*slot);
                view.joined = Some(now);
                if view.epoch.replace(*epoch).is_some_and(|old| old != *epoch) {
                    view.expected = None;
                }
            }
            PeerEvent::Refused { .. } => view.refused += 1,
            PeerEvent::Left(reason) => {
                view.left_at.get_or_insert(now);
                if view.left.replace(*reason).is_some() {
                    self.violation(now, node, || "leaves twice".into());
                }
            }
            PeerEvent::Violation { what, .. } => self.on_rule_broken(now, node, what),
            PeerEvent::SplitterLost { wrong_key, .. } => {
                if self.perfect || *wrong_key {
                    self.violation(now, node, || format!("loses the splitter (wrong key: {wrong_key})"));
                }
            }
            PeerEvent::OtherStream { .. } => self.violation(now, node, || "sees another stream".into()),
            PeerEvent::Header(_) | PeerEvent::Teammate { .. } => {}
        }
    }

    fn check_bytes(&mut self, now: Instant, node: NodeId, team: usize, chunk: &Chunk, streams: &Streams) {
        let number = chunk.number();
        let known = streams.record(team, number).is_some();
        if !known || chunk.payload() != streams.payload(team, number.get()) {
            self.violation(now, node, || format!("plays other bytes for chunk {number} than were ingested"));
        }
        let random_access = streams.get(team).is_some_and(|stream| stream.spec.is_random_access(number));
        if chunk.header().random_access != random_access {
            self.violation(now, node, || format!("plays chunk {number} with another random-access flag"));
        }
    }

    /// A chunk came from a teammate.
    pub(crate) fn on_received(&mut self, node: NodeId, delay: Duration) {
        if let Some(Some(view)) = self.views.get_mut(node.index()) {
            view.received += 1;
            view.delay_sum += delay;
        }
    }

    pub(crate) fn on_down(&mut self, node: NodeId) {
        if let Some(Some(view)) = self.views.get_mut(node.index()) {
            view.down = true;
        }
    }

    /// What a peer's counters must agree on at any time.
    pub(crate) fn check_stats(&mut self, now: Instant, node: NodeId, stats: &PeerStats, window_chunks: u32) {
        let Some(view) = self.view(node) else { return };
        let (played, lost) = (view.played, view.lost);
        if stats.chunks_played != played || stats.chunks_lost < lost {
            let counted = (stats.chunks_played, stats.chunks_lost);
            self.violation(now, node, || {
                format!("counts {counted:?} played and lost, showed {:?}", (played, lost))
            });
        }
        if stats.buffered_chunks > u64::from(window_chunks.next_power_of_two()) {
            self.violation(now, node, || format!("buffers {} chunks", stats.buffered_chunks));
        }
        if stats.teammates >= TEAM_SIZE_MAX || stats.teammates_linked > TEAM_SIZE_MAX {
            self.violation(now, node, || format!("has {} teammates", stats.teammates));
        }
        if self.perfect && stats.requests_sent > 0 {
            let requests = stats.requests_sent;
            self.violation(now, node, || {
                format!("looks {requests} times for a way around on a perfect network")
            });
        }
        // A newcomer may ask twice for a chunk whose first answer waits in a busy uplink.
        let surplus = stats.chunks_duplicate + stats.chunks_late + stats.chunks_unexpected;
        if self.perfect && surplus > 0 && stats.chunks_pulled == 0 {
            let (duplicate, late) = (stats.chunks_duplicate, stats.chunks_late);
            let unexpected = stats.chunks_unexpected;
            self.violation(now, node, || {
                format!("got {duplicate} duplicate, {late} late, {unexpected} unexpected chunks on a perfect network")
            });
        }
    }
}
