//! Who is heard: when each origin's last chunk came, how long a round takes, and so which origins have fallen silent (R-CRASH-1).

use crate::Instant;
use p2psp_wire::Slot;
use std::time::Duration;

/// How often silence is looked for.
const WATCH_SPAN: Duration = Duration::from_millis(100);
/// Silence shorter than this is jitter.
const SILENCE_MIN: Duration = Duration::from_millis(300);
/// Chunks closer together than this are of one turn.
const TURN_GAP: Duration = Duration::from_millis(5);
/// A longer gap than this between turns is no measure of the next one.
const GAP_MAX: Duration = Duration::from_secs(2);
/// Rounds taken as this long until two own turns have shown it.
const ROUND_DEFAULT: Duration = Duration::from_secs(1);

/// Reception times by slot.
#[derive(Debug)]
pub(super) struct Watch {
    heard: Vec<Option<Heard>>,
    /// When the stream was last seen to flow.
    flowed: Instant,
    last_own_turn: Option<Instant>,
    round: Duration,
    look_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    at: Instant,
    /// Between its turns: who owns few is heard rarely.
    gap: Duration,
    reported: bool,
}

impl Watch {
    pub(super) const fn new(now: Instant) -> Self {
        Self { heard: Vec::new(), flowed: now, last_own_turn: None, round: ROUND_DEFAULT, look_at: now }
    }

    /// The stream flows. When it has stood still, silence counts from now on only: nobody was given anything to send meanwhile.
    /// Whether it has.
    fn on_flow(&mut self, now: Instant) -> bool {
        let has_stood_still = !self.is_flowing(now);
        if has_stood_still {
            for heard in self.heard.iter_mut().flatten() {
                heard.at = now;
            }
        }
        self.flowed = now;
        has_stood_still
    }

    /// A first copy of a chunk of this origin came, or parity or a manifest from it.
    pub(super) fn on_chunk(&mut self, now: Instant, origin: Slot) {
        self.on_flow(now);
        if self.heard.len() <= origin.index() {
            self.heard.resize(origin.index() + 1, None);
        }
        if let Some(heard) = self.heard.get_mut(origin.index()) {
            // Chunks of one turn come together.
            let gap = match *heard {
                Some(Heard { at, gap, .. }) if now.since(at) >= TURN_GAP => {
                    (gap * 3 + now.since(at).min(GAP_MAX)) / 4
                }
                Some(Heard { gap, .. }) => gap,
                None => Duration::ZERO,
            };
            *heard = Some(Heard { at: now, gap, reported: false });
        }
    }

    /// A turn of this member's own came: the time since the last one is a round.
    pub(super) fn on_own_turn(&mut self, now: Instant) {
        let has_stood_still = self.on_flow(now);
        if let Some(last) = self.last_own_turn.replace(now).filter(|_| !has_stood_still) {
            // A moving average over eight rounds follows joins and departures.
            self.round = (self.round * 7 + now.since(last)) / 8;
        }
    }

    pub(super) fn forget(&mut self, slot: Slot) {
        if let Some(heard) = self.heard.get_mut(slot.index()) {
            *heard = None;
        }
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        Some(self.look_at)
    }

    /// Two rounds, and a little more for jitter.
    pub(super) fn patience(&self) -> Duration {
        (self.round * 5 / 2).max(SILENCE_MIN)
    }

    /// The same with one origin: its turns may be rarer than a round.
    fn patience_with(&self, heard: Option<Heard>) -> Duration {
        self.patience().max(heard.map_or(Duration::ZERO, |heard| heard.gap * 5 / 2))
    }

    /// Whether it is time to look.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.look_at <= now;
        if due {
            self.look_at = now + WATCH_SPAN;
        }
        due
    }

    /// Whether the stream flows: without it silence means nothing.
    pub(super) fn is_flowing(&self, now: Instant) -> bool {
        now.since(self.flowed) < self.patience() / 2
    }

    /// Whether anything of this origin ever came.
    pub(super) fn was_heard(&self, origin: Slot) -> bool {
        self.heard.get(origin.index()).copied().flatten().is_some()
    }

    /// Whether nothing of this origin came for as long as two turns take; `since` stands in for an origin never heard.
    pub(super) fn is_silent(&self, now: Instant, origin: Slot, since: Instant) -> bool {
        let heard = self.heard.get(origin.index()).copied().flatten();
        now.since(heard.map_or(since, |heard| heard.at)) > self.patience_with(heard)
    }

    /// Whether this origin's chunks come at present.
    pub(super) fn hears(&self, now: Instant, origin: Slot) -> bool {
        self.was_heard(origin) && !self.is_silent(now, origin, now)
    }

    /// Whether this origin's last turn came when it was due: its link works now, as far as can be known.
    pub(super) fn is_prompt(&self, now: Instant, origin: Slot) -> bool {
        let heard = self.heard.get(origin.index()).copied().flatten();
        heard.is_some_and(|heard| now.since(heard.at) < self.round * 5 / 4)
    }

    /// Origins once heard that have fallen silent and were not named before.
    pub(super) fn newly_silent(&mut self, now: Instant) -> Vec<Slot> {
        let patience = self.patience();
        let mut silent = Vec::new();
        for (index, heard) in self.heard.iter_mut().enumerate() {
            if let Some(heard) = heard
                && !heard.reported
                && now.since(heard.at) > patience.max(heard.gap * 5 / 2)
            {
                heard.reported = true;
                silent.extend(u16::try_from(index).ok().and_then(|index| Slot::new(index).ok()));
            }
        }
        silent
    }
}
