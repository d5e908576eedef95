//! SIGHUP: a settings file that has changed takes effect in a running process, where it can, and is told of where it cannot.

use crate::doors::TempFile;
use nix::sys::signal::Signal;
use p2psp_tests::{cli, process::Process};
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(20);

const OLD_TOKEN: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const NEW_TOKEN: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// A splitter with a settings file, and its tokens.
struct Running {
    process: Process,
    settings: TempFile,
    tokens: TempFile,
    admin: SocketAddr,
}

impl Running {
    fn start(name: &str) -> Self {
        let tokens = TempFile::new(&format!("{name}.tokens"), b"");
        let settings = TempFile::new(&format!("{name}.toml"), b"");
        fs::set_permissions(&tokens.0, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&tokens.0, format!("alice admin {OLD_TOKEN}\n")).unwrap();
        fs::write(&settings.0, text(&tokens, "info", 20)).unwrap();
        let arguments = [
            "splitter",
            "--config",
            settings.path(),
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--ready",
            "json",
        ];
        let process = cli::start("splitter", &arguments);
        let admin = process.ready()["admin"][0].as_str().unwrap().parse().unwrap();
        Self { process, settings, tokens, admin }
    }

    /// Has it read the settings again, and waits until it says so.
    fn reload(&self, says: &str) -> String {
        self.process.signal(Signal::SIGHUP);
        self.process.wait_log(says, PATIENCE)
    }

    /// The status of a request for its metrics.
    fn scrape(&self, token: &str) -> u16 {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n",
            self.admin
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

fn text(tokens: &TempFile, level: &str, team_size: u16) -> String {
    format!(
        "log_level = \"{level}\"\n[splitter]\nadmin_tokens = \"{}\"\nteam_size = {team_size}\npassword = \"secret\"\n\
         input = \"push:127.0.0.1:0/live\"\n",
        tokens.path()
    )
}

/// What can change does, what cannot is named with the old and the new value, and secrets are in no line of the log.
#[test]
fn a_new_level_and_new_tokens_take_effect() {
    let mut running = Running::start("reload");
    assert_eq!((running.scrape(OLD_TOKEN), running.scrape(NEW_TOKEN)), (200, 401));
    running.reload("nothing has changed");

    fs::write(&running.tokens.0, format!("alice admin {NEW_TOKEN}\n")).unwrap();
    let changed = text(&running.tokens, "debug", 30).replace("secret", "another one");
    fs::write(&running.settings.0, changed).unwrap();
    let line = running.reload("splitter.team_size");
    assert!(line.contains("restart") && line.contains("20") && line.contains("30"), "{line}");
    let level = running.process.wait_log("log_level", PATIENCE);
    assert!(level.contains("info") && level.contains("debug"), "{level}");
    running.process.wait_log("splitter.password", PATIENCE);
    running.process.wait_log("were read again", PATIENCE);
    assert_eq!((running.scrape(OLD_TOKEN), running.scrape(NEW_TOKEN)), (401, 200));
    let log = running.process.log();
    for secret in [OLD_TOKEN, NEW_TOKEN, "another one"] {
        assert!(!log.contains(secret), "{log}");
    }
    running.process.terminate();
    running.process.exits_with(0, PATIENCE);
}

/// A file that is not right changes nothing, not even what is right in it.
#[test]
fn a_bad_file_keeps_the_old_settings() {
    let mut running = Running::start("bad-reload");
    fs::write(&running.settings.0, text(&running.tokens, "debug", 20) + "colour = \"blue\"\n").unwrap();
    let line = running.reload("stay as they are");
    assert!(line.contains("colour"), "{line}");
    fs::write(&running.tokens.0, "alice admin short\n").unwrap();
    fs::write(&running.settings.0, text(&running.tokens, "debug", 20)).unwrap();
    let line = running.reload("a token has");
    assert!(line.contains("stay as they are"), "{line}");
    assert_eq!(running.scrape(OLD_TOKEN), 200);
    assert!(!running.process.log().contains("setting=\"log_level\""));
    running.process.terminate();
    running.process.exits_with(0, PATIENCE);
}
