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
    let sizes =
        (SHARD_BYTES_MIN / 2..=SHARD_BYTES_MAX / 2).prop_map(|words| u16::try_from(2 * words).unwrap());
    // The only one, the last of several, or one before that.
    let parts = prop_oneof![
        (Just(0), 1..=DATA_CHUNKS_MAX, 0..=PARITY_CHUNKS_MAX, sizes.clone()),
        (1..DATA_CHUNKS_MAX, 0..=DATA_CHUNKS_MAX, 0..=PARITY_CHUNKS_MAX, sizes),
        (0..DATA_CHUNKS_MAX, 1..=DATA_CHUNKS_MAX, Just(0), Just(0)),
    ];
    let parts = parts.prop_flat_map(move |(position, data, parity, shard_bytes)| {
        let data = data.min(DATA_CHUNKS_MAX - position);
        (Just((position, data, shard_bytes)), hashes((data + parity).into()))
    });
    let last = CHUNK_NUMBER_MAX - u64::from(DATA_CHUNKS_MAX);
    let fields = (any::<u32>(), prop_oneof![0..=last, Just(0), Just(last)], any::<u64>(), any::<[u8; 16]>());
    (fields, parts).prop_map(|((epoch, first, closed, previous), (part, hashes))| {
        let (position, data_chunks, shard_bytes) = part;
        ManifestContents {
            epoch: Epoch(epoch),
            first: ChunkNumber::new(first).unwrap(),
            position,
            data_chunks,
            shard_bytes,
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
