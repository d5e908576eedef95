//! What operators cost a splitter: scrapes and reads of a large team, and watchers of one that comes and goes. Owns the phases and the
//! figures; the programs are the real ones, the members are light ones.

mod scrape;
mod team;
mod watch;

use std::{path::PathBuf, time::Duration};

use p2psp_core::DelayHistogram;
use serde::Serialize;

use crate::{BenchError, process::RunDirectory, procfs};
use scrape::{Repeat, Scrape};
use team::{Team, Window};
use watch::{Account, Watchers};

/// A scrape takes no longer.
const SCRAPE_MS_MAX: f64 = 50.0;
/// A scrape is no larger.
const SCRAPE_BYTES_MAX: usize = 200_000;
/// Watchers cost a splitter no more than that share of what it does without them.
const WATCH_CPU_RATIO_MAX: f64 = 1.2;
/// Two turns of the splitter's loop: less than that is no disturbance.
const DELAY_SLACK_MS: f64 = 10.0;
/// Ten times as often as usual, and more.
const SCRAPE_PERIOD: Duration = Duration::from_millis(250);
/// Between the starts of two lists of the team.
const LIST_PERIOD: Duration = Duration::from_millis(500);

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program.
    pub binary: PathBuf,
    /// Bits per second.
    pub rate: u64,
    /// Members of the team that is scraped and read.
    pub peers: usize,
    /// Members of the team that is watched.
    pub watch_peers: usize,
    /// How many watch it.
    pub watchers: usize,
    /// One member goes, and another one comes, each so often.
    pub churn: Duration,
    /// Length of a window.
    pub window: Duration,
    /// Pairs of windows with and without watchers.
    pub rounds: usize,
    /// Hold durations and shares of the CPU against their limits, too: for a machine that has nothing else to do.
    pub strict: bool,
}

/// The figures of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Processors of the machine.
    pub cores: usize,
    /// Of the stream.
    pub rate_bits_per_s: u64,
    /// Length of a window.
    pub seconds: f64,
    /// Of scrapes and reads.
    pub reads: Reads,
    /// Of watchers.
    pub watch: Watch,
    /// Limits that were not kept.
    pub faults: Vec<String>,
}

/// A team that is scraped and read, beside the same team left alone.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Reads {
    /// Members.
    pub peers: usize,
    /// Scrapes of `/metrics`.
    pub scrapes: usize,
    /// From the connection's begin to the last byte, median.
    pub scrape_ms_p50: f64,
    /// The longest.
    pub scrape_ms_max: f64,
    /// The largest.
    pub scrape_bytes_max: usize,
    /// Series of a scrape, from the empty team on, while members came and went.
    pub series_min: usize,
    /// The most.
    pub series_max: usize,
    /// Times that all members were listed.
    pub lists: usize,
    /// How long that took, the start of `p2psp ctl` included, median.
    pub list_ms_p50: f64,
    /// Processors that the splitter kept busy while nobody read.
    pub splitter_cores_quiet: f64,
    /// The same while it was read.
    pub splitter_cores_read: f64,
    /// What reading costs: the one by the other.
    pub cpu_ratio: f64,
    /// Chunks that came to the members, of all, while nobody read.
    pub continuity_quiet: f64,
    /// The same while it was read.
    pub continuity_read: f64,
    /// From the splitter's taking a chunk in to its arrival, median, while nobody read.
    pub delay_ms_p50_quiet: f64,
    /// The same while it was read.
    pub delay_ms_p50_read: f64,
    /// 99th percentile, while nobody read.
    pub delay_ms_p99_quiet: f64,
    /// The same while it was read.
    pub delay_ms_p99_read: f64,
}

/// A team that comes and goes, watched, beside the same team unwatched.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Watch {
    /// Members.
    pub peers: usize,
    /// Watchers.
    pub watchers: usize,
    /// Between one member's leaving and the next one's.
    pub churn_ms: u64,
    /// Changes told, all watchers together.
    pub revisions: u64,
    /// Changes that a watcher was not told, or not in order.
    pub missed_revisions: u64,
    /// Times that a watcher was told to begin anew.
    pub resyncs: u64,
    /// Processors that the splitter kept busy without watchers, mean of the windows.
    pub splitter_cores_alone: f64,
    /// The same with them.
    pub splitter_cores_watched: f64,
    /// What watchers cost: the one by the other.
    pub cpu_ratio: f64,
}

