//! Counters of the player port. Owns their names; who shows them is someone else's business.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use serde::Serialize;

/// The player port since its start; the JSON under `playout` in `/stats` and `/events`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlayoutStats {
    /// Streams being served now.
    pub players: u64,
    /// Streams ever served.
    pub players_total: u64,
    /// Event feeds being served now.
    pub feeds: u64,
    /// Stream bytes handed to players' connections, headers included.
    pub bytes_total: u64,
    /// Times that a slow player was moved to a newer random-access point.
    pub skips_total: u64,
    /// Connections closed because the other side took no byte for too long.
    pub stalled_total: u64,
    /// Connections closed because no complete request head came in time; browsers open some in advance.
    pub idle_total: u64,
    /// Requests whose `Host` is not one of this port's: a wrong name, or DNS rebinding.
    pub refused_host_total: u64,
    /// Requests that are not HTTP, or whose head is too large.
    pub refused_malformed_total: u64,
    /// Requests with a method other than GET, HEAD and OPTIONS.
    pub refused_method_total: u64,
    /// Requests for something that is not there.
    pub refused_not_found_total: u64,
    /// Requests for a stream that had not begun.
    pub refused_not_ready_total: u64,
    /// Connections and event feeds beyond their limits.
    pub refused_full_total: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) players: AtomicU64,
    pub(super) players_total: AtomicU64,
    pub(super) feeds: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) first_byte: OnceLock<Instant>,
    pub(super) stalled: AtomicU64,
    pub(super) idle: AtomicU64,
    pub(super) refused_host: AtomicU64,
    pub(super) refused_malformed: AtomicU64,
    pub(super) refused_method: AtomicU64,
    pub(super) refused_not_found: AtomicU64,
    pub(super) refused_not_ready: AtomicU64,
    pub(super) refused_full: AtomicU64,
}

/// One event feed being served; counted for as long as it is held.
#[derive(Debug)]
pub(super) struct Feed(Arc<Counters>);

impl Feed {
    /// One more feed, unless there are `limit` already.
    pub(super) fn open(counters: &Arc<Counters>, limit: usize) -> Option<Self> {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let more = |feeds| (feeds < limit).then_some(feeds + 1);
        counters.feeds.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Self(Arc::clone(counters)))
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.0.feeds.fetch_sub(1, Relaxed);
    }
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Counters {
    pub(super) fn snapshot(&self, skips: u64) -> PlayoutStats {
        PlayoutStats {
            players: self.players.load(Relaxed),
            players_total: self.players_total.load(Relaxed),
            feeds: self.feeds.load(Relaxed),
            bytes_total: self.bytes.load(Relaxed),
            skips_total: skips,
            stalled_total: self.stalled.load(Relaxed),
            idle_total: self.idle.load(Relaxed),
            refused_host_total: self.refused_host.load(Relaxed),
            refused_malformed_total: self.refused_malformed.load(Relaxed),
            refused_method_total: self.refused_method.load(Relaxed),
            refused_not_found_total: self.refused_not_found.load(Relaxed),
            refused_not_ready_total: self.refused_not_ready.load(Relaxed),
            refused_full_total: self.refused_full.load(Relaxed),
        }
    }
}
