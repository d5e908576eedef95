//! Members that break the rules: they cost a counter or their link, never a panic, memory, or another member's stream.

use crate::{
    CloseCode, Input, LinkId, PeerEvent,
    guard::{CONTROL_BURST_MAX, MALFORMED_MAX},
    lab::{Lab, SPLITTER, address, key},
    peer::inputs::STRANGERS_MAX,
};
use p2psp_wire::{
    Chunk, ChunkHeader, ChunkNumber, Control, Datagram, DecodeError, Departure, DepartureReason, Epoch,
    GoodbyeReason, Hello, Member, NumberRange, Refuse, RefuseReason, RosterDelta, Slot,
};
use std::time::Duration;

const CHUNK: Duration = Duration::from_millis(5);

fn team() -> Lab {
    let mut lab = Lab::new(|_| {});
    for _ in 0..4 {
        lab.add_peer(|_| {});
    }
    lab.pass(Duration::from_millis(100));
    lab.stream(60, CHUNK, 20);
    lab
}

fn chunk(number: u64, origin: u16) -> Datagram {
    chunk_of(number, origin, 0)
}

fn chunk_of(number: u64, origin: u16, time_us: u32) -> Datagram {
    let header = ChunkHeader {
        number: ChunkNumber::new(number).unwrap(),
        origin: Slot::new(origin).unwrap(),
        position: 0,
        header_version: 0,
        random_access: true,
        time_us,
    };
    Datagram::Chunk(Chunk::new(header, b"forged").unwrap())
}

/// After whatever was injected, the stream goes on without loss for nodes 1 and 3 (2 is the villain, 4 a bystander).
fn unharmed(lab: &mut Lab) {
    let lost: u64 = [1, 3, 4].map(|node| lab.peer(node).stats().chunks_lost).iter().sum();
    lab.stream(100, CHUNK, 20);
    lab.pass(Duration::from_secs(1));
    let after: u64 = [1, 3, 4].map(|node| lab.peer(node).stats().chunks_lost).iter().sum();
    assert_eq!(after, lost);
}

/// R-RELAY-4: a chunk of an origin that its sender is not, and was not asked for, is dropped and counted.
#[test]
fn foreign_origins_are_refused() {
    let mut lab = team();
    let link = lab.wires.link(1, 2);
    let next = lab.splitter.stats().next_number.get();
    let before = lab.peer(1).stats().chunks_unexpected;
    // Slot 2 is node 3: node 2 may not speak for it, nor for node 1 itself.
    lab.inject(
        1,
        Input::Train { link, datagrams: vec![chunk(next, 2), chunk(next + 1, 0), chunk(next, 400)] },
    );
    assert_eq!(lab.peer(1).stats().chunks_unexpected, before + 3);
    unharmed(&mut lab);
}

/// A number far ahead of the stream would push everything else out of the window; the limit itself passes, one more does not.
#[test]
fn numbers_far_ahead_are_refused() {
    let mut lab = team();
    let link = lab.wires.link(1, 2);
    let (end, span) = (lab.splitter.stats().next_number.get(), 4096);
    let before = lab.peer(1).stats().chunks_unexpected;
    lab.inject(
        1,
        Input::Train { link, datagrams: vec![chunk(end + span / 2 + 1, 1), chunk((1 << 48) - 1, 1)] },
    );
    assert_eq!(lab.peer(1).stats().chunks_unexpected, before + 2);
    unharmed(&mut lab);
}

/// What node 2 may send to everybody, from its own seat.
fn forge(lab: &mut Lab, number: u64) {
    for node in 1..=lab.peers.len() {
        if node != 2 {
            let link = lab.wires.link(node, 2);
            lab.inject(node, Input::Train { link, datagrams: vec![chunk(number, 1)] });
        }
    }
}

/// R-RELAY-6: however many numbers a member is ahead of the stream, each within reach of its last, the others lose nothing;
/// one that owns no turns neither.
#[test]
fn one_member_moves_nobodys_window() {
    for chunks in [2, 3, 200] {
        let mut lab = team();
        lab.add_peer(|config| config.eco = true);
        lab.pass(Duration::from_millis(100));
        lab.stream(40, CHUNK, 20);
        for n in 1..=chunks {
            let next = lab.splitter.stats().next_number.get();
            forge(&mut lab, next + n * 2000);
            lab.stream(1, CHUNK, 20);
        }
        lab.stream(100, CHUNK, 20);
        lab.pass(Duration::from_secs(1));
        for node in [1, 3, 4, 5] {
            let stats = lab.peer(node).stats();
            let played = u64::try_from(lab.played(node).len()).unwrap();
            assert_eq!((stats.chunks_lost, stats.chunks_late), (0, 0), "{chunks} forged, node {node}");
            assert!(played >= 100 + 40 + chunks, "{chunks} forged, node {node} played {played}");
        }
    }
}

