//! Ogg (RFC 3533): header is the pages with the header packets of every logical stream; a random-access point is a page
//! that does not continue a packet, with Theora one that begins with a keyframe. Decodes no packet.

use std::time::Duration;

use super::carver::Carver;
use super::read::{array_at, to_len, u8_at, u16_at, u32_at};
use super::{RawReason, Step};
use crate::record::{Ingested, STREAM_HEADER_BYTES_MAX};

const PAGE_HEADER_BYTES: usize = 27;
/// Logical streams of one group that are told apart; more than any player offers a choice of.
const STREAMS_MAX: usize = 16;

const CONTINUED: u8 = 1;
const BOS: u8 = 2;

#[derive(Debug)]
pub(super) struct Ogg {
    skip: usize,
    streams: Vec<Stream>,
    /// Header pages so far.
    header: Vec<u8>,
    /// All header packets of all streams were seen.
    complete: bool,
    /// The page before this one belonged to a stream's beginning.
    in_bos: bool,
}

#[derive(Debug)]
struct Stream {
    serial: u32,
    codec: Codec,
    /// Header packets that are still to come.
    header_packets: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Theora,
    /// With granules per second.
    Audio(u32),
    Other,
}

struct Page {
    flags: u8,
    granule: u64,
    serial: u32,
    len: usize,
    body_at: usize,
    packets_ended: u16,
}

impl Ogg {
    pub(super) fn begin(payload_bytes_max: usize, carver: &mut Carver, out: &mut Vec<Ingested>) -> Self {
        carver.begin("audio/ogg", payload_bytes_max, true, out);
        Self { skip: 0, streams: Vec::new(), header: Vec::new(), complete: false, in_bos: false }
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
        let rest = carver.rest();
        let page = match parse_page(rest) {
            Ok(Some(page)) => page,
            Ok(None) => return Step::NeedMore,
            Err(NotAPage) => return Step::Lost,
        };
        if page.flags & BOS != 0 {
            let Some(bytes) = rest.get(..page.len) else { return Step::NeedMore };
            let bytes = bytes.to_vec();
            return self.on_bos(&page, &bytes, carver, out);
        }
        self.in_bos = false;
        if !self.complete {
            let Some(bytes) = rest.get(..page.len) else { return Step::NeedMore };
            let bytes = bytes.to_vec();
            return self.on_header_page(&page, &bytes, carver, out);
        }
        let has_theora = self.streams.iter().any(|s| s.codec == Codec::Theora);
        let codec = self.streams.iter().find(|s| s.serial == page.serial).map(|s| s.codec);
        let mut random_access = page.flags & CONTINUED == 0;
        if has_theora && random_access {
            random_access = codec == Some(Codec::Theora) && {
                // Theora I 7.1: bit 7 is 0 for video data, bit 6 for an intra frame.
                let Some(first) = u8_at(rest, page.body_at) else { return Step::NeedMore };
                first & 0xC0 == 0
            };
        }
        if let Some(Codec::Audio(rate)) = codec
            && page.granule < u64::MAX / 2
            && rate > 0
        {
            let (rate, ticks) = (u64::from(rate), page.granule);
            let nanos = (ticks % rate).saturating_mul(1_000_000_000) / rate;
            carver.media_time = Some(Duration::from_secs(ticks / rate) + Duration::from_nanos(nanos));
        }
        if random_access {
            carver.cut(true, out);
        }
        self.skip = page.len;
        Step::Progress
    }

    fn on_bos(&mut self, page: &Page, bytes: &[u8], carver: &mut Carver, out: &mut Vec<Ingested>) -> Step {
        if !self.in_bos && !self.streams.is_empty() {
            // A chain: the next link has headers of its own.
            carver.begin("audio/ogg", carver.payload_bytes_max(), true, out);
            self.streams.clear();
            self.header.clear();
        }
        self.in_bos = true;
        self.complete = false;
        let (codec, packets) = identify(bytes.get(page.body_at..).unwrap_or_default());
        if self.streams.len() < STREAMS_MAX {
            let header_packets = packets.saturating_sub(page.packets_ended);
            self.streams.push(Stream { serial: page.serial, codec, header_packets });
        }
        self.keep(page, bytes)
    }

