//! Where peers find this splitter: the addresses of the channel link, and the number of this run.

use p2psp_wire::{ChannelId, ChannelLink, Epoch};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Addresses outside (RFC 5737, RFC 3849): nothing is sent there, the route to them is the one to anywhere.
const ANYWHERE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const ANYWHERE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// Runs are numbered by the time they begin at, in quarters of a second since 2025: a number that grows with each start, for
/// 34 years, and differs for two starts in the same second.
const EPOCH_ORIGIN: Duration = Duration::from_secs(1_735_689_600);
const EPOCHS_PER_S: u128 = 4;

/// The link that peers join by.
pub(crate) fn link(channel: ChannelId, local: SocketAddr, advertise: &[String]) -> ChannelLink {
    let splitters =
        if advertise.is_empty() { vec![own_address(local).to_string()] } else { advertise.to_vec() };
    ChannelLink { channel, splitters, trackers: Vec::new() }
}

/// The run that begins now.
pub(crate) fn epoch(now: SystemTime) -> Epoch {
    let since = now.duration_since(UNIX_EPOCH + EPOCH_ORIGIN).unwrap_or_default();
    Epoch(u32::try_from(since.as_millis() * EPOCHS_PER_S / 1000).unwrap_or(u32::MAX))
}

/// The address by which a socket on `local` is reached, as far as this machine can know.
fn own_address(local: SocketAddr) -> SocketAddr {
    if !local.ip().is_unspecified() {
        return local;
    }
    let (anywhere, loopback): (_, IpAddr) = match local {
        SocketAddr::V4(_) => (ANYWHERE_V4, Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(_) => (ANYWHERE_V6, Ipv6Addr::LOCALHOST.into()),
    };
    SocketAddr::new(source_address(local.ip(), anywhere).unwrap_or(loopback), local.port())
}

/// The address from which this machine would send to `destination`. Connecting a UDP socket only asks the routing table.
fn source_address(any: IpAddr, destination: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((destination, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed can be joined: it parses, and names what was asked for or something with the real port.
    #[test]
    fn links_parse_back() {
        let channel = ChannelId::new([9; 32]);
        for (local, advertise, wanted) in [
            ("127.0.0.1:4480", vec![], Some("127.0.0.1:4480")),
            ("[::1]:4480", vec![], Some("[::1]:4480")),
            ("0.0.0.0:4480", vec!["tv.example.org:443".to_owned()], Some("tv.example.org:443")),
            ("0.0.0.0:4481", vec![], None),
        ] {
            let link = link(channel, local.parse().unwrap(), &advertise);
            let parsed: ChannelLink = link.to_string().parse().unwrap();
            assert_eq!(parsed, link);
            match wanted {
                Some(wanted) => assert_eq!(link.splitters, [wanted]),
                None => assert!(link.splitters[0].ends_with(":4481"), "{link}"),
            }
        }
    }

    #[test]
    fn epochs_grow_with_each_start() {
        let at = |millis| epoch(UNIX_EPOCH + EPOCH_ORIGIN + Duration::from_millis(millis));
        assert_eq!(at(0), Epoch(0));
        assert!(at(1_000) < at(1_250));
        assert_eq!(epoch(UNIX_EPOCH), Epoch(0));
        let in_thirty_years = 30 * 365 * 24 * 3600 * 1000;
        assert!(at(in_thirty_years) < Epoch(u32::MAX));
    }
}
