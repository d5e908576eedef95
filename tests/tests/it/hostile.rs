//! Bytes that nobody asked for, on every socket from outside: the team's UDP ports, the ingest doors, the player port. The
//! process stays, its memory does not grow, and the stream goes on for everyone without a byte missing.

use p2psp_tests::{
    bytes::assert_to_the_end,
    http,
    noise::Noise,
    procfs::{descriptors, rss_kib},
    publish::{self, Method},
    team::{Peer, Splitter, Team},
    ts::{PACKET_BYTES, Recipe, datagrams},
    wait::Watched,
};
use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

const HEADER_BYTES: usize = 2 * PACKET_BYTES;
const PATIENCE: Duration = Duration::from_secs(30);
/// What the attacks here send is many times more.
const GROWTH_KIB_MAX: u64 = 16 * 1024;
const NONE: [&str; 0] = [];

/// Memory and descriptors of processes before an attack.
struct Before(Vec<(u32, u64, usize)>);

impl Before {
    fn of(ids: impl IntoIterator<Item = u32>) -> Self {
        Self(ids.into_iter().map(|id| (id, rss_kib(id), descriptors(id))).collect())
    }

    /// What an attack held open is closed soon after it has ended.
    #[track_caller]
    fn assert_no_growth(&self) {
        let clock = Watched::new(());
        for (id, rss, files) in &self.0 {
            for _ in 0..100 {
                if descriptors(*id) <= files + 2 {
                    break;
                }
                clock.wait(Duration::from_millis(50), |()| None::<()>);
            }
            let (now, open) = (rss_kib(*id), descriptors(*id));
            assert!(now <= rss + GROWTH_KIB_MAX, "process {id} grew from {rss} to {now} KiB");
            assert!(open <= files + 2, "process {id} had {files} descriptors open, and now has {open}");
        }
    }
}

/// A team that plays what a publisher sends, while something else happens to it.
pub(crate) fn under_attack(seed: u64, attack: impl FnOnce(&Team)) {
    let splitter = Splitter::start(&["--input", "push:127.0.0.1:0/live"]);
    let door = splitter.ingest.unwrap();
    let mut team = Team::of(splitter, 3);
    team.wait_complete();
    let players = team.play();
    let source = Recipe { seed, millis: 9_000, ..Recipe::default() }.make();
    let sent = source.clone();
    let publisher = thread::spawn(move || publish::publish(door, "/live", Method::PutChunked, &sent));
    players[0].wait_bytes(60_000, PATIENCE);
    let ids = team.peers.iter().map(|peer| peer.process.id()).chain([team.splitter.process.id()]);
    let before = Before::of(ids);

    attack(&team);

    before.assert_no_growth();
    assert_eq!(publisher.join().unwrap().unwrap().0, 200);
    team.splitter.wait_taken(source.len(), PATIENCE);
    team.splitter.process.terminate();
    for player in players {
        assert_eq!(assert_to_the_end(&source, &player.finish(), HEADER_BYTES).played.start, 0);
    }
    team.ends();
    for last in team.last() {
        assert_eq!(last["lost_chunks_total"], 0, "{last:#}");
    }
}

/// Datagrams that are no QUIC, begin like it, are cut short, are empty, or are as large as UDP takes.
#[test]
fn noise_at_the_udp_ports() {
    under_attack(61, |team| {
        let mut noise = Noise::new(61);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let targets: Vec<SocketAddr> =
            team.peers.iter().map(|peer| peer.listen).chain([team.splitter.listen]).collect();
        let mut blocks: Vec<Vec<u8>> = Vec::new();
        for round in 0..400 {
            // A first packet of QUIC version 1 with noise for a body, whole and cut; one of an unknown version; a short header.
            let mut initial =
                [&[0xC3, 0, 0, 0, 1, 8][..], &noise.bytes(8), &[8], &noise.bytes(8), &[0, 0x44, 0x9E]]
                    .concat();
            initial.extend(noise.bytes(1_200 - initial.len()));
            let mut unknown = initial.clone();
            unknown[1..5].copy_from_slice(b"\x0A\x0A\x0A\x0A");
            let short = [&[0x40][..], &noise.bytes(round % 300)].concat();
            let cut = initial[..round % initial.len()].to_vec();
            blocks.extend([initial, cut, unknown, short, noise.bytes(round * 3), Vec::new()]);
            if round % 20 == 0 {
                blocks.push(noise.bytes(65_507));
            }
        }
        // Eight at a time, then a pause as long as the stream takes for one of them: some thousand a second and port.
        for batch in blocks.chunks(8) {
            let mut parts = batch.iter();
            publish::paced(parts.next().map(Vec::as_slice), |datagram| to_all(&socket, &targets, datagram))
                .unwrap();
            parts.for_each(|datagram| to_all(&socket, &targets, datagram).unwrap());
        }
    });
}

