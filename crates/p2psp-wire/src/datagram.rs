//! Datagrams: what has a deadline. A hand-coded header of 16 bytes and a payload behind it: a chunk of the stream, a parity chunk
//! of a generation, or a generation's manifest. Owns the layout and nothing else; who may send which of them to whom is the
//! core's business.

mod chunk;
mod parity;

pub use chunk::{Chunk, ChunkHeader};
pub use parity::Parity;

use crate::{
    ChunkNumber, DecodeError, Manifest, Slot,
    limits::{CHUNK_NUMBER_MAX, DATAGRAM_BYTES_MAX, HEADER_BYTES},
};
use bytes::{BufMut, Bytes, BytesMut};

/// First byte of a chunk. The two top bits of every datagram's first byte are zero (R-DGRAM-3): a QUIC packet on the
/// same socket always has the second one set (RFC 9000, section 17), so that these bytes could travel beside QUIC.
const KIND_CHUNK: u8 = 1;
/// First byte of a parity chunk.
const KIND_PARITY: u8 = 2;
/// First byte of a manifest.
const KIND_MANIFEST: u8 = 3;

/// What travels as one datagram. Clones share the bytes.
///
/// Exhaustive on purpose: a new kind must break every `match` until it is dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// A piece of the stream.
    Chunk(Chunk),
    /// Redundancy of one generation (R-GEN-3).
    Parity(Parity),
    /// What a generation consists of, signed (R-GEN-4).
    Manifest(Manifest),
}

impl Datagram {
    /// Takes a datagram apart without copying its payload. Unknown flag bits are ignored (R-DGRAM-4).
    ///
    /// # Errors
    ///
    /// Says which field is short, too long, unknown or out of range.
    pub fn decode(datagram: Bytes) -> Result<Self, DecodeError> {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(DecodeError::TooLong("datagram"));
        }
        match Header::decode(&datagram)?.0.kind {
            KIND_CHUNK => Chunk::decode(datagram).map(Self::Chunk),
            KIND_PARITY => Parity::decode(datagram).map(Self::Parity),
            KIND_MANIFEST => Manifest::decode(datagram).map(Self::Manifest),
            kind => Err(DecodeError::UnknownKind(kind)),
        }
    }

    /// The bytes to send: relaying sends them as they came (R-RELAY-5).
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        match self {
            Self::Chunk(chunk) => chunk.datagram(),
            Self::Parity(parity) => parity.datagram(),
            Self::Manifest(manifest) => manifest.datagram(),
        }
    }

    /// The member to which the splitter gave this datagram, and who relays it.
    #[must_use]
    pub const fn origin(&self) -> Slot {
        match self {
            Self::Chunk(chunk) => chunk.header().origin,
            Self::Parity(parity) => parity.origin(),
            Self::Manifest(manifest) => manifest.origin(),
        }
    }

    /// The chunk's number, or the first number of the generation that a parity chunk or a manifest belongs to.
    #[must_use]
    pub const fn number(&self) -> ChunkNumber {
        match self {
            Self::Chunk(chunk) => chunk.number(),
            Self::Parity(parity) => parity.first(),
            Self::Manifest(manifest) => manifest.first(),
        }
    }
}

/// The header as all kinds share it (R-DGRAM-2):
///
/// ```text
///  0        1        2        3        4        5        6        7
/// +--------+--------+--------+--------+--------+--------+--------+--------+
/// |  kind  | flags  |   origin slot   |position|header  | number, upper   |
/// |        |       R|                 |in gen. |version | 16 of 48 bits   |
/// +--------+--------+--------+--------+--------+--------+--------+--------+
/// |        number, lower 32 bits      |  stream time, lower 32 bits (us)  |
/// +--------+--------+--------+--------+--------+--------+--------+--------+
/// ```
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) origin: Slot,
    pub(crate) position: u8,
    pub(crate) version: u8,
    pub(crate) number: ChunkNumber,
    pub(crate) time_us: u32,
}

impl Header {
    /// A manifest's header: its number is the generation's first, its position the place of the first chunk that it lists.
    pub(crate) const fn manifest(number: ChunkNumber, position: u8, origin: Slot, time_us: u32) -> Self {
        Self { kind: KIND_MANIFEST, flags: 0, origin, position, version: 0, number, time_us }
    }

    /// One datagram of this header and `payload`, which is copied.
    pub(crate) fn encode(&self, payload: &[u8]) -> Bytes {
        debug_assert!(self.number.get() <= CHUNK_NUMBER_MAX, "a ChunkNumber fits the wire by construction");
        let mut datagram = BytesMut::with_capacity(HEADER_BYTES + payload.len());
        datagram.put_u8(self.kind);
        datagram.put_u8(self.flags);
        datagram.put_u16(self.origin.get());
        datagram.put_u8(self.position);
        datagram.put_u8(self.version);
        datagram.put_uint(self.number.get(), 6);
        datagram.put_u32(self.time_us);
        datagram.put_slice(payload);
        datagram.freeze()
    }

    /// The header and what stands behind it.
    pub(crate) fn decode(datagram: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let Some((
            &[kind, flags, s0, s1, position, version, n0, n1, n2, n3, n4, n5, t0, t1, t2, t3],
            payload,
        )) = datagram.split_first_chunk::<HEADER_BYTES>()
        else {
            return Err(DecodeError::Truncated("datagram header"));
        };
        if !(KIND_CHUNK..=KIND_MANIFEST).contains(&kind) {
            return Err(DecodeError::UnknownKind(kind));
        }
        let header = Self {
            kind,
            flags,
            origin: Slot::new(u16::from_be_bytes([s0, s1]))
                .map_err(|_| DecodeError::Invalid("origin slot"))?,
            position,
            version,
            number: ChunkNumber::new(u64::from_be_bytes([0, 0, n0, n1, n2, n3, n4, n5]))
                .map_err(|_| DecodeError::Invalid("chunk number"))?,
            time_us: u32::from_be_bytes([t0, t1, t2, t3]),
        };
        Ok((header, payload))
    }
}
