//! Program-specific information of a transport stream: collects PAT and PMT, chooses the program, and keeps the packets
//! that a late joiner needs. Looks at no elementary stream.

use bytes::Bytes;

use super::mpeg_ts::PACKET_BYTES;
use super::read::{u8_at, u16_at, u32_at};

/// ISO/IEC 13818-1 2.4.4: a PAT or PMT section has at most 1021 bytes after its length field.
const SECTION_BYTES_MAX: usize = 1024;

/// The program that players will show: the first in the PAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) pcr_pid: u16,
    /// The stream whose units are random-access points: first video, else first audio, else first of any kind.
    pub(super) entry_pid: u16,
    pub(super) entry_stream_type: u8,
    pub(super) has_video: bool,
}

/// PAT and PMT as they come.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pat: Table,
    pmt: Table,
    pmt_pid: Option<u16>,
    program: Option<Program>,
}

/// One table: the section being collected, and the last whole one with its packets.
#[derive(Debug, Default)]
struct Table {
    packets: Vec<u8>,
    section: Vec<u8>,
    whole_packets: Vec<u8>,
    whole_section: Vec<u8>,
}

impl Tables {
    /// Takes a packet; true if the tables changed and are complete.
    pub(super) fn push(
        &mut self,
        pid: u16,
        starts: bool,
        payload: &[u8],
        packet: &[u8; PACKET_BYTES],
    ) -> bool {
        if pid == 0 && self.pat.push(starts, payload, packet, 0) {
            let pmt_pid = first_program(&self.pat.whole_section);
            if pmt_pid != self.pmt_pid {
                self.pmt_pid = pmt_pid;
                self.pmt = Table::default();
                self.program = None;
            }
            return self.program.is_some();
        }
        if Some(pid) == self.pmt_pid && self.pmt.push(starts, payload, packet, 2) {
            self.program = parse_pmt(&self.pmt.whole_section);
            return self.program.is_some();
        }
        false
    }

    pub(super) fn program(&self) -> Option<Program> {
        self.program
    }

    /// The packets of PAT and PMT, once both are known.
    pub(super) fn header(&self) -> Option<Bytes> {
        self.program?;
        Some([&self.pat.whole_packets[..], &self.pmt.whole_packets[..]].concat().into())
    }
}

impl Table {
    /// True if a section ended that differs from the last one.
    fn push(&mut self, starts: bool, payload: &[u8], packet: &[u8; PACKET_BYTES], table_id: u8) -> bool {
        let data = if starts {
            self.packets.clear();
            self.section.clear();
            let pointer = usize::from(u8_at(payload, 0).unwrap_or(0));
            payload.get(1 + pointer..).unwrap_or_default()
        } else if self.packets.is_empty() || payload.is_empty() {
            return false;
        } else {
            payload
        };
        self.section.extend_from_slice(data);
        self.keep(packet);
        let Some(length) = u16_at(&self.section, 1) else { return false };
        let len = 3 + usize::from(length & 0x0FFF);
        let endless = self.packets.len() > SECTION_BYTES_MAX / 16 * PACKET_BYTES;
        if self.section.first() != Some(&table_id) || len > SECTION_BYTES_MAX || endless {
            self.packets.clear();
            return false;
        }
        if self.section.len() < len {
            return false;
        }
        self.section.truncate(len);
        // current_next_indicator: a table announced for later is not in force.
        let in_force = u8_at(&self.section, 5).is_some_and(|b| b & 1 != 0);
        let changed = in_force && self.section != self.whole_section && crc32_mpeg(&self.section) == 0;
        if changed {
            std::mem::swap(&mut self.section, &mut self.whole_section);
            std::mem::swap(&mut self.packets, &mut self.whole_packets);
        }
        self.packets.clear();
        changed
    }

    /// Keeps a packet with a continuity counter of its own, so that the same table is the same header.
    fn keep(&mut self, packet: &[u8; PACKET_BYTES]) {
        let mut packet = *packet;
        let counter = u8::try_from(self.packets.len() / PACKET_BYTES % 16).unwrap_or(0);
        if let Some(byte) = packet.get_mut(3) {
            *byte = *byte & 0xF0 | counter;
        }
        self.packets.extend_from_slice(&packet);
    }
}

/// CRC-32/MPEG-2; over a section with its own checksum it is 0.
pub(crate) fn crc32_mpeg(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| {
            if crc & 0x8000_0000 != 0 { crc << 1 ^ 0x04C1_1DB7 } else { crc << 1 }
        })
    })
}

/// The PMT's packet id of the first program.
fn first_program(pat: &[u8]) -> Option<u16> {
    let entries = pat.get(8..pat.len().checked_sub(4)?)?;
    entries
        .chunks_exact(4)
        .find(|entry| u16_at(entry, 0) != Some(0))
        .and_then(|entry| u16_at(entry, 2))
        .map(|pid| pid & 0x1FFF)
}

fn parse_pmt(pmt: &[u8]) -> Option<Program> {
    let pcr_pid = u16_at(pmt, 8)? & 0x1FFF;
    let info = usize::from(u16_at(pmt, 10)? & 0x0FFF);
    let mut rest = pmt.get(12 + info..pmt.len().checked_sub(4)?)?;
    let mut best: Option<(u8, u16, u8)> = None;
    while let (Some(stream_type), Some(pid), Some(len)) = (u8_at(rest, 0), u16_at(rest, 1), u16_at(rest, 3)) {
        let end = 5 + usize::from(len & 0x0FFF);
        let descriptors = rest.get(5..end).unwrap_or_default();
        let rank = rank(stream_type, descriptors);
        if best.is_none_or(|(r, _, _)| rank > r) {
            best = Some((rank, pid & 0x1FFF, stream_type));
        }
        rest = rest.get(end..).unwrap_or_default();
    }
    best.map(|(rank, entry_pid, entry_stream_type)| Program {
        pcr_pid,
        entry_pid,
        entry_stream_type,
        has_video: rank == 2,
    })
}

/// 2 for video, 1 for audio, 0 for the rest: ISO/IEC 13818-1 table 2-34, ATSC A/53, and private data by descriptor.
fn rank(stream_type: u8, descriptors: &[u8]) -> u8 {
    match stream_type {
        0x01 | 0x02 | 0x10 | 0x1B | 0x20 | 0x21 | 0x24 | 0x33 | 0x42 | 0xD1 | 0xD2 | 0xEA => 2,
        0x03 | 0x04 | 0x0F | 0x11 | 0x1C | 0x80..=0x8A => 1,
        0x06 => private(descriptors),
        _ => 0,
    }
}

fn private(mut descriptors: &[u8]) -> u8 {
    while let (Some(tag), Some(len)) = (u8_at(descriptors, 0), u8_at(descriptors, 1)) {
        match (tag, u32_at(descriptors, 2)) {
            // Registration descriptors "AV01", "HEVC", "VP09".
            (0x05, Some(0x4156_3031 | 0x4845_5643 | 0x5650_3039)) => return 2,
            // AC-3, E-AC-3, DTS, AAC, AC-4 in the DVB's tags, or registered "Opus", "BSSD".
            (0x6A | 0x7A | 0x7B | 0x7C | 0x7F, _) | (0x05, Some(0x4F70_7573 | 0x4253_5344)) => return 1,
            _ => {}
        }
        descriptors = descriptors.get(2 + usize::from(len)..).unwrap_or_default();
    }
    0
}
