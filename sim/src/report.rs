//! What a scenario found: figures for machines, lines for people, and checks that decide whether it passed. Owns their form;
//! measures nothing.

use crate::World;
use serde_json::{Map, Value, json};
use std::fmt::{self, Write as _};

/// The outcome of one run of a scenario.
#[derive(Clone, Debug)]
pub struct Report {
    scenario: &'static str,
    seed: u64,
    trace_hash: u64,
    figures: Map<String, Value>,
    lines: Vec<String>,
    checks: Vec<Check>,
}

/// One thing that had to hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What was measured, with its unit.
    pub what: String,
    /// The measured value.
    pub got: f64,
    /// What was asked of it, in words.
    pub bar: String,
    /// It held.
    pub pass: bool,
}

impl Report {
    /// An empty report.
    #[must_use]
    pub fn new(scenario: &'static str, seed: u64) -> Self {
        Self { scenario, seed, trace_hash: 0, figures: Map::new(), lines: Vec::new(), checks: Vec::new() }
    }

    /// Adds a figure to the JSON.
    pub fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Adds a line to the text.
    pub fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// `got` must lie within `tolerance` (a share of `want`) of what theory says.
    pub fn close(&mut self, what: &str, got: f64, want: f64, tolerance: f64) {
        let pass = (got - want).abs() <= want.abs() * tolerance;
        let off = if want == 0.0 { 0.0 } else { (got / want - 1.0) * 100.0 };
        self.check(what, got, format!("{want:.4} +-{:.1} % (off {off:+.2} %)", tolerance * 100.0), pass);
    }

    /// `got` must lie within `tolerance`, in its own unit, of what theory says.
    pub fn near(&mut self, what: &str, got: f64, want: f64, tolerance: f64) {
        let bar = format!("{want:.4} +-{tolerance} (off {:+.4})", got - want);
        self.check(what, got, bar, (got - want).abs() <= tolerance);
    }

    /// `got` must not exceed `bar`.
    pub fn at_most(&mut self, what: &str, got: f64, bar: f64) {
        self.check(what, got, format!("at most {bar}"), got <= bar);
    }

    /// `got` must not be below `bar`.
    pub fn at_least(&mut self, what: &str, got: f64, bar: f64) {
        self.check(what, got, format!("at least {bar}"), got >= bar);
    }

    fn check(&mut self, what: &str, got: f64, bar: String, pass: bool) {
        self.checks.push(Check { what: what.to_owned(), got, bar, pass });
    }

    /// Adds a world that has run to its end: its digest, its size, and whatever its oracle objects to.
    pub fn world(&mut self, world: &mut World) {
        world.check_stats();
        let mut hash = crate::TraceHash::default();
        hash.mix(self.trace_hash);
        hash.mix(world.trace_hash().get());
        self.trace_hash = hash.get();
        self.add("events", world.events());
        self.add("deliveries", world.deliveries());
        self.add("violations", world.oracle().violations());
        for told in world.oracle().told() {
            self.line(format!("VIOLATION {told}"));
        }
    }

    fn add(&mut self, name: &str, more: u64) {
        let so_far = self.figures.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.figure(name, so_far + more);
    }

    /// Whether every check held and no oracle objected.
    #[must_use]
    pub fn pass(&self) -> bool {
        let violations = self.figures.get("violations").and_then(Value::as_u64).unwrap_or(0);
        violations == 0 && !self.checks.is_empty() && self.checks.iter().all(|check| check.pass)
    }

    /// The digest over all worlds of the run.
    #[must_use]
    pub const fn trace_hash(&self) -> u64 {
        self.trace_hash
    }

    /// The checks in order.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// One JSON object: `scenario`, `seed`, `pass`, `trace_hash`, `checks`, and the figures.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let check = |check: &Check| json!({ "what": check.what, "got": check.got, "bar": check.bar, "pass": check.pass });
        let mut object = self.figures.clone();
        object.insert("scenario".into(), self.scenario.into());
        object.insert("seed".into(), self.seed.into());
        object.insert("pass".into(), self.pass().into());
        object.insert("trace_hash".into(), format!("{:016x}", self.trace_hash).into());
        object.insert("checks".into(), self.checks.iter().map(check).collect());
        Value::Object(object)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for line in &self.lines {
            writeln!(text, "  {line}")?;
        }
        let width = self.checks.iter().map(|check| check.what.chars().count()).max().unwrap_or(0);
        for Check { what, got, bar, pass } in &self.checks {
            let verdict = if *pass { "ok  " } else { "FAIL" };
            writeln!(text, "  {verdict} {what:width$}  {got:>12.4}  {bar}")?;
        }
        let verdict = if self.pass() { "pass" } else { "FAIL" };
        write!(text, "{verdict} {} seed {} trace {:016x}", self.scenario, self.seed, self.trace_hash)?;
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_only_when_something_was_checked_and_all_held() {
        let mut report = Report::new("x", 7);
        assert!(!report.pass(), "nothing checked");
        report.close("ratio", 1.01, 1.0, 0.02);
        report.near("continuity", 0.981, 0.98, 0.002);
        report.at_most("gaps", 0.0, 0.0);
        report.at_least("links", 3.0, 3.0);
        assert!(report.pass());
        let json = report.to_json();
        assert_eq!((json["scenario"].as_str(), json["seed"].as_u64()), (Some("x"), Some(7)));
        assert_eq!(
            (json["pass"].as_bool(), json["trace_hash"].as_str()),
            (Some(true), Some("0000000000000000"))
        );
        report.close("ratio", 1.03, 1.0, 0.02);
        assert!(!report.pass());
        assert!(report.to_string().contains("FAIL ratio"));
    }
}
