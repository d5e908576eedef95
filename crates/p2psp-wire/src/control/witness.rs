//! What a member says about chunks in a row: came from its origin, or did not. Owns the packing of that into bits.

use crate::{
    ChunkNumber, DecodeError,
    limits::{CHUNK_NUMBER_MAX, WITNESS_CHUNKS_MAX},
};
use bytes::Bytes;

/// Which of consecutive chunks came, and how many copies the sender owes (R-FAIR-5, R-FAIR-6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    first: ChunkNumber,
    chunks: u32,
    bits: Bytes,
    copies_late: u32,
}

impl Witness {
    /// A witness of the chunks from `first` on, in order; beyond [`WITNESS_CHUNKS_MAX`] or the last chunk number nothing is said.
    #[must_use]
    pub fn new(first: ChunkNumber, came: impl IntoIterator<Item = bool>, copies_late: u32) -> Self {
        let mut bits = Vec::new();
        let mut chunks = 0;
        for came in came.into_iter().take(most_from(first)) {
            if chunks % 8 == 0 {
                bits.push(0_u8);
            }
            if let Some(byte) = bits.last_mut() {
                *byte |= u8::from(came) << (chunks % 8);
            }
            chunks += 1;
        }
        Self { first, chunks, bits: bits.into(), copies_late }
    }

    /// # Errors
    ///
    /// [`DecodeError::TooLong`] for more than [`WITNESS_CHUNKS_MAX`] chunks; [`DecodeError::Invalid`] when they reach beyond the last
    /// chunk number, or there are not just as many bits as chunks.
    pub(super) fn from_bits(
        first: ChunkNumber,
        chunks: u32,
        bits: Bytes,
        copies_late: u32,
    ) -> Result<Self, DecodeError> {
        if chunks > WITNESS_CHUNKS_MAX {
            return Err(DecodeError::TooLong("witness.chunks"));
        }
        let spare = match chunks % 8 {
            0 => 0,
            used => 0xff_u8 << used,
        };
        let fits = bits.len() == usize::try_from(chunks.div_ceil(8)).unwrap_or(usize::MAX)
            && bits.last().is_none_or(|last| last & spare == 0);
        if !fits {
            return Err(DecodeError::Invalid("witness.came"));
        }
        if usize::try_from(chunks).unwrap_or(usize::MAX) > most_from(first) {
            return Err(DecodeError::Invalid("witness.chunks"));
        }
        Ok(Self { first, chunks, bits, copies_late })
    }

    /// The first chunk that is spoken of.
    #[must_use]
    pub const fn first(&self) -> ChunkNumber {
        self.first
    }

    /// How many chunks are spoken of; at most [`WITNESS_CHUNKS_MAX`].
    #[must_use]
    pub const fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Copies that the sender could not send to its teammates in time since its last witness.
    #[must_use]
    pub const fn copies_late(&self) -> u32 {
        self.copies_late
    }

    /// Each chunk spoken of, in order, and whether it came.
    pub fn iter(&self) -> impl Iterator<Item = (ChunkNumber, bool)> + '_ {
        let bit = |offset: u32| {
            let byte = usize::try_from(offset / 8).ok().and_then(|index| self.bits.get(index));
            byte.is_some_and(|byte| byte >> (offset % 8) & 1 == 1)
        };
        (0..self.chunks).map(move |offset| (self.first.plus(offset.into()), bit(offset)))
    }

    pub(super) const fn bits(&self) -> &Bytes {
        &self.bits
    }
}

/// How many chunks one witness may speak of that begins here.
fn most_from(first: ChunkNumber) -> usize {
    let left = CHUNK_NUMBER_MAX - first.get() + 1;
    usize::try_from(left.min(WITNESS_CHUNKS_MAX.into())).unwrap_or(usize::MAX)
}
