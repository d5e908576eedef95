//! What a member asks others for: the past that a newcomer missed, what parity could not rebuild, and a way around origins that do not
//! reach it.

use super::{Peer, Seat, belief::Repair, rng::Rng};
use crate::{Instant, LinkId, Output, guard::Bucket};
use p2psp_wire::{ChunkNumber, Control, Datagram, NumberRange, Slot, limits::SLOTS_MAX};
use std::collections::BTreeMap;

/// Chunks that may be pulled for repair in a burst and a second: a generation, and a seventh of a 4 Mb/s stream. Repair must not
/// become the stream's second copy.
const REPAIR_BURST: u32 = 128;
const REPAIR_PER_SECOND: u32 = 64;
/// The try at which the splitter is asked too, after two with teammates alone. The one after it is a teammate's again: it has by then
/// what the splitter gave it, and the splitter's link to this member may be the one that loses.
const SPLITTER_TRY: u8 = 2;

/// Repair pulls: what was asked of whom, and how much more may be.
#[derive(Debug)]
pub(super) struct Repairs {
    budget: Bucket,
    asked: BTreeMap<ChunkNumber, Vec<LinkId>>,
}

impl Repairs {
    pub(super) fn new(now: Instant) -> Self {
        Self { budget: Bucket::new(now, REPAIR_BURST, REPAIR_PER_SECOND), asked: BTreeMap::new() }
    }

    /// Whether this chunk was asked of that link.
    pub(super) fn expects(&self, number: ChunkNumber, link: LinkId) -> bool {
        self.asked.get(&number).is_some_and(|asked| asked.contains(&link))
    }

    /// Whether anybody was asked for this chunk.
    pub(super) fn has_asked(&self, number: ChunkNumber) -> bool {
        self.asked.contains_key(&number)
    }

    fn forget_before(&mut self, from: ChunkNumber) {
        while self.asked.first_key_value().is_some_and(|(number, _)| *number < from) {
            self.asked.pop_first();
        }
    }
}

impl Seat {
    /// Whom to ask for repair: a teammate drawn at random, and the splitter where its try has come or there is nobody else.
    ///
    /// Losses come in runs on a link. So it is a teammate whose own turns come on time, if there is one: it can be reached, and its
    /// answer comes. And the splitter is not asked alone: its link could stay silent for all tries.
    fn repair_sources(
        &self,
        now: Instant,
        rng: &mut Rng,
        splitter: Option<LinkId>,
        is_splitters_try: bool,
    ) -> impl Iterator<Item = LinkId> + use<> {
        let prompt = |slot: &Slot| self.watch.is_prompt(now, *slot);
        let link = |slot| self.team.link(slot);
        let mut mates: Vec<LinkId> = self.team.up().iter().filter(prompt).filter_map(link).collect();
        if mates.is_empty() {
            mates = self.team.up().iter().filter_map(link).collect();
        }
        let nth = usize::from(rng.below(u16::try_from(mates.len()).unwrap_or(u16::MAX)));
        let splitter = splitter.filter(|_| is_splitters_try || mates.is_empty());
        [mates.get(nth).copied(), splitter].into_iter().flatten()
    }
}

