//! The settings file: reading it, and telling unknown keys by line and likeness.

use super::{SettingsError, suggest::closest};
use crate::cli::{LogFormat, PeerArgs, SplitterArgs};
use clap::Command;
use serde::{Deserialize, Serialize};
use std::{ops::Range, path::Path};
use toml::de::{DeTable, DeValue};

/// Largest settings file; a thousand times what one needs.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Keys before the first table.
const TOP_KEYS: [&str; 2] = ["log", "log_level"];
/// Tables, each with the settings of the command of that name.
const TABLES: [&str; 2] = ["splitter", "peer"];

/// A settings file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FileSettings {
    pub(crate) log: Option<LogFormat>,
    pub(crate) log_level: Option<String>,
    pub(crate) splitter: SplitterArgs,
    pub(crate) peer: PeerArgs,
}

/// Reads and checks a file.
///
/// # Errors
///
/// It cannot be read, is no TOML, has an unknown key, or a value of the wrong kind.
pub(crate) fn read(command: &Command, path: &Path) -> Result<FileSettings, SettingsError> {
    let unreadable = |source| SettingsError::Unreadable { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        let problem = format!("it is larger than {FILE_BYTES_MAX} bytes");
        return Err(SettingsError::Toml { path: path.to_owned(), problem });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(command, path, &text)
}

/// Checks the text of a file; `path` is for messages.
pub(super) fn parse(command: &Command, path: &Path, text: &str) -> Result<FileSettings, SettingsError> {
    let wrong = |error: toml::de::Error| SettingsError::Toml {
        path: path.to_owned(),
        problem: error.to_string().trim_end().to_owned(),
    };
    let document = DeTable::parse(text).map_err(wrong)?;
    if let Some(stray) = stray(command, document.get_ref()) {
        let line = text.get(..stray.span.start).map_or(1, |before| before.matches('\n').count() + 1);
        return Err(SettingsError::UnknownKey {
            path: path.to_owned(),
            line,
            key: stray.key,
            place: stray.place,
            hint: stray.hint,
        });
    }
    toml::from_str(text).map_err(wrong)
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
