//! The processes that a run starts: their lines, logs and ends. Owns that none outlives the bench; knows no programs.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{sys::signal, unistd::Pid};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::BenchError;

/// Lines of a log that an error quotes.
const TAIL_LINES: usize = 12;

/// Where the logs of one run go; removed when it went well.
#[derive(Debug)]
pub struct RunDirectory(PathBuf);

impl RunDirectory {
    /// A new directory under the system's temporary one.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(label: &str) -> Result<Self, BenchError> {
        let path = std::env::temp_dir().join(format!("p2psp-bench-{}-{label}", std::process::id()));
        fs::create_dir_all(&path).map_err(BenchError::io(format!("failed to create {}", path.display())))?;
        Ok(Self(path))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Removes it. Without this it stays, for whoever looks for the cause of a failure.
    pub fn remove(self) {
        if let Err(cause) = fs::remove_dir_all(&self.0) {
            eprintln!("failed to remove {}: {cause}", self.0.display());
        }
    }
}

/// A program that dies with the bench, even when the bench is killed.
///
/// Linux tells the child by a signal where util-linux's `setpriv` is there; where it is not, only an orderly end of the
/// bench takes the child along.
#[must_use]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = if Path::new("/usr/bin/setpriv").exists() {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.kill_on_drop(true);
    command
}

/// A started process that talks in lines of JSON on its standard output.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: u32,
    stdin: Option<ChildStdin>,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    log: PathBuf,
}

impl Process {
    /// Starts it; its standard error goes to `NAME.log` in the run's directory. Standard input is a pipe unless the
    /// caller has set one.
    ///
    /// # Errors
    /// It cannot be started.
    ///
    /// # Panics
    /// Never: a child that was just started has an id.
    pub fn start(
        name: impl Into<String>,
        mut command: Command,
        stdin: Option<Stdio>,
        directory: &RunDirectory,
    ) -> Result<Self, BenchError> {
        let name = name.into();
        let log = directory.path().join(format!("{name}.log"));
        let stderr =
            File::create(&log).map_err(BenchError::io(format!("failed to create {}", log.display())))?;
        let mut child = command
            .stdin(stdin.unwrap_or_else(Stdio::piped))
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(|cause| BenchError::Spawn { program: name.clone(), cause })?;
        let pid = child.id().expect("a child that was just started has an id");
        let stdin = child.stdin.take();
        let lines = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        Ok(Self { name, child, pid, stdin, lines, log })
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// It has closed its input.
    pub async fn tell(&mut self, line: &str) -> Result<(), BenchError> {
        let Some(stdin) = &mut self.stdin else { return Err(self.fault("has no standard input")) };
        let line = format!("{line}\n");
        match stdin.write_all(line.as_bytes()).await {
            Ok(()) => Ok(()),
            Err(cause) => Err(self.fault(format!("does not listen: {cause}"))),
        }
    }

    /// The next line of its standard output, read as JSON.
    ///
    /// # Errors
    /// It ends, says something else, or says nothing in time.
    pub async fn hear<T: DeserializeOwned>(&mut self, within: Duration) -> Result<T, BenchError> {
        let Some(lines) = &mut self.lines else { return Err(self.fault("is read by somebody else")) };
        match timeout(within, lines.next_line()).await {
            Err(_) => Err(self.fault(format!("said nothing within {} s", within.as_secs()))),
            Ok(Err(cause)) => Err(self.fault(format!("cannot be read: {cause}"))),
            Ok(Ok(None)) => {
                let ended = timeout(Duration::from_secs(1), self.child.wait()).await;
                let how =
                    ended.ok().and_then(Result::ok).map_or_else(String::new, |status| format!(" ({status})"));
                Err(self.fault(format!("ended{how}")))
            }
            Ok(Ok(Some(line))) => serde_json::from_str(&line).map_err(|cause| {
                self.fault(format!("said {line:?}, which is not what was expected ({cause})"))
            }),
        }
    }

    /// Leaves all further lines to the caller, who must read on: a full pipe would hold the process up.
    pub fn take_lines(&mut self) -> Option<Lines<BufReader<ChildStdout>>> {
        self.lines.take()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<BenchError> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(self.fault(format!("ended too early ({status})")))
    }

    /// Asks it to end, and makes it end when it does not within `grace`. True when it went by itself.
    pub async fn stop(mut self, grace: Duration) -> bool {
        drop(self.stdin.take());
        if let Ok(pid) = i32::try_from(self.pid) {
            // Already gone is as good.
            signal::kill(Pid::from_raw(pid), signal::Signal::SIGTERM).ok();
        }
        let polite = timeout(grace, self.child.wait()).await.is_ok();
        if !polite && let Err(cause) = self.child.kill().await {
            eprintln!("failed to kill {}: {cause}", self.name);
        }
        polite
    }

    /// An error that quotes the log.
    pub fn fault(&self, what: impl Into<String>) -> BenchError {
        BenchError::Process {
            process: self.name.clone(),
            what: what.into(),
            log: self.log.clone(),
            tail: tail(&self.log).unwrap_or_else(|cause| format!("(unreadable: {cause})")),
        }
    }
}

fn tail(log: &Path) -> io::Result<String> {
    let text = fs::read_to_string(log)?;
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    Ok(lines.get(from..).unwrap_or_default().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    /// What a process says is read; what it says wrongly is quoted together with its log.
    #[test]
    fn hears_lines_and_quotes_logs() {
        block_on(async {
            let directory = RunDirectory::create("hears").unwrap();
            let mut shell = command("sh");
            shell.args(["-c", "echo why >&2; read x; echo $x; echo nonsense; exit 3"]);
            let mut process = Process::start("shell", shell, None, &directory).unwrap();
            process.tell("[1,2]").await.unwrap();
            assert_eq!(process.hear::<Vec<u8>>(Duration::from_secs(10)).await.unwrap(), vec![1, 2]);
            let error = process.hear::<Vec<u8>>(Duration::from_secs(10)).await.unwrap_err().to_string();
            assert!(error.contains("nonsense") && error.contains("why"), "{error}");
            let error = process.hear::<Vec<u8>>(Duration::from_secs(10)).await.unwrap_err().to_string();
            assert!(error.contains("exit status: 3"), "{error}");
            directory.remove();
        });
    }

    /// A process that ignores the signal is killed; one that does not goes by itself.
    #[test]
    fn stops_both_kinds() {
        block_on(async {
            let directory = RunDirectory::create("stops").unwrap();
            for (script, polite) in
                [("echo 1; exec cat", true), ("trap '' TERM; echo 1; while :; do :; done", false)]
            {
                let mut shell = command("sh");
                shell.args(["-c", script]);
                let mut process = Process::start("shell", shell, None, &directory).unwrap();
                process.hear::<u8>(Duration::from_secs(10)).await.unwrap();
                let pid = process.pid();
                let grace = if polite { Duration::from_secs(10) } else { Duration::from_millis(20) };
                assert_eq!(process.stop(grace).await, polite);
                assert!(!crate::procfs::is_alive(pid));
            }
            directory.remove();
        });
    }
}
