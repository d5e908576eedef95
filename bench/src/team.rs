//! A team of real processes with its source and its players: brought up, joined, taken down. Owns the order of things;
//! what is read off them is [`crate::run`]'s business.

use std::{
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use serde::Serialize;
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_local},
    time::timeout,
};

use crate::{
    BenchError, http,
    player::{Player, Setting},
    process::{Process, RunDirectory, command},
    source::Source,
    stats,
};

/// Most time for a program to open its ports.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Most time from a peer's start to the first byte at its player.
const FIRST_BYTE_WITHIN: Duration = Duration::from_secs(20);
/// Most time for a program to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// How peers verify the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Integrity {
    /// By signed manifests.
    #[default]
    Manifest,
    /// Each chunk by a signature of its own beside them.
    Signature,
    /// Not at all, so that nothing can be rebuilt either: what the rest costs.
    None,
}

impl Integrity {
    /// As the program's settings name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Signature => "signature",
            Self::None => "none",
        }
    }
}

/// What every team of a run has in common.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program.
    pub binary: PathBuf,
    /// Bits per second of the source.
    pub rate: u64,
    /// How peers verify the stream.
    pub integrity: Integrity,
    /// Parity chunks of a generation; `None` leaves them to the losses.
    pub parity_chunks: Option<u8>,
    /// More arguments for each peer.
    pub peer_arguments: Vec<String>,
    /// Most peers at once.
    pub team_size: usize,
    /// The next peer starts when the one before plays, or after so long.
    pub join_interval: Duration,
}

/// How long a peer took to play.
#[derive(Clone, Copy, Debug)]
pub struct Join {
    /// From the start of the process to the first stream byte at its player.
    pub from_start: Duration,
    /// From its ready line, when its ports are open and the player asks, to the same.
    pub from_ready: Duration,
}

/// The splitter and its newest figures.
#[derive(Debug)]
pub struct Splitter {
    /// Its process.
    pub process: Process,
    link: String,
    figures: watch::Receiver<Option<stats::Splitter>>,
    feed: JoinHandle<()>,
}

/// A peer, its player, and when it played.
#[derive(Debug)]
pub struct Member {
    /// Its process.
    pub process: Process,
    /// Who watches it.
    pub player: Player,
    /// `HOST:PORT` of its player port.
    authority: String,
    started: Instant,
    ready: Instant,
}

/// All of it.
#[derive(Debug)]
pub struct Team {
    /// The splitter.
    pub splitter: Splitter,
    /// The source.
    pub source: Source,
    /// The peers, in the order in which they joined.
    pub members: Vec<Member>,
    plan: Plan,
    setting: Setting,
}

impl Team {
    /// Starts splitter and source, then the peers one by one; gives the joins in that order too.
    ///
    /// # Errors
    /// A program does not start, ends, or does not play.
    pub async fn start(
        plan: Plan,
        peers: usize,
        setting: Setting,
        directory: &RunDirectory,
    ) -> Result<(Self, Vec<Join>), BenchError> {
        let (reader, writer) = std::io::pipe().map_err(BenchError::io("failed to make a pipe"))?;
        let splitter = Splitter::start(&plan, Stdio::from(reader), directory).await?;
        let source = Source::start(Arc::clone(&setting.layout), plan.rate, setting.clock, writer)?;
        let mut team = Self { splitter, source, members: Vec::with_capacity(peers), plan, setting };
        for place in 0..peers {
            let member = team.peer(&format!("peer-{place}"), directory).await?;
            let pause = team.plan.join_interval;
            // One that takes longer is waited for below.
            timeout(pause, member.player.first_byte(pause)).await.ok();
            team.members.push(member);
        }
        let mut joins = Vec::with_capacity(peers);
        for member in &mut team.members {
            joins.push(member.join().await?);
        }
        Ok((team, joins))
    }

