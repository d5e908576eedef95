//! Fragmented MP4 (ISO/IEC 14496-12): header is `ftyp` + `moov`. Decodes no sample.
//!
//! A `moof` is a random-access point when the first sample of the first video track in it is marked as a sync sample,
//! by the fragment itself or by the `moov`'s defaults, and no track in it addresses samples by file position. Where no
//! flags can be found, it is none: a joiner waits a little longer rather than see garbage. Without a video track, every
//! `moof` is one.

use std::time::Duration;

use bytes::Bytes;

use super::carver::Carver;
use super::read::{to_len, u32_at, u64_at};
use super::{CutterStats, RawReason, Step};
use crate::record::{Ingested, STREAM_HEADER_BYTES_MAX};

/// Larger fragment headers are passed, but are no random-access points: 256 KiB describe some ten thousand samples.
const MOOF_BYTES_MAX: usize = 256 * 1024;

/// `sample_is_non_sync_sample`, 8.8.3.1.
const NON_SYNC: u32 = 0x0001_0000;

#[derive(Debug)]
pub(super) struct Mp4 {
    skip: u64,
    ftyp: Bytes,
    tracks: Option<Tracks>,
}

/// What the `moov` says of the tracks.
#[derive(Debug, Default)]
struct Tracks {
    /// The first video track.
    video: Option<u32>,
    /// Ticks per second of the track whose time is reported.
    timescale: u32,
    /// The track whose time is reported.
    clock: Option<u32>,
    /// Default sample flags by track, from `trex`.
    default_flags: Vec<(u32, u32)>,
}

#[derive(Default)]
struct Fragment {
    random_access: bool,
    absolute: bool,
    decode_time: Option<u64>,
}

impl Mp4 {
    pub(super) fn begin(payload_bytes_max: usize, carver: &mut Carver, out: &mut Vec<Ingested>) -> Self {
        carver.begin("video/mp4", payload_bytes_max, true, out);
        Self { skip: 0, ftyp: Bytes::new(), tracks: None }
    }

    pub(super) fn step(
        &mut self,
        carver: &mut Carver,
        stats: &mut CutterStats,
        out: &mut Vec<Ingested>,
    ) -> Step {
        if self.skip > 0 {
            let n = to_len(self.skip).min(carver.rest().len());
            if n == 0 {
                return Step::NeedMore;
            }
            carver.advance(n, out);
            self.skip = self.skip.saturating_sub(u64::try_from(n).unwrap_or(u64::MAX));
            if self.skip == 0 {
                carver.unit_end(out);
            }
            return Step::Progress;
        }
        let rest = carver.rest();
        let (Some(size), Some(kind)) = (u32_at(rest, 0), rest.get(4..8)) else { return Step::NeedMore };
        if !kind.iter().all(|c| c.is_ascii_alphanumeric() || *c == b' ') {
            return Step::Lost;
        }
        let size = match size {
            // To the end of the file.
            0 => u64::MAX,
            1 => match u64_at(rest, 8) {
                Some(size) if size >= 16 => size,
                Some(_) => return Step::Lost,
                None => return Step::NeedMore,
            },
            2..=7 => return Step::Lost,
            size => u64::from(size),
        };
        match kind {
            b"ftyp" | b"moov" => {
                let len = to_len(size);
                if len > STREAM_HEADER_BYTES_MAX - self.ftyp.len() {
                    return Step::Raw(RawReason::HeaderTooLarge);
                }
                let Some(bytes) = rest.get(..len) else { return Step::NeedMore };
                let bytes = Bytes::copy_from_slice(bytes);
                if kind == b"ftyp" {
                    self.ftyp = bytes;
                } else if let Err(raw) = self.on_moov(&bytes, carver, out) {
                    return Step::Raw(raw);
                }
            }
            b"moof" => {
                let len = to_len(size);
                let fragment = if len > MOOF_BYTES_MAX {
                    Fragment::default()
                } else {
                    let Some(bytes) = rest.get(..len) else { return Step::NeedMore };
                    self.tracks.as_ref().map(|t| fragment(bytes, t)).unwrap_or_default()
                };
                self.on_fragment(&fragment, carver, stats, out);
            }
            b"mdat" if self.tracks.is_none() => return Step::Raw(RawReason::NotFragmented),
            _ => {}
        }
        self.skip = size;
        Step::Progress
    }

    fn on_moov(
        &mut self,
        moov: &Bytes,
        carver: &mut Carver,
        out: &mut Vec<Ingested>,
    ) -> Result<(), RawReason> {
        let Some(tracks) = parse_moov(moov) else { return Err(RawReason::NotFragmented) };
        carver.set_content_type(if tracks.video.is_some() { "video/mp4" } else { "audio/mp4" });
        let restart = self.tracks.is_some() || !self.ftyp.is_empty();
        self.tracks = Some(tracks);
        carver.set_header([&self.ftyp[..], &moov[..]].concat().into(), restart, out);
        self.ftyp = Bytes::new();
        Ok(())
    }

