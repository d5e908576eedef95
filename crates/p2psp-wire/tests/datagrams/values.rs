//! Arbitrary datagrams of every kind, within their limits.

use p2psp_wire::{
    Chunk, ChunkHeader, ChunkNumber, Datagram, Epoch, Hash, Manifest, ManifestContents, Parity, Slot,
    StreamTime,
    limits::{
        CHUNK_NUMBER_MAX, DATA_CHUNKS_MAX, GENERATION_CHUNKS_MAX, PARITY_CHUNKS_MAX, PAYLOAD_BYTES_MAX,
        SHARD_BYTES_MAX, SHARD_BYTES_MIN, TEAM_SIZE_MAX,
    },
};
use proptest::{collection::vec, prelude::*};

pub(crate) fn chunk_header() -> impl Strategy<Value = ChunkHeader> {
    let fields = (number(), slot(), 0..GENERATION_CHUNKS_MAX, any::<u8>(), any::<bool>(), any::<u32>());
    fields.prop_map(|(number, origin, position, header_version, random_access, time_us)| ChunkHeader {
        number,
        origin,
        position,
        header_version,
        random_access,
        time_us,
    })
}

/// Any datagram that an encoder makes.
pub(crate) fn datagram() -> impl Strategy<Value = Datagram> {
    prop_oneof![
        (chunk_header(), vec(any::<u8>(), 1..=PAYLOAD_BYTES_MAX))
            .prop_map(|(header, payload)| Datagram::Chunk(Chunk::new(header, &payload).unwrap())),
        (number(), 1..GENERATION_CHUNKS_MAX, slot(), any::<u32>(), shard()).prop_map(
            |(first, position, origin, time_us, shard)| {
                Datagram::Parity(Parity::new(first, position, origin, time_us, &shard).unwrap())
            }
        ),
        (manifest_contents(), any::<[u8; 64]>(), slot()).prop_map(|(contents, signature, origin)| {
            Datagram::Manifest(Manifest::new(contents, &signature, origin).unwrap())
        }),
    ]
}

fn shard() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<[u8; 2]>(), SHARD_BYTES_MIN / 2..=SHARD_BYTES_MAX / 2).prop_map(|words| words.concat())
}

pub(crate) fn manifest_contents() -> impl Strategy<Value = ManifestContents> {
    let hashes = |count: usize| vec(any::<[u8; 16]>().prop_map(Hash), count);
    let counts = (1..=DATA_CHUNKS_MAX, 0..=PARITY_CHUNKS_MAX);
    let hashes = counts.prop_flat_map(move |(data, parity)| (Just(data), hashes((data + parity).into())));
    let last = CHUNK_NUMBER_MAX - u64::from(DATA_CHUNKS_MAX);
    let words = u16::try_from(SHARD_BYTES_MIN / 2).unwrap()..=u16::try_from(SHARD_BYTES_MAX / 2).unwrap();
    let fields =
        (any::<u32>(), prop_oneof![0..=last, Just(0), Just(last)], words, any::<u64>(), any::<[u8; 16]>());
    (fields, hashes).prop_map(|((epoch, first, words, closed, previous), (data_chunks, hashes))| {
        ManifestContents {
            epoch: Epoch(epoch),
            first: ChunkNumber::new(first).unwrap(),
            data_chunks,
            shard_bytes: words * 2,
            closed: StreamTime::from_micros(closed),
            previous: Hash(previous),
            hashes,
        }
    })
}

fn slot() -> impl Strategy<Value = Slot> {
    (0..TEAM_SIZE_MAX).prop_map(|slot| Slot::new(slot).unwrap())
}

fn number() -> impl Strategy<Value = ChunkNumber> {
    prop_oneof![0..=CHUNK_NUMBER_MAX, Just(0), Just(CHUNK_NUMBER_MAX)]
        .prop_map(|number| ChunkNumber::new(number).unwrap())
}
