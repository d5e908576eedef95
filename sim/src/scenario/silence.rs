//! Members that fall silent: the dead leave the roster within a second of their last packet, the living stay in it, however far,
//! lossy or mute towards their teammates they are (R-CRASH-5). What the dead were to send is sent by others before anybody misses it
//! (R-CRASH-2).

use super::{
    Size,
    lab::{Lab, Setup, UPLINK, fixed, mean, ms, reference},
};
use crate::{Fault, Loss, NetworkConfig, NodeId, Report, Rng, StreamSpec};
use p2psp_core::ParityPolicy;
use std::time::Duration;

/// 2 Mb/s in chunks of 1024 bytes.
const CHUNKS_PER_SECOND: u32 = 244;
/// How finely departures are timed.
const LOOK: Duration = Duration::from_millis(5);

/// Deaths without a word, and silences that are none.
pub(super) fn silence(seed: u64, size: Size, report: &mut Report) {
    let rounds = if size == Size::Full { 20 } else { 3 };
    for dying in [1, 3] {
        let mut lab = team(seed, 16, 20, Loss::None, Some(ParityPolicy::Adaptive));
        lab.run_to(Duration::from_secs(3));
        let mut slowest = Duration::ZERO;
        for _ in 0..rounds {
            slowest = slowest.max(kill(&mut lab, dying));
            for _ in 0..dying {
                let comes = lab.world.add_peer(lab.team, Some(UPLINK), |_| ());
                lab.peers.push(comes);
            }
            lab.world.run_for(Duration::from_secs(3));
        }
        let what = format!("{dying} of 16 die: out of every survivor's roster after, s");
        report.at_most(&what, slowest.as_secs_f64(), 1.0);
        report.near(
            &format!("{dying} of 16 die: members found dead by probes"),
            lab.world.splitter_stats(lab.team).unanswered as f64,
            f64::from(rounds) * dying as f64,
            0.0,
        );
        report.world(&mut lab.world);
    }
    mute(seed, size, report);
}

/// Members die one by one, each at a phase of its round that nobody chose: its turns go to the others within 600 ms, and nobody's
/// player misses a chunk.
pub(super) fn crash(seed: u64, size: Size, report: &mut Report) {
    let (peers, deaths) = if size == Size::Full { (64, 24) } else { (16, 4) };
    let mut lab = reference(seed, peers, Loss::None);
    lab.run_to(Duration::from_secs(3));
    let mut rng = Rng::new(seed ^ 0xdead);
    let mut waits = Vec::new();
    for _ in 0..deaths {
        let pause = rng.span(Duration::from_secs(1));
        lab.world.run_for(pause);
        let dead = lab.peers.remove(rng.index(lab.peers.len()));
        lab.world.crash(dead);
        waits.push(ms(silenced(&mut lab)));
        let comes = lab.world.add_peer(lab.team, Some(UPLINK), |_| ());
        lab.peers.push(comes);
        lab.world.run_for(Duration::from_secs(2));
    }
    let (played, lost) = lab.played_and_lost();
    let (usual, longest) = (mean(waits.iter().copied()), waits.iter().copied().fold(0.0, f64::max));
    report.line(format!(
        "{deaths} of {peers} die one by one: turns elsewhere after {usual:.0} ms, at most {longest:.0}"
    ));
    report.line(format!("{lost} of {played} chunks lost by those who live"));
    report.at_most("from a crash to the last turn given to the dead, ms", longest, 600.0);
    report.at_most("chunks lost", lost as f64, 0.0);
    let stats = lab.world.splitter_stats(lab.team);
    report.near("members that were silenced", stats.silenced as f64, f64::from(deaths), 0.0);
    report.figure("repaired_ms", longest);
    lab.heals("after them", report);
    report.world(&mut lab.world);
}

/// How long it takes from now until the splitter gives one member more no turns.
fn silenced(lab: &mut Lab) -> Duration {
    let gone = |lab: &Lab| lab.world.splitter_stats(lab.team).silenced;
    let (died, before) = (lab.world.now(), gone(lab));
    while gone(lab) == before && lab.world.now().since(died).as_secs() < 10 {
        lab.world.run_for(LOOK);
    }
    lab.world.now().since(died)
}

/// Kills that many; how long it takes until nobody that lives has one of them in its roster.
fn kill(lab: &mut Lab, dying: usize) -> Duration {
    let members = lab.world.splitter_stats(lab.team).members;
    let dead: Vec<NodeId> = lab.peers.drain(..dying).collect();
    for node in dead {
        lab.world.crash(node);
    }
    let died = lab.world.now();
    let left = usize::from(members) - dying;
    let is_told = |lab: &Lab, node: &NodeId| usize::from(lab.world.peer_stats(*node).teammates) + 1 == left;
    while !lab.peers.iter().all(|node| is_told(lab, node)) && lab.world.now().since(died).as_secs() < 10 {
        lab.world.run_for(LOOK);
    }
    lab.world.now().since(died)
}

/// Far from the splitter, on lossy links, and not a datagram of one member reaches its teammates: its turns go elsewhere, and it
/// keeps its seat. (Where chunks are signed it would be judged by them, and be a free rider: R-FAIR-8.)
fn mute(seed: u64, size: Size, report: &mut Report) {
    let seconds = if size == Size::Full { 300 } else { 30 };
    let mut lab = team(seed, 16, 100, Loss::Independent(0.10), None);
    lab.run_to(Duration::from_secs(3));
    if let Some((one, others)) = lab.peers.split_first() {
        for other in others {
            lab.world.set_fault(*one, *other, Fault::Datagrams);
        }
    }
    lab.world.run_for(Duration::from_secs(seconds));
    let stats = lab.world.splitter_stats(lab.team);
    report.line(format!("mute: {} times silenced in {seconds} s", stats.silenced));
    report.at_least("mute: times silenced", stats.silenced as f64, 1.0);
    report.at_most("mute: members taken for dead", stats.crashes as f64, 0.0);
    report.world(&mut lab.world);
}

fn team(seed: u64, peers: usize, splitter_ms: u64, loss: Loss, parity: Option<ParityPolicy>) -> Lab {
    let stream = StreamSpec { payload_bytes: 1024, parity, ..StreamSpec::new(CHUNKS_PER_SECOND) };
    let network = NetworkConfig { latency: fixed(splitter_ms, 20), loss, ..NetworkConfig::default() };
    Setup { network, perfect: false, seed, peers, stream, uplink: Some(UPLINK) }.build(|_, _| ())
}
