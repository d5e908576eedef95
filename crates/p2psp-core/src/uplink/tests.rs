//! The controller and a pacer in front of one queue of constant rate, in virtual time.

use super::*;
use crate::Pacer;
use std::collections::VecDeque;

const MS: Duration = Duration::from_millis(1);
const TRAIN_BYTES: u64 = 2_200;
const LINKS: u32 = 16;
const CEILING: u64 = 20_000_000;

/// A node that sends floods of trains, one to each teammate, through one queue; one train in so many is echoed.
struct Bed {
    now: Instant,
    uplink: Uplink,
    pacer: Pacer,
    rate: u64,
    /// Bits a second that the queue's end sends.
    carries: u64,
    busy_until: Instant,
    queue_max: Duration,
    /// Echoes on their way back.
    echoes: VecDeque<(Instant, LinkId, Mark, Duration)>,
    sent: u32,
    /// What a receiver on this link adds to the truth.
    lie: fn(u32) -> Duration,
}

impl Bed {
    fn new(carries: u64) -> Self {
        let now = Instant::from_micros(7_000_000);
        Self {
            now,
            uplink: Uplink::new(now, CEILING),
            pacer: Pacer::new(START_BITS_PER_S, now),
            rate: START_BITS_PER_S,
            carries,
            busy_until: now,
            queue_max: Duration::ZERO,
            echoes: VecDeque::new(),
            sent: 0,
            lie: |_| Duration::ZERO,
        }
    }

    /// For so long, a flood every `period`, of this many trains; zero of them is as many as the pacer lets out.
    fn run(&mut self, span: Duration, period: Duration, trains: u64) {
        let (end, mut next, mut waiting) = (self.now + span, self.now, 0_u64);
        while self.now < end {
            while let Some((at, link, mark, queued)) =
                self.echoes.front().copied().filter(|e| e.0 <= self.now)
            {
                self.echoes.pop_front();
                self.uplink.on_echo(at, link, LINKS as usize, mark, queued);
            }
            if self.uplink.rate() != self.rate {
                self.rate = self.uplink.rate();
                self.pacer.set_rate(self.now, self.rate);
            }
            if next <= self.now {
                next = next + period;
                waiting = if trains == 0 { u64::MAX } else { (waiting + trains).min(4 * trains) };
            }
            let mut held_back = false;
            while waiting > 0 {
                held_back = !self.pacer.is_open(self.now);
                if held_back {
                    break;
                }
                waiting -= 1;
                self.send();
            }
            self.now = self.now + MS;
            if held_back && self.pacer.is_open(self.now) {
                self.uplink.on_ready(self.now);
            }
        }
    }

    fn send(&mut self) {
        self.pacer.charge(self.now, TRAIN_BYTES);
        let mark = self.uplink.on_sent(self.now, TRAIN_BYTES);
        self.busy_until =
            self.busy_until.max(self.now) + Duration::from_nanos(TRAIN_BYTES * 8_000_000_000 / self.carries);
        let queued = self.busy_until.since(self.now);
        self.queue_max = self.queue_max.max(queued);
        self.sent += 1;
        let link = self.sent % LINKS;
        if self.sent < 4 * LINKS || self.sent.is_multiple_of(11) {
            let echoed = (self.busy_until + 40 * MS, LinkId(link), mark, queued + (self.lie)(link));
            self.echoes.push_back(echoed);
        }
    }

    fn seconds(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds), MS, 0);
    }
}

/// R-UPLINK-1, R-UPLINK-4: an uplink of an eighth of its owner's word is found out before its queue is a tenth of a second long, and is
/// used to four fifths from then on. What the splitter is told is what can be sent.
#[test]
fn a_slow_uplink_is_found_out() {
    let mut bed = Bed::new(2_500_000);
    assert_eq!(bed.uplink.capacity(), CEILING, "nobody has disproved it");
    bed.seconds(20);
    assert!(bed.queue_max <= 100 * MS, "{:?}", bed.queue_max);
    let carried = bed.uplink.carried().unwrap();
    assert!((2_000_000..=2_750_000).contains(&carried), "{carried}");
    assert!((1_500_000..=2_400_000).contains(&bed.rate), "{}", bed.rate);
    assert!(bed.uplink.capacity() <= carried / 100 * 81, "{} of {carried}", bed.uplink.capacity());
    bed.queue_max = Duration::ZERO;
    bed.seconds(40);
    assert!(bed.queue_max <= 60 * MS, "tests of more cost little: {:?}", bed.queue_max);
}

