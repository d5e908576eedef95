//! Passing chunks on (R-RELAY-1). Keeps intentions (who still lacks which train), and makes a transmit only when asked for one:
//! what is sent is fresh, and what went stale is dropped and counted. Two policies: `Burst`, ours, and `Classic`, as published.

mod burst;
mod classic;

use crate::{Instant, SlotSet, Train};
use burst::Burst;
use classic::Classic;
use p2psp_wire::Slot;
use std::time::Duration;

/// The relay policy in force.
#[derive(Debug)]
pub(super) enum Relay {
    Burst(Burst),
    Classic(Classic),
}

impl Relay {
    pub(super) fn new(policy: super::RelayPolicy, own: Slot, lifetime: Duration) -> Self {
        match policy {
            super::RelayPolicy::Burst => Self::Burst(Burst::new(own, lifetime)),
            super::RelayPolicy::Classic => Self::Classic(Classic::new()),
        }
    }

    /// Chunks that came together must go to these teammates. `Burst` sends those of this member's own turns first (R-ROUTE-6).
    pub(super) fn push(&mut self, now: Instant, train: Train, targets: SlotSet) {
        match self {
            Self::Burst(burst) => burst.push(now, train, targets),
            Self::Classic(classic) => classic.push(&train, targets),
        }
    }

    /// `chunks` new ones were received, from whomever.
    pub(super) fn on_received(&mut self, now: Instant, chunks: usize) {
        if let Self::Classic(classic) = self {
            classic.on_received(now, chunks);
        }
    }

    /// A teammate is gone.
    pub(super) fn forget(&mut self, slot: Slot) {
        match self {
            Self::Burst(burst) => burst.forget(slot),
            Self::Classic(classic) => classic.forget(slot),
        }
    }

    /// The next train, to one of `sendable`.
    pub(super) fn poll(&mut self, now: Instant, sendable: &SlotSet) -> Option<(Slot, Train)> {
        match self {
            Self::Burst(burst) => burst.poll(now, sendable),
            Self::Classic(classic) => classic.poll(now, sendable),
        }
    }

    /// When waiting alone makes a difference.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Burst(_) => None,
            Self::Classic(classic) => classic.deadline(),
        }
    }

    /// Whether nothing is owed any more.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::Burst(burst) => burst.is_idle(),
            Self::Classic(classic) => classic.is_idle(),
        }
    }

    /// How many copies went out late, or not at all because they were, since the last call.
    pub(super) fn take_late(&mut self) -> u64 {
        match self {
            Self::Burst(burst) => std::mem::take(&mut burst.late),
            Self::Classic(_) => 0,
        }
    }

    /// How many copies that are to go out yet are late already.
    pub(super) fn overdue(&self, now: Instant) -> u64 {
        match self {
            Self::Burst(burst) => burst.overdue(now),
            Self::Classic(_) => 0,
        }
    }

    /// How many copies were dropped since the last call: such as were owed to the team, and others.
    pub(super) fn take_expired(&mut self) -> (u64, u64) {
        match self {
            Self::Burst(burst) => {
                (std::mem::take(&mut burst.expired), std::mem::take(&mut burst.expired_proxied))
            }
            Self::Classic(classic) => (std::mem::take(&mut classic.expired), 0),
        }
    }
}
