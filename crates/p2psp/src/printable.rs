//! Texts that came from elsewhere, made safe for a terminal: nothing in them is obeyed, or turns the reading direction.

/// Stands for a character that must not be shown as it is.
const REPLACEMENT: char = '\u{fffd}';

/// A character as it may be shown on one line.
pub(crate) fn character(c: char) -> char {
    let is_hidden = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    if c.is_control() || is_hidden { REPLACEMENT } else { c }
}

/// A text as one line.
pub(crate) fn line(text: &str) -> String {
    text.chars().map(character).collect()
}

/// A text whose lines stay lines.
pub(crate) fn lines(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { character(c) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let hostile = "a\u{1b}[2J\u{7}\u{9b}31m\r\n\u{202e}b\u{200b}\u{e0041}ü";
        assert_eq!(
            line(hostile),
            "a\u{fffd}[2J\u{fffd}\u{fffd}31m\u{fffd}\u{fffd}\u{fffd}b\u{fffd}\u{fffd}ü"
        );
        assert_eq!(lines("a\n\u{1b}b"), "a\n\u{fffd}b");
    }
}
