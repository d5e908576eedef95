//! Smooth weighted round robin (R-TURN-2): each member's next turn falls due one `1/weight` after its last, in a virtual time
//! that stands at the turn given last. Equal weights give plain round robin. A member's going changes nothing for the
//! others, so that nobody is skipped or served twice in a round (the published implementations index a list and do both).

use super::members::{Member, Members, WEIGHT_DEFAULT};
use crate::Instant;
use p2psp_wire::Slot;

/// Virtual time of one turn at weight 1.
const STRIDE: u64 = 1 << 28;

/// The schedule's virtual clock.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    virtual_now: u64,
    turns: u64,
    /// The splitter as one of those that turns are given to (R-TURN-5).
    own: Share,
    /// Turns that nobody gets, because no member may have any and the splitter no more (R-TURN-7).
    unowned: Share,
}

/// Turns that are no member's.
#[derive(Debug, Default)]
struct Share {
    weight: u32,
    due: u64,
}

impl Share {
    fn reweigh(&mut self, virtual_now: u64, weight: u32) {
        let last = if self.weight == 0 { virtual_now } else { self.due.saturating_sub(stride(self.weight)) };
        *self = Self { weight, due: last + stride(weight) };
    }
}

impl Schedule {
    /// Lets a member in, or back in. It comes next, as published; a lighter one waits for half of what its turns are rarer,
    /// which spreads unequal weights.
    pub(super) fn admit(&self, member: &mut Member) {
        member.due =
            self.virtual_now + (stride(member.weight) / 2).saturating_sub(stride(WEIGHT_DEFAULT) / 2);
    }

    /// Changes a member's share; its next turn moves with it.
    pub(super) fn reweigh(&self, member: &mut Member, weight: u32) {
        if member.weight == 0 {
            member.weight = weight;
            self.admit(member);
        } else if weight > 0 {
            let last = member.due.saturating_sub(stride(member.weight));
            member.due = last + stride(weight);
        }
        member.weight = weight;
    }

    /// Changes the splitter's own share, and that which nobody gets.
    pub(super) fn reweigh_rest(&mut self, own: u32, unowned: u32) {
        self.own.reweigh(self.virtual_now, own);
        self.unowned.reweigh(self.virtual_now, unowned);
    }

    /// The splitter's own share.
    pub(super) const fn own_weight(&self) -> u32 {
        self.own.weight
    }

    /// Of the turn just given only `given` chunks of `whole` were taken: the next one comes sooner by as much.
    pub(super) fn refund(&self, member: &mut Member, given: u64, whole: u64) {
        let back = stride(member.weight) / whole.max(1) * whole.saturating_sub(given);
        member.due = member.due.saturating_sub(back);
    }

    /// Who gets the next turn: a member, or [`Slot::SPLITTER`] itself; `None` when it is nobody's.
    pub(super) fn next(&mut self, now: Instant, members: &mut Members) -> Option<Slot> {
        let next = members
            .iter_mut()
            .filter(|(_, member)| member.takes_turns(now))
            .min_by_key(|(slot, member)| (member.due, member.served, *slot));
        let is_unowned = self.unowned.weight > 0 && (self.own.weight == 0 || self.unowned.due < self.own.due);
        let rest = if is_unowned { &mut self.unowned } else { &mut self.own };
        if rest.weight > 0 && next.as_ref().is_none_or(|(_, member)| rest.due < member.due) {
            self.virtual_now = rest.due.max(self.virtual_now);
            rest.due = self.virtual_now + stride(rest.weight);
            return (!is_unowned).then_some(Slot::SPLITTER);
        }
        let (slot, member) = next?;
        // Who was blocked for a while does not get the missed turns on top.
        self.virtual_now = member.due.max(self.virtual_now);
        member.due = self.virtual_now + stride(member.weight);
        self.turns += 1;
        member.served = self.turns;
        member.turns_at_share = member.turns_at_share.saturating_add(1);
        Some(slot)
    }
}

