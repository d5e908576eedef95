//! Joining, streaming, leaving, dying.

use crate::{
    CloseCode, Input, LinkDown, Machine, Output, PeerEvent, SplitterEvent,
    lab::{Lab, SPLITTER, key, team},
    peer::LeftReason,
};
use p2psp_wire::{ChunkNumber, Control, DepartureReason, GoodbyeReason, RefuseReason, StreamTime};
use std::time::Duration;

const CHUNK: Duration = Duration::from_millis(5);

/// On perfect links every member plays every chunk once, in order, without a gap, a duplicate or a hang-up; the splitter sends
/// one copy, and each member relays each of its chunks to each other member once.
#[test]
fn a_team_on_perfect_links() {
    for peers in [1_usize, 2, 3, 8, 33] {
        let mut lab = team(peers);
        let first = lab.ingest(true).get();
        lab.stream(199, CHUNK, 50);
        lab.pass(Duration::from_secs(2));
        for node in 1..=peers {
            let stats = lab.peer(node).stats();
            assert_eq!(
                lab.played(node),
                (first..first + 200).collect::<Vec<_>>(),
                "{peers} peers, node {node}"
            );
            let faults =
                (stats.chunks_lost, stats.chunks_duplicate, stats.chunks_unexpected, stats.chunks_late);
            assert_eq!(faults, (0, 0, 0, 0), "{peers} peers, node {node}");
            assert_eq!(usize::from(stats.teammates_linked), peers - 1);
        }
        let stats = lab.splitter.stats();
        assert_eq!((stats.chunks_sent, stats.chunks_served, stats.violations), (200, 0, 0), "{peers} peers");
        let relayed: u64 = (1..=peers).map(|node| lab.peer(node).stats().chunks_relayed).sum();
        assert_eq!(relayed, 200 * (peers as u64 - 1));
    }
}

/// R-START-1: a late joiner plays from the random-access point that is due, at once, and the splitter serves none of it.
#[test]
fn a_late_joiner_starts_at_once() {
    let mut lab = team(4);
    lab.stream(400, CHUNK, 100);
    let served = lab.splitter.stats().chunks_served;
    let joined = lab.now;
    let late = lab.add_peer(|_| {});
    lab.stream(100, CHUNK, 100);
    lab.pass(Duration::from_secs(1));
    let played = lab.played(late);
    // Point 200 is 1 s old, 300 is 500 ms old: the newest that is due by then.
    assert_eq!(played.first(), Some(&300), "joined at {joined:?}");
    assert_eq!(played, (300..500).collect::<Vec<_>>(), "no gap where the past meets the live edge");
    assert_eq!(lab.splitter.stats().chunks_served, served);
    assert_eq!(lab.peer(late).stats().chunks_lost, 0);
}

/// The first of all members has nobody to ask but the splitter.
#[test]
fn the_first_member_starts_from_the_splitter() {
    let mut lab = Lab::new(|_| {});
    lab.stream(150, CHUNK, 50);
    let first = lab.add_peer(|_| {});
    lab.stream(50, CHUNK, 50);
    lab.pass(Duration::from_secs(1));
    assert_eq!(lab.played(first), (50..200).collect::<Vec<_>>());
    assert!(lab.splitter.stats().chunks_served >= 100);
}

/// A polite leave loses nothing for the others, and ends with the goodbye of all.
#[test]
fn a_polite_leave_costs_nothing() {
    let mut lab = team(6);
    lab.stream(60, CHUNK, 50);
    let now = lab.now;
    lab.peer(3).leave(now);
    lab.stream(200, CHUNK, 50);
    lab.pass(Duration::from_secs(1));
    assert_eq!(lab.events(3).last(), Some(&PeerEvent::Left(LeftReason::Asked)));
    for node in [1, 2, 4, 5, 6] {
        assert_eq!(lab.peer(node).stats().chunks_lost, 0, "node {node}");
        assert_eq!(lab.played(node).len(), 260);
        assert_eq!(lab.peer(node).stats().teammates, 4);
    }
    let departed = lab.splitter_events.iter().any(|event| {
        matches!(event, SplitterEvent::Departed { peer, reason: DepartureReason::Goodbye, .. } if *peer == key(3))
    });
    assert!(departed);
}

