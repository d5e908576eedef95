//! Members that come and go.

use super::{
    Size,
    lab::{Setup, fixed, mean, ms, played_and_lost},
};
use crate::{Loss, NetworkConfig, Report, StreamSpec};
use std::time::Duration;

/// On a perfect network joins and goodbyes cost nobody anything: the oracle's strict rules hold throughout.
pub(super) fn polite(seed: u64, size: Size, report: &mut Report) {
    let (peers, steps) = if size == Size::Full { (40, 120) } else { (10, 16) };
    let network = NetworkConfig { latency: fixed(20, 15), through_wire: 31, ..NetworkConfig::default() };
    let mut setup = Setup { network, perfect: true, seed, peers, stream: StreamSpec::new(100), uplink: None };
    let uplink = Some(setup.uplink_of(4.0));
    setup.uplink = uplink;
    let mut lab = setup.build(|_, _| ());
    lab.run_to(Duration::from_secs(2));
    let mut rng = crate::Rng::new(seed ^ 0x901);
    let (mut joins, mut leaves) = (0_u32, 0_u32);
    let mut everybody = lab.peers.clone();
    for _ in 0..steps {
        lab.world.run_for(rng.span(Duration::from_secs(1)));
        if rng.chance(0.5) && lab.peers.len() > peers / 2 {
            leaves += 1;
            let leaver = lab.peers.remove(rng.index(lab.peers.len()));
            lab.world.leave(leaver);
        } else {
            joins += 1;
            let peer = lab.world.add_peer(lab.team, uplink, |_| ());
            lab.peers.push(peer);
            everybody.push(peer);
        }
    }
    lab.world.run_for(Duration::from_secs(6));
    let (played, lost) = played_and_lost(&lab.world, &everybody);
    let gone = everybody.iter().filter(|peer| !lab.world.is_alive(**peer)).count();
    report.line(format!("{peers} peers at first, {joins} joins, {leaves} goodbyes"));
    report.at_most("chunks lost by anybody", lost as f64, 0.0);
    report.at_least("chunks played", played as f64, 1.0);
    report.near("leavers gone", gone as f64, f64::from(leaves), 0.0);
    let (surplus, received) =
        everybody.iter().map(|peer| lab.world.peer_stats(*peer)).fold((0, 0), |sum, stats| {
            let surplus = stats.chunks_duplicate + stats.chunks_late + stats.chunks_unexpected;
            (
                sum.0 + surplus,
                sum.1 + stats.chunks_from_teammates + stats.chunks_from_splitter + stats.chunks_pulled,
            )
        });
    report.at_most("copies that were of no use, share", surplus as f64 / received as f64, 0.005);
    let seats = lab.world.splitter_stats(lab.team).members;
    report.near("members that the splitter knows", f64::from(seats), lab.peers.len() as f64, 0.0);
    report.world(&mut lab.world);
}

/// A team whose members live `tau` on average; a quarter of them end by a crash. Nobody's loss exceeds what theory predicts
/// without recovery: `2 p` for the packets and `(1-g) T_d / tau` for the crashes.
pub(super) fn churn(seed: u64, size: Size, report: &mut Report) {
    let (peers, seconds) = if size == Size::Full { (60, 120) } else { (16, 15) };
    let (p, tau, graceful) = (0.002, Duration::from_secs(120), 0.75);
    let network = NetworkConfig {
        latency: fixed(25, 20),
        jitter: Duration::from_millis(5),
        loss: Loss::Bursts { mean: p, length: 2.0 },
        through_wire: 101,
        ..NetworkConfig::default()
    };
    let mut setup =
        Setup { network, perfect: false, seed, peers, stream: StreamSpec::new(200), uplink: None };
    let uplink = Some(setup.uplink_of(4.0));
    setup.uplink = uplink;
    let mut lab = setup.build(|_, _| ());
    lab.run_to(Duration::from_secs(2));
    let mut rng = crate::Rng::new(seed ^ 0xc4);
    let (mut crashes, mut leaves) = (0_u32, 0_u32);
    let mut everybody = lab.peers.clone();
    let newcomers = lab.turn_over(&mut rng, tau, Duration::from_secs(seconds), uplink, |world, rng, goes| {
        if rng.chance(graceful) {
            leaves += 1;
            world.leave(goes);
        } else {
            crashes += 1;
            world.crash(goes);
        }
    });
    everybody.extend(&newcomers);
    let (played, lost) = played_and_lost(&lab.world, &everybody);
    let loss = lost as f64 / (played + lost).max(1) as f64;
    // Detection takes two and a half rounds and the way of the reports; E11 measures it apart.
    let detection = 1.6;
    let bar = 2.0 * p + f64::from(crashes) * detection / (peers as f64 * seconds as f64);
    let started = newcomers.iter().filter_map(|peer| lab.world.view(*peer).start_up()).map(ms);
    report.line(format!(
        "{peers} peers, 200 chunks/s, {seconds} s: {leaves} goodbyes, {crashes} crashes, p = {p}"
    ));
    let slack = if size == Size::Full { 1.2 } else { 1.8 };
    report.at_most("share of chunks lost", loss, bar * slack);
    report.at_most("mean start of newcomers, ms", mean(started), 1000.0);
    report.figure("loss", loss);
    report.figure("loss_predicted", bar);
    report.world(&mut lab.world);
}
