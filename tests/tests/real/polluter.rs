//! A peer that alters what it relays: the product's own node and machine, with a hand on what the machine says. It exists in this test
//! only, in a thread; to its teammates it is one peer among others.

use p2psp_core::{
    Input, Instant as MachineInstant, LeftReason, Machine, Output, Peer, PeerConfig, PeerEvent, Train,
};
use p2psp_net::{Identity, Node, NodeConfig, WAKE_GRID};
use p2psp_tests::team::Splitter;
use p2psp_wire::{ChannelLink, Chunk, Datagram};
use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// What the polluter tells the test.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Told {
    /// It has altered its first chunk.
    Begun(Instant),
    /// It is out.
    Left(LeftReason, Instant),
}

/// Joins the team of `splitter` from a thread of its own, and alters every chunk that it relays from number `from` on.
pub(crate) fn join(splitter: &Splitter, from: u64) -> mpsc::Receiver<Told> {
    let (tell, told) = mpsc::channel();
    let link: ChannelLink = splitter.link.parse().unwrap();
    let splitter = splitter.listen;
    thread::spawn(move || {
        let (left, has_left) = tokio::sync::oneshot::channel();
        let mut left = Some(left);
        p2psp_net::runtime(WAKE_GRID).unwrap().block_on(async {
            let node =
                Node::bind(NodeConfig::new("127.0.0.1:0".parse().unwrap(), Identity::generate())).unwrap();
            let me = node.peer_id();
            let mut config = PeerConfig::new(link.channel, vec![splitter]);
            config.candidates = vec![node.local_addr()];
            let begun = tell.clone();
            let (handle, driver) = node.start(
                move |now, clock| {
                    config.origin_unix_us = clock.origin_unix_us();
                    Polluter { peer: Peer::new(config, me, 1, now), from, begun: Some(begun) }
                },
                move |event| {
                    if let PeerEvent::Left(reason) = event {
                        // The test may have failed already.
                        tell.send(Told::Left(reason, Instant::now())).ok();
                        left.take().map(|left| left.send(()));
                    }
                },
            );
            has_left.await.ok();
            handle.shutdown(Duration::from_secs(1)).await;
            driver.await.unwrap();
        });
    });
    told
}

struct Polluter {
    peer: Peer,
    from: u64,
    /// Until it has begun.
    begun: Option<mpsc::Sender<Told>>,
}

impl Machine for Polluter {
    type Event = PeerEvent;

    fn handle_input(&mut self, now: MachineInstant, input: Input) {
        self.peer.handle_input(now, input);
    }

    fn poll_output(&mut self, now: MachineInstant) -> Output<PeerEvent> {
        let output = self.peer.poll_output(now);
        if let Output::Train { link, datagrams } = output {
            return Output::Train { link, datagrams: self.altered(&datagrams) };
        }
        output
    }
}

impl Polluter {
    fn altered(&mut self, train: &Train) -> Train {
        train.iter().map(|datagram| self.alter(datagram)).collect()
    }

    fn alter(&mut self, datagram: &Datagram) -> Datagram {
        let Datagram::Chunk(chunk) = datagram else { return datagram.clone() };
        if chunk.number().get() < self.from {
            return datagram.clone();
        }
        if let Some(begun) = self.begun.take() {
            begun.send(Told::Begun(Instant::now())).ok();
        }
        let mut payload = chunk.payload().to_vec();
        payload[0] ^= 0xFF;
        Datagram::Chunk(Chunk::new(*chunk.header(), &payload).unwrap())
    }
}
