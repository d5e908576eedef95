//! What the splitter does about members that do not do their share (R-FAIR-9, R-FAIR-10), and how much of that at a time.

use super::{Fairness, Ruling};
use crate::{
    Instant,
    splitter::{Splitter, inputs::SILENCED},
};
use std::time::Duration;

/// Of the team, at most this part is expelled within so long: a test that errs must not empty it.
const EXPELLED_PART: usize = 4;
const EXPELLED_SPAN: Duration = Duration::from_secs(10);
/// A rest is doubled each time, up to so many times.
const RESTS_DOUBLED_MAX: u32 = 5;

impl Fairness {
    /// Whether one more of a team that has so many members now may be expelled; it counts as expelled then.
    fn may_expel(&mut self, now: Instant, members: usize) -> bool {
        self.expelled.retain(|at| now.since(*at) < EXPELLED_SPAN);
        let may = self.expelled.len() < ((members + self.expelled.len()) / EXPELLED_PART).max(1);
        if may {
            self.expelled.push_back(now);
        }
        may
    }
}

impl Splitter {
    /// Judges turns that are over, and acts on it.
    pub(in crate::splitter) fn rule(&mut self, now: Instant) {
        for ruling in self.fairness.judge(now) {
            match ruling {
                Ruling::Expel(slot) => {
                    // Several of its turns may be judged at once.
                    if self.members.get(slot).is_some() && self.fairness.may_expel(now, self.members.len()) {
                        self.stats.free_riders += 1;
                        self.expel(now, slot);
                    }
                }
                Ruling::Ask(slot) => self.probes.ask(now, slot),
                Ruling::Rest(slot, before) => {
                    let has_room = self.silence_room(now) > 0;
                    if let Some(member) = self.members.get_mut(slot).filter(|_| has_room) {
                        member.silenced_until = now + SILENCED * 2_u32.pow(before.min(RESTS_DOUBLED_MAX));
                        self.stats.rested += 1;
                    }
                }
            }
        }
    }
}
