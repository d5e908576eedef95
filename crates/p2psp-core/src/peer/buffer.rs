//! What people see of a peer's buffer: which chunks around the play-out are here, and why others are not. Owns no state.

use super::Peer;
use p2psp_wire::ChunkNumber;
use std::time::Duration;

/// Chunks that a view tells of at most; the oldest come first.
pub const BUFFER_CHUNKS_MAX: u64 = 8192;
/// Of these, chunks that the play-out has left behind.
pub const BUFFER_BEHIND_MAX: u64 = 1024;

/// How a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkState {
    /// It is here; behind the play-out, it was.
    Held,
    /// It is here, and waits for the manifest that lists it (R-GEN-5).
    Unproved,
    /// It has not come, and others were asked for it.
    Asked,
    /// It has not come. Of the newest ones that is no loss: they are on their way.
    Missing,
    /// It did not come in time: the play-out went on without it.
    Lost,
}

/// A peer's buffer at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferView {
    /// The first chunk that `runs` tells of: where the peer began, or at most [`BUFFER_BEHIND_MAX`] behind the play-out.
    pub first: ChunkNumber,
    /// The next chunk to play.
    pub play: ChunkNumber,
    /// One past the newest chunk that is here, or that is known to have been sent.
    pub end: ChunkNumber,
    /// How far the newest proved chunk is ahead of the play-out.
    pub ahead: Duration,
    /// From `first` on, how many chunks in a row are alike; together at most [`BUFFER_CHUNKS_MAX`].
    pub runs: Vec<(ChunkState, u64)>,
}

