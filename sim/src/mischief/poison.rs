//! Members that relay what the splitter did not give them. Owns what each makes of a datagram, and what came of it to whom; that
//! none of it is played is the oracle's business.

use crate::links::NodeId;
use p2psp_core::{Instant, Train};
use p2psp_wire::{Chunk, ChunkHeader, ChunkNumber, Datagram, Manifest, Parity};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

/// What a poisoner relays in place of the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poison {
    /// Other bytes, in chunks and in parity.
    Always,
    /// Other bytes in the chunks of every second run of so many numbers.
    OnOff(u64),
    /// Other bytes, for one of so many teammates.
    Some(u32),
    /// The truth, and beside it what it has relayed before.
    Replayed,
    /// The truth, and beside it next to nothing under each number that follows.
    Squats,
    /// An earlier chunk under the number that is due.
    Renumbered,
    /// What another channel's splitter gives out.
    Foreign(NodeId),
}

/// What a poisoner has done.
#[derive(Clone, Debug, Default)]
pub struct Harm {
    first: Option<Instant>,
    third: Option<Instant>,
    /// The first three.
    chunks: BTreeSet<ChunkNumber>,
    /// When each got the first one, and when its link was cut.
    victims: BTreeMap<NodeId, (Instant, Option<Instant>)>,
}

impl Harm {
    /// When the first false datagram reached somebody.
    #[must_use]
    pub const fn first(&self) -> Option<Instant> {
        self.first
    }

    /// When the third chunk that was false reached somebody.
    #[must_use]
    pub const fn third(&self) -> Option<Instant> {
        self.third
    }

    /// How many members were sent something false.
    #[must_use]
    pub fn victims(&self) -> usize {
        self.victims.len()
    }

    /// The longest that it took a victim from the first false datagram to no link; `now` for those that have one still.
    #[must_use]
    pub fn longest(&self, now: Instant) -> Duration {
        let spans = self.victims.values().map(|(first, cut)| cut.unwrap_or(now).since(*first));
        spans.max().unwrap_or_default()
    }

    fn add(&mut self, now: Instant, to: NodeId, number: ChunkNumber) {
        self.first.get_or_insert(now);
        if self.third.is_none() && self.chunks.insert(number) && self.chunks.len() == THIRD {
            self.third = Some(now);
        }
        self.victims.entry(to).or_insert((now, None));
    }
}

const THIRD: usize = 3;
/// Chunks that a poisoner keeps, to send them again: some seconds of what it relays to one teammate.
const KEPT_MAX: usize = 64;
/// Numbers that one who squats takes at a time: more than half a second of the stream.
const SQUATTED: u64 = 512;

/// A poisoner at work.
#[derive(Debug)]
pub(super) struct Poisoner {
    how: Poison,
    pub(super) harm: Harm,
    kept: VecDeque<Chunk>,
}

impl Poisoner {
    pub(super) fn new(how: Poison) -> Self {
        Self { how, harm: Harm::default(), kept: VecDeque::new() }
    }

    /// The link with `victim` is gone.
    pub(super) fn on_cut(&mut self, now: Instant, victim: NodeId) {
        if let Some((_, cut)) = self.harm.victims.get_mut(&victim) {
            cut.get_or_insert(now);
        }
    }

    /// What comes to `to` in place of these.
    pub(super) fn altered(
        &mut self,
        now: Instant,
        to: NodeId,
        datagrams: Vec<Datagram>,
        foreign: &Foreign,
    ) -> Vec<Datagram> {
        let mut sent = Vec::with_capacity(datagrams.len());
        if self.how == Poison::Squats {
            sent = self.squatters(now, to, &datagrams);
        }
        for datagram in datagrams {
            if let Some(again) = self.again(&datagram).filter(|_| self.how == Poison::Replayed) {
                sent.push(Datagram::Chunk(again));
            }
            let other = self.other(to, &datagram, foreign);
            if let Some(other) = &other {
                self.harm.add(now, to, other.number());
            }
            sent.push(other.unwrap_or(datagram));
        }
        sent
    }

