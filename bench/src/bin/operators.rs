//! `operators`: what scrapes, reads and watchers cost a real splitter with a full team of light members. Owns the command line; all else is
//! the library's. See README.md for what each figure means.

use std::{fs, io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use p2psp_bench::{
    BenchError,
    operators::{self, Options, Report},
    program::{self, Begun},
};

#[derive(Debug, Parser)]
#[command(
    about = "Measures what operators cost a splitter, on the loopback of a network namespace of its own"
)]
struct Arguments {
    /// Members of the team that is scraped and read
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=480))]
    peers: u16,
    /// Members of the team that is watched while it comes and goes
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=480))]
    watch_peers: u16,
    /// How many watch it
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    watchers: u16,
    /// One member goes and another one comes each so often
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(50..))]
    churn_ms: u16,
    /// Bit rate of the stream, with k or M
    #[arg(long, value_name = "BITRATE", default_value = "4M", value_parser = program::bit_rate)]
    rate: u64,
    /// Length of each window
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Pairs of windows with and without watchers
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Fail on durations and shares of the CPU, too: on a machine that has nothing else to do
    #[arg(long)]
    strict: bool,
    /// Write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The program to measure [default: built now from this workspace, or the one beside this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

fn main() -> ExitCode {
    bench(Arguments::parse()).unwrap_or_else(|cause| {
        eprintln!("operators: {cause}");
        ExitCode::FAILURE
    })
}

fn bench(arguments: Arguments) -> Result<ExitCode, BenchError> {
    let binary = match program::begin(arguments.binary)? {
        Begun::Left(code) => return Ok(code),
        Begun::Here { binary, .. } => binary,
    };
    let options = Options {
        binary,
        rate: arguments.rate,
        peers: arguments.peers.into(),
        watch_peers: arguments.watch_peers.into(),
        watchers: arguments.watchers.into(),
        churn: Duration::from_millis(arguments.churn_ms.into()),
        window: Duration::from_secs(arguments.seconds.into()),
        rounds: arguments.rounds.into(),
        strict: arguments.strict,
    };
    // As the programs themselves: members that wake for each packet would take the processor from the splitter.
    let runtime =
        p2psp_net::runtime(p2psp_net::WAKE_GRID).map_err(BenchError::io("failed to start the event loop"))?;
    let report = program::run(runtime, operators::run(&options))?;
    write(&report, arguments.json.as_ref())?;
    report.faults.iter().for_each(|fault| eprintln!("operators: {fault}"));
    Ok(if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// To the file, if one is named, and to standard output.
fn write(report: &Report, json: Option<&PathBuf>) -> Result<(), BenchError> {
    let text = serde_json::to_string_pretty(report)
        .map_err(|cause| BenchError::CrossCheck(cause.to_string()))?
        + "\n";
    if let Some(path) = json {
        fs::write(path, &text).map_err(BenchError::io(format!("failed to write {}", path.display())))?;
    }
    std::io::stdout().write_all(text.as_bytes()).map_err(BenchError::io("failed to write the figures"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
