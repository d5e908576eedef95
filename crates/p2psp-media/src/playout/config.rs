//! What an operator may choose about the player port, with the defaults and their reasons.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Largest request head: browsers send about 1 KiB; cookies of other services on `localhost` come along.
pub const REQUEST_HEAD_BYTES_MAX: usize = 16 * 1024;

/// Connections beyond [`PlayoutConfig::connections_max`] that still hear why they are refused; any more are closed at once.
pub const REFUSALS_MAX: usize = 16;

/// Settings of a [`PlayoutServer`](super::PlayoutServer).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayoutConfig {
    /// Address to listen on; port 0 takes any free one. Default 127.0.0.1:8080: players on this machine only.
    pub listen: SocketAddr,
    /// What the player page and playlists call the stream. Default `P2PSP`.
    pub channel_name: String,
    /// Names, beyond `localhost` and the addresses that the port is reached by, under which a `Host` header may ask for
    /// this port. Without the check any web page could read the port by DNS rebinding. Default: none.
    pub host_names: Vec<String>,
    /// Origins (`https://example.org`) whose pages may fetch the media. Default: none but the player page itself.
    pub cors_origins: Vec<String>,
    /// Connections at once, players or not. Default 64.
    pub connections_max: usize,
    /// Event feeds at once, one for each open player page; they are part of the connections. Default 32.
    pub event_feeds_max: usize,
    /// A request head must be complete within this, and an idle connection is closed after it. Default 10 s.
    pub header_timeout: Duration,
    /// How long a player is kept waiting for the stream to begin before it gets a 503. Default 10 s, the time that VLC
    /// and browsers wait without complaint.
    pub start_wait: Duration,
    /// A player that takes no byte for so long, although there are some for it, is disconnected. Default 30 s.
    pub stalled_max: Duration,
    /// Least time between two writes to one player, unless a full batch is there: at 4 Mb/s it replaces 440 system calls
    /// a second per player by 100, for half of it in mean delay. Zero writes at once. Default 10 ms.
    pub write_interval: Duration,
    /// Bytes in one write. Default 64 KiB.
    pub batch_bytes_max: usize,
    /// Send buffer of a player's socket in the kernel: what a slow player can hold back there. Default 512 KiB; the
    /// kernel doubles it for its own book-keeping.
    pub send_buffer_bytes: usize,
    /// How long a shutdown waits for answers under way. Default 2 s.
    pub shutdown_grace: Duration,
}

impl Default for PlayoutConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            channel_name: "P2PSP".to_owned(),
            host_names: Vec::new(),
            cors_origins: Vec::new(),
            connections_max: 64,
            event_feeds_max: 32,
            header_timeout: Duration::from_secs(10),
            start_wait: Duration::from_secs(10),
            stalled_max: Duration::from_secs(30),
            write_interval: Duration::from_millis(10),
            batch_bytes_max: 64 * 1024,
            send_buffer_bytes: 512 * 1024,
            shutdown_grace: Duration::from_secs(2),
        }
    }
}
