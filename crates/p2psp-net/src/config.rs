//! What a node is told before it starts, with defaults. Reads no file and no environment.

use crate::Identity;
use std::{net::SocketAddr, time::Duration};

/// A node's settings. [`NodeConfig::new`] gives the defaults.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeConfig {
    /// Where to listen, UDP. Port 0 lets the system pick one. `[::]` listens on IPv4 too.
    pub bind: SocketAddr,
    /// Who the node is.
    pub identity: Identity,
    /// A link on which nothing came for this long is gone. Default 3 s. At least twice [`keep_alive`](Self::keep_alive).
    pub idle_timeout: Duration,
    /// A link on which nothing was sent for this long gets a keep-alive. Default 1 s.
    pub keep_alive: Duration,
    /// The upload that all links share, in bits per second on the wire (headers included). Default 100 Mb/s.
    pub uplink_bits_per_s: u64,
    /// Most links at a time, those in their handshake and those that are closing included; one more is refused. Default 1024.
    pub links_max: usize,
    /// A handshake that takes longer has failed. Default 5 s.
    pub handshake_timeout: Duration,
}

impl NodeConfig {
    /// The defaults.
    #[must_use]
    pub const fn new(bind: SocketAddr, identity: Identity) -> Self {
        Self {
            bind,
            identity,
            idle_timeout: Duration::from_secs(3),
            keep_alive: Duration::from_secs(1),
            uplink_bits_per_s: 100_000_000,
            links_max: 1024,
            handshake_timeout: Duration::from_secs(5),
        }
    }

    /// Which setting cannot work, and what would.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        const HOUR: Duration = Duration::from_secs(3600);
        if self.keep_alive.is_zero() || self.idle_timeout > HOUR || self.idle_timeout < 2 * self.keep_alive {
            Err("idle_timeout must be at least twice keep_alive and at most one hour, keep_alive above zero")
        } else if self.handshake_timeout.is_zero() || self.handshake_timeout > HOUR {
            Err("handshake_timeout must be above zero and at most one hour")
        } else if self.uplink_bits_per_s == 0 {
            Err("uplink_bits_per_s must be above zero")
        } else if self.links_max == 0 {
            Err("links_max must be above zero")
        } else {
            Ok(())
        }
    }
}
