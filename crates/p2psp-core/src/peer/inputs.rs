//! What others say to a peer, and the links it has with them.

use super::{Believed, Link, Peer, PeerEvent, life::Life};
use crate::{CloseCode, Instant, LinkDown, LinkId, Output, guard::Guard};
use p2psp_wire::{Control, Departure, DepartureReason, Hello, PeerId, RosterDelta, Slot};
use std::time::Duration;

/// How long a link may be up before the roster says whose it is.
pub(super) const STRANGER_WAIT: Duration = Duration::from_secs(5);
/// When a peer that the roster does not name yet may ask again.
const STRANGER_RETRY_MS: u32 = 50;
/// Links of peers that the roster does not name (yet).
pub(super) const STRANGERS_MAX: usize = 64;
/// After this time a newcomer is ready with whatever links it has.
const READY_WAIT: Duration = Duration::from_secs(2);

impl Peer {
    pub(super) fn on_link_up(&mut self, now: Instant, link: LinkId, peer: PeerId, dialed: bool) {
        let splitter = peer == self.splitter_id();
        let mut state = Link { peer, dialed, stranger: false, guard: Guard::new(now), deadline: None };
        if splitter && dialed && matches!(self.life, Life::Dialing) {
            self.links.insert(link, state);
            return self.on_splitter_up(now, link);
        }
        if self.shunned.contains(&peer) && !splitter {
            return self.outbox.push_back(Output::Hangup { link, code: CloseCode::Violation });
        }
        if splitter || peer == self.me || self.seat.is_none() {
            return self.outbox.push_back(Output::Hangup { link, code: CloseCode::Stranger });
        }
        if let Some((old, dialed_before)) = self.link_of(peer) {
            // R-LINK-3: of two, the one dialed by the smaller id stays; of two dialed by the same side, the newer.
            let keep_new = dialed_before == dialed || dialed == (self.me < peer);
            if !keep_new {
                return self.outbox.push_back(Output::Hangup { link, code: CloseCode::Duplicate });
            }
            self.hang_up(old, CloseCode::Duplicate);
        }
        let slot = self.seat.as_ref().and_then(|seat| seat.team.slot_of_peer(peer));
        // Links of members that have left wait for their end too, but are no strangers'.
        let strangers = self.links.values().filter(|link| link.stranger).count();
        if slot.is_none() && strangers >= STRANGERS_MAX {
            return self.outbox.push_back(Output::Hangup { link, code: CloseCode::Stranger });
        }
        state.stranger = slot.is_none();
        self.links.insert(link, state);
        self.set_deadline(link, Some(now + STRANGER_WAIT));
        if let Some(seat) = &self.seat {
            let hello =
                Hello { channel: self.config.channel, epoch: seat.welcome.epoch, slot: seat.welcome.slot };
            self.send(link, Control::Hello(hello));
        }
        if let Some(slot) = slot {
            self.adopt(now, link, slot);
        }
    }

    /// A link and a roster entry have found each other.
    fn adopt(&mut self, now: Instant, link: LinkId, slot: Slot) {
        self.set_deadline(link, None);
        let (Some(state), Some(seat)) = (self.links.get_mut(&link), self.seat.as_mut()) else { return };
        state.stranger = false;
        let peer = state.peer;
        seat.team.set_link(slot, link);
        if self.uplink.is_some() {
            let echo = self.echoes.hello(now, link);
            self.outbox.push_back(Output::Control { link, message: Control::Echo(echo) });
        }
        seat.start.on_link(now, seat.team.up().len(), seat.team.len().into());
        self.event(PeerEvent::Teammate { peer, up: true });
        self.ready_if_linked(now);
    }

    fn link_of(&self, peer: PeerId) -> Option<(LinkId, bool)> {
        self.links.iter().find(|(_, link)| link.peer == peer).map(|(link, state)| (*link, state.dialed))
    }

    /// R-JOIN-3: turns are asked for when most links are up, or when the rest has had its time.
    fn ready_if_linked(&mut self, now: Instant) {
        // A leaver has said its goodbye: it asks for nothing any more.
        let Life::Member { link } = self.life else { return };
        let Some(seat) = self.seat.as_mut().filter(|seat| !seat.ready_sent && seat.view.is_some()) else {
            return;
        };
        let (up, known) = (seat.team.up().len(), usize::from(seat.team.len().max(seat.welcome.members)));
        let waited = now.since(seat.joined) >= READY_WAIT;
        if up * 4 >= known * 3 || (waited && (up > 0 || seat.team.len() == 0)) {
            seat.ready_sent = true;
            seat.belief.tell_from(seat.edge.number(), seat.edge.told());
            let teammates = u16::try_from(up).unwrap_or(u16::MAX);
            self.send(link, Control::Ready { teammates });
        }
    }

