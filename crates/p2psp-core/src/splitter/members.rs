//! Who sits where: seats by slot, and the ways to find them. A freed seat cools down before it is given again, so that late
//! chunks and batched departures of its last holder cannot be taken for the next one's.

use crate::{Instant, LinkId, SlotSet};
use p2psp_wire::{Member as RosterMember, PeerId, Slot};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

/// How long a freed seat stays empty where others are free: longer than any chunk lives.
const SEAT_COOLING: Duration = Duration::from_secs(10);

/// A member's weight where nothing limits it, and the highest that there is.
pub const WEIGHT_DEFAULT: u32 = 256;

/// One seat's holder.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) peer: PeerId,
    pub(super) link: LinkId,
    pub(super) candidates: Vec<SocketAddr>,
    /// Links are up: may own turns.
    pub(super) ready: bool,
    /// The link's queue is full.
    pub(super) blocked: bool,
    /// It wants no turns.
    pub(super) eco: bool,
    /// Bits a second that it says it can relay, once it does.
    pub(super) capacity: Option<u64>,
    /// Share of turns; 0 for a member that only receives.
    pub(super) weight: u32,
    /// Most that `weight` may be, by the operator's word.
    pub(super) weight_max: u32,
    /// When its next turn is due, in the schedule's virtual time.
    pub(super) due: u64,
    /// Which of all turns was its last; among equals, who waited longest comes first.
    pub(super) served: u64,
    /// Turns that it has had since its share fell: at first they are rarer than its teammates expect, and they report silence.
    pub(super) turns_at_share: u32,
    /// Teammates that report silence, and since when.
    pub(super) doubts: SlotSet,
    pub(super) doubted_since: Instant,
    /// Out of the schedule until then.
    pub(super) silenced_until: Instant,
}

impl Member {
    /// Whether the next turn may go to this member.
    pub(super) fn takes_turns(&self, now: Instant) -> bool {
        self.ready && !self.blocked && self.weight > 0 && self.silenced_until <= now
    }
}

/// All seats.
#[derive(Debug, Default)]
pub(super) struct Members {
    seats: Vec<Option<Member>>,
    by_peer: BTreeMap<PeerId, Slot>,
    by_link: BTreeMap<LinkId, Slot>,
    /// By slot, as long as `seats`: until when a freed seat cools.
    cooling: Vec<Instant>,
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.by_peer.len()
    }

    pub(super) fn slot_of_link(&self, link: LinkId) -> Option<Slot> {
        self.by_link.get(&link).copied()
    }

    pub(super) fn slot_of_peer(&self, peer: PeerId) -> Option<Slot> {
        self.by_peer.get(&peer).copied()
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Member> {
        self.seats.get(slot.index())?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Member> {
        self.seats.get_mut(slot.index())?.as_mut()
    }

    /// Members by ascending slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &Member)> {
        self.seats.iter().enumerate().filter_map(|(index, seat)| Some((slot(index)?, seat.as_ref()?)))
    }

    /// How many of them own turns or may: those that have said `Ready`.
    pub(super) fn ready(&self) -> usize {
        self.iter().filter(|(_, member)| member.ready).count()
    }

    /// Members by ascending slot, to change.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Slot, &mut Member)> {
        self.seats.iter_mut().enumerate().filter_map(|(index, seat)| Some((slot(index)?, seat.as_mut()?)))
    }

    /// Gives the member the lowest free seat that has cooled down, or the one that has cooled for longest; `None` when all are
    /// taken.
    pub(super) fn seat(&mut self, now: Instant, member: Member) -> Option<Slot> {
        let free = |index: &usize| self.seats.get(*index).is_none_or(Option::is_none);
        let cool = |index: &usize| self.cooling.get(*index).copied().unwrap_or_default().max(now);
        let index = (0..Slot::SPLITTER.index()).filter(free).min_by_key(cool)?;
        let slot = slot(index)?;
        self.by_peer.insert(member.peer, slot);
        self.by_link.insert(member.link, slot);
        if self.seats.len() <= index {
            self.seats.resize_with(index + 1, || None);
            self.cooling.resize(index + 1, Instant::ORIGIN);
        }
        *self.seats.get_mut(index)? = Some(member);
        Some(slot)
    }

    /// Empties a seat.
    pub(super) fn unseat(&mut self, now: Instant, slot: Slot) -> Option<Member> {
        let member = self.seats.get_mut(slot.index())?.take()?;
        self.by_peer.remove(&member.peer);
        self.by_link.remove(&member.link);
        for (_, other) in self.iter_mut() {
            other.doubts.remove(slot);
        }
        if let Some(until) = self.cooling.get_mut(slot.index()) {
            *until = now + SEAT_COOLING;
        }
        Some(member)
    }

    /// The member as the roster tells it to others.
    pub(super) fn roster_entry(&self, slot: Slot) -> Option<RosterMember> {
        let member = self.get(slot)?;
        Some(RosterMember { slot, peer: member.peer, candidates: member.candidates.clone() })
    }
}

fn slot(index: usize) -> Option<Slot> {
    u16::try_from(index).ok().and_then(|index| Slot::new(index).ok())
}
