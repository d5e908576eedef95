//! Generations that are told of in two manifests (R-GEN-4): what is known half as late, and what happens when one of them is missing.

use super::recovery::{forged, team};
use crate::{
    Input,
    lab::{Lab, SPLITTER},
};
use p2psp_wire::{ChunkNumber, Control, Manifest};
use std::time::Duration;

/// 500 chunks a second: generations of 48.
const CHUNK: Duration = Duration::from_millis(2);

/// A team that is at that rate.
pub(super) fn fast_team(peers: usize) -> Lab {
    let mut lab = team(peers, 4);
    lab.stream(500, CHUNK, 50);
    lab
}

/// Manifests of the newest generation that a node believes, as the first place that each lists and how many chunks it lists.
pub(super) fn newest(lab: &mut Lab, node: usize) -> Vec<(u8, u8)> {
    let next = lab.splitter.stats().next_number;
    let manifests = lab.peer(node).seat.as_ref().unwrap().belief.manifests();
    let first = (1..=48).find_map(|back| manifests.listing(next.minus(back)).map(Manifest::first)).unwrap();
    let listed = manifests.of_generation(first);
    listed.map(|manifest| (manifest.contents().position, manifest.contents().data_chunks)).collect()
}

/// Streams chunk by chunk until that many manifests more have gone out.
pub(super) fn stream_manifests(lab: &mut Lab, manifests: u64) {
    let end = lab.splitter.stats().manifests_sent + manifests;
    while lab.splitter.stats().manifests_sent < end {
        lab.stream(1, CHUNK, 50);
    }
}

/// So that the next manifest is its generation's first.
pub(super) fn stream_to_a_close(lab: &mut Lab) {
    stream_manifests(lab, 1);
    while newest(lab, 1) != [(0, 24), (24, 24)] {
        stream_manifests(lab, 1);
    }
}

pub(super) fn pulls_for_manifests(lab: &Lab, node: usize) -> usize {
    let is_pull =
        |message: &Control| matches!(message, Control::Pull { generations, .. } if !generations.is_empty());
    lab.wires.said.iter().filter(|(from, _, message)| *from == node && is_pull(message)).count()
}

/// Nobody asks for anything, and everything is played.
#[test]
fn halves_come_by_themselves() {
    let mut lab = fast_team(5);
    stream_to_a_close(&mut lab);
    lab.pass(Duration::from_secs(1));
    let chunks = lab.splitter.stats().next_number.get();
    for node in 1..=5 {
        let stats = lab.peer(node).stats();
        assert_eq!(lab.played(node), (0..chunks).collect::<Vec<_>>(), "node {node}");
        assert_eq!((stats.chunks_lost, stats.chunks_asked, stats.chunks_rebuilt), (0, 0, 0), "node {node}");
        assert_eq!(stats.manifests_received, lab.splitter.stats().manifests_sent, "node {node}");
        assert_eq!(pulls_for_manifests(&lab, node), 0, "node {node}");
    }
}

/// R-GEN-5: who sends a false chunk has no link any more when half a generation has gone by.
#[test]
fn a_false_chunk_is_found_out_within_half_a_generation() {
    let mut lab = fast_team(6);
    stream_to_a_close(&mut lab);
    // The first chunk of the next generation, as node 2 would have it.
    let false_one = forged(lab.splitter.stats().next_number.get(), 1, 0);
    let link = lab.wires.link(3, 2);
    lab.inject(3, Input::Train { link, datagrams: vec![false_one] });
    lab.stream(23, CHUNK, 50);
    assert!(lab.wires.linked(3, 2), "no manifest lists it yet");
    // The 24th, and what is left of its turn.
    lab.stream(4, CHUNK, 50);
    assert!(!lab.wires.linked(3, 2));
}

/// A false copy of what is there already, because it was rebuilt for example, is evidence all the same.
#[test]
fn a_late_false_chunk_is_evidence() {
    let mut lab = fast_team(6);
    let number = lab.splitter.stats().next_number.get() - 100;
    let link = lab.wires.link(3, 2);
    lab.inject(3, Input::Train { link, datagrams: vec![forged(number, 1, 0)] });
    assert!(!lab.wires.linked(3, 2));
    assert_eq!(lab.peer(3).stats().chunks_false, 1);
}

/// One of the two is lost on its way to a member, time and again: it is asked for once the other shows that it is missing, or a chunk
/// has waited for too long, and nothing is lost.
#[test]
fn a_lost_half_is_fetched() {
    for second in [false, true] {
        let mut lab = fast_team(6);
        stream_to_a_close(&mut lab);
        for _ in 0..8 {
            for is_second in [false, true] {
                lab.wires.without_manifests.extend((second == is_second).then_some(3));
                stream_manifests(&mut lab, 1);
                lab.wires.without_manifests.clear();
            }
        }
        lab.pass(Duration::from_secs(1));
        let stats = lab.peer(3).stats();
        assert_eq!((stats.chunks_lost, stats.chunks_false), (0, 0), "second: {second}");
        // One in six is its own, and comes from the splitter; an origin's answer may be lost too.
        let pulls = pulls_for_manifests(&lab, 3);
        assert!((4..=16).contains(&pulls), "{pulls} pulls, second: {second}");
        let is_lost = |message: &Control| matches!(message, Control::Lost { .. });
        assert!(
            !lab.wires
                .said
                .iter()
                .any(|(from, to, message)| (*from, *to) == (3, SPLITTER) && is_lost(message))
        );
    }
}

/// A source that stops when a first half is full leaves a last manifest that lists parity alone: what is missing of that half comes back
/// by it.
#[test]
fn a_last_manifest_may_list_no_chunk() {
    let mut lab = fast_team(6);
    stream_to_a_close(&mut lab);
    let first = lab.splitter.stats().next_number;
    lab.stream(12, CHUNK, 50);
    // What node 2 relays meanwhile does not come to node 3.
    lab.wires.holes.push((2, 3));
    lab.stream(12, CHUNK, 50);
    lab.wires.holes.clear();
    lab.pass(Duration::from_millis(400));
    assert_eq!(newest(&mut lab, 3), [(0, 24), (24, 0)]);
    assert_eq!(lab.splitter.stats().next_number, first.plus(24));
    lab.stream(500, CHUNK, 50);
    let stats = lab.peer(3).stats();
    assert!(stats.chunks_rebuilt > 0 && stats.chunks_lost == 0, "{stats:?}");
    let listed = lab.peer(1).seat.as_ref().unwrap().belief.manifests().listing(first.plus(24)).cloned();
    assert_eq!(listed.map(|manifest| manifest.first()), Some(ChunkNumber::new(first.get() + 24).unwrap()));
}
