//! The splitter: numbers the stream's chunks, gives each turn to one member, and is the only authority on membership.
//!
//! `schedule` picks the origin of each turn, `turns` groups chunks, `roster` tells members who is there, `admission` decides
//! who gets a seat. This file is their traffic controller: all branching on inputs is here.

mod admin;
mod admission;
mod config;
mod court;
mod fairness;
mod generation;
mod give;
mod inputs;
mod limits;
mod losses;
mod members;
mod own;
mod probe;
mod roster;
mod schedule;
mod shares;
#[cfg(test)]
mod tests;
mod turns;

pub use admin::MemberView;
pub use config::{IngestError, ParityPolicy, Protection, SplitterConfig, SplitterEvent, SplitterStats};
pub use fairness::FairnessConfig;
pub use limits::{Limits, UnknownPeer};
pub use members::WEIGHT_DEFAULT;

use crate::{
    CloseCode, Instant, LinkId, Machine, Output, Timer, Wake, guard::Guard, machine::Input,
    manifests::Manifests, serve::Server, window::Window,
};
use bytes::Bytes;
use court::Court;
use fairness::Fairness;
use generation::Generations;
use limits::WeightLimits;
use losses::Losses;
use members::Members;
use own::Own;
use p2psp_wire::{
    ChunkNumber, Control, DepartureReason, GoodbyeReason, PeerId, Slot, StreamHeader, StreamTime,
};
use probe::{Probes, Step};
use roster::Roster;
use schedule::Schedule;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    time::Duration,
};
use turns::{Draft, Turns};

/// How long a link may be up without a join (R-LINK-6), and how long after a goodbye.
const LINK_TIMEOUT: Duration = Duration::from_secs(5);
/// Random-access points remembered for joiners: at this spacing, a few seconds of them.
const RANDOM_ACCESS_MAX: usize = 128;
/// Closer random-access points are not worth remembering.
const RANDOM_ACCESS_SPACING: Duration = Duration::from_millis(50);

/// A team's splitter.
#[derive(Debug)]
pub struct Splitter {
    config: SplitterConfig,
    started: Instant,
    latest: Instant,
    links: BTreeMap<LinkId, Link>,
    /// Links that will be hung up unless something happens, by deadline.
    link_deadlines: BTreeSet<(Instant, LinkId)>,
    members: Members,
    weight_limits: WeightLimits,
    schedule: Schedule,
    turns: Turns,
    roster: Roster,
    /// Members that are ready and wait for the roster to name them; with the links that they have.
    ready_untold: BTreeMap<Slot, u16>,
    window: Window,
    generations: Option<Generations>,
    losses: Losses,
    court: Court,
    probes: Probes,
    fairness: Fairness,
    /// Manifests of the generations in the window.
    manifests: Manifests,
    server: Server,
    own: Own,
    /// When shares are looked at next.
    balance_at: Instant,
    /// Of the newest chunk.
    payload_bytes: usize,
    next_number: ChunkNumber,
    random_access: VecDeque<(ChunkNumber, StreamTime)>,
    header: Option<StreamHeader>,
    outbox: VecDeque<Output<SplitterEvent>>,
    uplink_blocked: bool,
    closing: Option<Instant>,
    closed: bool,
    stats: SplitterStats,
}

/// A link of whatever standing.
#[derive(Debug)]
struct Link {
    peer: PeerId,
    remote: SocketAddr,
    guard: Guard,
    deadline: Option<Instant>,
    /// It had a seat when the stream ended, and may pull what it still lacks (R-LEAVE-2).
    may_finish: bool,
}

