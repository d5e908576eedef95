//! Size: ten thousand peers in one world.

use super::{Size, lab::played_and_lost};
use crate::{Latency, NetworkConfig, NodeId, Report, StreamSpec, World};
use p2psp_core::{DelayHistogram, Instant};
use std::time::Duration;

/// Teams of 100 side by side, each with its splitter: everybody joins, then ten seconds of stream. Whether it fits into a
/// minute of one core is for the clock of whoever runs it; what must hold here is that nobody misses a chunk.
pub(super) fn scale(seed: u64, size: Size, report: &mut Report) {
    let (teams, peers, seconds) = if size == Size::Full { (100, 100, 10) } else { (4, 25, 2) };
    let latency = Latency::Plane { base: Duration::from_millis(5), per_unit: Duration::from_millis(40) };
    let network = NetworkConfig { latency, jitter: Duration::from_millis(2), ..NetworkConfig::default() };
    let mut world = World::new(network, true, seed);
    let start = Instant::ORIGIN + Duration::from_secs(6);
    let stream = StreamSpec { start, ..StreamSpec::new(100) };
    // Four times the stream's packets.
    let uplink = Some(4 * 100 * 8 * (1128 + 16 + 58));
    let handles: Vec<_> =
        (0..teams).map(|_| world.add_team(stream, None, |config| config.window_chunks = 256)).collect();
    let mut everybody: Vec<NodeId> = Vec::new();
    for _ in 0..peers {
        for team in &handles {
            let tune = |config: &mut p2psp_core::PeerConfig| {
                config.window_chunks = 256;
                config.playout_tick = Duration::from_millis(50);
            };
            everybody.push(world.add_peer(*team, uplink, tune));
        }
        world.run_for(Duration::from_millis(20));
    }
    world.run_until(start + Duration::from_secs(seconds));
    let (played, lost) = played_and_lost(&world, &everybody);
    // What is still ahead of the play-out has not been played.
    let due = everybody.len() as u64 * (seconds * 100 - 60);
    let mut delays = DelayHistogram::default();
    for peer in &everybody {
        delays.add(&world.delays(*peer));
    }
    let quantile_ms = |per_mille| delays.quantile(per_mille).map_or(0.0, super::lab::ms);
    report.line(format!("{} peers in {teams} teams, {seconds} s at 100 chunks/s, U = 4 R", everybody.len()));
    report.line(format!("{} events, {} chunks delivered", world.events(), world.deliveries()));
    report.at_most("chunks lost", lost as f64, 0.0);
    report.at_least("chunks played", played as f64, due as f64);
    report.figure("peers", everybody.len());
    report.figure("delay_ms_p50", quantile_ms(500));
    report.figure("delay_ms_p99", quantile_ms(990));
    report.world(&mut world);
}
