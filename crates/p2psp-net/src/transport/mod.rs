//! The network as the driver sees it: trains and control messages out, [`Input`]s in. Handshakes and control streams are quinn's,
//! trains are sealed datagrams beside it (`trains`), and nothing outside this module and `quic` knows it. Owns the links' table
//! and their limits; the uplink's rate is the pacer's.

mod connect;
mod control;
mod link;
mod trains;

use crate::{config::NodeConfig, quic::Quic, seal::Mark, socket::Buffers, stats::Stats, tls};
use connect::Failure;
use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered, SelectAll, unfold},
};
use link::Link;
use p2psp_core::{CloseCode, Input, Instant, LinkDown, LinkId};
use p2psp_wire::{Control, PeerId};
use quinn::{Connection, ConnectionError, Incoming};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// Handshakes accepted at a time from which on an address must prove itself first (QUIC Retry): one round trip more for those
/// who join in a crowd, nothing to gain for who forges addresses.
const HALF_OPEN_UNPROVEN_MAX: usize = 32;

/// Results taken from one kind of source before the machine gets them, so that no source starves the others.
const TURN_BUDGET: usize = 64;

/// How long a link that is hung up may take to send what is queued on it.
pub(crate) const FLUSH_GRACE: Duration = Duration::from_millis(500);

/// The socket is gone; its cause is in the log.
#[derive(Debug)]
pub(crate) struct SocketLost;

/// What became of a train.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TrainSent {
    /// Bytes that go out for it, every header included.
    pub(crate) wire_bytes: u64,
    /// The link takes no more now.
    pub(crate) blocked: bool,
}

/// Links over one QUIC endpoint.
pub(crate) struct Transport {
    quic: Quic,
    links_max: usize,
    handshake_timeout: Duration,
    stats: Arc<Stats>,
    next_link: u32,
    keep_alive: Duration,
    idle_timeout: Duration,
    links: BTreeMap<LinkId, Link>,
    /// Whose sealed datagrams begin so.
    marks: BTreeMap<Mark, LinkId>,
    dialing: BTreeSet<PeerId>,
    blocked: BTreeSet<LinkId>,
    /// Answers that were known at once; told with the next poll. At most one per output of the machine.
    early: Vec<Input>,
    incoming: BoxStream<'static, Incoming>,
    handshakes: FuturesUnordered<BoxFuture<'static, Result<Connection, Failure>>>,
    dials: FuturesUnordered<BoxFuture<'static, (PeerId, Result<Connection, Failure>)>>,
    controls: SelectAll<BoxStream<'static, (LinkId, control::Reading)>>,
    writers: FuturesUnordered<BoxFuture<'static, ()>>,
    closing: FuturesUnordered<BoxFuture<'static, LinkId>>,
    buffers: Buffers,
    /// Packets on their way to the socket; here to keep its room.
    packets: Vec<u8>,
    /// What came sealed and has not been handed over.
    pending: Vec<Input>,
    /// What is pending waits for what QUIC got with it.
    is_held: bool,
    watch_at: Instant,
}

impl Transport {
    pub(crate) fn new(now: Instant, quic: Quic, config: &NodeConfig, stats: Arc<Stats>) -> Self {
        let accepting = quic.endpoint.clone();
        let incoming = unfold(accepting, |endpoint| async move {
            let incoming = endpoint.accept().await?;
            Some((incoming, endpoint))
        });
        Self {
            quic,
            links_max: config.links_max,
            handshake_timeout: config.handshake_timeout,
            stats,
            next_link: 0,
            keep_alive: config.keep_alive,
            idle_timeout: config.idle_timeout,
            links: BTreeMap::new(),
            marks: BTreeMap::new(),
            dialing: BTreeSet::new(),
            blocked: BTreeSet::new(),
            early: Vec::new(),
            incoming: incoming.boxed(),
            handshakes: FuturesUnordered::new(),
            dials: FuturesUnordered::new(),
            controls: SelectAll::new(),
            writers: FuturesUnordered::new(),
            closing: FuturesUnordered::new(),
            buffers: Buffers::new(),
            packets: Vec::new(),
            pending: Vec::new(),
            is_held: false,
            watch_at: now,
        }
    }

