//! Leaving: politely, by a crash, at once, and when everyone else is gone. What one member does costs the others no more than
//! theory allows: nothing for a goodbye, its share of the stream until it is noticed for a crash.

use crate::doors::TempFile;
use nix::sys::signal::Signal;
use p2psp_tests::{
    bytes::{assert_to_the_end, place},
    process::LEAVE,
    team::{Peer, Splitter, Team},
    ts::{PACKET_BYTES, Recipe},
};
use std::time::{Duration, Instant};

const PEERS: usize = 8;
const HEADER_BYTES: usize = 2 * PACKET_BYTES;
const PATIENCE: Duration = Duration::from_secs(20);
const NONE: [&str; 0] = [];
/// A dead link is noticed after three seconds of silence; processes of a busy machine may take one more.
const NOTICED: Duration = Duration::from_secs(4);

/// Two of eight leave in the middle: they exit with 0, and nobody else misses a byte.
#[test]
fn a_goodbye_costs_the_others_nothing() {
    let source = Recipe { seed: 41, millis: 7_000, ..Recipe::default() }.make();
    let file = TempFile::new("goodbye.ts", &source);
    let mut team = Team::start(PEERS, &["--input", file.path()]);
    let mut players = team.play();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        players[0].wait_bytes(source.len() / 4, PATIENCE);
        let mut leaver = team.peers.pop().unwrap();
        let player = players.pop().unwrap();
        leaver.process.signal(signal);
        leaver.process.exits_with(0, LEAVE);
        // Its player gets what the peer had, properly ended.
        assert_eq!(place(&source, &player.finish()).played.start, 0);
    }
    let left =
        team.splitter.process.wait_stats("two goodbyes", PATIENCE, |stats| stats["goodbyes_total"] == 2);
    assert_eq!(left["crashes_total"], 0, "{left:#}");
    for player in players {
        assert_eq!(assert_to_the_end(&source, &player.finish(), HEADER_BYTES).played.start, 0);
    }
    team.ends();
    team.last().iter().for_each(|last| assert_eq!(last["lost_chunks_total"], 0, "{last:#}"));
}

/// One of eight is killed: each survivor misses at most its eighth of the stream until it is noticed, and nothing after.
#[test]
fn a_crash_costs_its_share_until_it_is_noticed() {
    let mut team = Team::start(PEERS, &["--input", "testcard", "--rate", "1M"]);
    let players = team.play();
    team.wait_complete();
    players[0].wait_bytes(200_000, PATIENCE);
    let before = team
        .splitter
        .process
        .wait_stats("chunks", PATIENCE, |stats| stats["chunks_total"].as_u64() > Some(200));
    let chunks_per_s =
        before["chunks_total"].as_f64().unwrap() / before["uptime_ms"].as_f64().unwrap() * 1_000.0;

    let mut dead = team.peers.pop().unwrap();
    dead.process.kill();
    let killed = Instant::now();
    team.splitter.process.wait_log("gone without goodbye", PATIENCE);
    let noticed = killed.elapsed();
    assert!(noticed < NOTICED, "noticed after {noticed:?}");
    let left = team.splitter.process.wait_stats("a crash", PATIENCE, |stats| stats["crashes_total"] == 1);
    assert_eq!(left["team_peers"], PEERS - 1, "{left:#}");
    // What was under way when it was noticed has been played, or not, after the play-out delay of half a second.
    let played = |peer: &Peer| peer.stats()["played_bytes_total"].as_u64().unwrap();
    team.peers.iter().for_each(|peer| peer.wait_played(played(peer) + 150_000, PATIENCE));
    let lost = |team: &Team| -> Vec<u64> {
        team.peers.iter().map(|peer| peer.stats()["lost_chunks_total"].as_u64().unwrap()).collect()
    };
    let losses = lost(&team);
    let share = chunks_per_s / 8.0 * NOTICED.as_secs_f64();
    assert!(
        losses.iter().all(|lost| (*lost as f64) <= share),
        "{losses:?} chunks were lost, at most {share} expected"
    );

    team.peers.iter().for_each(|peer| peer.wait_played(played(peer) + 300_000, PATIENCE));
    assert_eq!(lost(&team), losses, "the dead peer still costs");
    eprintln!(
        "crash: noticed after {noticed:?}, chunks lost {losses:?} of {chunks_per_s:.0}/s, at most {share:.0} expected"
    );
}

