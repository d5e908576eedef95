//! Prometheus: what a process tells of itself as text, from the figures that it publishes anyway. Owns names, kinds and the text
//! format (version 0.0.4). The series are fixed by the tables below: none comes or goes with peers, chunks or addresses.
//!
//! There is no registry that counts a second time: `/metrics`, the admin API and a peer's `/stats` show one snapshot, and agree.

mod doc;
mod net;
mod peer;
mod process;
mod splitter;

pub use doc::{document, names};
pub use peer::PeerView;
pub use splitter::SplitterView;

use crate::v1::{Info, NetFigures, Role, RuntimeState};
use std::fmt::{self, Write};

/// What Prometheus is told the text is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows, from the start of the process.
    Counter,
    /// Is what it is now.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A sample's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    Int(u64),
    Real(f64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => value.fmt(f),
            Self::Real(value) => value.fmt(f),
        }
    }
}

/// How a sample is read from figures of type `F`.
pub(crate) type Read<F> = fn(&F) -> Value;

/// The samples of a metric.
pub(crate) enum Series<F: 'static> {
    /// One without labels.
    One(Read<F>),
    /// One for each value of a label.
    By { label: &'static str, values: &'static [(&'static str, Read<F>)] },
    /// Buckets, a sum and a count; [`Histogram`] from the figures.
    Buckets(fn(&F) -> Histogram),
}

/// A metric over figures of type `F`.
pub(crate) struct Metric<F: 'static> {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
    pub(crate) series: Series<F>,
}

pub(crate) const fn counter<F>(name: &'static str, help: &'static str, read: Read<F>) -> Metric<F> {
    Metric { name, kind: Kind::Counter, help, series: Series::One(read) }
}

pub(crate) const fn gauge<F>(name: &'static str, help: &'static str, read: Read<F>) -> Metric<F> {
    Metric { name, kind: Kind::Gauge, help, series: Series::One(read) }
}

pub(crate) const fn counters<F>(
    name: &'static str,
    help: &'static str,
    label: &'static str,
    values: &'static [(&'static str, Read<F>)],
) -> Metric<F> {
    Metric { name, kind: Kind::Counter, help, series: Series::By { label, values } }
}

pub(crate) const fn gauges<F>(
    name: &'static str,
    help: &'static str,
    label: &'static str,
    values: &'static [(&'static str, Read<F>)],
) -> Metric<F> {
    Metric { name, kind: Kind::Gauge, help, series: Series::By { label, values } }
}

/// Counts below bounds.
pub(crate) struct Histogram {
    /// Upper bound in seconds, and how many are not above it; ascending.
    pub(crate) buckets: Vec<(&'static str, u64)>,
    pub(crate) sum: f64,
    pub(crate) count: u64,
}

/// A whole number.
pub(crate) const fn int(value: u64) -> Value {
    Value::Int(value)
}

/// Seconds of milliseconds.
pub(crate) fn seconds(millis: u64) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "exact up to 285 thousand years")]
    let millis = millis as f64;
    Value::Real(millis / 1e3)
}

/// One if so.
pub(crate) fn flag(is: bool) -> Value {
    Value::Int(u64::from(is))
}

const COMMON: &[Metric<Info>] = &[
    gauge("p2psp_ready", "1 while the process is at work, 0 while it starts or leaves.", |info| {
        flag(info.state() == RuntimeState::Ready)
    }),
    gauge("p2psp_draining", "1 once the process is on its way out.", |info| {
        flag(info.state() == RuntimeState::Draining)
    }),
    gauge("p2psp_uptime_seconds", "Time since the start.", |info| seconds(info.uptime_ms)),
];

/// What says which process this is.
const INFO: (&str, &str) =
    ("p2psp_info", "Always 1; the labels say which role, version and channel the process has.");

/// What a splitter is scraped for.
#[must_use]
pub fn splitter(info: &Info, view: &SplitterView) -> String {
    let mut text = common(info);
    write_all(&mut text, splitter::METRICS, view);
    finish(text, &view.net)
}

/// What a peer is scraped for.
#[must_use]
pub fn peer(info: &Info, view: &PeerView) -> String {
    let mut text = common(info);
    write_all(&mut text, peer::METRICS, view);
    finish(text, &view.net)
}

fn common(info: &Info) -> String {
    let mut text = String::with_capacity(32 * 1024);
    let role = match info.role() {
        Role::Splitter => "splitter",
        Role::Peer => "peer",
        Role::Unspecified => "",
    };
    let (name, help) = INFO;
    head(&mut text, name, Kind::Gauge, help);
    // Our own words and a base32 key: nothing needs escaping.
    line(
        &mut text,
        format_args!("{name}{{channel=\"{}\",role=\"{role}\",version=\"{}\"}} 1", info.channel, info.version),
    );
    write_all(&mut text, COMMON, info);
    text
}

fn finish(mut text: String, net: &NetFigures) -> String {
    write_all(&mut text, net::METRICS, net);
    write_all(&mut text, process::METRICS, &process::Figures::read());
    text
}

fn write_all<F>(text: &mut String, metrics: &[Metric<F>], figures: &F) {
    for Metric { name, kind, help, series } in metrics {
        head(text, name, *kind, help);
        match series {
            Series::One(read) => line(text, format_args!("{name} {}", read(figures))),
            Series::By { label, values } => {
                for (value, read) in *values {
                    line(text, format_args!("{name}{{{label}=\"{value}\"}} {}", read(figures)));
                }
            }
            Series::Buckets(read) => {
                let Histogram { buckets, sum, count } = read(figures);
                for (bound, below) in buckets {
                    line(text, format_args!("{name}_bucket{{le=\"{bound}\"}} {below}"));
                }
                line(text, format_args!("{name}_bucket{{le=\"+Inf\"}} {count}"));
                line(text, format_args!("{name}_sum {sum}"));
                line(text, format_args!("{name}_count {count}"));
            }
        }
    }
}

fn head(text: &mut String, name: &str, kind: Kind, help: &str) {
    line(text, format_args!("# HELP {name} {help}"));
    line(text, format_args!("# TYPE {name} {}", kind.name()));
}

fn line(text: &mut String, line: fmt::Arguments<'_>) {
    text.write_fmt(line)
        .and_then(|()| text.write_char('\n'))
        .expect("a String takes all that fits into memory");
}

#[cfg(test)]
mod tests;
