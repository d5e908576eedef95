//! How the process ends: the exit codes that the help documents, and the one line on standard error that goes with a failure.

use crate::settings::SettingsError;
use p2psp_admin::causes;
use std::{error::Error, fmt, process::ExitCode};

/// A failure with its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    line: String,
}

/// Why the process fails. Codes 130 and 143 belong to `signals`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Something failed while running.
    Runtime = 1,
    /// The command line, a variable or the settings file is wrong; clap exits with the same code.
    Usage = 2,
    /// No place for this peer in the team, or nobody answers at the admin address.
    NoSeat = 3,
    /// The peers did not play the same bytes.
    Check = 4,
    /// A process does not let in who asks, or not for that: no token, a wrong one, too small a scope, a certificate that is no good.
    Denied = 5,
    /// A process knows nobody and nothing of that name.
    Absent = 6,
    /// A process has no room for that now.
    Busy = 7,
}

impl Failure {
    /// A failure told by `line`: the cause, and what to do about it.
    pub(crate) fn new(code: Code, line: impl fmt::Display) -> Self {
        Self { code, line: line.to_string() }
    }

    /// A failure told by an error and its sources, on one line.
    pub(crate) fn of(code: Code, error: &(dyn Error + 'static)) -> Self {
        let mut line = error.to_string();
        for text in causes(error).skip(1).map(ToString::to_string) {
            // Errors that repeat their source's words would be told twice.
            if !line.contains(&text) {
                line = format!("{line}: {text}");
            }
        }
        Self { code, line }
    }

    /// The code for the shell.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.code as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::of(Code::Usage, &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the port")]
    struct Outer(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the port: {0}")]
    struct Telling(#[source] std::io::Error);

    /// Causes are told once each, whether or not an error repeats its source.
    #[test]
    fn one_line_with_all_causes() {
        let cause = || std::io::Error::other("permission denied");
        for error in [&Outer(cause()) as &dyn Error, &Telling(cause())] {
            let failure = Failure::of(Code::Runtime, error);
            assert_eq!(failure.to_string(), "cannot open the port: permission denied");
        }
    }
}
