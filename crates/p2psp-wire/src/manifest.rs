//! Manifests: what a generation consists of, in one signed datagram or in several that list a part each (R-GEN-4). Owns the layout
//! and the text that is signed; hashing and signing are done by whoever has the keys.

use crate::{
    ChannelId, ChunkNumber, DecodeError, Epoch, Slot, StreamTime,
    datagram::Header,
    limits::{
        DATA_CHUNKS_MAX, HASH_BYTES, HEADER_BYTES, PARITY_CHUNKS_MAX, SHARD_BYTES_MAX, SHARD_BYTES_MIN,
        SIGNATURE_BYTES,
    },
};
use bytes::{Buf, BufMut, Bytes};

/// What is signed begins with this: the channel's key also proves the splitter in TLS, and neither signature can stand for the
/// other.
const CONTEXT: &[u8] = b"p2psp manifest 1\0";

/// Bytes before the hashes.
const FIXED_BYTES: usize = 1 + 1 + 2 + 4 + 8 + HASH_BYTES;

/// A truncated SHA-256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash(pub [u8; HASH_BYTES]);

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestContents {
    /// The splitter's run.
    pub epoch: Epoch,
    /// The generation's first chunk. The number behind the last one listed is still a chunk number.
    pub first: ChunkNumber,
    /// Place in the generation of the first chunk that it lists: earlier manifests list those before. Below [`DATA_CHUNKS_MAX`].
    pub position: u8,
    /// How many data chunks it lists; at least 1, or 0 in a last one behind others. The generation has at most
    /// [`DATA_CHUNKS_MAX`].
    pub data_chunks: u8,
    /// Bytes of each of the generation's shards; even, from [`SHARD_BYTES_MIN`] to [`SHARD_BYTES_MAX`]. 0 where it is not its
    /// generation's last manifest: then there is no parity yet.
    pub shard_bytes: u16,
    /// When the generation closed; in a manifest that is not the last, when it was made.
    pub closed: StreamTime,
    /// Hash of the manifest before this one; zeros for the first of an epoch.
    pub previous: Hash,
    /// Of each listed data chunk's shard, without the zeros that fill it up, then of each parity chunk's.
    /// There are at most [`PARITY_CHUNKS_MAX`] of the latter.
    pub hashes: Vec<Hash>,
}

/// A manifest as it travels. Clones share its bytes.
///
/// ```text
/// 0      1      2            4          8                 16              32
/// +------+------+------------+----------+-----------------+---------------+-----------------+-----------+
/// | k    | m    | shard      | epoch    | closed (us)     | previous      | k + m hashes    | signature |
/// |listed|parity| bytes or 0 |          |                 | manifest      | of 16 bytes     | 64 bytes  |
/// +------+------+------------+----------+-----------------+---------------+-----------------+-----------+
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    contents: ManifestContents,
    origin: Slot,
    datagram: Bytes,
}

impl ManifestContents {
    /// How many parity chunks it lists.
    #[must_use]
    pub fn parity_chunks(&self) -> u8 {
        u8::try_from(self.hashes.len().saturating_sub(self.data_chunks.into())).unwrap_or(u8::MAX)
    }

    /// The first data chunk that it lists.
    #[must_use]
    pub fn start(&self) -> ChunkNumber {
        self.first.plus(self.position.into())
    }

    /// The number behind the last data chunk that it lists: where the next manifest goes on.
    #[must_use]
    pub fn end(&self) -> ChunkNumber {
        self.start().plus(self.data_chunks.into())
    }

    /// Whether it is its generation's last manifest: the one that lists the parity.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.shard_bytes != 0
    }

    /// The text that the channel's key signs: a context, the channel, its place, and everything before the signature.
    #[must_use]
    pub fn signed_text(&self, channel: ChannelId) -> Vec<u8> {
        let mut text = Vec::with_capacity(CONTEXT.len() + 40 + FIXED_BYTES + self.hashes.len() * HASH_BYTES);
        text.put_slice(CONTEXT);
        text.put_slice(channel.as_bytes());
        text.put_u8(self.position);
        text.put_u8(0);
        text.put_uint(self.first.get(), 6);
        self.put(&mut text);
        text
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(self.data_chunks);
        out.put_u8(self.parity_chunks());
        out.put_u16(self.shard_bytes);
        out.put_u32(self.epoch.0);
        out.put_u64(self.closed.as_micros());
        out.put_slice(&self.previous.0);
        for hash in &self.hashes {
            out.put_slice(&hash.0);
        }
    }

    fn check(&self) -> Result<(), DecodeError> {
        if self.hashes.len() < self.data_chunks.into() {
            return Err(DecodeError::Missing("manifest hashes"));
        }
        check_counts(self.position, self.data_chunks, self.parity_chunks())?;
        let shard_bytes = usize::from(self.shard_bytes);
        let fits =
            (SHARD_BYTES_MIN..=SHARD_BYTES_MAX).contains(&shard_bytes) && shard_bytes.is_multiple_of(2);
        // What is not the last lists chunks and nothing else.
        let is_part = shard_bytes == 0 && self.data_chunks > 0 && self.parity_chunks() == 0;
        if !fits && !is_part {
            return Err(DecodeError::Invalid("manifest shard bytes"));
        }
        if self.end().since(self.first) != u64::from(self.position) + u64::from(self.data_chunks) {
            return Err(DecodeError::Invalid("manifest first number"));
        }
        Ok(())
    }
}

