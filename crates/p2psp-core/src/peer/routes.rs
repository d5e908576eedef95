//! The forward table's entries beyond the full mesh (R-ROUTE-1 to R-ROUTE-5): where two members cannot reach each other, a third
//! that gets an origin's chunks from the origin itself passes them on. Hardened against the published rule set: duplicates
//! are never relayed, only first-hand chunks are, so a route is one hop long by construction, and nobody can be talked out of
//! sending its own chunks. What is asked for is bounded for each asker, and goes behind own turns (R-ROUTE-6).

use crate::{Instant, SlotSet};
use p2psp_wire::Slot;
use std::{collections::BTreeMap, time::Duration};

/// Origins that this member passes on for one other: with a wall between a third of all pairs, each asks each of the rest for one or
/// two. Who asks everybody for everything has an eighth of a copy of the stream from each of 63.
pub(super) const ROUTES_EACH_MAX: usize = 8;
/// The same for all others together: two copies of the stream in a team of 64.
pub(super) const ROUTES_MAX: usize = 128;
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

    /// A teammate asks for the chunks of an origin that is heard here.
    pub(super) fn on_request(&mut self, requester: Slot, origin: Slot) {
        if requester == origin || self.targets(origin).contains(requester) {
            return;
        }
        let held = self.requesters().filter(|other| *other == requester).count();
        let is_full = || self.requesters().count() >= ROUTES_MAX;
        if held < ROUTES_EACH_MAX && (!is_full() || self.make_room(held + 1)) {
            self.out.entry(origin).or_default().insert(requester);
        }
    }

    /// Who asked, once for each origin.
    fn requesters(&self) -> impl Iterator<Item = Slot> {
        self.out.values().flat_map(SlotSet::iter)
    }

    /// Ends a route of whoever has most, if that one has more than `held`.
    fn make_room(&mut self, held: usize) -> bool {
        let mut counts: BTreeMap<Slot, usize> = BTreeMap::new();
        for requester in self.requesters() {
            *counts.entry(requester).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count).filter(|(_, count)| *count > held);
        let route = most.and_then(|(requester, _)| {
            let is_theirs = |(_, targets): &(&Slot, &SlotSet)| targets.contains(requester);
            self.out.iter().find(is_theirs).map(|(origin, _)| (requester, *origin))
        });
        if let Some((requester, origin)) = route {
            self.on_prune(requester, origin);
        }
        route.is_some()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::slot;

    /// How many routes these have.
    fn held(routes: &Routes, requester: u16) -> usize {
        routes.requesters().filter(|other| other.get() == requester).count()
    }

    /// R-ROUTE-2: one more than a requester's limit is ignored, the same one again is none more, and a prune makes room.
    #[test]
    fn one_requester_has_few_routes() {
        let mut routes = Routes::default();
        for origin in 0..=8 {
            routes.on_request(slot(20), slot(origin));
            routes.on_request(slot(20), slot(origin));
        }
        assert_eq!(held(&routes, 20), ROUTES_EACH_MAX);
        assert!(routes.targets(slot(8)).is_empty());
        routes.on_prune(slot(20), slot(3));
        routes.on_request(slot(20), slot(8));
        assert!(routes.targets(slot(8)).contains(slot(20)));
        routes.on_request(slot(21), slot(21));
        assert_eq!(held(&routes, 21), 0, "nobody asks for its own");
    }

    /// R-ROUTE-2: where as many have all routes as there are, whoever has most gives one up to a newcomer, until it has no more than
    /// that one would have.
    #[test]
    fn whoever_has_most_gives_way() {
        let mut routes = Routes::default();
        let greedy = 100..100 + u16::try_from(ROUTES_MAX / ROUTES_EACH_MAX).unwrap();
        for (requester, origin) in
            greedy.clone().flat_map(|greedy| (0..8).map(move |origin| (greedy, origin)))
        {
            routes.on_request(slot(requester), slot(origin));
        }
        assert_eq!(routes.requesters().count(), ROUTES_MAX);
        for origin in 10..18 {
            routes.on_request(slot(20), slot(origin));
            assert_eq!(routes.requesters().count(), ROUTES_MAX, "one more than all takes another's place");
        }
        assert_eq!(held(&routes, 20), 7, "as many as each of the others has, or one less");
        let mut greedy = greedy;
        assert!(greedy.all(|greedy| held(&routes, greedy) >= 7));
        routes.on_request(slot(21), slot(10));
        assert_eq!(held(&routes, 21), 1);
    }
}
