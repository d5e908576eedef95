//! What viewers see while packets are lost and members die or freeze: real processes in a network of their own, judged by the bytes
//! that players were given. The simulator has many more such cases (`p2psp-sim list`); these show that it does not deceive itself.

use crate::polluter::{self, Told};
use nix::sys::signal::Signal;
use p2psp_core::LeftReason;
use p2psp_tests::{
    network::Network,
    player::Player,
    team::{Peer, Splitter, Team},
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
/// Some four seconds into the stream: everybody is heard by then (R-FAIR-3).
const POLLUTED_FROM: u64 = 2_400;
/// Longest time for a dead or hostile member to leave the roster.
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
    eprintln!("  peer  continuity  from packet  missing  rebuilt  healed  asked  pulled  lost chunks");
    for (number, (seen, last)) in seen.iter().zip(last).enumerate() {
        let [rebuilt, healed, asked, pulled, lost] = ["rebuilt", "healed", "asked", "pulled", "lost"]
            .map(|what| last[format!("{what}_chunks_total")].as_u64().unwrap());
        eprintln!(
            "  {:4}  {:8.4} %  {:11}  {:7}  {rebuilt:7}  {healed:6}  {asked:5}  {pulled:6}  {lost:11}",
            number + 1,
            seen.continuity() * 100.0,
            seen.first,
            seen.missing,
        );
    }
}

fn assert_continuity(seen: &[Seen], least: f64) {
    for (number, seen) in seen.iter().enumerate() {
        assert!(seen.continuity() >= least, "peer {}: {:.6}: {seen:?}", number + 1, seen.continuity());
    }
}

/// A share of all packets is lost on every link, in both directions, from the first handshake on. Each viewer sees at least that much
/// of the stream.
fn loss(peers: usize, per_mille: u32, least: f64) {
    Network::run(|network| {
        network.lose(per_mille);
        let (mut team, players) = playing(peers);
        let seen = seen(players);
        let counts = network.counts();
        team.ends();
        print(&format!("{per_mille} in 1000 lost, {peers} peers, {counts:?}"), &seen, &team.last());
        let share = counts.lost as f64 / counts.arrived as f64 * 1_000.0 / f64::from(per_mille);
        assert!(counts.arrived > 100_000 && (0.9..1.1).contains(&share), "{counts:?}");
        assert_continuity(&seen, least);
    });
}

#[test]
fn one_per_cent_lost_between_eight() {
    loss(8, 10, 0.9999);
}

#[test]
fn two_per_cent_lost_between_sixteen() {
    loss(16, 20, 0.9999);
}

#[test]
fn five_per_cent_lost_between_eight() {
    loss(8, 50, 0.999);
}

#[test]
fn ten_per_cent_lost_between_eight() {
    loss(8, 100, 0.99);
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

/// One of sixteen alters whatever it relays: it is out within a second, and nobody's viewer misses a packet or sees a false one.
#[test]
fn one_of_sixteen_pollutes() {
    Network::run(|_| {
        let stream = stream();
        let splitter = Splitter::start(&["--wait-peers", "16", "--input", stream.path.to_str().unwrap()]);
        let polluter = polluter::join(&splitter, POLLUTED_FROM);
        let mut team = Team::of(splitter, 15);
        let players = team.play();
        let next = || polluter.recv_timeout(PATIENCE).expect("a word from the polluter");
        let (Told::Begun(begun), Told::Left(reason, left)) = (next(), next()) else {
            panic!("it was put out before it had begun")
        };
        let noticed = left.duration_since(begun);
        let seen = seen(players);
        team.ends();
        let last = team.last();
        let victims = last.iter().filter(|last| last["false_chunks_total"].as_u64() >= Some(1)).count();
        print(&format!("1 of 16 pollutes: {reason:?} after {noticed:?}, {victims} victims"), &seen, &last);
        assert_continuity(&seen, 1.0);
        assert_eq!(reason, LeftReason::Expelled);
        assert!(noticed <= NOTICED, "out after {noticed:?}");
        assert!(
            victims > 5,
            "{victims} of 15 were sent a false chunk: more than a third must have complained"
        );
    });
}

/// A peer that freezes for three seconds costs the others nothing, and plays on afterwards, to the end.
#[test]
fn a_peer_that_freezes_for_three_seconds() {
    Network::run(|_| {
        let (mut team, players) = playing(16);
        players[0].wait_bytes(UNDER_WAY_BYTES, PATIENCE);
        team.wait_complete();
        let frozen = &team.peers[15];
        frozen.process.signal(Signal::SIGSTOP);
        let stopped = Instant::now();
        // As long as another viewer takes to be given three seconds of the stream.
        let until = players[0].len() + usize::try_from(3 * RATE_BITS_PER_S / 8).unwrap();
        players[0].wait_bytes(until, PATIENCE);
        let span = stopped.elapsed();
        frozen.process.signal(Signal::SIGCONT);
        let seen = seen(players);
        team.ends();
        print(&format!("the last of 16 frozen for {span:?}"), &seen, &team.last());
        assert_continuity(&seen[..15], 1.0);
        // What it missed while it was frozen is over; a second more is for finding its way back.
        let away = (span + Duration::from_secs(1)).as_secs_f64() / STREAM.as_secs_f64();
        assert!(seen[15].continuity() >= 1.0 - away, "{:?}", seen[15]);
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
