//! What the two ends of a link tell each other about its delay (R-UPLINK-2, R-UPLINK-3): clocks that do not agree, the shortest way
//! seen between them, and which train left when. Owns the books of all links; what follows for the uplink's rate is `uplink`'s
//! business.

use crate::{
    Instant, LinkId,
    uplink::{Mark, PACKET_OVERHEAD_BYTES, Uplink},
};
use p2psp_wire::{Came, ChunkNumber, Datagram, Echo};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// One train in so many that come from a teammate is answered by an echo: with chunks of 1024 bytes that is less than a hundredth of
/// what came.
pub(super) const ECHO_EVERY: u16 = 12;
/// The first trains on a link all are: whoever begins to send must hear at once whether that was too fast.
const ECHOES_FIRST: u32 = 4;
/// Trains whose departure is remembered, on each link. A member owns five turns a second at most in a team of 64; in a small one, half
/// a second's.
const TRAINS_MAX: usize = 64;
/// The shortest way is that of the last one to two of these spans, because clocks drift and routes change.
const LEAST_SPAN: Duration = Duration::from_secs(20);
/// A delay beyond this is no delay but a mistake, or a lie.
const DELAY_MAX_US: i32 = 5_000_000;

/// The books of all links.
#[derive(Debug, Default)]
pub(super) struct Echoes(BTreeMap<LinkId, Book>);

#[derive(Debug, Default)]
struct Book {
    /// Datagrams that came, and trains of them.
    received: u32,
    trains_received: u32,
    least: Option<Least>,
    sent: u32,
    trains: VecDeque<Train>,
    /// Sent and received when the last echo's chunk was.
    counted: Option<(u32, u32)>,
}

/// A train that went out.
#[derive(Debug)]
struct Train {
    first: Name,
    last: Name,
    mark: Mark,
    /// Datagrams on this link before it, and it.
    sent: u32,
}

/// What a datagram is called in an echo: a chunk by its number, parity by its generation's and its position. Those of a train follow
/// one another.
type Name = (Option<u8>, ChunkNumber);

/// The shortest way between two clocks that were never set to each other: the least of numbers that wrap.
#[derive(Clone, Copy, Debug)]
struct Least {
    now_us: u32,
    before_us: u32,
    until: Instant,
}

impl Least {
    fn new(now: Instant, way_us: u32) -> Self {
        Self { now_us: way_us, before_us: way_us, until: now + LEAST_SPAN }
    }

    fn observe(&mut self, now: Instant, way_us: u32) {
        if now >= self.until {
            *self = Self { now_us: way_us, before_us: self.now_us, until: now + LEAST_SPAN };
        }
        self.now_us = lesser(self.now_us, way_us);
    }

    fn get(&self) -> u32 {
        lesser(self.now_us, self.before_us)
    }
}

impl Echoes {
    /// A link to a teammate is there: the time for its other end, which asks for echoes.
    pub(super) fn hello(&mut self, now: Instant, link: LinkId) -> Echo {
        self.0.entry(link).or_default();
        Echo { sent_us: clock_us(now), came: None, received: 0 }
    }

    /// A train leaves for a teammate.
    pub(super) fn on_sent(&mut self, now: Instant, link: LinkId, train: &[Datagram], uplink: &mut Uplink) {
        let wire_bytes = train.iter().map(|d| (d.bytes().len() + PACKET_OVERHEAD_BYTES) as u64).sum();
        let mark = uplink.on_sent(now, wire_bytes);
        let Some(book) = self.0.get_mut(&link) else { return };
        book.sent = book.sent.wrapping_add(u32::try_from(train.len()).unwrap_or(0));
        let mut names = names(train);
        let Some(first) = names.next() else { return };
        let last = names.last().unwrap_or(first);
        if book.trains.len() >= TRAINS_MAX {
            book.trains.pop_front();
        }
        book.trains.push_back(Train { first, last, mark, sent: book.sent });
    }

    /// A train from a teammate is here, and came at `came` at the earliest; `chosen` says whether it is one of those to be answered.
    /// The answer, if its other end asked for any.
    pub(super) fn on_came(
        &mut self,
        now: Instant,
        came: Instant,
        link: LinkId,
        train: &[Datagram],
        chosen: impl FnOnce() -> bool,
    ) -> Option<Echo> {
        let book = self.0.entry(link).or_default();
        book.received = book.received.wrapping_add(u32::try_from(train.len()).unwrap_or(0));
        let (parity_position, number) = names(train).last()?;
        book.trains_received = book.trains_received.saturating_add(1);
        let least = book.least.as_ref()?.get();
        if book.trains_received > ECHOES_FIRST && !chosen() {
            return None;
        }
        let came_us = clock_us(came).wrapping_sub(least);
        Some(Echo {
            sent_us: clock_us(now),
            came: Some(Came { number, parity_position, came_us }),
            received: book.received,
        })
    }

