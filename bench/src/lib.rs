//! What the loopback benches are made of: a stamping source, checking players, the floor, light members, and the kernel's counters.

mod error;
pub mod floor;
pub mod host;
pub mod http;
pub mod light;
pub mod operators;
pub mod player;
pub mod process;
pub mod procfs;
pub mod program;
pub mod report;
pub mod run;
pub mod source;
pub mod stamps;
pub mod stats;
pub mod team;

pub use error::BenchError;
