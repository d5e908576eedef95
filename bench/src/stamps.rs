//! A transport stream whose every packet says which it is and when it was made, and the checker that reads it back.
//! Owns the layout of the stream; knows neither rates nor sockets.
//!
//! A period is PAT, PMT, then video packets of which the first is a random-access point. The content of each packet
//! follows from its index and time, so the checker compares all 188 bytes. There is no clock reference: a splitter paces
//! standard input by it, and here the source alone sets the pace.

/// Length of a transport stream packet.
pub const PACKET_BYTES: usize = 188;
/// Packets of one chunk: six fit the smallest datagram that QUIC promises (1128 bytes).
pub const CHUNK_PACKETS: u64 = 6;
/// Payload bytes of one chunk.
pub const CHUNK_BYTES: usize = PACKET_BYTES * 6;

const PAT_PID: u16 = 0;
const PMT_PID: u16 = 0x100;
const VIDEO_PID: u16 = 0x101;
const SYNC: u8 = 0x47;
const H264: u8 = 0x1B;
/// PAT and PMT.
const TABLE_PACKETS: u64 = 2;
/// Marks a stamp; any four bytes that no other packet ends with.
const MAGIC: [u8; 4] = *b"P2B1";
/// Magic, index, time made; the last bytes of a packet, wherever its payload begins.
const STAMP_BYTES: usize = 20;
const FILLER_STEPS: usize = 251;

/// One packet.
pub type Packet = [u8; PACKET_BYTES];

/// The stream's fixed properties, shared by its maker and its checkers.
#[derive(Clone, Debug)]
pub struct Layout {
    bits_per_s: u64,
    period: u64,
    filler: Vec<u8>,
    pat: Packet,
    pmt: Packet,
}

impl Layout {
    /// A stream of that rate with a random-access point about every half second, always at the start of a chunk.
    #[must_use]
    pub fn new(bits_per_s: u64) -> Self {
        let packets_per_s = bits_per_s / 8 / wide(PACKET_BYTES);
        let period = (packets_per_s / 2).next_multiple_of(CHUNK_PACKETS).max(2 * CHUNK_PACKETS);
        // Bytes that neither repeat soon nor hold a run that a compressor or a start code search would like.
        let filler = (0..FILLER_STEPS + PACKET_BYTES)
            .scan(0x9E37_79B9_u32, |state, _| {
                *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                Some(state.to_be_bytes().first().map_or(1, |byte| byte | 1))
            })
            .collect();
        Self { bits_per_s, period, filler, pat: table(PAT_PID, &pat()), pmt: table(PMT_PID, &pmt()) }
    }

    /// Packets from one random-access point to the next.
    #[must_use]
    pub const fn period_packets(&self) -> u64 {
        self.period
    }

    /// How many of the packets `from..to` carry a stamp; the others are tables.
    #[must_use]
    pub const fn stamped_between(&self, from: u64, to: u64) -> u64 {
        self.video_before(to) - self.video_before(from)
    }

    /// The packet with that index, made at that time (microseconds on the caller's clock).
    #[must_use]
    pub fn packet(&self, index: u64, made_us: u64) -> Packet {
        let counter = low_bits(index / self.period);
        match index % self.period {
            0 => with_counter(&self.pat, counter),
            1 => with_counter(&self.pmt, counter),
            place => self.video(index, made_us, place == TABLE_PACKETS),
        }
    }

    const fn video_before(&self, index: u64) -> u64 {
        let (whole, rest) = (index / self.period, index % self.period);
        whole * (self.period - TABLE_PACKETS) + rest.saturating_sub(TABLE_PACKETS)
    }

    /// The first table from `from` on that looks like this packet. Counters come round after sixteen periods: what is further is not looked for.
    fn table_like(&self, packet: &Packet, from: u64) -> Option<u64> {
        let period = from / self.period;
        let tables = (period..period + 16).flat_map(|n| (0..TABLE_PACKETS).map(move |t| (n, t)));
        let mut places = tables.map(|(n, table)| n * self.period + table);
        places.find(|index| *index >= from && self.packet(*index, 0) == *packet)
    }

