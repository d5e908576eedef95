//! Joining, staying, leaving: the one link to the splitter and what its state means (R-JOIN-1 to R-JOIN-6, R-LEAVE-1 to R-LEAVE-3).

use super::inputs::STRANGER_WAIT;
use super::{
    Belief, Edge, LeftReason, Lost, Peer, PeerEvent, Playout, Relay, Repairs, Routes, Seat, Start, Team,
    Watch, Witnessing,
};
use crate::{CloseCode, Instant, LinkId, Output, serve::Server, window::Window};
use p2psp_wire::{Control, GoodbyeReason, Integrity, Join, PROTOCOL_REVISION, Refuse, Welcome};
use std::time::Duration;

/// How long the splitter may take to answer a join.
const JOIN_WAIT: Duration = Duration::from_secs(5);
/// How long a leaver waits for the splitter's answer, and for what it owes to go out.
const LEAVE_WAIT: Duration = Duration::from_secs(2);
/// First and longest wait between tries to reach the splitter (R-CRASH-4).
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(8);

/// How the peer stands with the splitter.
#[derive(Clone, Copy, Debug)]
pub(super) enum Life {
    /// A dial is under way.
    Dialing,
    /// The join is sent.
    Joining { link: LinkId, until: Instant },
    /// It has a seat.
    Member { link: LinkId },
    /// The splitter is away; tried again then. A seat may still be held, and its teammates still be served.
    Waiting { until: Instant },
    /// Goodbye is said; what is owed still goes out.
    Leaving { link: Option<LinkId>, until: Instant, reason: LeftReason, answered: bool },
    /// Out.
    Gone,
}

impl Life {
    pub(super) const fn splitter_link(&self) -> Option<LinkId> {
        match self {
            Self::Joining { link, .. } | Self::Member { link } => Some(*link),
            Self::Leaving { link, .. } => *link,
            Self::Dialing | Self::Waiting { .. } | Self::Gone => None,
        }
    }

    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::Leaving { until, reason, .. } => {
                Some(settling(*until, *reason).filter(|at| *at > now).unwrap_or(*until))
            }
            Self::Joining { until, .. } | Self::Waiting { until } => Some(*until),
            Self::Dialing | Self::Member { .. } | Self::Gone => None,
        }
    }
}

/// Until when a leaver that must be out at `until` cannot know whether it has everything: the last turn makes two hops, the
/// goodbye one, so that a play-out that has run dry is not at its end yet.
fn settling(until: Instant, reason: LeftReason) -> Option<Instant> {
    (reason == LeftReason::StreamEnded).then(|| until - LEAVE_WAIT)
}

impl Peer {
    pub(super) fn dial_splitter(&mut self) {
        self.life = Life::Dialing;
        let (peer, addresses) = (self.splitter_id(), self.config.splitter.clone());
        self.outbox.push_back(Output::Dial { peer, addresses });
    }

    pub(super) fn on_splitter_up(&mut self, now: Instant, link: LinkId) {
        self.life = Life::Joining { link, until: now + JOIN_WAIT };
        let join = Join {
            revision: PROTOCOL_REVISION,
            channel: self.config.channel,
            ticket: bytes::Bytes::new(),
            candidates: self.config.candidates.clone(),
            eco: self.config.eco,
            agent: self.config.agent.clone(),
            target_delay_ms: u32::try_from(self.config.target_delay.as_millis()).unwrap_or(u32::MAX),
        };
        self.send(link, Control::Join(join));
    }

    pub(super) fn on_welcome(&mut self, now: Instant, link: LinkId, welcome: Welcome) {
        if !matches!(self.life, Life::Joining { .. }) {
            return self.violation(link, "a welcome that was not asked for");
        }
        let is_signed = matches!(welcome.integrity, Integrity::Manifest | Integrity::Signature);
        if !is_signed && !self.config.allow_unsigned {
            // R-GEN-5: nobody who was asked to believe without proof should have to.
            return self.finish(LeftReason::Unsigned);
        }
        self.life = Life::Member { link };
        self.attempts = 0;
        let same_stream = self.seat.as_ref().is_some_and(|seat| seat.welcome.epoch == welcome.epoch);
        let (slot, epoch, teammates, observed) =
            (welcome.slot, welcome.epoch, welcome.members, welcome.observed);
        let others: Vec<LinkId> = self.links.keys().copied().filter(|other| *other != link).collect();
        for other in others {
            if same_stream {
                // Whose these are the new roster says; who left meanwhile is not in it.
                self.set_deadline(other, Some(now + STRANGER_WAIT));
            } else {
                self.hang_up(other, CloseCode::OtherStream);
            }
        }
        if !same_stream {
            self.seat = None;
        }
        self.seat = Some(self.take_seat(now, welcome));
        self.event(PeerEvent::Joined { slot, epoch, teammates, observed });
    }

