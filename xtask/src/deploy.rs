//! What operators are given (`deploy/`, `docs/operating.md`) against what the program has: each metric named there is one of
//! `docs/metrics.md`, each alert has a runbook and a unit test, each dashboard is whole, each package is of this version, each path leads
//! somewhere. Whether queries give data is tested with a real Prometheus, and whether packages run by installing them, elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    path::Path,
    process::Command,
};

const METRICS: &str = "docs/metrics.md";
const RUNBOOK: &str = "docs/operating.md";
const RULES: &str = "deploy/prometheus/p2psp.rules.yml";
const RULE_TESTS: &str = "deploy/prometheus/p2psp.rules.test.yml";
/// Files that name a version, and what stands before it.
const VERSIONED: [(&str, &str); 5] = [
    ("deploy/debian/changelog", "p2psp ("),
    ("deploy/container/Containerfile", "ARG VERSION="),
    ("deploy/compose/compose.yaml", "P2PSP_IMAGE:-p2psp:"),
    ("deploy/kustomization.yaml", "newTag: "),
    (RUNBOOK, "-t p2psp:"),
];

/// What the files may name.
#[derive(Debug, Default)]
struct Known {
    metrics: BTreeSet<String>,
    histograms: BTreeSet<String>,
    records: BTreeSet<String>,
}

pub(crate) fn check(root: &Path) -> Result<(), Box<dyn Error>> {
    let read = |name: &str| fs::read_to_string(root.join(name)).map_err(|error| format!("{name}: {error}"));
    let (rules, runbook, tests) = (read(RULES)?, read(RUNBOOK)?, read(RULE_TESTS)?);
    let known = known(&read(METRICS)?, &rules);
    let mut faults = alerts(&rules, &runbook, &tests);
    let listing = Command::new("git").arg("-C").arg(root).args(["ls-files", "deploy", RUNBOOK]).output()?;
    for name in String::from_utf8(listing.stdout)?.lines() {
        let text = read(name)?;
        faults.extend(
            unknown(&text, &known).into_iter().map(|word| format!("{name}: {word} is not in {METRICS}")),
        );
        if name.starts_with("deploy/grafana/dashboards/") {
            faults.extend(dashboard(&text).into_iter().map(|fault| format!("{name}: {fault}")));
        }
    }
    for (name, before) in VERSIONED {
        if !is_of(&read(name)?, before, env!("CARGO_PKG_VERSION")) {
            faults.push(format!("{name}: no {} after `{before}`", env!("CARGO_PKG_VERSION")));
        }
    }
    for path in paths(&runbook).filter(|path| !root.join(path).exists()) {
        faults.push(format!("{RUNBOOK}: there is no {path}"));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n       ").into()) }
}

/// Whether the first thing that follows `before` is `version`.
fn is_of(text: &str, before: &str, version: &str) -> bool {
    let rest = text.split_once(before).and_then(|(_, after)| after.strip_prefix(version));
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || ".-+~".contains(c)))
}

/// The paths below `deploy/` that a text names.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "/._-".contains(c)));
    words.filter(|word| word.starts_with("deploy/")).map(|word| word.trim_end_matches('.'))
}

fn known(metrics: &str, rules: &str) -> Known {
    let mut known = Known::default();
    for line in metrics.lines() {
        let mut cells = line.split('|').map(|cell| cell.trim().trim_matches('`'));
        if let (Some(""), Some(name), Some(kind)) = (cells.next(), cells.next(), cells.next()) {
            match kind {
                "counter" | "gauge" => known.metrics.insert(name.to_owned()),
                "histogram" => known.histograms.insert(name.to_owned()),
                _ => false,
            };
        }
    }
    known.records = values(rules, "- record: ").map(str::to_owned).collect();
    known
}

/// What follows `key` on the lines that begin with it.
fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.trim_start().strip_prefix(key))
}

/// The metrics and recorded series that a text names and that are not there.
fn unknown(text: &str, known: &Known) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words
        .filter(|word| {
            if word.contains("::") {
                return false;
            }
            if word.starts_with("instance:") && word.len() > "instance:".len() {
                return !known.records.contains(*word);
            }
            let is_metric = word.starts_with("p2psp_") || word.starts_with("process_");
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix));
            is_metric
                && !known.metrics.contains(*word)
                && !base.is_some_and(|base| known.histograms.contains(base))
        })
        .map(str::to_owned)
        .collect()
}

fn alerts(rules: &str, runbook: &str, tests: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let names: BTreeSet<&str> = values(rules, "- alert: ").collect();
    let headings: BTreeSet<String> =
        values(runbook, "### P2psp").map(|rest| format!("P2psp{rest}")).collect();
    let links: BTreeSet<&str> =
        values(rules, "runbook_url: ").filter_map(|url| url.rsplit('#').next()).collect();
    for name in &names {
        if !headings.contains(*name) {
            faults.push(format!("{RUNBOOK}: no `### {name}`, for the alert of {RULES}"));
        }
        if !links.contains(name.to_lowercase().as_str()) {
            faults.push(format!("{RULES}: {name} has no runbook_url that ends in #{}", name.to_lowercase()));
        }
        if !values(tests, "alertname: ").any(|tested| tested == *name) {
            faults.push(format!("{RULE_TESTS}: {name} is not tested"));
        }
    }
    for heading in headings.iter().filter(|heading| !names.contains(heading.as_str())) {
        faults.push(format!("{RUNBOOK}: {heading} is no alert of {RULES}"));
    }
    faults
}

