//! What the programs say of themselves, as far as the bench reads it: ready lines and statistics. Fields that it does not
//! use are left out, so that programs may add to them.

use serde::Deserialize;

/// What a splitter prints when its ports are open.
#[derive(Clone, Debug, Deserialize)]
pub struct SplitterReady {
    /// The channel link.
    pub link: String,
}

/// What a peer prints when its ports are open.
#[derive(Clone, Debug, Deserialize)]
pub struct PeerReady {
    /// The player page, `http://HOST:PORT/`.
    pub player: String,
}

impl PeerReady {
    /// `HOST:PORT` of the player page.
    #[must_use]
    pub fn authority(&self) -> &str {
        let authority = self.player.strip_prefix("http://").unwrap_or(&self.player);
        authority.split_once('/').map_or(authority, |(authority, _)| authority)
    }
}

/// A node's network, since its start.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Net {
    /// UDP packets sent, all links.
    pub udp_packets_out: u64,
    /// UDP payload bytes sent.
    pub udp_bytes_out: u64,
    /// Chunks not sent because the kernel had no room.
    pub chunks_dropped_full: u64,
    /// Turns of the driver's loop.
    pub turns: u64,
}

/// A splitter's figures.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Splitter {
    /// Time since its start.
    pub uptime_ms: u64,
    /// Members that get turns.
    pub team_ready: u16,
    /// Chunks taken from the source.
    pub chunks_total: u64,
    /// Payload bytes taken from the source.
    pub bytes_total: u64,
    /// Parity chunks of a generation at present.
    pub parity_chunks: u8,
    /// Chunks of a turn at the present rate.
    pub turn_chunks: u16,
    /// Chunks that no member was ready to take.
    pub unsent_chunks_total: u64,
    /// Chunks dropped because the uplink stayed spent.
    pub overflowed_chunks_total: u64,
    /// The network.
    pub net: Net,
}

/// A peer's figures.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Peer {
    /// Time since its start.
    pub uptime_ms: u64,
    /// Teammates with a link.
    pub teammates_linked: u16,
    /// Delays from splitter to arrival: pairs of the largest delay of a bucket in microseconds, and its count.
    #[serde(default)]
    pub delay_buckets_us: Vec<(u64, u64)>,
    /// Chunks received, each once.
    pub received_chunks_total: u64,
    /// Chunks relayed, one for each teammate.
    pub sent_chunks_total: u64,
    /// Chunks rebuilt from parity.
    pub rebuilt_chunks_total: u64,
    /// Copies not sent because they had become too old.
    pub expired_chunks_total: u64,
    /// Chunks that did not come in time.
    pub lost_chunks_total: u64,
    /// Chunks behind the play-out.
    pub late_chunks_total: u64,
    /// The network.
    pub net: Net,
}

/// What a counter gained between two readings of one process, scaled from the time between them to a window's length:
/// programs renew their figures once a second, so a reading is up to that much older than the asking.
#[must_use]
pub fn gain_in(
    window_s: f64,
    (uptime_ms_before, before): (u64, u64),
    (uptime_ms_after, after): (u64, u64),
) -> f64 {
    let between_s = uptime_ms_after.saturating_sub(uptime_ms_before) as f64 / 1000.0;
    if between_s == 0.0 { 0.0 } else { after.saturating_sub(before) as f64 * window_s / between_s }
}

/// Buckets that were filled between two readings of one process.
pub fn buckets_between<'a>(
    before: &'a [(u64, u64)],
    after: &'a [(u64, u64)],
) -> impl Iterator<Item = (u64, u64)> + 'a {
    after.iter().map(|(upper, count)| {
        let earlier = before.iter().find(|(bound, _)| bound == upper).map_or(0, |(_, count)| *count);
        (*upper, count.saturating_sub(earlier))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authority_of_the_player_page() {
        for player in ["http://127.0.0.1:8080/", "http://127.0.0.1:8080", "127.0.0.1:8080"] {
            assert_eq!(PeerReady { player: player.into() }.authority(), "127.0.0.1:8080");
        }
    }

    /// A reading that is late at one end does not change the rate.
    #[test]
    fn gains_are_scaled_to_the_window() {
        assert_eq!(gain_in(20.0, (1000, 100), (22_000, 2200)), 2000.0);
        assert_eq!(gain_in(20.0, (1000, 100), (1000, 100)), 0.0);
    }

    #[test]
    fn buckets_subtract_by_bound() {
        let between: Vec<_> = buckets_between(&[(10, 5), (30, 1)], &[(10, 7), (20, 3), (30, 1)]).collect();
        assert_eq!(between, [(10, 2), (20, 3), (30, 0)]);
    }
}
