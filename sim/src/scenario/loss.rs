//! E11 and E12: what crashes and packet loss cost where nothing is recovered.

use super::{
    Size,
    lab::{Lab, Setup, fixed, mean, played_and_lost},
};
use crate::{Loss, NetworkConfig, Report, StreamSpec};
use std::time::Duration;

/// E11: each crash silences one member's share until its turns go elsewhere, so that the others lose `H T_d / tau`; one
/// relay level here, everybody crashes. `T_d` is measured, from the crash to the splitter's decision.
pub(super) fn e11(seed: u64, size: Size, report: &mut Report) {
    let (peers, crashes) = if size == Size::Full { (40, 60) } else { (12, 8) };
    let network = NetworkConfig { latency: fixed(20, 20), ..NetworkConfig::default() };
    let setup = Setup { network, perfect: false, seed, peers, stream: StreamSpec::new(100), uplink: None };
    let mut lab = setup.build(|_, _| ());
    lab.run_to(Duration::from_secs(3));
    let mut rng = crate::Rng::new(seed ^ 0xe11);
    let spacing = Duration::from_secs(4);
    let begin = lab.world.now();
    let before = lab.played_and_lost();
    let mut everybody = lab.peers.clone();
    let mut detection = Vec::new();
    for index in 0..crashes {
        lab.world.run_until(begin + spacing * index + rng.span(Duration::from_millis(500)));
        let victim = lab.peers.remove(rng.index(lab.peers.len()));
        lab.world.crash(victim);
        detection.push(until_noticed(&mut lab));
        // A newcomer takes the place, so that the team stays as large as it is.
        let newcomer = lab.world.add_peer(lab.team, None, |_| ());
        lab.peers.push(newcomer);
        everybody.push(newcomer);
    }
    lab.world.run_until(begin + spacing * crashes);
    let span = lab.world.now().since(begin);
    let after = played_and_lost(&lab.world, &everybody);
    let (played, lost) = (after.0 - before.0, after.1 - before.1);
    let loss = lost as f64 / (played + lost).max(1) as f64;
    let detected = mean(detection.iter().copied());
    // The rate is crashes / span for the whole team: tau = n span / crashes.
    let tau = peers as f64 * span.as_secs_f64() / f64::from(crashes);
    let want = detected / tau;
    report.line(format!(
        "{peers} peers, 100 chunks/s, {crashes} crashes in {:.0} s (tau = {tau:.0} s)",
        span.as_secs_f64()
    ));
    // A few crashes say less than many.
    let tolerance = if size == Size::Full { 0.20 } else { 0.40 };
    report.close("E11: share of chunks lost by the others", loss, want, tolerance);
    report.at_most("T_d: crash to turns given elsewhere, s", detected, 2.0);
    report.figure("detection_s", detected);
    report.figure("loss", loss);
    report.figure("loss_predicted", want);
    report.world(&mut lab.world);
}

/// Runs until the splitter has taken the crashed member's turns away; how long that took, in seconds.
fn until_noticed(lab: &mut Lab) -> f64 {
    let crashed_at = lab.world.now();
    let noticed = |lab: &Lab| {
        let stats = lab.world.splitter_stats(lab.team);
        (stats.silenced, stats.crashes)
    };
    let before = noticed(lab);
    for _ in 0..800 {
        if noticed(lab) != before {
            break;
        }
        lab.world.run_for(Duration::from_millis(5));
    }
    lab.world.now().since(crashed_at).as_secs_f64()
}

/// E12: a chunk crosses one lossy hop to its origin and two to everybody else: `C0 = ((1-p) + (n-1)(1-p)^2) / n`.
pub(super) fn e12(seed: u64, size: Size, report: &mut Report) {
    let (peers, seconds, tolerance) = if size == Size::Full { (32, 300, 0.002) } else { (12, 20, 0.012) };
    let shares: &[f64] = if size == Size::Full { &[0.005, 0.01, 0.02, 0.05] } else { &[0.02] };
    report.line(format!("{peers} peers, 200 chunks/s, {seconds} s for each p"));
    for p in shares {
        let network =
            NetworkConfig { latency: fixed(20, 20), loss: Loss::Independent(*p), ..NetworkConfig::default() };
        let setup =
            Setup { network, perfect: false, seed, peers, stream: StreamSpec::new(200), uplink: None };
        let mut lab = setup.build(|_, _| ());
        lab.run_to(Duration::from_secs(seconds));
        let (played, lost) = lab.played_and_lost();
        let n = peers as f64;
        let want = ((1.0 - p) + (n - 1.0) * (1.0 - p).powi(2)) / n;
        let got = played as f64 / (played + lost).max(1) as f64;
        report.near(&format!("E12: continuity at p = {} %", p * 100.0), got, want, tolerance);
        report.figure(&format!("continuity_at_{p}"), got);
        let stats = lab.stats();
        let total = |count: fn(&p2psp_core::PeerStats) -> u64| stats.iter().map(count).sum::<u64>();
        report.line(format!(
            "p = {p}: {} requests, {} prunes, {} duplicates, {} silenced",
            total(|s| s.requests_sent),
            total(|s| s.prunes_sent),
            total(|s| s.chunks_duplicate),
            lab.world.splitter_stats(lab.team).silenced
        ));
        report.world(&mut lab.world);
    }
}
