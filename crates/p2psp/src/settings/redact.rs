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

/// A source as it was written, but for what may be a secret.
fn input_shown(input: &str) -> String {
    match Source::parse(input) {
        // These tell themselves without passwords, queries and arguments.
        Ok(source @ (Source::Exec(_) | Source::HttpPull(_) | Source::HttpListen(_))) => source.to_string(),
        Ok(
            Source::File { .. }
            | Source::Stdin { .. }
            | Source::TestCard(_)
            | Source::Udp(_)
            | Source::Rtp(_),
        ) => input.to_owned(),
        // What is not understood may hold anything.
        Err(_) => scheme(input).map_or_else(|| SET.to_owned(), |scheme| format!("{scheme}:{SET}")),
    }
}

/// What stands before a colon, if it is a scheme.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.trim().split_once(':')?;
    let is_scheme =
        !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    is_scheme.then_some(scheme)
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
            ("https://tv.example.org/live?token=hunter2", "https://tv.example.org/live"),
            ("http://me:4/hunter2@tv.example.org/live", "http://…"),
            ("http://me:hun#ter2@hunter2/live", "http:(set)"),
            ("exec:ffmpeg -i rtsp://me:hunter2@camera/1 -c copy -f mpegts -", "exec:ffmpeg"),
            ("exec:srt-live-transmit srt://host?passphrase=hunter2 file://con", "exec:srt-live-transmit"),
            ("exec:curl -u me:hunter2 http://host/", "exec:curl"),
            ("exec:KEY=hunter2 grab", "exec:…"),
            ("srt://me:hunter2@camera:1", "srt:(set)"),
            ("push:me:4/hunter2@127.0.0.1:1", "push:(set)"),
            (" udp://hunter2", "udp:(set)"),
            ("udp://239.1.2.3:5000?interface=10.0.0.7", "udp://239.1.2.3:5000?interface=10.0.0.7"),
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
