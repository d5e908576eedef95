//! What a peer or a splitter says when it cannot do what it was asked to: one line with the cause and the next step, and a
//! documented exit code.

use crate::doors::TempFile;
use p2psp_tests::{
    cli,
    process::{LEAVE, Process},
    team::{Peer, Splitter, Team},
};
use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(20);
const NONE: [&str; 0] = [];
/// Some channel's key.
const KEY: &str = "dvrhx4hqlafkfnr4azbzhdykxcgsdpgv6jaltqkz5hj7y3wjm2xq";

/// Runs to the end, which must have this exit code; gives the last line of its log, which must contain all of `says`.
#[track_caller]
fn fails(arguments: &[&str], code: i32, says: &[&str]) {
    let mut process = cli::start(arguments[0], arguments);
    process.exits_with(code, Duration::from_secs(60));
    assert_tells(&process, says);
}

/// The last line of the log names cause and next step, once.
#[track_caller]
fn assert_tells(process: &Process, says: &[&str]) {
    let log = process.log();
    let last = log.lines().last().unwrap_or_default();
    for part in says {
        assert!(last.contains(part), "{part:?} is not in the last line of:\n{log}");
    }
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn links_that_do_not_parse() {
    let other_key = format!("p2psp://{}@127.0.0.1:4480", &KEY[1..]);
    for (link, says) in [
        ("127.0.0.1:4480", "begins with p2psp://"),
        ("http://127.0.0.1:4480", "begins with p2psp://"),
        ("p2psp://127.0.0.1:4480", "before an @"),
        ("p2psp://short@127.0.0.1:4480", "channel key is wrong"),
        (&other_key, "channel key is wrong"),
        (&format!("p2psp://{KEY}@127.0.0.1"), "is not host:port"),
        (&format!("p2psp://{KEY}@127.0.0.1:0"), "is not host:port"),
        (&format!("p2psp://{KEY}@127.0.0.1:4480/live"), "no path"),
        (&format!("p2psp://{KEY}@127.0.0.1:4480/?{}", "x".repeat(5_000)), "at most"),
    ] {
        fails(&["peer", link], 2, &["link", says]);
    }
    fails(&["peer"], 2, &["link", "the channel link that the splitter printed"]);
}

/// The line of a refusal is the last one, at once, and not after the time for joining.
#[test]
fn a_key_that_does_not_match() {
    let splitter = Splitter::start(&["--input", "testcard"]);
    let started = Instant::now();
    fails(
        &["peer", &format!("p2psp://{KEY}@{}", splitter.listen), "--player", "127.0.0.1:0"],
        3,
        &["does not hold the channel's key", "get a fresh channel link"],
    );
    assert!(started.elapsed() < Duration::from_secs(10), "after {:?}", started.elapsed());
    // And the splitter serves those with the right one.
    Peer::start("peer", &splitter.link, &NONE).wait_played(1, PATIENCE);
}

#[test]
fn udp_ports_in_use() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = socket.local_addr().unwrap().to_string();
    let says = ["cannot listen on udp", &taken, "in use", "choose another port"];
    fails(&["splitter", "--listen", &taken], 1, &says);
    let link = format!("p2psp://{KEY}@127.0.0.1:4480");
    fails(&["peer", &link, "--listen", &taken, "--player", "127.0.0.1:0"], 1, &says);
}

#[test]
fn player_ports_in_use() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let port = taken.split(':').next_back().unwrap();
    let link = format!("p2psp://{KEY}@127.0.0.1:4480");
    fails(&["peer", &link, "--player", &taken], 1, &["player port", port, "in use", "--player"]);

    let splitter = Splitter::start(&["--input", "testcard"]);
    let next = Peer::start("peer", &splitter.link, &["--player", &taken, "--player-next-free"]);
    assert!(next.player.port() > listener.local_addr().unwrap().port(), "{}", next.player);
    next.wait_played(1, PATIENCE);
}

#[test]
fn ingest_ports_in_use() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let says = ["cannot listen for the source on", &taken, "choose another port"];
    fails(&["splitter", "--listen", "127.0.0.1:0", "--input", &format!("push:{taken}")], 1, &says);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = socket.local_addr().unwrap().to_string();
    let says = ["cannot listen for the source on", &taken, "choose another port"];
    fails(&["splitter", "--listen", "127.0.0.1:0", "--input", &format!("udp://{taken}")], 1, &says);
}

