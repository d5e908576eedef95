//! Gaps of the source: how long it brought nothing. Owns which of its states count. Pure bookkeeping: times come in.

use p2psp_media::ingest::IngestState;
use std::time::Duration;

/// Watches a source by looking at its state now and then.
#[derive(Debug)]
pub(crate) struct Gaps {
    /// The door tells a silence so late.
    stall_after: Duration,
    looked: Duration,
    was_live: bool,
    is_live: bool,
    total: Duration,
}

impl Gaps {
    pub(crate) const fn new(stall_after: Duration) -> Self {
        Self { stall_after, looked: Duration::ZERO, was_live: false, is_live: false, total: Duration::ZERO }
    }

    /// Takes the state that the source is in `at` this long after the start, and gives the length of all gaps so far, right to the
    /// time from one look to the next. Before it was live for the first time and after its end there is nothing to miss.
    pub(crate) fn look(&mut self, at: Duration, state: &IngestState) -> Duration {
        let since = at.saturating_sub(self.looked);
        self.looked = at;
        let is_missed = match state {
            IngestState::Live | IngestState::Ended => false,
            IngestState::Connecting | IngestState::Stalled | IngestState::Failed { .. } => self.was_live,
        };
        if is_missed {
            let is_news = self.is_live && *state == IngestState::Stalled;
            self.total = self.total.saturating_add(if is_news { self.stall_after } else { since });
        }
        self.is_live = *state == IngestState::Live;
        self.was_live |= self.is_live;
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time counts while a source that was there is not; a silence from its beginning on, which was before it was told.
    #[test]
    fn only_what_is_missed_counts() {
        let mut gaps = Gaps::new(Duration::from_secs(5));
        let failed = IngestState::Failed { reason: "gone".to_owned() };
        let looks = [
            (10, IngestState::Connecting, 0),
            (11, IngestState::Live, 0),
            (12, IngestState::Live, 0),
            (17, IngestState::Stalled, 5),
            (18, IngestState::Stalled, 6),
            (19, IngestState::Live, 6),
            (20, IngestState::Connecting, 7),
            (21, IngestState::Live, 7),
            (22, failed.clone(), 8),
            (22, failed, 8),
            (30, IngestState::Ended, 8),
        ];
        for (at, state, total) in looks {
            assert_eq!(
                gaps.look(Duration::from_secs(at), &state),
                Duration::from_secs(total),
                "{state:?} at {at}"
            );
        }
    }
}