/// What is wrong with a dashboard.
fn dashboard(text: &str) -> Vec<String> {
    let Ok(dashboard) = serde_json::from_str::<serde_json::Value>(text) else {
        return vec!["is not JSON".to_owned()];
    };
    let mut faults = Vec::new();
    for key in ["uid", "title"] {
        if dashboard.get(key).and_then(|value| value.as_str()).is_none_or(str::is_empty) {
            faults.push(format!("has no {key}"));
        }
    }
    let mut ids: BTreeMap<u64, &str> = BTreeMap::new();
    for panel in dashboard.get("panels").and_then(|panels| panels.as_array()).into_iter().flatten() {
        let title = panel.get("title").and_then(|title| title.as_str()).unwrap_or("a panel without title");
        let id = panel.get("id").and_then(serde_json::Value::as_u64).unwrap_or_default();
        if let Some(other) = ids.insert(id, title) {
            faults.push(format!("`{title}` and `{other}` have the id {id}"));
        }
        let targets = panel.get("targets").and_then(|targets| targets.as_array());
        let is_query = |target: &serde_json::Value| {
            target.get("expr").and_then(|expr| expr.as_str()).is_some_and(|expr| !expr.is_empty())
        };
        if !targets.is_some_and(|targets| !targets.is_empty() && targets.iter().all(is_query)) {
            faults.push(format!("`{title}` has no query, or an empty one"));
        }
    }
    if ids.is_empty() {
        faults.push("has no panels".to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "| name | kind | labels | meaning |\n|---|---|---|---|\n| `p2psp_a_total` | counter | – | A. |\n\
                           | `p2psp_delay_seconds` | histogram | `le` | D. |\n";

    #[test]
    fn names_that_are_not_there_are_found() {
        let known = known(METRICS, "      - record: instance:p2psp_a:rate5m\n");
        let text = "rate(p2psp_a_total[5m]) p2psp_delay_seconds_bucket{x=\"p2psp-peer\"} p2psp_a_bucket p2psp_delay_seconds \
                    instance:p2psp_a:rate5m instance:p2psp_b:rate5m p2psp_admin::audit process_cpu {instance: a}";
        let expected = ["instance:p2psp_b:rate5m", "p2psp_a_bucket", "p2psp_delay_seconds", "process_cpu"];
        assert_eq!(unknown(text, &known).into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn alerts_have_runbooks_and_tests() {
        let rule = |link: &str| {
            format!("  - alert: P2pspX\n    annotations:\n      runbook_url: https://h/o.md#{link}\n")
        };
        let (page, test) = ("text\n### P2pspX\n", "  alertname: P2pspX\n");
        assert!(alerts(&rule("p2pspx"), page, test).is_empty());
        for (faulty, says) in [
            (alerts(&rule("p2pspx"), "", test), "no `### P2pspX`"),
            (alerts(&rule("p2pspx"), page, ""), "not tested"),
            (alerts(&rule("p2pspy"), page, test), "#p2pspx"),
            (alerts("", page, test), "is no alert"),
        ] {
            assert!(faulty.len() == 1 && faulty[0].contains(says), "{faulty:?}");
        }
    }

    #[test]
    fn packages_are_of_this_version() {
        for (text, right) in [
            ("p2psp (1.2.3) unstable", true),
            ("p2psp (1.2.30) unstable", false),
            ("p2psp (1.2.3-1) unstable", false),
            ("p2psp (1.2.2) unstable\n\np2psp (1.2.3) unstable", false),
            ("p2psp 1.2.3", false),
        ] {
            assert_eq!(is_of(text, "p2psp (", "1.2.3"), right, "{text}");
        }
    }

    #[test]
    fn paths_are_found_in_prose_and_commands() {
        let text = "See `deploy/a/b.yml`, or (deploy/c/). cp -r ../deploy/d target/deploy/e; deploy/f/g.sh | sh # deploy/h.";
        let expected = ["deploy/a/b.yml", "deploy/c/", "deploy/f/g.sh", "deploy/h"];
        assert_eq!(paths(text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn dashboards_are_whole() {
        let panel = |id: u32, expr: &str| {
            format!(r#"{{"id": {id}, "title": "t{id}", "targets": [{{"expr": "{expr}"}}]}}"#)
        };
        let with = |panels: &str| format!(r#"{{"uid": "u", "title": "t", "panels": [{panels}]}}"#);
        let good = with(&format!("{}, {}", panel(1, "up"), panel(2, "up")));
        assert!(dashboard(&good).is_empty(), "{:?}", dashboard(&good));
        for (text, says) in [
            ("{".to_owned(), "not JSON"),
            (with(""), "no panels"),
            (with(&panel(1, "")), "no query"),
            (with(&format!("{}, {}", panel(1, "up"), panel(1, "up"))), "have the id 1"),
            (good.replace("\"u\"", "\"\""), "has no uid"),
        ] {
            assert!(dashboard(&text).iter().any(|fault| fault.contains(says)), "{text}");
        }
    }
}
