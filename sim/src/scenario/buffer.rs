//! E4: how much delay play-out needs.

use super::{
    Size,
    lab::{Setup, fixed, ms},
};
use crate::{NetworkConfig, Report, StreamSpec};
use p2psp_core::RelayPolicy;
use std::time::Duration;

/// Uniform jitter of each hop; a chunk takes two.
const JITTER: Duration = Duration::from_millis(5);

/// From the splitter to a peer, one way: a newcomer's clock is behind the splitter's by as much and the jitter.
const D0_MS: u64 = 40;
const TICK: Duration = Duration::from_micros(100);

/// The smallest play-out delay with which nobody misses a chunk or plays one late is the spread of arrivals: `n t_x + di + J`.
/// Classic relay serves neighbours unevenly: its need lies between `n t_L + di + J` and the published rule of twice the team.
pub(super) fn e4(seed: u64, size: Size, report: &mut Report) {
    let (peers, seconds) = if size == Size::Full { (64, 12) } else { (40, 2) };
    let c = 4.0;
    report.line(format!(
        "{peers} peers, R = 100 chunks/s, di = 10 ms, J = 2 x {} ms, U = {c} R, {seconds} s",
        ms(JITTER)
    ));
    let interval = StreamSpec::new(100).chunk_interval;
    let spread = |pace: f64| interval.mul_f64(peers as f64 / pace) + Duration::from_millis(10) + JITTER * 2;

    let want = spread(c);
    let got = smallest(seed, peers, seconds, RelayPolicy::Burst, want, 130, report);
    let tolerance = if size == Size::Full { 0.10 } else { 0.25 };
    report.close("burst: smallest clean play-out delay, ms", got, ms(want), tolerance);
    report.figure("burst_smallest_ms", got);

    let (least, most) = (spread(1.0), spread(0.5));
    let got = smallest(seed, peers, seconds, RelayPolicy::Classic, least, 210, report);
    report.at_least("classic: smallest clean play-out delay, ms, from n t_L", got, ms(least) * 0.9);
    report.at_most("classic: smallest clean play-out delay, ms, to 2 n t_L", got, ms(most));
    report.figure("classic_smallest_ms", got);
}

/// Goes down from `percent_max` of `around`, so that the answer is the end of the unbroken run of clean delays; in
/// milliseconds, 0 when there is none.
fn smallest(
    seed: u64,
    peers: usize,
    seconds: u64,
    relay: RelayPolicy,
    around: Duration,
    percent_max: u32,
    report: &mut Report,
) -> f64 {
    let (mut clean, mut curve) = (Duration::ZERO, Vec::new());
    for percent in (70..=percent_max).rev().step_by(3) {
        let target = around * percent / 100;
        let mut setup = Setup {
            network: NetworkConfig { latency: fixed(D0_MS, 10), jitter: JITTER, ..NetworkConfig::default() },
            perfect: false,
            seed,
            peers,
            stream: StreamSpec::new(100),
            uplink: None,
        };
        setup.uplink = Some(setup.uplink_of(4.0));
        let mut lab = setup.build(|_, config| {
            config.relay = relay;
            config.target_delay = target;
            config.playout_tick = TICK;
        });
        lab.run_to(Duration::from_secs(seconds));
        let (played, lost) = lab.played_and_lost();
        // A chunk is missed only when a later one is due and known to be true; until then it is waited for.
        let in_time = target + Duration::from_millis(D0_MS) + JITTER + TICK;
        let late = lab.peers.iter().filter(|peer| lab.world.view(**peer).longest_way > in_time).count();
        report.world(&mut lab.world);
        let continuity = played as f64 / (played + lost).max(1) as f64;
        curve.push(format!("{:.0} ms: {continuity:.4} ({late} late)", ms(target)));
        if lost > 0 || late > 0 || played == 0 {
            break;
        }
        clean = target;
    }
    report.line(format!("{relay:?} continuity by delay: {}", curve.join(", ")));
    ms(clean)
}
