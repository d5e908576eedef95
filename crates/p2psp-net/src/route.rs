//! What this machine's routing table says about its own addresses. Sends nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Addresses outside, one of each family (RFC 5737, RFC 3849): nothing is there, the route to them is the one to anywhere.
pub const ANYWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// The address from which this machine would send to `destination`; none without a route. Connecting a UDP socket only asks
/// the routing table.
#[must_use]
pub fn source_address(destination: IpAddr) -> Option<IpAddr> {
    let any: IpAddr =
        if destination.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((destination, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To itself a machine speaks from its loopback; to anywhere from an address of that family, if from any.
    #[test]
    fn sources_are_of_the_destinations_family() {
        assert_eq!(source_address(Ipv4Addr::LOCALHOST.into()), Some(Ipv4Addr::LOCALHOST.into()));
        for destination in ANYWHERE {
            let source = source_address(destination);
            assert!(
                source.is_none_or(|ip| ip.is_ipv4() == destination.is_ipv4() && !ip.is_unspecified()),
                "{source:?} to {destination}"
            );
        }
    }
}
