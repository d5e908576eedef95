//! The processes of the floor: a splitter that deals turns and peers that relay them, on plain blocking sockets with
//! segmentation offload. Owns sockets and loops; frames are [`super::sealing`]'s, measuring is [`super`]'s.

use std::{
    io::{self, BufRead, IoSlice, IoSliceMut, Write},
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::{AsFd, AsRawFd},
    time::{Duration, Instant},
};

use nix::{
    cmsg_space,
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        socket::{
            ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmsg, sendmmsg,
            setsockopt, sockopt,
        },
        time::TimeSpec,
    },
};
use serde::{Deserialize, Serialize};

use super::sealing::{OVERHEAD_BYTES, Pair, sender};

/// Receive buffer asked for, as a real peer does; root gets it whatever `rmem_max` says.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Longest train that the kernel joins.
const TRAIN_BYTES_MAX: usize = 64 << 10;
/// Messages of one `sendmmsg`.
const SENDS_MAX: usize = 64;
/// Content of a chunk frame before its payload; as long as the product's datagram header at most is.
const CHUNK_HEAD_BYTES: usize = 16;

/// What the bench tells each process of the floor, one line of JSON on standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    /// This process's place: peers from 0, the splitter last.
    pub own_id: u32,
    /// Addresses of all processes by id.
    pub ports: Vec<u16>,
    /// Chunks per turn, at least 1.
    pub turn_chunks: u16,
    /// Chunks per second.
    pub chunks_per_s: f64,
    /// Payload bytes of a chunk.
    pub chunk_bytes: usize,
}

/// What a process of the floor says first.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    /// Port of its UDP socket.
    pub port: u16,
}

/// What a peer of the floor has counted, answered to each report frame; for the splitter, what it has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Chunks from the splitter and from teammates.
    pub chunks: u64,
    /// Their payload bytes.
    pub payload_bytes: u64,
    /// Chunks sent.
    pub chunks_sent: u64,
    /// Frames that did not open.
    pub refused: u64,
}

/// First byte of a frame's content.
const CHUNK: u8 = 0;
const REPORT: u8 = 1;

