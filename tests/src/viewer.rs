//! What a viewer saw of a stream of [`crate::ts`]: which of its pictures' packets were played, by the bytes alone and whatever the
//! peer says of itself.

use crate::ts::{self, PACKET_BYTES};
use std::collections::HashMap;

/// The packets of a source, by their bytes.
#[derive(Debug)]
pub struct Original<'a> {
    places: HashMap<&'a [u8], usize>,
}

/// What a viewer saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// The first packet that was played: where the viewer came in.
    pub first: usize,
    /// Packets played.
    pub played: usize,
    /// Packets of the source from the first one played to its end that were not.
    pub missing: usize,
}

impl Seen {
    /// Packets played, of those from the first one on: 1 is all of them.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio of counts far below 2^52")]
    pub fn continuity(&self) -> f64 {
        self.played as f64 / (self.played + self.missing) as f64
    }
}

impl<'a> Original<'a> {
    /// Learns the packets of a source. Its tables are all alike, and left out.
    #[must_use]
    pub fn new(source: &'a [u8]) -> Self {
        Self { places: pictures(source).zip(0..).collect() }
    }

    /// How many of its packets there are.
    #[must_use]
    pub fn packets(&self) -> usize {
        self.places.len()
    }

    /// Judges what a player was given. Panics if any packet of it is not the source's, comes twice or out of its order: what is
    /// lost may be lost, but nobody plays anything else.
    #[track_caller]
    #[must_use]
    pub fn judge(&self, output: &[u8]) -> Seen {
        assert_eq!(output.len() % PACKET_BYTES, 0, "a packet was cut short");
        let mut places = pictures(output).map(|packet| {
            *self.places.get(packet).expect("a packet was played that is none of the source's")
        });
        let first = places.next().expect("something was played");
        let (mut last, mut played) = (first, 1);
        for place in places {
            assert!(place > last, "packet {place} was played after packet {last}");
            last = place;
            played += 1;
        }
        Seen { first, played, missing: self.packets() - first - played }
    }
}

fn pictures(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    stream.chunks(PACKET_BYTES).filter(|packet| ts::is_picture(packet))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ts::Recipe;
    use std::panic::catch_unwind;

    /// A hole is counted by its packets; what is foreign, doubled or moved is no hole.
    #[test]
    fn holes_are_counted_and_nothing_else_passes() {
        let source = Recipe::default().make();
        let original = Original::new(&source);
        let all = original.packets();
        assert_eq!(original.judge(&source), Seen { first: 0, played: all, missing: 0 });
        assert!((original.judge(&source).continuity() - 1.0).abs() < f64::EPSILON);

        let at = |packet: usize| packet * PACKET_BYTES;
        // Twelve packets from the middle, none of them a table's.
        let middle = source.len() / PACKET_BYTES / 2 + 4;
        let hole = [&source[..at(middle)], &source[at(middle + 12)..]].concat();
        let seen = original.judge(&hole);
        assert_eq!((seen.first, seen.played, seen.missing), (0, all - 12, 12));

        let late = original.judge(&source[at(middle)..]);
        assert!(late.first > 0 && late.missing == 0, "{late:?}");

        let doubled = [&source[..at(middle)], &source[at(middle - 1)..]].concat();
        let mut changed = source.clone();
        changed[at(middle) + 100] ^= 1;
        let foreign = Recipe { seed: 2, ..Recipe::default() }.make();
        for (fault, output) in [
            ("doubled", &doubled),
            ("changed", &changed),
            ("foreign", &foreign),
            ("cut", &source[1..].to_vec()),
        ] {
            assert!(catch_unwind(|| original.judge(output)).is_err(), "{fault}");
        }
    }
}
