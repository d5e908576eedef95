//! What a peer is told, what it reports, what it counts.

use p2psp_wire::{ChannelId, Chunk, ChunkNumber, Epoch, PeerId, RefuseReason, Slot, StreamHeader};
use std::{net::SocketAddr, time::Duration};

/// How an origin passes its chunks on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RelayPolicy {
    /// At once to every teammate, as fast as the shared uplink allows (R-RELAY-2).
    #[default]
    Burst,
    /// As published: one teammate served for each chunk received (docs/background.md 1.1). Delay grows as team size times chunk time.
    Classic,
}

/// How a peer takes part.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// The stream.
    pub channel: ChannelId,
    /// Addresses of the splitter, best first; not empty.
    pub splitter: Vec<SocketAddr>,
    /// Addresses at which teammates may reach this peer, beside the one that the splitter observes.
    pub candidates: Vec<SocketAddr>,
    /// Receive, never own turns.
    pub eco: bool,
    /// Software name and version.
    pub agent: String,
    /// How chunks are passed on.
    pub relay: RelayPolicy,
    /// The uplink's bits a second on the wire, by its owner's word. The peer finds out what it carries, and never sends more than
    /// this (R-UPLINK-1); its host must obey [`Output::UplinkRate`](crate::Output::UplinkRate). `None` leaves the rate to the host.
    pub uplink_bits_per_s_max: Option<u64>,
    /// From a chunk's time at the splitter to its play-out here (R-PLAY-1).
    pub target_delay: Duration,
    /// Play-out wakes on multiples of this, so that one wake-up serves several chunks.
    pub playout_tick: Duration,
    /// Newest chunks kept; rounded up to a power of two. Must span the target delay and the way back to a random-access point.
    pub window_chunks: u32,
    /// Wall clock at the host's [`Instant::ORIGIN`](crate::Instant::ORIGIN), microseconds since 1970-01-01 UTC; for delay
    /// figures only.
    pub origin_unix_us: u64,
    /// Stay and try again when the splitter's link is lost or cannot be made.
    pub rejoin: bool,
    /// Take part in a team whose splitter does not sign its stream (R-GEN-5): laboratories only.
    pub allow_unsigned: bool,
}

impl PeerConfig {
    /// The defaults: burst relay, 500 ms to play-out, four thousand chunks kept.
    #[must_use]
    pub fn new(channel: ChannelId, splitter: Vec<SocketAddr>) -> Self {
        Self {
            channel,
            splitter,
            candidates: Vec::new(),
            eco: false,
            agent: String::new(),
            relay: RelayPolicy::Burst,
            uplink_bits_per_s_max: None,
            target_delay: Duration::from_millis(500),
            playout_tick: Duration::from_millis(20),
            window_chunks: 4096,
            origin_unix_us: 0,
            rejoin: true,
            allow_unsigned: false,
        }
    }
}

/// What a peer reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// It has a seat.
    Joined {
        /// Which.
        slot: Slot,
        /// The splitter's run.
        epoch: Epoch,
        /// Members in the roster at that time, this one apart.
        teammates: u16,
        /// How the splitter sees this peer.
        observed: SocketAddr,
    },
    /// The stream header is new or has changed; comes before the chunks that need it.
    Header(StreamHeader),
    /// The next chunk, in order, each once.
    Play(Chunk),
    /// Chunks that did not come in time; play goes on behind them.
    Gap {
        /// The first missing one.
        first: ChunkNumber,
        /// How many.
        chunks: u64,
    },
    /// A link to a teammate is up or gone.
    Teammate {
        /// Who.
        peer: PeerId,
        /// Up, or gone.
        up: bool,
    },
    /// The splitter gave no seat.
    Refused {
        /// Why.
        reason: RefuseReason,
        /// In its words.
        detail: String,
        /// It will be tried again.
        again: bool,
    },
    /// The splitter cannot be reached, or its link was lost.
    SplitterLost {
        /// Something answered there, but with another key than the channel's.
        wrong_key: bool,
        /// How long until the next try; `None` when there is none.
        retry_in: Option<Duration>,
    },
    /// A teammate carries another epoch of this channel: two splitters are running.
    OtherStream {
        /// Who.
        peer: PeerId,
    },
    /// A member broke a rule and was hung up.
    Violation {
        /// Who.
        peer: PeerId,
        /// Which rule, for the log.
        what: &'static str,
    },
    /// Out of the team, for good.
    Left(LeftReason),
}

