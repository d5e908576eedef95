//! A peer's metrics.

use super::{Histogram, Kind, Metric, Series, Value, counter, counters, flag, gauge, gauges, int, seconds};
use crate::v1::{NetFigures, PeerFigures, PeerStatus, PlayoutFigures};

/// A peer at one moment.
#[derive(Clone, Debug, Default)]
pub struct PeerView {
    pub(super) state: String,
    pub(super) figures: PeerFigures,
    pub(super) playout: PlayoutFigures,
    pub(super) net: NetFigures,
}

impl PeerView {
    /// What a backend tells of its peer.
    #[must_use]
    pub fn new(status: PeerStatus) -> Self {
        let figures = status.figures.unwrap_or_default();
        Self {
            state: status.state,
            playout: figures.playout.unwrap_or_default(),
            net: figures.net.unwrap_or_default(),
            figures,
        }
    }
}

type View = PeerView;

/// Bounds of delays, in seconds and in microseconds: from a hop within a machine to the longest play-out delay.
const DELAY_BOUNDS: [(&str, u64); 13] = [
    ("0.001", 1_000),
    ("0.0025", 2_500),
    ("0.005", 5_000),
    ("0.01", 10_000),
    ("0.025", 25_000),
    ("0.05", 50_000),
    ("0.1", 100_000),
    ("0.25", 250_000),
    ("0.5", 500_000),
    ("1", 1_000_000),
    ("2.5", 2_500_000),
    ("5", 5_000_000),
    ("10", 10_000_000),
];

/// The peer's fine buckets, an eighth of an octave each, as counts below our bounds: a delay is taken for its bucket's largest.
fn delays(view: &View) -> Histogram {
    let fine = &view.figures.delay_buckets;
    let below = |bound: u64| fine.iter().filter(|fine| fine.upper_us <= bound).map(|fine| fine.count).sum();
    #[expect(clippy::cast_precision_loss, reason = "a sum for averages")]
    let sum = fine.iter().map(|fine| fine.upper_us as f64 * fine.count as f64).sum::<f64>() / 1e6;
    Histogram {
        buckets: DELAY_BOUNDS.iter().map(|(text, bound)| (*text, below(*bound))).collect(),
        sum,
        count: fine.iter().map(|fine| fine.count).sum(),
    }
}

/// Bytes a second of bits a second.
fn bytes_per_second(bits_per_s: u64) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "uplinks are far below")]
    let bits_per_s = bits_per_s as f64;
    Value::Real(bits_per_s / 8.0)
}

