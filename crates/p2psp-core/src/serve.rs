//! Answers to pulls: chunks that a member asked for once. Served behind all relaying, within a budget, from one bounded queue;
//! what does not fit is choked at once, so that the asker loses no time (R-PULL-2, R-PULL-3).

use crate::{Instant, LinkId, Train, guard::Bucket, manifests::Manifests};
use p2psp_wire::{Chunk, ChunkNumber, Control, Datagram, Manifest, NumberRange};
use std::collections::{BTreeMap, VecDeque};

/// Chunks waiting in all pulls together: what a 4 Mb/s stream brings in nine seconds.
pub(crate) const PULL_QUEUE_MAX: usize = 4096;
/// Chunks that one link may pull at once: a random-access point's distance, eight seconds of a 4 Mb/s stream.
pub(crate) const PULL_BURST_MAX: u32 = 4096;
/// Chunks a second that one link may pull for long.
pub(crate) const PULL_PER_SECOND: u32 = 256;
/// Chunks that leave together.
const TRAIN_MAX: usize = 16;

/// What pulls are answered from.
pub(crate) trait Shelf {
    /// The chunk of this number, if it may be passed on.
    fn chunk(&self, number: ChunkNumber) -> Option<&Chunk>;
    /// The manifests that may be passed on.
    fn manifests(&self) -> &Manifests;
}

/// How many of these are chunks of the stream.
pub(crate) fn chunks_in(datagrams: &[Datagram]) -> u64 {
    datagrams.iter().filter(|datagram| matches!(datagram, Datagram::Chunk(_))).count() as u64
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Chunk(ChunkNumber),
    /// Of the generation that begins there, the one whose list begins at this place.
    Manifest(ChunkNumber, u8),
}

impl Item {
    fn manifest(manifest: &Manifest) -> Self {
        let contents = manifest.contents();
        Self::Manifest(contents.first, contents.position)
    }
}

/// The pulls of all links.
#[derive(Debug, Default)]
pub(crate) struct Server {
    queue: VecDeque<(LinkId, Item)>,
    budgets: BTreeMap<LinkId, Bucket>,
}

impl Server {
    /// Takes a pull in; the answer, if any, is the choke for what will not be served. A chunk's manifest goes before it: who has
    /// missed the one may well lack the other.
    pub(crate) fn request(
        &mut self,
        now: Instant,
        link: LinkId,
        ranges: &[NumberRange],
        generations: &[ChunkNumber],
        shelf: &impl Shelf,
    ) -> Option<Control> {
        let budget =
            self.budgets.entry(link).or_insert_with(|| Bucket::new(now, PULL_BURST_MAX, PULL_PER_SECOND));
        for manifest in generations.iter().flat_map(|first| shelf.manifests().of_generation(*first)) {
            if self.queue.len() < PULL_QUEUE_MAX && budget.take(now, 1) {
                self.queue.push_back((link, Item::manifest(manifest)));
            }
        }
        let (mut refused, mut last) = (Vec::new(), None);
        for number in ranges.iter().flat_map(|range| range.numbers()) {
            let room = self.queue.len() < PULL_QUEUE_MAX;
            if room && shelf.chunk(number).is_some() && budget.take(now, 1) {
                let manifest = shelf.manifests().listing(number).map(Item::manifest);
                self.queue.extend(manifest.filter(|_| manifest != last).map(|item| (link, item)));
                last = manifest;
                self.queue.push_back((link, Item::Chunk(number)));
            } else {
                refused.push(number);
            }
        }
        let ranges = NumberRange::pack(refused);
        (!ranges.is_empty()).then_some(Control::Choke { ranges, retry_after_ms: 0 })
    }

    /// The next train to send, all of it to one link.
    pub(crate) fn poll(&mut self, shelf: &impl Shelf) -> Option<(LinkId, Train)> {
        while let Some(&(link, _)) = self.queue.front() {
            let mut datagrams: Vec<Datagram> = Vec::with_capacity(TRAIN_MAX);
            while datagrams.len() < TRAIN_MAX
                && let Some(&(next, item)) = self.queue.front()
                && next == link
            {
                self.queue.pop_front();
                datagrams.extend(match item {
                    Item::Chunk(number) => shelf.chunk(number).cloned().map(Datagram::Chunk),
                    Item::Manifest(first, position) => {
                        shelf.manifests().get(first, position).cloned().map(Datagram::Manifest)
                    }
                });
            }
            if !datagrams.is_empty() {
                return Some((link, datagrams.into()));
            }
        }
        None
    }

    /// Forgets a link.
    pub(crate) fn forget(&mut self, link: LinkId) {
        self.budgets.remove(&link);
        self.queue.retain(|(owner, _)| *owner != link);
    }
}
