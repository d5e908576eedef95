//! A door under test: what it gave so far, its status, and the means to end it. Every wait has a deadline.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use p2psp_media::fuzzing::check_ingested;
use p2psp_media::ingest::{Batch, IngestError, IngestOptions, IngestStatus, Source, queue, run};
use p2psp_media::record::{Ingested, StreamHeader};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Far longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Door {
    pub(crate) records: mpsc::Receiver<Batch>,
    pub(crate) status: watch::Receiver<IngestStatus>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), IngestError>>,
    options: IngestOptions,
    ingested: Vec<Ingested>,
}

impl Door {
    pub(crate) fn open(source: Source) -> Self {
        Self::open_with(source, IngestOptions::default(), queue())
    }

    pub(crate) fn open_with(
        source: Source,
        options: IngestOptions,
        (sender, records): (mpsc::Sender<Batch>, mpsc::Receiver<Batch>),
    ) -> Self {
        let (status_sender, status) = watch::channel(IngestStatus::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            stopped.await.ok();
        };
        let task = tokio::spawn(run(source, options, sender, status_sender, shutdown));
        Self { records, status, stop, task, options, ingested: Vec::new() }
    }

    /// Collects until `len` bytes have come, or the door has closed: the bytes so far.
    pub(crate) async fn bytes(&mut self, len: usize) -> Vec<u8> {
        loop {
            let bytes = check_ingested(&self.ingested, self.options.payload_bytes_max);
            if bytes.len() >= len {
                return bytes;
            }
            match within(self.records.recv()).await {
                Some(batch) => self.ingested.extend(batch),
                None => return bytes,
            }
        }
    }

    pub(crate) fn headers(&self) -> Vec<&StreamHeader> {
        self.ingested
            .iter()
            .filter_map(|i| if let Ingested::Header(h) = i { Some(h) } else { None })
            .collect()
    }

    pub(crate) fn starts(&self) -> usize {
        self.ingested.iter().filter(|i| matches!(i, Ingested::Record(r) if r.random_access)).count()
    }

    pub(crate) async fn status(&mut self, wanted: impl FnMut(&IngestStatus) -> bool) -> IngestStatus {
        within(self.status.wait_for(wanted)).await.expect("the door is still open").clone()
    }

    /// Lets the door end by itself.
    pub(crate) async fn ended(self) -> (Result<(), IngestError>, IngestStatus) {
        let Self { task, status, records, stop, .. } = self;
        let end = within(task).await.expect("a door does not panic");
        drop((records, stop));
        let status = status.borrow().clone();
        (end, status)
    }

    /// Tells the door to end.
    pub(crate) async fn stop(self) -> IngestStatus {
        let Self { task, status, stop, .. } = self;
        stop.send(()).expect("the door is still open");
        within(task).await.expect("a door does not panic").expect("stopping is no failure");
        IngestStatus::clone(&status.borrow())
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it comes before the deadline")
}

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub(crate) fn golden(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).expect("the sample is in the tree")
}
