//! Files and standard input: read in small blocks, each when it is due. Owns the waiting; what is due when, is
//! [`Pacer`]'s business.

use std::io;
use std::path::Path;

use bytes::BytesMut;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::IngestError;
use super::feed::Feed;
use super::pace::{Pace, Pacer};
use super::pump::{PumpEnd, push_paced, reserve};
use crate::container::Container;

/// Where a clock must have shown, in a file that is to be paced by it.
const CLOCK_BYTES_MAX: usize = 1024 * 1024;

/// Reads a file, once or again and again.
pub(super) async fn run(path: &Path, pace: Pace, repeat: bool, feed: &mut Feed) -> Result<(), IngestError> {
    let mut pacer = Pacer::new(pace);
    let start = Instant::now();
    loop {
        let mut file =
            File::open(path).await.map_err(|source| IngestError::Open { path: path.into(), source })?;
        feed.connected();
        let bytes_before = pacer.bytes();
        let end = read(&mut file, &mut pacer, start, true, feed).await;
        match end {
            ReadEnd::Pump(PumpEnd::Closed) => return Ok(()),
            ReadEnd::Pump(PumpEnd::Failed(source)) => {
                return Err(IngestError::Read { what: path.display().to_string(), source });
            }
            ReadEnd::NoClock => return Err(IngestError::NoClock { path: path.into() }),
            ReadEnd::Pump(PumpEnd::Eof) => {}
        }
        if pacer.bytes() == bytes_before && repeat {
            return Err(IngestError::Empty { path: path.into() });
        }
        if feed.finish().await.is_err() || !repeat {
            info!(source = feed.name(), "the file has ended");
            return Ok(());
        }
    }
}

/// Reads standard input. A stream that has a clock is paced by it, which leaves a live one as it is and keeps a
/// recording from flooding the team.
pub(super) async fn stdin(pace: Pace, feed: &mut Feed) -> Result<(), IngestError> {
    let read_error = |source| IngestError::Read { what: "standard input".into(), source };
    let mut reader = open_stdin().map_err(read_error)?;
    feed.connected();
    let end = read(&mut reader, &mut Pacer::new(pace), Instant::now(), false, feed).await;
    match end {
        ReadEnd::Pump(PumpEnd::Failed(source)) => return Err(read_error(source)),
        ReadEnd::Pump(PumpEnd::Closed) => return Ok(()),
        ReadEnd::Pump(PumpEnd::Eof) | ReadEnd::NoClock => {}
    }
    info!("standard input has ended");
    // Nobody left to tell if the receiver is gone.
    feed.finish().await.or(Ok(()))
}

enum ReadEnd {
    Pump(PumpEnd),
    NoClock,
}

async fn read(
    reader: &mut (impl AsyncRead + Unpin),
    pacer: &mut Pacer,
    start: Instant,
    needs_clock: bool,
    feed: &mut Feed,
) -> ReadEnd {
    let mut buf = BytesMut::new();
    let mut read_bytes = 0;
    loop {
        reserve(&mut buf);
        let deadline = feed.silence_deadline();
        let read = tokio::select! {
            read = reader.read_buf(&mut buf) => Some(read),
            () = sleep_until(deadline) => None,
        };
        match read {
            Some(Ok(0)) => return ReadEnd::Pump(PumpEnd::Eof),
            Some(Ok(n)) => read_bytes += n,
            Some(Err(error)) => return ReadEnd::Pump(PumpEnd::Failed(error)),
            None => {
                if let Err(closed) = feed.on_silence().await {
                    return ReadEnd::Pump(closed.into());
                }
            }
        }
        if let Err(closed) = push_paced(buf.split().freeze(), pacer, start, feed).await {
            return ReadEnd::Pump(closed.into());
        }
        let hopeless = read_bytes > CLOCK_BYTES_MAX || feed.cutter().container() == Some(Container::Raw);
        if needs_clock && pacer.lacks_clock() && hopeless {
            return ReadEnd::NoClock;
        }
    }
}

#[cfg(unix)]
fn open_stdin() -> io::Result<Box<dyn AsyncRead + Unpin + Send>> {
    use std::os::fd::AsFd;

    // A pipe is read without a blocking thread, which at shutdown nobody could wake.
    let fd = io::stdin().as_fd().try_clone_to_owned()?;
    Ok(match tokio::net::unix::pipe::Receiver::from_owned_fd(fd) {
        Ok(pipe) => Box::new(pipe),
        Err(_) => Box::new(tokio::io::stdin()),
    })
}

#[cfg(not(unix))]
fn open_stdin() -> io::Result<Box<dyn AsyncRead + Unpin + Send>> {
    Ok(Box::new(tokio::io::stdin()))
}
