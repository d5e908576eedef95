//! What a node's machine sees as the network: its links, and the [`Links`] it drains into. Owns the way from a machine's
//! output to an event in the queue; what happens when the event comes due is the world's business.

use crate::{
    Rng,
    mischief::Mischief,
    network::{Loss, NetworkConfig, Place, Uplink},
    oracle::Oracle,
    queue::Queue,
    stream::Streams,
};
use bytes::BytesMut;
use p2psp_core::{CloseCode, Instant, LinkDown, LinkId, Links, SendReport, Train};
use p2psp_wire::{Control, Datagram, PeerId};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// A node of the world: a splitter or a peer. Counts up from zero, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

/// The port that every node uses; the address carries the node.
const PORT: u16 = 4552;

impl NodeId {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// The address that stands for this node.
    #[must_use]
    pub fn address(self) -> SocketAddr {
        let [_, b, c, d] = self.0.to_be_bytes();
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, b, c, d)), PORT)
    }

    /// The node behind an address, if it is one of ours.
    pub(crate) const fn of_address(address: &SocketAddr) -> Option<Self> {
        match address.ip() {
            IpAddr::V4(ip) => match ip.octets() {
                [10, b, c, d] if address.port() == PORT => Some(Self(u32::from_be_bytes([0, b, c, d]))),
                _ => None,
            },
            IpAddr::V6(_) => None,
        }
    }
}

/// What the way from one node to another does to packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    Clear,
    /// Datagrams vanish, the control stream goes through.
    Datagrams,
    /// Nothing passes.
    Silence,
}

/// Something that comes due.
#[derive(Debug)]
pub(crate) enum Event {
    Train {
        node: NodeId,
        link: LinkId,
        train: Train,
    },
    Control {
        node: NodeId,
        link: LinkId,
        message: Box<Control>,
    },
    LinkDown {
        node: NodeId,
        link: LinkId,
        why: LinkDown,
    },
    LinkReady {
        node: NodeId,
        link: LinkId,
    },
    UplinkReady {
        node: NodeId,
    },
    Wake {
        node: NodeId,
    },
    /// The dialer's handshake is over, if the other side was there.
    Dialed {
        dial: Box<Dial>,
    },
    /// The other side of a dial learns of the link.
    Accepted {
        node: NodeId,
        link: LinkId,
    },
    DialFailed {
        node: NodeId,
        peer: Box<PeerId>,
        wrong_key: bool,
    },
    Ingest {
        team: usize,
    },
}

/// A handshake on its way.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) dialer: NodeId,
    pub(crate) peer: PeerId,
    pub(crate) to: NodeId,
    pub(crate) started: Instant,
}

/// One end of a link.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) to: NodeId,
    pub(crate) to_link: LinkId,
    pub(crate) state: EndState,
    pub(crate) fault: Fault,
    /// Nothing has come through from here since.
    pub(crate) silent_since: Option<Instant>,
    /// One way, without jitter.
    pub(crate) delay: Duration,
    /// Inside a run of losses.
    burst: bool,
    /// When the last control message arrives: the next one does not overtake it.
    control_clear: Instant,
    /// Payload bytes sent.
    pub(crate) payload_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndState {
    /// The handshake's last packet is on its way here.
    Pending,
    Open,
    Closed,
}

impl End {
    pub(crate) const fn new(
        to: NodeId,
        to_link: LinkId,
        state: EndState,
        delay: Duration,
        fault: Fault,
    ) -> Self {
        Self {
            to,
            to_link,
            state,
            fault,
            silent_since: None,
            delay,
            burst: false,
            control_clear: Instant::ORIGIN,
            payload_bytes: 0,
        }
    }
}

/// A node's ends of links; a link's handle is its index.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<End>);

impl Table {
    pub(crate) fn get(&self, link: LinkId) -> Option<&End> {
        self.0.get(link.0 as usize)
    }

    pub(crate) fn get_mut(&mut self, link: LinkId) -> Option<&mut End> {
        self.0.get_mut(link.0 as usize)
    }

    /// The handle that the next end will get.
    pub(crate) fn next_link(&self) -> LinkId {
        LinkId(u32::try_from(self.0.len()).unwrap_or(u32::MAX))
    }

    pub(crate) fn push(&mut self, end: End) {
        self.0.push(end);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkId, &End)> {
        (0..).map(LinkId).zip(&self.0)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (LinkId, &mut End)> {
        (0..).map(LinkId).zip(&mut self.0)
    }
}

/// What nodes have sent: bytes of messages, without the packets around datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Chunks.
    pub chunk_bytes: u64,
    /// Parity chunks.
    pub parity_bytes: u64,
    /// Manifests.
    pub manifest_bytes: u64,
    /// Control messages, with a packet around each.
    pub control_bytes: u64,
    /// How many of those there were.
    pub control_messages: u64,
    /// Of them, what members say about the turns of others.
    pub witness_bytes: u64,
}

