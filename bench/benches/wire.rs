//! Cost of the wire format: what every chunk pays at every hop, and what a joiner pays once.

use bytes::{Bytes, BytesMut};
use divan::{Bencher, black_box, counter::BytesCount};
use p2psp_wire::{
    ChannelId, ChannelLink, Chunk, ChunkHeader, ChunkNumber, Control, Datagram, Epoch, FrameDecoder, Hash,
    Manifest, ManifestContents, Member, NumberRange, PeerId, RosterDelta, Slot, StreamTime,
};
use std::net::{Ipv4Addr, SocketAddr};

/// Six transport stream packets.
const PAYLOAD: [u8; 1128] = [0x47; 1128];

fn main() {
    divan::main();
}

fn header() -> ChunkHeader {
    ChunkHeader {
        number: ChunkNumber::new(123_456).expect("within 48 bits"),
        origin: Slot::new(17).expect("a small slot"),
        position: 3,
        header_version: 1,
        random_access: false,
        time_us: 1_000_000,
    }
}

fn roster(members: u16) -> Control {
    let member = |slot: u16| Member {
        slot: Slot::new(slot).expect("a small slot"),
        peer: PeerId::new([slot.to_le_bytes()[0]; 32]),
        candidates: vec![SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), slot + 1024)); 2],
    };
    Control::RosterDelta(RosterDelta {
        epoch: Epoch(1),
        view: 1,
        joined: (0..members).map(member).collect(),
        left: Vec::new(),
    })
}

fn encoded(message: &Control) -> Bytes {
    let mut frame = BytesMut::new();
    message.encode(&mut frame);
    frame.freeze()
}

/// The splitter lays a chunk out once; copies the payload.
#[divan::bench]
fn chunk_new(bencher: Bencher<'_, '_>) {
    let header = header();
    bencher
        .counter(BytesCount::new(PAYLOAD.len()))
        .bench(|| Chunk::new(black_box(header), black_box(&PAYLOAD)));
}

/// Every receiver takes a datagram apart; copies nothing.
#[divan::bench]
fn chunk_decode(bencher: Bencher<'_, '_>) {
    let datagram = Chunk::new(header(), &PAYLOAD).expect("within limits").datagram().clone();
    bencher.counter(BytesCount::new(datagram.len())).bench(|| Datagram::decode(black_box(&datagram).clone()));
}

/// Every receiver takes a manifest apart, once for each generation: here one of 36 chunks and 4 of parity. Whether it is signed is
/// another matter.
#[divan::bench]
fn manifest_decode(bencher: Bencher<'_, '_>) {
    let contents = ManifestContents {
        epoch: Epoch(1),
        first: ChunkNumber::new(123_456).expect("within 48 bits"),
        position: 0,
        data_chunks: 36,
        shard_bytes: 1138,
        closed: StreamTime::from_micros(1_000_000),
        previous: Hash::default(),
        hashes: vec![Hash::default(); 40],
    };
    let origin = Slot::new(17).expect("a small slot");
    let manifest = Manifest::new(contents, &[7; 64], origin).expect("within limits");
    let datagram = manifest.datagram().clone();
    bencher.counter(BytesCount::new(datagram.len())).bench(|| Datagram::decode(black_box(&datagram).clone()));
}

/// The splitter encodes a roster snapshot for a joiner.
#[divan::bench(args = [1, 32, 64])]
fn roster_encode(bencher: Bencher<'_, '_>, members: u16) {
    let roster = roster(members);
    bencher.bench(|| encoded(black_box(&roster)));
}

/// A joiner cuts it out of the stream and decodes it.
#[divan::bench(args = [1, 32, 64])]
fn roster_decode(bencher: Bencher<'_, '_>, members: u16) {
    let frame = encoded(&roster(members));
    bencher.bench(|| {
        let mut decoder = FrameDecoder::new();
        decoder.push(black_box(&frame)).and_then(|()| decoder.poll())
    });
}

/// A peer packs the numbers that it lacks: every third of a window.
#[divan::bench]
fn ranges_pack(bencher: Bencher<'_, '_>) {
    let numbers: Vec<ChunkNumber> =
        (0..300).map(|n| ChunkNumber::new(n * 3).expect("within 48 bits")).collect();
    bencher.bench(|| NumberRange::pack(black_box(&numbers).iter().copied()));
}

/// A link is parsed once per start; here so that nobody makes it quadratic.
#[divan::bench]
fn link_parse(bencher: Bencher<'_, '_>) {
    let link = format!("p2psp://{}@tv.example.org:4480", ChannelId::new([7; 32]));
    bencher.bench(|| black_box(&link).parse::<ChannelLink>());
}
