//! A splitter and its peers as real processes on the loopback, every port chosen by the system.

use crate::{
    cli,
    player::Player,
    process::{LEAVE, Process},
};
use serde_json::Value;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Everyone has a seat and links to all the others after milliseconds; two busy cores make it seconds.
pub const JOIN: Duration = Duration::from_secs(30);

/// What programs ask of the program.
const REPORT: [&str; 5] = ["--ready", "json", "--stats-every", "100ms", "--final-stats"];

/// A running splitter.
#[derive(Debug)]
pub struct Splitter {
    /// Its process.
    pub process: Process,
    /// The channel link.
    pub link: String,
    /// Its UDP address.
    pub listen: SocketAddr,
    /// Where its source is awaited, if it is.
    pub ingest: Option<SocketAddr>,
}

/// A running peer.
#[derive(Debug)]
pub struct Peer {
    /// Its process.
    pub process: Process,
    /// Its UDP address.
    pub listen: SocketAddr,
    /// Its player port.
    pub player: SocketAddr,
}

/// A splitter and its peers. Fields are dropped in order: peers first.
#[derive(Debug)]
pub struct Team {
    /// The peers.
    pub peers: Vec<Peer>,
    /// The splitter.
    pub splitter: Splitter,
}

impl Splitter {
    /// Starts a splitter with further arguments, `--input` among them.
    #[track_caller]
    #[must_use]
    pub fn start<A: AsRef<str>>(arguments: &[A]) -> Self {
        let mut all = vec!["splitter"];
        all.extend(REPORT);
        all.extend(arguments.iter().map(AsRef::as_ref));
        if !all.contains(&"--listen") {
            all.extend(["--listen", "127.0.0.1:0"]);
        }
        if !all.windows(2).any(|pair| pair == ["--input", "-"]) {
            all.push("--stop-on-eof");
        }
        let process = cli::start("splitter", &all);
        let ready = process.ready();
        Self {
            link: text(&ready, "link"),
            listen: address(&ready, "listen"),
            ingest: ready["ingest"].as_str().map(parse),
            process,
        }
    }

    /// Waits until `count` members get turns.
    #[track_caller]
    pub fn wait_ready(&self, count: usize) {
        self.process
            .wait_stats(&format!("{count} ready members"), JOIN, |stats| stats["team_ready"] == count);
    }

    /// Waits until `count` bytes of the source were taken in.
    #[track_caller]
    pub fn wait_taken(&self, count: usize, patience: Duration) {
        self.process.wait_stats(&format!("{count} bytes taken in"), patience, |stats| {
            // What the door has taken, and what of it the machine has: its last record, too.
            stats["ingest"]["bytes_total"] == count && stats["bytes_total"] == count
        });
    }
}

impl Peer {
    /// Starts a peer of the channel that `link` names, with further arguments.
    #[track_caller]
    #[must_use]
    pub fn start<A: AsRef<str>>(name: &str, link: &str, arguments: &[A]) -> Self {
        let mut all = vec!["peer", link, "--stop-on-eof"];
        all.extend(REPORT);
        all.extend(arguments.iter().map(AsRef::as_ref));
        for port in ["--listen", "--player"] {
            if !all.contains(&port) {
                all.extend([port, "127.0.0.1:0"]);
            }
        }
        let process = cli::start(name, &all);
        let ready = process.ready();
        let player = ready["player"].as_str().expect("a player page");
        let player = parse(player.trim_start_matches("http://").trim_end_matches('/'));
        Self { listen: address(&ready, "listen"), player, process }
    }

    /// Waits until it has links to `count` teammates.
    #[track_caller]
    pub fn wait_linked(&self, count: usize) {
        self.process.wait_stats(&format!("{count} linked teammates"), JOIN, |stats| {
            stats["teammates_linked"] == count
        });
    }

    /// Waits for statistics that satisfy `fits`.
    #[track_caller]
    pub fn wait_stats(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.process.wait_stats(what, JOIN, fits)
    }

    /// Waits until it has played so many bytes.
    #[track_caller]
    pub fn wait_played(&self, bytes: u64, patience: Duration) {
        self.process.wait_stats(&format!("{bytes} bytes played"), patience, |stats| {
            stats["played_bytes_total"].as_u64().is_some_and(|played| played >= bytes)
        });
    }

    /// A player of its stream.
    #[must_use]
    pub fn play(&self) -> Player {
        Player::start(self.player)
    }

    /// Its figures now, from its player port.
    #[track_caller]
    #[must_use]
    pub fn stats(&self) -> Value {
        crate::http::get_json(self.player, "/stats").expect("a peer answers")
    }
}

impl Team {
    /// Starts a splitter whose source begins when `count` peers are ready, and those peers.
    #[track_caller]
    #[must_use]
    pub fn start<A: AsRef<str>>(count: usize, arguments: &[A]) -> Self {
        let mut all = vec!["--wait-peers".to_owned(), count.to_string()];
        all.extend(arguments.iter().map(|argument| argument.as_ref().to_owned()));
        Self::of(Splitter::start(&all), count)
    }

    /// Gives a splitter `count` peers, and waits until all are ready.
    #[track_caller]
    #[must_use]
    pub fn of(splitter: Splitter, count: usize) -> Self {
        let none: [&str; 0] = [];
        let peers =
            (1..=count).map(|number| Peer::start(&format!("peer {number}"), &splitter.link, &none)).collect();
        Self { peers, splitter }
    }

    /// A player of each peer.
    #[must_use]
    pub fn play(&self) -> Vec<Player> {
        self.peers.iter().map(Peer::play).collect()
    }

    /// Waits until all are ready and linked to each other.
    #[track_caller]
    pub fn wait_complete(&self) {
        self.splitter.wait_ready(self.peers.len());
        self.peers.iter().for_each(|peer| peer.wait_linked(self.peers.len() - 1));
    }

    /// Everyone must leave with exit code 0 by themselves: the stream is over.
    #[track_caller]
    pub fn ends(&mut self) {
        let deadline = Instant::now() + LEAVE;
        self.splitter.process.exits_with(0, LEAVE);
        for peer in &mut self.peers {
            peer.process.exits_with(
                0,
                deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1)),
            );
        }
    }

    /// The final figures of each peer; they have ended.
    #[must_use]
    pub fn last(&self) -> Vec<Value> {
        self.peers.iter().map(|peer| peer.process.last()).collect()
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}")).to_owned()
}

fn address(value: &Value, key: &str) -> SocketAddr {
    parse(&text(value, key))
}

fn parse(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}
