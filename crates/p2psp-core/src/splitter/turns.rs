//! Groups chunks into turns: g consecutive chunks for one origin (R-TURN-1), where g follows the measured chunk rate. A
//! turn that the source does not fill goes out when its time is over.

use crate::Instant;
use bytes::Bytes;
use p2psp_wire::{ChunkNumber, StreamTime};
use std::{collections::VecDeque, time::Duration};

/// Most chunks of a turn: a lost origin loses this many in a row, and parity must cover them.
pub(super) const TURN_CHUNKS_MAX: u64 = 16;
/// Turns that wait for the uplink (R-TURN-3): beyond it the oldest is dropped and counted, because a stale chunk is worse than none.
pub(super) const TURNS_WAITING_MAX: usize = 256;
/// How long chunks are counted before the rate is taken.
const RATE_SPAN: Duration = Duration::from_millis(500);
/// A turn waits for at most this many turn spans.
const FLUSH_SPANS: u32 = 2;

/// A chunk before it has an origin.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) number: ChunkNumber,
    pub(super) time: StreamTime,
    pub(super) payload: Bytes,
    pub(super) random_access: bool,
    pub(super) header_version: u8,
}

/// Collects chunks into turns.
#[derive(Debug)]
pub(super) struct Turns {
    span: Duration,
    chunks: u64,
    /// Chunks, and the time they took, of the last span in which they were counted.
    rate: (u64, Duration),
    open: Vec<Draft>,
    opened: Instant,
    waiting: VecDeque<Vec<Draft>>,
    counted: u64,
    counted_since: Option<Instant>,
}

impl Turns {
    pub(super) fn new(span: Duration) -> Self {
        Self {
            span,
            chunks: 1,
            rate: (0, RATE_SPAN),
            open: Vec::new(),
            opened: Instant::ORIGIN,
            waiting: VecDeque::new(),
            counted: 0,
            counted_since: None,
        }
    }

    /// Chunks of a turn at the present rate.
    pub(super) const fn chunks(&self) -> u64 {
        self.chunks
    }

    /// How many chunks the source brings in a span, at the present rate.
    pub(super) fn within(&self, span: Duration) -> u64 {
        let (chunks, elapsed) = self.rate;
        let scaled = u128::from(chunks) * span.as_nanos();
        let rounded = (scaled + elapsed.as_nanos() / 2) / elapsed.as_nanos().max(1);
        u64::try_from(rounded).unwrap_or(u64::MAX)
    }

    /// Adds a chunk; how many chunks had to be dropped for it.
    pub(super) fn push(&mut self, now: Instant, draft: Draft) -> u64 {
        self.measure(now);
        if self.open.is_empty() {
            self.opened = now;
        }
        self.open.push(draft);
        if self.open.len() as u64 >= self.chunks { self.close() } else { 0 }
    }

    /// Closes the open turn if its time is over; how many chunks had to be dropped for it.
    pub(super) fn on_tick(&mut self, now: Instant) -> u64 {
        if self.deadline().is_some_and(|deadline| deadline <= now) { self.close() } else { 0 }
    }

    /// Closes the open turn, because the source pauses or is over.
    pub(super) fn close(&mut self) -> u64 {
        let turn = std::mem::take(&mut self.open);
        if turn.is_empty() {
            return 0;
        }
        self.waiting.push_back(turn);
        if self.waiting.len() <= TURNS_WAITING_MAX {
            return 0;
        }
        self.waiting.pop_front().map_or(0, |stale| stale.len() as u64)
    }

    /// The next turn to give out, or its first `chunks_max` chunks; the rest is the next one.
    pub(super) fn pop_at_most(&mut self, chunks_max: u64) -> Option<Vec<Draft>> {
        let mut turn = self.waiting.pop_front()?;
        let taken = usize::try_from(chunks_max.max(1)).unwrap_or(usize::MAX);
        if turn.len() > taken {
            let rest = turn.split_off(taken);
            self.waiting.push_front(rest);
        }
        Some(turn)
    }

    /// Whether turns wait to be given out.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When the open turn must go out as it is.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.open.is_empty()).then(|| self.opened + self.span * FLUSH_SPANS)
    }

    /// Takes the rate twice a second. Chunks of one batch come at the same instant: only whole spans are counted.
    fn measure(&mut self, now: Instant) {
        let since = *self.counted_since.get_or_insert(now);
        let elapsed = now.since(since);
        if elapsed >= RATE_SPAN {
            self.rate = (self.counted, elapsed);
            self.chunks = self.within(self.span).clamp(1, TURN_CHUNKS_MAX);
            self.counted = 0;
            self.counted_since = Some(now);
        }
        self.counted += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(n: u64) -> Draft {
        Draft {
            number: ChunkNumber::new(n).unwrap(),
            time: StreamTime::from_micros(n),
            payload: Bytes::from_static(b"x"),
            random_access: false,
            header_version: 0,
        }
    }

    /// R-TURN-1 with 4 ms: 2 chunks at 4 Mb/s (443 chunks/s), 8 at 20 Mb/s (2083), 1 at a trickle, never over 16.
    #[test]
    fn turn_length_follows_the_rate() {
        for (per_second, expected) in [(10, 1), (443, 2), (2083, 8), (20_000, 16)] {
            let mut turns = Turns::new(Duration::from_millis(4));
            for n in 0..per_second * 2 {
                turns.push(Instant::from_nanos(n * 1_000_000_000 / per_second), draft(n));
            }
            assert_eq!(turns.chunks(), expected, "{per_second} chunks/s");
        }
    }

    /// A pause of the source lets no chunk wait for company.
    #[test]
    fn open_turn_goes_out_in_time() {
        let mut turns = Turns::new(Duration::from_millis(4));
        turns.chunks = 8;
        let now = Instant::from_micros(1000);
        turns.push(now, draft(0));
        assert_eq!(turns.deadline(), Some(now + Duration::from_millis(8)));
        turns.on_tick(now + Duration::from_millis(7));
        assert!(turns.pop_at_most(u64::MAX).is_none());
        turns.on_tick(now + Duration::from_millis(8));
        assert_eq!(turns.pop_at_most(u64::MAX).map(|turn| turn.len()), Some(1));
    }

    /// One turn more than may wait drops the oldest, and says so.
    #[test]
    fn waiting_turns_are_bounded() {
        let mut turns = Turns::new(Duration::from_millis(4));
        for n in 0..TURNS_WAITING_MAX as u64 {
            assert_eq!(turns.push(Instant::ORIGIN, draft(n)), 0);
        }
        assert_eq!(turns.push(Instant::ORIGIN, draft(9999)), 1);
        assert_eq!(turns.pop_at_most(u64::MAX).unwrap()[0].number.get(), 1);
    }
}
