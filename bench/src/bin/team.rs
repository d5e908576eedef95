//! `team`: a splitter and teams of peers as real processes on the loopback, measured beside the floor. Owns the command
//! line; all else is the library's. See README.md for what each figure means.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};
use p2psp_bench::{
    BenchError, floor,
    program::{self, Begun},
    report::{Row, write_table},
    run::{self, Options},
    team::Integrity,
};

#[derive(Debug, Parser)]
#[command(about = "Measures teams of real peers on the loopback of a network namespace of their own")]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Team sizes
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "4,16,32", value_parser = clap::value_parser!(u16).range(2..=500))]
    peers: Vec<u16>,
    /// Bit rate of the stream, with k or M
    #[arg(long, value_name = "BITRATE", default_value = "4M", value_parser = program::bit_rate)]
    rate: u64,
    /// Length of the window in which everything is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Time between the last join and the window
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    warm_up: u16,
    /// Peers that join, one after the other, after the window, to time their joins
    #[arg(long, value_name = "N", default_value_t = 10)]
    joins: u16,
    /// While the team is formed, start the next peer when the last one plays, or after so long
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 200)]
    join_interval_ms: u16,
    /// Write the figures to this file, an array with an object per team size
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Do not measure what UDP with AES-128-GCM alone would cost
    #[arg(long)]
    no_floor: bool,
    /// The program to measure [default: built now from this workspace, or the one beside this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// How peers verify the stream
    #[arg(long, value_name = "WAY", default_value = "manifest")]
    integrity: Integrity,
    /// Parity chunks of a generation; without manifests there are none [default: as the losses ask for]
    #[arg(long, value_name = "CHUNKS", value_parser = clap::value_parser!(u8).range(0..=16))]
    parity: Option<u8>,
    /// One more argument for every peer; may be given more than once, as --peer-arg=--delay=1s
    #[arg(long = "peer-arg", value_name = "ARG", allow_hyphen_values = true)]
    peer_arguments: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// A peer of the floor
    #[command(name = floor::PEER_COMMAND, hide = true)]
    FloorPeer,
    /// The splitter of the floor
    #[command(name = floor::SPLITTER_COMMAND, hide = true)]
    FloorSplitter,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.role {
        Some(Role::FloorPeer) => {
            floor::run_peer().map(|()| ExitCode::SUCCESS).map_err(BenchError::io("floor"))
        }
        Some(Role::FloorSplitter) => {
            floor::run_splitter().map(|()| ExitCode::SUCCESS).map_err(BenchError::io("floor"))
        }
        None => bench(arguments),
    };
    result.unwrap_or_else(|cause| {
        eprintln!("team: {cause}");
        ExitCode::FAILURE
    })
}

fn bench(arguments: Arguments) -> Result<ExitCode, BenchError> {
    let (binary, own_namespace) = match program::begin(arguments.binary)? {
        Begun::Left(code) => return Ok(code),
        Begun::Here { binary, own_namespace } => (binary, own_namespace),
    };
    let options = Options {
        binary,
        rate: arguments.rate,
        window: Duration::from_secs(arguments.seconds.into()),
        warm_up: Duration::from_secs(arguments.warm_up.into()),
        joins: arguments.joins.into(),
        floor: !arguments.no_floor,
        join_interval: Duration::from_millis(arguments.join_interval_ms.into()),
        integrity: arguments.integrity,
        parity_chunks: arguments.parity,
        peer_arguments: arguments.peer_arguments,
        own_namespace,
    };
    let sizes: Vec<usize> = arguments.peers.iter().map(|peers| usize::from(*peers)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BenchError::io("failed to start the event loop"))?;
    let rows = program::run(runtime, run_all(&sizes, &options, arguments.json.as_ref()))?;
    let mut out = io::stdout().lock();
    write_table(&mut out, &rows).map_err(BenchError::io("failed to write the table"))?;
    Ok(if rows.iter().any(|row| row.fault.is_some()) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// All sizes in turn. The file is written after each, so that a run that is broken off leaves what it has.
async fn run_all(sizes: &[usize], options: &Options, json: Option<&PathBuf>) -> Result<Vec<Row>, BenchError> {
    let mut rows = Vec::with_capacity(sizes.len());
    for peers in sizes {
        eprintln!("{peers} peers at {} Mb/s for {} s", options.rate as f64 / 1e6, options.window.as_secs());
        rows.push(run::run(*peers, options).await);
        if let Some(path) = json {
            let write = || -> io::Result<()> {
                let mut file = io::BufWriter::new(fs::File::create(path)?);
                serde_json::to_writer_pretty(&mut file, &rows)?;
                file.write_all(b"\n")?;
                file.flush()
            };
            write().map_err(BenchError::io(format!("failed to write {}", path.display())))?;
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
