//! Members that lie about numbers, places and generations: what is true is neither crowded out nor thrown away, and who lied is found out.

use super::{
    halves::{fast_team, newest, pulls_for_manifests, stream_manifests, stream_to_a_close},
    recovery::{forged, team},
};
use crate::{
    Input, Instant, PeerEvent,
    guard::{Guard, MANIFESTS_BURST_MAX},
    lab::{Lab, channel, key, signing_key},
    peer::{
        belief::{AHEAD_OF_LINK_MAX, Belief, Verdict},
        receive::SHUNNED_MAX,
    },
    window::Window,
};
use p2psp_wire::{
    ChunkNumber, Control, Datagram, Epoch, Hash, Integrity, Manifest, ManifestContents, Parity, Slot,
    StreamTime, limits::DATA_CHUNKS_MAX,
};
use std::{collections::BTreeSet, time::Duration};

/// 500 chunks a second: generations of 48.
const CHUNK: Duration = Duration::from_millis(2);
/// From a generation's last manifest, or from when it was asked for, to the first pull.
const FIRST_PULL: Duration = Duration::from_millis(75);
/// 100 chunks a second: generations of 10.
const SLOW_CHUNK: Duration = Duration::from_millis(10);

/// Node 2, which sits in slot 1, sends these to node 3.
fn inject(lab: &mut Lab, datagrams: Vec<Datagram>) {
    let link = lab.wires.link(3, 2);
    lab.inject(3, Input::Train { link, datagrams });
}

fn next(lab: &Lab) -> u64 {
    lab.splitter.stats().next_number.get()
}

/// What node 3 asked for: chunks, and generations whose manifests it lacks.
fn asked(lab: &Lab) -> (BTreeSet<ChunkNumber>, BTreeSet<ChunkNumber>) {
    let (mut chunks, mut firsts) = (BTreeSet::new(), BTreeSet::new());
    for (_, _, message) in lab.wires.said.iter().filter(|(from, _, _)| *from == 3) {
        if let Control::Pull { ranges, generations } = message {
            chunks.extend(ranges.iter().flat_map(|range| range.numbers()));
            firsts.extend(generations);
        }
    }
    (chunks, firsts)
}

/// R-GEN-6: who claims twenty generations that lie far ahead has none of them asked for. Those whose manifests are lost meanwhile are, and
/// the liar is found out when the stream gets to what it claimed.
#[test]
fn far_claims_are_not_asked_for() {
    let mut lab = fast_team(6);
    stream_to_a_close(&mut lab);
    lab.wires.without_manifests.push(3);
    let begin = next(&lab);
    inject(&mut lab, (0..20).map(|n| forged(begin + 400 + 60 * n, 1, 0)).collect());
    lab.stream(300, CHUNK, 50);
    assert!(lab.wires.linked(3, 2));
    let (_, asked) = asked(&lab);
    let is_there = |first: &ChunkNumber| first.get() < begin + 300;
    assert!(asked.iter().all(is_there) && asked.len() >= 4, "{asked:?} from {begin}");
    lab.wires.without_manifests.clear();
    lab.stream(200, CHUNK, 50);
    assert!(!lab.wires.linked(3, 2));
    lab.pass(Duration::from_secs(1));
    assert_eq!(lab.peer(3).stats().chunks_lost, 0);
}

/// Likewise where they lie near: they take half of the places, and are found out by the first manifest.
#[test]
fn near_claims_crowd_nobody_out() {
    let mut lab = fast_team(6);
    stream_to_a_close(&mut lab);
    lab.wires.without_manifests.push(3);
    let begin = next(&lab);
    inject(&mut lab, (1..=20).map(|n| forged(begin + n, 1, u8::try_from(2 * n).unwrap())).collect());
    lab.stream(300, CHUNK, 50);
    assert!(!lab.wires.linked(3, 2));
    lab.pass(Duration::from_secs(1));
    assert_eq!(lab.peer(3).stats().chunks_lost, 0);
}

/// A false chunk that begins to wait 300 ms before its generation is there: what came since is not thrown away with it when its manifest
/// has been asked for in vain, and the liar is found out.
#[test]
fn an_early_claim_costs_nobody_else() {
    let mut lab = team(6, 4);
    lab.stream(200, SLOW_CHUNK, 50);
    stream_slowly(&mut lab, 1);
    let begin = next(&lab) + 30;
    inject(&mut lab, vec![forged(begin + 5, 1, 5)]);
    lab.stream(60, SLOW_CHUNK, 50);
    lab.pass(Duration::from_secs(1));
    let stats = lab.peer(3).stats();
    assert_eq!((stats.chunks_lost, stats.chunks_asked, stats.chunks_false), (0, 0, 1));
    assert!(asked(&lab).1.contains(&ChunkNumber::new(begin).unwrap()), "it was asked for too early");
}

