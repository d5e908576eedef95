//! How a splitter's run begins and ends badly. Each message names the cause and what to do about it.

use crate::config::ConfigError;
use p2psp_media::ingest::IngestError;
use p2psp_net::{BindError, DriverError};

/// Why a splitter did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The settings do not fit together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The UDP socket cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The source's door cannot be opened.
    #[error(transparent)]
    Source(#[from] IngestError),
}

/// How a run ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to stop, and did.
    Asked,
    /// The source has ended.
    SourceEnded,
}

/// Why a run ended badly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The source failed for good.
    #[error(transparent)]
    Source(#[from] IngestError),
    /// The task that reads the source panicked; the log has more.
    #[error("the source's task failed: this is a bug, please report it with the log")]
    Ingest,
    /// The network node failed.
    #[error(transparent)]
    Node(#[from] DriverError),
}
