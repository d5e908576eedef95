//! One team size from start to figures: warm-up, window, late joiners, floor, cross-checks. Owns what is read when; the
//! team is [`crate::team`]'s, the words are [`crate::report`]'s.

use std::{
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    BenchError, floor,
    player::{Delays, Setting, Window, delays, quantile_ms},
    process::RunDirectory,
    procfs::{self, Machine, Namespace, cpu_time},
    report::{Row, Symptoms, quantile},
    source::{Clock, chunk_time},
    stamps::{CHUNK_BYTES, Layout},
    stats::{self, buckets_between, gain_in},
    team::{Integrity, Join, Plan, Team},
};

/// After the window: what was made in it has come, or never will.
const DRAIN: Duration = Duration::from_secs(3);
/// Between one late joiner's first byte and the next one's start, besides a part that spreads them over the time between
/// two random-access points.
const JOIN_PAUSE: Duration = Duration::from_millis(300);
/// IPv4 and UDP headers.
const UDP_HEAD_BYTES: u64 = 28;
/// IPv4 and TCP headers with timestamps.
const TCP_HEAD_BYTES: u64 = 52;
/// How far the programs' counts may be off the kernel's.
const DISAGREEMENT_MAX: f64 = 0.05;
/// Slack for requests and answers that are not media.
const MIB: f64 = 1024.0 * 1024.0;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program.
    pub binary: PathBuf,
    /// Bits per second.
    pub rate: u64,
    /// Length of the window.
    pub window: Duration,
    /// Time between the last join and the window.
    pub warm_up: Duration,
    /// Late joiners.
    pub joins: usize,
    /// Run the floor too.
    pub floor: bool,
    /// The next peer starts when the one before plays, or after so long.
    pub join_interval: Duration,
    /// How peers verify the stream.
    pub integrity: Integrity,
    /// Parity chunks of a generation; `None` leaves them to the losses.
    pub parity_chunks: Option<u8>,
    /// More arguments for each peer.
    pub peer_arguments: Vec<String>,
    /// Whether this is a namespace of its own.
    pub own_namespace: bool,
}

/// Runs a team of that size. What goes wrong is told in the row, so that the other sizes still run.
pub async fn run(peers: usize, options: &Options) -> Row {
    let mut row = Row {
        peers,
        cores: procfs::processors(),
        rate_bits_per_s: options.rate,
        integrity: options.integrity,
        seconds: options.window.as_secs_f64(),
        own_namespace: options.own_namespace,
        ..Row::default()
    };
    let result = async {
        let directory = RunDirectory::create(&peers.to_string())?;
        measure(peers, options, &directory, &mut row).await?;
        directory.remove();
        Ok::<(), BenchError>(())
    };
    if let Err(cause) = result.await {
        let fault = row.fault.take().map_or_else(String::new, |fault| format!("; {fault}"));
        row.fault = Some(format!("ended: {cause}{fault}"));
    }
    row
}

async fn measure(
    peers: usize,
    options: &Options,
    directory: &RunDirectory,
    row: &mut Row,
) -> Result<(), BenchError> {
    let window = Rc::new(Window::default());
    let setting = Setting {
        layout: Arc::new(Layout::new(options.rate)),
        clock: Clock::start(),
        window: Rc::clone(&window),
    };
    let plan = Plan {
        binary: options.binary.clone(),
        rate: options.rate,
        integrity: options.integrity,
        parity_chunks: options.parity_chunks,
        peer_arguments: options.peer_arguments.clone(),
        team_size: peers + 2,
        join_interval: options.join_interval,
    };
    let (mut team, joins) = Team::start(plan, peers, setting.clone(), directory).await?;
    let (p50, p95) = join_quantiles(&joins, |join| join.from_start);
    (row.first_joins_ms_p50, row.first_joins_ms_p95) = (p50, p95);
    sleep(options.warm_up).await;

    let figures_before = Figures::take(&mut team).await?;
    let from = team.source.next_index();
    window.open(from);
    team.source.take_lag();
    let before = Moment::take(&team)?;
    sleep(options.window).await;
    let after = Moment::take(&team)?;
    let to = team.source.next_index();
    window.close(to);
    let source_lag = team.source.take_lag();
    let figures_after = Figures::take(&mut team).await?;
    sleep(DRAIN).await;

    let span = Span { before, after, figures_before, figures_after };
    span.fill(row);
    let mut symptoms = span.symptoms(row);
    symptoms.source_lag_ms = source_lag.as_secs_f64() * 1000.0;
    row.source_lag_ms_max = Some(symptoms.source_lag_ms);
    count_players(&team, setting.layout.stamped_between(from, to), row, &mut symptoms);
    row.fault = symptoms.fault();
    memory(&team, row)?;
    span.cross_check()?;

    let late = late_joins(&team, options.joins, &setting.layout, options.rate, directory).await?;
    (row.join_ms_p50, row.join_ms_p95) = join_quantiles(&late, |join| join.from_start);
    row.join_from_ready_ms_p50 = join_quantiles(&late, |join| join.from_ready).0;
    let killed = team.stop().await;
    if !killed.is_empty() {
        let fault = row.fault.take().map_or_else(String::new, |fault| format!("{fault}; "));
        row.fault = Some(format!("{fault}did not leave when asked: {}", killed.join(", ")));
    }
    if options.floor {
        measure_floor(peers, options, directory, row).await?;
    }
    Ok(())
}

