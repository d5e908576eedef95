//! The event queue: events leave in order of time, and of entry where times are equal. Owns that order and its speed, and
//! knows nothing about what an event means.
//!
//! A calendar queue (Brown 1988): most events lie less than a fifth of a second ahead, so that they drop into one of a ring
//! of buckets at once; only the bucket under the cursor is kept as a heap. What lies farther ahead waits in a heap of its own.

use p2psp_core::Instant;
use std::{cmp::Ordering, collections::BinaryHeap, mem};

/// A bucket spans 2^16 ns: 66 us, a few dozen events of a run with ten thousand peers.
const BUCKET_SHIFT: u32 = 16;
/// The ring spans 0.27 s; a power of two.
const BUCKETS: u64 = 4096;

/// Events in order of time.
#[derive(Debug)]
pub struct Queue<T> {
    /// Events of the bucket under the cursor, and of any before it.
    current: BinaryHeap<Entry<T>>,
    cursor: u64,
    /// Unsorted events of the `BUCKETS - 1` buckets behind the cursor.
    ring: Vec<Vec<Entry<T>>>,
    in_ring: usize,
    far: BinaryHeap<Entry<T>>,
    sequence: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: u64,
    sequence: u64,
    event: T,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            current: BinaryHeap::new(),
            cursor: 0,
            ring: (0..BUCKETS).map(|_| Vec::new()).collect(),
            in_ring: 0,
            far: BinaryHeap::new(),
            sequence: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Adds an event. One that lies before the last event taken comes out next.
    pub fn push(&mut self, at: Instant, event: T) {
        let entry = Entry { at: at.as_nanos(), sequence: self.sequence, event };
        self.sequence += 1;
        let bucket = entry.at >> BUCKET_SHIFT;
        if bucket <= self.cursor {
            self.current.push(entry);
        } else if bucket - self.cursor < BUCKETS
            && let Some(slot) = self.ring.get_mut(ring_index(bucket))
        {
            slot.push(entry);
            self.in_ring += 1;
        } else {
            self.far.push(entry);
        }
    }

    /// The next event, if it is due at `until` or before.
    pub fn pop(&mut self, until: Instant) -> Option<(Instant, T)> {
        while self.current.is_empty() {
            self.advance()?;
        }
        if self.current.peek()?.at > until.as_nanos() {
            return None;
        }
        self.current.pop().map(|entry| (Instant::from_nanos(entry.at), entry.event))
    }

    /// How many events wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.current.len() + self.in_ring + self.far.len()
    }

    /// Whether no event waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves the cursor to the next bucket that has events; `None` when there is none.
    fn advance(&mut self) -> Option<()> {
        let far = self.far.peek().map(|entry| entry.at >> BUCKET_SHIFT);
        let near = if self.in_ring == 0 {
            None
        } else {
            (self.cursor + 1..self.cursor + BUCKETS)
                .find(|bucket| self.ring.get(ring_index(*bucket)).is_some_and(|slot| !slot.is_empty()))
        };
        self.cursor = near.into_iter().chain(far).min()?;
        if near == Some(self.cursor)
            && let Some(slot) = self.ring.get_mut(ring_index(self.cursor))
        {
            // The spent heap's memory goes back to the ring.
            let events = mem::replace(slot, mem::take(&mut self.current).into_vec());
            self.in_ring -= events.len();
            self.current = events.into();
        }
        while self.far.peek().is_some_and(|entry| entry.at >> BUCKET_SHIFT <= self.cursor) {
            self.current.extend(self.far.pop());
        }
        Some(())
    }
}

fn ring_index(bucket: u64) -> usize {
    usize::try_from(bucket % BUCKETS).unwrap_or(0)
}

impl<T> Ord for Entry<T> {
    /// Reversed: the heap's greatest entry is the next event.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    /// Against a sorted list as the model: pushes near, far, tied and in the past, between pops up to random instants.
    #[test]
    fn agrees_with_a_sorted_list() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let (mut queue, mut model) = (Queue::default(), Vec::new());
            let (mut now, mut id) = (0_u64, 0_u64);
            for _ in 0..3000 {
                for _ in 0..rng.below(5) {
                    let ahead = match rng.below(4) {
                        0 => 0,
                        1 => rng.below(1 << 14),
                        2 => rng.below(1 << 27),
                        _ => rng.below(1 << 33),
                    };
                    queue.push(Instant::from_nanos(now + ahead), id);
                    model.push((now + ahead, id));
                    id += 1;
                }
                let until = now + rng.below(1 << 24);
                model.sort_unstable();
                while let Some((at, got)) = queue.pop(Instant::from_nanos(until)) {
                    assert_eq!((at.as_nanos(), got), model.remove(0), "seed {seed}");
                }
                assert!(
                    model.first().is_none_or(|first| first.0 > until),
                    "seed {seed}: an event stayed behind"
                );
                assert_eq!(queue.len(), model.len());
                now = until;
            }
        }
    }
}
