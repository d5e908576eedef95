//! The admin API of P2PSP: gRPC services over a Unix socket, loopback, or TLS with tokens or client certificates; health, reflection,
//! and Prometheus with probes on the same port. Owns the schema's meaning, paging, watching, audit and the listeners; knows no link, no machine and no source:
//! whatever is told or done goes through the backend traits, which the runtimes implement.
//!
//! Reads are answered from what a backend published last, so that no reader disturbs a stream. Mutations are commands over a
//! bounded queue; when that is full they are refused with `RESOURCE_EXHAUSTED`. Watchers share one bounded [`Journal`]: a slow
//! one costs nobody a queue and is told to begin anew.

mod access;
mod backend;
mod bind;
mod causes;
pub mod client;
mod guard;
mod journal;
pub mod metrics;
mod names;
mod server;
mod service;

pub use access::{NAME_BYTES_MAX, Scope, TOKEN_BYTES_MAX, TOKEN_BYTES_MIN, TOKENS_MAX, TokenError};
pub use backend::{Answer, LimitsChange, PeerBackend, Process, Refusal, SplitterBackend, unix_ms};
pub use bind::{Bind, BindError, ParseBindError};
pub use causes::{causes, chain};
pub use guard::{Guard, GuardError, GuardFiles, Renewed};
pub use journal::{Journal, Record};
pub use server::{Admin, Doors, Server};
pub use service::{AUDIT, Reason, limits};

/// The messages, clients and servers of `proto/p2psp/admin/v1`.
#[expect(
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::missing_errors_doc,
    unused_qualifications,
    reason = "generated code"
)]
pub mod v1 {
    include!("generated/p2psp.admin.v1.rs");
}

/// The schema as reflection tells it.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!("generated/p2psp.admin.v1.binpb");
