//! The pages: facts, charts and losses of a team or a peer, and the table below them.

use super::{
    super::{
        data::End,
        history::{Figures, Meter, Trace, Unit},
        state::{Page, Row as Record, State},
        text::{bars, share, short},
    },
    CHOSEN, HEADING, Look, table_title,
};
use p2psp_admin::v1;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::{Cell, Paragraph, Row, Table, TableState},
};

/// Fewest characters of a chart.
const CHART_WIDTH_MIN: u16 = 19;
/// Charts are left out on screens with fewer lines below the title.
const CHARTS_HEIGHT_MIN: u16 = 18;
/// Charts are twice as high from here on.
const TALL_HEIGHT_MIN: u16 = 32;
/// Losses are left out on screens with fewer lines below the title.
const CAUSES_HEIGHT_MIN: u16 = 14;
/// More columns from here on.
const WIDE_WIDTH_MIN: u16 = 110;
/// Characters of a table's small chart.
const TREND_WIDTH: usize = 8;
/// A member that misses more than this is in trouble, and one that misses more than that is worth a look.
const MISSING_BAD: f64 = 0.05;
const MISSING_WARNING: f64 = 0.01;

/// A name, and what it is now.
type Pair = (&'static str, String);

pub(super) fn draw(state: &State, look: Look, frame: &mut Frame<'_>, area: Rect) {
    match state.page() {
        Page::Nothing => {
            let text = if state.trouble().is_some() { "" } else { " asking…" };
            frame.render_widget(Paragraph::new(text), area);
        }
        Page::Team(end) => {
            draw_page::<v1::SplitterFigures>(state, look, frame, area, &team_facts(end), Some(&end.trace));
        }
        Page::Peer(peer) => {
            let trace = state.inside(peer).map(|end| &end.trace);
            draw_page::<v1::PeerFigures>(state, look, frame, area, &peer_facts(state, peer), trace);
        }
    }
}

/// Facts, charts and losses where there is room for them, and the table.
fn draw_page<F: Figures>(
    state: &State,
    look: Look,
    frame: &mut Frame<'_>,
    area: Rect,
    facts: &[Pair],
    trace: Option<&Trace>,
) {
    let facts = flow(facts, area.width, look);
    let causes = match trace {
        Some(trace) if area.height >= CAUSES_HEIGHT_MIN => {
            let told: Vec<Pair> =
                trace.causes::<F>().map(|(figure, meter)| (figure.name, told(figure.unit, meter))).collect();
            let heading = Line::styled(" Losses by cause, chunks", HEADING);
            std::iter::once(heading).chain(flow(&told, area.width, look)).collect()
        }
        _ => Vec::new(),
    };
    let charts = match trace {
        Some(_) if area.height >= TALL_HEIGHT_MIN => 7,
        Some(_) if area.height >= CHARTS_HEIGHT_MIN => 4,
        _ => 0,
    };
    let lines = |lines: &[Line<'_>]| Constraint::Length(u16::try_from(lines.len()).unwrap_or(u16::MAX));
    let [facts_area, charts_area, causes_area, table_area] =
        Layout::vertical([lines(&facts), Constraint::Length(charts), lines(&causes), Constraint::Min(3)])
            .areas(area);
    frame.render_widget(Paragraph::new(facts), facts_area);
    if let Some(trace) = trace {
        draw_charts::<F>(trace, look, frame, charts_area);
    }
    frame.render_widget(Paragraph::new(causes), causes_area);
    draw_table(state, look, frame, table_area);
}

fn team_facts(end: &End) -> Vec<Pair> {
    let (channel, team) = (&end.channel, &end.team);
    let figures = team.figures.unwrap_or_default();
    let mut source = format!("{} {}", channel.source, channel.source_state);
    for more in [&channel.source_reason, &channel.container] {
        if !more.is_empty() {
            source = format!("{source}, {more}");
        }
    }
    vec![
        ("channel", short(&channel.channel)),
        ("source", source),
        ("integrity", channel.integrity.clone()),
        (
            "members",
            format!("{} of {}, {} ready", figures.team_peers, team.team_size_max, figures.team_ready),
        ),
        ("joined", figures.joins_total.to_string()),
        ("refused", figures.refusals_total.to_string()),
        ("left", figures.goodbyes_total.to_string()),
        ("crashed", figures.crashes_total.to_string()),
        ("silenced", figures.silenced_total.to_string()),
        ("expelled", figures.expulsions_total.to_string()),
        ("turn", format!("{} chunks", figures.turn_chunks)),
        ("parity", format!("{} chunks", figures.parity_chunks)),
    ]
}

fn weight(record: &v1::Peer) -> String {
    match record.weight_limit {
        Some(limit) => format!("{} of {limit} allowed", record.weight),
        None => record.weight.to_string(),
    }
}

fn peer_facts(state: &State, peer: &str) -> Vec<Pair> {
    let mut facts = vec![("peer", peer.to_owned())];
    if let Some(member) = state.member(peer) {
        let record = &member.record;
        facts.extend([
            ("slot", record.slot.to_string()),
            ("state", record.state().name().to_owned()),
            ("remote", record.remote.clone()),
            ("missing", record.missing_ratio.map_or_else(|| "-".to_owned(), share)),
            ("weight", weight(record)),
            ("joined", age(state, record.joined_unix_ms)),
        ]);
    } else if let Some(record) = state.neighbour(peer) {
        facts.extend([
            ("slot", record.slot.to_string()),
            ("linked", if record.linked { "yes" } else { "no" }.to_owned()),
            ("known for", age(state, record.since_unix_ms)),
            ("reached at", record.candidates.join(" ")),
        ]);
    }
    let Some(end) = state.inside(peer) else {
        let is_known = facts.len() > 1;
        let seen = if is_known { "only from outside: --peer ADDRESS asks it, too" } else { "gone" };
        facts.push(("seen", seen.to_owned()));
        return facts;
    };
    let figures = end.status.figures.clone().unwrap_or_default();
    if state.member(peer).is_none() {
        facts.push(("state", end.status.state.clone()));
        facts.push(("slot", end.status.slot.map_or_else(|| "-".to_owned(), |slot| slot.to_string())));
    }
    let millis = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0} ms"));
    facts.extend([
        ("links", format!("{} of {}", figures.teammates_linked, figures.team_peers.saturating_sub(1))),
        ("delay p50", millis(figures.delay_ms_p50)),
        ("p99", millis(figures.delay_ms_p99)),
        ("buffer", format!("{} ms", figures.buffer_ms)),
    ]);
    if let Some(playout) = &figures.playout {
        facts.push(("players", playout.players.to_string()));
        facts.push(("skips", playout.skips_total.to_string()));
        facts.push(("stalled", playout.stalled_total.to_string()));
        facts.push(("page", end.status.player.clone()));
    }
    if !end.status.trouble.is_empty() {
        facts.push(("trouble", end.status.trouble.clone()));
    }
    facts
}

/// The rate now and the count since the start; or the level.
fn told(unit: Unit, meter: &Meter) -> String {
    let now = meter.history.newest().map_or_else(|| "-".to_owned(), |value| unit.tell(value));
    match meter.last {
        Some(total) if unit == Unit::Each => format!("{now} ({total:.0})"),
        _ => now,
    }
}

/// Names and values behind each other, on as many lines as they need; none is broken.
fn flow(pairs: &[Pair], width: u16, look: Look) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    for (name, value) in pairs {
        let pair = [Span::styled(format!(" {name} "), look.name()), Span::raw(format!("{value} "))];
        let needed = pair.iter().map(Span::width).sum::<usize>();
        match lines.last_mut() {
            Some(line) if line.width() + needed <= usize::from(width) => line.spans.extend(pair),
            _ => lines.push(Line::from(pair.to_vec())),
        }
    }
    lines
}