/// Why a peer is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftReason {
    /// It was asked to leave.
    Asked,
    /// The splitter put it out.
    Expelled,
    /// The splitter refused it for good.
    Refused,
    /// The splitter does not sign its stream, and the peer was not told to take that (R-GEN-5).
    Unsigned,
    /// The splitter is gone and the peer was told not to wait for it.
    SplitterLost,
    /// The stream is over.
    StreamEnded,
}

/// What a peer counts, from its start on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerStats {
    /// Its seat, while it has one.
    pub slot: Option<Slot>,
    /// Members in the roster, this one apart.
    pub teammates: u16,
    /// Members with a link.
    pub teammates_linked: u16,
    /// Chunks that came from the splitter in turns.
    pub chunks_from_splitter: u64,
    /// Chunks that came from their origin or a proxy.
    pub chunks_from_teammates: u64,
    /// Chunks that came in answer to pulls.
    pub chunks_pulled: u64,
    /// Chunks asked of others because parity did not suffice.
    pub chunks_asked: u64,
    /// Chunks for which parity did not suffice, counted when others were first asked for them.
    pub chunks_unrebuilt: u64,
    /// Chunks rebuilt from parity.
    pub chunks_rebuilt: u64,
    /// Chunks of its own turns that never reached it, rebuilt, and relayed late.
    pub chunks_healed: u64,
    /// Datagrams that a manifest does not list, or that the channel's key did not sign.
    pub chunks_false: u64,
    /// Parity chunks received, each once.
    pub parity_received: u64,
    /// Manifests received, each once.
    pub manifests_received: u64,
    /// Payload bytes received, each chunk once.
    pub bytes_received: u64,
    /// Of these, bytes that the splitter sent: in turns, or in answer to pulls.
    pub bytes_from_splitter: u64,
    /// Chunks whose play-out time is over, of all of which the team was to send to this member (R-GEN-8).
    pub chunks_due: u64,
    /// Of these, chunks that had not come by themselves: rebuilt, pulled or lost.
    pub chunks_missing: u64,
    /// Copies that were here already.
    pub chunks_duplicate: u64,
    /// Chunks behind the play-out or outside the window.
    pub chunks_late: u64,
    /// Chunks from a member that has no right to send them.
    pub chunks_unexpected: u64,
    /// Chunks relayed, one for each teammate.
    pub chunks_relayed: u64,
    /// Payload bytes relayed.
    pub bytes_relayed: u64,
    /// Copies not sent because they had become too old.
    pub chunks_expired: u64,
    /// The rate of all links together, bits a second; 0 where the host sets it.
    pub uplink_bits_per_s: u64,
    /// What the uplink was found to carry, bits a second; 0 while it has shown no limit.
    pub uplink_carried_bits_per_s: u64,
    /// Chunks sent in answer to pulls.
    pub chunks_served: u64,
    /// Chunks played.
    pub chunks_played: u64,
    /// Payload bytes played.
    pub bytes_played: u64,
    /// Chunks that did not come in time.
    pub chunks_lost: u64,
    /// Requests sent for origins that do not reach this peer.
    pub requests_sent: u64,
    /// Prunes sent.
    pub prunes_sent: u64,
    /// Malformed input.
    pub malformed: u64,
    /// Links hung up for breaking a rule.
    pub violations: u64,
    /// Times that the splitter's link was lost.
    pub splitter_losses: u64,
    /// The next chunk to play.
    pub play_number: ChunkNumber,
    /// Chunks held ahead of the play-out.
    pub buffered_chunks: u64,
}
