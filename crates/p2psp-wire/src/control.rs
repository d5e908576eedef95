//! Control messages in checked form: what a handler may rely on. The protobuf types behind them are private; `convert` holds
//! the checks. Encoding is infallible because a value of these types is within limits by construction or is cut to them.

mod census;
mod convert;
mod witness;

pub use witness::Witness;

use crate::{
    ChannelId, ChunkNumber, DecodeError, Epoch, Hash, PeerId, Slot, StreamTime,
    generated::wire,
    limits::{RANGE_CHUNKS_MAX, RANGES_MAX},
};
use bytes::{Bytes, BytesMut};
use prost::Message;
use std::net::SocketAddr;

/// One message of the control stream.
///
/// Exhaustive on purpose: a new kind must break every `match` until it is dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Peer to splitter: asks for a seat (R-JOIN-1).
    Join(Join),
    /// Splitter to peer: a seat (R-JOIN-2).
    Welcome(Welcome),
    /// Splitter to peer: no seat (R-JOIN-4).
    Refuse(Refuse),
    /// Splitter to peer: who came and who went (R-ROSTER-1).
    RosterDelta(RosterDelta),
    /// Splitter to peer: what a player needs first (R-HEADER-1).
    StreamHeader(StreamHeader),
    /// Peer to splitter: links to this many teammates are up, give me turns (R-JOIN-3).
    Ready {
        /// Links that are up.
        teammates: u16,
    },
    /// Between teammates, first on their link (R-LINK-2).
    Hello(Hello),
    /// I leave (R-LEAVE-1).
    Goodbye(GoodbyeReason),
    /// Relay these origins' chunks to me from now on (R-ROUTE-2).
    Request {
        /// At most [`SLOTS_MAX`](crate::limits::SLOTS_MAX) origins.
        origins: Vec<Slot>,
    },
    /// Stop relaying these origins' chunks to me (R-ROUTE-4).
    Prune {
        /// At most [`SLOTS_MAX`](crate::limits::SLOTS_MAX) origins.
        origins: Vec<Slot>,
    },
    /// Peer to splitter: these had not come by their play-out time (R-LOST-1).
    Lost {
        /// At most [`RANGES_MAX`] ranges.
        ranges: Vec<NumberRange>,
    },
    /// Peer to teammate: send me these once (R-PULL-1).
    Pull {
        /// At most [`RANGES_MAX`] ranges.
        ranges: Vec<NumberRange>,
        /// First numbers of generations whose manifest is missing; at most [`RANGES_MAX`].
        generations: Vec<ChunkNumber>,
    },
    /// These will not come from me (R-PULL-3).
    Choke {
        /// At most [`RANGES_MAX`] ranges.
        ranges: Vec<NumberRange>,
        /// When to ask again; 0 says never.
        retry_after_ms: u32,
    },
    /// Peer to splitter: these origins missed two of their turns here (R-CRASH-2).
    Silent {
        /// At most [`SLOTS_MAX`](crate::limits::SLOTS_MAX) origins.
        origins: Vec<Slot>,
    },
    /// Peer to splitter: how many chunks of what came due did not come by themselves (R-GEN-8).
    Report {
        /// Chunks of the generations that came due since the last report.
        chunks_due: u32,
        /// How many of them were rebuilt, pulled or lost; no more than `chunks_due`.
        chunks_missing: u32,
    },
    /// Peer to splitter: what a teammate sent as a chunk is not what the channel's key signed (R-FAIR-1).
    Complaint {
        /// The teammate.
        accused: Slot,
        /// Which chunk it claimed to be.
        number: ChunkNumber,
        /// Of the datagram that came, header included.
        hash: Hash,
    },
    /// Splitter to peer: answer at once (R-CRASH-5).
    Probe {
        /// Comes back in the answer.
        token: u32,
    },
    /// Peer to splitter: the answer to a probe (R-CRASH-5).
    Alive {
        /// The probe's.
        token: u32,
    },
    /// Peer to splitter: what came from its origin and what did not (R-FAIR-5).
    Witness(Witness),
    /// Member to member: how long a chunk was on its way (R-UPLINK-2).
    Echo(Echo),
    /// Peer to splitter: what this peer can relay (R-UPLINK-5).
    Capacity {
        /// Bits a second on the wire, headers included.
        uplink_bits_per_s: u64,
    },
    /// A message of a newer revision, skipped (R-CTRL-3).
    Unknown,
}

