//! Cost of the team logic alone: splitter and peers on wires of no cost, per chunk delivered, and what proof and repair cost per
//! generation of 35 chunks. What a real peer pays beyond it is the transport's.

mod wires;

use divan::{Bencher, black_box, counter::ItemsCount};
use p2psp_core::{DelayHistogram, Input, Instant, Machine, ParityPolicy, Protection, drain};
use std::time::Duration;
use wires::{ENTRY_EVERY, FIRST, Nowhere, Team, Wires, peer, signing_key};

/// Generations that a peer is told of in one go: 1.6 seconds of stream.
const GENERATIONS: u64 = 20;

fn main() {
    divan::main();
}

fn signed(parity_chunks: u8) -> Option<Protection> {
    Some(Protection { key: signing_key(), signs_chunks: false, parity: ParityPolicy::Fixed(parity_chunks) })
}

fn each_chunk_signed(parity_chunks: u8) -> Option<Protection> {
    signed(parity_chunks).map(|protection| Protection { signs_chunks: true, ..protection })
}

/// Half a second of stream through the whole team: each chunk taken in, dealt, relayed to all, buffered and played by all.
/// Items are chunks played.
#[divan::bench(args = [4, 32, 100], sample_count = 20, sample_size = 1)]
fn half_second_of_team(bencher: Bencher<'_, '_>, peers: u16) {
    half_second(bencher, peers, None);
}

/// The same with signatures and four parity chunks a generation.
#[divan::bench(args = [4, 32, 100], sample_count = 20, sample_size = 1)]
fn half_second_of_team_signed(bencher: Bencher<'_, '_>, peers: u16) {
    half_second(bencher, peers, signed(4));
}

fn half_second(bencher: Bencher<'_, '_>, peers: u16, protection: Option<Protection>) {
    let mut team = Team::new(peers, protection);
    let lost = team.lost();
    bencher.counter(ItemsCount::new(ENTRY_EVERY * u64::from(peers))).bench_local(|| {
        for _ in 0..ENTRY_EVERY {
            team.chunk();
        }
    });
    assert_eq!(team.lost(), lost, "wires of no cost lose nothing");
}

/// One generation at the splitter: hashes, parity, a signature, and the datagrams laid out. The argument is its parity chunks.
#[divan::bench(args = [0, 2, 4, 8, 16])]
fn splitter_generation_signed(bencher: Bencher<'_, '_>, parity_chunks: u8) {
    close(bencher, signed(parity_chunks));
}

fn close(bencher: Bencher<'_, '_>, protection: Option<Protection>) {
    let mut team = Team::new(2, protection);
    bencher.counter(ItemsCount::new(1_u8)).bench_local(|| {
        let manifests = team.splitter.stats().manifests_sent;
        while team.splitter.stats().manifests_sent == manifests {
            team.chunk_for_nobody();
        }
    });
}

/// The same with a signature for each chunk, and two parity chunks.
#[divan::bench]
fn splitter_generation_each_chunk_signed(bencher: Bencher<'_, '_>) {
    close(bencher, each_chunk_signed(2));
}

/// As many chunks at a splitter that signs nothing.
#[divan::bench]
fn splitter_generation_unsigned(bencher: Bencher<'_, '_>) {
    let mut team = Team::new(2, None);
    bencher.counter(ItemsCount::new(1_u8)).bench_local(|| {
        for _ in 0..35 {
            team.chunk_for_nobody();
        }
    });
}

/// One generation with four parity chunks at a peer of four: its own quarter relayed, three quarters verified, and as many chunks
/// rebuilt as were lost. Items are generations.
#[divan::bench(args = [0, 1, 2, 4], sample_count = 50, sample_size = 1)]
fn peer_generation_signed(bencher: Bencher<'_, '_>, losses: u8) {
    replay(bencher, signed(4), losses);
}

/// One generation at a peer of four that checks a signature for each chunk of the others'.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn peer_generation_each_chunk_signed(bencher: Bencher<'_, '_>) {
    replay(bencher, each_chunk_signed(4), 0);
}

/// As many chunks at a peer that verifies nothing.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn peer_generation_unsigned(bencher: Bencher<'_, '_>) {
    replay(bencher, None, 0);
}

/// Records what the first of four peers is told, and tells it to a fresh one; the last part of it is timed.
fn replay(bencher: Bencher<'_, '_>, protection: Option<Protection>, losses: u8) {
    let mut team = Team::listened(4, protection, Wires::listening());
    // A newcomer also fetches what it misses, for three seconds.
    for _ in 0..1000 {
        team.chunk();
    }
    team.wires.losses = losses;
    let told = |team: &Team| team.wires.told_first.as_ref().map_or(0, Vec::len);
    let warm_up = told(&team);
    let rebuilt = team.peers.first().map_or(0, |peer| peer.stats().chunks_rebuilt);
    for _ in 0..GENERATIONS * 35 {
        team.chunk();
    }
    let first = team.peers.first().expect("four peers").stats();
    assert_eq!(first.chunks_lost, 0, "parity suffices");
    let rebuilt = first.chunks_rebuilt - rebuilt;
    assert!(rebuilt >= (GENERATIONS - 1) * u64::from(losses), "{rebuilt} rebuilt, {first:?}");
    let inputs = team.wires.told_first.take().unwrap_or_default();
    let (before, timed) = inputs.split_at(warm_up);
    let tell = |peer: &mut p2psp_core::Peer, inputs: Vec<(Instant, Input)>| {
        for (now, input) in inputs {
            peer.handle_input(now, input);
            drain(peer, now, &mut Nowhere, |event| {
                black_box(event);
            });
        }
    };
    bencher
        .counter(ItemsCount::new(GENERATIONS))
        .with_inputs(|| {
            let mut peer = peer(FIRST);
            drain(&mut peer, Instant::from_micros(1_000_000), &mut Nowhere, |event| {
                black_box(event);
            });
            tell(&mut peer, before.to_vec());
            (peer, timed.to_vec())
        })
        .bench_local_values(|(mut peer, timed)| {
            tell(&mut peer, timed);
            peer
        });
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
