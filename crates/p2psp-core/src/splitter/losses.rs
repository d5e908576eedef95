//! How much redundancy the members' losses ask for (R-GEN-8). Owns what each member reported last; knows no generation.

use crate::Instant;
use p2psp_wire::Slot;
use std::{collections::BTreeMap, time::Duration};

/// Parity chunks of a generation, least to most.
pub(super) const PARITY_STEPS: [u8; 5] = [2, 4, 8, 12, 16];
/// A report counts for so long.
const REPORT_AGE: Duration = Duration::from_secs(5);
/// More loss is answered at once, less after this time.
const LOWER_AFTER: Duration = Duration::from_secs(10);
/// Of the members by loss, the one at this share of them sets the measure: fewer than a quarter can neither claim a loss that
/// the others do not have nor are they alone worth redundancy for all. They pull.
const MEASURE_PERCENT: usize = 75;

/// What members have reported, and what follows.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Share of the chunks due that did not come by themselves, and when that was told.
    reports: BTreeMap<Slot, (f64, Instant)>,
    step: usize,
    /// When the measure last asked for as much as is given.
    needed: Instant,
}

impl Losses {
    /// A member, one of `members`, reports. Answers how many parity chunks a generation of `data_chunks` is to have from now on.
    pub(super) fn on_report(
        &mut self,
        now: Instant,
        from: Slot,
        chunks_due: u32,
        chunks_missing: u32,
        data_chunks: u8,
        members: usize,
    ) -> u8 {
        if chunks_due > 0 {
            let told = f64::from(chunks_missing) / f64::from(chunks_due);
            // Half of what it said before: a second has a dozen generations, and a loss of 1 % few losses.
            let before = self.reports.get(&from).map_or(told, |(share, _)| *share);
            self.reports.insert(from, (f64::midpoint(before, told), now));
        }
        self.reports.retain(|_, (_, at)| now.since(*at) <= REPORT_AGE);
        let wanted = step_for(self.measure(members), data_chunks);
        if wanted >= self.step {
            self.step = wanted;
            self.needed = now;
        } else if now.since(self.needed) >= LOWER_AFTER {
            self.step -= 1;
            self.needed = now;
        }
        PARITY_STEPS.get(self.step).copied().unwrap_or(PARITY_STEPS[0])
    }

    /// A member is gone.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.reports.remove(&slot);
    }

    /// What a member told lately.
    pub(super) fn share_of(&self, now: Instant, slot: Slot) -> Option<f64> {
        self.reports.get(&slot).filter(|(_, at)| now.since(*at) <= REPORT_AGE).map(|(share, _)| *share)
    }

    /// Who has not reported has lost nothing: the first to speak must not decide alone.
    fn measure(&self, members: usize) -> f64 {
        let mut shares: Vec<f64> = self.reports.values().map(|(share, _)| *share).collect();
        shares.sort_unstable_by(f64::total_cmp);
        let members = members.max(shares.len());
        let place = (members * MEASURE_PERCENT).div_ceil(100).saturating_sub(1);
        place.checked_sub(members - shares.len()).and_then(|place| shares.get(place)).copied().unwrap_or(0.0)
    }
}

/// The least step that covers the mean number of missing chunks and one and a half standard deviations of it; what is beyond is
/// pulled.
fn step_for(loss: f64, data_chunks: u8) -> usize {
    let mean = loss * f64::from(data_chunks);
    let wanted = 1.5_f64.mul_add(mean.sqrt(), mean);
    let last = PARITY_STEPS.len() - 1;
    PARITY_STEPS.iter().position(|step| f64::from(*step) >= wanted).unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{at, slot};

    /// Twice a link's loss, both hops: 0.5, 2, 5 and 10 % ask for 2, 4, 8 and 16.
    #[test]
    fn parity_follows_the_loss() {
        for (link, expected) in [(0.0, 2), (0.005, 2), (0.02, 4), (0.05, 8), (0.10, 16), (0.5, 16)] {
            let loss = 1.0 - (1.0 - link) * (1.0 - link);
            assert_eq!(PARITY_STEPS[step_for(loss, 48)], expected, "{link}");
        }
    }

    /// More at once; less one step at a time, ten seconds apart.
    #[test]
    fn up_at_once_down_slowly() {
        let mut losses = Losses::default();
        assert_eq!(losses.on_report(at(1), slot(1), 600, 0, 48, 1), 2);
        let raised = losses.on_report(at(2), slot(1), 600, 240, 48, 1);
        assert_eq!(raised, 16);
        let after: Vec<u8> = (3..60).map(|s| losses.on_report(at(s), slot(1), 600, 0, 48, 1)).collect();
        assert!(after.is_sorted_by(|a, b| a >= b), "{after:?}");
        assert_eq!((after[0], after[after.len() - 1]), (16, 2), "{after:?}");
        assert!(after.iter().filter(|parity| **parity == 12).count() >= 9, "{after:?}");
    }

    /// Fewer than a quarter that claim a loss move nothing, and who is gone or silent counts no more.
    #[test]
    fn a_few_decide_nothing() {
        let mut losses = Losses::default();
        for n in 0..16 {
            let missing = if n < 3 { 600 } else { 0 };
            assert_eq!(losses.on_report(at(1), slot(n), 600, missing, 48, 16), 2);
        }
        for n in 3..16 {
            losses.forget(slot(n));
        }
        assert_eq!(losses.on_report(at(2), slot(0), 600, 600, 48, 3), 16);
        assert_eq!(
            losses.on_report(at(9), slot(9), 0, 0, 48, 3),
            16,
            "nobody speaks: nothing changes at once"
        );
    }
}
