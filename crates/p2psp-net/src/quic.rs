//! quinn set up for a live mesh: what it does by default is wrong for this traffic. Owns every QUIC setting and the socket;
//! drives nothing.

use crate::{ack_delay::ACK_DELAY, config::NodeConfig, grid::GridRuntime, tls};
use p2psp_wire::limits::DATAGRAM_BYTES_MAX;
use quinn::{
    AckFrequencyConfig, ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig,
    VarInt,
    congestion::{Controller, ControllerFactory},
};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    any::Any,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// UDP payload on every path: the IPv6 minimum MTU of 1280 less 48 bytes of headers. QUIC's share of it is 38 at most, which
/// leaves [`DATAGRAM_BYTES_MAX`] for a chunk from a link's first packet on, without discovery.
const UDP_PAYLOAD_BYTES: u16 = 1232;

/// Socket buffers asked of the kernel. Linux's default of 208 KiB holds 92 packets: 44 ms at 20 Mb/s.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// What one queued chunk takes in quinn's datagram queues: its bytes and quinn's own record of it.
const CHUNK_BYTES: usize = DATAGRAM_BYTES_MAX + CHUNK_RECORD_BYTES;
/// quinn's record of a queued datagram: a `Bytes`.
pub(crate) const CHUNK_RECORD_BYTES: usize = size_of::<bytes::Bytes>();

/// Least send queue of a link, in chunks: several turns of 16 fit, so that a burst goes out whole.
const SEND_QUEUE_CHUNKS_MIN: usize = 64;
/// Largest send queue of a link, in chunks.
const SEND_QUEUE_CHUNKS_MAX: usize = 256;
/// How much of the uplink one link may queue, in time. What waits longer is stale; quinn's default of 1 MiB holds seconds.
const SEND_QUEUE: Duration = Duration::from_millis(20);

/// Chunks that a link holds for a driver that is late: 100 ms of a 20 Mb/s stream. The oldest goes when it is full.
const RECEIVE_QUEUE_CHUNKS: usize = 208;

/// Bytes of control stream that the other side may send ahead of what was read: two of the largest frames.
const CONTROL_RECEIVE_BYTES: u32 = 128 * 1024;
/// Bytes of control stream that quinn keeps until they are acknowledged.
const CONTROL_SEND_BYTES: u64 = 256 * 1024;

/// Chunks on one link after which an acknowledgement does not wait for [`ACK_DELAY`]. Rare enough to be cheap for a fast link,
/// often enough to keep quinn's table of unacknowledged packets short: a long one is slower than the ACKs it saves.
const ACK_EVERY_CHUNKS: u32 = 16;
/// Packets by which one must be overtaken before an acknowledgement goes out at once: quinn's own loss threshold.
const ACK_REORDER_PACKETS: u32 = 3;

/// The round-trip time to begin with: an unanswered first packet is sent again after three of them. quinn's 333 ms (RFC 9002)
/// would cost one of twenty joins a second on a path that loses one packet in a hundred.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// Connection attempts that quinn may hold before the node has looked at them, and what it may buffer for them.
const INCOMING_MAX: usize = 256;
const INCOMING_BYTES_MAX: u64 = 8 * 1024;
const INCOMING_BYTES_TOTAL_MAX: u64 = 512 * 1024;

