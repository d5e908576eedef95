//! What is there now, by slot, and the newest changes that led to it. All watchers read one journal, each at its own speed: there is
//! no queue for a slow one, which finds instead that the changes it has not read are gone, and begins anew. Knows no transport.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// Changes kept: each seat of the largest team can change twice before a watcher must have read the first.
pub(crate) const CHANGES_MAX: usize = 1024;

/// What a journal holds.
pub trait Record: Clone + Send + Sync + 'static {
    /// Nothing has changed that watchers are told.
    fn is_same(&self, other: &Self) -> bool;
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change<V> {
    /// A record is new or has changed.
    Put(V),
    /// A record is gone.
    Gone {
        /// As it was last.
        last: V,
        /// Why.
        reason: &'static str,
    },
}

/// Records by slot, with the newest changes.
#[derive(Debug)]
pub struct Journal<V> {
    /// Tells this journal from that of another run.
    instance: u64,
    pages: Mutex<Pages<V>>,
    revision: watch::Sender<u64>,
}

#[derive(Debug)]
struct Pages<V> {
    present: BTreeMap<u16, V>,
    /// The last one led to the journal's revision, the one before it to the revision before, and so on.
    changes: VecDeque<Change<V>>,
}

impl<V: Record> Journal<V> {
    /// An empty journal. `instance` differs from run to run: the wall clock does.
    #[must_use]
    pub fn new(instance: u64) -> Self {
        let pages = Mutex::new(Pages { present: BTreeMap::new(), changes: VecDeque::new() });
        Self { instance, pages, revision: watch::channel(0).0 }
    }

    /// Writes a record; a change if it is not the same as before.
    pub fn put(&self, slot: u16, record: V) {
        let mut pages = self.pages();
        let is_same = pages.present.get(&slot).is_some_and(|old| old.is_same(&record));
        if !is_same {
            self.append(&mut pages, Change::Put(record.clone()));
        }
        pages.present.insert(slot, record);
    }

    /// Changes a record that is there; a change if it is not the same afterwards.
    pub fn update(&self, slot: u16, change: impl FnOnce(&mut V)) {
        let mut pages = self.pages();
        let Some(old) = pages.present.get(&slot) else { return };
        let mut record = old.clone();
        change(&mut record);
        if !record.is_same(old) {
            self.append(&mut pages, Change::Put(record.clone()));
        }
        pages.present.insert(slot, record);
    }

    /// Takes a record out.
    pub fn remove(&self, slot: u16, reason: &'static str) {
        let mut pages = self.pages();
        if let Some(last) = pages.present.remove(&slot) {
            self.append(&mut pages, Change::Gone { last, reason });
        }
    }

    /// The slots that have a record, ascending.
    #[must_use]
    pub fn slots(&self) -> Vec<u16> {
        self.pages().present.keys().copied().collect()
    }

    /// The record of a slot.
    #[must_use]
    pub fn get(&self, slot: u16) -> Option<V> {
        self.pages().present.get(&slot).cloned()
    }

    /// The first record that fits, by ascending slot.
    pub(crate) fn find(&self, fits: impl Fn(&V) -> bool) -> Option<V> {
        self.pages().present.values().find(|record| fits(record)).cloned()
    }

    /// At most `max` records behind the slot `after`, the last slot among them unless there are no more, and how many there are in
    /// all.
    pub(crate) fn page(&self, after: Option<u16>, max: usize) -> (Vec<V>, Option<u16>, usize) {
        let pages = self.pages();
        let first = after.map_or(0, |slot| u32::from(slot) + 1);
        let mut rest = pages.present.iter().filter(|(slot, _)| u32::from(**slot) >= first);
        let mut last = None;
        let mut records = Vec::new();
        for (slot, record) in rest.by_ref().take(max) {
            records.push(record.clone());
            last = Some(*slot);
        }
        let more = rest.next().is_some();
        (records, last.filter(|_| more), pages.present.len())
    }

    /// All records, and the revision that they stand for.
    pub(crate) fn snapshot(&self) -> (u64, Vec<V>) {
        let pages = self.pages();
        (*self.revision.borrow(), pages.present.values().cloned().collect())
    }

