//! One process under test: its pipes are read by threads, its ready line, statistics and log can be waited for, and it is killed
//! when the test is done with it, whatever comes. A child told `--stop-on-eof` also ends when the test program is killed.

use crate::wait::Watched;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

/// Opening ports and saying so takes milliseconds; two busy cores make it seconds.
pub const READY: Duration = Duration::from_secs(30);
/// Leaving takes at most the grace time of three seconds, and some.
pub const LEAVE: Duration = Duration::from_secs(15);

/// Lines of a log that are shown when a test fails.
const SHOWN_LINES: usize = 60;

/// What a process has said so far.
#[derive(Debug, Default)]
pub struct Said {
    /// Its ready line.
    pub ready: Option<Value>,
    /// Its newest statistics.
    pub stats: Option<Value>,
    /// Its final statistics.
    pub last: Option<Value>,
    /// Lines on standard output that are no JSON.
    pub out: Vec<String>,
    /// Standard error.
    pub log: Vec<String>,
    /// Standard output is closed: the process has ended, or is about to.
    pub out_closed: bool,
    /// Standard error is closed.
    pub log_closed: bool,
}

/// A process under test. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    /// What the test calls it.
    pub name: String,
    /// Its standard input, where the test keeps hold of it.
    pub stdin: Option<ChildStdin>,
    child: Child,
    said: Arc<Watched<Said>>,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with all its pipes held here.
    pub fn start(name: &str, command: &mut Command) -> Self {
        Self::start_at(name, command, Stdio::piped())
    }

    /// The same with a standard input of the caller's.
    pub fn start_at(name: &str, command: &mut Command, stdin: Stdio) -> Self {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {name}, {command:?}: {error}"));
        let said = Arc::new(Watched::default());
        let (out, log) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        each_line(out, &said, on_out, |said| said.out_closed = true);
        each_line(log, &said, |said, line| said.log.push(line), |said| said.log_closed = true);
        Self { name: name.to_owned(), stdin: child.stdin.take(), child, said, ended: None }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `found` gives something about what the process has said.
    #[track_caller]
    pub fn wait<R>(&self, what: &str, patience: Duration, found: impl FnMut(&Said) -> Option<R>) -> R {
        self.said
            .wait(patience, found)
            .unwrap_or_else(|| panic!("{}: no {what} after {patience:?}", self.name))
    }

    /// Its ready line.
    #[track_caller]
    pub fn ready(&self) -> Value {
        let told = self.said.wait(READY, |said| match &said.ready {
            Some(ready) => Some(Some(ready.clone())),
            None => said.out_closed.then_some(None),
        });
        match told {
            Some(Some(ready)) => ready,
            Some(None) => panic!("{} ended before it was ready", self.name),
            None => panic!("{} was not ready after {READY:?}", self.name),
        }
    }

    /// Waits for statistics that satisfy `fits`.
    #[track_caller]
    pub fn wait_stats(&self, what: &str, patience: Duration, fits: impl Fn(&Value) -> bool) -> Value {
        let fitting = |said: &Said| said.stats.clone().filter(&fits);
        self.said.wait(patience, fitting).unwrap_or_else(|| {
            let stats = self.said.now().stats.clone().unwrap_or_default();
            panic!("{}: no {what} after {patience:?}; its newest figures: {stats:#}", self.name)
        })
    }

    /// Waits for a log line that contains `text`.
    #[track_caller]
    pub fn wait_log(&self, text: &str, patience: Duration) -> String {
        self.wait(&format!("log line with {text:?}"), patience, |said| {
            said.log.iter().find(|line| line.contains(text)).cloned()
        })
    }

    /// Its whole log so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.said.now().log.join("\n")
    }

    /// What it printed besides JSON so far.
    #[must_use]
    pub fn out(&self) -> String {
        self.said.now().out.join("\n")
    }

    /// Its final statistics, once it has ended.
    #[track_caller]
    #[must_use]
    pub fn last(&self) -> Value {
        self.said.now().last.clone().unwrap_or_else(|| panic!("{} told no final figures", self.name))
    }

    /// Sends a signal. The process cannot have been replaced: it is not waited for before it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            let pid = i32::try_from(self.id()).expect("process ids are positive");
            // A process that has just ended is what most signals are for.
            kill(Pid::from_raw(pid), signal).ok();
        }
    }

    /// Asks it to leave.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Waits for its end, and gives how it ended. Its output is complete then.
    #[track_caller]
    pub fn ended(&mut self, patience: Duration) -> ExitStatus {
        if let Some(status) = self.ended {
            return status;
        }
        self.wait("end", patience, |said| (said.out_closed && said.log_closed).then_some(()));
        let status = self.child.wait().expect("our child");
        self.ended = Some(status);
        status
    }

    /// Waits for its end, which must have this exit code.
    #[track_caller]
    pub fn exits_with(&mut self, code: i32, patience: Duration) {
        let status = self.ended(patience);
        assert_eq!(status.code(), Some(code), "{} ended with {status}", self.name);
    }

    /// Kills it, as a power failure would.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.ended = self.child.wait().ok();
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.ended.is_none() && matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.kill();
        }
        if thread::panicking() {
            let said = self.said.now();
            let shown = said.log.len().saturating_sub(SHOWN_LINES);
            eprintln!(
                "--- {} ended with {:?}; it said {:?}, and the end of its log is:",
                self.name, self.ended, said.out
            );
            said.log[shown..].iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

fn on_out(said: &mut Said, line: String) {
    let Ok(value) = serde_json::from_str::<Value>(&line) else {
        said.out.push(line);
        return;
    };
    match value["event"].as_str() {
        Some("ready") => said.ready = Some(value),
        Some("final") => {
            said.last = Some(value.clone());
            said.stats = Some(value);
        }
        _ => said.stats = Some(value),
    }
}

/// Reads `pipe` to its end on a thread of its own.
fn each_line(
    pipe: impl Read + Send + 'static,
    said: &Arc<Watched<Said>>,
    on_line: impl Fn(&mut Said, String) + Send + 'static,
    on_end: impl Fn(&mut Said) + Send + 'static,
) {
    let said = Arc::clone(said);
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut line), Ok(bytes) if bytes > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            said.change(|said| on_line(said, text));
            line.clear();
        }
        said.change(on_end);
    });
}
