//! Puts access units of one video stream into transport-stream packets: PAT and PMT before each keyframe, a clock
//! reference in each frame. Knows nothing of what is in a frame.

use bytes::{BufMut, Bytes, BytesMut};

use crate::container::crc32_mpeg;

/// Ticks of presentation times.
pub(super) const TICKS_PER_S: u64 = 90_000;

const PACKET_BYTES: usize = 188;
const PMT_PID: u16 = 0x1000;
const VIDEO_PID: u16 = 0x0100;
/// Presentation runs so far ahead of the clock reference: time for a decoder to receive a frame.
const LEAD_TICKS: u64 = TICKS_PER_S / 5;
/// Presentation and clock count modulo 2^33.
const TICKS_MASK: u64 = (1 << 33) - 1;

#[derive(Debug, Default)]
pub(super) struct Mux {
    pat_counter: u8,
    pmt_counter: u8,
    video_counter: u8,
}

impl Mux {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// The packets of one frame that is to be shown at `ticks`.
    pub(super) fn frame(&mut self, access_unit: &[u8], ticks: u64, keyframe: bool) -> Bytes {
        let packets = access_unit.len() / 184 + 4;
        let mut out = BytesMut::with_capacity(packets * PACKET_BYTES);
        if keyframe {
            // Program 1, and its one stream: H.264, which carries the clock.
            let [pmt_high, pmt_low] = (0xE000 | PMT_PID).to_be_bytes();
            let [video_high, video_low] = (0xE000 | VIDEO_PID).to_be_bytes();
            let pat = section(0, &[0, 1, pmt_high, pmt_low]);
            let pmt = section(2, &[video_high, video_low, 0xF0, 0, 0x1B, video_high, video_low, 0xF0, 0]);
            section_packet(&mut out, 0, &mut self.pat_counter, &pat);
            section_packet(&mut out, PMT_PID, &mut self.pmt_counter, &pmt);
        }
        let mut pes = Vec::with_capacity(access_unit.len() + 14);
        // Video stream, of unstated length; aligned; with a presentation time.
        pes.extend_from_slice(&[0, 0, 1, 0xE0, 0, 0, 0x84, 0x80, 5]);
        pes.extend_from_slice(&timestamp((ticks + LEAD_TICKS) & TICKS_MASK));
        pes.extend_from_slice(access_unit);
        self.pes_packets(&mut out, &pes, ticks & TICKS_MASK, keyframe);
        out.freeze()
    }

    fn pes_packets(&mut self, out: &mut BytesMut, mut pes: &[u8], clock: u64, keyframe: bool) {
        let mut first = true;
        while !pes.is_empty() {
            let mut adaptation = Vec::new();
            if first {
                adaptation.push(if keyframe { 0x50 } else { 0x10 });
                // 33 bits of clock, 6 reserved, 9 of extension.
                adaptation.extend_from_slice(&(clock << 15 | 0x3F << 9).to_be_bytes()[2..]);
            }
            let room = 184 - if first { adaptation.len() + 1 } else { 0 };
            let take = pes.len().min(room);
            let stuffing = room - take;
            if stuffing > 0 {
                if adaptation.is_empty() && stuffing > 1 {
                    adaptation.push(0);
                }
                // An adaptation field that was not there costs its length byte, and its flags unless it has no more.
                let len = 183 - take;
                adaptation.resize(len, 0xFF);
            }
            let has_adaptation = first || stuffing > 0;
            let [high, low] = VIDEO_PID.to_be_bytes();
            let control = 0x10 | if has_adaptation { 0x20 } else { 0 } | self.video_counter;
            out.put_slice(&[0x47, high | if first { 0x40 } else { 0 }, low, control]);
            if has_adaptation {
                out.put_u8(u8::try_from(adaptation.len()).unwrap_or(183));
                out.put_slice(&adaptation);
            }
            let (now, later) = pes.split_at(take);
            out.put_slice(now);
            pes = later;
            self.video_counter = (self.video_counter + 1) & 0xF;
            first = false;
        }
    }
}

/// A presentation time with its marker bits, 2.4.3.7.
fn timestamp(ticks: u64) -> [u8; 5] {
    let word =
        0x21_0001_0001 | (ticks >> 30 & 0x7) << 33 | (ticks >> 15 & 0x7FFF) << 17 | (ticks & 0x7FFF) << 1;
    let [_, _, _, bytes @ ..] = word.to_be_bytes();
    bytes
}

/// A program-specific section with its check sum; number, version and section are 1, 0 and the only one.
fn section(table_id: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len() + 9).unwrap_or(0);
    let [len_high, len_low] = (0xB000 | len).to_be_bytes();
    let mut section = vec![table_id, len_high, len_low, 0, 1, 0xC1, 0, 0];
    section.extend_from_slice(body);
    let crc = crc32_mpeg(&section);
    section.extend_from_slice(&crc.to_be_bytes());
    section
}

fn section_packet(out: &mut BytesMut, pid: u16, counter: &mut u8, section: &[u8]) {
    let [high, low] = pid.to_be_bytes();
    out.put_slice(&[0x47, 0x40 | high, low, 0x10 | *counter, 0]);
    out.put_slice(section);
    out.put_bytes(0xFF, PACKET_BYTES - 5 - section.len());
    *counter = (*counter + 1) & 0xF;
}
