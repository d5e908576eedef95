//! A splitter and a few peers without a network between them: what one sends the other has at once, first come, first served.
//! For unit tests only; links with rates, delays and losses are the simulator's.

use crate::{
    CloseCode, Input, Instant, LinkDown, LinkId, Links, Machine, Peer, PeerConfig, PeerEvent, SendReport,
    SigningKey, Splitter, SplitterConfig, SplitterEvent, Train, Wake, drain,
};
use bytes::Bytes;
use p2psp_wire::{ChannelId, ChunkNumber, Control, Datagram, Epoch, PeerId, Slot};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

/// The splitter is node 0, peers follow.
pub(crate) const SPLITTER: usize = 0;

pub(crate) struct Lab {
    pub(crate) now: Instant,
    pub(crate) splitter: Splitter,
    pub(crate) peers: Vec<Peer>,
    pub(crate) splitter_events: Vec<SplitterEvent>,
    pub(crate) peer_events: Vec<Vec<PeerEvent>>,
    pub(crate) wires: Wires,
    wakes: Vec<Option<Wake>>,
}

/// A team on perfect links, everybody ready.
pub(crate) fn team(peers: usize) -> Lab {
    let mut lab = Lab::new(|_| {});
    for _ in 0..peers {
        lab.add_peer(|_| {});
    }
    lab.pass(Duration::from_millis(100));
    lab
}

/// A seat.
pub(crate) fn slot(n: u16) -> Slot {
    Slot::new(n).unwrap()
}

/// So long after the origin of time.
pub(crate) fn at(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(seconds)
}

/// Whatever travels, and the rules of its travelling.
#[derive(Default)]
pub(crate) struct Wires {
    queue: VecDeque<(usize, Input)>,
    ends: BTreeMap<(usize, LinkId), (usize, LinkId)>,
    links: u32,
    ids: Vec<PeerId>,
    /// Who sent what to whom, chunks only.
    pub(crate) sent: Vec<(usize, usize, u64)>,
    /// Control messages, as they went.
    pub(crate) said: Vec<(usize, usize, Control)>,
    /// Pairs that cannot link.
    pub(crate) walls: Vec<(usize, usize)>,
    /// From, to: chunks between them vanish.
    pub(crate) holes: Vec<(usize, usize)>,
    /// Of 1000 datagrams, how many vanish on each link, and the state of the dice.
    pub(crate) loss_per_mille: u64,
    dice: u64,
    /// Manifests that origins relay to these nodes vanish; answers to pulls get through.
    pub(crate) without_manifests: Vec<usize>,
    /// Ready messages of these nodes are held back.
    pub(crate) held: Vec<usize>,
    kept: Vec<(usize, Input)>,
    /// From, to: control messages between them vanish.
    pub(crate) deaf: Vec<(usize, usize)>,
    /// Nodes that are dead: nothing comes from them or gets to them.
    pub(crate) dead: Vec<usize>,
}

/// One node's view of the wires.
struct Port<'a> {
    wires: &'a mut Wires,
    node: usize,
}

/// The broadcaster's key.
pub(crate) fn signing_key() -> SigningKey {
    SigningKey::from_seed(&[7; 32]).unwrap()
}

pub(crate) fn channel() -> ChannelId {
    signing_key().channel().unwrap()
}

pub(crate) fn key(n: usize) -> PeerId {
    if n == SPLITTER {
        return channel().into();
    }
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
    PeerId::new(bytes)
}

pub(crate) fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], u16::try_from(4000 + n).unwrap()))
}

impl Wires {
    fn connect(&mut self, from: usize, to: usize) -> (LinkId, LinkId) {
        let (a, b) = (LinkId(self.links), LinkId(self.links + 1));
        self.links += 2;
        self.ends.insert((from, a), (to, b));
        self.ends.insert((to, b), (from, a));
        self.queue.push_back((
            from,
            Input::LinkUp { link: a, peer: self.ids[to], remote: address(to), dialed: true },
        ));
        self.queue.push_back((
            to,
            Input::LinkUp { link: b, peer: self.ids[from], remote: address(from), dialed: false },
        ));
        (a, b)
    }

