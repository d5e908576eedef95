//! Where the splitter is, and where teammates may find this peer: name lookups and the choice of addresses. Sends nothing.

use crate::error::StartError;
use p2psp_net::route::{ANYWHERE, source_address};
use p2psp_wire::limits::CANDIDATES_MAX;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::{net::lookup_host, time::timeout};

/// Most addresses tried for a splitter; a name with more is served by some of them.
const ADDRESSES_MAX: usize = 16;
/// Longest wait for one name; resolvers give up by themselves after five seconds a try.
const LOOKUP_MAX: Duration = Duration::from_secs(10);

/// Looks all hosts of a link up, in its order; those that have an address count.
///
/// # Errors
///
/// The first failure, when no host has any address.
pub(crate) async fn resolve(hosts: &[String]) -> Result<Vec<SocketAddr>, StartError> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let mut failure = None;
    for host in hosts {
        let found = match timeout(LOOKUP_MAX, lookup_host(host)).await {
            Ok(found) => found,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the name service does not answer")),
        };
        match found {
            Ok(found) => {
                for address in found {
                    if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
                        addresses.push(address);
                    }
                }
            }
            Err(source) => {
                failure.get_or_insert_with(|| StartError::Resolve { host: host.clone(), source });
            }
        }
    }
    match failure {
        Some(failure) if addresses.is_empty() => Err(failure),
        _ => Ok(addresses),
    }
}

/// True when the link names hosts whose addresses may change.
pub(crate) fn has_names(hosts: &[String]) -> bool {
    hosts.iter().any(|host| host.parse::<SocketAddr>().is_err())
}

/// The address to listen on when none was asked for: any, of the family that the splitter has.
pub(crate) fn any_address(splitter: &[SocketAddr]) -> SocketAddr {
    let v6_only = !splitter.is_empty() && splitter.iter().all(SocketAddr::is_ipv6);
    let ip = if v6_only { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    SocketAddr::new(ip, 0)
}

/// Those addresses that a socket bound to `listen` can reach.
pub(crate) fn reachable(listen: SocketAddr, addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addresses.into_iter().filter(|address| speaks(listen, address.ip())).collect()
}

/// A socket speaks its own family; one on `[::]` speaks both.
fn speaks(socket: SocketAddr, ip: IpAddr) -> bool {
    socket.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) || socket.is_ipv4() == ip.is_ipv4()
}

/// Where teammates may reach the socket bound to `local`, best first: what the operator says, then the addresses by which
/// this machine reaches the splitter and everywhere else. What the splitter observes is added by itself.
pub(crate) fn candidates(
    local: SocketAddr,
    advertise: &[SocketAddr],
    splitter: &[SocketAddr],
) -> Vec<SocketAddr> {
    let mut candidates = advertise.to_vec();
    if local.ip().is_unspecified() {
        let towards = splitter.iter().map(SocketAddr::ip).chain(ANYWHERE).filter(|ip| speaks(local, *ip));
        candidates.extend(towards.filter_map(source_address).map(|ip| SocketAddr::new(ip, local.port())));
    } else {
        candidates.push(local);
    }
    let mut seen = Vec::new();
    candidates.retain(|candidate| {
        let new = !seen.contains(candidate);
        seen.push(*candidate);
        new
    });
    candidates.truncate(CANDIDATES_MAX);
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_family_follows_the_splitter() {
        assert_eq!(
            any_address(&addresses(&["192.0.2.1:1", "[2001:db8::1]:1"])),
            "0.0.0.0:0".parse().unwrap()
        );
        assert_eq!(any_address(&addresses(&["[2001:db8::1]:1"])), "[::]:0".parse().unwrap());
        assert_eq!(any_address(&[]), "0.0.0.0:0".parse().unwrap());
        let both = addresses(&["192.0.2.1:1", "[2001:db8::1]:1"]);
        for (listen, reached) in
            [("0.0.0.0:0", both.get(..1)), ("[::1]:0", both.get(1..)), ("[::]:0", Some(&both[..]))]
        {
            assert_eq!(reachable(listen.parse().unwrap(), both.clone()), reached.unwrap(), "{listen}");
        }
    }

    /// A socket on one address offers that; a socket on any offers those it would send from, with its own port.
    #[test]
    fn candidates_are_ours() {
        let splitter = addresses(&["127.0.0.1:4480"]);
        let bound = "127.0.0.1:5000".parse().unwrap();
        assert_eq!(candidates(bound, &[], &splitter), [bound]);

        let any = candidates("0.0.0.0:5000".parse().unwrap(), &[], &splitter);
        assert!(any.contains(&bound), "{any:?}");
        assert!(any.iter().all(|candidate| candidate.port() == 5000 && candidate.is_ipv4()), "{any:?}");

        let forwarded: Vec<SocketAddr> =
            (1..=20).map(|port| SocketAddr::from(([203, 0, 113, 7], port))).collect();
        let many = candidates(bound, &forwarded, &splitter);
        assert_eq!(many.len(), CANDIDATES_MAX);
        assert_eq!(many.first(), forwarded.first());
    }

    /// Addresses need no name service; a name without an address is told with what to check.
    #[tokio::test]
    async fn lookups() {
        let hosts = ["127.0.0.1:7".to_owned(), "[::1]:7".to_owned(), "127.0.0.1:7".to_owned()];
        assert_eq!(resolve(&hosts).await.unwrap(), addresses(&["127.0.0.1:7", "[::1]:7"]));
        assert!(!has_names(&hosts));
        assert!(has_names(&["localhost:7".to_owned()]));
        // A label over 63 bytes is refused by resolvers without asking anyone.
        let impossible = format!("{}.invalid:7", "x".repeat(64));
        let error = resolve(&[impossible]).await.unwrap_err();
        assert!(error.to_string().contains("check the channel link"), "{error}");
        assert!(error.is_unreachable());
    }
}