/// R-CRASH-2: teammates notice within two rounds and a little, and the dead member gets no more turns although its link has not
/// timed out; each loses the dead one's turns of that time, and no more.
#[test]
fn a_crash_costs_its_own_share_until_noticed() {
    let mut lab = team(8);
    lab.stream(100, CHUNK, 50);
    lab.wires.dead.push(5);
    let before = lab.splitter.stats().chunks_sent;
    lab.stream(400, CHUNK, 50);
    assert_eq!(lab.splitter.stats().silenced, 1);
    let sent_to_dead =
        lab.wires.sent.iter().filter(|(from, to, _)| (*from, *to) == (SPLITTER, 5)).count() as u64;
    lab.pass(Duration::from_secs(1));
    for node in [1, 2, 3, 4, 6, 7, 8] {
        let lost = lab.peer(node).stats().chunks_lost;
        // 300 ms of patience, 100 ms between looks: at most 400 ms of a share of one eighth at 200 chunks a second.
        assert!(
            (1..=11).contains(&lost),
            "node {node} lost {lost}; {sent_to_dead} went to the dead after {before}"
        );
    }
    lab.kill(5, Duration::from_secs(2));
    lab.pass(Duration::from_millis(100));
    assert_eq!(lab.splitter.stats().members, 7);
    assert_eq!(lab.peer(1).stats().teammates, 6);
}

/// One more than the team's size is refused, told so, and does not learn who is in the team.
#[test]
fn a_full_team_refuses() {
    let mut lab = Lab::new(|config| config.team_size_max = 3);
    for _ in 0..3 {
        lab.add_peer(|_| {});
    }
    let extra = lab.add_peer(|_| {});
    let refused = |event: &&PeerEvent| {
        matches!(event, PeerEvent::Refused { reason: RefuseReason::TeamFull, again: true, .. })
    };
    assert_eq!(lab.events(extra).iter().filter(refused).count(), 1);
    let told =
        |(_, to, message): &&(usize, usize, Control)| *to == extra && !matches!(message, Control::Refuse(_));
    assert_eq!(lab.wires.said.iter().filter(told).count(), 0);
    // A seat falls free, and the next try gets it.
    let now = lab.now;
    lab.peer(1).leave(now);
    lab.pass(Duration::from_secs(6));
    assert!(lab.events(extra).iter().any(|event| matches!(event, PeerEvent::Joined { .. })));
}

/// The same identity again takes its own place, not a second one.
#[test]
fn a_rejoin_replaces() {
    let mut lab = team(4);
    let link = lab.wires.link(2, SPLITTER);
    lab.inject(2, Input::LinkDown { link, why: LinkDown::Transport });
    lab.pass(Duration::from_secs(1));
    assert_eq!(lab.splitter.stats().members, 4);
    lab.stream(40, CHUNK, 10);
    lab.pass(Duration::from_secs(1));
    for node in 1..=4 {
        assert_eq!(lab.peer(node).stats().chunks_lost, 0, "node {node}");
        assert_eq!(lab.peer(node).stats().teammates, 3, "node {node}");
    }
}

/// While the splitter is away the seat, the links and the play-out stay; with it gone for good the peer may be told to go too.
#[test]
fn an_unreachable_splitter_is_tried_again() {
    let mut lab = Lab::new(|_| {});
    lab.wires.walls.push((1, SPLITTER));
    let peer = lab.add_peer(|_| {});
    lab.pass(Duration::from_secs(20));
    let tries =
        lab.events(peer).iter().filter(|event| matches!(event, PeerEvent::SplitterLost { .. })).count();
    assert!((4..=7).contains(&tries), "{tries} tries in 20 s: 0.5, 1, 2, 4, 8, 8 s apart");
    lab.wires.walls.clear();
    lab.pass(Duration::from_secs(8));
    assert!(lab.events(peer).iter().any(|event| matches!(event, PeerEvent::Joined { .. })));

    lab.wires.walls.push((2, SPLITTER));
    let once = lab.add_peer(|config| config.rejoin = false);
    assert_eq!(lab.events(once).last(), Some(&PeerEvent::Left(LeftReason::SplitterLost)));
}

/// A new run of the splitter starts a new stream: old links and chunks are of another epoch.
#[test]
fn the_end_of_the_stream_is_played_out() {
    let mut lab = team(3);
    lab.stream(100, CHUNK, 10);
    let now = lab.now;
    lab.splitter.close(now);
    lab.pass(Duration::from_secs(7));
    for node in 1..=3 {
        assert_eq!(lab.played(node).len(), 100, "node {node}");
        assert_eq!(lab.events(node).last(), Some(&PeerEvent::Left(LeftReason::StreamEnded)));
    }
    assert_eq!(lab.splitter_events.last(), Some(&SplitterEvent::Closed));
    let refused = lab.splitter.ingest(lab.now, bytes::Bytes::from_static(b"x"), false, 0);
    assert_eq!(refused, Err(crate::IngestError::Closed));
}

