//! The names of sources: what a user writes after `--input`, and what it means. Opens nothing.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use http::Uri;

use super::pace::Pace;
use crate::testcard::{TestCard, TestCardConfig, TestCardError};

/// Where a stream comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A command whose standard output is the stream, run by the shell and started again when it ends.
    Exec(String),
    /// A file.
    File {
        /// Where it is.
        path: PathBuf,
        /// How fast it is read.
        pace: Pace,
        /// Start over at the end.
        repeat: bool,
    },
    /// Wait for publishers: HTTP PUT and POST, Icecast PUT and SOURCE.
    HttpListen(Listen),
    /// Fetch from an HTTP server, an Icecast server among them.
    HttpPull(HttpUrl),
    /// A transport stream in RTP packets.
    Rtp(Udp),
    /// Standard input.
    Stdin {
        /// How fast it is read.
        pace: Pace,
    },
    /// The built-in test card. A start time of 0 stands for the time when the door is opened.
    TestCard(TestCardConfig),
    /// A transport stream in UDP datagrams.
    Udp(Udp),
}

/// Where to wait for publishers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Address and port; port 0 lets the system choose.
    pub address: SocketAddr,
    /// The only path that is accepted; `None` accepts any.
    pub path: Option<String>,
    /// What publishers must know; `None` lets everyone in.
    pub credentials: Option<Credentials>,
}

/// A user's name and password. Its `Debug` keeps the password to itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `source` for Icecast's tools.
    pub user: String,
    /// In clear.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// An `http` or `https` URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    /// `https`.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// 80 or 443 unless given.
    pub port: u16,
    /// Path and query, at least `/`.
    pub path: String,
    /// User and password before the host.
    pub credentials: Option<Credentials>,
}

/// Where datagrams come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Local address and port, or a multicast group and port.
    pub address: SocketAddr,
    /// The local address of the interface on which a multicast group is joined; the system chooses if `None`.
    pub interface: Option<IpAddr>,
}

/// Why a source's name is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing was given.
    #[error(
        "no source was given: try testcard, -, a file, exec:COMMAND, http://…, udp://… or push:ADDRESS:PORT"
    )]
    Empty,
    /// A command is missing.
    #[error("exec: needs a command, as in \"exec:ffmpeg -re -i film.mkv -c copy -f mpegts -\"")]
    NoCommand,
    /// An address does not parse.
    #[error("{0:?} is not an address and port, as in 127.0.0.1:8001 or [::1]:8001")]
    Address(String),
    /// An interface does not parse.
    #[error("{0:?} is not ?interface=ADDRESS")]
    Interface(String),
    /// A URL does not parse.
    #[error("{0:?} is not a URL, as in http://host:port/path")]
    Url(String),
    /// A scheme that no door takes.
    #[error("no source is known as {scheme}://: {hint}")]
    Scheme {
        /// What stood before `://`.
        scheme: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// The test card's size or rate does not parse.
    #[error("{0:?} is not a test card: try testcard or testcard:WIDTHxHEIGHT@FPS, as in testcard:640x368@25")]
    TestCard(String),
    /// The test card's size or rate is out of bounds.
    #[error(transparent)]
    TestCardBounds(#[from] TestCardError),
}

impl Source {
    /// Reads what a user writes: `testcard[:WxH[@FPS]]`, `-`, a path or `file:PATH`, `exec:COMMAND`, `http://…` and
    /// `https://…` to fetch, `udp://ADDRESS:PORT[?interface=ADDRESS]`, `rtp://…` likewise, and
    /// `push:[USER:PASSWORD@]ADDRESS:PORT[/PATH]` (or `listen:http://…`) to wait for publishers.
    ///
    /// # Errors
    ///
    /// When it is none of these; the error says what it was taken for and how that is written.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let text = text.trim();
        if let Some(command) = text.strip_prefix("exec:") {
            let command = command.trim();
            return if command.is_empty() {
                Err(SourceError::NoCommand)
            } else {
                Ok(Self::Exec(command.into()))
            };
        }
        let push = text.strip_prefix("push:").or_else(|| text.strip_prefix("listen:"));
        if let Some(rest) = push {
            let rest = rest.strip_prefix("http:").unwrap_or(rest);
            return parse_listen(rest.strip_prefix("//").unwrap_or(rest)).map(Self::HttpListen);
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return match scheme {
                "http" | "https" => HttpUrl::parse(text).map(Self::HttpPull),
                "udp" => parse_udp(rest).map(Self::Udp),
                "rtp" => parse_udp(rest).map(Self::Rtp),
                "file" => Self::file(rest),
                _ => Err(SourceError::Scheme { scheme: scheme.into(), hint: hint(scheme) }),
            };
        }
        match text {
            "" => Err(SourceError::Empty),
            "-" => Ok(Self::Stdin { pace: Pace::Clock }),
            "testcard" => Ok(Self::TestCard(TestCardConfig::default())),
            _ => match (text.strip_prefix("testcard:"), text.strip_prefix("file:")) {
                (Some(rest), _) => parse_card(rest).map(Self::TestCard),
                (_, Some(path)) => Self::file(path),
                (None, None) => Self::file(text),
            },
        }
    }

    /// The same source read at another pace; no other than files and standard input have one.
    #[must_use]
    pub fn with_pace(mut self, new: Pace) -> Self {
        if let Self::File { pace, .. } | Self::Stdin { pace } = &mut self {
            *pace = new;
        }
        self
    }

    /// The same source, repeated or not; no other than files can be.
    #[must_use]
    pub fn with_repeat(mut self, new: bool) -> Self {
        if let Self::File { repeat, .. } = &mut self {
            *repeat = new;
        }
        self
    }

    fn file(path: &str) -> Result<Self, SourceError> {
        if path.is_empty() {
            return Err(SourceError::Empty);
        }
        Ok(Self::File { path: path.into(), pace: Pace::Clock, repeat: false })
    }
}

