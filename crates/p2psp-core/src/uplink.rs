//! The one rate of a node for all its links together, and what its uplink is found to carry (R-UPLINK-1, R-UPLINK-4). Owns the control
//! law: delays and losses in, a rate out. Knows no link, no message and no teammate but by number.
//!
//! A queue in a home's router shows as delay that all receivers see at once. While it grows, chunks arrive as fast as the uplink
//! carries them: that is the measurement. The rate is then 0.8 of it, and the queue drains.

use crate::{Instant, LinkId};
use std::{collections::VecDeque, time::Duration};

/// What a node sends at before it knows anything: a chunk for 63 teammates takes 180 ms, and a tenth of a second of it queues no
/// more than 100 ms in an uplink of 1.5 Mb/s.
const START_BITS_PER_S: u64 = 3_000_000;
/// Less is of no use to anybody.
const RATE_MIN_BITS_PER_S: u64 = 128_000;
/// Of what the uplink carries, this many of a hundred are used.
const USED_PERCENT: u64 = 80;
/// Delay that three quarters of the receivers stay below: above, there is a queue ...
const QUEUE_HIGH: Duration = Duration::from_millis(30);
/// ... below, there is none: receivers wake every 5 ms, and networks jitter.
const QUEUE_LOW: Duration = Duration::from_millis(15);
/// What is less than this is no sign of a queue in a single sample.
const QUEUE_SURE: Duration = Duration::from_millis(8);
/// A rate has been tried by who has been sending at it for so long, pauses apart ...
const TRIAL: Duration = Duration::from_millis(60);
/// ... or with pauses, which queues use to drain, for so long.
const TRIAL_PAUSED: Duration = Duration::from_millis(250);
/// Sending has paused when nothing was sent for so long although something might have been.
const PAUSE: Duration = Duration::from_millis(20);
/// Samples older than this say nothing of a queue ...
const FRESH: Duration = Duration::from_secs(1);
/// ... and older than this, nothing at all: who has few turns gets few of them.
const SAMPLE_AGE: Duration = Duration::from_secs(3);
/// Samples kept, of all links together; a link's share of them is bounded, so that nobody speaks for the others.
const SAMPLES_MAX: usize = 64;
/// Samples that a decision takes, at least and at most: the newest ones.
const SAMPLES_MIN: usize = 4;
const SAMPLES_RECENT: usize = 12;
/// Pairs of samples, and bytes between the two of a pair, that a measurement takes.
const PAIRS_MIN: usize = 6;
const PAIR_BYTES_MIN: u64 = 8 * 1024;
/// After a queue the rate does not grow for so long.
const HOLD: Duration = Duration::from_secs(10);
/// Then more is tried, until a step up shows no success for so long ...
const PROBE: Duration = Duration::from_secs(3);
/// ... and kept when it exceeds what was measured by this many of a hundred.
const PROBE_PERCENT: u64 = 20;
/// A queue grows where less than this many of a hundred of what is put in is carried. Delay that does not is something else for now:
/// a host that is short of processor time holds up all that comes, for a moment.
const GROWS_PERCENT: u64 = 85;
/// Delay that lasts for so long is a queue all the same. Where nothing can be measured it costs the rate a third, and again as often ...
const LASTING: Duration = Duration::from_millis(500);
/// ... and then the rate does not grow for so long.
const HOLD_UNSURE: Duration = Duration::from_secs(1);
/// Loss is looked at after so many datagrams, of all links together.
const LOSS_WINDOW: u64 = 400;
/// More loss than the network has anyhow by this share is the uplink's.
const LOSS_EXCESS: f64 = 0.10;
/// What nobody has tested for so long is forgotten, a quarter of the rate at a time.
const FORGET_SPAN: Duration = Duration::from_secs(10);

/// What the wire adds to a datagram, as rates and shares count it: the seal or QUIC, UDP and IPv4.
pub(crate) const PACKET_OVERHEAD_BYTES: usize = 58;

/// Where and when in its node's sending a train went out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) at: Instant,
    /// Bytes on the wire before it.
    bytes: u64,
    /// Since when there has been no pause.
    burst: Instant,
    /// The rate had been tried by then.
    is_tried: bool,
}

/// What a receiver's echo says.
#[derive(Clone, Copy, Debug)]
struct Sample {
    came: Instant,
    from: LinkId,
    mark: Mark,
    /// Time in queues, above the shortest way seen.
    queued: Duration,
}

/// The controller.
#[derive(Debug)]
pub(crate) struct Uplink {
    ceiling: u64,
    rate: u64,
    /// The rate grows fast: no queue was measured yet, or more than what was measured has turned out to be carried.
    is_starting: bool,
    /// What the uplink was found to carry.
    carried: Option<u64>,
    /// The owner's figure is more than can be had: a queue, loss, or copies that waited too long have shown it.
    is_limited: bool,
    changed: Instant,
    hold_until: Instant,
    /// Since when echoes have told of delay without a pause.
    delayed: Option<Instant>,
    /// While more than was measured is tried: until when.
    probe_until: Option<Instant>,
    heard: Instant,
    bytes: u64,
    burst: Instant,
    /// When something was last sent, or held back by the pacer.
    busy: Instant,
    /// When the rate was first used after it had changed, and how long something has been sent since then.
    used: Option<(Instant, Duration)>,
    samples: VecDeque<Sample>,
    lost: Lost,
}

