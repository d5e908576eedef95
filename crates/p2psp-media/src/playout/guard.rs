//! The write deadline of a connection: a socket that accepts no byte for too long ends its connection. Owns one timer
//! per connection and nothing else.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::counters::{Counters, count};

/// A player's socket whose writes fail once it has been full for `stalled_max`.
pub(super) struct GuardedIo {
    inner: TokioIo<TcpStream>,
    stalled_max: Duration,
    deadline: Pin<Box<Sleep>>,
    full: bool,
    counters: Arc<Counters>,
}

impl GuardedIo {
    pub(super) fn new(stream: TcpStream, stalled_max: Duration, counters: Arc<Counters>) -> Self {
        let deadline = Box::pin(tokio::time::sleep(stalled_max));
        Self { inner: TokioIo::new(stream), stalled_max, deadline, full: false, counters }
    }

    fn judge(
        &mut self,
        context: &mut Context<'_>,
        write: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if write.is_ready() {
            self.full = false;
            return write;
        }
        if !self.full {
            self.full = true;
            self.deadline.as_mut().reset(Instant::now() + self.stalled_max);
        }
        if self.deadline.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        count(&self.counters.stalled);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the player has stopped reading")))
    }
}

impl Read for GuardedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl Write for GuardedIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.judge(context, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.judge(context, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
