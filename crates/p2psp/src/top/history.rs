//! What figures were in the last minutes: levels as they are told, counters as rates. The only clock is the process's own uptime, which
//! comes with the figures, so that a late answer makes no false rate.

use super::text;
use p2psp_admin::v1::{PeerFigures, SplitterFigures};
use std::collections::VecDeque;

/// Values kept of each figure: what a wide screen shows.
pub(super) const VALUES_MAX: usize = 240;

/// Values over time, the newest last; `None` where nothing was known.
#[derive(Clone, Debug, Default)]
pub(super) struct History(VecDeque<Option<f64>>);

impl History {
    /// Adds the newest value, and forgets the oldest if there are too many.
    pub(super) fn push(&mut self, value: Option<f64>) {
        if self.0.len() == VALUES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// The newest value.
    pub(super) fn newest(&self) -> Option<f64> {
        self.0.back().copied().flatten()
    }

    /// All values, the oldest first.
    pub(super) fn values(&self) -> Vec<Option<f64>> {
        self.0.iter().copied().collect()
    }
}

/// How a figure is read and told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// A counter of bytes, told as bits per second.
    Bits,
    /// A counter, told as so many per second.
    Each,
    /// A level in milliseconds.
    Millis,
}

impl Unit {
    /// A value in words.
    pub(super) fn tell(self, value: f64) -> String {
        match self {
            Self::Bits => text::bits(value),
            Self::Each => text::each(value),
            Self::Millis => format!("{value:.0} ms"),
        }
    }
}

/// A figure of `F`: its name, and how to read it.
#[derive(Debug)]
pub(super) struct Figure<F: 'static> {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    /// A counter's count, or a level.
    pub(super) read: fn(&F) -> Option<f64>,
}

/// Figures that tell how long their process has run.
pub(super) trait Figures: Sized + 'static {
    /// What is drawn, the most important first.
    const CHARTS: &'static [Figure<Self>];
    /// Where chunks went that did not come as they should.
    const CAUSES: &'static [Figure<Self>];
    /// Time since the start, in milliseconds.
    fn uptime_ms(&self) -> u64;
}

/// The history of all figures of a process.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    uptime_ms: u64,
    meters: Vec<Meter>,
}

/// One figure over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    /// What was read last.
    pub(super) last: Option<f64>,
    /// Rates or levels.
    pub(super) history: History,
}

impl Trace {
    /// No figures yet.
    pub(super) const fn new() -> Self {
        Self { uptime_ms: 0, meters: Vec::new() }
    }

    /// Takes newer figures in. The same ones again say nothing; those of a process that began anew begin anew.
    pub(super) fn feed<F: Figures>(&mut self, figures: &F) {
        let all = F::CHARTS.iter().chain(F::CAUSES);
        self.meters.resize_with(F::CHARTS.len() + F::CAUSES.len(), Meter::default);
        let now = figures.uptime_ms();
        if now == self.uptime_ms {
            return;
        }
        let seconds = now.checked_sub(self.uptime_ms).map(|millis| float(millis) / 1000.0);
        self.uptime_ms = now;
        for (figure, meter) in all.zip(&mut self.meters) {
            let read = (figure.read)(figures);
            let value = match figure.unit {
                Unit::Millis => read,
                Unit::Bits | Unit::Each => {
                    let bits = if figure.unit == Unit::Bits { 8.0 } else { 1.0 };
                    read.zip(meter.last)
                        .zip(seconds)
                        .filter(|((read, last), _)| read >= last)
                        .map(|((read, last), seconds)| (read - last) * bits / seconds)
                }
            };
            meter.last = read;
            meter.history.push(value);
        }
    }

    /// Nothing is known until the next figures.
    pub(super) fn gap(&mut self) {
        // No time has passed since then that a rate could be told for.
        self.uptime_ms = u64::MAX;
        for meter in &mut self.meters {
            meter.history.push(None);
        }
    }

    /// What is drawn.
    pub(super) fn charts<F: Figures>(&self) -> impl Iterator<Item = (&'static Figure<F>, &Meter)> {
        F::CHARTS.iter().zip(&self.meters)
    }

    /// Where chunks went.
    pub(super) fn causes<F: Figures>(&self) -> impl Iterator<Item = (&'static Figure<F>, &Meter)> {
        F::CAUSES.iter().zip(self.meters.iter().skip(F::CHARTS.len()))
    }
}