async fn measure_floor(
    peers: usize,
    options: &Options,
    directory: &RunDirectory,
    row: &mut Row,
) -> Result<(), BenchError> {
    let shape = floor::Shape {
        peers,
        turn_chunks: row.turn_chunks.unwrap_or(1).max(1),
        chunks_per_s: 1.0 / chunk_time(options.rate).as_secs_f64(),
        chunk_bytes: CHUNK_BYTES,
        window: options.window,
    };
    let floor = floor::measure(shape, directory).await?;
    row.floor_cpu_s_per_gb = Some(floor.cpu_s_per_gb);
    row.floor_continuity = Some(floor.continuity);
    row.peer_cpu_over_floor = row.peer_cpu_s_per_gb.map(|cpu| cpu / floor.cpu_s_per_gb);
    Ok(())
}

/// Starts peers one after the other while the team runs. Each waits for a random-access point, so their starts are spread
/// evenly (by the golden ratio) over the time between two of them.
async fn late_joins(
    team: &Team,
    joins: usize,
    layout: &Layout,
    rate: u64,
    directory: &RunDirectory,
) -> Result<Vec<Join>, BenchError> {
    let period = chunk_time(rate).as_secs_f64() * layout.period_packets() as f64 / 6.0;
    let mut late = Vec::with_capacity(joins);
    for number in 0..joins {
        let spread = (number as f64 * 0.618_033_988_75).fract() * period;
        sleep(JOIN_PAUSE + Duration::from_secs_f64(spread)).await;
        late.push(team.pass_through(&format!("late-{number}"), directory).await?);
    }
    Ok(late)
}

fn join_quantiles(joins: &[Join], of: impl Fn(&Join) -> Duration) -> (Option<f64>, Option<f64>) {
    let sample: Vec<f64> = joins.iter().map(|join| of(join).as_secs_f64() * 1000.0).collect();
    (quantile(&sample, 0.5), quantile(&sample, 0.95))
}

fn count_players(team: &Team, made: u64, row: &mut Row, symptoms: &mut Symptoms) {
    let mut played: Delays = delays();
    let (mut shares, mut wrong, mut missing) = (Vec::new(), 0, 0);
    for member in &team.members {
        shares.push(member.player.in_window() as f64 / made.max(1) as f64);
        missing += made.saturating_sub(member.player.in_window());
        wrong += member.player.wrong();
        member.player.add_delays(&mut played);
    }
    row.continuity = Some(shares.iter().sum::<f64>() / shares.len().max(1) as f64);
    row.continuity_worst = shares.iter().copied().min_by(f64::total_cmp);
    row.wrong_packets = Some(wrong);
    row.player_delay_ms_p50 = Some(quantile_ms(&played, 0.5));
    row.player_delay_ms_p99 = Some(quantile_ms(&played, 0.99));
    symptoms.missing_packets = missing;
    symptoms.expected_packets = made * u64::try_from(shares.len()).unwrap_or(u64::MAX);
    symptoms.wrong_packets = wrong;
}

