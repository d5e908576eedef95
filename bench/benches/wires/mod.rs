//! A team on wires of no cost: splitter and peers as machines, every message delivered at once, time passed by hand. What the
//! first peer is told can be kept, for it to be told alone again, and some of it can be lost.

use bytes::Bytes;
use divan::black_box;
use p2psp_core::{
    CloseCode, Input, Instant, LinkDown, LinkId, Links, Machine, Peer, PeerConfig, Protection, SendReport,
    SigningKey, Splitter, SplitterConfig, Train, Wake, drain,
};
use p2psp_wire::{ChannelId, Control, Datagram, Epoch, PeerId};
use std::{collections::VecDeque, net::SocketAddr, time::Duration};

/// 1128 bytes at 4 Mb/s.
pub(crate) const CHUNK_TIME: Duration = Duration::from_micros(2256);
/// A random-access point every half second.
pub(crate) const ENTRY_EVERY: u64 = 222;
const SPLITTER: usize = 0;
/// The first peer.
pub(crate) const FIRST: usize = 1;
const START: Instant = Instant::from_micros(1_000_000);

/// The splitter is node 0, peers follow.
pub(crate) struct Team {
    pub(crate) now: Instant,
    pub(crate) splitter: Splitter,
    pub(crate) peers: Vec<Peer>,
    pub(crate) wires: Wires,
    wakes: Vec<Option<Wake>>,
    chunks: u64,
    payload: Bytes,
}

/// What is under way, and where each link ends: two handles a link, each other's neighbours.
#[derive(Default)]
pub(crate) struct Wires {
    queue: VecDeque<(usize, Input)>,
    owners: Vec<usize>,
    /// Everything that the first peer was told, when somebody wants to know.
    pub(crate) told_first: Option<Vec<(Instant, Input)>>,
    /// Chunks of each generation that its teammates lose on the way to the first peer.
    pub(crate) losses: u8,
    /// The newest generation of which something came to it, and how many of that were lost.
    lost: (u64, u8),
}

/// Six packets of a transport stream.
const PAYLOAD: [u8; 1128] = [0x47; 1128];

struct Port<'a> {
    wires: &'a mut Wires,
    node: usize,
}

impl Team {
    /// All peers joined, linked and in their turns.
    pub(crate) fn new(peers: u16, protection: Option<Protection>) -> Self {
        Self::listened(peers, protection, Wires::default())
    }

    /// The same on wires that do more than carry.
    pub(crate) fn listened(peers: u16, protection: Option<Protection>, wires: Wires) -> Self {
        let now = START;
        let mut config = SplitterConfig::new(channel(), Epoch(1), 0);
        config.protection = protection;
        let room = config.payload_bytes_max();
        let mut team = Self {
            now,
            splitter: Splitter::new(config, now),
            peers: Vec::new(),
            wires,
            wakes: vec![None; usize::from(peers) + 1],
            chunks: 0,
            payload: Bytes::from_static(&PAYLOAD).slice(..PAYLOAD.len().min(room)),
        };
        for node in 1..=usize::from(peers) {
            team.peers.push(peer(node));
        }
        for node in 0..=usize::from(peers) {
            team.drain(node);
        }
        team.settle();
        // Until every member is ready and every play-out has begun.
        for _ in 0..1000 {
            team.chunk();
        }
        assert_eq!(team.splitter.stats().members_ready, peers, "all peers get turns");
        assert!(team.peers.iter().all(|peer| peer.stats().chunks_played > 0), "all peers play");
        team
    }

    pub(crate) fn lost(&self) -> u64 {
        self.peers.iter().map(|peer| peer.stats().chunks_lost).sum()
    }

    pub(crate) fn chunk(&mut self) {
        self.take_in();
        self.settle();
        self.pass(CHUNK_TIME);
    }

    /// The splitter's part of it alone: what it sends reaches nobody.
    pub(crate) fn chunk_for_nobody(&mut self) {
        self.take_in();
        self.wires.queue.clear();
        self.now = self.now + CHUNK_TIME;
    }

    fn take_in(&mut self) {
        let is_entry = self.chunks.is_multiple_of(ENTRY_EVERY);
        self.splitter
            .ingest(self.now, self.payload.clone(), is_entry, 0)
            .expect("a stream that is not closed");
        self.chunks += 1;
        self.drain(SPLITTER);
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.wakes.iter().flatten().map(|wake| wake.at).min().filter(|at| *at <= end) {
            self.now = at;
            for node in 0..self.wakes.len() {
                if self.wakes.get(node).copied().flatten().is_some_and(|wake| wake.at <= at) {
                    self.handle(node, Input::Tick);
                    self.drain(node);
                }
            }
            self.settle();
        }
        self.now = end;
    }

    fn settle(&mut self) {
        while let Some((node, input)) = self.wires.queue.pop_front() {
            let Some(input) = self.wires.lose(node, input) else { continue };
            self.handle(node, input);
            self.drain(node);
        }
    }

