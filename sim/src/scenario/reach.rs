//! E13: members that cannot reach each other.

use super::{
    Size,
    lab::{Setup, fixed},
};
use crate::{Fault, NetworkConfig, Report, StreamSpec};
use std::time::Duration;

/// With a share of all pairs blocked from the start, everybody still gets everything, and the share of deliveries that took a
/// detour is the share of blocked pairs.
pub(super) fn nat_pairs(seed: u64, size: Size, report: &mut Report) {
    let (peers, seconds) = if size == Size::Full { (32, 40) } else { (12, 12) };
    for share in [0.10, 0.27] {
        let network = NetworkConfig { latency: fixed(20, 20), through_wire: 53, ..NetworkConfig::default() };
        let mut setup =
            Setup { network, perfect: false, seed, peers, stream: StreamSpec::new(100), uplink: None };
        setup.uplink = Some(setup.uplink_of(4.0));
        let mut rng = crate::Rng::new(seed ^ 0x0a7);
        let mut blocked = 0_u32;
        let mut lab = setup.build_with(|world, nodes, new| {
            for other in nodes {
                if rng.chance(share) {
                    blocked += 1;
                    world.set_fault(*other, new, Fault::Silence);
                    world.set_fault(new, *other, Fault::Silence);
                }
            }
        });
        let pairs = (peers * (peers - 1) / 2) as f64;
        let blocked = f64::from(blocked) / pairs;
        // The first seconds are for finding out.
        lab.run_to(Duration::from_secs(8));
        let before = (lab.played_and_lost(), lab.world.chunks(lab.team).len());
        lab.run_to(Duration::from_secs(8 + seconds));
        let after = lab.played_and_lost();
        let (played, lost) = (after.0 - before.0.0, after.1 - before.0.1);
        let chunks = lab.world.chunks(lab.team);
        let settled = chunks.get(before.1..chunks.len().saturating_sub(100)).unwrap_or_default();
        let (all, detours) = settled.iter().fold((0_u64, 0_u64), |(all, detours), chunk| {
            (all + u64::from(chunk.from_teammates), detours + u64::from(chunk.from_proxies))
        });
        let detours = detours as f64 / all.max(1) as f64;
        let duplicates: u64 = lab.stats().iter().map(|stats| stats.chunks_duplicate).sum();
        report.line(format!(
            "{peers} peers, {:.1} % of pairs blocked, {duplicates} duplicates",
            blocked * 100.0
        ));
        let name = format!("{:.0} % blocked", share * 100.0);
        report.at_least(&format!("{name}: continuity"), played as f64 / (played + lost).max(1) as f64, 0.999);
        report.near(&format!("E13: {name}: share of deliveries by proxy"), detours, blocked, 0.02);
        report.figure(&format!("proxied_at_{share}"), detours);
        report.figure(&format!("blocked_at_{share}"), blocked);
        report.world(&mut lab.world);
    }
}
