//! What goes out next: turns of chunks, each to the origin that is due, what a closed generation owes, and behind them answers to
//! pulls.

use super::{Draft, Generations, Splitter, SplitterEvent, generation::GENERATION_SPAN, generation::Owed};
use crate::{
    Instant, Output,
    manifests::Manifests,
    serve::{Shelf, chunks_in},
    window::Window,
};
use p2psp_wire::{Chunk, ChunkHeader, ChunkNumber, Datagram, Parity, Slot};

impl Splitter {
    /// The next train, if the uplink has room.
    pub(super) fn next_train(&mut self, now: Instant) -> Option<Output<SplitterEvent>> {
        if self.uplink_blocked {
            return None;
        }
        while let Some(turn) = self.next_turn(now) {
            if let Some(train) = turn {
                return Some(train);
            }
        }
        while let Some((link, datagrams)) = self.own.poll() {
            let slot = self.members.slot_of_link(link);
            // A copy for a link that takes none now is left to parity and pulls.
            if slot.and_then(|slot| self.members.get(slot)).is_some_and(|member| !member.blocked) {
                self.count_sent(&datagrams);
                return Some(Output::Train { link, datagrams });
            }
        }
        let shelf = Held { window: &self.window, manifests: &self.manifests };
        let (link, datagrams) = self.server.poll(&shelf)?;
        self.stats.chunks_served += chunks_in(&datagrams);
        Some(Output::Train { link, datagrams })
    }

    /// Whether anything is still to go out in turns.
    pub(super) fn owes(&self) -> bool {
        self.turns.is_waiting()
            || !self.own.is_idle()
            || self.generations.as_ref().is_some_and(|open| open.is_owing() || open.deadline().is_some())
    }

    /// Closes the open generation when its time is over, or when the stream is.
    pub(super) fn close_generation(&mut self, now: Instant) {
        let time = self.stream_time(now);
        let ended = self.closing.is_some() && !self.turns.is_waiting();
        if let Some(open) = &mut self.generations
            && (ended || open.deadline().is_some_and(|at| at <= now))
        {
            open.close(time, self.turns.chunks());
        }
    }

    /// Takes the next turn from the queue: what a closed generation owes goes first, because it is older. `Some(None)` when there
    /// was one, but nobody to take it.
    fn next_turn(&mut self, now: Instant) -> Option<Option<Output<SplitterEvent>>> {
        if !self.turns.is_waiting() && !self.generations.as_ref().is_some_and(Generations::is_owing) {
            return None;
        }
        self.rebalance(now);
        let origin = self.schedule.next(now, &mut self.members);
        let capacity = origin.and_then(|slot| self.members.get(slot)).and_then(|member| member.capacity);
        let (whole, most) = (self.turns.chunks(), self.turn_chunks_max(capacity).max(1));
        let owed = self.generations.as_mut().map(|open| open.pop(whole.min(most))).unwrap_or_default();
        let drafts = if owed.is_empty() { self.turns.pop_at_most(most)? } else { Vec::new() };
        if let Some(member) = origin.filter(|_| most < whole).and_then(|slot| self.members.get_mut(slot)) {
            self.schedule.refund(member, most, whole);
        }
        // A chunk without an origin is still kept for the first joiner's pull; its slot then means nothing.
        let slot = origin.unwrap_or(Slot::FIRST);
        let datagrams: Vec<Datagram> = if owed.is_empty() {
            drafts.iter().filter_map(|draft| self.stamp(now, draft, slot)).map(Datagram::Chunk).collect()
        } else {
            owed.into_iter().filter_map(|owed| self.settle(owed, slot)).collect()
        };
        if origin == Some(Slot::SPLITTER) {
            self.stats.own_turns += 1;
            let links = self.members.iter().map(|(_, member)| member.link).collect();
            self.stats.chunks_overflowed += self.own.push(datagrams.into(), links);
            return Some(None);
        }
        let Some(member) = origin.and_then(|slot| self.members.get(slot)) else {
            self.stats.chunks_unsent += drafts.len() as u64;
            return Some(None);
        };
        let link = member.link;
        self.stats.turns_sent += 1;
        self.count_sent(&datagrams);
        if let (Some(origin), Some(Datagram::Chunk(first))) = (origin, datagrams.first())
            && self.generations.is_some()
        {
            self.fairness.on_turn(now, origin, first.number(), datagrams.len());
        }
        Some(Some(Output::Train { link, datagrams: datagrams.into() }))
    }

    fn count_sent(&mut self, datagrams: &[Datagram]) {
        for datagram in datagrams {
            self.stats.bytes_sent += datagram.bytes().len() as u64;
            match datagram {
                Datagram::Chunk(_) => self.stats.chunks_sent += 1,
                Datagram::Parity(_) => self.stats.parity_sent += 1,
                Datagram::Manifest(_) => self.stats.manifests_sent += 1,
            }
        }
    }

    /// Lays a chunk out as it will travel, and keeps it. Drafts were checked when they came in, so that none is lost here.
    fn stamp(&mut self, now: Instant, draft: &Draft, origin: Slot) -> Option<Chunk> {
        let (time, turn_chunks) = (self.stream_time(now), self.turns.chunks());
        if let Some(open) = &mut self.generations {
            open.close_before(draft.number, time, turn_chunks);
        }
        let header = ChunkHeader {
            number: draft.number,
            origin,
            position: self.generations.as_ref().map_or(0, Generations::position),
            header_version: draft.header_version,
            random_access: draft.random_access,
            time_us: draft.time.truncate(),
        };
        let mut chunk = Chunk::new(header, &draft.payload).ok()?;
        if let Some(open) = &self.generations {
            chunk = open.seal(self.config.channel, chunk)?;
        }
        self.window.insert(chunk.clone());
        if let Some(open) = &mut self.generations {
            open.push(now, time, chunk.clone(), self.turns.within(GENERATION_SPAN), turn_chunks);
        }
        Some(chunk)
    }

    /// Lays out what a generation owes; a manifest is signed and kept.
    fn settle(&mut self, owed: Owed, origin: Slot) -> Option<Datagram> {
        match owed {
            Owed::Parity { first, position, time_us, shard } => {
                Parity::new(first, position, origin, time_us, &shard).ok().map(Datagram::Parity)
            }
            Owed::Manifest(contents) => {
                let channel = self.config.channel;
                let manifest = self.generations.as_mut()?.sign(channel, contents, origin)?;
                self.manifests.forget_before(self.window.floor());
                self.manifests.insert(manifest.clone());
                Some(Datagram::Manifest(manifest))
            }
        }
    }
}

/// What the splitter answers pulls from.
pub(super) struct Held<'a> {
    pub(super) window: &'a Window,
    pub(super) manifests: &'a Manifests,
}

impl Shelf for Held<'_> {
    fn chunk(&self, number: ChunkNumber) -> Option<&Chunk> {
        self.window.get(number)
    }

    fn manifests(&self) -> &Manifests {
        self.manifests
    }
}
