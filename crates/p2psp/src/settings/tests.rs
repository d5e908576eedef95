//! Precedence, unknown names, and that help, file, environment and code speak of the same settings.

use super::{Defaults, SettingsError, environment, file, merge, peer, resolve};
use crate::cli::{Cli, Command, OnEnd, PeerArgs, SplitterArgs};
use clap::{CommandFactory, Parser};
use p2psp_net::Identity;
use std::{collections::BTreeSet, path::Path};

fn file(text: &str) -> Result<file::FileSettings, SettingsError> {
    file::parse(&Cli::command(), Path::new("p2psp.toml"), text).map(|(file, _)| file)
}

fn flags(words: &[&str]) -> SplitterArgs {
    let cli = Cli::parse_from(["p2psp", "splitter"].iter().chain(words));
    let Command::Splitter { settings, .. } = cli.command else { panic!("a splitter was asked for") };
    *settings
}

fn unknown_variable(name: &str) -> Option<String> {
    let set = [(name.to_owned(), "1".to_owned()), ("PATH".to_owned(), "/bin".to_owned())];
    environment::check(&Cli::command(), set).err().map(|error| error.to_string())
}

/// A flag hides the file's value, the file's value hides the default, and each setting stands alone.
#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let file = file("[splitter]\ninput = \"-\"\nteam_size = 7\nrate = \"2M\"\n").unwrap().splitter;
    let merged = merge(&flags(&["--team-size", "9", "--on-end=wait"]), &file);
    assert_eq!(merged.team_size, Some(9), "the flag");
    assert_eq!(merged.rate, Some("2M".parse().unwrap()), "the file");
    assert_eq!(merged.on_end, Some(OnEnd::Wait));
    let all = merge(&merged, &Defaults::splitter());
    assert_eq!(all.wait_peers, Some(0), "the default");
    let config = resolve::splitter(&merged, Identity::generate()).unwrap();
    assert_eq!((config.team_size_max, config.listen), (9, "0.0.0.0:4480".parse().unwrap()));
}

/// Monitors are named by their keys, in the file as a list.
#[test]
fn monitors_are_keys() {
    let key = p2psp_wire::PeerId::new([7; 32]);
    let text = format!("[splitter]\nmonitor = [\"{key}\"]\nban = \"2m\"\n");
    let config = resolve::splitter(&file(&text).unwrap().splitter, Identity::generate()).unwrap();
    assert_eq!(config.fairness.monitors.into_iter().collect::<Vec<_>>(), [key]);
    assert_eq!(config.fairness.ban, std::time::Duration::from_secs(120));
}

