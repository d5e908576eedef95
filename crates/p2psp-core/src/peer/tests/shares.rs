//! Members that can relay little, with the machines of both sides (R-TURN-4 to R-TURN-6, R-UPLINK-5).

use crate::{PeerEvent, lab::Lab, lab::SPLITTER};
use p2psp_wire::{Control, RefuseReason};
use std::time::Duration;

/// With headers 0.8 Mb/s.
const CHUNK: Duration = Duration::from_millis(1);
const LITTLE: u64 = 128_000;
const MUCH: u64 = 10_000_000;

fn team(own_copies_max: u16, uplinks: &[u64]) -> Lab {
    let mut lab = Lab::new(|config| config.own_copies_max = own_copies_max);
    for uplink in uplinks {
        lab.add_peer(|config| config.uplink_bits_per_s_max = Some(*uplink));
    }
    lab.pass(Duration::from_secs(1));
    lab
}

fn turns(lab: &Lab, node: usize) -> usize {
    lab.wires.sent.iter().filter(|(from, to, _)| (*from, *to) == (SPLITTER, node)).count()
}

/// Who can relay a tenth of its share gets a tenth of it; the others carry the rest, and nobody misses anything.
#[test]
fn a_small_uplink_gets_a_small_share() {
    let mut lab = team(0, &[LITTLE, MUCH, MUCH, MUCH]);
    // Until the stream's rate is known.
    lab.stream(1_000, CHUNK, 50);
    let before: Vec<usize> = (1..=4).map(|node| turns(&lab, node)).collect();
    lab.stream(3_000, CHUNK, 50);
    // Three quarters of 128 kb/s for three teammates are 32 kb/s, one chunk in 25.
    let shares: Vec<usize> = (1..=4).map(|node| turns(&lab, node) - before[node - 1]).collect();
    assert!((100..=140).contains(&shares[0]), "{shares:?}");
    assert!(shares[1..].iter().all(|share| (950..=975).contains(share)), "{shares:?}");
    lab.pass(Duration::from_secs(1));
    for node in 1..=4 {
        assert_eq!(lab.peer(node).stats().chunks_lost, 0, "node {node}");
    }
    assert_eq!((lab.splitter.stats().own_turns, lab.splitter.stats().silenced), (0, 0));
}

/// Where all uplinks are known and suffice, shares are equal and the splitter sends its one copy.
#[test]
fn enough_changes_nothing() {
    let mut lab = team(3, &[MUCH, 2 * MUCH, MUCH, 3 * MUCH]);
    lab.stream(2_000, CHUNK, 50);
    let shares: Vec<usize> = (1..=4).map(|node| turns(&lab, node)).collect();
    assert!(shares.iter().all(|share| share.abs_diff(500) <= 4), "{shares:?}");
    assert_eq!(lab.splitter.stats().own_turns, 0);
}

/// What the members cannot carry the splitter sends to each of them: everybody has everything, and each chunk once.
#[test]
fn the_splitter_sends_what_nobody_can() {
    let mut lab = team(3, &[LITTLE, LITTLE, LITTLE, LITTLE]);
    lab.stream(3_000, CHUNK, 50);
    lab.pass(Duration::from_secs(1));
    let stats = lab.splitter.stats();
    // Four times 32 kb/s of 800.
    assert!((800..=880).contains(&stats.own_share_per_mille), "{}", stats.own_share_per_mille);
    for node in 1..=4 {
        let stats = lab.peer(node).stats();
        assert_eq!((stats.chunks_lost, stats.chunks_duplicate), (0, 0), "node {node}");
    }
}

/// One more than the uplinks carry gets no seat, and is told when to come again; what the splitter may send decides how many that is.
#[test]
fn who_cannot_be_served_gets_no_seat() {
    for (own_copies_max, is_refused) in [(3, true), (4, false)] {
        let mut lab = team(own_copies_max, &[LITTLE, LITTLE, LITTLE, LITTLE]);
        lab.stream(1_500, CHUNK, 50);
        // It would have to send 0.86 of the stream four more times than once.
        let newcomer = lab.add_peer(|config| config.uplink_bits_per_s_max = Some(LITTLE));
        lab.stream(100, CHUNK, 50);
        let refused = lab.events(newcomer).iter().any(|event| {
            matches!(event, PeerEvent::Refused { reason: RefuseReason::NoUplink, again: true, .. })
        });
        assert_eq!(refused, is_refused, "{own_copies_max} copies: {:?}", lab.events(newcomer));
    }
}

/// A member tells at once what it can relay, and again only when that has changed.
#[test]
fn capacities_are_told_once() {
    let mut lab = team(3, &[MUCH, LITTLE]);
    lab.stream(2_000, CHUNK, 50);
    let told = |node: usize| {
        let capacity = |message: &Control| {
            if let Control::Capacity { uplink_bits_per_s } = message {
                Some(*uplink_bits_per_s)
            } else {
                None
            }
        };
        let said = lab.wires.said.iter().filter(|(from, to, _)| (*from, *to) == (node, SPLITTER));
        said.filter_map(|(_, _, message)| capacity(message)).collect::<Vec<u64>>()
    };
    assert_eq!((told(1), told(2)), (vec![MUCH], vec![LITTLE]));
}

/// Where nobody can relay a chunk in time and the splitter may add nothing, the stream goes on, as well as it can; who wants no turns
/// gets none even then.
#[test]
fn a_hopeless_team_has_its_turns() {
    let mut lab = Lab::new(|config| config.own_copies_max = 0);
    for node in 1..=60 {
        lab.add_peer(|config| {
            config.uplink_bits_per_s_max = Some(LITTLE);
            config.eco = node == 1;
        });
    }
    lab.pass(Duration::from_secs(1));
    lab.stream(2_000, CHUNK, 50);
    let stats = lab.splitter.stats();
    assert_eq!((stats.own_turns, stats.chunks_unsent), (0, 0));
    assert!(stats.lacking_per_mille > 900, "{}", stats.lacking_per_mille);
    assert_eq!(turns(&lab, 1), 0);
    assert!((2..=60).all(|node| turns(&lab, node) > 20));
}