    fn on_header_page(
        &mut self,
        page: &Page,
        bytes: &[u8],
        carver: &mut Carver,
        out: &mut Vec<Ingested>,
    ) -> Step {
        let wanted = self.streams.iter_mut().find(|s| s.serial == page.serial && s.header_packets > 0);
        if let Some(stream) = wanted {
            stream.header_packets = stream.header_packets.saturating_sub(page.packets_ended);
            let step = self.keep(page, bytes);
            if self.streams.iter().all(|s| s.header_packets == 0) {
                self.announce(carver, out);
            }
            return step;
        }
        // Data although some stream still owes header packets: take what there is.
        self.announce(carver, out);
        Step::Progress
    }

    fn keep(&mut self, page: &Page, bytes: &[u8]) -> Step {
        if self.header.len() + bytes.len() > STREAM_HEADER_BYTES_MAX {
            return Step::Raw(RawReason::HeaderTooLarge);
        }
        self.header.extend_from_slice(bytes);
        self.skip = page.len;
        Step::Progress
    }

    fn announce(&mut self, carver: &mut Carver, out: &mut Vec<Ingested>) {
        let video = self.streams.iter().any(|s| s.codec == Codec::Theora);
        carver.set_content_type(if video { "video/ogg" } else { "audio/ogg" });
        carver.set_header(std::mem::take(&mut self.header).into(), true, out);
        self.complete = true;
    }
}

struct NotAPage;

fn parse_page(rest: &[u8]) -> Result<Option<Page>, NotAPage> {
    let magic = b"OggS\0";
    let seen = rest.len().min(magic.len());
    if rest.get(..seen) != magic.get(..seen) {
        return Err(NotAPage);
    }
    let parse = || {
        let segments = usize::from(u8_at(rest, 26)?);
        let lacing = rest.get(PAGE_HEADER_BYTES..PAGE_HEADER_BYTES + segments)?;
        let body: usize = lacing.iter().map(|&n| usize::from(n)).sum();
        let body_at = PAGE_HEADER_BYTES + segments;
        Some(Page {
            flags: u8_at(rest, 5)?,
            granule: u64::from_le_bytes(array_at(rest, 6)?),
            serial: u32_at(rest, 14)?,
            len: body_at + body,
            body_at,
            packets_ended: u16::try_from(lacing.iter().filter(|&&n| n < 255).count()).unwrap_or(u16::MAX),
        })
    };
    Ok(parse())
}

/// The codec of a stream by its first packet, and how many header packets it has, this one included.
fn identify(packet: &[u8]) -> (Codec, u16) {
    let le32 = |at| array_at(packet, at).map_or(0, u32::from_le_bytes);
    if packet.starts_with(b"\x01vorbis") {
        (Codec::Audio(le32(12)), 3)
    } else if packet.starts_with(b"OpusHead") {
        // RFC 7845 4: granules count at 48 kHz whatever the input rate.
        (Codec::Audio(48_000), 2)
    } else if packet.starts_with(b"\x7FFLAC") {
        // The FLAC to Ogg mapping: number of further header packets, 0 if unknown; 20 bits of sample rate.
        let more = u16_at(packet, 7).unwrap_or(0).max(1);
        (Codec::Audio(u32_at(packet, 27).unwrap_or(0) >> 12), more.saturating_add(1))
    } else if packet.starts_with(b"\x80theora") {
        (Codec::Theora, 3)
    } else if packet.starts_with(b"Speex   ") {
        let extra = u16::try_from(to_len(le32(68)).min(8)).unwrap_or(0);
        (Codec::Audio(le32(36)), 2 + extra)
    } else {
        (Codec::Other, 1)
    }
}
