//! Settings from three places: a TOML file, then `P2PSP_*` variables, then flags; the later wins. Owns the merge, the names and
//! what an unknown name is told; what the settings mean is the runtimes' business. Variables and flags come merged from `cli`.

mod environment;
mod file;
mod redact;
mod resolve;
mod role;
pub(crate) mod schema;
mod suggest;

pub(crate) use environment::check as check_environment;
pub(crate) use file::FileSettings;
pub(crate) use redact::redacted;
pub(crate) use resolve::{Defaults, peer, splitter};
pub(crate) use role::{Role, checked};

use crate::cli::{Cli, CommonArgs, LogFormat};
use clap::CommandFactory;
use file::Places;
use serde::{Serialize, de::DeserializeOwned};
use std::path::PathBuf;

/// What is wrong with the settings; always the user's to put right.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("cannot read the settings file {}: {source}; {}", path.display(), unreadable(source))]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}, line {line}: {problem}", path.display())]
    Toml { path: PathBuf, line: usize, problem: String },
    #[error("{}, line {line}: unknown key `{key}` {place}; {hint}", path.display())]
    UnknownKey { path: PathBuf, line: usize, key: String, place: String, hint: String },
    #[error("unknown variable {name} in the environment; {hint}")]
    UnknownVariable { name: String, hint: String },
    #[error("the value of {name} in the environment is no text")]
    VariableNoText { name: String },
    #[error("{}, line {line}: {setting}: {problem}", path.display())]
    ValueInFile { path: PathBuf, line: usize, setting: String, problem: String },
    #[error("{setting}: {problem}")]
    Value { setting: &'static str, problem: String },
}

/// What to do about a file that cannot be read.
fn unreadable(source: &std::io::Error) -> &'static str {
    if source.kind() == std::io::ErrorKind::PermissionDenied {
        "let the user that runs this read it, by its group for example"
    } else {
        "check the path given with --config"
    }
}

/// What is common to all commands, with the file read.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) file: FileSettings,
    /// Where the file's keys stand.
    pub(crate) places: Places,
    pub(crate) log: LogFormat,
    /// `None`: nobody said, so `RUST_LOG` may.
    pub(crate) log_level: Option<String>,
}

/// Checks the environment's names and reads the file, if there is one.
///
/// # Errors
///
/// Whatever is wrong with either.
pub(crate) fn sources(
    common: &CommonArgs,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Sources, SettingsError> {
    let command = Cli::command();
    check_environment(&command, environment)?;
    let (file, places) = match &common.config {
        Some(path) => file::read(&command, path)?,
        None => Default::default(),
    };
    let log = common.log.or(file.log).unwrap_or_default();
    let log_level = common.log_level.clone().or_else(|| file.log_level.clone());
    Ok(Sources { file, places, log, log_level })
}

/// The settings of `over`, and those of `under` where `over` has none. By way of tables, so that no field can be forgotten.
pub(crate) fn merge<T: Serialize + DeserializeOwned>(over: &T, under: &T) -> T {
    let table = |settings| toml::Table::try_from(settings).expect("settings are tables of texts and numbers");
    let mut merged = table(under);
    merged.extend(table(over));
    merged.try_into().expect("each value came from the same type")
}

/// The environment; names and values that are no Unicode are none of our settings, or wrong ones.
///
/// # Errors
///
/// A variable of ours whose value is no text.
pub(crate) fn environment() -> Result<Vec<(String, String)>, SettingsError> {
    let mut environment = Vec::new();
    for (name, value) in std::env::vars_os() {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => environment.push((name, value)),
            (Ok(name), Err(_)) if name.starts_with("P2PSP_") => {
                return Err(SettingsError::VariableNoText { name });
            }
            _ => {}
        }
    }
    Ok(environment)
}

#[cfg(test)]
mod tests;
