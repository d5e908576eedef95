//! BM-1: the published curve of chunk loss against buffer size (docs/background.md 1.2), with classic pacing and with burst relay.

use super::{
    Size,
    lab::{Setup, fixed, mean},
};
use crate::{NetworkConfig, Report, StreamSpec};
use p2psp_core::RelayPolicy;
use serde_json::Value;
use std::time::Duration;

/// Team sizes of the published table, the monitor apart.
const PEERS: [u32; 8] = [11, 16, 20, 32, 50, 64, 80, 100];
/// Buffer sizes of the published table, in multiples of the team size.
const PUBLISHED_RATIOS: [f64; 10] = [2.02, 2.1, 2.25, 2.4, 2.5, 2.6, 2.75, 3.0, 3.5, 3.98];
/// Published chunk-loss ratios, a row for each team size.
const PUBLISHED: [[f64; 10]; 8] = [
    [0.049, 0.073, 0.046, 0.019, 0.018, 0.0105, 0.022, 0.0147, 0.0018, 0.0040],
    [0.101, 0.093, 0.045, 0.0097, 0.0030, 0.0038, 0.0132, 0.0087, 0.0024, 0.0018],
    [0.100, 0.140, 0.018, 0.021, 0.0130, 0.0088, 0.0028, 0.0009, 0.0020, 0.0020],
    [0.099, 0.127, 0.030, 0.014, 0.0046, 0.0031, 0.0023, 0.0010, 0.0015, 0.0013],
    [0.129, 0.100, 0.101, 0.015, 0.027, 0.0023, 0.0013, 0.0011, 0.0010, 0.0011],
    [0.143, 0.049, 0.074, 0.014, 0.0084, 0.0026, 0.0008, 0.0007, 0.0007, 0.0008],
    [0.143, 0.088, 0.114, 0.033, 0.0037, 0.0008, 0.0006, 0.0016, 0.0006, 0.0007],
    [0.102, 0.120, 0.064, 0.070, 0.039, 0.018, 0.0035, 0.0008, 0.0005, 0.0005],
];
/// Smaller buffers than anybody published: where our cliffs are.
const SMALL_RATIOS: [f64; 7] = [0.4, 0.6, 0.8, 1.0, 1.5, 1.75, 1.9];
/// A chunk each 10 ms, 5 ms to everybody, ten rounds.
const CHUNKS_PER_SECOND: u32 = 100;
const LATENCY_MS: u64 = 5;
const ROUNDS: u32 = 10;