/// As for [`Source::parse`], without what may be a secret: passwords, queries, and of a command all but the program's name.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exec(command) => write!(f, "exec:{}", program(command)),
            Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::HttpListen(Listen { address, path, .. }) => {
                write!(f, "push:{address}{}", path.as_deref().unwrap_or_default())
            }
            Self::HttpPull(url) => write!(f, "{url}"),
            Self::Rtp(udp) => write!(f, "rtp://{}", udp.address),
            Self::Stdin { .. } => f.write_str("-"),
            Self::TestCard(TestCardConfig { width, height, fps, .. }) => {
                write!(f, "testcard:{width}x{height}@{fps}")
            }
            Self::Udp(udp) => write!(f, "udp://{}", udp.address),
        }
    }
}

impl HttpUrl {
    /// Reads an `http` or `https` URL.
    ///
    /// # Errors
    ///
    /// When it is none, or has no host.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let bad = || SourceError::Url(without_secrets(text));
        // No server is sent what follows a `#`: one before an `@` is part of a password.
        if text.split_once('#').is_some_and(|(_, rest)| rest.contains('@')) {
            return Err(bad());
        }
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return Err(bad()),
        };
        let authority = uri.authority().ok_or_else(bad)?;
        let credentials = authority.as_str().rsplit_once('@').map(|(userinfo, _)| parse_userinfo(userinfo));
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(bad());
        }
        Ok(Self {
            tls,
            host: host.into(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            path: uri.path_and_query().map_or("/", |p| p.as_str()).into(),
            credentials,
        })
    }

    /// Host and port as a `Host` field has them.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == if self.tls { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }
}

/// Without credentials and query.
impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        // The host may be a user's name, and the path the rest of a password with a slash or question mark in it.
        if self.path.contains('@') {
            return write!(f, "{scheme}://…");
        }
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority())
    }
}

/// The program that a command of the shell runs, if its first word is one: variables may stand there, too.
fn program(command: &str) -> &str {
    let word = command.split_whitespace().next().unwrap_or_default();
    let is_plain = word.chars().all(|c| c.is_alphanumeric() || "/._+-".contains(c));
    if is_plain { word } else { "…" }
}

