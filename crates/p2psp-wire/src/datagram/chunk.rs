//! Chunks: pieces of the stream, and their shards, which are what parity and hashes cover.

use super::{Header, KIND_CHUNK};
use crate::{
    ChannelId, ChunkNumber, DecodeError, Epoch, Slot,
    limits::{GENERATION_CHUNKS_MAX, HEADER_BYTES, PAYLOAD_BYTES_MAX, SHARD_PREFIX_BYTES, SIGNATURE_BYTES},
};
use bytes::Bytes;

/// Begins what is signed of a chunk.
const CONTEXT: &[u8] = b"p2psp chunk 1\0";

/// Flag bit: a player that has the stream header can start here.
const FLAG_RANDOM_ACCESS: u8 = 1;

/// Where the flags stand in a datagram (R-DGRAM-2).
const FLAGS_OFFSET: usize = 1;

/// What a chunk's header says (R-DGRAM-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    /// The chunk's place in the stream.
    pub number: ChunkNumber,
    /// The member to which the splitter gave this chunk, and who relays it.
    pub origin: Slot,
    /// Place within its generation, below [`GENERATION_CHUNKS_MAX`]; zero where generations are not in use.
    pub position: u8,
    /// Version of the stream header that this chunk's bytes belong to.
    pub header_version: u8,
    /// A player that has the stream header can start at the payload's first byte.
    pub random_access: bool,
    /// When the splitter took the chunk in: the low 32 bits of [`StreamTime`](crate::StreamTime).
    pub time_us: u32,
}

/// A chunk: the datagram as it travels, and its header decoded. Clones share the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    header: ChunkHeader,
    datagram: Bytes,
}

impl Chunk {
    /// Lays out header and payload as one datagram; copies the payload once.
    ///
    /// # Errors
    ///
    /// [`DecodeError::TooLong`] when the payload exceeds [`PAYLOAD_BYTES_MAX`], [`DecodeError::Missing`] when it is
    /// empty, [`DecodeError::Invalid`] when the position is not below [`GENERATION_CHUNKS_MAX`].
    pub fn new(header: ChunkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        check(&header, payload.len())?;
        Ok(Self::lay_out(header, flags(&header), payload))
    }

    fn lay_out(header: ChunkHeader, flags: u8, payload: &[u8]) -> Self {
        let wire = Header {
            kind: KIND_CHUNK,
            flags,
            origin: header.origin,
            position: header.position,
            version: header.header_version,
            number: header.number,
            time_us: header.time_us,
        };
        Self { header, datagram: wire.encode(payload) }
    }

    pub(super) fn decode(datagram: Bytes) -> Result<Self, DecodeError> {
        let (header, payload) = Header::decode(&datagram)?;
        let header = ChunkHeader {
            number: header.number,
            origin: header.origin,
            position: header.position,
            header_version: header.version,
            random_access: header.flags & FLAG_RANDOM_ACCESS != 0,
            time_us: header.time_us,
        };
        check(&header, payload.len())?;
        Ok(Self { header, datagram })
    }

    /// A chunk from its shard, as a decoder rebuilt it; the zeros that fill the shard up are cut off. It is the same datagram
    /// bit for bit, with the flags that this revision does not know (R-DGRAM-4).
    ///
    /// # Errors
    ///
    /// The shard's fields break a rule: it was not rebuilt from what the splitter made.
    pub fn from_shard(number: ChunkNumber, position: u8, shard: &[u8]) -> Result<Self, DecodeError> {
        let Some((&[l0, l1, flags, header_version, t0, t1, t2, t3, s0, s1], rest)) =
            shard.split_first_chunk::<SHARD_PREFIX_BYTES>()
        else {
            return Err(DecodeError::Truncated("shard"));
        };
        let payload_bytes = usize::from(u16::from_be_bytes([l0, l1]));
        let payload = rest.get(..payload_bytes).ok_or(DecodeError::Invalid("shard length"))?;
        let header = ChunkHeader {
            number,
            origin: Slot::new(u16::from_be_bytes([s0, s1]))
                .map_err(|_| DecodeError::Invalid("origin slot"))?,
            position,
            header_version,
            random_access: flags & FLAG_RANDOM_ACCESS != 0,
            time_us: u32::from_be_bytes([t0, t1, t2, t3]),
        };
        check(&header, payload.len())?;
        Ok(Self::lay_out(header, flags, payload))
    }

