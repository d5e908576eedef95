//! WebM and Matroska (RFC 9559): header is EBML + Segment + Info + Tracks, a random-access point is a Cluster whose
//! first video block is a keyframe, or any Cluster where there is no video. Decodes no frame.

use std::time::Duration;

use bytes::Bytes;

use super::carver::Carver;
use super::ebml::{Element, HEADER_BYTES_MAX, Parsed, children, element_at, uint, vint_at};
use super::read::{array_at, to_len, u8_at};
use super::{RawReason, Step};
use crate::record::{Ingested, STREAM_HEADER_BYTES_MAX};

/// How far into a Cluster its first video block is looked for; beyond it, the Cluster is no random-access point. Also
/// what a keyframe in a BlockGroup may measure, because what makes it one comes after its bytes.
const CLUSTER_LOOKAHEAD_BYTES_MAX: usize = 256 * 1024;

/// Larger elements than this, other than Segment and Cluster, are taken for damage: a wrong length would swallow the
/// stream without a sign.
const ELEMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

const EBML: u32 = 0x1A45_DFA3;
const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_A966;
const TRACKS: u32 = 0x1654_AE6B;
const CLUSTER: u32 = 0x1F43_B675;
const OTHER_TOP_LEVEL: [u32; 5] = [0x1C53_BB6B, 0x1254_C367, 0x114D_9B74, 0x1941_A469, 0x1043_A770];
const TIMESTAMP: u32 = 0xE7;
const SIMPLE_BLOCK: u32 = 0xA3;
const BLOCK_GROUP: u32 = 0xA0;
const BLOCK: u32 = 0xA1;
/// SilentTracks, Position, PrevSize, EncryptedBlock.
const OTHER_IN_CLUSTER: [u32; 4] = [0x5854, 0xA7, 0xAB, 0xAF];
/// Void and CRC-32 may be anywhere.
const ANYWHERE: [u32; 2] = [0xEC, 0xBF];
const REFERENCE_BLOCK: u32 = 0xFB;

/// A Segment of unknown size: a late joiner's Segment has no end that anyone could know.
const SEGMENT_OPEN: [u8; 12] = [0x18, 0x53, 0x80, 0x67, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];

#[derive(Debug)]
pub(super) struct WebM {
    /// Bytes of the element being passed.
    skip: u64,
    /// Inside a Cluster; `Some(n)` when `n` more bytes belong to it.
    cluster: Option<Option<u64>>,
    ebml: Bytes,
    info: Bytes,
    tracks: Bytes,
    /// The header changed since it was announced.
    dirty: bool,
    /// A new EBML header was seen: the timeline starts over.
    restarted: bool,
    is_matroska: bool,
    video_tracks: Vec<u64>,
    timestamp_scale_ns: u64,
    cluster_timestamp: u64,
    /// Where the search for the Cluster's first video block goes on.
    walked: usize,
}

impl WebM {
    pub(super) fn begin(payload_bytes_max: usize, carver: &mut Carver, out: &mut Vec<Ingested>) -> Self {
        carver.begin("video/webm", payload_bytes_max, true, out);
        Self {
            skip: 0,
            cluster: None,
            ebml: Bytes::new(),
            info: Bytes::new(),
            tracks: Bytes::new(),
            dirty: false,
            restarted: false,
            is_matroska: false,
            video_tracks: Vec::new(),
            timestamp_scale_ns: 1_000_000,
            cluster_timestamp: 0,
            walked: 0,
        }
    }

    /// Goes on at a Cluster after the structure was lost.
    pub(super) fn resume(&mut self) {
        self.skip = 0;
        self.cluster = None;
        self.walked = 0;
    }

    pub(super) fn step(&mut self, carver: &mut Carver, out: &mut Vec<Ingested>) -> Step {
        if self.skip > 0 {
            let n = to_len(self.skip).min(carver.rest().len());
            if n == 0 {
                return Step::NeedMore;
            }
            self.pass(n, carver, out);
            if self.skip == 0 {
                carver.unit_end(out);
            }
            return Step::Progress;
        }
        if self.cluster == Some(Some(0)) {
            self.cluster = None;
        }
        let element = match element_at(carver.rest(), 0) {
            Parsed::Element(element) => element,
            Parsed::NeedMore => return Step::NeedMore,
            Parsed::Invalid => return Step::Lost,
        };
        if is_top_level(element.id) {
            self.cluster = None;
            return self.top_level(element, carver, out);
        }
        let Some(size) = element.size else { return Step::Lost };
        let total = size.saturating_add(u64::try_from(element.header_bytes).unwrap_or(0));
        if total > ELEMENT_BYTES_MAX {
            return Step::Lost;
        }
        // Nearly any two bytes are some element's id and size; only the known ones tell structure from noise.
        let in_cluster = matches!(element.id, TIMESTAMP | SIMPLE_BLOCK | BLOCK_GROUP);
        if self.cluster.is_some() && (in_cluster || OTHER_IN_CLUSTER.contains(&element.id)) {
            return self.in_cluster(element, total, carver);
        }
        if !ANYWHERE.contains(&element.id) {
            return Step::Lost;
        }
        self.skip = total;
        Step::Progress
    }

