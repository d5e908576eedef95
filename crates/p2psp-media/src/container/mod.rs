//! Cuts a byte stream into records at container units, marks random-access points and keeps the stream header that a
//! late joiner needs. Pure: bytes in, [`Ingested`] out; no I/O, no clock. Decodes no media and changes no byte.

mod carver;
mod detect;
mod ebml;
mod flv;
mod mp4;
mod mpeg_ts;
mod mpeg_ts_psi;
mod ogg;
pub(crate) mod read;
mod webm;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::record::Ingested;
use carver::Carver;
use detect::{Detected, detect, find_restart};
pub(crate) use mpeg_ts_psi::crc32_mpeg;

/// Largest payload of a record by default: a datagram of 1194 bytes, less its header of 16 and what parity needs of it, 10.
pub const PAYLOAD_BYTES_MAX_DEFAULT: usize = 1168;

/// Smallest `payload_bytes_max`: one transport-stream packet.
pub const PAYLOAD_BYTES_MIN: usize = mpeg_ts::PACKET_BYTES;

/// Bytes without any recognisable structure after which a stream that lost its own is treated as plain bytes.
pub const LOST_BYTES_MAX: u64 = 1024 * 1024;

/// A container format, as far as the cutter tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// FLV file format: RTMP's tags.
    Flv,
    /// Fragmented MP4 (ISO BMFF, CMAF).
    Mp4,
    /// MPEG transport stream, packets of 188 bytes.
    MpegTs,
    /// Ogg: Vorbis, Opus, FLAC, Theora, Speex.
    Ogg,
    /// Anything else, cut by size: MP3, ADTS, or unknown bytes.
    Raw,
    /// WebM and Matroska.
    WebM,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flv => "FLV",
            Self::Mp4 => "fragmented MP4",
            Self::MpegTs => "MPEG-TS",
            Self::Ogg => "Ogg",
            Self::Raw => "plain bytes",
            Self::WebM => "WebM/Matroska",
        })
    }
}

/// Counters of a [`Cutter`] since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutterStats {
    /// Bytes pushed.
    pub bytes_in: u64,
    /// Bytes thrown away because they were outside packets of a declared transport stream.
    pub bytes_dropped: u64,
    /// Records made.
    pub records: u64,
    /// Times the structure of the stream was lost: damage, or another format without a word.
    pub structure_losses: u64,
    /// Streams cut as plain bytes because their header was larger than
    /// [`STREAM_HEADER_BYTES_MAX`](crate::record::STREAM_HEADER_BYTES_MAX).
    pub headers_too_large: u64,
    /// MP4 streams cut as plain bytes because they are not fragmented.
    pub mp4_not_fragmented: u64,
    /// MP4 fragments that address their samples by file position, which a late joiner cannot resolve.
    pub mp4_fragments_absolute: u64,
}

/// The push parser: one per source.
///
/// The payloads of all records, in order, are the pushed bytes, however they were divided into pushes. The one exception
/// is a [declared](Self::mpeg_ts) transport stream, where bytes between packets are dropped and counted.
#[derive(Debug)]
pub struct Cutter {
    carver: Carver,
    parser: Parser,
    stats: CutterStats,
    payload_bytes_max: usize,
    declared_ts: bool,
    content_type_hint: Option<String>,
    /// Where in the source the structure was last lost.
    lost_at: Option<u64>,
}

/// What a parser says after it looked at the unassigned bytes.
enum Step {
    /// It assigned some bytes, or changed state: call again.
    Progress,
    /// It needs more bytes than there are.
    NeedMore,
    /// These bytes are not what the format allows.
    Lost,
    /// The stream cannot be joined late; cut it by size.
    Raw(RawReason),
}

enum RawReason {
    HeaderTooLarge,
    NotFragmented,
}

#[derive(Debug)]
enum Parser {
    Probing,
    Flv(flv::Flv),
    Mp4(mp4::Mp4),
    MpegTs(mpeg_ts::MpegTs),
    Ogg(ogg::Ogg),
    WebM(webm::WebM),
    Raw,
    /// Structure lost: the parser that lost it, and the bytes passed since.
    Lost(Box<Self>, u64),
}

impl Cutter {
    /// A cutter that finds out the container from the first bytes. Records have at most `payload_bytes_max` bytes;
    /// values under [`PAYLOAD_BYTES_MIN`] count as that.
    #[must_use]
    pub fn new(payload_bytes_max: usize) -> Self {
        let payload_bytes_max = payload_bytes_max.max(PAYLOAD_BYTES_MIN);
        Self {
            carver: Carver::new(payload_bytes_max),
            parser: Parser::Probing,
            stats: CutterStats::default(),
            payload_bytes_max,
            declared_ts: false,
            content_type_hint: None,
            lost_at: None,
        }
    }

