//! The doors through which a stream comes in: each turns some source into batches of records, tells its state, and
//! survives whatever the source does. Owns reading, pacing, restarting and refusing; knows no team and no chunk.
//!
//! A door is one future, [`run`]. It ends when the source has ended for good, when it is told to, or when the receiver
//! of the records is gone; dropping it ends everything that it started.

mod backoff;
mod card;
mod exec;
mod feed;
mod file;
pub(crate) mod http_body;
pub(crate) mod http_head;
mod icy;
mod listen;
mod pace;
mod pull;
mod pump;
mod reply;
pub(crate) mod rtp;
mod source;
mod status;
mod udp;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::error;

use crate::container::{Cutter, PAYLOAD_BYTES_MAX_DEFAULT};
use crate::record::Ingested;
use crate::testcard::TestCardError;
use feed::{Feed, Overflow};
pub use pace::Pace;
pub use source::{Credentials, HttpUrl, Listen, Source, SourceError, Udp};
pub use status::{IngestState, IngestStatus};

/// What a door gives at a time: what one read brought. At least one item.
pub type Batch = Vec<Ingested>;

/// Batches between a door and the splitter. A read is at most 32 KiB, so this is 2 MiB, some seconds of a usual stream.
/// When it is full, the door stops reading, so that the source waits; UDP cannot wait, so that door drops and counts.
pub const QUEUE_BATCHES: usize = 64;

/// A queue of the right size between a door and the splitter.
#[must_use]
pub fn queue() -> (mpsc::Sender<Batch>, mpsc::Receiver<Batch>) {
    mpsc::channel(QUEUE_BATCHES)
}

/// What a door needs to know besides the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngestOptions {
    /// Largest payload of a record.
    pub payload_bytes_max: usize,
    /// Without a byte for so long, a source is said to have stalled; one that is pulled is dialed again.
    pub stall_after: Duration,
    /// A publisher that was silent for so long gives way to a new one.
    pub takeover_after: Duration,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self {
            payload_bytes_max: PAYLOAD_BYTES_MAX_DEFAULT,
            stall_after: Duration::from_secs(5),
            takeover_after: Duration::from_secs(2),
        }
    }
}

/// Why a door could not be opened, or closed for good. Everything that may pass by itself is retried instead, and told
/// by [`IngestState`] and the log.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// An address cannot be listened on.
    #[error("cannot listen for the source on {address}: {source}; choose another port, or end what uses it")]
    Bind {
        /// As asked for.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// A multicast group cannot be joined.
    #[error(
        "cannot join the multicast group {address}: {source}; name the interface with ?interface=ADDRESS"
    )]
    Join {
        /// The group.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// A file cannot be opened.
    #[error("cannot open {}: {source}; check the path", path.display())]
    Open {
        /// As asked for.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Reading failed.
    #[error("cannot read from {what}: {source}; check the disk or the program that it comes from")]
    Read {
        /// What was read.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A file has nothing that says how fast it is to be played.
    #[error(
        "{} carries no clock to pace it by; give its rate in bits per second, as in --rate 4M",
        path.display()
    )]
    NoClock {
        /// The file.
        path: PathBuf,
    },
    /// A file that is to be repeated has no bytes.
    #[error("{} is empty, so there is nothing to repeat; put a stream into it, or name another", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The test card cannot be made as asked.
    #[error(transparent)]
    TestCard(#[from] TestCardError),
    /// This system cannot start commands.
    #[error(
        "cannot start a shell for the source command: {0}; check that /bin/sh is there, and that this user may start \
         more processes"
    )]
    Shell(io::Error),
    /// The TLS library cannot be set up.
    #[error("cannot set up TLS for the source: {0}; this is a bug, please report it")]
    Tls(#[from] rustls::Error),
}

/// Opens the door to `source` and passes what comes through it on to `sender`, until the source has ended for good,
/// the receiver is gone, or `shutdown` resolves. The state goes to `status`, last of all how it ended.
///
/// # Errors
///
/// When the door cannot be opened, or closed for a reason that does not pass by itself.
pub async fn run(
    source: Source,
    options: IngestOptions,
    sender: mpsc::Sender<Batch>,
    status: watch::Sender<IngestStatus>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), IngestError> {
    let (cutter, overflow) = if matches!(source, Source::Udp(_) | Source::Rtp(_)) {
        (Cutter::mpeg_ts(options.payload_bytes_max), Overflow::Drop)
    } else {
        (Cutter::new(options.payload_bytes_max), Overflow::Wait)
    };
    let name = source.to_string();
    let mut feed = Feed::new(name.clone(), cutter, sender, status, options, overflow);
    let end = tokio::select! {
        biased;
        () = shutdown => Ok(()),
        end = door(source, &mut feed) => end,
    };
    match &end {
        Ok(()) => feed.set_state(IngestState::Ended),
        Err(reason) => {
            error!(source = name, %reason, "the source failed");
            feed.set_state(IngestState::Failed { reason: reason.to_string() });
        }
    }
    end
}

async fn door(source: Source, feed: &mut Feed) -> Result<(), IngestError> {
    match source {
        Source::Stdin { pace } => file::stdin(pace, feed).await,
        Source::File { path, pace, repeat } => file::run(&path, pace, repeat, feed).await,
        Source::Exec(command) => exec::run(&command, feed).await,
        Source::HttpListen(listen) => listen::run(&listen, feed).await,
        Source::HttpPull(url) => pull::run(url, feed).await,
        Source::Udp(udp) => udp::run(&udp, false, feed).await,
        Source::Rtp(udp) => udp::run(&udp, true, feed).await,
        Source::TestCard(config) => card::run(config, feed).await,
    }
}
