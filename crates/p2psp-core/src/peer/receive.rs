//! Datagrams as they come: who may send what (R-RELAY-4), what is new, what is believed, and what follows from it.

use super::{
    Peer, Seat,
    belief::{Culprit, Verdict},
    echo::ECHO_EVERY,
};
use crate::{Instant, LinkId, Output, SlotSet, protect};
use p2psp_wire::{Chunk, Control, Datagram, Manifest, Parity, PeerId, Slot, StreamTime};
use std::time::Duration;

/// Members to have no link with; one more frees the place of the first.
pub(super) const SHUNNED_MAX: usize = 512;

/// By what right a datagram came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// From the splitter, in a turn of this member's own.
    Turn,
    /// From the splitter, which is its origin itself (R-TURN-5).
    Splitter,
    /// From its origin.
    Origin,
    /// From a teammate that was asked for its origin.
    Proxy,
    /// In answer to a pull.
    Pull,
}

impl Right {
    /// The splitter gave it out, to this member or to everybody.
    const fn is_turn(self) -> bool {
        matches!(self, Self::Turn | Self::Splitter)
    }
}

/// Whoever is at the other end of a link.
#[derive(Clone, Copy, Debug)]
struct Sender {
    link: LinkId,
    /// The teammate's seat; `None` for the splitter.
    slot: Option<Slot>,
    /// It has said goodbye, and sends what it still owes.
    leaving: bool,
    /// Links that may send as much: who shares the room for what waits.
    links: usize,
}

/// What came of a train.
#[derive(Debug, Default)]
struct Sorted {
    /// To be relayed to everybody.
    turn: Vec<Datagram>,
    /// From its origin itself, for whoever asked for that origin.
    first_hand: Vec<Datagram>,
    /// Proxies that were told to stop.
    surplus: SlotSet,
    /// Links over which something came that a manifest does not list, or that the channel's key did not sign.
    culprits: Vec<Culprit>,
    received: usize,
}