/// What a chunk's receiver tells its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The teller's clock as it sends this: the low 32 bits of microseconds since any origin.
    pub sent_us: u32,
    /// What came, and when; `None` in an echo that brings the time only.
    pub came: Option<Came>,
    /// Datagrams that have come on this link so far, modulo 2^32.
    pub received: u32,
}

/// A datagram that came, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came {
    /// The chunk's, or the first one's of a parity chunk's generation.
    pub number: ChunkNumber,
    /// The parity chunk's position in its generation; `None` for a chunk.
    pub parity_position: Option<u8>,
    /// By the clock of the one that is told, as the shortest way of its own echoes shows it: 32 bits of microseconds.
    pub came_us: u32,
}

/// Asks a splitter for a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// See [`PROTOCOL_REVISION`](crate::PROTOCOL_REVISION).
    pub revision: u32,
    /// Which stream.
    pub channel: ChannelId,
    /// Empty where the channel asks for none.
    pub ticket: Bytes,
    /// Where the peer believes it can be dialed.
    pub candidates: Vec<SocketAddr>,
    /// Receives, never owns turns.
    pub eco: bool,
    /// Software name and version, for logs only.
    pub agent: String,
    /// The peer's play-out delay (R-START-1).
    pub target_delay_ms: u32,
}

/// A seat, and what must be known before the first chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The splitter's revision.
    pub revision: u32,
    /// The seat.
    pub slot: Slot,
    /// The splitter's run.
    pub epoch: Epoch,
    /// How the splitter sees the peer.
    pub observed: SocketAddr,
    /// Most members the splitter admits.
    pub team_size_max: u16,
    /// The first chunk that the peer may expect.
    pub next_number: ChunkNumber,
    /// The splitter's stream clock now.
    pub stream_time: StreamTime,
    /// The splitter's wall clock at the epoch's begin, microseconds since 1970-01-01 UTC. Informative.
    pub epoch_unix_us: u64,
    /// Newest random-access point at least the joiner's play-out delay old, else the oldest known (R-START-1).
    pub random_access: Option<ChunkNumber>,
    /// Members in the snapshot that follows.
    pub members: u16,
    /// How chunks are to be verified.
    pub integrity: Integrity,
}

/// How chunks are verified (R-GEN-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// Chunks are believed when a signed manifest lists their hash.
    Manifest,
    /// Chunks are believed as they come: laboratories only.
    None,
    /// As with manifests, and each chunk ends with a signature of its own, by which it is believed at once (R-SIGN-1).
    Signature,
    /// A way that this revision does not know: nothing can be believed.
    Unspecified,
}

/// No seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refuse {
    /// Why, for programs.
    pub reason: RefuseReason,
    /// Why, for a person.
    pub detail: String,
    /// When to try again; 0 says there is no point.
    pub retry_after_ms: u32,
}

/// Why a join was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefuseReason {
    /// The member is banned.
    Banned,
    /// The splitter is shutting down.
    Closing,
    /// The members' uplinks, and the splitter's own, cannot carry one more.
    NoUplink,
    /// The splitter speaks another revision.
    Revision,
    /// The team has no free seat.
    TeamFull,
    /// The ticket is missing, expired or not for this peer.
    Ticket,
    /// The splitter does not carry that channel.
    WrongChannel,
    /// A reason that this revision does not know.
    Unspecified,
}

/// A change of the roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterDelta {
    /// The splitter's run.
    pub epoch: Epoch,
    /// Counts up by one with each delta.
    pub view: u64,
    /// At most [`ROSTER_ENTRIES_MAX`](crate::limits::ROSTER_ENTRIES_MAX).
    pub joined: Vec<Member>,
    /// At most [`ROSTER_ENTRIES_MAX`](crate::limits::ROSTER_ENTRIES_MAX).
    pub left: Vec<Departure>,
}

/// A member of the team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its seat.
    pub slot: Slot,
    /// Its identity.
    pub peer: PeerId,
    /// Where to dial it, best first.
    pub candidates: Vec<SocketAddr>,
}

/// A member that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The seat it had.
    pub slot: Slot,
    /// Why it is gone.
    pub reason: DepartureReason,
}

/// Why a member is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepartureReason {
    /// Its link died.
    Crashed,
    /// The splitter put it out.
    Expelled,
    /// It said goodbye.
    Goodbye,
    /// A reason that this revision does not know.
    Unspecified,
}

