//! quinn set up for a live mesh: what it does by default is wrong for this traffic. Owns every QUIC setting and how
//! the socket is opened; drives nothing.

use crate::{config::NodeConfig, seal::SEALED_BYTES_MAX, socket::Socket, tasks::Group, tls};
use quinn::{
    AsyncTimer, AsyncUdpSocket, ClientConfig, Endpoint, EndpointConfig, Runtime, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
    congestion::{Controller, ControllerFactory},
};
use socket2::{Domain, Protocol, Type};
use std::{
    any::Any,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

/// UDP payload on every path: the IPv6 minimum MTU of 1280 less 48 bytes of headers. The longest sealed datagram fits, from a
/// link's first packet on, without discovery.
const UDP_PAYLOAD_BYTES: u16 = 1232;
const _: () = assert!(SEALED_BYTES_MAX <= UDP_PAYLOAD_BYTES as usize, "a sealed datagram fits every path");

/// Socket buffers asked of the kernel. Linux's default of 208 KiB holds 92 packets: 44 ms at 20 Mb/s.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of control stream that the other side may send ahead of what was read: two of the largest frames.
const CONTROL_RECEIVE_BYTES: u32 = 128 * 1024;
/// Bytes of control stream that quinn keeps until they are acknowledged.
const CONTROL_SEND_BYTES: u64 = 256 * 1024;

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
    pub(crate) runtime: Arc<GroupRuntime>,
    pub(crate) socket: Arc<Socket>,
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
    let socket = Arc::new(Socket::new(open(address).map_err(bind_error)?).map_err(bind_error)?);
    let local_addr = socket.local_addr().map_err(bind_error)?;
    let mut server = ServerConfig::with_crypto(tls::server(&config.identity));
    server
        .transport_config(Arc::new(transport(1)))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
    let mut client = ClientConfig::new(tls::client(&config.identity));
    client.transport_config(Arc::new(transport(0)));
    let mut endpoint_config = EndpointConfig::default();
    // What lacks QUIC's fixed bit is a sealed datagram (R-SEAL-2), and never QUIC's own.
    endpoint_config.grease_quic_bit(false);
    let runtime = Arc::new(GroupRuntime::default());
    let endpoint = Endpoint::new_with_abstract_socket(
        endpoint_config,
        Some(server),
        Arc::clone(&socket) as Arc<_>,
        Arc::clone(&runtime) as Arc<_>,
    )
    .map_err(bind_error)?;
    Ok(Quic { endpoint, client, runtime, socket, local_addr })
}

fn open(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
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
    Ok(socket.into())
}

/// `remote_streams` is how many streams the other side may open: the dialer opens the control stream, nobody opens more.
fn transport(remote_streams: u32) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(remote_streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(CONTROL_RECEIVE_BYTES))
        .receive_window(VarInt::from_u32(CONTROL_RECEIVE_BYTES))
        .send_window(CONTROL_SEND_BYTES)
        .send_fairness(false)
        // Whether the other side is there is seen by its sealed datagrams: the transport watches, with fewer packets.
        .max_idle_timeout(None)
        .keep_alive_interval(None)
        .initial_rtt(INITIAL_RTT)
        .initial_mtu(UDP_PAYLOAD_BYTES)
        .min_mtu(UDP_PAYLOAD_BYTES)
        .mtu_discovery_config(None)
        .allow_spin(false)
        .congestion_controller_factory(Arc::new(Unlimited))
        // Chunks travel sealed, beside QUIC.
        .datagram_receive_buffer_size(None);
    transport
}

/// tokio as quinn's runtime, with one difference: the tasks that quinn starts end with the node.
#[derive(Debug, Default)]
pub(crate) struct GroupRuntime {
    tasks: Group,
}

impl GroupRuntime {
    /// Stops the tasks that quinn started.
    pub(crate) fn abort_all(&self) {
        self.tasks.abort_all();
    }
}

impl Runtime for GroupRuntime {
    fn new_timer(&self, deadline: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(deadline)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.tasks.spawn("quic", future);
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

/// No congestion control of a link's own: what QUIC carries is small, and the shared pacer sets the rate of the rest.
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
