//! The settings file: reading it, and telling unknown keys by line and likeness.

use super::{SettingsError, suggest::closest};
use crate::cli::{LogFormat, PeerArgs, SplitterArgs};
use clap::Command;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    ops::Range,
    path::{Path, PathBuf},
};
use toml::de::{DeTable, DeValue};

/// Largest settings file; a thousand times what one needs.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Keys before the first table.
const TOP_KEYS: [&str; 2] = ["log", "log_level"];
/// Tables, each with the settings of the command of that name.
const TABLES: [&str; 2] = ["splitter", "peer"];

/// Settings of p2psp: a file given with --config.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "p2psp settings")]
pub(crate) struct FileSettings {
    /// How to write the log on standard error
    pub(crate) log: Option<LogFormat>,
    /// What to log: a level (error, warn, info, debug, trace) or a filter as in RUST_LOG, for example `info,p2psp_net=debug`
    /// [default: RUST_LOG, or info]
    pub(crate) log_level: Option<String>,
    /// Settings of `p2psp splitter`
    pub(crate) splitter: SplitterArgs,
    /// Settings of `p2psp peer`
    pub(crate) peer: PeerArgs,
}

/// Where the keys of a file stand.
#[derive(Debug, Default)]
pub(crate) struct Places {
    path: PathBuf,
    /// By `table.key`, or `key` before the first table; counted from 1.
    lines: BTreeMap<String, usize>,
}

impl Places {
    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file says anything in a table.
    pub(crate) fn has(&self, table: &str) -> bool {
        self.lines.keys().any(|name| name.split('.').next() == Some(table))
    }

    /// The line of `table.key`, or of a `key` before the first table, if the file has it.
    pub(crate) fn line(&self, name: &str) -> Option<usize> {
        self.lines.get(name).copied()
    }
}

/// Reads and checks a file.
///
/// # Errors
///
/// It cannot be read, is no TOML, has an unknown key, or a value of the wrong kind.
pub(crate) fn read(command: &Command, path: &Path) -> Result<(FileSettings, Places), SettingsError> {
    let unreadable = |source| SettingsError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    parse(command, path, text(path, &bytes)?)
}

/// The text that a file's bytes are, of which one more than allowed may have been read.
pub(super) fn text<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, SettingsError> {
    let wrong = |bytes: &[u8], problem| {
        let line = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
        SettingsError::Toml { path: path.to_owned(), line, problem }
    };
    // First: what is cut off may be half a character.
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        let problem = format!("the file is larger than {FILE_BYTES_MAX} bytes; is it the right one?");
        return Err(wrong(bytes, problem));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        wrong(before, "this is no UTF-8; is it the right file?".to_owned())
    })
}

/// Checks the text of a file; `path` is for messages.
pub(super) fn parse(
    command: &Command,
    path: &Path,
    text: &str,
) -> Result<(FileSettings, Places), SettingsError> {
    let wrong = |key: Option<String>, error: &toml::de::Error| {
        let mut problem = error.message().trim().replace('\n', "; ");
        if problem == "invalid socket address syntax" {
            problem = "this is no IP address with a port: write 127.0.0.1:4480 or [::1]:4480".to_owned();
        }
        if let Some(key) = key {
            problem = format!("{key}: {problem}");
        }
        let line = line(text, error.span().map_or(0, |span| span.start));
        SettingsError::Toml { path: path.to_owned(), line, problem }
    };
    let document = DeTable::parse(text).map_err(|error| wrong(None, &error))?;
    if let Some(stray) = stray(command, document.get_ref()) {
        return Err(SettingsError::UnknownKey {
            path: path.to_owned(),
            line: line(text, stray.span.start),
            key: stray.key,
            place: stray.place,
            hint: stray.hint,
        });
    }
    let entries = entries(document.get_ref());
    let settings = toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let entry = entries.iter().find(|entry| entry.value.contains(&start));
        wrong(entry.map(|entry| entry.name.clone()), &error)
    })?;
    let lines = entries.into_iter().map(|entry| (entry.name, line(text, entry.key.start))).collect();
    Ok((settings, Places { path: path.to_owned(), lines }))
}

/// A key with its value: their places in the text.
struct Entry {
    /// `table.key`, or `key` before the first table.
    name: String,
    key: Range<usize>,
    value: Range<usize>,
}

fn entries(document: &DeTable<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (table, value) in document.iter() {
        if let DeValue::Table(keys) = value.get_ref() {
            entries.extend(keys.iter().map(|(key, value)| Entry {
                name: format!("{}.{}", table.get_ref(), key.get_ref()),
                key: key.span(),
                value: value.span(),
            }));
        } else {
            let name = table.get_ref().to_string();
            entries.push(Entry { name, key: table.span(), value: value.span() });
        }
    }
    entries
}

/// The line, counted from 1, of a byte of the text.
fn line(text: &str, byte: usize) -> usize {
    text.get(..byte).map_or(1, |before| before.matches('\n').count() + 1)
}

/// The keys of a table: the settings of a command that have a variable.
pub(super) fn keys<'a>(command: &'a Command, table: &str) -> Vec<&'a str> {
    let arguments = command.find_subcommand(table).into_iter().flat_map(Command::get_arguments);
    arguments
        .filter(|argument| argument.get_env().is_some())
        .map(|argument| argument.get_id().as_str())
        .collect()
}

/// A key that is not known.
struct Stray {
    key: String,
    span: Range<usize>,
    place: String,
    hint: String,
}

/// The first unknown key in the order of the text.
fn stray(command: &Command, document: &DeTable<'_>) -> Option<Stray> {
    let mut strays = Vec::new();
    for (key, value) in document.iter() {
        let name: &str = key.get_ref();
        if let (true, DeValue::Table(table)) = (TABLES.contains(&name), value.get_ref()) {
            let known = keys(command, name);
            let unknown = table.keys().filter(|key| !known.contains(&key.get_ref().as_ref()));
            strays.extend(unknown.map(|key| Stray {
                key: key.get_ref().to_string(),
                span: key.span(),
                place: format!("in [{name}]"),
                hint: hint(command, key.get_ref(), Some(name)),
            }));
        } else if !TOP_KEYS.contains(&name) && !TABLES.contains(&name) {
            strays.push(Stray {
                key: name.to_owned(),
                span: key.span(),
                place: "before the first table".to_owned(),
                hint: hint(command, name, None),
            });
        }
    }
    strays.into_iter().min_by_key(|stray| stray.span.start)
}

/// What someone who wrote `key` in `table`, or outside of any, probably meant.
fn hint(command: &Command, key: &str, table: Option<&str>) -> String {
    let here = table.map_or_else(|| [TOP_KEYS, TABLES].concat(), |table| keys(command, table));
    let elsewhere = TABLES.iter().find(|other| table != Some(**other) && keys(command, other).contains(&key));
    match (closest(key, here.iter().copied()), elsewhere) {
        (_, Some(other)) => format!("it belongs in [{other}]"),
        (None, None) if table.is_some() && TOP_KEYS.contains(&key) => {
            "it belongs before the first table".to_owned()
        }
        (Some(meant), None) => format!("did you mean `{meant}`?"),
        (None, None) => format!("known are {}", here.join(", ")),
    }
}