fn hint(scheme: &str) -> &'static str {
    match scheme {
        "srt" | "rist" => "let srt-live-transmit or ristreceiver pass it on to a udp:// source",
        "rtmp" | "rtmps" | "rtsp" => "let ffmpeg fetch it, as in \"exec:ffmpeg -i URL -c copy -f mpegts -\"",
        "icecast" => "write http:// to fetch from it, push:ADDRESS:PORT to wait for its sources",
        _ => "there are http, https, udp, rtp, file, push:, exec:, testcard and -",
    }
}

fn parse_listen(text: &str) -> Result<Listen, SourceError> {
    let (authority, path) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let (userinfo, address) = authority.rsplit_once('@').map_or((None, authority), |(u, a)| (Some(u), a));
    // A slash in a password cuts it short: what stands before the last `@` is not told.
    let shown = text.rsplit_once('@').map_or(address, |(_, after)| after);
    Ok(Listen {
        address: parse_address(address).map_err(|_| SourceError::Address(shown.into()))?,
        path: path.filter(|p| !p.is_empty()).map(|p| format!("/{p}")),
        credentials: userinfo.map(parse_userinfo),
    })
}

fn parse_udp(text: &str) -> Result<Udp, SourceError> {
    let (address, query) = text.split_once('?').map_or((text, None), |(a, q)| (a, Some(q)));
    let interface = query
        .map(|q| {
            let value = q.strip_prefix("interface=").and_then(|value| value.parse().ok());
            value.ok_or_else(|| SourceError::Interface(format!("?{q}")))
        })
        .transpose()?;
    // VLC writes udp://@GROUP:PORT to receive.
    Ok(Udp { address: parse_address(address.trim_start_matches('@').trim_end_matches('/'))?, interface })
}

/// An address and port; an empty or `*` address stands for all of them.
fn parse_address(text: &str) -> Result<SocketAddr, SourceError> {
    let bad = || SourceError::Address(text.into());
    match text.rsplit_once(':') {
        Some(("" | "*", port)) => Ok(SocketAddr::from(([0, 0, 0, 0], port.parse().map_err(|_| bad())?))),
        Some(("localhost", port)) => Ok(SocketAddr::from(([127, 0, 0, 1], port.parse().map_err(|_| bad())?))),
        _ => text.parse().map_err(|_| bad()),
    }
}

fn parse_card(text: &str) -> Result<TestCardConfig, SourceError> {
    let bad = || SourceError::TestCard(format!("testcard:{text}"));
    let (size, fps) = text.split_once('@').map_or((text, None), |(s, f)| (s, Some(f)));
    let (width, height) = size.split_once('x').ok_or_else(bad)?;
    let number = |text: &str| text.parse::<u16>().map_err(|_| bad());
    let fps = fps.map_or_else(|| Ok(TestCardConfig::default().fps), number)?;
    let config = TestCardConfig {
        width: number(width)?,
        height: number(height)?,
        fps,
        gop_frames: (fps / 2).max(1),
        start_unix_ms: 0,
    };
    TestCard::new(config)?;
    Ok(config)
}

