//! Targets for `p2psp-core`: whatever a network brings in whatever order, a machine does not panic, comes to rest, asks only to
//! be woken in the future, uses no link that is gone, and plays numbers in order.

use crate::{
    generation::{channel, datagrams, signing_key},
    script::Script,
    watch::{Published, Vouched, Watch},
};
use bytes::Bytes;
use p2psp_core::{
    CloseCode, Input, Instant, LinkDown, LinkId, Links, Machine, ParityPolicy, Peer, PeerConfig, PeerEvent,
    PeerStats, Protection, RelayPolicy, SendReport, Splitter, SplitterConfig, SplitterStats, Train, drain,
};
use p2psp_wire::{Chunk, ChunkNumber, Control, Datagram, DecodeError, Epoch, PeerId, StreamHeader};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

/// Outputs after one input, beyond which a machine does not come to rest. A team of 512 gets a frame or a train each.
const OUTPUTS_MAX: usize = 20_000;
/// Links open at a time; a script that wants more reuses the oldest.
const LINKS_MAX: usize = 24;
/// Trains and control messages after which a link or the uplink says that it is full.
const SENDS_PER_BLOCK: usize = 7;

/// The network of a script: every link there is, and whom it leads to.
#[derive(Debug, Default)]
struct World {
    open: BTreeMap<LinkId, PeerId>,
    next: u32,
    sends: usize,
    outputs: usize,
    narrow: bool,
    /// The generation that was signed last, of which more may come.
    generation: Vec<Datagram>,
    watch: Watch,
    /// Numbers at which the splitter, in the last input, said that the stream is.
    told: Vec<ChunkNumber>,
}

impl World {
    fn pick(&self, script: &mut Script<'_>) -> Option<LinkId> {
        let nth = usize::from(script.byte()?) % self.open.len().max(1);
        self.open.keys().nth(nth).copied()
    }

    fn count(&mut self) {
        self.outputs += 1;
        assert!(self.outputs < OUTPUTS_MAX, "the machine does not come to rest");
    }

    fn check(&mut self, link: LinkId) {
        self.count();
        assert!(self.open.contains_key(&link), "{link:?} is gone and still used");
    }

    /// What comes back to back: chunks of no generation, some of a new generation or of the last one, true but for one byte at
    /// most, or parity and manifests that nobody signed.
    fn train(&mut self, script: &mut Script<'_>) -> Option<Vec<Datagram>> {
        let byte = script.byte()?;
        let count = byte & 7;
        match byte >> 6 {
            0 => return (0..=count).map(|_| script.chunk()).collect(),
            1 => {
                self.generation = datagrams(script.shape()?)?;
                self.watch.vouch(&self.generation);
            }
            2 => {}
            _ => return (0..=count).map(|_| script.loose()).collect(),
        }
        let mut some = script.some_of(&self.generation)?;
        script.alter(&mut some)?;
        Some(some)
    }

    /// The next input of the network; `None` when the script is over.
    fn input(&mut self, script: &mut Script<'_>) -> Option<Input> {
        Some(match script.byte()? & 15 {
            0 | 1 => {
                let peer = script.peer()?;
                let (remote, dialed) = (script.address()?, script.flag()?);
                let link = LinkId(self.next);
                self.next += 1;
                if self.open.len() >= LINKS_MAX {
                    let (link, _) = self.open.pop_first()?;
                    return Some(Input::LinkDown { link, why: LinkDown::Transport });
                }
                self.open.insert(link, peer);
                Input::LinkUp { link, peer, remote, dialed }
            }
            2 => {
                let link = self.pick(script)?;
                self.open.remove(&link);
                let why = match script.byte()? {
                    0 => LinkDown::TimedOut,
                    1 => LinkDown::Transport,
                    code => LinkDown::Closed(CloseCode::from_wire(code.into())),
                };
                Input::LinkDown { link, why }
            }
            3..=6 => {
                let (link, message) = (self.pick(script)?, script.control()?);
                if let Control::Welcome(welcome) = &message {
                    self.told.extend([welcome.next_number].into_iter().chain(welcome.random_access));
                }
                Input::Control { link, message }
            }
            7..=9 => {
                let link = self.pick(script)?;
                let datagrams = self.train(script)?;
                if self.open.get(&link) == Some(&channel().into()) {
                    self.watch.vouch(&datagrams);
                    self.told.extend(datagrams.iter().map(Datagram::number));
                }
                if datagrams.is_empty() { Input::Tick } else { Input::Train { link, datagrams } }
            }
            10 => Input::Malformed {
                link: self.pick(script)?,
                error: DecodeError::Protobuf,
                control: script.byte()? < 8,
            },
            11 => Input::LinkBlocked { link: self.pick(script)? },
            12 => Input::LinkReady { link: self.pick(script)? },
            13 => Input::UplinkReady,
            14 => Input::DialFailed { peer: script.peer()?, wrong_key: script.flag()? },
            _ => Input::Tick,
        })
    }
}

