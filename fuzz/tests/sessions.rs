//! Committed scripts of the two machines reach what their names say: a corpus whose sessions end at the first message would
//! replay as well, and find nothing.
#![cfg(test)]

use p2psp_core::{PeerStats, SplitterStats};
use std::{fs, path::Path};

fn script(target: &str, name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target).join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn peer(name: &str) -> PeerStats {
    p2psp_fuzz::core::peer_session(&script("peer_inputs", name))
}

fn splitter(name: &str) -> SplitterStats {
    p2psp_fuzz::core::splitter_session(&script("splitter_inputs", name))
}

#[test]
fn generations_are_believed_relayed_and_played() {
    for name in ["generations-one-after-the-other", "generations-through-a-narrow-uplink"] {
        let stats = peer(name);
        assert_eq!((stats.manifests_received, stats.parity_received), (6, 18), "{name}");
        assert_eq!((stats.chunks_played, stats.chunks_lost), (48, 0), "{name}");
        assert_eq!(stats.chunks_from_splitter, 12, "{name}");
        assert!(stats.chunks_relayed > 0, "{name}");
    }
    let stats = peer("halves-one-after-the-other");
    assert_eq!((stats.manifests_received, stats.parity_received), (12, 18));
    assert_eq!((stats.chunks_played, stats.chunks_lost), (48, 0));
    let stats = peer("a-last-half-before-the-first");
    assert_eq!((stats.manifests_received, stats.chunks_played, stats.chunks_lost), (4, 16, 0));
    assert_eq!(peer("a-manifest-before-its-chunks").chunks_played, 8);
    assert_eq!(peer("a-generation-of-one-chunk").chunks_played, 2);
}

#[test]
fn what_is_lost_is_rebuilt_or_pulled() {
    let stats = peer("a-lost-chunk-rebuilt-from-parity");
    assert_eq!((stats.chunks_rebuilt, stats.chunks_played, stats.chunks_lost), (1, 16, 0));
    let stats = peer("an-own-chunk-that-never-came-healed");
    assert_eq!((stats.chunks_rebuilt, stats.chunks_healed, stats.chunks_lost), (1, 1, 0));
    assert_eq!(peer("parity-that-comes-after-the-wait").chunks_rebuilt, 2);
    let stats = peer("losses-beyond-parity-pulled");
    assert_eq!((stats.chunks_pulled + stats.chunks_rebuilt, stats.chunks_lost), (4, 0));
    assert!(stats.chunks_pulled > 0 && stats.chunks_asked > 0);
    let stats = peer("a-lost-manifest-pulled");
    assert_eq!((stats.manifests_received, stats.chunks_played), (1, 8));
    let stats = peer("manifests-and-chunks-pulled-by-a-teammate");
    assert!(stats.chunks_served > 0);
}

#[test]
fn what_is_false_costs_a_link_and_is_not_played() {
    for name in [
        "a-false-chunk-costs-its-link",
        "a-false-chunk-after-its-manifest",
        "false-parity-costs-its-link",
        "a-manifest-with-a-changed-signature",
        "a-manifest-with-a-changed-hash",
        "a-manifest-of-another-epoch",
        "a-false-manifest-from-the-splitter",
    ] {
        let stats = peer(name);
        assert_eq!((stats.chunks_false, stats.violations), (1, 1), "{name}");
    }
    assert_eq!(peer("a-false-chunk-costs-its-link").chunks_lost, 0, "the true one is rebuilt");
    assert!(peer("loose-parity-and-manifests").chunks_false > 0);
    assert!(peer("more-parity-than-may-wait").chunks_unexpected > 0, "the room is bounded");
}

#[test]
fn only_who_may_take_an_unsigned_stream_does() {
    assert_eq!(peer("an-unsigned-stream-allowed").chunks_played, 8);
    for name in ["an-unsigned-stream-refused", "an-integrity-of-a-newer-revision-refused"] {
        assert_eq!(peer(name), PeerStats::default(), "{name}: no seat is taken");
    }
}

#[test]
fn a_splitter_sends_what_its_protection_asks_for() {
    for (name, parity_of_each) in [
        ("a-session-with-no-parity", 0),
        ("a-session-with-one-parity-chunk", 1),
        ("a-session-with-sixteen-parity-chunks", 16),
    ] {
        let stats = splitter(name);
        assert!(stats.manifests_sent >= 7, "{name}: {}", stats.manifests_sent);
        assert_eq!(stats.parity_sent, stats.manifests_sent * parity_of_each, "{name}");
    }
    let bare = splitter("a-session-with-no-protection");
    assert_eq!((bare.manifests_sent, bare.parity_sent, bare.chunks_sent), (0, 0, 60));
    assert_eq!(splitter("the-end-closes-a-generation").manifests_sent, 2);
    assert!(splitter("manifests-pulled").chunks_served > 0);
}

#[test]
fn members_reports_and_complaints_are_heard() {
    let stats = splitter("complaints-that-expel");
    assert_eq!((stats.expulsions, stats.members), (1, 5));
    let stats = splitter("complaints-that-nobody-shares");
    assert_eq!((stats.expulsions, stats.members), (0, 6));
    assert!(stats.complaints > 0);
    assert_eq!(splitter("a-complaint-about-oneself").violations, 1);
    let (calm, lossy) = (splitter("manifests-pulled"), splitter("losses-raise-the-parity"));
    assert!(lossy.parity_sent * calm.manifests_sent > calm.parity_sent * lossy.manifests_sent);
}