/// R-LEAVE-2: the goodbye overtakes the last turn on its second hop. Who has nothing left to play when it comes waits for it,
/// for as long as its play-out may take and no longer.
#[test]
fn the_last_turn_is_played_though_the_goodbye_overtakes_it() {
    for turn in [true, false] {
        let mut lab = team(4);
        lab.stream(100, CHUNK, 10);
        lab.pass(Duration::from_millis(1_050));
        let now = lab.now;
        if turn {
            lab.splitter.ingest(now, bytes::Bytes::from_static(b"the end"), false, 0).unwrap();
        }
        let last = lab.splitter.stats().next_number.get() - 1;
        lab.splitter.close(now);
        let gone =
            |lab: &Lab, node| lab.events(node).last() == Some(&PeerEvent::Left(LeftReason::StreamEnded));
        lab.pass(Duration::from_millis(480));
        for node in 1..=4 {
            assert!(!gone(&lab, node));
            let waits = lab.peer(node).poll_output(now + Duration::from_millis(480));
            let Output::Wait(Some(wake)) = waits else { panic!("{waits:?}") };
            assert_eq!(wake.at, now + Duration::from_millis(500), "node {node}, last turn {turn}");
        }
        lab.pass(Duration::from_millis(21));
        for node in 1..=4 {
            assert_eq!(lab.played(node).last(), Some(&last), "node {node}");
            assert!(gone(&lab, node), "node {node} leaves in time, last turn {turn}");
        }
    }
}

/// The number space: nothing depends on where in it the stream stands when the window's ring has gone round many times.
#[test]
fn long_streams_wrap_the_ring() {
    let mut lab = Lab::new(|config| config.window_chunks = 64);
    for _ in 0..3 {
        lab.add_peer(|config| {
            config.window_chunks = 64;
            config.target_delay = Duration::from_millis(50);
        });
    }
    lab.pass(Duration::from_millis(100));
    lab.stream(1000, Duration::from_millis(2), 7);
    lab.pass(Duration::from_secs(1));
    for node in 1..=3 {
        assert_eq!(lab.played(node), (0..1000).collect::<Vec<_>>());
    }
    assert_eq!(lab.splitter.stats().next_number, ChunkNumber::new(1000).unwrap());
}

/// Both sides dialed: the link that the smaller id dialed stays, on both sides.
#[test]
fn duplicate_links_are_resolved_alike() {
    let mut lab = team(2);
    lab.wires.said.clear();
    let (one, two) = (lab.wires.link(1, 2), lab.wires.link(2, 1));
    // Node 2 joined later and dialed node 1. Now node 1, which has the smaller key, dials too.
    assert!(key(1) < key(2));
    lab.inject(
        1,
        Input::LinkUp {
            link: crate::LinkId(900),
            peer: key(2),
            remote: crate::lab::address(2),
            dialed: true,
        },
    );
    lab.inject(
        2,
        Input::LinkUp {
            link: crate::LinkId(901),
            peer: key(1),
            remote: crate::lab::address(1),
            dialed: false,
        },
    );
    assert_eq!(lab.peer(1).stats().teammates_linked, 1);
    assert_eq!(lab.peer(2).stats().teammates_linked, 1);
    // The old link is gone on both sides.
    lab.inject(1, Input::LinkDown { link: one, why: LinkDown::Closed(CloseCode::Duplicate) });
    lab.inject(2, Input::LinkDown { link: two, why: LinkDown::Closed(CloseCode::Duplicate) });
    assert_eq!(lab.peer(1).stats().teammates_linked, 1);
}

