//! What operators are told, while it happens: who comes and who dies within a second, and the same figures from every side while packets
//! are lost.

use nix::sys::signal::Signal;
use p2psp_tests::{
    cli, http,
    network::Network,
    process::Process,
    team::{Peer, Splitter},
    ts::Recipe,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// Longest time until a watcher is told of a join or a death.
const TOLD: Duration = Duration::from_secs(1);
const PEERS: usize = 4;
const STREAM: Duration = Duration::from_secs(24);
const LOST_PER_MILLE: u32 = 150;
const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

fn admin(process: &Process) -> String {
    process.ready()["admin"][0].as_str().expect("an admin address").to_owned()
}

/// `p2psp ctl get peers -w`, the snapshot read.
fn watch(splitter: &Splitter) -> Process {
    let at = admin(&splitter.process);
    let watch = cli::start("watcher", &["ctl", "--admin", &at, "get", "peers", "-w", "-o", "json"]);
    watch.wait_stats("snapshot", PATIENCE, |line| line["event"] == "snapshot");
    watch
}

/// How long it takes until a watcher is told of each peer's join, from the start of its process, and of the death of the last one.
fn told(size: usize) -> (Vec<Duration>, Duration) {
    let splitter = Splitter::start(&["--input", "testcard", ADMIN[0], ADMIN[1]]);
    let watch = watch(&splitter);
    let mut joins = Vec::new();
    let mut peers: Vec<Peer> = Vec::new();
    for number in 0..size {
        let started = Instant::now();
        let peer = Peer::start::<&str>(&format!("peer {number}"), &splitter.link, &[]);
        let id = peer.process.ready()["peer"].clone();
        watch.wait_stats("a ready member", PATIENCE, |line| {
            line["event"] == "changed" && line["peer"]["peer"] == id && line["peer"]["state"] == "ready"
        });
        joins.push(started.elapsed());
        peers.push(peer);
    }
    // Everybody plays: nobody is in the midst of joining.
    peers.iter().for_each(|peer| peer.wait_played(50_000, PATIENCE));
    let last = peers.last().expect("some");
    let id = last.process.ready()["peer"].clone();
    let killed = Instant::now();
    last.process.signal(Signal::SIGKILL);
    watch.wait_stats("a departure", PATIENCE, |line| {
        line["event"] == "departed" && line["peer"]["peer"] == id
    });
    (joins, killed.elapsed())
}

/// R-CRASH-5, for a lone member too: nobody else could miss it.
#[test]
fn joins_and_deaths_are_told_within_a_second() {
    for size in [1, 2, 4] {
        let (joins, death) = told(size);
        eprintln!("team of {size}: joins told after {joins:?}, the death after {death:?}");
        assert!(joins.iter().all(|join| *join <= TOLD), "team of {size}: joins after {joins:?}");
        assert!(death <= TOLD, "team of {size}: the death after {death:?}");
    }
}

/// What one process says of itself at one moment, by `p2psp ctl`, at `/metrics`, and in its statistics (a peer's `/stats`).
struct Sides {
    api: Value,
    metrics: BTreeMap<String, f64>,
    stats: Value,
}

impl Sides {
    /// Asks all of them within one of the moments that figures are renewed at, once a second.
    fn of(admin: &str, what: &str, stats: impl Fn() -> Value) -> Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = stats();
            let metrics = http::get(admin.parse().unwrap(), "/metrics").unwrap().text().unwrap();
            let ctl = cli::command(&["ctl", "--admin", admin, "get", what, "-o", "json"]).output().unwrap();
            assert!(ctl.status.success(), "{}", String::from_utf8_lossy(&ctl.stderr));
            let api = serde_json::from_slice::<Value>(&ctl.stdout).unwrap()[what]["figures"].clone();
            let uptimes = [&before["uptime_ms"], &api["uptime_ms"]];
            if uptimes.iter().all(|uptime| **uptime == stats()["uptime_ms"]) {
                let metrics = metrics.lines().filter(|line| !line.starts_with('#'));
                let sample = |line: &str| {
                    let (name, value) = line.rsplit_once(' ').expect("name and value");
                    (name.to_owned(), value.parse().expect("a number"))
                };
                return Self { api, metrics: metrics.map(sample).collect(), stats: before };
            }
            assert!(Instant::now() < deadline, "{admin}: never of one moment");
        }
    }

    /// A figure that all sides show alike; the metrics may show it in parts.
    #[track_caller]
    fn agreed(&self, key: &str, series: &[&str]) -> u64 {
        let metrics = series.iter().map(|name| self.metrics.get(*name).unwrap_or_else(|| panic!("{name}")));
        self.compared(key, metrics.sum())
    }

    /// The same for a length of time, which metrics have in seconds.
    #[track_caller]
    fn agreed_millis(&self, key: &str, series: &str) -> u64 {
        self.compared(key, (self.metrics[series] * 1e3).round())
    }

    #[track_caller]
    fn compared(&self, key: &str, metrics: f64) -> u64 {
        let [api, stats] =
            [&self.api, &self.stats].map(|side| side[key].as_u64().unwrap_or_else(|| panic!("{key}")));
        assert_eq!((api, metrics), (stats, stats as f64), "{key}: admin API, metrics, statistics");
        stats
    }
}

