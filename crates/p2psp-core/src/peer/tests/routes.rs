//! Pairs that cannot talk.

use crate::lab::Lab;
use std::time::Duration;

const CHUNK: Duration = Duration::from_millis(5);

fn lossless_after(lab: &mut Lab, node: usize, settle: Duration) -> u64 {
    lab.stream(settle.as_secs() * 200, CHUNK, 50);
    lab.pass(Duration::from_millis(600));
    let before = lab.peer(node).stats().chunks_lost;
    lab.stream(400, CHUNK, 50);
    lab.pass(Duration::from_millis(600));
    lab.peer(node).stats().chunks_lost - before
}

/// Two members without a link between them get each other's chunks through a third, and nobody gets a chunk twice for long.
#[test]
fn a_wall_is_worked_around() {
    let mut lab = Lab::new(|_| {});
    lab.wires.walls.push((2, 3));
    for _ in 0..5 {
        lab.add_peer(|_| {});
    }
    lab.pass(Duration::from_millis(3000));
    for node in [2, 3] {
        assert_eq!(lossless_after(&mut lab, node, Duration::from_secs(2)), 0, "node {node}");
        assert!(lab.peer(node).stats().requests_sent > 0);
    }
    let duplicates: u64 = (1..=5).map(|node| lab.peer(node).stats().chunks_duplicate).sum();
    lab.stream(400, CHUNK, 50);
    let later: u64 = (1..=5).map(|node| lab.peer(node).stats().chunks_duplicate).sum();
    assert!(later - duplicates <= 8, "{} duplicates in 400 chunks", later - duplicates);
}

/// A link that is up but carries nothing one way: the origin falls silent for one member only, and a route is found.
#[test]
fn a_one_way_hole_is_worked_around() {
    let mut lab = Lab::new(|_| {});
    for _ in 0..5 {
        lab.add_peer(|_| {});
    }
    lab.pass(Duration::from_millis(100));
    lab.stream(100, CHUNK, 50);
    lab.wires.holes.push((4, 2));
    assert_eq!(lossless_after(&mut lab, 2, Duration::from_secs(3)), 0);
    // One member's silence is no quorum: node 4 keeps its turns.
    assert_eq!(lab.splitter.stats().silenced, 0);
    // The hole heals: the proxies are told to stop, and the origin alone goes on.
    lab.wires.holes.clear();
    lab.stream(200, CHUNK, 50);
    assert!(lab.peer(2).stats().prunes_sent > 0);
    let before = lab.peer(2).stats().chunks_duplicate;
    lab.stream(200, CHUNK, 50);
    assert_eq!(lab.peer(2).stats().chunks_duplicate, before);
}
