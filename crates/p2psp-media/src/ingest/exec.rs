//! A command whose standard output is the stream: run by the shell in a process group of its own, started again when it
//! ends, killed with all its children when the door closes. What it says on standard error goes to the log.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::IngestError;
use super::backoff::Backoff;
use super::feed::Feed;
use super::pump::{PumpEnd, pump};

/// A command that closed its output may take so long to end.
const EXIT_MAX: Duration = Duration::from_secs(2);
/// A command that lived so long was well: the next failure is retried at once.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// Longer lines of standard error are cut.
const LINE_BYTES_MAX: usize = 512;
/// More lines of standard error than this in one second are left out: progress displays.
const LINES_PER_S_MAX: u32 = 20;

pub(super) async fn run(command: &str, feed: &mut Feed) -> Result<(), IngestError> {
    supervise(|| start(command), feed).await
}

/// Starts the command again and again. What keeps the first start from happening is for the operator to mend; later it may be a
/// want of processes or memory that passes.
async fn supervise(mut start: impl FnMut() -> io::Result<Child>, feed: &mut Feed) -> Result<(), IngestError> {
    let mut backoff = Backoff::new();
    let mut ran = false;
    loop {
        let started = Instant::now();
        let mut child = match start() {
            Ok(child) => child,
            Err(error) if !ran => return Err(IngestError::Shell(error)),
            Err(error) => {
                let again_in = backoff.delay();
                warn!(source = feed.name(), %error, ?again_in, "cannot start the source command; trying again");
                if feed.wait_until(Instant::now() + again_in).await.is_err() {
                    return Ok(());
                }
                continue;
            }
        };
        ran = true;
        let group = Group::of(&child);
        feed.connected();
        let mut log = JoinSet::new();
        if let Some(stderr) = child.stderr.take() {
            log.spawn(log_lines(stderr));
        }
        let end = match &mut child.stdout.take() {
            Some(stdout) => pump(stdout, feed).await,
            None => PumpEnd::Eof,
        };
        if let PumpEnd::Closed = end {
            return Ok(());
        }
        let status = reap(child, group).await;
        let last_line = match timeout(EXIT_MAX, log.join_next()).await {
            Ok(Some(Ok(line))) => line,
            Ok(_) | Err(_) => String::new(),
        };
        if feed.finish().await.is_err() {
            return Ok(());
        }
        if started.elapsed() >= HEALTHY_AFTER {
            backoff.reset();
        }
        let again_in = backoff.delay();
        let status = status.map_or_else(|| "without a status".into(), |status| status.to_string());
        warn!(source = feed.name(), %status, last_line, ?again_in, "the source command ended; starting it again");
        feed.restarting();
        if feed.wait_until(Instant::now() + again_in).await.is_err() {
            return Ok(());
        }
    }
}

fn start(command: &str) -> io::Result<Child> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command);
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    #[cfg(unix)]
    shell.process_group(0);
    shell.spawn()
}

/// Waits for the end of a command that has closed its output; one that does not end is killed.
async fn reap(mut child: Child, group: Group) -> Option<ExitStatus> {
    match timeout(EXIT_MAX, child.wait()).await {
        Ok(status) => {
            group.disarm();
            status.ok()
        }
        Err(_) => {
            drop(group);
            child.wait().await.ok()
        }
    }
}

/// The process group of a running command. Dropping it kills the group: a shell's children would outlive the shell.
struct Group {
    #[cfg(unix)]
    leader: Option<nix::unistd::Pid>,
}

impl Group {
    #[cfg(unix)]
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self { leader: id.map(nix::unistd::Pid::from_raw) }
    }

    #[cfg(not(unix))]
    fn of(_: &Child) -> Self {
        Self {}
    }

    /// The command has ended: its number may soon be another's.
    #[cfg_attr(not(unix), expect(unused_mut, reason = "nothing to disarm"))]
    fn disarm(mut self) {
        #[cfg(unix)]
        {
            self.leader = None;
        }
    }
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            // It fails when the group has ended by itself.
            nix::sys::signal::killpg(leader, nix::sys::signal::Signal::SIGKILL).ok();
        }
    }
}

