//! The peer: takes a seat, links up with its teammates, relays what the splitter gives it, and plays everything in order.
//!
//! `life` joins and leaves, `team` knows who is there and who is linked, `receive` judges chunks, `relay` passes them on,
//! `edge` knows how far the stream has come, `routes` works around pairs that cannot talk, `start` fetches what a newcomer missed,
//! `watch` notices silent origins, `witness` tells what came, `playout` orders and times. This file is their traffic controller.

mod admin;
mod belief;
mod buffer;
mod config;
mod echo;
mod edge;
mod fetch;
mod inputs;
mod life;
mod playout;
mod receive;
mod relay;
mod rng;
mod routes;
mod start;
mod team;
#[cfg(test)]
mod tests;
mod watch;
mod witness;

pub use admin::TeammateView;
pub use buffer::{BUFFER_BEHIND_MAX, BUFFER_CHUNKS_MAX, BufferView, ChunkState};
pub use config::{LeftReason, PeerConfig, PeerEvent, PeerStats, RelayPolicy};

use crate::{
    CloseCode, DelayHistogram, Instant, LinkId, Machine, Output, Timer, Wake,
    guard::Guard,
    machine::Input,
    manifests::Manifests,
    serve::{Server, Shelf, chunks_in},
    uplink::Uplink,
    window::Window,
};
use belief::Belief;
use echo::Echoes;
use edge::Edge;
use fetch::Repairs;
use life::Life;
use p2psp_wire::{Chunk, ChunkNumber, Control, Datagram, PeerId, Welcome, limits::HEADER_BYTES};
use playout::{Playout, Step};
use relay::Relay;
use rng::Rng;
use routes::Routes;
use start::Start;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    time::Duration,
};
use team::Team;
use watch::Watch;
use witness::Witnessing;

/// A team's member.
#[derive(Debug)]
pub struct Peer {
    config: PeerConfig,
    me: PeerId,
    rng: Rng,
    latest: Instant,
    life: Life,
    /// Tries to reach the splitter since it was last reached.
    attempts: u32,
    links: BTreeMap<LinkId, Link>,
    /// Links that will be hung up unless something happens, by deadline.
    link_deadlines: BTreeSet<(Instant, LinkId)>,
    /// What the splitter told at the last join; kept while it is away.
    seat: Option<Seat>,
    /// Who sent what a manifest does not list, the newest last: no link with them, whatever seat they take.
    shunned: VecDeque<PeerId>,
    outbox: VecDeque<Output<PeerEvent>>,
    uplink_blocked: bool,
    /// When this member asked to be woken: a host that does so late may have held up what came as well.
    wake_at: Option<Instant>,
    echoes: Echoes,
    /// What sets the rate of all links together; `None` where the host does.
    uplink: Option<Uplink>,
    told: Told,
    delays: DelayHistogram,
    stats: PeerStats,
}

/// A link of whatever standing.
#[derive(Debug)]
struct Link {
    peer: PeerId,
    dialed: bool,
    /// The roster has not named its peer so far.
    stranger: bool,
    guard: Guard,
    /// The link is hung up then, unless its peer turns out to be a teammate.
    deadline: Option<Instant>,
}

/// Everything that hangs on a seat in a team.
#[derive(Debug)]
struct Seat {
    welcome: Welcome,
    team: Team,
    edge: Edge,
    /// Believed chunks only.
    window: Window,
    belief: Belief,
    repairs: Repairs,
    playout: Playout,
    relay: Relay,
    routes: Routes,
    start: Start,
    server: Server,
    watch: Watch,
    lost: Lost,
    witnessing: Witnessing,
    /// View of the snapshot, and the newest view.
    view: Option<(u64, u64)>,
    joined: Instant,
    ready_sent: bool,
}

/// Losses not yet reported (R-LOST-1).
#[derive(Debug, Default)]
struct Lost {
    numbers: Vec<ChunkNumber>,
    report_at: Option<Instant>,
}

/// What the host and the splitter were told of the uplink.
#[derive(Debug, Default)]
struct Told {
    rate: Option<u64>,
    /// When, and what, since the seat was taken.
    capacity: Option<(Instant, u64)>,
    look_at: Instant,
}

/// A change of the capacity is told at once, another one after this time.
const CAPACITY_SPAN: Duration = Duration::from_millis(100);
/// How often losses and repairs are reported.
const LOST_SPAN: Duration = Duration::from_secs(1);
/// Losses remembered for the next report; more are still counted.
const LOST_MAX: usize = 512;

