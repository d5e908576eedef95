//! Whether two players were given the same bytes, although they began at different places. Pure; keeps 16 bytes for about 2 KiB
//! of stream, so that hours can be compared.
//!
//! A stream is divided where its own content says so (a rolling hash of the last 64 bytes has eleven zero bits), so two
//! recordings that overlap are divided alike from a few kilobytes after the later one's begin, wherever each began. Blocks
//! are then compared by hash. The first block of a recording (it holds the replayed stream header) and the unfinished last
//! one are left out.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hasher},
};

/// Bits of the rolling hash that are zero at a boundary: blocks have about 2^11 bytes beyond the least.
const BOUNDARY_BITS: u32 = 11;
/// Least bytes of a block: bounds the memory that monotonous content takes.
const BLOCK_BYTES_MIN: usize = 512;
/// Most bytes of a block: monotonous content may have no boundary at all.
const BLOCK_BYTES_MAX: usize = 64 * 1024;
/// Blocks at the begin of one recording that are sought in the other.
const ANCHORS_MAX: usize = 64;
/// Places in the other recording that are tried for one anchor: repeated content has many.
const PLACES_MAX: usize = 64;

/// A recording, as far as comparing needs it.
#[derive(Clone, Debug, Default)]
pub(super) struct Fingerprint {
    blocks: Vec<Block>,
    bytes: u64,
    rolling: u64,
    hasher: DefaultHasher,
    open_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    hash: u64,
    bytes: usize,
}

/// What two recordings have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// Where they overlap, they are the same.
    Same {
        /// Bytes compared.
        common_bytes: u64,
    },
    /// They agree for a while, then they do not.
    Differ {
        /// Bytes that agree before the first difference.
        common_bytes: u64,
    },
    /// Nothing of one is found in the other.
    Unrelated,
}

impl Fingerprint {
    /// Takes the next bytes in.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(length) = self.boundary(rest) {
            let (block, after) = rest.split_at(length);
            self.hasher.write(block);
            self.open_bytes += length;
            let hash = std::mem::take(&mut self.hasher).finish();
            self.blocks.push(Block { hash, bytes: std::mem::take(&mut self.open_bytes) });
            rest = after;
        }
        self.hasher.write(rest);
        self.open_bytes += rest.len();
        self.bytes += bytes.len() as u64;
    }

    /// Bytes taken in.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many of `bytes` end the open block; rolls over all of them that were looked at.
    fn boundary(&mut self, bytes: &[u8]) -> Option<usize> {
        for (position, byte) in bytes.iter().enumerate() {
            self.rolling =
                (self.rolling << 1).wrapping_add(GEAR.get(usize::from(*byte)).copied().unwrap_or(0));
            let length = self.open_bytes + position + 1;
            let boundary = self.rolling >> (64 - BOUNDARY_BITS) == 0 && length >= BLOCK_BYTES_MIN;
            if boundary || length >= BLOCK_BYTES_MAX {
                return Some(position + 1);
            }
        }
        None
    }

    /// The blocks that count: without the first one.
    fn body(&self) -> &[Block] {
        self.blocks.get(1..).unwrap_or_default()
    }
}

/// Compares two recordings of one stream.
pub(super) fn compare(one: &Fingerprint, other: &Fingerprint) -> Comparison {
    let (one, other) = (one.body(), other.body());
    // Whichever began later: its begin lies within the other.
    [alignment(one, other), alignment(other, one)]
        .into_iter()
        .flatten()
        .max_by_key(|comparison| match comparison {
            Comparison::Same { common_bytes } => (2, *common_bytes),
            Comparison::Differ { common_bytes } => (1, *common_bytes),
            Comparison::Unrelated => (0, 0),
        })
        .unwrap_or(Comparison::Unrelated)
}

/// The best way to lay the begin of `late` somewhere on `early`.
fn alignment(early: &[Block], late: &[Block]) -> Option<Comparison> {
    let mut places: HashMap<u64, Vec<usize>> = HashMap::new();
    for (place, block) in early.iter().enumerate() {
        places.entry(block.hash).or_default().push(place);
    }
    let mut best: Option<Comparison> = None;
    for (anchor, block) in late.iter().enumerate().take(ANCHORS_MAX) {
        for place in places.get(&block.hash).into_iter().flatten().take(PLACES_MAX) {
            let Some(start) = place.checked_sub(anchor) else { continue };
            match (overlap(early.get(start..).unwrap_or_default(), late), best) {
                (same @ Comparison::Same { .. }, _) => return Some(same),
                (Comparison::Differ { common_bytes }, Some(Comparison::Differ { common_bytes: known }))
                    if common_bytes <= known => {}
                (differ, _) => best = Some(differ),
            }
        }
    }
    best
}

