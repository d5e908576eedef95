//! `p2psp demo`: the first thing that anyone runs.

use p2psp_tests::{cli, http, process::Process, procfs};
use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// The processes that have `text` in their command line.
fn processes_with(text: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    entries
        .filter(|id| {
            let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(text) && procfs::is_alive(*id)
        })
        .collect()
}

/// What the demo prints behind `name`.
fn printed(demo: &Process, name: &str) -> String {
    demo.wait(name, PATIENCE, |said| {
        let line = said.out.iter().find(|line| line.starts_with(name))?;
        line.strip_prefix(name)?.split_whitespace().next().map(str::to_owned)
    })
}

#[test]
fn a_check_that_passes() {
    // Building it is not what is timed here.
    cli::binary();
    let started = Instant::now();
    let mut demo =
        cli::start("demo", &["demo", "--peers", "3", "--for", "8s", "--check", "--player-port", "0"]);
    let url = printed(&demo, "watch");
    let link = printed(&demo, "channel link");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "the player page was told after {:?}",
        started.elapsed()
    );
    let player: SocketAddr = url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    assert_eq!(http::get(player, "/").unwrap().status, 200);
    assert_eq!(processes_with(&link).len(), 3, "three peers");
    demo.exits_with(0, PATIENCE);
    let out = demo.out();
    assert!(out.contains("every peer played the same bytes, and none was lost"), "{out}");
    assert_eq!(processes_with(&link), [0_u32; 0], "no child outlives the demo");
}

/// A check that had nothing to compare proves nothing, and says so.
#[test]
fn a_check_that_fails() {
    let mut demo =
        cli::start("demo", &["demo", "--peers", "2", "--for", "1ms", "--check", "--player-port", "0"]);
    demo.exits_with(4, PATIENCE);
    assert!(demo.log().contains("the check failed"), "{}\n{}", demo.out(), demo.log());
}

/// However the demo ends, its children end with it.
#[test]
fn children_end_with_a_demo_that_is_killed() {
    let mut demo = cli::start("demo", &["demo", "--peers", "2", "--player-port", "0"]);
    let link = printed(&demo, "channel link");
    let children = processes_with(&link);
    assert_eq!(children.len(), 2, "two peers");
    demo.kill();
    let deadline = Instant::now() + PATIENCE;
    while children.iter().any(|id| procfs::is_alive(*id)) {
        assert!(Instant::now() < deadline, "some of {children:?} are alive");
        std::thread::yield_now();
    }
}

#[test]
fn a_source_that_is_not_there() {
    let mut demo =
        cli::start("demo", &["demo", "--peers", "1", "--input", "/nowhere.ts", "--player-port", "0"]);
    demo.exits_with(1, PATIENCE);
    assert!(
        demo.log().contains("/nowhere.ts") || demo.out().contains("/nowhere.ts"),
        "{}\n{}",
        demo.out(),
        demo.log()
    );
}
