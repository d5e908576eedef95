//! The half of the transport that moves media: trains out as sealed datagrams, sealed datagrams in as trains, and whether the
//! other side of a link is still there. Knows nothing of QUIC but that its packets come over the same socket.

use super::{SocketLost, TrainSent, Transport, link, link::Link};
use crate::{
    seal::{self, OVERHEAD_BYTES, Opened, Refused},
    socket::Socket,
    stats::Counters,
};
use bytes::Bytes;
use p2psp_core::{CloseCode, Input, Instant, LinkId};
use p2psp_wire::{Control, Datagram};
use std::task::{Context, Poll};

/// What a sealed datagram costs on the wire beyond its UDP payload: UDP (8) and IPv6 (40).
const PACKET_OVERHEAD_BYTES: usize = 8 + 40;

/// Looks at the socket before the machine gets what they brought, so that the network does not keep it from its timers.
const RECEIVES_PER_TURN: usize = 8;

/// Most datagrams told to the machine as one train: whatever a fast sender does, the other links get their turn.
const TRAIN_DATAGRAMS_MAX: usize = 64;

/// Most bytes of one system call; the kernel takes 64 KiB, headers included.
const SEND_BYTES_MAX: usize = 60 * 1024;

impl Transport {
    /// Sends datagrams back to back, in as few system calls as their lengths allow: a run is of one length, but for its last.
    /// What finds no room in the kernel is dropped and counted: a chunk that waits is stale.
    pub(crate) fn send_train(&mut self, now: Instant, id: LinkId, datagrams: &[Datagram]) -> TrainSent {
        let counters = &self.stats.counters;
        let Some(link) = self.links.get_mut(&id) else {
            counters.chunks_dropped_gone.add(datagrams.len());
            return TrainSent::default();
        };
        link.spoke = now;
        let run_max = self.quic.socket.send_packets_max().max(1);
        let mut left = datagrams;
        let (mut sent, mut sent_bytes, mut wire_bytes) = (0_usize, 0_usize, 0_usize);
        while let Some(first) = left.first() {
            let run = run(left, run_max);
            self.packets.clear();
            for datagram in left.iter().take(run) {
                link.sealer.seal(datagram.bytes(), &mut self.packets);
            }
            let packet_bytes = first.bytes().len() + OVERHEAD_BYTES;
            if !self.quic.socket.send(link.remote, link.local, &self.packets, packet_bytes) {
                break;
            }
            left = left.get(run..).unwrap_or_default();
            sent += run;
            sent_bytes += self.packets.len() - run * OVERHEAD_BYTES;
            wire_bytes += self.packets.len() + run * PACKET_OVERHEAD_BYTES;
        }
        counters.trains_out.add(usize::from(sent > 0));
        counters.chunks_out.add(sent);
        counters.chunk_bytes_out.add(sent_bytes);
        counters.sealed_packets_out.add(sent);
        counters.sealed_bytes_out.add(sent_bytes + sent * OVERHEAD_BYTES);
        counters.chunks_dropped_full.add(left.len());
        let blocked = !left.is_empty();
        if blocked && self.blocked.insert(id) {
            counters.link_blocks.add_one();
        }
        TrainSent { wire_bytes: u64::try_from(wire_bytes).unwrap_or(u64::MAX), blocked }
    }

    /// Sends a note (R-NOTE-1). What finds no room is dropped: the next one says as much.
    pub(super) fn send_note(&mut self, now: Instant, id: LinkId, note: &[u8]) {
        if let Some(link) = self.links.get_mut(&id) {
            send_alone(now, link, note, &self.quic.socket, &mut self.packets, &self.stats.counters);
        }
    }

    /// Receives what is there: sealed datagrams become inputs that wait in `pending`, QUIC gets its packets. Says whether more may be
    /// there, and whether QUIC got anything.
    pub(super) fn receive(&mut self, now: Instant, cx: &mut Context<'_>) -> Result<(bool, bool), SocketLost> {
        let mut quic_has_more = false;
        for _ in 0..RECEIVES_PER_TURN {
            let Self { quic, buffers, links, marks, pending, stats, .. } = self;
            let counters = &stats.counters;
            let received = quic.socket.poll_receive(cx, buffers, |from, packet| {
                let id = seal::mark(packet).and_then(|mark| marks.get(&mark));
                let Some((id, link)) = id.and_then(|id| Some((*id, links.get_mut(id)?))) else {
                    counters.sealed_unknown.add_one();
                    return;
                };
                let bytes = packet.len();
                let Opened { datagram, is_newest } = match link.opener.open(packet) {
                    Ok(opened) => opened,
                    Err(Refused::Replayed) => return counters.sealed_replayed.add_one(),
                    Err(Refused::Size | Refused::Forged) => return counters.sealed_forged.add_one(),
                };
                counters.sealed_packets_in.add_one();
                counters.sealed_bytes_in.add(bytes);
                link.heard = now;
                if is_newest && link.remote != from {
                    tracing::debug!(link = id.0, %from, "the other side has moved to another address");
                    link.remote = from;
                }
                if datagram.is_empty() {
                    return;
                }
                let datagram = Bytes::copy_from_slice(datagram);
                let came = match Control::from_note(&datagram) {
                    Some(note) => note.map(|message| {
                        counters.control_in.add_one();
                        pending.push(Input::Control { link: id, message });
                    }),
                    None => Datagram::decode(datagram).map(|datagram| {
                        counters.chunks_in.add_one();
                        counters.chunk_bytes_in.add(bytes - OVERHEAD_BYTES);
                        if append(pending, id, datagram) {
                            counters.trains_in.add_one();
                        }
                    }),
                };
                if let Err(error) = came {
                    counters.malformed_datagrams.add_one();
                    pending.push(Input::Malformed { link: id, error, control: false });
                }
            });
            match received {
                Poll::Ready(Ok(received)) => {
                    quic_has_more |= received.quic_packets > 0;
                    counters.quic_packets_dropped.add(received.quic_packets_dropped);
                }
                Poll::Ready(Err(error)) => {
                    tracing::error!(%error, "the UDP socket failed");
                    return Err(SocketLost);
                }
                Poll::Pending => return Ok((false, quic_has_more)),
            }
        }
        Ok((true, quic_has_more))
    }