    /// Collects what happened: links and control messages before trains. Registers for a wake-up where nothing is left.
    ///
    /// Says whether more may be there at once.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        inputs: &mut Vec<Input>,
    ) -> Result<bool, SocketLost> {
        inputs.append(&mut self.early);
        let (mut more, quic_has_more) = self.receive(now, cx)?;
        more |= self.poll_handshakes(now, cx, inputs)?;
        more |= self.poll_controls(cx, inputs);
        // A train is not told before the message that was sent before it: quinn's tasks get one turn for theirs. Not two in a
        // row, or a flood of QUIC packets would hold up the stream.
        self.is_held = quic_has_more && !self.is_held;
        if self.is_held {
            return Ok(true);
        }
        self.hand_over(inputs);
        self.poll_ready(cx, inputs);
        Ok(more)
    }

    /// Queues a control message, or sends it as a note. A link whose queue overflows is closed: its other side does not read.
    pub(crate) fn send_control(&mut self, now: Instant, id: LinkId, message: &Control) {
        let Some(link) = self.links.get_mut(&id) else { return };
        self.stats.counters.control_out.add_one();
        if let Some(note) = message.to_note() {
            return self.send_note(now, id, &note);
        }
        if !link.control.send(message) && link.connection.close_reason().is_none() {
            self.stats.counters.control_overflows.add_one();
            tracing::info!(link = id.0, "closed a link whose other side does not read its control stream");
            link::close(&link.connection, CloseCode::Violation);
        }
    }

    /// Starts to dial. A second dial to the same peer joins the first.
    pub(crate) fn dial(&mut self, peer: PeerId, addresses: &[SocketAddr]) {
        if self.dialing.contains(&peer) {
            return;
        }
        self.stats.counters.dials.add_one();
        if self.open_links() >= self.links_max {
            self.stats.counters.dials_failed.add_one();
            tracing::warn!(peer = %peer.short(), links_max = self.links_max, "did not dial: this node has no room for another link");
            self.early.push(Input::DialFailed { peer, wrong_key: false });
            return;
        }
        self.dialing.insert(peer);
        let dial = connect::dial(
            self.quic.endpoint.clone(),
            self.quic.client.clone(),
            peer,
            addresses.to_vec(),
            self.handshake_timeout,
        );
        self.dials.push(dial.map(move |result| (peer, result)).boxed());
    }

    /// Closes a link after what was sent on its control stream has gone out. The machine hears no more of it.
    pub(crate) fn hangup(&mut self, id: LinkId, code: CloseCode) {
        self.hangup_within(id, code, FLUSH_GRACE);
    }

    /// Closes all links; [`Transport::poll_closed`] says when that is done.
    pub(crate) fn hangup_all(&mut self, grace: Duration) {
        self.quic.endpoint.set_server_config(None);
        self.dials.clear();
        self.handshakes.clear();
        while let Some((&id, _)) = self.links.first_key_value() {
            self.hangup_within(id, CloseCode::Done, grace);
        }
    }

    /// Waits for the closing links.
    pub(crate) fn poll_closed(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        // What still comes on a closing link is nobody's, but QUIC needs its packets, and its control stream's end must be seen.
        while self.receive(now, cx).is_ok_and(|(more, _)| more) {}
        self.pending.clear();
        let mut ignored = Vec::new();
        while self.poll_controls(cx, &mut ignored) {
            ignored.clear();
        }
        if self.closing.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Links in any state, against `links_max`.
    fn open_links(&self) -> usize {
        self.links.len() + self.dialing.len() + self.handshakes.len() + self.closing.len()
    }

    fn hangup_within(&mut self, id: LinkId, code: CloseCode, grace: Duration) {
        let Some(link) = self.take(id) else { return };
        self.closing.push(link.hang_up(id, code, grace).boxed());
    }

    fn poll_handshakes(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        inputs: &mut Vec<Input>,
    ) -> Result<bool, SocketLost> {
        for _ in 0..TURN_BUDGET {
            if let Poll::Ready(Some((peer, result))) = self.dials.poll_next_unpin(cx) {
                self.dialing.remove(&peer);
                match result {
                    Ok(connection) => self.link_up(now, connection, true, inputs),
                    Err(failure) => {
                        failure.count(&self.stats.counters);
                        failure.log_dial(peer);
                        self.stats.counters.dials_failed.add_one();
                        let wrong_key = failure == Failure::WrongKey;
                        inputs.push(Input::DialFailed { peer, wrong_key });
                    }
                }
            } else if let Poll::Ready(Some(result)) = self.handshakes.poll_next_unpin(cx) {
                match result {
                    Ok(connection) => self.link_up(now, connection, false, inputs),
                    Err(failure) => {
                        failure.count(&self.stats.counters);
                        tracing::debug!(?failure, "an accepted handshake failed");
                    }
                }
            } else {
                match self.incoming.poll_next_unpin(cx) {
                    Poll::Ready(Some(incoming)) => self.accept(incoming),
                    Poll::Ready(None) => return Err(SocketLost),
                    Poll::Pending => return Ok(false),
                }
            }
        }
        Ok(true)
    }

    fn accept(&mut self, incoming: Incoming) {
        let counters = &self.stats.counters;
        if self.open_links() >= self.links_max {
            counters.incoming_refused.add_one();
            incoming.refuse();
            return;
        }
        if self.handshakes.len() >= HALF_OPEN_UNPROVEN_MAX && !incoming.remote_address_validated() {
            counters.incoming_retried.add_one();
            // An address that is not proven may always be asked to (quinn's own contract).
            if let Err(error) = incoming.retry() {
                error.into_incoming().refuse();
            }
            return;
        }
        match incoming.accept() {
            Ok(connecting) => {
                self.handshakes.push(connect::within(connecting, self.handshake_timeout).boxed());
            }
            Err(error) => Failure::from(&error).count(counters),
        }
    }

    fn link_up(&mut self, now: Instant, connection: Connection, dialed: bool, inputs: &mut Vec<Input>) {
        let (control, reader, writer) = control::open(connection.clone(), dialed);
        let link = Link::new(now, connection.clone(), control, dialed);
        let (Some(peer), Some(link)) = (tls::proven_peer(connection.peer_identity()), link) else {
            // Both sides prove a key, or they do not speak this protocol.
            self.stats.counters.handshakes_broken.add_one();
            link::close(&connection, CloseCode::Violation);
            return;
        };
        let id = LinkId(self.next_link);
        let Some(next) = self.next_link.checked_add(1) else {
            self.stats.counters.incoming_refused.add_one();
            link::close(&connection, CloseCode::Refused);
            return;
        };
        self.next_link = next;
        self.stats.counters.handshakes_ok.add_one();
        self.stats.link_up(id, connection.clone());
        let remote = connection.remote_address();
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        self.controls.push(reader.map(move |reading| (id, reading)).boxed());
        self.writers.push(writer.boxed());
        self.marks.insert(link.opener.mark(), id);
        self.links.insert(id, link);
        tracing::debug!(link = id.0, peer = %peer.short(), %remote, dialed, "link up");
        inputs.push(Input::LinkUp { link: id, peer, remote, dialed });
    }

    fn poll_controls(&mut self, cx: &mut Context<'_>, inputs: &mut Vec<Input>) -> bool {
        while let Poll::Ready(Some(())) = self.writers.poll_next_unpin(cx) {}
        while let Poll::Ready(Some(id)) = self.closing.poll_next_unpin(cx) {
            self.stats.link_gone(id);
        }
        for _ in 0..TURN_BUDGET {
            let Poll::Ready(Some((link, reading))) = self.controls.poll_next_unpin(cx) else { return false };
            match reading {
                control::Reading::Messages(messages) => {
                    self.stats.counters.control_in.add(messages.len());
                    if self.links.contains_key(&link) {
                        inputs.extend(messages.into_iter().map(|message| Input::Control { link, message }));
                    }
                }
                control::Reading::Malformed(error) => {
                    self.stats.counters.malformed_controls.add_one();
                    if self.links.contains_key(&link) {
                        inputs.push(Input::Malformed { link, error, control: true });
                    }
                }
                control::Reading::End => self.link_down(link, inputs),
            }
        }
        true
    }

    /// A link's control stream ends with its connection. What came sealed before that is told first.
    fn link_down(&mut self, id: LinkId, inputs: &mut Vec<Input>) {
        if !self.links.contains_key(&id) {
            return;
        }
        self.hand_over(inputs);
        let Some(link) = self.take(id) else { return };
        let why = match link.connection.close_reason() {
            _ if link.timed_out => LinkDown::TimedOut,
            Some(ConnectionError::ApplicationClosed(close)) => {
                LinkDown::Closed(CloseCode::from_wire(close.error_code.into_inner()))
            }
            Some(ConnectionError::TimedOut) => LinkDown::TimedOut,
            Some(
                ConnectionError::VersionMismatch
                | ConnectionError::TransportError(_)
                | ConnectionError::ConnectionClosed(_)
                | ConnectionError::Reset
                | ConnectionError::LocallyClosed
                | ConnectionError::CidsExhausted,
            )
            | None => LinkDown::Transport,
        };
        tracing::debug!(link = id.0, ?why, cause = ?link.connection.close_reason(), "link down");
        self.stats.link_gone(id);
        self.stats.counters.links_lost.add_one();
        inputs.push(Input::LinkDown { link: id, why });
    }

    /// Takes a link out of all tables. What of its datagrams has not been handed over is nobody's any more.
    fn take(&mut self, id: LinkId) -> Option<Link> {
        let link = self.links.remove(&id)?;
        self.marks.remove(&link.opener.mark());
        self.blocked.remove(&id);
        self.pending.retain(|input| {
            !matches!(
                input,
                Input::Train { link, .. } | Input::Control { link, .. } | Input::Malformed { link, .. }
                    if *link == id
            )
        });
        Some(link)
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.quic.endpoint.close(CloseCode::Done.to_wire().into(), b"");
        self.stats.all_gone();
        self.quic.runtime.abort_all();
    }
}
