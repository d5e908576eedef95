//! Who may ask the player port for what: the `Host` check against DNS rebinding and the list of origins that may fetch
//! media. Pure decisions over headers; answers are made elsewhere.

use std::net::{IpAddr, SocketAddr};

use http::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use http::{Uri, Version};

/// Longest part of a foreign name that an answer repeats.
const ECHO_CHARS_MAX: usize = 100;

/// Why a request is not for this port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HostRefusal {
    /// No `Host`, or more than one, or one that is no name.
    Malformed,
    /// A name that this port does not answer to, cut and printable.
    Foreign(String),
}

/// Checks whom the request is addressed to; gives the authority to build links with.
///
/// A web page can make its own name resolve to 127.0.0.1 and then read this port as its own origin; but its `Host` is
/// still that name. Players of HTTP/1.0 age that send none are no browsers.
pub(super) fn check_host(
    headers: &HeaderMap,
    uri: &Uri,
    version: Version,
    local: SocketAddr,
    names: &[String],
) -> Result<String, HostRefusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_10 && uri.authority().is_none() => return Ok(local.to_string()),
        (Some(host), None) => host.to_str().map_err(|_| HostRefusal::Malformed)?,
        _ => return Err(HostRefusal::Malformed),
    };
    for authority in std::iter::once(host).chain(uri.authority().map(http::uri::Authority::as_str)) {
        let name = host_name(authority).ok_or(HostRefusal::Malformed)?;
        if !is_ours(name, local.ip(), names) {
            return Err(HostRefusal::Foreign(printable(name)));
        }
    }
    Ok(host.to_owned())
}

/// The request's origin, if it is one of those that may fetch media.
pub(super) fn allowed_origin(headers: &HeaderMap, origins: &[String]) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    origins
        .iter()
        .any(|known| known.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
        .then(|| origin.clone())
}

/// `text` as far as it may be repeated in an answer.
pub(super) fn printable(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    text.chars().take(ECHO_CHARS_MAX).map(safe).collect()
}

/// The name in `name[:port]` or `[v6][:port]`.
fn host_name(authority: &str) -> Option<&str> {
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (name, tail) = rest.split_once(']')?;
            (name, if tail.is_empty() { None } else { Some(tail.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (authority, None),
        },
    };
    let digits = port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()));
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
    (digits && !name.is_empty() && name.bytes().all(plain)).then_some(name)
}

fn is_ours(name: &str, local: IpAddr, names: &[String]) -> bool {
    if let Ok(address) = name.parse::<IpAddr>() {
        let address = address.to_canonical();
        return address.is_loopback() || address == local.to_canonical() || listed(name, names);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || listed(name, names)
}

fn listed(name: &str, names: &[String]) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hosts: &[&'static str], uri: &str, version: Version) -> Result<String, HostRefusal> {
        let mut headers = HeaderMap::new();
        hosts.iter().for_each(|host| {
            headers.append(HOST, HeaderValue::from_static(host));
        });
        let local = "192.0.2.7:8080".parse().unwrap();
        check_host(&headers, &uri.parse().unwrap(), version, local, &["tv.example".to_owned()])
    }

    #[test]
    fn own_names_pass() {
        for host in [
            "localhost",
            "LocalHost:8080",
            "localhost.:1",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
            "192.0.2.7",
            "TV.example:80",
        ] {
            assert_eq!(check(&[host], "/live", Version::HTTP_11), Ok(host.to_owned()), "{host}");
        }
    }

    #[test]
    fn foreign_names_do_not() {
        for (host, name) in [
            ("evil.example:8080", "evil.example"),
            ("localhost.evil.example", "localhost.evil.example"),
            ("192.0.2.8", "192.0.2.8"),
            ("127.0.0.1.evil.example", "127.0.0.1.evil.example"),
        ] {
            assert_eq!(check(&[host], "/", Version::HTTP_11), Err(HostRefusal::Foreign(name.to_owned())));
        }
    }

    /// An absolute request target takes precedence over `Host` (RFC 9112 3.2.2), so it is checked as well.
    #[test]
    fn the_request_target_is_checked_too() {
        let foreign = Err(HostRefusal::Foreign("evil.example".to_owned()));
        assert_eq!(check(&["localhost"], "http://evil.example/", Version::HTTP_11), foreign);
        assert!(check(&["localhost"], "http://127.0.0.1:8080/", Version::HTTP_11).is_ok());
    }

    #[test]
    fn exactly_one_well_formed_host_is_needed() {
        assert_eq!(check(&[], "/", Version::HTTP_11), Err(HostRefusal::Malformed));
        assert_eq!(check(&["localhost", "localhost"], "/", Version::HTTP_11), Err(HostRefusal::Malformed));
        for host in ["", ":80", "[::1", "[::1]x", "localhost:8o", "a:b:c", "user@localhost"] {
            assert!(check(&[host], "/", Version::HTTP_11).is_err(), "{host:?}");
        }
        assert_eq!(check(&[], "/", Version::HTTP_10), Ok("192.0.2.7:8080".to_owned()));
    }

    #[test]
    fn only_listed_origins_are_allowed() {
        let mut headers = HeaderMap::new();
        let origins = ["https://tv.example".to_owned()];
        assert_eq!(allowed_origin(&headers, &origins), None);
        headers.insert(ORIGIN, HeaderValue::from_static("https://tv.example"));
        assert_eq!(allowed_origin(&headers, &origins), Some(HeaderValue::from_static("https://tv.example")));
        headers.insert(ORIGIN, HeaderValue::from_static("https://tv.example.evil"));
        assert_eq!(allowed_origin(&headers, &origins), None);
    }

    #[test]
    fn echoes_are_short_and_harmless() {
        assert_eq!(printable("a<b\u{7}é"), "a<b??");
        assert_eq!(printable(&"x".repeat(1000)).len(), ECHO_CHARS_MAX);
    }
}
