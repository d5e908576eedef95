//! Stalls: when a viewer sees the stream stand still. Owns which pauses of the play-out count. Pure bookkeeping: times come in.

use p2psp_wire::{ChunkHeader, ChunkNumber};
use std::time::Duration;

/// Shortest pause that counts: what is shorter, players ride out of what they hold.
const STALL_MIN: Duration = Duration::from_millis(250);

/// The chunk that was played last.
#[derive(Clone, Copy, Debug)]
struct Played {
    at: Duration,
    number: ChunkNumber,
    time_us: u32,
}

/// Watches a play-out.
#[derive(Debug, Default)]
pub(crate) struct Stalls {
    last: Option<Played>,
    /// The next chunk is of another run, whose numbers and times say nothing about the old one's.
    is_other_run: bool,
}

impl Stalls {
    /// Takes a chunk that is played `at` this long after the start. How long the play-out had stood still before it, if a viewer saw
    /// that: longer than the source itself took from chunk to chunk.
    pub(crate) fn on_play(&mut self, at: Duration, header: &ChunkHeader) -> Option<Duration> {
        let played = Played { at, number: header.number, time_us: header.time_us };
        let last = self.last.replace(played)?;
        // A source that pauses has no chunks meanwhile; one of which chunks were lost had them about evenly.
        let usual = if self.is_other_run {
            Duration::ZERO
        } else {
            let micros = u64::from(played.time_us.wrapping_sub(last.time_us));
            Duration::from_micros(micros / played.number.since(last.number).max(1))
        };
        self.is_other_run = false;
        let stall = at.saturating_sub(last.at).saturating_sub(usual);
        (stall >= STALL_MIN).then_some(stall)
    }

    /// The splitter began another run.
    pub(crate) const fn on_other_run(&mut self) {
        self.is_other_run = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2psp_wire::Slot;

    /// Plays chunks, each given by when it is played, its number, and its stream time; all in milliseconds.
    fn played(stalls: &mut Stalls, chunks: &[(u64, u64, u32)]) -> Vec<u128> {
        let stall = |(at, number, time): &(u64, u64, u32)| {
            let header = ChunkHeader {
                number: ChunkNumber::new(*number).unwrap(),
                origin: Slot::FIRST,
                position: 0,
                header_version: 0,
                random_access: false,
                time_us: time.wrapping_mul(1000),
            };
            stalls.on_play(Duration::from_millis(*at), &header).map(|stall| stall.as_millis())
        };
        chunks.iter().filter_map(stall).collect()
    }

    /// Chunks that came too late, chunks that never came, and a splitter that was started anew stop the picture; the first chunk does not.
    #[test]
    fn what_a_viewer_waits_for_is_a_stall() {
        for (what, chunks, stall) in [
            ("late", &[(9_000, 1, 100), (9_270, 2, 120)][..], &[250][..]),
            ("one millisecond less", &[(9_000, 1, 100), (9_269, 2, 120)], &[]),
            ("lost for 2 s", &[(9_000, 1, 100), (11_000, 101, 2_100)], &[1_980]),
            (
                "two of them",
                &[(0, 1, 100), (1_000, 51, 1_100), (1_020, 52, 1_120), (2_020, 53, 1_140)],
                &[980, 980],
            ),
        ] {
            assert_eq!(played(&mut Stalls::default(), chunks), stall, "{what}");
        }
        let mut stalls = Stalls::default();
        assert!(played(&mut stalls, &[(0, 900, 90_000)]).is_empty());
        stalls.on_other_run();
        assert_eq!(played(&mut stalls, &[(3_000, 1, 0), (3_020, 2, 20)]), [3_000]);
    }

    /// A source that pauses or has a chunk a second only, single losses, and a stream time that wraps or goes back are none.
    #[test]
    fn what_the_source_does_is_none() {
        for chunks in [
            &[(0, 1, 100), (5_000, 2, 5_100)][..],
            &[(0, 1, 0), (1_000, 2, 1_000), (2_000, 3, 2_000)],
            &[(0, 1, 0), (250, 3, 250)],
            &[(0, 1, u32::MAX / 1000), (5_000, 2, u32::MAX / 1000 + 5_000)],
            &[(0, 9, 5_000), (4_000, 2, 1_000)],
        ] {
            assert!(played(&mut Stalls::default(), chunks).is_empty(), "{chunks:?}");
        }
    }
}
