//! What most experiments begin with: one team whose members have all found each other before the first chunk comes.

use crate::{Latency, NetworkConfig, NodeId, Rng, StreamSpec, TeamId, World};
use p2psp_core::{Instant, PeerConfig, PeerStats};
use p2psp_wire::limits::HEADER_BYTES;
use std::time::Duration;

/// From one start of a peer to the next, and the time for the last ones to be linked.
const JOIN_SPACING: Duration = Duration::from_millis(20);
const SETTLING: Duration = Duration::from_secs(3);

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
        self.build_all(tune, |_, _, _| ())
    }

    /// The same; `arrange` is shown each new peer with those before it, at the moment of its start.
    pub(super) fn build_with(self, arrange: impl FnMut(&mut World, &[NodeId], NodeId)) -> Lab {
        self.build_all(|_, _| (), arrange)
    }

    fn build_all(
        self,
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
            let peer = world.add_peer(team, self.uplink, |config| tune(index, config));
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