impl Splitter {
    /// A splitter whose stream begins at `now`.
    #[must_use]
    pub fn new(config: SplitterConfig, now: Instant) -> Self {
        Self {
            started: now,
            latest: now,
            links: BTreeMap::new(),
            link_deadlines: BTreeSet::new(),
            members: Members::default(),
            weight_limits: WeightLimits::default(),
            schedule: Schedule::default(),
            turns: Turns::new(config.turn_span),
            roster: Roster::new(config.epoch),
            ready_untold: BTreeMap::new(),
            window: Window::new(config.window_chunks, ChunkNumber::ZERO),
            generations: config
                .protection
                .clone()
                .map(|protection| Generations::new(protection, config.epoch)),
            losses: Losses::default(),
            court: Court::default(),
            probes: Probes::default(),
            fairness: Fairness::default(),
            manifests: Manifests::default(),
            server: Server::default(),
            own: Own::default(),
            balance_at: Instant::ORIGIN,
            payload_bytes: 0,
            next_number: ChunkNumber::ZERO,
            random_access: VecDeque::new(),
            header: None,
            outbox: VecDeque::new(),
            uplink_blocked: false,
            closing: None,
            closed: false,
            stats: SplitterStats::default(),
            config,
        }
    }

    /// Takes the next piece of the stream: one chunk.
    ///
    /// # Errors
    ///
    /// The payload is empty or over [`SplitterConfig::payload_bytes_max`], or the stream was closed.
    pub fn ingest(
        &mut self,
        now: Instant,
        payload: Bytes,
        random_access: bool,
        header_version: u8,
    ) -> Result<ChunkNumber, IngestError> {
        let now = self.advance(now);
        if self.closing.is_some() {
            return Err(IngestError::Closed);
        }
        if payload.is_empty() {
            return Err(IngestError::Empty);
        }
        let (bytes, bytes_max) = (payload.len(), self.config.payload_bytes_max());
        if bytes > bytes_max {
            return Err(IngestError::TooLong { bytes, bytes_max });
        }
        let number = self.next_number;
        self.next_number = number.next();
        let time = self.stream_time(now);
        self.payload_bytes = payload.len();
        self.stats.chunks_in += 1;
        self.stats.bytes_in += payload.len() as u64;
        if random_access {
            self.remember_random_access(number, time);
        }
        let dropped = self.turns.push(now, Draft { number, time, payload, random_access, header_version });
        self.stats.chunks_overflowed += dropped;
        Ok(number)
    }

    /// The source pauses or has given all it has for now: what is collected goes out.
    pub fn flush(&mut self) {
        self.stats.chunks_overflowed += self.turns.close();
    }

    /// Sets the stream header for the chunks that follow, and tells the members.
    pub fn set_header(&mut self, now: Instant, header: StreamHeader) {
        self.advance(now);
        for (_, member) in self.members.iter() {
            let message = Control::StreamHeader(header.clone());
            self.outbox.push_back(Output::Control { link: member.link, message });
        }
        self.header = Some(header);
    }

    /// Ends the stream: what is collected goes out, members are told goodbye, joiners are refused.
    /// [`SplitterEvent::Closed`] follows when all links are gone or the time for it is over.
    pub fn close(&mut self, now: Instant) {
        let now = self.advance(now);
        if self.closing.is_some() {
            return;
        }
        self.flush();
        self.closing = Some(now + LINK_TIMEOUT);
    }

    /// What has been counted so far.
    #[must_use]
    pub fn stats(&self) -> SplitterStats {
        SplitterStats {
            members: u16::try_from(self.members.len()).unwrap_or(u16::MAX),
            members_ready: u16::try_from(self.members.ready()).unwrap_or(u16::MAX),
            turn_chunks: u16::try_from(self.turns.chunks()).unwrap_or(u16::MAX),
            next_number: self.next_number,
            parity_chunks: self.generations.as_ref().map_or(0, Generations::given),
            ..self.stats
        }
    }

