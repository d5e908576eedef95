//! Cost of the team logic alone: splitter and peers on wires of no cost, per chunk delivered. What a real peer pays beyond
//! it is the transport's.

use bytes::Bytes;
use divan::{Bencher, black_box, counter::ItemsCount};
use p2psp_core::{
    CloseCode, DelayHistogram, Input, Instant, LinkDown, LinkId, Links, Machine, Peer, PeerConfig,
    SendReport, Splitter, SplitterConfig, Train, Wake, drain,
};
use p2psp_wire::{ChannelId, Control, Epoch, PeerId};
use std::{collections::VecDeque, net::SocketAddr, time::Duration};

/// 1128 bytes at 4 Mb/s.
const CHUNK_TIME: Duration = Duration::from_micros(2256);
/// A random-access point every half second.
const ENTRY_EVERY: u64 = 222;
const SPLITTER: usize = 0;

fn main() {
    divan::main();
}

/// Half a second of stream through the whole team: each chunk taken in, dealt, relayed to all, buffered and played by all.
/// Items are chunks played.
#[divan::bench(args = [4, 32, 100], sample_count = 20, sample_size = 1)]
fn half_second_of_team(bencher: Bencher<'_, '_>, peers: u16) {
    let mut team = Team::new(peers);
    let lost = team.lost();
    bencher.counter(ItemsCount::new(ENTRY_EVERY * u64::from(peers))).bench_local(|| {
        for _ in 0..ENTRY_EVERY {
            team.chunk();
        }
    });
    assert_eq!(team.lost(), lost, "wires of no cost lose nothing");
}

/// What a delay figure costs per chunk.
#[divan::bench]
fn delay_record(bencher: Bencher<'_, '_>) {
    let mut delays = DelayHistogram::default();
    let mut micros = 0;
    bencher.bench_local(|| {
        micros = (micros + 997) % 100_000;
        delays.record(black_box(Duration::from_micros(micros)));
    });
}

/// The splitter is node 0, peers follow.
struct Team {
    now: Instant,
    splitter: Splitter,
    peers: Vec<Peer>,
    wires: Wires,
    wakes: Vec<Option<Wake>>,
    chunks: u64,
    payload: Bytes,
}

/// What is under way, and where each link ends: two handles a link, each other's neighbours.
#[derive(Default)]
struct Wires {
    queue: VecDeque<(usize, Input)>,
    owners: Vec<usize>,
}

struct Port<'a> {
    wires: &'a mut Wires,
    node: usize,
}

impl Team {
    /// All peers joined, linked and in their turns.
    fn new(peers: u16) -> Self {
        let now = Instant::from_micros(1_000_000);
        let channel = ChannelId::new(*key(SPLITTER).as_bytes());
        let mut team = Self {
            now,
            splitter: Splitter::new(SplitterConfig::new(channel, Epoch(1), 0), now),
            peers: Vec::new(),
            wires: Wires::default(),
            wakes: vec![None; usize::from(peers) + 1],
            chunks: 0,
            payload: Bytes::from_static(&[0x47; 1128]),
        };
        for node in 1..=usize::from(peers) {
            let config = PeerConfig::new(channel, vec![address(SPLITTER)]);
            team.peers.push(Peer::new(config, key(node), u64::from(peers), now));
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

    fn lost(&self) -> u64 {
        self.peers.iter().map(|peer| peer.stats().chunks_lost).sum()
    }

    fn chunk(&mut self) {
        let is_entry = self.chunks.is_multiple_of(ENTRY_EVERY);
        self.splitter
            .ingest(self.now, self.payload.clone(), is_entry, 0)
            .expect("a stream that is not closed");
        self.chunks += 1;
        self.drain(SPLITTER);
        self.settle();
        self.pass(CHUNK_TIME);
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
            self.handle(node, input);
            self.drain(node);
        }
    }

    fn handle(&mut self, node: usize, input: Input) {
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
    /// The node and the handle at the other end.
    fn other_end(&self, link: LinkId) -> Option<(usize, LinkId)> {
        let other = LinkId(link.0 ^ 1);
        let owner = usize::try_from(other.0).ok().and_then(|handle| self.owners.get(handle))?;
        Some((*owner, other))
    }
}

impl Links for Port<'_> {
    fn send_train(&mut self, _: Instant, link: LinkId, chunks: &Train) -> SendReport {
        if let Some((node, link)) = self.wires.other_end(link) {
            self.wires.queue.push_back((node, Input::Train { link, chunks: chunks.to_vec() }));
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

/// A node's key, by its number.
fn key(node: usize) -> PeerId {
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