/// R-CRASH-4, R-RELAY-6: a member that was cut off plays on when it is back, however long that took: from its old window where
/// the stream is still within reach, else from its new welcome, with one gap for what it missed.
#[test]
fn a_member_that_was_cut_off_comes_back() {
    for missed in [100_u64, 700, 1_500] {
        let mut lab = Lab::new(|_| {});
        for _ in 0..4 {
            lab.add_peer(|config| config.window_chunks = 512);
        }
        lab.pass(Duration::from_millis(100));
        lab.stream(200, CHUNK, 50);
        lab.pass(Duration::from_secs(1));
        for other in 0..4 {
            let link = lab.wires.link(4, other);
            lab.wires.walls.push((4, other));
            lab.wires.cut(4, link, LinkDown::TimedOut);
            let now = lab.now;
            lab.peer(4).handle_input(now, Input::LinkDown { link, why: LinkDown::TimedOut });
        }
        lab.stream(missed, CHUNK, 50);
        lab.wires.walls.clear();
        lab.stream(2_000, CHUNK, 50);
        lab.pass(Duration::from_secs(2));
        let end = 200 + missed + 2_000;
        let played = lab.played(4);
        assert!(played.is_sorted(), "missed {missed}");
        // The longest wait between two tries is 8 s, which is 1600 chunks; behind it nothing is missing.
        let tail: Vec<u64> = played.iter().copied().filter(|number| *number >= end - 200).collect();
        assert_eq!(tail, (end - 200..end).collect::<Vec<_>>(), "missed {missed}");
        let lost = lab.peer(4).stats().chunks_lost;
        assert_eq!(played.len() as u64 + lost, end, "missed {missed}: each number is played or in a gap");
    }
}

/// Nothing reaches node 4 while the stream goes on by `missed` chunks; its links live on. 1100 more come before and after.
fn one_sleeps(missed: u64, eco: bool) -> Lab {
    let mut lab = Lab::new(|_| {});
    for node in 1..=4 {
        lab.add_peer(|config| {
            config.window_chunks = 256;
            config.eco = eco && node == 4;
        });
    }
    lab.pass(Duration::from_millis(100));
    // Past the start, in which gaps are pulled.
    lab.stream(700, CHUNK, 50);
    lab.wires.holes.extend((0..4).map(|other| (other, 4)));
    lab.stream(missed, Duration::from_millis(1), 50);
    lab.wires.holes.clear();
    lab.stream(400, CHUNK, 50);
    lab.pass(Duration::from_secs(1));
    lab
}

/// A member that nothing reached for a while, though its links lived on, catches up by its next turn from the splitter (R-RELAY-6).
#[test]
fn a_member_that_slept_catches_up() {
    // Shorter than teammates take to find that its turns are missing, longer than half its window.
    let mut lab = one_sleeps(140, false);
    let played = lab.played(4);
    assert_eq!(played.last(), Some(&1239));
    let lost = lab.peer(4).stats().chunks_lost;
    assert_eq!(played.len() as u64 + lost, 1240);
    assert!((140..150).contains(&lost), "{lost} lost: what did not come, and little more");
}

/// Nobody tells a member without turns where the stream is but its teammates: two of them do, however far it has gone on.
#[test]
fn a_member_without_turns_that_slept_catches_up() {
    let mut lab = one_sleeps(1_000, true);
    let played = lab.played(4);
    assert_eq!(played.last(), Some(&2099));
    let lost = lab.peer(4).stats().chunks_lost;
    assert!((1_000..1_010).contains(&lost), "{lost} lost: what did not come, and little more");
}

/// One origin, and members without turns: its word alone is enough to follow the stream, with losses too.
#[test]
fn a_lone_origin_is_followed() {
    let mut lab = Lab::new(|_| {});
    for node in 1..=3 {
        lab.add_peer(|config| {
            config.window_chunks = 512;
            config.eco = node != 1;
        });
    }
    lab.pass(Duration::from_millis(100));
    for _ in 0..20 {
        lab.stream(95, CHUNK, 50);
        lab.wires.holes.push((1, 3));
        lab.stream(5, CHUNK, 50);
        lab.wires.holes.clear();
    }
    lab.stream(100, CHUNK, 50);
    lab.pass(Duration::from_secs(1));
    // Of what did not come, a newcomer still pulls some.
    for (node, held_back) in [(1, 0), (2, 0), (3, 100)] {
        let lost = lab.peer(node).stats().chunks_lost;
        assert!(lost <= held_back, "node {node} lost {lost}");
        assert_eq!(lab.played(node).len() as u64, 2_100 - lost, "node {node}");
    }
}

