//! The forward table's entries beyond the full mesh (R-ROUTE-1 to R-ROUTE-5): where two members cannot reach each other, a third
//! that gets an origin's chunks from the origin itself passes them on. Hardened against the published rule set: duplicates
//! are never relayed, only first-hand chunks are, so a route is one hop long by construction, and nobody can be talked out of
//! sending its own chunks.

use crate::{Instant, SlotSet};
use p2psp_wire::Slot;
use std::{collections::BTreeMap, time::Duration};

/// Origins that this member passes on for others.
const ROUTES_MAX: usize = 64;
/// First and longest wait before another teammate is asked for a missing origin; it doubles when all have been asked. An origin
/// that nobody gets, because it owns no turns or is dead, is soon asked for but rarely.
const REQUEST_MIN: Duration = Duration::from_millis(500);
const REQUEST_MAX: Duration = Duration::from_secs(16);
/// Copies of an origin's chunks from one proxy that came second, before it is told to stop.
const DUPLICATES_MAX: u32 = 2;

/// Routes through this member, and routes to it.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Who gets an origin's chunks from here.
    out: BTreeMap<Slot, SlotSet>,
    /// What was asked of whom for an origin that does not come by itself.
    wanted: BTreeMap<Slot, Wanted>,
}

#[derive(Debug)]
struct Wanted {
    proxies: SlotSet,
    next: Instant,
    tries: u32,
    duplicates: BTreeMap<Slot, u32>,
}

impl Routes {
    /// Who gets this origin's chunks from here.
    pub(super) fn targets(&self, origin: Slot) -> SlotSet {
        self.out.get(&origin).copied().unwrap_or_default()
    }

    /// A teammate asks for an origin's chunks.
    pub(super) fn on_request(&mut self, requester: Slot, origin: Slot) {
        if requester != origin && (self.out.contains_key(&origin) || self.out.len() < ROUTES_MAX) {
            self.out.entry(origin).or_default().insert(requester);
        }
    }

    /// A teammate has an origin's chunks from elsewhere.
    pub(super) fn on_prune(&mut self, requester: Slot, origin: Slot) {
        if let Some(targets) = self.out.get_mut(&origin) {
            targets.remove(requester);
            if targets.is_empty() {
                self.out.remove(&origin);
            }
        }
    }

    /// Whether this proxy was asked for that origin.
    pub(super) fn expects(&self, origin: Slot, proxy: Slot) -> bool {
        self.wanted.get(&origin).is_some_and(|wanted| wanted.proxies.contains(proxy))
    }

    /// Whether another teammate may be asked for this origin now.
    pub(super) fn may_request(&self, now: Instant, origin: Slot) -> bool {
        self.wanted.get(&origin).is_none_or(|wanted| wanted.next <= now)
    }

    /// Whom of these teammates to ask for an origin: those not asked yet, while there are any.
    pub(super) fn candidates(&self, origin: Slot, teammates: &SlotSet) -> SlotSet {
        let asked = self.wanted.get(&origin).map_or(SlotSet::EMPTY, |wanted| wanted.proxies);
        let rest = teammates.without(&asked);
        if rest.is_empty() { *teammates } else { rest }
    }

    /// `proxy`, one of so many teammates, was asked for `origin`.
    pub(super) fn on_requested(&mut self, now: Instant, origin: Slot, proxy: Slot, teammates: u32) {
        let wanted = self.wanted.entry(origin).or_insert_with(|| Wanted {
            proxies: SlotSet::EMPTY,
            next: now,
            tries: 0,
            duplicates: BTreeMap::new(),
        });
        let rounds = wanted.tries / teammates.max(1);
        wanted.next = now + (REQUEST_MIN * 2_u32.saturating_pow(rounds.min(8))).min(REQUEST_MAX);
        wanted.tries += 1;
        wanted.proxies.insert(proxy);
    }

    /// An origin's chunk came: should it fall silent again, it is asked for at once.
    pub(super) fn on_heard(&mut self, origin: Slot) {
        if let Some(wanted) = self.wanted.get_mut(&origin) {
            wanted.tries = 0;
        }
    }

    /// A copy of an origin's chunk came second, from `via`: which proxies are to be told to stop. Where the origin itself
    /// gets through, all of them.
    pub(super) fn on_duplicate(&mut self, origin: Slot, via: Slot) -> SlotSet {
        let Some(wanted) = self.wanted.get_mut(&origin) else { return SlotSet::EMPTY };
        let count = wanted.duplicates.entry(via).or_default();
        *count += 1;
        if *count < DUPLICATES_MAX {
            return SlotSet::EMPTY;
        }
        wanted.duplicates.remove(&via);
        if via == origin {
            std::mem::take(&mut wanted.proxies)
        } else if wanted.proxies.remove(via) {
            [via].into_iter().collect()
        } else {
            SlotSet::EMPTY
        }
    }

    /// A member is gone, as an origin and as a proxy.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.out.remove(&slot);
        self.wanted.remove(&slot);
        self.out.retain(|_, targets| {
            targets.remove(slot);
            !targets.is_empty()
        });
        for wanted in self.wanted.values_mut() {
            wanted.proxies.remove(slot);
            wanted.duplicates.remove(&slot);
        }
    }
}
