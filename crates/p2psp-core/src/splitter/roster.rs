//! Tells members who is there: a snapshot to each newcomer, then deltas batched for 50 ms (R-ROSTER-1 to R-ROSTER-3).

use super::members::Members;
use crate::Instant;
use p2psp_wire::{Control, Departure, DepartureReason, Epoch, RosterDelta, Slot, limits::ROSTER_ENTRIES_MAX};
use std::time::Duration;

/// How long changes gather after the last telling: a burst of joins costs each member a frame every so often, not one each,
/// while a lone newcomer is known to all before it has dialed them.
pub(super) const BATCH: Duration = Duration::from_millis(50);

/// Changes not yet told, and the view's number.
#[derive(Debug)]
pub(super) struct Roster {
    epoch: Epoch,
    view: u64,
    joined: Vec<Slot>,
    left: Vec<Departure>,
    flush_at: Option<Instant>,
    /// Not before this instant.
    quiet_until: Instant,
}

impl Roster {
    pub(super) const fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            view: 0,
            joined: Vec::new(),
            left: Vec::new(),
            flush_at: None,
            quiet_until: Instant::ORIGIN,
        }
    }

    pub(super) fn on_joined(&mut self, now: Instant, slot: Slot) {
        self.joined.push(slot);
        let at = now.max(self.quiet_until);
        self.flush_at.get_or_insert(at);
    }

    pub(super) fn on_left(&mut self, now: Instant, slot: Slot, reason: DepartureReason) {
        self.joined.retain(|joined| *joined != slot);
        self.left.push(Departure { slot, reason });
        let at = now.max(self.quiet_until);
        self.flush_at.get_or_insert(at);
    }

    /// Whether the members have yet to hear that someone took this seat.
    pub(super) fn is_untold(&self, slot: Slot) -> bool {
        self.joined.contains(&slot)
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.flush_at
    }

    /// The roster as it stands, for a newcomer: frames of the present view, at least one.
    pub(super) fn snapshot(&self, members: &Members, newcomer: Slot) -> Vec<Control> {
        let slots: Vec<Slot> =
            members.iter().map(|(slot, _)| slot).filter(|slot| *slot != newcomer).collect();
        self.frames(members, &slots, &[])
    }

    /// What all members must be told now, if the batch is due.
    pub(super) fn flush(&mut self, now: Instant, members: &Members) -> Vec<Control> {
        if self.flush_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.flush_at = None;
        self.quiet_until = now + BATCH;
        self.view += 1;
        let (joined, left) = (std::mem::take(&mut self.joined), std::mem::take(&mut self.left));
        self.frames(members, &joined, &left)
    }

    /// Frames of one view. Departures go first: a seat may be left and taken within one batch.
    fn frames(&self, members: &Members, joined: &[Slot], left: &[Departure]) -> Vec<Control> {
        let frame = |joined, left| {
            Control::RosterDelta(RosterDelta { epoch: self.epoch, view: self.view, joined, left })
        };
        let mut frames: Vec<Control> =
            left.chunks(ROSTER_ENTRIES_MAX).map(|left| frame(Vec::new(), left.to_vec())).collect();
        frames.extend(joined.chunks(ROSTER_ENTRIES_MAX).map(|slots| {
            frame(slots.iter().filter_map(|slot| members.roster_entry(*slot)).collect(), Vec::new())
        }));
        if frames.is_empty() {
            frames.push(frame(Vec::new(), Vec::new()));
        }
        frames
    }
}