impl Traffic {
    const fn on_datagram(&mut self, datagram: &Datagram) {
        let bytes = match datagram {
            Datagram::Chunk(_) => &mut self.chunk_bytes,
            Datagram::Parity(_) => &mut self.parity_bytes,
            Datagram::Manifest(_) => &mut self.manifest_bytes,
        };
        *bytes += datagram.bytes().len() as u64;
    }

    const fn on_control(&mut self, message: &Control, bytes: u64) {
        self.control_messages += 1;
        self.control_bytes += bytes;
        if matches!(message, Control::Witness(_)) {
            self.witness_bytes += bytes;
        }
    }
}

/// What all nodes share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: NetworkConfig,
    pub(crate) queue: Queue<Event>,
    pub(crate) rng: Rng,
    /// Where each node is, by its number.
    pub(crate) places: Vec<Place>,
    pub(crate) faults: BTreeMap<(NodeId, NodeId), Fault>,
    pub(crate) streams: Streams,
    pub(crate) oracle: Oracle,
    pub(crate) traffic: Traffic,
    pub(crate) datagrams_lost: u64,
    pub(crate) mischief: Mischief,
    scratch: BytesMut,
}

impl Shared {
    pub(crate) fn new(config: NetworkConfig, rng: Rng, streams: Streams, oracle: Oracle) -> Self {
        Self {
            config,
            queue: Queue::default(),
            rng,
            places: Vec::new(),
            faults: BTreeMap::new(),
            streams,
            oracle,
            traffic: Traffic::default(),
            datagrams_lost: 0,
            mischief: Mischief::default(),
            scratch: BytesMut::new(),
        }
    }

    pub(crate) fn fault(&self, from: NodeId, to: NodeId) -> Fault {
        // Almost every run has none.
        if self.faults.is_empty() {
            Fault::Clear
        } else {
            self.faults.get(&(from, to)).copied().unwrap_or_default()
        }
    }

    /// Whether a handshake between two nodes comes through.
    pub(crate) fn reachable(&self, a: NodeId, b: NodeId) -> bool {
        self.fault(a, b) != Fault::Silence && self.fault(b, a) != Fault::Silence
    }

    /// The one-way delay between two nodes.
    pub(crate) fn delay(&self, a: NodeId, b: NodeId) -> Duration {
        match (self.places.get(a.index()), self.places.get(b.index())) {
            (Some(a), Some(b)) => self.config.latency.between(a, b),
            _ => Duration::ZERO,
        }
    }

    /// What the way between two nodes loses.
    fn loss(&self, a: NodeId, b: NodeId) -> Loss {
        let is_splitter = |node: NodeId| self.places.get(node.index()).is_some_and(|place| place.splitter);
        let first_hop = self.config.splitter_loss.filter(|_| is_splitter(a) || is_splitter(b));
        first_hop.unwrap_or(self.config.loss)
    }

    fn jitter(&mut self) -> Duration {
        if self.config.jitter.is_zero() { Duration::ZERO } else { self.rng.span(self.config.jitter) }
    }

    /// How much later a control message comes because copies of it were lost: each loss costs a probe timeout of a round
    /// trip and a half, doubled each time (RFC 9002, section 6.2).
    fn control_repeats(&mut self, p: f64, delay: Duration) -> Duration {
        let mut late = Duration::ZERO;
        let mut timeout = delay * 3;
        while self.rng.chance(p) && late < self.config.idle_timeout {
            late += timeout;
            timeout *= 2;
        }
        late
    }
}

/// The network as one node's machine drains into it.
pub(crate) struct Port<'a> {
    pub(crate) node: NodeId,
    /// The world's time; the machine's own clock may show another.
    pub(crate) now: Instant,
    pub(crate) table: &'a mut Table,
    pub(crate) uplink: &'a mut Uplink,
    pub(crate) shared: &'a mut Shared,
}

