//! FLV (Adobe FLV specification 10.1, annex E): header is the file header, onMetaData and the codec configuration
//! tags; a random-access point is a keyframe video tag. Decodes no frame.

use std::time::Duration;

use bytes::Bytes;

use super::carver::Carver;
use super::read::{to_len, u8_at, u24_at, u32_at};
use super::{RawReason, Step};
use crate::record::{Ingested, STREAM_HEADER_BYTES_MAX};

const TAG_HEADER_BYTES: usize = 11;
/// The size of the previous tag, after each tag.
const TRAILER_BYTES: usize = 4;
/// Audio tags without any video tag after which a file that promised video is taken for audio alone.
const AUDIO_TAGS_ALONE: u32 = 64;

const AUDIO: u8 = 8;
const VIDEO: u8 = 9;
const SCRIPT: u8 = 18;

#[derive(Debug)]
pub(super) struct Flv {
    skip: usize,
    file_header: Option<Bytes>,
    metadata: Bytes,
    video_config: Bytes,
    audio_config: Bytes,
    announced: bool,
    restarted: bool,
    promises_video: bool,
    video_seen: bool,
    audio_tags: u32,
}

enum TagKind {
    Metadata,
    VideoConfig,
    AudioConfig,
    Coded { random_access: bool },
    Other,
}

impl Flv {
    pub(super) fn begin(payload_bytes_max: usize, carver: &mut Carver, out: &mut Vec<Ingested>) -> Self {
        carver.begin("video/x-flv", payload_bytes_max, true, out);
        Self {
            skip: 0,
            file_header: None,
            metadata: Bytes::new(),
            video_config: Bytes::new(),
            audio_config: Bytes::new(),
            announced: false,
            restarted: true,
            promises_video: false,
            video_seen: false,
            audio_tags: 0,
        }
    }

    pub(super) fn step(&mut self, carver: &mut Carver, out: &mut Vec<Ingested>) -> Step {
        if self.skip > 0 {
            let n = self.skip.min(carver.rest().len());
            if n == 0 {
                return Step::NeedMore;
            }
            carver.advance(n, out);
            self.skip -= n;
            if self.skip == 0 {
                carver.unit_end(out);
            }
            return Step::Progress;
        }
        if self.file_header.is_none() { self.file_header(carver) } else { self.tag(carver, out) }
    }

    fn file_header(&mut self, carver: &Carver) -> Step {
        let rest = carver.rest();
        let (Some(flags), Some(offset)) = (u8_at(rest, 4), u32_at(rest, 5)) else { return Step::NeedMore };
        if !rest.starts_with(b"FLV\x01") || !(9..=64).contains(&offset) {
            return Step::Lost;
        }
        let len = to_len(offset) + TRAILER_BYTES;
        let Some(header) = rest.get(..len) else { return Step::NeedMore };
        self.file_header = Some(Bytes::copy_from_slice(header));
        self.promises_video = flags & 1 != 0;
        self.skip = len;
        Step::Progress
    }

    fn tag(&mut self, carver: &mut Carver, out: &mut Vec<Ingested>) -> Step {
        let rest = carver.rest();
        let (Some(kind), Some(size), Some(time_low), Some(time_high), Some(stream)) =
            (u8_at(rest, 0), u24_at(rest, 1), u24_at(rest, 4), u8_at(rest, 7), u24_at(rest, 8))
        else {
            return Step::NeedMore;
        };
        // A concatenated file: the search for a restart finds its header.
        if kind & 0xE0 != 0 || !matches!(kind, AUDIO | VIDEO | SCRIPT) || stream != 0 {
            return Step::Lost;
        }
        let size = to_len(size);
        let total = TAG_HEADER_BYTES + size + TRAILER_BYTES;
        let peek = size.min(if kind == SCRIPT { 13 } else { 6 });
        let Some(body) = rest.get(TAG_HEADER_BYTES..TAG_HEADER_BYTES + peek) else { return Step::NeedMore };
        match self.kind(kind, body) {
            TagKind::Coded { random_access } => {
                self.announce(carver, out);
                let ms = u64::from(time_low) | u64::from(time_high) << 24;
                carver.media_time = Some(Duration::from_millis(ms));
                match (random_access, kind) {
                    (true, VIDEO) => carver.cut(true, out),
                    (true, _) => carver.cut_soft(out),
                    (false, _) => {}
                }
            }
            TagKind::Other => {}
            config @ (TagKind::Metadata | TagKind::VideoConfig | TagKind::AudioConfig) => {
                if total + self.header_len() > STREAM_HEADER_BYTES_MAX {
                    return Step::Raw(RawReason::HeaderTooLarge);
                }
                let Some(tag) = rest.get(..total) else { return Step::NeedMore };
                self.store(&config, tag);
                if self.announced {
                    self.announced = false;
                    self.announce(carver, out);
                }
            }
        }
        self.skip = total;
        Step::Progress
    }

    /// Keeps a configuration tag. Metadata that change while the stream runs (titles, statistics) are no new format.
    fn store(&mut self, kind: &TagKind, tag: &[u8]) {
        let slot = match kind {
            TagKind::Metadata if self.announced => return,
            TagKind::Metadata => &mut self.metadata,
            TagKind::VideoConfig => &mut self.video_config,
            TagKind::AudioConfig => &mut self.audio_config,
            TagKind::Coded { .. } | TagKind::Other => return,
        };
        // The timestamp of a repeated configuration is news to nobody.
        if slot.get(TAG_HEADER_BYTES..) != tag.get(TAG_HEADER_BYTES..) {
            *slot = Bytes::copy_from_slice(tag);
        }
    }

    fn header_len(&self) -> usize {
        let file = self.file_header.as_ref().map_or(0, Bytes::len);
        file + self.metadata.len() + self.video_config.len() + self.audio_config.len()
    }

    fn announce(&mut self, carver: &mut Carver, out: &mut Vec<Ingested>) {
        if !self.announced {
            let file = self.file_header.clone().unwrap_or_default();
            let header =
                [&file[..], &self.metadata[..], &self.video_config[..], &self.audio_config[..]].concat();
            carver.set_header(header.into(), std::mem::take(&mut self.restarted), out);
            self.announced = true;
        }
    }

    fn kind(&mut self, tag: u8, body: &[u8]) -> TagKind {
        let (first, second) = (u8_at(body, 0).unwrap_or(0), u8_at(body, 1));
        match tag {
            SCRIPT if body.starts_with(b"\x02\x00\x0AonMetaData") => TagKind::Metadata,
            AUDIO => {
                // Sound format 10 is AAC; 9 is the extended header (packet type in the low nibble).
                let config = match first >> 4 {
                    10 => second == Some(0),
                    9 => first & 0x0F == 0,
                    _ => false,
                };
                if config {
                    return TagKind::AudioConfig;
                }
                self.audio_tags = self.audio_tags.saturating_add(1);
                let alone = !self.promises_video || self.audio_tags > AUDIO_TAGS_ALONE;
                TagKind::Coded { random_access: alone && !self.video_seen }
            }
            VIDEO => {
                let keyframe = first >> 4 & 7 == 1;
                let packet = if first & 0x80 != 0 {
                    Some(first & 0x0F)
                } else if matches!(first & 0x0F, 7 | 12) {
                    second
                } else {
                    Some(1)
                };
                match packet {
                    Some(0) => TagKind::VideoConfig,
                    Some(1 | 3) => {
                        self.video_seen = true;
                        TagKind::Coded { random_access: keyframe }
                    }
                    Some(_) | None => TagKind::Other,
                }
            }
            _ => TagKind::Other,
        }
    }
}