pub(super) const METRICS: &[Metric<View>] = &[
    gauges(
        "p2psp_peer_state",
        "1 for the state that the peer is in.",
        "state",
        &[
            ("joining", |v| flag(v.state == "joining")),
            ("member", |v| flag(v.state == "member")),
            ("left", |v| flag(v.state == "left")),
        ],
    ),
    gauge("p2psp_peer_team_peers", "Members of the team, this one included; 0 without a seat.", |v| {
        int(v.figures.team_peers.into())
    }),
    gauge("p2psp_peer_linked_teammates", "Teammates with a link.", |v| {
        int(v.figures.teammates_linked.into())
    }),
    gauge("p2psp_peer_buffer_seconds", "How far the newest chunk held is ahead of the play-out.", |v| {
        seconds(v.figures.buffer_ms)
    }),
    gauge("p2psp_peer_buffered_chunks", "Chunks held ahead of the play-out.", |v| {
        int(v.figures.buffered_chunks)
    }),
    Metric {
        name: "p2psp_peer_delay_seconds",
        kind: Kind::Histogram,
        help: "From the splitter's taking a chunk in to its arrival here, by both wall clocks, right within 13 %.",
        series: Series::Buckets(delays),
    },
    counters(
        "p2psp_peer_received_chunks_total",
        "Chunks received, each once: from the splitter in turns, from teammates, or in answer to pulls.",
        "from",
        &[
            ("splitter", |v| int(v.figures.splitter_chunks_total)),
            ("teammate", |v| {
                let others = v.figures.splitter_chunks_total + v.figures.pulled_chunks_total;
                int(v.figures.received_chunks_total.saturating_sub(others))
            }),
            ("pull", |v| int(v.figures.pulled_chunks_total)),
        ],
    ),
    counter("p2psp_peer_received_bytes_total", "Payload bytes received, each chunk once.", |v| {
        int(v.figures.received_bytes_total)
    }),
    counter("p2psp_peer_splitter_bytes_total", "Payload bytes that came from the splitter.", |v| {
        int(v.figures.splitter_bytes_total)
    }),
    counter("p2psp_peer_due_chunks_total", "Chunks of which it is known how they came.", |v| {
        int(v.figures.due_chunks_total)
    }),
    counter(
        "p2psp_peer_missing_chunks_total",
        "Chunks of these that did not come by themselves, repaired ones among them.",
        |v| int(v.figures.missing_chunks_total),
    ),
    gauge("p2psp_peer_uplink_bytes_per_second", "What the peer sends at most, all links together.", |v| {
        bytes_per_second(v.figures.uplink_bits_per_s)
    }),
    gauge(
        "p2psp_peer_uplink_carried_bytes_per_second",
        "What the peer's uplink was found to carry; 0 while it has shown no limit.",
        |v| bytes_per_second(v.figures.uplink_carried_bits_per_s),
    ),
    counter("p2psp_peer_sent_chunks_total", "Chunks relayed, one for each teammate.", |v| {
        int(v.figures.sent_chunks_total)
    }),
    counter("p2psp_peer_sent_bytes_total", "Payload bytes relayed, parity and manifests among them.", |v| {
        int(v.figures.sent_bytes_total)
    }),
    counter("p2psp_peer_served_chunks_total", "Chunks sent in answer to pulls.", |v| {
        int(v.figures.served_chunks_total)
    }),
    counter("p2psp_peer_expired_chunks_total", "Copies not sent because they had become too old.", |v| {
        int(v.figures.expired_chunks_total)
    }),
    counter("p2psp_peer_expected_chunks_total", "Chunks that were due for play-out: played or lost.", |v| {
        int(v.figures.played_chunks_total + v.figures.lost_chunks_total)
    }),
    counter("p2psp_peer_lost_chunks_total", "Chunks that did not come in time for play-out.", |v| {
        int(v.figures.lost_chunks_total)
    }),
    counter(
        "p2psp_peer_stalls_total",
        "Times that the play-out stood still for a quarter of a second or more while the source went on; counted when it goes on.",
        |v| int(v.figures.stalls_total),
    ),
    counter(
        "p2psp_peer_stalled_seconds_total",
        "How long the play-out stood still, all stalls together.",
        |v| seconds(v.figures.stalled_ms_total),
    ),
    counter("p2psp_peer_played_bytes_total", "Payload bytes played.", |v| int(v.figures.played_bytes_total)),
    counter(
        "p2psp_peer_rebuilt_chunks_total",
        "Chunks that did not come and were rebuilt from parity.",
        |v| int(v.figures.rebuilt_chunks_total),
    ),
    counter(
        "p2psp_peer_healed_chunks_total",
        "Chunks of this peer's own turns that never reached it, rebuilt, and relayed late.",
        |v| int(v.figures.healed_chunks_total),
    ),
    counter("p2psp_peer_asked_chunks_total", "Chunks asked of others because parity did not suffice.", |v| {
        int(v.figures.asked_chunks_total)
    }),
    counters(
        "p2psp_peer_dropped_chunks_total",
        "Chunks and datagrams received and not used: here already, behind the play-out, from a member that has no right to send \
         them, or not what the channel's key signed.",
        "reason",
        &[
            ("duplicate", |v| int(v.figures.duplicate_chunks_total)),
            ("late", |v| int(v.figures.late_chunks_total)),
            ("unexpected", |v| int(v.figures.unexpected_chunks_total)),
            ("false", |v| int(v.figures.false_chunks_total)),
        ],
    ),
    counter("p2psp_peer_parity_chunks_total", "Parity chunks received, each once.", |v| {
        int(v.figures.parity_chunks_total)
    }),
    counter("p2psp_peer_manifests_total", "Manifests received, each once.", |v| {
        int(v.figures.manifests_total)
    }),
    counter("p2psp_peer_requests_total", "Requests sent for origins that do not reach this peer.", |v| {
        int(v.figures.requests_total)
    }),
    counter("p2psp_peer_prunes_total", "Prunes sent.", |v| int(v.figures.prunes_total)),
    counter("p2psp_peer_malformed_total", "Malformed messages and datagrams from others.", |v| {
        int(v.figures.malformed_total)
    }),
    counter("p2psp_peer_violations_total", "Links hung up for breaking a rule.", |v| {
        int(v.figures.violations_total)
    }),
    counter("p2psp_peer_splitter_losses_total", "Times that the splitter's link was lost.", |v| {
        int(v.figures.splitter_losses_total)
    }),
    gauge("p2psp_peer_players", "Streams being served to players now.", |v| int(v.playout.players)),
    counter("p2psp_peer_players_total", "Streams ever served to players.", |v| int(v.playout.players_total)),
    counter("p2psp_peer_player_bytes_total", "Stream bytes handed to players' connections.", |v| {
        int(v.playout.bytes_total)
    }),
    counter(
        "p2psp_peer_player_skips_total",
        "Times that a slow player was moved to a newer random-access point.",
        |v| int(v.playout.skips_total),
    ),
    counters(
        "p2psp_peer_player_closed_connections_total",
        "Players' connections closed: no byte taken, or no request, for too long.",
        "reason",
        &[("stalled", |v| int(v.playout.stalled_total)), ("idle", |v| int(v.playout.idle_total))],
    ),
    counters(
        "p2psp_peer_player_refusals_total",
        "Requests and connections that the player port refused.",
        "reason",
        &[
            ("host", |v| int(v.playout.refused_host_total)),
            ("malformed", |v| int(v.playout.refused_malformed_total)),
            ("method", |v| int(v.playout.refused_method_total)),
            ("not_found", |v| int(v.playout.refused_not_found_total)),
            ("not_ready", |v| int(v.playout.refused_not_ready_total)),
            ("full", |v| int(v.playout.refused_full_total)),
        ],
    ),
];
