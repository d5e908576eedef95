//! Turns of the splitter's own (R-TURN-5): what the members' uplinks cannot carry goes to each of them directly. Owns what still has to
//! go out; whose turn it is, the schedule knows.

use crate::{LinkId, Train};
use std::collections::VecDeque;

/// Turns of its own that wait for the uplink; beyond it the oldest is dropped, because a stale chunk is worse than none.
pub(super) const OWN_WAITING_MAX: usize = 64;

/// Own turns under way.
#[derive(Debug, Default)]
pub(super) struct Own {
    waiting: VecDeque<(Train, VecDeque<LinkId>)>,
    given: usize,
}

impl Own {
    /// A turn for all of these, who comes first rotates. How many copies had to be dropped for it.
    pub(super) fn push(&mut self, train: Train, mut links: VecDeque<LinkId>) -> u64 {
        if links.is_empty() || train.is_empty() {
            return 0;
        }
        links.rotate_left(self.given % links.len());
        self.given = self.given.wrapping_add(1);
        self.waiting.push_back((train, links));
        if self.waiting.len() <= OWN_WAITING_MAX {
            return 0;
        }
        self.waiting.pop_front().map_or(0, |(train, links)| (train.len() * links.len()) as u64)
    }

    /// The next copy to send.
    pub(super) fn poll(&mut self) -> Option<(LinkId, Train)> {
        let (train, links) = self.waiting.front_mut()?;
        let link = links.pop_front()?;
        let train = Train::clone(train);
        if links.is_empty() {
            self.waiting.pop_front();
        }
        Some((link, train))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A member is gone.
    pub(super) fn forget(&mut self, link: LinkId) {
        for (_, links) in &mut self.waiting {
            links.retain(|waiting| *waiting != link);
        }
        self.waiting.retain(|(_, links)| !links.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2psp_wire::{Chunk, ChunkHeader, ChunkNumber, Datagram, Slot};

    fn train(number: u64) -> Train {
        let number = ChunkNumber::new(number).unwrap();
        let header = ChunkHeader {
            number,
            origin: Slot::SPLITTER,
            position: 0,
            header_version: 0,
            random_access: false,
            time_us: 0,
        };
        [Datagram::Chunk(Chunk::new(header, b"x").unwrap())].into()
    }

    /// Each turn to everybody once, and the first is another each time; who is gone gets nothing.
    #[test]
    fn everybody_gets_each_turn_once() {
        let mut own = Own::default();
        let links = || VecDeque::from([1, 2, 3].map(LinkId));
        own.push(train(0), links());
        own.push(train(1), links());
        own.forget(LinkId(3));
        let sent: Vec<(u32, u64)> =
            std::iter::from_fn(|| own.poll()).map(|(link, t)| (link.0, t[0].number().get())).collect();
        assert_eq!(sent, [(1, 0), (2, 0), (2, 1), (1, 1)]);
        assert!(own.is_idle());
    }

    /// One turn more than may wait drops the oldest, and says how many copies that was.
    #[test]
    fn what_waits_is_bounded() {
        let mut own = Own::default();
        for n in 0..OWN_WAITING_MAX as u64 {
            assert_eq!(own.push(train(n), VecDeque::from([LinkId(1), LinkId(2)])), 0);
        }
        assert_eq!(own.push(train(99), VecDeque::from([LinkId(1)])), 2);
        assert_eq!(own.poll().unwrap().1[0].number().get(), 1);
    }
}
