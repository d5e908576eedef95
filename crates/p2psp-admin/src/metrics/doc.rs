//! `docs/metrics.md`, from the tables that `/metrics` is made of.

use super::{COMMON, INFO, Kind, Metric, Series, net, peer, process, splitter};

/// A metric as documents show it.
struct Row {
    name: &'static str,
    kind: Kind,
    labels: String,
    help: &'static str,
}

/// The names of all metrics, those of histograms without their suffixes.
#[must_use]
pub fn names() -> Vec<&'static str> {
    sections().into_iter().flat_map(|(_, rows)| rows).map(|row| row.name).collect()
}

/// The text of `docs/metrics.md`.
#[must_use]
pub fn document() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         <!-- Written by `cargo xtask metrics` from crates/p2psp-admin/src/metrics; CI fails when it is stale. -->\n\n\
         A splitter and a peer that run with `--admin 127.0.0.1:PORT` answer Prometheus on `/metrics`, and probes on `/livez` \
         (the process answers) and `/readyz` (a splitter is open; a peer has its seat; 503 with the reason otherwise). The figures \
         are those of the admin API and of a peer's `/stats`, renewed once a second.\n\n\
         Counters begin at 0 with the process. No label names a peer, an address or a chunk: the number of series is the same with \
         one peer and with five hundred. Figures of single peers are in the admin API (`p2psp ctl get peers`).\n",
    );
    for (title, rows) in sections() {
        text.push_str(&format!("\n## {title}\n\n| name | kind | labels | meaning |\n|---|---|---|---|\n"));
        for Row { name, kind, labels, help } in rows {
            text.push_str(&format!("| `{name}` | {} | {labels} | {help} |\n", kind.name()));
        }
    }
    text
}

fn sections() -> [(&'static str, Vec<Row>); 5] {
    let (name, help) = INFO;
    let info = Row { name, kind: Kind::Gauge, labels: "`channel`, `role`, `version`".to_owned(), help };
    let common = [info].into_iter().chain(rows(COMMON)).collect();
    [
        ("Every process", common),
        ("Splitter", rows(splitter::METRICS)),
        ("Peer", rows(peer::METRICS)),
        ("Network node of every process", rows(net::METRICS)),
        ("The process, on Linux", rows(process::METRICS)),
    ]
}

fn rows<F>(metrics: &[Metric<F>]) -> Vec<Row> {
    let row = |metric: &Metric<F>| Row {
        name: metric.name,
        kind: metric.kind,
        labels: match &metric.series {
            Series::One(_) => "–".to_owned(),
            Series::By { label, values } => {
                let values: Vec<String> = values.iter().map(|(value, _)| format!("`{value}`")).collect();
                format!("`{label}`: {}", values.join(", "))
            }
            Series::Buckets(_) => "`le`".to_owned(),
        },
        help: metric.help,
    };
    metrics.iter().map(row).collect()
}