fn memory(team: &Team, row: &mut Row) -> Result<(), BenchError> {
    let peak = |process: &crate::process::Process| {
        procfs::peak_rss_bytes(process.pid())
            .map(|bytes| bytes as f64 / MIB)
            .map_err(|cause| process.fault(format!("cannot be measured: {cause}")))
    };
    let peaks = team.members.iter().map(|member| peak(&member.process)).collect::<Result<Vec<f64>, _>>()?;
    row.peer_rss_mib = quantile(&peaks, 0.5);
    row.peer_rss_mib_max = quantile(&peaks, 1.0);
    row.splitter_rss_mib = Some(peak(&team.splitter.process)?);
    Ok(())
}

/// What the kernel says at one edge of the window; quick to read, so that all of it belongs to one moment.
struct Moment {
    at: Instant,
    machine: Machine,
    namespace: Namespace,
    bench_cpu: Duration,
    splitter_cpu: Duration,
    peers_cpu: Duration,
    player_bytes: u64,
}

impl Moment {
    fn take(team: &Team) -> Result<Self, BenchError> {
        let cpu = |process: &crate::process::Process| {
            cpu_time(process.pid()).map_err(|cause| process.fault(format!("cannot be measured: {cause}")))
        };
        let mut peers_cpu = Duration::ZERO;
        let mut player_bytes = 0;
        for member in &team.members {
            peers_cpu += cpu(&member.process)?;
            player_bytes += member.player.bytes();
        }
        Ok(Self {
            at: Instant::now(),
            machine: Machine::read().map_err(BenchError::io("failed to read the machine's load"))?,
            namespace: Namespace::read().map_err(BenchError::io("failed to read the network's counters"))?,
            bench_cpu: cpu_time(std::process::id())
                .map_err(BenchError::io("failed to read the bench's own load"))?,
            splitter_cpu: cpu(&team.splitter.process)?,
            peers_cpu,
            player_bytes,
        })
    }
}

/// What the programs say at one edge of the window; read outside of it, because the asking costs them something.
struct Figures {
    splitter: stats::Splitter,
    peers: Vec<stats::Peer>,
}

impl Figures {
    async fn take(team: &mut Team) -> Result<Self, BenchError> {
        let mut peers = Vec::with_capacity(team.members.len());
        for member in &team.members {
            peers.push(member.figures().await?);
        }
        Ok(Self { splitter: team.splitter.figures().await?, peers })
    }
}

/// The window between its edges.
struct Span {
    before: Moment,
    after: Moment,
    figures_before: Figures,
    figures_after: Figures,
}

impl Span {
    fn seconds(&self) -> f64 {
        (self.after.at - self.before.at).as_secs_f64()
    }

    fn namespace(&self) -> Namespace {
        self.after.namespace.since(&self.before.namespace)
    }

    fn delivered_bytes(&self) -> u64 {
        self.after.player_bytes - self.before.player_bytes
    }

    fn splitter(&self, of: impl Fn(&stats::Splitter) -> u64) -> f64 {
        let (before, after) = (&self.figures_before.splitter, &self.figures_after.splitter);
        gain_in(self.seconds(), (before.uptime_ms, of(before)), (after.uptime_ms, of(after)))
    }

    fn peers(&self, of: impl Fn(&stats::Peer) -> u64) -> f64 {
        let pairs = self.figures_before.peers.iter().zip(&self.figures_after.peers);
        pairs
            .map(|(before, after)| {
                gain_in(self.seconds(), (before.uptime_ms, of(before)), (after.uptime_ms, of(after)))
            })
            .sum()
    }

