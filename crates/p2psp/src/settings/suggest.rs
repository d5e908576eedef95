//! What to say about a name that is not known: the one that was probably meant, or all there are.

/// Below this likeness (Jaro-Winkler, 0 to 1) a suggestion confuses more than it helps.
const LIKENESS_MIN: f64 = 0.75;

/// The known name that is most like `name`, if any is like it at all.
pub(super) fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let name = plain(name);
    known
        .into_iter()
        .map(|known| (strsim::jaro_winkler(&name, &plain(known)), known))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

/// A sentence for someone who wrote `name`.
pub(super) fn hint(name: &str, known: &[&str]) -> String {
    match closest(name, known.iter().copied()) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_find_their_name() {
        let known = ["listen", "uplink", "team_size", "on_end", "wait_peers"];
        for (wrong, right) in [
            ("lisen", "listen"),
            ("team-size", "team_size"),
            ("TeamSize", "team_size"),
            ("up_link", "uplink"),
            ("onend", "on_end"),
        ] {
            assert_eq!(closest(wrong, known), Some(right), "{wrong}");
        }
        assert_eq!(closest("colour", known), None);
        assert_eq!(hint("colour", &["a", "b"]), "known are a, b");
    }
}
