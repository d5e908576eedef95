//! Uplinks that are slower than their owners say: the shared rate finds them out, shares follow, and nobody's router is bloated
//! (R-UPLINK-1 to R-UPLINK-5, R-TURN-4). Where all together are too slow the splitter fills the rest, and says no to whom that does
//! not serve (R-TURN-5, R-TURN-6). The stream has 5 Mb/s in chunks of 1024 bytes, round trips take 40 ms.

use super::{
    Size,
    lab::{Lab, Setup, fixed, mean, ms, played_and_lost, quantile},
};
use crate::{NetworkConfig, NodeId, Report, StreamSpec, World};
use p2psp_core::{ParityPolicy, PeerConfig};
use std::time::Duration;

const CHUNKS_PER_SECOND: u32 = 610;
/// What everybody's owner says.
const UPLINK: u64 = 20_000_000;
/// What a fifth of them have: half of the stream's rate.
const SLOW: u64 = 2_500_000;
/// What everybody has where nobody has enough.
const SPENT: u64 = 4_000_000;
/// Nobody knows anything yet: shown apart.
const FIRST: Duration = Duration::from_secs(3);
const QUEUE_MAX_MS: f64 = 100.0;

/// A fifth of the team has half of the stream's rate, and all have told 20 Mb/s.
pub(super) fn uplinks(seed: u64, size: Size, report: &mut Report) {
    let (peers, seconds) = if size == Size::Full { (64, 60) } else { (12, 20) };
    report.line(format!(
        "{peers} peers that say {} Mb/s, {} of them have {} Mb/s; {CHUNKS_PER_SECOND} chunks/s, {seconds} s",
        UPLINK / 1_000_000,
        (0..peers).filter(|index| is_slow(*index)).count(),
        SLOW as f64 / 1e6
    ));
    let mut lab = team(seed, peers);
    let before = lab.world.traffic().control_bytes;
    lab.run_to(FIRST);
    let first = table(&mut lab, &format!("first {} s", FIRST.as_secs()), report);
    lab.run_to(Duration::from_secs(seconds));
    let queue = first.max(table(&mut lab, &format!("{seconds} s"), report));
    let control = lab.world.traffic().control_bytes - before;
    let media: u64 = lab.stats().iter().map(|stats| stats.bytes_received).sum();
    let (played, lost) = lab.played_and_lost();
    let splitter = lab.world.splitter_stats(lab.team);
    let seats = lab.peers.iter().filter(|node| lab.world.view(**node).left.is_some()).count();
    report.line(format!(
        "{lost} of {played} chunks lost; the splitter sent {:.2} copies, {} turns of its own; {} rests, {} silenced",
        splitter.bytes_sent as f64 / splitter.bytes_in.max(1) as f64,
        splitter.own_turns,
        splitter.rested,
        splitter.silenced,
    ));
    report.at_least("continuity", played as f64 / (played + lost).max(1) as f64, 0.999);
    report.at_most("longest uplink queue from the first chunk on, ms", queue, QUEUE_MAX_MS);
    report.at_most("members that lost their seats", seats as f64, 0.0);
    report.at_most("control / media", control as f64 / media.max(1) as f64, 0.015);
    report.world(&mut lab.world);
}