/// Who has what its owner says gets there soon, goes no further, and never says otherwise: whether it sends all the time, or next to
/// nothing now and then.
#[test]
fn a_fast_uplink_is_used() {
    for (what, period, trains) in [("all the time", MS, 0), ("a flood now and then", 60 * MS, 8)] {
        let mut bed = Bed::new(25_000_000);
        bed.run(Duration::from_secs(6), period, trains);
        assert_eq!((bed.rate, bed.uplink.capacity()), (CEILING, CEILING), "{what}");
        assert!(bed.queue_max < 30 * MS, "{what}: {:?}", bed.queue_max);
    }
}

/// The rate follows an uplink that somebody else uses too, down within a second, and up again when that one is gone; tests of more go a
/// fifth above what it carries.
#[test]
fn the_rate_follows_the_uplink() {
    let mut bed = Bed::new(12_000_000);
    bed.seconds(10);
    assert!((8_000_000..=14_400_000).contains(&bed.rate), "{}", bed.rate);
    bed.carries = 4_000_000;
    bed.seconds(1);
    assert!(bed.rate <= 4_000_000, "{}", bed.rate);
    bed.carries = 12_000_000;
    bed.seconds(40);
    assert!((8_000_000..=14_400_000).contains(&bed.rate), "{}", bed.rate);
}

/// A tenth of the receivers that make delays up, and jitter, change nothing.
#[test]
fn a_few_liars_are_not_believed() {
    let mut bed = Bed::new(25_000_000);
    bed.lie = |link| if link < 2 { Duration::from_secs(2) } else { 10 * MS / (link % 5 + 1) };
    bed.seconds(10);
    assert_eq!((bed.rate, bed.uplink.capacity()), (CEILING, CEILING));
}

/// A host without processor time delays everything for a moment, again and again: that is no queue, and costs no rate.
#[test]
fn a_stalled_host_is_no_queue() {
    let mut bed = Bed::new(25_000_000);
    for _ in 0..40 {
        bed.lie = |_| Duration::ZERO;
        bed.run(Duration::from_millis(800), 40 * MS, 16);
        bed.lie = |link| 60 * MS + MS * (link * 7 % 13);
        bed.run(Duration::from_millis(200), 40 * MS, 16);
    }
    assert_eq!((bed.rate, bed.uplink.capacity()), (CEILING, CEILING));
}

/// Delay that stays while nothing can be measured is taken for a queue after all.
#[test]
fn lasting_delay_lowers_the_rate() {
    let mut bed = Bed::new(25_000_000);
    bed.run(Duration::from_secs(6), 60 * MS, 8);
    bed.lie = |link| 60 * MS + MS * (link * 7 % 13);
    bed.run(Duration::from_secs(5), 60 * MS, 8);
    assert!(bed.rate < CEILING / 2, "{}", bed.rate);
}

/// Loss of all links together is the uplink's when it is more than there was: a router without a queue drops. What stays at any rate is
/// the network's.
#[test]
fn loss_that_comes_with_the_rate_lowers_it() {
    let second = Duration::from_secs(1);
    let mut now = Instant::ORIGIN;
    let mut uplink = Uplink::new(now, 2_000_000);
    for (missing, rate) in [(20, 2_000_000), (20, 2_000_000), (120, 1_600_000)] {
        now = now + 2 * second;
        uplink.on_counted(now, 400, missing);
        assert_eq!(uplink.rate(), rate);
    }
    let mut rates = Vec::new();
    for _ in 0..40 {
        now = now + 2 * second;
        uplink.on_counted(now, 400, 120);
        rates.push(uplink.rate());
    }
    assert!(rates[20..].iter().all(|rate| *rate == rates[20]), "it stops at some time: {rates:?}");
    uplink.on_counted(now + second, 400, -10_000);
    assert_eq!(uplink.rate(), rates[20], "more than was sent is no loss");
}

/// What nobody can test any more, because nothing is sent, is tried again after a while: from where everybody begins.
#[test]
fn what_cannot_be_tested_is_forgotten() {
    let mut bed = Bed::new(500_000);
    bed.seconds(5);
    assert!(bed.rate < 700_000, "{}", bed.rate);
    for _ in 0..400 {
        bed.now = bed.now + Duration::from_secs(1);
        bed.uplink.on_tick(bed.now);
    }
    assert_eq!(bed.uplink.rate(), START_BITS_PER_S);
}
