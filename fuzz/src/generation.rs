//! True generations: chunks with their parity and their manifest, signed by the channel's key, as a splitter makes them. Knows
//! nothing of who gets what.

use p2psp_core::SigningKey;
use p2psp_wire::{
    ChannelId, Chunk, ChunkHeader, ChunkNumber, Datagram, Epoch, Hash, Manifest, ManifestContents, Parity,
    Slot, StreamTime,
    limits::{HASH_BYTES, TEAM_SIZE_MAX},
};
use ring::{
    digest,
    signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey},
};
use std::sync::LazyLock;

/// The seed of the key that signs every script's stream.
const SEED: [u8; 32] = [9; 32];

static KEY: LazyLock<(Ed25519KeyPair, ChannelId)> = LazyLock::new(|| {
    let pair = Ed25519KeyPair::from_seed_unchecked(&SEED).expect("any 32 bytes are a seed");
    let channel = signing_key().channel().expect("a public key has 32 bytes");
    (pair, channel)
});

/// The channel of every script, and so its splitter's identity.
pub(crate) fn channel() -> ChannelId {
    KEY.1
}

/// The channel's key, for a splitter.
pub(crate) fn signing_key() -> SigningKey {
    SigningKey::from_seed(&SEED).expect("any 32 bytes are a seed")
}

/// Whether the channel's key signed this.
pub(crate) fn is_signed(manifest: &Manifest) -> bool {
    let text = manifest.contents().signed_text(channel());
    UnparsedPublicKey::new(&ED25519, channel().as_bytes()).verify(&text, &manifest.signature()).is_ok()
}

/// The hash of a shard without its filling, or of a manifest's payload.
pub(crate) fn hash(bytes: &[u8]) -> Hash {
    let digest = digest::digest(&digest::SHA256, bytes);
    Hash(*digest.as_ref().first_chunk::<HASH_BYTES>().expect("SHA-256 has 32 bytes"))
}

/// A chunk's shard without its filling (R-GEN-2).
pub(crate) fn shard(chunk: &Chunk) -> Vec<u8> {
    [chunk.shard_prefix().as_slice(), &chunk.payload()].concat()
}

/// What a generation is to be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) first: ChunkNumber,
    /// At least 1.
    pub(crate) data_chunks: u8,
    pub(crate) parity_chunks: u8,
    /// How many of its data chunks an earlier manifest lists, none where that is zero; fewer than all.
    pub(crate) listed_before: u8,
    /// Who relays its first chunk, its parity and its manifests.
    pub(crate) origin: Slot,
    /// How many members in a row share its chunks; at least 1.
    pub(crate) origins: u8,
    pub(crate) epoch: Epoch,
    pub(crate) closed: StreamTime,
}

/// All datagrams of a generation: data chunks, parity, its one or two manifests. `None` where the shape breaks a limit.
pub(crate) fn datagrams(shape: Shape) -> Option<Vec<Datagram>> {
    let chunks: Vec<Chunk> =
        (0..shape.data_chunks).map(|position| chunk(shape, position)).collect::<Option<_>>()?;
    let shards: Vec<Vec<u8>> = chunks.iter().map(shard).collect();
    let shard_bytes = shards.iter().map(Vec::len).max()?.next_multiple_of(2);
    let mut hashes: Vec<Hash> = shards.iter().map(|shard| hash(shard)).collect();
    let filled = shards.into_iter().map(|mut shard| {
        shard.resize(shard_bytes, 0);
        shard
    });
    let parity_shards = match usize::from(shape.parity_chunks) {
        0 => Vec::new(),
        parity_chunks => reed_solomon_simd::encode(chunks.len(), parity_chunks, filled).ok()?,
    };
    hashes.extend(parity_shards.iter().map(|shard| hash(shard)));
    let parity = (shape.data_chunks..).zip(&parity_shards).map(|(position, shard)| {
        Parity::new(shape.first, position, shape.origin, shape.closed.truncate(), shard).map(Datagram::Parity)
    });
    let listed_last = hashes.split_off(shape.listed_before.into());
    let mut datagrams: Vec<Datagram> = chunks.into_iter().map(Datagram::Chunk).collect();
    datagrams.extend(parity.collect::<Result<Vec<_>, _>>().ok()?);
    let mut previous = Hash::default();
    if !hashes.is_empty() {
        let first = manifest(shape, 0, 0, previous, hashes)?;
        previous = hash(&first.payload());
        datagrams.push(Datagram::Manifest(first));
    }
    let shard_bytes = u16::try_from(shard_bytes).ok()?;
    let last = manifest(shape, shape.listed_before, shard_bytes, previous, listed_last)?;
    datagrams.push(Datagram::Manifest(last));
    Some(datagrams)
}

