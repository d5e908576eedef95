//! The frame: what the state says, laid out for any size of screen from the smallest that makes sense. Draws, and decides nothing.

mod body;

use super::{
    data::Link,
    state::{Page, State},
    text::short,
};
use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span, Text},
    widgets::{Block, Clear, Paragraph, Wrap},
};

/// The smallest screen that shows enough.
const WIDTH_MIN: u16 = 60;
const HEIGHT_MIN: u16 = 12;

const HELP: &str = " Up Down k j PgUp PgDn Home End   choose a row
 Enter Right                      look into it
 Esc Backspace Left               back
 s  r                             sort by the next column; turn the order
 /                                filter by key, state, link or address
 p Space                          hold the picture, and go on
 q Ctrl-C                         quit

 MISSING is the share of the due chunks that did not come by themselves, as
 the member last reported it: rebuilt, fetched or lost. Figures: now, and
 since the start in brackets. A peer is shown from inside only if its admin
 address is given with --peer.

 Any key closes this.";

/// Looks of things; without colours, only what every terminal can do.
#[derive(Clone, Copy, Debug)]
struct Look {
    is_coloured: bool,
}

impl Look {
    fn of(self, colour: Color, plain: Modifier) -> Style {
        if self.is_coloured { Style::new().fg(colour) } else { Style::new().add_modifier(plain) }
    }

    fn name(self) -> Style {
        self.of(Color::Cyan, Modifier::DIM)
    }

    fn good(self) -> Style {
        self.of(Color::Green, Modifier::empty())
    }

    fn bad(self) -> Style {
        self.of(Color::Red, Modifier::BOLD)
    }

    fn warning(self) -> Style {
        self.of(Color::Yellow, Modifier::BOLD)
    }

    fn bar(self) -> Style {
        self.of(Color::Blue, Modifier::empty())
    }
}

const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);
const HEADING: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws the view.
pub(super) fn draw(state: &State, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        let text = format!(
            "This window has {}x{} characters: p2psp top needs {WIDTH_MIN}x{HEIGHT_MIN} at least. q quits.",
            area.width, area.height
        );
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let look = Look { is_coloured: state.is_coloured };
    // The whole cause, if two lines are enough for it.
    let trouble = state.trouble();
    let width = usize::from(area.width.saturating_sub(1));
    let banner_lines = trouble.as_ref().map_or(0, |why| if why.chars().count() > width { 2 } else { 1 });
    let [title, banner, crumbs, body, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(banner_lines),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_title(state, look, frame, title);
    if let Some(why) = trouble {
        let [_, banner] = Layout::horizontal([Constraint::Length(1), Constraint::Fill(1)]).areas(banner);
        frame.render_widget(Paragraph::new(why).style(look.bad()).wrap(Wrap { trim: true }), banner);
    }
    draw_crumbs(state, look, frame, crumbs);
    body::draw(state, look, frame, body);
    draw_footer(state, look, frame, footer);
    if state.help {
        draw_help(frame, area);
    }
}

fn draw_title(state: &State, look: Look, frame: &mut Frame<'_>, area: Rect) {
    let mut left = vec![Span::styled(" p2psp top", HEADING)];
    let mut right = Vec::new();
    if let Some(end) = state.subject() {
        left.push(Span::raw(format!("  {}", end.address)));
        let role = match end.info.role() {
            p2psp_admin::v1::Role::Splitter => "splitter",
            p2psp_admin::v1::Role::Peer => "peer",
            p2psp_admin::v1::Role::Unspecified => "",
        };
        if !role.is_empty() {
            left.push(Span::raw(format!("  {role} {}, pid {}", end.info.version, end.info.pid)));
            if end.link == Link::Up {
                let up = state.now_unix_ms().saturating_sub(end.info.started_unix_ms) / 1000;
                left.push(Span::raw(format!(", up {}", crate::ctl::span(up))));
            }
        }
    }
    if state.is_held() {
        right.push(Span::styled(" held ", look.warning().add_modifier(Modifier::REVERSED)));
    }
    let width = u16::try_from(right.iter().map(Span::width).sum::<usize>()).unwrap_or(area.width);
    let [left_area, right_area] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(width)]).areas(area);
    frame.render_widget(Paragraph::new(Line::from(left)), left_area);
    frame.render_widget(Paragraph::new(Line::from(right)).alignment(Alignment::Right), right_area);
}

fn draw_crumbs(state: &State, look: Look, frame: &mut Frame<'_>, area: Rect) {
    let root = match state.ends().first() {
        Some(end) if end.is_splitter() => "team".to_owned(),
        Some(end) if !end.status.peer.is_empty() => format!("peer {}", short(&end.status.peer)),
        _ => "…".to_owned(),
    };
    let steps: Vec<String> =
        std::iter::once(root).chain(state.path().iter().map(|peer| short(peer))).collect();
    let mut line = vec![Span::styled(format!(" {}", steps.join(" > ")), look.name())];
    if let Some(end) = state.ends().first().filter(|end| !end.last.is_empty()) {
        line.push(Span::raw(format!("   last: {}", end.last)));
    }
    frame.render_widget(Paragraph::new(Line::from(line)), area);
}

fn draw_footer(state: &State, look: Look, frame: &mut Frame<'_>, area: Rect) {
    let line = if state.is_typing {
        Line::from(vec![
            Span::styled(" filter: ", HEADING),
            Span::raw(state.filter.clone()),
            Span::styled(" ", CHOSEN),
            Span::raw("  Enter keeps it, Esc shows all"),
        ])
    } else {
        let order = if state.reversed { "-" } else { "" };
        let sort = format!("by {order}{}", state.sort.title().to_lowercase());
        let filter =
            if state.filter.is_empty() { "filter".to_owned() } else { format!("filter {}", state.filter) };
        let hold = if state.is_held() { "go on" } else { "hold" };
        // The first ones are on every screen.
        let mut keys = vec![("q", "quit"), ("?", "help"), ("Enter", "open")];
        if !state.path().is_empty() {
            keys.push(("Esc", "back"));
        }
        keys.extend([("p", hold), ("s", sort.as_str()), ("r", "turn"), ("/", filter.as_str())]);
        let mut line = Vec::new();
        for (key, does) in keys {
            line.push(Span::styled(format!(" {key} "), CHOSEN));
            line.push(Span::styled(format!("{does} "), look.of(Color::Reset, Modifier::empty())));
        }
        Line::from(line)
    };
    frame.render_widget(Paragraph::new(line), area);
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let text = Text::from(HELP);
    let width = u16::try_from(text.width()).unwrap_or(u16::MAX).saturating_add(3).min(area.width);
    let height = u16::try_from(text.height()).unwrap_or(u16::MAX).saturating_add(2).min(area.height);
    let middle =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, middle);
    frame.render_widget(Paragraph::new(text).block(Block::bordered().title(" Keys ")), middle);
}

/// Whether a page has something to look into.
fn table_title(state: &State) -> &'static str {
    match state.page() {
        Page::Nothing => "",
        Page::Team(_) => "Members",
        Page::Peer(peer) if state.inside(peer).is_some() => "Neighbours",
        Page::Peer(_) => "Teammates, as the splitter sees them",
    }
}
