//! What members say against each other, and who believes it (R-FAIR-2 to R-FAIR-4). Owns open cases, lost voices and bans; knows no
//! link and no chunk.

use crate::{Instant, SlotSet};
use p2psp_wire::{PeerId, Slot};
use std::{collections::BTreeMap, time::Duration};

/// Complaints further apart than this do not count together.
const CASE_SPAN: Duration = Duration::from_secs(2);
/// Complaints that nobody confirmed, after which a member is not heard ...
const UNCONFIRMED_MAX: u8 = 3;
/// ... until so long after the newest of them, when half are forgotten: a liar gains little by two lies a minute, and the victims of a
/// few poisoners, too few to be believed, are heard about the next one.
const UNCONFIRMED_HALF_LIFE: Duration = Duration::from_secs(60);
/// Keys whose unconfirmed complaints are remembered; one more frees the one with the fewest of them, and of these the oldest.
const RECORDS_MAX: usize = 1024;
/// Keys banned at a time; one more frees the one whose ban ends first.
const BANS_MAX: usize = 1024;

/// Cases, voices and bans.
#[derive(Debug, Default)]
pub(super) struct Court {
    cases: BTreeMap<Slot, Case>,
    /// Whose seats those are that have complained.
    keys: BTreeMap<Slot, PeerId>,
    /// By key: who comes back is who it was.
    records: BTreeMap<PeerId, Record>,
    bans: BTreeMap<PeerId, Instant>,
}

#[derive(Debug)]
struct Case {
    opened: Instant,
    complainers: SlotSet,
}

/// Complaints that nobody confirmed.
#[derive(Clone, Copy, Debug)]
struct Record {
    unconfirmed: u8,
    /// The newest of them.
    at: Instant,
}

impl Record {
    /// How many are not forgotten.
    fn unconfirmed(self, now: Instant) -> u8 {
        let half_lives = now.since(self.at).as_secs() / UNCONFIRMED_HALF_LIFE.as_secs();
        u32::try_from(half_lives).ok().and_then(|halved| self.unconfirmed.checked_shr(halved)).unwrap_or(0)
    }
}

impl Court {
    /// The member of this key complains about another one; `voices` could. True when the accused is to be expelled.
    pub(super) fn on_complaint(
        &mut self,
        now: Instant,
        (from, key): (Slot, PeerId),
        accused: Slot,
        voices: usize,
    ) -> bool {
        self.close_old(now);
        if self.records.get(&key).is_some_and(|record| record.unconfirmed(now) >= UNCONFIRMED_MAX) {
            return false;
        }
        self.keys.insert(from, key);
        let case = self.cases.entry(accused).or_insert(Case { opened: now, complainers: SlotSet::EMPTY });
        case.complainers.insert(from);
        // More than a third: as many liars would have to conspire to expel an honest member. And never one against one.
        let is_guilty = case.complainers.len() >= (voices / 3 + 1).max(2);
        if is_guilty {
            self.cases.remove(&accused);
        }
        is_guilty
    }

