//! Settings from three places: a TOML file, then `P2PSP_*` variables, then flags; the later wins. Owns the merge, the names and
//! what an unknown name is told; what the settings mean is the runtimes' business. Variables and flags come merged from `cli`.

mod environment;
mod file;
mod resolve;
mod suggest;

pub(crate) use environment::check as check_environment;
pub(crate) use file::{FileSettings, read as read_file};
pub(crate) use resolve::{Defaults, peer, splitter};

use crate::cli::{Cli, CommonArgs, LogFormat};
use clap::CommandFactory;
use p2psp_splitter::Source;
use serde::{Serialize, de::DeserializeOwned};
use std::path::PathBuf;

/// What is wrong with the settings; always the user's to put right.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("cannot read the settings file {}: {source}; check the path given with --config", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the settings file {} is not right: {problem}", path.display())]
    Toml { path: PathBuf, problem: String },
    #[error("{}, line {line}: unknown key `{key}` {place}; {hint}", path.display())]
    UnknownKey { path: PathBuf, line: usize, key: String, place: String, hint: String },
    #[error("unknown variable {name} in the environment; {hint}")]
    UnknownVariable { name: String, hint: String },
    #[error("the value of {name} in the environment is no text")]
    VariableNoText { name: String },
    #[error("{setting}: {problem}")]
    Value { setting: &'static str, problem: String },
}

/// What is common to all commands, with the file read.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) file: FileSettings,
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
    let file = match &common.config {
        Some(path) => read_file(&command, path)?,
        None => FileSettings::default(),
    };
    let log = common.log.or(file.log).unwrap_or_default();
    let log_level = common.log_level.clone().or_else(|| file.log_level.clone());
    Ok(Sources { file, log, log_level })
}

/// The settings of `over`, and those of `under` where `over` has none. By way of tables, so that no field can be forgotten.
pub(crate) fn merge<T: Serialize + DeserializeOwned>(over: &T, under: &T) -> T {
    let table = |settings| toml::Table::try_from(settings).expect("settings are tables of texts and numbers");
    let mut merged = table(under);
    merged.extend(table(over));
    merged.try_into().expect("each value came from the same type")
}

/// Settings as a table of a settings file, without their secrets.
pub(crate) fn redacted(settings: &impl Serialize) -> toml::Table {
    let mut table = toml::Table::try_from(settings).expect("settings are tables of texts and numbers");
    if table.contains_key("password") {
        table.insert("password".to_owned(), "(set)".into());
    }
    // A source tells its address without the password in it.
    if let Some(source) = table.get("input").and_then(|input| Source::parse(input.as_str()?).ok())
        && matches!(source, Source::HttpPull(_))
    {
        table.insert("input".to_owned(), source.to_string().into());
    }
    table
}

/// The same as the text of that file.
pub(crate) fn shown(name: &str, settings: &impl Serialize) -> String {
    format!("[{name}]\n{}", redacted(settings)).trim_end().to_owned()
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
