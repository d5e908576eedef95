//! Watching a journal: all records first, then what changes. A watcher that comes back names the last message it read; one that reads
//! too slowly is told to begin anew.

use super::{Reason, invalid, limits, page::parts, refusal};
use crate::journal::{Change, Journal, Record};
use futures_util::{Stream, stream};
use std::{collections::VecDeque, sync::Arc};
use tokio::{sync::watch, time::timeout};
use tonic::Status;

/// Changes taken from the journal at a time.
const BATCH: usize = 64;

/// What a watcher is told.
#[derive(Debug)]
pub(super) enum Told<V> {
    /// All records.
    All(Vec<V>),
    /// A record that is new or has changed.
    Put(V),
    /// A record that is gone.
    Gone { last: V, reason: &'static str },
    /// Nothing has changed.
    Alive,
}

/// The point of the history that a message leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) resume_token: String,
    pub(super) revision: u64,
}

struct Watcher<B: ?Sized, V: 'static> {
    backend: Arc<B>,
    journal: fn(&B) -> &Journal<V>,
    revisions: watch::Receiver<u64>,
    closing: watch::Receiver<bool>,
    /// Told so far.
    at: Option<u64>,
    batch: VecDeque<Change<V>>,
}

/// The messages for a watcher of `journal`.
pub(super) fn watch<B: ?Sized + Send + Sync + 'static, V: Record>(
    backend: Arc<B>,
    journal: fn(&B) -> &Journal<V>,
    resume_token: &str,
    closing: watch::Receiver<bool>,
) -> Result<impl Stream<Item = Result<(Point, Told<V>), Status>> + Send + use<B, V>, Status> {
    let at = resume(journal(&backend), resume_token)?;
    let revisions = journal(&backend).revisions();
    let watcher = Watcher { backend, journal, revisions, closing, at, batch: VecDeque::new() };
    Ok(stream::unfold(Some(watcher), |watcher| async {
        let mut watcher = watcher?;
        match watcher.next().await {
            Ok(told) => Some((Ok((watcher.point(), told)), Some(watcher))),
            Err(status) => Some((Err(status), None)),
        }
    }))
}

impl<B: ?Sized, V: Record> Watcher<B, V> {
    async fn next(&mut self) -> Result<Told<V>, Status> {
        loop {
            let Some(at) = self.at else {
                let (revision, records) = (self.journal)(&self.backend).snapshot();
                self.at = Some(revision);
                return Ok(Told::All(records));
            };
            if let Some(change) = self.batch.pop_front() {
                self.at = Some(at + 1);
                return Ok(match change {
                    Change::Put(record) => Told::Put(record),
                    Change::Gone { last, reason } => Told::Gone { last, reason },
                });
            }
            // Marked as seen before it is looked for, so that no change falls between the two.
            self.revisions.borrow_and_update();
            let Some(changes) = (self.journal)(&self.backend).since(at, BATCH) else {
                let message =
                    "the watcher reads slower than the team changes: watch again, without a resume token";
                return Err(refusal(Reason::Resync, message));
            };
            if !changes.is_empty() {
                self.batch = changes.into();
                continue;
            }
            let change = async {
                tokio::select! {
                    changed = self.revisions.changed() => changed.is_ok(),
                    _ = self.closing.wait_for(|closing| *closing) => false,
                }
            };
            match timeout(limits::HEARTBEAT, change).await {
                Ok(true) => {}
                Ok(false) => return Err(refusal(Reason::Ending, "the process is ending")),
                Err(_) => return Ok(Told::Alive),
            }
        }
    }

    fn point(&self) -> Point {
        let revision = self.at.unwrap_or_default();
        let instance = (self.journal)(&self.backend).instance();
        Point { resume_token: format!("{instance:x}-{revision}"), revision }
    }
}