/// The manifest whose list begins at `position`; the last one where shards have a length.
fn manifest(
    shape: Shape,
    position: u8,
    shard_bytes: u16,
    previous: Hash,
    hashes: Vec<Hash>,
) -> Option<Manifest> {
    let data_chunks =
        if shard_bytes == 0 { shape.listed_before } else { shape.data_chunks - shape.listed_before };
    let (epoch, first, closed) = (shape.epoch, shape.first, shape.closed);
    let contents =
        ManifestContents { epoch, first, position, data_chunks, shard_bytes, closed, previous, hashes };
    let signature = KEY.0.sign(&contents.signed_text(channel()));
    Manifest::new(contents, signature.as_ref().try_into().ok()?, shape.origin).ok()
}

/// The chunks of a generation differ in length, so that shards are filled up.
fn chunk(shape: Shape, position: u8) -> Option<Chunk> {
    let origin = (shape.origin.get() + u16::from(position % shape.origins)) % TEAM_SIZE_MAX;
    let header = ChunkHeader {
        number: ChunkNumber::new(shape.first.get() + u64::from(position)).ok()?,
        origin: Slot::new(origin).ok()?,
        position,
        header_version: 0,
        random_access: position == 0,
        time_us: shape.closed.truncate(),
    };
    Chunk::new(header, &vec![position; 5 + usize::from(position % 7)]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seeds of the machines' scripts are worth nothing when what they call true is not: any of the chunks comes back from
    /// the others, and the manifests list them all.
    #[test]
    fn a_generation_is_what_a_splitter_would_make() {
        for listed_before in [0, 4] {
            check_generation(listed_before);
        }
    }

    fn check_generation(listed_before: u8) {
        let shape = Shape {
            first: ChunkNumber::new(100).unwrap(),
            data_chunks: 8,
            parity_chunks: 2,
            listed_before,
            origin: Slot::new(3).unwrap(),
            origins: 2,
            epoch: Epoch(0),
            closed: StreamTime::from_micros(1 << 40),
        };
        let datagrams = datagrams(shape).unwrap();
        let manifests: Vec<&Manifest> = datagrams
            .iter()
            .filter_map(|datagram| match datagram {
                Datagram::Manifest(manifest) => Some(manifest),
                Datagram::Chunk(_) | Datagram::Parity(_) => None,
            })
            .collect();
        assert_eq!(manifests.len(), 1 + usize::from(listed_before > 0));
        assert!(manifests.iter().all(|manifest| is_signed(manifest)));
        assert_eq!(manifests.last().unwrap().contents().parity_chunks(), 2);
        let hashes = manifests.iter().flat_map(|manifest| &manifest.contents().hashes);
        assert_eq!(hashes.clone().count(), 8 + 2);
        for (datagram, listed) in datagrams.iter().zip(hashes) {
            match datagram {
                Datagram::Chunk(chunk) => assert_eq!(hash(&shard(chunk)), *listed),
                Datagram::Parity(parity) => assert_eq!(hash(&parity.shard()), *listed),
                Datagram::Manifest(_) => panic!("a manifest does not list itself"),
            }
        }
    }
}