/// The published runs count the start of each peer; ours begin when the team stands, so that what is compared is the relaying.
pub(super) fn bm1(seed: u64, size: Size, report: &mut Report) {
    let rows: Vec<(u32, [f64; 10])> = PEERS
        .into_iter()
        .zip(PUBLISHED)
        .filter(|(peers, _)| size == Size::Full || [11, 20].contains(peers))
        .collect();
    let ratios: Vec<f64> = SMALL_RATIOS.into_iter().chain(PUBLISHED_RATIOS).collect();
    let heading: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:>6}")).collect();
    report.line("chunk-loss ratio by team size N and buffer B; play begins B/2 chunks behind");
    report.line(format!("   N             B/N = {}", heading.join(" ")));
    let (mut classic_rows, mut burst_rows) = (Vec::new(), Vec::new());
    for (peers, published) in &rows {
        let curve = |relay, report: &mut Report| -> Vec<f64> {
            ratios.iter().map(|ratio| loss(seed, *peers, *ratio, relay, report)).collect()
        };
        let (classic, burst) = (curve(RelayPolicy::Classic, report), curve(RelayPolicy::Burst, report));
        let blank = vec![None; SMALL_RATIOS.len()];
        let published: Vec<Option<f64>> =
            blank.into_iter().chain(published.iter().copied().map(Some)).collect();
        report.line(row(*peers, "published", &published));
        report.line(row(*peers, "classic", &classic.iter().copied().map(Some).collect::<Vec<_>>()));
        report.line(row(*peers, "burst, U = 4R", &burst.iter().copied().map(Some).collect::<Vec<_>>()));
        classic_rows.push(classic);
        burst_rows.push(burst);
    }
    let at = |curves: &[Vec<f64>], ratio: f64| -> f64 {
        let column = ratios.iter().position(|other| (other - ratio).abs() < 1e-9);
        mean(curves.iter().filter_map(|curve| curve.get(column?).copied()))
    };
    let published_at = |ratio: f64| -> f64 {
        let column = PUBLISHED_RATIOS.iter().position(|other| (other - ratio).abs() < 1e-9);
        mean(rows.iter().filter_map(|(_, row)| row.get(column?).copied()))
    };
    for ratio in [2.5, 2.75, 3.0, 3.98] {
        let name = format!("classic: loss at B/N = {ratio}, against the published mean");
        report.at_most(&name, at(&classic_rows, ratio), published_at(ratio));
    }
    report.at_least("classic: loss at B/N = 1.75, below the cliff", at(&classic_rows, 1.75), 0.05);
    report.at_least("classic: loss at B/N = 2.02, on it", at(&classic_rows, 2.02), 0.01);
    let knee = |curves: &[Vec<f64>]| -> f64 {
        mean(curves.iter().map(|curve| {
            let lossy = ratios.iter().zip(curve).filter(|(_, loss)| **loss > 0.01);
            lossy.map(|(ratio, _)| *ratio).fold(0.0, f64::max)
        }))
    };
    let (classic_knee, burst_knee) = (knee(&classic_rows), knee(&burst_rows));
    report.line(format!(
        "largest B/N with more than 1 % loss, mean over N: published 2.62, classic {classic_knee:.2}, burst {burst_knee:.2}"
    ));
    report.at_least("classic: knee, B/N", classic_knee, 1.75);
    report.at_most("classic: knee, B/N, against the published 2.62", classic_knee, 2.62);
    report.at_most("burst: knee as a share of classic's", burst_knee / classic_knee.max(0.01), 0.5);
    report.figure("ratios", ratios.clone());
    report.figure("peers", rows.iter().map(|(peers, _)| *peers).collect::<Vec<_>>());
    report.figure("classic_loss", classic_rows.into_iter().map(Value::from).collect::<Vec<_>>());
    report.figure("burst_loss", burst_rows.into_iter().map(Value::from).collect::<Vec<_>>());
    report.figure("classic_knee", classic_knee);
    report.figure("burst_knee", burst_knee);
}

/// The share of chunks that do not come in time in `ROUNDS` rounds.
fn loss(seed: u64, peers: u32, ratio: f64, relay: RelayPolicy, report: &mut Report) -> f64 {
    let mut setup = Setup {
        network: NetworkConfig { latency: fixed(LATENCY_MS, LATENCY_MS), ..NetworkConfig::default() },
        perfect: false,
        seed,
        // The published runs have a monitor beside the peers.
        peers: usize::try_from(peers + 1).unwrap_or(0),
        stream: StreamSpec { random_access_every: 0, ..StreamSpec::new(CHUNKS_PER_SECOND) },
        uplink: None,
    };
    // Nothing limited the published runs; a burst without a limit would have no curve at all.
    setup.uplink = (relay == RelayPolicy::Burst).then(|| setup.uplink_of(4.0));
    let interval = setup.stream.chunk_interval;
    let lag = interval.mul_f64(f64::from(peers) * ratio / 2.0);
    let mut lab = setup.build(|_, config| {
        config.relay = relay;
        config.target_delay = lag;
        config.playout_tick = Duration::from_millis(1);
    });
    lab.run_to(interval * ((peers + 1) * ROUNDS) + lag);
    let (played, lost) = lab.played_and_lost();
    report.world(&mut lab.world);
    if played + lost == 0 { 1.0 } else { lost as f64 / (played + lost) as f64 }
}

fn row(peers: u32, name: &str, losses: &[Option<f64>]) -> String {
    let cells: Vec<String> = losses
        .iter()
        .map(|loss| loss.map_or_else(|| "     -".into(), |loss| format!("{loss:6.4}")))
        .collect();
    format!("{peers:>4}  {name:13}       {}", cells.join(" "))
}