/// Logs lines until the end, and gives back the last one.
async fn log_lines(mut reader: impl AsyncRead + Unpin) -> String {
    let mut buf = BytesMut::new();
    let mut last = String::new();
    let (mut second, mut lines) = (Instant::now(), 0u32);
    let mut overlong = false;
    loop {
        let ended = !matches!(reader.read_buf(&mut buf).await, Ok(n) if n > 0);
        loop {
            let newline = buf.iter().position(|&b| b == b'\n' || b == b'\r');
            let take = match newline {
                Some(at) => at,
                None if ended || buf.len() > LINE_BYTES_MAX => buf.len(),
                None => break,
            };
            let line = buf.split_to(take);
            buf.advance(usize::from(newline.is_some()));
            let line = line.get(..line.len().min(LINE_BYTES_MAX)).unwrap_or_default();
            let text = String::from_utf8_lossy(line).trim().to_owned();
            let continues = std::mem::replace(&mut overlong, newline.is_none());
            if !text.is_empty() && !continues {
                if second.elapsed() >= Duration::from_secs(1) {
                    (second, lines) = (Instant::now(), 0);
                }
                lines += 1;
                if lines <= LINES_PER_S_MAX {
                    info!(target: "p2psp_media::ingest::exec", "source command: {text}");
                }
                last = text;
            }
            if buf.is_empty() {
                break;
            }
        }
        if ended {
            return last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Cutter;
    use crate::ingest::feed::Overflow;
    use crate::ingest::{IngestOptions, IngestStatus, queue};
    use crate::record::Ingested;
    use tokio::sync::watch;

    fn failure() -> io::Error {
        io::ErrorKind::OutOfMemory.into()
    }

    /// A machine that has no process to give for a while does not end the stream: the command runs again when there is one.
    #[cfg(unix)]
    #[tokio::test]
    async fn a_later_start_that_fails_is_tried_again() {
        let (sender, mut records) = queue();
        let (status, seen) = watch::channel(IngestStatus::default());
        let options = IngestOptions::default();
        let mut feed = Feed::new("exec".into(), Cutter::new(1_000), sender, status, options, Overflow::Wait);
        let mut starts = 0;
        let script = || {
            starts += 1;
            if matches!(starts, 2 | 3) { Err(failure()) } else { start(&format!("printf %s start-{starts}")) }
        };
        let got = async {
            let mut text = String::new();
            while text != "start-1start-4" {
                for ingested in records.recv().await.expect("the door is open") {
                    if let Ingested::Record(record) = ingested {
                        text.push_str(std::str::from_utf8(&record.payload).unwrap());
                    }
                }
                assert!("start-1start-4".starts_with(&text), "{text}");
            }
            drop(records);
        };
        let (end, ()) =
            timeout(Duration::from_secs(60), async { tokio::join!(supervise(script, &mut feed), got) })
                .await
                .expect("the command is started again");
        end.unwrap();
        assert!(seen.borrow().restarts >= 1);
    }

    /// What cannot be started at all is the operator's business.
    #[tokio::test]
    async fn a_first_start_that_fails_is_told() {
        let (sender, _records) = queue();
        let (status, _) = watch::channel(IngestStatus::default());
        let options = IngestOptions::default();
        let mut feed = Feed::new("exec".into(), Cutter::new(1_000), sender, status, options, Overflow::Wait);
        let error = supervise(|| Err(failure()), &mut feed).await.unwrap_err();
        assert!(matches!(error, IngestError::Shell(_)), "{error}");
        assert!(error.to_string().contains("/bin/sh"), "{error}");
    }

    /// Lines of any length and without end cost bounded memory, and the last one is known.
    #[tokio::test]
    async fn standard_error_is_read_in_bounded_lines() {
        let long = "x".repeat(10 * LINE_BYTES_MAX);
        let text = format!("first\r\n{long}\nlast words\n\n");
        assert_eq!(log_lines(text.as_bytes()).await, "last words");
        assert_eq!(log_lines(&b"no end"[..]).await, "no end");
        assert_eq!(log_lines(&b""[..]).await, "");
        assert!(log_lines(long.as_bytes()).await.len() <= LINE_BYTES_MAX);
    }
}