impl Links for World {
    fn send_train(&mut self, _now: Instant, link: LinkId, datagrams: &Train) -> SendReport {
        self.check(link);
        assert!(!datagrams.is_empty(), "a train carries something");
        self.watch.sent(datagrams);
        self.sends += 1;
        let full = self.narrow && self.sends.is_multiple_of(SENDS_PER_BLOCK);
        SendReport { link_blocked: full, uplink_blocked: full && self.sends.is_multiple_of(2) }
    }

    fn send_control(&mut self, _now: Instant, link: LinkId, _message: &Control) {
        self.check(link);
    }

    fn dial(&mut self, _now: Instant, _peer: PeerId, addresses: &[SocketAddr]) {
        self.count();
        assert!(!addresses.is_empty(), "a dial leads somewhere");
    }

    fn hangup(&mut self, _now: Instant, link: LinkId, _code: CloseCode) {
        self.check(link);
        self.open.remove(&link);
    }
}

/// Moves time on, by nothing, by milliseconds, or by minutes.
fn later(now: Instant, script: &mut Script<'_>) -> Option<Instant> {
    let byte = u64::from(script.byte()?);
    let span = if byte < 224 { byte * byte / 16 } else { (byte - 223) * 10_000 };
    Some(now + Duration::from_millis(span))
}

/// Lets a machine act, and checks that it rests and when it wants to be woken.
fn rest<M: Machine>(machine: &mut M, now: Instant, world: &mut World, mut on_event: impl FnMut(M::Event)) {
    world.outputs = 0;
    let mut events = 0;
    let wake = drain(machine, now, world, |event| {
        events += 1;
        assert!(events < OUTPUTS_MAX, "the machine does not come to rest");
        on_event(event);
    });
    if let Some(wake) = wake {
        assert!(wake.at > now, "{wake:?} lies not after {now:?}");
    }
}

/// A peer between a hostile splitter and hostile teammates. The first byte chooses how it is set up, the rest is a script.
///
/// # Panics
///
/// When the peer breaks what the module promises.
pub fn peer_inputs(data: &[u8]) {
    peer_session(data);
}

/// As [`peer_inputs`], and says what the peer counted.
///
/// # Panics
///
/// When the peer breaks what the module promises.
pub fn peer_session(data: &[u8]) -> PeerStats {
    let mut script = Script::new(data);
    let Some(setup) = script.byte() else { return PeerStats::default() };
    let mut config = PeerConfig::new(channel(), vec![SocketAddr::from(([127, 0, 0, 1], 4433))]);
    config.window_chunks = 64;
    config.eco = setup & 1 != 0;
    config.rejoin = setup & 2 == 0;
    config.relay = if setup & 4 == 0 { RelayPolicy::Burst } else { RelayPolicy::Classic };
    config.allow_unsigned = setup & 64 == 0;
    let watch = if config.allow_unsigned { Watch::Credulous } else { Watch::Wary(Vouched::default()) };
    let mut world = World { narrow: setup & 8 != 0, watch, ..World::default() };
    let mut now = Instant::from_micros(1_000_000);
    let mut peer = Peer::new(config, PeerId::new([7; 32]), setup.into(), now);
    let mut order = PlayOrder::default();
    rest(&mut peer, now, &mut world, |event| order.check(event));
    let mut act = || {
        match script.byte()? {
            0..=199 => {
                let input = world.input(&mut script)?;
                order.told.extend(world.told.drain(..));
                peer.handle_input(now, input);
            }
            200..=249 => {
                now = later(now, &mut script)?;
                peer.handle_input(now, Input::Tick);
            }
            250..=252 => peer.leave(now),
            // Time that stands earlier than before is the latest seen.
            253..=255 => peer.handle_input(Instant::ORIGIN, Input::Tick),
        }
        rest(&mut peer, now, &mut world, |event| order.check(event));
        order.played.drain(..).for_each(|chunk| world.watch.played(&chunk));
        Some(())
    };
    while act().is_some() {}
    // Every figure can be asked for in every state.
    assert!(peer.stats().chunks_played <= CHUNKS_MAX && peer.buffer_delay() < Duration::from_secs(7200));
    peer.stats()
}

