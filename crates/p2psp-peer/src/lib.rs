//! The P2PSP peer runtime: joins the team that a channel link names, relays in it, and serves the stream to players on this
//! machine. Owns the wiring between network node, machine and player port, and what of it people get to see; knows
//! nothing of the protocol's rules (`p2psp-core`), of QUIC (`p2psp-net`) or of HTTP (`p2psp-media`).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use p2psp_peer::{Config, Running};
//!
//! let link = "p2psp://dvrhx4hqlafkfnr4azbzhdykxcgsdpgv6jaltqkz5hj7y3wjm2xq@tv.example.org:4480".parse()?;
//! let running = Running::start(Config::new(link, p2psp_net::Identity::generate())).await?;
//! println!("watch at {}", running.player_url().unwrap_or_default());
//! running.run_until(async { tokio::signal::ctrl_c().await.ok(); }).await?;
//! # Ok(())
//! # }
//! ```

mod admin;
mod bridge;
mod config;
mod error;
mod progress;
mod reach;
mod run;
mod snapshot;
mod stalls;

pub use config::{Config, Player};
pub use error::{Ended, RunError, StartError};
pub use progress::Trouble;
pub use run::Running;
pub use snapshot::{Snapshot, State};
