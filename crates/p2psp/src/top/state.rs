//! What the viewer has chosen to see: keys and news in, rows and a page out. Pure; it draws nothing, asks nobody and knows no clock but
//! the time that it is told.

use super::data::{End, Link, Member, News};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use p2psp_admin::v1;
use std::{cmp::Ordering, mem};

/// Rows that a page key moves by.
const PAGE_ROWS: usize = 10;
/// Characters of a filter.
pub(super) const FILTER_CHARACTERS_MAX: usize = 40;
/// Members that one can be within another of.
pub(super) const DEPTH_MAX: usize = 8;

/// By what rows are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Slot,
    Peer,
    State,
    Missing,
    Age,
}

impl Sort {
    /// Its column's title.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Slot => "SLOT",
            Self::Peer => "PEER",
            Self::State => "STATE",
            Self::Missing => "MISSING",
            Self::Age => "AGE",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Slot => Self::Peer,
            Self::Peer => Self::State,
            Self::State => Self::Missing,
            Self::Missing => Self::Age,
            Self::Age => Self::Slot,
        }
    }
}

/// One line of a table: a member, or a teammate.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) slot: u32,
    pub(super) peer: String,
    /// In one word; what nobody told is `-`.
    pub(super) state: &'static str,
    pub(super) missing: Option<f64>,
    pub(super) trend: Vec<Option<f64>>,
    /// `up`, `blocked` or `none`.
    pub(super) link: &'static str,
    pub(super) since_unix_ms: u64,
    pub(super) address: String,
    pub(super) weight: Option<u32>,
}

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub(super) enum Page<'a> {
    /// Nobody has told yet what it is.
    Nothing,
    /// The team of a splitter.
    Team(&'a End),
    /// A member, by its key.
    Peer(&'a str),
}

/// The row that is chosen: by its key, so that it stays chosen as rows move; by its place when it is gone.
#[derive(Clone, Debug, Default)]
struct Cursor {
    peer: Option<String>,
    index: usize,
}

/// The whole view.
#[derive(Debug)]
pub(super) struct State {
    ends: Vec<End>,
    /// What is shown while the picture is held.
    held: Option<(Vec<End>, u64)>,
    /// Members that were looked into, the outermost first.
    path: Vec<String>,
    /// A cursor for each page of the path.
    cursors: Vec<Cursor>,
    now_unix_ms: u64,
    pub(super) sort: Sort,
    pub(super) reversed: bool,
    pub(super) filter: String,
    /// The filter is being written.
    pub(super) is_typing: bool,
    pub(super) help: bool,
    pub(super) quit: bool,
    pub(super) is_coloured: bool,
}

impl State {
    /// A view on processes at these addresses; the first is where it begins.
    pub(super) fn new(addresses: impl IntoIterator<Item = String>, is_coloured: bool) -> Self {
        Self {
            ends: addresses.into_iter().map(End::new).collect(),
            held: None,
            path: Vec::new(),
            cursors: vec![Cursor::default()],
            now_unix_ms: 0,
            sort: Sort::default(),
            reversed: false,
            filter: String::new(),
            is_typing: false,
            help: false,
            quit: false,
            is_coloured,
        }
    }

    /// Takes in what the process of that number told.
    pub(super) fn apply(&mut self, end: usize, news: News) {
        if let Some(end) = self.ends.get_mut(end) {
            end.apply(news);
        }
    }

    /// It is so late now.
    pub(super) const fn tick(&mut self, now_unix_ms: u64) {
        self.now_unix_ms = now_unix_ms;
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            self.quit |= key.code == KeyCode::Char('c');
            return;
        }
        if self.is_typing {
            self.write(key.code);
        } else if self.help {
            // Any key closes it; q still quits.
            self.help = false;
            self.quit = key.code == KeyCode::Char('q');
        } else {
            self.command(key.code);
        }
    }

    fn write(&mut self, code: KeyCode) {
        if code == KeyCode::Enter {
            self.is_typing = false;
        } else if code == KeyCode::Esc {
            self.is_typing = false;
            self.filter.clear();
        } else if code == KeyCode::Backspace {
            self.filter.pop();
        } else if let KeyCode::Char(c) = code
            && self.filter.chars().count() < FILTER_CHARACTERS_MAX
            && !c.is_control()
        {
            self.filter.push(c);
        }
    }

    fn command(&mut self, code: KeyCode) {
        if let KeyCode::Char(c) = code {
            return self.letter(c);
        }
        let end = usize::MAX;
        if code == KeyCode::Up {
            self.step(|index| index.saturating_sub(1));
        } else if code == KeyCode::Down {
            self.step(|index| index + 1);
        } else if code == KeyCode::PageUp {
            self.step(|index| index.saturating_sub(PAGE_ROWS));
        } else if code == KeyCode::PageDown {
            self.step(|index| index + PAGE_ROWS);
        } else if code == KeyCode::Home {
            self.step(|_| 0);
        } else if code == KeyCode::End {
            self.step(|_| end);
        } else if code == KeyCode::Enter || code == KeyCode::Right {
            self.enter();
        } else if code == KeyCode::Esc && !self.filter.is_empty() {
            self.filter.clear();
        } else if matches!(code, KeyCode::Esc | KeyCode::Backspace | KeyCode::Left)
            && self.path.pop().is_some()
        {
            self.cursors.truncate(self.path.len() + 1);
        }
    }

    fn letter(&mut self, c: char) {
        match c {
            'q' => self.quit = true,
            'k' => self.step(|index| index.saturating_sub(1)),
            'j' => self.step(|index| index + 1),
            's' => self.sort = self.sort.next(),
            'r' => self.reversed = !self.reversed,
            '/' => self.is_typing = true,
            '?' | 'h' => self.help = true,
            'p' | ' ' => {
                self.held = match self.held.take() {
                    Some(_) => None,
                    None => Some((self.ends.clone(), self.now_unix_ms)),
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, to: impl Fn(usize) -> usize) {
        let rows = self.rows();
        let index = self.chosen(&rows).map_or(0, &to).min(rows.len().saturating_sub(1));
        let peer = rows.get(index).map(|row| row.peer.clone());
        if let Some(cursor) = self.cursors.last_mut() {
            *cursor = Cursor { peer, index };
        }
    }

    fn enter(&mut self) {
        let rows = self.rows();
        let Some((index, row)) = self.chosen(&rows).and_then(|index| Some((index, rows.get(index)?))) else {
            return;
        };
        if self.path.len() == DEPTH_MAX {
            return;
        }
        let peer = row.peer.clone();
        // Back here, the same row is chosen.
        if let Some(cursor) = self.cursors.last_mut() {
            *cursor = Cursor { peer: Some(peer.clone()), index };
        }
        self.path.push(peer);
        self.cursors.push(Cursor::default());
    }

    /// Which row is chosen.
    pub(super) fn chosen(&self, rows: &[Row]) -> Option<usize> {
        let cursor = self.cursors.last()?;
        let last = rows.len().checked_sub(1)?;
        let by_key = cursor.peer.as_deref().and_then(|peer| rows.iter().position(|row| row.peer == peer));
        Some(by_key.unwrap_or_else(|| cursor.index.min(last)))
    }

    /// Whether the picture is held.
    pub(super) const fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// When the picture was taken.
    pub(super) fn now_unix_ms(&self) -> u64 {
        self.held.as_ref().map_or(self.now_unix_ms, |(_, then)| *then)
    }

    /// The processes as they are shown; the first is where the view begins.
    pub(super) fn ends(&self) -> &[End] {
        self.held.as_ref().map_or(&self.ends, |(ends, _)| ends)
    }

    /// What is shown.
    pub(super) fn page(&self) -> Page<'_> {
        match (self.path.last(), self.ends().first()) {
            (Some(peer), _) => Page::Peer(peer),
            (None, Some(end)) if end.is_splitter() => Page::Team(end),
            (None, Some(end)) if !end.status.peer.is_empty() => Page::Peer(&end.status.peer),
            (None, _) => Page::Nothing,
        }
    }

    /// Where the page stands, the outermost first.
    pub(super) fn path(&self) -> &[String] {
        &self.path
    }

    /// A member as its splitter sees it.
    pub(super) fn member(&self, peer: &str) -> Option<&Member> {
        self.ends().iter().find_map(|end| end.members.get(peer))
    }

    /// A peer that is asked itself.
    pub(super) fn inside(&self, peer: &str) -> Option<&End> {
        self.ends().iter().find(|end| end.status.peer == peer)
    }

    /// The process that the page is about: the peer itself if it is asked, where the view began otherwise.
    pub(super) fn subject(&self) -> Option<&End> {
        let inside = match self.page() {
            Page::Peer(peer) => self.inside(peer),
            Page::Team(_) | Page::Nothing => None,
        };
        inside.or_else(|| self.ends().first())
    }

    /// Teammates as another peer sees them.
    pub(super) fn neighbour(&self, peer: &str) -> Option<&v1::Neighbour> {
        self.ends().iter().find_map(|end| end.neighbours.get(peer))
    }

    /// The page's table, filtered and sorted.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = match self.page() {
            Page::Nothing => Vec::new(),
            Page::Team(end) => end.members.values().map(member_row).collect(),
            Page::Peer(peer) => match self.inside(peer) {
                Some(end) => end.neighbours.values().map(|record| self.neighbour_row(record)).collect(),
                None => {
                    let ends = self.ends().iter().filter(|end| end.is_splitter()).take(1);
                    let members = ends.flat_map(|end| end.members.values());
                    members.filter(|member| member.record.peer != peer).map(member_row).collect()
                }
            },
        };
        let wanted = self.filter.to_lowercase();
        rows.retain(|row| {
            [row.peer.as_str(), row.state, row.link, row.address.as_str()]
                .iter()
                .any(|text| text.to_lowercase().contains(&wanted))
        });
        rows.sort_by(|a, b| {
            let order = match self.sort {
                Sort::Slot => Ordering::Equal,
                Sort::Peer => a.peer.cmp(&b.peer),
                Sort::State => a.state.cmp(b.state),
                // Those who miss most are looked for first.
                Sort::Missing => b.missing.unwrap_or(-1.0).total_cmp(&a.missing.unwrap_or(-1.0)),
                Sort::Age => a.since_unix_ms.cmp(&b.since_unix_ms),
            };
            order.then(a.slot.cmp(&b.slot)).then_with(|| a.peer.cmp(&b.peer))
        });
        if self.reversed {
            rows.reverse();
        }
        rows
    }

    fn neighbour_row(&self, record: &v1::Neighbour) -> Row {
        // What its splitter says of it, if one is asked, too.
        let known = self.member(&record.peer).map(member_row);
        Row {
            slot: record.slot,
            peer: record.peer.clone(),
            link: match (record.linked, record.blocked) {
                (false, _) => "none",
                (true, false) => "up",
                (true, true) => "blocked",
            },
            since_unix_ms: record.since_unix_ms,
            address: record.candidates.join(" "),
            state: known.as_ref().map_or("-", |row| row.state),
            missing: known.as_ref().and_then(|row| row.missing),
            weight: known.as_ref().and_then(|row| row.weight),
            trend: known.map(|mut row| mem::take(&mut row.trend)).unwrap_or_default(),
        }
    }

    /// Who does not answer, and why: the process that the page is about, or else the first of the others.
    pub(super) fn trouble(&self) -> Option<String> {
        let subject = self.subject()?;
        if let Link::Down(why) = &subject.link {
            return Some(format!("disconnected, retrying: {why}"));
        }
        self.ends().iter().find_map(|end| match &end.link {
            Link::Down(why) => Some(format!("{} disconnected, retrying: {why}", end.address)),
            Link::Up | Link::Trying => None,
        })
    }
}

fn member_row(member: &Member) -> Row {
    let record = &member.record;
    Row {
        slot: record.slot,
        peer: record.peer.clone(),
        state: record.state().name(),
        missing: record.missing_ratio.filter(|ratio| ratio.is_finite()),
        trend: member.missing.values(),
        link: if record.blocked { "blocked" } else { "up" },
        since_unix_ms: record.joined_unix_ms,
        address: record.remote.clone(),
        weight: Some(record.weight),
    }
}
