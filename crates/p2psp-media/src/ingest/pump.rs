//! Moves bytes from an open reader into a feed, and looks at its silences. Opens nothing, restarts nothing.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::sleep_until;

use super::feed::{Closed, Feed, Silence};

/// Most bytes of one read.
pub(super) const READ_BYTES_MAX: usize = 32 * 1024;

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

/// Makes room for a read of a useful size, at most [`READ_BYTES_MAX`].
pub(super) fn reserve(buf: &mut BytesMut) {
    if buf.capacity() - buf.len() < READ_BYTES_MAX / 4 {
        buf.reserve(READ_BYTES_MAX);
    }
}
