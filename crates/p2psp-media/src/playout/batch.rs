//! Several payloads that go to a socket in one vectored write. Owns the arithmetic of [`Buf`] over them; copies nothing.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Payloads in stream order, as one buffer; one HTTP chunk and one `writev` for many units.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    parts: VecDeque<Bytes>,
    remaining: usize,
}

impl Batch {
    /// Puts `part` behind the others; an empty one is ignored.
    pub fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.remaining = self.remaining.saturating_add(part.len());
            self.parts.push_back(part);
        }
    }

    /// Number of payloads not yet consumed.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// True when no byte is left.
    pub fn is_empty(&self) -> bool {
        self.remaining == 0
    }
}

impl From<Bytes> for Batch {
    fn from(part: Bytes) -> Self {
        let mut batch = Self::default();
        batch.push(part);
        batch
    }
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], Bytes::as_ref)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        slices.iter_mut().zip(&self.parts).map(|(slice, part)| *slice = IoSlice::new(part)).count()
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining, "advanced {count} bytes past the {} of a batch", self.remaining);
        self.remaining -= count;
        let mut left = count;
        while let Some(front) = self.parts.front_mut() {
            if left < front.len() {
                front.advance(left);
                return;
            }
            left -= front.len();
            self.parts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Consuming a batch in any steps gives the concatenation of its parts.
    #[test]
    fn any_step_gives_the_same_bytes() {
        let parts: [&'static [u8]; 4] = [b"one", b"", b"seventeen", b"z"];
        for step in 1..=14 {
            let mut batch = Batch::default();
            parts.iter().for_each(|part| batch.push(Bytes::from_static(part)));
            let mut seen = Vec::new();
            while batch.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 3];
                let used = batch.chunks_vectored(&mut slices);
                let offered: Vec<u8> = slices[..used].iter().flat_map(|s| s.to_vec()).collect();
                assert_eq!(offered.len(), batch.remaining());
                let take = step.min(batch.remaining());
                seen.extend_from_slice(&offered[..take]);
                batch.advance(take);
            }
            assert_eq!(seen, b"oneseventeenz");
            assert_eq!(batch.parts(), 0);
        }
    }
}
