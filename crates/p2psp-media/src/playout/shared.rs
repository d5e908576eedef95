//! The ring between tasks: one handle that the stream's player pushes into, and readers that wake when it does. Owns the
//! lock and the wakers; what the ring does is [`super::spool`]'s.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::batch::Batch;
use super::spool::{Cursor, HeaderError, Read, Spool, SpoolLimits, SpoolStats, Unit};
use crate::record::StreamHeader;

/// A [`Spool`] that may be cloned and shared; every clone is the same ring. Writing never waits for a reader: the lock is
/// held only while payload handles are moved, never across a system call.
#[derive(Clone, Debug)]
pub struct SharedSpool {
    shared: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    spool: Spool,
    /// At most one waker per reader.
    waiting: Vec<(u64, Waker)>,
    readers: u64,
}

impl SharedSpool {
    /// An empty ring.
    pub fn new(limits: SpoolLimits) -> Self {
        let state = State { spool: Spool::new(limits), waiting: Vec::new(), readers: 0 };
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    /// See [`Spool::set_header`].
    ///
    /// # Errors
    /// As [`Spool::set_header`].
    pub fn set_header(&self, header: StreamHeader) -> Result<(), HeaderError> {
        self.write(|spool| spool.set_header(header))
    }

    /// See [`Spool::push`]. Readers run once the caller yields, so pushing unit by unit costs them no more than a burst.
    pub fn push(&self, unit: Unit) {
        self.write(|spool| spool.push(unit));
    }

    /// See [`Spool::gap`].
    pub fn gap(&self, count: u64) {
        self.lock().spool.gap(count);
    }

    /// See [`Spool::close`].
    pub fn close(&self) {
        self.write(Spool::close);
    }

    /// See [`Spool::is_closed`].
    pub fn is_closed(&self) -> bool {
        self.lock().spool.is_closed()
    }

    /// See [`Spool::stats`].
    pub fn stats(&self) -> SpoolStats {
        self.lock().spool.stats()
    }

    /// The newest stream header.
    pub fn header(&self) -> Option<Arc<StreamHeader>> {
        self.lock().spool.header().cloned()
    }

    /// A reader that will start at the newest random-access point.
    pub fn reader(&self) -> SpoolReader {
        let mut state = self.lock();
        state.readers += 1;
        SpoolReader { spool: self.clone(), id: state.readers, cursor: state.spool.cursor() }
    }

    fn write<T>(&self, change: impl FnOnce(&mut Spool) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state.spool);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The ring is consistent between its methods, none of which calls foreign code.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One player's place in a [`SharedSpool`].
#[derive(Debug)]
pub struct SpoolReader {
    spool: SharedSpool,
    id: u64,
    cursor: Cursor,
}

impl SpoolReader {
    /// Ready with the stream header once there is a random-access point to start at, or with `None` if the stream is
    /// over before; see [`Spool::start`].
    pub fn poll_start(&mut self, context: &mut Context<'_>) -> Poll<Option<Arc<StreamHeader>>> {
        let mut state = self.spool.lock();
        let started = state.spool.start(&mut self.cursor);
        if started.is_some() || state.spool.is_closed() {
            return Poll::Ready(started);
        }
        state.wake_later(self.id, context.waker());
        Poll::Pending
    }

    /// Reads into `batch`, see [`Spool::read`]; after [`Read::Wait`] the task is woken by the next write.
    pub fn read(&mut self, context: &mut Context<'_>, batch: &mut Batch, bytes_max: usize) -> Read {
        let mut state = self.spool.lock();
        let read = state.spool.read(&mut self.cursor, batch, bytes_max);
        if read == Read::Wait {
            state.wake_later(self.id, context.waker());
        }
        read
    }
}

impl Drop for SpoolReader {
    fn drop(&mut self) {
        self.spool.lock().waiting.retain(|(id, _)| *id != self.id);
    }
}

impl State {
    fn wake_later(&mut self, id: u64, waker: &Waker) {
        match self.waiting.iter_mut().find(|(own, _)| *own == id) {
            Some((_, known)) => known.clone_from(waker),
            None => self.waiting.push((id, waker.clone())),
        }
    }
}
