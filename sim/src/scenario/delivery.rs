//! E1 to E3 and E7 to E9: who sends how much to whom, and how long it takes to get there.

use super::{
    Size,
    lab::{Setup, fixed, mean, ms},
};
use crate::{NetworkConfig, Report, StreamSpec};
use p2psp_core::{PeerStats, RelayPolicy};
use p2psp_wire::limits::HEADER_BYTES;
use std::time::Duration;

fn setup(seed: u64, peers: usize, chunks_per_second: u32) -> Setup {
    Setup {
        network: NetworkConfig { latency: fixed(40, 10), through_wire: 97, ..NetworkConfig::default() },
        perfect: true,
        seed,
        peers,
        stream: StreamSpec::new(chunks_per_second),
        uplink: None,
    }
}

/// E1: the splitter sends the stream once, a peer of weight w sends it w (N-1) times. Then a quarter of the team is eco,
/// and the others carry its share.
pub(super) fn e1(seed: u64, size: Size, report: &mut Report) {
    let (peers, seconds) = if size == Size::Full { (32, 60) } else { (8, 10) };
    for (name, eco) in [("equal", 0), ("unequal", peers / 4)] {
        let mut setup = setup(seed, peers, 100);
        setup.uplink = Some(setup.uplink_of(4.0));
        let mut lab = setup.build(|index, config| config.eco = index < eco);
        // The first round fills the pipes; whole rounds are compared.
        lab.run_to(Duration::from_secs(2));
        let (splitter_before, before) = (lab.world.splitter_stats(lab.team), lab.stats());
        lab.run_to(Duration::from_secs(2 + seconds));
        let (splitter_after, after) = (lab.world.splitter_stats(lab.team), lab.stats());
        let payload = (splitter_after.bytes_in - splitter_before.bytes_in) as f64;
        let datagrams =
            payload + ((splitter_after.chunks_in - splitter_before.chunks_in) * HEADER_BYTES as u64) as f64;
        let splitter = (splitter_after.bytes_sent - splitter_before.bytes_sent) as f64 / datagrams;
        let ratio = |(before, after): (&PeerStats, &PeerStats)| {
            (after.bytes_relayed - before.bytes_relayed) as f64 / payload
        };
        let ratios: Vec<f64> = before.iter().zip(&after).map(ratio).collect();
        let (idle, busy) = ratios.split_at(eco);
        let want = (peers - 1) as f64 / (peers - eco) as f64;
        let worst = busy
            .iter()
            .copied()
            .fold(want, |worst, r| if (r - want).abs() > (worst - want).abs() { r } else { worst });
        report.line(format!("{name} weights: {peers} peers, {eco} of weight 0, {seconds} s at 100 chunks/s"));
        report.close(&format!("{name}: splitter Tx/R"), splitter, 1.0, 0.02);
        report.close(&format!("{name}: peer Tx/R, mean"), mean(busy.iter().copied()), want, 0.05);
        report.close(&format!("{name}: peer Tx/R, farthest off"), worst, want, 0.05);
        report.at_most(&format!("{name}: eco peer Tx/R"), idle.iter().copied().fold(0.0, f64::max), 0.0);
        report.figure(&format!("{name}_splitter_copies"), splitter);
        report.figure(&format!("{name}_peer_relay_ratio"), mean(busy.iter().copied()));
        report.world(&mut lab.world);
    }
}

