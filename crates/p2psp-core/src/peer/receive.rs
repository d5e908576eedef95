//! Chunks as they come: who may send what (R-RELAY-4), what is new, and what follows from it.

use super::{Peer, Seat};
use crate::{Instant, LinkId, Output, SlotSet};
use p2psp_wire::{Chunk, Control, Slot, StreamTime, limits::SLOTS_MAX};
use std::time::Duration;

/// By what right a chunk came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// From the splitter, in a turn of this member's own.
    Turn,
    /// From its origin.
    Origin,
    /// From a teammate that was asked for its origin.
    Proxy,
    /// In answer to a pull.
    Pull,
}

impl Seat {
    /// Whether and by what right `chunk` may come over `link`; `from` is the teammate at its other end, `None` the splitter.
    fn right(&self, link: LinkId, from: Option<Slot>, chunk: &Chunk) -> Option<Right> {
        let origin = chunk.header().origin;
        if self.start.expects(chunk.number(), link) {
            return Some(Right::Pull);
        }
        match from {
            None => (origin == self.welcome.slot).then_some(Right::Turn),
            Some(slot) if slot == origin => Some(Right::Origin),
            Some(slot) => self.routes.expects(origin, slot).then_some(Right::Proxy),
        }
    }

    /// The splitter alone knows where the stream is: a window or a play-out that lies ahead of its newest turn was led astray,
    /// and begins again there.
    fn on_turn_number(&mut self, now: Instant, chunk: &Chunk) {
        let number = chunk.number();
        let newest = self.edge.on_turn(now, number);
        if newest && (number < self.window.floor() || self.playout.is_ahead_of(now, chunk)) {
            self.edge.pull_back(number);
            self.window.pull_back(number);
            self.playout.pull_back(number);
        }
    }

    /// A member is gone, or its seat has another holder.
    pub(super) fn forget_member(&mut self, slot: Slot) {
        self.relay.forget(slot);
        self.routes.forget(slot);
        self.watch.forget(slot);
        self.edge.forget(slot);
    }
}

impl Peer {
    pub(super) fn on_train(&mut self, now: Instant, link: LinkId, chunks: Vec<Chunk>) {
        let splitter = self.life.splitter_link() == Some(link);
        let count = chunks.len();
        let Some(seat) = &mut self.seat else { return };
        let from = seat.team.sender(link);
        let leaving = seat.team.slot_of_link(link).is_none();
        if from.is_none() && !splitter {
            // The roster may name the sender only a moment later.
            self.stats.chunks_unexpected += count as u64;
            return;
        }
        let mut turn = Vec::new();
        let mut first_hand = Vec::new();
        let mut surplus = SlotSet::EMPTY;
        let mut received = 0;
        for chunk in chunks {
            let Some(right) = seat.right(link, from, &chunk) else {
                self.stats.chunks_unexpected += 1;
                continue;
            };
            // The published rule is clocked by every reception, a late or second copy too.
            received += 1;
            let number = chunk.number();
            match (right, from) {
                (Right::Turn, _) => seat.on_turn_number(now, &chunk),
                // Who leaves may come back at once: it would be two that agree.
                (Right::Origin | Right::Proxy, Some(from)) if !leaving => {
                    seat.edge.on_shown(now, from, number);
                }
                (Right::Origin | Right::Proxy | Right::Pull, _) => {}
            }
            // R-RELAY-6: what is played already, held already, or far ahead goes nowhere.
            if number < seat.playout.next_number() {
                self.stats.chunks_late += 1;
                continue;
            }
            // No member's word moves the window further than that: the honest ones' chunks must not fall out of it.
            if right != Right::Turn && number.since(seat.edge.number()) > seat.window.span() / 2 {
                self.stats.chunks_unexpected += 1;
                continue;
            }
            let origin = chunk.header().origin;
            if !seat.window.insert(chunk.clone()) {
                self.stats.chunks_duplicate += 1;
                // While a newcomer pulls, a second copy says nothing about routes: the first may have been pulled.
                let pulling = seat.start.deadline().is_some();
                if let (Right::Origin | Right::Proxy, Some(via), false) = (right, from, pulling) {
                    let proxies = seat.routes.on_duplicate(origin, via);
                    for proxy in proxies.iter() {
                        self.outbox.extend(seat.team.link(proxy).map(|link| Output::Control {
                            link,
                            message: Control::Prune { origins: vec![origin] },
                        }));
                        surplus.insert(proxy);
                    }
                }
                continue;
            }
            self.stats.bytes_received += chunk.payload_len() as u64;
            if right == Right::Pull {
                self.stats.chunks_pulled += 1;
                continue;
            }
            seat.playout.on_arrival(now, &chunk);
            let time = StreamTime::expand(chunk.header().time_us, seat.playout.stream_time(now));
            let sent_us = seat.welcome.epoch_unix_us.saturating_add(time.as_micros());
            let now_us = self.config.origin_unix_us.saturating_add(now.as_micros());
            self.delays.record(Duration::from_micros(now_us.saturating_sub(sent_us)));
            // A leaver's last chunks say nothing about who is silent.
            if right != Right::Turn && !leaving {
                seat.watch.on_chunk(now, origin);
                seat.routes.on_heard(origin);
            }
            match right {
                Right::Turn => {
                    self.stats.chunks_from_splitter += 1;
                    turn.push(chunk);
                }
                Right::Origin => {
                    self.stats.chunks_from_teammates += 1;
                    first_hand.push(chunk);
                }
                Right::Proxy | Right::Pull => self.stats.chunks_from_teammates += 1,
            }
        }
        self.stats.prunes_sent += surplus.len() as u64;
        if !turn.is_empty() {
            seat.watch.on_own_turn(now);
            seat.relay.push(now, turn.into(), *seat.team.up());
        }
        if let Some(origin) = from.filter(|_| !first_hand.is_empty()) {
            // R-ROUTE-1: only what came from the origin itself is passed on, so that a route is one hop long.
            let targets = seat.routes.targets(origin);
            seat.relay.push(now, first_hand.into(), targets);
        }
        seat.relay.on_received(now, received);
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
        for (link, message) in seat.start.look(now, &seat.window, from, live, &sources) {
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