    /// A teammate's echo, on one of `links`.
    pub(super) fn on_echo(
        &mut self,
        now: Instant,
        link: LinkId,
        links: usize,
        echo: &Echo,
        uplink: Option<&mut Uplink>,
    ) {
        let book = self.0.entry(link).or_default();
        let way_us = clock_us(now).wrapping_sub(echo.sent_us);
        book.least.get_or_insert_with(|| Least::new(now, way_us)).observe(now, way_us);
        let (Some(came), Some(uplink)) = (echo.came, uplink) else { return };
        let name = (came.parity_position, came.number);
        // Each train is spoken of once, and none after a later one.
        let Some(place) = book.trains.iter().rposition(|train| (train.first..=train.last).contains(&name))
        else {
            return;
        };
        let Some(train) = book.trains.drain(..=place).next_back() else { return };
        let queued_us = came.came_us.wrapping_sub(clock_us(train.mark.at)).cast_signed();
        if !(-DELAY_MAX_US..=DELAY_MAX_US).contains(&queued_us) {
            return;
        }
        let before = book.counted.replace((train.sent, echo.received));
        if let Some((sent, received)) = before {
            let (sent, received) = (train.sent.wrapping_sub(sent), echo.received.wrapping_sub(received));
            // More than was sent cannot have come.
            if received <= sent.saturating_add(u32::from(u16::MAX)) {
                uplink.on_counted(now, sent, i64::from(sent) - i64::from(received));
            }
        }
        let queued = Duration::from_micros(u64::try_from(queued_us).unwrap_or(0));
        uplink.on_echo(now, link, links, train.mark, queued);
    }

    pub(super) fn forget(&mut self, link: LinkId) {
        self.0.remove(&link);
    }
}

/// What a train's datagrams are called.
fn names(train: &[Datagram]) -> impl Iterator<Item = Name> {
    train.iter().filter_map(|datagram| match datagram {
        Datagram::Chunk(chunk) => Some((None, chunk.number())),
        Datagram::Parity(parity) => Some((Some(parity.position()), parity.first())),
        Datagram::Manifest(_) => None,
    })
}

/// What an echo says of the time: it wraps every 71 minutes, and differences count alone.
fn clock_us(now: Instant) -> u32 {
    u32::try_from(now.as_micros() & u64::from(u32::MAX)).unwrap_or(0)
}

