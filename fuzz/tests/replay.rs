//! Runs every target over its committed corpus, so that what a fuzzer once found stays found on any toolchain, and holds the
//! four places where a target is named against each other.
#![cfg(test)]

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

fn fuzz_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The paths in `folder`, sorted.
fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_corpus_file_passes_its_target() {
    let mut failed = Vec::new();
    for (name, target) in p2psp_fuzz::TARGETS {
        let files = list(&fuzz_folder().join("corpus").join(name));
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            let data = fs::read(&file).unwrap();
            // The panic itself is printed by the hook; go on, so that one run shows all that fail.
            if catch_unwind(AssertUnwindSafe(|| target(&data))).is_err() {
                failed.push(file);
            }
        }
    }
    assert!(failed.is_empty(), "these break their targets: {failed:#?}");
}

#[test]
fn every_target_holds_for_nothing_and_for_plain_noise() {
    for (name, target) in p2psp_fuzz::TARGETS {
        target(&[]);
        for length in [1, 2, 3, 7, 16, 64, 1200, 1201, 70_000] {
            // A multiplicative congruential sequence: noise that is the same in each run.
            let noise: Vec<u8> =
                (1..=length).map(|i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
            assert!(catch_unwind(|| target(&noise)).is_ok(), "{name} breaks on {length} bytes of noise");
        }
    }
}

#[test]
fn a_target_is_named_in_all_its_places() {
    let names: Vec<&str> = p2psp_fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
    assert!(names.is_sorted(), "TARGETS is in order of the alphabet");
    let names: BTreeSet<String> = names.into_iter().map(str::to_owned).collect();
    let folders: BTreeSet<String> = list(&fuzz_folder().join("corpus"))
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(folders, names, "folders of fuzz/corpus, and TARGETS");
    let manifest = fs::read_to_string(fuzz_folder().join("libfuzzer/Cargo.toml")).unwrap();
    let binaries: BTreeSet<String> = manifest
        .lines()
        .filter_map(|line| line.split_once("{ name = \"")?.1.split_once('"'))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(binaries, names, "binaries of fuzz/libfuzzer/Cargo.toml, and TARGETS");
}

#[test]
fn a_target_is_run_by_its_name() {
    assert!(catch_unwind(|| p2psp_fuzz::run("datagram", b"")).is_ok());
    assert!(catch_unwind(|| p2psp_fuzz::run("no such target", b"")).is_err());
}
