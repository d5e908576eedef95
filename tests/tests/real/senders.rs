//! Every ingest door with the senders that people use: what they send reaches eight peers, and each of them gives out the same
//! bytes from its join point on.

use crate::{
    clips::{Clip, ogg, short_ts, webm},
    tools::{ffmpeg, run, tool},
};
use p2psp_tests::{
    bytes::assert_to_the_end,
    player::Player,
    team::{Splitter, Team},
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, UdpSocket},
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

const PEERS: usize = 8;
/// PAT and PMT.
const TS_HEADER_BYTES: usize = 376;
/// Codec set-ups and comments of other containers.
const HEADER_BYTES_MAX: usize = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);

fn assert_all_whole(source: &[u8], players: Vec<Player>) {
    for player in players {
        let place = assert_to_the_end(source, &player.finish(), TS_HEADER_BYTES);
        // A sender's first packets are tables; the first keyframe comes right behind.
        assert!(place.played.start <= 10 * 188, "{place:?}");
    }
}

/// A splitter with this input, its complete team, and players at all of it.
fn ready(input: &str) -> (Team, SocketAddr, Vec<Player>) {
    let splitter = Splitter::start(&["--input", input]);
    let door = splitter.ingest.expect("a door with an address");
    let team = Team::of(splitter, PEERS);
    team.wait_complete();
    let players = team.play();
    (team, door, players)
}

/// A sender that copies the clip in real time.
fn copying(clip: &Clip, to: &[&str]) -> Command {
    ffmpeg(&[&["-re", "-i", clip.path(), "-c", "copy"], to].concat())
}

/// A sender over HTTP, which must be content with the door.
fn published(input: &str, sender: impl FnOnce(SocketAddr) -> Command) {
    let (mut team, door, players) = ready(input);
    run(&mut sender(door), PATIENCE);
    let source = &short_ts().bytes;
    team.splitter.wait_taken(source.len(), PATIENCE);
    team.splitter.process.terminate();
    assert_all_whole(source, players);
    team.ends();
}

#[test]
fn ffmpeg_by_http_put() {
    published("push:127.0.0.1:0/live", |door| {
        copying(short_ts(), &["-f", "mpegts", "-method", "PUT", &format!("http://{door}/live")])
    });
}

#[test]
fn ffmpeg_by_http_post() {
    published("push:127.0.0.1:0/live", |door| {
        copying(short_ts(), &["-f", "mpegts", &format!("http://{door}/live")])
    });
}

#[test]
fn ffmpeg_by_icecast_put() {
    published("push:source:hackme@127.0.0.1:0/live", |door| {
        copying(
            short_ts(),
            &["-f", "mpegts", "-content_type", "video/mp2t", &format!("icecast://source:hackme@{door}/live")],
        )
    });
}

/// This sender leaves without reading the door's answer, so that its own system resets the connection and may throw away what
/// it had not sent yet: the last fraction of a second. What came in is played, all of it.
#[test]
fn ffmpeg_by_icecast_source() {
    let (mut team, door, players) = ready("push:source:hackme@127.0.0.1:0/live");
    let url = format!("icecast://source:hackme@{door}/live");
    let to = ["-f", "mpegts", "-content_type", "video/mp2t", "-legacy_icecast", "1", &url];
    run(&mut copying(short_ts(), &to), PATIENCE);
    team.splitter.process.wait_log("waiting for the next", PATIENCE);
    let whole = &short_ts().bytes;
    let stats = team.splitter.process.wait_stats("nearly all of it", PATIENCE, |stats| {
        stats["ingest"]["state"] == "connecting"
            && stats["ingest"]["bytes_total"] == stats["bytes_total"]
            && stats["bytes_total"].as_u64() > u64::try_from(whole.len() - 64 * 1024).ok()
    });
    let taken = usize::try_from(stats["bytes_total"].as_u64().unwrap()).unwrap();
    team.splitter.process.terminate();
    assert_all_whole(&whole[..taken], players);
    team.ends();
}

/// curl sends in bursts of a second, so players join at the newest keyframe of the first one.
#[test]
fn curl_upload() {
    let (mut team, door, players) = ready("push:127.0.0.1:0/live");
    let mut curl = tool("curl");
    // At about the clip's own rate.
    curl.args([
        "--silent",
        "--show-error",
        "--fail",
        "--limit-rate",
        "60k",
        "--upload-file",
        short_ts().path(),
    ]);
    run(curl.arg(format!("http://{door}/live")), PATIENCE);
    let source = &short_ts().bytes;
    team.splitter.wait_taken(source.len(), PATIENCE);
    team.splitter.process.terminate();
    for player in players {
        let place = assert_to_the_end(source, &player.finish(), TS_HEADER_BYTES);
        assert!(place.played.start < source.len() / 2, "{place:?}");
    }
    team.ends();
}

#[test]
fn ffmpeg_through_a_pipe() {
    let source = short_ts();
    let mut team = Team::start(PEERS, &["--input", "-"]);
    let players = team.play();
    let mut stdin = team.splitter.process.stdin.take().unwrap();
    let mut sender = copying(source, &["-f", "mpegts", "pipe:1"]);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut sender = sender.stdout(writer).spawn().unwrap();
    let mut piped = Vec::new();
    let mut block = [0; 4_096];
    // `sender` held the last writing end; it goes with the process.
    while let Ok(read) = reader.read(&mut block)
        && read > 0
    {
        piped.extend_from_slice(&block[..read]);
        stdin.write_all(&block[..read]).unwrap();
        if piped.len() == source.bytes.len() {
            break;
        }
    }
    assert!(sender.wait().unwrap().success());
    drop(stdin);
    assert_all_whole(&source.bytes, players);
    team.ends();
}

