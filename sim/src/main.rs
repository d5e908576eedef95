//! The simulator's command line: lists the experiments, runs them, writes what they found.

use clap::{Parser, Subcommand};
use p2psp_sim::{
    Report,
    scenario::{self, Scenario, Size},
};
use serde_json::Value;
use std::{fs, io, io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

/// Discrete-event simulator over the P2PSP core.
#[derive(Debug, Parser)]
#[command(name = "p2psp-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the scenarios.
    List,
    /// Runs one scenario, or all of them; exit code 1 when one misses its bar.
    Run {
        /// A name from the list, or `all`.
        scenario: String,
        /// Replays exactly: the same seed gives the same trace hash.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Run this many seeds, counting up from the first.
        #[arg(long, default_value_t = 1)]
        seeds: u64,
        /// Write what was found as JSON: one object, or an array where more than one run was asked for.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Smaller teams and shorter streams, as the tests run them.
        #[arg(long)]
        small: bool,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::List => list().map(|()| true),
        Command::Run { scenario, seed, seeds, json, small } => {
            let size = if small { Size::Small } else { Size::Full };
            run(&scenario, seed..seed.saturating_add(seeds), size, json)
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            writeln!(io::stderr(), "p2psp-sim: {error}").ok();
            ExitCode::from(2)
        }
    }
}

fn list() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for Scenario { name, aliases, about, .. } in scenario::ALL {
        let names =
            if aliases.is_empty() { (*name).to_owned() } else { format!("{name} ({})", aliases.join(", ")) };
        writeln!(out, "{names:16} {about}")?;
    }
    Ok(())
}

/// Runs the scenarios of this name on these seeds; whether all passed.
fn run(name: &str, seeds: std::ops::Range<u64>, size: Size, json: Option<PathBuf>) -> io::Result<bool> {
    let chosen: Vec<&Scenario> = if name == "all" {
        scenario::ALL.iter().collect()
    } else {
        let unknown = || io::Error::other(format!("no scenario is called {name:?}; `list` shows them"));
        vec![scenario::find(name).ok_or_else(unknown)?]
    };
    let mut out = io::stdout().lock();
    let mut found = Vec::new();
    let mut passed = true;
    for scenario in chosen {
        for seed in seeds.clone() {
            writeln!(out, "{} seed {seed}: {}", scenario.name, scenario.about)?;
            out.flush()?;
            let (report, wall) = timed(|| scenario.run(seed, size));
            writeln!(out, "{report} in {:.1} s", wall.as_secs_f64())?;
            if !report.pass() {
                let small = if size == Size::Small { " --small" } else { "" };
                let name = scenario.name;
                writeln!(out, "again: cargo run --release -p p2psp-sim -- run {name} --seed {seed}{small}")?;
            }
            passed &= report.pass();
            found.push(with_wall_time(&report, wall));
        }
    }
    if let Some(path) = json {
        let text = match <[Value; 1]>::try_from(found) {
            Ok([one]) => one,
            Err(several) => Value::Array(several),
        };
        fs::write(&path, format!("{text:#}\n")).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display()))
        })?;
    }
    Ok(passed)
}

fn with_wall_time(report: &Report, wall: Duration) -> Value {
    let mut object = report.to_json();
    if let Value::Object(map) = &mut object {
        map.insert("wall_s".into(), wall.as_secs_f64().into());
    }
    object
}

/// How long the machine took: for people, never for a verdict.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "the engine has no clock; this tells a person how long it took"
    )]
    let begun = std::time::Instant::now();
    let result = work();
    (result, begun.elapsed())
}