/// The earlier of two numbers that wrap.
const fn lesser(a: u32, b: u32) -> u32 {
    if a.wrapping_sub(b).cast_signed() < 0 { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2psp_wire::{Chunk, ChunkHeader, Parity, Slot};

    const LINK: LinkId = LinkId(3);
    const CEILING: u64 = 2_000_000;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn chunk(number: u64) -> Datagram {
        let header = ChunkHeader {
            number: ChunkNumber::new(number).unwrap(),
            origin: Slot::FIRST,
            position: 0,
            header_version: 0,
            random_access: false,
            time_us: 0,
        };
        Datagram::Chunk(Chunk::new(header, &[7; 500]).unwrap())
    }

    fn parity(first: u64, position: u8) -> Datagram {
        let first = ChunkNumber::new(first).unwrap();
        Datagram::Parity(Parity::new(first, position, Slot::FIRST, 0, &[7; 500]).unwrap())
    }

    /// Two ends of a link, whose clocks differ by an hour and more: what one sends at `sent`, the other has `way` later.
    struct Pair {
        sender: Echoes,
        receiver: Echoes,
        uplink: Uplink,
        ahead: Duration,
    }

    impl Pair {
        /// Both have told each other the time, over a way of 20 ms.
        fn new() -> Self {
            let ahead = Duration::from_secs(2 * 3600 + 1);
            let (mut sender, mut receiver) = (Echoes::default(), Echoes::default());
            let uplink = Uplink::new(at(0), CEILING);
            let hello = sender.hello(at(0), LINK);
            receiver.on_echo(at(20) + ahead, LINK, 1, &hello, None);
            Self { sender, receiver, uplink, ahead }
        }

        /// A train leaves and arrives so much later; its echo is there at once.
        fn train(&mut self, sent: Instant, way: Duration, train: &[Datagram]) -> Option<Echo> {
            self.sender.on_sent(sent, LINK, train, &mut self.uplink);
            let came = sent + way + self.ahead;
            let echo = self.receiver.on_came(came, came, LINK, train, || true)?;
            self.sender.on_echo(sent + way, LINK, 1, &echo, Some(&mut self.uplink));
            Some(echo)
        }
    }

    /// R-UPLINK-3: neither the clocks nor the way itself count as delay; what is more than the way does, for parity too.
    #[test]
    fn only_queues_are_delay() {
        let trains = |n: u64| {
            if n.is_multiple_of(2) { vec![chunk(2 * n), chunk(2 * n + 1)] } else { vec![parity(n, 40)] }
        };
        for (queue_ms, is_cut) in [(0, false), (10, false), (60, true)] {
            let mut pair = Pair::new();
            for n in 0..60 {
                let way = Duration::from_millis(20 + queue_ms);
                pair.train(at(1_000 + n * 20), way, &trains(n)).unwrap();
            }
            assert_eq!(pair.uplink.rate() < CEILING, is_cut, "{queue_ms} ms");
        }
    }

    /// R-UPLINK-2: what a receiver hears late because its host was busy may have come when it asked to be woken.
    #[test]
    fn a_busy_host_is_no_queue() {
        let mut pair = Pair::new();
        for n in 0..60 {
            let (sent, train) = (at(1_000 + n * 20), [chunk(n)]);
            pair.sender.on_sent(sent, LINK, &train, &mut pair.uplink);
            let (came, now) = (sent + Duration::from_millis(20), sent + Duration::from_millis(80));
            let echo =
                pair.receiver.on_came(now + pair.ahead, came + pair.ahead, LINK, &train, || true).unwrap();
            pair.sender.on_echo(now, LINK, 1, &echo, Some(&mut pair.uplink));
        }
        assert_eq!(pair.uplink.rate(), CEILING);
    }

    /// Nobody is echoed that has not asked; the first trains are, and then those that are drawn.
    #[test]
    fn one_train_in_so_many_is_echoed() {
        let mut receiver = Echoes::default();
        assert_eq!(receiver.on_came(at(1), at(1), LINK, &[chunk(0)], || true), None, "it has not asked");
        let mut pair = Pair::new();
        let mut echoes = |drawn: bool| {
            let came = |n: u64| pair.receiver.on_came(at(100 + n), at(100 + n), LINK, &[chunk(n)], || drawn);
            (0..20).filter_map(came).count()
        };
        assert_eq!((echoes(false), echoes(true)), (4, 20));
    }

    /// A train is spoken of once; what was never sent, and what cannot be, is nothing.
    #[test]
    fn tales_are_not_believed() {
        let mut pair = Pair::new();
        let late = Duration::from_millis(80);
        let echo = pair.train(at(1_000), late, &[chunk(1), chunk(2)]).unwrap();
        let tell = |pair: &mut Pair, echo: Echo| {
            for n in 0..50 {
                pair.sender.on_echo(at(1_200 + n), LINK, 1, &echo, Some(&mut pair.uplink));
            }
            pair.uplink.rate()
        };
        assert_eq!(tell(&mut pair, echo), CEILING, "the same again");
        let number = ChunkNumber::new(77).unwrap();
        let strange = Echo { came: echo.came.map(|came| Came { number, ..came }), ..echo };
        assert_eq!(tell(&mut pair, strange), CEILING, "a chunk that was not sent");
        for n in 0..50 {
            let train = [chunk(10 + n)];
            pair.sender.on_sent(at(2_000 + n * 20), LINK, &train, &mut pair.uplink);
            let came =
                Came { number: ChunkNumber::new(10 + n).unwrap(), parity_position: None, came_us: 1 << 31 };
            let echo = Echo { sent_us: 0, came: Some(came), received: u32::MAX };
            pair.sender.on_echo(at(2_001 + n * 20), LINK, 1, &echo, Some(&mut pair.uplink));
        }
        assert_eq!(pair.uplink.rate(), CEILING, "a delay of half an hour");
    }

    /// One train more than is remembered forgets the oldest.
    #[test]
    fn what_is_remembered_is_bounded() {
        let mut pair = Pair::new();
        for n in 0..=TRAINS_MAX as u64 {
            pair.sender.on_sent(at(n), LINK, &[chunk(n)], &mut pair.uplink);
        }
        assert_eq!(pair.sender.0.get(&LINK).unwrap().trains.len(), TRAINS_MAX);
        pair.sender.forget(LINK);
        assert!(pair.sender.0.is_empty());
    }
}
