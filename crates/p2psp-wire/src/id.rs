//! Identifiers: keys as identity, slots as seats, chunk numbers, and the stream's own clock. Each is a type of its own, so
//! that one cannot stand where another is meant.

use crate::limits::{CHUNK_NUMBER_MAX, TEAM_SIZE_MAX};
use std::{fmt, str::FromStr, time::Duration};

/// Defines a 32-byte Ed25519 key type with a base32 text form.
macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// The text form is RFC 4648 base32 in lower case without padding: 52 characters.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps a public key as it stands.
            #[must_use]
            pub const fn new(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes of the public key.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first ten characters of the text form, for logs and tables.
            #[must_use]
            pub fn short(&self) -> String {
                let mut text = self.to_string();
                text.truncate(10);
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = data_encoding::BASE32_NOPAD.encode(&self.0);
                text.make_ascii_lowercase();
                f.write_str(&text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                if text.len() != 52 {
                    return Err(IdError::KeyLength(text.len()));
                }
                let bytes = data_encoding::BASE32_NOPAD
                    .decode(text.to_ascii_uppercase().as_bytes())
                    .map_err(|_| IdError::KeyText)?;
                bytes.try_into().map(Self).map_err(|_| IdError::KeyText)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = IdError;

            fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
                bytes.try_into().map(Self).map_err(|_| IdError::KeyLength(bytes.len()))
            }
        }
    };
}

key!(
    /// A node: its Ed25519 public key, proven in the TLS handshake. Addresses are attributes, never identity (R-ID-1).
    PeerId
);
key!(
    /// A channel: the broadcaster's Ed25519 public key (R-ID-2).
    ChannelId
);

impl From<ChannelId> for PeerId {
    /// A splitter proves the channel's own key on its links (R-ID-3).
    fn from(channel: ChannelId) -> Self {
        Self(channel.0)
    }
}

/// Why a text or a byte string is not an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdError {
    /// A key's text or bytes have the wrong length (given here); 52 characters or 32 bytes are right.
    KeyLength(usize),
    /// A key's text is not base32, or its four unused last bits are not zero.
    KeyText,
    /// A slot at or above [`TEAM_SIZE_MAX`].
    Slot(u32),
    /// A chunk number above [`CHUNK_NUMBER_MAX`].
    ChunkNumber(u64),
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyLength(length) => write!(f, "a key has 52 base32 characters, this one has {length}"),
            Self::KeyText => write!(f, "a key is written in base32 (a-z and 2-7)"),
            Self::Slot(slot) => write!(f, "slot {slot} is not below {TEAM_SIZE_MAX}"),
            Self::ChunkNumber(number) => write!(f, "chunk number {number} does not fit 48 bits"),
        }
    }
}

impl std::error::Error for IdError {}

/// A seat in the team's roster, given by the splitter (R-ID-5): below [`TEAM_SIZE_MAX`], dense, reused after a member left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The lowest seat.
    pub const FIRST: Self = Self(0);
    /// The splitter's own: the origin of chunks that it sends to every member itself (R-TURN-5). No member sits there.
    pub const SPLITTER: Self = Self(TEAM_SIZE_MAX - 1);

    /// # Errors
    ///
    /// [`IdError::Slot`] when `slot` is not below [`TEAM_SIZE_MAX`].
    pub const fn new(slot: u16) -> Result<Self, IdError> {
        if slot < TEAM_SIZE_MAX { Ok(Self(slot)) } else { Err(IdError::Slot(slot as u32)) }
    }

    /// The seat's number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The seat's number as an index into a dense table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl TryFrom<u32> for Slot {
    type Error = IdError;

    fn try_from(slot: u32) -> Result<Self, IdError> {
        u16::try_from(slot).map_err(|_| IdError::Slot(slot)).and_then(Self::new)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A chunk's place in the stream. Counts from zero within an epoch, never wraps (48 bits on the wire).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkNumber(u64);

impl ChunkNumber {
    /// The first chunk of an epoch.
    pub const ZERO: Self = Self(0);

    /// # Errors
    ///
    /// [`IdError::ChunkNumber`] when `number` exceeds [`CHUNK_NUMBER_MAX`].
    pub const fn new(number: u64) -> Result<Self, IdError> {
        if number <= CHUNK_NUMBER_MAX { Ok(Self(number)) } else { Err(IdError::ChunkNumber(number)) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The chunk after this one; the last number repeats, which 8900 years keep from happening.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// This number plus `chunks`, at most [`CHUNK_NUMBER_MAX`].
    #[must_use]
    pub const fn plus(self, chunks: u64) -> Self {
        let sum = self.0.saturating_add(chunks);
        Self(if sum < CHUNK_NUMBER_MAX { sum } else { CHUNK_NUMBER_MAX })
    }

    /// This number minus `chunks`, at least zero.
    #[must_use]
    pub const fn minus(self, chunks: u64) -> Self {
        Self(self.0.saturating_sub(chunks))
    }

    /// How many chunks lie from `earlier` up to this one; zero when `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for ChunkNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Which run of the splitter a chunk belongs to. Grows with each start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// The splitter's stream clock: microseconds since the epoch began. A chunk carries the low 32 bits (R-TIME-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamTime(u64);

impl StreamTime {
    /// A time of `micros` microseconds since the epoch began.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch began.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The low 32 bits, as a datagram carries them.
    #[must_use]
    pub const fn truncate(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }

    /// The time nearest to `near` whose low 32 bits are `truncated`: right while the two are less than 35 minutes apart.
    ///
    /// Total over all inputs, because `near` may have come from a remote clock: where the nearest time would lie before the
    /// epoch's begin or past the last microsecond of 64 bits, the nearest one that exists is given.
    #[must_use]
    pub const fn expand(truncated: u32, near: Self) -> Self {
        let span = 1_u64 << 32;
        let candidate = (near.0 & !(span - 1)) | truncated as u64;
        let expanded = if candidate < near.0 && near.0 - candidate > span / 2 {
            candidate.checked_add(span)
        } else if candidate > near.0 && candidate - near.0 > span / 2 {
            candidate.checked_sub(span)
        } else {
            None
        };
        match expanded {
            Some(expanded) => Self(expanded),
            None => Self(candidate),
        }
    }

    /// The span from `earlier` to this time; zero when `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}