/// What a player needs before the first random-access point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHeader {
    /// Matches [`ChunkHeader::header_version`](crate::ChunkHeader::header_version).
    pub version: u8,
    /// MIME type for HTTP.
    pub content_type: String,
    /// At most [`STREAM_HEADER_BYTES_MAX`](crate::limits::STREAM_HEADER_BYTES_MAX) bytes.
    pub bytes: Bytes,
}

/// Introduces a member to a teammate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The stream both carry.
    pub channel: ChannelId,
    /// The splitter's run.
    pub epoch: Epoch,
    /// The sender's seat.
    pub slot: Slot,
}

/// Why a member, or the splitter, says goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoodbyeReason {
    /// The splitter put the receiver out.
    Expelled,
    /// The sender leaves, or answers the receiver's leave.
    Leaving,
    /// The stream is over.
    StreamEnded,
    /// A reason that this revision does not know.
    Unspecified,
}

/// An inclusive range of chunk numbers, at most [`RANGE_CHUNKS_MAX`] long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NumberRange {
    first: ChunkNumber,
    last: ChunkNumber,
}

impl NumberRange {
    /// # Errors
    ///
    /// [`DecodeError::Invalid`] when `last` lies before `first`, [`DecodeError::TooLong`] when the range names more than
    /// [`RANGE_CHUNKS_MAX`] chunks.
    pub const fn new(first: ChunkNumber, last: ChunkNumber) -> Result<Self, DecodeError> {
        if last.get() < first.get() {
            Err(DecodeError::Invalid("number range"))
        } else if last.get() - first.get() >= RANGE_CHUNKS_MAX {
            Err(DecodeError::TooLong("number range"))
        } else {
            Ok(Self { first, last })
        }
    }

    /// The first number.
    #[must_use]
    pub const fn first(self) -> ChunkNumber {
        self.first
    }

    /// The last number, which belongs to the range.
    #[must_use]
    pub const fn last(self) -> ChunkNumber {
        self.last
    }

    /// How many numbers the range names; at least 1.
    #[must_use]
    pub const fn chunks(self) -> u64 {
        self.last.get() - self.first.get() + 1
    }

    /// The numbers in order.
    pub fn numbers(self) -> impl Iterator<Item = ChunkNumber> {
        (0..self.chunks()).map(move |offset| self.first.plus(offset))
    }

    /// Packs ascending numbers into as few ranges as they take, at most [`RANGES_MAX`] ranges and [`RANGE_CHUNKS_MAX`]
    /// chunks; what does not fit is left out.
    #[must_use]
    pub fn pack(numbers: impl IntoIterator<Item = ChunkNumber>) -> Vec<Self> {
        let mut ranges: Vec<Self> = Vec::new();
        for (number, _) in numbers.into_iter().zip(0..RANGE_CHUNKS_MAX) {
            let full = ranges.len() == RANGES_MAX;
            match ranges.last_mut() {
                Some(range) if range.last.next() == number => range.last = number,
                _ if full => break,
                _ => ranges.push(Self { first: number, last: number }),
            }
        }
        ranges
    }
}

impl Control {
    /// Appends the message to `out` as one frame: its length as a varint, then the protobuf bytes (R-CTRL-1).
    ///
    /// Texts and lists over their limits are cut to them.
    pub fn encode(&self, out: &mut BytesMut) {
        let frame = wire::Frame::from(self);
        out.reserve(frame.encoded_len() + 3);
        // prost fails only where the buffer cannot grow, and BytesMut can.
        let encoded = frame.encode_length_delimited(out);
        debug_assert!(encoded.is_ok(), "BytesMut grows as needed");
    }

    /// Appends the protobuf bytes alone.
    pub(crate) fn encode_body(&self, out: &mut BytesMut) {
        let encoded = wire::Frame::from(self).encode(out);
        debug_assert!(encoded.is_ok(), "BytesMut grows as needed");
    }

    /// Decodes one frame without its length prefix; [`FrameDecoder`](crate::FrameDecoder) cuts them from a stream.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Protobuf`] for bytes that are no frame, else which field breaks its rule.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        if frame.len() > crate::limits::FRAME_BYTES_MAX {
            return Err(DecodeError::TooLong("control frame"));
        }
        census::check(&frame)?;
        wire::Frame::decode(frame).map_err(|_| DecodeError::Protobuf)?.try_into()
    }
}
