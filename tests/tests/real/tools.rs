//! Running other people's programs: to their end, or beside the test, with their output for when they fail.

use p2psp_tests::process::Process;
use std::{path::PathBuf, process::Command, time::Duration};

/// A command of a program that must be there.
#[track_caller]
pub(crate) fn tool(name: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    assert!(found, "{name} is not installed: run `.ci/run packages`, or install it by hand");
    Command::new(name)
}

/// Runs a program to its end, which must be a good one; gives what it printed, standard error last.
#[track_caller]
pub(crate) fn run(command: &mut Command, patience: Duration) -> String {
    let (code, output) = run_to_any_end(command, patience);
    assert_eq!(code, Some(0), "{command:?}:\n{output}");
    output
}

/// As `run`, with any end.
#[track_caller]
pub(crate) fn run_to_any_end(command: &mut Command, patience: Duration) -> (Option<i32>, String) {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut process = Process::start(&name, command);
    drop(process.stdin.take());
    let code = process.ended(patience).code();
    (code, format!("{}\n{}", process.out(), process.log()))
}

/// ffmpeg without chatter, reading no keyboard.
#[track_caller]
pub(crate) fn ffmpeg(arguments: &[&str]) -> Command {
    let mut command = tool("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "warning", "-nostdin", "-y"]).args(arguments);
    command
}

/// A place in the test's own folder below the build's, where screenshots stay for people to look at.
pub(crate) fn artefact(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}
