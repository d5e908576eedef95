//! What `demo --check` decides, from what the players were given and what the peers counted. Pure.

use super::{
    compare::{Comparison, compare},
    player::{End, Recording},
    table,
};

/// Least bytes that must have been compared: below, agreement says nothing.
const COMMON_BYTES_MIN: u64 = 32 * 1024;

/// Heads of the columns of the verdict's table.
pub(super) const HEADS: [&str; 6] =
    ["peer", "played", "first byte", "lost chunks", "same as peer 1", "verdict"];

/// What is known of one peer at the end.
#[derive(Debug)]
pub(super) struct Evidence {
    pub(super) recording: Recording,
    /// Chunks that it says it lost; `None` when it did not answer.
    pub(super) lost_chunks: Option<u64>,
}

/// The rows of the table, and whether every peer passed. `stream_over` says that the stream ended by itself, so that players
/// did too.
pub(super) fn judge(evidence: &[Evidence], stream_over: bool) -> (Vec<Vec<String>>, bool) {
    let Some(first) = evidence.first() else { return (Vec::new(), false) };
    let mut passed = true;
    let rows = evidence
        .iter()
        .enumerate()
        .map(|(index, one)| {
            let comparison = compare(&first.recording.fingerprint, &one.recording.fingerprint);
            let fault = fault(first, one, comparison, stream_over);
            passed &= fault.is_none();
            let common = match comparison {
                Comparison::Same { common_bytes } | Comparison::Differ { common_bytes } => {
                    table::bytes(common_bytes)
                }
                Comparison::Unrelated => "nothing".to_owned(),
            };
            vec![
                (index + 1).to_string(),
                table::bytes(one.recording.fingerprint.bytes()),
                one.recording
                    .first_byte_after
                    .map_or_else(|| "-".to_owned(), |after| format!("{} ms", after.as_millis())),
                one.lost_chunks.map_or_else(|| "-".to_owned(), |lost| lost.to_string()),
                common,
                fault.unwrap_or_else(|| "ok".to_owned()),
            ]
        })
        .collect();
    (rows, passed)
}

/// What is wrong with a peer, if anything is.
fn fault(first: &Evidence, one: &Evidence, comparison: Comparison, stream_over: bool) -> Option<String> {
    match &one.recording.end {
        End::Broken(why) => return Some(format!("the stream broke off: {why}")),
        End::Ended if !stream_over => return Some("the peer ended the stream early".to_owned()),
        End::Ended | End::Stopped => {}
    }
    match one.lost_chunks {
        None => return Some("the peer did not say what it lost".to_owned()),
        Some(0) => {}
        Some(lost) => return Some(format!("{lost} chunks did not come in time")),
    }
    match comparison {
        Comparison::Differ { common_bytes } => Some(format!("other bytes than peer 1 after {common_bytes}")),
        Comparison::Unrelated => Some("nothing in common with peer 1".to_owned()),
        Comparison::Same { common_bytes } => {
            let shorter = first.recording.fingerprint.bytes().min(one.recording.fingerprint.bytes());
            let least = COMMON_BYTES_MIN.max(shorter / 2);
            (common_bytes < least)
                .then(|| format!("only {common_bytes} bytes to compare: let it run longer (--for)"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn evidence(seed: u64, from: usize) -> Evidence {
        let mut state = seed;
        let bytes: Vec<u8> = (0..300_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        let mut recording =
            Recording { first_byte_after: Some(Duration::from_millis(7)), ..Recording::default() };
        recording.fingerprint.push(&bytes[from..]);
        Evidence { recording, lost_chunks: Some(0) }
    }

    /// The verdict of peer 2 beside a sound peer 1.
    fn verdict(change: impl FnOnce(&mut Evidence), stream_over: bool) -> (String, bool) {
        let mut second = evidence(1, 50_000);
        change(&mut second);
        let (rows, passed) = judge(&[evidence(1, 0), second], stream_over);
        assert_eq!(rows[0].last().unwrap(), "ok");
        (rows[1].last().unwrap().clone(), passed)
    }

    #[test]
    fn sound_peers_pass() {
        assert_eq!(verdict(|_| {}, false), ("ok".to_owned(), true));
        assert_eq!(verdict(|peer| peer.recording.end = End::Ended, true), ("ok".to_owned(), true));
    }

    /// Each way to be unsound fails the check, and is named.
    #[test]
    fn each_fault_fails_the_check() {
        for (change, says) in [
            ((|peer| peer.lost_chunks = Some(3)) as fn(&mut Evidence), "3 chunks"),
            (|peer| peer.lost_chunks = None, "did not say"),
            (|peer| peer.recording.end = End::Ended, "early"),
            (|peer| peer.recording.end = End::Broken("reset".to_owned()), "broke off: reset"),
            (|peer| *peer = evidence(2, 0), "nothing in common"),
            (|peer| *peer = evidence(1, 290_000), "only"),
            (
                |peer| {
                    let tail = evidence(2, 0);
                    peer.recording.fingerprint.push(&[9; 70_000]);
                    drop(tail);
                },
                "ok",
            ),
        ] {
            let (verdict, passed) = verdict(change, false);
            assert!(verdict.contains(says), "{verdict}");
            assert_eq!(passed, says == "ok");
        }
        assert!(!judge(&[], false).1, "no peer is no proof");
    }
}
