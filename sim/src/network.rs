//! What the simulated network does to packets: how fast an access link sends, how long a path takes, what is lost. Owns the
//! arithmetic of one packet; links, handshakes and the event queue are elsewhere.

use crate::Rng;
use p2psp_core::{Instant, Pacer};
use std::time::Duration;

/// How the network between all nodes behaves.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// One-way delays.
    pub latency: Latency,
    /// Each train comes up to this much later, uniform; trains may overtake each other, control messages do not.
    pub jitter: Duration,
    /// Which datagrams get lost. Control streams repeat what is lost, and come later.
    pub loss: Loss,
    /// The same for the links that have a splitter at one end, where it differs.
    pub splitter_loss: Option<Loss>,
    /// Bytes that travel with each datagram and each control message beside it: 28 for IPv4 and UDP, 30 for a QUIC short
    /// header and its tag (docs/background.md 3).
    pub packet_overhead_bytes: u32,
    /// A link whose other side is silent this long is gone.
    pub idle_timeout: Duration,
    /// A dial that nobody answers fails after this.
    pub dial_timeout: Duration,
    /// The uplink reports that it is spent when more than this waits in it ...
    pub uplink_high: Duration,
    /// ... and that it has room again when no more than this waits.
    pub uplink_low: Duration,
    /// Every so many messages go through encoder and decoder; 0 says none.
    pub through_wire: u64,
    /// A send that finds its link's queue full, and for how long it stays so.
    pub stall: Option<(f64, Duration)>,
}

impl Default for NetworkConfig {
    /// A clean network: 20 ms everywhere, nothing lost.
    fn default() -> Self {
        Self {
            latency: Latency::Fixed { splitter: Duration::from_millis(20), team: Duration::from_millis(20) },
            jitter: Duration::ZERO,
            loss: Loss::None,
            splitter_loss: None,
            packet_overhead_bytes: 58,
            idle_timeout: Duration::from_secs(3),
            dial_timeout: Duration::from_secs(3),
            uplink_high: Duration::from_millis(10),
            uplink_low: Duration::from_millis(5),
            through_wire: 0,
            stall: None,
        }
    }
}

/// One-way delays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Latency {
    /// By class of the pair.
    Fixed {
        /// Between the splitter and a peer (`d0`).
        splitter: Duration,
        /// Between two peers (`di`).
        team: Duration,
    },
    /// Every node lies somewhere on a unit square.
    Plane {
        /// For any pair.
        base: Duration,
        /// For each unit of distance, added.
        per_unit: Duration,
    },
}

impl Latency {
    /// The delay between two places.
    #[must_use]
    pub fn between(&self, a: &Place, b: &Place) -> Duration {
        match self {
            Self::Fixed { splitter, team } => {
                if a.splitter || b.splitter {
                    *splitter
                } else {
                    *team
                }
            }
            Self::Plane { base, per_unit } => *base + per_unit.mul_f64((a.x - b.x).hypot(a.y - b.y)),
        }
    }
}

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// From west to east, 0 to 1.
    pub x: f64,
    /// From south to north, 0 to 1.
    pub y: f64,
    /// It is a splitter.
    pub splitter: bool,
}

/// Which datagrams get lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// None.
    None,
    /// Each with this probability, independently.
    Independent(f64),
    /// Gilbert-Elliott: the same mean loss in runs, on each direction of each link by itself.
    Bursts {
        /// The mean share of datagrams lost, below 1.
        mean: f64,
        /// The mean number of datagrams in a run.
        length: f64,
    },
}

impl Loss {
    /// Whether the next datagram is lost. `burst` is the direction's state: it is inside a run of losses.
    pub fn draw(&self, burst: &mut bool, rng: &mut Rng) -> bool {
        match *self {
            Self::None => false,
            Self::Independent(p) => rng.chance(p),
            Self::Bursts { mean, length } => {
                let leave = 1.0 / length.max(1.0);
                *burst = if *burst { !rng.chance(leave) } else { rng.chance(mean * leave / (1.0 - mean)) };
                *burst
            }
        }
    }

    /// The mean share of datagrams lost.
    #[must_use]
    pub const fn mean(&self) -> f64 {
        match *self {
            Self::None => 0.0,
            Self::Independent(mean) | Self::Bursts { mean, .. } => mean,
        }
    }
}

/// A node's access link: one queue in front of a sender of constant rate. Where the machine sets the rate of its pacer, that is one
/// more in front of it; where it does not, the queue is the pacer.
#[derive(Clone, Debug)]
pub struct Uplink {
    bits_per_second: Option<u64>,
    busy_until: Instant,
    pacer: Option<Pacer>,
    /// The most that ever waited in the queue, since it was last asked.
    backlog_max: Duration,
    /// Packet bytes sent, overhead included.
    pub bytes_sent: u64,
    /// It reported that it is spent, and has not reported that it is ready again.
    pub spent: bool,
}

