//! What the benches' programs have in common: where they run, the program to measure, how they end, and bit rates. Knows nothing of what is
//! measured.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Command, ExitCode},
};

use tokio::{runtime::Runtime, task::LocalSet};

use crate::{
    BenchError,
    host::{self, Place},
};

/// Where a bench goes on.
#[derive(Debug)]
pub enum Begun {
    /// Nothing to do here: it ran elsewhere and has ended so.
    Left(ExitCode),
    /// Here.
    Here {
        /// The program to measure.
        binary: PathBuf,
        /// Whether the network is of its own.
        own_namespace: bool,
    },
}

/// Finds or builds the program, and goes to a network namespace of its own, if one can be had.
///
/// # Errors
/// The program does not build, or the namespace is there and does not work.
pub fn begin(binary: Option<PathBuf>) -> Result<Begun, BenchError> {
    let mut again: Vec<OsString> = std::env::args_os().skip(1).collect();
    let binary = match binary {
        Some(binary) => binary,
        // Outside of the namespace, where cargo may need the network.
        None => {
            let binary = build()?;
            again.extend(["--binary".into(), binary.clone().into()]);
            binary
        }
    };
    let own_namespace = match host::isolate(&again)? {
        Place::Left(code) => return Ok(Begun::Left(code)),
        Place::Own => true,
        Place::Shared(why) => {
            eprintln!(
                "no network namespace of its own: {why}; the figures hold this machine's packet filters too"
            );
            false
        }
    };
    Ok(Begun::Here { binary, own_namespace })
}

/// Runs a bench to its end, or until it is interrupted.
///
/// # Errors
/// Its own, and [`BenchError::Interrupted`].
pub fn run<T>(runtime: Runtime, bench: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
    let outcome = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            outcome = bench => outcome,
            _ = tokio::signal::ctrl_c() => Err(BenchError::Interrupted),
            () = host::orphaned() => Err(BenchError::Interrupted),
        }
    });
    // The read of standard input that waits for the process outside cannot be called back.
    runtime.shutdown_background();
    outcome
}

/// The program, fresh from this workspace when cargo runs us, else the one beside us.
fn build() -> Result<PathBuf, BenchError> {
    let own = std::env::current_exe().map_err(BenchError::io("failed to find this program"))?;
    let beside = own.with_file_name("p2psp");
    let cargo = std::env::var_os("CARGO");
    if cargo.is_none() && beside.exists() {
        return Ok(beside);
    }
    let cargo = cargo.unwrap_or_else(|| "cargo".into());
    let status = Command::new(&cargo)
        .args(["build", "--release", "-p", "p2psp", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .status()
        .map_err(|cause| BenchError::Spawn { program: cargo.to_string_lossy().into_owned(), cause })?;
    if !status.success() {
        return Err(BenchError::Build(status.to_string()));
    }
    if beside.exists() {
        return Ok(beside);
    }
    Err(BenchError::Build(format!("it left no {}", beside.display())))
}

/// `4M`, `800k` or plain bits per second, from 64 kb/s to 1 Gb/s.
///
/// # Errors
/// Says what a bit rate is.
pub fn bit_rate(text: &str) -> Result<u64, String> {
    let (number, factor) = match text.strip_suffix(['M', 'm']) {
        Some(number) => (number, 1_000_000),
        None => text.strip_suffix(['k', 'K']).map_or((text, 1), |number| (number, 1000)),
    };
    let number: u64 = number.parse().map_err(|_| "a bit rate is a whole number, as 800k or 4M".to_owned())?;
    let rate = number.saturating_mul(factor);
    if (64_000..=1_000_000_000).contains(&rate) {
        Ok(rate)
    } else {
        Err("a bit rate from 64k to 1000M".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_rates() {
        assert_eq!(bit_rate("4M"), Ok(4_000_000));
        assert_eq!(bit_rate("800k"), Ok(800_000));
        assert_eq!(bit_rate("64000"), Ok(64_000));
        for wrong in ["", "M", "4.5M", "-1", "1", "1001M", "99999999999999999999"] {
            assert!(bit_rate(wrong).is_err(), "{wrong}");
        }
    }
}
