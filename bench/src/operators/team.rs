//! A real splitter with its source, and light members that fill its team and come and go. Owns the order of things.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use p2psp_wire::ChannelLink;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::scrape::{Scrape, scrape};
use crate::{
    BenchError,
    light::{Light, Taken, Tally},
    process::{Process, RunDirectory, command},
    procfs::cpu_time,
    source::{Clock, Source},
    stamps::Layout,
};

/// Most time for the splitter to open its ports.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Most time for all to have a seat and turns.
const FILLED_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at how many have.
const LOOK: Duration = Duration::from_millis(100);
/// Most time for the splitter to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);
/// Members that shake hands at once.
const AT_ONCE: usize = 16;
/// From the last join to the first figure: members are judged, and in step.
const SETTLE: Duration = Duration::from_secs(4);

#[derive(Debug, Deserialize)]
struct Ready {
    link: String,
    listen: SocketAddr,
    admin: Vec<String>,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Team {
    splitter: Process,
    source: Source,
    link: ChannelLink,
    listen: SocketAddr,
    members: std::collections::VecDeque<Light>,
    tally: Arc<Tally>,
    /// Where its operators ask.
    pub(super) admin: String,
    /// Before anybody had joined.
    pub(super) empty: Scrape,
}

/// What one window cost the splitter, and what became of the stream.
#[derive(Debug)]
pub(super) struct Window {
    /// Processors that the splitter kept busy.
    pub(super) cores: f64,
    /// Of the stream.
    pub(super) taken: Taken,
}

impl Team {
    /// Starts a splitter and fills its team.
    pub(super) async fn start(
        binary: &PathBuf,
        rate: u64,
        size: usize,
        directory: &RunDirectory,
    ) -> Result<Self, BenchError> {
        let (reader, writer) = std::io::pipe().map_err(BenchError::io("failed to make a pipe"))?;
        let mut splitter = command(binary);
        // Room for those that come before others have left.
        let team_size = (size + AT_ONCE).to_string();
        splitter.args(["splitter", "--input", "-", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        splitter.args(["--ready", "json", "--log-level", "warn", "--team-size", &team_size]);
        let mut splitter =
            Process::start(format!("splitter-{size}"), splitter, Some(Stdio::from(reader)), directory)?;
        let ready: Ready = splitter.hear(READY_WITHIN).await?;
        let link =
            ready.link.parse().map_err(|cause| splitter.fault(format!("gives a wrong link: {cause}")))?;
        let Some(admin) = ready.admin.into_iter().next() else {
            return Err(splitter.fault("has no admin address"));
        };
        let source = Source::start(Arc::new(Layout::new(rate)), rate, Clock::start(), writer)?;
        let empty = scrape(&admin)?;
        let mut team = Self {
            splitter,
            source,
            link,
            listen: ready.listen,
            members: std::collections::VecDeque::with_capacity(size),
            tally: Arc::new(Tally::default()),
            admin,
            empty,
        };
        team.fill(size).await?;
        sleep(SETTLE).await;
        Ok(team)
    }

    async fn fill(&mut self, size: usize) -> Result<(), BenchError> {
        while self.members.len() < size {
            let batch = AT_ONCE.min(size - self.members.len());
            let from = self.members.len();
            for _ in 0..batch {
                self.members.push_back(Light::join(&self.link, self.listen, &self.tally)?);
            }
            for member in self.members.iter_mut().skip(from) {
                member.seated().await?;
            }
        }
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        let deadline = Instant::now() + FILLED_WITHIN;
        while scrape(&self.admin)?.ready != Some(size) {
            if Instant::now() > deadline {
                return Err(BenchError::Deadline { what: "a full team".into(), within: FILLED_WITHIN });
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Lets the stream run, with a member that goes and another one that comes each `churn`, if anybody does.
    pub(super) async fn run(
        &mut self,
        window: Duration,
        churn: Option<Duration>,
    ) -> Result<Window, BenchError> {
        drop(self.tally.take());
        let (began, before) = (Instant::now(), self.cpu()?);
        match churn {
            None => sleep(window).await,
            Some(churn) => {
                let mut ticks = interval(churn);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
                while began.elapsed() < window {
                    ticks.tick().await;
                    let mut comes = Light::join(&self.link, self.listen, &self.tally)?;
                    comes.seated().await?;
                    self.members.push_back(comes);
                    if let Some(goes) = self.members.pop_front() {
                        goes.leave().await?;
                    }
                }
            }
        }
        let (span, after) = (began.elapsed(), self.cpu()?);
        let cores = after.saturating_sub(before).as_secs_f64() / span.as_secs_f64();
        Ok(Window { cores, taken: self.tally.take() })
    }

    fn cpu(&self) -> Result<Duration, BenchError> {
        cpu_time(self.splitter.pid())
            .map_err(|cause| self.splitter.fault(format!("cannot be measured: {cause}")))
    }

    /// Ends the splitter, then the members, whose links that closes.
    pub(super) async fn stop(self) -> Result<(), BenchError> {
        // A splitter that has ended takes no more of it.
        self.source.stop().ok();
        self.splitter.stop(LEAVE_WITHIN).await;
        for member in self.members {
            member.leave().await?;
        }
        Ok(())
    }
}
