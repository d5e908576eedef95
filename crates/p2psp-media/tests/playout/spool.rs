//! The play-out ring against a model of what a player may see, for any order of writes and reads.

use std::collections::BTreeSet;

use bytes::{Buf, Bytes};
use p2psp_media::playout::{Batch, Cursor, HEADERS_MAX, Read, Spool, SpoolLimits, Unit};
use p2psp_media::record::{STREAM_HEADER_BYTES_MAX, StreamHeader};
use proptest::prelude::*;

const LIMITS: SpoolLimits =
    SpoolLimits { bytes_max: 1000, units_max: 20, reader_lag_bytes_max: 500, audio_burst_bytes: 300 };
/// Shortest payload: `U00000000\n`.
const LEN_MIN: usize = 10;

fn header(kind: &str, version: u8) -> StreamHeader {
    StreamHeader { version, content_type: kind.to_owned(), bytes: format!("H{version}\n").into() }
}

fn unit(number: u64, len: usize, random_access: bool, header_version: u8) -> Unit {
    let payload = format!("U{number:08}{:.<1$}\n", "", len.max(LEN_MIN) - LEN_MIN);
    Unit { payload: payload.into(), random_access, header_version }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

fn text(batch: &mut Batch) -> String {
    String::from_utf8(batch.copy_to_bytes(batch.remaining()).to_vec()).unwrap()
}

/// Reads until the ring has no more for the cursor.
fn drain(spool: &mut Spool, cursor: &mut Cursor) -> (String, Read) {
    let mut seen = String::new();
    loop {
        let mut batch = Batch::default();
        match spool.read(cursor, &mut batch, 64) {
            Read::Data => seen += &text(&mut batch),
            end @ (Read::Wait | Read::End) => return (seen, end),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push { len: usize, random_access: bool },
    Gap,
    NewHeader,
    Join,
    Read { reader: usize, bytes_max: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (LEN_MIN..200, prop::bool::weighted(0.2))
            .prop_map(|(len, random_access)| Step::Push { len, random_access }),
        1 => Just(Step::Gap),
        1 => Just(Step::NewHeader),
        1 => Just(Step::Join),
        6 => (0..4usize, 1..400usize).prop_map(|(reader, bytes_max)| Step::Read { reader, bytes_max }),
    ];
    prop::collection::vec(step, 0..300)
}

/// One reader and what it has seen.
struct Viewer {
    cursor: Cursor,
    version: Option<u8>,
    last: Option<u64>,
    ended: bool,
}

/// What was pushed.
struct Pushed {
    random_access: bool,
    version: u8,
    after_hole: bool,
}

/// Feeds a batch's lines to the rules that every player's bytes must keep. `held` is the oldest unit in the ring.
fn check(viewer: &mut Viewer, lines: &str, pushed: &[Pushed], nested: bool, held: u64) {
    let mut fresh_header = None;
    for line in lines.lines() {
        if let Some(version) = line.strip_prefix('H') {
            fresh_header = Some(version.parse().unwrap());
            continue;
        }
        let number: u64 = line[1..9].parse().unwrap();
        let unit = |n: u64| &pushed[index(n)];
        let this = unit(number);
        match viewer.last {
            None => {
                assert!(this.random_access, "joined at {number}, which is no random-access point");
                assert_eq!(fresh_header, Some(this.version), "joined without the header");
            }
            Some(last) if number == last + 1 => {
                assert!(
                    !(nested && this.after_hole && !this.random_access),
                    "passed a hole into the middle of a nested container"
                );
            }
            Some(last) => {
                assert!(number > last, "went back from {last} to {number}");
                assert!(this.random_access, "jumped to {number}, which is no random-access point");
                assert!(
                    viewer.version == Some(this.version) || fresh_header.is_some(),
                    "jumped into another version without its header"
                );
                let hole = (last + 1..=number).any(|n| unit(n).after_hole);
                let fell_out = last + 1 < held;
                assert!(
                    !nested || hole || fell_out || unit(last + 1).random_access,
                    "left a nested container in the middle of an element, after {last}"
                );
            }
        }
        if nested {
            assert_eq!(viewer.version.unwrap_or(this.version), this.version, "header changed under a player");
        }
        if fresh_header.is_some() {
            assert_eq!(fresh_header.take(), Some(this.version), "a header of another version");
        }
        viewer.version = Some(this.version);
        viewer.last = Some(number);
    }
    assert_eq!(fresh_header, None, "a header without its unit");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn players_see_the_stream_in_order(nested in any::<bool>(), steps in steps()) {
        let kind = if nested { "video/webm" } else { "video/mp2t" };
        let mut spool = Spool::new(LIMITS);
        spool.set_header(header(kind, 0)).unwrap();
        let (mut version, mut hole) = (0u8, false);
        let mut pushed: Vec<Pushed> = Vec::new();
        let mut viewers: Vec<Viewer> = Vec::new();
        for step in steps {
            match step {
                Step::Push { len, random_access } => {
                    spool.push(unit(pushed.len() as u64, len, random_access, version));
                    pushed.push(Pushed { random_access, version, after_hole: hole });
                    hole = false;
                }
                Step::Gap => {
                    spool.gap(3);
                    hole = true;
                }
                Step::NewHeader => {
                    version = version.wrapping_add(1);
                    spool.set_header(header(kind, version)).unwrap();
                }
                Step::Join if viewers.len() < 4 => {
                    viewers.push(Viewer { cursor: spool.cursor(), version: None, last: None, ended: false });
                }
                Step::Join => {}
                Step::Read { reader, bytes_max } => {
                    let held = pushed.len() as u64 - spool.stats().units_held as u64;
                    let Some(viewer) = viewers.get_mut(reader) else { continue };
                    let known = |unit: &Pushed| usize::from(unit.version) + HEADERS_MAX > usize::from(version);
                    let newest = pushed.iter().rposition(|unit| unit.random_access && known(unit)).map(|n| n as u64);
                    let first_read = viewer.last.is_none() && !viewer.ended;
                    let mut batch = Batch::default();
                    match spool.read(&mut viewer.cursor, &mut batch, bytes_max) {
                        Read::Data => {
                            prop_assert!(!viewer.ended);
                            prop_assert!(batch.remaining() < bytes_max + 200 + LEN_MIN);
                        }
                        Read::Wait => prop_assert!(batch.is_empty() && !viewer.ended),
                        Read::End => {
                            prop_assert!(nested && batch.is_empty(), "ended although the stream goes on");
                            viewer.ended = true;
                        }
                    }
                    let lines = text(&mut batch);
                    if first_read && !lines.is_empty() {
                        let joined = lines.lines().nth(1).unwrap()[1..9].parse::<u64>().unwrap();
                        // Placed by its first read, when at all; later points do not move it.
                        prop_assert_eq!(Some(joined), newest);
                    }
                    check(viewer, &lines, &pushed, nested, held);
                }
            }
            let stats = spool.stats();
            prop_assert!(stats.bytes_held <= LIMITS.bytes_max && stats.units_held <= LIMITS.units_max);
            prop_assert_eq!(index(stats.units), pushed.len());
            let held = &pushed[pushed.len() - stats.units_held..];
            prop_assert_eq!(stats.points_held, held.iter().filter(|unit| unit.random_access).count());
        }
        // Whoever has started a self-synchronising stream sees its very last unit, and then the end.
        spool.close();
        for viewer in &mut viewers {
            let held = pushed.len() as u64 - spool.stats().units_held as u64;
            let started = viewer.last.is_some();
            let (lines, read) = drain(&mut spool, &mut viewer.cursor);
            check(viewer, &lines, &pushed, nested, held);
            prop_assert_eq!(read, Read::End);
            // The last unit may lie behind a fall out of the ring without a random-access point to land on.
            let points: BTreeSet<u64> = (held..pushed.len() as u64).filter(|n| pushed[index(*n)].random_access).collect();
            if started && !nested && !points.is_empty() {
                prop_assert_eq!(viewer.last, Some(pushed.len() as u64 - 1));
            }
        }
    }
}

fn ring(kind: &str) -> Spool {
    let mut spool = Spool::new(LIMITS);
    spool.set_header(header(kind, 0)).unwrap();
    spool
}

fn numbers(lines: &str) -> Vec<String> {
    lines.lines().map(|line| line.chars().take(9).collect::<String>()).collect()
}

#[test]
fn nothing_is_read_before_header_and_random_access_point() {
    let mut spool = Spool::new(LIMITS);
    let mut cursor = spool.cursor();
    spool.push(unit(0, 20, true, 7));
    assert_eq!(drain(&mut spool, &mut cursor), (String::new(), Read::Wait));
    spool.set_header(header("video/mp2t", 6)).unwrap();
    assert_eq!(drain(&mut spool, &mut cursor), (String::new(), Read::Wait), "another version's header");
    spool.set_header(header("video/mp2t", 7)).unwrap();
    assert_eq!(numbers(&drain(&mut spool, &mut cursor).0), ["H7", "U00000000"]);
}

#[test]
fn a_hole_stops_nested_containers_until_the_next_point() {
    for (kind, expected) in [
        ("video/mp2t", &["H0", "U00000000", "U00000001", "U00000002"][..]),
        ("video/webm", &["H0", "U00000000", "U00000002"][..]),
    ] {
        let mut spool = ring(kind);
        let mut cursor = spool.cursor();
        spool.push(unit(0, 20, true, 0));
        let mut seen = drain(&mut spool, &mut cursor).0;
        spool.gap(1);
        spool.push(unit(1, 20, false, 0));
        seen += &drain(&mut spool, &mut cursor).0;
        spool.push(unit(2, 20, true, 0));
        seen += &drain(&mut spool, &mut cursor).0;
        assert_eq!(numbers(&seen), expected, "{kind}");
        assert_eq!(spool.stats().units_missing, 1);
    }
}

#[test]
fn a_new_header_ends_nested_containers_and_flows_through_others() {
    for (kind, expected, end) in [
        ("video/mp2t", &["H0", "U00000000", "U00000001", "U00000002"][..], Read::Wait),
        ("video/webm", &["H0", "U00000000"][..], Read::End),
    ] {
        let mut spool = ring(kind);
        let mut cursor = spool.cursor();
        spool.push(unit(0, 20, true, 0));
        spool.start(&mut cursor).unwrap();
        spool.set_header(header(kind, 1)).unwrap();
        spool.push(unit(1, 20, false, 1));
        spool.push(unit(2, 20, true, 1));
        let (seen, read) = drain(&mut spool, &mut cursor);
        assert_eq!((numbers(&seen), read), (expected.iter().map(|s| s.to_string()).collect(), end), "{kind}");
    }
}

/// The tables in the stream may have been in the hole, so the header is given once more.
#[test]
fn a_new_header_behind_a_hole_is_repeated() {
    let mut spool = ring("video/mp2t");
    let mut cursor = spool.cursor();
    spool.push(unit(0, 20, true, 0));
    spool.start(&mut cursor).unwrap();
    spool.set_header(header("video/mp2t", 1)).unwrap();
    spool.gap(2);
    spool.push(unit(1, 20, false, 1));
    spool.push(unit(2, 20, true, 1));
    spool.push(unit(3, 20, true, 1));
    let seen = drain(&mut spool, &mut cursor).0;
    assert_eq!(numbers(&seen), ["H0", "U00000000", "U00000001", "H1", "U00000002", "U00000003"]);
}

/// A player of one container is never fed another, whatever its framing.
#[test]
fn a_change_of_container_ends_every_player() {
    let mut spool = ring("video/mp2t");
    let mut cursor = spool.cursor();
    spool.push(unit(0, 20, true, 0));
    spool.start(&mut cursor).unwrap();
    spool.set_header(header("video/webm", 1)).unwrap();
    spool.push(unit(1, 20, true, 1));
    let (seen, read) = drain(&mut spool, &mut cursor);
    assert_eq!((numbers(&seen).len(), read), (2, Read::End));
    let mut newcomer = spool.cursor();
    assert_eq!(spool.start(&mut newcomer).unwrap().content_type, "video/webm");
}

/// Sound has no pictures to wait for, but players want some seconds of it before they begin.
#[test]
fn a_player_of_sound_starts_with_a_burst() {
    for (kind, expected) in [("audio/mpeg", "U00000003"), ("video/mp2t", "U00000005")] {
        let mut spool = ring(kind);
        (0..6).for_each(|number| spool.push(unit(number, 100, true, 0)));
        let mut cursor = spool.cursor();
        assert_eq!(numbers(&drain(&mut spool, &mut cursor).0)[1], expected, "{kind}");
    }
    // Less than a burst is there: from the start.
    let mut spool = ring("audio/mpeg");
    (0..2).for_each(|number| spool.push(unit(number, 100, true, 0)));
    let mut cursor = spool.cursor();
    assert_eq!(numbers(&drain(&mut spool, &mut cursor).0), ["H0", "U00000000", "U00000001"]);
}

#[test]
fn a_slow_reader_lands_on_the_newest_point() {
    let mut spool = ring("video/mp2t");
    let mut cursor = spool.cursor();
    spool.push(unit(0, 100, true, 0));
    assert_eq!(numbers(&drain(&mut spool, &mut cursor).0), ["H0", "U00000000"]);
    // Six units of 100 bytes behind: one more than the lag allows.
    for number in 1..=6 {
        spool.push(unit(number, 100, number % 2 == 0, 0));
    }
    assert_eq!(numbers(&drain(&mut spool, &mut cursor).0), ["U00000006"]);
    assert_eq!(spool.stats().skips, 1);
}

#[test]
fn a_reader_at_the_limit_is_not_moved() {
    let mut spool = ring("video/mp2t");
    let mut cursor = spool.cursor();
    spool.push(unit(0, 100, true, 0));
    drain(&mut spool, &mut cursor);
    for number in 1..=5 {
        spool.push(unit(number, 100, true, 0));
    }
    assert_eq!(numbers(&drain(&mut spool, &mut cursor).0).len(), 5);
    assert_eq!(spool.stats().skips, 0);
}

#[test]
fn limits_hold_at_one_more_than_allowed() {
    let mut spool = ring("video/mp2t");
    let mut big = header("video/mp2t", 1);
    big.bytes = Bytes::from(vec![0; STREAM_HEADER_BYTES_MAX + 1]);
    assert_eq!(spool.set_header(big).unwrap_err().bytes, STREAM_HEADER_BYTES_MAX + 1);
    assert_eq!(spool.header().unwrap().version, 0);

    spool.push(unit(0, LIMITS.bytes_max + 1, true, 0));
    assert_eq!((spool.stats().units_held, spool.stats().units_missing), (0, 1));
    spool.push(unit(0, LIMITS.bytes_max, true, 0));
    assert_eq!(spool.stats().bytes_held, LIMITS.bytes_max);

    for number in 0..=LIMITS.units_max as u64 {
        spool.push(unit(number, LEN_MIN, true, 0));
    }
    assert_eq!(spool.stats().units_held, LIMITS.units_max);

    // One header more than are kept: the oldest is forgotten, and its units are no place to start at.
    let mut spool = ring("video/mp2t");
    spool.push(unit(0, 20, true, 0));
    for version in 1..=u8::try_from(HEADERS_MAX).unwrap() {
        spool.set_header(header("video/mp2t", version)).unwrap();
    }
    let mut cursor = spool.cursor();
    assert!(spool.start(&mut cursor).is_none());
}
