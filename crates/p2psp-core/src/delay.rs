//! A histogram of delays in fixed memory: buckets grow by an eighth of an octave, so a percentile is right within 13 %.

use std::time::Duration;

/// Buckets of an octave.
const STEPS: u32 = 8;
/// Octaves above the first microsecond; the last bucket also takes what lies above 16 seconds.
const OCTAVES: u32 = 24;
const BUCKETS: usize = (STEPS * OCTAVES) as usize;

/// Counts of delays from 0 to 16 seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayHistogram {
    counts: Box<[u32; BUCKETS]>,
    total: u64,
}

impl Default for DelayHistogram {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0 }
    }
}

impl DelayHistogram {
    /// Counts one delay.
    pub fn record(&mut self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(micros)) {
            *count = count.saturating_add(1);
            self.total += 1;
        }
    }

    /// How many delays were counted.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Adds the counts of another histogram.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *count = count.saturating_add(*more);
        }
        self.total += other.total;
    }

    /// The buckets that hold something, ascending: the largest delay of each in microseconds, and its count. Counts only grow,
    /// so that two readings give the delays between them.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(bucket, count)| (upper_micros(bucket), *count))
    }

    /// The delay that `per_mille` of 1000 do not exceed (500: the median), or `None` when nothing was counted.
    #[must_use]
    pub fn quantile(&self, per_mille: u32) -> Option<Duration> {
        let rank = self.total.saturating_mul(per_mille.into()).div_ceil(1000).max(1);
        let mut seen = 0_u64;
        self.counts.iter().enumerate().find_map(|(bucket, count)| {
            seen += u64::from(*count);
            (self.total > 0 && seen >= rank).then(|| Duration::from_micros(upper_micros(bucket)))
        })
    }
}

/// Linear below 8 us, then eight buckets an octave by the three bits after the leading one.
fn bucket(micros: u64) -> usize {
    let index = if micros < u64::from(STEPS) {
        micros
    } else {
        let octave = u64::from(63 - micros.leading_zeros()) - 3;
        (octave + 1) * u64::from(STEPS) + ((micros >> octave) & 7)
    };
    usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

/// The largest delay that falls into a bucket.
fn upper_micros(bucket: usize) -> u64 {
    let (octave, step) = ((bucket / 8) as u64, (bucket % 8) as u64);
    if octave == 0 { step } else { ((step + 9) << (octave - 1)) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every delay falls into the bucket whose upper bound is the first not below it, within 13 %.
    #[test]
    fn buckets_bound_their_delays() {
        for micros in (0..5000).chain([12_345, 99_999, 1_000_000, 15_000_000]) {
            let upper = upper_micros(bucket(micros));
            assert!(
                upper >= micros && (upper - micros) * 8 <= micros.max(8),
                "{micros} in bucket up to {upper}"
            );
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_a_known_sample() {
        let mut histogram = DelayHistogram::default();
        assert_eq!(histogram.quantile(500), None);
        for millis in 1..=100 {
            histogram.record(Duration::from_millis(millis));
        }
        let median = histogram.quantile(500).unwrap();
        assert!((50..=57).contains(&median.as_millis()), "{median:?}");
        assert!((99..=112).contains(&histogram.quantile(990).unwrap().as_millis()));
        assert_eq!(histogram.buckets().map(|(_, count)| u64::from(count)).sum::<u64>(), 100);
        assert!(histogram.buckets().is_sorted(), "ascending");
    }
}
