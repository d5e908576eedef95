//! What most experiments begin with: one team whose members have all found each other before the first chunk comes.

use crate::{Latency, Loss, NetworkConfig, NodeId, Report, Rng, StreamSpec, TeamId, World};
use p2psp_core::{Instant, ParityPolicy, PeerConfig, PeerStats};
use p2psp_wire::limits::HEADER_BYTES;
use std::time::Duration;

/// From one start of a peer to the next, and the time for the last ones to be linked.
const JOIN_SPACING: Duration = Duration::from_millis(20);
const SETTLING: Duration = Duration::from_secs(3);

/// After the last fault: links time out, turns go elsewhere, newcomers have begun.
const HEALING: Duration = Duration::from_secs(4);
/// Then nobody may miss a chunk for this long.
const CLEAN: Duration = Duration::from_secs(2);
/// How far the play-out may have fallen back within that, in chunks a thousand.
const BEHIND_PER_MILLE: u64 = 50;

/// The setting of most bars: 5 Mb/s in chunks of 1024 bytes ...
pub(super) const CHUNKS_PER_SECOND: u32 = 610;
/// ... and 20 Mb/s up, with round trips of 40 ms.
pub(super) const UPLINK: u64 = 20_000_000;

/// A team at the setting of most bars: signed, with redundancy as the loss asks for it.
pub(super) fn reference(seed: u64, peers: usize, loss: Loss) -> Lab {
    let stream = StreamSpec {
        payload_bytes: 1024,
        parity: Some(ParityPolicy::Adaptive),
        ..StreamSpec::new(CHUNKS_PER_SECOND)
    };
    let network = NetworkConfig { latency: fixed(20, 20), loss, ..NetworkConfig::default() };
    Setup { network, perfect: false, seed, peers, stream, uplink: Some(UPLINK) }.build(|_, _| ())
}

/// A team and what is asked of it.
pub(super) struct Setup {
    pub(super) network: NetworkConfig,
    /// The oracle's strict rules hold.
    pub(super) perfect: bool,
    pub(super) seed: u64,
    pub(super) peers: usize,
    pub(super) stream: StreamSpec,
    /// Bits a second of each peer.
    pub(super) uplink: Option<u64>,
}

/// The team, ready.
pub(super) struct Lab {
    pub(super) world: World,
    pub(super) team: TeamId,
    pub(super) peers: Vec<NodeId>,
    pub(super) stream: StreamSpec,
}

impl Setup {
    /// Starts everybody and runs up to the instant before the first chunk. `tune` is given each peer's index.
    pub(super) fn build(self, tune: impl Fn(usize, &mut PeerConfig)) -> Lab {
        let uplink = self.uplink;
        self.build_uplinks(|_| uplink, tune, |_, _, _| ())
    }

    /// The same; `arrange` is shown each new peer with those before it, at the moment of its start.
    pub(super) fn build_with(self, arrange: impl FnMut(&mut World, &[NodeId], NodeId)) -> Lab {
        let uplink = self.uplink;
        self.build_uplinks(|_| uplink, |_, _| (), arrange)
    }

    /// The same; `uplink` gives each peer's bits a second, by its index.
    pub(super) fn build_uplinks(
        self,
        uplink: impl Fn(usize) -> Option<u64>,
        tune: impl Fn(usize, &mut PeerConfig),
        mut arrange: impl FnMut(&mut World, &[NodeId], NodeId),
    ) -> Lab {
        let peers_span = JOIN_SPACING * u32::try_from(self.peers).unwrap_or(u32::MAX);
        let start = Instant::ORIGIN + peers_span + SETTLING;
        let mut world = World::new(self.network, self.perfect, self.seed);
        let stream = StreamSpec { start, ..self.stream };
        let team = world.add_team(stream, None, |config| config.team_size_max = 256);
        let mut peers = Vec::new();
        for index in 0..self.peers {
            let peer = world.add_peer(team, uplink(index), |config| tune(index, config));
            arrange(&mut world, &peers, peer);
            peers.push(peer);
            world.run_for(JOIN_SPACING);
        }
        world.run_until(start - Duration::from_nanos(1));
        Lab { world, team, peers, stream }
    }

    /// Bytes of a chunk's packet on the wire.
    pub(super) fn packet_bytes(&self) -> u64 {
        (self.stream.payload_bytes + HEADER_BYTES) as u64 + u64::from(self.network.packet_overhead_bytes)
    }

