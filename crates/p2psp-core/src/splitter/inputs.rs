//! What members say to the splitter, and what it does about it.

use super::{
    Generations, LINK_TIMEOUT, Splitter, SplitterEvent, admission, give::Held, members::Member,
    members::WEIGHT_DEFAULT,
};
use crate::{CloseCode, Instant, LinkDown, LinkId, Output, SlotSet, protect};
use p2psp_wire::{
    ChunkNumber, Control, DepartureReason, GoodbyeReason, Hash, Integrity, Join, PROTOCOL_REVISION, PeerId,
    Refuse, RefuseReason, Slot, Welcome,
};
use std::time::Duration;

/// Reports of silence about a member count when it has had so many turns at its present share: by then its teammates have learnt how
/// rare they are ...
const EASED_TURNS: u32 = 4;
/// ... which they do not where its turns are rarer than this, and than two rounds of the reporter's: it is named before they are due.
const TURN_GAP_MAX: Duration = Duration::from_secs(2);
/// Reports of silence older than this do not count together.
const DOUBT_SPAN: Duration = Duration::from_secs(2);
/// How long a silent member gets no turns; a dead one is out of the roster before that.
pub(super) const SILENCED: Duration = Duration::from_secs(10);

impl Splitter {
    pub(super) fn on_link_down(&mut self, now: Instant, link: LinkId, why: LinkDown) {
        let reason = match why {
            LinkDown::Closed(CloseCode::Done) => DepartureReason::Goodbye,
            LinkDown::Closed(_) | LinkDown::TimedOut | LinkDown::Transport => DepartureReason::Crashed,
        };
        self.depart(now, link, reason);
        self.set_deadline(link, None);
        self.links.remove(&link);
        self.server.forget(link);
    }

