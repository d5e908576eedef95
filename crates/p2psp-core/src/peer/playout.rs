//! Play-out: chunks in order, each once, at a fixed delay behind the splitter (R-PLAY-1 to R-PLAY-4). Owns the play pointer and
//! the clock that maps the splitter's stream time to local time; a missing chunk is skipped when a later one is due.

use crate::{Instant, window::Window};
use p2psp_wire::{Chunk, ChunkNumber, StreamTime, Welcome};
use std::time::Duration;

/// Longest wait at the start for what the newcomer fetches.
const START_WAIT: Duration = Duration::from_millis(400);
/// How far ahead of its own estimate a peer believes a chunk's stream time: more than a late welcome puts the estimate behind.
const AHEAD_MAX: Duration = Duration::from_secs(1);
/// How long transit times are watched before the clock is corrected.
const DRIFT_SPAN: Duration = Duration::from_secs(10);
/// Largest correction per span: 200 parts per million, twice what two bad quartz clocks differ by.
const DRIFT_STEP_US: i64 = 2_000;

/// A clock that a rejoin finds off by more than this is set anew: it stood still while the host was suspended. Less is what
/// two welcomes' ways may differ by.
const CLOCK_OFF_MAX: Duration = Duration::from_millis(100);

/// What the play-out does now.
#[derive(Debug)]
pub(super) enum Step {
    Play(Chunk),
    Gap { first: ChunkNumber, chunks: u64 },
    Wait(Option<Instant>),
}

/// The play pointer and its clock.
#[derive(Debug)]
pub(super) struct Playout {
    target_delay: Duration,
    tick: Duration,
    /// The first chunk that was to be played.
    began: ChunkNumber,
    next: ChunkNumber,
    clock: StreamClock,
    start: Option<StartHold>,
}

/// Until the past is fetched, or the time for it is over, nothing is played.
#[derive(Clone, Copy, Debug)]
struct StartHold {
    live: ChunkNumber,
    until: Instant,
}

impl Playout {
    /// Play from `first` on; `first` lies before the live edge where the newcomer fetches the past.
    pub(super) fn new(
        target_delay: Duration,
        tick: Duration,
        first: ChunkNumber,
        welcome: &Welcome,
        now: Instant,
    ) -> Self {
        let hold = StartHold { live: welcome.next_number, until: now + START_WAIT };
        Self {
            target_delay,
            tick,
            began: first,
            next: first,
            clock: StreamClock::new(welcome.stream_time, now),
            start: (first < welcome.next_number).then_some(hold),
        }
    }

    /// The first chunk that was to be played; nothing before it was ever missed.
    pub(super) const fn began(&self) -> ChunkNumber {
        self.began
    }

    /// The next chunk to play.
    pub(super) const fn next_number(&self) -> ChunkNumber {
        self.next
    }

    /// The stream time that the splitter's clock shows about now.
    pub(super) fn stream_time(&self, now: Instant) -> StreamTime {
        self.clock.stream_time(now)
    }

    /// Sets the clock anew if it and the splitter's, as a new welcome tells, have come apart.
    pub(super) fn on_rejoin(&mut self, welcome: &Welcome, now: Instant) {
        let (own, told) = (self.clock.stream_time(now), welcome.stream_time);
        if own.since(told).max(told.since(own)) > CLOCK_OFF_MAX {
            self.clock = StreamClock::new(told, now);
        }
    }

    /// Watches a live chunk's arrival for the clock's sake.
    pub(super) fn on_arrival(&mut self, now: Instant, chunk: &Chunk) {
        let time = StreamTime::expand(chunk.header().time_us, self.clock.stream_time(now));
        self.clock.observe(now, time);
    }