/// While the source pauses the play-out runs dry; a forged number ahead must not draw it there.
#[test]
fn a_pause_draws_no_play_out_ahead() {
    let mut lab = team();
    lab.add_peer(|config| config.eco = true);
    lab.pass(Duration::from_millis(100));
    lab.stream(40, CHUNK, 20);
    lab.pass(Duration::from_secs(3));
    for ahead in [500, 1000, 1500] {
        let next = lab.splitter.stats().next_number.get();
        forge(&mut lab, next + ahead);
        lab.pass(Duration::from_secs(1));
    }
    unharmed(&mut lab);
    assert_eq!(lab.peer(5).stats().chunks_lost, 0);
}

/// Two that conspire can move the others' windows; the splitter's next turn to each sets it right.
#[test]
fn a_turn_sets_the_window_right() {
    // Long ago, so that the play-out follows into the pause, or some time ahead, so that it does not.
    for (ahead, time_us) in [(500, 0), (2_000, 0), (60_000, 0), (60_000, 1_200_000)] {
        let mut lab = team();
        if time_us == 0 {
            lab.pass(Duration::from_secs(2));
        }
        for _ in 0..3 {
            let next = lab.splitter.stats().next_number.get();
            for (villain, origin, step) in [(2, 1, 0), (3, 2, 1)] {
                for node in [1, 4] {
                    let link = lab.wires.link(node, villain);
                    let chunks =
                        (1..=3).map(|n| chunk_of(next + n * ahead + step, origin, time_us)).collect();
                    lab.inject(node, Input::Train { link, datagrams: chunks });
                }
            }
        }
        // A round, in which each has its turn.
        lab.stream(4, CHUNK, 20);
        lab.pass(Duration::from_secs(1));
        let before = [1, 4].map(|node| lab.played(node).len());
        let next = lab.splitter.stats().next_number.get();
        lab.stream(100, CHUNK, 20);
        lab.pass(Duration::from_secs(1));
        for (node, before) in [1, 4].into_iter().zip(before) {
            let played = lab.played(node).split_off(before);
            assert_eq!(played, (next..next + 100).collect::<Vec<_>>(), "{ahead} ahead, node {node}");
        }
    }
}

/// Who has no turns and was led astray is set right by its next welcome.
#[test]
fn a_welcome_sets_the_window_right() {
    let mut lab = team();
    lab.add_peer(|config| config.eco = true);
    lab.pass(Duration::from_secs(3));
    let next = lab.splitter.stats().next_number.get();
    for (villain, origin) in [(2, 1), (3, 2)] {
        let link = lab.wires.link(5, villain);
        lab.inject(5, Input::Train { link, datagrams: vec![chunk(next + 60_000, origin); 2] });
    }
    let link = lab.wires.link(5, SPLITTER);
    lab.inject(5, Input::LinkDown { link, why: crate::LinkDown::Transport });
    lab.pass(Duration::from_secs(1));
    let before = lab.played(5).len();
    lab.stream(100, CHUNK, 20);
    lab.pass(Duration::from_secs(1));
    assert!(lab.played(5).split_off(before).ends_with(&(next..next + 100).collect::<Vec<_>>()));
}

