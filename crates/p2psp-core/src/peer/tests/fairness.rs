//! Members that do not pass on what they are given, with the machines of both sides (R-FAIR-5 to R-FAIR-10).

use crate::{
    Input, LinkId, ParityPolicy, PeerEvent, Protection, SplitterEvent,
    lab::{Lab, SPLITTER, address, channel, key, signing_key},
    peer::LeftReason,
};
use p2psp_wire::{Control, Join, PROTOCOL_REVISION, RefuseReason, Slot, Witness};
use std::time::Duration;

const CHUNK: Duration = Duration::from_millis(5);
const PEERS: usize = 12;
const BAN: Duration = Duration::from_secs(60);

/// A signed team that has played for long enough for everybody to be heard.
fn team() -> Lab {
    let protection = Protection { key: signing_key(), signs_chunks: false, parity: ParityPolicy::Fixed(4) };
    let mut lab = Lab::new(|config| {
        config.protection = Some(protection);
        config.fairness.ban = BAN;
    });
    for _ in 0..PEERS {
        lab.add_peer(|config| config.allow_unsigned = false);
    }
    lab.stream(600, CHUNK, 50);
    lab
}

/// From now on nothing that this node relays gets anywhere.
fn mute(lab: &mut Lab, node: usize) {
    lab.wires.holes.extend((1..=PEERS).filter(|other| *other != node).map(|other| (node, other)));
}

fn join(lab: &mut Lab, link: LinkId, node: usize) {
    lab.inject(SPLITTER, Input::LinkUp { link, peer: key(node), remote: address(node), dialed: false });
    let join = Join {
        revision: PROTOCOL_REVISION,
        channel: channel(),
        ticket: bytes::Bytes::new(),
        candidates: vec![],
        eco: false,
        agent: String::new(),
        target_delay_ms: 500,
    };
    lab.inject(SPLITTER, Input::Control { link, message: Control::Join(join) });
}

/// Who takes turns and relays nothing answers probes, and is out all the same: within two seconds, with its key banned for as long
/// as the operator says, and nobody else. Nobody misses a chunk.
#[test]
fn a_free_rider_is_expelled() {
    let mut lab = team();
    mute(&mut lab, 2);
    lab.stream(400, CHUNK, 50);
    assert_eq!(lab.events(2).last(), Some(&PeerEvent::Left(LeftReason::Expelled)));
    let stats = lab.splitter.stats();
    assert_eq!((stats.free_riders, stats.expulsions, stats.members), (1, 1, 11));
    lab.stream(200, CHUNK, 50);
    lab.pass(Duration::from_secs(1));
    for node in (1..=PEERS).filter(|node| *node != 2) {
        assert_eq!(lab.peer(node).stats().chunks_lost, 0, "node {node}");
    }

    join(&mut lab, LinkId(9_000), 2);
    let refused = SplitterEvent::Refused { peer: key(2), reason: RefuseReason::Banned };
    assert_eq!(lab.splitter_events.last(), Some(&refused));
    lab.pass(BAN);
    join(&mut lab, LinkId(9_001), 2);
    let is_back =
        matches!(lab.splitter_events.last(), Some(SplitterEvent::Joined { peer, .. }) if *peer == key(2));
    assert!(is_back, "{:?}", lab.splitter_events.last());
}

/// Who dies while it owns turns is dead, not expelled: its key may come back at once.
#[test]
fn a_crash_is_no_guilt() {
    let mut lab = team();
    lab.wires.dead.push(2);
    lab.stream(600, CHUNK, 50);
    let stats = lab.splitter.stats();
    assert_eq!((stats.free_riders, stats.crashes, usize::from(stats.members)), (0, 1, PEERS - 1));
    join(&mut lab, LinkId(9_000), 2);
    let is_back =
        matches!(lab.splitter_events.last(), Some(SplitterEvent::Joined { peer, .. }) if *peer == key(2));
    assert!(is_back, "{:?}", lab.splitter_events.last());
}

/// Where a twentieth of everything is lost, and where nothing is, nobody is taken for a free rider or sent to rest.
#[test]
fn the_honest_keep_their_seats() {
    for loss_per_mille in [0, 50, 100] {
        let mut lab = team();
        lab.wires.loss_per_mille = loss_per_mille;
        lab.stream(4_000, CHUNK, 50);
        let stats = lab.splitter.stats();
        let found = (stats.free_riders, stats.rested, usize::from(stats.members));
        assert_eq!(found, (0, 0, PEERS), "{loss_per_mille} of 1000 lost");
    }
}

/// A member whose own turns never reach it rebuilds them and relays them late: it keeps its seat and its turns.
#[test]
fn a_dead_first_hop_is_no_guilt() {
    let mut lab = team();
    lab.wires.holes.push((SPLITTER, 2));
    lab.stream(2_000, CHUNK, 50);
    let stats = lab.splitter.stats();
    assert_eq!((stats.free_riders, usize::from(stats.members)), (0, PEERS));
    assert!(lab.peer(2).stats().chunks_healed > 50);
}

/// A third that lies about one expels nobody, however often each of them says it.
#[test]
fn liars_expel_nobody() {
    let mut lab = team();
    let slot = |node: usize| Slot::new(u16::try_from(node - 1).unwrap()).unwrap();
    let own = |lab: &Lab| -> Vec<u64> {
        let given =
            |(from, to, number): &(usize, usize, u64)| ((*from, *to) == (SPLITTER, 12)).then_some(*number);
        lab.wires.sent.iter().filter_map(given).collect()
    };
    assert!(lab.splitter.roster().any(|(seat, peer)| (seat, peer) == (slot(12), key(12))));
    for _ in 0..1_000 {
        lab.stream(1, CHUNK, 50);
        let Some(last) = own(&lab).last().copied() else { continue };
        for liar in 1..=3 {
            let link = lab.wires.link(SPLITTER, liar);
            let first = p2psp_wire::ChunkNumber::new(last).unwrap();
            let message = Control::Witness(Witness::new(first, [false], 0));
            if last % 4 == 0 {
                lab.inject(SPLITTER, Input::Control { link, message });
            }
        }
    }
    let stats = lab.splitter.stats();
    assert_eq!((stats.free_riders, usize::from(stats.members)), (0, PEERS));
}

/// What a witness says is what came: a member that one teammate's chunks do not reach says so of these and of no others, until it
/// has found a way around.
#[test]
fn a_witness_tells_what_came() {
    let mut lab = team();
    lab.wires.holes.push((5, 8));
    lab.wires.said.clear();
    lab.wires.sent.clear();
    lab.stream(400, CHUNK, 50);
    let of_five: Vec<u64> = lab
        .wires
        .sent
        .iter()
        .filter(|(from, to, _)| (*from, *to) == (SPLITTER, 5))
        .map(|(.., number)| *number)
        .collect();
    let (mut missed, mut spoken) = (Vec::new(), 0);
    for (from, to, message) in &lab.wires.said {
        let Control::Witness(witness) = message else { continue };
        assert_eq!(*to, SPLITTER);
        for (number, came) in witness.iter().filter(|_| *from == 8) {
            spoken += 1;
            missed.extend((!came).then_some(number.get()));
        }
    }
    assert!(spoken > 300, "{spoken}");
    assert!(missed.len() >= 3 && missed.iter().all(|number| of_five.contains(number)), "{missed:?}");
}