    /// What to do now; asking is free of effects unless the answer is to play or to skip.
    /// Nothing is skipped for a chunk above `edge`: one member's forged number could empty a play-out that has run dry.
    pub(super) fn step(&mut self, now: Instant, window: &Window, edge: ChunkNumber) -> Step {
        if let Some(hold) = self.start {
            let whole = self.next < window.end()
                && (0..hold.live.since(self.next)).all(|offset| window.contains(self.next.plus(offset)));
            if !whole && now < hold.until {
                return Step::Wait(Some(hold.until));
            }
            self.start = None;
        }
        let Some(chunk) = window.first_from(self.next) else { return Step::Wait(None) };
        let due = self.due(now, chunk);
        if due > now {
            return Step::Wait(Some(due));
        }
        let number = chunk.number();
        if number > self.next {
            if number > edge {
                return Step::Wait(None);
            }
            let first = std::mem::replace(&mut self.next, number);
            return Step::Gap { first, chunks: number.since(first) };
        }
        let chunk = chunk.clone();
        self.next = number.next();
        Step::Play(chunk)
    }

    /// Whether the play-out is past a chunk whose time has not come: then it has followed numbers that the stream has not.
    pub(super) fn is_ahead_of(&self, now: Instant, chunk: &Chunk) -> bool {
        // A correction of the clock may make a chunk due again.
        let margin = Duration::from_micros(DRIFT_STEP_US.unsigned_abs());
        chunk.number() < self.next && self.due(now, chunk) > now + margin
    }

    /// Goes on at `number`, where it is past it.
    pub(super) fn pull_back(&mut self, number: ChunkNumber) {
        self.next = self.next.min(number);
        self.began = self.began.min(number);
    }

    /// Whether everything held has been played.
    pub(super) fn is_done(&self, window: &Window) -> bool {
        self.start.is_none() && self.next >= window.end()
    }

    /// From the next chunk to play to the newest one held.
    pub(super) fn buffered(&self, window: &Window) -> Duration {
        let newest = window.get(ChunkNumber::minus(window.end(), 1));
        let (Some(oldest), Some(newest)) = (window.first_from(self.next), newest) else {
            return Duration::ZERO;
        };
        Duration::from_micros(newest.header().time_us.wrapping_sub(oldest.header().time_us).into())
    }

    /// On the tick, so that chunks of one tick are played together, whatever else wakes the peer meanwhile.
    fn due(&self, now: Instant, chunk: &Chunk) -> Instant {
        let time = StreamTime::expand(chunk.header().time_us, self.clock.stream_time(now));
        let due = self.clock.after(time, self.target_delay);
        // No chunk was taken in later than now: one origin's wrong times must not stop the play-out of everybody's chunks.
        if due > now + self.target_delay + AHEAD_MAX { now } else { due.round_up(self.tick) }
    }
}

/// Maps the splitter's stream time to local time, and follows the drift between the two clocks by the shortest transit seen.
#[derive(Debug)]
struct StreamClock {
    /// This stream time ...
    stream: StreamTime,
    /// ... is this local instant, before correction.
    local: Instant,
    /// Added to local instants.
    correction_us: i64,
    /// Shortest transit of the span that set the standard.
    standard_us: Option<i64>,
    shortest_us: i64,
    span_end: Instant,
}

impl StreamClock {
    fn new(stream: StreamTime, local: Instant) -> Self {
        Self {
            stream,
            local,
            correction_us: 0,
            standard_us: None,
            shortest_us: i64::MAX,
            span_end: local + DRIFT_SPAN,
        }
    }

    /// The local time of this stream time, in microseconds since the host's origin. Signed: what a newcomer fetches may be
    /// older than its host's clock.
    fn local_us(&self, time: StreamTime) -> i64 {
        let offset = signed(time.as_micros()).saturating_sub(signed(self.stream.as_micros()));
        signed(self.local.as_micros()).saturating_add(offset).saturating_add(self.correction_us)
    }

    /// The local instant this long after a stream time.
    fn after(&self, time: StreamTime, span: Duration) -> Instant {
        let span_us = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Instant::from_micros(u64::try_from(self.local_us(time).saturating_add(span_us)).unwrap_or(0))
    }