    /// The bytes that stand before the payload in this chunk's shard (R-GEN-2): its length, and what its header says beside
    /// number and position, which the shard's place in the generation gives. Flags are those of the datagram, known or not: a
    /// later revision's manifest covers what its splitter sent.
    #[must_use]
    pub fn shard_prefix(&self) -> [u8; SHARD_PREFIX_BYTES] {
        let [l0, l1] = u16::try_from(self.payload_len()).unwrap_or(u16::MAX).to_be_bytes();
        let [t0, t1, t2, t3] = self.header.time_us.to_be_bytes();
        let [s0, s1] = self.header.origin.get().to_be_bytes();
        let flags = self.datagram.get(FLAGS_OFFSET).copied().unwrap_or(0);
        [l0, l1, flags, self.header.header_version, t0, t1, t2, t3, s0, s1]
    }

    /// The text that the channel's key signs where each chunk carries a signature (R-SIGN-1): a context, the channel, the epoch, and
    /// the datagram without the signature.
    #[must_use]
    pub fn signed_text(&self, channel: ChannelId, epoch: Epoch) -> Vec<u8> {
        [CONTEXT, channel.as_bytes(), &epoch.0.to_be_bytes(), &self.datagram].concat()
    }

    /// This chunk with a signature behind its payload.
    ///
    /// # Errors
    ///
    /// [`DecodeError::TooLong`] when the payload leaves no room for it.
    pub fn with_signature(&self, signature: &[u8; SIGNATURE_BYTES]) -> Result<Self, DecodeError> {
        check(&self.header, self.payload_len() + SIGNATURE_BYTES)?;
        Ok(Self { header: self.header, datagram: [&*self.datagram, signature].concat().into() })
    }

    /// The chunk without the signature that its payload ends with where each carries one (R-SIGN-1), and the signature; both share
    /// its memory. `None` when nothing would be left: then there is no signature.
    #[must_use]
    pub fn split_signature(&self) -> Option<(Self, Bytes)> {
        let payload_bytes = self.payload_len().checked_sub(SIGNATURE_BYTES).filter(|left| *left > 0)?;
        let mut datagram = self.datagram.clone();
        let signature = datagram.split_off(HEADER_BYTES + payload_bytes);
        Some((Self { header: self.header, datagram }, signature))
    }

    /// What the header says.
    #[must_use]
    pub const fn header(&self) -> &ChunkHeader {
        &self.header
    }

    /// The chunk's place in the stream.
    #[must_use]
    pub const fn number(&self) -> ChunkNumber {
        self.header.number
    }

    /// The stream's bytes, and the signature where each chunk carries one; shares the datagram's memory.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.datagram.slice(HEADER_BYTES..)
    }

    /// How many bytes the payload has; at least 1.
    #[must_use]
    pub const fn payload_len(&self) -> usize {
        self.datagram.len() - HEADER_BYTES
    }

    /// The bytes to send: relaying sends them as they came (R-RELAY-5).
    #[must_use]
    pub const fn datagram(&self) -> &Bytes {
        &self.datagram
    }
}

const fn flags(header: &ChunkHeader) -> u8 {
    if header.random_access { FLAG_RANDOM_ACCESS } else { 0 }
}

/// The rules that hold for chunks made here and chunks that came alike.
fn check(header: &ChunkHeader, payload_bytes: usize) -> Result<(), DecodeError> {
    if payload_bytes == 0 {
        return Err(DecodeError::Missing("payload"));
    }
    if payload_bytes > PAYLOAD_BYTES_MAX {
        return Err(DecodeError::TooLong("payload"));
    }
    if header.position >= GENERATION_CHUNKS_MAX {
        return Err(DecodeError::Invalid("generation position"));
    }
    Ok(())
}
