//! The ring of newest chunks that both machines keep. A cell answers only for the number it holds, never for one that maps
//! to the same cell (the published implementations' aliasing fault).

use p2psp_wire::{Chunk, ChunkNumber};

/// A ring of chunks with consecutive numbers, some missing.
#[derive(Debug)]
pub(crate) struct Window {
    cells: Box<[Option<Chunk>]>,
    /// One past the highest number held so far.
    end: ChunkNumber,
}

impl Window {
    /// A ring of `chunks` cells, rounded up to a power of two, that expects numbers from `start` on.
    pub(crate) fn new(chunks: u32, start: ChunkNumber) -> Self {
        let cells = vec![None; chunks.max(2).next_power_of_two() as usize];
        Self { cells: cells.into_boxed_slice(), end: start }
    }

    /// How many numbers the ring spans.
    pub(crate) fn span(&self) -> u64 {
        self.cells.len() as u64
    }

    /// One past the highest number seen.
    pub(crate) const fn end(&self) -> ChunkNumber {
        self.end
    }

    /// The lowest number that the ring still has a cell for.
    pub(crate) fn floor(&self) -> ChunkNumber {
        self.end.minus(self.span())
    }

    /// Stores a chunk; false when it is there already or lies below the ring (R-RELAY-6). A number above the ring's end moves the ring.
    pub(crate) fn insert(&mut self, chunk: Chunk) -> bool {
        let number = chunk.number();
        if number < self.floor() || self.contains(number) {
            return false;
        }
        self.end = self.end.max(number.next());
        let index = self.index(number);
        self.cells.get_mut(index).is_some_and(|cell| {
            *cell = Some(chunk);
            true
        })
    }

    /// Lets go of everything from `end` on, so that the ring expects it anew.
    pub(crate) fn pull_back(&mut self, end: ChunkNumber) {
        for cell in &mut self.cells {
            cell.take_if(|chunk| chunk.number() >= end);
        }
        self.end = self.end.min(end);
    }

    /// The chunk of this number, if the ring holds it.
    pub(crate) fn get(&self, number: ChunkNumber) -> Option<&Chunk> {
        self.cells.get(self.index(number))?.as_ref().filter(|chunk| chunk.number() == number)
    }

    /// Whether the ring holds the chunk of this number.
    pub(crate) fn contains(&self, number: ChunkNumber) -> bool {
        self.get(number).is_some()
    }

    /// The lowest chunk held at or above `from`, within the ring.
    pub(crate) fn first_from(&self, from: ChunkNumber) -> Option<&Chunk> {
        let from = from.max(self.floor());
        (0..self.end.since(from)).find_map(|offset| self.get(from.plus(offset)))
    }

    fn index(&self, number: ChunkNumber) -> usize {
        // The mask keeps the low bits: the value is below the number of cells.
        let mask = self.span() - 1;
        usize::try_from(number.get() & mask).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2psp_wire::{ChunkHeader, Slot};

    fn chunk(number: u64) -> Chunk {
        let header = ChunkHeader {
            number: ChunkNumber::new(number).unwrap(),
            origin: Slot::new(0).unwrap(),
            position: 0,
            header_version: 0,
            random_access: false,
            time_us: 0,
        };
        Chunk::new(header, &number.to_be_bytes()).unwrap()
    }

    fn number(n: u64) -> ChunkNumber {
        ChunkNumber::new(n).unwrap()
    }

    /// Invariant under where the numbers start (the published 16-bit wrap and past it): duplicates and old ones are
    /// refused, and a cell never answers for its alias.
    #[test]
    fn holds_numbers_not_cells() {
        for start in [0, 65_530, (1 << 32) - 3, (1 << 47) + 5] {
            let mut ring = Window::new(8, number(start));
            for n in start..start + 12 {
                assert!(ring.insert(chunk(n)));
                assert!(!ring.insert(chunk(n)), "duplicate {n}");
            }
            assert_eq!(ring.floor(), number(start + 4));
            assert!(!ring.insert(chunk(start + 3)), "below the ring");
            assert!(ring.contains(number(start + 4)) && !ring.contains(number(start + 3)));
            assert!(!ring.contains(number(start + 12)), "the alias of start + 4");
            assert!(ring.insert(chunk(start + 15)), "a hole is fine");
            assert_eq!(ring.first_from(number(start + 12)).map(Chunk::number), Some(number(start + 15)));
            assert!(!ring.contains(number(start + 12)));
        }
    }
}
