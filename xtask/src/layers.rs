//! The layer table of ARCHITECTURE.md as data, held against `cargo metadata`. A new edge is a decision: change the table
//! here and in ARCHITECTURE.md, and say why in `docs/adr/`.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    path::Path,
};

/// Crate, which of ours it may use (normal and build dependencies), which others it must never see.
const LAYERS: [(&str, &[&str], &[&str]); 14] = [
    ("p2psp-wire", &[], &["tokio", "quinn", "tonic", "hyper", "rustls", "tracing"]),
    (
        "p2psp-core",
        &["p2psp-wire"],
        &["tokio", "quinn", "rustls", "hyper", "metrics", "rand", "getrandom", "tonic", "futures-util"],
    ),
    ("p2psp-net", &["p2psp-core", "p2psp-wire"], &["tonic", "hyper", "metrics"]),
    ("p2psp-media", &["p2psp-wire"], &["quinn", "tonic"]),
    ("p2psp-admin", &["p2psp-wire"], &["quinn"]),
    (
        "p2psp-splitter",
        &["p2psp-net", "p2psp-media", "p2psp-admin", "p2psp-core", "p2psp-wire"],
        &["quinn", "tonic"],
    ),
    (
        "p2psp-peer",
        &["p2psp-net", "p2psp-media", "p2psp-admin", "p2psp-core", "p2psp-wire"],
        &["quinn", "tonic"],
    ),
    (
        "p2psp",
        &[
            "p2psp-splitter",
            "p2psp-peer",
            "p2psp-net",
            "p2psp-media",
            "p2psp-admin",
            "p2psp-core",
            "p2psp-wire",
        ],
        &["quinn"],
    ),
    ("p2psp-sim", &["p2psp-core", "p2psp-wire"], &["tokio", "quinn", "rand", "getrandom"]),
    ("p2psp-tests", &["p2psp-wire"], &["p2psp-core"]),
    ("p2psp-bench", &["p2psp-wire", "p2psp-core", "p2psp-sim", "p2psp-net"], &[]),
    ("p2psp-fuzz", &["p2psp-wire", "p2psp-core", "p2psp-media", "p2psp-sim"], &[]),
    ("p2psp-fuzz-libfuzzer", &["p2psp-fuzz"], &[]),
    ("xtask", &[], &[]),
];

pub(crate) fn check(root: &Path) -> Result<(), Box<dyn Error>> {
    let metadata =
        cargo_metadata::MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps().exec()?;
    let table: BTreeMap<&str, (&[&str], &[&str])> =
        LAYERS.iter().map(|(name, ours, never)| (*name, (*ours, *never))).collect();
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let mut faults = Vec::new();
    for package in &metadata.packages {
        let Some((may, never)) = table.get(package.name.as_str()) else {
            faults.push(format!("{} is not in the layer table (xtask/src/layers.rs)", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let shipped = dependency.kind != cargo_metadata::DependencyKind::Development;
            if shipped && ours.contains(name) && !may.contains(&name) {
                faults.push(format!("{} may not use {name}", package.name));
            }
            if shipped && never.contains(&name) {
                faults.push(format!("{} must never see {name}", package.name));
            }
        }
    }
    let text = fs::read_to_string(root.join("ARCHITECTURE.md"))?;
    for (name, ours, never) in LAYERS {
        let row = format!("| `{name}` | {} | {} |", list(ours), list(never));
        if !text.lines().any(|line| line == row) {
            faults.push(format!("ARCHITECTURE.md lacks the row: {row}"));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n       ").into()) }
}

/// A cell of the table in ARCHITECTURE.md.
fn list(names: &[&str]) -> String {
    if names.is_empty() {
        return String::from("–");
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
