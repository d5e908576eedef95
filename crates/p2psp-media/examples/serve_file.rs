//! Plays a media file, or the built-in test card, to any number of players, at the pace of its own clock and without any
//! team in between: what the player port does, to be tried with a browser, VLC or mpv.
//!
//! ```sh
//! cargo run --example serve_file -- [FILE] [ADDRESS]
//! ```

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use p2psp_media::container::Cutter;
use p2psp_media::playout::{PlayoutConfig, PlayoutServer, SharedSpool, SpoolLimits};
use p2psp_media::record::Ingested;
use p2psp_media::testcard::{TestCard, TestCardConfig};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until};

/// As the chunks of a team: six transport-stream packets.
const PAYLOAD_BYTES_MAX: usize = 1128;
/// Small enough that the clock in the bytes keeps a steady pace.
const READ_BYTES: usize = 8 * 1024;
/// Pace of a file without a clock that the cutter reads, such as MP3: 128 kbit/s.
const PLAIN_BYTES_PER_MS: u64 = 16;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().filter(|name| name != "-").map(PathBuf::from);
    let mut config = PlayoutConfig { channel_name: "Test card".to_owned(), ..PlayoutConfig::default() };
    if let Some(name) = file.as_ref().and_then(|file| file.file_name()) {
        config.channel_name = name.to_string_lossy().into_owned();
    }
    if let Some(address) = arguments.next() {
        config.listen = address.parse()?;
    }
    let spool = SharedSpool::new(SpoolLimits::default());
    let seen = spool.clone();
    let figures = move || serde_json::json!({ "received_bytes_total": seen.stats().bytes });
    let server = PlayoutServer::bind(config, spool.clone(), figures).await?;
    eprintln!("watch at {}", server.player_url());
    let feeding = async {
        match file {
            Some(file) => feed_file(&spool, file).await,
            None => feed_test_card(&spool).await,
        }
    };
    let (fed, _) = tokio::join!(feeding, server.run(async { tokio::signal::ctrl_c().await.unwrap_or(()) }));
    fed
}

async fn feed_file(spool: &SharedSpool, path: PathBuf) -> Result<(), Box<dyn Error>> {
    let mut file = tokio::fs::File::open(path).await?;
    let mut cutter = Cutter::new(PAYLOAD_BYTES_MAX);
    let mut began: Option<(Instant, Duration)> = None;
    loop {
        let mut bytes = BytesMut::with_capacity(READ_BYTES);
        let mut out = Vec::new();
        if file.read_buf(&mut bytes).await? == 0 {
            cutter.finish(&mut out);
            give(spool, out)?;
            spool.close();
            return Ok(());
        }
        cutter.push(&bytes.freeze(), &mut out);
        give(spool, out)?;
        let time = cutter
            .media_time()
            .unwrap_or_else(|| Duration::from_millis(cutter.stats().bytes_in / PLAIN_BYTES_PER_MS));
        let (instant, origin) = *began.get_or_insert_with(|| (Instant::now(), time));
        sleep_until(instant + time.saturating_sub(origin)).await;
    }
}

async fn feed_test_card(spool: &SharedSpool) -> Result<(), Box<dyn Error>> {
    let config = TestCardConfig { width: 640, height: 368, ..TestCardConfig::default() };
    let mut card = TestCard::new(config)?;
    let mut cutter = Cutter::new(PAYLOAD_BYTES_MAX);
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::from(config.fps));
    loop {
        ticks.tick().await;
        let mut out = Vec::new();
        let frame: Bytes = card.next_frame();
        cutter.push(&frame, &mut out);
        cutter.flush(&mut out);
        give(spool, out)?;
    }
}

fn give(spool: &SharedSpool, ingested: Vec<Ingested>) -> Result<(), Box<dyn Error>> {
    for item in ingested {
        match item {
            Ingested::Header(header) => spool.set_header(header)?,
            Ingested::Record(record) => spool.push(record.into()),
        }
    }
    Ok(())
}
