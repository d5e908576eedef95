//! The P2PSP splitter runtime: takes a live source in and pushes it to a team. Owns the wiring between ingest door, machine and
//! network node, and what of it people get to see; knows nothing of the protocol's rules (`p2psp-core`), of QUIC
//! (`p2psp-net`) or of containers (`p2psp-media`).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use p2psp_splitter::{Config, Running, Source};
//!
//! let config = Config::new(Source::parse("testcard")?, p2psp_net::Identity::generate());
//! let running = Running::start(config).await?;
//! println!("join with: p2psp peer '{}'", running.link());
//! running.run_until(async { tokio::signal::ctrl_c().await.ok(); }).await?;
//! # Ok(())
//! # }
//! ```

mod admin;
mod config;
mod door;
mod epoch;
mod error;
mod events;
mod feed;
mod gaps;
mod place;
mod run;
mod snapshot;

pub use config::{Config, ConfigError, Integrity, OWN_COPIES_MAX, OnEnd, TEAM_SIZE_MAX, card_of_rate};
pub use error::{Ended, RunError, StartError};
pub use events::Refusals;
pub use p2psp_media::ingest::{Pace, Source};
pub use run::Running;
pub use snapshot::{IngestFigures, MemberFigures, Snapshot};