#[test]
fn ffmpeg_as_a_command() {
    let source = short_ts();
    // Started again when it has ended, it must not begin anew within this test.
    let command = format!(
        "exec:ffmpeg -loglevel warning -nostdin -re -i {} -c copy -f mpegts - && exec sleep 1000",
        source.path()
    );
    let mut team = Team::start(PEERS, &["--input", &command]);
    let players = team.play();
    team.splitter.wait_taken(source.bytes.len(), PATIENCE);
    team.splitter.process.terminate();
    assert_all_whole(&source.bytes, players);
    team.ends();
}

#[test]
fn a_file_made_by_ffmpeg() {
    let source = short_ts();
    let mut team = Team::start(PEERS, &["--input", source.path()]);
    assert_all_whole(&source.bytes, team.play());
    team.ends();
}

/// Datagrams on their way from a sender to the splitter, passed on and written down without their first `head` bytes.
struct Wire {
    address: SocketAddr,
    stop: UdpSocket,
    recorded: mpsc::Receiver<Vec<u8>>,
}

impl Wire {
    fn to(door: SocketAddr, head: usize) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (sender, recorded) = mpsc::channel();
        thread::spawn(move || {
            let (mut record, mut datagram) = (Vec::new(), vec![0; 65_536]);
            while let Ok((size, _)) = socket.recv_from(&mut datagram) {
                if size == 0 {
                    break;
                }
                record.extend_from_slice(&datagram[head..size]);
                socket.send_to(&datagram[..size], door).unwrap();
            }
            sender.send(record).unwrap();
        });
        Self { address, stop: UdpSocket::bind("127.0.0.1:0").unwrap(), recorded }
    }

    fn recorded(self) -> Vec<u8> {
        self.stop.send_to(&[], self.address).unwrap();
        self.recorded.recv_timeout(PATIENCE).unwrap()
    }
}

fn in_datagrams(input: &str, head: usize, sender: impl FnOnce(SocketAddr) -> Command) {
    let (mut team, door, players) = ready(input);
    let wire = Wire::to(door, head);
    run(&mut sender(wire.address), PATIENCE);
    let source = wire.recorded();
    assert!(source.len() > short_ts().bytes.len() / 2, "only {} bytes were sent", source.len());
    team.splitter.wait_taken(source.len(), PATIENCE);
    team.splitter.process.terminate();
    assert_all_whole(&source, players);
    team.ends();
}

#[test]
fn ffmpeg_by_udp() {
    in_datagrams("udp://127.0.0.1:0", 0, |to| {
        copying(short_ts(), &["-f", "mpegts", &format!("udp://{to}?pkt_size=1316")])
    });
}

#[test]
fn ffmpeg_by_rtp() {
    const RTP_HEADER_BYTES: usize = 12;
    in_datagrams("rtp://127.0.0.1:0", RTP_HEADER_BYTES, |to| {
        // RTCP goes to a port of its own, away from the stream's.
        let rtcp = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        copying(short_ts(), &["-f", "rtp_mpegts", &format!("rtp://{to}?rtcpport={rtcp}&pkt_size=1328")])
    });
}

/// WebM and Ogg are bytes as well: from a cluster or a page on, behind their header, for whoever comes and whenever.
fn plain_bytes(clip: &'static Clip, content_type: &str) {
    let mut team = Team::start(PEERS, &["--input", clip.path()]);
    let players = team.play();
    players[0].wait_bytes(clip.bytes.len() / 2, PATIENCE);
    let late = team.peers[PEERS - 1].play();
    late.wait_bytes(1, PATIENCE);
    assert_eq!(late.content_type(), content_type);
    for player in players {
        let place = assert_to_the_end(&clip.bytes, &player.finish(), HEADER_BYTES_MAX);
        assert!(place.played.start < clip.bytes.len() / 8, "{place:?}");
    }
    let late = assert_to_the_end(&clip.bytes, &late.finish(), HEADER_BYTES_MAX);
    assert!(late.header_bytes > 0 && late.played.start > clip.bytes.len() / 8, "{late:?}");
    team.ends();
}

#[test]
fn webm_as_plain_bytes() {
    plain_bytes(webm(), "video/webm");
}

#[test]
fn ogg_as_plain_bytes() {
    plain_bytes(ogg(), "audio/ogg");
}

/// The same by a door where bytes come as they come.
#[test]
fn ffmpeg_by_icecast_with_ogg() {
    let (mut team, door, players) = ready("push:source:hackme@127.0.0.1:0/live");
    let url = format!("icecast://source:hackme@{door}/live");
    // Copied pages are laid out anew, as by the same command into a file.
    let copied = crate::tools::artefact("copied.ogg");
    let copy = [
        "-c",
        "copy",
        "-t",
        "8",
        "-page_duration",
        "100000",
        "-fflags",
        "+bitexact",
        "-serial_offset",
        "7",
        "-f",
        "ogg",
    ];
    run(&mut ffmpeg(&[&["-i", ogg().path()], &copy[..], &[copied.to_str().unwrap()]].concat()), PATIENCE);
    run(
        &mut ffmpeg(
            &[&["-re", "-i", ogg().path()], &copy[..], &["-content_type", "audio/ogg", &url]].concat(),
        ),
        PATIENCE,
    );
    let source = std::fs::read(copied).unwrap();
    team.splitter.wait_taken(source.len(), PATIENCE);
    team.splitter.process.terminate();
    for player in players {
        assert_eq!(player.content_type(), "audio/ogg");
        let place = assert_to_the_end(&source, &player.finish(), HEADER_BYTES_MAX);
        assert!(place.played.start < source.len() / 4, "{place:?}");
    }
    team.ends();
}
