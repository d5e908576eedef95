//! One child process of the demo: another run of this same program. Owns its pipes: it leaves when its standard input closes,
//! tells its addresses on standard output, and the end of its log is kept in memory for when something goes wrong.

use p2psp_net::tasks;
use serde_json::Value;
use std::{
    collections::VecDeque,
    io,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, copy, stdin},
    process::{Child as Process, ChildStdin, Command},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

/// Lines of the log that are kept.
const LOG_LINES_MAX: usize = 40;
/// How long a child may take to open its ports.
const READY_WAIT: Duration = Duration::from_secs(15);

/// A child process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Child {
    name: String,
    process: Process,
    input: Option<Input>,
    ready: watch::Receiver<Option<Value>>,
    stats: watch::Receiver<Option<Value>>,
    log: Log,
    readers: [JoinHandle<()>; 2],
    status: Option<ExitStatus>,
}

/// What holds the child's standard input open.
#[derive(Debug)]
enum Input {
    Held(ChildStdin),
    /// Our own standard input is passed on.
    Fed(JoinHandle<()>),
}

/// The newest lines of a log.
#[derive(Clone, Debug, Default)]
struct Log {
    lines: Arc<Mutex<VecDeque<String>>>,
}

/// Why a child is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChildError {
    #[error("cannot start {name}: {source}")]
    Start { name: String, source: io::Error },
    #[error("{name} ended with {status} before it was ready; the end of its log:\n{log}")]
    Died { name: String, status: String, log: String },
    #[error("{name} did not open its ports within {READY_WAIT:?}; the end of its log:\n{log}")]
    Slow { name: String, log: String },
}

impl Child {
    /// Starts this program with other arguments. With `feed` it reads our standard input; otherwise it is told to leave when
    /// its own closes, which also happens when we die in whatever way.
    pub(super) fn start(name: &str, arguments: &[String], feed: bool) -> Result<Self, ChildError> {
        let failed = |source| ChildError::Start { name: name.to_owned(), source };
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(arguments).args(["--ready", "json", "--final-stats"]);
        if !feed {
            command.arg("--stop-on-eof");
        }
        // The demo says all there is to say; settings for other runs are not meant for it.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("P2PSP_") {
                command.env_remove(variable);
            }
        }
        command.env("NO_COLOR", "1").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A terminal's Ctrl-C must reach the demo alone, or each child would be told twice, and end at once.
        command.process_group(0).kill_on_drop(true);
        let mut process = command.spawn().map_err(failed)?;

        let input = process
            .stdin
            .take()
            .map(|pipe| if feed { Input::Fed(feed_from_ours(pipe)) } else { Input::Held(pipe) });
        let (ready_sender, ready) = watch::channel(None);
        let (stats_sender, stats) = watch::channel(None);
        let log = Log::default();
        let readers = [
            tasks::spawn(
                "child's output",
                read_lines(process.stdout.take(), move |line| {
                    let Ok(value) = serde_json::from_str::<Value>(&line) else { return };
                    let sender = if value.get("event").is_some_and(|event| event == "ready") {
                        &ready_sender
                    } else {
                        &stats_sender
                    };
                    sender.send_replace(Some(value));
                }),
            ),
            tasks::spawn(
                "child's log",
                read_lines(process.stderr.take(), {
                    let log = log.clone();
                    move |line| log.push(line)
                }),
            ),
        ];
        Ok(Self { name: name.to_owned(), process, input, ready, stats, log, readers, status: None })
    }

    /// What to call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its ready line, once it is there.
    pub(super) async fn ready(&mut self) -> Result<Value, ChildError> {
        let mut ready = self.ready.clone();
        let told = async {
            // A closed pipe means that the process ends: the other arm knows how.
            match ready.wait_for(Option::is_some).await {
                Ok(value) => value.clone().unwrap_or_default(),
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            value = timeout(READY_WAIT, told) => {
                value.map_err(|_| ChildError::Slow { name: self.name.clone(), log: self.log.tail() })
            }
            status = self.ended() => Err(ChildError::Died { name: self.name.clone(), status: describe(status), log: self.log.tail() }),
        }
    }

    /// The newest statistics that it printed.
    pub(super) fn stats(&self) -> Option<Value> {
        self.stats.borrow().clone()
    }

    /// Waits for its end; `None` when the system cannot say how it ended. Cancel safe.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.process.wait().await.ok();
            // What it wrote last is still on its way through the pipes.
            for reader in &mut self.readers {
                if !reader.is_finished() {
                    timeout(Duration::from_secs(1), reader).await.ok();
                }
            }
        }
        self.status
    }

    /// True once it ended with success.
    pub(super) fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// How it ended, and the end of its log.
    pub(super) fn obituary(&self) -> String {
        format!(
            "{} ended with {}; the end of its log:\n{}",
            self.name,
            describe(self.status),
            self.log.tail()
        )
    }

    /// Asks it to leave.
    pub(super) fn stop(&mut self) {
        match self.input.take() {
            Some(Input::Held(pipe)) => drop(pipe),
            Some(Input::Fed(task)) => task.abort(),
            None => {}
        }
    }

    /// Waits until it has left, not longer than `grace`, and kills it then. True when it left by itself.
    pub(super) async fn gone(&mut self, grace: Duration) -> bool {
        if timeout(grace, self.ended()).await.is_ok() {
            return true;
        }
        // It is gone in either case.
        self.process.kill().await.ok();
        false
    }
}

impl Log {
    fn push(&self, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= LOG_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn tail(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return "    (nothing)".to_owned();
        }
        lines.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
    }
}

async fn read_lines(pipe: Option<impl AsyncRead + Unpin>, mut take: impl FnMut(String)) {
    let Some(pipe) = pipe else { return };
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        take(line);
    }
}

/// Passes our standard input on until it ends; then the child's ends too.
fn feed_from_ours(mut pipe: ChildStdin) -> JoinHandle<()> {
    tasks::spawn("standard input", async move {
        // A child that is gone takes nothing; its end is told elsewhere.
        copy(&mut stdin(), &mut pipe).await.ok();
        pipe.shutdown().await.ok();
    })
}

fn describe(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "an unknown status".to_owned(), |status| status.to_string())
}