/// Runs all of it.
///
/// # Errors
/// A program does not start or does not do what it should.
pub async fn run(options: &Options) -> Result<Report, BenchError> {
    let directory = RunDirectory::create("operators")?;
    let reads = reads(options, &directory).await?;
    let watch = watch(options, &directory).await?;
    directory.remove();
    let faults = faults(&reads, &watch, options.strict);
    Ok(Report {
        cores: procfs::processors(),
        rate_bits_per_s: options.rate,
        seconds: options.window.as_secs_f64(),
        reads,
        watch,
        faults,
    })
}

async fn reads(options: &Options, directory: &RunDirectory) -> Result<Reads, BenchError> {
    let mut team = Team::start(&options.binary, options.rate, options.peers, directory).await?;
    let quiet = team.run(options.window, None).await?;
    let (binary, at) = (options.binary.clone(), team.admin.clone());
    let scraper = Repeat::start("scraper", SCRAPE_PERIOD, move || scrape::scrape(&at))?;
    let at = team.admin.clone();
    let lister = Repeat::start("lister", LIST_PERIOD, move || scrape::list(&binary, &at))?;
    let read = team.run(options.window, None).await?;
    let lists = lister.stop()?;
    if let Some((_, wrong)) = lists.iter().find(|(_, members)| *members != options.peers) {
        return Err(BenchError::CrossCheck(format!("{wrong} of {} members were listed", options.peers)));
    }
    // The series while members come and go; what that costs is no figure of this part.
    team.run(options.window / 2, Some(options.churn)).await?;
    let mut scrapes = scraper.stop()?;
    scrapes.push(team.empty.clone());
    team.stop().await?;
    let lists: Vec<Duration> = lists.into_iter().map(|(took, _)| took).collect();
    Ok(figures(options.peers, &scrapes, &lists, &quiet, &read))
}

fn figures(peers: usize, scrapes: &[Scrape], lists: &[Duration], quiet: &Window, read: &Window) -> Reads {
    let took: Vec<Duration> = scrapes.iter().map(|scrape| scrape.took).collect();
    let all: std::collections::BTreeSet<&String> = scrapes.iter().flat_map(|scrape| &scrape.series).collect();
    Reads {
        peers,
        scrapes: scrapes.len(),
        scrape_ms_p50: median_ms(&took),
        scrape_ms_max: took.iter().max().copied().map_or(0.0, millis),
        scrape_bytes_max: scrapes.iter().map(|scrape| scrape.bytes).max().unwrap_or_default(),
        series_min: scrapes.iter().map(|scrape| scrape.series.len()).min().unwrap_or_default(),
        // Series that took turns would be more than any one scrape has.
        series_max: all.len(),
        lists: lists.len(),
        list_ms_p50: median_ms(lists),
        splitter_cores_quiet: quiet.cores,
        splitter_cores_read: read.cores,
        cpu_ratio: read.cores / quiet.cores,
        continuity_quiet: continuity(quiet),
        continuity_read: continuity(read),
        delay_ms_p50_quiet: delay_ms(&quiet.taken.delays, 500),
        delay_ms_p50_read: delay_ms(&read.taken.delays, 500),
        delay_ms_p99_quiet: delay_ms(&quiet.taken.delays, 990),
        delay_ms_p99_read: delay_ms(&read.taken.delays, 990),
    }
}

async fn watch(options: &Options, directory: &RunDirectory) -> Result<Watch, BenchError> {
    let mut team = Team::start(&options.binary, options.rate, options.watch_peers, directory).await?;
    let (mut alone, mut watched) = (Vec::new(), Vec::new());
    let mut told = Account::default();
    for round in 0..options.rounds {
        // First without in one round, first with in the next: what drifts falls on both.
        for with in [round % 2 == 1, round % 2 == 0] {
            if !with {
                alone.push(team.run(options.window, Some(options.churn)).await?.cores);
                continue;
            }
            let watchers = Watchers::start(options.watchers, &options.binary, &team.admin, directory).await?;
            watched.push(team.run(options.window, Some(options.churn)).await?.cores);
            let account = watchers.stop(directory).await?;
            told.revisions += account.revisions;
            told.missed += account.missed;
            told.resyncs += account.resyncs;
        }
    }
    team.stop().await?;
    let mean = |cores: &[f64]| cores.iter().sum::<f64>() / cores.len().max(1) as f64;
    Ok(Watch {
        peers: options.watch_peers,
        watchers: options.watchers,
        churn_ms: u64::try_from(options.churn.as_millis()).unwrap_or(u64::MAX),
        revisions: told.revisions,
        missed_revisions: told.missed,
        resyncs: told.resyncs,
        splitter_cores_alone: mean(&alone),
        splitter_cores_watched: mean(&watched),
        cpu_ratio: mean(&watched) / mean(&alone),
    })
}

