//! Black-box tests of `p2psp`: what the tests share. Starts the real program as real processes, plays what peers serve, makes
//! transport streams, and compares bytes. Knows the program's command line and its ports, and nothing of its insides.
//!
//! Everything here fails by panicking, with the logs of the processes concerned on standard error. Nothing sleeps: waits end
//! with what they wait for, or at a deadline.

#![expect(clippy::indexing_slicing, clippy::missing_panics_doc, reason = "a test harness fails by panicking")]

pub mod bytes;
pub mod cli;
pub mod http;
pub mod network;
pub mod noise;
pub mod player;
pub mod process;
pub mod procfs;
pub mod publish;
pub mod team;
pub mod ts;
pub mod viewer;
pub mod wait;