/// What was played last, and in which stream.
#[derive(Debug, Default)]
struct PlayOrder {
    next: Option<ChunkNumber>,
    epoch: Option<Epoch>,
    /// Since it was looked at last.
    played: Vec<Chunk>,
    /// Where the splitter's turns and welcomes said that the stream is: each may take the play-out back to it (R-RELAY-6).
    told: BTreeSet<ChunkNumber>,
}

impl PlayOrder {
    /// Numbers go on within a stream, each played or skipped once, unless the splitter itself says that the peer was led astray;
    /// a new stream begins with a join in a new epoch.
    fn check(&mut self, event: PeerEvent) {
        if let PeerEvent::Joined { epoch, .. } = event
            && self.epoch.replace(epoch) != Some(epoch)
        {
            self.next = None;
        } else if let PeerEvent::Play(chunk) = event {
            let number = chunk.number();
            assert!(self.may_go_on(number), "{number} is played in {self:?}");
            self.next = Some(number.next());
            self.played.push(chunk);
        } else if let PeerEvent::Gap { first, chunks } = event {
            assert!(chunks > 0, "a gap has a length");
            assert!(self.may_go_on(first), "a gap from {first} on in {self:?}");
            self.next = Some(first.plus(chunks));
        }
    }

    fn may_go_on(&mut self, number: ChunkNumber) -> bool {
        self.next.is_none_or(|next| next == number || number < next && self.told.remove(&number))
    }
}

/// More chunks than any script can bring.
const CHUNKS_MAX: u64 = 1 << 32;

/// A splitter among hostile peers. The first byte chooses how it is set up, the rest is a script.
///
/// # Panics
///
/// When the splitter breaks what the module promises.
pub fn splitter_inputs(data: &[u8]) {
    splitter_session(data);
}

/// As [`splitter_inputs`], and says what the splitter counted.
///
/// # Panics
///
/// When the splitter breaks what the module promises.
pub fn splitter_session(data: &[u8]) -> SplitterStats {
    let mut script = Script::new(data);
    let Some(setup) = script.byte() else { return SplitterStats::default() };
    let mut config = SplitterConfig::new(channel(), Epoch(1), 0);
    config.window_chunks = 64;
    config.team_size_max = u16::from(setup >> 4) + 1;
    let team_size_max = config.team_size_max;
    let parity = match setup >> 1 & 3 {
        0 => ParityPolicy::Adaptive,
        1 => ParityPolicy::Fixed(0),
        2 => ParityPolicy::Fixed(1),
        _ => ParityPolicy::Fixed(16),
    };
    let mut watch = Watch::Credulous;
    if setup & 1 == 0 {
        config.protection = Some(Protection { key: signing_key(), signs_chunks: setup & 6 == 4, parity });
        watch = Watch::Signing(Published::default());
    }
    let mut world = World { narrow: setup & 8 != 0, watch, ..World::default() };
    let mut now = Instant::from_micros(1_000_000);
    let mut splitter = Splitter::new(config, now);
    let mut expected = ChunkNumber::ZERO;
    let mut closed = false;
    let mut act = || {
        match script.byte()? {
            0..=149 => {
                let input = world.input(&mut script)?;
                splitter.handle_input(now, input);
            }
            150..=199 => {
                let (random_access, version) = (script.flag()?, script.byte()?);
                let payload = Bytes::from_static(b"payload");
                match splitter.ingest(now, payload, random_access, version) {
                    Ok(number) => {
                        assert_eq!(number, expected, "numbers count up by one");
                        expected = number.next();
                    }
                    Err(_) => assert!(closed, "an open splitter takes what is within limits"),
                }
            }
            200..=239 => {
                now = later(now, &mut script)?;
                splitter.handle_input(now, Input::Tick);
            }
            240..=244 => splitter.flush(),
            245..=249 => splitter.set_header(
                now,
                StreamHeader { version: script.byte()?, content_type: String::new(), bytes: Bytes::new() },
            ),
            250..=252 => {
                splitter.close(now);
                closed = true;
            }
            253..=255 => splitter.handle_input(Instant::ORIGIN, Input::Tick),
        }
        rest(&mut splitter, now, &mut world, |_event| {});
        let members = splitter.roster().count();
        assert!(members <= usize::from(team_size_max), "{members} members in a team of {team_size_max}");
        assert_eq!(usize::from(splitter.stats().members), members);
        Some(())
    };
    while act().is_some() {}
    splitter.stats()
}
