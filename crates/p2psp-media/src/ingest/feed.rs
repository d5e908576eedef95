//! The end of every door: cuts bytes into records, hands them on under the door's overflow policy, notices silence, and
//! publishes the status. Knows no source.

use std::mem;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::status::{IngestState, IngestStatus};
use super::{Batch, IngestOptions};
use crate::container::{Cutter, CutterStats};
use crate::record::Ingested;

/// A pause of this length lets a partly filled record go: shorter than a frame, longer than the gaps between reads of
/// one burst.
pub(super) const FLUSH_AFTER: Duration = Duration::from_millis(20);

/// What happens when the receiver does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overflow {
    /// The door waits, and so does the source.
    Wait,
    /// Records are dropped and counted.
    Drop,
}

/// The receiver of the records is gone: the door has nothing more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

/// What the silence has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    Short,
    Stall,
}

#[derive(Debug)]
pub(super) struct Feed {
    pub(super) options: IngestOptions,
    name: String,
    cutter: Cutter,
    sender: mpsc::Sender<Batch>,
    status: watch::Sender<IngestStatus>,
    overflow: Overflow,
    batch: Batch,
    heard: Instant,
    flushed: bool,
    told: CutterStats,
}

impl Feed {
    pub(super) fn new(
        name: String,
        cutter: Cutter,
        sender: mpsc::Sender<Batch>,
        status: watch::Sender<IngestStatus>,
        options: IngestOptions,
        overflow: Overflow,
    ) -> Self {
        Self {
            options,
            name,
            cutter,
            sender,
            status,
            overflow,
            batch: Batch::new(),
            heard: Instant::now(),
            flushed: true,
            told: CutterStats::default(),
        }
    }

