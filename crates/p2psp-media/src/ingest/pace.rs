//! When the next bytes of a recording are due, by its own clock or by a rate. Pure: is told the time.

use std::time::Duration;

/// How fast a recording is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// By the stream's own clock: PCR, tag, block, fragment or page times.
    Clock,
    /// At so many bits per second.
    Rate(u64),
    /// As fast as the splitter takes it.
    Unpaced,
}

/// A clock that jumps forward by more than this, or back, started over.
const JUMP: Duration = Duration::from_secs(10);
/// A clock may run back by so much: tracks are interleaved, and pictures reordered.
const BACK: Duration = Duration::from_secs(1);

/// Turns media times and byte counts into due times, all counted from when the first byte was read.
#[derive(Debug)]
pub(super) struct Pacer {
    pace: Pace,
    bytes: u64,
    /// The last clock value, when it was due, and the byte count there.
    point: Option<Point>,
    /// Between clock values: the rate between the last two.
    bytes_per_s: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    media: Duration,
    due: Duration,
    bytes: u64,
}

impl Pacer {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, bytes: 0, point: None, bytes_per_s: None }
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the stream's clock is what paces, and was not seen yet.
    pub(super) fn lacks_clock(&self) -> bool {
        self.pace == Pace::Clock && self.point.is_none()
    }

    /// `n` more bytes were read at `now`, and the stream's clock is at `media`: when they are due.
    pub(super) fn due(&mut self, n: usize, media: Option<Duration>, now: Duration) -> Duration {
        self.bytes = self.bytes.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
        match self.pace {
            Pace::Unpaced => now,
            Pace::Rate(bits_per_s) => per_second(self.bytes, bits_per_s / 8),
            Pace::Clock => media.map_or(now, |media| self.due_by_clock(media, now)),
        }
    }

    fn due_by_clock(&mut self, media: Duration, now: Duration) -> Duration {
        let Some(point) = self.point else {
            self.point = Some(Point { media, due: now, bytes: self.bytes });
            return now;
        };
        let jumped = media + BACK < point.media || media > point.media + JUMP;
        if jumped {
            // The recording starts over, or has a gap: go on from here.
            let due = now.max(point.due);
            self.point = Some(Point { media, due, bytes: self.bytes });
            return due;
        }
        let since = self.bytes - point.bytes;
        if media > point.media {
            let step = media - point.media;
            let nanos = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX);
            self.bytes_per_s = since.saturating_mul(1_000_000_000).checked_div(nanos);
            let due = point.due + step;
            self.point = Some(Point { media, due, bytes: self.bytes });
            return due;
        }
        // Spread what lies between two clock values, at the rate of late.
        self.bytes_per_s.map_or(point.due, |rate| point.due + per_second(since, rate).min(BACK))
    }
}

fn per_second(bytes: u64, bytes_per_s: u64) -> Duration {
    let rate = bytes_per_s.max(1);
    Duration::from_secs(bytes / rate)
        + Duration::from_nanos((bytes % rate).saturating_mul(1_000_000_000) / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_rate_paces_by_bytes() {
        let mut pacer = Pacer::new(Pace::Rate(8000));
        assert_eq!(pacer.due(500, None, Duration::ZERO), 500 * MS);
        assert_eq!(pacer.due(1500, None, 700 * MS), 2000 * MS);
    }

    #[test]
    fn a_clock_paces_and_bytes_between_its_values_are_spread() {
        let mut pacer = Pacer::new(Pace::Clock);
        assert!(pacer.lacks_clock());
        assert_eq!(pacer.due(1000, None, 5 * MS), 5 * MS);
        let start = 3_600_000 * MS;
        assert_eq!(pacer.due(1000, Some(start), 7 * MS), 7 * MS);
        assert!(!pacer.lacks_clock());
        assert_eq!(pacer.due(1000, Some(start + 100 * MS), 8 * MS), 107 * MS);
        assert_eq!(
            pacer.due(500, Some(start + 100 * MS), 107 * MS),
            157 * MS,
            "half of what 100 ms had before"
        );
        assert_eq!(pacer.due(500, Some(start + 200 * MS), 157 * MS), 207 * MS);
        assert_eq!(
            pacer.due(9, Some(start + 150 * MS), 207 * MS),
            207 * MS + 900_000 * Duration::from_nanos(1)
        );
    }

    /// A recording repeated, or cut together: pacing goes on, without a wait of hours or a burst.
    #[test]
    fn a_clock_that_starts_over_does_not_stop_the_stream() {
        let mut pacer = Pacer::new(Pace::Clock);
        pacer.due(1000, Some(500_000 * MS), Duration::ZERO);
        assert_eq!(pacer.due(1000, Some(500_100 * MS), MS), 100 * MS);
        assert_eq!(pacer.due(1000, Some(200 * MS), 101 * MS), 101 * MS);
        assert_eq!(pacer.due(1000, Some(300 * MS), 102 * MS), 201 * MS);
        assert_eq!(pacer.due(1000, Some(90_000_000 * MS), 202 * MS), 202 * MS);
    }
}
