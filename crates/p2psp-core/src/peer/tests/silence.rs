//! Members of which nothing is heard: who is dead, who is not, and who decides (R-CRASH-1, R-CRASH-2, R-CRASH-5).

use crate::{
    Input, SplitterEvent,
    lab::{Lab, SPLITTER, key, team},
};
use p2psp_wire::{Control, DepartureReason, Slot};
use std::time::Duration;

const CHUNK: Duration = Duration::from_millis(5);

fn crashed(lab: &Lab) -> usize {
    let is_crash = |event: &&SplitterEvent| {
        matches!(event, SplitterEvent::Departed { reason: DepartureReason::Crashed, .. })
    };
    lab.splitter_events.iter().filter(is_crash).count()
}

/// R-CRASH-5: of a team of 16, one or three that die in one instant are out of everybody's roster within a second of their last
/// packet, although no link has timed out.
#[test]
fn the_dead_leave_within_a_second() {
    for dead in [vec![5], vec![2, 9, 16]] {
        let mut lab = team(16);
        lab.stream(300, CHUNK, 50);
        lab.wires.dead.extend(&dead);
        lab.stream(200, CHUNK, 50);
        assert_eq!(crashed(&lab), dead.len());
        assert!(lab.splitter.roster().all(|(_, peer)| dead.iter().all(|node| peer != key(*node))));
        assert_eq!(lab.splitter.stats().unanswered, dead.len() as u64);
        for node in (1..=16).filter(|node| !dead.contains(node)) {
            assert_eq!(usize::from(lab.peer(node).stats().teammates), 15 - dead.len(), "node {node}");
        }
    }
}

/// In the smallest team there is one witness: its own turns show it that the stream flows.
#[test]
fn one_of_two_is_missed() {
    let mut lab = team(2);
    lab.stream(300, CHUNK, 50);
    lab.wires.dead.push(2);
    lab.stream(200, CHUNK, 50);
    assert_eq!((crashed(&lab), lab.splitter.stats().members), (1, 1));
}

/// R-CRASH-5: nobody can miss the only member, so that it is asked all the time, whether the stream flows or not: it is out within a
/// second of its death.
#[test]
fn the_only_one_is_missed_too() {
    for is_flowing in [true, false] {
        let mut lab = team(1);
        lab.stream(300, CHUNK, 50);
        lab.wires.dead.push(1);
        if is_flowing {
            lab.stream(200, CHUNK, 50)
        } else {
            lab.pass(Duration::from_secs(1))
        }
        assert_eq!((crashed(&lab), lab.splitter.stats().members), (1, 0), "flowing: {is_flowing}");
    }
}

/// The only member is held up again and again, in the stream and in its pauses, all that it says meanwhile is lost, and it keeps its
/// seat; a splitter that is held up itself takes nothing for silence.
#[test]
fn stalls_cost_the_only_one_nothing() {
    let mut lab = team(1);
    lab.stream(300, CHUNK, 50);
    for stall_ms in (20..=440).step_by(20) {
        lab.wires.deaf.push((1, SPLITTER));
        if stall_ms % 40 == 0 {
            lab.stream(stall_ms / 5, CHUNK, 50);
        } else {
            lab.pass(Duration::from_millis(stall_ms));
        }
        lab.wires.deaf.clear();
        lab.stream(150, CHUNK, 50);
        assert_eq!((lab.splitter.stats().members, crashed(&lab)), (1, 0), "{stall_ms} ms");
    }
    // Nobody's clock runs meanwhile: all that was due then is due at once.
    for held_up_s in [1, 10, 60] {
        lab.now = lab.now + Duration::from_secs(held_up_s);
        lab.stream(300, CHUNK, 50);
        assert_eq!((lab.splitter.stats().members, crashed(&lab)), (1, 0), "{held_up_s} s");
    }
}

/// A source that pauses gives nobody anything to send, and that is no silence: nobody is named, asked or put out, in the pause or
/// after it.
#[test]
fn a_pause_puts_out_nobody() {
    // Members look for silence ten times a second: the stream comes back at any time before a look.
    for pause_ms in [150, 210, 320, 730, 1_040, 5_050, 5_060, 5_070, 5_080, 5_090, 60_000] {
        let mut lab = team(16);
        lab.stream(300, CHUNK, 50);
        lab.wires.said.clear();
        for _ in 0..3 {
            lab.pass(Duration::from_millis(pause_ms));
            lab.stream(300, CHUNK, 50);
        }
        let named = |(_, _, message): &&(usize, usize, Control)| {
            matches!(message, Control::Silent { .. } | Control::Probe { .. } | Control::Request { .. })
        };
        assert_eq!(lab.wires.said.iter().find(named), None, "{pause_ms} ms");
        let stats = lab.splitter.stats();
        assert_eq!((stats.members, stats.silenced, crashed(&lab)), (16, 0, 0), "{pause_ms} ms");
    }
}

/// Seven of eight that swear that the eighth is silent take its turns, and nothing more: it answers for itself.
#[test]
fn liars_put_out_nobody() {
    let mut lab = team(8);
    lab.stream(100, CHUNK, 50);
    for _ in 0..20 {
        for liar in 1..=7 {
            let link = lab.wires.link(SPLITTER, liar);
            let message = Control::Silent { origins: vec![Slot::new(7).unwrap()] };
            lab.inject(SPLITTER, Input::Control { link, message });
        }
        lab.stream(150, CHUNK, 50);
    }
    let asked = lab.wires.said.iter().filter(|said| matches!(said, (SPLITTER, 8, Control::Probe { .. })));
    assert!((2..=40).contains(&asked.count()), "asked, and not for each lie");
    let stats = lab.splitter.stats();
    assert_eq!((stats.members, crashed(&lab), stats.unanswered), (8, 0, 0));
    assert!(lab.splitter.roster().any(|(_, peer)| peer == key(8)));
}

/// A member that nobody hears, whose answers take their time, stays: any word within the patience is enough.
#[test]
fn a_slow_answer_is_an_answer() {
    let mut lab = team(8);
    lab.stream(100, CHUNK, 50);
    lab.wires.deaf.push((SPLITTER, 8));
    for liar in [1, 2] {
        let link = lab.wires.link(SPLITTER, liar);
        let message = Control::Silent { origins: vec![Slot::new(7).unwrap()] };
        lab.inject(SPLITTER, Input::Control { link, message });
    }
    lab.stream(78, CHUNK, 50);
    let link = lab.wires.link(SPLITTER, 8);
    lab.inject(SPLITTER, Input::Control { link, message: Control::Lost { ranges: vec![] } });
    lab.wires.deaf.clear();
    lab.stream(400, CHUNK, 50);
    assert_eq!((lab.splitter.stats().members, crashed(&lab)), (8, 0));
}

/// A probe from a teammate, and an answer to one, are no teammate's business.
#[test]
fn only_the_splitter_asks() {
    for message in [Control::Probe { token: 1 }, Control::Alive { token: 1 }] {
        let mut lab = team(3);
        let link = lab.wires.link(1, 2);
        lab.inject(1, Input::Control { link, message });
        assert_eq!(lab.peer(1).stats().violations, 1);
    }
    let mut lab = team(3);
    let link = lab.wires.link(SPLITTER, 2);
    // An answer that nobody waits for may have crossed with the end of the question.
    lab.inject(SPLITTER, Input::Control { link, message: Control::Alive { token: 77 } });
    assert_eq!(lab.splitter.stats().violations, 0);
    lab.inject(SPLITTER, Input::Control { link, message: Control::Probe { token: 77 } });
    assert_eq!(lab.splitter.stats().violations, 1);
}
