//! Burst relay (R-RELAY-2): a train goes to every teammate at once, as fast as the uplink lets it. Who comes first rotates with
//! the origin's slot, so that over a round nobody is always the last.

use crate::{Instant, SlotSet, Train, peer::witness::LATE};
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
    /// Copies that went out late, or were dropped.
    pub(super) late: u64,
}

/// One train on its way to all its targets.
#[derive(Debug)]
struct Flood {
    train: Train,
    remaining: SlotSet,
    cursor: Slot,
    late_from: Instant,
    expires: Instant,
}

impl Flood {
    fn copies(&self) -> u64 {
        (self.train.len() * self.remaining.len()) as u64
    }
}

impl Burst {
    /// Trains older than `lifetime` are not sent: nobody could play them.
    pub(super) const fn new(own: Slot, lifetime: Duration) -> Self {
        Self { first: own, lifetime, floods: VecDeque::new(), expired: 0, late: 0 }
    }

    pub(super) fn push(&mut self, now: Instant, train: Train, targets: SlotSet) {
        if targets.is_empty() {
            return;
        }
        if self.floods.len() == FLOODS_MAX {
            self.drop_oldest();
        }
        let (late_from, expires) = (now + LATE, now + self.lifetime);
        self.floods.push_back(Flood { train, remaining: targets, cursor: self.first, late_from, expires });
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
        if flood.late_from < now {
            self.late += flood.train.len() as u64;
        }
        let train = flood.train.clone();
        if flood.remaining.is_empty() {
            self.floods.remove(index);
        }
        Some((target, train))
    }

    /// Copies that are late and still to go out.
    pub(super) fn overdue(&self, now: Instant) -> u64 {
        self.floods.iter().filter(|flood| flood.late_from < now).map(Flood::copies).sum()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.floods.is_empty()
    }

    fn drop_oldest(&mut self) {
        if let Some(flood) = self.floods.pop_front() {
            self.expired += flood.copies();
            self.late += flood.copies();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::slot;
    use p2psp_wire::{Chunk, ChunkHeader, ChunkNumber, Datagram};

    fn train(number: u64) -> Train {
        let header = ChunkHeader {
            number: ChunkNumber::new(number).unwrap(),
            origin: slot(0),
            position: 0,
            header_version: 0,
            random_access: false,
            time_us: 0,
        };
        [Datagram::Chunk(Chunk::new(header, b"x").unwrap())].into()
    }

    fn order(burst: &mut Burst, now: Instant, sendable: &SlotSet) -> Vec<(u16, u64)> {
        std::iter::from_fn(|| burst.poll(now, sendable))
            .map(|(to, t)| (to.get(), t[0].number().get()))
            .collect()
    }

    /// R-RELAY-3: the walk begins behind the origin's own seat.
    #[test]
    fn order_rotates_with_the_slot() {
        let team: SlotSet = (0..5).map(slot).collect();
        for own in 0..5 {
            let mut burst = Burst::new(slot(own), Duration::from_millis(500));
            let mut others = team;
            others.remove(slot(own));
            burst.push(Instant::ORIGIN, train(1), others);
            let walked: Vec<u16> =
                order(&mut burst, Instant::ORIGIN, &team).iter().map(|(to, _)| *to).collect();
            let expected: Vec<u16> = (1..5).map(|step| (own + step) % 5).collect();
            assert_eq!(walked, expected);
            assert!(burst.is_idle());
        }
    }

    /// A blocked teammate holds nobody up, gets its copy when it is ready, and none when that is too late.
    #[test]
    fn blocked_targets_wait_alone() {
        let all: SlotSet = [1, 2, 3].map(slot).into_iter().collect();
        let open: SlotSet = [1, 3].map(slot).into_iter().collect();
        let mut burst = Burst::new(slot(0), Duration::from_millis(500));
        burst.push(Instant::ORIGIN, train(1), all);
        burst.push(Instant::ORIGIN, train(2), all);
        assert_eq!(order(&mut burst, Instant::ORIGIN, &open), [(1, 1), (3, 1), (1, 2), (3, 2)]);
        let later = Instant::ORIGIN + Duration::from_millis(400);
        burst.push(later, train(3), all);
        assert_eq!(order(&mut burst, later + Duration::from_millis(200), &all), [(1, 3), (2, 3), (3, 3)]);
        assert_eq!(burst.expired, 2, "two trains of one chunk came too late for slot 2");
    }

    /// One train more than the limit drops the oldest.
    #[test]
    fn trains_under_way_are_bounded() {
        let mut burst = Burst::new(slot(0), Duration::from_millis(500));
        let targets: SlotSet = [1, 2].map(slot).into_iter().collect();
        for n in 0..=FLOODS_MAX as u64 {
            burst.push(Instant::ORIGIN, train(n), targets);
        }
        assert_eq!(burst.expired, 2);
        assert_eq!(burst.poll(Instant::ORIGIN, &targets).map(|(_, t)| t[0].number().get()), Some(1));
    }
}
