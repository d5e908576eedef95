//! What waits for its manifest (R-GEN-5): how much of it may, and whose it is. Proves nothing and asks nobody.

use super::{AHEAD_OF_LINK_MAX, Belief, HELD_MAX, PARITY_HELD_MAX};
use crate::{Instant, LinkId};
use p2psp_wire::{Chunk, ChunkNumber, limits::DATA_CHUNKS_MAX};

/// A chunk that waits.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) chunk: Chunk,
    pub(super) link: LinkId,
    pub(super) came: Instant,
    /// Its origin did its part.
    pub(super) is_done: bool,
}

impl Held {
    /// The first chunk of the generation that it says it belongs to.
    pub(super) fn first(&self) -> ChunkNumber {
        self.chunk.number().minus(self.chunk.header().position.into())
    }
}

impl Belief {
    /// Whether a chunk of this number waits for its manifest.
    pub(in crate::peer) fn holds(&self, number: ChunkNumber) -> bool {
        self.held.contains_key(&number)
    }

    /// Whether this number may be out already, or follows soon: it is at most a generation ahead of `edge`, the newest that is trusted,
    /// and of the newest manifest.
    pub(in crate::peer) fn is_near(&self, number: ChunkNumber, edge: ChunkNumber) -> bool {
        number <= self.manifests.end().max(edge).plus(DATA_CHUNKS_MAX.into())
    }

    /// Who has this link lies: what no manifest has proved yet goes, so that its places are free for what is true.
    pub(in crate::peer) fn forget_link(&mut self, link: LinkId) {
        if !self.proves_chunks() {
            self.held.retain(|_, held| held.link != link);
        }
        self.parity.retain(|_, (_, from)| *from != link);
    }

    /// Waiting chunks that say they belong to the generation that begins with this one.
    pub(super) fn claims(&self, first: ChunkNumber) -> impl Iterator<Item = &Held> {
        let held = self.held.range(first..first.plus(DATA_CHUNKS_MAX.into()));
        held.map(|(_, held)| held).filter(move |held| held.first() == first)
    }

    pub(super) fn has_room_for_chunk(&self, link: LinkId, links: usize, is_near: bool) -> bool {
        let waiting = self.held.values().map(|held| held.link);
        if is_near {
            return has_room(waiting, self.held.len(), HELD_MAX, link, links);
        }
        let is_scarce = self.held.len() >= HELD_MAX / 2;
        !is_scarce && waiting.filter(|owner| *owner == link).count() < AHEAD_OF_LINK_MAX
    }

    pub(super) fn has_room_for_parity(&self, link: LinkId, links: usize) -> bool {
        let waiting = self.parity.values().map(|(_, link)| *link);
        has_room(waiting, self.parity.len(), PARITY_HELD_MAX, link, links)
    }
}

/// Whether one more may wait: there is room, and while it is scarce the link has no more than its share of it.
pub(super) fn has_room(
    waiting: impl Iterator<Item = LinkId>,
    waiting_now: usize,
    limit: usize,
    link: LinkId,
    links: usize,
) -> bool {
    if waiting_now < limit / 2 {
        return true;
    }
    let share = (2 * limit / (links + 1)).max(limit / 32).max(1);
    waiting_now < limit && waiting.filter(|owner| *owner == link).count() < share
}