/// The revision to go on from; `None` where only all records help: at the beginning, in another run, or after too long.
fn resume<V: Record>(journal: &Journal<V>, token: &str) -> Result<Option<u64>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let point = parts(token).and_then(|(run, revision)| Some((run, revision.parse::<u64>().ok()?)));
    let (instance, revision) =
        point.ok_or_else(|| invalid("resume_token", "is none that this API gave: leave it empty"))?;
    Ok(Some(revision).filter(|at| instance == journal.instance() && journal.since(*at, 0).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::CHANGES_MAX;
    use futures_util::{FutureExt, StreamExt};
    use std::pin::Pin;
    use tonic::Code;

    type Messages = Pin<Box<dyn Stream<Item = Result<(Point, Told<u32>), Status>> + Send>>;

    fn open(journal: &Arc<Journal<u32>>, token: &str) -> Result<Messages, Status> {
        let (open, closing) = watch::channel(false);
        let messages = watch(Arc::clone(journal), |journal| journal, token, closing)?;
        // The process is at work for as long as its messages are read.
        Ok(Box::pin(messages.inspect(move |_| assert!(!*open.borrow()))))
    }

    fn journal() -> Arc<Journal<u32>> {
        let journal = Arc::new(Journal::new(0xab));
        journal.put(1, 10);
        journal.put(2, 20);
        journal
    }

    async fn told(messages: &mut Messages) -> String {
        match messages.next().await {
            Some(Ok((point, told))) => format!("{} {told:?}", point.resume_token),
            Some(Err(status)) => format!("{:?}", status.code()),
            None => "end".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_snapshot_then_each_change() {
        let journal = journal();
        let mut messages = open(&journal, "").unwrap();
        assert_eq!(told(&mut messages).await, "ab-2 All([10, 20])");
        assert!(messages.next().now_or_never().is_none());
        journal.put(3, 30);
        journal.remove(1, "crashed");
        assert_eq!(told(&mut messages).await, "ab-3 Put(30)");
        assert_eq!(told(&mut messages).await, "ab-4 Gone { last: 10, reason: \"crashed\" }");
    }

    /// Who comes back hears what came after, or everything where that is not known; never half of it.
    #[tokio::test]
    async fn watchers_resume() {
        let journal = journal();
        let mut again = open(&journal, "ab-1").unwrap();
        assert_eq!(told(&mut again).await, "ab-2 Put(20)");
        for lost in ["cd-1", "ab-3", "ab-18446744073709551615"] {
            assert_eq!(told(&mut open(&journal, lost).unwrap()).await, "ab-2 All([10, 20])", "{lost}");
        }
        for wrong in ["x", "ab", "ab-", "-1", "ab--1"] {
            let Err(status) = open(&journal, wrong) else { panic!("{wrong} is no token") };
            assert_eq!(status.code(), Code::InvalidArgument, "{wrong}");
        }
    }

    /// A watcher that sleeps through more changes than are kept is told to begin anew, and one change fewer is no matter.
    #[tokio::test]
    async fn a_slow_watcher_is_told_to_begin_anew() {
        for (slept, expected) in [(CHANGES_MAX, "ab-3 Put(100)"), (CHANGES_MAX + 1, "ResourceExhausted")] {
            let journal = journal();
            let mut messages = open(&journal, "").unwrap();
            told(&mut messages).await;
            for n in 0..slept {
                journal.put(1, u32::try_from(n).unwrap() * 10 + 100);
            }
            assert_eq!(told(&mut messages).await, expected);
            if slept > CHANGES_MAX {
                assert_eq!(told(&mut messages).await, "end");
            }
        }
    }

    /// Nothing to tell is told every ten seconds; the end of the process at once.
    #[tokio::test(start_paused = true)]
    async fn silence_is_told_and_so_is_the_end() {
        let journal = journal();
        let (close, closing) = watch::channel(false);
        let messages = watch(Arc::clone(&journal), |journal| journal, "", closing).unwrap();
        let mut messages: Messages = Box::pin(messages);
        told(&mut messages).await;
        let before = tokio::time::Instant::now();
        assert_eq!(told(&mut messages).await, "ab-2 Alive");
        assert_eq!(before.elapsed(), limits::HEARTBEAT);
        close.send_replace(true);
        assert_eq!(told(&mut messages).await, "Unavailable");
        assert_eq!(told(&mut messages).await, "end");
    }
}
