//! How far the stream has come, as far as it can be believed: one member's word moves nothing (R-RELAY-6). Owns the newest
//! number that is trusted; knows no window and no play-out.
//!
//! The splitter's word counts at once: `Welcome`, and this member's own turns. Who gets no turns, because it wants none, is
//! silenced or is cut off from the splitter, goes by two teammates that agree: the second-highest number shown is one that an
//! honest member has shown too, as long as no two conspire. That needs neither clocks nor rates, so that it holds over
//! pauses, joins and a rate that jumps, and it follows the stream within a turn at any team size.

use crate::Instant;
use p2psp_wire::{ChunkNumber, Slot};
use std::time::Duration;

/// Where for this long nobody but one member has shown anything new, that member's chunks are counted instead ...
pub(super) const ALONE_AFTER: Duration = Duration::from_secs(1);
/// ... and each moves the edge by as much as this at most: a stream of which every second chunk is lost is still followed, and
/// two datagrams are worth four numbers.
const ALONE_STEP: u64 = 2;

/// The newest number that is trusted.
#[derive(Debug)]
pub(super) struct Edge {
    number: ChunkNumber,
    /// The splitter's newest word.
    told: ChunkNumber,
    /// The highest number that any member has shown, and who.
    leader: Option<(Slot, ChunkNumber)>,
    /// When the splitter or a second member last moved the edge.
    moved: Instant,
}

impl Edge {
    /// `next` is what `Welcome` says the splitter has reached.
    pub(super) const fn new(now: Instant, next: ChunkNumber) -> Self {
        Self { number: next, told: next, leader: None, moved: now }
    }

    /// The newest number that is trusted.
    pub(super) const fn number(&self) -> ChunkNumber {
        self.number
    }

    /// The splitter's newest word.
    pub(super) const fn told(&self) -> ChunkNumber {
        self.told
    }

    /// A chunk of an own turn came. True when it is the newest word of the splitter; one that was overtaken says nothing.
    pub(super) fn on_turn(&mut self, now: Instant, number: ChunkNumber) -> bool {
        if number < self.told {
            return false;
        }
        self.told = number;
        self.number = self.number.max(number);
        self.moved = now;
        true
    }

    /// The splitter is found to be back at `number`: whatever was shown above it was a lie.
    pub(super) fn pull_back(&mut self, number: ChunkNumber) {
        self.number = number;
        self.leader = None;
    }

    /// A member is gone: it must not agree with itself from another seat.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.leader = self.leader.filter(|(leader, _)| *leader != slot);
    }

    /// A member has shown a chunk of this number, of its own or as a proxy.
    pub(super) fn on_shown(&mut self, now: Instant, from: Slot, number: ChunkNumber) {
        // What is not news confirms nothing: else one could keep others from being believed.
        if number <= self.number {
            return;
        }
        match self.leader {
            Some((leader, highest)) if leader != from => {
                let agreed = number.min(highest);
                if agreed > self.number {
                    self.number = agreed;
                    self.moved = now;
                }
                if number > highest {
                    self.leader = Some((from, number));
                }
            }
            Some((_, highest)) => self.leader = Some((from, number.max(highest))),
            None => self.leader = Some((from, number)),
        }
        if now.since(self.moved) > ALONE_AFTER {
            self.number = self.number.max(number.min(self.number.plus(ALONE_STEP)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::slot;

    const NOW: Instant = Instant::from_micros(5_000_000);

    fn number(n: u64) -> ChunkNumber {
        ChunkNumber::new(n).unwrap()
    }

    /// One member moves nothing, however high it reaches; two move the edge to what both have shown.
    #[test]
    fn two_must_agree() {
        let mut edge = Edge::new(NOW, number(100));
        for n in [101, 5_000, 1 << 40] {
            edge.on_shown(NOW, slot(1), number(n));
            assert_eq!(edge.number(), number(100));
        }
        edge.on_shown(NOW, slot(2), number(103));
        assert_eq!(
            edge.number(),
            number(103),
            "the liar has shown more, so that the honest one's word is the lower"
        );
        edge.on_shown(NOW, slot(3), number(90));
        assert_eq!(edge.number(), number(103), "never down");
    }

    /// Who comes back to another seat is no second witness.
    #[test]
    fn nobody_agrees_with_itself() {
        let mut edge = Edge::new(NOW, number(100));
        edge.on_shown(NOW, slot(1), number(5_000));
        edge.forget(slot(1));
        edge.on_shown(NOW, slot(2), number(4_000));
        assert_eq!(edge.number(), number(100));
    }

    /// The splitter's word needs no second; an old one is not taken for it.
    #[test]
    fn the_splitter_is_believed() {
        let mut edge = Edge::new(NOW, number(100));
        assert!(edge.on_turn(NOW, number(7_000)));
        assert!(!edge.on_turn(NOW, number(6_999)));
        assert_eq!(edge.number(), number(7_000));
    }

    /// Where there is one sender only, its stream is followed, with losses, and whatever it claims, by two a chunk.
    #[test]
    fn a_lone_sender_is_followed() {
        let mut edge = Edge::new(NOW, number(100));
        let alone = NOW + ALONE_AFTER + Duration::from_millis(1);
        edge.on_shown(NOW + ALONE_AFTER, slot(1), number(1 << 40));
        assert_eq!(edge.number(), number(100));
        edge.on_shown(alone, slot(1), number(1 << 40));
        edge.on_shown(alone, slot(1), number(1 << 40));
        assert_eq!(edge.number(), number(104), "two datagrams");
        for n in (106..1_000).step_by(2) {
            edge.on_shown(alone, slot(1), number(n));
            assert_eq!(edge.number(), number(n), "half of the stream is enough");
        }
    }
}
