//! Transport streams (ISO/IEC 13818-1) made for tests: right in their structure, with noise for a picture, and every packet
//! unlike any other, so that a byte that is lost, doubled or moved shows.

use crate::noise::Noise;

/// Length of a packet.
pub const PACKET_BYTES: usize = 188;
/// First byte of a packet.
pub const SYNC: u8 = 0x47;

const PMT_PID: u16 = 0x1000;
const VIDEO_PID: u16 = 0x0100;
const VIDEO_TYPE_H264: u8 = 0x1B;
/// Ticks of the 90 kHz clock.
const CLOCK: u64 = 90_000;

/// A stream to be made.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// Makes its bytes unlike those of any other seed.
    pub seed: u64,
    /// How long it plays.
    pub millis: u64,
    /// Bits per second, about.
    pub bits_per_s: u64,
    /// Between two keyframes.
    pub keyframe_millis: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self { seed: 1, millis: 4_000, bits_per_s: 1_000_000, keyframe_millis: 500 }
    }
}

/// Between two frames, each of which begins with the clock.
const FRAME_MILLIS: u64 = 40;

impl Recipe {
    /// The stream: tables and a keyframe first, whole packets.
    #[must_use]
    pub fn make(self) -> Vec<u8> {
        let mut muxer = Muxer { out: Vec::new(), counters: [0; 3], noise: Noise::new(self.seed) };
        let frame_packets = self.bits_per_s * FRAME_MILLIS / 8_000 / 188;
        for frame in 0..self.millis / FRAME_MILLIS {
            let at = frame * FRAME_MILLIS;
            let keyframe = at % self.keyframe_millis < FRAME_MILLIS;
            if keyframe {
                muxer.tables();
            }
            muxer.frame(at * CLOCK / 1_000, keyframe, frame_packets.max(2));
        }
        muxer.out
    }
}

struct Muxer {
    out: Vec<u8>,
    /// Continuity counters of PAT, PMT and video.
    counters: [u8; 3],
    noise: Noise,
}

impl Muxer {
    fn tables(&mut self) {
        let program = [0, 1, 0xE0 | high(PMT_PID), low(PMT_PID)];
        self.section(0, 0, 0, &program);
        let stream = [
            0xE0 | high(VIDEO_PID),
            low(VIDEO_PID),
            0xF0,
            0,
            VIDEO_TYPE_H264,
            0xE0 | high(VIDEO_PID),
            low(VIDEO_PID),
            0xF0,
            0,
        ];
        self.section(1, PMT_PID, 2, &stream);
    }

    fn section(&mut self, counter: usize, pid: u16, table: u8, body: &[u8]) {
        let length = u8::try_from(5 + body.len() + 4).expect("a short table");
        let mut section = vec![table, 0xB0, length, 0, 1, 0xC1, 0, 0];
        section.extend_from_slice(body);
        section.extend_from_slice(&crc32(&section).to_be_bytes());
        self.head(counter, pid, true, 1);
        self.out.push(0);
        self.out.extend_from_slice(&section);
        let end = self.out.len().next_multiple_of(PACKET_BYTES);
        self.out.resize(end, 0xFF);
    }

    /// A frame: a PES packet over `packets` packets, the first of them with the clock.
    fn frame(&mut self, ticks: u64, keyframe: bool, packets: u64) {
        for packet in 0..packets {
            self.head(2, VIDEO_PID, packet == 0, if packet == 0 { 3 } else { 1 });
            if packet == 0 {
                // Adaptation field: random_access_indicator and PCR; then the PES header with a PTS.
                let [.., a, b, c, d] = (ticks >> 1).to_be_bytes();
                let last = if ticks & 1 == 1 { 0xFE } else { 0x7E };
                self.out.extend_from_slice(&[7, if keyframe { 0x50 } else { 0x10 }, a, b, c, d, last, 0]);
                self.out.extend_from_slice(&[0, 0, 1, 0xE0, 0, 0, 0x80, 0x80, 5]);
                self.out.extend_from_slice(&timestamp(ticks));
            }
            self.noise_to_end();
        }
    }

    fn head(&mut self, counter: usize, pid: u16, start: bool, control: u8) {
        let count = self.counters[counter];
        self.counters[counter] = (count + 1) & 0x0F;
        let start = if start { 0x40 } else { 0 };
        self.out.extend_from_slice(&[0x47, start | high(pid), low(pid), control << 4 | count]);
    }

    /// Fills the packet. No byte of it is zero, so no start code is found in it.
    fn noise_to_end(&mut self) {
        let end = self.out.len().next_multiple_of(PACKET_BYTES);
        while self.out.len() < end {
            self.out.push(self.noise.byte() | 1);
        }
    }
}

/// Whether a packet carries a piece of the picture: no two of those are alike.
#[must_use]
pub fn is_picture(packet: &[u8]) -> bool {
    packet.len() == PACKET_BYTES && packet[1] & 0x1F == high(VIDEO_PID) && packet[2] == low(VIDEO_PID)
}

/// Packets of a stream, seven a datagram as is usual for UDP.
pub fn datagrams(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    stream.chunks(7 * PACKET_BYTES)
}

fn timestamp(ticks: u64) -> [u8; 5] {
    let bits = |shift: u32| u8::try_from(ticks >> shift & 0x7F).expect("seven bits");
    [
        0x21 | u8::try_from(ticks >> 30 & 7).expect("three bits") << 1,
        u8::try_from(ticks >> 22 & 0xFF).expect("eight bits"),
        bits(15) << 1 | 1,
        u8::try_from(ticks >> 7 & 0xFF).expect("eight bits"),
        bits(0) << 1 | 1,
    ]
}

fn high(pid: u16) -> u8 {
    pid.to_be_bytes()[0]
}

fn low(pid: u16) -> u8 {
    pid.to_be_bytes()[1]
}

/// CRC of table sections.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04C1_1DB7 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_packets_at_the_rate_asked_for() {
        let stream = Recipe::default().make();
        assert_eq!(stream.len() % PACKET_BYTES, 0);
        assert!(stream.chunks(PACKET_BYTES).all(|packet| packet[0] == 0x47));
        let bits_per_s = stream.len() * 8 / 4;
        assert!((900_000..=1_100_000).contains(&bits_per_s), "{bits_per_s}");
        // ITU-T H.222.0: the table of a program map with this check value has a remainder of zero.
        assert_eq!(crc32(&stream[5..5 + 16]), 0);
    }

    #[test]
    fn no_two_packets_of_the_picture_are_alike() {
        let stream = Recipe::default().make();
        let mut packets: Vec<&[u8]> = stream
            .chunks(PACKET_BYTES)
            .filter(|packet| is_picture(packet))
            .map(|packet| &packet[40..])
            .collect();
        let count = packets.len();
        packets.sort_unstable();
        packets.dedup();
        assert_eq!(packets.len(), count);
    }
}
