//! Discrete-event simulator over the P2PSP core: the very machines that run in production, on virtual links, in virtual time.
//!
//! A [`World`] holds splitters and peers; a [`NetworkConfig`] says what the network does to them; an [`Oracle`] watches that
//! nothing impossible happens; [`scenario`] holds the experiments, each with what theory predicts and how far off it may be.
//! Nothing here reads a clock or a source of entropy: a seed replays a run, delivery by delivery, and [`TraceHash`] proves it.

mod links;
mod mischief;
mod network;
mod oracle;
mod queue;
mod report;
mod rng;
pub mod scenario;
mod stream;
mod trace;
mod world;

pub use links::{Fault, NodeId, Traffic};
pub use mischief::{Harm, Lie, Poison, Withholds};
pub use network::{Latency, Loss, NetworkConfig, Place, Uplink, serialisation};
pub use oracle::{Oracle, PeerView, Ways};
pub use queue::Queue;
pub use report::{Check, Report};
pub use rng::Rng;
pub use stream::{ChunkRecord, Sender, StreamSpec};
pub use trace::TraceHash;
pub use world::{Arrival, TeamId, World};