impl Peer {
    /// A peer that starts to join at once. The same `seed` and inputs give the same outputs.
    #[must_use]
    pub fn new(config: PeerConfig, me: PeerId, seed: u64, now: Instant) -> Self {
        let mut peer = Self {
            me,
            rng: Rng::new(seed),
            latest: now,
            life: Life::Gone,
            attempts: 0,
            links: BTreeMap::new(),
            link_deadlines: BTreeSet::new(),
            seat: None,
            shunned: VecDeque::new(),
            outbox: VecDeque::new(),
            uplink_blocked: false,
            wake_at: None,
            echoes: Echoes::default(),
            uplink: config.uplink_bits_per_s_max.map(|ceiling| Uplink::new(now, ceiling)),
            told: Told::default(),
            delays: DelayHistogram::default(),
            stats: PeerStats::default(),
            config,
        };
        peer.dial_splitter();
        peer
    }

    /// Leaves politely: goodbye to the splitter, what is owed goes out, goodbye to teammates, then [`PeerEvent::Left`].
    pub fn leave(&mut self, now: Instant) {
        let now = self.advance(now);
        self.begin_leave(now, LeftReason::Asked);
    }

    /// Where the splitter is to be sought from now on: its name may have got another address.
    pub fn set_splitter_addresses(&mut self, addresses: Vec<SocketAddr>) {
        if !addresses.is_empty() {
            self.config.splitter = addresses;
        }
    }

    /// What has been counted so far.
    #[must_use]
    pub fn stats(&self) -> PeerStats {
        let Some(seat) = &self.seat else { return self.stats };
        PeerStats {
            slot: Some(seat.welcome.slot),
            teammates: seat.team.len(),
            teammates_linked: u16::try_from(seat.team.up().len()).unwrap_or(u16::MAX),
            play_number: seat.playout.next_number(),
            uplink_bits_per_s: self.uplink.as_ref().map_or(0, Uplink::rate),
            uplink_carried_bits_per_s: self.uplink.as_ref().and_then(Uplink::carried).unwrap_or(0),
            buffered_chunks: seat.window.end().since(seat.playout.next_number()),
            ..self.stats
        }
    }

    /// Delays from the splitter's taking a chunk in to its arrival here by its first copy, by the two hosts' wall clocks:
    /// right where these agree, as on one machine.
    #[must_use]
    pub const fn delays(&self) -> &DelayHistogram {
        &self.delays
    }

    /// How far the newest chunk held is ahead of the play-out.
    #[must_use]
    pub fn buffer_delay(&self) -> Duration {
        self.seat.as_ref().map_or(Duration::ZERO, |seat| seat.playout.buffered(&seat.window))
    }

    /// Time never goes back: an earlier `now` is taken as the latest.
    fn advance(&mut self, now: Instant) -> Instant {
        self.latest = self.latest.max(now);
        self.latest
    }

    fn splitter_id(&self) -> PeerId {
        self.config.channel.into()
    }

    fn send(&mut self, link: LinkId, message: Control) {
        self.outbox.push_back(Output::Control { link, message });
    }

    fn event(&mut self, event: PeerEvent) {
        self.outbox.push_back(Output::Event(event));
    }

    fn hang_up(&mut self, link: LinkId, code: CloseCode) {
        self.forget_link(link);
        self.outbox.push_back(Output::Hangup { link, code });
    }

    /// Takes a link out of every table.
    fn forget_link(&mut self, link: LinkId) -> Option<Link> {
        self.set_deadline(link, None);
        let state = self.links.remove(&link)?;
        self.echoes.forget(link);
        if let Some(seat) = &mut self.seat {
            seat.server.forget(link);
            seat.start.forget(link);
            if seat.team.unlink(self.latest, link).is_some() {
                self.outbox.push_back(Output::Event(PeerEvent::Teammate { peer: state.peer, up: false }));
            }
        }
        Some(state)
    }

    fn set_deadline(&mut self, link: LinkId, at: Option<Instant>) {
        if let Some(state) = self.links.get_mut(&link) {
            if let Some(old) = std::mem::replace(&mut state.deadline, at) {
                self.link_deadlines.remove(&(old, link));
            }
            self.link_deadlines.extend(at.map(|at| (at, link)));
        }
    }