    fn top_level(&mut self, element: Element, carver: &mut Carver, out: &mut Vec<Ingested>) -> Step {
        let header_bytes = u64::try_from(element.header_bytes).unwrap_or(0);
        match (element.id, element.size) {
            (CLUSTER, size) => self.cluster(size, element.header_bytes, carver, out),
            (SEGMENT, _) => {
                self.skip = header_bytes;
                Step::Progress
            }
            (EBML | INFO | TRACKS, Some(size)) => {
                let total = to_len(size).saturating_add(element.header_bytes);
                if total > STREAM_HEADER_BYTES_MAX {
                    return Step::Raw(RawReason::HeaderTooLarge);
                }
                let Some(bytes) = carver.rest().get(..total) else { return Step::NeedMore };
                let bytes = Bytes::copy_from_slice(bytes);
                let body = bytes.slice(element.header_bytes..);
                match element.id {
                    EBML => self.on_ebml(bytes, &body),
                    INFO => {
                        let scale =
                            children(&body).find(|&(id, _)| id == 0x2AD7B1).and_then(|(_, b)| uint(b));
                        self.timestamp_scale_ns = scale.unwrap_or(1_000_000);
                        self.dirty |= self.info != bytes;
                        self.info = bytes;
                    }
                    _ => {
                        self.video_tracks = video_tracks(&body);
                        self.dirty |= self.tracks != bytes;
                        self.tracks = bytes;
                    }
                }
                self.skip = size.saturating_add(header_bytes);
                Step::Progress
            }
            (_, Some(size)) if size <= ELEMENT_BYTES_MAX => {
                self.skip = size.saturating_add(header_bytes);
                Step::Progress
            }
            (_, _) => Step::Lost,
        }
    }

    fn on_ebml(&mut self, bytes: Bytes, body: &[u8]) {
        self.is_matroska = children(body).any(|(id, b)| id == 0x4282 && b.starts_with(b"matroska"));
        self.ebml = bytes;
        (self.info, self.tracks) = (Bytes::new(), Bytes::new());
        self.dirty = true;
        self.restarted = true;
    }

    fn cluster(
        &mut self,
        size: Option<u64>,
        header_bytes: usize,
        carver: &mut Carver,
        out: &mut Vec<Ingested>,
    ) -> Step {
        let Some(random_access) = self.starts_with_keyframe(size, header_bytes, carver.rest()) else {
            return Step::NeedMore;
        };
        self.walked = 0;
        if self.dirty {
            let len = self.ebml.len() + SEGMENT_OPEN.len() + self.info.len() + self.tracks.len();
            if len > STREAM_HEADER_BYTES_MAX {
                return Step::Raw(RawReason::HeaderTooLarge);
            }
            let header = [&self.ebml[..], &SEGMENT_OPEN[..], &self.info[..], &self.tracks[..]].concat();
            carver.set_content_type(match (self.is_matroska, self.video_tracks.is_empty()) {
                (false, false) => "video/webm",
                (false, true) => "audio/webm",
                (true, false) => "video/x-matroska",
                (true, true) => "audio/x-matroska",
            });
            carver.set_header(header.into(), self.restarted, out);
            (self.dirty, self.restarted) = (false, false);
        }
        carver.cut(random_access, out);
        carver.advance(header_bytes, out);
        self.cluster = Some(size);
        Step::Progress
    }

