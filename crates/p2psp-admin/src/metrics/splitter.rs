//! A splitter's metrics.

use super::{Metric, Value, counter, counters, flag, gauge, gauges, int, seconds};
use crate::v1::{Channel, IngestFigures, NetFigures, SplitterFigures, Team};

/// A splitter at one moment.
#[derive(Clone, Debug, Default)]
pub struct SplitterView {
    pub(super) team: Team,
    pub(super) figures: SplitterFigures,
    pub(super) source_state: String,
    pub(super) ingest: IngestFigures,
    pub(super) net: NetFigures,
}

impl SplitterView {
    /// What a backend tells of its team and its channel.
    #[must_use]
    pub fn new(team: Team, channel: Channel) -> Self {
        let figures = team.figures.unwrap_or_default();
        Self {
            team,
            source_state: channel.source_state,
            ingest: channel.figures.unwrap_or_default(),
            net: figures.net.unwrap_or_default(),
            figures,
        }
    }
}

type View = SplitterView;

pub(super) const METRICS: &[Metric<View>] = &[
    gauge("p2psp_splitter_team_peers", "Members with a seat.", |v| int(v.figures.team_peers.into())),
    gauge("p2psp_splitter_team_ready_peers", "Members that get turns.", |v| int(v.figures.team_ready.into())),
    gauge("p2psp_splitter_team_peers_max", "Most members that get a seat.", |v| {
        int(v.team.team_size_max.into())
    }),
    gauge(
        "p2psp_splitter_uplink_limit_bytes_per_second",
        "Most that the splitter sends, all links together.",
        |v| int(v.team.uplink_bits_per_s / 8),
    ),
    counter("p2psp_splitter_joins_total", "Joins that got a seat.", |v| int(v.figures.joins_total)),
    counters(
        "p2psp_splitter_refusals_total",
        "Joins refused: the key is banned, the splitter is shutting down, the uplinks carry no further viewer, the peer speaks another \
         revision of the protocol, the team has no free seat, or it asked for another channel.",
        "reason",
        &[
            ("banned", |v| int(v.figures.refused_banned_total)),
            ("closing", |v| int(v.figures.refused_closing_total)),
            ("no_uplink", |v| int(v.figures.refused_no_uplink_total)),
            ("revision", |v| int(v.figures.refused_revision_total)),
            ("team_full", |v| int(v.figures.refused_team_full_total)),
            ("wrong_channel", |v| int(v.figures.refused_wrong_channel_total)),
        ],
    ),
    counters(
        "p2psp_splitter_departures_total",
        "Members that are gone: said goodbye, lost their link, or were expelled.",
        "reason",
        &[
            ("goodbye", |v| int(v.figures.goodbyes_total)),
            ("crash", |v| int(v.figures.crashes_total)),
            ("expelled", |v| int(v.figures.expulsions_total)),
        ],
    ),
    counter(
        "p2psp_splitter_silenced_peers_total",
        "Times that a member got no more turns because its teammates did not hear it.",
        |v| int(v.figures.silenced_total),
    ),
    counter("p2psp_splitter_chunks_total", "Chunks taken from the source.", |v| int(v.figures.chunks_total)),
    counter("p2psp_splitter_bytes_total", "Payload bytes taken from the source.", |v| {
        int(v.figures.bytes_total)
    }),
    counter("p2psp_splitter_sent_chunks_total", "Chunks sent in turns.", |v| {
        int(v.figures.sent_chunks_total)
    }),
    counter(
        "p2psp_splitter_sent_bytes_total",
        "Datagram bytes sent in turns: payload and header, parity and manifests among them.",
        |v| int(v.figures.sent_bytes_total),
    ),
    counter("p2psp_splitter_parity_chunks_total", "Parity chunks sent.", |v| {
        int(v.figures.parity_chunks_total)
    }),
    gauge("p2psp_splitter_generation_parity_chunks", "Parity chunks of a generation at present.", |v| {
        int(v.figures.parity_chunks.into())
    }),
    counter("p2psp_splitter_manifests_total", "Manifests sent.", |v| int(v.figures.manifests_total)),
    counter("p2psp_splitter_turns_total", "Turns sent.", |v| int(v.figures.turns_total)),
    gauge("p2psp_splitter_turn_chunks", "Chunks of a turn at the present rate.", |v| {
        int(v.figures.turn_chunks.into())
    }),
    counter("p2psp_splitter_served_chunks_total", "Chunks sent in answer to pulls.", |v| {
        int(v.figures.served_chunks_total)
    }),
    counters(
        "p2psp_splitter_dropped_chunks_total",
        "Chunks that nobody got in a turn: no member was ready, or the uplink stayed spent.",
        "reason",
        &[
            ("no_peer", |v| int(v.figures.unsent_chunks_total)),
            ("uplink", |v| int(v.figures.overflowed_chunks_total)),
        ],
    ),
    counter(
        "p2psp_splitter_reported_lost_chunks_total",
        "Chunks that members reported lost, all members together.",
        |v| int(v.figures.reported_lost_chunks_total),
    ),
    counter(
        "p2psp_splitter_reported_missing_chunks_total",
        "Chunks that members reported as not having come by themselves: rebuilt, pulled or lost.",
        |v| int(v.figures.reported_missing_chunks_total),
    ),
    counter(
        "p2psp_splitter_complaints_total",
        "Complaints about members that sent what no manifest lists.",
        |v| int(v.figures.complaints_total),
    ),
    counter(
        "p2psp_splitter_free_riders_total",
        "Members expelled because they took turns and did not pass them on.",
        |v| int(v.figures.free_riders_total),
    ),
    counter(
        "p2psp_splitter_own_turns_total",
        "Turns that the splitter sent to every member itself, because the members' uplinks do not suffice.",
        |v| int(v.figures.own_turns_total),
    ),
    gauge(
        "p2psp_splitter_own_turns_ratio",
        "Of all turns, the share that the splitter sends to every member itself.",
        |v| Value::Real(f64::from(v.figures.own_share_per_mille) / 1e3),
    ),
    gauge(
        "p2psp_splitter_lacking_turns_ratio",
        "Of all turns, the share that neither the members' uplinks nor the splitter are known to carry.",
        |v| Value::Real(f64::from(v.figures.lacking_per_mille) / 1e3),
    ),
    counter(
        "p2psp_splitter_rests_total",
        "Times that a member was given a rest, because its turns did not reach the others.",
        |v| int(v.figures.rests_total),
    ),
    counter("p2psp_splitter_malformed_total", "Malformed messages and datagrams from members.", |v| {
        int(v.figures.malformed_total)
    }),
    counter("p2psp_splitter_violations_total", "Links hung up for breaking a rule.", |v| {
        int(v.figures.violations_total)
    }),
    gauges(
        "p2psp_splitter_source_state",
        "1 for the state that the source is in.",
        "state",
        &[
            ("connecting", |v| flag(v.source_state == "connecting")),
            ("live", |v| flag(v.source_state == "live")),
            ("stalled", |v| flag(v.source_state == "stalled")),
            ("ended", |v| flag(v.source_state == "ended")),
            ("failed", |v| flag(v.source_state == "failed")),
        ],
    ),
    counter(
        "p2psp_splitter_source_gap_seconds_total",
        "Time for which the source brought nothing after it had been live: silent, awaited again, or failed.",
        |v| seconds(v.ingest.gap_ms_total),
    ),
    counter("p2psp_splitter_source_bytes_total", "Media bytes that came in.", |v| int(v.ingest.bytes_total)),
    counter("p2psp_splitter_source_records_total", "Records passed on from the source.", |v| {
        int(v.ingest.records_total)
    }),
    counter(
        "p2psp_splitter_source_restarts_total",
        "Times that the source was started or dialed again, or a publisher came after another.",
        |v| int(v.ingest.restarts_total),
    ),
    counter(
        "p2psp_splitter_source_dropped_records_total",
        "Records dropped because the splitter took no more.",
        |v| int(v.ingest.dropped_records_total),
    ),
    counter(
        "p2psp_splitter_source_dropped_bytes_total",
        "Bytes dropped because they were no part of the stream.",
        |v| int(v.ingest.dropped_bytes_total),
    ),
    counter(
        "p2psp_splitter_source_structure_losses_total",
        "Times that the stream's structure was lost.",
        |v| int(v.ingest.structure_losses_total),
    ),
    counter("p2psp_splitter_source_lost_packets_total", "RTP packets that never came.", |v| {
        int(v.ingest.rtp_lost_packets_total)
    }),
    counter("p2psp_splitter_source_refused_connections_total", "Publishers' connections refused.", |v| {
        int(v.ingest.refused_total)
    }),
];
