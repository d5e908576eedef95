//! The node's one UDP socket, and the two who share it: QUIC, and sealed datagrams. Owns receiving for both (whoever drives the
//! node reads, QUIC gets its packets from a queue) and sending for both. Opens nothing and knows no link.

use crate::seal;
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit, UdpSocketState},
};
use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};
use tokio::io::Interest;

/// Buffers of one system call: packets, or trains that the kernel has joined.
const BUFFERS: usize = 8;
/// What the kernel joins at most.
const BUFFER_BYTES: usize = 64 * 1024;

/// QUIC packets that wait for quinn. One more is dropped, as the kernel would: QUIC sends again.
const QUIC_PACKETS_MAX: usize = 1024;

/// A UDP socket for two.
#[derive(Debug)]
pub(crate) struct Socket {
    io: tokio::net::UdpSocket,
    state: UdpSocketState,
    quic: Mutex<Inbox>,
}

/// QUIC packets on their way to quinn.
#[derive(Debug, Default)]
struct Inbox {
    packets: VecDeque<Packet>,
    reader: Option<Waker>,
    /// The socket failed; quinn ends with it.
    failed: Option<io::ErrorKind>,
}

#[derive(Debug)]
struct Packet {
    meta: RecvMeta,
    bytes: Box<[u8]>,
}

/// Room for what one system call brings. Made once for a node.
pub(crate) struct Buffers(Box<[u8]>);

impl Buffers {
    pub(crate) fn new() -> Self {
        Self(vec![0; BUFFERS * BUFFER_BYTES].into_boxed_slice())
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Buffers").field(&self.0.len()).finish()
    }
}

/// What one look at the socket brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Packets that are QUIC's, now in its queue.
    pub(crate) quic_packets: usize,
    /// Packets that would be QUIC's, dropped because too many waited.
    pub(crate) quic_packets_dropped: usize,
}

impl Socket {
    /// Takes over a bound socket. Must be called within a tokio runtime.
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        Ok(Self {
            state: UdpSocketState::new((&socket).into())?,
            io: tokio::net::UdpSocket::from_std(socket)?,
            quic: Mutex::default(),
        })
    }

    /// Receives what one system call brings. Sealed datagrams go to `take` as they came, with their source; QUIC's to its queue.
    /// Registers for a wake-up when there is nothing.
    pub(crate) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        mut take: impl FnMut(SocketAddr, &mut [u8]),
    ) -> Poll<io::Result<Received>> {
        let mut metas = [RecvMeta::default(); BUFFERS];
        let filled = match self.poll_buffers(cx, buffers, &mut metas) {
            Poll::Ready(Ok(filled)) => filled,
            Poll::Ready(Err(error)) => {
                let mut quic = self.quic();
                quic.failed = Some(error.kind());
                quic.wake();
                return Poll::Ready(Err(error));
            }
            Poll::Pending => return Poll::Pending,
        };
        let mut received = Received::default();
        for (meta, buffer) in metas.iter().zip(buffers.0.chunks_mut(BUFFER_BYTES)).take(filled) {
            let train = buffer.get_mut(..meta.len).unwrap_or_default();
            for packet in train.chunks_mut(meta.stride.max(1)) {
                if seal::is_sealed(packet) {
                    take(meta.addr, packet);
                } else if self.quic().push(*meta, packet) {
                    received.quic_packets += 1;
                } else {
                    received.quic_packets_dropped += 1;
                }
            }
        }
        if received.quic_packets > 0 {
            self.quic().wake();
        }
        Poll::Ready(Ok(received))
    }

    fn poll_buffers(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        metas: &mut [RecvMeta; BUFFERS],
    ) -> Poll<io::Result<usize>> {
        let mut parts = buffers.0.chunks_mut(BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; BUFFERS] =
            std::array::from_fn(|_| IoSliceMut::new(parts.next().unwrap_or_default()));
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let received =
                self.io.try_io(Interest::READABLE, || self.state.recv((&self.io).into(), &mut slices, metas));
            match received {
                Ok(filled) => return Poll::Ready(Ok(filled)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Somebody to whom we sent is not there (ICMP): not this socket's failure.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Sends packets of `packet_bytes` each, of which the last may be shorter, in one system call. False when the kernel has no
    /// room for them; other failures are its own (no route, too long), and count as lost on the way.
    pub(crate) fn send(
        &self,
        destination: SocketAddr,
        source: Option<IpAddr>,
        packets: &[u8],
        packet_bytes: usize,
    ) -> bool {
        let segment_size = (packets.len() > packet_bytes).then_some(packet_bytes);
        let transmit = Transmit { destination, ecn: None, contents: packets, segment_size, src_ip: source };
        self.try_send(&transmit).is_ok()
    }

    /// How many packets [`Socket::send`] takes at once.
    pub(crate) fn send_packets_max(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Waits until the kernel has room again.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        // A socket that failed has all the room there is; its failure comes out of receiving.
        self.io.poll_send_ready(cx).map(drop)
    }

    fn quic(&self) -> MutexGuard<'_, Inbox> {
        self.quic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    /// Queues a packet of a train. False when too many wait.
    fn push(&mut self, train: RecvMeta, packet: &[u8]) -> bool {
        let has_room = self.packets.len() < QUIC_PACKETS_MAX;
        if has_room {
            let meta = RecvMeta { len: packet.len(), stride: packet.len(), ..train };
            self.packets.push_back(Packet { meta, bytes: packet.into() });
        }
        has_room
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { socket: self, waits: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.io.try_io(Interest::WRITABLE, || self.state.send((&self.io).into(), transmit))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut quic = self.quic();
        if let Some(kind) = quic.failed {
            return Poll::Ready(Err(kind.into()));
        }
        let mut filled = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Some(packet) = quic.packets.pop_front() else { break };
            *meta = packet.meta;
            // What is longer than quinn reads is cut, as a socket would cut it.
            meta.len = buffer.len().min(packet.bytes.len());
            if let (Some(room), Some(bytes)) = (buffer.get_mut(..meta.len), packet.bytes.get(..meta.len)) {
                room.copy_from_slice(bytes);
            }
            filled += 1;
        }
        if filled > 0 {
            return Poll::Ready(Ok(filled));
        }
        quic.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// Waits for room on behalf of one of quinn's tasks.
struct Writable {
    socket: Arc<Socket>,
    waits: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>,
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = Arc::clone(&self.socket);
        let waits = self.waits.get_or_insert_with(|| Box::pin(async move { socket.io.writable().await }));
        let result = ready!(waits.as_mut().poll(cx));
        self.waits = None;
        Poll::Ready(result)
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable").finish_non_exhaustive()
    }
}