    /// The uplink at which a chunk takes the interval divided by `c`: c times the stream rate, packets counted.
    pub(super) fn uplink_of(&self, c: f64) -> u64 {
        bits_per_second(self.packet_bytes() as f64 * 8.0 * c / self.stream.chunk_interval.as_secs_f64())
    }
}

impl Lab {
    /// Runs to this long after the first chunk.
    pub(super) fn run_to(&mut self, after_start: Duration) {
        self.world.run_until(self.stream.start + after_start);
    }

    /// Members live `tau` on average, go by `go`, and are followed by a newcomer each, for `span` from now on. Gives back the
    /// newcomers.
    pub(super) fn turn_over(
        &mut self,
        rng: &mut Rng,
        tau: Duration,
        span: Duration,
        uplink: Option<u64>,
        mut go: impl FnMut(&mut World, &mut Rng, NodeId),
    ) -> Vec<NodeId> {
        let end = self.world.now() + span;
        let between = tau / u32::try_from(self.peers.len()).unwrap_or(1);
        let mut newcomers = Vec::new();
        loop {
            let wait = rng.exponential(between);
            if self.world.now() + wait >= end {
                break;
            }
            self.world.run_for(wait);
            let goes = self.peers.remove(rng.index(self.peers.len()));
            go(&mut self.world, rng, goes);
            let comes = self.world.add_peer(self.team, uplink, |_| ());
            self.peers.push(comes);
            newcomers.push(comes);
        }
        self.world.run_until(end);
        newcomers
    }

    /// What every peer counted.
    pub(super) fn stats(&self) -> Vec<PeerStats> {
        self.peers.iter().map(|peer| self.world.peer_stats(*peer)).collect()
    }

    /// All faults of the network stop: soon every member that is still there plays on without a gap.
    pub(super) fn heals(&mut self, name: &str, report: &mut Report) {
        self.world.mend();
        self.world.run_for(HEALING);
        let members: Vec<NodeId> =
            self.peers.iter().copied().filter(|node| self.world.is_alive(*node)).collect();
        let seen = |world: &World| {
            members
                .iter()
                .map(|node| world.view(*node))
                .map(|view| (view.played, view.lost))
                .collect::<Vec<_>>()
        };
        let before = seen(&self.world);
        self.world.run_for(CLEAN);
        let after = seen(&self.world);
        let due = CLEAN.as_nanos() / self.stream.chunk_interval.as_nanos();
        let least = u64::try_from(due).unwrap_or(u64::MAX) * (1000 - BEHIND_PER_MILLE) / 1000;
        let gaps: u64 = before.iter().zip(&after).map(|(before, after)| after.1 - before.1).sum();
        let stuck = before.iter().zip(&after).filter(|(before, after)| after.0 - before.0 < least).count();
        report.at_most(&format!("{name}: chunks lost after the faults"), gaps as f64, 0.0);
        report.at_most(&format!("{name}: members that do not play then"), stuck as f64, 0.0);
    }

    /// Played and lost of all peers together, since the beginning.
    pub(super) fn played_and_lost(&self) -> (u64, u64) {
        played_and_lost(&self.world, &self.peers)
    }
}

/// Played and lost of these peers together.
pub(super) fn played_and_lost(world: &World, peers: &[NodeId]) -> (u64, u64) {
    let views = peers.iter().map(|peer| world.view(*peer));
    views.fold((0, 0), |(played, lost), view| (played + view.played, lost + view.lost))
}

/// `d0` to the splitter, `di` between peers.
pub(super) fn fixed(splitter_ms: u64, team_ms: u64) -> Latency {
    Latency::Fixed { splitter: Duration::from_millis(splitter_ms), team: Duration::from_millis(team_ms) }
}

/// Milliseconds with fractions.
pub(super) fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// The mean, 0 of nothing.
pub(super) fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values.into_iter().fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count == 0.0 { 0.0 } else { sum / count }
}

/// The value that `share` of them do not exceed, 0 of nothing.
pub(super) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank within the list")]
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// A rate as links take it.
pub(super) fn bits_per_second(rate: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates are positive and far below 2^53"
    )]
    let bits = rate.round() as u64;
    bits
}
