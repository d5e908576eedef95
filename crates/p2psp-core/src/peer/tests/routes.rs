//! Pairs that cannot talk.

use crate::{
    Input, SlotSet,
    lab::{Lab, slot},
};
use p2psp_wire::Control;
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

/// One member asks everybody for these origins.
fn ask_for(lab: &mut Lab, requester: usize, origins: std::ops::Range<u16>) {
    let linked = |node: &usize| lab.wires.linked(*node, requester);
    for node in (1..=lab.peers.len()).filter(linked).collect::<Vec<_>>() {
        let link = lab.wires.link(node, requester);
        let message = Control::Request { origins: origins.clone().map(slot).collect() };
        lab.inject(node, Input::Control { link, message });
    }
}

/// R-ROUTE-2: requests for seats that nobody has do not fill the table; a pair that needs routes gets them.
#[test]
fn junk_requests_keep_nobody_apart() {
    let mut lab = Lab::new(|_| {});
    // The one that asks is no way around the wall.
    lab.wires.walls.extend([(2, 3), (2, 6), (3, 6)]);
    for _ in 0..6 {
        lab.add_peer(|_| {});
    }
    lab.pass(Duration::from_millis(100));
    ask_for(&mut lab, 6, 200..264);
    for (node, origin) in [(2, 2), (3, 1)] {
        assert_eq!(lossless_after(&mut lab, node, Duration::from_secs(3)), 0, "node {node}");
        let slot_of = |node: usize| slot(u16::try_from(node - 1).unwrap());
        let has_route = [1, 4, 5].into_iter().any(|proxy| {
            let routes = &lab.peer(proxy).seat.as_ref().unwrap().routes;
            routes.targets(slot(origin)).contains(slot_of(node))
        });
        assert!(has_route, "node {node}");
    }
}

/// R-ROUTE-2, R-ROUTE-3: only an origin that is heard is passed on, and never the own slot; the rest is ignored.
#[test]
fn what_is_not_heard_is_not_passed_on() {
    let mut lab = Lab::new(|_| {});
    for _ in 0..4 {
        lab.add_peer(|_| {});
    }
    let idle = lab.add_peer(|config| config.eco = true);
    lab.pass(Duration::from_millis(100));
    ask_for(&mut lab, 4, 0..64);
    lab.stream(100, CHUNK, 50);
    let routes = |lab: &mut Lab| -> Vec<u16> {
        let routes = &lab.peer(1).seat.as_ref().unwrap().routes;
        (0..64).filter(|origin| routes.targets(slot(*origin)) != SlotSet::EMPTY).collect()
    };
    assert_eq!(routes(&mut lab), [], "nothing came before they were asked for");
    ask_for(&mut lab, 4, 0..64);
    assert_eq!(routes(&mut lab), [1, 2], "not its own slot, the requester's, or that of node {idle}");
}
