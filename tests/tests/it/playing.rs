//! Joining, playing and coming late: the test card through a team, several players at one peer, and a peer and players that
//! come in the middle.

use crate::doors::TempFile;
use p2psp_tests::{
    bytes::{assert_same, assert_to_the_end, place},
    http,
    team::{Peer, Splitter, Team},
    ts::{PACKET_BYTES, Recipe},
};
use p2psp_wire::limits::DATAGRAM_BYTES_MAX;
use std::time::Duration;

const HEADER_BYTES: usize = 2 * PACKET_BYTES;
const PATIENCE: Duration = Duration::from_secs(20);
const NONE: [&str; 0] = [];

/// Nobody loses anything, everyone plays the same picture, and the splitter sends about one copy of it.
#[test]
fn eight_peers_play_the_test_card() {
    let mut team = Team::start(8, &["--input", "testcard"]);
    let players = team.play();
    players.iter().for_each(|player| {
        player.wait_bytes(300_000, PATIENCE);
    });
    team.wait_complete();
    team.splitter.process.terminate();
    let outputs: Vec<Vec<u8>> = players.into_iter().map(|player| player.finish()).collect();
    for output in &outputs {
        assert_same(output, &outputs[0]);
    }
    team.ends();
    for last in team.last() {
        assert_eq!(last["lost_chunks_total"], 0, "{last:#}");
        // A second way would bring each chunk twice. On a busy machine some that were rebuilt, or pulled at the start, come by themselves
        // too.
        let count = |key: &str| last[key].as_u64().unwrap();
        assert!(count("duplicate_chunks_total") <= count("received_chunks_total") / 4, "{last:#}");
    }
    let splitter = team.splitter.process.last();
    let number = |key: &str| splitter[key].as_f64().unwrap();
    // A generation of this slow stream has about ten chunks, and four more of parity: what repair costs is not what is meant here.
    let repair = (number("parity_chunks_total") + number("manifests_total")) * DATAGRAM_BYTES_MAX as f64;
    let copies = (number("sent_bytes_total") - repair) / number("bytes_total");
    assert!(copies <= 1.12, "the splitter sent {copies} copies of the stream");
    let relayed: f64 = team.last().iter().map(|last| last["sent_chunks_total"].as_f64().unwrap()).sum();
    let received: f64 = team.last().iter().map(|last| last["received_chunks_total"].as_f64().unwrap()).sum();
    // Seven of eight copies come from teammates (theory: n - 1 of n).
    assert!((relayed / received - 7.0 / 8.0).abs() < 0.05, "{relayed} of {received} chunks were relayed");
}

/// Several players of one peer get the same bytes, whenever they come; nobody's coming or going disturbs another.
#[test]
fn several_players_at_one_peer() {
    let source = Recipe { seed: 31, millis: 8_000, ..Recipe::default() }.make();
    let file = TempFile::new("players.ts", &source);
    let mut team = Team::start(2, &["--input", file.path()]);
    let peer = &team.peers[0];
    let first = peer.play();
    first.wait_bytes(200_000, PATIENCE);
    let (second, passing) = (peer.play(), peer.play());
    passing.wait_bytes(50_000, PATIENCE);
    let gone = passing.stop();
    second.wait_bytes(100_000, PATIENCE);
    let third = peer.play();
    let counted = peer.stats();
    assert_eq!(counted["playout"]["content_type"], "video/mp2t", "{counted:#}");

    assert_eq!(assert_to_the_end(&source, &first.finish(), HEADER_BYTES).played.start, 0);
    let places = [second, third].map(|player| assert_to_the_end(&source, &player.finish(), HEADER_BYTES));
    assert!(places[0].played.start > 0 && places[0].played.start < places[1].played.start, "{places:?}");
    assert!(places.iter().all(|place| starts_at_a_keyframe(&source, place.played.start)), "{places:?}");
    // Whoever hung up had the source's bytes, too, up to then.
    let whole = gone.len() / PACKET_BYTES * PACKET_BYTES;
    assert!(starts_at_a_keyframe(&source, place(&source, &gone[..whole]).played.start));
    team.ends();
}

/// A peer that joins in the middle plays from a keyframe on, and its coming costs the others nothing.
#[test]
fn a_peer_that_joins_late() {
    let source = Recipe { seed: 32, millis: 9_000, ..Recipe::default() }.make();
    let file = TempFile::new("late.ts", &source);
    let mut team = Team::start(3, &["--input", file.path()]);
    let early = team.play();
    early[0].wait_bytes(250_000, PATIENCE);
    let late = Peer::start("late peer", &team.splitter.link, &NONE);
    let player = late.play();
    player.wait_bytes(1, PATIENCE);
    late.wait_linked(3);
    team.peers.push(late);

    let place = assert_to_the_end(&source, &player.finish(), HEADER_BYTES);
    assert!(place.played.start > 0 && starts_at_a_keyframe(&source, place.played.start), "{place:?}");
    for player in early {
        assert_eq!(assert_to_the_end(&source, &player.finish(), HEADER_BYTES).played.start, 0);
    }
    team.ends();
    team.last().iter().for_each(|last| assert_eq!(last["lost_chunks_total"], 0, "{last:#}"));
}

/// A splitter without peers goes on; the first to come watches.
#[test]
fn the_first_peer_comes_late() {
    let splitter = Splitter::start(&["--input", "testcard"]);
    splitter.process.wait_stats("chunks without a taker", PATIENCE, |stats| {
        stats["unsent_chunks_total"].as_u64() > Some(0)
    });
    let peer = Peer::start("peer", &splitter.link, &NONE);
    let player = peer.play();
    player.wait_bytes(100_000, PATIENCE);
    assert_eq!(player.content_type(), "video/mp2t");
    assert_eq!(player.stop()[0], 0x47);
}

/// What a player page needs is there, and asks nothing of any other host.
#[test]
fn the_player_page_and_the_playlist() {
    let team = Team::start(1, &["--input", "testcard"]);
    let peer = &team.peers[0];
    peer.wait_played(1, PATIENCE);
    let page = http::get(peer.player, "/").unwrap();
    assert_eq!(page.status, 200);
    assert!(page.field("content-security-policy").unwrap().contains("default-src 'self'"));
    let page = page.text().unwrap();
    assert!(page.contains("<video") && !page.contains("https://"), "{page}");
    let playlist = http::get(peer.player, "/live.m3u").unwrap();
    assert_eq!(playlist.field("content-type"), Some("audio/x-mpegurl; charset=utf-8"));
    assert!(playlist.text().unwrap().contains(&format!("http://{}/live", peer.player)));
    let live = http::get(peer.player, "/live.ts").unwrap();
    assert_eq!((live.status, live.field("content-type")), (200, Some("video/mp2t")));
    assert_eq!(live.field("cache-control"), Some("no-store"));
}

/// A keyframe's packet has random_access_indicator; its tables may stand before it.
fn starts_at_a_keyframe(source: &[u8], at: usize) -> bool {
    at.is_multiple_of(PACKET_BYTES)
        && source[at..]
            .chunks(PACKET_BYTES)
            .take(3)
            .any(|packet| packet[3] & 0x20 != 0 && packet[5] & 0x40 != 0)
}