/// A goodbye that cannot be said, because the other side does not answer, ends with the grace time; a second signal ends it
/// at once, with the code of that signal.
#[test]
fn a_second_signal_ends_at_once() {
    let splitter = Splitter::start(&["--input", "testcard", "--grace", "60s"]);
    let peer = Peer::start("peer", &splitter.link, &["--grace", "60s"]);
    peer.wait_played(1, PATIENCE);
    let mut team = Team { peers: vec![peer], splitter };
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let (leaver, other) = if code == 143 {
            (&mut team.peers[0].process, &team.splitter.process)
        } else {
            (&mut team.splitter.process, &team.peers[0].process)
        };
        // Stopped: it neither answers nor goes away.
        other.signal(Signal::SIGSTOP);
        leaver.terminate();
        leaver.wait_log("a second signal ends at once", PATIENCE);
        assert!(leaver.is_running());
        let asked = Instant::now();
        leaver.signal(signal);
        leaver.exits_with(code, LEAVE);
        assert!(asked.elapsed() < Duration::from_secs(2), "ended after {:?}", asked.elapsed());
        other.signal(Signal::SIGCONT);
        if code == 143 {
            let fresh = Peer::start("fresh peer", &team.splitter.link, &NONE);
            fresh.wait_played(1, PATIENCE);
            team.peers[0] = fresh;
        }
    }
}

/// A splitter that dies takes nobody along: its peers wait, and go on when it is back.
#[test]
fn a_splitter_that_comes_back() {
    let key = TempFile::new("channel.key", b"");
    std::fs::remove_file(&key.0).unwrap();
    let runs = TempFile(key.0.with_extension("key.epoch"));
    let mut splitter = Splitter::start(&["--input", "testcard", "--key", key.path()]);
    let peers: Vec<Peer> =
        (1..=3).map(|n| Peer::start(&format!("peer {n}"), &splitter.link, &NONE)).collect();
    peers.iter().for_each(|peer| peer.wait_played(50_000, PATIENCE));
    let player = peers[0].play();
    player.wait_bytes(20_000, PATIENCE);
    splitter.process.kill();
    let warned = peers[0].process.wait_log("cannot reach the splitter", PATIENCE);
    assert!(warned.contains("trying again"), "{warned}");

    // What a clock that was set back looks like: the last run's number is far ahead of it.
    std::fs::write(&runs.0, "4000000000\n").unwrap();
    let listen = splitter.listen.to_string();
    let again = Splitter::start(&["--listen", &listen, "--input", "testcard", "--key", key.path()]);
    assert_eq!(again.link, splitter.link, "the key file keeps the link");
    assert_eq!(again.process.ready()["epoch"], 4_000_000_001_u32, "runs are counted up");
    for peer in &peers {
        let stats = peer.process.wait_stats("a new run", PATIENCE, |stats| {
            stats["state"] == "member" && stats["splitter_losses_total"].as_u64() > Some(0)
        });
        peer.wait_played(stats["played_bytes_total"].as_u64().unwrap() + 50_000, PATIENCE);
    }
    // A transport stream goes on for the same player.
    let before = player.len();
    player.wait_bytes(before + 50_000, PATIENCE);
}

/// Told not to wait, a peer says so and ends.
#[test]
fn a_peer_that_does_not_wait_for_its_splitter() {
    let mut splitter = Splitter::start(&["--input", "testcard"]);
    let mut peer = Peer::start("peer", &splitter.link, &["--rejoin=false"]);
    peer.wait_played(1, PATIENCE);
    splitter.process.kill();
    peer.process.exits_with(3, LEAVE);
    assert!(peer.process.log().contains("--rejoin=false"), "{}", peer.process.log());
}

/// Children whose parent is gone leave by themselves.
#[test]
fn the_end_of_standard_input_is_a_goodbye() {
    let mut splitter = Splitter::start(&["--input", "testcard"]);
    let mut peer = Peer::start("peer", &splitter.link, &NONE);
    peer.wait_played(1, PATIENCE);
    drop(peer.process.stdin.take());
    peer.process.exits_with(0, LEAVE);
    let left = splitter.process.wait_stats("a goodbye", PATIENCE, |stats| stats["team_peers"] == 0);
    assert_eq!((&left["goodbyes_total"], &left["crashes_total"]), (&1.into(), &0.into()), "{left:#}");
    drop(splitter.process.stdin.take());
    splitter.process.exits_with(0, LEAVE);
}
