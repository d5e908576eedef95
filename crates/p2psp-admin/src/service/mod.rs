//! The services: requests checked, backends asked, answers shaped. Owns every limit of the API and how a refusal is told.

mod mutation;
mod page;
mod peer;
mod runtime;
mod splitter;
mod steer;
mod watch;

pub(crate) use mutation::{AUDIT, Mutations};
pub(crate) use peer::PeerCalls;
pub(crate) use runtime::RuntimeCalls;
pub(crate) use splitter::SplitterCalls;

use crate::{
    access::{Caller, Scope},
    backend::Refusal,
};
use p2psp_wire::PeerId;
use std::collections::HashMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Limits of the admin API. What goes beyond is refused, never cut.
pub mod limits {
    use p2psp_wire::Slot;
    use std::time::Duration;

    /// Bytes of a request; one more is `OUT_OF_RANGE`.
    pub const REQUEST_BYTES_MAX: usize = 16 * 1024;
    /// Records of a page when the request does not say.
    pub const PAGE_SIZE_DEFAULT: u32 = 100;
    /// Most records of a page: a whole team.
    pub const PAGE_SIZE_MAX: u32 = 512;
    /// Bytes of a request id.
    pub const REQUEST_ID_BYTES_MAX: usize = 64;
    /// Bytes of a log filter.
    pub const FILTER_BYTES_MAX: usize = 1024;
    /// Mutations that may wait for their turn; they are carried out one at a time.
    pub const MUTATIONS_MAX: usize = 8;
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
    /// Connections of one address; more are closed at once.
    pub const CONNECTIONS_MAX: usize = 64;
    /// Calls of one connection at a time.
    pub const STREAMS_MAX: u32 = 64;
}

/// Where the reasons of [`Status`] details are explained: the API's package.
const DOMAIN: &str = "p2psp.admin.v1";

/// A refusal with a reason that programs can read (`google.rpc.ErrorInfo`).
pub(crate) fn status(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

/// A field that makes no sense (`google.rpc.BadRequest`).
pub(crate) fn invalid(field: &str, problem: impl Into<String>) -> Status {
    let problem = problem.into();
    let details = ErrorDetails::with_bad_request_violation(field, &problem);
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {problem}"), details)
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::Busy => status(Code::ResourceExhausted, "BUSY", message),
            Refusal::NotFound(_) => status(Code::NotFound, "NOT_FOUND", message),
            Refusal::Invalid { field, problem } => invalid(field, problem),
            Refusal::Ended => status(Code::Unavailable, "ENDING", message),
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
