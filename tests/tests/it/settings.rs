//! Settings from a file, the environment and flags; names that are not known; exit codes of a wrong command line.

use crate::doors::TempFile;
use p2psp_tests::{cli, process::Process};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs with further variables to the end.
fn run(variables: &[(&str, &str)], arguments: &[&str]) -> (i32, String, String) {
    let mut process = Process::start("p2psp", cli::command(arguments).envs(variables.iter().copied()));
    let code = process.ended(PATIENCE).code().expect("an exit code");
    (code, process.out(), process.log())
}

/// The later wins: file, then variable, then flag; what nobody sets has its default.
#[test]
fn the_later_place_wins() {
    let file = TempFile::new(
        "precedence.toml",
        b"[splitter]\nlisten = \"127.0.0.1:1001\"\nuplink = \"11M\"\nteam_size = 11\non_end = \"wait\"\n\
          parity = 6\n",
    );
    let variables = [("P2PSP_SPLITTER_UPLINK", "22M"), ("P2PSP_SPLITTER_TEAM_SIZE", "22")];
    let arguments = ["config", "print", "splitter", "--config", file.path(), "--team-size", "33"];
    let (code, out, log) = run(&variables, &arguments);
    assert_eq!(code, 0, "{log}");
    for line in [
        "listen = \"127.0.0.1:1001\"",
        "uplink = \"22M\"",
        "team_size = 33",
        "on_end = \"wait\"",
        "wait_peers = 0",
        "integrity = \"manifest\"",
        "parity = 6",
    ] {
        assert!(out.lines().any(|shown| shown == line), "{line} is not in:\n{out}");
    }
    // What is printed is a settings file that means the same.
    let printed = TempFile::new("printed.toml", out.as_bytes());
    assert_eq!(run(&[], &["config", "check", "--config", printed.path()]).0, 0);
    assert_eq!(run(&[], &["config", "print", "splitter", "--config", printed.path()]).1, out);
}

/// A name that is not known is an error that suggests the right one, in whichever place.
#[test]
fn unknown_names_are_errors_with_a_suggestion() {
    let file = TempFile::new("unknown.toml", b"[peer]\n\nuplnk = \"5M\"\n");
    let misplaced = TempFile::new("misplaced.toml", b"[splitter]\nplayer = \"127.0.0.1:1\"\n");
    let wrong = TempFile::new("wrong.toml", b"[peer]\nuplink = \"much\"\n");
    let broken = TempFile::new("broken.toml", b"[peer\n");
    for (variables, arguments, says) in [
        (
            &[][..],
            &["config", "check", "--config", file.path()][..],
            &["line 3", "unknown key `uplnk` in [peer]", "did you mean `uplink`?"][..],
        ),
        (&[], &["peer", "--config", file.path()], &["unknown key `uplnk`", "did you mean `uplink`?"]),
        (
            &[],
            &["config", "check", "--config", misplaced.path()],
            &["unknown key `player`", "it belongs in [peer]"],
        ),
        (&[], &["config", "check", "--config", wrong.path()], &["4M, 2500k"]),
        (&[], &["config", "check", "--config", broken.path()], &["line 1", "unclosed table"]),
        (
            &[],
            &["config", "check", "--config", "/nowhere.toml"],
            &["cannot read the settings file /nowhere.toml", "check the path"],
        ),
        (
            &[("P2PSP_PEER_UPLNK", "5M")],
            &["config", "check"],
            &["unknown variable P2PSP_PEER_UPLNK", "did you mean `P2PSP_PEER_UPLINK`?"],
        ),
        (&[("P2PSP_PEER_UPLINK", "much")], &["config", "print", "peer"], &["4M, 2500k"]),
        (&[], &["peer", "--uplnk", "5M"], &["--uplnk", "--uplink"]),
        (&[], &["splitter", "--input", "srt://somewhere:1"], &["input", "srt://"]),
        (&[], &["splitter", "--input", "udp://nowhere"], &["input", "127.0.0.1:8001"]),
        (&[], &["splitter", "--team-size", "512"], &["team_size", "1 to 511"]),
        (&[], &["splitter", "--parity", "17"], &["parity", "0 to 16"]),
        (&[], &["splitter", "--integrity", "some"], &["--integrity", "manifest, signature, none"]),
        (
            &[("P2PSP_SPLITTER_INTEGRTY", "none")],
            &["config", "check"],
            &["did you mean `P2PSP_SPLITTER_INTEGRITY`?"],
        ),
        (&[], &["splitter", "--password", "x", "--input", "testcard"], &["only push:"]),
        (&[], &["relay"], &["relay"]),
        (&[], &["demo", "--peers", "0"], &["--peers"]),
    ] {
        let (code, out, log) = run(variables, arguments);
        assert_eq!(code, 2, "{arguments:?}: {out}\n{log}");
        for part in says {
            assert!(log.contains(part), "{arguments:?}: {part:?} is not in:\n{log}");
        }
    }
}