impl Peer {
    /// Rebuilds what parity suffices for, and asks for the rest.
    pub(super) fn repair_tick(&mut self, now: Instant) {
        let splitter = self.life.splitter_link();
        let Some(seat) = &mut self.seat else { return };
        if seat.belief.deadline().is_none_or(|at| at > now) {
            return;
        }
        let from = seat.playout.next_number();
        seat.belief.forget_before(seat.window.floor(), from);
        seat.repairs.forget_before(from);
        while let Some(repair) = seat.belief.repair(now, &seat.window, from) {
            match repair {
                Repair::Nothing => {}
                Repair::Rebuilt(chunks) => {
                    for chunk in chunks.into_iter().filter(|chunk| seat.window.insert(chunk.clone())) {
                        self.stats.chunks_rebuilt += 1;
                        // R-GEN-7: what never reached its origin is missing everywhere; the origin that rebuilds it sends it late.
                        if chunk.header().origin == seat.welcome.slot {
                            self.stats.chunks_healed += 1;
                            seat.belief.on_healed(now, chunk.number());
                            seat.relay.push(now, [Datagram::Chunk(chunk)].into(), *seat.team.up());
                        }
                    }
                }
                Repair::Lacks { asked, missing, tries } => {
                    self.stats.chunks_unrebuilt += if tries == 0 { missing } else { 0 };
                    let count = u32::try_from(asked.len()).unwrap_or(u32::MAX);
                    let sources = seat.repair_sources(now, &mut self.rng, splitter, tries == SPLITTER_TRY);
                    for link in sources.filter(|_| seat.repairs.budget.take(now, count)) {
                        for number in &asked {
                            seat.repairs.asked.entry(*number).or_default().push(link);
                        }
                        self.stats.chunks_asked += u64::from(count);
                        let ranges = NumberRange::pack(asked.iter().copied());
                        let message = Control::Pull { ranges, generations: Vec::new() };
                        self.outbox.push_back(Output::Control { link, message });
                    }
                }
            }
        }
        while let Some((first, tries)) = seat.belief.overdue(now) {
            let sources = seat.repair_sources(now, &mut self.rng, splitter, tries > 0);
            for link in sources.filter(|_| seat.repairs.budget.take(now, 1)) {
                let message = Control::Pull { ranges: Vec::new(), generations: vec![first] };
                self.outbox.push_back(Output::Control { link, message });
            }
        }
    }

    /// Fetches what a newcomer missed.
    pub(super) fn pull_tick(&mut self, now: Instant) {
        let splitter = self.life.splitter_link();
        let Some(seat) = &mut self.seat else { return };
        if seat.start.deadline().is_none_or(|at| at > now) {
            return;
        }
        let mut sources: Vec<LinkId> =
            seat.team.up().iter().filter_map(|slot| seat.team.link(slot)).collect();
        let rotation = usize::from(self.rng.below(u16::try_from(sources.len()).unwrap_or(u16::MAX)));
        sources.rotate_left(rotation);
        // The splitter uploads one copy; it gives the past only where there is nobody else to ask.
        if seat.view.is_some() && seat.team.len() == 0 {
            sources.extend(splitter);
        }
        let (from, live) = (seat.playout.next_number(), seat.welcome.next_number);
        let held = |number| seat.belief.holds(number);
        for (link, message) in seat.start.look(now, &seat.window, held, from, live, &sources) {
            self.outbox.push_back(Output::Control { link, message });
        }
    }

    /// Reports origins that have fallen silent, and looks for a way around pairs that cannot talk.
    pub(super) fn watch_tick(&mut self, now: Instant) {
        let splitter = self.life.splitter_link();
        let Some(seat) = &mut self.seat else { return };
        if !seat.watch.is_due(now) || !seat.watch.is_flowing(now) {
            return;
        }
        let origins = seat.watch.newly_silent(now);
        let silent = |slot: &Slot| {
            let unlinked = seat.team.link(*slot).is_none();
            // A newcomer's link takes a moment to come up.
            let since = seat.team.since(*slot).unwrap_or(seat.joined);
            (unlinked || seat.watch.was_heard(*slot)) && seat.watch.is_silent(now, *slot, since)
        };
        let missing: Vec<Slot> =
            seat.team.slots().filter(silent).filter(|slot| seat.routes.may_request(now, *slot)).collect();
        for origin in missing {
            let up = seat.team.up().without(&[origin].into_iter().collect());
            let candidates = seat.routes.candidates(origin, &up);
            let nth = self.rng.below(u16::try_from(candidates.len()).unwrap_or(u16::MAX));
            let Some(proxy) = candidates.iter().nth(nth.into()) else { continue };
            let Some(link) = seat.team.link(proxy) else { continue };
            seat.routes.on_requested(now, origin, proxy, u32::try_from(up.len()).unwrap_or(u32::MAX));
            self.stats.requests_sent += 1;
            let message = Control::Request { origins: vec![origin] };
            self.outbox.push_back(Output::Control { link, message });
        }
        if let Some(link) = splitter.filter(|_| !origins.is_empty()) {
            let origins = origins.into_iter().take(SLOTS_MAX).collect();
            self.outbox.push_back(Output::Control { link, message: Control::Silent { origins } });
        }
    }
}
