//! A player that keeps every byte: it connects to a peer's player port on a thread of its own, records until the stream ends or
//! it is stopped, and knows when the first byte came.

use crate::{
    http::{self, Response},
    wait::Watched,
};
use std::{
    io::Read,
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// A stream that keeps silent for longer than [`http::TIMEOUT`] breaks off; its end comes sooner than this.
const END: Duration = Duration::from_secs(60);

/// What was recorded so far.
#[derive(Debug, Default)]
pub struct Recording {
    /// The body.
    pub bytes: Vec<u8>,
    /// The content type that the peer told.
    pub content_type: String,
    /// From the request to the first byte of the body.
    pub first_byte_after: Option<Duration>,
    /// How it ended, once it did: in words if it broke off.
    pub end: Option<Result<(), String>>,
    connection: Option<TcpStream>,
    stopped: bool,
}

/// A player at work. Dropping it hangs up.
#[derive(Debug)]
pub struct Player {
    address: SocketAddr,
    recording: Arc<Watched<Recording>>,
}

impl Player {
    /// Plays `/live` of the peer at `address`. A peer without a stream answers 503 after ten seconds; the player asks again,
    /// as people do.
    #[must_use]
    pub fn start(address: SocketAddr) -> Self {
        Self::of(address, "/live")
    }

    /// Plays `path` of the peer at `address`.
    #[must_use]
    pub fn of(address: SocketAddr, path: &str) -> Self {
        let recording = Arc::new(Watched::new(Recording::default()));
        let (recorder, path) = (Arc::clone(&recording), path.to_owned());
        thread::spawn(move || {
            let end = record(address, &path, &recorder);
            recorder.change(|recording| recording.end = Some(end));
        });
        Self { address, recording }
    }

    /// Waits until `count` bytes are there.
    #[track_caller]
    pub fn wait_bytes(&self, count: usize, patience: Duration) -> &Self {
        let enough = |recording: &Recording| {
            let end = recording.end.clone().filter(|_| recording.bytes.len() < count);
            (recording.bytes.len() >= count || end.is_some()).then_some(end)
        };
        match self.recording.wait(patience, enough) {
            Some(None) => self,
            Some(Some(end)) => panic!("player of {}: ended with {end:?} before {count} bytes", self.address),
            None => panic!("player of {}: {} of {count} bytes after {patience:?}", self.address, self.len()),
        }
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.recording.now().bytes.len()
    }

    /// Whether nothing was played.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// From the request to the first byte.
    #[track_caller]
    #[must_use]
    pub fn first_byte_after(&self) -> Duration {
        self.recording.now().first_byte_after.expect("a first byte")
    }

    /// The content type.
    #[must_use]
    pub fn content_type(&self) -> String {
        self.recording.now().content_type.clone()
    }

    /// Waits for the stream's end, which must be a proper one, and gives all bytes.
    #[track_caller]
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        match self.recording.wait(END, |recording| recording.end.clone()) {
            Some(Ok(())) => std::mem::take(&mut self.recording.now().bytes),
            Some(Err(why)) => {
                panic!("player of {}: broke off after {} bytes: {why}", self.address, self.len())
            }
            None => panic!("player of {}: no end after {END:?}, {} bytes", self.address, self.len()),
        }
    }

    /// Hangs up, and gives all bytes.
    #[must_use]
    pub fn stop(self) -> Vec<u8> {
        self.hang_up();
        std::mem::take(&mut self.recording.now().bytes)
    }

    fn hang_up(&self) {
        let connection = self.recording.change(|recording| {
            recording.stopped = true;
            recording.connection.take()
        });
        if let Some(connection) = connection {
            // It may have ended by itself.
            connection.shutdown(Shutdown::Both).ok();
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.hang_up();
    }
}

fn record(address: SocketAddr, path: &str, recorder: &Watched<Recording>) -> Result<(), String> {
    let asked = Instant::now();
    let mut response = ask(address, path, recorder)?;
    let content_type = response.field("content-type").unwrap_or_default().to_owned();
    let connection = response.body.connection().map_err(|error| error.to_string())?;
    recorder.change(|recording| {
        recording.content_type = content_type;
        recording.connection = Some(connection);
    });
    let mut block = vec![0; 64 * 1024];
    loop {
        let read = response.body.read(&mut block).map_err(|error| error.to_string())?;
        if read == 0 {
            return Ok(());
        }
        let stopped = recorder.change(|recording| {
            recording.first_byte_after.get_or_insert_with(|| asked.elapsed());
            recording.bytes.extend_from_slice(&block[..read]);
            recording.stopped
        });
        if stopped {
            return Ok(());
        }
    }
}

fn ask(address: SocketAddr, path: &str, recorder: &Watched<Recording>) -> Result<Response, String> {
    loop {
        let response = http::get(address, path).map_err(|error| error.to_string())?;
        match response.status {
            200 => return Ok(response),
            503 if !recorder.now().stopped => {
                let text = response.text().unwrap_or_default();
                if text.contains("is over") {
                    return Err(format!("503: {text}"));
                }
            }
            status => return Err(format!("{status}: {}", response.text().unwrap_or_default())),
        }
    }
}