    const fn is_table(&self, index: u64) -> bool {
        index % self.period < TABLE_PACKETS
    }

    fn video(&self, index: u64, made_us: u64, is_entry: bool) -> Packet {
        let counter = low_bits(self.video_before(index));
        let [pid_high, pid_low] = VIDEO_PID.to_be_bytes();
        let mut head: Vec<u8> = Vec::with_capacity(PACKET_BYTES);
        if is_entry {
            // An adaptation field with random_access_indicator alone, then a PES header with the time of presentation: 33
            // bits of 90 kHz, by the place in the stream.
            head.extend([SYNC, 0x40 | pid_high, pid_low, 0x30 | counter, 1, 0x40]);
            head.extend([0, 0, 1, 0xE0, 0, 0, 0x80, 0x80, 5]);
            let ticks = index.wrapping_mul(wide(PACKET_BYTES) * 8 * 90) / (self.bits_per_s / 1000).max(1);
            let ticks = ticks & 0x1_FFFF_FFFF;
            head.extend(pts(ticks));
        } else {
            head.extend([SYNC, pid_high, pid_low, 0x10 | counter]);
        }
        let step = usize::try_from(index % wide(FILLER_STEPS)).expect("below a few hundred");
        let filler = PACKET_BYTES - STAMP_BYTES - head.len();
        head.extend(self.filler.iter().skip(step).take(filler));
        head.extend(MAGIC);
        head.extend(index.to_be_bytes());
        head.extend(made_us.to_be_bytes());
        head.try_into().expect("head, filler and stamp fill the packet")
    }
}

/// What the checker saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A whole packet, equal to the one sent in every byte.
    Stamped {
        /// Its place in the stream.
        index: u64,
        /// When it was made.
        made_us: u64,
    },
    /// Packets are missing before the one that follows.
    Gap {
        /// How many, tables included.
        packets: u64,
    },
    /// A packet that is none of the source's, comes twice or comes out of order.
    Wrong,
}

/// Reads the stream back, from any random-access point on.
#[derive(Debug)]
pub struct Checker {
    partial: Vec<u8>,
    /// The next packet's index, once the first stamp has been seen.
    next: Option<u64>,
}

impl Default for Checker {
    fn default() -> Self {
        Self { partial: Vec::with_capacity(PACKET_BYTES), next: None }
    }
}

impl Checker {
    /// Reads on; calls back for each stamped packet and for each thing that is wrong.
    pub fn feed(&mut self, layout: &Layout, mut bytes: &[u8], mut seen: impl FnMut(Seen)) {
        while !bytes.is_empty() {
            let missing = PACKET_BYTES - self.partial.len();
            if self.partial.is_empty()
                && let Some((packet, rest)) = bytes.split_first_chunk::<PACKET_BYTES>()
            {
                self.packet(layout, packet, &mut seen);
                bytes = rest;
                continue;
            }
            let (now, rest) = bytes.split_at(missing.min(bytes.len()));
            self.partial.extend_from_slice(now);
            bytes = rest;
            if let Some(packet) = self.partial.first_chunk::<PACKET_BYTES>().copied() {
                self.partial.clear();
                self.packet(layout, &packet, &mut seen);
            }
        }
    }

    fn packet(&mut self, layout: &Layout, packet: &Packet, seen: &mut impl FnMut(Seen)) {
        let Some((index, made_us)) = stamp(packet).filter(|(index, made_us)| {
            !layout.is_table(*index) && layout.packet(*index, *made_us) == *packet
        }) else {
            self.table(layout, packet, seen);
            return;
        };
        match self.next {
            Some(next) if index < next => return seen(Seen::Wrong),
            Some(next) if index > next => seen(Seen::Gap { packets: index - next }),
            _ => {}
        }
        self.next = Some(index + 1);
        seen(Seen::Stamped { index, made_us });
    }