#[test]
fn a_splitter_that_cannot_be_reached() {
    // Nobody listens there.
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let link = format!("p2psp://{KEY}@{closed}");
    let says = ["cannot reach the splitter at", "check that it runs", "firewalls"];
    fails(&["peer", &link, "--player", "127.0.0.1:0", "--join-timeout", "2s"], 3, &says);
    // Somebody listens, and says nothing.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let link = format!("p2psp://{KEY}@{}", silent.local_addr().unwrap());
    fails(&["peer", &link, "--player", "127.0.0.1:0", "--join-timeout", "2s"], 3, &says);
}

#[test]
fn a_splitter_that_has_no_address() {
    let link = format!("p2psp://{KEY}@no-such-host.invalid:4480");
    fails(
        &["peer", &link, "--player", "127.0.0.1:0"],
        3,
        &["cannot find the address of no-such-host.invalid", "check the channel link"],
    );
}

/// The one too many is told, and gets its seat when somebody leaves.
#[test]
fn a_full_team() {
    let splitter = Splitter::start(&["--input", "testcard", "--team-size", "2"]);
    let mut team = Team::of(splitter, 2);
    team.wait_complete();
    let link = team.splitter.link.clone();
    let says = ["gave no seat", "the team is full", "--team-size"];
    fails(
        &["peer", &link, "--listen", "127.0.0.1:0", "--player", "127.0.0.1:0", "--join-timeout", "2s"],
        3,
        &says,
    );
    team.splitter.process.wait_log("refused", PATIENCE);

    let patient = Peer::start("patient peer", &link, &NONE);
    patient.process.wait_log("the team is full", PATIENCE);
    let refused = patient.wait_stats("trouble", |stats| {
        stats["trouble"].as_str().is_some_and(|trouble| trouble.contains("full"))
    });
    assert_eq!(refused["state"], "joining", "{refused:#}");
    team.peers.pop().unwrap().process.terminate();
    patient.wait_played(1, PATIENCE);
}

/// A peer is not talked into playing what nobody signed: it says so and leaves, unless it was told to take it. The splitter says so
/// too.
#[test]
fn a_stream_that_nobody_signs() {
    let splitter = Splitter::start(&["--input", "testcard", "--integrity", "none"]);
    let told = splitter.process.wait_log("is not signed", PATIENCE);
    assert!(told.contains("WARN") && told.contains("laboratories"), "{told}");
    fails(
        &["peer", &splitter.link, "--listen", "127.0.0.1:0", "--player", "127.0.0.1:0"],
        3,
        &["does not sign its stream", "--integrity manifest", "--allow-unsigned"],
    );
    let reckless = Peer::start("reckless peer", &splitter.link, &["--allow-unsigned"]);
    reckless.process.wait_log("a stream that nobody signs", PATIENCE);
    reckless.wait_played(1, PATIENCE);
    let stats = reckless.stats();
    assert_eq!(
        (&stats["manifests_total"], &stats["parity_chunks_total"]),
        (&0.into(), &0.into()),
        "{stats:#}"
    );
    assert_eq!(splitter.process.wait_stats("figures", PATIENCE, |_| true)["integrity"], "none");
}

/// Two splitters with one key: on one port the second does not start; on two ports each has a team of its own, and no peer
/// mixes their streams.
#[test]
fn two_splitters_on_one_channel() {
    let key = TempFile::new("twice.key", b"");
    std::fs::remove_file(&key.0).unwrap();
    let _runs = TempFile(key.0.with_extension("key.epoch"));
    let first = Splitter::start(&["--input", "testcard", "--key", key.path()]);
    let listen = first.listen.to_string();
    fails(
        &["splitter", "--listen", &listen, "--key", key.path()],
        1,
        &["cannot listen on udp", &listen, "in use"],
    );

    let second = Splitter::start(&["--input", "testcard:640x368", "--key", key.path()]);
    let channel = |splitter: &Splitter| splitter.link.split('@').next().unwrap().to_owned();
    assert_eq!(channel(&first), channel(&second));
    let mut teams = [Team::of(first, 2), Team::of(second, 2)];
    let players = [teams[0].play(), teams[1].play()];
    for player in players.iter().flatten() {
        player.wait_bytes(60_000, PATIENCE);
    }
    for team in &teams {
        team.peers[0].wait_stats("a team of two", |stats| stats["team_peers"] == 2);
        team.splitter.process.terminate();
    }
    let outputs =
        players.map(|players| players.into_iter().map(|player| player.finish()).collect::<Vec<_>>());
    for (own, other) in [(0, 1), (1, 0)] {
        let (one, two) = (&outputs[own][0], &outputs[own][1]);
        let shorter = one.len().min(two.len());
        assert_eq!(one[one.len() - shorter..], two[two.len() - shorter..], "peers of one team differ");
        assert_ne!(outputs[own][0][..2_000], outputs[other][0][..2_000], "the teams play the same");
    }
    teams.iter_mut().for_each(Team::ends);
}

