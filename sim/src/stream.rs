//! The streams that splitters take in, and what is known about each of their chunks. Owns the bytes, so that the oracle can
//! tell whether a chunk that is played is the one that was ingested.

use crate::Rng;
use bytes::Bytes;
use p2psp_core::{Instant, ParityPolicy};
use p2psp_wire::{ChunkNumber, limits::PAYLOAD_BYTES_MAX};
use std::time::Duration;

/// All payloads are cut from one pool of random bytes at places that depend on team and number: distinct, and free to make.
const POOL_BYTES: usize = 1 << 17;

/// What a splitter's source gives.
#[derive(Clone, Copy, Debug)]
pub struct StreamSpec {
    /// From one chunk to the next.
    pub chunk_interval: Duration,
    /// Bytes of each chunk, 1 to [`PAYLOAD_BYTES_MAX`].
    pub payload_bytes: usize,
    /// A random-access point each so many chunks; 0 says none.
    pub random_access_every: u64,
    /// When the first chunk comes.
    pub start: Instant,
    /// Signed, with this much redundancy; `None` sends it bare.
    pub parity: Option<ParityPolicy>,
}

impl StreamSpec {
    /// `chunks_per_second` chunks of six transport-stream packets, a random-access point each second, from the start on.
    #[must_use]
    pub fn new(chunks_per_second: u32) -> Self {
        Self {
            chunk_interval: Duration::from_secs(1) / chunks_per_second.max(1),
            payload_bytes: 1128,
            random_access_every: u64::from(chunks_per_second),
            start: Instant::ORIGIN,
            parity: None,
        }
    }

    /// Payload bits a second: the stream rate R.
    #[must_use]
    pub fn bits_per_second(&self) -> f64 {
        self.payload_bytes as f64 * 8.0 / self.chunk_interval.as_secs_f64()
    }

    /// Whether a player can start at this chunk.
    #[must_use]
    pub const fn is_random_access(&self, number: ChunkNumber) -> bool {
        self.random_access_every != 0 && number.get().is_multiple_of(self.random_access_every)
    }
}

/// What became of one chunk.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChunkRecord {
    /// When the splitter took it in.
    pub ingested: Instant,
    /// Copies that came to a peer from the splitter.
    pub from_splitter: u32,
    /// Copies that came to a peer from a teammate.
    pub from_teammates: u32,
    /// Those of them that did not come from the chunk's origin.
    pub from_proxies: u32,
    /// Sum of the delays of the copies from teammates.
    pub delay_sum: Duration,
    /// The longest of them.
    pub delay_max: Duration,
}

/// Who sent a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The splitter itself.
    Splitter,
    /// The member that the splitter gave the chunk to.
    Origin,
    /// Any other member.
    Proxy,
}

#[derive(Debug)]
pub(crate) struct Streams {
    pool: Bytes,
    streams: Vec<Stream>,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) spec: StreamSpec,
    pub(crate) records: Vec<ChunkRecord>,
    /// No more chunks come.
    pub(crate) ended: bool,
}

impl Streams {
    pub(crate) fn new(mut rng: Rng) -> Self {
        let pool: Vec<u8> = (0..POOL_BYTES / 8).flat_map(|_| rng.next().to_le_bytes()).collect();
        Self { pool: pool.into(), streams: Vec::new() }
    }

    pub(crate) fn add(&mut self, spec: StreamSpec) {
        let payload_bytes = spec.payload_bytes.clamp(1, PAYLOAD_BYTES_MAX);
        let spec = StreamSpec { payload_bytes, ..spec };
        self.streams.push(Stream { spec, records: Vec::new(), ended: false });
    }

    pub(crate) fn get(&self, team: usize) -> Option<&Stream> {
        self.streams.get(team)
    }

    pub(crate) fn get_mut(&mut self, team: usize) -> Option<&mut Stream> {
        self.streams.get_mut(team)
    }

    /// The bytes of a team's chunk.
    pub(crate) fn payload(&self, team: usize, number: u64) -> Bytes {
        let length = self.streams.get(team).map_or(1, |stream| stream.spec.payload_bytes);
        let place = (number.wrapping_mul(0x9e37_79b1) ^ (team as u64).wrapping_mul(0x85eb_ca77)) as u128;
        let start = usize::try_from(place % (POOL_BYTES - length) as u128).unwrap_or(0);
        self.pool.slice(start..start + length)
    }

    /// Counts a copy that has come to a peer; how long it took.
    pub(crate) fn on_delivery(
        &mut self,
        now: Instant,
        team: usize,
        number: ChunkNumber,
        sender: Sender,
    ) -> Duration {
        let Some(record) = self.record_mut(team, number) else { return Duration::ZERO };
        let delay = now.since(record.ingested);
        if sender == Sender::Splitter {
            record.from_splitter += 1;
        } else {
            record.from_proxies += u32::from(sender == Sender::Proxy);
            record.from_teammates += 1;
            record.delay_sum += delay;
            record.delay_max = record.delay_max.max(delay);
        }
        delay
    }

    pub(crate) fn record(&self, team: usize, number: ChunkNumber) -> Option<&ChunkRecord> {
        self.streams.get(team)?.records.get(usize::try_from(number.get()).ok()?)
    }

    fn record_mut(&mut self, team: usize, number: ChunkNumber) -> Option<&mut ChunkRecord> {
        self.streams.get_mut(team)?.records.get_mut(usize::try_from(number.get()).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chunks of one team differ from each other and from another team's, and each is the same whenever it is asked for.
    #[test]
    fn payloads_are_distinct_and_stable() {
        let mut streams = Streams::new(Rng::new(3));
        streams.add(StreamSpec::new(100));
        streams.add(StreamSpec::new(100));
        let mut seen: Vec<Bytes> = (0..5000).map(|number| streams.payload(0, number)).collect();
        assert_ne!(streams.payload(0, 7), streams.payload(1, 7));
        assert_eq!(streams.payload(0, 7), seen[7]);
        assert!(seen.iter().all(|payload| payload.len() == 1128));
        seen.sort_unstable();
        let before = seen.len();
        seen.dedup();
        assert!(before - seen.len() < 100, "{} of {before} collide", before - seen.len());
    }
}
