//! The services: requests checked, backends asked, answers shaped. Owns every limit of the API and how a refusal is told.

mod mask;
mod mutation;
mod page;
mod peer;
mod reason;
mod runtime;
mod splitter;
mod steer;
mod watch;
mod work;

pub use mutation::AUDIT;
pub(crate) use mutation::Mutations;
pub(crate) use peer::PeerCalls;
pub use reason::Reason;
pub(crate) use reason::{clipped, complete, detailed, invalid, refusal};
pub(crate) use runtime::RuntimeCalls;
pub(crate) use splitter::SplitterCalls;
pub(crate) use work::Work;

use crate::{
    access::{Caller, Scope},
    backend::Refusal,
};
use p2psp_wire::PeerId;
use tonic::Status;

/// Limits of the admin API. What goes beyond is refused, never cut.
pub mod limits {
    use p2psp_wire::Slot;
    use std::time::Duration;

    /// Bytes of a request; one more is `RESOURCE_EXHAUSTED`.
    pub const REQUEST_BYTES_MAX: usize = 16 * 1024;
    /// Records of a page when the request does not say.
    pub const PAGE_SIZE_DEFAULT: u32 = 100;
    /// Most records of a page: a whole team.
    pub const PAGE_SIZE_MAX: u32 = 512;
    /// Bytes of a page token or a resume token.
    pub const LIST_TOKEN_BYTES_MAX: usize = 96;
    /// Bytes of a request id.
    pub const REQUEST_ID_BYTES_MAX: usize = 64;
    /// Bytes of a log filter.
    pub const FILTER_BYTES_MAX: usize = 1024;
    /// Mutations that may wait for their turn; they are carried out one at a time.
    pub const MUTATIONS_MAX: usize = 8;
    /// Questions that only the machine answers, bans and buffer maps, and that it has before it; more wait until it has answered some, so
    /// that no reader takes the room of commands.
    pub const LOOKS_MAX: usize = 8;
    /// Answers kept for requests that come again.
    pub const ANSWERS_KEPT: usize = 256;
    /// How long a ban holds when the request does not say.
    pub const BAN_DEFAULT: Duration = Duration::from_secs(600);
    /// Longest ban: a year.
    pub const BAN_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
    /// Highest limit of a member's weight: what a member gets that nothing limits.
    pub const WEIGHT_LIMIT_MAX: u32 = 256;
    /// Most members of a team: one slot is the splitter's own (R-TURN-5).
    pub const TEAM_SIZE_MAX: u16 = Slot::SPLITTER.get();
    /// Most copies that a splitter may be told to add: one for each member of the largest team.
    pub const OWN_COPIES_MAX: u16 = TEAM_SIZE_MAX;
    /// Most bits a second that a splitter may be told to send.
    pub const UPLINK_BITS_PER_S_MAX: u64 = 1_000_000_000_000;
    /// How often a watcher hears something, if only that nothing has changed.
    pub const HEARTBEAT: Duration = Duration::from_secs(10);
    /// Bytes of a request's head: names and values, and 32 for each (RFC 9113, 6.5.2).
    pub const HEAD_BYTES_MAX: usize = 16 * 1024;
    /// Bytes from which on a head is not read at all over HTTP/2. Those above [`HEAD_BYTES_MAX`] are refused with a reason and a line, these
    /// with 431 alone.
    pub const HEAD_BYTES_READ: u32 = 64 * 1024;
    /// How long a caller may leave what is for it unread; then its call ends, or its connection if nothing gets through at all.
    pub const UNREAD_MAX: Duration = Duration::from_secs(30);
    /// Lines about refusals within [`REFUSAL_SPAN`], for each caller and for all strangers together; the next one says how many
    /// were not told.
    pub const REFUSAL_LINES_MAX: u32 = 10;
    /// See [`REFUSAL_LINES_MAX`].
    pub const REFUSAL_SPAN: Duration = Duration::from_secs(10);
    /// Connections of one address. For one more the oldest that has asked for nothing is closed, or the new one at once.
    pub const CONNECTIONS_MAX: usize = 64;
    /// Calls of one caller under way, whatever its connections: a token's, a certificate's, a user's.
    pub const CALLS_MAX: usize = 128;
    /// Calls of one connection at a time.
    pub const STREAMS_MAX: u32 = 64;
}

impl From<Refusal> for Status {
    fn from(why: Refusal) -> Self {
        let message = why.to_string();
        match why {
            Refusal::Busy => reason::busy(message),
            Refusal::NotFound(_) => refusal(Reason::NotFound, message),
            Refusal::Invalid { field, problem } => invalid(field, problem),
            Refusal::Ended => refusal(Reason::Ending, message),
        }
    }
}

/// Who makes a request, as the door found out.
fn caller<T>(request: &tonic::Request<T>) -> Caller {
    // Requests reach services through the door only, which names every caller that may command.
    request.extensions().get().cloned().unwrap_or_else(|| Caller::new("unknown", Scope::Read))
}

/// A public key in a request.
fn peer_id(text: &str) -> Result<PeerId, Status> {
    text.parse().map_err(|error: p2psp_wire::IdError| invalid("peer", error.to_string()))
}
