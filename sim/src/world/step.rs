//! One event at a time: brings it to its node's machine, drains the machine into the network, and shows the oracle what the
//! machine told its owner.

use super::{Arrival, Kind, Node, WORLD_BEGIN_UNIX_US, World};
use crate::{
    links::{Dial, End, EndState, Event, NodeId, Port, Table},
    network::{Place, Uplink},
    stream::Sender,
};
use bytes::BytesMut;
use p2psp_core::{CloseCode, Input, Instant, LinkDown, LinkId, PeerEvent, SplitterEvent, Train, Wake, drain};
use p2psp_wire::{Control, Datagram, FrameDecoder, PeerId};
use std::time::Duration;

/// Wakes closer together than this are hasty ...
const HASTE: Duration = Duration::from_micros(2);
/// ... and so many of them in a row are a machine that spins.
const HASTY_WAKES_MAX: u32 = 1000;

impl World {
    pub(super) fn handle(&mut self, event: Event) {
        match event {
            Event::Train { node, link, train } => self.on_train(node, link, &train),
            Event::Control { node, link, message } => {
                if self.is_open(node, link) {
                    self.trace.add(self.now, node.0.into(), 1 << 32 | u64::from(link.0), 0);
                    let message = self.through_wire(node, *message);
                    self.input(node, Input::Control { link, message });
                }
            }
            Event::LinkDown { node, link, why } => self.on_link_down(node, link, why),
            Event::LinkReady { node, link } => {
                if self.is_open(node, link) {
                    self.input(node, Input::LinkReady { link });
                }
            }
            Event::UplinkReady { node } => {
                let (now, config) = (self.now, &self.shared.config);
                let Some(state) = self.nodes.get_mut(node.index()) else { return };
                // The pacer may have been slowed down meanwhile.
                if state.uplink.is_spent(now, config.uplink_high) {
                    let at = state.uplink.ready_at(now, config.uplink_low);
                    return self.shared.queue.push(at, Event::UplinkReady { node });
                }
                state.uplink.spent = false;
                self.input(node, Input::UplinkReady);
            }
            Event::Wake { node } => self.on_wake(node),
            Event::Dialed { dial } => self.on_dialed(*dial),
            Event::Accepted { node, link } => self.on_accepted(node, link),
            Event::DialFailed { node, peer, wrong_key } => {
                self.input(node, Input::DialFailed { peer: *peer, wrong_key });
            }
            Event::Ingest { team } => self.on_ingest(team),
        }
    }

    /// Brings an input to a machine that is still there, and carries out what the machine says to it.
    fn input(&mut self, id: NodeId, input: Input) {
        use p2psp_core::Machine as _;
        let Some(node) = self.nodes.get_mut(id.index()) else { return };
        let local = self.now + node.clock_offset;
        match &mut node.kind {
            Kind::Splitter(machine) => machine.handle_input(local, input),
            Kind::Peer { machine, .. } => machine.handle_input(local, input),
            Kind::Gone { .. } => return,
        }
        self.drain(id);
    }