/// The figures that are compared between processes.
#[derive(Debug)]
struct Team {
    peers: u64,
    chunks: u64,
    lost: u64,
    missing: u64,
}

fn splitter_sides(splitter: &Splitter) -> Team {
    let stats = || splitter.process.wait_stats("any", PATIENCE, |_| true);
    let sides = Sides::of(&admin(&splitter.process), "team", stats);
    let team = Team {
        peers: sides.agreed("team_peers", &["p2psp_splitter_team_peers"]),
        chunks: sides.agreed("chunks_total", &["p2psp_splitter_chunks_total"]),
        lost: sides.agreed("reported_lost_chunks_total", &["p2psp_splitter_reported_lost_chunks_total"]),
        missing: sides
            .agreed("reported_missing_chunks_total", &["p2psp_splitter_reported_missing_chunks_total"]),
    };
    sides.agreed("team_ready", &["p2psp_splitter_team_ready_peers"]);
    sides.agreed("sent_chunks_total", &["p2psp_splitter_sent_chunks_total"]);
    sides.agreed("crashes_total", &["p2psp_splitter_departures_total{reason=\"crash\"}"]);
    let refusals = ["banned", "closing", "no_uplink", "revision", "team_full", "wrong_channel"]
        .map(|reason| format!("p2psp_splitter_refusals_total{{reason=\"{reason}\"}}"));
    sides.agreed("refusals_total", &refusals.each_ref().map(String::as_str));
    team
}

fn peer_sides(peer: &Peer) -> Team {
    let sides = Sides::of(&admin(&peer.process), "status", || peer.stats());
    let received = ["splitter", "teammate", "pull"]
        .map(|from| format!("p2psp_peer_received_chunks_total{{from=\"{from}\"}}"));
    sides.agreed("received_chunks_total", &received.each_ref().map(String::as_str));
    sides.agreed("rebuilt_chunks_total", &["p2psp_peer_rebuilt_chunks_total"]);
    sides.agreed("asked_chunks_total", &["p2psp_peer_asked_chunks_total"]);
    let lost = sides.agreed("lost_chunks_total", &["p2psp_peer_lost_chunks_total"]);
    let played = sides.stats["played_chunks_total"].as_u64().unwrap();
    assert_eq!(sides.metrics["p2psp_peer_expected_chunks_total"], (played + lost) as f64);
    sides.agreed("due_chunks_total", &["p2psp_peer_due_chunks_total"]);
    sides.agreed("stalls_total", &["p2psp_peer_stalls_total"]);
    sides.agreed_millis("stalled_ms_total", "p2psp_peer_stalled_seconds_total");
    Team {
        peers: sides.agreed("team_peers", &["p2psp_peer_team_peers"]),
        chunks: played + lost,
        lost,
        missing: sides.agreed("missing_chunks_total", &["p2psp_peer_missing_chunks_total"]),
    }
}