    pub(crate) fn cut(&mut self, node: usize, link: LinkId, why: LinkDown) {
        if let Some((other, end)) = self.ends.remove(&(node, link)) {
            self.ends.remove(&(other, end));
            self.queue.push_back((other, Input::LinkDown { link: end, why }));
        }
    }

    /// Whether `node` has a link to `other`.
    pub(crate) fn linked(&self, node: usize, other: usize) -> bool {
        self.ends.iter().any(|((n, _), (o, _))| (*n, *o) == (node, other))
    }

    /// The link of `node` to `other`.
    pub(crate) fn link(&self, node: usize, other: usize) -> LinkId {
        self.ends
            .iter()
            .find(|((n, _), (o, _))| (*n, *o) == (node, other))
            .map(|((_, link), _)| *link)
            .unwrap()
    }

    /// Whether the next datagram gets through.
    fn survives(&mut self) -> bool {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % 1000 >= self.loss_per_mille
    }

    fn walled(&self, a: usize, b: usize) -> bool {
        self.walls.contains(&(a, b)) || self.walls.contains(&(b, a)) || self.dead.contains(&b)
    }
}

impl Links for Port<'_> {
    fn send_train(&mut self, _: Instant, link: LinkId, train: &Train) -> SendReport {
        let Some(&(to, end)) = self.wires.ends.get(&(self.node, link)) else { return SendReport::default() };
        for datagram in train.iter() {
            if let Datagram::Chunk(chunk) = datagram {
                self.wires.sent.push((self.node, to, chunk.number().get()));
            }
        }
        if !self.wires.holes.contains(&(self.node, to)) {
            let from = self.node.checked_sub(1);
            let is_lost = |datagram: &Datagram, wires: &Wires| {
                let relayed = from.is_some_and(|slot| usize::from(datagram.origin().get()) == slot);
                matches!(datagram, Datagram::Manifest(_)) && relayed && wires.without_manifests.contains(&to)
            };
            let datagrams: Vec<Datagram> = train
                .iter()
                .filter(|datagram| !is_lost(datagram, self.wires) && self.wires.survives())
                .cloned()
                .collect();
            if !datagrams.is_empty() {
                self.wires.queue.push_back((to, Input::Train { link: end, datagrams }));
            }
        }
        SendReport::default()
    }

    fn send_control(&mut self, _: Instant, link: LinkId, message: &Control) {
        let Some(&(to, end)) = self.wires.ends.get(&(self.node, link)) else { return };
        self.wires.said.push((self.node, to, message.clone()));
        if self.wires.deaf.contains(&(self.node, to)) {
            return;
        }
        let input = Input::Control { link: end, message: message.clone() };
        if matches!(message, Control::Ready { .. }) && self.wires.held.contains(&self.node) {
            self.wires.kept.push((to, input));
        } else {
            self.wires.queue.push_back((to, input));
        }
    }

    fn dial(&mut self, _: Instant, peer: PeerId, addresses: &[SocketAddr]) {
        assert!(!addresses.is_empty());
        let to = self.wires.ids.iter().position(|id| *id == peer);
        match to.filter(|to| !self.wires.walled(self.node, *to)) {
            Some(to) => {
                self.wires.connect(self.node, to);
            }
            None => self.wires.queue.push_back((self.node, Input::DialFailed { peer, wrong_key: false })),
        }
    }

    fn hangup(&mut self, _: Instant, link: LinkId, code: CloseCode) {
        self.wires.cut(self.node, link, LinkDown::Closed(code));
    }
}

impl Lab {
    pub(crate) fn new(adjust: impl FnOnce(&mut SplitterConfig)) -> Self {
        let mut config = SplitterConfig::new(channel(), Epoch(1), 0);
        adjust(&mut config);
        let now = Instant::from_micros(1_000_000);
        let mut wires = Wires::default();
        wires.ids.push(key(SPLITTER));
        Self {
            now,
            splitter: Splitter::new(config, now),
            peers: Vec::new(),
            splitter_events: Vec::new(),
            peer_events: Vec::new(),
            wires,
            wakes: vec![None],
        }
    }

