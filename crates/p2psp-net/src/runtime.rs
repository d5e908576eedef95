//! The loop that a node runs on: one thread, which wakes on a grid. Owns the runtime's shape; knows no node.
//!
//! A peer of a team of 32 at 4 Mb/s is woken 350 times a second, by a train from somebody each few milliseconds, and a wake-up from
//! idle costs more than what there is to do. Network cards moderate their interrupts for the same reason. A stream that plays
//! half a second behind its source does not miss the few milliseconds.

use std::{
    io,
    time::{Duration, Instant},
};
use tokio::runtime::{Builder, Runtime};

/// How far apart wake-ups are: a hop takes half of it longer on average. At 4 Mb/s and 32 peers it saves a fifth of a peer's CPU
/// (26.7 to 21.9 CPU seconds a delivered gigabyte), and the 99th percentile of the overlay's delay goes from 4 to 14 ms;
/// 8 ms would save no more than another twentieth.
pub const WAKE_GRID: Duration = Duration::from_millis(5);

/// A single-threaded runtime that sleeps at least until the next multiple of `grid` whenever it has nothing to do; with a `grid` of
/// zero it wakes for everything at once.
///
/// # Errors
///
/// The system refuses what a runtime needs: file descriptors, above all.
pub fn runtime(grid: Duration) -> io::Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    builder.enable_all();
    if !grid.is_zero() {
        let origin = Instant::now();
        builder.on_thread_park(move || sleep(until_next(origin.elapsed(), grid)));
    }
    builder.build()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the thread has nothing to do and would sleep anyhow; here it does so without being woken for each packet"
)]
fn sleep(span: Duration) {
    std::thread::sleep(span);
}

/// From `now` to the next multiple of `grid` behind it.
fn until_next(now: Duration, grid: Duration) -> Duration {
    let past = now.as_nanos() % grid.as_nanos().max(1);
    grid.saturating_sub(Duration::from_nanos(u64::try_from(past).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_multiple_is_never_now() {
        let grid = Duration::from_millis(5);
        for (now_us, wait_us) in [(0, 5000), (1, 4999), (4999, 1), (5000, 5000), (12_345, 2655)] {
            assert_eq!(
                until_next(Duration::from_micros(now_us), grid),
                Duration::from_micros(wait_us),
                "{now_us}"
            );
        }
    }

    /// Whatever comes due while the thread sleeps is served when it wakes, with a grid and without one.
    #[test]
    fn nothing_is_forgotten_on_the_grid() {
        for grid in [Duration::ZERO, Duration::from_millis(5)] {
            let served = runtime(grid).unwrap().block_on(async {
                let mut served = 0;
                for timer in (1..=32).map(|n| tokio::time::sleep(Duration::from_micros(n * 100))) {
                    timer.await;
                    served += 1;
                }
                served
            });
            assert_eq!(served, 32, "with a grid of {grid:?}");
        }
    }
}
