//! The ingest door as the runtime sees it: opened when the team is there, fed to the machine, told to stop, and asked how it
//! ended. Two tasks: one runs the door, one carries its batches on; the second ends after the first, with nothing left over.

use crate::{
    error::{RunError, StartError},
    events::Team,
    feed::feed,
};
use p2psp_core::Splitter;
use p2psp_media::ingest::{self, IngestError, IngestOptions, IngestState, IngestStatus, Source};
use p2psp_net::{Handle, tasks};
use std::{pin::pin, time::Duration};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use tracing::info;

/// How long the start waits to see whether a source can be opened; a slower one fails later, and says so then.
const OPEN_WAIT: Duration = Duration::from_millis(300);

type End = Result<(), RunError>;

/// A source on its way to the machine.
#[derive(Debug)]
pub(crate) struct Door {
    status: watch::Receiver<IngestStatus>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), IngestError>>,
    feed: JoinHandle<()>,
    /// How the door's task ended, once it did and nobody was told yet.
    end: Option<End>,
    over: bool,
}

impl Door {
    /// Opens the door once `wait_peers` members are ready.
    pub(crate) fn open(
        source: Source,
        options: IngestOptions,
        wait_peers: u16,
        mut team: watch::Receiver<Team>,
        handle: Handle<Splitter>,
    ) -> Self {
        let (sender, batches) = ingest::queue();
        let (status_sender, status) = watch::channel(IngestStatus::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tasks::spawn("ingest", async move {
            // A sender that is dropped means the same as one that is used.
            let mut stopped = pin!(async { stopped.await.ok() });
            if wait_peers > 0 {
                info!(wait_peers, "the source starts when so many peers are ready");
                tokio::select! {
                    // A team that is gone is a node that is gone: the run ends by itself.
                    _ = team.wait_for(|team| team.ready.len() >= usize::from(wait_peers)) => {}
                    _ = stopped.as_mut() => return Ok(()),
                }
            }
            ingest::run(source, options, sender, status_sender, async {
                stopped.await;
            })
            .await
        });
        let feed = tasks::spawn("feed", feed(batches, handle));
        Self { status, stop: Some(stop), task, feed, end: None, over: false }
    }

    /// Gives the source a moment to fail at once: a file that is not there, a port in use.
    pub(crate) async fn opened(&mut self) -> Result<(), StartError> {
        let mut status = self.status.clone();
        let open = status.wait_for(|status| {
            status.local_address.is_some() || matches!(status.state, IngestState::Live | IngestState::Stalled)
        });
        tokio::select! {
            biased;
            end = &mut self.task => {
                self.over = true;
                match end {
                    Ok(Err(error)) => return Err(StartError::Source(error)),
                    end => self.end = Some(settle(end)),
                }
            }
            // Both mean that nothing is known against the source.
            _ = timeout(OPEN_WAIT, open) => {}
        }
        Ok(())
    }

    /// How the source ended, when it does; pending for ever once that was told. Cancel safe.
    pub(crate) async fn ended(&mut self) -> End {
        if let Some(end) = self.end.take() {
            return end;
        }
        if self.over {
            return std::future::pending().await;
        }
        let end = (&mut self.task).await;
        self.over = true;
        settle(end)
    }

    /// What the door says of itself now.
    pub(crate) fn status(&self) -> IngestStatus {
        self.status.borrow().clone()
    }

    /// Closes the door and lets what came through it reach the machine, not later than `until`.
    pub(crate) async fn close(&mut self, until: Instant) {
        drop(self.stop.take());
        let emptied = async {
            if !self.over {
                // How it ended no longer matters.
                (&mut self.task).await.ok();
                self.over = true;
            }
            (&mut self.feed).await.ok();
        };
        if timeout_at(until, emptied).await.is_err() {
            self.task.abort();
            self.feed.abort();
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
        self.feed.abort();
    }
}

fn settle(end: Result<Result<(), IngestError>, tokio::task::JoinError>) -> End {
    match end {
        Ok(end) => end.map_err(RunError::Source),
        Err(_) => Err(RunError::Ingest),
    }
}
