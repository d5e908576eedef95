//! Host of the protocol's machines on tokio, quinn and rustls: one UDP socket, one task that owns the machine, links that are
//! QUIC connections between Ed25519 keys.
//!
//! ```no_run
//! # async fn example<M: p2psp_core::Machine<Event = ()> + Send + 'static>(
//! #     make: impl FnOnce(p2psp_core::Instant, p2psp_net::Clock) -> M,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! use p2psp_net::{Identity, Node, NodeConfig};
//! let identity = Identity::load_or_create("node.key".as_ref())?;
//! let node = Node::bind(NodeConfig::new("[::]:0".parse()?, identity))?;
//! println!("{} listens on {}", node.peer_id(), node.local_addr());
//! let (handle, driver) = node.start(make, |event| println!("{event:?}"));
//! // ... `handle.call(|machine, now| ...)` runs commands on the machine's task ...
//! handle.shutdown(std::time::Duration::from_secs(1)).await;
//! driver.await?;
//! # Ok(()) }
//! ```
//!
//! # Map
//!
//! `driver` is the loop around [`p2psp_core::drain`]; `transport` is the network as trains and messages: trains as sealed
//! datagrams (`seal`), messages over quinn, both on one `socket`; `quic` holds every QUIC setting and `tls` every cryptographic
//! one of its handshake; the uplink that all links share is the core's pacer. [`tasks`] is the one place where tasks are started,
//! [`runtime()`] the loop that they run on; [`route`] asks the system which of its addresses others may try. No protocol decision
//! is taken here: the machine decides, the host carries out.

mod clock;
mod config;
mod driver;
mod feed;
mod handle;
mod identity;
mod quic;
pub mod route;
mod runtime;
mod seal;
mod socket;
mod stats;
pub mod tasks;
mod tls;
mod transport;

#[cfg(test)]
mod tests;

pub use clock::Clock;
pub use config::NodeConfig;
pub use driver::{Driver, DriverError, Node};
pub use feed::StatsFeed;
pub use handle::{CastError, Gone, Handle};
pub use identity::{Identity, IdentityError};
pub use quic::BindError;
pub use runtime::{WAKE_GRID, runtime};
pub use stats::NetStats;
