//! What the reference setting costs beside the stream, how late it plays, and what losing the splitter's own packets does.

use super::{
    Size,
    lab::{CHUNKS_PER_SECOND, Lab, ms, reference},
};
use crate::{Loss, Report, Traffic};
use p2psp_core::PeerStats;
use std::time::Duration;

/// Parity has found its measure, and everybody has all its links.
const SETTLED: Duration = Duration::from_secs(5);

/// The splitter's own links lose what they carry, all others nothing: what is lost there, the whole team misses.
pub(super) fn first_hop(seed: u64, size: Size, report: &mut Report) {
    let (peers, seconds) = if size == Size::Full { (64, 30) } else { (16, 8) };
    report.line(format!("{peers} peers, {CHUNKS_PER_SECOND} chunks/s, {seconds} s for each case"));
    // Eight seconds are for the most part those in which parity finds its measure.
    let slack = if size == Size::Full { 1.0 } else { 2.0 };
    let bursts = Loss::Bursts { mean: 0.02, length: 50.0 };
    for (name, loss, least) in [
        ("2 %", Loss::Independent(0.02), 0.9999),
        ("2 % in runs of 50", bursts, 0.9999),
        ("5 %", Loss::Independent(0.05), 0.999),
        ("10 %", Loss::Independent(0.10), 0.99),
    ] {
        let mut lab = reference(seed, peers, Loss::None);
        lab.world.network_mut().splitter_loss = Some(loss);
        lab.run_to(Duration::from_secs(seconds));
        let (played, lost) = lab.played_and_lost();
        let stats = lab.stats();
        let total = |count: fn(&PeerStats) -> u64| stats.iter().map(count).sum::<u64>();
        let splitter = lab.world.splitter_stats(lab.team);
        report.line(format!(
            "{name}: {lost} of {played} lost, {} rebuilt, {} healed, {} asked; {} parity chunks at the end, the splitter served {}",
            total(|s| s.chunks_rebuilt),
            total(|s| s.chunks_healed),
            total(|s| s.chunks_asked),
            splitter.parity_chunks,
            splitter.chunks_served,
        ));
        let continuity = played as f64 / (played + lost).max(1) as f64;
        report.at_least(
            &format!("{name} on the first hop: continuity"),
            continuity,
            1.0 - (1.0 - least) * slack,
        );
        report.figure(&format!("continuity_{name}"), continuity);
        let seats = lab.peers.iter().filter(|node| lab.world.view(**node).left.is_some()).count();
        report.at_most(&format!("{name} on the first hop: seats lost"), seats as f64, 0.0);
        lab.heals(name, report);
        report.world(&mut lab.world);
    }
}

/// Control messages, manifests and delay at 1 % loss on every link, with everybody well behaved.
pub(super) fn cost(seed: u64, size: Size, report: &mut Report) {
    let (peers, seconds) = if size == Size::Full { (64, 60) } else { (16, 8) };
    let mut lab = reference(seed, peers, Loss::Independent(0.01));
    lab.run_to(SETTLED);
    let before = (lab.world.traffic(), media(&lab));
    lab.world.run_for(Duration::from_secs(seconds));
    let (sent, media) = (lab.world.traffic(), media(&lab) - before.1);
    let share = |count: fn(&Traffic) -> u64| (count(&sent) - count(&before.0)) as f64 / media as f64;
    let control = share(|sent| sent.control_bytes);
    let manifests = share(|sent| sent.manifest_bytes);
    report.line(format!(
        "{peers} peers, {CHUNKS_PER_SECOND} chunks/s, {seconds} s after the first {}",
        SETTLED.as_secs()
    ));
    report.line(format!(
        "to the media: chunks {:.4}, parity {:.4}, manifests {manifests:.4}, control {control:.4} in {} messages, {:.4} of it witness",
        share(|sent| sent.chunk_bytes),
        share(|sent| sent.parity_bytes),
        sent.control_messages - before.0.control_messages,
        share(|sent| sent.witness_bytes),
    ));
    report.at_most("control bytes / media", control, 0.015);
    report.at_most("manifest bytes / media", manifests, 0.025);
    let [median, late, latest] =
        [500, 990, 999].map(|per_mille| ms(lab.world.oracle().ways().quantile(per_mille)));
    report.line(format!("source to player: median {median} ms, p99 {late} ms, p99.9 {latest} ms"));
    report.at_most("source to player, p99, ms", late, 600.0);
    for (name, value) in [("control", control), ("manifests", manifests), ("way_p99_ms", late)] {
        report.figure(name, value);
    }
    report.world(&mut lab.world);
}

/// Payload bytes that came to all peers, each chunk once.
fn media(lab: &Lab) -> u64 {
    lab.stats().iter().map(|stats| stats.bytes_received).sum()
}
