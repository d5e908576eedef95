//! What the view shows, letter by letter: made-up news and keys in, frames out, at the smallest usual size of a terminal and at a
//! large one. `P2PSP_UPDATE_SNAPSHOTS=1 cargo test -p p2psp top` writes the pictures in `snapshots/` anew; look at them.

use super::{
    data::News,
    state::{DEPTH_MAX, FILTER_CHARACTERS_MAX, State},
    text::TEXT_CHARACTERS_MAX,
    view,
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use p2psp_admin::v1;
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, style::Color};
use std::{fs, path::Path};

const STARTED: u64 = 1_700_000_000_000;

fn key(name: &str) -> String {
    format!("{name:a<52}")
}

fn drawn(state: &State, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(state, frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn picture(state: &State, width: u16, height: u16) -> String {
    let buffer = drawn(state, width, height);
    let mut text = String::new();
    for y in 0..height {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Holds a picture against the one that is kept.
#[track_caller]
fn keeps(name: &str, state: &State, (width, height): (u16, u16)) {
    let file = format!("src/top/snapshots/{name}-{width}x{height}.txt");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
    let now = picture(state, width, height);
    if std::env::var_os("P2PSP_UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(now == kept, "{file} differs; kept:\n{kept}\nnow:\n{now}");
}

const SIZES: [(u16, u16); 2] = [(80, 24), (132, 43)];

fn info(role: v1::Role) -> News {
    News::Up(Box::new(v1::Info {
        role: role.into(),
        version: "1.2.3".into(),
        pid: 4711,
        started_unix_ms: STARTED,
        ..v1::Info::default()
    }))
}

fn member(slot: u32, name: &str) -> v1::Peer {
    v1::Peer {
        slot,
        peer: key(name),
        state: v1::PeerState::Ready.into(),
        remote: format!("192.0.2.{slot}:4480"),
        joined_unix_ms: STARTED + u64::from(slot) * 60_000,
        weight: 16,
        ..v1::Peer::default()
    }
}

fn press(state: &mut State, codes: &[KeyCode]) {
    for code in codes {
        state.press(KeyEvent::new(*code, KeyModifiers::NONE));
    }
}

fn write(state: &mut State, text: &str) {
    text.chars().for_each(|c| press(state, &[KeyCode::Char(c)]));
}

/// A team of four at its splitter, after some seconds; one of them is asked itself, too.
fn team() -> State {
    let mut state = State::new(["127.0.0.1:4490".to_owned(), "127.0.0.1:4491".to_owned()], true);
    state.tick(STARTED + 3_600_000);
    state.apply(0, info(v1::Role::Splitter));
    let members = [member(0, "jz4qk"), member(1, "b7xow"), member(2, "mm2ay"), member(3, "qq5ev")];
    state.apply(0, News::Members(members.to_vec()));
    state.apply(
        0,
        News::Channel(Box::new(v1::Channel {
            channel: key("kanal"),
            integrity: "manifest".into(),
            source: "testcard:320x192@25".into(),
            source_state: "live".into(),
            container: "MPEG-TS".into(),
            ..v1::Channel::default()
        })),
    );
    for second in 0..30_u64 {
        let figures = v1::SplitterFigures {
            uptime_ms: 3_570_000 + second * 1000,
            team_peers: 4,
            team_ready: 4,
            joins_total: 5,
            crashes_total: 1,
            bytes_total: second * 500_000,
            sent_bytes_total: second * 600_000 + second * second * 500,
            reported_missing_chunks_total: second * (second % 4),
            reported_lost_chunks_total: second / 10,
            served_chunks_total: 17,
            unsent_chunks_total: 3,
            turns_total: second * 90,
            turn_chunks: 4,
            parity_chunks: 2,
            ..v1::SplitterFigures::default()
        };
        let told = v1::Team { team_size_max: 128, figures: Some(figures), ..v1::Team::default() };
        state.apply(0, News::Team(Box::new(told)));
        let mut moved = members.clone();
        moved[0].missing_ratio = Some(0.002);
        moved[1].missing_ratio = Some(0.02);
        moved[1].blocked = second == 29;
        moved[2].missing_ratio = (second > 25).then_some(0.08);
        state.apply(0, News::Moved(moved.to_vec()));
    }
    peer(&mut state, 1);
    state
}

/// A peer that is asked itself.
fn peer(state: &mut State, end: usize) {
    state.apply(end, info(v1::Role::Peer));
    let neighbour = |slot: u32, name: &str, linked| v1::Neighbour {
        slot,
        peer: key(name),
        linked,
        blocked: false,
        candidates: vec![format!("192.0.2.{slot}:4480"), format!("[2001:db8::{slot}]:4480")],
        since_unix_ms: STARTED + u64::from(slot) * 60_000,
    };
    let neighbours =
        vec![neighbour(1, "b7xow", true), neighbour(2, "mm2ay", true), neighbour(3, "qq5ev", false)];
    state.apply(end, News::Neighbours(neighbours));
    for second in 0..30_u64 {
        let figures = v1::PeerFigures {
            uptime_ms: 3_500_000 + second * 1000,
            team_peers: 4,
            teammates_linked: 2,
            buffer_ms: 400 + second,
            delay_ms_p50: Some(12.0),
            delay_ms_p99: Some(if second % 7 == 0 { 90.0 } else { 45.0 }),
            received_bytes_total: second * 500_000,
            sent_bytes_total: second * 1_400_000,
            played_bytes_total: second * 500_000,
            lost_chunks_total: second / 12,
            rebuilt_chunks_total: second * 3,
            pulled_chunks_total: second,
            duplicate_chunks_total: 6,
            playout: Some(v1::PlayoutFigures { players: 1, ..v1::PlayoutFigures::default() }),
            ..v1::PeerFigures::default()
        };
        state.apply(
            end,
            News::Status(Box::new(v1::PeerStatus {
                peer: key("jz4qk"),
                state: "member".into(),
                slot: Some(0),
                player: "http://127.0.0.1:8080/".into(),
                figures: Some(figures),
                ..v1::PeerStatus::default()
            })),
        );
    }
}

#[test]
fn a_team_is_shown() {
    let state = team();
    SIZES.iter().for_each(|size| keeps("team", &state, *size));
}

#[test]
fn a_member_is_shown_from_inside() {
    let mut state = team();
    press(&mut state, &[KeyCode::Enter]);
    SIZES.iter().for_each(|size| keeps("inside", &state, *size));
}

#[test]
fn a_neighbour_is_shown_from_outside() {
    let mut state = team();
    press(&mut state, &[KeyCode::Enter, KeyCode::Down, KeyCode::Enter]);
    SIZES.iter().for_each(|size| keeps("outside", &state, *size));
    press(&mut state, &[KeyCode::Esc]);
    assert_eq!(state.chosen(&state.rows()), Some(1), "back, the same row is chosen");
}

/// An operator sees what was allowed where that is less than all.
#[test]
fn a_limited_weight_is_shown() {
    let mut state = team();
    let limited = v1::Peer { weight: 64, weight_limit: Some(64), ..member(2, "mm2ay") };
    state.apply(0, News::Member(limited));
    press(&mut state, &[KeyCode::Down, KeyCode::Down, KeyCode::Enter]);
    let shown = picture(&state, 80, 24);
    assert!(shown.contains("weight 64 of 64 allowed"), "{shown}");
}

/// A peer's own address alone leads to its teammates.
#[test]
fn a_peer_is_shown_without_its_splitter() {
    let mut state = State::new(["unix:/run/p2psp/peer.sock".to_owned()], true);
    state.tick(STARTED + 3_600_000);
    peer(&mut state, 0);
    SIZES.iter().for_each(|size| keeps("peer", &state, *size));
    press(&mut state, &[KeyCode::End, KeyCode::Enter]);
    let shown = picture(&state, 80, 24);
    assert!(shown.contains("linked no") && shown.contains(&key("qq5ev")), "{shown}");
}

/// Who is gone is gone; the row below is chosen then.
#[test]
fn a_departure_is_shown() {
    let mut state = team();
    press(&mut state, &[KeyCode::Down]);
    let gone = v1::PeerDeparture { slot: 1, peer: key("b7xow"), reason: "crashed".into() };
    state.apply(0, News::Gone(gone));
    let shown = picture(&state, 80, 24);
    assert!(
        shown.contains("last: slot 1 left by b7xowaaaaa: crashed") && shown.contains("Members: 3"),
        "{shown}"
    );
    let rows = state.rows();
    assert_eq!(rows[state.chosen(&rows).unwrap()].slot, 2);
}

#[test]
fn a_lost_process_is_told() {
    let mut state = team();
    let why =
        "cannot reach the admin address 127.0.0.1:4490: Connection refused; check that the process runs";
    state.apply(0, News::Down(why.into()));
    SIZES.iter().for_each(|size| keeps("disconnected", &state, *size));
    // Back again: another run, with its own figures.
    state.apply(0, info(v1::Role::Splitter));
    assert!(!picture(&state, 80, 24).contains("disconnected"));
}

/// A peer that was named and does not answer is told on the team's page, too.
#[test]
fn a_silent_peer_is_told() {
    let mut state = team();
    state.apply(1, News::Down("nothing answered".into()));
    let shown = picture(&state, 80, 24);
    assert!(shown.contains("127.0.0.1:4491 disconnected, retrying: nothing answered"), "{shown}");
    press(&mut state, &[KeyCode::Enter]);
    let shown = picture(&state, 80, 24);
    assert!(shown.contains("\n disconnected, retrying: nothing answered"), "{shown}");
}

#[test]
fn help_is_shown() {
    let mut state = team();
    press(&mut state, &[KeyCode::Char('?')]);
    SIZES.iter().for_each(|size| keeps("help", &state, *size));
    press(&mut state, &[KeyCode::Char('x')]);
    assert!(!state.help && !state.quit);
}

/// The picture stands still while it is held, and catches up after.
#[test]
fn a_held_picture_stands_still() {
    let mut state = team();
    press(&mut state, &[KeyCode::Char('p')]);
    let held = picture(&state, 80, 24);
    assert!(held.contains(" held"), "{held}");
    state.apply(0, News::Members(vec![member(7, "later")]));
    state.tick(STARTED + 9_999_000);
    assert_eq!(picture(&state, 80, 24), held);
    press(&mut state, &[KeyCode::Char('p')]);
    assert!(picture(&state, 80, 24).contains("lateraaaaa"));
}

#[test]
fn rows_are_sorted_and_filtered() {
    fn slots(state: &State) -> Vec<u32> {
        state.rows().iter().map(|row| row.slot).collect()
    }
    let mut state = team();
    let next = [KeyCode::Char('s')];
    press(&mut state, &next);
    assert_eq!(slots(&state), [1, 0, 2, 3], "by key");
    press(&mut state, &next);
    press(&mut state, &next);
    assert_eq!(slots(&state), [2, 1, 0, 3], "by what is missing, the most first");
    press(&mut state, &[KeyCode::Char('r')]);
    assert_eq!(slots(&state), [3, 0, 1, 2]);
    keeps("sorted", &state, (80, 24));
    write(&mut state, "/BLOCKED");
    keeps("filter", &state, (80, 24));
    press(&mut state, &[KeyCode::Enter]);
    assert_eq!(slots(&state), [1]);
    press(&mut state, &[KeyCode::Esc]);
    assert_eq!(slots(&state).len(), 4);
    write(&mut state, &format!("/{}", "x".repeat(FILTER_CHARACTERS_MAX + 1)));
    assert_eq!(state.filter.len(), FILTER_CHARACTERS_MAX);
    assert!(slots(&state).is_empty() && state.chosen(&state.rows()).is_none());
    press(&mut state, &[KeyCode::Enter, KeyCode::Enter, KeyCode::Down, KeyCode::End]);
}

/// Each size has a picture, down to one character; one below the smallest says so.
#[test]
fn every_size_has_a_picture() {
    let mut state = team();
    for within in 0..2 {
        for width in 1..=140 {
            for height in [1, 5, 11, 12, 13, 17, 24, 40] {
                picture(&state, width, height);
            }
        }
        assert!(picture(&state, 60, 12).contains("q quit  ? help"), "{within}");
        for (width, height) in [(59, 12), (60, 11)] {
            let shown = picture(&state, width, height);
            assert!(shown.contains(&format!("{width}x{height}")), "{shown}");
        }
        press(&mut state, &[KeyCode::Char('?'), KeyCode::Char('x'), KeyCode::Enter]);
    }
}

/// Members can be looked into for ever without a path that grows for ever.
#[test]
fn the_path_is_bounded() {
    let mut state = team();
    for _ in 0..=DEPTH_MAX {
        press(&mut state, &[KeyCode::Enter]);
    }
    assert_eq!(state.path().len(), DEPTH_MAX);
    for _ in 0..=DEPTH_MAX {
        press(&mut state, &[KeyCode::Backspace]);
    }
    assert!(state.path().is_empty() && !state.quit);
}

/// Nothing that a process tells is obeyed by the terminal, whichever field it is in.
#[test]
fn hostile_texts_stay_texts() {
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\r\n\u{9b}31m\u{202e}".repeat(TEXT_CHARACTERS_MAX);
    let text = || evil.clone();
    let mut state = State::new(["a".to_owned(), "b".to_owned()], true);
    state.apply(
        0,
        News::Up(Box::new(v1::Info {
            role: v1::Role::Splitter.into(),
            version: text(),
            reason: text(),
            channel: text(),
            listen: text(),
            started_unix_ms: u64::MAX,
            ..v1::Info::default()
        })),
    );
    state.apply(
        0,
        News::Channel(Box::new(v1::Channel {
            channel: text(),
            link: text(),
            integrity: text(),
            source: text(),
            source_state: text(),
            source_reason: text(),
            container: text(),
            source_listen: text(),
            ..v1::Channel::default()
        })),
    );
    let record = v1::Peer {
        slot: u32::MAX,
        peer: text(),
        state: 99,
        remote: text(),
        candidates: vec![text(); 99],
        missing_ratio: Some(f64::NAN),
        joined_unix_ms: u64::MAX,
        ..v1::Peer::default()
    };
    state.apply(0, News::Members(vec![record.clone(), member(1, "other")]));
    state.apply(0, News::Member(record.clone()));
    state.apply(0, News::Moved(vec![record]));
    state.apply(
        1,
        News::Status(Box::new(v1::PeerStatus {
            peer: text(),
            state: text(),
            trouble: text(),
            player: text(),
            figures: Some(v1::PeerFigures {
                delay_ms_p50: Some(f64::INFINITY),
                delay_ms_p99: Some(f64::NAN),
                playout: Some(v1::PlayoutFigures::default()),
                uptime_ms: u64::MAX,
                ..v1::PeerFigures::default()
            }),
            ..v1::PeerStatus::default()
        })),
    );
    let neighbour = v1::Neighbour { peer: text(), candidates: vec![text()], ..v1::Neighbour::default() };
    state.apply(1, News::Neighbours(vec![neighbour]));
    state.apply(1, News::Gone(v1::PeerDeparture { slot: 0, peer: text(), reason: text() }));
    state.apply(0, News::Left(v1::NeighbourDeparture { slot: 0, peer: text() }));
    for _ in 0..3 {
        state.apply(0, News::Down(text()));
        for (width, height) in SIZES {
            let shown = picture(&state, width, height);
            assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
            assert!(!shown.contains('\u{202e}'), "{shown:?}");
        }
        press(&mut state, &[KeyCode::End, KeyCode::Enter]);
    }
}

/// Without colours there are none, and what they say is still seen.
#[test]
fn no_colour_is_no_colour() {
    let mut state = team();
    let has_colour = |state: &State| {
        drawn(state, 80, 24).content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(has_colour(&state));
    state.is_coloured = false;
    assert!(!has_colour(&state));
}

#[test]
fn keys_quit() {
    for code in [KeyEvent::from(KeyCode::Char('q')), KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)]
    {
        let mut state = team();
        state.press(code);
        assert!(state.quit, "{code:?}");
    }
    // While a filter is written, a q is a letter of it.
    let mut state = team();
    write(&mut state, "/q");
    assert!(!state.quit && state.filter == "q");
}
