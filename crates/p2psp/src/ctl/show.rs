//! Answers on standard output: columns for people, JSON and YAML for programs. The names in JSON are the schema's.

use super::{is_table, yaml};
use crate::{cli::Output, printable, report::print};
use p2psp_admin::v1;
use serde::Serialize;
use serde_json::{Value, json};

/// Characters of a key in narrow tables.
const KEY_CHARACTERS: usize = 10;

/// What can stand in a table's row.
pub(super) trait Columns: Serialize {
    /// The titles; the first `narrow` of them are shown unless all are asked for.
    const HEADS: &'static [&'static str];
    /// How many columns a narrow table has.
    const NARROW: usize;
    /// Widths that columns have at least, so that lines which come later stand below those before.
    const WIDTHS: &'static [usize];
    /// One cell for each title.
    fn cells(&self, wide: bool) -> Vec<String>;
}

impl Columns for v1::Peer {
    const HEADS: &'static [&'static str] =
        &["SLOT", "PEER", "STATE", "REMOTE", "MISSING", "AGE", "WEIGHT", "LIMIT", "BLOCKED", "CANDIDATES"];
    const NARROW: usize = 6;
    const WIDTHS: &'static [usize] = &[4, KEY_CHARACTERS, 8, 21, 7, 6, 6, 5, 7, 0];

    fn cells(&self, wide: bool) -> Vec<String> {
        let missing =
            self.missing_ratio.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0));
        vec![
            self.slot.to_string(),
            key(&self.peer, wide),
            self.state().name().to_owned(),
            self.remote.clone(),
            missing,
            age(self.joined_unix_ms),
            self.weight.to_string(),
            self.weight_limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string()),
            self.blocked.to_string(),
            self.candidates.join(","),
        ]
    }
}

impl Columns for v1::Neighbour {
    const HEADS: &'static [&'static str] = &["SLOT", "PEER", "LINK", "AGE", "CANDIDATES"];
    const NARROW: usize = 4;
    const WIDTHS: &'static [usize] = &[4, KEY_CHARACTERS, 7, 6, 0];

    fn cells(&self, wide: bool) -> Vec<String> {
        let link = match (self.linked, self.blocked) {
            (false, _) => "none",
            (true, false) => "up",
            (true, true) => "blocked",
        };
        vec![
            self.slot.to_string(),
            key(&self.peer, wide),
            link.to_owned(),
            age(self.since_unix_ms),
            self.candidates.join(","),
        ]
    }
}

impl Columns for v1::Ban {
    const HEADS: &'static [&'static str] = &["PEER", "REMAINING"];
    const NARROW: usize = 2;
    const WIDTHS: &'static [usize] = &[52, 0];

    fn cells(&self, _: bool) -> Vec<String> {
        // A key that is banned is mostly known from here alone.
        vec![self.peer.clone(), span(self.remaining_ms / 1000)]
    }
}

/// Standard output in one format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen(pub(super) Output);

impl Screen {
    /// Something with fields: for people, one on a line.
    pub(super) fn object(self, name: &str, object: &impl Serialize) {
        let value = serde_json::to_value(object).unwrap_or_default();
        if is_table(self.0) {
            let mut rows = Vec::new();
            flatten("", &value, self.0 == Output::Wide, &mut rows);
            let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
            for (name, value) in rows {
                print(&format!("{name:width$}  {}", printable::line(&value)));
            }
        } else {
            self.value(&json!({ name: value }));
        }
    }

    /// Several of a kind.
    pub(super) fn list<T: Columns>(self, name: &str, records: &[T]) {
        if is_table(self.0) {
            self.rows::<T>(records.iter().map(|record| record.cells(self.0 == Output::Wide)).collect(), true);
        } else {
            self.value(&json!({ name: records }));
        }
    }

    /// Rows below each other, with titles or without. Columns are as wide as their cells.
    pub(super) fn rows<T: Columns>(self, rows: Vec<Vec<String>>, titled: bool) {
        let columns = if self.0 == Output::Wide { T::HEADS.len() } else { T::NARROW };
        let heads = titled.then(|| T::HEADS.iter().map(|head| (*head).to_owned()).collect());
        let rows: Vec<Vec<String>> = heads.into_iter().chain(rows).collect();
        // What a process tells is shown, not obeyed; JSON and YAML escape it by themselves.
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| printable::line(cell)).collect()).collect();
        let width = |(column, least): (usize, &usize)| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([*least]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = T::WIDTHS.iter().take(columns).enumerate().map(width).collect();
        for row in &rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            print(cells.collect::<Vec<String>>().join("  ").trim_end());
        }
    }

    /// What a command did: a line for people, an object for programs.
    pub(super) fn done(self, line: &str, value: &Value) {
        if is_table(self.0) {
            print(&printable::lines(line));
        } else {
            self.value(value);
        }
    }

    /// An object for programs.
    pub(super) fn value(self, value: &Value) {
        match self.0 {
            Output::Yaml => print(yaml::text(value).trim_end()),
            Output::Json | Output::Table | Output::Wide => {
                print(&serde_json::to_string_pretty(value).unwrap_or_default());
            }
        }
    }

    /// An object for programs that is one of many.
    pub(super) fn event(self, value: &Value) {
        match self.0 {
            Output::Yaml => print(&format!("---\n{}", yaml::text(value).trim_end())),
            Output::Json | Output::Table | Output::Wide => print(&value.to_string()),
        }
    }
}

/// The fields of an object, those of inner ones behind their names. Lists of figures are left to programs unless all is asked for.
fn flatten(prefix: &str, value: &Value, wide: bool, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&name, value, wide, rows);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) && !wide => {}
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            rows.push((prefix.to_owned(), items.join(", ")));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            rows.push((prefix.to_owned(), plain(value)));
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn key(key: &str, whole: bool) -> String {
    if whole { key.to_owned() } else { key.chars().take(KEY_CHARACTERS).collect() }
}

fn age(unix_ms: u64) -> String {
    span(p2psp_admin::unix_ms().saturating_sub(unix_ms) / 1000)
}

/// A span in its two largest units.
pub(crate) fn span(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s}s"),
        (0, h, m, _) => format!("{h}h{m}m"),
        (d, h, ..) => format!("{d}d{h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        let spans = [0, 59, 61, 3_599, 3_600, 90_061].map(span);
        assert_eq!(spans, ["0s", "59s", "1m1s", "59m59s", "1h0m", "1d1h"]);
    }

    /// Each row has a cell for each title.
    #[test]
    fn rows_fit_their_titles() {
        fn check<T: Columns + Default>() {
            assert_eq!(T::default().cells(true).len(), T::HEADS.len());
            assert!(T::NARROW <= T::HEADS.len() && T::WIDTHS.len() == T::HEADS.len());
        }
        check::<v1::Peer>();
        check::<v1::Neighbour>();
        check::<v1::Ban>();
    }

    #[test]
    fn objects_become_lines() {
        let mut rows = Vec::new();
        let value = json!({ "a": 1, "b": { "c": null, "d": ["x", "y"] }, "e": [{ "f": 1 }] });
        flatten("", &value, false, &mut rows);
        let lines: Vec<String> = rows.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(lines, ["a=1", "b.c=-", "b.d=x, y"]);
    }
}
