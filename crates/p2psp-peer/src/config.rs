//! What an operator may choose about a peer, with the defaults and their reasons.

use p2psp_core::RelayPolicy;
use p2psp_media::playout::PlayoutConfig;
use p2psp_net::Identity;
use p2psp_wire::ChannelLink;
use std::{net::SocketAddr, time::Duration};

/// Fewest chunks kept: four seconds and more at 4 Mb/s, to reach back to a random-access point.
const WINDOW_CHUNKS_MIN: u32 = 4096;
/// Most chunks kept; 80 MB of payload.
const WINDOW_CHUNKS_MAX: u32 = 65_536;
/// Chunks a second that the window is laid out for: 20 Mb/s.
const CHUNKS_PER_S: u128 = 2_200;

/// Settings of a peer.
#[derive(Clone, Debug)]
pub struct Config {
    /// The stream, and where to join it.
    pub link: ChannelLink,
    /// This peer's key.
    pub identity: Identity,
    /// UDP address of its one socket. Default: any port, of the splitter's address family.
    pub listen: Option<SocketAddr>,
    /// Addresses at which teammates may reach this peer, beside those found by itself. Default: none.
    pub advertise: Vec<SocketAddr>,
    /// Most that it sends, all links together. Default 100 Mb/s.
    pub uplink_bits_per_s: u64,
    /// From a chunk's time at the splitter to its play-out. Default 500 ms.
    pub target_delay: Duration,
    /// Take part although the splitter does not sign its stream, so that every member could put what it likes into it. Default:
    /// no; for laboratories.
    pub allow_unsigned: bool,
    /// How chunks are passed on. Default: burst.
    pub relay: RelayPolicy,
    /// Receive, never own turns. Default: no.
    pub eco: bool,
    /// Join again when the splitter is lost. Default: yes.
    pub rejoin: bool,
    /// How long to try for the first seat; `None` tries for ever. Default 20 s.
    pub join_timeout: Option<Duration>,
    /// Longest time for leaving politely. Default 3 s.
    pub grace: Duration,
    /// Software name and version, for the splitter's log.
    pub agent: String,
    /// The player port; `None` serves no player. Default: 127.0.0.1:8080.
    pub player: Option<Player>,
}

/// The player port.
#[derive(Clone, Debug)]
pub struct Player {
    /// Its settings.
    pub playout: PlayoutConfig,
    /// When the port is in use, take the next free one above it, of a hundred.
    pub next_free: bool,
}

impl Default for Player {
    /// Writes go out at once: the play-out's own tick batches them already, and a second one would double the wake-ups.
    fn default() -> Self {
        let playout = PlayoutConfig { write_interval: Duration::ZERO, ..PlayoutConfig::default() };
        Self { playout, next_free: false }
    }
}

impl Config {
    /// The defaults for a channel.
    #[must_use]
    pub fn new(link: ChannelLink, identity: Identity) -> Self {
        Self {
            link,
            identity,
            listen: None,
            advertise: Vec::new(),
            uplink_bits_per_s: 100_000_000,
            target_delay: Duration::from_millis(500),
            allow_unsigned: false,
            relay: RelayPolicy::default(),
            eco: false,
            rejoin: true,
            join_timeout: Some(Duration::from_secs(20)),
            grace: Duration::from_secs(3),
            agent: concat!("p2psp/", env!("CARGO_PKG_VERSION")).to_owned(),
            player: Some(Player::default()),
        }
    }

    /// Chunks to keep: twice the target delay at 20 Mb/s, within bounds.
    pub(crate) fn window_chunks(&self) -> u32 {
        let chunks = self.target_delay.as_millis() * 2 * CHUNKS_PER_S / 1000;
        u32::try_from(chunks).unwrap_or(u32::MAX).clamp(WINDOW_CHUNKS_MIN, WINDOW_CHUNKS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_with_the_delay_within_bounds() {
        let link = format!("p2psp://{}@h:1", p2psp_wire::ChannelId::new([7; 32])).parse().unwrap();
        let mut config = Config::new(link, Identity::generate());
        assert_eq!(config.window_chunks(), WINDOW_CHUNKS_MIN);
        config.target_delay = Duration::from_secs(5);
        assert_eq!(config.window_chunks(), 22_000);
        config.target_delay = Duration::from_secs(3600);
        assert_eq!(config.window_chunks(), WINDOW_CHUNKS_MAX);
    }
}
