//! Answers to pulls: chunks that a member asked for once. Served behind all relaying, within a budget of each member, from a bounded
//! queue of each link, in turns, so that nobody waits behind all that another has asked for; what does not fit is choked at once, so
//! that the asker loses no time (R-PULL-2, R-PULL-3).

use crate::{Instant, LinkId, Train, guard::Bucket, manifests::Manifests};
use p2psp_wire::{
    Chunk, ChunkNumber, Control, Datagram, Manifest, NumberRange, PeerId, limits::TEAM_SIZE_MAX,
};
use std::collections::{BTreeMap, VecDeque};

/// Datagrams that wait for one link: as many chunks as one pull can name.
pub(crate) const PULL_QUEUE_MAX: usize = 2048;
/// Chunks that one member may pull at once: a random-access point's distance, eight seconds of a 4 Mb/s stream.
pub(crate) const PULL_BURST_MAX: u32 = 4096;
/// Chunks a second that one member may pull for long.
pub(crate) const PULL_PER_SECOND: u32 = 256;
/// Members whose budgets are kept, whether they are still there or not: two full teams. A new link is no new budget.
pub(crate) const BUDGETS_MAX: usize = 2 * TEAM_SIZE_MAX as usize;
/// Datagrams that leave together, and that a link gets before it is the next one's turn.
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
    /// What waits for each link, and for none nothing; the link whose turn is next comes first.
    waiting: VecDeque<(LinkId, VecDeque<Item>)>,
    budgets: BTreeMap<PeerId, Bucket>,
}

impl Server {
    /// Takes in a pull of the member at the other end of a link; the answer, if any, is the choke for what will not be served. A
    /// chunk's manifest goes before it: who has missed the one may well lack the other.
    pub(crate) fn request(
        &mut self,
        now: Instant,
        (link, peer): (LinkId, PeerId),
        ranges: &[NumberRange],
        generations: &[ChunkNumber],
        shelf: &impl Shelf,
    ) -> Option<Control> {
        let place = self.waiting.iter().position(|(owner, _)| *owner == link);
        let mut fresh = VecDeque::new();
        let budget = budget_of(&mut self.budgets, now, peer);
        let queue =
            place.and_then(|place| self.waiting.get_mut(place)).map_or(&mut fresh, |(_, queue)| queue);
        for manifest in generations.iter().flat_map(|first| shelf.manifests().of_generation(*first)) {
            if queue.len() < PULL_QUEUE_MAX && budget.take(now, 1) {
                queue.push_back(Item::manifest(manifest));
            }
        }
        let (mut refused, mut excess, mut last) = (Vec::new(), 0_u32, None);
        for number in ranges.iter().flat_map(|range| range.numbers()) {
            let is_held = shelf.chunk(number).is_some();
            // Room for the chunk and its manifest.
            if is_held && queue.len() + 2 <= PULL_QUEUE_MAX && budget.take(now, 1) {
                let manifest = shelf.manifests().listing(number).map(Item::manifest);
                queue.extend(manifest.filter(|_| manifest != last));
                last = manifest;
                queue.push_back(Item::Chunk(number));
            } else {
                refused.push(number);
                excess += u32::from(is_held);
            }
        }
        if !fresh.is_empty() {
            self.waiting.push_back((link, fresh));
        }
        let ranges = NumberRange::pack(refused);
        // The budget has earned them by then, and as many have gone out.
        let retry_after_ms = (excess * 1000).div_ceil(PULL_PER_SECOND);
        (!ranges.is_empty()).then_some(Control::Choke { ranges, retry_after_ms })
    }

    /// The next train to send, all of it to one link.
    pub(crate) fn poll(&mut self, shelf: &impl Shelf) -> Option<(LinkId, Train)> {
        while let Some((link, mut queue)) = self.waiting.pop_front() {
            let mut datagrams: Vec<Datagram> = Vec::with_capacity(TRAIN_MAX);
            while datagrams.len() < TRAIN_MAX
                && let Some(item) = queue.pop_front()
            {
                datagrams.extend(match item {
                    Item::Chunk(number) => shelf.chunk(number).cloned().map(Datagram::Chunk),
                    Item::Manifest(first, position) => {
                        shelf.manifests().get(first, position).cloned().map(Datagram::Manifest)
                    }
                });
            }
            if !queue.is_empty() {
                self.waiting.push_back((link, queue));
            }
            if !datagrams.is_empty() {
                return Some((link, datagrams.into()));
            }
        }
        None
    }

    /// Forgets what waits for a link. What its member has pulled stays counted.
    pub(crate) fn forget(&mut self, link: LinkId) {
        self.waiting.retain(|(owner, _)| *owner != link);
    }
}

