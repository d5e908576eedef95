//! Recognises containers by their bytes: at the start of a stream, and after its structure was lost. Keeps no state.

use super::Container;
use super::mpeg_ts::{PACKET_BYTES, SYNC};
use super::read::{array_at, u8_at, u16_at};

/// Bytes after which the container of a stream must be decided.
const PROBE_BYTES_MAX: usize = 2048;

/// Bytes from which a transport stream cut in mid-packet shows three sync bytes, wherever its first packet begins.
const TS_PROBE_BYTES: usize = 4 * PACKET_BYTES;

pub(super) enum Detected {
    NeedMore,
    Container(Container),
    /// A transport stream begins after so many bytes.
    TsAfter(usize),
    /// Plain bytes, with a content type where an audio frame was recognised.
    Raw(Option<&'static str>),
}

/// Looks at the first bytes of a stream; `at_end` says that no more will come.
pub(super) fn detect(bytes: &[u8], at_end: bool) -> Detected {
    if bytes.len() < 8 && !at_end {
        return Detected::NeedMore;
    }
    if let Some(container) = magic_at(bytes) {
        return Detected::Container(container);
    }
    if bytes.starts_with(b"ID3") {
        return Detected::Raw(Some("audio/mpeg"));
    }
    match ts_syncs(bytes) {
        Syncs::Broken => {}
        Syncs::Good(n) if n >= 3 || at_end => return Detected::Container(Container::MpegTs),
        Syncs::Good(_) => return Detected::NeedMore,
    }
    let enough = at_end || bytes.len() >= PROBE_BYTES_MAX;
    match audio_frames(bytes, at_end) {
        Some(content_type) => return Detected::Raw(Some(content_type)),
        None if frame_at(bytes).is_some() && !enough => return Detected::NeedMore,
        None => {}
    }
    if bytes.len() < TS_PROBE_BYTES && !at_end {
        return Detected::NeedMore;
    }
    let after = (1..PACKET_BYTES).find(|&at| {
        let tail = bytes.get(at..).unwrap_or_default();
        matches!(ts_syncs(tail), Syncs::Good(n) if n >= 3)
    });
    match after {
        Some(n) => Detected::TsAfter(n),
        None if enough => {
            let tails = (1..bytes.len().min(PROBE_BYTES_MAX)).filter_map(|at| bytes.get(at..));
            Detected::Raw(tails.into_iter().find_map(|tail| audio_frames(tail, false)))
        }
        None => Detected::NeedMore,
    }
}

pub(super) struct Restart {
    /// Bytes before the found structure, or before the last ones that could still begin one.
    pub(super) skip: usize,
    /// What begins there, and whether the parser that lost the stream can go on.
    pub(super) container: Option<(Container, bool)>,
}

/// Searches for the first place where a known structure begins.
pub(super) fn find_restart(bytes: &[u8], resumable: Option<Container>, ts_only: bool) -> Restart {
    const TS_NEED: usize = 2 * PACKET_BYTES + 1;
    let searchable = bytes.len().saturating_sub(TS_NEED - 1);
    for at in 0..searchable {
        let tail = bytes.get(at..).unwrap_or_default();
        if matches!(ts_syncs(tail), Syncs::Good(n) if n >= 3) {
            let resume = resumable == Some(Container::MpegTs);
            return Restart { skip: at, container: Some((Container::MpegTs, resume)) };
        }
        if ts_only {
            continue;
        }
        let resumed = match resumable {
            Some(Container::WebM) => tail.starts_with(&[0x1F, 0x43, 0xB6, 0x75]),
            Some(Container::Ogg) => tail.starts_with(b"OggS\0"),
            Some(Container::Mp4) => tail.get(4..8) == Some(b"moof"),
            Some(Container::Flv | Container::MpegTs | Container::Raw) | None => false,
        };
        if resumed {
            return Restart { skip: at, container: resumable.map(|container| (container, true)) };
        }
        if let Some(container) = magic_at(tail) {
            return Restart { skip: at, container: Some((container, false)) };
        }
    }
    Restart { skip: searchable, container: None }
}

fn magic_at(bytes: &[u8]) -> Option<Container> {
    if bytes.starts_with(&[0x1A, 0x45, 0xDF, 0xA3]) {
        Some(Container::WebM)
    } else if bytes.starts_with(b"FLV\x01") {
        Some(Container::Flv)
    } else if bytes.starts_with(b"OggS\0") {
        Some(Container::Ogg)
    } else if matches!(bytes.get(4..8), Some(b"ftyp" | b"styp")) {
        Some(Container::Mp4)
    } else {
        None
    }
}

enum Syncs {
    /// Every place where a packet would begin holds a sync byte; so many places were seen, four at most.
    Good(usize),
    Broken,
}

fn ts_syncs(bytes: &[u8]) -> Syncs {
    let mut seen = 0;
    while let Some(byte) = u8_at(bytes, seen * PACKET_BYTES) {
        if byte != SYNC {
            return Syncs::Broken;
        }
        seen += 1;
        if seen == 4 {
            break;
        }
    }
    if seen == 0 { Syncs::Broken } else { Syncs::Good(seen) }
}

/// Two audio frames in a row, or one that reaches to the end of the stream.
fn audio_frames(bytes: &[u8], at_end: bool) -> Option<&'static str> {
    let (content_type, len) = frame_at(bytes)?;
    match bytes.get(len..) {
        Some(next) if next.len() >= 6 => frame_at(next).filter(|&(t, _)| t == content_type).map(|(t, _)| t),
        _ => at_end.then_some(content_type),
    }
}

