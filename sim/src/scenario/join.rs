//! E5, E6 and the flash crowd: how long a round is, and how soon a newcomer has everything.

use super::{
    Size,
    lab::{Setup, fixed, mean, ms, played_and_lost, quantile},
};
use crate::{Latency, NetworkConfig, Report, Sender, StreamSpec};
use p2psp_core::Instant;
use std::{collections::BTreeMap, time::Duration};

/// Each member's turn comes once a round of `n t_L`; a newcomer gets chunks from every origin after one round trip to the
/// splitter, one to the teammates, and one round.
pub(super) fn e5_e6(seed: u64, size: Size, report: &mut Report) {
    let (peers, joins, rate) = if size == Size::Full { (40, 16, 50) } else { (16, 4, 16) };
    let setup = Setup {
        network: NetworkConfig { latency: fixed(20, 20), ..NetworkConfig::default() },
        perfect: true,
        seed,
        peers,
        stream: StreamSpec::new(rate),
        uplink: None,
    };
    let interval = setup.stream.chunk_interval;
    let mut lab = setup.build(|_, _| ());
    let Some(first) = lab.peers.first().copied() else { return };
    lab.world.watch(first);
    let round = interval * u32::try_from(peers).unwrap_or(0);
    lab.run_to(round * 12);
    let turns: Vec<Instant> = lab
        .world
        .arrivals()
        .iter()
        .filter(|arrival| arrival.sender == Sender::Splitter)
        .map(|arrival| arrival.at)
        .collect();
    let gaps = turns.iter().zip(turns.iter().skip(1)).map(|(a, b)| ms(b.since(*a)));
    report.line(format!("{peers} peers, {rate} chunks/s, 20 ms one way, {joins} joins"));
    let (rounds, got) = (turns.len(), mean(gaps));
    report.at_least("E5: turns seen", rounds as f64, 10.0);
    report.close("E5: round, ms", got, ms(round), 0.10);

    let (mut ratios, mut times) = (Vec::new(), Vec::new());
    for members in (peers..).take(joins) {
        let round = interval * u32::try_from(members).unwrap_or(0);
        let want = Duration::from_millis(40 + 40) + round;
        let begun = lab.world.now();
        let peer = lab.world.add_peer(lab.team, None, |_| ());
        lab.world.watch(peer);
        lab.world.run_for(round * 3);
        let mut first_of = BTreeMap::new();
        for arrival in lab.world.arrivals().iter().filter(|arrival| arrival.sender == Sender::Origin) {
            first_of.entry(arrival.from).or_insert(arrival.at);
        }
        report.at_least("E6: origins heard", first_of.len() as f64, members as f64);
        if let Some(full) = first_of.values().max() {
            times.push(ms(full.since(begun)));
            ratios.push(ms(full.since(begun)) / ms(want));
        }
        lab.peers.push(peer);
    }
    report.close(
        "E6: full reception after join / (RTT_s + RTT_h + round)",
        mean(ratios.iter().copied()),
        1.0,
        0.10,
    );
    report.figure("round_ms", got);
    report.figure("full_reception_ms", mean(times));
    report.world(&mut lab.world);
}

/// A crowd joins within a second.
pub(super) fn flash(seed: u64, size: Size, report: &mut Report) {
    let (before, crowd) = if size == Size::Full { (16, 112) } else { (6, 18) };
    let latency = Latency::Plane { base: Duration::from_millis(5), per_unit: Duration::from_millis(50) };
    let mut setup = Setup {
        network: NetworkConfig { latency, jitter: Duration::from_millis(3), ..NetworkConfig::default() },
        perfect: false,
        seed,
        peers: before,
        stream: StreamSpec::new(250),
        uplink: None,
    };
    let uplink = Some(setup.uplink_of(4.0));
    setup.uplink = uplink;
    let mut lab = setup.build(|_, _| ());
    lab.run_to(Duration::from_secs(5));
    let residents = lab.peers.clone();
    let (played, lost) = played_and_lost(&lab.world, &residents);
    let mut rng = crate::Rng::new(seed ^ 0xf1a5);
    let mut at: Vec<Duration> = (0..crowd).map(|_| rng.span(Duration::from_secs(1))).collect();
    at.sort_unstable();
    let begin = lab.world.now();
    let mut newcomers = Vec::new();
    for after in at {
        lab.world.run_until(begin + after);
        newcomers.push(lab.world.add_peer(lab.team, uplink, |_| ()));
    }
    lab.world.run_until(begin + Duration::from_secs(4));
    let newcomers_early = played_and_lost(&lab.world, &newcomers);
    lab.world.run_until(begin + Duration::from_secs(12));
    let mut start_ups: Vec<f64> =
        newcomers.iter().filter_map(|peer| lab.world.view(*peer).start_up()).map(ms).collect();
    let (p50, p95) = (quantile(&mut start_ups, 0.5), quantile(&mut start_ups, 0.95));
    let (played_after, lost_after) = played_and_lost(&lab.world, &residents);
    let (crowd_played, crowd_lost) = played_and_lost(&lab.world, &newcomers);
    // Everybody fetches the past from everybody who has some: the first seconds are short of uplink, and docs/background.md 3 says
    // how short. What counts is that it passes.
    let early = newcomers_early;
    let share = |played: u64, lost: u64| 1.0 - lost as f64 / (played + lost).max(1) as f64;
    report.line(format!(
        "{before} residents, {crowd} newcomers in 1 s, 250 chunks/s, U = 4 R, 5 to 76 ms one way"
    ));
    report.at_least("newcomers that play", start_ups.len() as f64, crowd as f64);
    report.at_most("start to first chunk played, p50, ms", p50, 600.0);
    report.at_most("start to first chunk played, p95, ms", p95, 2000.0);
    report.at_least("residents' continuity", share(played_after - played, lost_after - lost), 0.999);
    let later = share(crowd_played - early.0, crowd_lost - early.1);
    report.at_least("newcomers' continuity from 4 s on", later, 0.999);
    report.line(format!("newcomers' continuity in the first 4 s: {:.4}", share(early.0, early.1)));
    report.figure("start_ms_p50", p50);
    report.figure("start_ms_p95", p95);
    report.figure("newcomers_continuity", share(crowd_played, crowd_lost));
    report.world(&mut lab.world);
}