fn parse_userinfo(text: &str) -> Credentials {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    Credentials { user: percent_decode(user), password: percent_decode(password) }
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            Some(_) | None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An address that is none, for its owner to see what is wrong with it: without credentials and query.
fn without_secrets(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.rsplit_once('@').map_or(rest, |(_, after)| after);
    format!("{scheme}://{}", rest.split(['?', '#']).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn sources_are_what_users_write() {
        let url = |tls, host: &str, port, path: &str| HttpUrl {
            tls,
            host: host.into(),
            port,
            path: path.into(),
            credentials: None,
        };
        for (text, expected) in [
            ("-", Source::Stdin { pace: Pace::Clock }),
            ("film.ts", Source::file("film.ts").unwrap()),
            ("file:///srv/film.ts", Source::file("/srv/film.ts").unwrap()),
            ("exec: ffmpeg -i a -f mpegts -", Source::Exec("ffmpeg -i a -f mpegts -".into())),
            ("http://radio.example/live.ogg", Source::HttpPull(url(false, "radio.example", 80, "/live.ogg"))),
            ("https://[2001:db8::1]:8443", Source::HttpPull(url(true, "2001:db8::1", 8443, "/"))),
            (
                "udp://@239.1.2.3:5000",
                Source::Udp(Udp { address: address("239.1.2.3:5000"), interface: None }),
            ),
            ("rtp://*:5004", Source::Rtp(Udp { address: address("0.0.0.0:5004"), interface: None })),
            (
                "udp://239.1.2.3:5000?interface=10.0.0.7",
                Source::Udp(Udp { address: address("239.1.2.3:5000"), interface: "10.0.0.7".parse().ok() }),
            ),
            (
                "push:127.0.0.1:0",
                Source::HttpListen(Listen { address: address("127.0.0.1:0"), path: None, credentials: None }),
            ),
            (
                "listen:http://source:s%40crt@[::1]:8000/live.ts",
                Source::HttpListen(Listen {
                    address: address("[::1]:8000"),
                    path: Some("/live.ts".into()),
                    credentials: Some(Credentials { user: "source".into(), password: "s@crt".into() }),
                }),
            ),
            (
                "testcard:640x368@30",
                Source::TestCard(TestCardConfig {
                    width: 640,
                    height: 368,
                    fps: 30,
                    gop_frames: 15,
                    start_unix_ms: 0,
                }),
            ),
        ] {
            assert_eq!(Source::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_source_is_told_why() {
        for (text, says) in [
            ("", "testcard"),
            ("file:", "testcard"),
            ("exec:  ", "exec:ffmpeg"),
            ("push:nowhere", "127.0.0.1:8001"),
            ("udp://127.0.0.1:99999", "127.0.0.1:8001"),
            ("udp://239.1.2.3:5000?ttl=3", "?interface="),
            ("http://", "http://host"),
            ("rtmp://host/app", "ffmpeg"),
            ("srt://host:1", "srt-live-transmit"),
            ("gopher://host", "there are http"),
            ("testcard:big", "testcard:640x368@25"),
            ("testcard:100x100", "in steps of 16"),
        ] {
            let error = Source::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn secrets_stay_out_of_logs() {
        for (text, says) in [
            ("push:source:hunter2@127.0.0.1:8000/a", "push:127.0.0.1:8000/a"),
            ("push:source:4/hunter2@127.0.0.1:8000/a", "\"127.0.0.1:8000/a\" is not an address"),
            ("http://me:hunter2@host/x", "http://host/x"),
            ("http://me:hunter2@:/", "\"http://:/\" is not a URL"),
            ("http://me:4/hunter2@host/x", "http://…"),
            ("https://me:4?hunter2@host/x", "https://…"),
            ("http://me:4#hunter2@host/x", "\"http://host/x\" is not a URL"),
            ("http://me:hun/ter2@host/x?hunter2", "http://…"),
            ("https://host:81/x?token=hunter2", "https://host:81/x"),
            ("exec:ffmpeg -i srt://host?passphrase=hunter2 -f mpegts -", "exec:ffmpeg"),
            ("exec: /opt/bin/curl_7-2 -u me:hunter2 http://host/", "exec:/opt/bin/curl_7-2"),
            ("exec:TOKEN=hunter2 grab", "exec:…"),
            ("exec:'hunter2'|sh", "exec:…"),
        ] {
            let shown = match Source::parse(text) {
                Ok(source) => source.to_string(),
                Err(error) => error.to_string(),
            };
            assert!(shown.starts_with(says) && !shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn pace_and_repetition_are_for_what_has_them() {
        let file = Source::parse("a.ts").unwrap().with_pace(Pace::Unpaced).with_repeat(true);
        assert_eq!(file, Source::File { path: "a.ts".into(), pace: Pace::Unpaced, repeat: true });
        let card = Source::parse("testcard").unwrap();
        assert_eq!(card.clone().with_pace(Pace::Unpaced).with_repeat(true), card);
    }
}