    /// At most `max` changes behind a revision, the oldest first; `None` when some of them are not kept any more.
    pub(crate) fn since(&self, revision: u64, max: usize) -> Option<Vec<Change<V>>> {
        let pages = self.pages();
        let behind = usize::try_from(self.revision.borrow().checked_sub(revision)?).ok()?;
        let skip = pages.changes.len().checked_sub(behind)?;
        Some(pages.changes.iter().skip(skip).take(max).cloned().collect())
    }

    /// Follows the revision.
    pub(crate) fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    pub(crate) const fn instance(&self) -> u64 {
        self.instance
    }

    fn append(&self, pages: &mut Pages<V>, change: Change<V>) {
        pages.changes.push_back(change);
        if pages.changes.len() > CHANGES_MAX {
            pages.changes.pop_front();
        }
        self.revision.send_modify(|revision| *revision += 1);
    }

    /// Held for as long as it takes to copy what is asked for; never across an await.
    fn pages(&self) -> MutexGuard<'_, Pages<V>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Record for u32 {
        /// Watchers are told tens.
        fn is_same(&self, other: &Self) -> bool {
            self / 10 == other / 10
        }
    }

    /// A snapshot and the changes behind it give what a later snapshot gives, whatever happened in between.
    #[test]
    fn changes_lead_from_one_snapshot_to_the_next() {
        let journal = Journal::new(1);
        let mut random = 7_u64;
        let mut step = |journal: &Journal<u32>| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let slot = u16::try_from(random >> 60).unwrap();
            if random & 0x1_0000_0000 == 0 {
                journal.remove(slot, "gone");
            } else {
                // The slot is part of the record, so that a change says whose it is.
                journal.put(slot, u32::from(slot) * 1000 + u32::try_from(random >> 40 & 0x7f).unwrap());
            }
        };
        for _ in 0..200 {
            let (revision, records) = journal.snapshot();
            for _ in 0..37 {
                step(&journal);
            }
            let mut replayed: BTreeMap<u32, u32> = records.iter().map(|r| (r / 1000, r / 10)).collect();
            for change in journal.since(revision, usize::MAX).unwrap() {
                match change {
                    Change::Put(record) => replayed.insert(record / 1000, record / 10),
                    Change::Gone { last, .. } => replayed.remove(&(last / 1000)),
                };
            }
            let (_, now) = journal.snapshot();
            assert_eq!(
                replayed.into_values().collect::<Vec<_>>(),
                now.iter().map(|r| r / 10).collect::<Vec<_>>()
            );
        }
    }

    /// What is not told is no change, and what is no longer kept is not made up.
    #[test]
    fn silent_changes_and_lost_ones() {
        let journal = Journal::new(1);
        journal.put(3, 10_u32);
        journal.put(3, 11);
        journal.update(3, |record| *record += 1);
        journal.update(4, |record| *record += 1);
        journal.remove(4, "gone");
        assert_eq!((journal.snapshot(), journal.get(3)), ((1, vec![12]), Some(12)));
        assert_eq!(journal.since(0, 9), Some(vec![Change::Put(10)]));
        assert_eq!(journal.since(2, 9), None, "the future is not known");
        for n in 0..CHANGES_MAX {
            journal.put(5, u32::try_from(n).unwrap() * 10 + 10);
        }
        assert_eq!(journal.since(1, 1), Some(vec![Change::Put(10)]));
        assert_eq!(journal.since(0, 1), None, "one more than is kept");
    }

    #[test]
    fn pages_cover_everything_once() {
        let journal = Journal::new(1);
        for slot in [0, 3, 4, 9, u16::MAX] {
            journal.put(slot, u32::from(slot));
        }
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let (records, next, total) = journal.page(after, 2);
            assert!(records.len() <= 2 && total == 5);
            seen.extend(records);
            match next {
                Some(_) => after = next,
                None => break,
            }
        }
        assert_eq!(seen, [0, 3, 4, 9, 65_535]);
    }
}
