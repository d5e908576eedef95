//! Comparing what a player was given with what the source sent: a copy of the stream's header, and then the source's bytes from
//! some point on, without one missing, doubled or changed.

use crate::ts;
use std::ops::Range;

/// How many last bytes of an output tell its place in the source.
const TAIL_BYTES: usize = 64;
/// A stream's header stands at its beginning.
const HEADER_WITHIN_BYTES: usize = 64 * 1024;
/// A header without some elements is in so many pieces.
const HEADER_PIECES_MAX: usize = 4;
/// A shorter piece may be there by chance.
const HEADER_PIECE_BYTES_MIN: usize = 16;

/// Where an output lies in its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes of the replayed stream header before it, if it did not stand just there in the source anyway.
    pub header_bytes: usize,
    /// The source's bytes that were played.
    pub played: Range<usize>,
}

/// Where `output` lies in `source`. Panics if it is not a header and then a piece of the source.
#[track_caller]
#[must_use]
pub fn place(source: &[u8], output: &[u8]) -> Place {
    assert!(output.len() >= TAIL_BYTES, "only {} bytes were played", output.len());
    let tail = &output[output.len() - TAIL_BYTES..];
    let end = rfind(source, tail).expect("the last bytes played are none of the source's") + TAIL_BYTES;
    let same = output.iter().rev().zip(source[..end].iter().rev()).take_while(|(a, b)| a == b).count();
    let same = if source[0] == ts::SYNC {
        // What the header's last packet and the source's packet before the join point have in common is no part of the latter.
        end - (end - same).next_multiple_of(ts::PACKET_BYTES)
    } else {
        same
    };
    let header = &output[..output.len() - same];
    assert!(
        is_header(source, header),
        "bytes {}..{} of the source are the last ones played of {}, and what was played before them is neither the source's nor \
         a header of it",
        end - same,
        end,
        output.len(),
    );
    Place { header_bytes: header.len(), played: end - same..end }
}

/// `output` must be a header of at most `header_bytes_max` bytes, and then all of `source` from some point to its very end.
#[track_caller]
pub fn assert_to_the_end(source: &[u8], output: &[u8], header_bytes_max: usize) -> Place {
    let place = place(source, output);
    assert!(place.header_bytes <= header_bytes_max, "a header of {} bytes", place.header_bytes);
    assert_eq!(place.played.end, source.len(), "the last bytes of the source were not played: {place:?}");
    place
}

/// Two players' outputs must be the same bytes.
#[track_caller]
pub fn assert_same(one: &[u8], other: &[u8]) {
    let same = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    assert!(one == other, "{} and {} bytes, the same only up to {same}", one.len(), other.len());
}

/// A header is what the source begins with, perhaps without some of its elements.
fn is_header(source: &[u8], mut header: &[u8]) -> bool {
    let mut beginning = &source[..source.len().min(HEADER_WITHIN_BYTES)];
    for _ in 0..HEADER_PIECES_MAX {
        let common = |at: &usize| beginning[*at..].iter().zip(header).take_while(|(a, b)| a == b).count();
        let Some(at) = (0..beginning.len()).max_by_key(common) else { break };
        let piece = common(&at);
        if piece < HEADER_PIECE_BYTES_MIN.min(header.len()) {
            break;
        }
        (beginning, header) = (&beginning[at + piece..], &header[piece..]);
    }
    header.is_empty()
}

fn rfind(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).rposition(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ts::{PACKET_BYTES, Recipe};
    use std::panic::catch_unwind;

    const HEADER: usize = 2 * PACKET_BYTES;

    /// The comparison fails for a byte lost, doubled, changed, and for a tail cut off: what every other test rests on.
    #[test]
    fn what_is_wrong_is_found() {
        let source = Recipe::default().make();
        let at = source.len() / PACKET_BYTES / 2 * PACKET_BYTES;
        let good = [&source[..HEADER], &source[at..]].concat();
        assert_eq!(place(&source, &good), Place { header_bytes: HEADER, played: at..source.len() });
        assert_to_the_end(&source, &good, HEADER);
        let parts = [&source[..100], &source[150..HEADER], &source[at..]].concat();
        assert_eq!(place(&source, &parts).header_bytes, HEADER - 50);

        let middle = good.len() / 2;
        let lost = [&good[..middle], &good[middle + 1..]].concat();
        let doubled = [&good[..middle], &good[middle - PACKET_BYTES..]].concat();
        let mut changed = good.clone();
        changed[middle] ^= 1;
        let short = &good[..good.len() - PACKET_BYTES];
        let strange_header = [&good[..HEADER - 100], &[0; 100], &good[HEADER..]].concat();
        let foreign = Recipe { seed: 2, ..Recipe::default() }.make();
        for (fault, output) in [
            ("lost", &*lost),
            ("doubled", &*doubled),
            ("changed", &*changed),
            ("short", short),
            ("strange header", &*strange_header),
            ("foreign", &*foreign),
        ] {
            let judged = catch_unwind(|| assert_to_the_end(&source, output, HEADER));
            assert!(judged.is_err(), "{fault}");
        }
    }
}
