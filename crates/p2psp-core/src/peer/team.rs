//! Who is in the team, as the splitter tells it, and which of them have a link. A newcomer dials everybody in its snapshot; who
//! was there before waits to be dialed, and tries itself when that does not happen.

use crate::{Instant, LinkId, SlotSet};
use p2psp_wire::{Member, PeerId, Slot};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

/// How long a member waits to be dialed by a newcomer before it dials itself (R-LINK-5).
const DIALED_WAIT: Duration = Duration::from_secs(2);
/// First and longest wait between tries to reach a teammate.
const REDIAL_MIN: Duration = Duration::from_millis(500);
const REDIAL_MAX: Duration = Duration::from_secs(8);

/// A teammate.
#[derive(Debug)]
struct Mate {
    peer: PeerId,
    candidates: Vec<SocketAddr>,
    link: Option<LinkId>,
    /// In the roster since.
    since: Instant,
    failures: u32,
    /// When to dial it, unless a link comes up before.
    dial_at: Option<Instant>,
}

/// The roster and its links.
#[derive(Debug)]
pub(super) struct Team {
    own: Slot,
    seats: Vec<Option<Mate>>,
    by_peer: BTreeMap<PeerId, Slot>,
    by_link: BTreeMap<LinkId, Slot>,
    /// Links of members that said goodbye: what they still owe may come over them (R-LEAVE-1).
    leaving: BTreeMap<LinkId, Slot>,
    dials: BTreeSet<(Instant, Slot)>,
    up: SlotSet,
    blocked: SlotSet,
}

impl Team {
    pub(super) const fn new(own: Slot) -> Self {
        Self {
            own,
            seats: Vec::new(),
            by_peer: BTreeMap::new(),
            by_link: BTreeMap::new(),
            leaving: BTreeMap::new(),
            dials: BTreeSet::new(),
            up: SlotSet::EMPTY,
            blocked: SlotSet::EMPTY,
        }
    }

    /// Teammates, this member apart.
    pub(super) fn len(&self) -> u16 {
        u16::try_from(self.by_peer.len()).unwrap_or(u16::MAX)
    }

    /// Teammates with a link.
    pub(super) const fn up(&self) -> &SlotSet {
        &self.up
    }

    /// Teammates whose link takes no trains at present.
    pub(super) const fn blocked(&self) -> &SlotSet {
        &self.blocked
    }

    pub(super) fn link(&self, slot: Slot) -> Option<LinkId> {
        self.seats.get(slot.index())?.as_ref()?.link
    }

    pub(super) fn slot_of_link(&self, link: LinkId) -> Option<Slot> {
        self.by_link.get(&link).copied()
    }

    /// Whose chunks may come over a link: a teammate's, or those of one that has just left.
    pub(super) fn sender(&self, link: LinkId) -> Option<Slot> {
        self.slot_of_link(link).or_else(|| self.leaving.get(&link).copied())
    }

    pub(super) fn slot_of_peer(&self, peer: PeerId) -> Option<Slot> {
        self.by_peer.get(&peer).copied()
    }

    /// Who has a seat, and where it may be dialed.
    pub(super) fn holder(&self, slot: Slot) -> Option<(PeerId, &[SocketAddr])> {
        self.seats.get(slot.index())?.as_ref().map(|mate| (mate.peer, mate.candidates.as_slice()))
    }

    /// Since when the roster names this seat's holder.
    pub(super) fn since(&self, slot: Slot) -> Option<Instant> {
        Some(self.seats.get(slot.index())?.as_ref()?.since)
    }