    pub(super) fn on_link_down(&mut self, now: Instant, link: LinkId, why: LinkDown) {
        let splitter = self.life.splitter_link() == Some(link);
        let Some(state) = self.forget_link(link) else { return };
        if splitter {
            return self.splitter_lost(now, false);
        }
        if why == LinkDown::Closed(CloseCode::OtherStream) {
            self.event(PeerEvent::OtherStream { peer: state.peer });
        }
    }

    pub(super) fn on_dial_failed(&mut self, now: Instant, peer: PeerId, wrong_key: bool) {
        if peer == self.splitter_id() {
            if matches!(self.life, Life::Dialing) {
                self.splitter_lost(now, wrong_key);
            }
        } else if let Some(seat) = &mut self.seat {
            seat.team.on_dial_failed(now, peer);
        }
    }

    pub(super) fn set_blocked(&mut self, link: LinkId, blocked: bool) {
        if let Some(seat) = &mut self.seat
            && let Some(slot) = seat.team.slot_of_link(link)
        {
            seat.team.set_blocked(slot, blocked);
        }
    }

    pub(super) fn on_control(&mut self, now: Instant, link: LinkId, message: Control) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if !state.guard.admit_control(now) {
            return self.violation(link, "too many control messages");
        }
        if self.life.splitter_link() == Some(link) {
            self.on_splitter_control(now, link, message);
        } else {
            self.on_teammate_control(now, link, message);
        }
    }

    fn on_splitter_control(&mut self, now: Instant, link: LinkId, message: Control) {
        match message {
            Control::Welcome(welcome) => self.on_welcome(now, link, welcome),
            Control::Refuse(refuse) => self.on_refuse(now, link, refuse),
            Control::RosterDelta(delta) => self.on_roster(now, link, delta),
            Control::StreamHeader(header) => self.event(PeerEvent::Header(header)),
            Control::Goodbye(reason) => self.on_splitter_goodbye(now, reason),
            // The answer says that this member lives and is heard, so nothing comes before it (R-CRASH-5).
            Control::Probe { token } => self.send(link, Control::Alive { token }),
            Control::Choke { ranges, .. } => {
                if let Some(seat) = &mut self.seat {
                    seat.start.on_choke(now, link, &ranges);
                }
            }
            Control::Unknown => {}
            Control::Join(_)
            | Control::Ready { .. }
            | Control::Hello(_)
            | Control::Request { .. }
            | Control::Prune { .. }
            | Control::Lost { .. }
            | Control::Pull { .. }
            | Control::Report { .. }
            | Control::Complaint { .. }
            | Control::Alive { .. }
            | Control::Witness(_)
            | Control::Echo(_)
            | Control::Capacity { .. }
            | Control::Silent { .. } => self.violation(link, "a message that a splitter does not send"),
        }
    }

    fn on_roster(&mut self, now: Instant, link: LinkId, delta: RosterDelta) {
        let (me, splitter) = (self.me, self.splitter_id());
        let Some(seat) = self.seat.as_mut().filter(|seat| seat.welcome.epoch == delta.epoch) else {
            return self.violation(link, "a roster of another epoch");
        };
        // R-ROSTER-2: frames of one view follow each other, then comes the next view.
        let snapshot_view = *seat.view.get_or_insert((delta.view, delta.view));
        if delta.view != snapshot_view.1 && delta.view != snapshot_view.1.saturating_add(1) {
            return self.violation(link, "a gap in the roster's views");
        }
        seat.view = Some((snapshot_view.0, delta.view));
        for departure in delta.left {
            self.on_departed(now, departure);
        }
        for member in delta.joined.into_iter().filter(|member| member.peer != me && member.peer != splitter) {
            let (slot, peer) = (member.slot, member.peer);
            let Some(seat) = &mut self.seat else { return };
            if seat.team.join(now, member, delta.view == snapshot_view.0).is_some() {
                seat.forget_member(slot);
            }
            if self.shunned.contains(&peer) {
                seat.team.shun(slot);
            }
            if let Some((link, _)) = self.link_of(peer) {
                self.adopt(now, link, slot);
            }
        }
        self.ready_if_linked(now);
    }

    /// The splitter says that a member is gone: nothing is sent there any more, and its link has no purpose (R-CRASH-3).
    fn on_departed(&mut self, now: Instant, departure: Departure) {
        let slot = departure.slot;
        let Some(seat) = &mut self.seat else { return };
        let link = seat.team.link(slot);
        if let Some(link) = link.filter(|_| departure.reason == DepartureReason::Goodbye) {
            seat.team.say_goodbye(now, link);
        }
        seat.team.leave(slot);
        seat.forget_member(slot);
        if let Some(link) = link.filter(|_| departure.reason == DepartureReason::Expelled) {
            return self.hang_up(link, CloseCode::Violation);
        }
        if let Some(link) = link {
            // A polite leaver still sends what it owes, then closes.
            self.set_deadline(link, Some(now + STRANGER_WAIT));
        }
    }

    fn on_teammate_control(&mut self, now: Instant, link: LinkId, message: Control) {
        let Some(seat) = &mut self.seat else { return };
        let slot = seat.team.slot_of_link(link);
        match (message, slot) {
            (Control::Hello(hello), _) => {
                if hello.channel != self.config.channel || hello.epoch != seat.welcome.epoch {
                    let peer = self.links.get(&link).map(|link| link.peer);
                    self.outbox.extend(peer.map(|peer| Output::Event(PeerEvent::OtherStream { peer })));
                    self.hang_up(link, CloseCode::OtherStream);
                }
            }
            (Control::Goodbye(_), _) => {
                // The first one counts: more of them must not keep the link.
                if let Some(slot) = seat.team.say_goodbye(now, link) {
                    seat.relay.forget(slot);
                    self.set_deadline(link, Some(now + STRANGER_WAIT));
                }
            }
            (Control::Request { origins }, Some(slot)) => {
                // R-ROUTE-2: what does not come here cannot be passed on, and must not fill the table. R-ROUTE-3: this member's own
                // chunks, to which there is no link, go to every teammate anyhow.
                let is_there =
                    |origin: &Slot| seat.team.link(*origin).is_some() && seat.watch.hears(now, *origin);
                for origin in origins.into_iter().filter(is_there) {
                    seat.routes.on_request(slot, origin);
                }
            }
            (Control::Prune { origins }, Some(slot)) => {
                // R-ROUTE-5: nobody is talked out of relaying its own chunks; the forward table has no entry for them.
                for origin in origins {
                    seat.routes.on_prune(slot, origin);
                }
            }
            (Control::Pull { ranges, generations }, Some(_)) => {
                let Some(peer) = self.links.get(&link).map(|link| link.peer) else { return };
                let shelf = Believed { window: &seat.window, belief: &seat.belief };
                let choke = seat.server.request(now, (link, peer), &ranges, &generations, &shelf);
                self.outbox.extend(choke.map(|message| Output::Control { link, message }));
            }
            (Control::Echo(echo), Some(_)) => {
                let links = seat.team.up().len();
                self.echoes.on_echo(now, link, links, &echo, self.uplink.as_mut());
            }
            (Control::Choke { ranges, .. }, _) => seat.start.on_choke(now, link, &ranges),
            // The roster may name the sender only a moment later, or no longer.
            // An asker that the roster has yet to name loses less by asking again than by waiting.
            (Control::Pull { ranges, generations: _ }, None) => {
                let message = Control::Choke { ranges, retry_after_ms: STRANGER_RETRY_MS };
                self.outbox.push_back(Output::Control { link, message });
            }
            (Control::Request { .. } | Control::Prune { .. } | Control::Echo(_), None)
            | (Control::Unknown, _) => {}
            (
                Control::Join(_)
                | Control::Welcome(_)
                | Control::Refuse(_)
                | Control::RosterDelta(_)
                | Control::StreamHeader(_)
                | Control::Ready { .. }
                | Control::Lost { .. }
                | Control::Report { .. }
                | Control::Complaint { .. }
                | Control::Probe { .. }
                | Control::Alive { .. }
                | Control::Witness(_)
                | Control::Capacity { .. }
                | Control::Silent { .. },
                _,
            ) => self.violation(link, "a message that a teammate does not send"),
        }
    }

    /// Dials that are due, and links whose time is over.
    pub(super) fn links_tick(&mut self, now: Instant) {
        while let Some((peer, addresses)) = self.seat.as_mut().and_then(|seat| seat.team.next_dial(now)) {
            self.outbox.push_back(Output::Dial { peer, addresses });
        }
        while let Some((_, link)) = self.link_deadlines.first().filter(|(at, _)| *at <= now).copied() {
            self.hang_up(link, CloseCode::Stranger);
        }
        self.ready_if_linked(now);
    }
}
