//! Answers to pulls: chunks that a member asked for once. Served behind all relaying, within a budget, from one bounded queue;
//! what does not fit is choked at once, so that the asker loses no time (R-PULL-2, R-PULL-3).

use crate::{Instant, LinkId, Train, guard::Bucket, window::Window};
use p2psp_wire::{Chunk, ChunkNumber, Control, NumberRange};
use std::collections::{BTreeMap, VecDeque};

/// Chunks waiting in all pulls together: what a 4 Mb/s stream brings in nine seconds.
pub(crate) const PULL_QUEUE_MAX: usize = 4096;
/// Chunks that one link may pull at once: a random-access point's distance, eight seconds of a 4 Mb/s stream.
pub(crate) const PULL_BURST_MAX: u32 = 4096;
/// Chunks a second that one link may pull for long.
pub(crate) const PULL_PER_SECOND: u32 = 256;
/// Chunks that leave together.
const TRAIN_MAX: usize = 16;

/// The pulls of all links.
#[derive(Debug, Default)]
pub(crate) struct Server {
    queue: VecDeque<(LinkId, ChunkNumber)>,
    budgets: BTreeMap<LinkId, Bucket>,
}

impl Server {
    /// Takes a pull in; the answer, if any, is the choke for what will not be served.
    pub(crate) fn request(
        &mut self,
        now: Instant,
        link: LinkId,
        ranges: &[NumberRange],
        window: &Window,
    ) -> Option<Control> {
        let budget =
            self.budgets.entry(link).or_insert_with(|| Bucket::new(now, PULL_BURST_MAX, PULL_PER_SECOND));
        let mut refused = Vec::new();
        for number in ranges.iter().flat_map(|range| range.numbers()) {
            let room = self.queue.len() < PULL_QUEUE_MAX;
            if room && window.contains(number) && budget.take(now, 1) {
                self.queue.push_back((link, number));
            } else {
                refused.push(number);
            }
        }
        let ranges = NumberRange::pack(refused);
        (!ranges.is_empty()).then_some(Control::Choke { ranges, retry_after_ms: 0 })
    }

    /// The next train to send, all of it to one link.
    pub(crate) fn poll(&mut self, window: &Window) -> Option<(LinkId, Train)> {
        while let Some(&(link, _)) = self.queue.front() {
            let mut chunks: Vec<Chunk> = Vec::with_capacity(TRAIN_MAX);
            while chunks.len() < TRAIN_MAX
                && let Some(&(next, number)) = self.queue.front()
                && next == link
            {
                self.queue.pop_front();
                chunks.extend(window.get(number).cloned());
            }
            if !chunks.is_empty() {
                return Some((link, chunks.into()));
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
