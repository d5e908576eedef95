//! What a door tells about itself. Values only.

use std::net::SocketAddr;

use crate::container::Container;

/// The state of a source, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IngestState {
    /// Not there yet, or gone and awaited again.
    #[default]
    Connecting,
    /// Bytes come.
    Live,
    /// It is there, but no byte has come for
    /// [`stall_after`](crate::ingest::IngestOptions::stall_after).
    Stalled,
    /// Ended for good, without an error.
    Ended,
    /// Ended for good.
    Failed {
        /// One line: the cause and the next step.
        reason: String,
    },
}

/// A door's state and counters, published at each change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngestStatus {
    /// The source's state.
    pub state: IngestState,
    /// What the source was recognised as.
    pub container: Option<Container>,
    /// Where the door listens, for those that do: the port that was chosen where port 0 was asked for.
    pub local_address: Option<SocketAddr>,
    /// Media bytes that came in.
    pub bytes: u64,
    /// Records passed on.
    pub records: u64,
    /// Times the source was started or dialed again, or a publisher came after another.
    pub restarts: u64,
    /// Records that were dropped because the splitter took no more (UDP and RTP only).
    pub records_dropped: u64,
    /// Bytes that were dropped because they were outside transport-stream packets, or in no valid RTP packet.
    pub bytes_dropped: u64,
    /// Times the structure of the stream was lost.
    pub structure_losses: u64,
    /// RTP packets that never came, by their numbers.
    pub rtp_packets_lost: u64,
    /// Connections that were refused: second publishers, wrong passwords, wrong requests.
    pub refused: u64,
}