    fn on_fragment(
        &self,
        fragment: &Fragment,
        carver: &mut Carver,
        stats: &mut CutterStats,
        out: &mut Vec<Ingested>,
    ) {
        stats.mp4_fragments_absolute += u64::from(fragment.absolute);
        carver.cut(fragment.random_access && !fragment.absolute, out);
        if let (Some(time), Some(tracks)) = (fragment.decode_time, &self.tracks)
            && tracks.timescale > 0
        {
            let scale = u64::from(tracks.timescale);
            let nanos = (time % scale).saturating_mul(1_000_000_000) / scale;
            carver.media_time = Some(Duration::from_secs(time / scale) + Duration::from_nanos(nanos));
        }
    }
}

/// The boxes in `bytes`, as kind and body; stops at the first that does not fit.
fn boxes(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let kind = rest.get(4..8)?;
        let (size, body_at) = match u32_at(rest, 0)? {
            0 => (rest.len(), 8),
            1 => (to_len(u64_at(rest, 8)?), 16),
            size => (to_len(size), 8),
        };
        let body = rest.get(body_at..size)?;
        rest = rest.get(size..)?;
        Some((kind, body))
    })
}

fn find<'a>(bytes: &'a [u8], kind: &[u8]) -> Option<&'a [u8]> {
    boxes(bytes).find(|(k, _)| *k == kind).map(|(_, body)| body)
}

/// `None` if it announces no fragments.
fn parse_moov(moov: &[u8]) -> Option<Tracks> {
    let moov = find(moov, b"moov")?;
    let mvex = find(moov, b"mvex")?;
    let mut tracks = Tracks::default();
    for trak in boxes(moov).filter(|(kind, _)| *kind == b"trak").map(|(_, body)| body) {
        let Some((id, timescale, handler)) = parse_trak(trak) else { continue };
        let is_video = handler == b"vide" && tracks.video.is_none();
        if is_video {
            tracks.video = Some(id);
        }
        if is_video || tracks.clock.is_none() {
            (tracks.clock, tracks.timescale) = (Some(id), timescale);
        }
    }
    for trex in boxes(mvex).filter(|(kind, _)| *kind == b"trex").map(|(_, body)| body) {
        if let (Some(id), Some(flags)) = (u32_at(trex, 4), u32_at(trex, 20)) {
            tracks.default_flags.push((id, flags));
        }
    }
    Some(tracks)
}

fn parse_trak(trak: &[u8]) -> Option<(u32, u32, &[u8])> {
    let tkhd = find(trak, b"tkhd")?;
    let id = u32_at(tkhd, if tkhd.first() == Some(&1) { 20 } else { 12 })?;
    let mdia = find(trak, b"mdia")?;
    let mdhd = find(mdia, b"mdhd")?;
    let timescale = u32_at(mdhd, if mdhd.first() == Some(&1) { 20 } else { 12 })?;
    Some((id, timescale, find(mdia, b"hdlr")?.get(8..12)?))
}

fn fragment(moof: &[u8], tracks: &Tracks) -> Fragment {
    let mut result = Fragment { random_access: tracks.video.is_none(), ..Fragment::default() };
    let Some(moof) = find(moof, b"moof") else { return Fragment::default() };
    let mut video_seen = false;
    for traf in boxes(moof).filter(|(kind, _)| *kind == b"traf").map(|(_, body)| body) {
        let Some(tfhd) = find(traf, b"tfhd") else { continue };
        let (Some(tfhd_flags), Some(id)) = (u32_at(tfhd, 0), u32_at(tfhd, 4)) else { continue };
        result.absolute |= tfhd_flags & 1 != 0;
        if tracks.clock == Some(id)
            && let Some(tfdt) = find(traf, b"tfdt")
        {
            let version_1 = tfdt.first() == Some(&1);
            result.decode_time = if version_1 { u64_at(tfdt, 4) } else { u32_at(tfdt, 4).map(u64::from) };
        }
        if tracks.video == Some(id) && !video_seen {
            video_seen = true;
            let default = tfhd_default_flags(tfhd, tfhd_flags)
                .or_else(|| tracks.default_flags.iter().find(|(track, _)| *track == id).map(|&(_, f)| f));
            let first = find(traf, b"trun").and_then(first_sample_flags).and_then(|own| own.or(default));
            result.random_access = first.is_some_and(|flags| flags & NON_SYNC == 0);
        }
    }
    result
}

/// Optional fields come in the order of their flag bits, 8.8.7.1.
fn tfhd_default_flags(tfhd: &[u8], flags: u32) -> Option<u32> {
    let before = [(0x01, 8), (0x02, 4), (0x08, 4), (0x10, 4)];
    let at = 8 + before.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, len)| len).sum::<usize>();
    (flags & 0x20 != 0).then(|| u32_at(tfhd, at)).flatten()
}

/// Flags of the run's first sample: the outer `None` if the run is broken, the inner if it leaves them to defaults.
fn first_sample_flags(trun: &[u8]) -> Option<Option<u32>> {
    let flags = u32_at(trun, 0)?;
    let mut at = 8 + if flags & 0x1 != 0 { 4 } else { 0 };
    if flags & 0x4 != 0 {
        return u32_at(trun, at).map(Some);
    }
    if flags & 0x400 == 0 {
        return Some(None);
    }
    at += [0x100, 0x200].iter().filter(|&bit| flags & bit != 0).count() * 4;
    u32_at(trun, at).map(Some)
}
