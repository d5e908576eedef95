//! Burst relay (R-RELAY-2): a train goes to every teammate at once, as fast as the uplink lets it. Who comes first rotates with
//! the origin's slot, so that over a round nobody is always the last. What is passed on for other origins goes behind all own turns
//! (R-ROUTE-6).

use crate::{Instant, SlotSet, Train, peer::witness::LATE};
use p2psp_wire::{Datagram, Slot};
use std::{collections::VecDeque, time::Duration};

/// Own trains under way. An origin has one every round: more means that the uplink does not keep up, and then the oldest is the least
/// worth sending.
pub(super) const FLOODS_MAX: usize = 256;
/// Others' trains under way: more than a 4 Mb/s stream brings within the play-out delay, if each chunk comes alone.
pub(super) const PROXIED_MAX: usize = 512;

#[derive(Debug)]
pub(in crate::peer) struct Burst {
    own: Slot,
    lifetime: Duration,
    turns: Floods,
    /// Others' turns, for who asked for them: whatever was asked for, no turn of this member's own waits for it or gives way to it.
    proxied: Floods,
    /// Copies of own turns that were dropped.
    pub(super) expired: u64,
    /// Copies of others' turns that were dropped. They were owed to nobody.
    pub(super) expired_proxied: u64,
    /// Copies of own turns that went out late, or were dropped.
    pub(super) late: u64,
}

/// Trains that wait, the oldest first.
#[derive(Debug)]
struct Floods {
    waiting: VecDeque<Flood>,
    most: usize,
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

impl Floods {
    const fn new(most: usize) -> Self {
        Self { waiting: VecDeque::new(), most }
    }

    /// Takes one in; gives back how many copies were dropped for it.
    fn push(&mut self, flood: Flood) -> u64 {
        let oldest = if self.waiting.len() == self.most { self.waiting.pop_front() } else { None };
        self.waiting.push_back(flood);
        oldest.map_or(0, |flood| flood.copies())
    }

    fn forget(&mut self, slot: Slot) {
        for flood in &mut self.waiting {
            flood.remaining.remove(slot);
        }
        self.waiting.retain(|flood| !flood.remaining.is_empty());
    }

    /// Drops what nobody could play any more; gives back how many copies these were.
    fn expire(&mut self, now: Instant) -> u64 {
        let mut copies = 0;
        while self.waiting.front().is_some_and(|flood| flood.expires <= now) {
            copies += self.waiting.pop_front().map_or(0, |flood| flood.copies());
        }
        copies
    }

    /// The next copy, and whether it is late.
    fn poll(&mut self, now: Instant, sendable: &SlotSet) -> Option<(Slot, Train, bool)> {
        // A flood whose targets are all blocked must not hold up the next one.
        let (index, target) = self.waiting.iter().enumerate().find_map(|(index, flood)| {
            let unreachable = flood.remaining.without(sendable);
            let target = flood.remaining.without(&unreachable).next_from(flood.cursor)?;
            Some((index, target))
        })?;
        let flood = self.waiting.get_mut(index)?;
        flood.remaining.remove(target);
        flood.cursor = target;
        let (train, is_late) = (flood.train.clone(), flood.late_from < now);
        if flood.remaining.is_empty() {
            self.waiting.remove(index);
        }
        Some((target, train, is_late))
    }
}

impl Burst {
    /// Trains older than `lifetime` are not sent: nobody could play them.
    pub(super) const fn new(own: Slot, lifetime: Duration) -> Self {
        Self {
            own,
            lifetime,
            turns: Floods::new(FLOODS_MAX),
            proxied: Floods::new(PROXIED_MAX),
            expired: 0,
            expired_proxied: 0,
            late: 0,
        }
    }

    pub(super) fn push(&mut self, now: Instant, train: Train, targets: SlotSet) {
        let Some(origin) = train.first().map(Datagram::origin).filter(|_| !targets.is_empty()) else {
            return;
        };
        let (late_from, expires) = (now + LATE, now + self.lifetime);
        // Each walk over the teammates begins behind this member's own seat.
        let flood = Flood { train, remaining: targets, cursor: self.own, late_from, expires };
        if origin == self.own {
            let dropped = self.turns.push(flood);
            self.expired += dropped;
            self.late += dropped;
        } else {
            self.expired_proxied += self.proxied.push(flood);
        }
    }

    pub(super) fn forget(&mut self, slot: Slot) {
        self.turns.forget(slot);
        self.proxied.forget(slot);
    }

    pub(super) fn poll(&mut self, now: Instant, sendable: &SlotSet) -> Option<(Slot, Train)> {
        let dropped = self.turns.expire(now);
        self.expired += dropped;
        self.late += dropped;
        self.expired_proxied += self.proxied.expire(now);
        if let Some((target, train, is_late)) = self.turns.poll(now, sendable) {
            self.late += if is_late { train.len() as u64 } else { 0 };
            return Some((target, train));
        }
        let (target, train, _) = self.proxied.poll(now, sendable)?;
        Some((target, train))
    }

    /// Copies of own turns that are late and still to go out.
    pub(super) fn overdue(&self, now: Instant) -> u64 {
        self.turns.waiting.iter().filter(|flood| flood.late_from < now).map(Flood::copies).sum()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.turns.waiting.is_empty() && self.proxied.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::slot;
    use p2psp_wire::{Chunk, ChunkHeader, ChunkNumber};

    fn train(number: u64) -> Train {
        train_of(0, number)
    }

    fn train_of(origin: u16, number: u64) -> Train {
        let header = ChunkHeader {
            number: ChunkNumber::new(number).unwrap(),
            origin: slot(origin),
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
            burst.push(Instant::ORIGIN, train_of(own, 1), others);
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

    /// R-ROUTE-6: an own turn goes before all that is passed on for others, however much of that waits; one more than the limit of it
    /// drops the oldest of it and no own turn, and is nothing to own up to.
    #[test]
    fn own_turns_go_before_what_is_passed_on() {
        let mut burst = Burst::new(slot(0), Duration::from_millis(500));
        let (two, three): (SlotSet, SlotSet) =
            ([slot(2)].into_iter().collect(), [slot(3)].into_iter().collect());
        burst.push(Instant::ORIGIN, train(1000), two);
        for n in 0..=PROXIED_MAX as u64 {
            burst.push(Instant::ORIGIN, train_of(1, n), three);
        }
        burst.push(Instant::ORIGIN, train(1001), two);
        assert_eq!((burst.expired, burst.expired_proxied, burst.late), (0, 1, 0));
        let all: SlotSet = [2, 3].map(slot).into_iter().collect();
        let late = Instant::ORIGIN + Duration::from_millis(200);
        assert_eq!(burst.overdue(late), 2, "the own ones");
        let sent = order(&mut burst, late, &all);
        assert_eq!(sent.get(..3), Some([(2, 1000), (2, 1001), (3, 1)].as_slice()));
        assert_eq!((sent.len(), burst.late), (2 + PROXIED_MAX, 2));
        burst.push(Instant::ORIGIN, train_of(1, 0), three);
        assert_eq!(order(&mut burst, Instant::ORIGIN + Duration::from_millis(500), &all), []);
        assert_eq!((burst.expired, burst.expired_proxied, burst.late), (0, 2, 2));
    }
}