/// What was promised and not kept. On a busy machine only counts are held against their limits.
fn faults(reads: &Reads, watch: &Watch, strict: bool) -> Vec<String> {
    let disturbed = reads.delay_ms_p99_read > reads.delay_ms_p99_quiet + DELAY_SLACK_MS;
    let told_nothing = watch.revisions == 0;
    let all = [
        (reads.scrape_bytes_max > SCRAPE_BYTES_MAX, format!("a scrape has {} bytes", reads.scrape_bytes_max)),
        (
            reads.series_min != reads.series_max,
            format!("{} to {} series", reads.series_min, reads.series_max),
        ),
        (
            watch.missed_revisions + watch.resyncs > 0,
            format!("{} revisions missed, {} resyncs", watch.missed_revisions, watch.resyncs),
        ),
        (told_nothing, "nobody was told anything".to_owned()),
        (
            strict && reads.scrape_ms_max > SCRAPE_MS_MAX,
            format!("a scrape takes {:.1} ms", reads.scrape_ms_max),
        ),
        (
            strict && (reads.continuity_read < reads.continuity_quiet.min(1.0) || disturbed),
            format!(
                "reads disturb the stream: {:.6} of it came, and {:.1} ms late instead of {:.1}",
                reads.continuity_read, reads.delay_ms_p99_read, reads.delay_ms_p99_quiet
            ),
        ),
        (
            strict && watch.cpu_ratio > WATCH_CPU_RATIO_MAX,
            format!("{} watchers cost {:.2} times the CPU", watch.watchers, watch.cpu_ratio),
        ),
    ];
    all.into_iter().filter(|(is_broken, _)| *is_broken).map(|(_, says)| says).collect()
}

fn continuity(window: &Window) -> f64 {
    window.taken.chunks as f64 / window.taken.span.max(1) as f64
}

fn delay_ms(delays: &DelayHistogram, per_mille: u32) -> f64 {
    delays.quantile(per_mille).map_or(0.0, millis)
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

fn median_ms(spans: &[Duration]) -> f64 {
    let spans: Vec<f64> = spans.iter().copied().map(millis).collect();
    crate::report::quantile(&spans, 0.5).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts are always held against their limits, durations and CPU only where the machine is ours.
    #[test]
    fn what_is_not_kept_is_told() {
        let reads = Reads { continuity_quiet: 1.0, continuity_read: 1.0, ..Reads::default() };
        let watch = Watch { revisions: 1, cpu_ratio: 1.2, ..Watch::default() };
        assert_eq!(faults(&reads, &watch, true), Vec::<String>::new());
        let slow = Reads { scrape_ms_max: 50.1, ..reads };
        let late = Reads { delay_ms_p99_read: 10.1, ..reads };
        let holey = Reads { continuity_read: 0.999, ..reads };
        for reads in [slow, late, holey] {
            assert_eq!((faults(&reads, &watch, true).len(), faults(&reads, &watch, false).len()), (1, 0));
        }
        let costly = Watch { cpu_ratio: 1.21, ..watch };
        assert_eq!((faults(&reads, &costly, true).len(), faults(&reads, &costly, false).len()), (1, 0));
        let large = Reads { scrape_bytes_max: SCRAPE_BYTES_MAX + 1, ..reads };
        let growing = Reads { series_max: 1, ..reads };
        for reads in [large, growing] {
            assert_eq!(faults(&reads, &watch, false).len(), 1);
        }
        for watch in [Watch { missed_revisions: 1, ..watch }, Watch { revisions: 0, ..watch }] {
            assert_eq!(faults(&reads, &watch, false).len(), 1);
        }
    }
}