/// Everybody has four fifths of the stream's rate, and says so: the splitter sends what is missing itself. Where it may not send so
/// much, it takes no more than the team can carry.
pub(super) fn spent_uplinks(seed: u64, size: Size, report: &mut Report) {
    let (peers, seconds) = if size == Size::Full { (16, 30) } else { (12, 8) };
    for own_copies_max in [u16::MAX, 3, 0] {
        let mut world = World::new(network(), false, seed);
        let team = world.add_team(stream(), None, |config| config.own_copies_max = own_copies_max);
        let mut nodes = Vec::new();
        for _ in 0..peers {
            let tune = |config: &mut PeerConfig| config.uplink_bits_per_s_max = Some(SPENT);
            nodes.push(world.add_peer(team, Some(SPENT), tune));
            world.run_for(Duration::from_millis(1_500));
        }
        // A newcomer's first seconds are pulled from uplinks that have nothing to spare, and are not what is asked here.
        world.run_for(FIRST);
        let (inside, outside): (Vec<NodeId>, Vec<NodeId>) =
            nodes.iter().partition(|node| world.view(**node).slot.is_some());
        let refused = outside.iter().filter(|node| world.view(**node).refused > 0).count();
        let before = played_and_lost(&world, &inside);
        world.run_for(Duration::from_secs(seconds));
        let after = played_and_lost(&world, &inside);
        let (played, lost) = (after.0 - before.0, after.1 - before.1);
        let splitter = world.splitter_stats(team);
        let name =
            if own_copies_max == u16::MAX { "no limit".into() } else { format!("{own_copies_max} copies") };
        report.line(format!(
            "{name}: {} of {peers} peers have seats, {refused} were refused; {lost} of {played} chunks lost; the splitter has {:.3} of \
             the turns, {:.3} nobody",
            inside.len(),
            f64::from(splitter.own_share_per_mille) / 1e3,
            f64::from(splitter.lacking_per_mille) / 1e3,
        ));
        report.at_least(&format!("{name}: continuity"), played as f64 / (played + lost).max(1) as f64, 0.999);
        report.near(&format!("{name}: refused"), refused as f64, (peers - inside.len()) as f64, 0.0);
        // Who can use four fifths of what it said at the door is found out behind it.
        let lacking = f64::from(splitter.lacking_per_mille) / 1e3;
        report.at_most(&format!("{name}: share that nobody carries"), lacking, 0.2);
        if own_copies_max == u16::MAX {
            report.near("no limit: seats", inside.len() as f64, peers as f64, 0.0);
            report.at_least(
                "no limit: the splitter's share of the turns",
                f64::from(splitter.own_share_per_mille) / 1e3,
                0.2,
            );
        } else {
            report.at_least(&format!("{name}: peers without a seat"), refused as f64, 1.0);
            report.at_least(
                &format!("{name}: peers with one"),
                inside.len() as f64,
                f64::from(own_copies_max).max(1.0),
            );
        }
        report.world(&mut world);
    }
}

const fn is_slow(index: usize) -> bool {
    index % 5 == 2
}

fn stream() -> StreamSpec {
    let parity = Some(ParityPolicy::Adaptive);
    StreamSpec { payload_bytes: 1024, parity, ..StreamSpec::new(CHUNKS_PER_SECOND) }
}

fn network() -> NetworkConfig {
    NetworkConfig { latency: fixed(20, 20), ..NetworkConfig::default() }
}

fn team(seed: u64, peers: usize) -> Lab {
    let setup = Setup { network: network(), perfect: false, seed, peers, stream: stream(), uplink: None };
    setup.build_uplinks(
        |index| Some(if is_slow(index) { SLOW } else { UPLINK }),
        |_, config| config.uplink_bits_per_s_max = Some(UPLINK),
        |_, _, _| (),
    )
}

/// A row for each class of members; the longest queue of all since the last table, in milliseconds.
fn table(lab: &mut Lab, name: &str, report: &mut Report) -> f64 {
    let mut longest = 0.0_f64;
    for (class, slow) in [("slow", true), ("fast", false)] {
        let nodes: Vec<NodeId> =
            lab.peers.iter().enumerate().filter(|(i, _)| is_slow(*i) == slow).map(|(_, n)| *n).collect();
        let mut queues: Vec<f64> = nodes.iter().map(|node| ms(lab.world.take_backlog_max(*node))).collect();
        let stats: Vec<_> = nodes.iter().map(|node| lab.world.peer_stats(*node)).collect();
        let (played, lost) = played_and_lost(&lab.world, &nodes);
        let (median, worst) = (quantile(&mut queues, 0.5), quantile(&mut queues, 1.0));
        report.line(format!(
            "{name}, {class} uplinks: queue median {median:.0}, longest {worst:.0} ms; rate {:.1}, carried {:.1} Mb/s; {:.0} own chunks, \
             {:.0} copies expired, {:.0} chunks asked for, continuity {:.5}",
            mean(stats.iter().map(|stats| stats.uplink_bits_per_s as f64)) / 1e6,
            mean(stats.iter().map(|stats| stats.uplink_carried_bits_per_s as f64)) / 1e6,
            mean(stats.iter().map(|stats| stats.chunks_from_splitter as f64)),
            mean(stats.iter().map(|stats| stats.chunks_expired as f64)),
            mean(stats.iter().map(|stats| stats.chunks_asked as f64)),
            played as f64 / (played + lost).max(1) as f64
        ));
        longest = longest.max(worst);
    }
    longest
}