/// R-PLAY-1: a clock that stood still while the host was suspended is set by the welcome of the rejoin; one that is off by no
/// more than transits differ goes on.
#[test]
fn a_rejoin_sets_the_clock() {
    let limit = Duration::from_millis(100);
    for (off, anew) in [(limit, false), (limit + Duration::from_micros(1), true)] {
        for ahead in [true, false] {
            let mut lab = team(3);
            lab.stream(100, CHUNK, 50);
            let link = lab.wires.link(1, SPLITTER);
            let now = lab.now + Duration::from_secs(1);
            let peer = lab.peer(1);
            peer.handle_input(now, Input::LinkDown { link, why: LinkDown::TimedOut });
            let now = now + Duration::from_secs(1);
            while !matches!(peer.poll_output(now), Output::Dial { .. }) {}
            let (link, remote) = (crate::LinkId(900), crate::lab::address(SPLITTER));
            peer.handle_input(now, Input::LinkUp { link, peer: key(SPLITTER), remote, dialed: true });
            let seat = peer.seat.as_ref().unwrap();
            let (own, mut welcome) = (seat.playout.stream_time(now), seat.welcome.clone());
            let off_us = u64::try_from(off.as_micros()).unwrap();
            let told =
                if ahead { own.as_micros() + off_us } else { own.as_micros().checked_sub(off_us).unwrap() };
            welcome.stream_time = StreamTime::from_micros(told);
            let expected = if anew { welcome.stream_time } else { own };
            peer.handle_input(now, Input::Control { link, message: Control::Welcome(welcome) });
            assert_eq!(peer.seat.as_ref().unwrap().playout.stream_time(now), expected, "{off:?} {ahead}");
        }
    }
}

/// A splitter that says goodbye to a member that did not ask for it is left at once, and found again: no link stays behind.
/// One that puts the member out is not.
#[test]
fn an_unasked_goodbye_leaves_no_link() {
    let mut lab = team(3);
    for _ in 0..3 {
        let link = lab.wires.link(1, SPLITTER);
        lab.inject(1, Input::Control { link, message: Control::Goodbye(GoodbyeReason::Leaving) });
        assert!(!lab.peer(1).links.contains_key(&link));
        lab.pass(Duration::from_secs(1));
        assert_eq!(lab.peer(1).links.len(), 3, "two teammates and the splitter");
        assert_eq!(lab.splitter.stats().members, 3);
    }
    let lost = lab.events(1).iter().filter(|event| matches!(event, PeerEvent::SplitterLost { .. })).count();
    assert_eq!(lost, 3);
    let link = lab.wires.link(2, SPLITTER);
    lab.inject(2, Input::Control { link, message: Control::Goodbye(GoodbyeReason::Expelled) });
    lab.pass(Duration::from_secs(20));
    assert_eq!(lab.events(2).last(), Some(&PeerEvent::Left(LeftReason::Expelled)));
    assert_eq!(lab.splitter.stats().members, 2);
}

/// R-CRASH-3: who left while this member was cut off from the splitter is not in its new roster: that link is closed in time,
/// the teammates' stay.
#[test]
fn a_rejoin_lets_go_of_who_left_meanwhile() {
    let mut lab = team(4);
    // Both sides lose the links, so that neither member hears of the other's departure.
    for (node, other) in [(1, SPLITTER), (3, SPLITTER), (SPLITTER, 1), (SPLITTER, 3)] {
        lab.wires.walls.push((node, other));
        let link = lab.wires.link(node, other);
        lab.inject(node, Input::LinkDown { link, why: LinkDown::TimedOut });
    }
    let links = [2, 3, 4].map(|other| lab.wires.link(1, other));
    lab.wires.walls.retain(|(a, b)| *a != 1 && *b != 1);
    lab.pass(Duration::from_secs(2));
    assert_eq!(lab.peer(1).stats().teammates, 2, "it is back, node 3 is not");
    assert!(links.iter().all(|link| lab.peer(1).links.contains_key(link)));
    lab.pass(Duration::from_secs(4));
    assert_eq!(links.map(|link| lab.peer(1).links.contains_key(&link)), [true, false, true]);
}

/// R-START-1: what a newcomer fetches is played as soon as it is whole, not when the time for waiting is over.
#[test]
fn a_late_joiner_plays_within_round_trips() {
    let mut lab = team(4);
    lab.stream(400, CHUNK, 100);
    let late = lab.add_peer(|_| {});
    let mut waited = Duration::ZERO;
    while lab.played(late).is_empty() && waited < Duration::from_secs(1) {
        lab.stream(1, CHUNK, 100);
        waited += CHUNK;
    }
    assert!(waited <= Duration::from_millis(20), "first chunk played after {waited:?}");
}