impl Peer {
    /// The buffer now; `None` without a seat.
    #[must_use]
    pub fn buffer(&self) -> Option<BufferView> {
        let seat = self.seat.as_ref()?;
        let (window, play) = (&seat.window, seat.playout.next_number());
        let first = window.floor().max(play.minus(BUFFER_BEHIND_MAX)).max(seat.playout.began());
        let end = window.end().max(play).max(seat.edge.number());
        let state = |number| match number {
            number if window.contains(number) => ChunkState::Held,
            number if number < play => ChunkState::Lost,
            number if seat.belief.holds(number) => ChunkState::Unproved,
            number if seat.repairs.has_asked(number) || seat.start.has_asked(number) => ChunkState::Asked,
            _ => ChunkState::Missing,
        };
        let mut runs: Vec<(ChunkState, u64)> = Vec::new();
        for offset in 0..end.since(first).min(BUFFER_CHUNKS_MAX) {
            let state = state(first.plus(offset));
            match runs.last_mut() {
                Some((last, chunks)) if *last == state => *chunks += 1,
                _ => runs.push((state, 1)),
            }
        }
        Some(BufferView { first, play, end, ahead: self.buffer_delay(), runs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ParityPolicy, Protection,
        lab::{Lab, SPLITTER, signing_key},
    };

    const CHUNK: Duration = Duration::from_millis(5);
    /// Chunks of a stream that has become steady.
    const BEFORE: u64 = 800;

    fn team(protection: Option<Protection>) -> Lab {
        let mut lab = Lab::new(|config| config.protection = protection);
        for _ in 0..3 {
            lab.add_peer(|_| {});
        }
        lab.pass(Duration::from_millis(200));
        lab
    }

    fn count(view: &BufferView, state: ChunkState) -> u64 {
        view.runs.iter().filter(|(of, _)| *of == state).map(|(_, chunks)| chunks).sum()
    }

    /// How the chunk of this number is, if the view tells.
    fn state_of(view: &BufferView, number: u64) -> Option<ChunkState> {
        let mut states = view.runs.iter().flat_map(|(state, chunks)| (0..*chunks).map(|_| *state));
        states.nth(usize::try_from(number - view.first.get()).unwrap())
    }

    /// A sound buffer is one run from where the peer began; half a second of it lies ahead of the play-out.
    #[test]
    fn a_whole_buffer_is_one_run() {
        let mut lab = team(None);
        assert_eq!(lab.peer(1).buffer().map(|view| view.runs), Some(Vec::new()), "nothing has come");
        lab.stream(300, CHUNK, 50);
        let view = lab.peer(1).buffer().unwrap();
        assert_eq!((view.first.get(), view.end.get()), (0, 300));
        assert_eq!(view.runs, [(ChunkState::Held, 300)]);
        assert!(view.end.since(view.play).abs_diff(100) < 5, "{view:?}");
        assert!(view.ahead.abs_diff(Duration::from_millis(495)) < 4 * CHUNK, "{view:?}");
    }

    /// What did not come is missing until its time is over, and lost from then on.
    #[test]
    fn what_is_missing_becomes_lost() {
        let mut lab = team(None);
        // Longer than a newcomer asks for what it lacks.
        lab.stream(BEFORE, CHUNK, 50);
        lab.wires.holes.extend([(SPLITTER, 1), (2, 1), (3, 1)]);
        lab.stream(10, CHUNK, 50);
        lab.wires.holes.clear();
        lab.stream(20, CHUNK, 50);
        let view = lab.peer(1).buffer().unwrap();
        assert_eq!(count(&view, ChunkState::Missing), 10, "{view:?}");
        assert_eq!(state_of(&view, BEFORE + 5), Some(ChunkState::Missing));
        lab.stream(100, CHUNK, 50);
        let view = lab.peer(1).buffer().unwrap();
        assert_eq!(count(&view, ChunkState::Lost), 10, "{view:?}");
        assert_eq!(state_of(&view, BEFORE + 5), Some(ChunkState::Lost));
        assert_eq!(lab.peer(1).stats().chunks_lost, 10);
        assert_eq!(count(&view, ChunkState::Held), BEFORE + 120, "the rest");
    }

    /// Chunks that no manifest lists so far, and such as others were asked for, are told apart.
    #[test]
    fn doubt_and_repair_are_seen() {
        let protection =
            Protection { key: signing_key(), signs_chunks: false, parity: ParityPolicy::Fixed(0) };
        let mut lab = team(Some(protection));
        lab.stream(BEFORE, CHUNK, 50);
        lab.wires.holes.extend([(SPLITTER, 1), (2, 1), (3, 1)]);
        lab.stream(1, CHUNK, 50);
        // Who is asked says nothing.
        lab.wires.deaf.extend([(1, SPLITTER), (1, 2), (1, 3)]);
        lab.wires.holes.clear();
        let mut seen = (false, false);
        for _ in 0..60 {
            lab.stream(1, CHUNK, 50);
            let view = lab.peer(1).buffer().unwrap();
            seen.0 |= count(&view, ChunkState::Unproved) > 0;
            seen.1 |= state_of(&view, BEFORE) == Some(ChunkState::Asked);
        }
        assert_eq!(seen, (true, true), "{:?}", lab.peer(1).buffer());
    }

    /// However large the window, a view is bounded, and so is the past in it.
    #[test]
    fn views_are_bounded() {
        let mut lab = Lab::new(|_| {});
        let delay = Duration::from_secs(5);
        lab.add_peer(|config| (config.window_chunks, config.target_delay) = (32_768, delay));
        lab.pass(Duration::from_millis(200));
        for _ in 0..BUFFER_CHUNKS_MAX / 64 + 1 {
            for _ in 0..64 {
                lab.ingest(false);
            }
            lab.pass(Duration::from_millis(20));
        }
        let view = lab.peer(1).buffer().unwrap();
        assert!(view.end.since(view.first) > BUFFER_CHUNKS_MAX, "{view:?}");
        assert_eq!(count(&view, ChunkState::Held), BUFFER_CHUNKS_MAX);
        lab.pass(delay);
        let view = lab.peer(1).buffer().unwrap();
        assert_eq!((view.end, view.play.since(view.first)), (view.play, BUFFER_BEHIND_MAX));
        assert_eq!(view.runs, [(ChunkState::Held, BUFFER_BEHIND_MAX)]);
    }
}
