//! MPEG transport stream (ISO/IEC 13818-1): six packets a record, header is PAT + PMT, a random-access point is a packet
//! of the first video stream with random_access_indicator or with the parameter sets of a keyframe; without video, a
//! packet where the first audio stream starts a PES packet. Keeps null packets: players get the source's bytes.

use std::time::Duration;

use super::Step;
use super::carver::Carver;
use super::mpeg_ts_psi::{Program, Tables};
use super::read::{array_at, u8_at, u16_at};
use crate::record::Ingested;

/// Length of a packet.
pub(super) const PACKET_BYTES: usize = 188;
/// First byte of a packet.
pub(super) const SYNC: u8 = 0x47;
pub(super) const CONTENT_TYPE: &str = "video/mp2t";

/// One turn of the 33-bit, 90 kHz clock.
const CLOCK_TURN: u64 = 1 << 33;

#[derive(Debug)]
pub(super) struct MpegTs {
    tables: Tables,
    /// random_access_indicator was set in a packet of the stream that did not start a PES packet.
    indicated: bool,
    /// The last program clock reference and the turns of the clock before it.
    clock: Option<(u64, u64)>,
}

struct Packet<'a> {
    pid: u16,
    starts_unit: bool,
    random_access: bool,
    /// 90 kHz ticks.
    pcr: Option<u64>,
    payload: &'a [u8],
}

impl MpegTs {
    pub(super) fn begin(payload_bytes_max: usize, carver: &mut Carver, out: &mut Vec<Ingested>) -> Self {
        let whole_packets = payload_bytes_max / PACKET_BYTES * PACKET_BYTES;
        carver.begin(CONTENT_TYPE, whole_packets, true, out);
        Self { tables: Tables::default(), indicated: false, clock: None }
    }

    pub(super) fn step(&mut self, carver: &mut Carver, out: &mut Vec<Ingested>) -> Step {
        let Some(first) = u8_at(carver.rest(), 0) else { return Step::NeedMore };
        if first != SYNC {
            return Step::Lost;
        }
        let Some(bytes) = carver.rest().first_chunk::<PACKET_BYTES>().copied() else { return Step::NeedMore };
        if let Some(packet) = parse(&bytes) {
            if self.tables.push(packet.pid, packet.starts_unit, packet.payload, &bytes)
                && let Some(header) = self.tables.header()
            {
                carver.set_header(header, false, out);
            }
            if let Some(program) = self.tables.program() {
                if let Some(pcr) = packet.pcr.filter(|_| packet.pid == program.pcr_pid) {
                    carver.media_time = Some(self.unwrap_clock(pcr));
                }
                let is_entry = packet.pid == program.entry_pid;
                if is_entry && is_random_access(&packet, &program, &mut self.indicated) {
                    if program.has_video { carver.cut(true, out) } else { carver.cut_soft(out) }
                }
            }
        }
        carver.advance(PACKET_BYTES, out);
        Step::Progress
    }

    fn unwrap_clock(&mut self, pcr: u64) -> Duration {
        let turns = match self.clock {
            Some((last, turns)) if pcr < last && last - pcr > CLOCK_TURN / 2 => turns + 1,
            Some((_, turns)) => turns,
            None => 0,
        };
        self.clock = Some((pcr, turns));
        let ticks = turns.saturating_mul(CLOCK_TURN).saturating_add(pcr);
        Duration::from_nanos(ticks.saturating_mul(100_000) / 9)
    }
}

/// `None` for packets without anything of interest: errors, scrambled, reserved.
fn parse(bytes: &[u8; PACKET_BYTES]) -> Option<Packet<'_>> {
    let word = u16_at(bytes, 1)?;
    if word & 0x8000 != 0 {
        return None;
    }
    let control = u8_at(bytes, 3)?;
    let mut packet = Packet {
        pid: word & 0x1FFF,
        starts_unit: word & 0x4000 != 0,
        random_access: false,
        pcr: None,
        payload: &[],
    };
    let mut payload_at = 4;
    if control & 0x20 != 0 {
        let len = usize::from(u8_at(bytes, 4)?);
        payload_at = 5 + len;
        if len > 0 {
            let flags = u8_at(bytes, 5)?;
            packet.random_access = flags & 0x40 != 0;
            if flags & 0x10 != 0 && len >= 7 {
                // 33 bits of 90 kHz, 6 reserved, 9 of 27 MHz.
                let [a, b, c, d, e] = array_at::<5>(bytes, 6)?;
                packet.pcr = Some(u64::from(u32::from_be_bytes([a, b, c, d])) << 1 | u64::from(e >> 7));
            }
        }
    }
    if control & 0x10 != 0 {
        packet.payload = bytes.get(payload_at..)?;
    }
    Some(packet)
}

fn is_random_access(packet: &Packet<'_>, program: &Program, indicated: &mut bool) -> bool {
    if !packet.starts_unit {
        *indicated |= packet.random_access;
        return false;
    }
    let indicated = std::mem::take(indicated) || packet.random_access;
    indicated || !program.has_video || pes_starts_keyframe(packet.payload, program.entry_stream_type)
}

/// Whether the elementary stream at the start of this PES packet shows a keyframe, for encoders that leave
/// random_access_indicator alone.
fn pes_starts_keyframe(pes: &[u8], stream_type: u8) -> bool {
    let Some(data) = u8_at(pes, 8).and_then(|len| pes.get(9 + usize::from(len)..)) else { return false };
    if !pes.starts_with(&[0, 0, 1]) {
        return false;
    }
    let mut units = data.windows(4).filter(|w| w.starts_with(&[0, 0, 1])).filter_map(|w| w.get(3).copied());
    match stream_type {
        // H.262: sequence header.
        0x01 | 0x02 => units.any(|code| code == 0xB3),
        // H.264: IDR slice, or the sequence parameter set before it.
        0x1B => units.any(|unit| matches!(unit & 0x1F, 5 | 7)),
        // H.265: IRAP slices, or the parameter sets before them.
        0x24 => units.any(|unit| matches!(unit >> 1 & 0x3F, 16..=23 | 32 | 33)),
        _ => false,
    }
}
