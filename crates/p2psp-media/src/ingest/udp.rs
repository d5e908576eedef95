//! Transport streams in UDP datagrams, bare or in RTP, unicast or multicast. Nothing here can wait: what does not fit
//! the queue is dropped and counted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::{Bytes, BytesMut};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::sleep_until;
use tracing::{info, warn};

use super::IngestError;
use super::feed::Feed;
use super::rtp::{Arrival, Sequence, parse};
use super::source::Udp;

/// What the kernel holds while the splitter is busy: some seconds of a usual stream.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// The largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Datagrams taken at a time, before others get their turn.
const DATAGRAMS_AT_A_TIME: usize = 64;

pub(super) async fn run(udp: &Udp, rtp: bool, feed: &mut Feed) -> Result<(), IngestError> {
    let socket = open(udp)?;
    let local = socket.local_addr().ok();
    feed.update(|status| status.local_address = local);
    info!(source = feed.name(), "waiting for datagrams");
    feed.connected();
    let mut sequence = Sequence::default();
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let deadline = feed.silence_deadline();
        let ready = tokio::select! {
            ready = socket.readable() => Some(ready),
            () = sleep_until(deadline) => None,
            () = feed.closed() => return Ok(()),
        };
        let received = match ready {
            Some(ready) => ready.and_then(|()| receive(&socket, rtp, &mut datagram, &mut sequence, feed)),
            None => {
                if feed.on_silence().await.is_err() {
                    return Ok(());
                }
                continue;
            }
        };
        let media = received.map_err(|source| IngestError::Read { what: feed.name().into(), source })?;
        if feed.push(&media).await.is_err() {
            return Ok(());
        }
    }
}

/// Takes what has come, up to [`DATAGRAMS_AT_A_TIME`].
fn receive(
    socket: &UdpSocket,
    rtp: bool,
    datagram: &mut [u8],
    sequence: &mut Sequence,
    feed: &Feed,
) -> io::Result<Bytes> {
    let mut media = BytesMut::new();
    let (mut lost, mut ignored) = (0, 0);
    for _ in 0..DATAGRAMS_AT_A_TIME {
        let n = match socket.try_recv(datagram) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // Left over from datagrams that this socket never sent; nothing to do with what it receives.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error),
        };
        let bytes = datagram.get(..n).unwrap_or_default();
        let payload = if rtp {
            let packet = parse(bytes).map(|packet| (sequence.note(packet.sequence), packet.payload));
            match packet {
                Some((Arrival::After(missing), payload)) => {
                    lost += u64::from(missing);
                    payload
                }
                Some((Arrival::Late, _)) | None => {
                    ignored += u64::try_from(n).unwrap_or(0);
                    continue;
                }
            }
        } else {
            bytes
        };
        media.extend_from_slice(payload);
    }
    if lost + ignored > 0 {
        feed.update(|status| {
            status.rtp_packets_lost += lost;
            status.bytes_dropped += ignored;
        });
    }
    Ok(media.freeze())
}

fn open(udp: &Udp) -> Result<UdpSocket, IngestError> {
    let bind_error = |source| IngestError::Bind { address: udp.address, source };
    let group = udp.address.ip();
    let socket = bind(udp.address, group.is_multicast()).map_err(bind_error)?;
    if let Err(error) = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES) {
        warn!(%error, "cannot enlarge the receive buffer of the UDP source");
    }
    // Linux reports twice what it grants, for its own bookkeeping.
    let granted = socket.recv_buffer_size().unwrap_or(0) / if cfg!(target_os = "linux") { 2 } else { 1 };
    if granted < SOCKET_BUFFER_BYTES {
        warn!(
            granted,
            wanted = SOCKET_BUFFER_BYTES,
            "the system limits the receive buffer of the UDP source, bursts may be lost: raise net.core.rmem_max"
        );
    }
    let joined = match (group, udp.interface) {
        (IpAddr::V4(group), interface) if group.is_multicast() => {
            let interface = match interface {
                Some(IpAddr::V4(interface)) => interface,
                Some(IpAddr::V6(_)) | None => Ipv4Addr::UNSPECIFIED,
            };
            socket.join_multicast_v4(&group, &interface)
        }
        (IpAddr::V6(group), _) if group.is_multicast() => {
            socket.join_multicast_v6(&group, scope(udp.address))
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => Ok(()),
    };
    joined.map_err(|source| IngestError::Join { address: udp.address, source })?;
    UdpSocket::from_std(socket.into()).map_err(bind_error)
}

fn bind(address: SocketAddr, multicast: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if multicast {
        // Several receivers of one group on one machine are usual.
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The interface of a link-local group, as in `[ff02::1%2]:5000`.
fn scope(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V6(address) => address.scope_id(),
        SocketAddr::V4(_) => 0,
    }
}