    fn other(&mut self, to: NodeId, datagram: &Datagram, foreign: &Foreign) -> Option<Datagram> {
        let is_on = match self.how {
            Poison::Always | Poison::Renumbered | Poison::Foreign(_) => true,
            Poison::OnOff(chunks) => {
                matches!(datagram, Datagram::Chunk(_))
                    && (datagram.number().get() / chunks.max(1)).is_multiple_of(2)
            }
            Poison::Some(of) => to.0.is_multiple_of(of.max(1)),
            Poison::Replayed | Poison::Squats => false,
        };
        match (self.how, datagram) {
            _ if !is_on => None,
            (Poison::Foreign(_), datagram) => foreign.instead_of(datagram),
            (Poison::Renumbered, Datagram::Chunk(chunk)) => {
                let earlier = self.again(datagram)?;
                let header = ChunkHeader { number: chunk.number(), ..*chunk.header() };
                Chunk::new(header, &earlier.payload()).ok().map(Datagram::Chunk)
            }
            (_, Datagram::Chunk(chunk)) => {
                Chunk::new(*chunk.header(), &flipped(&chunk.payload())).ok().map(Datagram::Chunk)
            }
            (Poison::Renumbered, _) | (_, Datagram::Manifest(_)) => None,
            (_, Datagram::Parity(parity)) => {
                let shard = flipped(&parity.shard());
                let (first, position) = (parity.first(), parity.position());
                Parity::new(first, position, parity.origin(), parity.time_us(), &shard)
                    .ok()
                    .map(Datagram::Parity)
            }
        }
    }

    /// One byte under each number that follows the first of these.
    fn squatters(&mut self, now: Instant, to: NodeId, datagrams: &[Datagram]) -> Vec<Datagram> {
        let chunk = datagrams.iter().find_map(|datagram| match datagram {
            Datagram::Chunk(chunk) => Some(chunk),
            Datagram::Parity(_) | Datagram::Manifest(_) => None,
        });
        let Some(chunk) = chunk else { return Vec::new() };
        let numbers = (1..=SQUATTED).map(|ahead| chunk.number().plus(ahead));
        let headers = numbers.map(|number| ChunkHeader { number, position: 0, ..*chunk.header() });
        let squatters: Vec<Chunk> = headers.filter_map(|header| Chunk::new(header, b"!").ok()).collect();
        for squatter in &squatters {
            self.harm.add(now, to, squatter.number());
        }
        squatters.into_iter().map(Datagram::Chunk).collect()
    }

    /// Keeps a chunk, and gives back one that was kept before: now an old one, now one of the last.
    fn again(&mut self, datagram: &Datagram) -> Option<Chunk> {
        let Datagram::Chunk(chunk) = datagram else { return None };
        let is_even = chunk.number().get().is_multiple_of(2);
        let again = if is_even { self.kept.front() } else { self.kept.back() }.cloned();
        if self.kept.back().is_none_or(|last| last.number() < chunk.number()) {
            self.kept.push_back(chunk.clone());
        }
        if self.kept.len() > KEPT_MAX {
            self.kept.pop_front();
        }
        again.filter(|again| again.number() != chunk.number())
    }
}

/// The newest that another channel's splitter gave out.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    chunk: Option<Chunk>,
    parity: Option<Parity>,
    manifest: Option<Manifest>,
}

impl Foreign {
    pub(super) fn on_turn(&mut self, train: &Train) {
        for datagram in train.iter().cloned() {
            match datagram {
                Datagram::Chunk(chunk) => self.chunk = Some(chunk),
                Datagram::Parity(parity) => self.parity = Some(parity),
                Datagram::Manifest(manifest) => self.manifest = Some(manifest),
            }
        }
    }

    /// Of the same kind, and in the same place where the other channel's key did not sign the place.
    fn instead_of(&self, datagram: &Datagram) -> Option<Datagram> {
        match datagram {
            Datagram::Chunk(chunk) => {
                let other = self.chunk.as_ref()?;
                Chunk::new(*chunk.header(), &other.payload()).ok().map(Datagram::Chunk)
            }
            Datagram::Parity(parity) => {
                let (first, position) = (parity.first(), parity.position());
                let shard = self.parity.as_ref()?.shard();
                Parity::new(first, position, parity.origin(), parity.time_us(), &shard)
                    .ok()
                    .map(Datagram::Parity)
            }
            Datagram::Manifest(_) => self.manifest.clone().map(Datagram::Manifest),
        }
    }
}

/// The same length, and another first byte.
fn flipped(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(byte) = bytes.first_mut() {
        *byte = !*byte;
    }
    bytes
}
