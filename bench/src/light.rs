//! Members that cost next to nothing, to fill a team for the real splitter's sake: each joins over QUIC with a key and a socket of its own,
//! takes its turns, answers probes and testifies as often as any member, but relays nothing to anybody, because the splitter cannot tell.
//! Owns what became of the chunks on the splitter's links; a team of them plays nothing.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use p2psp_core::{CloseCode, DelayHistogram, Input, Instant, LinkId, Machine, Output, Timer, Wake};
use p2psp_net::{Driver, Handle, Identity, Node, NodeConfig};
use p2psp_wire::{ChannelLink, ChunkNumber, Control, Datagram, Join, PROTOCOL_REVISION, Witness};
use tokio::sync::watch;

use crate::BenchError;

/// As often as members testify (R-FAIR-5).
const TESTIFY_SPAN: Duration = Duration::from_millis(250);
/// Of so many witnesses one goes with a report (R-GEN-8).
const REPORT_EVERY: u32 = 4;
/// The newest chunks are left for the next reading: those before them may still be on their way.
const SETTLING_CHUNKS: u64 = 64;
/// Most time for closing a link.
const GRACE: Duration = Duration::from_secs(1);

/// What the splitter's links brought, all members together.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// The newest chunk that anybody got.
    newest: u64,
    /// Chunks since the last [`Tally::take`].
    chunks: BTreeSet<u64>,
    delays: DelayHistogram,
}

/// What came between two readings.
#[derive(Debug)]
pub struct Taken {
    /// Different chunks.
    pub chunks: u64,
    /// From the lowest number of them to the highest, both included: all that should have come.
    pub span: u64,
    /// From the splitter's taking a chunk in to its arrival.
    pub delays: DelayHistogram,
}

impl Tally {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, number: u64, delay: Duration) {
        let mut counts = self.counts();
        counts.newest = counts.newest.max(number);
        counts.chunks.insert(number);
        counts.delays.record(delay);
    }

    /// What has come since the last time.
    #[must_use]
    pub fn take(&self) -> Taken {
        let mut counts = self.counts();
        let settling = counts.newest.saturating_sub(SETTLING_CHUNKS);
        let settling = counts.chunks.split_off(&settling);
        let chunks = std::mem::replace(&mut counts.chunks, settling);
        let delays = std::mem::take(&mut counts.delays);
        let span = chunks.first().zip(chunks.last()).map_or(0, |(first, last)| last - first + 1);
        Taken { chunks: u64::try_from(chunks.len()).unwrap_or(u64::MAX), span, delays }
    }
}

/// One light member.
#[derive(Debug)]
pub struct Light {
    handle: Handle<Seat>,
    driver: Driver,
    seated: watch::Receiver<bool>,
}

impl Light {
    /// Begins to join the team of `link`.
    ///
    /// # Errors
    /// It gets no socket.
    pub fn join(link: &ChannelLink, splitter: SocketAddr, tally: &Arc<Tally>) -> Result<Self, BenchError> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let node = Node::bind(NodeConfig::new(any, Identity::generate())).map_err(|cause| {
            BenchError::io("failed to open a light member's socket")(std::io::Error::other(cause))
        })?;
        let (channel, local, tally) = (link.channel, node.local_addr(), Arc::clone(tally));
        let (sender, seated) = watch::channel(false);
        let (handle, driver) = node.start(
            move |now, clock| Seat {
                join: Some(Join {
                    revision: PROTOCOL_REVISION,
                    channel,
                    ticket: bytes::Bytes::new(),
                    candidates: vec![local],
                    eco: false,
                    agent: "light member".to_owned(),
                    target_delay_ms: 500,
                }),
                origin_unix_us: clock.origin_unix_us(),
                epoch_unix_us: 0,
                tally,
                link: None,
                testify_at: now + TESTIFY_SPAN,
                testified: 0,
                told: None,
                seen: 0,
                outbox: [Output::Dial { peer: channel.into(), addresses: vec![splitter] }].into(),
            },
            move |is_seated| {
                sender.send_replace(is_seated);
            },
        );
        Ok(Self { handle, driver, seated })
    }

    /// Waits for a seat.
    ///
    /// # Errors
    /// The node ended without one.
    pub async fn seated(&mut self) -> Result<(), BenchError> {
        let gone = |_| BenchError::CrossCheck("a light member ended before it had a seat".into());
        self.seated.wait_for(|seated| *seated).await.map(|_| ()).map_err(gone)
    }

    /// Leaves politely.
    ///
    /// # Errors
    /// The node had failed.
    pub async fn leave(self) -> Result<(), BenchError> {
        self.handle.shutdown(GRACE).await;
        self.driver.await.map_err(|cause| BenchError::CrossCheck(format!("a light member failed: {cause}")))
    }
}