    /// The members by ascending slot.
    pub fn roster(&self) -> impl Iterator<Item = (Slot, PeerId)> + '_ {
        self.members.iter().map(|(slot, member)| (slot, member.peer))
    }

    /// Time never goes back: an earlier `now` is taken as the latest.
    fn advance(&mut self, now: Instant) -> Instant {
        self.latest = self.latest.max(now);
        self.latest
    }

    fn stream_time(&self, now: Instant) -> StreamTime {
        StreamTime::from_micros(u64::try_from(now.since(self.started).as_micros()).unwrap_or(u64::MAX))
    }

    fn remember_random_access(&mut self, number: ChunkNumber, time: StreamTime) {
        if self.random_access.back().is_some_and(|(_, last)| time.since(*last) < RANDOM_ACCESS_SPACING) {
            return;
        }
        self.random_access.push_back((number, time));
        if self.random_access.len() > RANDOM_ACCESS_MAX {
            self.random_access.pop_front();
        }
    }

    /// The newest random-access point that is at least `age` old, else the oldest still in the window (R-START-1).
    fn random_access_for(&self, now: Instant, age: Duration) -> Option<ChunkNumber> {
        let now = self.stream_time(now);
        let held = || self.random_access.iter().filter(|(number, _)| *number >= self.window.floor());
        held()
            .rev()
            .find(|(_, time)| now.since(*time) >= age)
            .or_else(|| held().next())
            .map(|(number, _)| *number)
    }

    fn hang_up(&mut self, link: LinkId, code: CloseCode) {
        if let Some(Link { deadline: Some(at), .. }) = self.links.remove(&link) {
            self.link_deadlines.remove(&(at, link));
        }
        self.server.forget(link);
        self.outbox.push_back(Output::Hangup { link, code });
    }

    fn violation(&mut self, now: Instant, link: LinkId, what: &'static str) {
        let Some(state) = self.links.get(&link) else { return };
        self.stats.violations += 1;
        self.outbox.push_back(Output::Event(SplitterEvent::Violation { peer: state.peer, what }));
        self.depart(now, link, DepartureReason::Expelled);
        self.hang_up(link, CloseCode::Violation);
    }

    /// Takes a member's seat away for good, and tells it and the team (R-FAIR-3).
    fn expel(&mut self, now: Instant, slot: Slot) {
        if let Some(peer) = self.members.get(slot).map(|member| member.peer) {
            self.fairness.remember(now, peer);
            self.expel_peer(now, peer, self.config.fairness.ban);
        }
    }

    /// Empties the seat that belongs to a link, if one does, and lets the team know.
    fn depart(&mut self, now: Instant, link: LinkId, reason: DepartureReason) {
        let Some(slot) = self.members.slot_of_link(link) else { return };
        let Some(member) = self.members.unseat(now, slot) else { return };
        self.roster.on_left(now, slot, reason);
        self.own.forget(link);
        self.balance_at = Instant::ORIGIN;
        self.ready_untold.remove(&slot);
        self.losses.forget(slot);
        self.court.forget(now, slot);
        self.probes.forget(slot);
        self.fairness.forget(slot);
        self.outbox.push_back(Output::Event(SplitterEvent::Departed { peer: member.peer, slot, reason }));
        match reason {
            DepartureReason::Goodbye => self.stats.goodbyes += 1,
            DepartureReason::Crashed => self.stats.crashes += 1,
            DepartureReason::Expelled | DepartureReason::Unspecified => {}
        }
    }

    fn set_deadline(&mut self, link: LinkId, at: Option<Instant>) {
        if let Some(state) = self.links.get_mut(&link) {
            if let Some(old) = std::mem::replace(&mut state.deadline, at) {
                self.link_deadlines.remove(&(old, link));
            }
            self.link_deadlines.extend(at.map(|at| (at, link)));
        }
    }

    /// What time alone brings about.
    fn on_tick(&mut self, now: Instant) {
        self.stats.chunks_overflowed += self.turns.on_tick(now);
        self.close_generation(now);
        while let Some((_, link)) = self.link_deadlines.first().filter(|(at, _)| *at <= now).copied() {
            self.hang_up(link, CloseCode::Timeout);
        }
        self.probe(now);
        self.rule(now);
        let frames = self.roster.flush(now, &self.members);
        for frame in &frames {
            for (_, member) in self.members.iter() {
                self.outbox.push_back(Output::Control { link: member.link, message: frame.clone() });
            }
        }
        if !frames.is_empty() {
            self.admit_told(now);
        }
        if let Some(deadline) = self.closing
            && !self.closed
            && (!self.owes() || deadline <= now)
        {
            self.say_goodbye(now);
            if self.links.is_empty() || deadline <= now {
                self.closed = true;
                self.outbox.push_back(Output::Event(SplitterEvent::Closed));
            }
        }
    }

    /// Asks those of whom nothing is heard whether they live, and puts out those that do not answer (R-CRASH-5).
    fn probe(&mut self, now: Instant) {
        while let Some(step) = self.probes.step(now) {
            let (Step::Ask(slot, _) | Step::Dead(slot)) = step;
            let Some(link) = self.members.get(slot).map(|member| member.link) else { continue };
            match step {
                Step::Ask(_, token) => {
                    self.outbox.push_back(Output::Control { link, message: Control::Probe { token } });
                }
                Step::Dead(_) => {
                    self.stats.unanswered += 1;
                    self.depart(now, link, DepartureReason::Crashed);
                    self.hang_up(link, CloseCode::Timeout);
                }
            }
        }
    }

    /// Tells every member that the stream is over; they hang up when they have played it out.
    fn say_goodbye(&mut self, now: Instant) {
        let seats: Vec<LinkId> = self.members.iter().map(|(_, member)| member.link).collect();
        for link in seats {
            let message = Control::Goodbye(GoodbyeReason::StreamEnded);
            self.outbox.push_back(Output::Control { link, message });
            self.depart(now, link, DepartureReason::Goodbye);
            self.set_deadline(link, Some(now + LINK_TIMEOUT));
            if let Some(state) = self.links.get_mut(&link) {
                state.may_finish = true;
            }
        }
    }

    fn wake(&self, now: Instant) -> Option<Wake> {
        let soon = |at: Instant| at.max(now + Duration::from_nanos(1));
        let generation = self.generations.as_ref().and_then(Generations::deadline);
        let candidates = [
            generation.map(|at| Wake { at: soon(at), timer: Timer::Turn }),
            self.fairness.deadline().map(|at| Wake { at: soon(at), timer: Timer::Report }),
            self.probes.deadline().map(|at| Wake { at: soon(at), timer: Timer::Report }),
            self.turns.deadline().map(|at| Wake { at: soon(at), timer: Timer::Turn }),
            self.roster.deadline().map(|at| Wake { at: soon(at), timer: Timer::Roster }),
            self.link_deadlines.first().map(|(at, _)| Wake { at: soon(*at), timer: Timer::Join }),
            self.closing.filter(|_| !self.closed).map(|at| Wake { at: soon(at), timer: Timer::Leave }),
        ];
        candidates.into_iter().flatten().min()
    }
}

