//! Hashes, signatures and redundancy of generations: the pure arithmetic behind R-GEN-2 to R-GEN-5. Knows no state, no key but
//! the one it is given, and no entropy: Ed25519 signatures are deterministic (RFC 8032).

use p2psp_wire::{
    ChannelId, Chunk, Epoch, Hash, Manifest, ManifestContents, Slot,
    limits::{HASH_BYTES, SIGNATURE_BYTES},
};
use ring::{
    digest,
    signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey},
};
use std::{fmt, sync::Arc};

/// The broadcaster's key, for signing manifests. Clones share it; its `Debug` form shows nothing of it.
#[derive(Clone)]
pub struct SigningKey(Arc<Ed25519KeyPair>);

impl SigningKey {
    /// Wraps a key pair.
    #[must_use]
    pub fn new(pair: Ed25519KeyPair) -> Self {
        Self(Arc::new(pair))
    }

    /// A key pair from its 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Self::new)
    }

    /// The channel that this key speaks for.
    #[must_use]
    pub fn channel(&self) -> Option<ChannelId> {
        use ring::signature::KeyPair;
        ChannelId::try_from(self.0.public_key().as_ref()).ok()
    }

    pub(crate) fn sign(
        &self,
        channel: ChannelId,
        contents: ManifestContents,
        origin: Slot,
    ) -> Option<Manifest> {
        let signature: [u8; SIGNATURE_BYTES] =
            self.0.sign(&contents.signed_text(channel)).as_ref().try_into().ok()?;
        Manifest::new(contents, &signature, origin).ok()
    }

    /// The chunk with a signature behind its payload (R-SIGN-1); `None` where there is no room for one.
    pub(crate) fn sign_chunk(&self, channel: ChannelId, epoch: Epoch, chunk: &Chunk) -> Option<Chunk> {
        let signature = self.0.sign(&chunk.signed_text(channel, epoch)).as_ref().try_into().ok()?;
        chunk.with_signature(&signature).ok()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.channel())
    }
}

/// Whether the channel's key signed this manifest.
pub(crate) fn is_signed(channel: ChannelId, manifest: &Manifest) -> bool {
    UnparsedPublicKey::new(&ED25519, channel.as_bytes())
        .verify(&manifest.contents().signed_text(channel), &manifest.signature())
        .is_ok()
}

/// Whether a chunk ends with the channel's signature for it (R-SIGN-1).
pub(crate) fn is_chunk_signed(channel: ChannelId, epoch: Epoch, chunk: &Chunk) -> bool {
    chunk.split_signature().is_some_and(|(chunk, signature)| {
        UnparsedPublicKey::new(&ED25519, channel.as_bytes())
            .verify(&chunk.signed_text(channel, epoch), &signature)
            .is_ok()
    })
}

/// The hash of a data chunk's shard, without the zeros that fill it up.
pub(crate) fn hash_chunk(chunk: &Chunk) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&chunk.shard_prefix());
    context.update(&chunk.payload());
    truncate(&context.finish())
}

/// What stands for a datagram in a complaint (R-FAIR-1): the hash of all of it, header included, as it came. A shard's would leave
/// out the place in the generation, and who lied about that only would have its victims accuse it with the true hash.
pub(crate) fn hash_evidence(datagram: &[u8]) -> Hash {
    hash_bytes(datagram)
}

/// The hash of a parity shard, or of a manifest.
pub(crate) fn hash_bytes(bytes: &[u8]) -> Hash {
    truncate(&digest::digest(&digest::SHA256, bytes))
}

fn truncate(digest: &digest::Digest) -> Hash {
    let mut hash = Hash::default();
    if let Some(head) = digest.as_ref().first_chunk::<HASH_BYTES>() {
        hash.0 = *head;
    }
    hash
}

/// A data chunk's shard, filled up with zeros (R-GEN-2).
fn shard(chunk: &Chunk, shard_bytes: usize) -> Vec<u8> {
    let mut shard = Vec::with_capacity(shard_bytes);
    shard.extend_from_slice(&chunk.shard_prefix());
    shard.extend_from_slice(&chunk.payload());
    shard.resize(shard_bytes, 0);
    shard
}

/// How long the shards of these chunks are: the longest, made even as the code needs it.
pub(crate) fn shard_bytes(chunks: &[Chunk]) -> usize {
    let longest = chunks.iter().map(|chunk| chunk.payload_len()).max().unwrap_or(0);
    (longest + p2psp_wire::limits::SHARD_PREFIX_BYTES).next_multiple_of(2)
}

/// `parity` shards for these chunks, by a systematic Reed-Solomon code: any of the chunks can be rebuilt from as many others.
/// Empty when no parity is asked for.
pub(crate) fn encode(chunks: &[Chunk], parity: usize, shard_bytes: usize) -> Vec<Vec<u8>> {
    if parity == 0 || chunks.is_empty() {
        return Vec::new();
    }
    let shards = chunks.iter().map(|chunk| shard(chunk, shard_bytes));
    reed_solomon_simd::encode(chunks.len(), parity, shards).unwrap_or_default()
}

/// The missing data shards, by position. `data` and `parity` are what is there; empty when they do not suffice.
pub(crate) fn decode(
    data_chunks: usize,
    parity_chunks: usize,
    shard_bytes: usize,
    data: &[(usize, &Chunk)],
    parity: &[(usize, bytes::Bytes)],
) -> Vec<(usize, Vec<u8>)> {
    let data = data.iter().map(|(position, chunk)| (*position, shard(chunk, shard_bytes)));
    let parity = parity.iter().map(|(position, shard)| (*position, shard));
    reed_solomon_simd::decode(data_chunks, parity_chunks, data, parity)
        .map(|restored| restored.into_iter().collect())
        .unwrap_or_default()
}
