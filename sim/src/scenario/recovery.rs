//! Signed generations under loss: what the viewer sees, and what it costs (R-GEN-1 to R-GEN-7). The stream has 5 Mb/s in chunks of
//! 1024 bytes, uplinks have 20 Mb/s, round trips take 40 ms.

use super::{
    Size,
    lab::{CHUNKS_PER_SECOND, Lab, UPLINK, played_and_lost, reference},
};
use crate::{Loss, Report, Rng};
use p2psp_core::PeerStats;
use std::time::Duration;

/// One row: what is lost, with which parity, and the bars.
struct Case {
    name: &'static str,
    loss: Loss,
    continuity: f64,
    overhead: f64,
}

/// Loss on every link, independent and in runs of 50.
pub(super) fn loss(seed: u64, size: Size, report: &mut Report) {
    let (peers, seconds) = if size == Size::Full { (64, 60) } else { (16, 8) };
    let iid =
        |name, mean, continuity, overhead| Case { name, loss: Loss::Independent(mean), continuity, overhead };
    let bursts = Loss::Bursts { mean: 0.02, length: 50.0 };
    let cases = [
        iid("0.5 %", 0.005, 0.9999, 0.12),
        iid("2 %", 0.02, 0.9999, 0.20),
        Case { name: "2 % in runs of 50", loss: bursts, continuity: 0.9999, overhead: 0.20 },
        iid("5 %", 0.05, 0.999, 0.40),
        iid("10 %", 0.10, 0.99, 0.60),
    ];
    report.line(format!("{peers} peers, {CHUNKS_PER_SECOND} chunks/s, {seconds} s for each case"));
    for case in cases {
        let mut lab = reference(seed, peers, case.loss);
        lab.run_to(Duration::from_secs(seconds));
        let stats = lab.stats();
        let (played, lost) = lab.played_and_lost();
        let continuity = played as f64 / (played + lost).max(1) as f64;
        report.at_least(&format!("{}: continuity", case.name), continuity, case.continuity);
        report.at_most(
            &format!("{}: parity, manifests, control and pulls / stream", case.name),
            overhead(&lab, &stats),
            case.overhead,
        );
        let total = |count: fn(&PeerStats) -> u64| stats.iter().map(count).sum::<u64>();
        let splitter = lab.world.splitter_stats(lab.team);
        report.line(format!(
            "{}: {} rebuilt, {} healed, {} asked, {} lost; splitter sent {:.3} copies and served {}; {} parity chunks at the end",
            case.name,
            total(|s| s.chunks_rebuilt),
            total(|s| s.chunks_healed),
            total(|s| s.chunks_asked),
            total(|s| s.chunks_lost),
            splitter.bytes_sent as f64 / splitter.bytes_in.max(1) as f64,
            splitter.chunks_served,
            splitter.parity_chunks,
        ));
        report.figure(&format!("continuity_{}", case.name), continuity);
        report.at_most(
            &format!("{}: datagrams taken for false", case.name),
            total(|s| s.chunks_false) as f64,
            0.0,
        );
        lab.heals(case.name, report);
        report.world(&mut lab.world);
    }
}

/// A tenth of the team dies in one instant: the others are at full quality again within a second.
pub(super) fn mass_death(seed: u64, size: Size, report: &mut Report) {
    let peers = if size == Size::Full { 64 } else { 20 };
    let mut lab = reference(seed, peers, Loss::None);
    lab.run_to(Duration::from_secs(5));
    let dead: Vec<_> = lab.peers.drain(..peers / 10).collect();
    for peer in dead {
        lab.world.crash(peer);
    }
    let lost = |lab: &Lab| lab.played_and_lost().1;
    let before = lost(&lab);
    // What the dead were given is due half a second later: losses show up by then.
    lab.world.run_for(Duration::from_millis(1500));
    let within = lost(&lab) - before;
    lab.world.run_for(Duration::from_secs(5));
    let after = lost(&lab) - before - within;
    report.line(format!("{} of {peers} die at once", peers / 10));
    report.at_most("chunks lost later than 1 s after", after as f64, 0.0);
    report.figure("lost_within_1_s", within);
    lab.heals("after them", report);
    report.world(&mut lab.world);
}

/// Nobody says goodbye: members live `tau` on average, crash, and are followed by a newcomer each.
pub(super) fn crashes(seed: u64, size: Size, report: &mut Report) {
    let (peers, seconds) = if size == Size::Full { (64, 120) } else { (16, 10) };
    for tau_s in [120, 600, 3600] {
        let tau = Duration::from_secs(tau_s);
        let mut lab = reference(seed, peers, Loss::None);
        lab.run_to(Duration::from_secs(3));
        let mut rng = Rng::new(seed ^ tau_s);
        let mut everybody = lab.peers.clone();
        let span = Duration::from_secs(seconds);
        let newcomers = lab.turn_over(&mut rng, tau, span, Some(UPLINK), |world, _, goes| world.crash(goes));
        let crashes = newcomers.len();
        everybody.extend(newcomers);
        let (played, lost) = played_and_lost(&lab.world, &everybody);
        let continuity = played as f64 / (played + lost).max(1) as f64;
        let splitter = lab.world.splitter_stats(lab.team);
        report.line(format!(
            "{tau_s} s: {crashes} crashes in {seconds} s, {lost} of {played} chunks lost, {} parity chunks at the end, {} silenced",
            splitter.parity_chunks, splitter.silenced
        ));
        report.at_least(&format!("{tau_s} s: continuity"), continuity, 0.999);
        report.figure(&format!("continuity_{tau_s}"), continuity);
        lab.heals(&format!("{tau_s} s"), report);
        report.world(&mut lab.world);
    }
}

/// Bytes sent beside the stream's own, as a share of it: parity, manifests, control messages and chunks sent once more.
fn overhead(lab: &Lab, stats: &[PeerStats]) -> f64 {
    let sum = |count: fn(&PeerStats) -> u64| stats.iter().map(count).sum::<u64>();
    let sent = lab.world.traffic();
    let repeated = sum(|s| s.chunks_asked + s.chunks_healed) * lab.stream.payload_bytes as u64;
    let beside = sent.parity_bytes + sent.manifest_bytes + sent.control_bytes + repeated;
    beside as f64 / sum(|s| s.bytes_received).max(1) as f64
}