fn draw_charts<F: Figures>(trace: &Trace, look: Look, frame: &mut Frame<'_>, area: Rect) {
    let fitting = usize::from((area.width / CHART_WIDTH_MIN).max(1)).min(F::CHARTS.len());
    let areas = Layout::horizontal(vec![Constraint::Fill(1); fitting]).spacing(1).split(area);
    for ((figure, meter), area) in trace.charts::<F>().zip(areas.iter()) {
        let Some(height) = area.height.checked_sub(1) else { return };
        let newest = meter.history.newest().map_or_else(|| "-".to_owned(), |value| figure.unit.tell(value));
        let values = meter.history.values();
        let full = values.iter().copied().flatten().fold(0.0, f64::max);
        let title = Line::from(vec![
            Span::styled(format!(" {} ", figure.name), look.name()),
            Span::styled(newest, HEADING),
        ]);
        let drawn = bars(&values, usize::from(area.width.saturating_sub(1)), height, full);
        let drawn = drawn.into_iter().map(|line| Line::styled(format!(" {line}"), look.bar()));
        frame.render_widget(
            Paragraph::new(std::iter::once(title).chain(drawn).collect::<Vec<Line<'_>>>()),
            *area,
        );
    }
}

fn draw_table(state: &State, look: Look, frame: &mut Frame<'_>, area: Rect) {
    let rows = state.rows();
    let is_wide = area.width >= WIDE_WIDTH_MIN;
    let key = if is_wide { 52 } else { 10 };
    let mut columns =
        vec![("SLOT", 5), ("PEER", key), ("STATE", 8), ("LINK", 7), ("MISSING", 8), ("TREND", 8), ("AGE", 6)];
    if is_wide {
        columns.push(("WEIGHT", 6));
    }
    columns.push(("ADDRESS", 0));
    let widths = columns.iter().map(|(_, width)| match width {
        0 => Constraint::Fill(1),
        width => Constraint::Length(*width),
    });
    let sorted = |title: &str| {
        let mark = match (title == state.sort.title(), state.reversed) {
            (false, _) => "",
            (true, false) => "+",
            (true, true) => "-",
        };
        format!("{title}{mark}")
    };
    let titles = columns.iter().map(|(title, _)| Cell::from(sorted(title)));
    let cells = |row: &Record| {
        let style = match row.missing {
            Some(missing) if missing > MISSING_BAD => look.bad(),
            Some(missing) if missing > MISSING_WARNING => look.warning(),
            Some(_) => look.good(),
            None => ratatui::style::Style::new(),
        };
        let missing = row.missing.map_or_else(|| "-".to_owned(), share);
        // A tenth of the chunks fills a line; below that the scale is the same for all, so that rows compare.
        let full = row.trend.iter().copied().flatten().fold(0.1, f64::max);
        let trend = bars(&row.trend, TREND_WIDTH, 1, full).concat();
        let peer = if is_wide { row.peer.clone() } else { short(&row.peer) };
        let mut cells = vec![
            Cell::from(row.slot.to_string()),
            Cell::from(peer),
            Cell::from(row.state),
            Cell::from(row.link),
            Cell::from(missing).style(style),
            Cell::from(trend).style(look.bar()),
            Cell::from(age(state, row.since_unix_ms)),
        ];
        if is_wide {
            cells.push(Cell::from(row.weight.map_or_else(|| "-".to_owned(), |weight| weight.to_string())));
        }
        cells.push(Cell::from(row.address.clone()));
        Row::new(cells)
    };
    let [heading, below] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let shown = if state.filter.is_empty() { String::new() } else { format!(" with `{}`", state.filter) };
    let heading_text = format!(" {}: {}{shown}", table_title(state), rows.len());
    frame.render_widget(Paragraph::new(Line::styled(heading_text, HEADING)), heading);
    let [_, table_area] = Layout::horizontal([Constraint::Length(1), Constraint::Fill(1)]).areas(below);
    let table = Table::new(rows.iter().map(cells), widths)
        .header(Row::new(titles).style(look.name()))
        .row_highlight_style(CHOSEN);
    let mut chosen = TableState::new().with_selected(state.chosen(&rows));
    frame.render_stateful_widget(table, table_area, &mut chosen);
}

fn age(state: &State, unix_ms: u64) -> String {
    crate::ctl::span(state.now_unix_ms().saturating_sub(unix_ms) / 1000)
}
