//! The log on standard error. Standard output is for what programs and people asked to be told.

use crate::{cli::LogFormat, settings::SettingsError};
use std::{
    fmt as text,
    io::{IsTerminal, stderr},
    sync::{Mutex, PoisonError},
};
use tracing_subscriber::{EnvFilter, fmt};

/// What is logged when nobody says.
const DEFAULT_FILTER: &str = "info";

/// A running log: what it shows can be changed.
pub(crate) struct Log {
    filter: Mutex<String>,
    set: Box<dyn Fn(EnvFilter) -> bool + Send + Sync>,
}

impl Log {
    /// What is shown now.
    pub(crate) fn filter(&self) -> String {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows something else from now on; gives what was shown before.
    ///
    /// # Errors
    ///
    /// The filter does not parse.
    pub(crate) fn set_filter(&self, filter: &str) -> Result<String, SettingsError> {
        Ok(self.set(Filter { shown: filter.to_owned(), parsed: parse(filter)? }))
    }

    /// The same with a filter that is known to be right.
    pub(crate) fn set(&self, filter: Filter) -> String {
        let mut shown = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        // The log is there for as long as the process.
        if (self.set)(filter.parsed) { std::mem::replace(&mut *shown, filter.shown) } else { shown.clone() }
    }
}

impl text::Debug for Log {
    fn fmt(&self, f: &mut text::Formatter<'_>) -> text::Result {
        f.debug_struct("Log").field("filter", &self.filter).finish_non_exhaustive()
    }
}

/// Starts the log.
pub(crate) fn start(format: LogFormat, filter: Filter) -> Log {
    let Filter { shown, parsed: filter } = filter;
    let shown = Mutex::new(shown);
    // A log whose reader is gone is dropped: telling of that on standard error would end the process.
    let builder = fmt().with_env_filter(filter).with_writer(stderr).log_internal_errors(false);
    let set: Box<dyn Fn(EnvFilter) -> bool + Send + Sync> = match format {
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Box::new(move |filter| handle.reload(filter).is_ok())
        }
        LogFormat::Text => {
            let colour = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let builder = builder.with_ansi(colour).with_target(false).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Box::new(move |filter| handle.reload(filter).is_ok())
        }
    };
    Log { filter: shown, set }
}

/// What a log may be told to show.
#[derive(Debug)]
pub(crate) struct Filter {
    shown: String,
    parsed: EnvFilter,
}

impl Filter {
    /// A level, or a filter in `RUST_LOG`'s syntax; `None` asks `RUST_LOG`.
    ///
    /// # Errors
    ///
    /// It does not parse.
    pub(crate) fn new(filter: Option<&str>) -> Result<Self, SettingsError> {
        read(filter).map(|parsed| Self { shown: parsed.to_string(), parsed })
    }
}

impl text::Display for Filter {
    fn fmt(&self, f: &mut text::Formatter<'_>) -> text::Result {
        f.write_str(&self.shown)
    }
}

fn read(filter: Option<&str>) -> Result<EnvFilter, SettingsError> {
    match filter {
        Some(text) => parse(text),
        None => Ok(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER))),
    }
}

fn parse(text: &str) -> Result<EnvFilter, SettingsError> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let wrong = |problem: String| SettingsError::Value { setting: "log_level", problem };
    let is_name = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_name && !LEVELS.contains(&text.to_ascii_lowercase().as_str()) {
        // A bare word is taken for a target by the filter's grammar, which would silence everything.
        return Err(wrong(format!(
            "`{text}` is none of {}; for one module write p2psp_net=debug",
            LEVELS.join(", ")
        )));
    }
    EnvFilter::try_new(text).map_err(|error| wrong(format!("`{text}` is no filter: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked() {
        for text in ["info", "DEBUG", "warn,p2psp_net=trace"] {
            assert!(parse(text).is_ok(), "{text}");
        }
        for text in ["verbose", "info,p2psp=loud"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with("log_level: "), "{error}");
        }
    }
}
