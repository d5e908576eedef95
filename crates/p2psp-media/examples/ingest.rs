//! Opens a source as the splitter does and writes its bytes to standard output, its state to standard error:
//! `cargo run -p p2psp-media --example ingest -- push:127.0.0.1:8001 | mpv -`.

use p2psp_media::ingest::{IngestOptions, IngestStatus, Source, queue, run};
use p2psp_media::record::Ingested;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let source = Source::parse(&std::env::args().nth(1).unwrap_or_default())?;
    let (sender, mut records) = queue();
    let (status_sender, mut status) = watch::channel(IngestStatus::default());
    let stop = async {
        tokio::signal::ctrl_c().await.ok();
    };
    let door = tokio::spawn(run(source, IngestOptions::default(), sender, status_sender, stop));
    let mut out = tokio::io::stdout();
    let mut state = None;
    while let Some(batch) = records.recv().await {
        let now = status.borrow_and_update().clone();
        if state.replace(now.state.clone()) != Some(now.state.clone()) {
            eprintln!("{now:?}");
        }
        for ingested in batch {
            match ingested {
                Ingested::Header(header) => {
                    eprintln!(
                        "header {}: {} bytes of {}",
                        header.version,
                        header.bytes.len(),
                        header.content_type
                    );
                }
                Ingested::Record(record) => out.write_all(&record.payload).await?,
            }
        }
        out.flush().await?;
    }
    eprintln!("{:?}", status.borrow());
    Ok(door.await??)
}