    /// The source's name, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn cutter(&mut self) -> &mut Cutter {
        &mut self.cutter
    }

    /// A source is there, though no byte has come yet: silence counts from now.
    pub(super) fn connected(&mut self) {
        self.heard = Instant::now();
        self.flushed = true;
    }

    /// Takes bytes of the source. Cancelling it may lose records, so doors await it outside of their `select!`.
    pub(super) async fn push(&mut self, bytes: &Bytes) -> Result<(), Closed> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.heard = Instant::now();
        self.flushed = false;
        let container = self.cutter.container();
        self.cutter.push(bytes, &mut self.batch);
        if self.cutter.container() != container
            && let Some(container) = self.cutter.container()
        {
            info!(source = self.name, %container, "the source's format is known");
        }
        if self.status.borrow().state != IngestState::Live {
            info!(source = self.name, "the source is live");
            self.set_state(IngestState::Live);
        }
        let changed = self.batch.iter().any(|i| matches!(i, Ingested::Header(header) if header.version > 0));
        if changed {
            info!(
                source = self.name,
                "the source's format changed, or started over: players are told to start anew"
            );
        }
        let sent = self.send().await;
        // While the splitter was waited for, the source could not be heard.
        self.heard = Instant::now();
        sent
    }

    /// The source paused on purpose: a frame ended.
    pub(super) async fn flush(&mut self) -> Result<(), Closed> {
        self.flushed = true;
        self.cutter.flush(&mut self.batch);
        self.send().await
    }

    /// The source's bytes have ended, maybe to start again.
    pub(super) async fn finish(&mut self) -> Result<(), Closed> {
        self.flushed = true;
        self.cutter.finish(&mut self.batch);
        self.send().await
    }

    /// When silence is to be looked at next.
    pub(super) fn silence_deadline(&self) -> Instant {
        let stalled = self.status.borrow().state == IngestState::Stalled;
        self.heard
            + match (self.flushed, stalled) {
                (false, _) => FLUSH_AFTER,
                (true, false) => self.options.stall_after,
                // Told once; the next look is for form's sake.
                (true, true) => self.heard.elapsed() + self.options.stall_after,
            }
    }

    /// Looks at the silence, at [`silence_deadline`](Self::silence_deadline).
    pub(super) async fn on_silence(&mut self) -> Result<Silence, Closed> {
        if !self.flushed {
            self.flush().await?;
        }
        if self.heard.elapsed() < self.options.stall_after {
            return Ok(Silence::Short);
        }
        if self.status.borrow().state != IngestState::Stalled {
            let silent = self.options.stall_after;
            warn!(source = self.name, ?silent, "no byte from the source: check that it is still sending");
            self.set_state(IngestState::Stalled);
        }
        Ok(Silence::Stall)
    }

    pub(super) fn set_state(&mut self, state: IngestState) {
        self.update(|status| status.state = state);
    }

    /// The source is started or dialed again.
    pub(super) fn restarting(&mut self) {
        self.update(|status| {
            status.restarts += 1;
            status.state = IngestState::Connecting;
        });
    }

    /// Changes the status and tells everyone.
    pub(super) fn update(&self, change: impl FnOnce(&mut IngestStatus)) {
        self.status.send_modify(change);
    }

    /// Resolves when nobody takes records any more.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }

    /// Waits until then, or until nobody takes records any more.
    pub(super) async fn wait_until(&self, then: Instant) -> Result<(), Closed> {
        tokio::select! {
            () = sleep_until(then) => Ok(()),
            () = self.closed() => Err(Closed),
        }
    }

    async fn send(&mut self) -> Result<(), Closed> {
        let mut dropped = 0;
        let result = if self.batch.is_empty() {
            if self.sender.is_closed() { Err(Closed) } else { Ok(()) }
        } else {
            match self.overflow {
                Overflow::Wait => self.sender.send(mem::take(&mut self.batch)).await.map_err(|_| Closed),
                Overflow::Drop => self.try_send(&mut dropped),
            }
        };
        self.publish(dropped);
        result
    }

    fn try_send(&mut self, dropped: &mut u64) -> Result<(), Closed> {
        match self.sender.try_send(mem::take(&mut self.batch)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(Closed),
            Err(TrySendError::Full(batch)) => {
                // Records are lost, but the newest header is what the next ones refer to.
                for ingested in batch {
                    match ingested {
                        Ingested::Header(_) => self.batch = vec![ingested],
                        Ingested::Record(_) => *dropped += 1,
                    }
                }
                Ok(())
            }
        }
    }

    fn publish(&mut self, dropped: u64) {
        let stats = self.cutter.stats();
        self.tell(&stats);
        let container = self.cutter.container();
        self.status.send_modify(|status| {
            status.bytes = stats.bytes_in;
            status.records_dropped += dropped;
            status.records = stats.records - status.records_dropped;
            status.bytes_dropped += stats.bytes_dropped - self.told.bytes_dropped;
            status.structure_losses = stats.structure_losses;
            status.container = container.or(status.container);
        });
        self.told = stats;
    }

    /// One line for what the cutter counted for the first time.
    fn tell(&self, stats: &CutterStats) {
        let first = |now: u64, before: u64| before == 0 && now > 0;
        if first(stats.structure_losses, self.told.structure_losses) {
            warn!(
                source = self.name,
                "the source's structure was lost: damage, or a change of format; going on"
            );
        }
        if first(stats.headers_too_large, self.told.headers_too_large) {
            warn!(
                source = self.name,
                "the source's header is too large to keep: viewers who join late may see nothing"
            );
        }
        if first(stats.mp4_not_fragmented, self.told.mp4_not_fragmented) {
            warn!(
                source = self.name,
                "this MP4 is not fragmented, so viewers who join late see nothing: make it with \
                 -movflags frag_keyframe+empty_moov+default_base_moof"
            );
        }
        if first(stats.mp4_fragments_absolute, self.told.mp4_fragments_absolute) {
            warn!(
                source = self.name,
                "this MP4's fragments point into the file, so viewers who join late see nothing: make it with \
                 -movflags +default_base_moof"
            );
        }
    }
}
