//! The broadcaster: writes the stamped stream into a pipe at exactly its rate. Owns the pace; the bytes are
//! [`crate::stamps`]'s.

use std::{
    io::{PipeWriter, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    BenchError,
    stamps::{CHUNK_BYTES, CHUNK_PACKETS, Layout},
};

/// The bench's clock: microseconds since its start. One machine, one clock: made and played times compare.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The present time.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

#[derive(Debug, Default)]
struct State {
    next_index: AtomicU64,
    lag_us_max: AtomicU64,
}

/// A running broadcaster.
#[derive(Debug)]
pub struct Source {
    state: Arc<State>,
    stop: mpsc::Sender<()>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Source {
    /// Writes from now on, chunk by chunk, each when it is due.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(layout: Arc<Layout>, rate: u64, clock: Clock, pipe: PipeWriter) -> Result<Self, BenchError> {
        let state = Arc::new(State::default());
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("source".into())
            .spawn({
                let state = Arc::clone(&state);
                move || write(&layout, rate, clock, pipe, &state, &stopped)
            })
            .map_err(BenchError::io("failed to start the source's thread"))?;
        Ok(Self { state, stop, thread })
    }

    /// Index of the next packet to be made.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.state.next_index.load(Relaxed)
    }

    /// The longest that a chunk was written behind its time since the last call. Much of it means that the splitter does
    /// not read, or that the bench itself got no processor.
    pub fn take_lag(&self) -> Duration {
        Duration::from_micros(self.state.lag_us_max.swap(0, Relaxed))
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// The splitter had closed its input before.
    pub fn stop(self) -> Result<(), BenchError> {
        // A source that has ended by itself has dropped the receiver.
        self.stop.send(()).ok();
        match self.thread.join() {
            Ok(result) => result.map_err(BenchError::io("the splitter does not take the source")),
            Err(_) => Err(BenchError::CrossCheck("the source's thread panicked".into())),
        }
    }
}

fn write(
    layout: &Layout,
    rate: u64,
    clock: Clock,
    mut pipe: PipeWriter,
    state: &State,
    stopped: &mpsc::Receiver<()>,
) -> std::io::Result<()> {
    let chunk_time = chunk_time(rate);
    let start = Instant::now();
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    for number in 0_u32.. {
        let due = start + chunk_time * number;
        let wait = due.saturating_duration_since(Instant::now());
        if !matches!(stopped.recv_timeout(wait), Err(RecvTimeoutError::Timeout)) {
            return Ok(());
        }
        let first = u64::from(number) * CHUNK_PACKETS;
        let made_us = clock.now_us();
        chunk.clear();
        chunk.extend((first..first + CHUNK_PACKETS).flat_map(|index| layout.packet(index, made_us)));
        pipe.write_all(&chunk)?;
        state.next_index.store(first + CHUNK_PACKETS, Relaxed);
        let lag_us = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
        state.lag_us_max.fetch_max(lag_us, Relaxed);
    }
    Ok(())
}

/// Time that a chunk takes at that rate.
#[must_use]
pub fn chunk_time(rate: u64) -> Duration {
    let bits = u64::try_from(CHUNK_BYTES * 8).unwrap_or(u64::MAX);
    Duration::from_nanos(bits.saturating_mul(1_000_000_000) / rate.max(1))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::stamps::{Checker, Seen};

    /// What comes out of the pipe is the stream, never ahead of the rate.
    #[test]
    fn keeps_the_rate() {
        let rate = 4_000_000;
        let layout = Arc::new(Layout::new(rate));
        let (mut reader, writer) = std::io::pipe().unwrap();
        let clock = Clock::start();
        let begun = Instant::now();
        let source = Source::start(Arc::clone(&layout), rate, clock, writer).unwrap();
        let mut bytes = vec![0; CHUNK_BYTES * 50];
        reader.read_exact(&mut bytes).unwrap();
        assert!(begun.elapsed() >= chunk_time(rate) * 49);
        let (mut checker, mut stamped) = (Checker::default(), 0);
        checker.feed(&layout, &bytes, |seen| match seen {
            Seen::Stamped { .. } => stamped += 1,
            Seen::Gap { .. } | Seen::Wrong => panic!("{seen:?}"),
        });
        assert_eq!(stamped, layout.stamped_between(0, 300));
        assert!(source.next_index() >= 294);
        source.stop().unwrap();
    }

    /// A splitter that is gone is told to the caller.
    #[test]
    fn tells_that_the_pipe_is_broken() {
        let layout = Arc::new(Layout::new(4_000_000));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let source = Source::start(layout, 4_000_000, Clock::start(), writer).unwrap();
        while !source.thread.is_finished() {
            std::thread::yield_now();
        }
        assert!(source.stop().unwrap_err().to_string().contains("splitter"));
    }
}
