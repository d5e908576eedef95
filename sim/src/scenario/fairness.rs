//! Who is expelled for not passing on, and who must not be (R-FAIR-5 to R-FAIR-10). The stream has 5 Mb/s in chunks of 1024 bytes,
//! uplinks have 20 Mb/s, round trips take 40 ms.

use super::{
    Size,
    lab::{CHUNKS_PER_SECOND, Lab, UPLINK, played_and_lost, reference},
};
use crate::{Fault, Lie, Loss, NodeId, Report, Withholds};
use p2psp_core::LeftReason;
use std::time::Duration;

const LOSS: Loss = Loss::Independent(0.05);
/// Until then everybody behaves, and voices count.
const PEACE: Duration = Duration::from_secs(4);

/// A tenth of the team relays nothing, or half: each kind by itself, against honest members that lose 5 % on every link.
pub(super) fn free_riders(seed: u64, size: Size, report: &mut Report) {
    let peers = if size == Size::Full { 64 } else { 20 };
    report.line(format!("{peers} peers, {CHUNKS_PER_SECOND} chunks/s, 5 % loss on every link"));
    let cases = [
        ("full", Withholds::All, 2.0),
        ("half of the copies", Withholds::Copies, 5.0),
        ("half of the teammates", Withholds::Mates, 5.0),
        ("half of the turns", Withholds::Turns, 5.0),
    ];
    for (name, what, within_s) in cases {
        let mut lab = team(seed, peers, LOSS, |_| UPLINK);
        lab.run_to(PEACE);
        let (riders, honest) = lab.peers.split_at(peers / 10);
        for rider in riders {
            lab.world.withhold(*rider, what);
        }
        let began = lab.world.now();
        lab.world.run_for(Duration::from_secs(8));
        let after = |node: &NodeId| {
            let view = lab.world.view(*node);
            let out = view.left_at.filter(|_| view.left == Some(LeftReason::Expelled))?;
            Some(out.since(began).as_secs_f64())
        };
        let mut times: Vec<f64> = riders.iter().filter_map(after).collect();
        times.sort_unstable_by(f64::total_cmp);
        let seats = honest.iter().filter(|node| lab.world.view(**node).left.is_some()).count();
        let (played, lost) = played_and_lost(&lab.world, honest);
        let splitter = lab.world.splitter_stats(lab.team);
        report.line(format!(
            "{name}: out after {times:.2?} s; {} rests; the honest lost {lost} of {played}",
            splitter.rested
        ));
        report.near(&format!("{name}: expelled"), times.len() as f64, riders.len() as f64, 0.0);
        report.at_most(
            &format!("{name}: the last one out after, s"),
            times.last().copied().unwrap_or(f64::INFINITY),
            within_s,
        );
        report.at_most(&format!("{name}: honest members that lost their seats"), seats as f64, 0.0);
        lab.heals(name, report);
        report.world(&mut lab.world);
    }
    excuses(seed, peers, report);
}

/// A tenth that relays nothing and has an excuse: each keeps its seat, and has no turns.
fn excuses(seed: u64, peers: usize, report: &mut Report) {
    for (name, lie) in [("says that it is late", Lie::Late), ("says that it had no turn", Lie::Nothing)] {
        let mut lab = team(seed, peers, LOSS, |_| UPLINK);
        lab.run_to(PEACE);
        let (riders, honest) = lab.peers.split_at(peers / 10);
        for rider in riders {
            lab.world.withhold(*rider, Withholds::All);
            lab.world.lie(*rider, lie);
        }
        lab.world.run_for(Duration::from_secs(5));
        let left =
            |nodes: &[NodeId]| nodes.iter().filter(|node| lab.world.view(**node).left.is_some()).count();
        let (expelled, seats) = (left(riders), left(honest));
        let rested = lab.world.splitter_stats(lab.team).rested;
        report.near(&format!("{name}: given a rest"), rested as f64, riders.len() as f64, 0.0);
        report.at_most(&format!("{name}: seats lost"), (expelled + seats) as f64, 0.0);
        report.world(&mut lab.world);
    }
}

/// Members that do what they can, in teams where that is not much: all keep their seats.
pub(super) fn honest(seed: u64, size: Size, report: &mut Report) {
    let (peers, seconds) = if size == Size::Full { (64, 60) } else { (16, 8) };
    let run = |lab: &mut Lab| lab.world.run_for(Duration::from_secs(seconds));
    for (name, loss) in [
        ("5 %", LOSS),
        ("5 % in runs of 50", Loss::Bursts { mean: 0.05, length: 50.0 }),
        ("10 %", Loss::Independent(0.10)),
    ] {
        let mut lab = team(seed, peers, loss, |_| UPLINK);
        lab.run_to(PEACE);
        run(&mut lab);
        keep_seats(report, &format!("loss of {name}"), &mut lab);
    }

    let thin = |index: usize| if index.is_multiple_of(5) { 2_500_000 } else { UPLINK };
    let mut lab = team(seed, peers, Loss::None, thin);
    lab.run_to(PEACE);
    run(&mut lab);
    keep_seats(report, "a fifth with half an uplink", &mut lab);

    let mut lab = team(seed, peers, LOSS, |_| UPLINK);
    lab.run_to(PEACE);
    let victim = lab.peers.first().and_then(|node| lab.world.view(*node).slot);
    for (liar, slot) in lab.peers.iter().skip(1).take(peers / 3 - 1).zip(victim.into_iter().cycle()) {
        lab.world.lie(*liar, Lie::Against(slot));
    }
    run(&mut lab);
    keep_seats(report, "a third that lies about one", &mut lab);

    let mut lab = team(seed, peers, LOSS, |_| UPLINK);
    lab.run_to(PEACE);
    if let (Some(splitter), Some(one)) = (lab.world.splitter(lab.team), lab.peers.first()) {
        lab.world.set_fault(splitter, *one, Fault::Datagrams);
    }
    run(&mut lab);
    keep_seats(report, "one whose first hop is dead", &mut lab);
}

fn keep_seats(report: &mut Report, name: &str, lab: &mut Lab) {
    let seats = lab.peers.iter().filter(|node| lab.world.view(**node).left.is_some()).count();
    let splitter = lab.world.splitter_stats(lab.team);
    let (played, lost) = lab.played_and_lost();
    report.line(format!(
        "{name}: {} rests, {} silenced, {lost} of {played} lost",
        splitter.rested, splitter.silenced
    ));
    report.at_most(&format!("{name}: seats lost"), (seats as u64 + splitter.free_riders) as f64, 0.0);
    lab.heals(name, report);
    report.world(&mut lab.world);
}

fn team(seed: u64, peers: usize, loss: Loss, uplink: impl Fn(usize) -> u64) -> Lab {
    let mut lab = reference(seed, peers, loss);
    for (index, node) in lab.peers.clone().into_iter().enumerate() {
        lab.world.set_uplink(node, uplink(index));
    }
    lab
}