    pub(super) fn on_control(&mut self, now: Instant, link: LinkId, message: Control) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if !state.guard.admit_control(now) {
            return self.violation(now, link, "too many control messages");
        }
        let (may_finish, peer) = (state.may_finish, state.peer);
        let slot = self.members.slot_of_link(link);
        if let Some(slot) = slot {
            self.fairness.on_heard(now, slot);
            if self.probes.on_heard(slot) {
                self.on_lives(now, slot);
            }
        }
        match (message, slot) {
            (Control::Join(join), None) => self.on_join(now, link, &join),
            (Control::Ready { teammates }, Some(slot)) => self.on_ready(now, slot, teammates),
            (Control::Goodbye(_), Some(_)) => self.on_goodbye(now, link),
            (Control::Pull { ranges, generations }, seat) => {
                // It may cross with a goodbye.
                if seat.is_some() || may_finish {
                    let shelf = Held { window: &self.window, manifests: &self.manifests };
                    let choke = self.server.request(now, (link, peer), &ranges, &generations, &shelf);
                    self.outbox.extend(choke.map(|message| Output::Control { link, message }));
                }
            }
            (Control::Lost { ranges }, Some(_)) => {
                self.stats.chunks_reported_lost += ranges.iter().map(|range| range.chunks()).sum::<u64>();
            }
            (Control::Silent { origins }, Some(reporter)) => self.on_silent(now, reporter, &origins),
            (Control::Report { chunks_due, chunks_missing }, Some(slot)) => {
                self.stats.chunks_reported_missing += u64::from(chunks_missing);
                let members = self.members.ready();
                if let Some(open) = &mut self.generations {
                    let data_chunks = open.data_chunks();
                    let (due, missing) = (chunks_due, chunks_missing);
                    open.set_parity(self.losses.on_report(now, slot, due, missing, data_chunks, members));
                }
            }
            (Control::Complaint { accused, number, hash }, Some(from)) => {
                self.on_complaint(now, (link, from), accused, number, hash);
            }
            (Control::Witness(witness), Some(slot)) => {
                if self.generations.is_some() {
                    self.fairness.on_witness(slot, &witness);
                }
            }
            (Control::Alive { token }, Some(slot)) => self.probes.on_alive(now, slot, token),
            (Control::Capacity { uplink_bits_per_s }, Some(slot)) => {
                self.on_capacity(slot, uplink_bits_per_s);
            }
            // Goodbyes and reports may cross with the splitter's own goodbye.
            (
                Control::Goodbye(_)
                | Control::Lost { .. }
                | Control::Silent { .. }
                | Control::Report { .. }
                | Control::Complaint { .. }
                | Control::Alive { .. }
                | Control::Witness(_)
                | Control::Capacity { .. },
                None,
            )
            | (Control::Unknown, _) => {}
            (
                Control::Join(_)
                | Control::Ready { .. }
                | Control::Welcome(_)
                | Control::Refuse(_)
                | Control::RosterDelta(_)
                | Control::StreamHeader(_)
                | Control::Hello(_)
                | Control::Request { .. }
                | Control::Prune { .. }
                | Control::Probe { .. }
                | Control::Echo(_)
                | Control::Choke { .. },
                _,
            ) => self.violation(now, link, "a message that has no place here"),
        }
    }

    fn on_join(&mut self, now: Instant, link: LinkId, join: &Join) {
        let Some(state) = self.links.get(&link) else { return };
        let (peer, remote) = (state.peer, state.remote);
        let before = self.members.slot_of_peer(peer);
        // Who has a seat keeps it, also where the team was made smaller meanwhile.
        let others = if before.is_some() { 0 } else { self.members.len() };
        if let Some(refuse) = admission::refusal(&self.config, join, others, self.closing.is_some()) {
            return self.refuse(peer, link, refuse);
        }
        if let Some(rest) = self.court.banned_for(now, peer) {
            let retry_after_ms = u32::try_from(rest.as_millis()).unwrap_or(u32::MAX);
            let detail = "this key was expelled from the team".into();
            let refuse = Refuse { reason: RefuseReason::Banned, detail, retry_after_ms };
            return self.refuse(peer, link, refuse);
        }
        let weight_max = self.weight_limits.of(peer).unwrap_or(WEIGHT_DEFAULT);
        if before.is_none() && self.lacks_uplink(join.eco || weight_max == 0) {
            return self.refuse(peer, link, admission::no_uplink());
        }
        // The same identity again: its old link is dead, or it lost track. The new one replaces it (R-JOIN-6).
        if let Some(old) = before.and_then(|slot| self.members.get(slot)).map(|member| member.link) {
            self.depart(now, old, DepartureReason::Crashed);
            self.hang_up(old, CloseCode::Duplicate);
        }
        let mut member = Member {
            peer,
            link,
            candidates: admission::candidates(remote, &join.candidates),
            ready: false,
            blocked: false,
            eco: join.eco,
            capacity: None,
            weight: if join.eco { 0 } else { weight_max },
            weight_max,
            due: 0,
            served: 0,
            turns_at_share: 0,
            doubts: SlotSet::EMPTY,
            doubted_since: now,
            silenced_until: now,
        };
        self.schedule.admit(&mut member);
        // Admission keeps teams below the number of seats.
        let Some(slot) = self.members.seat(now, member) else {
            return self.hang_up(link, CloseCode::Refused);
        };
        self.set_deadline(link, None);
        self.stats.joins += 1;
        self.roster.on_joined(now, slot);
        self.welcome(now, link, slot, Duration::from_millis(join.target_delay_ms.into()));
        self.outbox.push_back(Output::Event(SplitterEvent::Joined { peer, slot, remote }));
    }

    fn refuse(&mut self, peer: PeerId, link: LinkId, refuse: Refuse) {
        self.stats.refusals += 1;
        self.outbox.push_back(Output::Event(SplitterEvent::Refused { peer, reason: refuse.reason }));
        self.outbox.push_back(Output::Control { link, message: Control::Refuse(refuse) });
        self.hang_up(link, CloseCode::Refused);
    }

    /// A member holds what another sent it for false. The evidence can be wrong in one way only that shows: it is the hash of the
    /// chunk as it went out.
    fn on_complaint(
        &mut self,
        now: Instant,
        (link, from): (LinkId, Slot),
        accused: Slot,
        number: ChunkNumber,
        hash: Hash,
    ) {
        let sent = self.window.get(number).map(|chunk| protect::hash_evidence(chunk.datagram()));
        if sent == Some(hash) || from == accused {
            return self.violation(now, link, "a complaint about what is true");
        }
        self.stats.complaints += 1;
        let voices = self.voices(now).count();
        let key = self.voices(now).find(|(slot, _)| *slot == from).map(|(_, member)| member.peer);
        // What nobody could have sent is no evidence: chunks long gone, and such as are far from being made. A signed chunk is
        // found false at once, even one that claims the number of the next.
        let span = self.window.span();
        let is_near = self.window.floor() <= number && number < self.next_number.plus(span);
        if is_near
            && self.generations.is_some()
            && self.members.get(accused).is_some()
            && let Some(key) = key
            && self.court.on_complaint(now, (from, key), accused, voices)
        {
            self.expel(now, accused);
        }
    }

    /// Whose complaints count (R-FAIR-3). Seats that bring nothing, or are new, would be cheap voices.
    fn voices(&self, now: Instant) -> impl Iterator<Item = (Slot, &Member)> {
        let has_voice = move |(slot, member): &(Slot, &Member)| {
            member.ready && member.weight > 0 && self.fairness.has_settled(now, *slot)
        };
        self.members.iter().filter(has_voice)
    }

    fn welcome(&mut self, now: Instant, link: LinkId, slot: Slot, target_delay: Duration) {
        let Some(state) = self.links.get(&link) else { return };
        let welcome = Welcome {
            revision: PROTOCOL_REVISION,
            slot,
            epoch: self.config.epoch,
            observed: state.remote,
            team_size_max: self.config.team_size_max,
            next_number: self.next_number,
            stream_time: self.stream_time(now),
            epoch_unix_us: self.config.epoch_unix_us,
            random_access: self.random_access_for(now, target_delay),
            members: u16::try_from(self.members.len().saturating_sub(1)).unwrap_or(u16::MAX),
            integrity: self.generations.as_ref().map_or(Integrity::None, Generations::integrity),
        };
        let mut frames = vec![Control::Welcome(welcome)];
        frames.extend(self.header.clone().map(Control::StreamHeader));
        frames.extend(self.roster.snapshot(&self.members, slot));
        self.outbox.extend(frames.into_iter().map(|message| Output::Control { link, message }));
    }

    /// A member that its teammates have not been told of would have its chunks taken for a stranger's: its turns begin
    /// behind the roster delta that names it.
    fn on_ready(&mut self, now: Instant, slot: Slot, teammates: u16) {
        if self.members.len() > 1 && self.roster.is_untold(slot) {
            self.ready_untold.insert(slot, teammates);
        } else {
            self.admit(now, slot, teammates);
        }
    }

    /// The batch of roster changes is told: who was ready before gets turns now.
    pub(super) fn admit_told(&mut self, now: Instant) {
        for (slot, teammates) in std::mem::take(&mut self.ready_untold) {
            self.admit(now, slot, teammates);
        }
    }

    fn admit(&mut self, now: Instant, slot: Slot, teammates: u16) {
        let Some(member) = self.members.get_mut(slot) else { return };
        if !member.ready {
            self.balance_at = Instant::ORIGIN;
            member.ready = true;
            self.fairness.admit(now, slot, member.peer, &self.config.fairness);
            self.schedule.admit(member);
            self.probes.measure(now, slot);
            self.outbox.push_back(Output::Event(SplitterEvent::Ready { slot, teammates }));
        }
    }

    /// A member leaves: no more turns, an answer, and time for it to pass on what it still owes (R-LEAVE-1).
    fn on_goodbye(&mut self, now: Instant, link: LinkId) {
        self.depart(now, link, DepartureReason::Goodbye);
        let message = Control::Goodbye(GoodbyeReason::Leaving);
        self.outbox.push_back(Output::Control { link, message });
        self.set_deadline(link, Some(now + LINK_TIMEOUT));
    }

    /// Enough teammates miss a member's turns: it gets none for a while (R-CRASH-2), and is asked whether it lives (R-CRASH-5).
    fn on_silent(&mut self, now: Instant, reporter: Slot, origins: &[Slot]) {
        let Some(weight) = self.members.get(reporter).filter(|member| member.ready).map(|m| m.weight) else {
            return;
        };
        let stride = self.stride();
        let gap_max = (stride.checked_div(weight).unwrap_or_default() * 2).max(TURN_GAP_MAX);
        let is_missed = |member: &Member| {
            let gap = stride.checked_div(member.weight);
            member.turns_at_share >= EASED_TURNS && gap.is_some_and(|gap| gap <= gap_max)
        };
        let ready = self.members.ready();
        // One report is enough only where there is nobody else to ask.
        let quorum = if ready <= 3 { 1 } else { (ready / 4).max(2) };
        let mut room = self.silence_room(now);
        for origin in origins.iter().filter(|origin| **origin != reporter) {
            let Some(member) = self.members.get_mut(*origin).filter(|member| is_missed(member)) else {
                continue;
            };
            if now.since(member.doubted_since) > DOUBT_SPAN {
                member.doubts = SlotSet::EMPTY;
                member.doubted_since = now;
            }
            member.doubts.insert(reporter);
            if member.doubts.len() < quorum {
                continue;
            }
            // Where turns are judged, who has just answered is judged by them.
            let is_judged = self.generations.is_some() && self.probes.has_answered(now, *origin);
            let is_silenced = member.silenced_until <= now && room > 0 && !is_judged;
            self.probes.doubt(now, *origin, is_silenced);
            if is_silenced {
                room -= 1;
                member.silenced_until = now + SILENCED;
                member.doubts = SlotSet::EMPTY;
                self.stats.silenced += 1;
            }
        }
    }

    /// How many more members may be kept from turns.
    ///
    /// Silence on a lossy network breeds reports; the more are silenced the longer the others' rounds are out of step with
    /// what their teammates expect. A quarter at most, and never the last, or the reports would stop the stream.
    pub(super) fn silence_room(&self, now: Instant) -> usize {
        let owners = |silenced: bool| {
            let counts = |member: &Member| {
                member.ready && member.weight > 0 && (member.silenced_until > now) == silenced
            };
            self.members.iter().filter(|(_, member)| counts(member)).count()
        };
        let (heard, silenced) = (owners(false), owners(true));
        ((heard + silenced) / 4).max(1).min(heard.saturating_sub(1)).saturating_sub(silenced)
    }

    /// A member whose turns were taken away because nobody hears it answers: where turns are judged it gets them back, and is judged
    /// by them (R-FAIR-9).
    fn on_lives(&mut self, now: Instant, slot: Slot) {
        if let Some(member) = self.members.get_mut(slot).filter(|_| self.generations.is_some()) {
            member.silenced_until = now;
        }
    }

    pub(super) fn set_blocked(&mut self, link: LinkId, blocked: bool) {
        if let Some(member) = self.members.slot_of_link(link).and_then(|slot| self.members.get_mut(slot)) {
            member.blocked = blocked;
        }
    }
}