    /// The stream header that a player gets at first holds the tables as they were at some earlier time.
    fn table(&mut self, layout: &Layout, packet: &Packet, seen: &mut impl FnMut(Seen)) {
        let Some(next) = &mut self.next else {
            let tables = [layout.pat, layout.pmt];
            if !tables.iter().any(|table| with_counter(table, counter(packet)) == *packet) {
                seen(Seen::Wrong);
            }
            return;
        };
        match layout.table_like(packet, *next) {
            Some(index) => {
                if index > *next {
                    seen(Seen::Gap { packets: index - *next });
                }
                *next = index + 1;
            }
            None => seen(Seen::Wrong),
        }
    }
}

fn stamp(packet: &Packet) -> Option<(u64, u64)> {
    let stamp = packet.last_chunk::<STAMP_BYTES>()?.strip_prefix(&MAGIC)?;
    let (index, made_us) = stamp.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*index), u64::from_be_bytes(made_us.try_into().ok()?)))
}

fn counter(packet: &Packet) -> u8 {
    packet.get(3).map_or(0, |byte| byte & 15)
}

/// The four bits of a continuity counter.
const fn low_bits(count: u64) -> u8 {
    let [.., low] = count.to_be_bytes();
    low & 15
}

fn with_counter(packet: &Packet, counter: u8) -> Packet {
    let mut packet = *packet;
    if let Some(byte) = packet.get_mut(3) {
        *byte = *byte & 0xF0 | counter & 15;
    }
    packet
}

fn pts(ticks: u64) -> [u8; 5] {
    let bits =
        |shift: u32, mask: u64| u8::try_from((ticks >> shift & mask) << 1 | 1).expect("masked to seven bits");
    let [.., middle_high] = (ticks >> 22 & 0xFF).to_be_bytes();
    let [.., low_high] = (ticks >> 7 & 0xFF).to_be_bytes();
    [0x20 | bits(30, 7), middle_high, bits(15, 0x7F), low_high, bits(0, 0x7F)]
}

/// One program, whose map is at [`PMT_PID`].
fn pat() -> Vec<u8> {
    let [high, low] = PMT_PID.to_be_bytes();
    section(0x00, 1, &[0, 1, 0xE0 | high, low])
}

/// One H.264 stream at [`VIDEO_PID`]; 0x1FFF says that no stream carries a clock.
fn pmt() -> Vec<u8> {
    let [high, low] = VIDEO_PID.to_be_bytes();
    section(0x02, 1, &[0xFF, 0xFF, 0xF0, 0, H264, 0xE0 | high, low, 0xF0, 0])
}

/// ISO/IEC 13818-1 2.4.4: table id, length, id extension, version 0 and current, section 0 of 0, body, CRC.
fn section(table_id: u8, extension: u16, body: &[u8]) -> Vec<u8> {
    let len = u8::try_from(5 + body.len() + 4).expect("tables of a few bytes");
    let [high, low] = extension.to_be_bytes();
    let mut section = vec![table_id, 0xB0, len, high, low, 0xC1, 0, 0];
    section.extend_from_slice(body);
    section.extend(crc32_mpeg(&section).to_be_bytes());
    section
}

fn table(pid: u16, section: &[u8]) -> Packet {
    let [high, low] = pid.to_be_bytes();
    let mut packet = vec![SYNC, 0x40 | high, low, 0x10, 0];
    packet.extend_from_slice(section);
    packet.resize(PACKET_BYTES, 0xFF);
    packet.try_into().expect("a table of one packet")
}