    /// A peer that begins to join; its node number.
    pub(crate) fn add_peer(&mut self, adjust: impl FnOnce(&mut PeerConfig)) -> usize {
        let node = self.peers.len() + 1;
        let mut config = PeerConfig::new(channel(), vec![address(SPLITTER)]);
        config.playout_tick = Duration::from_millis(1);
        config.allow_unsigned = true;
        adjust(&mut config);
        self.wires.ids.push(key(node));
        self.peers.push(Peer::new(config, key(node), node as u64, self.now));
        self.peer_events.push(Vec::new());
        self.wakes.push(None);
        self.settle();
        node
    }

    pub(crate) fn peer(&mut self, node: usize) -> &mut Peer {
        &mut self.peers[node - 1]
    }

    pub(crate) fn events(&self, node: usize) -> &[PeerEvent] {
        &self.peer_events[node - 1]
    }

    /// Numbers that a peer has played so far.
    pub(crate) fn played(&self, node: usize) -> Vec<u64> {
        let number = |event: &PeerEvent| {
            if let PeerEvent::Play(chunk) = event { Some(chunk.number().get()) } else { None }
        };
        self.events(node).iter().filter_map(number).collect()
    }

    /// One chunk from the source; everything that follows from it happens.
    pub(crate) fn ingest(&mut self, random_access: bool) -> ChunkNumber {
        let payload = Bytes::from(format!("chunk of {:?}", self.now));
        let number = self.splitter.ingest(self.now, payload, random_access, 0).unwrap();
        self.settle();
        number
    }

    /// Carries everything that is under way until nothing is.
    pub(crate) fn settle(&mut self) {
        for node in 0..=self.peers.len() {
            self.drain(node);
        }
        while let Some((node, input)) = self.wires.queue.pop_front() {
            if self.wires.dead.contains(&node) {
                continue;
            }
            let now = self.now;
            match node {
                SPLITTER => self.splitter.handle_input(now, input),
                _ => self.peer(node).handle_input(now, input),
            }
            self.drain(node);
        }
    }

    fn drain(&mut self, node: usize) {
        if self.wires.dead.contains(&node) {
            return;
        }
        let (now, mut port) = (self.now, Port { wires: &mut self.wires, node });
        self.wakes[node] = match node {
            SPLITTER => drain(&mut self.splitter, now, &mut port, |event| self.splitter_events.push(event)),
            _ => {
                let events = &mut self.peer_events[node - 1];
                drain(&mut self.peers[node - 1], now, &mut port, |event| events.push(event))
            }
        };
    }

    /// Lets time pass; whatever comes due happens at its instant.
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.settle();
            let alive = |(node, wake): (usize, &Option<Wake>)| {
                wake.filter(|_| !self.wires.dead.contains(&node)).map(|wake| wake.at)
            };
            let Some(at) = self.wakes.iter().enumerate().filter_map(alive).min().filter(|at| *at <= end)
            else {
                break;
            };
            self.now = at;
            for node in 0..=self.peers.len() {
                if self.wakes[node].is_some_and(|wake| wake.at <= at) {
                    self.drain(node);
                }
            }
        }
        self.now = end;
        self.settle();
    }

    /// A stream: `chunks` chunks, one each `every`; each `random_access_every`-th is a random-access point.
    pub(crate) fn stream(&mut self, chunks: u64, every: Duration, random_access_every: u64) {
        for n in 0..chunks {
            self.ingest(n % random_access_every == 0);
            self.pass(every);
        }
    }

    /// Lets the held-back ready messages through.
    pub(crate) fn release(&mut self) {
        self.wires.held.clear();
        self.wires.queue.extend(self.wires.kept.drain(..));
        self.settle();
    }

    /// A node dies without a word; its links time out at the others after `idle`.
    pub(crate) fn kill(&mut self, node: usize, idle: Duration) {
        self.wires.dead.push(node);
        self.pass(idle);
        let ends: Vec<LinkId> =
            self.wires.ends.keys().filter(|(owner, _)| *owner == node).map(|(_, link)| *link).collect();
        for link in ends {
            self.wires.cut(node, link, LinkDown::TimedOut);
        }
        self.settle();
    }

    /// An input as a hostile or faulty remote would cause it.
    pub(crate) fn inject(&mut self, node: usize, input: Input) {
        self.wires.queue.push_back((node, input));
        self.settle();
    }
}
