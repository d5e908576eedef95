//! The network node's metrics, the same in every role.

use super::{Metric, Value, counter, counters, gauge, int};
use crate::v1::NetFigures;

/// Seconds of microseconds.
fn seconds(micros: u64) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "round-trip times are far below")]
    let micros = micros as f64;
    Value::Real(micros / 1e6)
}

pub(super) const METRICS: &[Metric<NetFigures>] = &[
    gauge("p2psp_net_links", "Links that are up.", |n| int(n.links)),
    gauge("p2psp_net_rtt_max_seconds", "Largest smoothed round-trip time of the links that are up.", |n| {
        seconds(n.rtt_max_us)
    }),
    gauge(
        "p2psp_net_rtt_mean_seconds",
        "Mean of the smoothed round-trip times of the links that are up.",
        |n| seconds(n.rtt_mean_us),
    ),
    counters(
        "p2psp_net_packets_total",
        "UDP packets, all links.",
        "direction",
        &[("in", |n| int(n.udp_packets_in)), ("out", |n| int(n.udp_packets_out))],
    ),
    counters(
        "p2psp_net_bytes_total",
        "UDP payload bytes, all links.",
        "direction",
        &[("in", |n| int(n.udp_bytes_in)), ("out", |n| int(n.udp_bytes_out))],
    ),
    counter(
        "p2psp_net_quic_lost_packets_total",
        "Packets sent that QUIC holds for lost; chunks do not travel in them.",
        |n| int(n.quic_packets_lost),
    ),
    counter("p2psp_net_quic_dropped_packets_total", "QUIC packets dropped because too many waited.", |n| {
        int(n.quic_packets_dropped)
    }),
    counters(
        "p2psp_net_sealed_packets_total",
        "Sealed datagrams, which carry chunks and notes and keep links alive; those received were opened.",
        "direction",
        &[("in", |n| int(n.sealed_packets_in)), ("out", |n| int(n.sealed_packets_out))],
    ),
    counters(
        "p2psp_net_sealed_refused_packets_total",
        "Sealed datagrams received and not opened: of no link, come before, or not made with the link's key.",
        "reason",
        &[
            ("unknown", |n| int(n.sealed_unknown)),
            ("replayed", |n| int(n.sealed_replayed)),
            ("forged", |n| int(n.sealed_forged)),
        ],
    ),
    counters(
        "p2psp_net_chunks_total",
        "Chunks, parity and manifests, all links.",
        "direction",
        &[("in", |n| int(n.chunks_in)), ("out", |n| int(n.chunks_out))],
    ),
    counters(
        "p2psp_net_dropped_chunks_total",
        "Chunks not sent: the kernel had no room for them, or the link was gone.",
        "reason",
        &[("full", |n| int(n.chunks_dropped_full)), ("gone", |n| int(n.chunks_dropped_gone))],
    ),
    counters(
        "p2psp_net_control_messages_total",
        "Control messages, all links.",
        "direction",
        &[("in", |n| int(n.control_in)), ("out", |n| int(n.control_out))],
    ),
    counter(
        "p2psp_net_control_overflows_total",
        "Links closed because the other side did not read its control messages.",
        |n| int(n.control_overflows),
    ),
    counters(
        "p2psp_net_malformed_total",
        "Input that is no message.",
        "kind",
        &[("datagram", |n| int(n.malformed_datagrams)), ("control", |n| int(n.malformed_controls))],
    ),
    counter("p2psp_net_link_blocks_total", "Times that a link found no room in the kernel.", |n| {
        int(n.link_blocks)
    }),
    counter("p2psp_net_uplink_blocks_total", "Times that the shared uplink was spent.", |n| {
        int(n.uplink_blocks)
    }),
    counter("p2psp_net_dials_total", "Dials begun.", |n| int(n.dials)),
    counter("p2psp_net_failed_dials_total", "Dials that reached nobody.", |n| int(n.dials_failed)),
    counters(
        "p2psp_net_handshakes_total",
        "Handshakes by how they ended.",
        "result",
        &[
            ("ok", |n| int(n.handshakes_ok)),
            ("wrong_key", |n| int(n.handshakes_wrong_key)),
            ("wrong_version", |n| int(n.handshakes_wrong_version)),
            ("refused", |n| int(n.handshakes_refused)),
            ("timed_out", |n| int(n.handshakes_timed_out)),
            ("broken", |n| int(n.handshakes_broken)),
        ],
    ),
    counter(
        "p2psp_net_incoming_refused_total",
        "Connection attempts refused because there was no room.",
        |n| int(n.incoming_refused),
    ),
    counter(
        "p2psp_net_incoming_retried_total",
        "Connection attempts that had to prove their address first.",
        |n| int(n.incoming_retried),
    ),
    counter("p2psp_net_lost_links_total", "Links that went down without this side's doing.", |n| {
        int(n.links_lost)
    }),
];
