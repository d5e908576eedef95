//! The published trace, recomputed (docs/background.md 1.1): three members, classic pacing, no latency, first come, first served. M0 is
//! alone for chunks 0 and 1, P1 joins before chunk 2 and P2 before chunk 3; a joiner's first turn comes after the next chunk.

use crate::{lab::Lab, peer::RelayPolicy};
use std::time::Duration;

/// Steps t0 to t14: `from>to:chunk` in order; S is the splitter.
const TRACE: [&str; 15] = [
    "S>M0:0",
    "S>M0:1",
    "S>M0:2 M0>P1:2",
    "S>P1:3 P1>M0:3",
    "S>P2:4 P2>M0:4",
    "S>M0:5 M0>P1:5 P1>P2:3 P2>P1:4",
    "S>P1:6 P1>P2:6",
    "S>P2:7 P2>P1:7 P1>M0:6 M0>P2:5 P2>M0:7",
    "S>M0:8 M0>P2:8",
    "S>P1:9 P1>P2:9",
    "S>P2:10 P2>P1:10 P1>M0:9 M0>P1:8",
    "S>M0:11 M0>P2:11 P2>M0:10 M0>P1:11",
    "S>P1:12 P1>P2:12",
    "S>P2:13 P2>M0:13",
    "S>M0:14 M0>P1:14 P1>M0:12 M0>P2:14 P2>P1:13",
];

#[test]
fn classic_pacing_follows_the_published_trace() {
    let mut lab = Lab::new(|_| {});
    let classic = |config: &mut crate::PeerConfig| config.relay = RelayPolicy::Classic;
    lab.add_peer(classic);
    let names = ["S", "M0", "P1", "P2"];
    for (step, expected) in TRACE.iter().enumerate() {
        if step == 2 || step == 3 {
            lab.wires.held.push(step);
            lab.add_peer(classic);
            // The roster's batch is out before the next chunk.
            lab.pass(Duration::from_millis(60));
        }
        lab.wires.sent.clear();
        lab.ingest(false);
        let trace: Vec<String> = lab
            .wires
            .sent
            .iter()
            .map(|(from, to, n)| format!("{}>{}:{n}", names[*from], names[*to]))
            .collect();
        assert_eq!(trace.join(" "), *expected, "t{step}");
        lab.release();
        lab.pass(Duration::from_millis(1));
    }
    // The published result: every member holds every chunk from its join on, and nothing is owed.
    lab.wires.sent.clear();
    lab.pass(Duration::from_millis(2000));
    assert_eq!(lab.wires.sent, [], "pending tables are empty after t14");
    assert_eq!(lab.played(1), (0..15).collect::<Vec<_>>());
    assert_eq!(lab.played(2), (2..15).collect::<Vec<_>>());
    assert_eq!(lab.played(3), (3..15).collect::<Vec<_>>());
}

/// D8 of the published defects: with classic pacing the last chunks are delivered although the input stops.
#[test]
fn classic_pacing_drains_without_input() {
    let mut lab = Lab::new(|_| {});
    for _ in 0..5 {
        lab.add_peer(|config| config.relay = RelayPolicy::Classic);
    }
    lab.pass(Duration::from_millis(100));
    lab.stream(12, Duration::from_millis(1), 100);
    lab.pass(Duration::from_secs(3));
    for node in 1..=5 {
        assert_eq!(lab.peer(node).stats().bytes_received, lab.peer(1).stats().bytes_received, "node {node}");
        assert_eq!(lab.peer(node).stats().chunks_duplicate, 0);
    }
}
