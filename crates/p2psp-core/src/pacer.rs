//! The rate that all links of a node share, as a token bucket (R-UPLINK-1). Owns the arithmetic, for every host; knows no socket, clock
//! or timer.
//!
//! One pacer for all links is what keeps a home uplink from bloating: 127 congestion controllers of 39 kb/s each learn
//! nothing of it. A train goes out whole while any credit is left, so that the balance may fall below zero by one train; then
//! nothing goes out until the debt is paid.

use crate::Instant;
use std::time::Duration;

/// How much may go out at once after silence: this long at the full rate, which is what a router on the way may have to queue.
/// At 100 Mb/s a turn of two chunks for 50 teammates leaves without another wake-up ...
const BURST: Duration = Duration::from_millis(10);
/// ... and never less than this: six chunks, which hold an uplink of 2 Mb/s up for 33 ms.
const BURST_BYTES_MIN: u64 = 8 * 1024;

/// Nanobits in a bit: the balance counts nanobits, so that `rate * elapsed nanoseconds` is exact.
const SCALE: i128 = 1_000_000_000;

/// A token bucket that may go into debt once.
#[derive(Clone, Debug)]
pub struct Pacer {
    bits_per_s: i128,
    burst: i128,
    balance: i128,
    updated: Instant,
}

impl Pacer {
    /// A full bucket, for so many bits a second. A rate of zero is taken as one.
    #[must_use]
    pub fn new(bits_per_s: u64, now: Instant) -> Self {
        let mut pacer = Self { bits_per_s: 1, burst: 0, balance: 0, updated: now };
        pacer.set_rate(now, bits_per_s);
        pacer.balance = pacer.burst;
        pacer
    }

    /// Changes the rate. What is owed stays owed, and takes longer at a lower one.
    pub fn set_rate(&mut self, now: Instant, bits_per_s: u64) {
        self.refill(now);
        self.bits_per_s = i128::from(bits_per_s.max(1));
        let burst_nanos = i128::try_from(BURST.as_nanos()).unwrap_or(i128::MAX);
        self.burst = (self.bits_per_s * burst_nanos).max(i128::from(BURST_BYTES_MIN) * 8 * SCALE);
        self.balance = self.balance.min(self.burst);
    }

    /// Whether a train may go out.
    pub fn is_open(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.balance >= 0
    }

    /// Takes what was sent. Says whether the uplink is spent now.
    pub fn charge(&mut self, now: Instant, bytes: u64) -> bool {
        self.refill(now);
        self.balance -= i128::from(bytes) * 8 * SCALE;
        self.balance < 0
    }

    /// When the debt is paid: not after the last update when there is none.
    #[must_use]
    pub fn open_at(&self) -> Instant {
        let debt = self.balance.min(0).unsigned_abs();
        let nanos = debt.div_ceil(self.bits_per_s.unsigned_abs());
        self.updated + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = i128::try_from(now.since(self.updated).as_nanos()).unwrap_or(i128::MAX);
        if elapsed > 0 {
            self.updated = now;
            self.balance =
                self.balance.saturating_add(self.bits_per_s.saturating_mul(elapsed)).min(self.burst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whoever sends only while the pacer is open never exceeds rate x time + burst + one train.
        #[test]
        fn never_over_rate(
            bits_per_s in 1_000_u64..10_000_000_000,
            steps in prop::collection::vec((0_u64..50_000_000, 1_u64..20_000), 1..200),
        ) {
            let mut now = Instant::ORIGIN;
            let mut pacer = Pacer::new(bits_per_s, now);
            let (mut sent, mut largest) = (0_u128, 0_u128);
            for (pause_ns, bytes) in steps {
                now = now + Duration::from_nanos(pause_ns);
                if pacer.is_open(now) {
                    pacer.charge(now, bytes);
                    sent += u128::from(bytes) * 8;
                    largest = largest.max(u128::from(bytes) * 8);
                }
                let earned = u128::from(bits_per_s) * u128::from(now.as_nanos()) / 1_000_000_000;
                let burst = u128::try_from(pacer.burst / SCALE).unwrap();
                prop_assert!(sent <= earned + burst + largest + 1, "{sent} > {earned} + {burst} + {largest}");
            }
        }

        /// The pacer opens exactly when it says: not a nanosecond earlier, and no sender waits for ever.
        #[test]
        fn opens_when_it_says(bits_per_s in 1_u64..10_000_000_000, bytes in 1_u64..10_000_000) {
            let mut pacer = Pacer::new(bits_per_s, Instant::ORIGIN);
            if pacer.charge(Instant::ORIGIN, bytes) {
                let at = pacer.open_at();
                prop_assert!(at > Instant::ORIGIN);
                prop_assert!(!pacer.clone().is_open(at - Duration::from_nanos(1)));
                prop_assert!(pacer.is_open(at));
            }
        }
    }

    /// A sender that is never short of data gets the full rate, within one burst.
    #[test]
    fn reaches_the_rate() {
        let mut now = Instant::ORIGIN;
        let mut pacer = Pacer::new(20_000_000, now);
        let mut sent_bits = 0_u64;
        while now < Instant::ORIGIN + Duration::from_secs(10) {
            if pacer.is_open(now) {
                pacer.charge(now, 2 * 1230);
                sent_bits += 2 * 1230 * 8;
            } else {
                now = pacer.open_at();
            }
        }
        assert!(
            (200_000_000..=200_000_000 + 8 * 64 * 1024 + 2 * 1230 * 8).contains(&sent_bits),
            "{sent_bits}"
        );
    }

    /// Time that goes backwards neither gives nor takes credit.
    #[test]
    fn time_going_backwards_is_ignored() {
        let mut pacer = Pacer::new(8_000, Instant::from_micros(5_000_000));
        assert!(pacer.charge(Instant::from_micros(5_000_000), 70_000));
        let at = pacer.open_at();
        assert!(!pacer.is_open(Instant::from_micros(1)));
        assert_eq!(pacer.open_at(), at);
    }

    /// A debt is one of bytes: at half the rate it takes twice as long, and a full bucket holds no more than the new rate's.
    #[test]
    fn a_debt_outlives_its_rate() {
        let mut pacer = Pacer::new(8_000_000, Instant::ORIGIN);
        assert!(pacer.charge(Instant::ORIGIN, 2 * BURST_BYTES_MIN + 10_000));
        let owed = pacer.open_at().since(Instant::ORIGIN);
        pacer.set_rate(Instant::ORIGIN, 4_000_000);
        assert_eq!(pacer.open_at().since(Instant::ORIGIN), owed * 2);

        let mut pacer = Pacer::new(1_000_000_000, Instant::ORIGIN);
        pacer.set_rate(Instant::ORIGIN, 1_000_000);
        assert!(!pacer.charge(Instant::ORIGIN, BURST_BYTES_MIN));
        assert!(pacer.charge(Instant::ORIGIN, 1));
    }
}
