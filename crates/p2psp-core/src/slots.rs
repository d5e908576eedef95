//! A set of slots as bits: forwarding sets are copied and walked for every train.

use p2psp_wire::{Slot, limits::TEAM_SIZE_MAX};

const WORDS: usize = TEAM_SIZE_MAX as usize / 64;

/// A set of slots. Copies are 64 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotSet([u64; WORDS]);

impl SlotSet {
    /// The empty set.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// Adds a slot; false when it was there.
    pub fn insert(&mut self, slot: Slot) -> bool {
        let (word, bit) = place(slot);
        self.0.get_mut(word).is_some_and(|word| {
            let fresh = *word & bit == 0;
            *word |= bit;
            fresh
        })
    }

    /// Takes a slot out; false when it was not there.
    pub fn remove(&mut self, slot: Slot) -> bool {
        let (word, bit) = place(slot);
        self.0.get_mut(word).is_some_and(|word| {
            let there = *word & bit != 0;
            *word &= !bit;
            there
        })
    }

    /// Whether the slot is in the set.
    #[must_use]
    pub fn contains(&self, slot: Slot) -> bool {
        let (word, bit) = place(slot);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Whether no slot is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// How many slots are in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The slots of this set that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut result = *self;
        for (word, mask) in result.0.iter_mut().zip(other.0) {
            *word &= !mask;
        }
        result
    }

    /// The first slot at or after `from`, wrapping round to the first of all.
    #[must_use]
    pub fn next_from(&self, from: Slot) -> Option<Slot> {
        let (start, bit) = place(from);
        let head = self.0.get(start).copied().unwrap_or(0) & !(bit - 1);
        if head != 0 {
            return slot_at(start, head);
        }
        (1..=WORDS).map(|step| (start + step) % WORDS).find_map(|word| {
            let bits = self.0.get(word).copied().unwrap_or(0);
            if bits == 0 { None } else { slot_at(word, bits) }
        })
    }

    /// The slots in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.0.iter().enumerate().flat_map(|(word, bits)| {
            let mut rest = *bits;
            std::iter::from_fn(move || {
                let slot = if rest == 0 { None } else { slot_at(word, rest) };
                rest &= rest.wrapping_sub(1);
                slot
            })
        })
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        let mut set = Self::EMPTY;
        for slot in slots {
            set.insert(slot);
        }
        set
    }
}

fn place(slot: Slot) -> (usize, u64) {
    (slot.index() / 64, 1 << (slot.get() % 64))
}

/// The slot of the lowest bit set in `bits`.
fn slot_at(word: usize, bits: u64) -> Option<Slot> {
    u32::try_from(word).ok().and_then(|word| Slot::try_from(word * 64 + bits.trailing_zeros()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::slot;

    /// The walk from any slot visits each member once, in rotated order.
    #[test]
    fn walks_rotate() {
        let set: SlotSet = [0, 3, 63, 64, 130, 511].map(slot).into_iter().collect();
        assert_eq!(set.iter().map(Slot::get).collect::<Vec<_>>(), [0, 3, 63, 64, 130, 511]);
        for (from, first) in [(0, 0), (1, 3), (64, 64), (65, 130), (131, 511), (511, 511)] {
            assert_eq!(set.next_from(slot(from)), Some(slot(first)), "from {from}");
        }
        let mut rest = set;
        rest.remove(slot(511));
        assert_eq!(rest.next_from(slot(131)), Some(slot(0)), "wraps");
        assert_eq!(SlotSet::EMPTY.next_from(slot(7)), None);
        assert_eq!(set.len(), 6);
        assert_eq!(set.without(&rest).iter().collect::<Vec<_>>(), [slot(511)]);
    }
}