    /// Whether the Cluster at the front of `rest` begins with a video keyframe; `None` until enough of it is there.
    fn starts_with_keyframe(&mut self, size: Option<u64>, header_bytes: usize, rest: &[u8]) -> Option<bool> {
        if self.video_tracks.is_empty() {
            return Some(true);
        }
        let end = size.map_or(usize::MAX, |n| to_len(n).saturating_add(header_bytes));
        self.walked = self.walked.max(header_bytes);
        loop {
            let at = self.walked;
            if at >= end || at > CLUSTER_LOOKAHEAD_BYTES_MAX {
                return Some(false);
            }
            let Parsed::Element(child) = element_at(rest, at) else {
                // Damage is found again, and handled, when the walk proper comes here.
                let complete = rest.len() >= at.saturating_add(HEADER_BYTES_MAX);
                return complete.then_some(false);
            };
            let Some(child_size) = child.size.filter(|_| !is_top_level(child.id)) else { return Some(false) };
            let body = at + child.header_bytes;
            let keyframe = match child.id {
                SIMPLE_BLOCK => self.video_block_flags(rest, body)?.map(|flags| flags & 0x80 != 0),
                BLOCK_GROUP => self.group_is_keyframe(rest, body, to_len(child_size))?,
                _ => None,
            };
            if keyframe.is_some() {
                return keyframe;
            }
            self.walked = body.saturating_add(to_len(child_size));
        }
    }

    /// Flags of a block if it is of a video track. The outer `None`: not there yet.
    fn video_block_flags(&self, rest: &[u8], body: usize) -> Option<Option<u8>> {
        let Ok((track, len)) = vint_at(rest, body)? else { return Some(Some(0)) };
        let flags = u8_at(rest, body + len + 2)?;
        Some(track.filter(|t| self.video_tracks.contains(t)).map(|_| flags))
    }

    /// A BlockGroup is a keyframe when no ReferenceBlock is in it.
    fn group_is_keyframe(&self, rest: &[u8], body: usize, len: usize) -> Option<Option<bool>> {
        if len > CLUSTER_LOOKAHEAD_BYTES_MAX {
            return Some(Some(false));
        }
        let group = rest.get(body..body.saturating_add(len))?;
        let block = children(group).find(|&(id, _)| id == BLOCK);
        let is_video = block.is_some_and(|(_, b)| matches!(self.video_block_flags(b, 0), Some(Some(_))));
        Some(is_video.then(|| !children(group).any(|(id, _)| id == REFERENCE_BLOCK)))
    }

    fn in_cluster(&mut self, element: Element, total: u64, carver: &mut Carver) -> Step {
        if let Some(Some(left)) = self.cluster
            && total > left
        {
            return Step::Lost;
        }
        let at = element.header_bytes;
        match element.id {
            TIMESTAMP if total <= 20 => {
                let Some(body) = carver.rest().get(at..to_len(total)) else { return Step::NeedMore };
                self.cluster_timestamp = uint(body).unwrap_or(0);
                self.note_time(0, carver);
            }
            SIMPLE_BLOCK => {
                let Some(vint) = vint_at(carver.rest(), at) else { return Step::NeedMore };
                let Ok((_, len)) = vint else { return Step::Lost };
                if to_len(total) < at + len + 3 {
                    return Step::Lost;
                }
                let Some(relative) = array_at::<2>(carver.rest(), at + len) else { return Step::NeedMore };
                self.note_time(i16::from_be_bytes(relative), carver);
            }
            _ => {}
        }
        self.skip = total;
        Step::Progress
    }

    fn note_time(&self, relative: i16, carver: &mut Carver) {
        let ticks = self.cluster_timestamp.saturating_add_signed(i64::from(relative));
        carver.media_time = Some(Duration::from_nanos(ticks.saturating_mul(self.timestamp_scale_ns)));
    }

    fn pass(&mut self, n: usize, carver: &mut Carver, out: &mut Vec<Ingested>) {
        let n64 = u64::try_from(n).unwrap_or(u64::MAX);
        self.skip = self.skip.saturating_sub(n64);
        if let Some(Some(left)) = &mut self.cluster {
            *left = left.saturating_sub(n64);
        }
        carver.advance(n, out);
    }
}

fn is_top_level(id: u32) -> bool {
    matches!(id, EBML | SEGMENT | INFO | TRACKS | CLUSTER) || OTHER_TOP_LEVEL.contains(&id)
}

/// Numbers of the tracks of type 1.
fn video_tracks(tracks: &[u8]) -> Vec<u64> {
    let field = |entry, id| children(entry).find(|&(i, _)| i == id).and_then(|(_, b)| uint(b));
    children(tracks)
        .filter(|&(id, entry)| id == 0xAE && field(entry, 0x83) == Some(1))
        .filter_map(|(_, entry)| field(entry, 0xD7))
        .collect()
}
