//! The demo's tables: rows of texts in aligned columns, and how a live one is drawn over itself on a terminal.

use serde_json::Value;
use std::{
    io::{self, Write},
    net::SocketAddr,
};

/// Heads of the columns of the peers' table.
pub(super) const HEADS: [&str; 10] =
    ["peer", "slot", "links", "received", "relayed", "rebuilt", "lost", "delay p50/p99", "buffer", "player"];

/// One peer's row, from what it says under `/stats`; `None` when it does not answer.
pub(super) fn row(name: &str, player: SocketAddr, stats: Option<&Value>) -> Vec<String> {
    let Some(stats) = stats else {
        let mut row = vec![name.to_owned(), "does not answer".to_owned()];
        row.resize(HEADS.len(), String::new());
        return row;
    };
    let number = |key: &str| stats[key].as_u64();
    let count = |key: &str| number(key).map_or_else(dash, |count| count.to_string());
    let millis = |key: &str| stats[key].as_f64().map_or_else(dash, |millis| format!("{millis:.1}"));
    vec![
        name.to_owned(),
        number("slot")
            .map_or_else(|| stats["state"].as_str().unwrap_or("-").to_owned(), |slot| slot.to_string()),
        format!("{}/{}", count("teammates_linked"), number("team_peers").unwrap_or(0).saturating_sub(1)),
        number("received_bytes_total").map_or_else(dash, bytes),
        number("sent_bytes_total").map_or_else(dash, bytes),
        count("rebuilt_chunks_total"),
        count("lost_chunks_total"),
        format!("{} / {} ms", millis("delay_ms_p50"), millis("delay_ms_p99")),
        number("buffer_ms").map_or_else(dash, |millis| format!("{millis} ms")),
        format!("http://{player}/"),
    ]
}

/// The splitter's line, from the statistics that it prints.
pub(super) fn splitter_line(stats: Option<&Value>) -> String {
    let Some(stats) = stats else { return "splitter: starting".to_owned() };
    let number = |key: &str| stats[key].as_u64().unwrap_or(0);
    let source = &stats["ingest"];
    let format = source["container"].as_str().map_or_else(String::new, |format| format!(", {format}"));
    // What left in turns, against what came in: the point of it all.
    let copies = match number("bytes_total") {
        0 => String::new(),
        taken => format!(
            " ({}.{:02} copies)",
            number("sent_bytes_total") / taken,
            number("sent_bytes_total") * 100 / taken % 100
        ),
    };
    format!(
        "splitter: {} is {}{format}; took in {}, sent {}{copies} to {} peers, {} of them ready",
        source["source"].as_str().unwrap_or("source"),
        source["state"].as_str().unwrap_or("unknown"),
        bytes(number("bytes_total")),
        bytes(number("sent_bytes_total")),
        number("team_peers"),
        number("team_ready"),
    )
}

/// Rows below their heads, in columns as wide as their widest text.
pub(super) fn lines(heads: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(column, head)| {
            let texts = rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count());
            texts.chain([head.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let line = |texts: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = texts.zip(&widths).map(|(text, width)| format!("{text:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let head = line(&mut heads.iter().copied());
    std::iter::once(head).chain(rows.iter().map(|row| line(&mut row.iter().map(String::as_str)))).collect()
}

/// Bytes as people read them.
pub(super) fn bytes(count: u64) -> String {
    for (unit, scale) in [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)] {
        if count >= scale {
            return format!("{}.{} {unit}", count / scale, count * 10 / scale % 10);
        }
    }
    format!("{count} B")
}

fn dash() -> String {
    "-".to_owned()
}

/// Where the tables go: over the last one on a terminal, below it elsewhere.
#[derive(Debug)]
pub(super) struct Screen {
    live: bool,
    drawn_lines: usize,
}

impl Screen {
    pub(super) const fn new(live: bool) -> Self {
        Self { live, drawn_lines: 0 }
    }

    pub(super) const fn is_live(&self) -> bool {
        self.live
    }

    /// Draws a table in the place of the one before.
    pub(super) fn draw(&mut self, lines: &[String]) {
        let mut text = String::new();
        if self.live && self.drawn_lines > 0 {
            // Up to the first line of the last table, and clear from there.
            text.push_str(&format!("\x1b[{}A\x1b[J", self.drawn_lines));
        }
        for line in lines {
            // Without wrapping a narrow terminal cuts lines, and the count of lines stays right.
            text.push_str(&if self.live { format!("\x1b[?7l{line}\x1b[?7h\n") } else { format!("{line}\n") });
        }
        self.drawn_lines = lines.len();
        self.put(&text);
    }

    /// Writes a line that stays.
    pub(super) fn say(&mut self, line: &str) {
        self.drawn_lines = 0;
        self.put(&format!("{line}\n"));
    }

    fn put(&self, text: &str) {
        let mut out = io::stdout().lock();
        // A reader that is gone reads nothing; the exit code still tells.
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["1".to_owned(), "long text".to_owned()], vec!["12345".to_owned(), "x".to_owned()]];
        assert_eq!(lines(&["a", "b"], &rows), ["a      b", "1      long text", "12345  x"]);
    }

    #[test]
    fn rows_show_what_peers_say() {
        let player = "127.0.0.1:8080".parse().unwrap();
        let stats = json!({
            "state": "member", "slot": 3, "team_peers": 5, "teammates_linked": 4, "received_bytes_total": 1_234_567,
            "sent_bytes_total": 999, "rebuilt_chunks_total": 2, "lost_chunks_total": 0, "delay_ms_p50": 1.24, "delay_ms_p99": null, "buffer_ms": 480,
        });
        assert_eq!(
            row("1", player, Some(&stats)),
            ["1", "3", "4/4", "1.2 MB", "999 B", "2", "0", "1.2 / - ms", "480 ms", "http://127.0.0.1:8080/"]
        );
        assert_eq!(row("2", player, None).get(1).map(String::as_str), Some("does not answer"));
        let joining = row("3", player, Some(&json!({ "state": "joining" })));
        assert_eq!(joining.get(1).map(String::as_str), Some("joining"));
        assert!([row("2", player, None), joining].iter().all(|row| row.len() == HEADS.len()));
    }

    #[test]
    fn the_splitter_says_how_many_copies_it_sends() {
        let stats = json!({
            "bytes_total": 1_000_000, "sent_bytes_total": 1_050_000, "team_peers": 5, "team_ready": 5,
            "ingest": { "source": "testcard", "state": "live", "container": "MPEG-TS" },
        });
        let line = splitter_line(Some(&stats));
        assert!(line.contains("testcard is live, MPEG-TS") && line.contains("(1.05 copies)"), "{line}");
    }
}
