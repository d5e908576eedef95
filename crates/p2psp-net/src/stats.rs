//! Counters of the network host. Owns plain numbers; what they are called in a metrics system is the runtime's business.

use p2psp_core::LinkId;
use quinn::{Connection, ConnectionStats};
use serde::{Serialize, Serializer};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: usize) {
        self.0.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn add_one(&self) {
        self.add(1);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A duration as whole microseconds.
fn micros<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
}

/// Writes the list of counters once, for the snapshot and for what is behind it.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a node's network did since its start. Counters only grow; the gauges say what is now.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        #[non_exhaustive]
        pub struct NetStats {
            $($(#[$doc])* pub $name: u64,)*
            /// Gauge: links that are up.
            pub links: u64,
            /// Gauge: the largest smoothed round-trip time of the links that are up.
            #[serde(rename = "rtt_max_us", serialize_with = "micros")]
            pub rtt_max: Duration,
            /// Gauge: the mean of the smoothed round-trip times of the links that are up.
            #[serde(rename = "rtt_mean_us", serialize_with = "micros")]
            pub rtt_mean: Duration,
            /// UDP packets sent, sealed and QUIC's, all links, those that are gone included. Handshakes that failed are not in it.
            pub udp_packets_out: u64,
            /// UDP packets received, counted alike.
            pub udp_packets_in: u64,
            /// UDP payload bytes sent, counted alike.
            pub udp_bytes_out: u64,
            /// UDP payload bytes received, counted alike.
            pub udp_bytes_in: u64,
            /// Packets sent that QUIC holds for lost, all links. Sealed datagrams are not among them.
            pub quic_packets_lost: u64,
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            fn snapshot(&self) -> NetStats {
                NetStats { $($name: self.$name.get(),)* ..NetStats::default() }
            }
        }
    };
}

counters! {
    /// Trains sent at least in part.
    trains_out,
    /// Trains received: datagrams that were there at once on one link.
    trains_in,
    /// Chunks sent.
    chunks_out,
    /// Chunks received.
    chunks_in,
    /// Bytes of chunks sent, their headers included, the seal and below excluded.
    chunk_bytes_out,
    /// Bytes of chunks received, counted alike.
    chunk_bytes_in,
    /// Chunks not sent because the kernel had no room for them.
    chunks_dropped_full,
    /// Chunks not sent because the link was gone.
    chunks_dropped_gone,
    /// Sealed datagrams sent, keep-alives included.
    sealed_packets_out,
    /// Sealed datagrams received and opened.
    sealed_packets_in,
    /// Bytes of sealed datagrams sent, without UDP's and IP's headers.
    sealed_bytes_out,
    /// Bytes of sealed datagrams received and opened, counted alike.
    sealed_bytes_in,
    /// Sealed datagrams received that are of no link: late ones, or noise.
    sealed_unknown,
    /// Sealed datagrams received that came before, or too late to tell.
    sealed_replayed,
    /// Sealed datagrams received that their key does not open.
    sealed_forged,
    /// QUIC packets dropped because too many waited.
    quic_packets_dropped,
    /// Control messages sent.
    control_out,
    /// Control messages received.
    control_in,
    /// Links closed because the other side did not read its control stream.
    control_overflows,
    /// Datagrams received that are no chunks.
    malformed_datagrams,
    /// Control streams received that broke off in something that is no message.
    malformed_controls,
    /// Times that a link found no room in the kernel.
    link_blocks,
    /// Times the shared uplink was spent.
    uplink_blocks,
    /// Dials begun.
    dials,
    /// Dials that reached nobody.
    dials_failed,
    /// Handshakes that gave a link, dialed and accepted.
    handshakes_ok,
    /// Handshakes that failed because the other side proved another key than the dialed one, or refused ours.
    handshakes_wrong_key,
    /// Handshakes that failed because the two sides speak different versions of the protocol.
    handshakes_wrong_version,
    /// Handshakes that failed because the other side had no room.
    handshakes_refused,
    /// Handshakes that failed because nothing came in time.
    handshakes_timed_out,
    /// Handshakes that failed otherwise.
    handshakes_broken,
    /// Connection attempts that this node refused because it had no room.
    incoming_refused,
    /// Connection attempts that had to prove their address first, because many were in their handshake.
    incoming_retried,
    /// Links that went down without this side's doing.
    links_lost,
    /// Turns of the driver's loop.
    turns,
}

impl NetStats {
    /// Packets sent that carried no chunk: keep-alives, besides handshakes and control messages.
    #[must_use]
    pub const fn packets_without_chunk(&self) -> u64 {
        self.udp_packets_out.saturating_sub(self.chunks_out)
    }
}

/// Counters, and the connections whose own counters belong to the sums.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) counters: Counters,
    connections: Mutex<Connections>,
}

#[derive(Debug, Default)]
struct Connections {
    live: BTreeMap<LinkId, Connection>,
    gone: NetStats,
}

impl Stats {
    /// The link's QUIC counters belong to the sums from now on.
    pub(crate) fn link_up(&self, link: LinkId, connection: Connection) {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).live.insert(link, connection);
    }

    /// The link's QUIC counters are final.
    pub(crate) fn link_gone(&self, link: LinkId) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = connections.live.remove(&link) {
            add(&mut connections.gone, &connection.stats());
        }
    }

    /// All QUIC counters are final, and no connection is kept alive by them.
    pub(crate) fn all_gone(&self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((_, connection)) = connections.live.pop_first() {
            add(&mut connections.gone, &connection.stats());
        }
    }

    pub(crate) fn snapshot(&self) -> NetStats {
        let counters = self.counters.snapshot();
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = connections.gone;
        let mut rtt_sum = Duration::ZERO;
        for connection in connections.live.values() {
            let stats = connection.stats();
            add(&mut sum, &stats);
            sum.rtt_max = sum.rtt_max.max(stats.path.rtt);
            rtt_sum += stats.path.rtt;
        }
        let links = u32::try_from(connections.live.len()).unwrap_or(u32::MAX);
        NetStats {
            links: u64::from(links),
            rtt_max: sum.rtt_max,
            rtt_mean: rtt_sum.checked_div(links).unwrap_or_default(),
            udp_packets_out: sum.udp_packets_out + counters.sealed_packets_out,
            udp_packets_in: sum.udp_packets_in + counters.sealed_packets_in,
            udp_bytes_out: sum.udp_bytes_out + counters.sealed_bytes_out,
            udp_bytes_in: sum.udp_bytes_in + counters.sealed_bytes_in,
            quic_packets_lost: sum.quic_packets_lost,
            ..counters
        }
    }
}

fn add(sum: &mut NetStats, stats: &ConnectionStats) {
    sum.udp_packets_out += stats.udp_tx.datagrams;
    sum.udp_packets_in += stats.udp_rx.datagrams;
    sum.udp_bytes_out += stats.udp_tx.bytes;
    sum.udp_bytes_in += stats.udp_rx.bytes;
    sum.quic_packets_lost += stats.path.lost_packets;
}
