//! What one link may ask of a machine (R-CTRL-4): token buckets for control messages and for manifests to be checked, and a count of
//! malformed input. Hostile members run into these bounds instead of into our queues.

use crate::Instant;
use std::time::Duration;

/// Control messages that one link may send in a burst. A roster snapshot of 512 members takes 8.
pub(crate) const CONTROL_BURST_MAX: u32 = 256;
/// Control messages a second that one link may send for long. The busiest honest sender, the splitter, batches its deltas to
/// 20 a second.
pub(crate) const CONTROL_PER_SECOND: u32 = 64;
/// Manifests that one link may have checked in a burst. The past that a newcomer is given takes a few dozen.
pub(crate) const MANIFESTS_BURST_MAX: u32 = 128;
/// Manifests a second that one link may have checked for long: all of a stream of 20 Mb/s are 90, all of one of 5 Mb/s 25.
pub(crate) const MANIFESTS_PER_SECOND: u32 = 128;
/// Malformed datagrams that one link may send before it is hung up: line noise has no such run under AEAD.
pub(crate) const MALFORMED_MAX: u32 = 16;

/// The allowance of one link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guard {
    control: Bucket,
    manifests: Bucket,
    malformed: u32,
}

impl Guard {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            control: Bucket::new(now, CONTROL_BURST_MAX, CONTROL_PER_SECOND),
            manifests: Bucket::new(now, MANIFESTS_BURST_MAX, MANIFESTS_PER_SECOND),
            malformed: 0,
        }
    }

    /// Counts a control message; false when the link sends too many.
    pub(crate) fn admit_control(&mut self, now: Instant) -> bool {
        self.control.take(now, 1)
    }

    /// Counts a manifest whose signature is to be checked; false when the link has brought too many.
    pub(crate) fn admit_manifest(&mut self, now: Instant) -> bool {
        self.manifests.take(now, 1)
    }

    /// Counts a malformed datagram; false when the link has sent too many.
    pub(crate) fn admit_malformed(&mut self) -> bool {
        self.malformed += 1;
        self.malformed < MALFORMED_MAX
    }
}

/// A token bucket over virtual time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    tokens_max: u32,
    per_second: u32,
    /// Thousandths of a token.
    milli_tokens: u64,
    updated: Instant,
}

impl Bucket {
    /// A full bucket of `tokens_max`, refilled by `per_second`.
    pub(crate) fn new(now: Instant, tokens_max: u32, per_second: u32) -> Self {
        Self { tokens_max, per_second, milli_tokens: u64::from(tokens_max) * 1000, updated: now }
    }

    /// Takes `tokens` if there are as many.
    pub(crate) fn take(&mut self, now: Instant, tokens: u32) -> bool {
        self.refill(now);
        let price = u64::from(tokens) * 1000;
        let affordable = price <= self.milli_tokens;
        if affordable {
            self.milli_tokens -= price;
        }
        affordable
    }

    /// How many there are.
    pub(crate) fn tokens(&mut self, now: Instant) -> u64 {
        self.refill(now);
        self.milli_tokens / 1000
    }

    fn refill(&mut self, now: Instant) {
        let gained = elapsed_millis(now.since(self.updated)).saturating_mul(self.per_second.into());
        if gained > 0 {
            self.milli_tokens =
                (self.milli_tokens.saturating_add(gained)).min(u64::from(self.tokens_max) * 1000);
            self.updated = now;
        }
    }
}

/// A rate of one token a second gains one thousandth of a token a millisecond.
fn elapsed_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The burst passes, one more does not, and a second later a second's worth passes.
    #[test]
    fn control_is_bounded() {
        let mut now = Instant::from_micros(5_000_000);
        let mut guard = Guard::new(now);
        assert!((0..CONTROL_BURST_MAX).all(|_| guard.admit_control(now)));
        assert!(!guard.admit_control(now));
        now = now + Duration::from_secs(1);
        assert!((0..CONTROL_PER_SECOND).all(|_| guard.admit_control(now)));
        assert!(!guard.admit_control(now));
        assert!((1..MALFORMED_MAX).all(|_| guard.admit_malformed()));
        assert!(!guard.admit_malformed());
    }
}