impl Seat {
    /// Whether and by what right a datagram may come from `sender`.
    fn right(&self, sender: Sender, datagram: &Datagram) -> Option<Right> {
        let origin = datagram.origin();
        let pulled = match datagram {
            Datagram::Chunk(chunk) => {
                let (number, link) = (chunk.number(), sender.link);
                self.start.expects(number, link) || self.repairs.expects(number, link)
            }
            Datagram::Parity(_) => false,
            // A manifest speaks for itself: whoever brings it, the channel's key signed it.
            Datagram::Manifest(_) => sender.slot.unwrap_or(self.welcome.slot) != origin,
        };
        if pulled {
            return Some(Right::Pull);
        }
        match sender.slot {
            None if origin == self.welcome.slot => Some(Right::Turn),
            None => (origin == Slot::SPLITTER).then_some(Right::Splitter),
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
    pub(super) fn on_train(&mut self, now: Instant, link: LinkId, datagrams: Vec<Datagram>) {
        let splitter = self.life.splitter_link() == Some(link);
        let Some(seat) = &self.seat else { return };
        let slot = seat.team.sender(link);
        if slot.is_none() && !splitter {
            // The roster may name the sender only a moment later.
            self.stats.chunks_unexpected += datagrams.len() as u64;
            return;
        }
        let leaving = seat.team.slot_of_link(link).is_none();
        let sender = Sender { link, slot, leaving, links: seat.team.up().len() };
        if slot.is_some() && !leaving {
            let rng = &mut self.rng;
            // Of a wait for this host's processor nothing is to be told: it is no queue in the sender's uplink.
            let came = self.wake_at.map_or(now, |at| at.min(now));
            let echo = self.echoes.on_came(now, came, link, &datagrams, || rng.below(ECHO_EVERY) == 0);
            self.outbox.extend(echo.map(|echo| Output::Control { link, message: Control::Echo(echo) }));
        }
        let mut sorted = Sorted::default();
        for datagram in datagrams {
            let Some(right) = self.seat.as_ref().and_then(|seat| seat.right(sender, &datagram)) else {
                self.stats.chunks_unexpected += 1;
                continue;
            };
            // The published rule is clocked by every reception, a late or second copy too.
            sorted.received += 1;
            // Parity, and what was rebuilt before it came, are signs of life too; a leaver's last chunks are none.
            if let (Right::Origin, false, Some(seat)) = (right, leaving, self.seat.as_mut()) {
                seat.watch.on_chunk(now, datagram.origin());
            }
            let is_fresh = match &datagram {
                Datagram::Chunk(chunk) => self.on_chunk(now, sender, right, chunk, &mut sorted),
                Datagram::Parity(parity) => self.on_parity(now, sender, right, parity, &mut sorted),
                Datagram::Manifest(manifest) => self.on_manifest(now, sender, manifest, &mut sorted),
            };
            match right {
                Right::Turn if is_fresh => sorted.turn.push(datagram),
                Right::Origin if is_fresh => sorted.first_hand.push(datagram),
                Right::Turn | Right::Splitter | Right::Origin | Right::Proxy | Right::Pull => {}
            }
        }
        self.pass_on(now, sender, sorted);
    }

    /// Relays what is fresh, and parts with who sent what is false.
    fn pass_on(&mut self, now: Instant, sender: Sender, sorted: Sorted) {
        if !sorted.turn.is_empty() {
            self.on_own_turn(now, &sorted.turn);
        }
        let Some(seat) = &mut self.seat else { return };
        self.stats.prunes_sent += sorted.surplus.len() as u64;
        if !sorted.turn.is_empty() {
            seat.watch.on_own_turn(now);
            seat.relay.push(now, sorted.turn.into(), *seat.team.up());
        }
        if let Some(origin) = sender.slot.filter(|_| !sorted.first_hand.is_empty()) {
            // R-ROUTE-1: only what came from the origin itself is passed on, so that a route is one hop long.
            let targets = seat.routes.targets(origin);
            seat.relay.push(now, sorted.first_hand.into(), targets);
        }
        seat.relay.on_received(now, sorted.received);
        for culprit in sorted.culprits {
            self.part_with(culprit);
        }
    }

    /// R-GEN-5, R-FAIR-1: no more of that member, and the splitter is told what it sent.
    fn part_with(&mut self, Culprit { link, evidence }: Culprit) {
        self.stats.chunks_false += 1;
        let splitter = self.life.splitter_link();
        let slot = self.seat.as_ref().and_then(|seat| seat.team.slot_of_link(link));
        if let (Some(splitter), Some(accused)) = (splitter, slot) {
            let (number, hash) = (evidence.number(), protect::hash_evidence(evidence.bytes()));
            self.send(splitter, Control::Complaint { accused, number, hash });
        }
        if let Some(peer) = self.links.get(&link).map(|link| link.peer).filter(|_| splitter != Some(link)) {
            self.shun(peer);
        }
        self.violation(link, "what the channel's key did not sign");
        if let (Some(slot), Some(seat)) = (slot, self.seat.as_mut()) {
            seat.team.shun(slot);
        }
        if let Some(seat) = &mut self.seat {
            seat.belief.forget_link(link);
        }
    }

    /// No link with that member any more.
    pub(super) fn shun(&mut self, peer: PeerId) {
        if self.shunned.contains(&peer) {
            return;
        }
        if self.shunned.len() >= SHUNNED_MAX {
            self.shunned.pop_front();
        }
        self.shunned.push_back(peer);
    }

    /// Whether the chunk is to be passed on.
    fn on_chunk(
        &mut self,
        now: Instant,
        sender: Sender,
        right: Right,
        chunk: &Chunk,
        sorted: &mut Sorted,
    ) -> bool {
        let Some(seat) = &mut self.seat else { return false };
        let (number, origin) = (chunk.number(), chunk.header().origin);
        match (right, sender.slot) {
            (Right::Turn | Right::Splitter, _) => seat.on_turn_number(now, chunk),
            // Who leaves may come back at once: it would be two that agree.
            (Right::Origin | Right::Proxy, Some(from)) if !sender.leaving => {
                seat.edge.on_shown(now, from, number);
            }
            (Right::Origin | Right::Proxy | Right::Pull, _) => {}
        }
        let came_again = right != Right::Pull && seat.belief.on_came(number);
        // A proxy does the part of an origin that has a link here, and not the origin.
        let is_done = match right {
            Right::Turn | Right::Splitter | Right::Origin => true,
            Right::Proxy => seat.team.link(origin).is_none(),
            Right::Pull => false,
        };
        if is_done {
            seat.belief.on_done(number);
        }
        // R-RELAY-6: what is played already, held already, or far ahead goes nowhere.
        if number < seat.playout.next_number() {
            self.stats.chunks_late += 1;
            return false;
        }
        // No member's word moves the window further than that: the honest ones' chunks must not fall out of it.
        if !right.is_turn() && number.since(seat.edge.number()) > seat.window.span() / 2 {
            self.stats.chunks_unexpected += 1;
            return false;
        }
        let trusted = sender.slot.is_none();
        if seat.window.contains(number) || (!trusted && seat.belief.holds(number)) {
            self.stats.chunks_duplicate += 1;
            // What was rebuilt before its false copy came is no less evidence.
            if !trusted && seat.belief.refutes(chunk) {
                sorted.culprits.push(Culprit { link: sender.link, evidence: Datagram::Chunk(chunk.clone()) });
                return false;
            }
            // Of a chunk that was pulled or rebuilt a copy says nothing about routes, nor does any while a newcomer pulls.
            let is_second = came_again && seat.start.deadline().is_none();
            if let (Right::Origin | Right::Proxy, Some(via), true) = (right, sender.slot, is_second) {
                for proxy in seat.routes.on_duplicate(origin, via).iter() {
                    let message = Control::Prune { origins: vec![origin] };
                    let prune = seat.team.link(proxy).map(|link| Output::Control { link, message });
                    self.outbox.extend(prune);
                    sorted.surplus.insert(proxy);
                }
            }
            return false;
        }
        // R-GEN-5: the splitter's own link proves what comes over it; everything else waits for its manifest.
        let verdict = if trusted {
            Verdict::Believed
        } else {
            seat.belief.on_chunk(now, chunk, sender.link, sender.links, seat.edge.number())
        };
        match verdict {
            Verdict::Believed if !seat.window.insert(chunk.clone()) => return false,
            Verdict::Believed | Verdict::Waits if is_done => seat.belief.on_done(number),
            Verdict::Believed | Verdict::Waits => {}
            Verdict::Bad => {
                sorted.culprits.push(Culprit { link: sender.link, evidence: Datagram::Chunk(chunk.clone()) });
                return false;
            }
            Verdict::Dropped | Verdict::Known => {
                self.stats.chunks_unexpected += 1;
                return false;
            }
        }
        self.stats.bytes_received += chunk.payload_len() as u64;
        if trusted {
            self.stats.bytes_from_splitter += chunk.payload_len() as u64;
        }
        seat.belief.look_soon(now, number);
        if right == Right::Pull {
            self.stats.chunks_pulled += 1;
            return false;
        }
        seat.playout.on_arrival(now, chunk);
        let time = StreamTime::expand(chunk.header().time_us, seat.playout.stream_time(now));
        let sent_us = seat.welcome.epoch_unix_us.saturating_add(time.as_micros());
        let now_us = self.config.origin_unix_us.saturating_add(now.as_micros());
        self.delays.record(Duration::from_micros(now_us.saturating_sub(sent_us)));
        // A leaver's last chunks say nothing about who is silent.
        if !right.is_turn() && !sender.leaving {
            seat.watch.on_chunk(now, origin);
            seat.routes.on_heard(origin);
        }
        if right.is_turn() {
            self.stats.chunks_from_splitter += 1;
        } else {
            self.stats.chunks_from_teammates += 1;
        }
        verdict == Verdict::Believed
    }

    /// Whether the parity chunk is to be passed on.
    fn on_parity(
        &mut self,
        now: Instant,
        sender: Sender,
        right: Right,
        parity: &Parity,
        sorted: &mut Sorted,
    ) -> bool {
        let Some(seat) = &mut self.seat else { return false };
        // It is made when its generation's chunks have gone out.
        if !right.is_turn() && !seat.belief.is_near(parity.first(), seat.edge.number()) {
            self.stats.chunks_unexpected += 1;
            return false;
        }
        let verdict = seat.belief.on_parity(parity, sender.link, sender.links);
        match verdict {
            Verdict::Believed => {
                self.stats.parity_received += 1;
                seat.belief.look_soon(now, parity.first());
            }
            Verdict::Waits => self.stats.parity_received += 1,
            Verdict::Bad if sender.slot.is_some() => {
                sorted
                    .culprits
                    .push(Culprit { link: sender.link, evidence: Datagram::Parity(parity.clone()) });
            }
            Verdict::Dropped => self.stats.chunks_unexpected += 1,
            Verdict::Bad | Verdict::Known => {}
        }
        // An own turn goes on whatever is known here: the splitter gave it.
        right == Right::Turn || verdict == Verdict::Believed
    }

    /// Whether the manifest is to be passed on. What waited for it is judged.
    fn on_manifest(
        &mut self,
        now: Instant,
        sender: Sender,
        manifest: &Manifest,
        sorted: &mut Sorted,
    ) -> bool {
        let (Some(seat), Some(link)) = (&mut self.seat, self.links.get_mut(&sender.link)) else {
            return false;
        };
        let (verdict, resolved) = seat.belief.on_manifest(now, manifest, &seat.window, &mut link.guard);
        match verdict {
            Verdict::Believed => self.stats.manifests_received += 1,
            Verdict::Bad => {
                let evidence = Datagram::Manifest(manifest.clone());
                sorted.culprits.push(Culprit { link: sender.link, evidence });
            }
            Verdict::Waits | Verdict::Known | Verdict::Dropped => {}
        }
        sorted.culprits.extend(resolved.culprits);
        for (chunk, link) in resolved.believed {
            let origin = chunk.header().origin;
            if chunk.number() < seat.playout.next_number() || !seat.window.insert(chunk.clone()) {
                continue;
            }
            if seat.team.sender(link) == Some(origin) {
                let targets = seat.routes.targets(origin);
                seat.relay.push(now, [Datagram::Chunk(chunk)].into(), targets);
            }
        }
        verdict == Verdict::Believed
    }
}
