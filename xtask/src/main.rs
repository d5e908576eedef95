//! Development tasks that CI and people share: `cargo xtask codegen [--check] | deploy | layers | metrics [--check] | rules | tidy`.

mod codegen;
mod deploy;
mod layers;
mod metrics;
mod rules;
mod tidy;

use std::{path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["codegen"] => codegen::write(&root()),
        ["codegen", "--check"] => codegen::check(&root()),
        ["deploy"] => deploy::check(&root()),
        ["layers"] => layers::check(&root()),
        ["metrics"] => metrics::write(&root()),
        ["metrics", "--check"] => metrics::check(&root()),
        ["rules"] => rules::check(&root()),
        ["tidy"] => tidy::check(&root()),
        _ => Err("usage: cargo xtask codegen [--check] | deploy | layers | metrics [--check] | rules | tidy"
            .into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder: xtask lives one below it.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