    fn violation(&mut self, link: LinkId, what: &'static str) {
        let Some(state) = self.links.get(&link) else { return };
        let peer = state.peer;
        self.stats.violations += 1;
        self.event(PeerEvent::Violation { peer, what });
        let splitter = self.life.splitter_link() == Some(link);
        self.hang_up(link, CloseCode::Violation);
        if splitter {
            self.splitter_lost(self.latest, false);
        }
    }

    /// What time alone brings about.
    fn on_tick(&mut self, now: Instant) {
        self.life_tick(now);
        self.links_tick(now);
        self.watch_tick(now);
        self.pull_tick(now);
        self.repair_tick(now);
        self.report_tick(now);
        self.witness_tick(now);
        self.uplink_tick(now);
    }

    fn report_tick(&mut self, now: Instant) {
        let Some(seat) = &mut self.seat else { return };
        if seat.lost.report_at.is_none_or(|at| at > now) {
            return;
        }
        let lost = std::mem::take(&mut seat.lost);
        if let Some(link) = self.life.splitter_link() {
            self.send(link, Control::Lost { ranges: p2psp_wire::NumberRange::pack(lost.numbers) });
        }
    }

    /// Tells the host the rate and the splitter the capacity, when they have changed (R-UPLINK-1, R-UPLINK-5).
    fn uplink_tick(&mut self, now: Instant) {
        let Some(uplink) = &mut self.uplink else { return };
        if self.told.look_at <= now {
            self.told.look_at = now + LOST_SPAN;
            uplink.on_tick(now);
        }
        let (rate, capacity) = (uplink.rate(), uplink.capacity());
        if self.told.rate.replace(rate) != Some(rate) {
            self.outbox.push_back(Output::UplinkRate { bits_per_s: rate });
        }
        let Life::Member { link } = self.life else {
            self.told.capacity = None;
            return;
        };
        let is_news = self.told.capacity.is_none_or(|(_, told)| capacity.abs_diff(told) > told / 10);
        if is_news && self.told.capacity.is_none_or(|(at, _)| now.since(at) >= CAPACITY_SPAN) {
            self.told.capacity = Some((now, capacity));
            self.send(link, Control::Capacity { uplink_bits_per_s: capacity });
        }
    }

    fn count_expired(&mut self) {
        let (owed, others) = self.seat.as_mut().map_or((0, 0), |seat| seat.relay.take_expired());
        self.stats.chunks_expired += owed + others;
        // What teammates ask for beyond the own turns is no measure of the uplink.
        if let Some(uplink) = self.uplink.as_mut().filter(|_| owed > 0) {
            uplink.on_expired();
        }
    }

    /// The next relay or pull answer, if the uplink has room: relaying first, always.
    fn next_train(&mut self, now: Instant) -> Option<Output<PeerEvent>> {
        if self.uplink_blocked {
            return None;
        }
        let seat = self.seat.as_mut()?;
        let sendable = seat.team.up().without(seat.team.blocked());
        if let Some((slot, datagrams)) = seat.relay.poll(now, &sendable) {
            let link = seat.team.link(slot)?;
            self.stats.chunks_relayed += chunks_in(&datagrams);
            self.stats.bytes_relayed += payload_bytes(&datagrams);
            if let Some(uplink) = &mut self.uplink {
                self.echoes.on_sent(now, link, &datagrams, uplink);
            }
            return Some(Output::Train { link, datagrams });
        }
        let shelf = Believed { window: &seat.window, belief: &seat.belief };
        let (link, datagrams) = seat.server.poll(&shelf)?;
        self.stats.chunks_served += chunks_in(&datagrams);
        if let Some(uplink) = &mut self.uplink {
            self.echoes.on_sent(now, link, &datagrams, uplink);
        }
        Some(Output::Train { link, datagrams })
    }

    /// The next step of the play-out, if one is due.
    fn next_play(&mut self, now: Instant) -> Option<Output<PeerEvent>> {
        let edge = self.play_edge();
        let seat = self.seat.as_mut()?;
        match seat.playout.step(now, &seat.window, edge) {
            Step::Play(chunk) => {
                let chunk = seat.belief.bare(chunk);
                self.stats.chunks_played += 1;
                self.stats.bytes_played += chunk.payload_len() as u64;
                Some(Output::Event(PeerEvent::Play(chunk)))
            }
            Step::Gap { first, chunks } => {
                self.stats.chunks_lost += chunks;
                let room = LOST_MAX.saturating_sub(seat.lost.numbers.len());
                seat.lost.numbers.extend((0..chunks).take(room).map(|offset| first.plus(offset)));
                seat.lost.report_at.get_or_insert(now + LOST_SPAN);
                Some(Output::Event(PeerEvent::Gap { first, chunks }))
            }
            Step::Wait(_) => None,
        }
    }