/// The machine: as little of the protocol as a seat takes. Reports whether it has one.
#[derive(Debug)]
struct Seat {
    join: Option<Join>,
    origin_unix_us: u64,
    epoch_unix_us: u64,
    tally: Arc<Tally>,
    /// Once it has a seat.
    link: Option<LinkId>,
    testify_at: Instant,
    testified: u32,
    /// Testified up to here.
    told: Option<u64>,
    /// The newest chunk of the team at the last witness: what is older has come to everybody.
    seen: u64,
    outbox: VecDeque<Output<bool>>,
}

impl Seat {
    fn say(&mut self, link: LinkId, message: Control) {
        self.outbox.push_back(Output::Control { link, message });
    }

    fn on_control(&mut self, link: LinkId, message: Control) {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "whatever else a splitter says needs no answer from this member"
        )]
        match message {
            Control::Welcome(welcome) => {
                self.link = Some(link);
                self.epoch_unix_us = welcome.epoch_unix_us;
                self.say(link, Control::Ready { teammates: welcome.members });
                self.outbox.push_back(Output::Event(true));
            }
            Control::Probe { token } => self.say(link, Control::Alive { token }),
            Control::Refuse(_) | Control::Goodbye(_) => {
                self.outbox.push_back(Output::Hangup { link, code: CloseCode::Done });
            }
            _ => {}
        }
    }

    fn on_datagram(&self, now: Instant, datagram: &Datagram) {
        let Datagram::Chunk(chunk) = datagram else { return };
        let now_us = (self.origin_unix_us + now.as_micros()).saturating_sub(self.epoch_unix_us);
        // The header has the low 32 bits: right for delays below an hour.
        let low = u32::try_from(now_us & u64::from(u32::MAX)).unwrap_or_default();
        let delay_us = low.wrapping_sub(chunk.header().time_us);
        self.tally.record(chunk.number().get(), Duration::from_micros(delay_us.into()));
    }

    /// Every teammate of this member does its part, says this member.
    fn testify(&mut self, now: Instant, link: LinkId) {
        self.testify_at = now + TESTIFY_SPAN;
        let end = std::mem::replace(&mut self.seen, self.tally.counts().newest);
        let first = self.told.replace(end).unwrap_or(end);
        let chunks = end.saturating_sub(first);
        let Ok(number) = ChunkNumber::new(first) else { return };
        if chunks > 0 {
            let came = (0..chunks).map(|_| true);
            self.say(link, Control::Witness(Witness::new(number, came, 0)));
        }
        self.testified += 1;
        if self.testified.is_multiple_of(REPORT_EVERY) {
            let chunks_due = u32::try_from(chunks).unwrap_or(u32::MAX).saturating_mul(REPORT_EVERY);
            self.say(link, Control::Report { chunks_due, chunks_missing: 0 });
        }
    }
}

impl Machine for Seat {
    type Event = bool;

    fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::LinkUp { link, .. } => {
                if let Some(join) = self.join.take() {
                    self.say(link, Control::Join(join));
                }
            }
            Input::Control { link, message } => self.on_control(link, message),
            Input::Train { datagrams, .. } => {
                datagrams.iter().for_each(|datagram| self.on_datagram(now, datagram));
            }
            Input::LinkDown { .. } | Input::DialFailed { .. } => {
                self.link = None;
                self.outbox.push_back(Output::Event(false));
            }
            Input::Malformed { .. }
            | Input::LinkBlocked { .. }
            | Input::LinkReady { .. }
            | Input::UplinkBlocked
            | Input::UplinkReady
            | Input::Tick => {}
        }
    }

    fn poll_output(&mut self, now: Instant) -> Output<bool> {
        if let Some(link) = self.link.filter(|_| self.testify_at <= now) {
            self.testify(now, link);
        }
        self.outbox.pop_front().unwrap_or_else(|| {
            let wake = Wake { at: self.testify_at, timer: Timer::Report };
            Output::Wait(self.link.map(|_| wake))
        })
    }
}
