//! Every ingest door that needs no other program: a transport stream goes in, and eight peers give it out, from their join
//! point to its last byte.

use p2psp_tests::{
    bytes::assert_to_the_end,
    player::Player,
    process::Process,
    publish::{self, Method, Serving},
    team::{Splitter, Team},
    ts::{PACKET_BYTES, Recipe},
};
use std::{fs, io::Write, net::SocketAddr, os::fd::AsRawFd, path::PathBuf, thread, time::Duration};

const PEERS: usize = 8;
/// Tables: PAT and PMT.
const HEADER_BYTES: usize = 2 * PACKET_BYTES;
const PATIENCE: Duration = Duration::from_secs(20);

/// A short stream, another one for each door.
fn stream(seed: u64) -> Vec<u8> {
    Recipe { seed, millis: 3_000, ..Recipe::default() }.make()
}

/// A file with `bytes` that is gone when this is dropped.
pub(crate) struct TempFile(pub(crate) PathBuf);

impl TempFile {
    pub(crate) fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("p2psp-test-{}-{name}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

/// All players were there before the source, so all got it whole.
fn assert_all_whole(source: &[u8], players: Vec<Player>) {
    for player in players {
        let place = assert_to_the_end(source, &player.finish(), HEADER_BYTES);
        assert_eq!(place.played.start, 0, "{place:?}");
    }
}

/// A source that ends takes the splitter and the peers along, after its last byte.
fn to_its_end(arguments: &[&str], source: &[u8], feed: impl FnOnce(&mut Process)) {
    let mut team = Team::start(PEERS, arguments);
    let players = team.play();
    feed(&mut team.splitter.process);
    assert_all_whole(source, players);
    team.ends();
    for last in team.last() {
        assert_eq!(last["lost_chunks_total"], 0, "{last:#}");
        assert_eq!(last["played_bytes_total"], source.len(), "{last:#}");
    }
}

/// A door that stays open when its publisher has gone; the splitter is asked to leave when it has taken everything in.
fn pushed(input: &str, source: &[u8], push: impl FnOnce(SocketAddr, &[u8])) {
    let splitter = Splitter::start(&["--input", input]);
    let door = splitter.ingest.expect("a door with an address");
    let mut team = Team::of(splitter, PEERS);
    team.wait_complete();
    let players = team.play();
    push(door, source);
    team.splitter.wait_taken(source.len(), PATIENCE);
    team.splitter.process.terminate();
    assert_all_whole(source, players);
    team.ends();
}

#[test]
fn a_file_at_its_own_speed() {
    let source = stream(11);
    let file = TempFile::new("door.ts", &source);
    to_its_end(&["--input", file.path()], &source, |_| {});
}

#[test]
fn standard_input() {
    let source = stream(12);
    to_its_end(&["--input", "-"], &source, |splitter| {
        let mut stdin = splitter.stdin.take().unwrap();
        let bytes = source.clone();
        thread::spawn(move || stdin.write_all(&bytes).unwrap());
    });
}

#[test]
fn the_output_of_a_command() {
    let source = stream(13);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let bytes = source.clone();
    thread::spawn(move || publish::paced(bytes.chunks(2_048), |block| writer.write_all(block)).unwrap());
    // Started again after its end, the command finds nothing more.
    pushed_by_itself(&format!("exec:exec cat {}", path_of(&reader)), &source);
}

/// A path by which a child may open the reading end of a pipe.
pub(crate) fn path_of(pipe: &impl AsRawFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), pipe.as_raw_fd())
}

/// As `pushed`, for a source that the splitter starts.
fn pushed_by_itself(input: &str, source: &[u8]) {
    let mut team = Team::start(PEERS, &["--input", input]);
    let players = team.play();
    team.splitter.wait_taken(source.len(), PATIENCE);
    team.splitter.process.terminate();
    assert_all_whole(source, players);
    team.ends();
}

#[test]
fn http_put_in_chunks() {
    pushed("push:127.0.0.1:0/live", &stream(14), |door, source| {
        assert_eq!(
            publish::publish(door, "/live", Method::PutChunked, source).unwrap(),
            (200, String::new())
        );
    });
}

#[test]
fn http_post_with_a_length() {
    pushed("push:127.0.0.1:0/live", &stream(15), |door, source| {
        assert_eq!(
            publish::publish(door, "/live", Method::PostLength, source).unwrap(),
            (200, String::new())
        );
    });
}

#[test]
fn icecast_put() {
    pushed("push:source:hackme@127.0.0.1:0/live", &stream(16), |door, source| {
        assert_eq!(publish::publish(door, "/live", Method::IcecastPut, source).unwrap().0, 200);
    });
}

#[test]
fn icecast_source() {
    pushed("push:source:hackme@127.0.0.1:0/live", &stream(17), |door, source| {
        assert_eq!(publish::publish(door, "/live", Method::IcecastSource, source).unwrap().0, 200);
    });
}

#[test]
fn fetched_from_a_live_server() {
    let source = stream(18);
    let (server, sent) = publish::serve(source.clone(), Serving::Live).unwrap();
    pushed_by_itself(&format!("http://{server}/tv"), &source);
    let request = sent.join().unwrap().unwrap();
    assert!(request.starts_with("GET /tv HTTP/1.1\r\n"), "{request}");
}

/// What has a length is a file: played at its own speed, and the stream ends with it.
#[test]
fn fetched_as_a_file() {
    let source = stream(19);
    let (server, sent) = publish::serve(source.clone(), Serving::File).unwrap();
    to_its_end(&["--input", &format!("http://{server}/film.ts")], &source, |_| {});
    sent.join().unwrap().unwrap();
}

#[test]
fn udp_datagrams() {
    pushed("udp://127.0.0.1:0", &stream(20), |door, source| publish::udp(door, source).unwrap());
}

#[test]
fn rtp_packets() {
    pushed("rtp://127.0.0.1:0", &stream(21), |door, source| publish::rtp(door, source).unwrap());
}
