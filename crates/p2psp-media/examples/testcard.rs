//! Writes seconds of the test card to standard output: `cargo run -p p2psp-media --example testcard -- 10 > card.ts`.

use std::io::Write;

use p2psp_media::testcard::{TestCard, TestCardConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds: u64 = std::env::args().nth(1).as_deref().unwrap_or("10").parse()?;
    let start = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let start_unix_ms = u64::try_from(start.as_millis())?;
    let config = TestCardConfig { start_unix_ms, ..TestCardConfig::default() };
    let mut card = TestCard::new(config)?;
    let mut out = std::io::stdout().lock();
    for _ in 0..seconds * u64::from(config.fps) {
        out.write_all(&card.next_frame())?;
    }
    Ok(())
}
