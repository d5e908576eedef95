//! Steering a team that is on the air, with `p2psp ctl`: a member's share of turns, the team's limits, and a look into a peer's buffer.

use crate::doors::TempFile;
use nix::sys::signal::Signal;
use p2psp_tests::{
    cli,
    process::Process,
    team::{Peer, Splitter, Team},
};
use serde_json::Value;
use std::{fs, process::Output, time::Duration};

const PATIENCE: Duration = Duration::from_secs(30);
const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

fn ctl(process: &Process, arguments: &[&str]) -> Output {
    let ready = process.ready();
    let admin = ready["admin"][0].as_str().expect("an admin address");
    cli::command(&[&["ctl", "--admin", admin], arguments].concat()).output().unwrap()
}

/// What a command that succeeds tells programs.
#[track_caller]
fn told(process: &Process, arguments: &[&str]) -> Value {
    let output = ctl(process, &[arguments, &["-o", "json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn refused(process: &Process, arguments: &[&str], code: i32, says: &str) {
    let output = ctl(process, arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    assert!(error.contains(says), "{arguments:?}: {error}");
}

fn team(peers: usize) -> Team {
    let splitter = Splitter::start(&["--input", "testcard", "--rate", "1M", ADMIN[0], ADMIN[1]]);
    let peers = (1..=peers).map(|n| Peer::start(&format!("peer {n}"), &splitter.link, &ADMIN)).collect();
    let team = Team { peers, splitter };
    team.wait_complete();
    team.peers.iter().for_each(|peer| peer.wait_played(50_000, PATIENCE));
    team
}

fn count(stats: &Value, key: &str) -> u64 {
    stats[key].as_u64().unwrap_or_else(|| panic!("no {key} in {stats}"))
}

/// Lets the first peer play so many bytes more: what was on its way before has come then.
fn go_on(team: &Team, bytes: u64) {
    let played = count(&team.peers[0].stats(), "played_bytes_total");
    team.peers[0].wait_played(played + bytes, PATIENCE);
}

/// How many chunks each peer got from the splitter in turns, over the next 400 kB of the stream.
fn turns(team: &Team) -> Vec<u64> {
    let given = || -> Vec<u64> {
        team.peers.iter().map(|peer| count(&peer.stats(), "splitter_chunks_total")).collect()
    };
    let before = given();
    go_on(team, 400_000);
    given().iter().zip(before).map(|(after, before)| after - before).collect()
}

/// Whether the third peer has more than a sixth: its figures are of a moment up to a second before those of the others.
fn is_much(turns: &[u64]) -> bool {
    turns[2] * 6 > turns.iter().sum()
}

/// A limited member gets its part of the turns and no more, then none, then as many as the others again; it plays all the while.
#[test]
fn a_member_carries_what_the_operator_says() {
    let team = team(3);
    let splitter = &team.splitter.process;
    let id = team.peers[2].process.ready()["peer"].as_str().unwrap().to_owned();
    let admin = splitter.ready()["admin"][0].as_str().unwrap().to_owned();
    let watch = cli::start("watcher", &["ctl", "--admin", &admin, "get", "peers", "-w", "-o", "json"]);
    watch.wait_stats("snapshot", PATIENCE, |line| line["event"] == "snapshot");
    let even = turns(&team);
    assert!(is_much(&even), "about a third: {even:?}");

    let limited = told(splitter, &["weight-limit", &id[..10], "32"]);
    assert_eq!(
        (&limited["peer"], &limited["limit"], &limited["previous"]),
        (&id.clone().into(), &32.into(), &Value::Null)
    );
    watch.wait_stats("a limit", PATIENCE, |line| {
        line["peer"]["peer"] == *id && line["peer"]["weight_limit"] == 32 && line["peer"]["weight"] == 32
    });
    go_on(&team, 150_000);
    let few = turns(&team);
    assert!(few[2] > 0 && !is_much(&few), "one of seventeen: {few:?}");

    assert_eq!(told(splitter, &["weight-limit", &id, "0"])["previous"], 32);
    assert_eq!(told(splitter, &["describe", &id])["peer"]["state"], "eco");
    go_on(&team, 400_000);
    let played = count(&team.peers[2].stats(), "played_bytes_total");
    let none = turns(&team);
    assert!(none[2] == 0 && none[0] > 0 && none[1] > 0, "{none:?}");
    team.peers[2].wait_played(played + 200_000, PATIENCE);

    let wide = String::from_utf8(ctl(splitter, &["get", "peers", "-o", "wide"]).stdout).unwrap();
    assert!(wide.lines().next().is_some_and(|heads| heads.contains("WEIGHT  LIMIT")), "{wide}");
    assert_eq!(told(splitter, &["weight-limit", &id, "none"])["previous"], 0);
    go_on(&team, 150_000);
    let again = turns(&team);
    assert!(is_much(&again), "{even:?}, {few:?}, {none:?}, {again:?}");
    eprintln!("turns: {even:?}, limited {few:?}, with none {none:?}, again {again:?}");

    refused(splitter, &["weight-limit", &id, "257"], 2, "limit: is at most 256");
    let stranger = ctl(splitter, &["weight-limit", &"a".repeat(52), "1"]);
    assert!(!stranger.status.success());
    assert!(String::from_utf8_lossy(&stranger.stderr).contains("no seat in this team"));
    refused(splitter, &["weight-limit", &id, "much"], 2, "LIMIT");
    refused(&team.peers[0].process, &["weight-limit", &id, "1"], 1, "splitter or a peer");
    let audit = splitter.wait_log("SetPeerWeightLimit", PATIENCE);
    assert!(audit.contains(&format!("{id} limit=32")), "{audit}");
}

/// A team made smaller keeps its members and takes no more; made larger again it does. An uplink made smaller drops what does not fit.
#[test]
fn limits_change_while_the_team_runs() {
    let team = team(3);
    let splitter = &team.splitter.process;
    let before = told(splitter, &["limits"])["limits"].clone();
    let of = |limits: &Value, key: &str| count(limits, key);
    assert_eq!(of(&before, "team_size_max"), 128);
    assert_eq!(told(splitter, &["get", "limits"])["limits"], before);

    let now =
        told(splitter, &["limits", "--team-size", "2", "--own-copies", "0", "--ban", "1m"])["limits"].clone();
    let seen = ["team_size_max", "own_copies_max", "uplink_bits_per_s", "ban_ms"].map(|key| of(&now, key));
    assert_eq!(seen, [2, 0, 100_000_000, 60_000]);
    let shown = &told(splitter, &["get", "team"])["team"];
    assert_eq!(
        seen,
        ["team_size_max", "own_copies_max", "uplink_bits_per_s", "ban_ms"].map(|key| of(shown, key))
    );
    let late = Peer::start("late peer", &team.splitter.link, &ADMIN);
    splitter.wait_stats("a refusal", PATIENCE, |stats| count(stats, "refusals_total") > 0);
    late.process.wait_log("the team is full", PATIENCE);
    let full = splitter.wait_stats("figures", PATIENCE, |_| true);
    assert_eq!((count(&full, "team_peers"), count(&full, "expulsions_total")), (3, 0), "nobody lost a seat");
    assert_eq!(count(&full, "refused_team_full_total"), count(&full, "refusals_total"));
    told(splitter, &["limits", "--team-size", "4"]);
    late.wait_played(1, PATIENCE);

    refused(
        splitter,
        &["limits", "--team-size", "512", "--own-copies", "512"],
        2,
        "team_size_max: is 1 to 511, not 512; own_copies_max",
    );
    refused(splitter, &["limits", "--uplink", "0"], 2, "--uplink");
    assert_eq!(of(&told(splitter, &["limits"])["limits"], "team_size_max"), 4, "nothing of it was done");
    let table = String::from_utf8(ctl(splitter, &["limits", "--uplink", "300k"]).stdout).unwrap();
    assert!(table.lines().any(|line| line.split_whitespace().eq(["uplink_bits_per_s", "300000"])), "{table}");
    splitter
        .wait_stats("chunks that did not fit", PATIENCE, |stats| count(stats, "overflowed_chunks_total") > 0);
}

/// A settings file that is read again changes the team's limits where it says something new, and leaves what operators set where it
/// does not; the roster, `get config` and the log agree.
#[test]
fn a_settings_file_changes_limits() {
    let settings = TempFile::new("limits.toml", b"[splitter]\nteam_size = 1\nown_copies = 2\n");
    let listen = ["--input", "testcard", "--rate", "1M", ADMIN[0], ADMIN[1], "--config", settings.path()];
    let splitter = Splitter::start(&listen);
    let first = Peer::start("first", &splitter.link, &ADMIN);
    first.wait_played(1, PATIENCE);
    let late = Peer::start("late", &splitter.link, &ADMIN);
    late.process.wait_log("the team is full", PATIENCE);
    let process = &splitter.process;
    told(process, &["limits", "--ban", "1m", "--uplink", "50M"]);

    fs::write(&settings.0, "[splitter]\nteam_size = 5\nuplink = \"9M\"\n").unwrap();
    process.signal(Signal::SIGHUP);
    let line = process.wait_log("and these are in force", PATIENCE);
    for part in ["team_size: 1 -> 5", "own_copies: 2 -> its default", "uplink: \\\"50M\\\" -> \\\"9M\\\""] {
        assert!(line.contains(&format!("splitter.{part}")), "{part} is not in {line}");
    }
    late.wait_played(1, PATIENCE);
    let limits = told(process, &["limits"])["limits"].clone();
    let seen = ["team_size_max", "uplink_bits_per_s", "ban_ms"].map(|key| count(&limits, key));
    assert_eq!(seen, [5, 9_000_000, 60_000]);
    let default = told(&Splitter::start(&["--input", "testcard", ADMIN[0], ADMIN[1]]).process, &["limits"]);
    assert_eq!(limits["own_copies_max"], default["limits"]["own_copies_max"]);
    let config = String::from_utf8(ctl(process, &["get", "config"]).stdout).unwrap();
    assert!(config.contains("team_size = 5\n"), "{config}");

    // What is wrong leaves them all.
    fs::write(&settings.0, "[splitter]\nteam_size = 6\nuplink = \"9M\"\nban = \"soon\"\n").unwrap();
    process.signal(Signal::SIGHUP);
    process.wait_log("the settings stay as they are", PATIENCE);
    assert_eq!(told(process, &["limits"])["limits"], limits);
}

/// What a peer tells of its buffer is what it plays from.
#[test]
fn a_buffer_is_looked_into() {
    let team = team(2);
    let peer = &team.peers[0].process;
    let look = || told(peer, &["get", "buffer"])["buffer"].clone();
    let map = look();
    let [first, play, end] = ["first_number", "play_number", "end_number"].map(|key| count(&map, key));
    assert!(first < play && play < end, "{first} {play} {end}");
    let runs = map["runs"].as_array().unwrap();
    let chunks = |state: &str| -> u64 {
        runs.iter().filter(|run| run["state"] == state).map(|run| count(run, "chunks")).sum()
    };
    let states = ["held", "unproved", "asked", "missing", "lost"].map(chunks);
    assert_eq!(states.iter().sum::<u64>(), end - first, "{map:#}");
    assert!(states[0] > play - first, "what was played, and more: {states:?}");
    go_on(&team, 50_000);
    let later = look();
    assert!(count(&later, "play_number") > play && count(&later, "end_number") > end, "{later:#}");

    let lines = String::from_utf8(ctl(peer, &["get", "buffer"]).stdout).unwrap();
    assert!(lines.lines().all(|line| line.chars().count() <= 80), "{lines}");
    assert!(lines.starts_with("plays ") && lines.contains("#|#") && lines.contains("ahead:  "), "{lines}");
    let yaml = String::from_utf8(ctl(peer, &["get", "buffer", "-o", "yaml"]).stdout).unwrap();
    assert!(yaml.starts_with("buffer:\n") && yaml.contains("state: held"), "{yaml}");
    refused(&team.splitter.process, &["get", "buffer"], 1, "splitter or a peer");
}
