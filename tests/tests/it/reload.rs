//! SIGHUP: settings, tokens and certificates that have changed take effect in a running process where they can, and are told of where
//! they cannot; what is wrong changes nothing. A splitter and a peer do the same.

use crate::doors::TempFile;
use nix::{
    fcntl::OFlag,
    pty::{grantpt, posix_openpt, ptsname_r, unlockpt},
    sys::signal::Signal,
};
use p2psp_tests::{cli, process::Process, team::Splitter};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring::default_provider};
use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    sync::Arc,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(20);

const OLD_TOKEN: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const NEW_TOKEN: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

const IN_FORCE: &str = "and these are in force";
const RESTART: &str = "take a restart";
const NOTHING: &str = "nothing has changed";
const KEPT: &str = "the settings stay as they are";
const NO_FILE: &str = "there is no settings file";

/// A process whose settings, tokens and certificate are in files, and which operators reach over loopback and over TLS.
struct Running {
    process: Process,
    role: &'static str,
    /// Of the peer.
    splitter: Option<Splitter>,
    settings: TempFile,
    tokens: TempFile,
    certificate: TempFile,
    key: TempFile,
    plain: SocketAddr,
    tls: SocketAddr,
    /// Lines that reloads wrote so far.
    told: usize,
}

impl Running {
    fn start(role: &'static str, name: &str, own: &CertifiedKey<rcgen::KeyPair>) -> Self {
        let file = |kind: &str| secret(&format!("{name}-{role}.{kind}"));
        let (settings, tokens, certificate, key) = (file("toml"), file("tokens"), file("crt"), file("key"));
        let splitter = (role == "peer").then(|| Splitter::start(&["--input", "testcard"]));
        let mut arguments =
            vec![role, "--config", settings.path(), "--listen", "127.0.0.1:0", "--ready", "json"];
        if role == "peer" {
            arguments.push("--no-player");
        }
        tell(&tokens, OLD_TOKEN);
        show(&certificate, &key, own);
        let admin = "--admin=127.0.0.1:0,0.0.0.0:0";
        arguments.push(admin);
        let link = splitter.as_ref().map(|splitter| splitter.link.clone());
        fs::write(&settings.0, text(role, [&tokens, &certificate, &key], link.as_deref(), "info", "1s"))
            .unwrap();
        let process = cli::start(role, &arguments);
        let [plain, tls] = [0, 1]
            .map(|place| process.ready()["admin"][place].as_str().unwrap().parse::<SocketAddr>().unwrap());
        let tls = SocketAddr::from(([127, 0, 0, 1], tls.port()));
        Self { process, role, splitter, settings, tokens, certificate, key, plain, tls, told: 0 }
    }

    /// Says other things in the settings file.
    fn set(&self, level: &str, grace: &str, more: &str) {
        let link = self.splitter.as_ref().map(|splitter| splitter.link.as_str());
        let files = [&self.tokens, &self.certificate, &self.key];
        fs::write(&self.settings.0, text(self.role, files, link, level, grace) + more).unwrap();
    }

    /// Has it read everything again; gives the lines that it writes about that, which are those that are expected.
    #[track_caller]
    fn reload(&mut self, expected: &[&str]) -> Vec<String> {
        self.process.signal(Signal::SIGHUP);
        let told = self.told;
        self.told += expected.len();
        let lines = self.process.wait(&format!("lines with {expected:?}"), PATIENCE, |said| {
            let lines: Vec<String> =
                said.log.iter().filter(|line| is_news(line)).skip(told).cloned().collect();
            (lines.len() >= expected.len()).then_some(lines)
        });
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for (line, part) in lines.iter().zip(expected) {
            assert!(line.contains(part), "{part:?} is not in {line}");
        }
        lines
    }

