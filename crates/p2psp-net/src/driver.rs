//! The one task that owns a machine: takes what came in, lets the machine decide, carries out what it says. Owns the order of
//! things and the budget of a turn; knows links only through [`Transport`].

use crate::{
    clock::Clock,
    config::NodeConfig,
    handle::{COMMANDS_MAX, Command, Handle, Order},
    quic::{self, BindError, Quic},
    stats::Stats,
    tasks,
    transport::{FLUSH_GRACE, SocketLost, Transport},
};
use p2psp_core::{CloseCode, Input, Instant, LinkId, Links, Machine, Pacer, SendReport, Train, Wake, drain};
use p2psp_wire::{Control, PeerId};
use std::{
    fmt,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Sleep, sleep, timeout},
};

/// Commands taken in one turn, so that a busy owner does not keep the network from the machine.
const COMMANDS_PER_TURN: usize = 16;

/// A bound socket with an identity; becomes a running node with [`Node::start`].
pub struct Node {
    quic: Quic,
    config: NodeConfig,
}

impl Node {
    /// Binds the socket. Must be called within a tokio runtime with time and I/O enabled.
    ///
    /// # Errors
    ///
    /// [`BindError`] names the address, the cause and the next step.
    pub fn bind(config: NodeConfig) -> Result<Self, BindError> {
        Ok(Self { quic: quic::bind(&config)?, config })
    }

    /// Where the node listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.quic.local_addr
    }

    /// Who the node is.
    #[must_use]
    pub const fn peer_id(&self) -> PeerId {
        self.config.identity.peer_id()
    }

    /// Starts to drive a machine, on a task of its own. `make` builds it, given the present time and the node's clock.
    /// `on_event` gets the machine's events on the driver's task: it must not block, and it holds the machine up while it runs.
    ///
    /// The node ends with [`Handle::shutdown`], or in the same way when all handles are dropped.
    pub fn start<M, F>(self, make: impl FnOnce(Instant, Clock) -> M, on_event: F) -> (Handle<M>, Driver)
    where
        M: Machine + Send + 'static,
        F: FnMut(M::Event) + Send + 'static,
    {
        let clock = Clock::start();
        let now = clock.now();
        let stats = Arc::new(Stats::default());
        let (orders, queue) = mpsc::channel(COMMANDS_MAX);
        let network = Network {
            pacer: Pacer::new(self.config.uplink_bits_per_s, now),
            uplink_blocked: false,
            transport: Transport::new(now, self.quic, &self.config, Arc::clone(&stats)),
            stats: Arc::clone(&stats),
        };
        let turns = Turns {
            machine: make(now, clock),
            on_event,
            network,
            clock,
            orders: queue,
            alarm: Box::pin(sleep(Duration::ZERO)),
            alarm_at: None,
            wake: None,
        };
        (Handle::new(orders, stats), Driver(tasks::spawn("driver", turns.run())))
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("local_addr", &self.local_addr()).field("peer", &self.peer_id()).finish()
    }
}

/// Why a node ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The socket failed.
    #[error("the UDP socket failed, its error is in the log; check the network and start the node again")]
    Socket,
    /// The driver's task panicked or was stopped with its runtime.
    #[error("the node's task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// A running node: resolves when it has ended. Dropping it stops the node at once, without a word to its peers.
#[derive(Debug)]
#[must_use = "dropping the driver stops the node"]
pub struct Driver(JoinHandle<Result<(), SocketLost>>);

impl Future for Driver {
    type Output = Result<(), DriverError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|joined| match joined {
            Ok(Ok(())) => Ok(()),
            Ok(Err(SocketLost)) => Err(DriverError::Socket),
            Err(error) => Err(DriverError::Task(error)),
        })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The transport and the uplink that its links share.
struct Network {
    transport: Transport,
    pacer: Pacer,
    uplink_blocked: bool,
    stats: Arc<Stats>,
}

impl Links for Network {
    fn send_train(&mut self, now: Instant, link: LinkId, train: &Train) -> SendReport {
        let sent = self.transport.send_train(now, link, train);
        let spent = self.pacer.charge(now, sent.wire_bytes);
        if spent && !self.uplink_blocked {
            self.uplink_blocked = true;
            self.stats.counters.uplink_blocks.add_one();
        }
        SendReport { link_blocked: sent.blocked, uplink_blocked: spent }
    }

    fn send_control(&mut self, now: Instant, link: LinkId, message: &Control) {
        self.transport.send_control(now, link, message);
    }

    fn dial(&mut self, _now: Instant, peer: PeerId, addresses: &[SocketAddr]) {
        self.transport.dial(peer, addresses);
    }

    fn hangup(&mut self, _now: Instant, link: LinkId, code: CloseCode) {
        self.transport.hangup(link, code);
    }

