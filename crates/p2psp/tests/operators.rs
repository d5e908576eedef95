//! Operators and real processes: a splitter and two peers that are asked and steered by `p2psp ctl`, and whose figures agree
//! wherever they are shown.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// Longest wait for what must happen.
const DEADLINE: Duration = Duration::from_secs(30);

/// A process that is killed when the test ends, however that ends.
struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    ready: Value,
}

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments).args(["--ready", "json"]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines(child.stdout.take().unwrap());
        let ready = lines.recv_timeout(DEADLINE).expect("a ready line");
        Self { child, lines, ready: serde_json::from_str(&ready).unwrap() }
    }

    /// The next line on standard output.
    fn line(&self) -> Value {
        serde_json::from_str(&self.lines.recv_timeout(DEADLINE).expect("a line")).unwrap()
    }

    /// Waits for the end; true when it ended well.
    fn ended_well(mut self) -> bool {
        // Its standard output closes with it.
        while self.lines.recv_timeout(DEADLINE).is_ok() {}
        self.child.wait().unwrap().success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_p2psp"));
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).env_remove("RUST_LOG");
    command
}

fn lines(output: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// A folder for sockets, taken away at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("p2psp-operators-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn bind(&self, name: &str) -> String {
        format!("unix:{}", self.0.join(name).display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn ctl(bind: &str, arguments: &[&str]) -> Output {
    command(&["ctl", "--admin", bind]).args(arguments).stderr(Stdio::piped()).output().unwrap()
}

fn get(bind: &str, what: &str) -> Value {
    let output = ctl(bind, &["get", what, "-o", "json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asks until the answer fits; each question is a process of its own, so this does not spin.
fn until(what: &str, mut fits: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !fits() {
        assert!(Instant::now() < end, "{what}");
    }
}

fn http(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn sample(metrics: &str, name: &str) -> Option<u64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn a_team_is_watched_and_steered() {
    let folder = Folder::new("team");
    let (splitter_at, peer_at) = (folder.bind("splitter"), folder.bind("peer"));
    let admin = format!("{splitter_at},127.0.0.1:0");
    let splitter = Process::start(&["splitter", "--listen=127.0.0.1:0", "--admin", &admin]);
    let http_at = splitter.ready["admin"][1].as_str().unwrap().to_owned();
    let link = splitter.ready["link"].as_str().unwrap().to_owned();

    let watch = watch(&splitter_at);
    assert_eq!(watch.ready["event"], "snapshot");
    let peer = |admin: &str| {
        Process::start(&["peer", &link, "--listen=127.0.0.1:0", "--no-player", "--admin", admin])
    };
    let first = peer(&peer_at);
    let second = peer("127.0.0.1:0");
    let ids =
        [first.ready["peer"].as_str().unwrap(), second.ready["peer"].as_str().unwrap()].map(str::to_owned);
    let mut ready = Vec::new();
    while ready.len() < 2 {
        let change = watch.line();
        assert_eq!(change["event"], "changed");
        if change["peer"]["state"] == "ready" && !ready.contains(&change["peer"]["peer"]) {
            ready.push(change["peer"]["peer"].clone());
        }
    }
    assert!(ids.iter().all(|id| ready.contains(&Value::from(id.as_str()))), "{ready:?}");

    // The same team from every side.
    let peers = get(&splitter_at, "peers");
    assert_eq!(peers["peers"].as_array().unwrap().len(), 2);
    until("the figures of both ends agree", || {
        let metrics = http(&http_at, "/metrics");
        get(&splitter_at, "team")["team"]["figures"]["team_peers"] == 2
            && sample(&metrics, "p2psp_splitter_team_peers") == Some(2)
            && get(&peer_at, "status")["status"]["figures"]["team_peers"] == 2
            && get(&peer_at, "neighbours")["neighbours"][0]["peer"] == ids[1].as_str()
    });
    let metrics = http(&http_at, "/metrics");
    let chunks = get(&splitter_at, "team")["team"]["figures"]["chunks_total"].as_u64().unwrap();
    assert!(
        sample(&metrics, "p2psp_splitter_chunks_total").unwrap() <= chunks,
        "the later figure is not smaller"
    );
    assert!(http(&http_at, "/readyz").starts_with("HTTP/1.1 200"));

    // One of them, from both sides and in the forms that programs read.
    for (bind, kind) in [(&splitter_at, "peer"), (&peer_at, "neighbour")] {
        let described = ctl(bind, &["describe", &ids[1][..8], "-o", "json"]);
        let described: Value = serde_json::from_slice(&described.stdout).unwrap();
        assert_eq!(described[kind]["peer"], ids[1].as_str());
        let wide = String::from_utf8(ctl(bind, &["describe", &ids[1][..8], "-o", "wide"]).stdout).unwrap();
        assert!(wide.contains(&ids[1]), "{wide}");
        let yaml = String::from_utf8(ctl(bind, &["describe", &ids[1][..8], "-o", "yaml"]).stdout).unwrap();
        assert!(yaml.starts_with(&format!("{kind}:\n")) && yaml.contains(&ids[1]), "{yaml}");
    }

    // Expelled by the beginning of its key, seen by the watcher, banned, and ended.
    let output = ctl(&splitter_at, &["expel", &ids[1][..8], "--ban", "1h"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let departed =
        std::iter::repeat_with(|| watch.line()).find(|change| change["event"] == "departed").unwrap();
    assert_eq!(
        (departed["peer"]["peer"].as_str(), departed["peer"]["reason"].as_str()),
        (Some(&*ids[1]), Some("expelled"))
    );
    assert_eq!(get(&splitter_at, "bans")["bans"][0]["peer"], ids[1].as_str());
    assert!(!second.ended_well(), "an expelled peer says so by its exit code");

    // Codes for what goes wrong.
    for (bind, arguments, code, says) in [
        (&splitter_at, &["expel", "zzzzzz"][..], 6, "no member's key begins with zzzzzz"),
        (&peer_at, &["describe", "zzzzzz"], 6, "no teammate's key begins with zzzzzz"),
        (&splitter_at, &["expel", &"a".repeat(52)], 6, "no seat in this team; `p2psp ctl get peers`"),
        (&splitter_at, &["unban", &"a".repeat(52)], 6, "is not banned"),
        (&splitter_at, &["get", "status"], 1, "splitter or a peer"),
        (&splitter_at, &["ban", &"a".repeat(52), "--for", "0"], 2, "ban_ms"),
        (&splitter_at, &["log-level", "loud"], 2, "none of off, error"),
        (&splitter_at, &["get", "team", "-w"], 2, "only peers and neighbours"),
        (&folder.bind("nobody"), &["get", "info"], 3, "cannot reach the admin address"),
    ] {
        let output = ctl(bind, arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
    assert!(ctl(&splitter_at, &["log-level", "warn"]).status.success());
    assert_eq!(ctl(&splitter_at, &["log-level"]).stdout, b"warn\n");

    // Leaving politely: everyone ends well, and no socket is left.
    assert!(ctl(&peer_at, &["drain"]).status.success());
    assert!(first.ended_well());
    assert!(ctl(&splitter_at, &["drain"]).status.success());
    assert!(splitter.ended_well());
    assert!(!watch.ended_well(), "a watcher is told that the process ended");
    let left: Vec<_> = std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A watching `p2psp ctl`; its first line is the snapshot.
fn watch(bind: &str) -> Process {
    let arguments = ["ctl", "--admin", bind, "get", "peers", "-w", "-o", "json"];
    let mut child = command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let lines = lines(child.stdout.take().unwrap());
    let first = lines.recv_timeout(DEADLINE).expect("a snapshot");
    Process { child, lines, ready: serde_json::from_str(&first).unwrap() }
}

/// With tokens, a command needs one whose scope suffices.
#[test]
fn tokens_are_asked_for() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("tokens");
    let (file, token) = (folder.0.join("tokens"), "0123456789abcdef0123456789abcdef");
    std::fs::write(&file, format!("grafana read {token}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let file = file.to_str().unwrap();
    let splitter =
        Process::start(&["splitter", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--admin-tokens", file]);
    let at = splitter.ready["admin"][0].as_str().unwrap();
    for (arguments, code, says) in [
        (&["get", "team"][..], 5, "send a token: authorization: Bearer TOKEN; set P2PSP_CTL_TOKEN"),
        (&["get", "team", "--token", "wrong"], 5, "none of those"),
        (&["get", "team", "--token", token], 0, ""),
        (&["drain", "--token", token], 5, "needs the scope admin; grafana has read"),
        (&["get", "team", "--token", "a\nb"], 2, "cannot be sent"),
    ] {
        let output = ctl(at, arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
    assert!(http(at, "/metrics").starts_with("HTTP/1.1 401"));
    assert!(http(at, "/readyz").starts_with("HTTP/1.1 200"));
}

/// A service manager hears when the ports are open, and when the process leaves (`sd_notify(3)`).
#[test]
fn supervisors_are_told() {
    let folder = Folder::new("notify");
    let path = folder.0.join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let heard = || {
        let mut message = [0; 256];
        let length = socket.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..length]).trim().to_owned()
    };
    let bind = folder.bind("splitter");
    let mut command = command(&["splitter", "--listen=127.0.0.1:0", "--admin", &bind, "--ready", "json"]);
    let mut child = command.env("NOTIFY_SOCKET", &path).stdout(Stdio::piped()).spawn().unwrap();
    let lines = lines(child.stdout.take().unwrap());
    let ready = lines.recv_timeout(DEADLINE).expect("a ready line");
    let splitter = Process { child, lines, ready: serde_json::from_str(&ready).unwrap() };
    assert_eq!(heard(), "READY=1");
    assert!(ctl(&bind, &["drain"]).status.success());
    assert_eq!(heard(), "STOPPING=1");
    assert!(splitter.ended_well());
}

/// What others could reach, and nobody would guard, is refused before anything runs.
#[test]
fn unguarded_addresses_are_not_opened() {
    for wrong in ["0.0.0.0:4490", "192.0.2.1:4490", "somewhere"] {
        let output = command(&["splitter", "--admin", wrong]).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
    let missing = Path::new("/nonexistent/p2psp.sock");
    let bind = format!("unix:{}", missing.display());
    let output = command(&["splitter", "--listen=127.0.0.1:0", "--admin", &bind])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot open the admin address"));
}
