//! That the text is what Prometheus reads, that names keep to its conventions, and that the document is not stale.

use super::*;
use crate::v1::{Channel, DelayBucketFigures, IngestFigures, PeerFigures, PeerStatus, SplitterFigures, Team};
use std::collections::BTreeSet;

fn info(role: Role) -> Info {
    let mut info =
        Info { channel: "abc".to_owned(), version: "1.2.3".to_owned(), uptime_ms: 1500, ..Info::default() };
    info.set_role(role);
    info.set_state(RuntimeState::Ready);
    info
}

/// The samples of a text, by series; checks that each metric has its head once, before its samples, and no series comes twice.
fn samples(text: &str) -> std::collections::BTreeMap<String, f64> {
    let (mut samples, mut heads, mut kind) = (std::collections::BTreeMap::new(), BTreeSet::new(), "");
    let mut current = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(heads.insert(name.to_owned()), "{name} twice");
            assert!(!help.is_empty());
            current = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, its_kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current);
            kind = its_kind;
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let suffix = name.strip_prefix(current).unwrap_or_else(|| panic!("{series} below {current}"));
            assert!(
                suffix.is_empty() || (kind == "histogram" && ["_bucket", "_sum", "_count"].contains(&suffix))
            );
            assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{series} twice");
        }
    }
    samples
}

fn peer_view() -> PeerView {
    let bucket = |upper_us, count| DelayBucketFigures { upper_us, count };
    let figures = PeerFigures {
        played_chunks_total: 90,
        lost_chunks_total: 10,
        stalls_total: 2,
        stalled_ms_total: 1_750,
        received_chunks_total: 100,
        splitter_chunks_total: 20,
        pulled_chunks_total: 5,
        buffer_ms: 480,
        delay_buckets: vec![bucket(999, 1), bucket(1_023, 2), bucket(239_999, 4), bucket(20_000_000, 8)],
        ..PeerFigures::default()
    };
    PeerView::new(PeerStatus { state: "member".to_owned(), figures: Some(figures), ..PeerStatus::default() })
}

#[test]
fn a_peer_tells_its_figures() {
    let text = peer(&info(Role::Peer), &peer_view());
    let samples = samples(&text);
    for (series, value) in [
        ("p2psp_info{channel=\"abc\",role=\"peer\",version=\"1.2.3\"}", 1.0),
        ("p2psp_ready", 1.0),
        ("p2psp_uptime_seconds", 1.5),
        ("p2psp_peer_state{state=\"member\"}", 1.0),
        ("p2psp_peer_state{state=\"joining\"}", 0.0),
        ("p2psp_peer_buffer_seconds", 0.48),
        ("p2psp_peer_expected_chunks_total", 100.0),
        ("p2psp_peer_lost_chunks_total", 10.0),
        ("p2psp_peer_stalls_total", 2.0),
        ("p2psp_peer_stalled_seconds_total", 1.75),
        ("p2psp_peer_received_chunks_total{from=\"teammate\"}", 75.0),
        ("p2psp_peer_delay_seconds_bucket{le=\"0.001\"}", 1.0),
        ("p2psp_peer_delay_seconds_bucket{le=\"0.0025\"}", 3.0),
        ("p2psp_peer_delay_seconds_bucket{le=\"0.25\"}", 7.0),
        ("p2psp_peer_delay_seconds_bucket{le=\"10\"}", 7.0),
        ("p2psp_peer_delay_seconds_bucket{le=\"+Inf\"}", 15.0),
        ("p2psp_peer_delay_seconds_count", 15.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
}

#[test]
fn a_splitter_tells_its_figures() {
    let figures = SplitterFigures {
        team_peers: 7,
        crashes_total: 3,
        refusals_total: 4,
        refused_banned_total: 4,
        ..SplitterFigures::default()
    };
    let team =
        Team { team_size_max: 128, uplink_bits_per_s: 8_000, figures: Some(figures), ..Team::default() };
    let ingest = IngestFigures { gap_ms_total: 2_500, ..IngestFigures::default() };
    let channel = Channel { source_state: "live".to_owned(), figures: Some(ingest), ..Channel::default() };
    let samples = samples(&splitter(&info(Role::Splitter), &SplitterView::new(team, channel)));
    for (series, value) in [
        ("p2psp_splitter_team_peers", 7.0),
        ("p2psp_splitter_team_peers_max", 128.0),
        ("p2psp_splitter_uplink_limit_bytes_per_second", 1_000.0),
        ("p2psp_splitter_departures_total{reason=\"crash\"}", 3.0),
        ("p2psp_splitter_refusals_total{reason=\"banned\"}", 4.0),
        ("p2psp_splitter_refusals_total{reason=\"team_full\"}", 0.0),
        ("p2psp_splitter_source_gap_seconds_total", 2.5),
        ("p2psp_splitter_source_state{state=\"live\"}", 1.0),
        ("p2psp_splitter_source_state{state=\"failed\"}", 0.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
}

/// Figures change values, never which series there are; and all of them are small.
#[test]
fn the_series_are_always_the_same() {
    let series = |text: &str| samples(text).into_keys().collect::<BTreeSet<String>>();
    let full = peer(&info(Role::Peer), &peer_view());
    assert_eq!(series(&full), series(&peer(&info(Role::Peer), &PeerView::default())));
    assert!(full.len() < 32 * 1024, "{} bytes", full.len());
}

/// <https://prometheus.io/docs/practices/naming/>: a prefix, base units, `_total` on counters and on nothing else.
#[test]
fn names_keep_to_the_conventions() {
    let names = names();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "each once");
    let document = document();
    for name in names {
        assert!(name.starts_with("p2psp_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        let is_counter = document.contains(&format!("| `{name}` | counter |"));
        assert_eq!(name.ends_with("_total"), is_counter, "{name}");
        for unit in ["_ms", "_us", "_millis", "_bits", "_kb", "_percent"] {
            assert!(!name.contains(unit), "{name}: not a base unit");
        }
    }
}

#[test]
fn the_document_is_not_stale() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == document(), "docs/metrics.md is stale: run `cargo xtask metrics` and commit it");
}
