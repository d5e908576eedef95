//! Parity chunks: the redundancy of one generation, a shard each.

use super::{Header, KIND_PARITY};
use crate::{
    ChunkNumber, DecodeError, Slot,
    limits::{GENERATION_CHUNKS_MAX, HEADER_BYTES, SHARD_BYTES_MAX, SHARD_BYTES_MIN},
};
use bytes::Bytes;

/// One shard of a generation's redundancy (R-GEN-3). Its header's number is the generation's first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parity {
    first: ChunkNumber,
    origin: Slot,
    position: u8,
    time_us: u32,
    datagram: Bytes,
}

impl Parity {
    /// Lays out a shard as a datagram. `position` counts on behind the generation's data chunks; `time_us` is the low 32 bits of
    /// the [`StreamTime`](crate::StreamTime) at which the generation closed.
    ///
    /// # Errors
    ///
    /// [`DecodeError::TooLong`] when the shard exceeds [`SHARD_BYTES_MAX`], [`DecodeError::Missing`] when it is empty,
    /// [`DecodeError::Invalid`] when it has less than [`SHARD_BYTES_MIN`] or an odd number of bytes, and when the position is
    /// zero or not below [`GENERATION_CHUNKS_MAX`].
    pub fn new(
        first: ChunkNumber,
        position: u8,
        origin: Slot,
        time_us: u32,
        shard: &[u8],
    ) -> Result<Self, DecodeError> {
        check(position, shard.len())?;
        let header =
            Header { kind: KIND_PARITY, flags: 0, origin, position, version: 0, number: first, time_us };
        Ok(Self { first, origin, position, time_us, datagram: header.encode(shard) })
    }

    pub(super) fn decode(datagram: Bytes) -> Result<Self, DecodeError> {
        let (header, shard) = Header::decode(&datagram)?;
        check(header.position, shard.len())?;
        if header.version != 0 {
            return Err(DecodeError::Invalid("parity header version"));
        }
        Ok(Self {
            first: header.number,
            origin: header.origin,
            position: header.position,
            time_us: header.time_us,
            datagram,
        })
    }

    /// The generation's first number.
    #[must_use]
    pub const fn first(&self) -> ChunkNumber {
        self.first
    }

    /// The member to which the splitter gave it.
    #[must_use]
    pub const fn origin(&self) -> Slot {
        self.origin
    }

    /// The place within the generation, behind its data chunks.
    #[must_use]
    pub const fn position(&self) -> u8 {
        self.position
    }

    /// When the generation closed: the low 32 bits of [`StreamTime`](crate::StreamTime).
    #[must_use]
    pub const fn time_us(&self) -> u32 {
        self.time_us
    }

    /// The redundancy; shares the datagram's memory.
    #[must_use]
    pub fn shard(&self) -> Bytes {
        self.datagram.slice(HEADER_BYTES..)
    }

    /// The bytes to send.
    #[must_use]
    pub const fn datagram(&self) -> &Bytes {
        &self.datagram
    }
}

fn check(position: u8, shard_bytes: usize) -> Result<(), DecodeError> {
    if shard_bytes == 0 {
        return Err(DecodeError::Missing("shard"));
    }
    if shard_bytes > SHARD_BYTES_MAX {
        return Err(DecodeError::TooLong("shard"));
    }
    if shard_bytes < SHARD_BYTES_MIN || !shard_bytes.is_multiple_of(2) {
        return Err(DecodeError::Invalid("shard length"));
    }
    if position == 0 || position >= GENERATION_CHUNKS_MAX {
        return Err(DecodeError::Invalid("generation position"));
    }
    Ok(())
}