/// Likewise, and the generation's true manifest is lost: it is asked for again when it must be there.
#[test]
fn an_early_claim_is_asked_for_anew() {
    let mut lab = team(6, 4);
    lab.stream(200, SLOW_CHUNK, 50);
    stream_slowly(&mut lab, 1);
    let begin = next(&lab) + 30;
    lab.stream(2, SLOW_CHUNK, 50);
    inject(&mut lab, vec![forged(begin + 5, 1, 5)]);
    lab.stream(begin + 1 - next(&lab), SLOW_CHUNK, 50);
    lab.wires.without_manifests.push(3);
    stream_slowly(&mut lab, 1);
    assert_eq!(next(&lab), begin + 10);
    lab.wires.without_manifests.clear();
    lab.stream(60, SLOW_CHUNK, 50);
    lab.pass(Duration::from_secs(1));
    let stats = lab.peer(3).stats();
    assert_eq!((stats.chunks_lost, stats.chunks_false), (0, 1));
}

/// Chunk by chunk, until that many manifests more have gone out.
fn stream_slowly(lab: &mut Lab, manifests: u64) {
    let end = lab.splitter.stats().manifests_sent + manifests;
    while lab.splitter.stats().manifests_sent < end {
        lab.stream(1, SLOW_CHUNK, 50);
    }
}

/// R-GEN-5: who takes the places of what is to come costs its victim no more than comes before the next manifest: then it is found out, and
/// its places are free. One more than may lie ahead is not taken.
#[test]
fn squatted_numbers_are_freed() {
    let mut lab = fast_team(6);
    stream_to_a_close(&mut lab);
    let begin = next(&lab);
    inject(&mut lab, (0..512).map(|n| forged(begin + n, 1, 0)).collect());
    let belief = &lab.peer(3).seat.as_ref().unwrap().belief;
    let held = (begin..begin + 512).filter(|n| belief.holds(ChunkNumber::new(*n).unwrap())).count();
    assert_eq!(held, AHEAD_OF_LINK_MAX);
    lab.stream(500, CHUNK, 50);
    lab.pass(Duration::from_secs(1));
    assert!(!lab.wires.linked(3, 2));
    assert_eq!(lab.peer(3).stats().chunks_lost, 0);
    // Beside those of its own that the liar has no link for any more.
    let (pulled, _) = asked(&lab);
    let is_others_pulled = |event: &&PeerEvent| {
        matches!(event, PeerEvent::Play(chunk)
            if chunk.header().origin != Slot::new(1).unwrap() && pulled.contains(&chunk.number()))
    };
    let pulled = lab.events(3).iter().filter(is_others_pulled).count();
    assert!(pulled <= usize::from(DATA_CHUNKS_MAX), "{pulled} had to be pulled");
}

/// Parity of the generation that is open, and of the next one, in the places of the true one: when the first of it is found to be false
/// the rest is gone, and what is missing of the next generation is rebuilt.
#[test]
fn squatted_parity_is_freed() {
    let mut lab = team(6, 16);
    lab.stream(500, CHUNK, 50);
    stream_to_a_close(&mut lab);
    let begin = next(&lab);
    let places = (48..64).flat_map(|place| [false_parity(begin, place), false_parity(begin + 48, place)]);
    inject(&mut lab, places.collect());
    lab.stream(50, CHUNK, 50);
    assert!(!lab.wires.linked(3, 2));
    // What the liar relays itself does not come to node 3 any more.
    lab.stream(70, CHUNK, 50);
    lab.pass(FIRST_PULL);
    let stats = lab.peer(3).stats();
    assert!(stats.chunks_rebuilt > 0 && stats.chunks_asked == 0, "{stats:?}");
}

/// Parity of a generation that begins within another one waits for no manifest of its own.
#[test]
fn parity_of_no_generation_is_found_out() {
    for is_early in [true, false] {
        let mut lab = fast_team(6);
        stream_to_a_close(&mut lab);
        let begin = next(&lab);
        if is_early {
            inject(&mut lab, vec![false_parity(begin + 7, 50)]);
            assert!(lab.wires.linked(3, 2), "no manifest tells of it yet");
        }
        lab.stream(60, CHUNK, 50);
        if !is_early {
            inject(&mut lab, vec![false_parity(begin + 7, 50)]);
        }
        assert!(!lab.wires.linked(3, 2), "early: {is_early}");
    }
}

fn false_parity(first: u64, position: u8) -> Datagram {
    let first = ChunkNumber::new(first).unwrap();
    Datagram::Parity(Parity::new(first, position, Slot::new(1).unwrap(), 0, &[7; 100]).unwrap())
}

