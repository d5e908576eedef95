//! Burst relay (R-RELAY-2): a train goes to every teammate at once, as fast as the uplink lets it. Who comes first rotates with
//! the origin's slot, so that over a round nobody is always the last.

use crate::{Instant, SlotSet, Train};
use p2psp_wire::Slot;
use std::{collections::VecDeque, time::Duration};

/// Trains under way. An origin has one every round, a proxy a few: more means that the uplink does not keep up, and then the
/// oldest is the least worth sending.
pub(super) const FLOODS_MAX: usize = 256;

#[derive(Debug)]
pub(in crate::peer) struct Burst {
    /// Where each walk over the teammates begins: behind this member's own seat.
    first: Slot,
    lifetime: Duration,
    floods: VecDeque<Flood>,
    pub(super) expired: u64,
}

/// One train on its way to all its targets.
#[derive(Debug)]
struct Flood {
    train: Train,
    remaining: SlotSet,
    cursor: Slot,
    expires: Instant,
}

impl Burst {
    /// Trains older than `lifetime` are not sent: nobody could play them.
    pub(super) const fn new(own: Slot, lifetime: Duration) -> Self {
        Self { first: own, lifetime, floods: VecDeque::new(), expired: 0 }
    }

    pub(super) fn push(&mut self, now: Instant, train: Train, targets: SlotSet) {
        if targets.is_empty() {
            return;
        }
        if self.floods.len() == FLOODS_MAX {
            self.drop_oldest();
        }
        let expires = now + self.lifetime;
        self.floods.push_back(Flood { train, remaining: targets, cursor: self.first, expires });
    }

    pub(super) fn forget(&mut self, slot: Slot) {
        for flood in &mut self.floods {
            flood.remaining.remove(slot);
        }
        self.floods.retain(|flood| !flood.remaining.is_empty());
    }

    pub(super) fn poll(&mut self, now: Instant, sendable: &SlotSet) -> Option<(Slot, Train)> {
        while self.floods.front().is_some_and(|flood| flood.expires <= now) {
            self.drop_oldest();
        }
        // A flood whose targets are all blocked must not hold up the next one.
        let (index, target) = self.floods.iter().enumerate().find_map(|(index, flood)| {
            let unreachable = flood.remaining.without(sendable);
            let target = flood.remaining.without(&unreachable).next_from(flood.cursor)?;
            Some((index, target))
        })?;
        let flood = self.floods.get_mut(index)?;
        flood.remaining.remove(target);
        flood.cursor = target;
        let train = flood.train.clone();
        if flood.remaining.is_empty() {
            self.floods.remove(index);
        }
        Some((target, train))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.floods.is_empty()
    }

    fn drop_oldest(&mut self) {
        if let Some(flood) = self.floods.pop_front() {
            self.expired += (flood.train.len() * flood.remaining.len()) as u64;
        }
    }
}
