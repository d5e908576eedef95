//! The uplink that all links of a node share, as a token bucket over the core's time. Owns the arithmetic; knows no socket,
//! clock or timer.
//!
//! One pacer for all links is what keeps a home uplink from bloating: 127 congestion controllers of 39 kb/s each learn
//! nothing of it. A train goes out whole while any credit is left, so that the balance may fall below zero by one train; then
//! nothing goes out until the debt is paid.

use p2psp_core::Instant;
use std::time::Duration;

/// What a sealed datagram costs on the wire beyond its UDP payload: UDP (8) and IPv6 (40).
pub(crate) const PACKET_OVERHEAD_BYTES: usize = 8 + 40;

/// How much may go out at once after silence: this long at the full rate, which is what a router on the way may have to queue.
/// At 100 Mb/s a turn of two chunks for 50 teammates leaves without another wake-up ...
const BURST: Duration = Duration::from_millis(10);
/// ... and never less than this: a dozen chunks, however slow the uplink.
const BURST_BYTES_MIN: u64 = 16 * 1024;

/// Nanobits in a bit: the balance counts nanobits, so that `rate * elapsed nanoseconds` is exact.
const SCALE: i128 = 1_000_000_000;

/// A token bucket that may go into debt once.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    bits_per_s: i128,
    burst: i128,
    balance: i128,
    updated: Instant,
}

impl Pacer {
    /// A full bucket. A rate of zero is taken as one bit per second.
    pub(crate) fn new(bits_per_s: u64, now: Instant) -> Self {
        let bits_per_s = i128::from(bits_per_s.max(1));
        let burst_nanos = i128::try_from(BURST.as_nanos()).unwrap_or(i128::MAX);
        let burst = (bits_per_s * burst_nanos).max(i128::from(BURST_BYTES_MIN) * 8 * SCALE);
        Self { bits_per_s, burst, balance: burst, updated: now }
    }

    /// Whether a train may go out.
    pub(crate) fn is_open(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.balance >= 0
    }

    /// Takes what was sent. Says whether the uplink is spent now.
    pub(crate) fn charge(&mut self, now: Instant, bytes: u64) -> bool {
        self.refill(now);
        self.balance -= i128::from(bytes) * 8 * SCALE;
        self.balance < 0
    }

    /// When the debt is paid: not after the last update when there is none.
    pub(crate) fn open_at(&self) -> Instant {
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
}