/// Why a node cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another socket has the port.
    #[error(
        "cannot listen on udp {0}: the port is in use; stop what uses it, or choose another port (0 picks a free one)"
    )]
    InUse(SocketAddr),
    /// The address is not one of this machine's.
    #[error("cannot listen on udp {0}: no interface has this address; use 0.0.0.0 or [::] for all of them")]
    NotLocal(SocketAddr),
    /// The system does not allow it.
    #[error(
        "cannot listen on udp {0}: permission denied; ports below 1024 need privileges, choose a higher one"
    )]
    Denied(SocketAddr),
    /// A setting cannot work.
    #[error("{0}")]
    Config(&'static str),
    /// The socket cannot be made.
    #[error("cannot listen on udp {address}: {source}; choose another address, 0.0.0.0:0 for any IPv4 one")]
    Socket {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// What the transport needs of quinn.
#[derive(Debug)]
pub(crate) struct Quic {
    pub(crate) endpoint: Endpoint,
    pub(crate) client: ClientConfig,
    pub(crate) runtime: Arc<GridRuntime>,
    pub(crate) local_addr: SocketAddr,
}

/// Binds the one socket for dialing and accepting.
pub(crate) fn bind(config: &NodeConfig) -> Result<Quic, BindError> {
    config.check().map_err(BindError::Config)?;
    let address = config.bind;
    let bind_error = |source: io::Error| {
        let kind = source.kind();
        if kind == io::ErrorKind::AddrInUse {
            BindError::InUse(address)
        } else if kind == io::ErrorKind::AddrNotAvailable {
            BindError::NotLocal(address)
        } else if kind == io::ErrorKind::PermissionDenied {
            BindError::Denied(address)
        } else {
            BindError::Socket { address, source }
        }
    };
    let socket = open(address).map_err(bind_error)?;
    let transport = Arc::new(transport(config, 1)?);
    let mut server = ServerConfig::with_crypto(tls::server(&config.identity));
    server
        .transport_config(Arc::clone(&transport))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
    let mut client = ClientConfig::new(tls::client(&config.identity));
    client.transport_config(Arc::new(self::transport(config, 0)?));
    let mut endpoint_config = EndpointConfig::default();
    // A first byte without QUIC's fixed bit stays free, so that sealed datagrams can share the socket (R-DGRAM-3).
    endpoint_config.grease_quic_bit(false);
    let runtime = Arc::new(GridRuntime::new(config.timer_grid));
    let endpoint =
        Endpoint::new(endpoint_config, Some(server), socket.into(), Arc::clone(&runtime) as Arc<_>)
            .map_err(bind_error)?;
    let local_addr = endpoint.local_addr().map_err(bind_error)?;
    Ok(Quic { endpoint, client, runtime, local_addr })
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // The kernel grants less than was asked without an error, and reports what it granted (Linux: doubled).
    let grown = socket
        .set_recv_buffer_size(SOCKET_BUFFER_BYTES)
        .and_then(|()| socket.set_send_buffer_size(SOCKET_BUFFER_BYTES))
        .and_then(|()| Ok(socket.recv_buffer_size()?.min(socket.send_buffer_size()?)));
    if grown.as_ref().map_or(true, |granted| *granted < SOCKET_BUFFER_BYTES) {
        tracing::warn!(
            granted_bytes = grown.unwrap_or_default(),
            wanted_bytes = SOCKET_BUFFER_BYTES,
            "the kernel keeps UDP buffers small, bursts may be lost; raise net.core.rmem_max and net.core.wmem_max"
        );
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// `remote_streams` is how many streams the other side may open: the dialer opens the control stream, nobody opens more.
fn transport(config: &NodeConfig, remote_streams: u32) -> Result<TransportConfig, BindError> {
    let idle = IdleTimeout::try_from(config.idle_timeout)
        .map_err(|_| BindError::Config("idle_timeout must be at most one hour"))?;
    let mut ack_frequency = AckFrequencyConfig::default();
    ack_frequency
        .ack_eliciting_threshold(VarInt::from_u32(ACK_EVERY_CHUNKS))
        .reordering_threshold(VarInt::from_u32(ACK_REORDER_PACKETS))
        .max_ack_delay(Some(ACK_DELAY));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(remote_streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(CONTROL_RECEIVE_BYTES))
        .receive_window(VarInt::from_u32(CONTROL_RECEIVE_BYTES))
        .send_window(CONTROL_SEND_BYTES)
        .send_fairness(false)
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(config.keep_alive))
        .initial_rtt(INITIAL_RTT)
        .initial_mtu(UDP_PAYLOAD_BYTES)
        .min_mtu(UDP_PAYLOAD_BYTES)
        .mtu_discovery_config(None)
        .allow_spin(false)
        .ack_frequency_config(Some(ack_frequency))
        .congestion_controller_factory(Arc::new(Unlimited))
        .datagram_receive_buffer_size(Some(RECEIVE_QUEUE_CHUNKS * CHUNK_BYTES))
        .datagram_send_buffer_size(send_queue_bytes(config));
    Ok(transport)
}

fn send_queue_bytes(config: &NodeConfig) -> usize {
    let bits = u128::from(config.uplink_bits_per_s) * SEND_QUEUE.as_nanos() / 1_000_000_000;
    let bytes = usize::try_from(bits / 8).unwrap_or(usize::MAX);
    bytes.clamp(SEND_QUEUE_CHUNKS_MIN * CHUNK_BYTES, SEND_QUEUE_CHUNKS_MAX * CHUNK_BYTES)
}

/// No congestion control of a link's own: the shared pacer sets the rate. A loss-based window collapses on an
/// application-limited stream (22 % of a 20 Mb/s stream arrives at 0.5 % loss with quinn's Cubic).
#[derive(Clone, Debug)]
struct Unlimited;

/// Past `u32::MAX` quinn's own pacer is off too.
const WINDOW_BYTES: u64 = u64::MAX / 4;

impl Controller for Unlimited {
    fn on_congestion_event(
        &mut self,
        _now: Instant,
        _sent: Instant,
        _is_persistent_congestion: bool,
        _lost_bytes: u64,
    ) {
    }

    fn on_mtu_update(&mut self, _new_mtu: u16) {}

    fn window(&self) -> u64 {
        WINDOW_BYTES
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        WINDOW_BYTES
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl ControllerFactory for Unlimited {
    fn build(self: Arc<Self>, _now: Instant, _current_mtu: u16) -> Box<dyn Controller> {
        Box::new(self.as_ref().clone())
    }
}