/// Datagrams sent and received, of all links together.
#[derive(Debug, Default)]
struct Lost {
    sent: u64,
    missing: i64,
    /// Loss that is there at any rate.
    usual: f64,
}

impl Uplink {
    /// `ceiling` is the owner's word, in bits a second on the wire; it is never exceeded.
    pub(crate) fn new(now: Instant, ceiling: u64) -> Self {
        let ceiling = ceiling.max(RATE_MIN_BITS_PER_S);
        Self {
            ceiling,
            rate: START_BITS_PER_S.min(ceiling),
            is_starting: true,
            carried: None,
            is_limited: false,
            changed: now,
            hold_until: now,
            delayed: None,
            probe_until: None,
            heard: now,
            bytes: 0,
            burst: now,
            busy: now,
            used: None,
            samples: VecDeque::new(),
            lost: Lost { usual: LOSS_EXCESS, ..Lost::default() },
        }
    }

    /// Bits a second to send at, headers included.
    pub(crate) const fn rate(&self) -> u64 {
        self.rate
    }

    /// Bits a second that this node can relay, for the splitter: the owner's word until it is found to be too much.
    pub(crate) fn capacity(&self) -> u64 {
        // A test of more is no promise of more.
        let safe = self.carried.map_or(self.rate, |carried| self.rate.min(carried / 100 * USED_PERCENT));
        if self.is_limited { safe } else { self.ceiling }
    }

    /// What the uplink was found to carry, if it was.
    pub(crate) const fn carried(&self) -> Option<u64> {
        self.carried
    }

    /// A train goes out.
    pub(crate) fn on_sent(&mut self, now: Instant, wire_bytes: u64) -> Mark {
        if now.since(self.busy) > PAUSE {
            self.burst = now;
        } else {
            self.on_ready(now);
        }
        self.busy = now;
        let (since, sending) = *self.used.get_or_insert((now, Duration::ZERO));
        let is_tried = sending >= TRIAL || now.since(since) >= TRIAL_PAUSED;
        let mark = Mark { at: now, bytes: self.bytes, burst: self.burst, is_tried };
        self.bytes += wire_bytes;
        mark
    }

    /// The pacer has held trains back until now.
    pub(crate) fn on_ready(&mut self, now: Instant) {
        if let Some((since, sending)) = &mut self.used {
            *sending += now.since(self.busy.max(*since));
        }
        self.busy = now;
    }

    /// Copies waited too long for their turn: more is asked of this node than it may send.
    pub(crate) const fn on_expired(&mut self) {
        self.is_limited = true;
    }

