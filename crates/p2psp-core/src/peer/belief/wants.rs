//! Manifests that have not come: of which generations, when each is asked for next, and how often it was (R-GEN-6). Knows neither what
//! waits for them nor whom to ask.

use super::waiting::has_room;
use crate::{Instant, LinkId};
use p2psp_wire::ChunkNumber;
use std::{collections::BTreeMap, time::Duration};

/// Generations whose manifests are asked for at a time: 1.6 s of a stream of 4 Mb/s, less of a faster one. One more is not asked for, so
/// that who lies about places cannot have everything asked for; nor is, when half are taken, what a link claims that has its share, so
/// that nobody crowds the others out.
pub(super) const WANTS_MAX: usize = 16;
/// Manifests are asked for again and again as often as this.
const MANIFEST_STEP: Duration = Duration::from_millis(60);

#[derive(Debug)]
struct Want {
    ask_at: Instant,
    tries: u8,
    /// When it was asked for first.
    asked_at: Option<Instant>,
    /// Over which link the chunk came that claimed it; none where a manifest tells of it.
    link: Option<LinkId>,
}

/// Generations with manifests that are still to come, by their first numbers.
#[derive(Debug, Default)]
pub(super) struct Wants(BTreeMap<ChunkNumber, Want>);

impl Wants {
    /// Manifests of this generation are asked for then, or sooner where that is settled already.
    pub(super) fn add(&mut self, first: ChunkNumber, ask_at: Instant) {
        self.add_for(None, first, ask_at);
    }

    /// Likewise, because of a chunk that came over `link`, one of `links`.
    pub(super) fn claim(&mut self, first: ChunkNumber, ask_at: Instant, link: LinkId, links: usize) {
        let claimed = self.0.values().filter_map(|want| want.link);
        if self.0.contains_key(&first) || has_room(claimed, self.0.len(), WANTS_MAX, link, links) {
            self.add_for(Some(link), first, ask_at);
        }
    }

    fn add_for(&mut self, link: Option<LinkId>, first: ChunkNumber, ask_at: Instant) {
        if self.0.len() < WANTS_MAX || self.0.contains_key(&first) {
            let want = self.0.entry(first).or_insert(Want { ask_at, tries: 0, asked_at: None, link });
            want.ask_at = want.ask_at.min(ask_at);
        }
    }

    /// It was asked for in vain, and is asked for as if it had not been.
    pub(super) fn renew(&mut self, first: ChunkNumber, ask_at: Instant) {
        if let Some(want) = self.0.get_mut(&first) {
            *want = Want { ask_at, tries: 0, asked_at: None, link: want.link };
        }
    }

    /// Nothing more is wanted of this generation; gives when it was asked for first, if it was.
    pub(super) fn remove(&mut self, first: ChunkNumber) -> Option<Instant> {
        self.0.remove(&first)?.asked_at
    }

    /// When it was asked for first.
    pub(super) fn asked_at(&self, first: ChunkNumber) -> Option<Instant> {
        self.0.get(&first)?.asked_at
    }

    /// When the next is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.values().map(|want| want.ask_at).min()
    }

    /// One that is due, and how often it was before; the next time is a step later.
    pub(super) fn due(&mut self, now: Instant) -> Option<(ChunkNumber, u8)> {
        let (first, want) = self.0.iter_mut().find(|(_, want)| want.ask_at <= now)?;
        want.ask_at = now + MANIFEST_STEP;
        want.tries += 1;
        want.asked_at.get_or_insert(now);
        Some((*first, want.tries - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(n: u64) -> ChunkNumber {
        ChunkNumber::new(n).unwrap()
    }

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    #[test]
    fn each_is_asked_for_again_a_step_later() {
        let mut wants = Wants::default();
        wants.add(number(0), at(20));
        wants.add(number(48), at(10));
        assert_eq!((wants.deadline(), wants.due(at(9))), (Some(at(10)), None));
        assert_eq!(wants.due(at(20)), Some((number(0), 0)));
        assert_eq!(wants.due(at(20)), Some((number(48), 0)));
        assert_eq!((wants.due(at(20)), wants.deadline()), (None, Some(at(80))));
        assert_eq!(wants.remove(number(0)), Some(at(20)));
        assert_eq!(wants.remove(number(0)), None);
        assert_eq!(wants.due(at(80)), Some((number(48), 1)));
    }

    /// One link's claims are asked for while half of the places are free, and then as far as its share goes; others' still are.
    #[test]
    fn one_link_takes_half() {
        let mut wants = Wants::default();
        for first in 0..WANTS_MAX as u64 {
            wants.claim(number(first), at(100), LinkId(1), 63);
        }
        for (first, link) in (100..100 + WANTS_MAX as u64).zip(2..) {
            wants.claim(number(first), at(100), LinkId(link), 63);
        }
        let asked: Vec<u64> =
            std::iter::from_fn(|| wants.due(at(100))).map(|(first, _)| first.get()).collect();
        assert_eq!(asked, (0..8).chain(100..108).collect::<Vec<_>>());
    }

    /// One more than allowed is not asked for, whenever it was to be.
    #[test]
    fn no_more_than_the_limit_are_asked_for() {
        let mut wants = Wants::default();
        for first in 0..=WANTS_MAX as u64 {
            wants.add(number(first), at(100));
        }
        let asked = std::iter::from_fn(|| wants.due(at(100))).count();
        assert_eq!(asked, WANTS_MAX);
        assert_eq!(wants.remove(number(WANTS_MAX as u64)), None);
    }
}