fn count(count: u64) -> Option<f64> {
    Some(float(count))
}

/// Exact below 2^53; nobody sees the difference above.
fn float(value: u64) -> f64 {
    let (high, low) = (value >> 32, value & u64::from(u32::MAX));
    let half = |half: u64| f64::from(u32::try_from(half).unwrap_or(u32::MAX));
    half(high).mul_add(4_294_967_296.0, half(low))
}

macro_rules! counter {
    ($name:literal, $unit:ident, $field:ident) => {
        Figure { name: $name, unit: Unit::$unit, read: |figures| count(figures.$field) }
    };
}

impl Figures for SplitterFigures {
    const CHARTS: &'static [Figure<Self>] = &[
        counter!("source", Bits, bytes_total),
        counter!("sent", Bits, sent_bytes_total),
        counter!("missing", Each, reported_missing_chunks_total),
        counter!("lost", Each, reported_lost_chunks_total),
        counter!("pulls", Each, served_chunks_total),
        counter!("turns", Each, turns_total),
    ];
    const CAUSES: &'static [Figure<Self>] = &[
        counter!("reported lost", Each, reported_lost_chunks_total),
        counter!("reported missing", Each, reported_missing_chunks_total),
        counter!("nobody ready", Each, unsent_chunks_total),
        counter!("uplink spent", Each, overflowed_chunks_total),
        counter!("fetched here", Each, served_chunks_total),
        counter!("complaints", Each, complaints_total),
    ];

    fn uptime_ms(&self) -> u64 {
        self.uptime_ms
    }
}

impl Figures for PeerFigures {
    const CHARTS: &'static [Figure<Self>] = &[
        counter!("in", Bits, received_bytes_total),
        counter!("out", Bits, sent_bytes_total),
        Figure { name: "delay p99", unit: Unit::Millis, read: |figures| figures.delay_ms_p99 },
        counter!("buffer", Millis, buffer_ms),
        counter!("lost", Each, lost_chunks_total),
        counter!("played", Bits, played_bytes_total),
    ];
    const CAUSES: &'static [Figure<Self>] = &[
        counter!("lost", Each, lost_chunks_total),
        counter!("rebuilt", Each, rebuilt_chunks_total),
        counter!("fetched", Each, pulled_chunks_total),
        counter!("late", Each, late_chunks_total),
        counter!("false", Each, false_chunks_total),
        counter!("unexpected", Each, unexpected_chunks_total),
        counter!("duplicate", Each, duplicate_chunks_total),
        counter!("not relayed, too old", Each, expired_chunks_total),
    ];

    fn uptime_ms(&self) -> u64 {
        self.uptime_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(uptime_ms: u64, bytes_total: u64) -> SplitterFigures {
        SplitterFigures { uptime_ms, bytes_total, ..SplitterFigures::default() }
    }

    fn source(trace: &Trace) -> Vec<Option<f64>> {
        trace.charts::<SplitterFigures>().next().unwrap().1.history.values()
    }

    /// Rates are by the process's own time; the same figures again, and those of another run, make none.
    #[test]
    fn rates_are_by_uptime() {
        let mut trace = Trace::new();
        for (uptime_ms, bytes) in
            [(1000, 1000), (3000, 2000), (3000, 2000), (4000, 2000), (10, 5), (1010, 130)]
        {
            trace.feed(&figures(uptime_ms, bytes));
        }
        assert_eq!(source(&trace), [None, Some(4000.0), Some(0.0), None, Some(1000.0)]);
        trace.gap();
        trace.feed(&figures(9000, 500));
        assert_eq!(source(&trace).split_off(5), [None, None]);
    }

    #[test]
    fn histories_are_bounded() {
        let mut history = History::default();
        for _ in 0..=VALUES_MAX {
            history.push(Some(1.0));
        }
        assert_eq!(history.values().len(), VALUES_MAX);
    }

    #[test]
    fn counts_stay_counts() {
        assert_eq!(count(0), Some(0.0));
        assert_eq!(count(1 << 40), Some(1_099_511_627_776.0));
        assert_eq!(count(u64::from(u32::MAX)), Some(4_294_967_295.0));
    }
}
