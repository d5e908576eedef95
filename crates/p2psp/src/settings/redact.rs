//! Settings without their secrets, as operators, logs and `p2psp config print` show them.

use p2psp_splitter::Source;
use serde::Serialize;

/// What stands in the place of a secret.
const SET: &str = "(set)";

/// Settings as a table of a settings file, without their secrets.
pub(crate) fn redacted(settings: &impl Serialize) -> toml::Table {
    let mut table = toml::Table::try_from(settings).expect("settings are tables of texts and numbers");
    if table.contains_key("password") {
        table.insert("password".to_owned(), SET.into());
    }
    if let Some(input) = table.get("input").and_then(toml::Value::as_str) {
        let shown = input_shown(input);
        table.insert("input".to_owned(), shown.into());
    }
    table
}

/// A source as it was written, but for its passwords.
fn input_shown(input: &str) -> String {
    match Source::parse(input) {
        // Both tell their address without user and password.
        Ok(source @ (Source::HttpPull(_) | Source::HttpListen(_))) => source.to_string(),
        Ok(Source::Exec(_)) => without_passwords(input),
        Ok(
            Source::File { .. }
            | Source::Stdin { .. }
            | Source::TestCard(_)
            | Source::Udp(_)
            | Source::Rtp(_),
        ) => input.to_owned(),
        // What is not understood may hold anything.
        Err(_) => without_passwords(input),
    }
}

/// A text whose addresses of the form `scheme://user:password@host` lack their passwords.
fn without_passwords(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push_str("://");
        let authority = part.split(['/', '?', '#', ' ', '\'', '"']).next().unwrap_or_default();
        let secret = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
        match secret {
            Some((user, password)) => {
                let after = part.get(user.len() + 1 + password.len()..).unwrap_or_default();
                shown.push_str(&format!("{user}:{SET}{after}"));
            }
            None => shown.push_str(part),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::SplitterArgs;

    /// However a password is written into a source, it is not shown, and what is no secret is.
    #[test]
    fn no_secret_is_shown() {
        for (input, shown) in [
            ("push:source:hunter2@127.0.0.1:8000/live", "push:127.0.0.1:8000/live"),
            ("http://me:hunter2@tv.example.org/live", "http://tv.example.org/live"),
            (
                "exec:ffmpeg -i rtsp://me:hunter2@camera/1 -c copy -f mpegts 'http://h/?a=b:c@d'",
                "exec:ffmpeg -i rtsp://me:(set)@camera/1 -c copy -f mpegts 'http://h/?a=b:c@d'",
            ),
            ("exec:cat film.ts", "exec:cat film.ts"),
            ("srt://me:hunter2@camera:1", "srt://me:(set)@camera:1"),
            ("film.ts", "film.ts"),
        ] {
            let password = Some("hunter2".to_owned());
            let args = SplitterArgs { input: Some(input.to_owned()), password, ..SplitterArgs::default() };
            let table = redacted(&args);
            assert!(!table.to_string().contains("hunter2"), "{table}");
            assert_eq!((table["input"].as_str(), table["password"].as_str()), (Some(shown), Some("(set)")));
        }
    }
}
