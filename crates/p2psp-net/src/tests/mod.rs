//! Two and more nodes on real loopback sockets, each driving a script instead of a protocol machine. Every wait is for a
//! condition, with a deadline that only a broken build reaches.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of input among all")]

mod attacker;
mod exchange;
mod hostile;
mod life;
mod limits;

use crate::{Driver, Handle, Identity, NetStats, Node, NodeConfig};
use p2psp_core::{Input, Instant, LinkId, Machine, Output, Timer, Train, Wake};
use p2psp_wire::{Chunk, ChunkHeader, ChunkNumber, Control, Datagram, PeerId, Slot};
use std::{collections::VecDeque, future::Future, net::SocketAddr, time::Duration};
use tokio::{
    sync::mpsc,
    time::{timeout, timeout_at},
};

/// Longer than anything here takes on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// A machine without a mind: it shows its owner every input, and does what the owner says.
#[derive(Debug, Default)]
struct Script {
    outputs: VecDeque<Output<Input>>,
    /// A train that goes to a link with each tick, how often still, and at what distance.
    stream: Option<(LinkId, Train, u32, Duration)>,
    wake: Option<Instant>,
}

impl Script {
    fn say(&mut self, output: Output<Input>) {
        self.outputs.push_back(output);
    }
}

impl Machine for Script {
    type Event = Input;

    fn handle_input(&mut self, now: Instant, input: Input) {
        if matches!(input, Input::Tick)
            && self.wake.is_some_and(|at| at <= now)
            && let Some((link, datagrams, left, distance)) = &mut self.stream
        {
            self.outputs.push_back(Output::Train { link: *link, datagrams: datagrams.clone() });
            *left -= 1;
            self.wake = (*left > 0).then(|| now + *distance);
        }
        self.outputs.push_back(Output::Event(input));
    }

    fn poll_output(&mut self, _now: Instant) -> Output<Input> {
        let wake = self.wake.map(|at| Wake { at, timer: Timer::Turn });
        self.outputs.pop_front().unwrap_or(Output::Wait(wake))
    }
}

/// A running node and what its machine saw.
struct TestNode {
    handle: Handle<Script>,
    driver: Driver,
    addr: SocketAddr,
    peer: PeerId,
    seen: mpsc::Receiver<Input>,
}

fn config() -> NodeConfig {
    NodeConfig::new("127.0.0.1:0".parse().unwrap(), Identity::generate())
}

fn start(config: NodeConfig) -> TestNode {
    let node = Node::bind(config).unwrap();
    let (addr, peer) = (node.local_addr(), node.peer_id());
    let (show, seen) = mpsc::channel(100_000);
    let (handle, driver) = node.start(|_, _| Script::default(), move |input| show.try_send(input).unwrap());
    TestNode { handle, driver, addr, peer, seen }
}

impl TestNode {
    async fn say(&self, output: Output<Input>) {
        self.handle.call(move |script, _| script.say(output)).await.unwrap();
    }

    async fn dial(&self, other: &Self) {
        self.say(Output::Dial { peer: other.peer, addresses: vec![other.addr] }).await;
    }

    /// The first input from now on that `find` takes; those before it are passed over.
    async fn expect<T>(&mut self, what: &str, mut find: impl FnMut(Input) -> Option<T>) -> T {
        let mut passed = Vec::new();
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            match timeout_at(deadline, self.seen.recv()).await {
                Ok(Some(input)) => {
                    passed.push(format!("{input:?}").chars().take(200).collect::<String>());
                    if let Some(found) = find(input) {
                        return found;
                    }
                }
                Ok(None) => panic!("the node ended before {what}; it saw {passed:#?}"),
                Err(_) => panic!("no {what}; {:#?} {passed:#?}", self.stats()),
            }
        }
    }

    async fn expect_up(&mut self) -> (LinkId, PeerId) {
        let find =
            |input| if let Input::LinkUp { link, peer, .. } = input { Some((link, peer)) } else { None };
        self.expect("link", find).await
    }

    /// The next `count` chunks from anywhere, as they come.
    async fn expect_chunks(&mut self, count: usize) -> Vec<Datagram> {
        let mut got = Vec::new();
        while got.len() < count {
            let find =
                |input| if let Input::Train { datagrams, .. } = input { Some(datagrams) } else { None };
            got.extend(self.expect(&format!("chunk {} of {count}", got.len()), find).await);
        }
        got
    }

    fn stats(&self) -> NetStats {
        self.handle.stats()
    }

    /// Waits until the counters are as they should be.
    async fn until(&self, what: &str, holds: impl Fn(&NetStats) -> bool) {
        within(what, async {
            while !holds(&self.stats()) {
                // Each call is a turn of the node: the wait moves with the work it waits for.
                self.handle.call(|_, _| ()).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn end(self) {
        self.handle.shutdown(Duration::from_secs(1)).await;
        within("end", self.driver).await.unwrap();
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("no {what} in time"))
}

/// Two nodes with a link that the first one dialed.
async fn pair() -> (TestNode, LinkId, TestNode, LinkId) {
    let (mut dialer, mut acceptor) = (start(config()), start(config()));
    dialer.dial(&acceptor).await;
    let (at_dialer, _) = dialer.expect_up().await;
    let (at_acceptor, _) = acceptor.expect_up().await;
    (dialer, at_dialer, acceptor, at_acceptor)
}

fn chunk(number: u64, payload_bytes: usize) -> Datagram {
    let header = ChunkHeader {
        number: ChunkNumber::new(number).unwrap(),
        origin: Slot::new(7).unwrap(),
        position: 0,
        header_version: 1,
        random_access: number.is_multiple_of(10),
        time_us: 42,
    };
    let payload: Vec<u8> = number.to_be_bytes().into_iter().cycle().take(payload_bytes).collect();
    Datagram::Chunk(Chunk::new(header, &payload).unwrap())
}

fn train(numbers: std::ops::Range<u64>, payload_bytes: usize) -> Train {
    numbers.map(|number| chunk(number, payload_bytes)).collect()
}

fn ready(teammates: u16) -> Control {
    Control::Ready { teammates }
}