const fn check_counts(position: u8, data_chunks: u8, parity_chunks: u8) -> Result<(), DecodeError> {
    if position >= DATA_CHUNKS_MAX {
        return Err(DecodeError::Invalid("manifest position"));
    }
    if (data_chunks == 0 && position == 0) || data_chunks > DATA_CHUNKS_MAX - position {
        return Err(DecodeError::Invalid("manifest data chunks"));
    }
    if parity_chunks > PARITY_CHUNKS_MAX {
        return Err(DecodeError::Invalid("manifest parity chunks"));
    }
    Ok(())
}

impl Manifest {
    /// Lays out signed contents as a datagram for `origin` to relay.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Invalid`] names the count or size that is out of its range, [`DecodeError::Missing`] says that there are
    /// fewer hashes than data chunks.
    pub fn new(
        contents: ManifestContents,
        signature: &[u8; SIGNATURE_BYTES],
        origin: Slot,
    ) -> Result<Self, DecodeError> {
        contents.check()?;
        let mut payload =
            Vec::with_capacity(FIXED_BYTES + contents.hashes.len() * HASH_BYTES + SIGNATURE_BYTES);
        contents.put(&mut payload);
        payload.put_slice(signature);
        let header = Header::manifest(contents.first, contents.position, origin, contents.closed.truncate());
        Ok(Self { datagram: header.encode(&payload), contents, origin })
    }

    pub(crate) fn decode(datagram: Bytes) -> Result<Self, DecodeError> {
        let (header, mut payload) = Header::decode(&datagram)?;
        if payload.len() < FIXED_BYTES + SIGNATURE_BYTES {
            return Err(DecodeError::Truncated("manifest"));
        }
        let data_chunks = payload.get_u8();
        let parity_chunks = payload.get_u8();
        check_counts(header.position, data_chunks, parity_chunks)?;
        let hashes = usize::from(data_chunks) + usize::from(parity_chunks);
        let shard_bytes = payload.get_u16();
        let epoch = Epoch(payload.get_u32());
        let closed = StreamTime::from_micros(payload.get_u64());
        let mut previous = Hash::default();
        payload.copy_to_slice(&mut previous.0);
        if payload.len() != hashes * HASH_BYTES + SIGNATURE_BYTES {
            return Err(DecodeError::Invalid("manifest length"));
        }
        let mut next_hash = || {
            let mut hash = Hash::default();
            payload.copy_to_slice(&mut hash.0);
            hash
        };
        let hashes = (0..hashes).map(|_| next_hash()).collect();
        let contents = ManifestContents {
            epoch,
            first: header.number,
            position: header.position,
            data_chunks,
            shard_bytes,
            closed,
            previous,
            hashes,
        };
        contents.check()?;
        if header.time_us != closed.truncate() {
            return Err(DecodeError::Invalid("manifest time"));
        }
        if header.version != 0 {
            return Err(DecodeError::Invalid("manifest header version"));
        }
        Ok(Self { contents, origin: header.origin, datagram })
    }

    /// What it says; not to be believed before its signature is checked.
    #[must_use]
    pub const fn contents(&self) -> &ManifestContents {
        &self.contents
    }

    /// The generation's first chunk.
    #[must_use]
    pub const fn first(&self) -> ChunkNumber {
        self.contents.first
    }

    /// The member to which the splitter gave it.
    #[must_use]
    pub const fn origin(&self) -> Slot {
        self.origin
    }

    /// The bytes to send: relaying sends them as they came.
    #[must_use]
    pub const fn datagram(&self) -> &Bytes {
        &self.datagram
    }

    /// Everything behind the header, signature and all: what the next manifest holds the hash of.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.datagram.slice(HEADER_BYTES..)
    }

    /// The signature over [`ManifestContents::signed_text`].
    #[must_use]
    pub fn signature(&self) -> Bytes {
        self.datagram.slice(self.datagram.len() - SIGNATURE_BYTES..)
    }
}