/// Members do not send chunks to the splitter, nor messages that are not theirs to send.
#[test]
fn misplaced_messages_end_the_link() {
    let hello = Hello { channel: crate::lab::channel(), epoch: Epoch(1), slot: Slot::FIRST };
    for message in [
        Control::Hello(hello),
        Control::Prune { origins: vec![] },
        Control::RosterDelta(RosterDelta { epoch: Epoch(1), view: 9, joined: vec![], left: vec![] }),
    ] {
        let mut lab = team();
        let link = lab.wires.link(SPLITTER, 2);
        lab.inject(SPLITTER, Input::Control { link, message });
        assert_eq!(lab.splitter.stats().violations, 1);
        unharmed(&mut lab);
    }
    let mut lab = team();
    let link = lab.wires.link(SPLITTER, 2);
    lab.inject(SPLITTER, Input::Train { link, datagrams: vec![chunk(0, 1)] });
    assert_eq!(lab.splitter.stats().violations, 1);
    let mut lab = team();
    let link = lab.wires.link(1, 2);
    lab.inject(1, Input::Control { link, message: Control::Ready { teammates: 1 } });
    assert!(
        lab.events(1)
            .iter()
            .any(|event| matches!(event, PeerEvent::Violation { peer, .. } if *peer == key(2)))
    );

    // A refusal has its place before the seat only: a member must not be sent to wait by one.
    let mut lab = team();
    let link = lab.wires.link(1, SPLITTER);
    let refuse = Refuse { reason: RefuseReason::TeamFull, detail: String::new(), retry_after_ms: u32::MAX };
    lab.inject(1, Input::Control { link, message: Control::Refuse(refuse) });
    assert_eq!(lab.peer(1).stats().violations, 1);
    lab.pass(Duration::from_secs(2));
    assert!(lab.peer(1).stats().slot.is_some(), "it has joined again");
    assert_eq!(lab.splitter.stats().members, 4);
}

/// Goodbyes again and again do not keep the link of one that is no teammate.
#[test]
fn goodbyes_keep_no_link() {
    let mut lab = team();
    let link = LinkId(9_000);
    lab.inject(1, Input::LinkUp { link, peer: key(50), remote: address(50), dialed: false });
    for _ in 0..4 {
        lab.inject(1, Input::Control { link, message: Control::Goodbye(GoodbyeReason::Leaving) });
        lab.pass(Duration::from_secs(2));
    }
    assert!(!lab.peer(1).links.contains_key(&link));
}

/// Floods of requests, malformed datagrams and control garbage: the limit is borne, one more ends the link.
#[test]
fn floods_end_the_link() {
    let mut lab = team();
    let link = lab.wires.link(1, 2);
    let pull = |n: u64| {
        let first = ChunkNumber::new(n).unwrap();
        Control::Pull {
            ranges: vec![NumberRange::new(first, first.plus(2047)).unwrap()],
            generations: vec![],
        }
    };
    for n in 0..u64::from(CONTROL_BURST_MAX) + 1 {
        lab.inject(1, Input::Control { link, message: pull(n * 3000) });
    }
    assert_eq!(lab.peer(1).stats().violations, 1);

    let mut lab = team();
    let link = lab.wires.link(1, 2);
    let garbage = Input::Malformed { link, error: DecodeError::UnknownKind(9), control: false };
    for _ in 1..MALFORMED_MAX {
        lab.inject(1, garbage.clone());
    }
    assert_eq!(
        (lab.peer(1).stats().violations, lab.peer(1).stats().malformed),
        (0, u64::from(MALFORMED_MAX) - 1)
    );
    lab.inject(1, garbage);
    assert_eq!(lab.peer(1).stats().violations, 1);

    let mut lab = team();
    let link = lab.wires.link(SPLITTER, 2);
    lab.inject(SPLITTER, Input::Malformed { link, error: DecodeError::Protobuf, control: true });
    assert_eq!((lab.splitter.stats().violations, lab.splitter.stats().malformed), (1, 1));
}

/// Strangers may wait a little for the roster to name them; one more than the limit may not, and nobody stays for good.
#[test]
fn strangers_are_bounded() {
    let mut lab = team();
    for n in 0..=STRANGERS_MAX {
        let link = LinkId(10_000 + u32::try_from(n).unwrap());
        let input = Input::LinkUp { link, peer: key(500 + n), remote: address(9), dialed: false };
        lab.inject(1, input);
    }
    assert_eq!(lab.peer(1).link_deadlines.len(), STRANGERS_MAX);
    lab.inject(1, Input::Train { link: LinkId(10_000), datagrams: vec![chunk(70, 1)] });
    assert_eq!(lab.peer(1).stats().chunks_unexpected, 1);
    lab.pass(Duration::from_secs(6));
    assert_eq!(lab.peer(1).link_deadlines.len(), 0);
    unharmed(&mut lab);
}