/// A machine that stands still while the stream goes on: its viewers see that, and every side tells how often and for how long.
#[test]
fn what_viewers_wait_for_is_told() {
    const STILL_MS: u64 = 2_000;
    let splitter = Splitter::start(&["--input", "testcard", ADMIN[0], ADMIN[1]]);
    let peer = Peer::start("peer", &splitter.link, &ADMIN);
    peer.wait_played(50_000, PATIENCE);
    let uptime = |stats: &Value| stats["uptime_ms"].as_u64().unwrap();
    let stalled = |stats: &Value| stats["stalled_ms_total"].as_u64().unwrap();
    let (before, began) = (peer.stats(), uptime(&splitter.process.wait_stats("any", PATIENCE, |_| true)));
    peer.process.signal(Signal::SIGSTOP);
    // Its figures are a second old at most when they come.
    let is_over = |stats: &Value| uptime(stats) >= began + STILL_MS + 1_000;
    splitter.process.wait_stats("time that has passed", PATIENCE, is_over);
    peer.process.signal(Signal::SIGCONT);
    peer.wait_stats("a stall", |stats| stalled(stats) >= stalled(&before) + STILL_MS);
    let sides = Sides::of(&admin(&peer.process), "status", || peer.stats());
    assert!(
        sides.agreed("stalls_total", &["p2psp_peer_stalls_total"]) > before["stalls_total"].as_u64().unwrap()
    );
    sides.agreed_millis("stalled_ms_total", "p2psp_peer_stalled_seconds_total");
}

/// A stream with losses that repair cannot make good, looked at twice while it runs and once when all of it is over.
#[test]
fn every_side_tells_the_same() {
    Network::run(|network| {
        let millis = u64::try_from(STREAM.as_millis()).unwrap();
        let bytes = Recipe { seed: 47, millis, bits_per_s: 2_000_000, ..Recipe::default() }.make();
        let path = crate::tools::artefact("operators.ts");
        std::fs::write(&path, &bytes).unwrap();
        let wait = PEERS.to_string();
        let input =
            ["--input", path.to_str().unwrap(), "--on-end", "wait", "--wait-peers", &wait, "--parity", "0"];
        let splitter = Splitter::start(&[&input[..], &ADMIN].concat());
        // Too short a delay for repeated questions: some of what is lost stays lost.
        let peers: Vec<Peer> = (0..PEERS)
            .map(|n| {
                Peer::start(&format!("peer {n}"), &splitter.link, &[ADMIN[0], ADMIN[1], "--delay", "250ms"])
            })
            .collect();
        splitter.wait_ready(PEERS);
        network.lose(LOST_PER_MILLE);
        peers.iter().for_each(|peer| peer.wait_played(200_000, PATIENCE));

        let look = || {
            let peers: Vec<Team> = peers.iter().map(peer_sides).collect();
            (Instant::now(), peers, splitter_sides(&splitter))
        };
        let (began, peers_before, before) = look();
        peers[0].wait_played(3_000_000, PATIENCE);
        let (ended, peers_after, after) = look();
        let chunks = after.chunks - before.chunks;
        let a_second = chunks as f64 / ended.duration_since(began).as_secs_f64();
        assert!(chunks > 1_000, "{chunks} chunks in {:?}", ended - began);
        for (before, after) in peers_before.iter().zip(&peers_after) {
            assert_eq!((before.peers, after.peers), (4, 4));
            // The looks at two processes, and the moments that their figures are of, are up to two seconds apart.
            let off = (after.chunks - before.chunks).abs_diff(chunks) as f64;
            assert!(off <= 3.0 * a_second, "{off} of {chunks} chunks, {a_second:.0} a second");
        }
        assert_eq!((before.peers, after.peers), (4, 4));

        // All of it, once it is over: exactly. What is reported goes out once a second, and is repeated where it is lost.
        let deadline = Instant::now() + PATIENCE;
        let (last, team) = loop {
            splitter
                .process
                .wait_stats("the end of the source", PATIENCE, |stats| stats["ingest"]["state"] == "ended");
            let (_, last, team) = look();
            let total = |of: fn(&Team) -> u64| last.iter().map(of).sum::<u64>();
            let is_over = last.iter().all(|peer| peer.chunks == team.chunks);
            if is_over && (total(|peer| peer.lost), total(|peer| peer.missing)) == (team.lost, team.missing) {
                break (last, team);
            }
            assert!(Instant::now() < deadline, "they do not agree: {team:?}, {last:?}");
        };
        eprintln!("the splitter: {team:?}; the peers: {last:?}; the network: {:?}", network.counts());
        assert!(team.missing > team.chunks / 20, "losses before repair: {team:?}");
        assert!(team.lost > 0, "losses after repair: {team:?}");
    });
}