    /// A member is gone. What it said counts no more, against others at least.
    pub(super) fn forget(&mut self, now: Instant, slot: Slot) {
        self.close_old(now);
        self.cases.remove(&slot);
        let complained = self.cases.values_mut().map(|case| case.complainers.remove(slot));
        let unconfirmed = complained.filter(|complained| *complained).count();
        if let Some(key) = self.keys.remove(&slot) {
            for _ in 0..unconfirmed {
                self.charge(now, key);
            }
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

    /// Cases that found too few complainers count against these, from the moment at which that was certain.
    fn close_old(&mut self, now: Instant) {
        let is_old = |case: &Case| now.since(case.opened) > CASE_SPAN;
        while let Some(accused) = self.cases.iter().find(|(_, case)| is_old(case)).map(|(slot, _)| *slot)
            && let Some(case) = self.cases.remove(&accused)
        {
            for slot in case.complainers.iter() {
                if let Some(key) = self.keys.get(&slot) {
                    self.charge(case.opened + CASE_SPAN, *key);
                }
            }
        }
    }

    /// A complaint of this key's was confirmed by too few.
    fn charge(&mut self, now: Instant, key: PeerId) {
        if self.records.len() >= RECORDS_MAX && !self.records.contains_key(&key) {
            let least = self.records.iter().min_by_key(|(_, record)| (record.unconfirmed(now), record.at));
            if let Some(least) = least.map(|(key, _)| *key) {
                self.records.remove(&least);
            }
        }
        let record = self.records.entry(key).or_insert(Record { unconfirmed: 0, at: now });
        *record = Record { unconfirmed: record.unconfirmed(now).saturating_add(1), at: now.max(record.at) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{at, key, slot};

    /// The member of a seat complains, whose key is as its seat.
    fn complain(court: &mut Court, now: Instant, from: u16, accused: u16, voices: usize) -> bool {
        court.on_complaint(now, (slot(from), key(from.into())), slot(accused), voices)
    }

    /// More than a third of the team within two seconds, and not the same member again and again.
    #[test]
    fn more_than_a_third_expels() {
        let mut court = Court::default();
        for _ in 0..100 {
            assert!(!complain(&mut court, at(1), 1, 9, 30));
        }
        for n in 2..11 {
            assert!(!complain(&mut court, at(2), n, 29, 30), "{n}");
        }
        assert!(!complain(&mut court, at(2), 11, 29, 30));
        assert!(complain(&mut court, at(2), 12, 29, 30));
        let mut pair = Court::default();
        assert!(!complain(&mut pair, at(1), 0, 1, 2), "one against one");
    }

    /// R-FAIR-4: whose complaints nobody confirms is not heard any more: a third of the team that has cried wolf expels nobody.
    #[test]
    fn unconfirmed_complaints_cost_the_voice() {
        let mut court = Court::default();
        for round in 0..u64::from(UNCONFIRMED_MAX) {
            assert!(!complain(&mut court, at(10 * round), 1, 9, 6));
        }
        let later = at(50);
        assert!(!complain(&mut court, later, 1, 8, 6));
        assert!(!complain(&mut court, later, 2, 8, 6));
        assert!(!complain(&mut court, later, 3, 8, 6), "slot 1 is not counted");
        assert!(complain(&mut court, later, 4, 8, 6));
    }

    /// R-FAIR-4: who takes another seat is not believed more than before, nor does going in time make a lie cost nothing.
    #[test]
    fn coming_back_changes_nothing() {
        let mut court = Court::default();
        let liar = key(1);
        for round in 0..u16::from(UNCONFIRMED_MAX) {
            let now = at(u64::from(round));
            assert!(!court.on_complaint(now, (slot(round), liar), slot(9), 6));
            court.forget(now + CASE_SPAN / 2, slot(round));
        }
        let later = at(10);
        assert!(!court.on_complaint(later, (slot(5), liar), slot(8), 6));
        assert!(!complain(&mut court, later, 2, 8, 6));
        assert!(!complain(&mut court, later, 3, 8, 6), "the liar is not counted");
        assert!(complain(&mut court, later, 4, 8, 6));
    }

    /// R-FAIR-4: three poisoners that hit the same 21 of 64 members are not expelled, and take the victims' voices for a while only.
    #[test]
    fn victims_are_heard_again() {
        let (mut court, victims) = (Court::default(), 0..21);
        for (poisoner, now) in [(61, at(0)), (62, at(10)), (63, at(20))] {
            assert!(victims.clone().all(|victim| !complain(&mut court, now, victim, poisoner, 64)));
        }
        let heard_at = at(20) + CASE_SPAN + UNCONFIRMED_HALF_LIFE;
        for (now, is_heard) in [(heard_at - Duration::from_secs(1), false), (heard_at, true)] {
            assert!(victims.clone().all(|victim| !complain(&mut court, now, victim, 60, 64)));
            assert_eq!(complain(&mut court, now, 21, 60, 64), is_heard);
            court.forget(now, slot(60));
        }
    }

    /// One key more than is remembered frees the one with the fewest unconfirmed complaints.
    #[test]
    fn records_are_bounded() {
        let mut court = Court::default();
        for n in (0..RECORDS_MAX).chain([0]) {
            court.charge(at(1), key(n));
        }
        court.charge(at(2), key(RECORDS_MAX));
        assert_eq!(court.records.len(), RECORDS_MAX);
        assert!(court.records.contains_key(&key(0)) && court.records.contains_key(&key(RECORDS_MAX)));
    }

    /// A ban holds for its span, and one more than fit frees the oldest.
    #[test]
    fn bans_end_and_are_bounded() {
        let mut court = Court::default();
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
