//! Those who read and come again: a scraper of `/metrics` and an operator who lists the team, each on a thread of its own, so that a busy
//! bench does not count as a slow splitter. Owns what they found; what is good enough is the report's business.

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::BenchError;

/// Most time for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// One scrape.
#[derive(Clone, Debug)]
pub(super) struct Scrape {
    /// From the connection's begin to the answer's last byte.
    pub(super) took: Duration,
    /// Of the whole answer.
    pub(super) bytes: usize,
    /// Names with their labels.
    pub(super) series: BTreeSet<String>,
    /// Members that get turns, as it says.
    pub(super) ready: Option<u64>,
}

/// Scrapes once.
///
/// # Errors
/// No connection, or no answer that is one.
pub(super) fn scrape(at: &str) -> Result<Scrape, BenchError> {
    let fail =
        |cause: io::Error| BenchError::Http { url: format!("http://{at}/metrics"), cause: cause.to_string() };
    let started = Instant::now();
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect(at)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(fail)?;
    let took = started.elapsed();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if !head.starts_with("HTTP/1.1 200") {
        return Err(fail(io::Error::other(head.lines().next().unwrap_or("no answer").to_owned())));
    }
    let samples = body.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let ready = samples.clone().find(|(name, _)| *name == "p2psp_splitter_team_ready_peers");
    Ok(Scrape {
        took,
        bytes: answer.len(),
        series: samples.map(|(name, _)| name.to_owned()).collect(),
        ready: ready.and_then(|(_, value)| value.parse().ok()),
    })
}

/// Lists the team once, as an operator does; gives how long that took, the start of the program included, and how many members there are.
///
/// # Errors
/// The program fails, or says something else.
pub(super) fn list(binary: &PathBuf, at: &str) -> Result<(Duration, usize), BenchError> {
    let started = Instant::now();
    let output = Command::new(binary)
        .args(["ctl", "--admin", at, "get", "peers", "-o", "json"])
        .stdin(Stdio::null())
        .output()
        .map_err(|cause| BenchError::Spawn { program: "p2psp ctl".into(), cause })?;
    let took = started.elapsed();
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|cause| {
        BenchError::CrossCheck(format!("p2psp ctl: {cause}: {}", String::from_utf8_lossy(&output.stderr)))
    })?;
    let peers = listed.get("peers").and_then(serde_json::Value::as_array);
    peers
        .map(|peers| (took, peers.len()))
        .ok_or_else(|| BenchError::CrossCheck(format!("no list of members: {listed}")))
}

/// Does the same again and again, until it is stopped.
#[derive(Debug)]
pub(super) struct Repeat<T> {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Result<Vec<T>, BenchError>>,
}

impl<T: Send + 'static> Repeat<T> {
    /// Begins now, and goes on each `period`, or at once where that is over.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(
        name: &str,
        period: Duration,
        look: impl Fn() -> Result<T, BenchError> + Send + 'static,
    ) -> Result<Self, BenchError> {
        let (stop, stopped) = mpsc::channel();
        let work = move || {
            let mut found = Vec::new();
            loop {
                let started = Instant::now();
                found.push(look()?);
                let pause = period.saturating_sub(started.elapsed());
                if !matches!(stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout)) {
                    return Ok(found);
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        Ok(Self { stop, thread: thread.map_err(BenchError::io(format!("failed to start the {name}")))? })
    }

    /// Stops after the one under way; gives what all of them found.
    ///
    /// # Errors
    /// One of them failed.
    pub(super) fn stop(self) -> Result<Vec<T>, BenchError> {
        // One that has failed has dropped the receiver.
        self.stop.send(()).ok();
        self.thread
            .join()
            .unwrap_or_else(|_| Err(BenchError::CrossCheck("a reader's thread panicked".into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Series are names with labels; values and comments are none.
    #[test]
    fn a_scrape_is_taken_apart() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let answer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // All of the request: what is left unread when a socket closes resets its connection.
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut piece = [0; 64];
                let read = stream.read(&mut piece).unwrap();
                assert!(read > 0, "the request ended early");
                request.extend_from_slice(&piece[..read]);
            }
            let body = "# TYPE a counter\na{x=\"1\"} 5\na{x=\"2\"} 6\np2psp_splitter_team_ready_peers 7\n";
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        });
        let scrape = scrape(&at).unwrap();
        answer.join().unwrap();
        assert_eq!(
            scrape.series.iter().map(String::as_str).collect::<Vec<_>>(),
            ["a{x=\"1\"}", "a{x=\"2\"}", "p2psp_splitter_team_ready_peers"]
        );
        assert_eq!(scrape.ready, Some(7));
    }

    /// What fails ends it, and is told.
    #[test]
    fn a_failure_is_told() {
        let repeat = Repeat::<()>::start("test", Duration::ZERO, || Err(BenchError::Interrupted)).unwrap();
        assert!(matches!(repeat.stop(), Err(BenchError::Interrupted)));
    }
}
