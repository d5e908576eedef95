//! Moves bytes into a feed: from an open reader, whose silences it looks at, or each when it is due. Opens nothing, restarts
//! nothing.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, sleep_until};

use super::feed::{Closed, FLUSH_AFTER, Feed, Silence};
use super::pace::Pacer;

/// Most bytes of one read.
pub(super) const READ_BYTES_MAX: usize = 32 * 1024;
/// What is pushed at a time where bytes are paced: two records or so, 4 ms of a 4 Mb/s stream.
const BLOCK_BYTES: usize = 2048;

/// Why a reader is done with.
#[derive(Debug)]
pub(super) enum PumpEnd {
    /// Nobody takes records any more.
    Closed,
    /// It ended.
    Eof,
    /// It failed.
    Failed(io::Error),
}

impl From<Closed> for PumpEnd {
    fn from(Closed: Closed) -> Self {
        Self::Closed
    }
}

/// Reads until the end; a stall is told and waited out.
pub(super) async fn pump(reader: &mut (impl AsyncRead + Unpin), feed: &mut Feed) -> PumpEnd {
    let mut buf = BytesMut::new();
    loop {
        reserve(&mut buf);
        let deadline = feed.silence_deadline();
        let read = tokio::select! {
            read = reader.read_buf(&mut buf) => Some(read),
            () = sleep_until(deadline) => None,
        };
        let pushed = match read {
            Some(Ok(0)) => return PumpEnd::Eof,
            Some(Ok(_)) => feed.push(&buf.split().freeze()).await,
            Some(Err(error)) => return PumpEnd::Failed(error),
            None => feed.on_silence().await.map(|_: Silence| ()),
        };
        if let Err(closed) = pushed {
            return closed.into();
        }
    }
}

/// Pushes bytes that are there already, each block when it is due. `start` is when the first byte of the pacer's was read.
pub(super) async fn push_paced(
    mut bytes: Bytes,
    pacer: &mut Pacer,
    start: Instant,
    feed: &mut Feed,
) -> Result<(), Closed> {
    while !bytes.is_empty() {
        let block = bytes.split_to(bytes.len().min(BLOCK_BYTES));
        feed.push(&block).await?;
        let due = start + pacer.due(block.len(), feed.cutter().media_time(), start.elapsed());
        let wait = due.saturating_duration_since(Instant::now());
        if wait > FLUSH_AFTER {
            feed.flush().await?;
        }
        if !wait.is_zero() {
            feed.wait_until(due).await?;
        }
    }
    Ok(())
}

/// Makes room for a read of a useful size, at most [`READ_BYTES_MAX`].
pub(super) fn reserve(buf: &mut BytesMut) {
    if buf.capacity() - buf.len() < READ_BYTES_MAX / 4 {
        buf.reserve(READ_BYTES_MAX);
    }
}
