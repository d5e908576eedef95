//! quinn's view of tokio, with one difference: its timers come due on a common grid. A node has a timer per link for delayed
//! ACKs and loss probes; at their exact times each would wake the process on its own, and a wake-up costs more than the work
//! it brings. Owns the tasks that quinn starts, so that they end with the node.

use crate::tasks::Group;
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::time::{Sleep, sleep_until};

/// Rounds deadlines up to whole multiples of a period after an origin.
#[derive(Clone, Copy, Debug)]
struct Grid {
    origin: Instant,
    period: Duration,
}

impl Grid {
    fn round_up(self, deadline: Instant) -> Instant {
        let period = self.period.as_nanos();
        if period == 0 {
            return deadline;
        }
        let rest = deadline.saturating_duration_since(self.origin).as_nanos() % period;
        if rest == 0 {
            return deadline;
        }
        let missing = Duration::from_nanos(u64::try_from(period - rest).unwrap_or(0));
        deadline.checked_add(missing).unwrap_or(deadline)
    }
}

/// The runtime that quinn gets.
#[derive(Debug)]
pub(crate) struct GridRuntime {
    grid: Grid,
    tasks: Group,
}

impl GridRuntime {
    /// Timers at multiples of `period` from now on; zero leaves them exact.
    pub(crate) fn new(period: Duration) -> Self {
        let origin = tokio::time::Instant::now().into_std();
        Self { grid: Grid { origin, period }, tasks: Group::default() }
    }

    /// Stops the tasks that quinn started.
    pub(crate) fn abort_all(&self) {
        self.tasks.abort_all();
    }
}

impl Runtime for GridRuntime {
    fn new_timer(&self, deadline: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let sleep = Box::pin(sleep_until(self.grid.round_up(deadline).into()));
        Box::pin(GridTimer { grid: self.grid, sleep })
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.tasks.spawn("quic", future);
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

/// A timer that comes due on the grid.
#[derive(Debug)]
struct GridTimer {
    grid: Grid,
    sleep: Pin<Box<Sleep>>,
}

impl AsyncTimer for GridTimer {
    fn reset(mut self: Pin<&mut Self>, deadline: Instant) {
        let deadline = self.grid.round_up(deadline).into();
        // quinn moves its deadline with every packet; most moves stay within a period and need no timer wheel.
        if self.sleep.deadline() != deadline {
            self.sleep.as_mut().reset(deadline);
        }
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Future::poll(self.sleep.as_mut(), cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::future::poll_fn;

    proptest! {
        /// Never early, less than one period late, and always on the grid.
        #[test]
        fn rounds_up(after_ns in 0_u64..10_000_000_000, period_us in 0_u64..20_000) {
            let grid = Grid { origin: Instant::now(), period: Duration::from_micros(period_us) };
            let deadline = grid.origin + Duration::from_nanos(after_ns);
            let rounded = grid.round_up(deadline);
            prop_assert!(rounded >= deadline);
            prop_assert!(rounded - deadline < grid.period.max(Duration::from_nanos(1)));
            if period_us > 0 {
                prop_assert_eq!((rounded - grid.origin).as_nanos() % grid.period.as_nanos(), 0);
            }
        }
    }

    /// Deadlines within one period come due at one instant.
    #[tokio::test(start_paused = true)]
    async fn neighbours_share_a_wake_up() {
        let runtime = GridRuntime::new(Duration::from_millis(5));
        let start = Runtime::now(&runtime);
        let mut due = Vec::new();
        for after_us in [5_100_u64, 7_000, 9_900, 10_000] {
            let mut timer = runtime.new_timer(start + Duration::from_micros(after_us));
            poll_fn(|cx| timer.as_mut().poll(cx)).await;
            due.push(Runtime::now(&runtime) - start);
        }
        assert_eq!(due, [Duration::from_millis(10); 4]);
    }

    /// A timer that was reset to a later deadline does not fire at the earlier one.
    #[tokio::test(start_paused = true)]
    async fn reset_moves_the_deadline() {
        let runtime = GridRuntime::new(Duration::from_millis(5));
        let start = Runtime::now(&runtime);
        let mut timer = runtime.new_timer(start + Duration::from_millis(3));
        timer.as_mut().reset(start + Duration::from_millis(41));
        poll_fn(|cx| timer.as_mut().poll(cx)).await;
        assert_eq!(Runtime::now(&runtime) - start, Duration::from_millis(45));
    }
}