/// `config check` judges as the commands would, and says in which line: values, what does not fit together, what variables add, and a peer
/// that gets its link elsewhere.
#[test]
fn files_are_checked_as_commands_would() {
    for (text, variables, says) in [
        ("[splitter]\nteam_size = 512\n", &[][..], &["line 2", "splitter.team_size", "1 to 511"][..]),
        ("[splitter]\n\nuplink = true\n", &[], &["line 3", "splitter.uplink", "a bit rate"]),
        ("[splitter]\nloop = true\n", &[], &["line 2", "splitter.loop", "only files can"]),
        ("[splitter]\nadmin = [\"0.0.0.0:4490\"]\n", &[], &["line 2", "splitter.admin", "--admin-tokens"]),
        ("[peer]\nadmin = []\nadmin_cert = \"c\"\n", &[], &["peer.admin", "give both"]),
        ("[peer]\ndelay = \"1ms\"\n", &[], &["line 2", "peer.delay", "between 20ms and 30s"]),
        ("[peer]\nlisten = \"everywhere\"\n", &[], &["line 2", "peer.listen", "write 127.0.0.1:4480"]),
        ("log = \"xml\"\n", &[], &["line 1", "log: ", "`text`", "`json`"]),
        ("log_level = \"loud\"\n", &[], &["line 1", "log_level", "none of off, error"]),
        ("", &[("P2PSP_SPLITTER_TEAM_SIZE", "512")], &["team_size", "1 to 511"]),
        ("", &[("P2PSP_PEER_DELAY", "soon")], &["--delay", "a duration is"]),
    ] {
        let file = TempFile::new("checked.toml", text.as_bytes());
        let (code, out, log) = run(variables, &["config", "check", "--config", file.path()]);
        assert_eq!(code, 2, "{text}: {out}\n{log}");
        assert!(out.is_empty() && says.iter().all(|part| log.contains(part)), "{text}: {log}");
    }
    // A variable mends what the file has wrong, as it does for the command.
    let file = TempFile::new("mended.toml", b"[splitter]\nteam_size = 512\n[peer]\nuplink = \"5M\"\n");
    let (code, out, log) =
        run(&[("P2PSP_SPLITTER_TEAM_SIZE", "5")], &["config", "check", "--config", file.path()]);
    assert_eq!(code, 0, "{log}");
    assert!(out.contains("is right") && out.contains("a peer needs a link beside it"), "{out}");
}

/// A file of a mebibyte is read; of one that is larger no more than that is, whatever it is.
#[test]
fn files_have_a_largest_size() {
    let mut text = vec![b'#'; 1 << 20];
    let file = TempFile::new("large.toml", &text);
    assert_eq!(run(&[], &["config", "check", "--config", file.path()]).0, 0);
    // Cut off within a character.
    text.extend("é".as_bytes());
    let larger = TempFile::new("larger.toml", &text);
    for path in [larger.path(), "/dev/zero"] {
        let (code, _, log) = run(&[], &["config", "check", "--config", path]);
        assert!(code == 2 && log.contains("larger than 1048576 bytes"), "{log}");
    }
}

/// What a file may say is told whatever the settings are.
#[test]
fn the_schema_is_printed() {
    let mut command = cli::command(&["config", "schema"]);
    let done = command.envs([("P2PSP_CONFIG", "/nowhere.toml"), ("P2PSP_NONSENSE", "1")]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let schema: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["properties"]["splitter"]["properties"]["team_size"]["maximum"], 511);
}

/// Secrets are set, not shown.
#[test]
fn passwords_are_not_shown() {
    let variables = [("P2PSP_SPLITTER_PASSWORD", "hunter2")];
    let (code, out, log) = run(&variables, &["config", "print", "splitter", "--input", "push:127.0.0.1:0"]);
    assert_eq!(code, 0, "{log}");
    assert!(out.contains("password = \"(set)\""), "{out}");
    let (_, help, _) = run(&variables, &["splitter", "--help"]);
    let address = ["config", "print", "splitter", "--input", "push:me:hunter2@127.0.0.1:0/live"];
    let (code, within, _) = run(&[], &address);
    assert!(code == 0 && within.contains("input = \"push:127.0.0.1:0/live\""), "{within}");
    for text in [&out, &log, &help, &within] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn help_and_version() {
    let (code, out, _) = run(&[], &["--help"]);
    assert_eq!(code, 0);
    for part in ["splitter", "peer", "demo", "Exit codes", "130, 143"] {
        assert!(out.contains(part), "{part:?} is not in:\n{out}");
    }
    assert_eq!(run(&[], &["--version"]).0, 0);
}

/// Logs as JSON are objects, one a line.
#[test]
fn logs_as_json() {
    let (code, _, log) =
        run(&[], &["splitter", "--input", "/nowhere.ts", "--listen", "127.0.0.1:0", "--log", "json"]);
    assert_eq!(code, 1);
    assert!(!log.is_empty());
    for line in log.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
}