    /// A new seat. The chunks and the play-out of an old one in the same stream go on, unless the stream has run out of the
    /// window meanwhile: then all that was missed is one gap (R-RELAY-6).
    fn take_seat(&mut self, now: Instant, welcome: Welcome) -> Seat {
        let live = welcome.next_number;
        let old = self.seat.take().map(|old| (old.window, old.belief, old.playout));
        let missed_from = old.as_ref().map(|(_, _, playout)| playout.next_number());
        let (window, belief, playout) = match old {
            Some((window, belief, mut playout))
                if live.since(window.end()).max(window.end().since(live)) <= window.span() / 2 =>
            {
                playout.on_rejoin(&welcome, now);
                (window, belief, playout)
            }
            Some(_) | None => {
                let span = u64::from(self.config.window_chunks) / 2;
                let past =
                    welcome.random_access.filter(|number| *number <= live && live.since(*number) <= span);
                let first = past.unwrap_or(live);
                if let Some(missed) = missed_from.filter(|missed| *missed < first) {
                    let chunks = first.since(missed);
                    self.stats.chunks_lost += chunks;
                    self.event(PeerEvent::Gap { first: missed, chunks });
                }
                let (delay, tick) = (self.config.target_delay, self.config.playout_tick);
                (
                    Window::new(self.config.window_chunks, first),
                    Belief::new(now, welcome.integrity, self.config.channel, welcome.epoch),
                    Playout::new(delay, tick, first, &welcome, now),
                )
            }
        };
        Seat {
            team: Team::new(welcome.slot),
            relay: Relay::new(self.config.relay, welcome.slot, self.config.target_delay),
            routes: Routes::default(),
            start: Start::new(now),
            server: Server::default(),
            watch: Watch::new(now),
            lost: Lost::default(),
            witnessing: Witnessing::new(now),
            view: None,
            joined: now,
            ready_sent: false,
            edge: Edge::new(now, live),
            window,
            belief,
            repairs: Repairs::new(now),
            playout,
            welcome,
        }
    }

    pub(super) fn on_refuse(&mut self, now: Instant, link: LinkId, refuse: Refuse) {
        if !matches!(self.life, Life::Joining { .. }) {
            return self.violation(link, "a refusal that was not asked for");
        }
        let again = refuse.retry_after_ms > 0 && self.config.rejoin;
        let Refuse { reason, detail, retry_after_ms } = refuse;
        self.event(PeerEvent::Refused { reason, detail, again });
        self.hang_up(link, CloseCode::Done);
        if again {
            self.life = Life::Waiting { until: now + Duration::from_millis(retry_after_ms.into()) };
        } else {
            self.finish(LeftReason::Refused);
        }
    }

    pub(super) fn on_splitter_goodbye(&mut self, now: Instant, reason: GoodbyeReason) {
        match (reason, self.life) {
            (GoodbyeReason::Expelled, _) => self.finish(LeftReason::Expelled),
            (_, Life::Leaving { link, until, reason, .. }) => {
                self.life = Life::Leaving { link, until, reason, answered: true };
            }
            (GoodbyeReason::StreamEnded, _) => self.begin_leave(now, LeftReason::StreamEnded),
            (GoodbyeReason::Leaving | GoodbyeReason::Unspecified, _) => {
                // Nothing more is said on that link: kept, each further goodbye would leave one behind.
                if let Some(link) = self.life.splitter_link() {
                    self.hang_up(link, CloseCode::Done);
                }
                self.splitter_lost(now, false);
            }
        }
    }

    /// The splitter cannot be reached, or its link is gone. Teammates are served on; a later try finds it again.
    pub(super) fn splitter_lost(&mut self, now: Instant, wrong_key: bool) {
        match self.life {
            Life::Leaving { until, reason, .. } => {
                self.life = Life::Leaving { link: None, until, reason, answered: true };
                return;
            }
            Life::Gone => return,
            Life::Member { .. } => self.stats.splitter_losses += 1,
            Life::Dialing | Life::Joining { .. } | Life::Waiting { .. } => {}
        }
        if !self.config.rejoin {
            self.event(PeerEvent::SplitterLost { wrong_key, retry_in: None });
            return self.finish(LeftReason::SplitterLost);
        }
        let wait = (RETRY_MIN * 2_u32.saturating_pow(self.attempts.min(8))).min(RETRY_MAX);
        self.attempts = self.attempts.saturating_add(1);
        self.life = Life::Waiting { until: now + wait };
        self.event(PeerEvent::SplitterLost { wrong_key, retry_in: Some(wait) });
    }

    pub(super) fn begin_leave(&mut self, now: Instant, reason: LeftReason) {
        match self.life {
            Life::Member { link } => {
                let told = reason == LeftReason::StreamEnded;
                if !told {
                    self.send(link, Control::Goodbye(GoodbyeReason::Leaving));
                }
                // A stream that is over is still played to its end.
                let playing = if told { self.config.target_delay } else { Duration::ZERO };
                let until = now + LEAVE_WAIT + playing;
                self.life = Life::Leaving { link: Some(link), until, reason, answered: told };
            }
            Life::Leaving { link, answered, .. } => {
                self.life = Life::Leaving { link, until: now, reason, answered };
            }
            Life::Dialing | Life::Joining { .. } | Life::Waiting { .. } => self.finish(reason),
            Life::Gone => {}
        }
    }

    pub(super) fn life_tick(&mut self, now: Instant) {
        match self.life {
            Life::Waiting { until } if until <= now => self.dial_splitter(),
            Life::Joining { link, until } if until <= now => {
                self.life = Life::Dialing;
                self.hang_up(link, CloseCode::Timeout);
                self.splitter_lost(now, false);
            }
            Life::Leaving { until, reason, answered, .. } => {
                let settling = settling(until, reason);
                let settled = self.seat.as_ref().is_none_or(|seat| {
                    seat.relay.is_idle()
                        && settling.is_none_or(|at| at <= now && seat.playout.is_done(&seat.window))
                });
                if until <= now || (answered && settled) {
                    self.finish(reason);
                }
            }
            Life::Waiting { .. }
            | Life::Joining { .. }
            | Life::Dialing
            | Life::Member { .. }
            | Life::Gone => {}
        }
    }

    /// Goodbye to whoever is still linked, and out.
    fn finish(&mut self, reason: LeftReason) {
        self.life = Life::Gone;
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            if self.seat.as_ref().is_some_and(|seat| seat.team.slot_of_link(link).is_some()) {
                self.send(link, Control::Goodbye(GoodbyeReason::Leaving));
            }
            self.hang_up(link, CloseCode::Done);
        }
        self.seat = None;
        self.event(PeerEvent::Left(reason));
    }
}
