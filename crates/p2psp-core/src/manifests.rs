//! Manifests by their place: a generation has one, or several that list a part of it each (R-GEN-4). Owns who lists what; whether a
//! manifest may be believed is decided before it comes here.

use p2psp_wire::{ChunkNumber, Manifest};
use std::collections::BTreeMap;

/// The manifests of the newest generations, each once.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    /// By the generation's first number, and the place of the first chunk listed.
    by_place: BTreeMap<(ChunkNumber, u8), Manifest>,
}

impl Manifests {
    /// Keeps one; one with the same place is replaced.
    pub(crate) fn insert(&mut self, manifest: Manifest) {
        let contents = manifest.contents();
        self.by_place.insert((contents.first, contents.position), manifest);
    }

    /// The manifest of this generation whose list begins at this place.
    pub(crate) fn get(&self, first: ChunkNumber, position: u8) -> Option<&Manifest> {
        self.by_place.get(&(first, position))
    }

    /// All that are there of a generation, in order.
    pub(crate) fn of_generation(&self, first: ChunkNumber) -> impl DoubleEndedIterator<Item = &Manifest> {
        self.by_place.range((first, 0)..=(first, u8::MAX)).map(|(_, manifest)| manifest)
    }

    /// One past the last chunk that any of them lists.
    pub(crate) fn end(&self) -> ChunkNumber {
        let newest = self.by_place.last_key_value();
        newest.map_or(ChunkNumber::ZERO, |(_, manifest)| manifest.contents().end())
    }

    /// The one that lists this chunk.
    pub(crate) fn listing(&self, number: ChunkNumber) -> Option<&Manifest> {
        let ((first, _), _) = self.by_place.range(..=(number, u8::MAX)).next_back()?;
        let place = u8::try_from(number.since(*first)).ok()?;
        let (_, manifest) = self.by_place.range((*first, 0)..=(*first, place)).next_back()?;
        (number < manifest.contents().end()).then_some(manifest)
    }

    /// The last manifest of a generation of which all are there.
    pub(crate) fn whole(&self, first: ChunkNumber) -> Option<&Manifest> {
        let mut end = first;
        for manifest in self.of_generation(first) {
            let contents = manifest.contents();
            if contents.start() != end {
                return None;
            }
            end = contents.end();
            if contents.is_last() {
                return Some(manifest);
            }
        }
        None
    }

    /// Lets go of generations that list nothing from this number on.
    pub(crate) fn forget_before(&mut self, floor: ChunkNumber) {
        while let Some((&(first, _), _)) = self.by_place.first_key_value()
            && self.of_generation(first).all(|manifest| manifest.contents().end() <= floor)
        {
            self.by_place = self.by_place.split_off(&(first, u8::MAX));
        }
    }
}
