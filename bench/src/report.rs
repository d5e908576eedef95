//! The figures of a run, as JSON and as a table. Owns names, units and the words for what ended a run.

use std::io::{self, Write};

use serde::Serialize;

use crate::team::Integrity;

/// One team size. A figure is null when the run did not get far enough to have it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// Peers in the team.
    pub peers: usize,
    /// Stamped packets of the window that reached the players, of those made, mean over the players, 0 to 1.
    pub continuity: Option<f64>,
    /// UDP payload bytes that the splitter sent, per byte of the stream.
    pub splitter_copies: Option<f64>,
    /// Chunks of the stream that the peers sent to one another, per chunk that they received.
    pub peer_relay_ratio: Option<f64>,
    /// CPU seconds of the splitter per GB (10^9 bytes) delivered to all players.
    pub splitter_cpu_s_per_gb: Option<f64>,
    /// CPU seconds of all peers per GB delivered to all players.
    pub peer_cpu_s_per_gb: Option<f64>,
    /// CPU seconds of all peers of the floor per GB delivered to them.
    pub floor_cpu_s_per_gb: Option<f64>,
    /// UDP packets that the peers sent, ACKs and control included, per chunk that they received.
    pub packets_per_chunk: Option<f64>,
    /// Peak resident memory of a peer, median.
    pub peer_rss_mib: Option<f64>,
    /// From the splitter's taking a chunk to its arrival at a peer, over all peers.
    pub delay_ms_p50: Option<f64>,
    /// The same, 99th percentile.
    pub delay_ms_p99: Option<f64>,
    /// From the start of a late joiner's process to the first stream byte at its player.
    pub join_ms_p50: Option<f64>,
    /// The same, 95th percentile.
    pub join_ms_p95: Option<f64>,

    /// What kept the run from being clean, or ended it; null when every packet came.
    pub fault: Option<String>,
    /// `peer_cpu_s_per_gb / floor_cpu_s_per_gb`.
    pub peer_cpu_over_floor: Option<f64>,
    /// Chunks of a turn, in the team and in the floor.
    pub turn_chunks: Option<u16>,
    /// Continuity of the player that got least.
    pub continuity_worst: Option<f64>,
    /// Packets at players that are not the source's, or out of order, over the whole run.
    pub wrong_packets: Option<u64>,
    /// Continuity of the floor.
    pub floor_continuity: Option<f64>,
    /// Largest peak resident memory of a peer.
    pub peer_rss_mib_max: Option<f64>,
    /// Peak resident memory of the splitter.
    pub splitter_rss_mib: Option<f64>,
    /// From the making of a packet to its arrival at a player, play-out buffer included.
    pub player_delay_ms_p50: Option<f64>,
    /// The same, 99th percentile.
    pub player_delay_ms_p99: Option<f64>,
    /// Late joiners: from the ready line, when the player asks, to the first stream byte.
    pub join_from_ready_ms_p50: Option<f64>,
    /// The peers of the team itself: from the start of the process to the first stream byte.
    pub first_joins_ms_p50: Option<f64>,
    /// The same, 95th percentile.
    pub first_joins_ms_p95: Option<f64>,
    /// Processors' worth of CPU that all peers used.
    pub peers_cores: Option<f64>,
    /// The same of the splitter.
    pub splitter_cores: Option<f64>,
    /// The same of the bench itself: source and players.
    pub bench_cores: Option<f64>,
    /// The same of everything else on the machine.
    pub other_load: Option<f64>,
    /// Processors.
    pub cores: usize,
    /// UDP packets lost to full receive buffers in the window.
    pub udp_buffer_drops: Option<u64>,
    /// Longest that the source wrote behind its time in the window.
    pub source_lag_ms_max: Option<f64>,
    /// Turns of the peers' loops per chunk that they received: how often a chunk wakes a process.
    pub peer_turns_per_chunk: Option<f64>,
    /// Chunks that peers rebuilt from parity in the window.
    pub rebuilt_chunks: Option<u64>,
    /// How peers verified the stream: `manifest` or `none`.
    pub integrity: Integrity,
    /// Parity chunks of a generation at the window's end.
    pub parity_chunks: Option<u8>,
    /// Bits per second of the source.
    pub rate_bits_per_s: u64,
    /// Length of the window.
    pub seconds: f64,
    /// Whether it ran in a network namespace of its own.
    pub own_namespace: bool,
}

