//! What play-out must know about a container, and no more: its file extension and whether a player survives a hole in
//! it. Decided by MIME type alone; the bytes themselves are the cutter's business.

use http::HeaderValue;

/// How a container answers to missing bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Players find their feet again after a hole or in the middle of a change (transport stream, Ogg, MP3, ADTS): bytes
    /// go on at once, and a new stream header is part of the stream.
    SelfSynchronising,
    /// Elements carry their length and the header comes once (WebM, fMP4, FLV): after a hole the stream goes on at the
    /// next random-access point, and a new stream header needs a new connection.
    Nested,
}

impl Framing {
    /// The framing of a MIME type; a type that play-out does not know is a plain byte stream.
    pub fn of(content_type: &str) -> Self {
        match essence(content_type).as_str() {
            "video/webm" | "audio/webm" | "video/x-matroska" | "audio/x-matroska" | "video/mp4"
            | "audio/mp4" | "video/x-flv" => Self::Nested,
            _ => Self::SelfSynchronising,
        }
    }
}

/// The extensions under which `/live.EXT` may be asked for, the best first; empty for a plain byte stream.
pub(super) fn extensions(content_type: &str) -> &'static [&'static str] {
    match essence(content_type).as_str() {
        "video/mp2t" => &["ts"],
        "video/x-flv" => &["flv"],
        "video/webm" | "audio/webm" => &["webm"],
        "video/x-matroska" | "audio/x-matroska" => &["mkv"],
        "video/mp4" | "audio/mp4" => &["mp4"],
        "audio/ogg" | "video/ogg" | "application/ogg" => &["ogg"],
        "audio/mpeg" => &["mp3"],
        "audio/aac" | "audio/aacp" => &["aac"],
        _ => &[],
    }
}

/// The path under which a stream of this type is best opened by a player that judges by the name.
pub(super) fn live_path(content_type: &str) -> String {
    match extensions(content_type).first() {
        Some(extension) => format!("/live.{extension}"),
        None => "/live".to_owned(),
    }
}

/// True for an extension of any container that a stream may have.
pub(super) fn is_extension(extension: &str) -> bool {
    ["ts", "flv", "webm", "mkv", "mp4", "ogg", "mp3", "aac"].contains(&extension)
}

/// The type as it may be sent to a browser. It comes from the far end of the network: were it `text/html`, the stream
/// could run scripts in the name of this port.
pub(super) fn safe_type(content_type: &str) -> HeaderValue {
    let essence = essence(content_type);
    let media =
        essence.starts_with("video/") || essence.starts_with("audio/") || essence == "application/ogg";
    HeaderValue::try_from(content_type)
        .ok()
        .filter(|_| media)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_case_do_not_change_the_framing() {
        assert_eq!(Framing::of("Video/WebM; codecs=\"vp9, opus\""), Framing::Nested);
        assert_eq!(Framing::of("video/mp2t"), Framing::SelfSynchronising);
        assert_eq!(Framing::of("application/octet-stream"), Framing::SelfSynchronising);
    }

    #[test]
    fn only_media_types_reach_a_browser() {
        for kind in ["video/mp2t", "audio/ogg; codecs=opus", "application/ogg"] {
            assert_eq!(safe_type(kind), kind);
        }
        for kind in ["text/html", "", "image/svg+xml", "video/mp2t\r\nX: y", "application/javascript"] {
            assert_eq!(safe_type(kind), "application/octet-stream", "{kind:?}");
        }
    }

    #[test]
    fn every_extension_in_use_is_a_known_one() {
        for kind in
            ["video/mp2t", "video/x-flv", "audio/webm", "audio/mp4", "video/ogg", "audio/mpeg", "audio/aac"]
        {
            assert!(extensions(kind).iter().all(|extension| is_extension(extension)), "{kind}");
        }
    }

    #[test]
    fn unknown_types_are_served_under_the_bare_path() {
        assert_eq!(live_path("video/mp2t"), "/live.ts");
        assert_eq!(live_path("application/x-unheard-of"), "/live");
    }
}