/// Two splitters with one key run, each with a team, and a member of the one finds its way to a member of the other: both tell
/// whom they met and what to do about it. They meet where two peers share a key and an address, as a forwarded port makes them.
#[test]
fn teammates_of_two_runs_tell_of_each_other() {
    let files = ["meeting-channel.key", "meeting-peer.key"].map(|name| TempFile::new(name, b""));
    files.iter().for_each(|file| std::fs::remove_file(&file.0).unwrap());
    let [channel, node] = &files;
    let _runs = TempFile(channel.0.with_extension("key.epoch"));
    let [first, second] =
        [(); 2].map(|()| Splitter::start(&["--input", "testcard", "--key", channel.path()]));
    let epoch = |splitter: &Splitter| splitter.process.ready()["epoch"].as_u64();
    assert!(epoch(&first) < epoch(&second), "the runs are told apart");

    let member = |stats: &serde_json::Value| stats["state"] == "member";
    let there = Peer::start("peer of the second", &second.link, &["--key", node.path()]);
    there.wait_stats("a seat", member);
    let address = there.listen.to_string();
    let shared = ["--key", node.path(), "--advertise", &address];
    let here = Peer::start("peer of the first", &first.link, &shared);
    here.wait_stats("a seat", member);
    let newcomer = Peer::start("newcomer", &first.link, &NONE);
    for peer in [&newcomer, &there] {
        let told = peer.process.wait_log("follows another run of this channel", PATIENCE);
        assert!(
            told.contains("WARN") && told.contains("two splitters are using one key; stop one"),
            "{told}"
        );
    }
    // And nobody's own team suffers.
    newcomer.wait_linked(1);
    [&newcomer, &there, &here].iter().for_each(|peer| peer.wait_played(1, PATIENCE));
}

/// What the system says about an address that it does not take is told, with what to do.
#[test]
fn addresses_that_the_system_refuses() {
    // A link-local address means nothing without its interface; machines without IPv6 refuse it as well.
    let scopeless = "[fe80::1]:4480";
    let says = ["cannot listen on udp", scopeless, "os error", "choose another address"];
    fails(&["splitter", "--listen", scopeless], 1, &says);
    let link = format!("p2psp://{KEY}@127.0.0.1:4480");
    let says = ["cannot open player port", scopeless, "os error", "--player"];
    fails(&["peer", &link, "--player", scopeless], 1, &says);
}

/// Keys that others can read, or that are none.
#[test]
fn key_files_that_cannot_be_used() {
    use std::os::unix::fs::PermissionsExt;
    let garbage = TempFile::new("garbage.key", b"hello");
    std::fs::set_permissions(&garbage.0, std::fs::Permissions::from_mode(0o600)).unwrap();
    fails(
        &["splitter", "--listen", "127.0.0.1:0", "--key", garbage.path()],
        1,
        &["holds no Ed25519 private key", "openssl"],
    );
    std::fs::set_permissions(&garbage.0, std::fs::Permissions::from_mode(0o644)).unwrap();
    fails(
        &["splitter", "--listen", "127.0.0.1:0", "--key", garbage.path()],
        1,
        &["others can read", "chmod 600"],
    );
    fails(
        &["splitter", "--listen", "127.0.0.1:0", "--key", "/proc/nowhere/k"],
        1,
        &["key file /proc/nowhere/k"],
    );
}

/// What is not QUIC's or another version's is no reason for a peer to wait longer than it was told.
#[test]
fn an_answer_of_another_protocol() {
    let echo = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = echo.local_addr().unwrap();
    echo.set_read_timeout(Some(PATIENCE)).unwrap();
    let speaker = std::thread::spawn(move || {
        let mut datagram = [0; 2_048];
        while let Ok((_, from)) = echo.recv_from(&mut datagram) {
            echo.send_to(b"SIP/2.0 400 Bad Request\r\n\r\n", from).ok();
        }
    });
    let link = format!("p2psp://{KEY}@{address}");
    let mut peer = cli::start("peer", &["peer", &link, "--player", "127.0.0.1:0", "--join-timeout", "2s"]);
    peer.exits_with(3, LEAVE);
    assert_tells(&peer, &["cannot reach the splitter", "check that it runs"]);
    drop(speaker);
}
