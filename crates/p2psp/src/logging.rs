//! The log on standard error. Standard output is for what programs and people asked to be told. Owns what a filter hides, which is never the
//! audit.

use crate::{cli::LogFormat, settings::SettingsError};
use p2psp_admin::AUDIT;
use std::{
    fmt as text,
    io::{IsTerminal, stderr},
    sync::{Mutex, PoisonError},
};
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, filter_fn},
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

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
    let colour = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (subscriber, log) = build(format, filter, colour, stderr);
    subscriber.init();
    log
}

/// The log on any writer. Whatever the filter says, it shows the audit.
fn build<W>(
    format: LogFormat,
    filter: Filter,
    colour: bool,
    writer: W,
) -> (impl Subscriber + Send + Sync, Log)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let Filter { shown, parsed } = filter;
    let (filter, handle) = reload::Layer::new(parsed);
    let audit = filter_fn(|metadata| metadata.target() == AUDIT).with_max_level_hint(LevelFilter::INFO);
    // A log whose reader is gone is dropped: telling of that on standard error would end the process.
    let lines = fmt::layer().with_writer(writer).log_internal_errors(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.with_ansi(colour).with_target(false).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter.or(audit)));
    let set = Box::new(move |filter| handle.reload(filter).is_ok());
    (subscriber, Log { filter: Mutex::new(shown), set })
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
    use std::{io::Write, sync::Arc};

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

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    /// No filter hides what operators did, or who was refused, at the start or later; each hides everything else that it should.
    #[test]
    fn the_audit_is_always_told() {
        let silent = ["off", "error", "p2psp_admin::audit=off", "off,p2psp_admin::audit[{by}]=off", "warn"];
        for format in [LogFormat::Text, LogFormat::Json] {
            for (start, later) in silent.iter().zip(silent.iter().rev()) {
                let kept = Kept::default();
                let writer = kept.clone();
                let filter = Filter::new(Some(start)).unwrap();
                let (subscriber, log) = build(format, filter, false, move || writer.clone());
                let tell = || {
                    tracing::info!(target: "p2psp_admin::audit", by = "alice", "expelled");
                    tracing::warn!(target: "p2psp_admin::audit", by = "mallory", "refused");
                    tracing::info!(by = "nobody", "chatter");
                    tracing::info!(target: "p2psp_admin::audits", by = "nobody", "chatter");
                };
                tracing::subscriber::with_default(subscriber, || {
                    for filter in [start, later] {
                        tell();
                        let told = kept.take();
                        assert!(told.contains("expelled") && told.contains("refused"), "{filter}: {told}");
                        assert_eq!(told.lines().count(), 2, "{filter}: {told}");
                        log.set_filter(later).unwrap();
                    }
                    log.set_filter("info").unwrap();
                    tell();
                    assert_eq!(kept.take().lines().count(), 4);
                });
            }
        }
    }
}
