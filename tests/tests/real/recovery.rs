//! What viewers see while packets are lost and members die or freeze: real processes in a network of their own, judged by the bytes
//! that players were given. The simulator has many more such cases (`p2psp-sim list`); these show that it does not deceive itself.

use nix::sys::signal::Signal;
use p2psp_tests::{
    network::Network,
    player::Player,
    team::{Peer, Team},
    ts::Recipe,
    viewer::{Original, Seen},
};
use serde_json::Value;
use std::{
    path::PathBuf,
    sync::OnceLock,
    time::{Duration, Instant},
};

const RATE_BITS_PER_S: u64 = 5_000_000;
const STREAM: Duration = Duration::from_secs(32);
const PATIENCE: Duration = Duration::from_secs(30);
/// Two seconds of the stream: play has begun everywhere.
const UNDER_WAY_BYTES: usize = 1_250_000;
/// Longest time for a dead member to leave the roster.
const NOTICED: Duration = Duration::from_secs(1);

/// The stream as a file, and its bytes.
struct Stream {
    path: PathBuf,
    bytes: Vec<u8>,
}

fn stream() -> &'static Stream {
    static STREAM_MADE: OnceLock<Stream> = OnceLock::new();
    STREAM_MADE.get_or_init(|| {
        let millis = u64::try_from(STREAM.as_millis()).unwrap();
        let bytes = Recipe { seed: 81, millis, bits_per_s: RATE_BITS_PER_S, ..Recipe::default() }.make();
        let path = crate::tools::artefact("recovery.ts");
        std::fs::write(&path, &bytes).unwrap();
        Stream { path, bytes }
    })
}

/// A team that has begun to play the stream, and a player of each peer that was there before the stream was.
fn playing(peers: usize) -> (Team, Vec<Player>) {
    let team = Team::start(peers, &["--input", stream().path.to_str().unwrap()]);
    let players = team.play();
    (team, players)
}

/// What each player saw of the whole stream, which has ended for all of them.
fn seen(players: Vec<Player>) -> Vec<Seen> {
    let original = Original::new(&stream().bytes);
    players.into_iter().map(|player| original.judge(&player.finish())).collect()
}

/// Prints what became of each peer: what the viewer saw, and what the peer says it did for it.
fn print(title: &str, seen: &[Seen], last: &[Value]) {
    eprintln!("{title}");
    eprintln!(
        "  peer  continuity  missing packets  rebuilt  healed  asked  pulled  lost chunks  from packet"
    );
    for (number, (seen, last)) in seen.iter().zip(last).enumerate() {
        eprintln!(
            "  {:4}  {:9.4}%  {:15}  {:7}  {:6}  {:5}  {:6}  {:11}  {:11}",
            number + 1,
            seen.continuity() * 100.0,
            seen.missing,
            last["rebuilt_chunks_total"],
            last["healed_chunks_total"],
            last["asked_chunks_total"],
            last["pulled_chunks_total"],
            last["lost_chunks_total"],
            seen.first,
        );
    }
}

fn assert_continuity(seen: &[Seen], least: f64) {
    for (number, seen) in seen.iter().enumerate() {
        assert!(seen.continuity() >= least, "peer {}: {:.6}: {seen:?}", number + 1, seen.continuity());
    }
}

/// One in a hundred packets is lost on every link, in both directions, from the first handshake on: each of eight viewers sees at
/// least 99.99 % of the stream.
#[test]
fn one_per_cent_of_all_packets_lost() {
    Network::run(|network| {
        network.lose(10);
        let (mut team, players) = playing(8);
        let seen = seen(players);
        let counts = network.counts();
        team.ends();
        print(&format!("1 % loss, 8 peers: {counts:?}"), &seen, &team.last());
        let share = counts.lost as f64 / counts.arrived as f64;
        assert!(counts.arrived > 100_000 && (0.009..0.011).contains(&share), "{counts:?}");
        assert_continuity(&seen, 0.9999);
    });
}

/// Three of sixteen are killed at once, and nobody is told: the splitter has put all of them out within a second, and no survivor's
/// viewer misses anything.
#[test]
fn three_of_sixteen_killed_at_once() {
    Network::run(|_| {
        let (mut team, mut players) = playing(16);
        players[0].wait_bytes(UNDER_WAY_BYTES, PATIENCE);
        team.wait_complete();
        let mut dead: Vec<Peer> = team.peers.split_off(13);
        players.truncate(13);
        let killed = Instant::now();
        dead.iter().for_each(|peer| peer.process.signal(Signal::SIGKILL));
        let noticed = departed(&team, 3).duration_since(killed);
        dead.iter_mut().for_each(|peer| peer.process.kill());
        let seen = seen(players);
        team.ends();
        print(&format!("3 of 16 killed: out of the roster after {noticed:?}"), &seen, &team.last());
        assert_continuity(&seen, 1.0);
        assert!(noticed <= NOTICED, "out of the roster after {noticed:?}");
    });
}

/// A peer that freezes for three seconds costs the others nothing, and plays on afterwards.
#[test]
fn a_peer_that_freezes_for_three_seconds() {
    Network::run(|_| {
        let (mut team, mut players) = playing(8);
        players[0].wait_bytes(UNDER_WAY_BYTES, PATIENCE);
        team.wait_complete();
        let frozen = team.peers.pop().unwrap();
        let its_player = players.pop().unwrap();
        frozen.process.signal(Signal::SIGSTOP);
        let stopped = Instant::now();
        // As long as the others take to be given three seconds of the stream.
        let until = players[0].len() + usize::try_from(3 * RATE_BITS_PER_S / 8).unwrap();
        players[0].wait_bytes(until, PATIENCE);
        let span = stopped.elapsed();
        frozen.process.signal(Signal::SIGCONT);
        its_player.wait_bytes(its_player.len() + UNDER_WAY_BYTES, PATIENCE);
        let back = stopped.elapsed() - span;
        frozen.wait_linked(team.peers.len());
        let its_output = its_player.stop();
        let seen = seen(players);
        team.ends();
        print(
            &format!("1 of 8 frozen for {span:?}, two seconds of play after {back:?} more"),
            &seen,
            &team.last(),
        );
        let whole = its_output.len() / 188 * 188;
        let its = Original::new(&stream().bytes).judge(&its_output[..whole]);
        eprintln!("  the frozen one: {its:?}");
        assert_continuity(&seen, 1.0);
    });
}

/// When the splitter told the last of `count` departures that nobody said goodbye for.
fn departed(team: &Team, count: usize) -> Instant {
    team.splitter.process.wait("departures", PATIENCE, |said| {
        let told = said
            .log
            .iter()
            .filter(|line| line.contains("gone without goodbye") || line.contains("was put out"))
            .count();
        (told >= count).then(Instant::now)
    })
}
