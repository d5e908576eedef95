//! Operators who watch a team, each with a `p2psp ctl` of their own: what they were told must be every change, once, in order.

use std::{
    cell::RefCell,
    path::PathBuf,
    process::Stdio,
    rc::Rc,
    time::{Duration, Instant},
};

use serde::Deserialize;
use tokio::{task::spawn_local, time::sleep};

use crate::{
    BenchError,
    process::{Process, RunDirectory, command},
};

/// Most time for a watcher's first line, and for the last change to have reached all of them.
const TOLD_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks at how far they are.
const LOOK: Duration = Duration::from_millis(50);
/// Most time for a watcher to end.
const END_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize)]
struct Line {
    event: String,
    revision: u64,
}

/// What one watcher has been told.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    first: u64,
    last: u64,
    missed: u64,
    /// Told to begin anew.
    resyncs: u64,
}

impl Told {
    fn on_line(&mut self, line: &Line) {
        if line.event == "snapshot" {
            self.resyncs += 1;
        } else {
            self.missed += line.revision.abs_diff(self.last + 1);
        }
        self.last = line.revision;
    }
}

/// What all of them have been told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    /// Changes, all watchers together.
    pub(super) revisions: u64,
    /// Changes that a watcher was not told, or not in order.
    pub(super) missed: u64,
    /// Times that a watcher was told to begin anew.
    pub(super) resyncs: u64,
}

/// Watchers at work.
#[derive(Debug)]
pub(super) struct Watchers {
    watchers: Vec<(Process, Rc<RefCell<Told>>)>,
    binary: PathBuf,
    admin: String,
}

impl Watchers {
    /// Starts so many, and waits until each has had its snapshot.
    pub(super) async fn start(
        count: usize,
        binary: &PathBuf,
        admin: &str,
        directory: &RunDirectory,
    ) -> Result<Self, BenchError> {
        let mut watchers = Vec::with_capacity(count);
        for number in 0..count {
            let (mut process, revision) = one(&format!("watcher-{number}"), binary, admin, directory).await?;
            let told = Rc::new(RefCell::new(Told { first: revision, last: revision, ..Told::default() }));
            let mut lines = process.take_lines().expect("nobody else reads them");
            let account = Rc::clone(&told);
            spawn_local(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    if let Ok(line) = serde_json::from_str::<Line>(&line) {
                        account.borrow_mut().on_line(&line);
                    }
                }
            });
            watchers.push((process, told));
        }
        Ok(Self { watchers, binary: binary.clone(), admin: admin.to_owned() })
    }

    /// Waits until all have been told what a new watcher finds, and ends them.
    pub(super) async fn stop(self, directory: &RunDirectory) -> Result<Account, BenchError> {
        let (fresh, end) = one("watcher-last", &self.binary, &self.admin, directory).await?;
        fresh.stop(END_WITHIN).await;
        let deadline = Instant::now() + TOLD_WITHIN;
        while self.watchers.iter().any(|(_, told)| told.borrow().last < end) && Instant::now() < deadline {
            sleep(LOOK).await;
        }
        let mut account = Account::default();
        let mut leaving = Vec::with_capacity(self.watchers.len());
        for (mut process, told) in self.watchers {
            if let Some(fault) = process.ended() {
                return Err(fault);
            }
            let told = *told.borrow();
            account.revisions += told.last - told.first;
            account.missed += told.missed + end.saturating_sub(told.last);
            account.resyncs += told.resyncs;
            leaving.push(spawn_local(process.stop(END_WITHIN)));
        }
        for leave in leaving {
            // Whether it went by itself is no figure.
            leave.await.ok();
        }
        Ok(account)
    }
}

/// A watcher that has had its snapshot, and the snapshot's revision.
async fn one(
    name: &str,
    binary: &PathBuf,
    admin: &str,
    directory: &RunDirectory,
) -> Result<(Process, u64), BenchError> {
    let mut ctl = command(binary);
    ctl.args(["ctl", "--admin", admin, "get", "peers", "-w", "-o", "json"]);
    let mut process = Process::start(name, ctl, Some(Stdio::null()), directory)?;
    let line: Line = process.hear(TOLD_WITHIN).await?;
    Ok((process, line.revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[(&str, u64)]) -> (u64, u64) {
        let mut told = Told { first: 7, last: 7, ..Told::default() };
        for (event, revision) in lines {
            told.on_line(&Line { event: (*event).to_owned(), revision: *revision });
        }
        (told.missed, told.resyncs)
    }

    /// Each change once and in order is none missed; a gap, a repetition and a new beginning show.
    #[test]
    fn what_is_missed_shows() {
        assert_eq!(told(&[("changed", 8), ("departed", 9), ("changed", 10)]), (0, 0));
        assert_eq!(told(&[("changed", 8), ("changed", 11)]), (2, 0));
        assert_eq!(told(&[("changed", 8), ("changed", 8)]), (1, 0));
        assert_eq!(told(&[("snapshot", 40), ("changed", 41)]), (0, 1));
    }
}
