//! The sequential test behind every expulsion for idleness (R-FAIR-8), and its arithmetic. Knows bad turns and good ones, and nothing of
//! how they are told apart.
//!
//! An origin's turns are judged one after the other, each bad or good. An honest origin's turn is bad with a probability of at most
//! `q0`, whatever came before it; a free rider's with `q1`, which is more. The likelihood ratio of a turn is
//!
//! ```text
//! L(bad) = q1 / q0        L(good) = (1 - q1) / (1 - q0)
//! ```
//!
//! and the score is the sum of their logarithms since it was last zero, never below: Page's CUSUM, which is Wald's test begun anew at
//! every turn. It finds the origin guilty at `h`.
//!
//! *False alarms.* For an honest origin the mean of `L` is at most 1, because it grows with the probability of a bad turn and is 1 at
//! `q0`. The product of the `L` from any turn on is thus a non-negative supermartingale that begins at 1, and by Ville's inequality
//! exceeds `e^h` ever after with a probability of at most `e^-h`. A score at `h` is such a product from some turn on, so that `n`
//! turns bring at most `n e^-h` false alarms in the mean. To stay below one in [`PEER_HOURS`] peer-hours with two tests at a time and
//! a turn each `t`:
//!
//! ```text
//! 2 (PEER_HOURS 3600 s / t) e^-h <= 1        h = ln(2 PEER_HOURS 3600 s / t)
//! ```
//!
//! With a turn each 0.21 s (5 Mb/s, 64 members) that is 24.3. Both tests have `q0` = 0.005; what makes a turn bad is chosen so that
//! the probability stays below a tenth of it at 5 % loss on every link, and below it at 10 % (R-FAIR-7, and the tests of `fairness`).
//! The rest is for what is lost to many at once: one turn in 200 may vanish in an honest origin's own access link.
//!
//! *Time to the verdict.* A full free rider's every turn is bad: with `q1` = 0.95 each adds 5.25, and the fifth is the verdict. One
//! that withholds every second turn adds 1.96 a turn on average with `q1` = 0.5, and is found out after 13; one that withholds every
//! second copy, or serves every second teammate, has bad turns only, and goes as fast as the full one.

use std::time::Duration;

/// Fewer than one honest member is expelled in this many hours of one member each.
pub(super) const PEER_HOURS: f64 = 1e6;
/// Most probable share of bad turns of an honest origin.
pub(super) const HONEST: f64 = 0.005;
/// Share of bad turns of an origin that relays nothing, and of one that relays half.
pub(super) const FULL: f64 = 0.95;
pub(super) const HALF: f64 = 0.5;
/// Turns further apart than this are no rounds, but a rest or a pause.
const INTERVAL_MAX: Duration = Duration::from_secs(1);
/// Taken as the time between two turns until it is known: no source is faster.
const INTERVAL_MIN: Duration = Duration::from_millis(2);

/// Page's test of one share of bad turns against another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cusum {
    on_bad: f64,
    on_good: f64,
    score: f64,
}

impl Cusum {
    /// Nothing is known yet. `honest` is below `guilty`, both between 0 and 1.
    pub(super) fn new(honest: f64, guilty: f64) -> Self {
        let (on_bad, on_good) = ((guilty / honest).ln(), ((1.0 - guilty) / (1.0 - honest)).ln());
        Self { on_bad, on_good, score: 0.0 }
    }

    /// One more turn; the score.
    pub(super) fn add(&mut self, is_bad: bool) -> f64 {
        self.score = (self.score + if is_bad { self.on_bad } else { self.on_good }).max(0.0);
        self.score
    }

    /// What speaks for guilt so far.
    pub(super) const fn score(&self) -> f64 {
        self.score
    }

    /// Begins anew.
    pub(super) const fn reset(&mut self) {
        self.score = 0.0;
    }
}

/// How often an origin has turns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace(Option<Duration>);

impl Pace {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// A turn came so long after the last one.
    pub(super) fn add(&mut self, interval: Duration) {
        let interval = interval.clamp(INTERVAL_MIN, INTERVAL_MAX);
        self.0 = Some(self.0.map_or(interval, |mean| (mean * 7 + interval) / 8));
    }

    /// The score that finds an origin guilty: `ln(2 PEER_HOURS 3600 s / t)`.
    pub(super) fn threshold(self) -> f64 {
        let turns_per_hour = 3600.0 / self.0.unwrap_or(INTERVAL_MIN).as_secs_f64();
        (2.0 * PEER_HOURS * turns_per_hour).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A round of 64 members at 5 Mb/s.
    fn pace() -> Pace {
        let mut pace = Pace::new();
        pace.add(Duration::from_millis(210));
        pace
    }

    fn turns_until(cusum: &mut Cusum, threshold: f64, is_bad: impl Fn(u32) -> bool) -> Option<u32> {
        (0..1_000).find(|turn| cusum.add(is_bad(*turn)) >= threshold).map(|turn| turn + 1)
    }

    /// What the text above says: 5 turns for a full free rider, 13 for one that withholds every second.
    #[test]
    fn verdicts_come_when_the_arithmetic_says() {
        let threshold = pace().threshold();
        assert!((threshold - 24.26).abs() < 0.01, "{threshold}");
        assert_eq!(turns_until(&mut Cusum::new(HONEST, FULL), threshold, |_| true), Some(5));
        assert_eq!(turns_until(&mut Cusum::new(HONEST, HALF), threshold, |turn| turn % 2 == 0), Some(13));
        assert_eq!(turns_until(&mut Cusum::new(HONEST, HALF), threshold, |turn| turn % 20 == 0), None);
    }

    /// The bound on false alarms holds, and is not idle: at a threshold low enough to count them, an honest origin at the limit of
    /// what honest is raises no more than `n e^-h`, and at least a hundredth of it.
    #[test]
    fn false_alarms_stay_within_their_bound() {
        let mut dice = 7_u64;
        let mut is_bad = || {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((dice >> 33) as f64) < HONEST * f64::from(1_u32 << 31)
        };
        let (turns, threshold) = (4_000_000_u32, 8.0);
        for guilty in [FULL, HALF] {
            let mut cusum = Cusum::new(HONEST, guilty);
            let mut alarms = 0_u32;
            for _ in 0..turns {
                if cusum.add(is_bad()) >= threshold {
                    alarms += 1;
                    cusum.reset();
                }
            }
            let bound = f64::from(turns) * (-threshold).exp();
            let (alarms, least) = (f64::from(alarms), bound / 100.0);
            assert!((least..=bound).contains(&alarms), "{alarms} alarms, at most {bound} (q1 = {guilty})");
        }
    }
}