/// Members that leave, many at once, take no place of those that dial before the roster has named them.
#[test]
fn leavers_are_no_strangers() {
    for reason in [DepartureReason::Goodbye, DepartureReason::Crashed] {
        let mut lab = team();
        let roster = lab.wires.link(1, SPLITTER);
        let view = lab.peer(1).seat.as_ref().unwrap().view.unwrap().1;
        let seats = 0..u16::try_from(STRANGERS_MAX).unwrap();
        let slot = |n: u16| Slot::new(100 + n).unwrap();
        let peer = |n: u16| key(500 + usize::from(n));
        let joined =
            seats.clone().map(|n| Member { slot: slot(n), peer: peer(n), candidates: vec![] }).collect();
        let delta = RosterDelta { epoch: Epoch(1), view: view + 1, joined, left: vec![] };
        lab.inject(1, Input::Control { link: roster, message: Control::RosterDelta(delta) });
        for n in seats.clone() {
            let link = LinkId(10_000 + u32::from(n));
            lab.inject(1, Input::LinkUp { link, peer: peer(n), remote: address(9), dialed: false });
        }
        let left = seats.map(|n| Departure { slot: slot(n), reason }).collect();
        let delta = RosterDelta { epoch: Epoch(1), view: view + 2, joined: vec![], left };
        lab.inject(1, Input::Control { link: roster, message: Control::RosterDelta(delta) });
        assert_eq!(lab.peer(1).link_deadlines.len(), STRANGERS_MAX);
        let early = LinkId(20_000);
        lab.inject(1, Input::LinkUp { link: early, peer: key(900), remote: address(9), dialed: false });
        assert!(lab.peer(1).links.contains_key(&early), "{reason:?}");
    }
}

/// R-ROUTE-5: a member cannot be talked out of relaying its own chunks, by forged prunes or anything else.
#[test]
fn prunes_do_not_silence_an_origin() {
    let mut lab = team();
    for (node, origin) in [(1, 0), (3, 2), (4, 3)] {
        let link = lab.wires.link(node, 2);
        let message = Control::Prune { origins: vec![Slot::new(origin).unwrap()] };
        lab.inject(node, Input::Control { link, message });
    }
    lab.stream(100, CHUNK, 20);
    lab.pass(Duration::from_secs(1));
    assert_eq!(lab.peer(2).stats().chunks_lost, 0);
}

/// A teammate of another epoch is named, so that somebody notices the second splitter.
#[test]
fn another_epoch_is_noticed() {
    let mut lab = team();
    let link = lab.wires.link(1, 2);
    let hello = Hello { channel: crate::lab::channel(), epoch: Epoch(2), slot: Slot::new(1).unwrap() };
    lab.inject(1, Input::Control { link, message: Control::Hello(hello) });
    assert!(lab.events(1).contains(&PeerEvent::OtherStream { peer: key(2) }));
    let link = lab.wires.link(3, 4);
    lab.inject(3, Input::LinkDown { link, why: crate::LinkDown::Closed(CloseCode::OtherStream) });
    assert!(lab.events(3).contains(&PeerEvent::OtherStream { peer: key(4) }));
}

/// A splitter that skips a view, or speaks of another epoch, is not believed: the peer hangs up and joins anew.
#[test]
fn roster_gaps_cause_a_rejoin() {
    for delta in [
        RosterDelta { epoch: Epoch(1), view: 77, joined: vec![], left: vec![] },
        RosterDelta { epoch: Epoch(3), view: 1, joined: vec![], left: vec![] },
    ] {
        let mut lab = team();
        let link = lab.wires.link(1, SPLITTER);
        lab.inject(1, Input::Control { link, message: Control::RosterDelta(delta) });
        lab.pass(Duration::from_secs(1));
        let joins = lab.events(1).iter().filter(|event| matches!(event, PeerEvent::Joined { .. })).count();
        assert_eq!(joins, 2);
        unharmed(&mut lab);
    }
}

/// A teammate's goodbye ends the relaying to it, and only that: the splitter alone says who is a member.
#[test]
fn a_goodbye_is_the_speakers_own() {
    let mut lab = team();
    let link = lab.wires.link(1, 2);
    lab.inject(1, Input::Control { link, message: Control::Goodbye(GoodbyeReason::Leaving) });
    assert_eq!(lab.peer(1).stats().teammates, 3);
    unharmed(&mut lab);
}