/// R-GEN-6: both manifests of a generation are lost, and come together when they are asked for: from then on what is missing waits no
/// longer than from a manifest that came by itself.
#[test]
fn two_lost_halves_end_the_wait() {
    let mut lab = team(6, 0);
    lab.stream(500, CHUNK, 50);
    stream_to_a_close(&mut lab);
    for _ in 0..8 {
        let first = lab.splitter.stats().next_number;
        lab.wires.without_manifests.push(3);
        // It is not heard before both are there.
        lab.wires.deaf.extend((0..=6).map(|node| (3, node)));
        lab.wires.holes.extend([(2, 3), (4, 3), (5, 3)]);
        stream_manifests(&mut lab, 1);
        lab.wires.holes.clear();
        stream_manifests(&mut lab, 1);
        lab.wires.without_manifests.clear();
        lab.wires.deaf.clear();
        let belief = &lab.peer(3).seat.as_ref().unwrap().belief;
        // One in six is its own, and comes from the splitter.
        if belief.manifests().listing(first).or_else(|| belief.manifests().listing(first.plus(47))).is_some()
        {
            continue;
        }
        let before = (pulls_for_manifests(&lab, 3), asked(&lab).0.len());
        for _ in 0..60 {
            if pulls_for_manifests(&lab, 3) == before.0 {
                lab.pass(Duration::from_millis(1));
            }
        }
        assert_eq!(newest(&mut lab, 3), [(0, 24), (24, 24)]);
        lab.pass(FIRST_PULL);
        assert!(asked(&lab).0.len() > before.1);
        return;
    }
    panic!("one of eight generations has lost both");
}

const NOW: Instant = Instant::from_micros(5_000_000);

/// What one member believes, and a window that reaches back to 1000.
fn believer() -> (Belief, Window) {
    let belief = Belief::new(NOW, Integrity::Manifest, channel(), Epoch(1));
    (belief, Window::new(4096, ChunkNumber::new(5096).unwrap()))
}

fn manifest(first: u64) -> Manifest {
    let contents = ManifestContents {
        epoch: Epoch(1),
        first: ChunkNumber::new(first).unwrap(),
        position: 0,
        data_chunks: 8,
        shard_bytes: 100,
        closed: StreamTime::from_micros(first),
        previous: Hash::default(),
        hashes: vec![Hash([7; 16]); 8],
    };
    signing_key().sign(channel(), contents, Slot::new(1).unwrap()).unwrap()
}

/// True manifests of what the window has left behind, again and again, cost no check of a signature.
#[test]
fn replayed_manifests_are_not_checked() {
    let (mut belief, window) = believer();
    let mut guard = Guard::new(NOW);
    let old = manifest(1000 - 8);
    for _ in 0..=MANIFESTS_BURST_MAX {
        assert_eq!(belief.on_manifest(NOW, &old, &window, &mut guard).0, Verdict::Known);
    }
    assert_eq!(belief.on_manifest(NOW, &manifest(1000 - 7), &window, &mut guard).0, Verdict::Believed);
}

/// One link may have as many checked as its share; one more is dropped, and another link's is not.
#[test]
fn one_link_has_its_share_of_checks() {
    let (mut belief, window) = believer();
    let mut guard = Guard::new(NOW);
    for n in 0..u64::from(MANIFESTS_BURST_MAX) {
        let verdict = belief.on_manifest(NOW, &manifest(1000 + 8 * n), &window, &mut guard).0;
        assert_eq!(verdict, Verdict::Believed);
    }
    let newest = manifest(4000);
    assert_eq!(belief.on_manifest(NOW, &newest, &window, &mut guard).0, Verdict::Dropped);
    assert_eq!(belief.on_manifest(NOW, &newest, &window, &mut Guard::new(NOW)).0, Verdict::Believed);
}

/// Two that conspire move a newcomer's edge: it reports from two generations on after what is signed, or what the splitter told.
#[test]
fn an_edge_that_was_moved_silences_no_reports() {
    for is_told in [false, true] {
        let (mut belief, window) = believer();
        let mut guard = Guard::new(NOW);
        let number = |n: u64| ChunkNumber::new(n).unwrap();
        if !is_told {
            belief.on_manifest(NOW, &manifest(2000 - 8), &window, &mut guard);
        }
        belief.tell_from(number(1 << 40), number(if is_told { 2000 } else { 0 }));
        for first in [2000 + 88, 2000 + 96] {
            belief.on_manifest(NOW, &manifest(first), &window, &mut guard);
        }
        assert_eq!(belief.tell(number(3000)), (8, 8), "told: {is_told}");
    }
}

/// One more than may be shunned frees the place of the first, whatever its key.
#[test]
fn the_newest_liars_are_shunned() {
    let mut lab = team(1, 4);
    let peer = lab.peer(1);
    for n in (0..=SHUNNED_MAX).rev() {
        peer.shun(key(100 + n));
        peer.shun(key(100 + n));
    }
    assert_eq!(peer.shunned.len(), SHUNNED_MAX);
    assert!(!peer.shunned.contains(&key(100 + SHUNNED_MAX)) && peer.shunned.contains(&key(100)));
}