/// Runs one peer until it is killed.
///
/// # Errors
/// Sockets or pipes fail.
pub fn run_peer() -> io::Result<()> {
    let (mut node, plan) = Node::start()?;
    let splitter = u32::try_from(plan.ports.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let mates: Vec<u32> = (0..splitter).filter(|id| *id != plan.own_id).collect();
    let mut counts = Counts::default();
    let mut buffer = vec![0; TRAIN_BYTES_MAX];
    loop {
        let (len, frame_bytes) = node.receive(&mut buffer)?;
        let (mut reports, mut relays) = (false, false);
        for frame in buffer.get_mut(..len).unwrap_or_default().chunks_mut(frame_bytes) {
            let Some((from, content)) = node.open(frame) else {
                counts.refused += 1;
                continue;
            };
            if content.first() == Some(&REPORT) {
                reports = true;
                continue;
            }
            counts.chunks += 1;
            counts.payload_bytes += wide(content.len().saturating_sub(CHUNK_HEAD_BYTES));
            if from == splitter {
                relays = true;
                counts.chunks_sent += wide(mates.len());
                for mate in &mates {
                    node.queue(*mate, content);
                }
            }
        }
        if relays {
            node.flush()?;
        }
        if reports {
            say(&counts)?;
        }
    }
}

/// Deals turns to the peers until standard input ends; each line on it asks all processes for their counts.
///
/// # Errors
/// Sockets or pipes fail.
pub fn run_splitter() -> io::Result<()> {
    let (mut node, plan) = Node::start()?;
    let peers = plan.ports.len().saturating_sub(1).max(1);
    let turn = Duration::from_secs_f64(f64::from(plan.turn_chunks) / plan.chunks_per_s);
    let content = vec![CHUNK; CHUNK_HEAD_BYTES + plan.chunk_bytes];
    let mut counts = Counts::default();
    let mut due = Instant::now();
    for origin in (0..peers).cycle() {
        while let Some(wait) = due.checked_duration_since(Instant::now()).filter(|wait| !wait.is_zero()) {
            if !input_within(wait)? {
                continue;
            }
            let mut line = String::new();
            if io::stdin().lock().read_line(&mut line)? == 0 {
                return Ok(());
            }
            for peer in 0..peers {
                node.queue(id(peer), &[REPORT]);
            }
            node.flush()?;
            say(&counts)?;
        }
        for _ in 0..plan.turn_chunks {
            node.queue(id(origin), &content);
        }
        node.flush()?;
        counts.chunks_sent += u64::from(plan.turn_chunks);
        due += turn;
    }
    Ok(())
}

/// Whether there is something to read on standard input, or its end, before that time is over.
fn input_within(wait: Duration) -> io::Result<bool> {
    let stdin = io::stdin();
    let mut input = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    Ok(ppoll(&mut input, Some(TimeSpec::from_duration(wait)), None)? > 0)
}

/// A socket, the keys of every pair, and what waits to be sent.
struct Node {
    socket: UdpSocket,
    pairs: Vec<Pair>,
    addresses: Vec<SockaddrIn>,
    queues: Vec<Vec<u8>>,
    queued: Vec<usize>,
    headers: MultiHeaders<SockaddrIn>,
    /// Frame length of a train; 0 without segmentation offload.
    segment_bytes: u16,
}

impl Node {
    /// Binds, says where, and waits for the plan.
    fn start() -> io::Result<(Self, Plan)> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        setsockopt(&socket, sockopt::UdpGroSegment, &true)?;
        // Without root the plain option applies, up to `rmem_max`.
        if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER_BYTES).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER_BYTES)?;
        }
        say(&Hello { port: socket.local_addr()?.port() })?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        let plan: Plan = serde_json::from_str(&line)?;
        let segment = CHUNK_HEAD_BYTES + plan.chunk_bytes + OVERHEAD_BYTES;
        let segment_bytes = if plan.turn_chunks > 1 { u16::try_from(segment).unwrap_or(0) } else { 0 };
        let control = (segment_bytes > 0).then(|| cmsg_space!(u16));
        let node = Self {
            socket,
            pairs: (0..plan.ports.len()).map(|other| Pair::new(plan.own_id, id(other))).collect(),
            addresses: plan
                .ports
                .iter()
                .map(|port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, *port).into())
                .collect(),
            queues: vec![Vec::new(); plan.ports.len()],
            queued: Vec::with_capacity(plan.ports.len()),
            headers: MultiHeaders::preallocate(SENDS_MAX, control),
            segment_bytes,
        };
        Ok((node, plan))
    }

    /// Sleeps until a train is there: its length and that of each frame but the last.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, usize)> {
        let mut control = cmsg_space!(i32);
        let mut parts = [IoSliceMut::new(buffer)];
        let message =
            recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
        let frame_bytes = message.cmsgs()?.find_map(|control| {
            let ControlMessageOwned::UdpGroSegments(bytes) = control else { return None };
            usize::try_from(bytes).ok()
        });
        Ok((message.bytes, frame_bytes.unwrap_or(message.bytes).max(1)))
    }

    fn open<'a>(&mut self, frame: &'a mut [u8]) -> Option<(u32, &'a [u8])> {
        let from = sender(frame)?;
        let content = self.pairs.get_mut(usize::try_from(from).ok()?)?.open(frame)?;
        Some((from, content))
    }

    fn queue(&mut self, to: u32, content: &[u8]) {
        let Ok(to) = usize::try_from(to) else { return };
        let (Some(pair), Some(queue)) = (self.pairs.get_mut(to), self.queues.get_mut(to)) else { return };
        if queue.is_empty() {
            self.queued.push(to);
        }
        pair.seal(content, queue);
    }

    /// Sends everything queued, a train to each, in as few system calls as possible.
    fn flush(&mut self) -> io::Result<()> {
        let trains: Vec<[IoSlice<'_>; 1]> = self
            .queued
            .iter()
            .filter_map(|to| self.queues.get(*to))
            .map(|train| [IoSlice::new(train)])
            .collect();
        let addresses: Vec<Option<SockaddrIn>> =
            self.queued.iter().map(|to| self.addresses.get(*to).copied()).collect();
        let controls = [ControlMessage::UdpGsoSegments(&self.segment_bytes)];
        let controls = if self.segment_bytes > 0 { controls.as_slice() } else { &[] };
        let mut done = 0;
        while done < trains.len() {
            let trains = trains.iter().skip(done).take(SENDS_MAX);
            let addresses = addresses.get(done..).unwrap_or_default();
            let sent = sendmmsg(
                self.socket.as_raw_fd(),
                &mut self.headers,
                trains,
                addresses,
                controls,
                MsgFlags::empty(),
            );
            // A neighbour that has ended refuses; it must not stop the others.
            done += sent.map_or(1, |results| results.count().max(1));
        }
        for to in self.queued.drain(..) {
            if let Some(queue) = self.queues.get_mut(to) {
                queue.clear();
            }
        }
        Ok(())
    }
}

fn say(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn id(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
