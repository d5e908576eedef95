//! The one binary: `p2psp splitter | peer | demo | ctl | top | config | completions | man`. Reads the command line and the settings, starts the log and a
//! single-threaded runtime, and turns every end into an exit code.

mod cli;
mod commands;
mod config;
mod ctl;
mod demo;
mod exit;
mod logging;
mod operators;
mod printable;
mod reload;
mod report;
mod settings;
mod signals;
mod supervisor;
mod top;
mod units;

use clap::{CommandFactory, FromArgMatches};
use cli::{Cli, Command, LogFormat};
use exit::{Code, Failure};
use logging::Filter;
use reload::Reload;
use std::{
    io::{IsTerminal, Write, stderr, stdout},
    process::ExitCode,
    time::Duration,
};

fn main() -> ExitCode {
    let mut log = LogFormat::Text;
    match run(&mut log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            match log {
                // A filter must not hide why the process ended; a reader that is gone reads nothing.
                LogFormat::Text => writeln!(stderr(), "p2psp: {failure}").unwrap_or_default(),
                LogFormat::Json => tracing::error!("{failure}"),
            }
            failure.code()
        }
    }
}

/// Does what the command line says; `log` is how a failure is to be told.
fn run(log: &mut LogFormat) -> Result<(), Failure> {
    // Help names variables; their values may be secrets.
    let command = hide_values(Cli::command());
    let cli = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    // What packages are made of depends on nobody's settings.
    if let Command::Completions { shell } = cli.command {
        return stdout().write_all(&cli::manual::completions(shell)).map_err(|error| {
            Failure::new(Code::Runtime, format!("cannot write the completion script: {error}"))
        });
    }
    if let Command::Man { folder } = cli.command {
        let pages = cli::manual::write(&folder).map_err(|error| Failure::of(Code::Runtime, &error))?;
        report::print(&format!("{pages} pages in {}", folder.display()));
        return Ok(());
    }
    if let Command::Config(command) = cli.command {
        return config::run(command, &cli.common);
    }
    let sources = settings::sources(&cli.common, settings::environment()?)?;
    // A log line in the middle of the picture helps nobody; into a file it may go.
    let is_picture = matches!(cli.command, Command::Top(_)) && stderr().is_terminal();
    let filter = if is_picture { Filter::new(Some("off"))? } else { sources.filter()? };
    let running_log = logging::start(sources.log, filter);
    *log = sources.log;
    // Who asks once wants the answer now; who carries a stream saves wake-ups.
    let grid = if matches!(cli.command, Command::Ctl(_) | Command::Top(_)) {
        Duration::ZERO
    } else {
        p2psp_net::WAKE_GRID
    };
    let runtime = p2psp_net::runtime(grid)
        .map_err(|error| Failure::new(Code::Runtime, format!("cannot start the runtime: {error}")))?;
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Splitter { settings, report } => {
                let reload = Reload::new(cli.common, *settings, &sources)?;
                Box::pin(commands::splitter(reload, report, running_log)).await
            }
            Command::Peer { settings, report } => {
                let reload = Reload::new(cli.common, *settings, &sources)?;
                Box::pin(commands::peer(reload, report, running_log)).await
            }
            Command::Demo(args) => Box::pin(demo::run(args)).await,
            Command::Ctl(args) => Box::pin(ctl::run(args)).await,
            Command::Top(args) => Box::pin(top::run(args)).await,
            Command::Config(_) | Command::Completions { .. } | Command::Man { .. } => Ok(()),
        }
    });
    // A read of standard input cannot be called back: waiting for it would keep the process from ending.
    runtime.shutdown_background();
    outcome
}

fn hide_values(command: clap::Command) -> clap::Command {
    command.mut_args(|argument| argument.hide_env_values(true)).mut_subcommands(hide_values)
}