    fn fill(&self, row: &mut Row) {
        let gb = self.delivered_bytes() as f64 / 1e9;
        let per_gb =
            |before: Duration, after: Duration| ratio(after.saturating_sub(before).as_secs_f64(), gb);
        row.splitter_cpu_s_per_gb = per_gb(self.before.splitter_cpu, self.after.splitter_cpu);
        row.peer_cpu_s_per_gb = per_gb(self.before.peers_cpu, self.after.peers_cpu);
        row.splitter_copies = ratio(self.splitter(|s| s.net.udp_bytes_out), self.splitter(|s| s.bytes_total));
        let chunks = self.peers(|p| p.received_chunks_total);
        row.peer_relay_ratio = ratio(self.peers(|p| p.sent_chunks_total), chunks);
        row.rebuilt_chunks = Some(self.gained(|p| p.rebuilt_chunks_total));
        row.packets_per_chunk = ratio(self.peers(|p| p.net.udp_packets_out), chunks);
        row.peer_turns_per_chunk = ratio(self.peers(|p| p.net.turns), chunks);
        row.turn_chunks = Some(self.figures_after.splitter.turn_chunks);
        row.parity_chunks = Some(self.figures_after.splitter.parity_chunks);
        let mut overlay = delays();
        for (before, after) in self.figures_before.peers.iter().zip(&self.figures_after.peers) {
            for (upper_us, count) in buckets_between(&before.delay_buckets_us, &after.delay_buckets_us) {
                overlay.saturating_record_n(upper_us, count);
            }
        }
        if !overlay.is_empty() {
            row.delay_ms_p50 = Some(quantile_ms(&overlay, 0.5));
            row.delay_ms_p99 = Some(quantile_ms(&overlay, 0.99));
        }
        let cores =
            |before: Duration, after: Duration| after.saturating_sub(before).as_secs_f64() / self.seconds();
        let ours = [
            cores(self.before.peers_cpu, self.after.peers_cpu),
            cores(self.before.splitter_cpu, self.after.splitter_cpu),
            cores(self.before.bench_cpu, self.after.bench_cpu),
        ];
        let busy = self.after.machine.busy_share_since(&self.before.machine) * row.cores as f64;
        [row.peers_cores, row.splitter_cores, row.bench_cores] = ours.map(Some);
        row.other_load = Some((busy - ours.iter().sum::<f64>()).max(0.0));
        row.udp_buffer_drops = Some(self.namespace().udp_buffer_drops);
    }

    /// What a counter of all peers gained between the readings, which are about a window apart.
    fn gained(&self, of: impl Fn(&stats::Peer) -> u64) -> u64 {
        let pairs = self.figures_before.peers.iter().zip(&self.figures_after.peers);
        pairs.map(|(before, after)| of(after).saturating_sub(of(before))).sum()
    }

    fn symptoms(&self, row: &Row) -> Symptoms {
        let unsent = |s: &stats::Splitter| s.unsent_chunks_total + s.overflowed_chunks_total;
        Symptoms {
            busy: self.after.machine.busy_share_since(&self.before.machine),
            cores: [row.peers_cores, row.splitter_cores, row.bench_cores, row.other_load]
                .map(Option::unwrap_or_default),
            udp_buffer_drops: self.namespace().udp_buffer_drops,
            expired_chunks: self.gained(|p| p.expired_chunks_total),
            queue_drops: self.gained(|p| p.net.chunks_dropped_full),
            late_chunks: self.gained(|p| p.late_chunks_total),
            unsent_chunks: unsent(&self.figures_after.splitter) - unsent(&self.figures_before.splitter),
            ..Symptoms::default()
        }
    }

    /// The kernel's counts of the namespace against the programs' own.
    fn cross_check(&self) -> Result<(), BenchError> {
        let kernel = self.namespace();
        let packets = self.peers(|p| p.net.udp_packets_out) + self.splitter(|s| s.net.udp_packets_out);
        let payload = self.peers(|p| p.net.udp_bytes_out) + self.splitter(|s| s.net.udp_bytes_out);
        let tcp = self.delivered_bytes() + kernel.tcp_segments * TCP_HEAD_BYTES;
        // A train is one packet to the loopback: it has one header.
        let udp = kernel.loopback_bytes.saturating_sub(tcp + kernel.udp_sends * UDP_HEAD_BYTES) as f64;
        if (payload / udp - 1.0).abs() > DISAGREEMENT_MAX {
            return Err(BenchError::CrossCheck(format!(
                "the programs say that they sent {payload:.0} bytes in UDP, the namespace's loopback {udp:.0}"
            )));
        }
        if packets < kernel.udp_sends as f64 * (1.0 - DISAGREEMENT_MAX) {
            return Err(BenchError::CrossCheck(format!(
                "the programs say that they sent {packets:.0} UDP packets, the namespace counts {} sends",
                kernel.udp_sends
            )));
        }
        Ok(())
    }
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}
