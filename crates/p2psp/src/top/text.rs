//! Texts of the other side, made safe to show and no longer than a screen could show, and figures in words and bars.

use crate::printable;

/// Characters of a text that are kept.
pub(super) const TEXT_CHARACTERS_MAX: usize = 256;

/// The beginning of a text, without anything that a terminal would obey.
pub(super) fn clean(text: &str) -> String {
    text.chars().take(TEXT_CHARACTERS_MAX).map(printable::character).collect()
}

/// The beginning of a key, enough to name it.
pub(super) fn short(key: &str) -> String {
    key.chars().take(10).collect()
}

/// A bit rate.
pub(super) fn bits(per_second: f64) -> String {
    match per_second {
        rate if rate >= 1e9 => format!("{} Gbit/s", three(rate / 1e9)),
        rate if rate >= 1e6 => format!("{} Mbit/s", three(rate / 1e6)),
        rate if rate >= 1e3 => format!("{:.0} kbit/s", rate / 1e3),
        rate => format!("{rate:.0} bit/s"),
    }
}

/// Three figures of a number from 1 to 1000.
fn three(number: f64) -> String {
    let decimals = match number {
        number if number < 10.0 => 2,
        number if number < 100.0 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}")
}

/// How many in a second.
pub(super) fn each(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 10.0 {
        format!("{per_second:.1}/s")
    } else {
        format!("{per_second:.0}/s")
    }
}

/// A share of one.
pub(super) fn share(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

/// Lines of bars, the highest line first: the newest value at the right, `width` of them at most. `full` is what fills the height.
/// A value that is there has at least the lowest bar; one that is not known is blank.
pub(super) fn bars(values: &[Option<f64>], width: usize, height: u16, full: f64) -> Vec<String> {
    const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let newest = values.get(values.len().saturating_sub(width)..).unwrap_or_default();
    let levels = u32::from(height) * 8;
    let level = |value: f64| {
        let reached = |level: &u32| value * f64::from(levels) >= full * f64::from(*level);
        if full > 0.0 { (1..=levels).take_while(reached).count().max(1) } else { 1 }
    };
    let blank = " ".repeat(width.saturating_sub(newest.len()));
    (0..usize::from(height))
        .rev()
        .map(|line| {
            let bar = |value: &Option<f64>| {
                let eighths = value.map_or(0, |value| level(value).saturating_sub(line * 8).min(8));
                EIGHTHS.get(eighths).copied().unwrap_or(' ')
            };
            blank.chars().chain(newest.iter().map(bar)).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_and_safe() {
        assert_eq!(clean(&"\u{1b}".repeat(TEXT_CHARACTERS_MAX + 1)), "\u{fffd}".repeat(TEXT_CHARACTERS_MAX));
    }

    #[test]
    fn bars_show_the_newest_at_the_right() {
        let values = [Some(0.0), Some(4.0), None, Some(8.0)];
        assert_eq!(bars(&values, 6, 1, 8.0), ["  ▁▄ █"]);
        assert_eq!(bars(&values, 2, 2, 8.0), [" █", " █"]);
        assert_eq!(bars(&values, 3, 2, 8.0), ["  █", "█ █"]);
        assert_eq!(bars(&values, 4, 1, 0.0), ["▁▁ ▁"]);
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(
            [0.0, 999.0, 64_000.0, 4.2e6, 1.25e9, 1e11].map(bits),
            ["0 bit/s", "999 bit/s", "64 kbit/s", "4.20 Mbit/s", "1.25 Gbit/s", "100 Gbit/s"]
        );
        assert_eq!([0.0, 0.5, 12.4].map(each), ["0/s", "0.5/s", "12/s"]);
        assert_eq!(share(0.0125), "1.2 %");
    }
}