fn to_all(socket: &UdpSocket, targets: &[SocketAddr], datagram: &[u8]) -> io::Result<()> {
    targets.iter().try_for_each(|target| socket.send_to(datagram, target).map(drop))
}

/// Connections to the ingest port that bring no stream: noise, heads cut short, too large, with too many fields, with lengths
/// that are none; more of them than wait at a time; and some that say nothing at all.
#[test]
fn noise_at_the_ingest_port() {
    under_attack(62, |team| {
        let door = team.splitter.ingest.unwrap();
        let mut noise = Noise::new(62);
        let fields = "X-Field: x\r\n".repeat(65);
        let long = format!("X-Long: {}\r\n", "x".repeat(17 * 1024));
        for (request, status) in [
            (noise.bytes(4_000), 400),
            (b"\r\n\r\n\r\n".to_vec(), 400),
            (b"PUT /live HTTP/9.9\r\n\r\n".to_vec(), 400),
            (b"PUT /live HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_vec(), 400),
            (b"PUT /live HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(), 400),
            (b"PUT /live HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n".to_vec(), 400),
            (format!("PUT /live HTTP/1.1\r\n{fields}\r\n").into_bytes(), 431),
            (format!("PUT /live HTTP/1.1\r\n{long}\r\n").into_bytes(), 431),
        ] {
            let answer = exchange(door, &request);
            let line = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
            assert!(
                line.contains(&status.to_string()),
                "{:?}: {line}",
                String::from_utf8_lossy(&request[..20.min(request.len())])
            );
        }
        let silent: Vec<TcpStream> = (0..40).filter_map(|_| http::connect(door).ok()).collect();
        let refused =
            |stats: &serde_json::Value| stats["ingest"]["refused_total"].as_u64() >= Some(8 + 40 - 16);
        team.splitter.process.wait_stats("refused connections", PATIENCE, refused);
        drop(silent);
    });
}

/// A body that breaks its own framing is cut off there, with a reason; the next publisher is served.
#[test]
fn broken_bodies_at_the_ingest_port() {
    let splitter = Splitter::start(&["--input", "push:127.0.0.1:0/live"]);
    let door = splitter.ingest.unwrap();
    let before = Before::of([splitter.process.id()]);
    for (number, body) in
        [&b"zz\r\n"[..], b"fffffffffffffffff\r\n", b"5\r\nhelloXX", b"-5\r\n", &[b'1'; 5_000]]
            .into_iter()
            .enumerate()
    {
        let answer =
            exchange(door, &[b"PUT /live HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat());
        assert!(answer.starts_with(b"HTTP/1.1 400"), "{number}: {}", String::from_utf8_lossy(&answer));
    }
    let source = Recipe { seed: 63, millis: 1_000, ..Recipe::default() }.make();
    assert_eq!(publish::publish(door, "/live", Method::PutChunked, &source).unwrap().0, 200);
    splitter.process.wait_stats("MPEG-TS", PATIENCE, |stats| stats["ingest"]["container"] == "MPEG-TS");
    before.assert_no_growth();
}

/// Noise between a transport stream's datagrams is dropped and counted, and the stream itself comes through whole.
#[test]
fn noise_at_the_udp_door() {
    let splitter = Splitter::start(&["--input", "udp://127.0.0.1:0"]);
    let door = splitter.ingest.unwrap();
    let mut team = Team::of(splitter, 2);
    team.wait_complete();
    let players = team.play();
    let before = Before::of([team.splitter.process.id()]);
    let source = Recipe { seed: 64, millis: 4_000, ..Recipe::default() }.make();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (mut noise, mut junk_bytes, mut count) = (Noise::new(64), 0, 0);
    publish::paced(datagrams(&source), |datagram| {
        count += 1;
        if count % 3 == 0 {
            let size = [1, 100, 187, 700, 1_400, 9_000, 60_000][count / 3 % 7];
            // Not the byte that packets begin with: what is neither is what this test is about.
            let junk: Vec<u8> =
                noise.bytes(size).into_iter().map(|byte| if byte == 0x47 { 0x48 } else { byte }).collect();
            junk_bytes += junk.len();
            socket.send_to(&junk, door)?;
            socket.send_to(&[], door)?;
        }
        socket.send_to(datagram, door).map(drop)
    })
    .unwrap();
    let stats = team
        .splitter
        .process
        .wait_stats("the whole stream", PATIENCE, |stats| stats["bytes_total"] == source.len());
    assert_eq!(stats["ingest"]["dropped_bytes_total"], junk_bytes, "{stats:#}");
    before.assert_no_growth();
    team.splitter.process.terminate();
    for player in players {
        assert_eq!(assert_to_the_end(&source, &player.finish(), HEADER_BYTES).played.start, 0);
    }
    team.ends();
}

/// Requests to the player port that are none, or ask for what is not theirs.
#[test]
fn noise_at_the_player_port() {
    under_attack(65, |team| {
        let player = team.peers[0].player;
        let mut noise = Noise::new(65);
        for (request, status) in [
            (noise.bytes(3_000), None),
            (vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3], None),
            (format!("GET /live HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20 * 1024)).into_bytes(), None),
            (b"GET /live HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_vec(), Some(421)),
            (b"GET /live HTTP/1.1\r\n\r\n".to_vec(), Some(400)),
            (b"GET /live HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n".to_vec(), Some(400)),
            (b"POST /live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello".to_vec(), Some(405)),
            (
                b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(),
                Some(404),
            ),
            (b"GET /live.webm HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(), Some(404)),
        ] {
            let answer = String::from_utf8_lossy(&exchange(player, &request)).into_owned();
            let line = answer.lines().next().unwrap_or_default();
            match status {
                Some(status) => assert!(line.contains(&status.to_string()), "{:?}: {line}", &request[..20]),
                // Hung up on with bytes unread, the asker's system may throw the answer away.
                None => assert!(line.is_empty() || line.contains(" 4"), "{line}"),
            }
        }
        team.peers[0].wait_stats("malformed requests", |stats| {
            stats["playout"]["refused_malformed_total"].as_u64() >= Some(3)
        });
        // Heads that never end, and more connections than there are places for.
        let mut waiting: Vec<TcpStream> = (0..100).filter_map(|_| http::connect(player).ok()).collect();
        for connection in &mut waiting {
            // One beyond the last place is closed at once.
            connection.write_all(b"GET /stats HTTP/1.1\r\nHost: loc").ok();
        }
        // 64 places, one of them the player's own; those beyond hear why, or nothing.
        team.peers[0].process.wait_stats("refused connections", PATIENCE, |stats| {
            stats["playout"]["refused_full_total"].as_u64() >= Some(20)
        });
        drop(waiting);
    });
}

/// Sends `request`, ends, and reads whatever comes back.
fn exchange(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut connection = http::connect(address).unwrap();
    // Whoever refuses early may hang up before all of it was sent.
    connection.write_all(request).and_then(|()| connection.shutdown(Shutdown::Write)).ok();
    let mut answer = Vec::new();
    let mut block = [0; 4_096];
    while let Ok(read) = connection.read(&mut block) {
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&block[..read]);
    }
    answer
}

/// A player that asks and never reads holds back nobody, costs bounded memory, and is hung up on after half a minute.
#[test]
fn a_player_that_never_reads() {
    let source = Recipe { seed: 66, millis: 10_000, bits_per_s: 4_000_000, ..Recipe::default() }.make();
    let file = crate::doors::TempFile::new("never.ts", &source);
    let team = Team::start(2, &["--input", file.path(), "--loop"]);
    let peer = &team.peers[0];
    let players = team.play();
    let mut deaf: Vec<TcpStream> = (0..3).map(|_| http::connect(peer.player).unwrap()).collect();
    for connection in &mut deaf {
        connection.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    }
    let hung_up = peer
        .process
        .wait_stats("players hung up on", 2 * PATIENCE, |stats| stats["playout"]["stalled_total"] == 3);
    assert_eq!(hung_up["playout"]["players"], 1, "{hung_up:#}");
    assert_eq!(hung_up["lost_chunks_total"], 0, "{hung_up:#}");
    let rss = rss_kib(peer.process.id());
    assert!(rss < 64 * 1024, "{rss} KiB with players that do not read");
    team.splitter.process.terminate();
    let rounds = source.repeat(8);
    for player in players {
        let output = player.finish();
        assert!(output.len() > 20 * 500_000 && rounds.starts_with(&output), "{} bytes", output.len());
    }
}

/// A peer that stops reading its sockets is a peer that is gone; when it wakes up, it joins anew.
#[test]
fn a_peer_that_freezes() {
    use nix::sys::signal::Signal;
    let splitter = Splitter::start(&["--input", "testcard"]);
    let team = Team::of(splitter, 3);
    team.wait_complete();
    let before = Before::of([team.peers[0].process.id(), team.splitter.process.id()]);
    team.peers[2].process.signal(Signal::SIGSTOP);
    team.splitter.process.wait_stats("its loss", PATIENCE, |stats| stats["team_peers"] == 2);
    before.assert_no_growth();
    team.peers[2].process.signal(Signal::SIGCONT);
    team.splitter.wait_ready(3);
    let again = Peer::start("another peer", &team.splitter.link, &NONE);
    again.wait_played(1, PATIENCE);
}