/// E2 and E3: the last teammate has a chunk after `d0 + di + (n-1) t_x`, the mean one after `d0 + di + n t_x / 2`.
pub(super) fn e2_e3(seed: u64, size: Size, report: &mut Report) {
    let (peers, seconds) = if size == Size::Full { (64, 30) } else { (24, 6) };
    let c = 4.0;
    report.line(format!("{peers} peers, R = 100 chunks/s, d0 = 40 ms, di = 10 ms, U = {c} R"));
    for (name, relay) in [("burst", RelayPolicy::Burst), ("classic", RelayPolicy::Classic)] {
        let mut setup = setup(seed, peers, 100);
        setup.uplink = Some(setup.uplink_of(c));
        let interval = setup.stream.chunk_interval;
        let mut lab = setup.build(|_, config| {
            config.relay = relay;
            config.target_delay = Duration::from_secs(3);
        });
        lab.run_to(Duration::from_secs(seconds));
        let n = peers as f64;
        let t_x = ms(interval) / if relay == RelayPolicy::Burst { c } else { 1.0 };
        let (first, last) =
            (usize::try_from(seconds * 20).unwrap_or(0), usize::try_from(seconds * 80).unwrap_or(0));
        let chunks = lab.world.chunks(lab.team).get(first..last).unwrap_or_default();
        let whole = chunks.iter().filter(|chunk| u64::from(chunk.from_teammates) == peers as u64 - 1).count();
        report.at_least(&format!("{name}: chunks that reached all"), whole as f64, chunks.len() as f64);
        let last_ms = mean(chunks.iter().map(|chunk| ms(chunk.delay_max)));
        let mean_ms =
            mean(chunks.iter().map(|chunk| ms(chunk.delay_sum) / f64::from(chunk.from_teammates.max(1))));
        // The published rule hands a neighbour all that waits for it at one reception: its last copy comes earlier than
        // even pacing would bring it.
        let tolerance = if relay == RelayPolicy::Burst { 0.05 } else { 0.10 };
        report.close(&format!("{name}: E2 last delay, ms"), last_ms, 50.0 + (n - 1.0) * t_x, tolerance);
        report.close(&format!("{name}: E3 mean delay, ms"), mean_ms, 50.0 + n * t_x / 2.0, 0.05);
        // Who comes first rotates: no peer is always the last (docs/background.md 3).
        let means = lab.peers.iter().map(|peer| ms(lab.world.view(*peer).mean_delay()));
        let (least, most) =
            means.fold((f64::MAX, 0.0_f64), |(least, most), mean| (least.min(mean), most.max(mean)));
        report.line(format!("{name}: mean delay by peer from {least:.1} to {most:.1} ms"));
        if relay == RelayPolicy::Burst {
            report.at_most("burst: spread of the peers' mean delays, ms", most - least, 5.0);
        }
        report.figure(&format!("{name}_last_ms"), last_ms);
        report.figure(&format!("{name}_mean_ms"), mean_ms);
        report.figure(&format!("{name}_spread_ms"), most - least);
        report.world(&mut lab.world);
    }
}

/// E7 to E9: the mesh is full, every pair carries the same, and the splitter sends each chunk once.
pub(super) fn e7_e8_e9(seed: u64, size: Size, report: &mut Report) {
    let peers = if size == Size::Full { 32 } else { 8 };
    let setup = setup(seed, peers, 100);
    let (rate, interval) = (setup.stream.bits_per_second(), setup.stream.chunk_interval);
    let mut lab = setup.build(|_, _| ());
    let rounds = 100_u32;
    let round = interval * u32::try_from(peers).unwrap_or(0);
    let splitter = lab.world.splitter(lab.team);
    lab.run_to(round * 2);
    let sent = |lab: &super::lab::Lab| -> Vec<u64> {
        let links = lab.peers.iter().flat_map(|peer| lab.world.links(*peer));
        links.filter(|(to, _)| Some(*to) != splitter).map(|(_, bytes)| bytes).collect()
    };
    let before = sent(&lab);
    lab.run_to(round * (2 + rounds));
    let after = sent(&lab);
    let span = (round * rounds).as_secs_f64();
    let pairs: Vec<f64> = before.iter().zip(&after).map(|(b, a)| (a - b) as f64 * 8.0 / span).collect();
    let (least, most) =
        pairs.iter().fold((f64::MAX, 0.0_f64), |(least, most), rate| (least.min(*rate), most.max(*rate)));
    let degrees =
        lab.peers.iter().map(|peer| lab.world.links(*peer).filter(|(to, _)| Some(*to) != splitter).count());
    let (fewest, largest) =
        degrees.fold((usize::MAX, 0), |(few, many), degree| (few.min(degree), many.max(degree)));
    report.line(format!("{peers} peers, {rounds} rounds of {:.0} ms", ms(round)));
    report.near("E7: links to teammates, fewest", fewest as f64, (peers - 1) as f64, 0.0);
    report.near("E7: links to teammates, most", largest as f64, (peers - 1) as f64, 0.0);
    let want = rate / peers as f64;
    report.close("E8: bits/s for a pair, mean", mean(pairs), want, 0.02);
    report.close("E8: bits/s for a pair, least", least, want, 0.02);
    report.close("E8: bits/s for a pair, most", most, want, 0.02);
    let chunks = lab.world.chunks(lab.team);
    let settled = chunks.get(..chunks.len().saturating_sub(50)).unwrap_or_default();
    let copies = mean(settled.iter().map(|chunk| f64::from(chunk.from_splitter)));
    report.close("E9: copies of a chunk from the splitter", copies, 1.0, 0.01);
    report.figure("splitter_copies", copies);
    report.figure("pair_bits_per_second", want);
    report.world(&mut lab.world);
}