    /// A receiver on `from`, one of `links`, says how long what went out at `mark` was queued.
    pub(crate) fn on_echo(&mut self, now: Instant, from: LinkId, links: usize, mark: Mark, queued: Duration) {
        self.heard = now;
        self.samples.retain(|sample| now.since(sample.came) <= SAMPLE_AGE);
        let share = SAMPLES_MAX.div_ceil(links.max(1));
        if self.samples.iter().filter(|sample| sample.from == from).count() >= share
            && let Some(oldest) = self.samples.iter().position(|sample| sample.from == from)
        {
            self.samples.remove(oldest);
        }
        if self.samples.len() >= SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { came: now, from, mark, queued });
        self.decide(now);
    }

    /// So many datagrams went out on a link, and so many more or fewer than those came, since the last time.
    pub(crate) fn on_counted(&mut self, now: Instant, sent: u32, missing: i64) {
        self.lost.sent += u64::from(sent);
        self.lost.missing += missing;
        if self.lost.sent < LOSS_WINDOW {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of a window, far below 2^52")]
        let share = (self.lost.missing.max(0) as f64 / self.lost.sent as f64).min(1.0);
        (self.lost.sent, self.lost.missing) = (0, 0);
        if share > self.lost.usual + LOSS_EXCESS && now.since(self.changed) >= FRESH {
            self.cut(now, self.rate / 100 * USED_PERCENT);
            self.is_starting = false;
        }
        // What does not go away with the rate is the network's.
        self.lost.usual = if share < self.lost.usual { share } else { self.lost.usual * 0.9 + share * 0.1 };
    }

    /// Once a second or so: what was found long ago and cannot be tested, because nothing is sent, is forgotten.
    pub(crate) fn on_tick(&mut self, now: Instant) {
        if now.since(self.heard) >= FORGET_SPAN
            && now.since(self.changed) >= FORGET_SPAN
            && self.rate < START_BITS_PER_S.min(self.ceiling)
        {
            self.set_rate(now, (self.rate / 4 * 5).min(START_BITS_PER_S));
        }
    }

    fn decide(&mut self, now: Instant) {
        let changed = self.changed;
        let fresh = self.queue(|sample| sample.mark.at >= changed && now.since(sample.came) <= FRESH);
        if fresh.is_some_and(|queue| queue > QUEUE_HIGH) {
            return self.on_queue(now);
        }
        if fresh.is_some() {
            self.delayed = None;
        }
        let tried = self.queue(|sample| sample.mark.at >= changed && sample.mark.is_tried);
        if now >= self.hold_until && tried.is_some_and(|queue| queue < QUEUE_LOW) {
            self.grow(now);
        } else if let (Some(until), Some(carried)) = (self.probe_until, self.carried)
            && until <= now
        {
            // More was possible now and then, and no more than that.
            self.settle(now, carried);
        }
    }

    /// The present rate makes no queue: to the next one.
    fn grow(&mut self, now: Instant) {
        if self.rate == self.ceiling {
            (self.carried, self.probe_until, self.is_limited) = (None, None, false);
            return;
        }
        if let Some(carried) = self.carried {
            if self.rate >= carried / 100 * (100 + PROBE_PERCENT) {
                (self.carried, self.is_starting) = (Some(self.rate), true);
            }
            self.probe_until = Some(now + PROBE);
        }
        let grown = if self.is_starting { self.rate / 4 * 5 } else { self.rate / 20 * 21 };
        self.set_rate(now, grown);
    }

    /// Three quarters of the receivers see delay.
    fn on_queue(&mut self, now: Instant) {
        let since = (*self.delayed.get_or_insert(now)).max(self.changed);
        let measured = self.measure();
        if let Some((carried, offered)) = measured
            && carried <= offered / 100 * GROWS_PERCENT
        {
            return self.settle(now, carried);
        }
        if let Some(carried) = self.carried.filter(|_| self.probe_until.is_some()) {
            // The test of more has failed.
            return self.settle(now, carried);
        }
        let lasting = self.queue(|sample| sample.mark.at >= since + LASTING);
        if lasting.is_none_or(|queue| queue <= QUEUE_HIGH) {
            return;
        }
        if let Some((carried, _)) = measured {
            self.settle(now, carried.min(self.rate));
        } else {
            self.cut(now, self.rate / 3 * 2);
            self.hold_until = now + HOLD_UNSURE;
        }
    }

    /// The uplink carries so much: the rate is what is used of that.
    fn settle(&mut self, now: Instant, carried: u64) {
        self.carried = Some(carried);
        self.cut(now, carried / 100 * USED_PERCENT);
        self.is_starting = false;
    }

    fn cut(&mut self, now: Instant, to: u64) {
        self.set_rate(now, to);
        self.hold_until = now + HOLD;
        self.probe_until = None;
        self.is_limited = true;
    }

    fn set_rate(&mut self, now: Instant, to: u64) {
        self.rate = to.clamp(RATE_MIN_BITS_PER_S, self.ceiling);
        self.changed = now;
        self.used = None;
    }

    /// The delay that three quarters of the samples do not exceed; a few receivers with troubles of their own, or liars, move
    /// nothing.
    fn queue(&self, of: impl Fn(&Sample) -> bool) -> Option<Duration> {
        let mut queued: Vec<Duration> = self
            .samples
            .iter()
            .rev()
            .filter(|sample| of(sample))
            .take(SAMPLES_RECENT)
            .map(|s| s.queued)
            .collect();
        if queued.len() < SAMPLES_MIN {
            return None;
        }
        queued.sort_unstable();
        queued.get((queued.len() - 1) * 3 / 4).copied()
    }

    /// What the uplink carries, and what was put into it, from all pairs of samples between which it was never idle: the medians (Theil
    /// and Sen) of bytes by the time between their arrivals, and between their departures.
    fn measure(&self) -> Option<(u64, u64)> {
        let busy: Vec<&Sample> = self.samples.iter().filter(|sample| sample.queued >= QUEUE_SURE).collect();
        let (mut carried, mut offered) = (Vec::new(), Vec::new());
        for (place, one) in busy.iter().enumerate() {
            for other in busy.iter().skip(place + 1) {
                let (first, second) =
                    if one.mark.bytes <= other.mark.bytes { (one, other) } else { (other, one) };
                let bytes = second.mark.bytes - first.mark.bytes;
                let arrived = |sample: &Sample| sample.mark.at + sample.queued;
                let span = arrived(second).since(arrived(first));
                if first.mark.burst == second.mark.burst && bytes >= PAIR_BYTES_MIN && !span.is_zero() {
                    carried.push(bits_per_s(bytes, span));
                    offered.push(bits_per_s(bytes, second.mark.at.since(first.mark.at)));
                }
            }
        }
        if carried.len() < PAIRS_MIN {
            return None;
        }
        Some((median(carried)?, median(offered)?))
    }
}

fn bits_per_s(bytes: u64, span: Duration) -> u64 {
    u64::try_from(u128::from(bytes) * 8_000_000 / span.as_micros().max(1)).unwrap_or(u64::MAX)
}

fn median(mut of: Vec<u64>) -> Option<u64> {
    of.sort_unstable();
    of.get(of.len() / 2).copied()
}

#[cfg(test)]
mod tests;