impl Links for Port<'_> {
    fn send_train(&mut self, _: Instant, link: LinkId, train: &Train) -> SendReport {
        let shared = &mut *self.shared;
        let now = self.now;
        let Some(end) = self.table.get_mut(link).filter(|end| end.state == EndState::Open) else {
            return SendReport::default();
        };
        let (from, to) = (self.node, end.to);
        if shared.places.get(from.index()).is_some_and(|place| place.splitter) {
            shared.mischief.on_turn(from, train);
        }
        let withheld;
        let train = if shared.mischief.withholds(from) {
            withheld = shared.mischief.sent(from, to, train, || shared.rng.chance(0.5));
            if withheld.is_empty() {
                return SendReport::default();
            }
            &withheld
        } else {
            train
        };
        shared.oracle.on_send(now, self.node, end.to, train, &shared.streams);
        let overhead = u64::from(shared.config.packet_overhead_bytes);
        let loss = shared.loss(from, to);
        let (mut sent, mut lost) = (now, 0_usize);
        let paced: u64 = train.iter().map(|datagram| datagram.bytes().len() as u64 + overhead).sum();
        self.uplink.charge(now, paced);
        let mut survivors: Vec<Datagram> = Vec::new();
        for (index, datagram) in train.iter().enumerate() {
            let bytes = datagram.bytes().len() as u64;
            sent = self.uplink.send(now, bytes + overhead);
            shared.traffic.on_datagram(datagram);
            end.payload_bytes += bytes.saturating_sub(p2psp_wire::limits::HEADER_BYTES as u64);
            if end.fault != Fault::Clear || loss.draw(&mut end.burst, &mut shared.rng) {
                if lost == 0 {
                    survivors.extend(train.iter().take(index).cloned());
                }
                lost += 1;
            } else if lost > 0 {
                survivors.push(datagram.clone());
            }
        }
        shared.datagrams_lost += lost as u64;
        // A receiver takes a train as one batch, when the last of it has come.
        let train = if lost == 0 { Train::clone(train) } else { survivors.into() };
        if !train.is_empty() {
            let at = sent + end.delay + shared.jitter();
            shared.queue.push(at, Event::Train { node: end.to, link: end.to_link, train });
        }
        let link_blocked = match shared.config.stall {
            Some((p, span)) if shared.rng.chance(p) => {
                shared.queue.push(now + span, Event::LinkReady { node: self.node, link });
                true
            }
            _ => false,
        };
        let uplink_blocked = self.uplink.is_spent(now, shared.config.uplink_high);
        if uplink_blocked && !self.uplink.spent {
            self.uplink.spent = true;
            // Later than now in any case: the machine must hear of the two edges in their order.
            let at = self.uplink.ready_at(now, shared.config.uplink_low).max(now + Duration::from_nanos(1));
            shared.queue.push(at, Event::UplinkReady { node: self.node });
        }
        SendReport { link_blocked, uplink_blocked }
    }

    fn send_control(&mut self, _: Instant, link: LinkId, message: &Control) {
        let shared = &mut *self.shared;
        let Some(end) = self.table.get_mut(link).filter(|end| end.state == EndState::Open) else { return };
        let own = shared.oracle.view(self.node).and_then(|view| view.slot);
        let Some(message) = shared.mischief.said(self.node, own, message) else { return };
        let message = message.as_ref();
        shared.scratch.clear();
        message.encode(&mut shared.scratch);
        let bytes = shared.scratch.len() as u64 + u64::from(shared.config.packet_overhead_bytes);
        shared.traffic.on_control(message, bytes);
        let sent = self.uplink.send(self.now, bytes);
        if end.fault == Fault::Silence {
            return;
        }
        let event = Event::Control { node: end.to, link: end.to_link, message: Box::new(message.clone()) };
        if message.is_note() {
            // A note is a datagram: it may be lost, and overtakes.
            let loss = shared.loss(self.node, end.to);
            if end.fault == Fault::Clear && !loss.draw(&mut end.burst, &mut shared.rng) {
                let at = sent + end.delay + shared.jitter();
                shared.queue.push(at, event);
            }
            return;
        }
        let late = shared.control_repeats(shared.loss(self.node, end.to).mean(), end.delay);
        end.control_clear = end.control_clear.max(sent + end.delay + shared.jitter() + late);
        shared.queue.push(end.control_clear, event);
    }

    fn set_uplink_rate(&mut self, _: Instant, bits_per_s: u64) {
        self.uplink.pace(self.now, bits_per_s);
    }

    fn dial(&mut self, _: Instant, peer: PeerId, addresses: &[SocketAddr]) {
        let (now, shared) = (self.now, &mut *self.shared);
        shared.oracle.on_dial(now, self.node, peer, addresses);
        let mut nodes = addresses.iter().filter_map(NodeId::of_address);
        let reachable = nodes.find(|to| *to != self.node && shared.reachable(self.node, *to));
        let Some(to) = reachable else {
            let event = Event::DialFailed { node: self.node, peer: Box::new(peer), wrong_key: false };
            return shared.queue.push(now + shared.config.dial_timeout, event);
        };
        let dial = Box::new(Dial { dialer: self.node, peer, to, started: now });
        shared.queue.push(now + shared.delay(self.node, to) * 2, Event::Dialed { dial });
    }

    fn hangup(&mut self, _: Instant, link: LinkId, code: CloseCode) {
        let (now, shared) = (self.now, &mut *self.shared);
        shared.oracle.on_hangup(now, self.node, link, code);
        let Some(end) = self.table.get_mut(link).filter(|end| end.state == EndState::Open) else { return };
        end.state = EndState::Closed;
        shared.mischief.on_hangup(now, self.node, end.to);
        let down = |why| Event::LinkDown { node: end.to, link: end.to_link, why };
        if end.fault == Fault::Silence {
            shared.queue.push(now + shared.config.idle_timeout, down(LinkDown::TimedOut));
        } else {
            let at = end.control_clear.max(now + end.delay);
            shared.queue.push(at, down(LinkDown::Closed(code)));
        }
    }
}
