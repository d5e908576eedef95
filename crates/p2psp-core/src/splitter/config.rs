//! What a splitter is told, what it reports, what it counts.

use super::fairness::FairnessConfig;
use crate::SigningKey;
use p2psp_wire::{ChannelId, ChunkNumber, DepartureReason, Epoch, PeerId, RefuseReason, Slot, limits};
use std::{fmt, net::SocketAddr, time::Duration};

/// How a splitter runs its team.
#[derive(Clone, Debug)]
pub struct SplitterConfig {
    /// The stream.
    pub channel: ChannelId,
    /// This run; must grow with each start of the same channel.
    pub epoch: Epoch,
    /// Wall clock at the machine's start, microseconds since 1970-01-01 UTC.
    pub epoch_unix_us: u64,
    /// Most members, at most [`limits::TEAM_SIZE_MAX`].
    pub team_size_max: u16,
    /// How long a turn may collect chunks: turns have `chunk rate * turn_span` chunks, 1 to 16 (R-TURN-1).
    pub turn_span: Duration,
    /// Newest chunks kept for pulls; rounded up to a power of two.
    pub window_chunks: u32,
    /// How members that do not do their share are dealt with.
    pub fairness: FairnessConfig,
    /// How many copies of the stream the splitter may upload beside its one, where the members' uplinks do not suffice (R-TURN-5).
    /// Nobody is admitted who would need more (R-TURN-6).
    pub own_copies_max: u16,
    /// How chunks are signed and what redundancy goes with them; `None` sends them bare, for laboratories.
    pub protection: Option<Protection>,
}

/// How a splitter protects its stream (R-GEN-1).
#[derive(Clone, Debug)]
pub struct Protection {
    /// The channel's key.
    pub key: SigningKey,
    /// Each chunk carries a signature of its own too, and nobody waits for manifests to believe it (R-SIGN-1).
    pub signs_chunks: bool,
    /// How much redundancy goes with each generation.
    pub parity: ParityPolicy,
}

impl Protection {
    /// Most bytes of the stream in one chunk: what a datagram leaves, and where each chunk carries a signature that much less.
    #[must_use]
    pub const fn payload_bytes_max(&self) -> usize {
        limits::PAYLOAD_BYTES_MAX - if self.signs_chunks { limits::SIGNATURE_BYTES } else { 0 }
    }
}

/// How many parity chunks a generation gets (R-GEN-3, R-GEN-8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParityPolicy {
    /// What the loss that members report asks for: 2, 4, 8, 12 or 16.
    #[default]
    Adaptive,
    /// As many as this, at most [`limits::PARITY_CHUNKS_MAX`]; never fewer than a turn has chunks, unless zero, which sends none.
    Fixed(u8),
}

impl SplitterConfig {
    /// The defaults: a team of 128, turns of 4 ms, four thousand chunks kept.
    #[must_use]
    pub const fn new(channel: ChannelId, epoch: Epoch, epoch_unix_us: u64) -> Self {
        Self {
            channel,
            epoch,
            epoch_unix_us,
            team_size_max: 128,
            turn_span: Duration::from_millis(4),
            window_chunks: 4096,
            fairness: FairnessConfig::new(),
            own_copies_max: 3,
            protection: None,
        }
    }

    /// Most bytes of the stream in one chunk.
    #[must_use]
    pub fn payload_bytes_max(&self) -> usize {
        self.protection.as_ref().map_or(limits::PAYLOAD_BYTES_MAX, Protection::payload_bytes_max)
    }
}

/// What a splitter reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SplitterEvent {
    /// A member got a seat.
    Joined {
        /// Who.
        peer: PeerId,
        /// Which seat.
        slot: Slot,
        /// Where it is.
        remote: SocketAddr,
    },
    /// A member is ready for turns.
    Ready {
        /// Which seat.
        slot: Slot,
        /// Links it has.
        teammates: u16,
    },
    /// A joiner was refused.
    Refused {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: RefuseReason,
    },
    /// A member is gone.
    Departed {
        /// Who.
        peer: PeerId,
        /// The seat it had.
        slot: Slot,
        /// Why.
        reason: DepartureReason,
    },
    /// A member broke a rule and was hung up.
    Violation {
        /// Who.
        peer: PeerId,
        /// Which rule, for the log.
        what: &'static str,
    },
    /// All members were told goodbye and are gone, or the time for it is over.
    Closed,
}

/// What a splitter counts, from its start on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SplitterStats {
    /// Members with a seat.
    pub members: u16,
    /// Members that get turns.
    pub members_ready: u16,
    /// Chunks taken from the source.
    pub chunks_in: u64,
    /// Payload bytes taken from the source.
    pub bytes_in: u64,
    /// Chunks sent in turns.
    pub chunks_sent: u64,
    /// Datagram bytes sent in turns.
    pub bytes_sent: u64,
    /// Turns that the splitter sent to everybody itself.
    pub own_turns: u64,
    /// Of a thousand turns, how many are the splitter's own at present.
    pub own_share_per_mille: u16,
    /// Of a thousand turns, how many nobody's uplink is known to carry at present.
    pub lacking_per_mille: u16,
    /// Turns sent.
    pub turns_sent: u64,
    /// Parity chunks sent.
    pub parity_sent: u64,
    /// Manifests sent.
    pub manifests_sent: u64,
    /// Chunks sent in answer to pulls.
    pub chunks_served: u64,
    /// Chunks that no member was ready to take.
    pub chunks_unsent: u64,
    /// Chunks dropped because the uplink stayed spent.
    pub chunks_overflowed: u64,
    /// Joins that got a seat.
    pub joins: u64,
    /// Joins refused.
    pub refusals: u64,
    /// Members that said goodbye.
    pub goodbyes: u64,
    /// Members whose link died.
    pub crashes: u64,
    /// Members put out of the schedule by their teammates' reports.
    pub silenced: u64,
    /// Of the crashed, those that answered no probe before their link died.
    pub unanswered: u64,
    /// Chunks that members reported lost.
    pub chunks_reported_lost: u64,
    /// Chunks that members report as not having come by themselves: rebuilt, pulled or lost.
    pub chunks_reported_missing: u64,
    /// Complaints about members.
    pub complaints: u64,
    /// Members expelled because of them, or as free riders.
    pub expulsions: u64,
    /// Members expelled because they took turns and did not pass them on.
    pub free_riders: u64,
    /// Times that a member was given a rest, because its turns did not reach the others.
    pub rested: u64,
    /// Parity chunks that the newest generation got.
    pub parity_chunks: u8,
    /// Malformed input.
    pub malformed: u64,
    /// Links hung up for breaking a rule.
    pub violations: u64,
    /// Chunks of a turn at the present rate.
    pub turn_chunks: u16,
    /// The next chunk's number.
    pub next_number: ChunkNumber,
}

/// Why the splitter does not take a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IngestError {
    /// The stream was closed.
    Closed,
    /// The payload is empty.
    Empty,
    /// The payload has more bytes than [`SplitterConfig::payload_bytes_max`] allows.
    TooLong {
        /// As it came.
        bytes: usize,
        /// As allowed.
        bytes_max: usize,
    },
}

impl fmt::Display for IngestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => write!(f, "the stream is closed"),
            Self::Empty => write!(f, "a chunk needs at least one byte"),
            Self::TooLong { bytes, bytes_max } => {
                write!(f, "a chunk has at most {bytes_max} bytes of the stream, this one has {bytes}")
            }
        }
    }
}

impl std::error::Error for IngestError {}
