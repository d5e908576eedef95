//! What members say against each other, and who believes it (R-FAIR-2 to R-FAIR-4). Owns open cases, lost voices and bans; knows no
//! link and no chunk.

use crate::{Instant, SlotSet};
use p2psp_wire::{PeerId, Slot};
use std::{collections::BTreeMap, time::Duration};

/// Complaints further apart than this do not count together.
const CASE_SPAN: Duration = Duration::from_secs(2);
/// Complaints that nobody confirmed, after which a member is not heard any more.
const UNCONFIRMED_MAX: u8 = 3;
/// Keys banned at a time; one more frees the one whose ban ends first.
const BANS_MAX: usize = 1024;

/// Cases, voices and bans.
#[derive(Debug, Default)]
pub(super) struct Court {
    cases: BTreeMap<Slot, Case>,
    unconfirmed: BTreeMap<Slot, u8>,
    bans: BTreeMap<PeerId, Instant>,
}

#[derive(Debug)]
struct Case {
    opened: Instant,
    complainers: SlotSet,
}

impl Court {
    /// A member complains about another one; `members` could. True when the accused is to be expelled.
    pub(super) fn on_complaint(&mut self, now: Instant, from: Slot, accused: Slot, members: usize) -> bool {
        self.close_old(now);
        if self.unconfirmed.get(&from).is_some_and(|count| *count >= UNCONFIRMED_MAX) {
            return false;
        }
        let case = self.cases.entry(accused).or_insert(Case { opened: now, complainers: SlotSet::EMPTY });
        case.complainers.insert(from);
        // More than a third: as many liars would have to conspire to expel an honest member. And never one against one.
        let is_guilty = case.complainers.len() >= (members / 3 + 1).max(2);
        if is_guilty {
            self.cases.remove(&accused);
        }
        is_guilty
    }

    /// A member is gone; its seat's next holder begins anew.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.cases.remove(&slot);
        self.unconfirmed.remove(&slot);
        for case in self.cases.values_mut() {
            case.complainers.remove(slot);
        }
    }

    /// No seat for this key for this long.
    pub(super) fn ban_for(&mut self, now: Instant, peer: PeerId, span: Duration) {
        if self.bans.len() >= BANS_MAX
            && !self.bans.contains_key(&peer)
            && let Some(first) = self.bans.iter().min_by_key(|(_, until)| **until).map(|(peer, _)| *peer)
        {
            self.bans.remove(&first);
        }
        self.bans.insert(peer, now + span);
    }

    /// How long this key still gets no seat, if it does not.
    pub(super) fn banned_for(&mut self, now: Instant, peer: PeerId) -> Option<Duration> {
        self.bans.retain(|_, until| *until > now);
        self.bans.get(&peer).map(|until| until.since(now))
    }

    /// Ends a ban; false when there was none.
    pub(super) fn pardon(&mut self, now: Instant, peer: PeerId) -> bool {
        self.bans.remove(&peer).is_some_and(|until| until > now)
    }

    /// Who gets no seat, by ascending key, and for how long.
    pub(super) fn bans(&self, now: Instant) -> impl Iterator<Item = (PeerId, Duration)> + '_ {
        let in_force = self.bans.iter().filter(move |(_, until)| **until > now);
        in_force.map(move |(peer, until)| (*peer, until.since(now)))
    }

    /// Cases that found too few complainers count against these.
    fn close_old(&mut self, now: Instant) {
        let unconfirmed = &mut self.unconfirmed;
        self.cases.retain(|_, case| {
            let is_open = now.since(case.opened) <= CASE_SPAN;
            if !is_open {
                for slot in case.complainers.iter() {
                    let count = unconfirmed.entry(slot).or_default();
                    *count = count.saturating_add(1);
                }
            }
            is_open
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{at, slot};

    /// More than a third of the team within two seconds, and not the same member again and again.
    #[test]
    fn more_than_a_third_expels() {
        let mut court = Court::default();
        for _ in 0..100 {
            assert!(!court.on_complaint(at(1), slot(1), slot(9), 30));
        }
        for n in 2..11 {
            assert!(!court.on_complaint(at(2), slot(n), slot(29), 30), "{n}");
        }
        assert!(!court.on_complaint(at(2), slot(11), slot(29), 30));
        assert!(court.on_complaint(at(2), slot(12), slot(29), 30));
        let mut pair = Court::default();
        assert!(!pair.on_complaint(at(1), slot(0), slot(1), 2), "one against one");
    }

    /// Whose complaints nobody confirms is not heard any more: a third of the team that has cried wolf expels nobody.
    #[test]
    fn unconfirmed_complaints_cost_the_voice() {
        let mut court = Court::default();
        for round in 0..u64::from(UNCONFIRMED_MAX) {
            assert!(!court.on_complaint(at(10 * round), slot(1), slot(9), 6));
        }
        let later = at(100);
        assert!(!court.on_complaint(later, slot(1), slot(8), 6));
        assert!(!court.on_complaint(later, slot(2), slot(8), 6));
        assert!(!court.on_complaint(later, slot(3), slot(8), 6), "slot 1 is not counted");
        assert!(court.on_complaint(later, slot(4), slot(8), 6));
    }

    /// A ban holds for its span, and one more than fit frees the oldest.
    #[test]
    fn bans_end_and_are_bounded() {
        let mut court = Court::default();
        let key = |n: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(n as u64).to_be_bytes());
            PeerId::new(key)
        };
        let span = Duration::from_secs(600);
        court.ban_for(at(0), key(0), span);
        assert_eq!(court.banned_for(at(599), key(0)), Some(Duration::from_secs(1)));
        assert_eq!(court.banned_for(at(600), key(0)), None);
        for n in 0..=BANS_MAX {
            court.ban_for(at(700) + Duration::from_millis(n as u64), key(n), span);
        }
        assert_eq!(court.bans.len(), BANS_MAX);
        assert_eq!(court.banned_for(at(701), key(0)), None);
        assert!(court.banned_for(at(701), key(1)).is_some());
    }
}