    pub(super) fn drain(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id.index()) else { return };
        let (now, local) = (self.now, self.now + node.clock_offset);
        let Node { kind, table, uplink, .. } = node;
        let mut port = Port { node: id, now, table, uplink, shared: &mut self.shared };
        let wake = match kind {
            Kind::Splitter(machine) => {
                drain(&mut **machine, local, &mut port, |event| self.splitter_events.push(event))
            }
            Kind::Peer { machine, .. } => {
                drain(&mut **machine, local, &mut port, |event| self.peer_events.push(event))
            }
            Kind::Gone { .. } => None,
        };
        node.wake = wake.map(|Wake { at, timer }| Wake { at: at - node.clock_offset, timer });
        self.queue_wake(id);
        if !self.peer_events.is_empty() {
            self.on_peer_events(id);
        }
        if !self.splitter_events.is_empty() {
            self.on_splitter_events(id);
        }
    }

    /// Makes sure that a wake event comes no later than the machine asked for.
    fn queue_wake(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id.index()) else { return };
        if let Some(Wake { at, .. }) = node.wake
            && node.wake_queued.is_none_or(|queued| at < queued)
        {
            node.wake_queued = Some(at);
            self.shared.queue.push(at, Event::Wake { node: id });
        }
    }

    fn on_wake(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id.index()) else { return };
        if node.wake_queued != Some(self.now) {
            // An earlier wake took this one's place.
            return;
        }
        node.wake_queued = None;
        match node.wake {
            Some(Wake { at, timer }) if at <= self.now => {
                // A deadline that passes without effect comes back at once, for ever.
                node.hasty_wakes = if self.now.since(node.woken) < HASTE { node.hasty_wakes + 1 } else { 0 };
                node.woken = self.now;
                if node.hasty_wakes < HASTY_WAKES_MAX {
                    self.input(id, Input::Tick);
                } else {
                    self.shared.oracle.violation(self.now, id, || format!("spins on {timer:?}; stopped"));
                }
            }
            _ => self.queue_wake(id),
        }
    }

    fn on_peer_events(&mut self, id: NodeId) {
        let events = std::mem::take(&mut self.peer_events);
        for event in &events {
            self.shared.oracle.on_peer_event(self.now, id, event, &self.shared.streams);
        }
        let left = events.iter().any(|event| matches!(event, PeerEvent::Left(_)));
        self.peer_events = events;
        self.peer_events.clear();
        if left {
            self.take_down(id, LinkDown::Closed(CloseCode::Done));
        }
    }

    fn on_splitter_events(&mut self, id: NodeId) {
        for event in self.splitter_events.drain(..) {
            if let SplitterEvent::Violation { what, .. } = event {
                self.shared.oracle.on_rule_broken(self.now, id, what);
            }
        }
    }

    fn on_train(&mut self, id: NodeId, link: LinkId, train: &Train) {
        let Some(node) = self.nodes.get(id.index()) else { return };
        let Some(end) = node.table.get(link).filter(|end| end.state == EndState::Open) else { return };
        let (from, team) = (end.to, node.team);
        let from_splitter = self.teams.get(team).is_some_and(|team| team.splitter == from);
        let slot = self.shared.oracle.view(from).and_then(|view| view.slot);
        for datagram in train.iter() {
            self.trace.add(self.now, id.0.into(), from.0.into(), datagram.number().get());
            let Datagram::Chunk(chunk) = datagram else { continue };
            let sender = if from_splitter {
                Sender::Splitter
            } else if slot == Some(chunk.header().origin) {
                Sender::Origin
            } else {
                Sender::Proxy
            };
            let delay = self.shared.streams.on_delivery(self.now, team, chunk.number(), sender);
            if sender != Sender::Splitter {
                self.shared.oracle.on_received(id, delay);
            }
            if self.watched == Some(id) {
                self.watch_log.push(Arrival { at: self.now, from, number: chunk.number(), sender });
            }
        }
        self.deliveries += train.len() as u64;
        let datagrams: Vec<Datagram> =
            train.iter().map(|datagram| self.datagram_through_wire(id, datagram)).collect();
        let datagrams = self.shared.mischief.altered(self.now, from, id, datagrams);
        self.input(id, Input::Train { link, datagrams });
    }

    fn on_link_down(&mut self, id: NodeId, link: LinkId, why: LinkDown) {
        let Some(end) = self.nodes.get(id.index()).and_then(|node| node.table.get(link)) else { return };
        if end.state != EndState::Open {
            return;
        }
        let (to, to_link, idle) = (end.to, end.to_link, self.shared.config.idle_timeout);
        let other = self.nodes.get(to.index()).and_then(|node| node.table.get(to_link));
        let other = other.filter(|other| other.state != EndState::Closed);
        if let (LinkDown::TimedOut, Some(other)) = (why, other) {
            // The way may have been mended meanwhile.
            if other.silent_since.is_none_or(|since| since + idle > self.now) {
                return;
            }
            let event = Event::LinkDown { node: to, link: to_link, why };
            self.shared.queue.push(self.now + idle, event);
        }
        let Some(end) = self.nodes.get_mut(id.index()).and_then(|node| node.table.get_mut(link)) else {
            return;
        };
        end.state = EndState::Closed;
        self.trace.add(self.now, id.0.into(), 2 << 32 | u64::from(link.0), 0);
        self.shared.mischief.on_hangup(self.now, id, to);
        self.input(id, Input::LinkDown { link, why });
    }

    fn on_dialed(&mut self, dial: Dial) {
        let Dial { dialer, peer, to, started } = dial;
        if !self.is_alive(dialer) {
            return;
        }
        if !self.is_alive(to) || !self.shared.reachable(dialer, to) {
            let at = started + self.shared.config.dial_timeout;
            let event = Event::DialFailed { node: dialer, peer: Box::new(peer), wrong_key: false };
            return self.shared.queue.push(at, event);
        }
        let delay = self.shared.delay(dialer, to);
        let there = self.nodes.get(to.index()).map(|node| (node.id, node.table.next_link()));
        let here = self.nodes.get(dialer.index()).map(|node| node.table.next_link());
        let (Some((id, there)), Some(here)) = (there, here) else { return };
        if id != peer {
            return self.input(dialer, Input::DialFailed { peer, wrong_key: true });
        }
        let (out, back) = (self.shared.fault(dialer, to), self.shared.fault(to, dialer));
        self.push_end(dialer, End::new(to, there, EndState::Open, delay, out));
        self.push_end(to, End::new(dialer, here, EndState::Pending, delay, back));
        self.shared.queue.push(self.now + delay, Event::Accepted { node: to, link: there });
        self.trace.add(self.now, dialer.0.into(), 3 << 32 | u64::from(here.0), to.0.into());
        self.input(dialer, Input::LinkUp { link: here, peer, remote: to.address(), dialed: true });
    }

    fn on_accepted(&mut self, id: NodeId, link: LinkId) {
        let Some(node) = self.nodes.get_mut(id.index()) else { return };
        let Some(end) = node.table.get_mut(link).filter(|end| end.state == EndState::Pending) else { return };
        end.state = EndState::Open;
        let from = end.to;
        let Some(peer) = self.nodes.get(from.index()).map(|node| node.id) else { return };
        self.input(id, Input::LinkUp { link, peer, remote: from.address(), dialed: false });
    }

    fn on_ingest(&mut self, team: usize) {
        let Some(splitter) = self.teams.get(team).map(|team| team.splitter) else { return };
        let Some(stream) = self.shared.streams.get_mut(team).filter(|stream| !stream.ended) else { return };
        let (number, spec) = (stream.records.len() as u64, stream.spec);
        stream.records.push(crate::ChunkRecord { ingested: self.now, ..Default::default() });
        let payload = self.shared.streams.payload(team, number);
        let Some(node) = self.nodes.get_mut(splitter.index()) else { return };
        let Kind::Splitter(machine) = &mut node.kind else { return };
        let random_access = p2psp_wire::ChunkNumber::new(number).is_ok_and(|n| spec.is_random_access(n));
        let taken = machine.ingest(self.now + node.clock_offset, payload, random_access, 0);
        if taken.as_ref().map(|number| number.get()) != Ok(number) {
            self.shared.oracle.violation(self.now, splitter, || format!("takes chunk {number} as {taken:?}"));
        }
        // Counted from the start, so that no rounding adds up.
        let next = spec.start + spec.chunk_interval * u32::try_from(number + 1).unwrap_or(u32::MAX);
        self.shared.queue.push(next, Event::Ingest { team });
        self.drain(splitter);
    }

    /// Takes a node off the network. With [`LinkDown::TimedOut`] the others notice by silence, else they are told.
    pub(super) fn take_down(&mut self, id: NodeId, why: LinkDown) {
        let (now, idle) = (self.now, self.shared.config.idle_timeout);
        let Some(node) = self.nodes.get_mut(id.index()) else { return };
        let Kind::Peer { machine, .. } = &node.kind else { return };
        let (stats, delays) = (Box::new(machine.stats()), Box::new(machine.delays().clone()));
        node.kind = Kind::Gone { stats, delays };
        node.wake = None;
        for (_, end) in node.table.iter_mut().filter(|(_, end)| end.state != EndState::Closed) {
            end.state = EndState::Closed;
            let after = if why == LinkDown::TimedOut { idle } else { end.delay };
            self.shared.queue.push(now + after, Event::LinkDown { node: end.to, link: end.to_link, why });
        }
        self.shared.oracle.on_down(id);
    }

    pub(super) fn add_node(
        &mut self,
        kind: Kind,
        id: PeerId,
        team: usize,
        uplink: Option<u64>,
        clock_offset: Duration,
    ) -> NodeId {
        let node = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let splitter = matches!(kind, Kind::Splitter(_));
        let place = Place { x: self.rng.unit(), y: self.rng.unit(), splitter };
        self.shared.places.push(place);
        self.shared.oracle.add_node(self.now, node, id, (!splitter).then_some(team));
        self.nodes.push(Node {
            kind,
            team,
            id,
            table: Table::default(),
            uplink: Uplink::new(uplink),
            clock_offset,
            wake: None,
            wake_queued: None,
            woken: Instant::ORIGIN,
            hasty_wakes: 0,
        });
        node
    }

    pub(super) fn key(&mut self) -> [u8; 32] {
        let mut key = [0; 32];
        for part in key.chunks_exact_mut(8) {
            part.copy_from_slice(&self.rng.next().to_le_bytes());
        }
        key
    }

    pub(super) fn unix_us(&self) -> u64 {
        WORLD_BEGIN_UNIX_US + self.now.as_micros()
    }

    fn push_end(&mut self, id: NodeId, end: End) {
        if let Some(node) = self.nodes.get_mut(id.index()) {
            node.table.push(end);
        }
    }

    fn is_open(&self, id: NodeId, link: LinkId) -> bool {
        let end = self.nodes.get(id.index()).and_then(|node| node.table.get(link));
        end.is_some_and(|end| end.state == EndState::Open)
    }

    /// Whether this message is one of those that take the way through the codec.
    fn takes_wire(&mut self) -> bool {
        let every = self.shared.config.through_wire;
        self.messages += u64::from(every != 0);
        every != 0 && self.messages.is_multiple_of(every)
    }

    fn through_wire(&mut self, id: NodeId, message: Control) -> Control {
        if !self.takes_wire() {
            return message;
        }
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes);
        let mut decoder = FrameDecoder::new();
        let decoded = decoder.push(&bytes).and_then(|()| decoder.poll());
        if decoded.as_ref() != Ok(&Some(message.clone())) {
            self.shared
                .oracle
                .violation(self.now, id, || format!("{message:?} comes off the wire as {decoded:?}"));
        }
        decoded.ok().flatten().unwrap_or(message)
    }

    fn datagram_through_wire(&mut self, id: NodeId, datagram: &Datagram) -> Datagram {
        if !self.takes_wire() {
            return datagram.clone();
        }
        let decoded = Datagram::decode(datagram.bytes().clone());
        if decoded.as_ref() != Ok(datagram) {
            self.shared
                .oracle
                .violation(self.now, id, || format!("{datagram:?} comes off the wire as {decoded:?}"));
        }
        decoded.unwrap_or_else(|_| datagram.clone())
    }
}