    /// How far the play-out may skip what is missing. When the stream is over, nobody comes any more to confirm its end.
    fn play_edge(&self) -> ChunkNumber {
        let over = matches!(self.life, Life::Leaving { reason: LeftReason::StreamEnded, .. });
        self.seat
            .as_ref()
            .map_or(ChunkNumber::ZERO, |seat| if over { seat.window.end() } else { seat.edge.number() })
    }

    fn wake(&mut self, now: Instant) -> Option<Wake> {
        let wake = |at: Option<Instant>, timer| {
            at.map(|at| Wake { at: at.max(now + Duration::from_nanos(1)), timer })
        };
        let mut soonest = wake(self.life.deadline(now), Timer::Join);
        let mut consider = |candidate: Option<Wake>| {
            soonest = match (soonest, candidate) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        };
        consider(wake(self.link_deadlines.first().map(|(at, _)| *at), Timer::Links));
        let edge = self.play_edge();
        if let Some(seat) = &mut self.seat {
            consider(wake(seat.team.deadline(), Timer::Links));
            consider(wake(seat.watch.deadline(), Timer::Report));
            consider(wake(seat.start.deadline(), Timer::Pull));
            consider(wake(seat.belief.deadline(), Timer::Pull));
            consider(wake(seat.lost.report_at, Timer::Report));
            consider(wake(Some(seat.witnessing.deadline()), Timer::Report));
            consider(wake(self.uplink.as_ref().map(|_| self.told.look_at), Timer::Report));
            // A spent uplink wakes us itself; until then time alone relays nothing.
            consider(wake(seat.relay.deadline().filter(|_| !self.uplink_blocked), Timer::Relay));
            if let Step::Wait(at) = seat.playout.step(now, &seat.window, edge) {
                consider(wake(at, Timer::Playout));
            }
        }
        soonest
    }
}

impl Machine for Peer {
    type Event = PeerEvent;

    fn handle_input(&mut self, now: Instant, input: Input) {
        let now = self.advance(now);
        match input {
            Input::LinkUp { link, peer, remote: _, dialed } => self.on_link_up(now, link, peer, dialed),
            Input::LinkDown { link, why } => self.on_link_down(now, link, why),
            Input::DialFailed { peer, wrong_key } => self.on_dial_failed(now, peer, wrong_key),
            Input::Control { link, message } => self.on_control(now, link, message),
            Input::Train { link, datagrams } => self.on_train(now, link, datagrams),
            Input::Malformed { link, error: _, control } => {
                self.stats.malformed += 1;
                let admitted = self.links.get_mut(&link).is_some_and(|state| state.guard.admit_malformed());
                if control || !admitted {
                    self.violation(link, "malformed input");
                }
            }
            Input::LinkBlocked { link } => self.set_blocked(link, true),
            Input::LinkReady { link } => self.set_blocked(link, false),
            Input::UplinkBlocked => self.uplink_blocked = true,
            Input::UplinkReady => {
                self.uplink_blocked = false;
                if let Some(uplink) = &mut self.uplink {
                    uplink.on_ready(now);
                }
            }
            // Deadlines are looked at before each output.
            Input::Tick => {}
        }
    }

    fn poll_output(&mut self, now: Instant) -> Output<PeerEvent> {
        let now = self.advance(now);
        if let Some(output) = self.outbox.pop_front() {
            return output;
        }
        self.on_tick(now);
        if let Some(output) = self.outbox.pop_front() {
            return output;
        }
        if let Some(output) = self.next_train(now) {
            return output;
        }
        if let Some(output) = self.next_play(now) {
            return output;
        }
        self.count_expired();
        let wake = self.wake(now);
        self.wake_at = wake.map(|wake| wake.at);
        Output::Wait(wake)
    }
}

/// What a peer answers pulls from: what it believes itself.
struct Believed<'a> {
    window: &'a Window,
    belief: &'a Belief,
}

impl Shelf for Believed<'_> {
    fn chunk(&self, number: ChunkNumber) -> Option<&Chunk> {
        self.window.get(number)
    }

    fn manifests(&self) -> &Manifests {
        self.belief.manifests()
    }
}

/// The payload of a train, without headers.
fn payload_bytes(datagrams: &[Datagram]) -> u64 {
    datagrams.iter().map(|datagram| (datagram.bytes().len() - HEADER_BYTES) as u64).sum()
}