/// A member's budget. Where as many are kept as may be, the one with most left is forgotten: that gives away least.
fn budget_of(budgets: &mut BTreeMap<PeerId, Bucket>, now: Instant, peer: PeerId) -> &mut Bucket {
    if budgets.len() >= BUDGETS_MAX && !budgets.contains_key(&peer) {
        let fullest = budgets.iter_mut().map(|(peer, budget)| (budget.tokens(now), *peer)).max();
        fullest.and_then(|(_, fullest)| budgets.remove(&fullest));
    }
    budgets.entry(peer).or_insert_with(|| Bucket::new(now, PULL_BURST_MAX, PULL_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lab::key, window::Window};
    use p2psp_wire::{ChunkHeader, Slot};
    use std::time::Duration;

    struct Stock(Window, Manifests);

    impl Shelf for Stock {
        fn chunk(&self, number: ChunkNumber) -> Option<&Chunk> {
            self.0.get(number)
        }

        fn manifests(&self) -> &Manifests {
            &self.1
        }
    }

    fn number(n: u64) -> ChunkNumber {
        ChunkNumber::new(n).unwrap()
    }

    /// The chunks 0 to 4095.
    fn stock() -> Stock {
        let mut window = Window::new(4096, ChunkNumber::ZERO);
        for n in 0..4096 {
            let (origin, time_us) = (Slot::FIRST, 0);
            let number = number(n);
            let header =
                ChunkHeader { number, origin, position: 0, header_version: 0, random_access: false, time_us };
            window.insert(Chunk::new(header, b"x").unwrap());
        }
        Stock(window, Manifests::default())
    }

    fn range(first: u64, last: u64) -> NumberRange {
        NumberRange::new(number(first), number(last)).unwrap()
    }

    /// How many are refused, and when they may be asked for again.
    fn choked(answer: Option<Control>) -> (u64, u32) {
        match answer {
            Some(Control::Choke { ranges, retry_after_ms }) => {
                (ranges.iter().map(|range| range.chunks()).sum(), retry_after_ms)
            }
            _ => (0, 0),
        }
    }

    /// Links in the order in which they are served, and how many chunks each time.
    fn served(server: &mut Server, stock: &Stock) -> Vec<(u32, usize)> {
        std::iter::from_fn(|| server.poll(stock)).map(|(link, train)| (link.0, train.len())).collect()
    }

    /// R-PULL-2: who has asked for little waits for one train of each of the others, not for all that they have asked for; their
    /// queues are bounded each by itself.
    #[test]
    fn links_take_turns() {
        let (stock, now, mut server) = (stock(), Instant::ORIGIN, Server::default());
        for n in 0..6 {
            let greedy = (LinkId(n), key(1 + n as usize));
            assert_eq!(choked(server.request(now, greedy, &[range(0, 2046)], &[], &stock)).0, 0);
            assert_eq!(
                choked(server.request(now, greedy, &[range(0, 2047)], &[], &stock)).0,
                2048,
                "one is full"
            );
        }
        let repair = server.request(now, (LinkId(9), key(9)), &[range(100, 104)], &[], &stock);
        assert_eq!(repair, None);
        let served = served(&mut server, &stock);
        assert_eq!(served.get(6), Some(&(9, 5)), "{:?}", served.get(..8));
        assert_eq!(
            served.iter().filter(|(link, _)| *link == 0).map(|(_, chunks)| chunks).sum::<usize>(),
            2047
        );
    }

    /// R-PULL-2: a new link is no new budget; another member has its own.
    #[test]
    fn a_budget_outlives_its_link() {
        let (stock, now, mut server) = (stock(), Instant::ORIGIN, Server::default());
        let mut pull = |link: u32, peer: usize| {
            let mut refused = 0;
            for _ in 0..5 {
                refused +=
                    choked(server.request(now, (LinkId(link), key(peer)), &[range(0, 999)], &[], &stock)).0;
                served(&mut server, &stock);
            }
            server.forget(LinkId(link));
            5000 - refused
        };
        assert_eq!(pull(0, 1), PULL_BURST_MAX.into());
        assert_eq!(pull(1, 1), 0, "the same member over a new link");
        assert_eq!(pull(2, 2), PULL_BURST_MAX.into());
    }

    /// One member more than budgets are kept for: a spent budget is not the one forgotten.
    #[test]
    fn budgets_are_bounded() {
        let (stock, now, mut server) = (stock(), Instant::ORIGIN, Server::default());
        for _ in 0..5 {
            server.request(now, (LinkId(0), key(1)), &[range(0, 999)], &[], &stock);
            served(&mut server, &stock);
        }
        for n in 0..BUDGETS_MAX {
            server.request(now, (LinkId(1), key(2 + n)), &[range(0, 0)], &[], &stock);
            served(&mut server, &stock);
        }
        assert_eq!(server.budgets.len(), BUDGETS_MAX);
        assert_eq!(choked(server.request(now, (LinkId(0), key(1)), &[range(0, 9)], &[], &stock)).0, 10);
    }

    /// R-PULL-3: what is not there will not be; what is beyond the budget is served at the time that the choke tells, and not before.
    #[test]
    fn chokes_tell_when_to_ask_again() {
        let (stock, now, mut server) = (stock(), Instant::ORIGIN, Server::default());
        let asker = (LinkId(0), key(1));
        let mut pull = |now: Instant, first: u64, last: u64| {
            let answer = choked(server.request(now, asker, &[range(first, last)], &[], &stock));
            served(&mut server, &stock);
            answer
        };
        assert_eq!(pull(now, 5000, 5009), (10, 0));
        assert_eq!((pull(now, 0, 1999), pull(now, 0, 1999)), ((0, 0), (0, 0)));
        let (refused, after_ms) = pull(now, 0, 351);
        assert_eq!((refused, after_ms), (256, 1000));
        let again = now + Duration::from_millis(after_ms.into());
        assert_eq!(pull(again - Duration::from_millis(1), 0, 255).0, 1);
        let (refused, _) = pull(again + Duration::from_secs(1), 0, 255);
        assert_eq!(refused, 0);
    }
}