/// An MPEG audio or ADTS frame header at the front: its content type, and the frame's length.
fn frame_at(bytes: &[u8]) -> Option<(&'static str, usize)> {
    if u16_at(bytes, 0)? & 0xFFE0 != 0xFFE0 {
        return None;
    }
    let [_, b1, b2, b3, b4, b5] = array_at::<6>(bytes, 0)?;
    if b1 & 0xF6 == 0xF0 {
        // ADTS, ISO/IEC 13818-7 6.2: 13 bits of frame length, header included.
        let len = usize::from(b3 & 0x03) << 11 | usize::from(b4) << 3 | usize::from(b5 >> 5);
        return (len >= 7 && (b2 >> 2) & 0x0F < 13).then_some(("audio/aac", len));
    }
    mpeg_audio_frame_len(b1, b2).map(|len| ("audio/mpeg", len))
}

/// ISO/IEC 11172-3 2.4.2.3 and 13818-3: layers I to III, versions 1, 2 and 2.5.
fn mpeg_audio_frame_len(b1: u8, b2: u8) -> Option<usize> {
    const KBPS: [[u16; 16]; 5] = [
        [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448, 0],
        [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0],
        [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0],
        [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256, 0],
        [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0],
    ];
    let (version, layer) = ((b1 >> 3) & 3, (b1 >> 1) & 3);
    let (version_1, layer) = match (version, layer) {
        (1, _) | (_, 0) => return None,
        (version, layer) => (version == 3, 4 - layer),
    };
    let row = match (version_1, layer) {
        (true, layer) => usize::from(layer) - 1,
        (false, 1) => 3,
        (false, _) => 4,
    };
    let bits_per_s = usize::from(*KBPS.get(row)?.get(usize::from(b2 >> 4))?) * 1000;
    let hz = [44_100, 48_000, 32_000].get(usize::from(b2 >> 2 & 3))? >> (3 - version).min(2);
    let padding = usize::from(b2 >> 1 & 1);
    if bits_per_s == 0 {
        return None;
    }
    Some(match (layer, version_1) {
        (1, _) => (12 * bits_per_s / hz + padding) * 4,
        (3, false) => 72 * bits_per_s / hz + padding,
        (_, _) => 144 * bits_per_s / hz + padding,
    })
}