fn stride(weight: u32) -> u64 {
    STRIDE / u64::from(weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LinkId, SlotSet};
    use p2psp_wire::PeerId;

    fn member(n: u32, weight: u32) -> Member {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        Member {
            peer: PeerId::new(key),
            link: LinkId(n),
            candidates: Vec::new(),
            ready: true,
            blocked: false,
            eco: weight == 0,
            capacity: None,
            weight,
            weight_max: WEIGHT_DEFAULT,
            due: 0,
            served: 0,
            turns_at_share: 0,
            doubts: SlotSet::EMPTY,
            doubted_since: Instant::ORIGIN,
            silenced_until: Instant::ORIGIN,
        }
    }

    fn team(schedule: &Schedule, weights: &[u32]) -> Members {
        let mut members = Members::default();
        for (n, weight) in (0..).zip(weights) {
            let mut member = member(n, *weight);
            schedule.admit(&mut member);
            members.seat(Instant::ORIGIN, member).unwrap();
        }
        members
    }

    fn turns(schedule: &mut Schedule, members: &mut Members, count: usize) -> Vec<u16> {
        (0..count).map(|_| schedule.next(Instant::ORIGIN, members).unwrap().get()).collect()
    }

    /// In any N consecutive turns of a static team of N every member has exactly one.
    #[test]
    fn equal_weights_are_round_robin() {
        for n in 1..=64_u16 {
            let mut schedule = Schedule::default();
            let mut members = team(&schedule, &vec![16; n.into()]);
            let order = turns(&mut schedule, &mut members, 3 * usize::from(n));
            for window in order.windows(n.into()) {
                let mut sorted = window.to_vec();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..n).collect::<Vec<_>>());
            }
        }
    }

    /// Turns are in proportion to weights over a cycle, and the heavy member's are spread over it.
    #[test]
    fn unequal_weights_are_smooth() {
        let mut schedule = Schedule::default();
        let mut members = team(&schedule, &[20, 5, 5, 0]);
        let order = turns(&mut schedule, &mut members, 60);
        let count = |slot| order.iter().filter(|turn| **turn == slot).count();
        assert_eq!([count(0), count(1), count(2), count(3)], [40, 10, 10, 0]);
        assert!(order.windows(6).all(|w| w.iter().filter(|t| **t == 0).count() <= 5), "{order:?}");
    }

    /// R-TURN-7: where no member may have turns the splitter gets its share of them and not more; the others are nobody's.
    #[test]
    fn the_splitter_keeps_to_its_share() {
        let mut schedule = Schedule::default();
        let mut members = team(&schedule, &[0; 4]);
        schedule.reweigh_rest(64, 192);
        let next: Vec<_> = (0..400).map(|_| schedule.next(Instant::ORIGIN, &mut members)).collect();
        assert_eq!(next.iter().filter(|turn| turn.is_none()).count(), 300);
        assert!(next.iter().flatten().all(|slot| *slot == Slot::SPLITTER));
    }

    /// Whoever goes, at whatever place of the round, nobody else is skipped or served twice in that round.
    #[test]
    fn departures_disturb_nobody() {
        for served in 0..8 {
            for gone in 0..8_u16 {
                let mut schedule = Schedule::default();
                let mut members = team(&schedule, &[16; 8]);
                let mut round = turns(&mut schedule, &mut members, served);
                members.unseat(Instant::ORIGIN, Slot::new(gone).unwrap());
                let left = 8 - served - usize::from(!round.contains(&gone));
                round.extend(turns(&mut schedule, &mut members, left));
                round.sort_unstable();
                let expected: Vec<u16> =
                    (0..8).filter(|slot| *slot != gone || round.contains(&gone)).collect();
                assert_eq!(round, expected, "{gone} goes after {served} turns");
            }
        }
    }

    /// A member that was blocked for long does not get all its missed turns at once.
    #[test]
    fn no_burst_after_a_block() {
        let mut schedule = Schedule::default();
        let mut members = team(&schedule, &[16; 4]);
        let slow = Slot::new(2).unwrap();
        members.get_mut(slow).unwrap().blocked = true;
        let order = turns(&mut schedule, &mut members, 30);
        assert!(!order.contains(&2));
        members.get_mut(slow).unwrap().blocked = false;
        let order = turns(&mut schedule, &mut members, 8);
        assert_eq!(order.iter().filter(|turn| **turn == 2).count(), 2, "{order:?}");
    }
}
