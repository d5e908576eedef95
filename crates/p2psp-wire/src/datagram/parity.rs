//! Parity chunks: the redundancy of one generation, a shard each.

use super::{Header, KIND_PARITY};
use crate::{
    ChunkNumber, DecodeError, Slot,
    limits::{GENERATION_CHUNKS_MAX, HEADER_BYTES, SHARD_BYTES_MAX},
};
use bytes::Bytes;

/// One shard of a generation's redundancy (R-GEN-3). Its header's number is the generation's first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parity {
    first: ChunkNumber,
    origin: Slot,
    position: u8,
    datagram: Bytes,
}

impl Parity {
    /// Lays out a shard as a datagram. `position` counts on behind the generation's data chunks.
    ///
    /// # Errors
    ///
    /// [`DecodeError::TooLong`] when the shard exceeds [`SHARD_BYTES_MAX`], [`DecodeError::Missing`] when it is empty,
    /// [`DecodeError::Invalid`] when the position is zero or not below [`GENERATION_CHUNKS_MAX`].
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
        Ok(Self { first, origin, position, datagram: header.encode(shard) })
    }

    pub(super) fn decode(datagram: Bytes) -> Result<Self, DecodeError> {
        let (header, shard) = Header::decode(&datagram)?;
        check(header.position, shard.len())?;
        Ok(Self { first: header.number, origin: header.origin, position: header.position, datagram })
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
    if position == 0 || position >= GENERATION_CHUNKS_MAX {
        return Err(DecodeError::Invalid("generation position"));
    }
    Ok(())
}