impl Uplink {
    /// An uplink of this rate, or one without limit.
    #[must_use]
    pub const fn new(bits_per_second: Option<u64>) -> Self {
        Self {
            bits_per_second,
            busy_until: Instant::ORIGIN,
            pacer: None,
            backlog_max: Duration::ZERO,
            bytes_sent: 0,
            spent: false,
        }
    }

    /// Changes the rate for what is sent from now on.
    pub const fn set_rate(&mut self, bits_per_second: u64) {
        self.bits_per_second = Some(bits_per_second);
    }

    /// Puts a packet into the queue and says when its last bit has left.
    pub fn send(&mut self, now: Instant, bytes: u64) -> Instant {
        self.bytes_sent += bytes;
        let Some(rate) = self.bits_per_second else { return now };
        self.busy_until = self.busy_until.max(now) + serialisation(bytes, rate);
        self.backlog_max = self.backlog_max.max(self.backlog(now));
        self.busy_until
    }

    /// The machine sets its pacer's rate.
    pub fn pace(&mut self, now: Instant, bits_per_second: u64) {
        match &mut self.pacer {
            Some(pacer) => pacer.set_rate(now, bits_per_second),
            None => self.pacer = Some(Pacer::new(bits_per_second, now)),
        }
    }

    /// A train of so many bytes passes the pacer.
    pub fn charge(&mut self, now: Instant, bytes: u64) {
        if let Some(pacer) = &mut self.pacer {
            pacer.charge(now, bytes);
        }
    }

    /// Whether no train should go out, if more than `high` is too much to wait.
    #[must_use]
    pub fn is_spent(&self, now: Instant, high: Duration) -> bool {
        self.pacer.as_ref().map_or_else(|| self.backlog(now) > high, |pacer| pacer.open_at() > now)
    }

    /// The most that ever waited in the queue since the last call.
    pub const fn take_backlog_max(&mut self) -> Duration {
        std::mem::replace(&mut self.backlog_max, Duration::ZERO)
    }

    /// How long what waits now will take to leave.
    #[must_use]
    pub const fn backlog(&self, now: Instant) -> Duration {
        self.busy_until.since(now)
    }

    /// When trains may go out again: no more than `low` is waiting then.
    #[must_use]
    pub fn ready_at(&self, now: Instant, low: Duration) -> Instant {
        self.pacer.as_ref().map_or(self.busy_until - low, Pacer::open_at).max(now)
    }
}

/// How long `bytes` take at a rate.
#[must_use]
pub fn serialisation(bytes: u64, bits_per_second: u64) -> Duration {
    Duration::from_nanos((bytes * 8).saturating_mul(1_000_000_000) / bits_per_second.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    #[test]
    fn an_uplink_is_a_queue_of_constant_rate() {
        let mut uplink = Uplink::new(Some(8_000_000));
        assert_eq!(uplink.send(at(5), 1000), at(6));
        assert_eq!(uplink.send(at(5), 2000), at(8), "waits for the first");
        assert_eq!(uplink.backlog(at(5)), Duration::from_millis(3));
        assert_eq!(uplink.ready_at(at(5), Duration::from_millis(2)), at(6));
        assert_eq!(uplink.ready_at(at(7), Duration::from_millis(2)), at(7));
        assert_eq!(uplink.send(at(20), 1000), at(21), "idle time is not saved up");
        assert_eq!(uplink.bytes_sent, 4000);
        assert_eq!(Uplink::new(None).send(at(5), 1 << 40), at(5));
    }

    /// Both kinds of loss have the mean they are given, and runs have theirs.
    #[test]
    fn losses_have_their_mean_and_length() {
        for (loss, length) in
            [(Loss::Independent(0.05), 1.0 / 0.95), (Loss::Bursts { mean: 0.05, length: 20.0 }, 20.0)]
        {
            let (mut rng, mut burst) = (Rng::new(7), false);
            let lost: Vec<bool> = (0..1_000_000).map(|_| loss.draw(&mut burst, &mut rng)).collect();
            let losses = lost.iter().filter(|lost| **lost).count() as f64;
            let runs = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count() as f64;
            assert!((losses / 1e6 - loss.mean()).abs() < 0.005, "{loss:?}: {losses} lost");
            assert!((losses / runs / length - 1.0).abs() < 0.1, "{loss:?}: runs of {}", losses / runs);
        }
    }

    #[test]
    fn latency_by_class_and_by_place() {
        let place = |x, splitter| Place { x, y: 0.5, splitter };
        let (d0, di) = (Duration::from_millis(40), Duration::from_millis(10));
        let fixed = Latency::Fixed { splitter: d0, team: di };
        assert_eq!(fixed.between(&place(0.0, true), &place(0.0, false)), d0);
        assert_eq!(fixed.between(&place(0.0, false), &place(0.0, false)), di);
        let plane = Latency::Plane { base: di, per_unit: d0 };
        assert_eq!(plane.between(&place(0.25, true), &place(0.75, false)), Duration::from_millis(30));
    }
}