/// What a run that was not clean is judged by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Symptoms {
    /// Packets that never came, all players.
    pub missing_packets: u64,
    /// Packets made, times players.
    pub expected_packets: u64,
    /// Packets that were wrong.
    pub wrong_packets: u64,
    /// Share of the machine that was busy, 0 to 1.
    pub busy: f64,
    /// Cores used by peers, splitter, bench, others.
    pub cores: [f64; 4],
    /// Full receive buffers.
    pub udp_buffer_drops: u64,
    /// Chunks that peers gave up sending.
    pub expired_chunks: u64,
    /// Chunks not sent because a link's queue was full.
    pub queue_drops: u64,
    /// Chunks that came behind the play-out.
    pub late_chunks: u64,
    /// Chunks that the splitter did not send.
    pub unsent_chunks: u64,
    /// Longest lag of the source.
    pub source_lag_ms: f64,
}

/// Above this share no processor was left for anybody.
const SATURATED: f64 = 0.97;
/// A process that uses so much of one core can take no more: they all run on one thread.
const CORE_FULL: f64 = 0.95;
/// A source so far behind was held up.
const LAG_MS: f64 = 250.0;

impl Symptoms {
    /// Says what was wrong, and what most likely made it so; `None` when nothing was.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let [peers, splitter, bench, others] = self.cores;
        let shares =
            format!("peers {peers:.2}, splitter {splitter:.2}, bench {bench:.2}, others {others:.2} cores");
        let is_late = self.source_lag_ms > LAG_MS;
        if self.missing_packets == 0 && self.wrong_packets == 0 && !is_late {
            return None;
        }
        let mut text = format!("{} of {} packets missing", self.missing_packets, self.expected_packets);
        if self.wrong_packets > 0 {
            text += &format!(", {} wrong", self.wrong_packets);
        }
        let mut causes = Vec::new();
        if self.busy > SATURATED {
            causes.push(format!("the processors were saturated ({shares})"));
        } else if splitter > CORE_FULL {
            causes.push(format!("the splitter filled its core ({shares})"));
        }
        for (count, what) in [
            (self.udp_buffer_drops, "packets lost to full receive buffers"),
            (self.expired_chunks, "copies too old to be sent"),
            (self.queue_drops, "copies dropped at full link queues"),
            (self.late_chunks, "chunks behind the play-out"),
            (self.unsent_chunks, "chunks that the splitter had nobody for, or no uplink"),
        ] {
            if count > 0 {
                causes.push(format!("{count} {what}"));
            }
        }
        if is_late {
            causes.push(format!("the source was held up for {:.0} ms", self.source_lag_ms));
        }
        if causes.is_empty() {
            causes.push(format!("no cause seen outside the programs ({shares})"));
        }
        Some(format!("{text}: {}", causes.join("; ")))
    }
}

/// Head, and the cell of a row.
type Column = (&'static str, fn(&Row) -> String);

/// Writes the rows as people read them, and below them what was wrong.
///
/// # Errors
/// The writer's.
pub fn write_table(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let columns: [Column; 16] = [
        ("peers", |row| row.peers.to_string()),
        ("proof", |row| match row.integrity {
            Integrity::None => "none".into(),
            proof @ (Integrity::Manifest | Integrity::Signature) => {
                row.parity_chunks.map_or_else(|| proof.name().into(), |m| format!("{}+{m}", proof.name()))
            }
        }),
        ("cont %", |row| shown(row.continuity.map(|share| share * 100.0), 3)),
        ("split x", |row| shown(row.splitter_copies, 3)),
        ("relay", |row| shown(row.peer_relay_ratio, 3)),
        ("split s/GB", |row| shown(row.splitter_cpu_s_per_gb, 2)),
        ("peer s/GB", |row| shown(row.peer_cpu_s_per_gb, 1)),
        ("floor s/GB", |row| shown(row.floor_cpu_s_per_gb, 1)),
        ("x floor", |row| shown(row.peer_cpu_over_floor, 2)),
        ("pkt/chunk", |row| shown(row.packets_per_chunk, 2)),
        ("MiB", |row| shown(row.peer_rss_mib, 1)),
        ("delay p50/p99", |row| pair(row.delay_ms_p50, row.delay_ms_p99, 1)),
        ("player p50/p99", |row| pair(row.player_delay_ms_p50, row.player_delay_ms_p99, 0)),
        ("join p50/p95", |row| pair(row.join_ms_p50, row.join_ms_p95, 0)),
        ("g", |row| row.turn_chunks.map_or_else(|| "-".into(), |turn| turn.to_string())),
        ("other", |row| shown(row.other_load, 2)),
    ];
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|(_, cell)| cell(row)).collect()).collect();
    let widths: Vec<usize> = (0..columns.len())
        .zip(columns.iter().map(|(head, _)| head.len()))
        .map(|(column, head)| {
            cells.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0).max(head)
        })
        .collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:>width$}", width = *width)).collect();
        writeln!(out, "{}", cells.join("  "))
    };
    line(&mut columns.iter().map(|(head, _)| *head))?;
    for row in &cells {
        line(&mut row.iter().map(String::as_str))?;
    }
    for row in rows {
        if let Some(fault) = &row.fault {
            writeln!(out, "{} peers: {fault}", row.peers)?;
        }
    }
    Ok(())
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
}

