//! Groups chunks into generations (R-GEN-1): counts positions, lists the first half of a large one in a signed manifest as soon as it is
//! there, and at the close of each makes its parity chunks and a manifest for the rest. Chunks do not wait for it: they have gone
//! out by then.

use super::config::{ParityPolicy, Protection};
use crate::{Instant, protect};
use p2psp_wire::{
    ChannelId, Chunk, ChunkNumber, Epoch, Hash, Integrity, ManifestContents, StreamTime,
    limits::{DATA_CHUNKS_MAX, PARITY_CHUNKS_MAX},
};
use std::{collections::VecDeque, time::Duration};

/// How much of the stream one generation spans. A receiver waits as long for its manifest, half as long where it has two.
pub(super) const GENERATION_SPAN: Duration = Duration::from_millis(100);
/// Fewest chunks of a generation that the source fills: below it a manifest costs more than it is worth.
pub(super) const DATA_CHUNKS_MIN: u8 = 8;
/// A generation of as many chunks is told of in two halves: false chunks are known for such half as late. Below it a second manifest,
/// 140 bytes, costs more than that is worth.
const HALVED_MIN: u8 = 32;
/// A generation that the source does not fill closes after this many spans.
const CLOSE_SPANS: u32 = 3;

/// What a closed generation still owes its members: one datagram each, for an origin yet to be chosen.
#[derive(Debug)]
pub(super) enum Owed {
    Parity { first: ChunkNumber, position: u8, time_us: u32, shard: Vec<u8> },
    Manifest(ManifestContents),
}

/// The open generation, and what closed ones owe.
#[derive(Debug)]
pub(super) struct Generations {
    protection: Protection,
    epoch: Epoch,
    data_chunks: u8,
    open: Vec<Chunk>,
    /// How many of these a manifest lists already.
    listed: u8,
    opened: Instant,
    previous: Hash,
    owed: VecDeque<Owed>,
    /// What the members' losses ask for.
    parity_chunks: u8,
    /// What the newest generation got.
    given: u8,
}

impl Generations {
    pub(super) const fn new(protection: Protection, epoch: Epoch) -> Self {
        Self {
            protection,
            epoch,
            data_chunks: DATA_CHUNKS_MIN,
            open: Vec::new(),
            listed: 0,
            opened: Instant::ORIGIN,
            previous: Hash([0; p2psp_wire::limits::HASH_BYTES]),
            owed: VecDeque::new(),
            parity_chunks: super::losses::PARITY_STEPS[0],
            given: 0,
        }
    }

    /// The losses ask for this many parity chunks from the next generation on.
    pub(super) const fn set_parity(&mut self, parity_chunks: u8) {
        self.parity_chunks = parity_chunks;
    }

    /// Parity chunks of the newest generation.
    pub(super) const fn given(&self) -> u8 {
        self.given
    }

    /// How many chunks a generation has that the source fills.
    pub(super) const fn data_chunks(&self) -> u8 {
        self.data_chunks
    }

    /// The place of the next chunk.
    pub(super) fn position(&self) -> u8 {
        u8::try_from(self.open.len()).unwrap_or(DATA_CHUNKS_MAX)
    }

    /// Closes the open generation where turns before this chunk were dropped: a generation's numbers have no gap (R-GEN-1).
    pub(super) fn close_before(&mut self, number: ChunkNumber, time: StreamTime, turn_chunks: u64) {
        if self.open.last().is_some_and(|last| last.number().next() != number) {
            self.close(time, turn_chunks);
        }
    }

    /// A chunk goes out. `span_chunks` is what the source brings in one [`GENERATION_SPAN`]; `turn_chunks` go to one origin in a
    /// row, and are lost together.
    pub(super) fn push(
        &mut self,
        now: Instant,
        time: StreamTime,
        chunk: Chunk,
        span_chunks: u64,
        turn_chunks: u64,
    ) {
        if self.open.is_empty() {
            self.opened = now;
            let chunks = u8::try_from(span_chunks).unwrap_or(DATA_CHUNKS_MAX);
            self.data_chunks = chunks.clamp(DATA_CHUNKS_MIN, DATA_CHUNKS_MAX);
        }
        self.open.push(chunk);
        if self.position() >= self.data_chunks {
            self.close(time, turn_chunks);
        } else if self.data_chunks >= HALVED_MIN && self.position() == self.data_chunks / 2 {
            let hashes = self.open.iter().map(protect::hash_chunk).collect();
            self.list(time, self.data_chunks / 2, 0, hashes);
        }
    }

