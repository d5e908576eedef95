//! The trace hash: a 64-bit digest of every delivery of a run, in order. Two runs with the same digest took the same way.

use p2psp_core::Instant;

/// An order-sensitive digest; no protection against anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceHash(u64);

impl Default for TraceHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl TraceHash {
    /// Adds one delivery: when, to whom, and two words that say what.
    pub const fn add(&mut self, at: Instant, to: u64, what: u64, number: u64) {
        self.mix(at.as_nanos());
        self.mix(to.rotate_left(32) ^ what);
        self.mix(number);
    }

    /// The digest so far.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Adds one word.
    pub const fn mix(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_content_matter() {
        let digest = |deliveries: &[(u64, u64)]| {
            let mut hash = TraceHash::default();
            for (at, number) in deliveries {
                hash.add(Instant::from_nanos(*at), 1, 2, *number);
            }
            hash.get()
        };
        let base = digest(&[(1, 10), (2, 20)]);
        assert_eq!(base, digest(&[(1, 10), (2, 20)]));
        assert!(
            [digest(&[(2, 20), (1, 10)]), digest(&[(1, 10)]), digest(&[(1, 11), (2, 20)])]
                .iter()
                .all(|other| *other != base)
        );
    }
}
