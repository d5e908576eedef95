//! Datagrams: what has a deadline. A hand-coded header of 16 bytes and the chunk's payload behind it. Owns the layout and
//! nothing else; who may send which chunk to whom is the core's business.

use crate::{
    ChunkNumber, DecodeError, Slot,
    limits::{CHUNK_NUMBER_MAX, DATAGRAM_BYTES_MAX, GENERATION_CHUNKS_MAX, HEADER_BYTES, PAYLOAD_BYTES_MAX},
};
use bytes::{BufMut, Bytes, BytesMut};

/// First byte of a chunk. The two top bits of every datagram's first byte are zero (R-DGRAM-3): a QUIC packet on the
/// same socket always has the second one set (RFC 9000, section 17), so that these bytes could travel beside QUIC.
const KIND_CHUNK: u8 = 1;

/// Flag bit: a player that has the stream header can start here.
const FLAG_RANDOM_ACCESS: u8 = 1;

/// What a chunk's header says, in the order of R-DGRAM-2:
///
/// ```text
///  0        1        2        3        4        5        6        7
/// +--------+--------+--------+--------+--------+--------+--------+--------+
/// |  kind  | flags  |   origin slot   |position|header  | number, upper   |
/// |  = 1   |       R|                 |in gen. |version | 16 of 48 bits   |
/// +--------+--------+--------+--------+--------+--------+--------+--------+
/// |        number, lower 32 bits      |  stream time, lower 32 bits (us)  |
/// +--------+--------+--------+--------+--------+--------+--------+--------+
/// ```
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
        let mut datagram = BytesMut::with_capacity(HEADER_BYTES + payload.len());
        datagram.put_u8(KIND_CHUNK);
        datagram.put_u8(if header.random_access { FLAG_RANDOM_ACCESS } else { 0 });
        datagram.put_u16(header.origin.get());
        datagram.put_u8(header.position);
        datagram.put_u8(header.header_version);
        datagram.put_uint(header.number.get(), 6);
        datagram.put_u32(header.time_us);
        datagram.put_slice(payload);
        Ok(Self { header, datagram: datagram.freeze() })
    }

    /// Takes a datagram apart without copying its payload. Unknown flag bits are ignored (R-DGRAM-4).
    ///
    /// # Errors
    ///
    /// Says which field is short, too long, unknown or out of range.
    pub fn decode(datagram: Bytes) -> Result<Self, DecodeError> {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(DecodeError::TooLong("datagram"));
        }
        let Some((
            &[kind, flags, s0, s1, position, header_version, n0, n1, n2, n3, n4, n5, t0, t1, t2, t3],
            payload,
        )) = datagram.split_first_chunk::<HEADER_BYTES>()
        else {
            return Err(DecodeError::Truncated("datagram header"));
        };
        if kind != KIND_CHUNK {
            return Err(DecodeError::UnknownKind(kind));
        }
        let header = ChunkHeader {
            number: ChunkNumber::new(u64::from_be_bytes([0, 0, n0, n1, n2, n3, n4, n5]))
                .map_err(|_| DecodeError::Invalid("chunk number"))?,
            origin: Slot::new(u16::from_be_bytes([s0, s1]))
                .map_err(|_| DecodeError::Invalid("origin slot"))?,
            position,
            header_version,
            random_access: flags & FLAG_RANDOM_ACCESS != 0,
            time_us: u32::from_be_bytes([t0, t1, t2, t3]),
        };
        check(&header, payload.len())?;
        Ok(Self { header, datagram })
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

    /// The stream's bytes; shares the datagram's memory.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.datagram.slice(HEADER_BYTES..)
    }

    /// How many bytes of the stream the chunk carries; at least 1.
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

/// The rules that hold for chunks made here and chunks that came alike.
fn check(header: &ChunkHeader, payload_bytes: usize) -> Result<(), DecodeError> {
    debug_assert!(header.number.get() <= CHUNK_NUMBER_MAX, "a ChunkNumber fits the wire by construction");
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
