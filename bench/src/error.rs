//! What can go wrong in a bench run, each with the next step.

use std::{io, path::PathBuf, time::Duration};

/// Why a run gave no figures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A program could not be started.
    #[error("failed to start {program}: {cause}")]
    Spawn {
        /// Name or path.
        program: String,
        /// The system's words.
        cause: io::Error,
    },
    /// A process did not say what it should in time, or said something else.
    #[error("{process} {what}; the end of its log ({log}):\n{tail}", log = log.display())]
    Process {
        /// Which.
        process: String,
        /// What it did instead.
        what: String,
        /// Its standard error.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A request to a process failed.
    #[error("GET {url} failed: {cause}")]
    Http {
        /// What was asked.
        url: String,
        /// Why.
        cause: String,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {} s", within.as_secs())]
    Deadline {
        /// What was waited for.
        what: String,
        /// For how long.
        within: Duration,
    },
    /// `cargo build` failed.
    #[error("cargo build --release -p p2psp failed ({0}); run it alone to see why, or give --binary")]
    Build(String),
    /// Files or pipes.
    #[error("{what}: {cause}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's words.
        cause: io::Error,
    },
    /// The two ways of counting disagree: the figures would be wrong.
    #[error("counts disagree: {0}")]
    CrossCheck(String),
    /// The bench was told to stop.
    #[error("interrupted")]
    Interrupted,
}

impl BenchError {
    /// An [`BenchError::Io`] maker for `map_err`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |cause| Self::Io { what, cause }
    }
}