    /// One more peer, which leaves as soon as it plays.
    ///
    /// # Errors
    /// It does not start or does not play.
    pub async fn pass_through(&self, name: &str, directory: &RunDirectory) -> Result<Join, BenchError> {
        let mut member = self.peer(name, directory).await?;
        let join = member.join().await?;
        member.process.stop(LEAVE_WITHIN).await;
        Ok(join)
    }

    /// Ends the source, then everyone. Gives the names of those that had to be killed.
    pub async fn stop(self) -> Vec<String> {
        let source = self.source.stop();
        let mut leaving = Vec::new();
        for Member { process, .. } in self.members {
            let name = process.name().to_owned();
            leaving.push((name, spawn_local(process.stop(LEAVE_WITHIN))));
        }
        self.splitter.feed.abort();
        let splitter = self.splitter.process;
        leaving.push((splitter.name().to_owned(), spawn_local(splitter.stop(LEAVE_WITHIN))));
        let mut killed = Vec::new();
        for (name, stop) in leaving {
            if !stop.await.unwrap_or(false) {
                killed.push(name);
            }
        }
        if let Err(cause) = source {
            killed.push(format!("source ({cause})"));
        }
        killed
    }

    async fn peer(&self, name: &str, directory: &RunDirectory) -> Result<Member, BenchError> {
        let started = Instant::now();
        let mut command = command(&self.plan.binary);
        command
            .args([
                "peer",
                &self.splitter.link,
                "--player",
                "127.0.0.1:0",
                "--ready",
                "json",
                "--log-level",
                "warn",
            ])
            .args((self.plan.integrity == Integrity::None).then_some("--allow-unsigned"))
            .args(&self.plan.peer_arguments);
        let mut process = Process::start(name, command, Some(Stdio::null()), directory)?;
        let authority = process.hear::<stats::PeerReady>(READY_WITHIN).await?.authority().to_owned();
        let ready = Instant::now();
        let player = Player::start(authority.clone(), self.setting.clone());
        Ok(Member { process, player, authority, started, ready })
    }
}

impl Member {
    /// Its newest figures.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn figures(&self) -> Result<stats::Peer, BenchError> {
        http::json(&self.authority, "/stats").await
    }

    async fn join(&mut self) -> Result<Join, BenchError> {
        let first = match self.player.first_byte(FIRST_BYTE_WITHIN).await {
            Ok(first) => first,
            Err(cause) => return Err(self.process.fault(format!("does not play: {cause}"))),
        };
        Ok(Join { from_start: first - self.started, from_ready: first - self.ready })
    }
}

impl Splitter {
    async fn start(plan: &Plan, input: Stdio, directory: &RunDirectory) -> Result<Self, BenchError> {
        let mut command = command(&plan.binary);
        command.args(["splitter", "--input", "-", "--listen", "127.0.0.1:0", "--ready", "json"]).args([
            "--stats-every",
            "1s",
            "--log-level",
            "warn",
            "--team-size",
            &plan.team_size.to_string(),
            "--integrity",
            plan.integrity.name(),
        ]);
        command.args(plan.parity_chunks.map(|chunks| format!("--parity={chunks}")));
        let mut process = Process::start("splitter", command, Some(input), directory)?;
        let link = process.hear::<stats::SplitterReady>(READY_WITHIN).await?.link;
        let (sender, figures) = watch::channel(None);
        let mut lines = process.take_lines().expect("nobody else reads them");
        let feed = spawn_local(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(figures) = serde_json::from_str(&line) {
                    sender.send_replace(Some(figures));
                }
            }
        });
        Ok(Self { process, link, figures, feed })
    }

    /// Its newest figures.
    ///
    /// # Errors
    /// It says nothing, or has ended.
    pub async fn figures(&mut self) -> Result<stats::Splitter, BenchError> {
        let wait = self.figures.wait_for(Option::is_some);
        match timeout(READY_WITHIN, wait).await {
            Ok(Ok(figures)) => Ok(figures.clone().unwrap_or_default()),
            Ok(Err(_)) | Err(_) => Err(self.process.fault("gives no figures")),
        }
    }
}
