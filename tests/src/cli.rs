//! The program under test: built once per test run, in the test's own profile, and started with no setting of the caller's.

use crate::process::Process;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The program. `P2PSP_TEST_BINARY` names one that is built already.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("P2PSP_TEST_BINARY").map_or_else(build, PathBuf::from))
}

/// A command with the program's arguments and a clean environment: settings of the caller's are not the test's.
pub fn command<A: AsRef<str>>(arguments: &[A]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments.iter().map(AsRef::as_ref));
    without_settings(&mut command);
    command.env("NO_COLOR", "1");
    command
}

/// Takes the caller's settings out of a command's environment.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("P2PSP_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
}

/// Starts the program with `arguments`.
pub fn start<A: AsRef<str>>(name: &str, arguments: &[A]) -> Process {
    Process::start(name, &mut command(arguments))
}

/// Cargo builds the program beside this test: in the same target folder and profile, and offline, because its dependencies are
/// those that were just compiled. The whole workspace with a test is named so that they have the same features, too: otherwise
/// all of them would be compiled anew.
fn build() -> PathBuf {
    let this = std::env::current_exe().expect("a test program has a path");
    // target/PROFILE/deps/it-HASH
    let profile = this.ancestors().nth(2).expect("three folders up").to_owned();
    let target = profile.parent().expect("the target folder");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into()));
    cargo.args(["build", "--quiet", "--offline", "--workspace", "--bin", "p2psp", "--test", "it"]);
    cargo.args(["--message-format", "json"]);
    cargo.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    cargo.arg("--target-dir").arg(target);
    if profile.file_name().is_some_and(|name| name == "release") {
        cargo.arg("--release");
    }
    let built = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("cargo runs");
    assert!(built.status.success(), "the program does not build: {cargo:?}");
    let messages = String::from_utf8(built.stdout).expect("cargo writes UTF-8");
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "p2psp" && message["target"]["kind"][0] == "bin")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names what it built")
}
