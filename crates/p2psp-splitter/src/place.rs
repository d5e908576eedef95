//! Where peers find this splitter: the addresses of the channel link.

use p2psp_net::route::{ANYWHERE, source_address};
use p2psp_wire::{ChannelId, ChannelLink};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The link that peers join by.
pub(crate) fn link(channel: ChannelId, local: SocketAddr, advertise: &[String]) -> ChannelLink {
    let splitters =
        if advertise.is_empty() { vec![own_address(local).to_string()] } else { advertise.to_vec() };
    ChannelLink { channel, splitters, trackers: Vec::new() }
}

/// The address by which a socket on `local` is reached, as far as this machine can know.
fn own_address(local: SocketAddr) -> SocketAddr {
    if !local.ip().is_unspecified() {
        return local;
    }
    let loopback: IpAddr =
        if local.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    let source = ANYWHERE.into_iter().find(|ip| ip.is_ipv4() == local.is_ipv4()).and_then(source_address);
    SocketAddr::new(source.unwrap_or(loopback), local.port())
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
}