    /// Hands over what waits in `pending`, of links that are still up.
    pub(super) fn hand_over(&mut self, inputs: &mut Vec<Input>) {
        inputs.append(&mut self.pending);
    }

    /// Says which blocked links may go on: all, once the kernel has room.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>, inputs: &mut Vec<Input>) {
        if !self.blocked.is_empty() && self.quic.socket.poll_room(cx).is_ready() {
            let ready = std::mem::take(&mut self.blocked);
            inputs.extend(ready.into_iter().map(|link| Input::LinkReady { link }));
        }
    }

    /// When [`Transport::watch`] is due.
    pub(crate) const fn watch_at(&self) -> Instant {
        self.watch_at
    }

    /// Looks after silence, when it is time: a link on which this side said nothing gets a keep-alive, one on which nothing came
    /// is closed.
    pub(crate) fn watch(&mut self, now: Instant) {
        if now < self.watch_at {
            return;
        }
        // Often enough that neither comes late by more than half of the shorter of the two times.
        self.watch_at = now + self.keep_alive / 2;
        let counters = &self.stats.counters;
        for link in self.links.values_mut() {
            if link.connection.close_reason().is_some() {
                continue;
            }
            if now.since(link.silent_since(now)) >= self.idle_timeout {
                link.timed_out = true;
                link::close(&link.connection, CloseCode::Timeout);
            } else if now.since(link.spoke) >= self.keep_alive {
                send_alone(now, link, &[], &self.quic.socket, &mut self.packets, counters);
            }
        }
    }
}

/// Sends one datagram that no train carries. Without room it is dropped: a note is told again, and the other side waits for several
/// keep-alives.
fn send_alone(
    now: Instant,
    link: &mut Link,
    datagram: &[u8],
    socket: &Socket,
    packets: &mut Vec<u8>,
    counters: &Counters,
) {
    link.spoke = now;
    packets.clear();
    link.sealer.seal(datagram, packets);
    if socket.send(link.remote, link.local, packets, packets.len()) {
        counters.sealed_packets_out.add_one();
        counters.sealed_bytes_out.add(packets.len());
    }
}

/// How many of these datagrams go out in one system call.
fn run(datagrams: &[Datagram], packets_max: usize) -> usize {
    let Some(longest) = datagrams.first().map(|first| first.bytes().len()) else { return 0 };
    let packets_max = packets_max.min(SEND_BYTES_MAX / (longest + OVERHEAD_BYTES));
    let same =
        datagrams.iter().take(packets_max).take_while(|datagram| datagram.bytes().len() == longest).count();
    // One shorter datagram may end the run.
    let tail = datagrams.get(same).filter(|_| same < packets_max);
    same + usize::from(tail.is_some_and(|tail| tail.bytes().len() < longest))
}

/// Adds a datagram to the train that is being received, or begins one. Says whether it began one.
fn append(pending: &mut Vec<Input>, id: LinkId, datagram: Datagram) -> bool {
    if let Some(Input::Train { link, datagrams }) = pending.last_mut()
        && *link == id
        && datagrams.len() < TRAIN_DATAGRAMS_MAX
    {
        datagrams.push(datagram);
        return false;
    }
    pending.push(Input::Train { link: id, datagrams: vec![datagram] });
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2psp_wire::{Chunk, ChunkHeader, ChunkNumber, Slot};

    fn datagrams(payloads: &[usize]) -> Vec<Datagram> {
        payloads
            .iter()
            .map(|bytes| {
                let header = ChunkHeader {
                    number: ChunkNumber::new(1).unwrap(),
                    origin: Slot::new(7).unwrap(),
                    position: 0,
                    header_version: 1,
                    random_access: false,
                    time_us: 42,
                };
                Datagram::Chunk(Chunk::new(header, &vec![1; *bytes]).unwrap())
            })
            .collect()
    }

    /// A run is of one length, may end with something shorter, and never has something longer or more than allowed.
    #[test]
    fn runs_are_what_the_kernel_takes() {
        for (payloads, expected) in [
            (&[100, 100, 100][..], 3),
            (&[100, 100, 40, 100], 3),
            (&[100, 101], 1),
            (&[100, 40, 40], 2),
            (&[100; 20], 16),
            (&[100], 1),
        ] {
            assert_eq!(run(&datagrams(payloads), 16), expected, "{payloads:?}");
        }
        assert_eq!(run(&datagrams(&[100, 40]), 1), 1, "without segmentation offload");
        let longest = datagrams(&[1168; 100]);
        assert!(run(&longest, 1000) * (longest[0].bytes().len() + OVERHEAD_BYTES) <= SEND_BYTES_MAX);
    }
}