impl Machine for Splitter {
    type Event = SplitterEvent;

    fn handle_input(&mut self, now: Instant, input: Input) {
        let now = self.advance(now);
        match input {
            Input::LinkUp { link, peer, remote, dialed: _ } => {
                let deadline = Some(now + LINK_TIMEOUT);
                self.links.insert(
                    link,
                    Link { peer, remote, guard: Guard::new(now), deadline: None, may_finish: false },
                );
                self.set_deadline(link, deadline);
            }
            Input::LinkDown { link, why } => self.on_link_down(now, link, why),
            Input::Control { link, message } => self.on_control(now, link, message),
            Input::Train { link, .. } => self.violation(now, link, "a member sends chunks to the splitter"),
            Input::Malformed { link, error: _, control } => {
                self.stats.malformed += 1;
                let admitted = self.links.get_mut(&link).is_some_and(|state| state.guard.admit_malformed());
                if control || !admitted {
                    self.violation(now, link, "malformed input");
                }
            }
            Input::LinkBlocked { link } => self.set_blocked(link, true),
            Input::LinkReady { link } => self.set_blocked(link, false),
            Input::UplinkBlocked => self.uplink_blocked = true,
            Input::UplinkReady => self.uplink_blocked = false,
            // A splitter dials nobody, and deadlines are looked at before each output.
            Input::DialFailed { .. } | Input::Tick => {}
        }
    }

    fn poll_output(&mut self, now: Instant) -> Output<SplitterEvent> {
        let now = self.advance(now);
        if let Some(output) = self.outbox.pop_front() {
            return output;
        }
        self.on_tick(now);
        if let Some(output) = self.outbox.pop_front() {
            return output;
        }
        self.next_train(now).unwrap_or_else(|| Output::Wait(self.wake(now)))
    }
}
