//! `p2psp ctl get buffer`: a peer's buffer in a few lines of 80 columns, for people. Owns how it is drawn; programs get what the API tells.

use p2psp_admin::v1::{BufferMap, ChunkState};
use p2psp_core::BUFFER_CHUNKS_MAX;

/// Columns of the picture.
const COLUMNS: u64 = 78;
/// Signs, the most telling first: a column that stands for several chunks shows the one that says most.
const SIGNS: [(ChunkState, char); 5] = [
    (ChunkState::Lost, 'x'),
    (ChunkState::Asked, '?'),
    (ChunkState::Missing, '.'),
    (ChunkState::Unproved, '='),
    (ChunkState::Held, '#'),
];

/// The buffer in lines.
pub(super) fn lines(map: &BufferMap) -> Vec<String> {
    let BufferMap { first_number, play_number, end_number, buffer_ms, .. } = map;
    let runs = map.runs.iter().flat_map(|run| std::iter::repeat_n(run.state(), clipped(run.chunks)));
    // A map comes from elsewhere: more than one has room for is not drawn.
    let states: Vec<ChunkState> = runs.take(clipped(BUFFER_CHUNKS_MAX)).collect();
    let behind = clipped(play_number.saturating_sub(*first_number)).min(states.len());
    let (past, future) = states.split_at(behind);
    let mut lines = vec![
        format!("plays {play_number} of {first_number} to {end_number}, {buffer_ms} ms ahead"),
        format!("behind: {}", counts(past)),
        format!("ahead:  {}", counts(future)),
    ];
    if !states.is_empty() {
        lines.push(picture(past, future));
        let legend = SIGNS.iter().rev().map(|(state, sign)| format!("{sign} {}", state.name()));
        lines.push(format!("{}   | play-out", legend.collect::<Vec<_>>().join("   ")));
    }
    let told = u64::try_from(states.len()).unwrap_or(u64::MAX);
    let more = end_number.saturating_sub(*first_number).saturating_sub(told);
    if more > 0 {
        lines.push(format!("and {more} chunks further ahead"));
    }
    lines
}

fn clipped(chunks: u64) -> usize {
    usize::try_from(chunks).unwrap_or(usize::MAX)
}

/// How many there are, and how they are.
fn counts(states: &[ChunkState]) -> String {
    let of = |state: ChunkState| states.iter().filter(|other| **other == state).count();
    let parts = SIGNS.iter().rev().filter_map(|(state, _)| {
        let count = of(*state);
        (count > 0).then(|| format!("{count} {}", state.name()))
    });
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

/// One sign for every so many chunks, with the play-out between the two parts.
fn picture(past: &[ChunkState], future: &[ChunkState]) -> String {
    let all = past.len() + future.len();
    let columns = usize::try_from(COLUMNS).unwrap_or(1);
    let step = all.div_ceil(columns - 1).max(1);
    let draw = |part: &[ChunkState]| part.chunks(step).map(sign).collect::<String>();
    format!("{}|{}", draw(past), draw(future))
}

fn sign(states: &[ChunkState]) -> char {
    let worst = SIGNS.iter().find(|(state, _)| states.contains(state));
    worst.map_or(' ', |(_, sign)| *sign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2psp_admin::v1::BufferRun;

    fn map(first: u64, play: u64, runs: &[(ChunkState, u64)]) -> BufferMap {
        let chunks: u64 = runs.iter().map(|(_, chunks)| chunks).sum();
        BufferMap {
            first_number: first,
            play_number: play,
            end_number: first + chunks,
            buffer_ms: 495,
            runs: runs
                .iter()
                .map(|(state, chunks)| BufferRun { state: (*state).into(), chunks: *chunks })
                .collect(),
        }
    }

    #[test]
    fn a_buffer_is_drawn() {
        use ChunkState::{Asked, Held, Lost, Missing, Unproved};
        let small =
            map(100, 104, &[(Held, 2), (Lost, 1), (Held, 4), (Asked, 1), (Unproved, 2), (Missing, 1)]);
        let expected = [
            "plays 104 of 100 to 111, 495 ms ahead",
            "behind: 3 held, 1 lost",
            "ahead:  3 held, 2 unproved, 1 missing, 1 asked",
            "##x#|###?==.",
            "# held   = unproved   . missing   ? asked   x lost   | play-out",
        ];
        assert_eq!(lines(&small), expected);
        assert_eq!(lines(&map(7, 7, &[]))[1..], ["behind: nothing", "ahead:  nothing"]);
    }

    /// Whatever the size, and whatever numbers a stream has come to, no line is wider than a terminal, and no lost chunk is hidden.
    #[test]
    fn lines_fit_a_terminal() {
        use ChunkState::{Asked, Held, Lost, Missing, Unproved};
        for size in [1, 5, 76, 77, 78, 79, 1_000, 8_192, u64::from(u32::MAX)] {
            for play in [0, size / 3, size] {
                let first = (1 << 48) - 1;
                let runs = [(Held, size), (Unproved, 1_024), (Asked, 1_024), (Missing, 1_024), (Lost, 1)];
                let lines = lines(&map(first, first + play, &runs));
                assert!(lines.iter().all(|line| line.chars().count() <= 80), "{size} {play}: {lines:#?}");
                let is_drawn = size + 3 * 1_024 < BUFFER_CHUNKS_MAX;
                assert_eq!(lines[3].ends_with('x'), is_drawn, "{size} {play}: {lines:#?}");
            }
        }
        let mut more = map(0, 10, &[(Held, 20)]);
        more.end_number = 50;
        assert_eq!(lines(&more).last().unwrap(), "and 30 chunks further ahead");
    }

    /// As many chunks as a map has room for are drawn, and not one more, in however many runs they come.
    #[test]
    fn a_map_that_is_too_long_is_cut() {
        let most = usize::try_from(BUFFER_CHUNKS_MAX).unwrap();
        for (runs, more) in [(most, None), (most + 1, Some(1)), (most * 100, Some(most * 99))] {
            let lines = lines(&map(0, 0, &vec![(ChunkState::Held, 1); runs]));
            assert_eq!(lines[2], format!("ahead:  {most} held"));
            let told = lines.iter().find(|line| line.contains("further ahead"));
            assert_eq!(told.cloned(), more.map(|more| format!("and {more} chunks further ahead")));
        }
        let endless = lines(&map(0, 0, &[(ChunkState::Lost, u64::from(u32::MAX)); 3]));
        assert_eq!(endless[2], format!("ahead:  {most} lost"));
    }
}