    fn set_uplink_rate(&mut self, now: Instant, bits_per_s: u64) {
        self.pacer.set_rate(now, bits_per_s);
    }
}

/// What one look at all sources brought.
struct Gathered<M> {
    commands: Vec<Command<M>>,
    inputs: Vec<Input>,
    /// A budget ran out: look again after this turn.
    more: bool,
    shutdown: Option<Shutdown>,
}

/// The order to end.
struct Shutdown {
    grace: Duration,
    /// Dropped when the node has ended; nobody waits when the last handle was dropped.
    _ended: Option<oneshot::Sender<()>>,
}

/// The loop's state.
struct Turns<M: Machine, F> {
    machine: M,
    on_event: F,
    network: Network,
    clock: Clock,
    orders: mpsc::Receiver<Order<M>>,
    alarm: Pin<Box<Sleep>>,
    /// What the alarm is set to, if anything.
    alarm_at: Option<Instant>,
    wake: Option<Wake>,
}

impl<M: Machine, F: FnMut(M::Event)> Turns<M, F> {
    async fn run(mut self) -> Result<(), SocketLost> {
        let mut gathered = Gathered { commands: Vec::new(), inputs: Vec::new(), more: false, shutdown: None };
        loop {
            self.turn(&mut gathered);
            if let Some(shutdown) = gathered.shutdown.take() {
                self.close(shutdown.grace).await;
                return Ok(());
            }
            if std::mem::take(&mut gathered.more) {
                // What the turn sent leaves before the next one begins.
                tokio::task::yield_now().await;
            }
            poll_fn(|cx| self.gather(cx, &mut gathered)).await?;
        }
    }

    /// Commands first, then what came over the network, then timers.
    fn gather(&mut self, cx: &mut Context<'_>, gathered: &mut Gathered<M>) -> Poll<Result<(), SocketLost>> {
        while gathered.shutdown.is_none() {
            if gathered.commands.len() == COMMANDS_PER_TURN {
                gathered.more = true;
                break;
            }
            match self.orders.poll_recv(cx) {
                Poll::Ready(Some(Order::Run(command))) => gathered.commands.push(command),
                Poll::Ready(Some(Order::Shutdown { grace, ended })) => {
                    gathered.shutdown = Some(Shutdown { grace, _ended: Some(ended) });
                }
                Poll::Ready(None) => gathered.shutdown = Some(Shutdown { grace: FLUSH_GRACE, _ended: None }),
                Poll::Pending => break,
            }
        }
        gathered.more |= self.network.transport.poll(self.clock.now(), cx, &mut gathered.inputs)?;
        // The machine's timer, the uplink, or silence on a link.
        let rang = self.alarm_at.is_some() && self.alarm.as_mut().poll(cx).is_ready();
        let nothing = gathered.commands.is_empty()
            && gathered.inputs.is_empty()
            && gathered.shutdown.is_none()
            && !gathered.more
            && !rang;
        if nothing { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// Lets the machine handle what was gathered, carries out what it says, and sets the alarm.
    fn turn(&mut self, gathered: &mut Gathered<M>) {
        let now = self.clock.now();
        self.network.stats.counters.turns.add_one();
        for command in gathered.commands.drain(..) {
            command(&mut self.machine, now);
        }
        for input in gathered.inputs.drain(..) {
            self.machine.handle_input(now, input);
        }
        if self.network.uplink_blocked && self.network.pacer.is_open(now) {
            self.network.uplink_blocked = false;
            self.machine.handle_input(now, Input::UplinkReady);
        }
        if self.wake.is_some_and(|wake| wake.at <= now) {
            self.machine.handle_input(now, Input::Tick);
        }
        self.network.transport.watch(now);
        self.wake = drain(&mut self.machine, now, &mut self.network, &mut self.on_event);
        self.set_alarm();
    }

    fn set_alarm(&mut self) {
        let machine = self.wake.map(|wake| wake.at);
        let uplink = self.network.uplink_blocked.then(|| self.network.pacer.open_at());
        let watch = Some(self.network.transport.watch_at());
        let at = [machine, uplink, watch].into_iter().flatten().min();
        if let Some(at) = at.filter(|_| at != self.alarm_at) {
            self.alarm.as_mut().reset(self.clock.to_host(at));
        }
        self.alarm_at = at;
    }

    async fn close(&mut self, grace: Duration) {
        let clock = self.clock;
        self.network.transport.hangup_all(grace);
        // Each link keeps to the grace by itself; the margin is for their closing packets.
        let closed = poll_fn(|cx| self.network.transport.poll_closed(clock.now(), cx));
        if timeout(grace + Duration::from_millis(100), closed).await.is_err() {
            tracing::info!("some links did not close in time");
        }
    }
}
