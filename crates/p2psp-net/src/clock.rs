//! The node's clock: tokio's monotonic time as the core's [`Instant`], so that paused time in tests reaches the machine too.
//! Reads the wall clock once, at the origin, and never again.

use p2psp_core::Instant;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Maps the host's time to the core's. Copies share the origin.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: tokio::time::Instant,
    origin_unix_us: u64,
}

impl Clock {
    /// A clock whose origin is now.
    #[must_use]
    pub fn start() -> Self {
        let since_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            origin: tokio::time::Instant::now(),
            origin_unix_us: u64::try_from(since_unix.as_micros()).unwrap_or(u64::MAX),
        }
    }

    /// The time since the origin.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::ORIGIN + self.origin.elapsed()
    }

    /// What the wall clock showed at [`Instant::ORIGIN`]: microseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn origin_unix_us(&self) -> u64 {
        self.origin_unix_us
    }

    /// The host's instant of a core instant.
    pub(crate) fn to_host(self, instant: Instant) -> tokio::time::Instant {
        // An instant past the host's range is as good as "never": 30 years, as tokio itself takes for it.
        const NEVER: Duration = Duration::from_secs(86_400 * 365 * 30);
        self.origin.checked_add(instant.since(Instant::ORIGIN)).unwrap_or_else(|| self.origin + NEVER)
    }
}
