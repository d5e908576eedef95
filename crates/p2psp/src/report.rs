//! Standard output: ready lines, periodic and final statistics. Each JSON object is one line with an `event`: `ready`, `stats` or
//! `final`. A reader that closes the pipe wants no more, and is taken at its word: what follows is dropped.

use crate::cli::{Ready, ReportArgs};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{
    convert::Infallible,
    io::{self, Write},
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval};

/// Statistics change once a second; asking oftener than this only costs.
const STATS_PERIOD_MIN: Duration = Duration::from_millis(100);

/// Writes what `args` ask for.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    args: ReportArgs,
}

impl Report {
    pub(crate) const fn new(args: ReportArgs) -> Self {
        Self { args }
    }

    /// Tells that all ports are open: `fields` for programs, `lines` for people.
    pub(crate) fn ready(&self, fields: &impl Serialize, lines: &[(&str, String)]) {
        match self.args.ready {
            Ready::Json => print(&object("ready", fields)),
            Ready::Text => {
                for (name, value) in lines {
                    print(&format!("{name:<14}{value}"));
                }
            }
            Ready::None => {}
        }
    }

    /// Prints statistics as often as was asked for; never ends.
    pub(crate) async fn stats<S: Serialize>(&self, newest: impl Fn() -> S) -> Infallible {
        let Some(period) = self.args.stats_every else { return std::future::pending().await };
        let mut ticks = interval(period.0.max(STATS_PERIOD_MIN));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            print(&object("stats", &newest()));
        }
    }

    /// Prints the last statistics, if asked for.
    pub(crate) fn last(&self, stats: &impl Serialize) {
        if self.args.final_stats {
            print(&object("final", stats));
        }
    }
}

/// `fields` behind an `event`, on one line.
fn object(event: &str, fields: &impl Serialize) -> String {
    let mut object = Map::new();
    object.insert("event".to_owned(), event.into());
    if let Ok(Value::Object(fields)) = serde_json::to_value(fields) {
        object.extend(fields);
    }
    Value::Object(object).to_string()
}

/// One line on standard output, at once.
pub(crate) fn print(line: &str) {
    let mut out = io::stdout().lock();
    // A reader that is gone reads nothing.
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_one_line_and_name_their_event() {
        let line = object("ready", &serde_json::json!({ "link": "p2psp://k@h:1", "note": "two\nlines" }));
        assert_eq!(line.lines().count(), 1);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["event"], "ready");
        assert_eq!(value["link"], "p2psp://k@h:1");
    }
}
