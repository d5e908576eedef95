//! Who gets a seat (R-JOIN-1, R-JOIN-4): checks in the order of their cost, before any state is kept.

use super::SplitterConfig;
use p2psp_wire::{Join, PROTOCOL_REVISION, Refuse, RefuseReason, Slot, limits::CANDIDATES_MAX};
use std::net::{IpAddr, SocketAddr};

/// When a refused joiner may come back to a full team.
const FULL_RETRY_MS: u32 = 5_000;
/// When a refused joiner may come back to a splitter that shuts down: another may have taken over.
const CLOSING_RETRY_MS: u32 = 2_000;

/// When a refused joiner may come back to a team whose uplinks are spent.
const NO_UPLINK_RETRY_MS: u32 = 10_000;

/// The answer where the team's uplinks carry no more (R-TURN-6).
pub(super) fn no_uplink() -> Refuse {
    let detail = "what the members can send and the splitter may add carries no further viewer; wait until some leave or others with more upload come".into();
    Refuse { reason: RefuseReason::NoUplink, detail, retry_after_ms: NO_UPLINK_RETRY_MS }
}

/// Why this join gets no seat, if it gets none. `members` counts those that would remain beside the joiner.
pub(super) fn refusal(config: &SplitterConfig, join: &Join, members: usize, closing: bool) -> Option<Refuse> {
    let refuse = |reason, detail: String, retry_after_ms| Some(Refuse { reason, detail, retry_after_ms });
    if join.revision != PROTOCOL_REVISION {
        let detail = format!("this splitter speaks revision {PROTOCOL_REVISION}, not {}", join.revision);
        return refuse(RefuseReason::Revision, detail, 0);
    }
    if join.channel != config.channel {
        return refuse(RefuseReason::WrongChannel, "this splitter does not carry that channel".into(), 0);
    }
    if closing {
        return refuse(RefuseReason::Closing, "the splitter is shutting down".into(), CLOSING_RETRY_MS);
    }
    // One slot is the splitter's own (R-TURN-5).
    if members >= usize::from(config.team_size_max).min(Slot::SPLITTER.index()) {
        let detail = format!("the team is full ({} members)", config.team_size_max);
        return refuse(RefuseReason::TeamFull, detail, FULL_RETRY_MS);
    }
    None
}

/// Where teammates may dial a joiner, best first: private addresses that it names itself, then the one it is seen at (R-JOIN-5).
///
/// A public address other than the observed one is left out: a joiner could name a victim's, and have the team dial it.
pub(super) fn candidates(observed: SocketAddr, named: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let usable = |address: &SocketAddr| {
        let ip = address.ip().to_canonical();
        address.port() != 0
            && (ip == observed.ip().to_canonical()
                || is_private(ip)
                || (ip.is_loopback() && observed.ip().to_canonical().is_loopback()))
    };
    for address in named.iter().filter(|address| usable(address)).chain([&observed]) {
        if addresses.len() < CANDIDATES_MAX && !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    // The observed address is the one known to work: it never falls off the end.
    if !addresses.contains(&observed) {
        addresses.pop();
        addresses.push(observed);
    }
    addresses
}

/// Addresses that mean nothing outside their own network: RFC 1918, RFC 4193, link-local.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Nobody can make the team dial a third party: public addresses other than the joiner's own are dropped.
    #[test]
    fn candidates_name_no_victims() {
        let observed = "203.0.113.7:4480".parse().unwrap();
        let named = addresses(&[
            "192.168.1.5:4480",
            "8.8.8.8:53",
            "127.0.0.1:22",
            "203.0.113.7:9999",
            "10.0.0.1:0",
            "[fd00::1]:7",
            "[2001:db8::1]:7",
        ]);
        let expected =
            addresses(&["192.168.1.5:4480", "203.0.113.7:9999", "[fd00::1]:7", "203.0.113.7:4480"]);
        assert_eq!(candidates(observed, &named), expected);
    }

    /// One more than the limit leaves a named one out, never the observed one.
    #[test]
    fn candidates_are_bounded() {
        let observed: SocketAddr = "203.0.113.7:4480".parse().unwrap();
        let named: Vec<SocketAddr> =
            (0..=CANDIDATES_MAX).map(|n| format!("10.0.0.{}:4480", n + 1).parse().unwrap()).collect();
        let result = candidates(observed, &named);
        assert_eq!(result.len(), CANDIDATES_MAX);
        assert_eq!(result.last(), Some(&observed));
    }
}