fn crc32_mpeg(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            if crc & 0x8000_0000 == 0 { crc << 1 } else { crc << 1 ^ 0x04C1_1DB7 }
        })
    })
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("64 bits hold any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(layout: &Layout, from: u64, to: u64) -> Vec<u8> {
        (from..to).flat_map(|index| layout.packet(index, 1000 + index)).collect()
    }

    fn read(checker: &mut Checker, layout: &Layout, bytes: &[u8]) -> (u64, u64, u64) {
        let (mut stamped, mut missing, mut wrong) = (0, 0, 0);
        checker.feed(layout, bytes, |seen| match seen {
            Seen::Stamped { index, made_us } => {
                assert_eq!(made_us, 1000 + index);
                stamped += 1;
            }
            Seen::Gap { packets } => missing += packets,
            Seen::Wrong => wrong += 1,
        });
        (stamped, missing, wrong)
    }

    /// CRC-32/MPEG-2 of "123456789" is published as 0x0376E6E7.
    #[test]
    fn crc_check_value() {
        assert_eq!(crc32_mpeg(b"123456789"), 0x0376_E6E7);
    }

    /// Cut anywhere, the stream reads back whole, and counts match the closed form.
    #[test]
    fn reads_back_in_any_pieces() {
        let layout = Layout::new(4_000_000);
        assert_eq!(layout.period_packets() % CHUNK_PACKETS, 0);
        let end = layout.period_packets() * 2 + 100;
        let bytes = stream(&layout, 0, end);
        for piece in [1, 187, 188, 189, 1128, 5000] {
            let mut checker = Checker::default();
            let mut total = (0, 0, 0);
            for part in bytes.chunks(piece) {
                let (stamped, missing, wrong) = read(&mut checker, &layout, part);
                total = (total.0 + stamped, total.1 + missing, total.2 + wrong);
            }
            assert_eq!(total, (layout.stamped_between(0, end), 0, 0), "pieces of {piece}");
        }
    }

    /// A late joiner gets old tables, then the stream from a random-access point: nothing of it is a fault.
    #[test]
    fn accepts_the_header_of_a_late_joiner() {
        let layout = Layout::new(4_000_000);
        let start = layout.period_packets() * 7;
        let mut bytes = stream(&layout, 0, TABLE_PACKETS);
        bytes.extend(stream(&layout, start + TABLE_PACKETS, start + 50));
        assert_eq!(read(&mut Checker::default(), &layout, &bytes), (50 - TABLE_PACKETS, 0, 0));
    }

    /// Tables behind a gap are the source's like any other packet.
    #[test]
    fn a_gap_may_end_before_a_table() {
        let layout = Layout::new(1_000_000);
        let period = layout.period_packets();
        let mut bytes = stream(&layout, 2, 20);
        bytes.extend(stream(&layout, 3 * period, 3 * period + 9));
        let (stamped, missing, wrong) = read(&mut Checker::default(), &layout, &bytes);
        assert_eq!((stamped, missing, wrong), (18 + 9 - TABLE_PACKETS, 3 * period - 20, 0));
    }

    /// Lost chunks are counted with the tables in them; a repeated packet and a flipped bit are wrong.
    #[test]
    fn finds_what_is_missing_and_what_is_wrong() {
        let layout = Layout::new(1_000_000);
        let period = layout.period_packets();
        let mut bytes = stream(&layout, 2, 20);
        bytes.extend(stream(&layout, period + 6, period + 12));
        bytes.extend(stream(&layout, period + 11, period + 12));
        let mut flipped = layout.packet(period + 12, 0);
        flipped[100] ^= 1;
        bytes.extend(flipped);
        let (stamped, missing, wrong) = read(&mut Checker::default(), &layout, &bytes);
        assert_eq!((stamped, missing, wrong), (18 + 6, period + 6 - 20, 2));
    }

    /// The random-access point has its indicator and a PES start with its time.
    #[test]
    fn entry_packets_are_valid() {
        let layout = Layout::new(8_000_000);
        let period = layout.period_packets();
        let packet = layout.packet(period + TABLE_PACKETS, 0);
        assert_eq!(packet[..3], [0x47, 0x41, 0x01]);
        assert_eq!(packet[4..6], [1, 0x40]);
        assert_eq!(packet[6..10], [0, 0, 1, 0xE0]);
        let p = &packet[15..20];
        let time = u64::from(p[0] >> 1 & 7) << 30
            | u64::from(p[1]) << 22
            | u64::from(p[2] >> 1) << 15
            | u64::from(p[3]) << 7
            | u64::from(p[4] >> 1);
        assert_eq!(time, (period + TABLE_PACKETS) * 188 * 8 * 90 / 8000);
        assert!(p[0] & 1 == 1 && p[2] & 1 == 1 && p[4] & 1 == 1);
    }
}
