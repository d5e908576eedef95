//! How a peer's run begins and ends badly. Each message names the cause and what to do about it.

use crate::progress::Trouble;
use p2psp_media::playout;
use p2psp_net::{BindError, DriverError};
use std::{io, net::SocketAddr};

/// Why a peer did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// None of the link's host names has an address.
    #[error(
        "cannot find the address of {host}: {source}; check the channel link, and this machine's name service"
    )]
    Resolve {
        /// The link's first splitter.
        host: String,
        /// What the name service says.
        source: io::Error,
    },
    /// None of the splitter's addresses can be reached from the socket.
    #[error("no address of {host} can be reached from {listen}: listen on an address of the other family")]
    Family {
        /// The link's first splitter.
        host: String,
        /// The address of the socket.
        listen: SocketAddr,
    },
    /// The UDP socket cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The player port cannot be had.
    #[error(transparent)]
    Player(#[from] playout::BindError),
}

impl StartError {
    /// The splitter cannot be reached; the rest is this machine's business.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Resolve { .. } | Self::Family { .. })
    }
}

/// How a run ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to leave, and did.
    Asked,
    /// The stream is over.
    StreamEnded,
}

/// Why a run ended badly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// No seat, for good or in time.
    #[error("{0}")]
    NoSeat(Trouble),
    /// The splitter put this peer out.
    #[error("the splitter expelled this peer; ask the channel's operator why")]
    Expelled,
    /// The splitter is gone, and this peer was told not to wait for it.
    #[error("the splitter is gone, and joining again is switched off (--rejoin=false)")]
    SplitterLost,
    /// The network node failed.
    #[error(transparent)]
    Node(#[from] DriverError),
}

impl RunError {
    /// There was no place for this peer; the rest is this machine's business.
    #[must_use]
    pub const fn is_no_seat(&self) -> bool {
        matches!(self, Self::NoSeat(_) | Self::Expelled | Self::SplitterLost)
    }
}