    /// When the open generation closes although the source has not filled it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.open.is_empty()).then(|| self.opened + GENERATION_SPAN * CLOSE_SPANS)
    }

    /// Closes the open generation: parity first, then the manifest that lists it.
    pub(super) fn close(&mut self, time: StreamTime, turn_chunks: u64) {
        let Some(first) = self.open.first().map(Chunk::number) else { return };
        let parity_chunks = self.parity_chunks;
        let wanted = match self.protection.parity {
            ParityPolicy::Fixed(0) => 0,
            ParityPolicy::Fixed(fixed) => turn_chunks.max(fixed.into()),
            ParityPolicy::Adaptive => turn_chunks.max(parity_chunks.into()),
        };
        let parity_chunks = usize::try_from(wanted.min(PARITY_CHUNKS_MAX.into())).unwrap_or(0);
        let shard_bytes = protect::shard_bytes(&self.open);
        let parity = protect::encode(&self.open, parity_chunks, shard_bytes);
        self.given = u8::try_from(parity.len()).unwrap_or(PARITY_CHUNKS_MAX);
        let unlisted = self.open.iter().skip(self.listed.into());
        let mut hashes: Vec<Hash> = unlisted.map(protect::hash_chunk).collect();
        hashes.extend(parity.iter().map(|shard| protect::hash_bytes(shard)));
        for (position, shard) in (self.position()..).zip(parity) {
            self.owed.push_back(Owed::Parity { first, position, time_us: time.truncate(), shard });
        }
        let data_chunks = self.position() - self.listed;
        self.list(time, data_chunks, u16::try_from(shard_bytes).unwrap_or(u16::MAX), hashes);
        self.open.clear();
        self.listed = 0;
    }

    /// Owes a manifest for the next `data_chunks` of the open generation.
    fn list(&mut self, time: StreamTime, data_chunks: u8, shard_bytes: u16, hashes: Vec<Hash>) {
        let Some(first) = self.open.first().map(Chunk::number) else { return };
        self.owed.push_back(Owed::Manifest(ManifestContents {
            epoch: self.epoch,
            first,
            position: self.listed,
            data_chunks,
            shard_bytes,
            closed: time,
            // Known when the manifest before it is signed.
            previous: Hash::default(),
            hashes,
        }));
        self.listed += data_chunks;
    }

    /// The next datagrams for one origin: parity chunks in turns of `turn_chunks`, or a manifest.
    pub(super) fn pop(&mut self, turn_chunks: u64) -> Vec<Owed> {
        let mut turn = Vec::new();
        while turn.len() as u64 != turn_chunks.max(1)
            && let Some(owed) = self.owed.pop_front()
        {
            let is_manifest = matches!(owed, Owed::Manifest(_));
            turn.push(owed);
            if is_manifest {
                break;
            }
        }
        turn
    }

    pub(super) fn is_owing(&self) -> bool {
        !self.owed.is_empty()
    }

    /// The chunk as it travels: with a signature, where each has one.
    pub(super) fn seal(&self, channel: ChannelId, chunk: Chunk) -> Option<Chunk> {
        if !self.protection.signs_chunks {
            return Some(chunk);
        }
        self.protection.key.sign_chunk(channel, self.epoch, &chunk)
    }

    /// What members are told to verify by.
    pub(super) const fn integrity(&self) -> Integrity {
        if self.protection.signs_chunks { Integrity::Signature } else { Integrity::Manifest }
    }

    /// Signs a manifest for its origin, and chains the next one to it.
    pub(super) fn sign(
        &mut self,
        channel: ChannelId,
        mut contents: ManifestContents,
        origin: p2psp_wire::Slot,
    ) -> Option<p2psp_wire::Manifest> {
        contents.previous = self.previous;
        let manifest = self.protection.key.sign(channel, contents, origin)?;
        self.previous = protect::hash_bytes(&manifest.payload());
        Some(manifest)
    }
}