    /// A cutter for a source that is a transport stream by declaration (UDP, RTP): it locks to the packets, drops and
    /// counts whatever lies between them, and never falls back to another format.
    #[must_use]
    pub fn mpeg_ts(payload_bytes_max: usize) -> Self {
        Self { declared_ts: true, ..Self::new(payload_bytes_max) }
    }

    /// What the source says its content type is. Used only where the bytes do not tell; ignored unless it is a plain
    /// `type/subtype` of at most 100 characters.
    pub fn hint_content_type(&mut self, content_type: &str) {
        let mime = content_type.split(';').next().unwrap_or_default().trim();
        let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'/' | b'-' | b'+' | b'.');
        let plain =
            mime.len() <= 100 && mime.bytes().all(legal) && mime.bytes().filter(|&c| c == b'/').count() == 1;
        self.content_type_hint = plain.then(|| mime.to_owned());
    }

    /// Takes the next bytes of the source and appends what is complete to `out`.
    pub fn push(&mut self, bytes: &Bytes, out: &mut Vec<Ingested>) {
        self.stats.bytes_in += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.carver.push(bytes);
        self.run(false, out);
    }

    /// The source paused: lets a partly filled record go rather than have its bytes wait for the next ones.
    pub fn flush(&mut self, out: &mut Vec<Ingested>) {
        self.carver.flush(out);
        self.stats.records = self.carver.records;
    }

    /// The source ended: everything goes out. A later [`push`](Self::push) starts a new stream, whose header gets a new
    /// version unless it is a transport stream with the same tables as before.
    pub fn finish(&mut self, out: &mut Vec<Ingested>) {
        self.run(true, out);
        let rest = self.carver.rest().len();
        if self.declared_ts {
            self.drop_bytes(rest, out);
        } else {
            self.carver.advance(rest, out);
        }
        self.carver.cut(false, out);
        self.parser = Parser::Probing;
        self.stats.records = self.carver.records;
    }

    /// The container, once the first bytes have told.
    #[must_use]
    pub fn container(&self) -> Option<Container> {
        match &self.parser {
            Parser::Probing => None,
            Parser::Flv(_) => Some(Container::Flv),
            Parser::Mp4(_) => Some(Container::Mp4),
            Parser::MpegTs(_) => Some(Container::MpegTs),
            Parser::Ogg(_) => Some(Container::Ogg),
            Parser::WebM(_) => Some(Container::WebM),
            Parser::Raw | Parser::Lost(..) => Some(Container::Raw),
        }
    }

    /// The newest media timestamp that went by, from an arbitrary origin; `None` where the container has none that the
    /// cutter reads. Resolution is that of the container: PCR, tag, block, fragment or page.
    #[must_use]
    pub fn media_time(&self) -> Option<Duration> {
        self.carver.media_time
    }

    /// Counters so far.
    #[must_use]
    pub fn stats(&self) -> CutterStats {
        self.stats
    }

    fn run(&mut self, at_end: bool, out: &mut Vec<Ingested>) {
        loop {
            let step = match &mut self.parser {
                Parser::Probing => self.probe(at_end, out),
                Parser::Flv(flv) => flv.step(&mut self.carver, out),
                Parser::Mp4(mp4) => mp4.step(&mut self.carver, &mut self.stats, out),
                Parser::MpegTs(ts) => ts.step(&mut self.carver, out),
                Parser::Ogg(ogg) => ogg.step(&mut self.carver, out),
                Parser::WebM(webm) => webm.step(&mut self.carver, out),
                Parser::Raw => {
                    let n = self.carver.rest().len();
                    self.carver.advance(n, out);
                    Step::NeedMore
                }
                Parser::Lost(..) => self.search(at_end, out),
            };
            match step {
                Step::Progress => {}
                Step::NeedMore => break,
                Step::Lost => {
                    self.stats.structure_losses += 1;
                    let lost = std::mem::replace(&mut self.parser, Parser::Raw);
                    self.parser = Parser::Lost(Box::new(lost), 0);
                    // Another stream may begin right here; but what was lost here before is not tried again.
                    let rest = u64::try_from(self.carver.rest().len()).unwrap_or(u64::MAX);
                    let at = Some(self.stats.bytes_in - rest);
                    if self.lost_at == at {
                        self.pass(1, out);
                    }
                    self.lost_at = at;
                }
                Step::Raw(reason) => {
                    match reason {
                        RawReason::HeaderTooLarge => self.stats.headers_too_large += 1,
                        RawReason::NotFragmented => self.stats.mp4_not_fragmented += 1,
                    }
                    self.carver.always_random_access(out);
                    self.parser = Parser::Raw;
                }
            }
        }
        self.stats.records = self.carver.records;
    }

    fn probe(&mut self, at_end: bool, out: &mut Vec<Ingested>) -> Step {
        if self.declared_ts {
            self.parser =
                Parser::MpegTs(mpeg_ts::MpegTs::begin(self.payload_bytes_max, &mut self.carver, out));
            return Step::Progress;
        }
        if self.carver.rest().is_empty() {
            return Step::NeedMore;
        }
        match detect(self.carver.rest(), at_end) {
            Detected::NeedMore => Step::NeedMore,
            Detected::Container(container) => self.begin(container, out),
            Detected::TsAfter(garbage) => {
                self.carver.set_content_type(mpeg_ts::CONTENT_TYPE);
                self.carver.advance(garbage, out);
                self.begin(Container::MpegTs, out)
            }
            Detected::Raw(content_type) => {
                let hint = self.content_type_hint.as_deref();
                let content_type = content_type.or(hint).unwrap_or("application/octet-stream");
                self.carver.begin(content_type, self.payload_bytes_max, false, out);
                self.carver.always_random_access(out);
                self.parser = Parser::Raw;
                Step::Progress
            }
        }
    }

    fn begin(&mut self, container: Container, out: &mut Vec<Ingested>) -> Step {
        let (carver, payload) = (&mut self.carver, self.payload_bytes_max);
        self.parser = match container {
            Container::Flv => Parser::Flv(flv::Flv::begin(payload, carver, out)),
            Container::Mp4 => Parser::Mp4(mp4::Mp4::begin(payload, carver, out)),
            Container::MpegTs => Parser::MpegTs(mpeg_ts::MpegTs::begin(payload, carver, out)),
            Container::Ogg => Parser::Ogg(ogg::Ogg::begin(payload, carver, out)),
            Container::Raw => Parser::Raw,
            Container::WebM => Parser::WebM(webm::WebM::begin(payload, carver, out)),
        };
        Step::Progress
    }

    /// After a loss: passes bytes on, none of them a random-access point, until a known structure begins.
    fn search(&mut self, at_end: bool, out: &mut Vec<Ingested>) -> Step {
        let Parser::Lost(lost, passed) = &mut self.parser else { return Step::Progress };
        let resumable = match **lost {
            Parser::Mp4(_) => Some(Container::Mp4),
            Parser::MpegTs(_) => Some(Container::MpegTs),
            Parser::Ogg(_) => Some(Container::Ogg),
            Parser::WebM(_) => Some(Container::WebM),
            Parser::Flv(_) | Parser::Lost(..) | Parser::Probing | Parser::Raw => None,
        };
        let found = find_restart(self.carver.rest(), resumable, self.declared_ts);
        *passed = passed.saturating_add(u64::try_from(found.skip).unwrap_or(u64::MAX));
        let give_up = *passed > LOST_BYTES_MAX && !self.declared_ts;
        match found.container {
            Some((container, resume)) => {
                let lost = std::mem::replace(&mut **lost, Parser::Raw);
                self.pass(found.skip, out);
                self.carver.cut(false, out);
                if !resume {
                    return self.begin(container, out);
                }
                self.parser = lost;
                if let Parser::WebM(webm) = &mut self.parser {
                    webm.resume();
                }
                Step::Progress
            }
            None => {
                self.pass(if at_end { self.carver.rest().len() } else { found.skip }, out);
                if give_up {
                    self.carver.begin("application/octet-stream", self.payload_bytes_max, false, out);
                    self.carver.always_random_access(out);
                    self.parser = Parser::Raw;
                    return Step::Progress;
                }
                Step::NeedMore
            }
        }
    }

    /// Bytes without structure: kept, or dropped where the source promised a transport stream.
    fn pass(&mut self, n: usize, out: &mut Vec<Ingested>) {
        if self.declared_ts {
            self.drop_bytes(n, out);
        } else {
            self.carver.advance(n, out);
        }
    }

    fn drop_bytes(&mut self, n: usize, out: &mut Vec<Ingested>) {
        if n > 0 {
            self.stats.bytes_dropped += u64::try_from(n).unwrap_or(u64::MAX);
            self.carver.discard(n, out);
        }
    }
}
