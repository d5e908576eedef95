//! The door of the built-in test card: each frame when its time has come. Draws nothing itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::IngestError;
use super::feed::Feed;
use crate::testcard::{TestCard, TestCardConfig};

/// A card that is so late leaves frames out: its clock is worth more than its completeness.
const LATE_MAX: Duration = Duration::from_secs(1);

pub(super) async fn run(mut config: TestCardConfig, feed: &mut Feed) -> Result<(), IngestError> {
    if config.start_unix_ms == 0 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        config.start_unix_ms = u64::try_from(since_1970.as_millis()).unwrap_or(0);
    }
    let mut card = TestCard::new(config)?;
    let fps = u64::from(config.fps);
    let start = Instant::now();
    let due = |frame: u64| Duration::from_micros(frame.saturating_mul(1_000_000) / fps);
    loop {
        let elapsed = start.elapsed();
        if elapsed > due(card.frame()) + LATE_MAX {
            let frames = elapsed.as_micros().saturating_mul(u128::from(fps)) / 1_000_000;
            card.skip_to(u64::try_from(frames).unwrap_or(u64::MAX));
        }
        if feed.wait_until(start + due(card.frame())).await.is_err() {
            return Ok(());
        }
        let frame = card.next_frame();
        if feed.push(&frame).await.is_err() || feed.flush().await.is_err() {
            return Ok(());
        }
    }
}
