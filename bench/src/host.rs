//! The place where a run happens: a network namespace of its own, and as much priority as the bench may have. Owns the
//! re-execution; knows nothing of what is measured.

use std::{
    env, fs, io,
    process::{Command, ExitCode, Stdio},
};

use crate::BenchError;

/// Set for the process inside. Not `P2PSP_*`: the programs refuse variables of that prefix that they do not know.
const INSIDE: &str = "TEAM_BENCH_INSIDE";

/// Where this process is.
#[derive(Debug)]
pub enum Place {
    /// Nothing to do here: the same program ran elsewhere and has ended so.
    Left(ExitCode),
    /// In a namespace of its own.
    Own,
    /// In the machine's, for this reason.
    Shared(String),
}

/// Runs this program again, with these arguments, in its own network namespace; where that cannot be done, goes on in
/// the present one.
///
/// # Errors
/// The namespace is there, but its loopback does not come up.
pub fn isolate(arguments: &[std::ffi::OsString]) -> Result<Place, BenchError> {
    if env::var_os(INSIDE).is_some() {
        return settle().map(|()| Place::Own);
    }
    // A user namespace gives those without root the right to make a network namespace.
    let Some(unshare) = [&["-n"][..], &["-r", "-n"]].into_iter().find(|options| can_unshare(options)) else {
        return Ok(Place::Shared("unshare -n does not work here (it needs root or user namespaces)".into()));
    };
    let program = env::current_exe().map_err(BenchError::io("failed to find this program"))?;
    // A session of its own has an autogroup of its own, whose weight `settle` raises.
    let mut command = Command::new("nice");
    command
        .args(["-n", "-20", "setsid", "--wait", "unshare"])
        .args(unshare)
        .arg("--")
        .arg(program)
        .args(arguments);
    // The process inside ends when its input does, so it never outlives this one.
    let mut child = command
        .env(INSIDE, "1")
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|cause| BenchError::Spawn { program: "nice setsid unshare".into(), cause })?;
    let input = child.stdin.take();
    let status = child.wait().map_err(BenchError::io("failed to wait for the run"))?;
    drop(input);
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(Place::Left(ExitCode::from(code)))
}

/// Ends when the process outside does.
pub async fn orphaned() {
    if env::var_os(INSIDE).is_none() {
        std::future::pending::<()>().await;
    }
    let mut buffer = [0];
    // Nothing is ever written: the end of the input is the message.
    tokio::io::AsyncReadExt::read(&mut tokio::io::stdin(), &mut buffer).await.ok();
}

fn can_unshare(options: &[&str]) -> bool {
    Command::new("unshare")
        .args(options)
        .args(["--", "ip", "link", "set", "lo", "up"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn settle() -> Result<(), BenchError> {
    let status = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .map_err(|cause| BenchError::Spawn { program: "ip".into(), cause })?;
    if !status.success() {
        let cause = io::Error::other(format!("ip link set lo up: {status}"));
        return Err(BenchError::Io { what: "failed to start the loopback".into(), cause });
    }
    // Kernels without autogroups, or users without the right, measure at the usual weight.
    fs::write("/proc/self/autogroup", "-20").ok();
    Ok(())
}
