//! E15: what parity leaves over under independent loss, beside what the arithmetic of a systematic code says (docs/background.md 3).

use super::{
    Size,
    lab::{CHUNKS_PER_SECOND, Setup, fixed},
};
use crate::{Loss, NetworkConfig, Report, StreamSpec};
use p2psp_core::ParityPolicy;
use p2psp_wire::limits::DATA_CHUNKS_MAX;
use std::time::Duration;

/// A generation of `k` chunks is rebuilt while no more than `m` of its `k + m` datagrams are missing: each of them with the
/// probability `q`, this is the share of chunks that stays missing.
fn residual(k: u32, m: u32, q: f64) -> f64 {
    let n = k + m;
    // The probability of each number of missing ones follows from the one before.
    let mut probability = (1.0 - q).powi(i32::try_from(n).unwrap_or(i32::MAX));
    let mut share = 0.0;
    for lost in 1..=n {
        probability *= f64::from(n - lost + 1) / f64::from(lost) * q / (1.0 - q);
        if lost > m {
            share += probability * f64::from(lost) / f64::from(n);
        }
    }
    share
}

/// Chunks and parity cross two hops, and members are so far apart that they ask for what parity leaves over before an origin's second
/// sending (R-GEN-7) can have come. At this rate generations are as long as they may be.
pub(super) fn e15(seed: u64, size: Size, report: &mut Report) {
    let (peers, seconds, tolerance) = if size == Size::Full { (64, 60, 0.30) } else { (16, 10, 0.60) };
    let cases: &[(f64, u8)] = if size == Size::Full {
        &[(0.01, 2), (0.01, 4), (0.02, 4), (0.05, 8), (0.05, 12), (0.10, 16)]
    } else {
        &[(0.02, 2)]
    };
    report.line(format!("{peers} peers, {CHUNKS_PER_SECOND} chunks/s, {seconds} s for each case"));
    for (p, parity) in cases {
        let stream = StreamSpec {
            payload_bytes: 1024,
            parity: Some(ParityPolicy::Fixed(*parity)),
            ..StreamSpec::new(CHUNKS_PER_SECOND)
        };
        let network =
            NetworkConfig { latency: fixed(65, 65), loss: Loss::Independent(*p), ..NetworkConfig::default() };
        let mut lab = Setup { network, perfect: false, seed, peers, stream, uplink: None }.build(|_, _| ());
        lab.run_to(Duration::from_secs(seconds));
        let left = lab.stats().iter().map(|stats| stats.chunks_unrebuilt).sum::<u64>();
        let (played, lost) = lab.played_and_lost();
        let q = 1.0 - (1.0 - p) * (1.0 - p);
        let want = residual(DATA_CHUNKS_MAX.into(), (*parity).into(), q) * 1e6;
        let got = left as f64 / (played + lost).max(1) as f64 * 1e6;
        let what = format!("left over at {} %, {DATA_CHUNKS_MAX}+{parity}", p * 100.0);
        report.close(&format!("E15: {what}, in a million"), got, want, tolerance);
        report.line(format!("{what}: {left} of {played} chunks, {lost} lost in the end"));
        report.figure(&format!("left_over_{p}_{parity}"), got);
        report.world(&mut lab.world);
    }
}

#[cfg(test)]
mod tests {
    use super::residual;

    /// Values of a systematic code over two hops that others have computed and simulated (docs/background.md 3).
    #[test]
    fn the_arithmetic_is_the_published_one() {
        for (k, m, p, want) in
            [(32, 4, 0.01, 1.0e-4), (32, 4, 0.02, 1.9e-3), (32, 8, 0.05, 3.1e-3), (16, 4, 0.1, 9.5e-2)]
        {
            let q = 1.0 - (1.0_f64 - p).powi(2);
            let got = residual(k, m, q);
            assert!((got / want - 1.0).abs() < 0.1, "{k}+{m} at {p}: {got}");
        }
    }
}
