//! Play-out: the played stream, kept for a few seconds in a ring, served over HTTP to any number of ordinary players.
//! Owns late join, slow players, the player page and what a hostile web page or client may ask of the port; refuses to
//! know how the stream got here (no chunk numbers, peers or teams) and never looks inside a container.
//!
//! The way of a unit: whoever plays the stream calls [`SharedSpool::push`] in play order; each player's connection
//! reads the same [`bytes::Bytes`] from the ring by a cursor of its own. No byte is copied on the way, no player can
//! block the writer or another player, and the ring's size bounds what the slowest of them holds back.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use p2psp_media::playout::{PlayoutConfig, PlayoutServer, SharedSpool, SpoolLimits, Unit};
//! use p2psp_media::record::StreamHeader;
//!
//! let spool = SharedSpool::new(SpoolLimits::default());
//! spool.set_header(StreamHeader { version: 0, content_type: "video/mp2t".into(), bytes: bytes::Bytes::new() })?;
//! spool.push(Unit { payload: vec![0x47; 188].into(), random_access: true, header_version: 0 });
//!
//! let stats = || serde_json::json!({ "team_peers": 7 });
//! let server = PlayoutServer::bind(PlayoutConfig::default(), spool.clone(), stats).await?;
//! println!("watch at {}", server.player_url());
//! server.run(async { tokio::signal::ctrl_c().await.ok(); }).await;
//! # Ok(())
//! # }
//! ```

mod access;
mod assets;
mod batch;
mod body;
mod config;
mod counters;
mod format;
mod guard;
mod routes;
mod server;
mod shared;
mod spool;

pub use batch::Batch;
pub use config::{PlayoutConfig, REFUSALS_MAX, REQUEST_HEAD_BYTES_MAX};
pub use counters::PlayoutStats;
pub use format::Framing;
pub use server::{BindError, PlayoutServer, ShutdownReport};
pub use shared::{SharedSpool, SpoolReader};
pub use spool::{Cursor, HEADERS_MAX, HeaderError, Read, Spool, SpoolLimits, SpoolStats, Unit};
