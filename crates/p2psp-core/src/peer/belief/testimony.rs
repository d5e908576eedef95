//! What a member says of its teammates' chunks: the origin did its part in time, or did not (R-FAIR-5). Chunks are spoken of when their
//! generation's manifests have been there for long enough for everything that still might come.

use super::Belief;
use crate::Instant;
use p2psp_wire::{ChunkNumber, limits::WITNESS_CHUNKS_MAX};
use std::time::Duration;

/// A generation is spoken of so long after its last manifest: a burst to 64 teammates takes 70 ms, and so does one that heals what its
/// origin had to rebuild first (R-GEN-7).
const SETTLED: Duration = Duration::from_millis(200);
/// An own chunk that was rebuilt later than this is told as one that did not come: its copies come too late to be heard.
const HEALED_IN_TIME: Duration = Duration::from_millis(80);

/// Chunks in a row, and of which of them the origin did its part.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::peer) struct Run {
    pub(in crate::peer) first: ChunkNumber,
    pub(in crate::peer) done: Vec<bool>,
}

impl Belief {
    /// A chunk came and its origin did its part: it came from there, or from a proxy where there is no link to it.
    pub(in crate::peer) fn on_done(&mut self, number: ChunkNumber) {
        if let Some((generation, place)) = self.generation_of_mut(number) {
            generation.done |= place;
        } else if let Some(held) = self.held.get_mut(&number) {
            held.is_done = true;
        }
    }

    /// An own chunk was rebuilt, and goes out late.
    pub(in crate::peer) fn on_healed(&mut self, now: Instant, number: ChunkNumber) {
        if let Some((generation, place)) = self.generation_of_mut(number)
            && generation.whole_at.is_some_and(|whole_at| now.since(whole_at) <= HEALED_IN_TIME)
        {
            generation.done |= place;
        }
    }

    /// What has settled since the last call. Nobody is spoken of while this member is not linked with everybody.
    /// At most `runs_max` runs; the rest is for the next call.
    pub(in crate::peer) fn testify(&mut self, now: Instant, runs_max: usize) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (first, generation) in &mut self.generations {
            let is_settled = generation.whole_at.is_some_and(|whole_at| now.since(whole_at) >= SETTLED);
            if generation.is_witnessed || !is_settled {
                continue;
            }
            let Some(last) = self.manifests.whole(*first) else { continue };
            let chunks = last.contents().position + last.contents().data_chunks;
            let bits = generation.done;
            let done = (0..chunks).map(|place| bits >> place & 1 == 1);
            let room = usize::try_from(WITNESS_CHUNKS_MAX).unwrap_or(usize::MAX);
            let follows = |run: &&mut Run| {
                run.first.plus(run.done.len() as u64) == *first
                    && run.done.len() + usize::from(chunks) <= room
            };
            if let Some(run) = runs.last_mut().filter(follows) {
                run.done.extend(done);
            } else if runs.len() < runs_max {
                runs.push(Run { first: *first, done: done.collect() });
            } else {
                break;
            }
            generation.is_witnessed = true;
        }
        runs
    }
}
