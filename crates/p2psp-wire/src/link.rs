//! The channel link: one line of text that names a stream and where to join it (R-ID-4).
//!
//! ```text
//! p2psp://<channel key, base32>@<host>:<port>[/][?splitter=<host>:<port>&tracker=<host>:<port>&...]
//! ```
//!
//! It is a URL (RFC 3986): the key is its userinfo, the first splitter its authority. More splitters and trackers follow as
//! query parameters; unknown parameters are kept out of the way, so that older software reads newer links.

use crate::{
    ChannelId, IdError,
    limits::{LINK_ADDRESSES_MAX, LINK_BYTES_MAX},
};
use std::{fmt, str::FromStr};

/// A parsed channel link. Addresses are `host:port` with a name, an IPv4 address, or an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelLink {
    /// The broadcaster's key.
    pub channel: ChannelId,
    /// Splitters, first choice first; at least one.
    pub splitters: Vec<String>,
    /// Trackers; may be empty.
    pub trackers: Vec<String>,
}

/// Why a text is no channel link.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkError {
    /// Longer than [`LINK_BYTES_MAX`].
    TooLong,
    /// Does not begin with `p2psp://`.
    Scheme,
    /// No `@` between key and address.
    NoKey,
    /// The part before `@` is no channel key.
    Key(IdError),
    /// An address is not `host:port` with a port from 1 to 65535; the text is given.
    Address(String),
    /// More than [`LINK_ADDRESSES_MAX`] addresses.
    TooManyAddresses,
    /// A path, which channel links do not have.
    Path,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "a channel link has at most {LINK_BYTES_MAX} bytes"),
            Self::Scheme => write!(f, "a channel link begins with p2psp://"),
            Self::NoKey => {
                write!(f, "a channel link names the channel's key before an @: p2psp://<key>@host:port")
            }
            Self::Key(error) => write!(f, "the channel key is wrong: {error}"),
            Self::Address(text) => write!(f, "`{text}` is not host:port (IPv6 addresses stand in brackets)"),
            Self::TooManyAddresses => write!(f, "a channel link has at most {LINK_ADDRESSES_MAX} addresses"),
            Self::Path => write!(f, "a channel link has no path after host:port"),
        }
    }
}

impl std::error::Error for LinkError {}

impl FromStr for ChannelLink {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        if text.len() > LINK_BYTES_MAX {
            return Err(LinkError::TooLong);
        }
        let scheme_end = text.find("://").ok_or(LinkError::Scheme)?;
        let (scheme, rest) = text.split_at(scheme_end);
        if !scheme.eq_ignore_ascii_case("p2psp") {
            return Err(LinkError::Scheme);
        }
        let rest = rest.strip_prefix("://").unwrap_or(rest);
        let rest = rest.split_once('#').map_or(rest, |(before, _fragment)| before);
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (key, place) = place.split_once('@').ok_or(LinkError::NoKey)?;
        let channel = key.parse().map_err(LinkError::Key)?;
        let (authority, path) = place.split_once('/').unwrap_or((place, ""));
        if !path.is_empty() {
            return Err(LinkError::Path);
        }
        let mut link = Self { channel, splitters: vec![address(authority)?], trackers: Vec::new() };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "splitter" => link.splitters.push(address(value)?),
                "tracker" => link.trackers.push(address(value)?),
                _ => {}
            }
        }
        if link.splitters.len() + link.trackers.len() > LINK_ADDRESSES_MAX {
            return Err(LinkError::TooManyAddresses);
        }
        Ok(link)
    }
}

impl fmt::Display for ChannelLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut splitters = self.splitters.iter();
        write!(f, "p2psp://{}@{}", self.channel, splitters.next().map_or("", String::as_str))?;
        let parameters = splitters
            .map(|a| ("splitter", a))
            .chain(self.trackers.iter().map(|address| ("tracker", address)));
        for (position, (name, address)) in parameters.enumerate() {
            write!(f, "{}{name}={address}", if position == 0 { "/?" } else { "&" })?;
        }
        Ok(())
    }
}

/// Checks the shape of `host:port`; whether the name resolves is the dialer's business.
fn address(text: &str) -> Result<String, LinkError> {
    let wrong = || LinkError::Address(text.to_owned());
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port_fits =
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0);
    let host_fits = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        }
    };
    if port_fits && host_fits { Ok(text.to_ascii_lowercase()) } else { Err(wrong()) }
}