    fn stream_time(&self, now: Instant) -> StreamTime {
        let offset =
            signed(now.as_micros()).saturating_sub(signed(self.local.as_micros())) - self.correction_us;
        let micros = signed(self.stream.as_micros()).saturating_add(offset);
        StreamTime::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    fn observe(&mut self, now: Instant, time: StreamTime) {
        let transit_us = signed(now.as_micros()).saturating_sub(self.local_us(time));
        self.shortest_us = self.shortest_us.min(transit_us);
        if now < self.span_end {
            return;
        }
        let standard_us = *self.standard_us.get_or_insert(self.shortest_us);
        let error_us = self.shortest_us.saturating_sub(standard_us);
        self.correction_us = self.correction_us.saturating_add(error_us.clamp(-DRIFT_STEP_US, DRIFT_STEP_US));
        self.shortest_us = i64::MAX;
        self.span_end = now + DRIFT_SPAN;
    }
}

/// Micros of 64 bits are within the signed range for 292 000 years.
fn signed(micros: u64) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2psp_wire::{ChunkHeader, Slot};

    /// A chunk from the future, as an origin may forge one, is played at once instead of after half an hour; one that is a
    /// little ahead, because the estimate is behind, waits for its time.
    #[test]
    fn a_time_that_cannot_be_stops_nothing() {
        let delay = Duration::from_millis(500);
        let now = Instant::from_micros(9_000_000);
        for (ahead, waits) in [(AHEAD_MAX, true), (AHEAD_MAX + Duration::from_micros(1), false)] {
            let mut window = Window::new(8, ChunkNumber::ZERO);
            let time_us = 9_000_000 + u32::try_from(ahead.as_micros()).unwrap();
            let header = ChunkHeader {
                number: ChunkNumber::ZERO,
                origin: Slot::FIRST,
                position: 0,
                header_version: 0,
                random_access: false,
                time_us,
            };
            window.insert(Chunk::new(header, b"x").unwrap());
            let mut playout = Playout {
                target_delay: delay,
                tick: Duration::ZERO,
                began: ChunkNumber::ZERO,
                next: ChunkNumber::ZERO,
                clock: StreamClock::new(StreamTime::from_micros(9_000_000), now),
                start: None,
            };
            match playout.step(now, &window, ChunkNumber::ZERO) {
                Step::Wait(at) => assert_eq!((at, waits), (Some(now + delay + ahead), true)),
                Step::Play(_) => assert!(!waits, "{ahead:?} ahead"),
                Step::Gap { .. } => panic!("nothing is missing"),
            }
        }
    }

    /// A newcomer whose host's clock began a moment ago plays what is half a second old at once, not half a second later.
    #[test]
    fn the_past_before_the_clocks_origin_is_due_at_once() {
        let clock = StreamClock::new(StreamTime::from_micros(60_000_000), Instant::from_micros(5_000));
        let due = clock.after(StreamTime::from_micros(59_400_000), Duration::from_millis(500));
        assert_eq!(due, Instant::ORIGIN);
        let later = clock.after(StreamTime::from_micros(59_600_000), Duration::from_millis(500));
        assert_eq!(later, Instant::from_micros(105_000));
    }

    /// A splitter clock that runs 100 ppm slow against ours is followed: after ten minutes the mapped instants are off by
    /// less than the correction step, where an uncorrected clock would be off by 60 ms.
    #[test]
    fn drift_is_followed() {
        for ppm in [-100_i64, 100] {
            let mut clock = StreamClock::new(StreamTime::from_micros(0), Instant::ORIGIN);
            let mut worst = 0;
            for millis in 0..600_000_u64 {
                let now = Instant::from_micros(millis * 1000 + 5_000 + (millis * 7919) % 3000);
                let sent_us = signed(millis * 1000) + signed(millis) * ppm / 1000;
                let time = StreamTime::from_micros(u64::try_from(sent_us.max(0)).unwrap());
                clock.observe(now, time);
                if millis > 60_000 {
                    worst = worst.max((clock.local_us(time) - signed(millis * 1000)).abs());
                }
            }
            assert!(worst < 5_000, "{ppm} ppm: off by {worst} us");
        }
    }
}
