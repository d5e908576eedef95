//! House rules that no compiler checks: a module paragraph in each file, no file over 500 lines, sections of the root
//! `clippy.toml` repeated where a crate has its own (a crate's file replaces the root's), no stray marks of unfinished work.

use std::{error::Error, fs, path::Path, process::Command};

/// Longest Rust source file; generated code is exempt.
const LINES_MAX: usize = 500;

pub(crate) fn check(root: &Path) -> Result<(), Box<dyn Error>> {
    let listing = Command::new("git").arg("-C").arg(root).args(["ls-files", "*.rs"]).output()?;
    let mut faults = Vec::new();
    for name in String::from_utf8(listing.stdout)?.lines().filter(|name| !name.contains("/generated/")) {
        let path = root.join(name);
        if !path.exists() {
            continue;
        }
        let text = fs::read_to_string(path)?;
        if !text.starts_with("//!") && !text.starts_with("#!") {
            faults.push(format!("{name}: no `//!` paragraph at the top"));
        }
        if text.lines().count() > LINES_MAX {
            faults.push(format!("{name}: {} lines, {LINES_MAX} at most", text.lines().count()));
        }
        for (mark, why) in [
            ("TO\u{44}O", "unfinished work"),
            ("FIX\u{4d}E", "unfinished work"),
            ("#[igno\u{72}e", "a test that does not run"),
        ] {
            if text.contains(mark) {
                faults.push(format!("{name}: `{mark}`, {why}"));
            }
        }
    }
    let base = fs::read_to_string(root.join("clippy.toml"))?;
    for own in ["crates/p2psp-core/clippy.toml", "crates/p2psp-wire/clippy.toml", "sim/clippy.toml"] {
        let text = fs::read_to_string(root.join(own))?;
        for line in base.lines().map(str::trim).filter(|line| line.contains('=')) {
            if !line.starts_with("disallowed-methods") && !line.contains("tokio::") && !text.contains(line) {
                faults.push(format!("{own}: lacks `{line}` of the root clippy.toml"));
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n       ").into()) }
}
