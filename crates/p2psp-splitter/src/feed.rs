//! From the ingest door to the machine: batches of records become commands, in order. The machine's host answers each, so a
//! busy node slows the source down instead of filling a queue.

use p2psp_core::{Instant, Splitter};
use p2psp_media::{
    ingest::Batch,
    record::{Ingested, StreamHeader},
};
use p2psp_net::Handle;
use tokio::sync::mpsc;
use tracing::{error, info};

/// Feeds until the door closes or the node is gone.
pub(crate) async fn feed(mut batches: mpsc::Receiver<Batch>, handle: Handle<Splitter>) {
    while let Some(batch) = batches.recv().await {
        let Ok(taken) = handle.call(move |splitter, now| take(splitter, now, batch)).await else { return };
        if let Err(refused) = taken {
            // The door keeps to the limits, and nothing is fed after the close: this is a fault between our own crates.
            error!(%refused, "the splitter took no more of the source");
            return;
        }
    }
}

/// Hands a batch to the machine.
fn take(splitter: &mut Splitter, now: Instant, batch: Batch) -> Result<(), p2psp_core::IngestError> {
    for ingested in batch {
        match ingested {
            Ingested::Header(StreamHeader { version, content_type, bytes }) => {
                info!(version, content_type, bytes = bytes.len(), "the stream's format");
                splitter.set_header(now, p2psp_wire::StreamHeader { version, content_type, bytes });
            }
            Ingested::Record(record) => {
                splitter.ingest(now, record.payload, record.random_access, record.header_version)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use p2psp_core::SplitterConfig;
    use p2psp_media::record::Record;
    use p2psp_wire::{ChannelId, Epoch};

    /// Each record becomes one chunk; after the close none does.
    #[test]
    fn records_become_chunks() {
        let now = Instant::ORIGIN;
        let mut splitter = Splitter::new(SplitterConfig::new(ChannelId::new([1; 32]), Epoch(1), 0), now);
        let record = |payload| {
            Ingested::Record(Record {
                payload: Bytes::from_static(payload),
                random_access: true,
                header_version: 0,
            })
        };
        let header = StreamHeader { version: 0, content_type: "video/mp2t".to_owned(), bytes: Bytes::new() };
        take(&mut splitter, now, vec![Ingested::Header(header), record(b"one"), record(b"three")]).unwrap();
        assert_eq!((splitter.stats().chunks_in, splitter.stats().bytes_in), (2, 8));
        splitter.close(now);
        assert_eq!(take(&mut splitter, now, vec![record(b"late")]), Err(p2psp_core::IngestError::Closed));
    }
}