    fn handle(&mut self, node: usize, input: Input) {
        if let (FIRST, Some(told)) = (node, &mut self.wires.told_first) {
            told.push((self.now, input.clone()));
        }
        match node.checked_sub(1).and_then(|place| self.peers.get_mut(place)) {
            Some(peer) => peer.handle_input(self.now, input),
            None => self.splitter.handle_input(self.now, input),
        }
    }

    fn drain(&mut self, node: usize) {
        let (now, mut port) = (self.now, Port { wires: &mut self.wires, node });
        let wake = match node.checked_sub(1).and_then(|place| self.peers.get_mut(place)) {
            Some(peer) => drain(peer, now, &mut port, |event| {
                black_box(event);
            }),
            None => drain(&mut self.splitter, now, &mut port, |event| {
                black_box(event);
            }),
        };
        if let Some(slot) = self.wakes.get_mut(node) {
            *slot = wake;
        }
    }
}

impl Wires {
    /// Wires that keep what the first peer is told.
    pub(crate) fn listening() -> Self {
        Self { told_first: Some(Vec::new()), ..Self::default() }
    }

    /// What of `input` arrives at `node`.
    fn lose(&mut self, node: usize, input: Input) -> Option<Input> {
        let Input::Train { link, mut datagrams } = input else { return Some(input) };
        let from_teammate = self.other_end(link).is_some_and(|(owner, _)| owner != SPLITTER);
        if node == FIRST && from_teammate && self.losses > 0 {
            datagrams.retain(|datagram| {
                let Datagram::Chunk(chunk) = datagram else { return true };
                let generation = chunk.number().get() - u64::from(chunk.header().position);
                if self.lost.0 < generation {
                    self.lost = (generation, 0);
                }
                let is_lost = self.lost.0 == generation && self.lost.1 < self.losses;
                self.lost.1 += u8::from(is_lost);
                !is_lost
            });
        }
        (!datagrams.is_empty()).then_some(Input::Train { link, datagrams })
    }

    /// The node and the handle at the other end.
    fn other_end(&self, link: LinkId) -> Option<(usize, LinkId)> {
        let other = LinkId(link.0 ^ 1);
        let owner = usize::try_from(other.0).ok().and_then(|handle| self.owners.get(handle))?;
        Some((*owner, other))
    }
}

impl Links for Port<'_> {
    fn send_train(&mut self, _: Instant, link: LinkId, datagrams: &Train) -> SendReport {
        if let Some((node, link)) = self.wires.other_end(link) {
            self.wires.queue.push_back((node, Input::Train { link, datagrams: datagrams.to_vec() }));
        }
        SendReport::default()
    }

    fn send_control(&mut self, _: Instant, link: LinkId, message: &Control) {
        if let Some((node, link)) = self.wires.other_end(link) {
            self.wires.queue.push_back((node, Input::Control { link, message: message.clone() }));
        }
    }

    fn dial(&mut self, _: Instant, peer: PeerId, addresses: &[SocketAddr]) {
        let Some(to) = addresses.first().map(|address| usize::from(address.port())) else { return };
        let here = LinkId(u32::try_from(self.wires.owners.len()).unwrap_or(u32::MAX));
        let there = LinkId(here.0 ^ 1);
        self.wires.owners.extend([self.node, to]);
        let up = |link, peer, remote, dialed| Input::LinkUp { link, peer, remote, dialed };
        self.wires.queue.push_back((self.node, up(here, peer, address(to), true)));
        self.wires.queue.push_back((to, up(there, key(self.node), address(self.node), false)));
    }

    fn hangup(&mut self, _: Instant, link: LinkId, code: CloseCode) {
        if let Some((node, link)) = self.wires.other_end(link) {
            self.wires.queue.push_back((node, Input::LinkDown { link, why: LinkDown::Closed(code) }));
        }
    }
}

/// The channel's key.
pub(crate) fn signing_key() -> SigningKey {
    SigningKey::from_seed(&[7; 32]).expect("any seed is a key")
}

fn channel() -> ChannelId {
    signing_key().channel().expect("a key has a public half")
}

/// A peer before it has joined.
pub(crate) fn peer(node: usize) -> Peer {
    let mut config = PeerConfig::new(channel(), vec![address(SPLITTER)]);
    config.allow_unsigned = true;
    Peer::new(config, key(node), 1, START)
}

/// Wires that end nowhere.
pub(crate) struct Nowhere;

impl Links for Nowhere {
    fn send_train(&mut self, _: Instant, _: LinkId, train: &Train) -> SendReport {
        black_box(train);
        SendReport::default()
    }

    fn send_control(&mut self, _: Instant, _: LinkId, message: &Control) {
        black_box(message);
    }

    fn dial(&mut self, _: Instant, _: PeerId, _: &[SocketAddr]) {}

    fn hangup(&mut self, _: Instant, _: LinkId, _: CloseCode) {}
}

/// A node's key, by its number.
fn key(node: usize) -> PeerId {
    if node == SPLITTER {
        return PeerId::new(*channel().as_bytes());
    }
    let mut bytes = [7; 32];
    for (byte, value) in bytes.iter_mut().zip(node.to_be_bytes()) {
        *byte = value;
    }
    PeerId::new(bytes)
}

/// A node's address: its number is the port.
fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], u16::try_from(node).unwrap_or(u16::MAX)))
}