fn pair(low: Option<f64>, high: Option<f64>, digits: usize) -> String {
    format!("{}/{}", shown(low, digits), shown(high, digits))
}

/// The value that a share of the sample does not exceed (nearest rank), or `None` without a sample.
#[must_use]
pub fn quantile(sample: &[f64], share: f64) -> Option<f64> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let below = sorted.iter().enumerate().find(|(rank, _)| (*rank + 1) as f64 >= share * sorted.len() as f64);
    below.map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Programs depend on these names.
    #[test]
    fn json_has_the_agreed_keys_first() {
        let row = Row { peers: 4, continuity: Some(1.0), ..Row::default() };
        let json = serde_json::to_string(&row).unwrap();
        let keys = [
            "peers",
            "continuity",
            "splitter_copies",
            "peer_relay_ratio",
            "splitter_cpu_s_per_gb",
            "peer_cpu_s_per_gb",
            "floor_cpu_s_per_gb",
            "packets_per_chunk",
            "peer_rss_mib",
            "delay_ms_p50",
            "delay_ms_p99",
            "join_ms_p50",
            "join_ms_p95",
        ];
        let places: Vec<usize> = keys.iter().map(|key| json.find(&format!("\"{key}\":")).unwrap()).collect();
        assert!(places.is_sorted(), "{json}");
        assert!(json.contains(r#""integrity":"manifest","parity_chunks":null,"#), "{json}");
        assert!(json.starts_with(r#"{"peers":4,"continuity":1.0,"splitter_copies":null,"#), "{json}");
    }

    #[test]
    fn quantiles_by_nearest_rank() {
        let sample: Vec<f64> = (1..=10).rev().map(f64::from).collect();
        assert_eq!(quantile(&sample, 0.5), Some(5.0));
        assert_eq!(quantile(&sample, 0.95), Some(10.0));
        assert_eq!(quantile(&[7.0], 0.5), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    /// A clean run says nothing; a bad one names what is missing and every cause that was seen.
    #[test]
    fn faults_name_causes() {
        let clean = Symptoms { expected_packets: 100, busy: 0.99, ..Symptoms::default() };
        assert_eq!(clean.fault(), None);
        let saturated = Symptoms { missing_packets: 5, cores: [1.5, 0.1, 0.2, 0.2], ..clean };
        let text = saturated.fault().unwrap();
        assert!(text.contains("5 of 100") && text.contains("saturated (peers 1.50"), "{text}");
        let unknown = Symptoms { missing_packets: 5, busy: 0.2, ..clean }.fault().unwrap();
        assert!(unknown.contains("no cause seen"), "{unknown}");
        let held =
            Symptoms { source_lag_ms: 900.0, udp_buffer_drops: 3, busy: 0.2, ..clean }.fault().unwrap();
        assert!(held.contains("held up for 900 ms") && held.contains("3 packets lost"), "{held}");
    }

    #[test]
    fn table_lines_up_and_tells_faults() {
        let rows = [
            Row { peers: 4, continuity: Some(1.0), delay_ms_p50: Some(1.25), ..Row::default() },
            Row { peers: 100, fault: Some("ended".into()), ..Row::default() },
        ];
        let mut out = Vec::new();
        write_table(&mut out, &rows).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[..3].iter().all(|line| line.len() == lines[0].len()), "{text}");
        assert_eq!(lines[3], "100 peers: ended");
    }
}
