//! Classic pacing, as published (docs/background.md 1.1): each neighbour has a list of pending chunks, and each chunk received
//! lets one neighbour have all of its list. The output follows the input, so the delay grows with the team. Kept to reproduce
//! the published curves and to measure what burst relay gains. One thing is added: when the input stops, the lists still drain
//! (the published rule leaves the last chunks undelivered).

use crate::{Instant, SlotSet, Train};
use p2psp_wire::{Datagram, Slot, limits::TEAM_SIZE_MAX};
use std::time::Duration;

/// Chunks that may wait for one neighbour; beyond it the oldest is dropped and counted.
pub(super) const PENDING_MAX: usize = 1024;
/// Without input for this long, the lists drain by themselves ...
const DRAIN_AFTER: Duration = Duration::from_millis(200);
/// ... one neighbour each time.
const DRAIN_STEP: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(in crate::peer) struct Classic {
    /// By slot.
    pending: Vec<Vec<Datagram>>,
    waiting: SlotSet,
    /// Neighbours that ever had something pending: the pointer walks over these.
    known: SlotSet,
    cursor: Slot,
    /// Neighbours that may be served now.
    credit: usize,
    drain_at: Instant,
    pub(super) expired: u64,
}

impl Classic {
    pub(super) const fn new() -> Self {
        Self {
            pending: Vec::new(),
            waiting: SlotSet::EMPTY,
            known: SlotSet::EMPTY,
            cursor: Slot::FIRST,
            credit: 0,
            drain_at: Instant::ORIGIN,
            expired: 0,
        }
    }

    pub(super) fn push(&mut self, train: &[Datagram], targets: SlotSet) {
        for slot in targets.iter() {
            if self.pending.len() <= slot.index() {
                self.pending.resize_with((slot.index() + 1).min(TEAM_SIZE_MAX.into()), Vec::new);
            }
            let Some(list) = self.pending.get_mut(slot.index()) else { continue };
            list.extend_from_slice(train);
            if let Some(excess) = list.len().checked_sub(PENDING_MAX) {
                list.drain(..excess);
                self.expired += excess as u64;
            }
            self.waiting.insert(slot);
            self.known.insert(slot);
        }
    }

    pub(super) fn on_received(&mut self, now: Instant, chunks: usize) {
        self.credit = 0;
        if self.waiting.is_empty() {
            // A reception with nothing pending still moves the pointer.
            for _ in 0..chunks {
                self.cursor = self.known.next_from(after(self.cursor)).unwrap_or(self.cursor);
            }
        } else {
            self.credit = chunks;
        }
        self.drain_at = now + DRAIN_AFTER;
    }

    pub(super) fn forget(&mut self, slot: Slot) {
        self.waiting.remove(slot);
        self.known.remove(slot);
        if let Some(list) = self.pending.get_mut(slot.index()) {
            list.clear();
        }
    }

    /// Serves the neighbour at the pointer, then moves the pointer to the next one with something pending, or by one when there
    /// is none.
    pub(super) fn poll(&mut self, now: Instant, sendable: &SlotSet) -> Option<(Slot, Train)> {
        if !self.waiting.is_empty() && self.drain_at <= now {
            self.credit = self.credit.max(1);
            self.drain_at = now + DRAIN_STEP;
        }
        if self.credit == 0 {
            return None;
        }
        let blocked = self.waiting.without(sendable);
        let slot = self.waiting.without(&blocked).next_from(self.cursor)?;
        self.credit -= 1;
        self.waiting.remove(slot);
        self.cursor =
            self.waiting.next_from(slot).or_else(|| self.known.next_from(after(slot))).unwrap_or(slot);
        let datagrams = std::mem::take(self.pending.get_mut(slot.index())?);
        Some((slot, datagrams.into()))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(self.drain_at)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn after(slot: Slot) -> Slot {
    Slot::new(slot.get() + 1).unwrap_or(Slot::FIRST)
}
