//! `docs/metrics.md`: written by the tables that `/metrics` is made of, and compared in CI. Asks the admin crate by running its example,
//! so that this one builds when that one does not.

use std::{error::Error, fs, path::Path, process::Command};

const DOCUMENT: &str = "docs/metrics.md";

pub(crate) fn write(root: &Path) -> Result<(), Box<dyn Error>> {
    Ok(fs::write(root.join(DOCUMENT), generate(root)?)?)
}

pub(crate) fn check(root: &Path) -> Result<(), Box<dyn Error>> {
    if fs::read(root.join(DOCUMENT))? == generate(root)? {
        Ok(())
    } else {
        Err(format!("{DOCUMENT} is stale: run `cargo xtask metrics` and commit it").into())
    }
}

fn generate(root: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["run", "--quiet", "--package", "p2psp-admin", "--example", "metrics"])
        .output()?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("cannot write {DOCUMENT}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}