    /// The teammates' slots in ascending order.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.seats
            .iter()
            .enumerate()
            .filter(|(_, seat)| seat.is_some())
            .filter_map(|(index, _)| u16::try_from(index).ok().and_then(|index| Slot::new(index).ok()))
    }

    /// A member that the splitter names. `snapshot` says that it was there before this one, which then dials.
    /// Returns whoever held that seat before, if that is another.
    pub(super) fn join(&mut self, now: Instant, member: Member, snapshot: bool) -> Option<PeerId> {
        let Member { slot, peer, candidates } = member;
        if slot == self.own || self.by_peer.get(&peer) == Some(&slot) {
            return None;
        }
        let evicted = self.leave(slot);
        if let Some(old) = self.by_peer.get(&peer).copied() {
            self.leave(old);
        }
        if self.seats.len() <= slot.index() {
            self.seats.resize_with(slot.index() + 1, || None);
        }
        let dial_at = Some(if snapshot { now } else { now + DIALED_WAIT });
        self.by_peer.insert(peer, slot);
        if let Some(seat) = self.seats.get_mut(slot.index()) {
            *seat = Some(Mate { peer, candidates, link: None, since: now, failures: 0, dial_at: None });
        }
        self.schedule_dial(slot, dial_at);
        evicted
    }

    /// A member that the splitter says is gone. Returns who it was.
    pub(super) fn leave(&mut self, slot: Slot) -> Option<PeerId> {
        self.schedule_dial(slot, None);
        let mate = self.seats.get_mut(slot.index())?.take()?;
        self.by_peer.remove(&mate.peer);
        self.up.remove(slot);
        self.blocked.remove(slot);
        if let Some(link) = mate.link {
            self.by_link.remove(&link);
        }
        Some(mate.peer)
    }

    /// A link to a teammate is up.
    pub(super) fn set_link(&mut self, slot: Slot, link: LinkId) {
        self.schedule_dial(slot, None);
        let Some(mate) = self.seats.get_mut(slot.index()).and_then(Option::as_mut) else { return };
        mate.failures = 0;
        if let Some(old) = mate.link.replace(link) {
            self.by_link.remove(&old);
        }
        self.by_link.insert(link, slot);
        self.up.insert(slot);
        self.blocked.remove(slot);
    }

    /// A member says goodbye: its link is kept for what it still owes. Whose link it was.
    pub(super) fn say_goodbye(&mut self, now: Instant, link: LinkId) -> Option<Slot> {
        let slot = self.unlink(now, link)?;
        self.leaving.insert(link, slot);
        Some(slot)
    }

    /// A link is gone; whose it was. The teammate is dialed again unless the splitter says that it is gone too.
    pub(super) fn unlink(&mut self, now: Instant, link: LinkId) -> Option<Slot> {
        if let Some(slot) = self.leaving.remove(&link) {
            return Some(slot);
        }
        let slot = self.by_link.remove(&link)?;
        self.up.remove(slot);
        self.blocked.remove(slot);
        if let Some(mate) = self.seats.get_mut(slot.index()).and_then(Option::as_mut) {
            mate.link = None;
        }
        self.schedule_dial(slot, Some(now + REDIAL_MIN));
        Some(slot)
    }

    /// Nothing more is wanted of this member: it is not dialed.
    pub(super) fn shun(&mut self, slot: Slot) {
        self.schedule_dial(slot, None);
    }

    /// A dial came to nothing: later again.
    pub(super) fn on_dial_failed(&mut self, now: Instant, peer: PeerId) {
        let Some(slot) = self.slot_of_peer(peer) else { return };
        let Some(mate) = self.seats.get_mut(slot.index()).and_then(Option::as_mut) else { return };
        if mate.link.is_some() {
            return;
        }
        mate.failures = mate.failures.saturating_add(1);
        let wait = (REDIAL_MIN * 2_u32.saturating_pow(mate.failures.min(8))).min(REDIAL_MAX);
        self.schedule_dial(slot, Some(now + wait));
    }

    pub(super) fn set_blocked(&mut self, slot: Slot, blocked: bool) {
        if blocked {
            self.blocked.insert(slot);
        } else {
            self.blocked.remove(slot);
        }
    }

    /// When the next dial is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.dials.first().map(|(at, _)| *at)
    }

    /// The next teammate to dial now. It is not dialed again before the dial's end is known, or a long time has passed.
    pub(super) fn next_dial(&mut self, now: Instant) -> Option<(PeerId, Vec<SocketAddr>)> {
        while let Some((_, slot)) = self.dials.first().filter(|(at, _)| *at <= now).copied() {
            self.schedule_dial(slot, Some(now + REDIAL_MAX * 2));
            let mate = self.seats.get(slot.index()).and_then(Option::as_ref)?;
            if !mate.candidates.is_empty() {
                return Some((mate.peer, mate.candidates.clone()));
            }
        }
        None
    }

    fn schedule_dial(&mut self, slot: Slot, at: Option<Instant>) {
        let Some(mate) = self.seats.get_mut(slot.index()).and_then(Option::as_mut) else { return };
        if let Some(old) = std::mem::replace(&mut mate.dial_at, at) {
            self.dials.remove(&(old, slot));
        }
        self.dials.extend(at.map(|at| (at, slot)));
    }
}
