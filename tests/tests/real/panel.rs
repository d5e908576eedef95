//! The live panel of a peer's page in Chromium: what a viewer reads there is what the peer says at `/stats`, while packets are lost, and
//! what nobody knows is called unknown.

use crate::tools::{artefact, tool};
use p2psp_tests::{
    network::Network,
    process::Process,
    team::{Peer, Splitter, Team},
};
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const LOST_PER_MILLE: u32 = 30;
const NONE: [&str; 0] = [];

/// A browser that watches the panel of a peer for so long.
fn watch(peer: &Peer, seconds: u32, screenshot: &str) -> Process {
    tool("chromium");
    let mut node = tool("node");
    node.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/browser/panel.mjs"));
    node.arg(format!("http://{}/", peer.player)).arg(seconds.to_string()).arg(artefact(screenshot));
    Process::start("browser", &mut node)
}

/// What it has seen, once it has ended.
fn seen(mut browser: Process) -> Value {
    browser.exits_with(0, PATIENCE);
    browser.wait_stats("account of the panel", PATIENCE, |seen| seen["readings"].is_array())
}

fn readings(seen: &Value) -> &[Value] {
    seen["readings"].as_array().unwrap()
}

/// The readings that follow each other with different sentences.
fn standings(seen: &Value) -> Vec<&str> {
    let mut said: Vec<&str> =
        readings(seen).iter().map(|reading| reading["standing"].as_str().unwrap()).collect();
    said.dedup();
    said
}

/// What a counter gained between the two moments that a reading is about.
fn gain(seen: &Value, reading: &Value, key: &str) -> f64 {
    let at = |moment: &str| {
        let stats = &seen["stats"][reading[moment].as_u64().unwrap().to_string()];
        stats[key].as_f64().unwrap_or_else(|| panic!("no {key} at {moment} of {reading}"))
    };
    at("uptimeMs") - at("fromMs")
}

/// The number of a figure such as `1.3 %`.
fn number(reading: &Value, figure: &str) -> f64 {
    let text = reading["figures"][figure].as_str().unwrap();
    text.split([' ', '\u{a0}']).next().unwrap().parse().unwrap_or_else(|_| panic!("{figure}: {text}"))
}

#[test]
fn the_panel_shows_what_the_peer_says() {
    Network::run(|network| {
        network.lose(LOST_PER_MILLE);
        let team = Team::start(4, &["--input", "testcard"]);
        team.wait_complete();
        let seen = seen(watch(&team.peers[1], 14, "panel.png"));
        assert_eq!((&seen["errors"], &seen["external"]), (&serde_json::json!([]), &serde_json::json!([])));
        assert_eq!(seen["narrow"], 0, "it fits a telephone");
        assert_eq!(seen["live"], serde_json::json!(["badge", "standing"]), "figures are not read aloud");

        let mut moments = std::collections::BTreeSet::new();
        let mut missed = 0.0_f64;
        // A moment that `/stats` was not asked in by chance says nothing.
        let known = |reading: &Value, moment: &str| {
            seen["stats"].get(reading[moment].as_u64().unwrap_or_default().to_string()).is_some()
        };
        for reading in readings(&seen).iter().filter(|reading| known(reading, "fromMs")) {
            if !known(reading, "uptimeMs") || reading["uptimeMs"] == reading["fromMs"] {
                continue;
            }
            let stats = &seen["stats"][reading["uptimeMs"].as_u64().unwrap().to_string()];
            moments.insert(reading["uptimeMs"].as_u64().unwrap());
            assert_eq!(reading["figures"]["team"], format!("{} peers", stats["team_peers"]));
            let [received, splitter, due, missing, lost, played] = [
                "received_bytes_total",
                "splitter_bytes_total",
                "due_chunks_total",
                "missing_chunks_total",
                "lost_chunks_total",
                "played_chunks_total",
            ]
            .map(|key| gain(&seen, reading, key));
            let share = (received - splitter) / received;
            assert!((reading["share"].as_f64().unwrap() - share).abs() < 1e-9, "{share}: {reading:#}");
            assert!((0.5..0.95).contains(&share), "three of four turns go to others: {share}");
            assert!((number(reading, "share") - 100.0 * share).abs() <= 0.051, "{share}: {reading:#}");
            if due > 0.0 {
                let before = 100.0 * missing / due;
                assert!((number(reading, "loss-before") - before).abs() <= 0.051, "{before}: {reading:#}");
                missed = missed.max(before);
            } else {
                assert_eq!(reading["figures"]["loss-before"], "unknown");
            }
            let after = 100.0 * lost / (lost + played);
            assert!((number(reading, "loss-after") - after).abs() <= 0.051, "{after}: {reading:#}");
            let buffer_ms = stats["buffer_ms"].as_f64().unwrap();
            assert!(
                (number(reading, "buffer") - buffer_ms).abs() < 1.0 || buffer_ms >= 1000.0,
                "{reading:#}"
            );
            let rate = 8.0 * received / gain(&seen, reading, "uptime_ms") / 1000.0;
            assert!((number(reading, "receiving") - rate).abs() <= 0.051, "{rate}: {reading:#}");
            let delay = number(reading, "delay");
            assert!((0.0..1000.0).contains(&delay), "{delay}");
        }
        assert!(moments.len() >= 6, "the figures move: {moments:?}");
        assert!(
            (0.5..10.0).contains(&missed),
            "{LOST_PER_MILLE} in 1000 are lost on each link, {missed} % missed"
        );
        let said = standings(&seen);
        assert_eq!(said.last(), Some(&"In a team of 4 peers, linked to all 3 others."), "{said:?}");
    });
}

/// A peer that is alone, then without a team, then gone: each is said in words, and no figure is made up.
#[test]
fn no_team_is_told_as_such() {
    let mut splitter = Splitter::start(&["--input", "testcard"]);
    let mut peer = Peer::start("peer", &splitter.link, &NONE);
    peer.wait_played(20_000, PATIENCE);
    let browser = watch(&peer, 16, "panel-alone.png");
    let opened = peer.wait_stats("an open page", |stats| stats["playout"]["feeds"] == 1);
    let later = |since: &Value, ms: u64| since["uptime_ms"].as_u64().unwrap() + ms;
    let then = later(&opened, 3_000);
    peer.wait_stats("three seconds more", |stats| stats["uptime_ms"].as_u64() >= Some(then));
    splitter.process.kill();
    let lost = peer.wait_stats("no team", |stats| stats["state"] == "joining");
    let then = later(&lost, 2_000);
    peer.wait_stats("two seconds more", |stats| stats["uptime_ms"].as_u64() >= Some(then));
    peer.process.kill();

    let seen = seen(browser);
    let said = standings(&seen).join("\n");
    let [alone, none, old] =
        ["Alone in the team: ", "No seat in a team: cannot reach the splitter", "The figures below are old."]
            .map(|words| said.find(words).unwrap_or(usize::MAX));
    assert!(alone < none && none < old && old < said.len(), "{said}");
    let figures = |words: &str| {
        let fits = |reading: &&Value| reading["standing"].as_str().unwrap().contains(words);
        readings(&seen).iter().rfind(fits).unwrap_or_else(|| panic!("{words}: {said}"))
    };
    let alone = figures("Alone");
    assert_eq!(
        (&alone["figures"]["team"], &alone["figures"]["share"]),
        (&"1 peer".into(), &"0.0\u{a0}%".into())
    );
    assert_eq!(figures("No seat")["figures"]["team"], "none");
    assert_eq!(figures("old")["old"], true);
}