fn overlap(one: &[Block], other: &[Block]) -> Comparison {
    let mut common_bytes = 0;
    for (one, other) in one.iter().zip(other) {
        if one != other {
            return Comparison::Differ { common_bytes };
        }
        common_bytes += one.bytes as u64;
    }
    Comparison::Same { common_bytes }
}

/// A random-looking number for each byte value: splitmix64 of the value, fixed so that all recordings divide alike.
const GEAR: [u64; 256] = {
    let mut table = [0; 256];
    let mut value = 0;
    let mut state = 0_u64;
    while value < 256 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        #[expect(
            clippy::indexing_slicing,
            reason = "a constant, computed by the compiler, which checks the index"
        )]
        {
            table[value] = mixed ^ (mixed >> 31);
        }
        value += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes without structure, from a seed.
    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed;
        (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect()
    }

    fn recording(header: &[u8], stream: &[u8], step: usize) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        fingerprint.push(header);
        stream.chunks(step).for_each(|bytes| fingerprint.push(bytes));
        fingerprint
    }

    /// Recordings that begin and end anywhere agree, however they were cut into reads, and whichever began first.
    #[test]
    fn overlaps_are_found_wherever_recordings_begin() {
        let stream = noise(1, 400_000);
        for (from_a, to_a, from_b, to_b) in
            [(0, 400_000, 0, 400_000), (0, 390_000, 123_457, 400_000), (200_001, 400_000, 7, 399_000)]
        {
            let a = recording(b"HEADER", &stream[from_a..to_a], 1178);
            let b = recording(b"HEADER", &stream[from_b..to_b], 64 * 1024);
            let overlap = (to_a.min(to_b) - from_a.max(from_b)) as u64;
            let Comparison::Same { common_bytes } = compare(&a, &b) else { panic!("{:?}", compare(&a, &b)) };
            assert!(
                common_bytes > overlap - 20_000 && common_bytes <= overlap,
                "{common_bytes} of {overlap}"
            );
            assert_eq!(compare(&b, &a), compare(&a, &b));
        }
    }

    /// One byte that differs, one that is missing, one too many: each is found, and about where.
    #[test]
    fn each_difference_is_found() {
        let stream = noise(2, 300_000);
        let a = recording(b"", &stream, 4096);
        for damage in 0..3 {
            let mut other = stream.clone();
            match damage {
                0 => other[150_000] ^= 1,
                1 => drop(other.remove(150_000)),
                _ => other.insert(150_000, 7),
            }
            let b = recording(b"", &other[20_000..], 4096);
            let Comparison::Differ { common_bytes } = compare(&a, &b) else {
                panic!("{damage}: {:?}", compare(&a, &b))
            };
            assert!((100_000..=130_000).contains(&common_bytes), "{damage}: {common_bytes}");
        }
    }

    #[test]
    fn other_streams_are_unrelated() {
        let a = recording(b"", &noise(3, 100_000), 4096);
        assert_eq!(compare(&a, &recording(b"", &noise(4, 100_000), 4096)), Comparison::Unrelated);
        assert_eq!(compare(&a, &Fingerprint::default()), Comparison::Unrelated);
    }

    /// Content without any variety is divided by size alone, and takes little memory.
    #[test]
    fn monotonous_content_stays_small() {
        for byte in 0..=255 {
            let monotonous = recording(b"", &[byte].repeat(1 << 20), 4096);
            assert!(monotonous.blocks.len() <= (1 << 20) / BLOCK_BYTES_MIN, "{byte}");
        }
    }

    /// A stream that repeats itself, as a file in a loop does, still agrees with itself.
    #[test]
    fn repeated_content_agrees() {
        let stream = noise(5, 60_000).repeat(6);
        let comparison = compare(&recording(b"", &stream, 4096), &recording(b"", &stream[130_000..], 4096));
        assert!(
            matches!(comparison, Comparison::Same { common_bytes } if common_bytes > 150_000),
            "{comparison:?}"
        );
    }
}
