//! RTP (RFC 3550): takes the header off a datagram, and counts by the sequence numbers what never came. Owns no socket,
//! reorders nothing.

use crate::container::read::{u8_at, u16_at};

/// What an RTP datagram carries, or why it is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rtp<'a> {
    pub(crate) sequence: u16,
    pub(crate) payload: &'a [u8],
}

/// `None` if it is no RTP version 2 packet with a payload.
pub(crate) fn parse(datagram: &[u8]) -> Option<Rtp<'_>> {
    let first = u8_at(datagram, 0)?;
    if first >> 6 != 2 {
        return None;
    }
    let sequence = u16_at(datagram, 2)?;
    let mut at = 12 + usize::from(first & 0x0F) * 4;
    if first & 0x10 != 0 {
        // The extension's length is in words, its own header not counted.
        at += 4 + usize::from(u16_at(datagram, at + 2)?) * 4;
    }
    let mut payload = datagram.get(at..)?;
    if first & 0x20 != 0 {
        let padding = usize::from(*payload.last()?);
        payload = payload.get(..payload.len().checked_sub(padding)?)?;
    }
    (!payload.is_empty()).then_some(Rtp { sequence, payload })
}

/// Counts gaps in sequence numbers.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    next: Option<u16>,
}

/// What a sequence number says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// In order, after so many that are missing.
    After(u16),
    /// A duplicate, or too late to be put in order.
    Late,
}

/// Packets so far behind are late; further behind, the sender started over (RFC 3550 A.1, MAX_MISORDER).
const LATE_MAX: u16 = 100;

impl Sequence {
    pub(crate) fn note(&mut self, sequence: u16) -> Arrival {
        let Some(next) = self.next else {
            self.next = Some(sequence.wrapping_add(1));
            return Arrival::After(0);
        };
        let behind = next.wrapping_sub(sequence);
        if (1..=LATE_MAX).contains(&behind) {
            return Arrival::Late;
        }
        self.next = Some(sequence.wrapping_add(1));
        let missing = sequence.wrapping_sub(next);
        // RFC 3550 A.1, MAX_DROPOUT: a larger jump is another stream, not a loss.
        Arrival::After(if missing < 3000 { missing } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_with_sources_extension_and_padding_come_off() {
        let plain = [&[0x80, 33, 0x12, 0x34][..], &[0; 8], b"media"].concat();
        assert_eq!(parse(&plain), Some(Rtp { sequence: 0x1234, payload: b"media" }));
        // Two contributing sources, an extension of one word, three bytes of padding.
        let mut full = [&[0xB2, 33, 0, 9][..], &[0; 8], &[0; 8], &[0xBE, 0xDE, 0, 1], &[0; 4]].concat();
        full.extend_from_slice(b"media\0\0\x03");
        assert_eq!(parse(&full), Some(Rtp { sequence: 9, payload: b"media" }));
        for cut in 0..full.len() - 8 {
            assert_eq!(parse(&full[..cut]), None, "cut after {cut}");
        }
    }

    #[test]
    fn what_is_no_rtp_is_none() {
        assert_eq!(parse(b""), None);
        assert_eq!(parse(&[0x47; 188]), None, "a bare transport-stream packet is version 1");
        let padded_too_far = [&[0xA0, 33, 0, 1][..], &[0; 8], &[200]].concat();
        assert_eq!(parse(&padded_too_far), None);
    }

    #[test]
    fn gaps_are_counted_across_the_wrap_and_late_packets_are_known() {
        let mut sequence = Sequence::default();
        let arrivals: Vec<Arrival> =
            [65_534, 65_535, 2, 1, 3, 3, 40_000].into_iter().map(|s| sequence.note(s)).collect();
        use Arrival::{After, Late};
        assert_eq!(arrivals, [After(0), After(0), After(2), Late, After(0), Late, After(0)]);
    }
}