/// Switches can be turned off again where the file turned them on.
#[test]
fn switches_go_both_ways() {
    let file = file("[splitter]\nloop = true\ninput = \"film.ts\"\n").unwrap().splitter;
    assert_eq!(merge(&flags(&[]), &file).r#loop, Some(true));
    assert_eq!(merge(&flags(&["--loop=false"]), &file).r#loop, Some(false));
    assert_eq!(merge(&flags(&["--loop"]), &SplitterArgs::default()).r#loop, Some(true));
}

/// Variables are read by the parser of flags, which prefers flags: each setting has one, named after table and key.
#[test]
fn variables_are_named_after_table_and_key() {
    let command = Cli::command();
    let names: BTreeSet<String> = environment::names(&command).into_iter().collect();
    for table in ["splitter", "peer"] {
        let keys = file::keys(&command, table);
        assert!(keys.len() > 10);
        for key in keys {
            let name = format!("P2PSP_{table}_{key}").to_ascii_uppercase();
            assert!(names.contains(&name), "{name}");
        }
    }
}

/// The struct, the flags and the file have the same keys: a file with all of them is read back whole.
#[test]
fn every_key_of_the_file_is_a_setting() {
    let command = Cli::command();
    for (table, defaults) in [
        ("splitter", toml::Table::try_from(Defaults::splitter()).unwrap()),
        ("peer", toml::Table::try_from(Defaults::peer()).unwrap()),
    ] {
        let known: BTreeSet<&str> = file::keys(&command, table).into_iter().collect();
        assert!(defaults.keys().all(|key| known.contains(key.as_str())), "{table}");
        for key in known {
            // A value of no setting's kind: what is refused is the value, never the key.
            let error = file(&format!("[{table}]\n{key} = {{ a = 1 }}\n")).unwrap_err().to_string();
            assert!(!error.contains("unknown key") && !error.contains("unknown field"), "{error}");
        }
    }
}

#[test]
fn unknown_keys_are_told_by_line_and_likeness() {
    for (text, says) in [
        (
            "log = \"text\"\n\n[splitter]\nlisen = \"0.0.0.0:1\"\n",
            "line 4: unknown key `lisen` in [splitter]; did you mean `listen`?",
        ),
        ("[splitter]\nteam-size = 3\n", "did you mean `team_size`?"),
        ("[splitter]\nintegrty = \"none\"\n", "did you mean `integrity`?"),
        ("[splitter]\nallow_unsigned = true\n", "it belongs in [peer]"),
        ("[peer]\nteam_size = 3\n", "unknown key `team_size` in [peer]; it belongs in [splitter]"),
        ("[peer]\nlog = \"json\"\n", "before the first table"),
        ("rate = \"4M\"\n", "unknown key `rate` before the first table; it belongs in [splitter]"),
        ("[spliter]\n", "unknown key `spliter` before the first table; did you mean `splitter`?"),
        ("[peer]\nxyzzy = 1\n", "known are link, player"),
    ] {
        let error = file(text).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn wrong_values_are_told_by_place() {
    for (text, says) in [
        ("[splitter]\nrate = \"fast\"\n", "a bit rate is a number"),
        ("[splitter]\nintegrity = \"some\"\n", "expected one of `manifest`, `signature`, `none`"),
        ("[peer]\ndelay = 500\n", "a duration is a number"),
        ("[peer]\nlisten = \"somewhere\"\n", "write 127.0.0.1:4480"),
        ("splitter = 3\n", "invalid type"),
        ("[splitter\n", "line 1"),
    ] {
        let error = file(text).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("p2psp.toml"), "{error}");
    }
}

#[test]
fn unknown_variables_are_told_by_likeness() {
    assert_eq!(unknown_variable("P2PSP_SPLITTER_RATE"), None);
    assert_eq!(unknown_variable("P2PSPOTTER"), None);
    let error = unknown_variable("P2PSP_SPLITTER_TEAMSIZE").unwrap();
    assert!(error.contains("did you mean `P2PSP_SPLITTER_TEAM_SIZE`?"), "{error}");
    assert!(unknown_variable("P2PSP_RATE").is_some());
}

/// Kubernetes puts variables of this kind into each container near a service that is called p2psp.
#[test]
fn variables_of_kubernetes_are_no_settings() {
    let command = Cli::command();
    for (name, value, allowed) in [
        ("P2PSP_SERVICE_HOST", "10.0.0.1", true),
        ("P2PSP_SPLITTER_SERVICE_PORT", "4480", true),
        ("P2PSP_SPLITTER_SERVICE_PORT_QUIC", "4480", true),
        ("P2PSP_PORT", "udp://10.0.0.1:4480", true),
        ("P2PSP_PORT_4480_UDP", "udp://10.0.0.1:4480", true),
        ("P2PSP_PORT_4480_UDP_ADDR", "10.0.0.1", true),
        ("P2PSP_PORT", "4480", false),
        ("P2PSP_PORTS", "udp://", false),
    ] {
        let check = environment::check(&command, [(name.to_owned(), value.to_owned())]);
        assert_eq!(check.is_ok(), allowed, "{name}={value}");
    }
}

/// Neither end forgoes proof unless it is told to.
#[test]
fn proof_is_the_default() {
    let integrity = |words: &[&str]| {
        let config = resolve::splitter(&flags(words), Identity::generate()).unwrap();
        (config.integrity, config.parity_chunks)
    };
    assert_eq!(integrity(&[]), (p2psp_splitter::Integrity::Manifest, None));
    assert_eq!(
        integrity(&["--integrity", "none", "--parity", "0"]),
        (p2psp_splitter::Integrity::None, Some(0))
    );
    let link = Some(format!("p2psp://{}@h:1", p2psp_wire::ChannelId::new([7; 32])));
    for (allow_unsigned, allowed) in [(None, false), (Some(false), false), (Some(true), true)] {
        let args = PeerArgs { link: link.clone(), allow_unsigned, ..PeerArgs::default() };
        assert_eq!(peer(&args, Identity::generate()).unwrap().allow_unsigned, allowed);
    }
}

/// What does not fit together is told with the setting's name.
#[test]
fn settings_that_do_not_fit_are_named() {
    for (words, setting, says) in [
        (&["--input", "gopher://x"][..], "input", "there are http"),
        (&["--loop"], "loop", "only files"),
        (&["--input", "push:127.0.0.1:0", "--rate", "1M"], "rate", "own rate"),
        (&["--password", "x"], "password", "push:"),
        (&["--input", "push:127.0.0.1:0", "--user", "x"], "user", "needs a password"),
        (&["--team-size", "512"], "team_size", "1 to 511"),
        (&["--parity", "17"], "parity", "0 to 16"),
        (&["--monitor", "nobody"], "monitor", "52"),
        (&["--advertise", "nowhere"], "advertise", "host:port"),
    ] {
        let error = resolve::splitter(&flags(words), Identity::generate()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{setting}: ")) && error.contains(says), "{error}");
    }
    let link = format!("p2psp://{}@h:1", p2psp_wire::ChannelId::new([7; 32]));
    for (args, setting, says) in [
        (PeerArgs::default(), "link", "the channel link that the splitter printed"),
        (
            PeerArgs { link: Some("http://h/".to_owned()), ..PeerArgs::default() },
            "link",
            "begins with p2psp://",
        ),
        (
            PeerArgs { link: Some(link.clone()), delay: Some("1ms".parse().unwrap()), ..PeerArgs::default() },
            "delay",
            "between 20ms and 30s",
        ),
    ] {
        let error = peer(&args, Identity::generate()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{setting}: ")) && error.contains(says), "{error}");
    }
    let tried_for_ever =
        PeerArgs { link: Some(link), join_timeout: Some("0".parse().unwrap()), ..PeerArgs::default() };
    assert_eq!(peer(&tried_for_ever, Identity::generate()).unwrap().join_timeout, None);
}

/// The help names each default as the code has it.
#[test]
fn help_tells_the_defaults_in_force() {
    let command = Cli::command();
    for (table, defaults) in [
        ("splitter", toml::Table::try_from(Defaults::splitter()).unwrap()),
        ("peer", toml::Table::try_from(Defaults::peer()).unwrap()),
    ] {
        let subcommand = command.find_subcommand(table).unwrap();
        for argument in subcommand.get_arguments() {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let Some((_, told)) = help.split_once("[default: ") else { continue };
            let Some(default) = defaults.get(argument.get_id().as_str()) else { continue };
            let told = told.split(']').next().unwrap();
            assert_eq!(told, default.to_string().trim_matches('"'), "--{}", argument.get_id());
        }
    }
}

/// The parser itself is sound: no flag twice, no default that does not parse.
#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
    assert!(Cli::try_parse_from(["p2psp", "demo", "--peers", "0"]).is_err());
    assert!(Cli::try_parse_from(["p2psp", "demo", "--peers", "129"]).is_err());
}

/// A file's size is looked at before its characters, of which the last may be cut off; bytes that are no text are told by their line.
#[test]
fn files_are_texts_of_a_largest_size() {
    let path = Path::new("p2psp.toml");
    let mut bytes = vec![b'\n'; 1 << 20];
    assert!(file::text(path, &bytes).is_ok());
    bytes.push("é".as_bytes()[0]);
    for (bytes, says) in [
        (bytes.as_slice(), "line 1048577: the file is larger than 1048576 bytes"),
        (b"[peer]\nname = \"\xff\"\n", "line 2: this is no UTF-8"),
    ] {
        let error = file::text(path, bytes).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