    /// The status of a request for its metrics.
    fn scrape(&self, token: &str) -> u16 {
        let mut stream = TcpStream::connect(self.plain).unwrap();
        ask(&mut stream, token, "Connection: close\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// A connection over TLS that takes this certificate and no other.
    fn connect(&self, own: &CertifiedKey<rcgen::KeyPair>) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(own.cert.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.tls).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        StreamOwned::new(connection, stream)
    }

    /// It ends, having told of nothing but what was expected.
    fn ends(mut self) {
        self.process.terminate();
        self.process.exits_with(0, PATIENCE);
        let log = self.process.log();
        assert_eq!(log.lines().filter(|line| is_news(line)).count(), self.told, "{log}");
    }
}

fn is_news(line: &str) -> bool {
    [IN_FORCE, RESTART, NOTHING, KEPT, NO_FILE].iter().any(|part| line.contains(part))
}

/// A file that only its owner reads.
fn secret(name: &str) -> TempFile {
    let file = TempFile::new(name, b"");
    fs::set_permissions(&file.0, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

fn text(
    role: &str,
    [tokens, certificate, key]: [&TempFile; 3],
    link: Option<&str>,
    level: &str,
    grace: &str,
) -> String {
    let link = link.map(|link| format!("link = \"{link}\"\n")).unwrap_or_default();
    format!(
        "log_level = \"{level}\"\n[{role}]\n{link}grace = \"{grace}\"\nadmin_tokens = \"{}\"\nadmin_cert = \"{}\"\nadmin_key = \"{}\"\n",
        tokens.path(),
        certificate.path(),
        key.path(),
    )
}

fn tell(tokens: &TempFile, token: &str) {
    fs::write(&tokens.0, format!("alice admin {token}\n")).unwrap();
}

fn show(certificate: &TempFile, key: &TempFile, own: &CertifiedKey<rcgen::KeyPair>) {
    fs::write(&certificate.0, own.cert.pem()).unwrap();
    fs::write(&key.0, own.signing_key.serialize_pem()).unwrap();
}

fn own() -> CertifiedKey<rcgen::KeyPair> {
    generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

fn ask(stream: &mut impl Write, token: &str, more: &str) -> io::Result<()> {
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{more}\r\n")
}

/// Asks once more over a connection that stays open; gives the status.
fn ask_again(stream: &mut (impl Read + Write), token: &str) -> io::Result<u16> {
    ask(stream, token, "")?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    stream.read_exact(&mut vec![0; length.parse().unwrap()])?;
    Ok(head.split(' ').nth(1).unwrap().parse().unwrap())
}

/// What can change does, what cannot is named with the old and the new value, each in one line.
fn level_and_tokens(role: &'static str) {
    let own = own();
    let mut running = Running::start(role, "live", &own);
    assert_eq!((running.scrape(OLD_TOKEN), running.scrape(NEW_TOKEN)), (200, 401));
    running.reload(&[NOTHING]);

    tell(&running.tokens, NEW_TOKEN);
    running.set("debug", "2s", "advertise = [\"127.0.0.1:9\"]\n");
    let lines = running.reload(&[IN_FORCE, RESTART]);
    assert!(lines[0].contains("INFO") && lines[0].contains("log_level: info -> debug"), "{lines:#?}");
    assert!(lines[0].contains("who is let in") && !lines[0].contains("certificate"), "{lines:#?}");
    assert!(lines[1].contains("WARN"), "{lines:#?}");
    let pending = [
        format!("{role}.grace: \\\"1s\\\" -> \\\"2s\\\""),
        format!("{role}.advertise: its default -> [\\\"127.0.0.1:9\\\"]"),
    ];
    assert!(pending.iter().all(|part| lines[1].contains(part)), "{lines:#?}");
    assert_eq!((running.scrape(OLD_TOKEN), running.scrape(NEW_TOKEN)), (401, 200));

    // What takes a restart is told until there was one, or until it is taken back.
    running.reload(&[RESTART]);
    running.set("debug", "1s", "");
    running.reload(&[NOTHING]);
    // A log that falls silent says so first.
    running.set("error", "1s", "");
    running.reload(&[IN_FORCE]);
    running.set("info", "1s", "");
    running.reload(&[IN_FORCE]);
    let log = running.process.log();
    assert!(!log.contains(OLD_TOKEN) && !log.contains(NEW_TOKEN), "{log}");
    running.ends();
}

#[test]
fn a_splitter_takes_a_level_and_tokens() {
    level_and_tokens("splitter");
}

#[test]
fn a_peer_takes_a_level_and_tokens() {
    level_and_tokens("peer");
}

/// New connections see the new certificate, old ones go on; when it is others who are let in, old ones end.
fn certificate(role: &'static str) {
    let [old, new] = [own(), own()];
    let mut running = Running::start(role, "certificate", &old);
    let mut early = running.connect(&old);
    assert_eq!(ask_again(&mut early, OLD_TOKEN).unwrap(), 200);
    assert!(ask_again(&mut running.connect(&new), OLD_TOKEN).is_err(), "it is shown already");

    show(&running.certificate, &running.key, &new);
    let lines = running.reload(&[IN_FORCE]);
    assert!(lines[0].contains("the admin certificate") && !lines[0].contains("who is let in"), "{lines:#?}");
    let mut late = running.connect(&new);
    assert_eq!(ask_again(&mut late, OLD_TOKEN).unwrap(), 200);
    assert!(ask_again(&mut running.connect(&old), OLD_TOKEN).is_err(), "it is still shown");
    assert_eq!(ask_again(&mut early, OLD_TOKEN).unwrap(), 200, "the old connection goes on");

    tell(&running.tokens, NEW_TOKEN);
    running.reload(&[IN_FORCE]);
    for mut stream in [early, late] {
        // Closed properly: nothing more comes, and nothing is left out.
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    assert_eq!(ask_again(&mut running.connect(&new), NEW_TOKEN).unwrap(), 200);
    running.ends();
}

#[test]
fn a_splitter_shows_a_new_certificate() {
    certificate("splitter");
}

#[test]
fn a_peer_shows_a_new_certificate() {
    certificate("peer");
}

/// Whatever is wrong, everything stays: what is right beside it, too. The line says what is wrong, and it is the only one.
fn wrong(role: &'static str) {
    let [old, new] = [own(), own()];
    let mut running = Running::start(role, "wrong", &old);
    let unchanged = |running: &mut Running, says: &[&str]| {
        let lines = running.reload(&[KEPT]);
        assert!(lines[0].contains("ERROR"), "{lines:#?}");
        for part in says {
            assert!(lines[0].contains(part), "{part:?} is not in {lines:#?}");
        }
        assert_eq!((running.scrape(OLD_TOKEN), running.scrape(NEW_TOKEN)), (200, 401));
        assert_eq!(ask_again(&mut running.connect(&old), OLD_TOKEN).unwrap(), 200);
    };
    // New tokens and a new level would be right.
    let last = format!("line {}", fs::read_to_string(&running.settings.0).unwrap().lines().count() + 1);
    let last = last.as_str();
    tell(&running.tokens, NEW_TOKEN);
    for (more, says) in [
        ("colour = \"blue\"\n", &[last, "unknown key `colour`"][..]),
        ("uplink = \"much\"\n", &[last, "uplink", "a bit rate is"]),
        ("advertise = [\"tv.example.org\"]\n", &[last, "advertise", "write"]),
        ("uplink = \n", &[last]),
        ("admin_clients = \"/nowhere/roots.pem\"\n", &["/nowhere/roots.pem"]),
    ] {
        running.set("debug", "1s", more);
        unchanged(&mut running, says);
    }
    running.set("loud", "1s", "");
    unchanged(&mut running, &["log_level", "`loud` is none of"]);
    running.set("debug", "1s", "");
    fs::write(&running.tokens.0, "alice admin short\n").unwrap();
    unchanged(&mut running, &["line 1", "a token has"]);
    tell(&running.tokens, NEW_TOKEN);
    fs::write(&running.certificate.0, "no certificate").unwrap();
    let path = running.certificate.path().to_owned();
    unchanged(&mut running, &[&path, "PEM"]);
    // Half of a pair is there before the other.
    fs::write(&running.certificate.0, new.cert.pem()).unwrap();
    unchanged(&mut running, &["the admin certificate and its key cannot be used"]);
    // Without tokens an open address would be open to everyone.
    show(&running.certificate, &running.key, &old);
    let text = fs::read_to_string(&running.settings.0).unwrap();
    fs::write(&running.settings.0, text.replace("admin_tokens", "#admin_tokens")).unwrap();
    unchanged(&mut running, &["can be reached from other machines", "--admin-tokens"]);
    fs::remove_file(&running.settings.0).unwrap();
    unchanged(&mut running, &["cannot read the settings file"]);

    // And when all is right again it counts.
    show(&running.certificate, &running.key, &new);
    running.set("debug", "1s", "");
    let lines = running.reload(&[IN_FORCE]);
    for part in ["log_level", "certificate", "who is let in"] {
        assert!(lines[0].contains(part), "{lines:#?}");
    }
    assert_eq!(ask_again(&mut running.connect(&new), NEW_TOKEN).unwrap(), 200);
    running.ends();
}

#[test]
fn a_splitter_keeps_what_is_right() {
    wrong("splitter");
}

#[test]
fn a_peer_keeps_what_is_right() {
    wrong("peer");
}

/// Secrets are in no line, whether they stand alone or within an address.
#[test]
fn passwords_are_not_told() {
    let settings = secret("reload-secrets.toml");
    fs::write(&settings.0, "[splitter]\ninput = \"push:127.0.0.1:0/live\"\npassword = \"hunter2\"\n")
        .unwrap();
    let arguments = ["splitter", "--config", settings.path(), "--listen", "127.0.0.1:0", "--ready", "json"];
    let mut process = cli::start("splitter", &arguments);
    process.ready();
    fs::write(
        &settings.0,
        "[splitter]\ninput = \"push:me:hunter3@127.0.0.1:0/tv\"\npassword = \"hunter4\"\n",
    )
    .unwrap();
    process.signal(Signal::SIGHUP);
    let line = process.wait_log(RESTART, PATIENCE);
    assert!(line.contains("splitter.password") && line.contains("push:127.0.0.1:0/tv"), "{line}");
    process.terminate();
    process.exits_with(0, PATIENCE);
    assert!(!process.log().contains("hunter"), "{}", process.log());
}

/// Without a file the signal ends nothing; files that flags name are read again.
#[test]
fn without_a_settings_file() {
    let tokens = secret("reload-flags.tokens");
    tell(&tokens, OLD_TOKEN);
    let splitter = Splitter::start(&["--input", "testcard"]);
    let link = splitter.link.clone();
    for mut process in
        [splitter.process, cli::start("peer", &["peer", &link, "--no-player", "--ready", "json"])]
    {
        process.ready();
        process.signal(Signal::SIGHUP);
        let line = process.wait_log(NO_FILE, PATIENCE);
        assert!(line.contains("--config"), "{line}");
        process.terminate();
        process.exits_with(0, PATIENCE);
    }
    let arguments = [
        "splitter",
        "--admin",
        "127.0.0.1:0",
        "--admin-tokens",
        tokens.path(),
        "--listen",
        "127.0.0.1:0",
        "--ready",
        "json",
    ];
    let mut process = cli::start("splitter", &arguments);
    process.ready();
    tell(&tokens, NEW_TOKEN);
    process.signal(Signal::SIGHUP);
    process.wait_log(IN_FORCE, PATIENCE);
    process.terminate();
    process.exits_with(0, PATIENCE);
}

/// A terminal that is closed takes what runs in it along, politely.
#[test]
fn a_closed_terminal_ends_it() {
    // Closed with each program that is started: only this test holds it open.
    let terminal = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let seat = fs::File::options().read(true).write(true).open(ptsname_r(&terminal).unwrap()).unwrap();
    let mut command = cli::command(&["splitter", "--listen", "127.0.0.1:0", "--ready", "json"]);
    let mut process = Process::start_at("splitter", &mut command, seat.into());
    process.ready();
    process.signal(Signal::SIGHUP);
    process.wait_log(NO_FILE, PATIENCE);
    drop(terminal);
    process.signal(Signal::SIGHUP);
    process.wait_log("the terminal is closed", PATIENCE);
    process.exits_with(0, PATIENCE);
}

/// The service manager hears that settings are read again, since when, and that it is done, whether or not they were right.
#[test]
fn the_service_manager_is_told() {
    let place = TempFile::new("reload.notify", b"");
    fs::remove_file(&place.0).unwrap();
    let socket = UnixDatagram::bind(&place.0).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut message = [0; 1_024];
        let bytes = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..bytes].to_vec()).unwrap()
    };
    let settings = TempFile::new("notified.toml", b"");
    let arguments = ["splitter", "--config", settings.path(), "--listen", "127.0.0.1:0"];
    let mut process = Process::start("splitter", cli::command(&arguments).env("NOTIFY_SOCKET", &place.0));
    assert_eq!(heard().trim(), "READY=1");
    let mut before = 0;
    for (text, says) in [("", NOTHING), ("colour = 1\n", KEPT)] {
        fs::write(&settings.0, text).unwrap();
        process.signal(Signal::SIGHUP);
        let message = heard();
        let lines: Vec<&str> = message.lines().collect();
        let ["RELOADING=1", since] = lines[..] else { panic!("{message}") };
        let since: u64 = since.strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!(since > before, "{since} is not after {before}");
        before = since;
        assert_eq!(heard().trim(), "READY=1");
        process.wait_log(says, PATIENCE);
    }
    process.terminate();
    assert_eq!(heard().trim(), "STOPPING=1");
    process.exits_with(0, PATIENCE);
}
