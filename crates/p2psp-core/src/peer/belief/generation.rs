//! One generation as its manifests tell of it (R-GEN-4): what came of it, what its parity rebuilds (R-GEN-6), and how far its repair is.
//! Knows no links and asks nobody.

use super::Verdict;
use crate::{Instant, manifests::Manifests, protect, window::Window};
use bytes::Bytes;
use p2psp_wire::{Chunk, ChunkNumber, Manifest, Parity};
use std::{collections::BTreeMap, ops::Range};

/// What is known of a generation beside its manifests.
#[derive(Debug)]
pub(super) struct Generation {
    /// What its manifest lists.
    pub(super) parity: BTreeMap<u8, Bytes>,
    /// Nothing is missing, or nothing more can be done.
    pub(super) is_settled: bool,
    /// When it is looked at next; a look before that, for what came meanwhile, asks for nothing.
    pub(super) look_at: Instant,
    pub(super) looks: u8,
    /// Which places' chunks came by themselves, a bit each.
    pub(super) came: u64,
    /// Of which places the origin did its part, likewise (R-FAIR-5).
    pub(super) done: u64,
    pub(super) is_told: bool,
    pub(super) is_witnessed: bool,
    /// When one of its manifests was asked for, and when it came, if others were still missing.
    pub(super) answered: Option<(Instant, Instant)>,
    /// When the last missing one of its manifests came.
    pub(super) whole_at: Option<Instant>,
}

impl Generation {
    /// Of one that is `early` nothing is told to the splitter.
    pub(super) const fn new(is_early: bool) -> Self {
        Self {
            parity: BTreeMap::new(),
            is_settled: false,
            look_at: Instant::ORIGIN,
            looks: 0,
            came: 0,
            done: 0,
            is_told: is_early,
            is_witnessed: is_early,
            answered: None,
            whole_at: None,
        }
    }

    /// Takes a parity chunk if `last`, the generation's last manifest, lists it.
    pub(super) fn take(&mut self, last: &Manifest, parity: &Parity) -> Verdict {
        let contents = last.contents();
        let behind = parity.position().checked_sub(contents.position).map(usize::from);
        let is_parity = |place: &usize| *place >= usize::from(contents.data_chunks);
        let listed = behind.filter(is_parity).and_then(|place| contents.hashes.get(place));
        let shard = parity.shard();
        if listed.is_none_or(|hash| *hash != protect::hash_bytes(&shard)) {
            return Verdict::Bad;
        }
        if self.is_settled || self.parity.insert(parity.position(), shard).is_some() {
            return Verdict::Known;
        }
        Verdict::Believed
    }

    /// Rebuilds what the window lacks; each piece must be what a manifest lists.
    pub(super) fn rebuild(&self, manifests: &Manifests, last: &Manifest, window: &Window) -> Vec<Chunk> {
        let contents = last.contents();
        let data_chunks = usize::from(contents.position) + usize::from(contents.data_chunks);
        let number = |place: usize| contents.first.plus(place as u64);
        let data: Vec<(usize, &Chunk)> = (0..data_chunks)
            .filter_map(|place| window.get(number(place)).map(|chunk| (place, chunk)))
            .collect();
        let parity: Vec<(usize, Bytes)> = self
            .parity
            .iter()
            .map(|(position, shard)| (usize::from(*position) - data_chunks, shard.clone()))
            .collect();
        let parity_chunks = usize::from(contents.parity_chunks());
        let shards =
            protect::decode(data_chunks, parity_chunks, usize::from(contents.shard_bytes), &data, &parity);
        shards
            .into_iter()
            .filter_map(|(place, shard)| {
                Chunk::from_shard(number(place), u8::try_from(place).ok()?, &shard).ok()
            })
            .filter(|chunk| manifests.listing(chunk.number()).is_some_and(|manifest| lists(manifest, chunk)))
            .collect()
    }

    /// Nothing more is done for this generation, and its parity is let go.
    pub(super) fn settle(&mut self) {
        self.is_settled = true;
        self.parity.clear();
    }
}

/// Whether the manifest lists this chunk at its place.
pub(super) fn lists(manifest: &Manifest, chunk: &Chunk) -> bool {
    let contents = manifest.contents();
    let place = chunk.number().since(contents.first);
    let listed = chunk.header().position.checked_sub(contents.position).map(usize::from);
    u64::from(chunk.header().position) == place
        && listed
            .filter(|listed| *listed < usize::from(contents.data_chunks))
            .and_then(|listed| contents.hashes.get(listed))
            .is_some_and(|hash| *hash == protect::hash_chunk(chunk))
}

/// What is still to be played of these numbers and is not there.
pub(super) fn missing(numbers: Range<ChunkNumber>, window: &Window, from: ChunkNumber) -> Vec<ChunkNumber> {
    (0..numbers.end.since(numbers.start))
        .map(|place| numbers.start.plus(place))
        .filter(|number| *number >= from.max(window.floor()) && !window.contains(*number))
        .collect()
}
