//! Sources that are not there, stop, stall, come twice or change their format: told in one line, survived by the team, and taken
//! up again where that is possible.

use crate::doors::{TempFile, path_of};
use p2psp_tests::{
    bytes::{assert_to_the_end, place},
    cli, http,
    noise::Noise,
    publish::{self, BASIC, Method},
    team::{Splitter, Team},
    ts::{PACKET_BYTES, Recipe},
};
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

const HEADER_BYTES: usize = 2 * PACKET_BYTES;
const PATIENCE: Duration = Duration::from_secs(30);

/// The splitter must end with code 1, and its last line must contain all of `says`.
#[track_caller]
fn fails(input: &[&str], says: &[&str]) {
    let arguments = [&["splitter", "--listen", "127.0.0.1:0"], input].concat();
    let mut splitter = cli::start("splitter", &arguments);
    splitter.exits_with(1, PATIENCE);
    let log = splitter.log();
    let last = log.lines().last().unwrap_or_default();
    for part in says {
        assert!(last.contains(part), "{part:?} is not in the last line of:\n{log}");
    }
}

#[test]
fn files_that_are_of_no_use() {
    fails(&["--input", "/nowhere/film.ts"], &["cannot open /nowhere/film.ts", "check the path"]);
    fails(&["--input", "/"], &["cannot read from /"]);
    let plain = TempFile::new("plain.txt", &b"no clock in here\n".repeat(5_000));
    fails(&["--input", plain.path()], &["carries no clock", "--rate 4M"]);
    let empty = TempFile::new("empty.ts", b"");
    fails(&["--input", empty.path(), "--loop"], &["is empty", "name another"]);
}

/// A rate makes any bytes a stream.
#[test]
fn a_file_without_a_clock_at_a_rate() {
    let source = Noise::new(50).bytes(150_000);
    let file = TempFile::new("rate.bin", &source);
    let mut team = Team::start(2, &["--input", file.path(), "--rate", "600k"]);
    for player in team.play() {
        // Any record may be the first: there is no keyframe to wait for.
        let place = assert_to_the_end(&source, &player.finish(), 0);
        assert!(place.played.start < source.len() / 4, "{place:?}");
    }
    team.ends();
}

/// A command that fails is started again, with what it last said in the log; the team is there when it works.
#[test]
fn a_command_that_fails_at_first() {
    let source = Recipe { seed: 51, millis: 2_000, ..Recipe::default() }.make();
    let marker = TempFile::new("late.marker", b"");
    let (reader, mut writer) = std::io::pipe().unwrap();
    let command = format!(
        "exec:if rm {} 2>/dev/null; then echo no camera >&2; exit 7; fi; exec cat {}",
        marker.path(),
        path_of(&reader)
    );
    let mut team = Team::start(2, &["--input", &command]);
    let players = team.play();
    let line = team.splitter.process.wait_log("starting it again", PATIENCE);
    assert!(line.contains("exit status: 7") && line.contains("no camera"), "{line}");
    publish::paced(source.chunks(2_048), |block| writer.write_all(block)).unwrap();
    team.splitter.wait_taken(source.len(), PATIENCE);
    team.splitter.process.terminate();
    for player in players {
        assert_eq!(assert_to_the_end(&source, &player.finish(), HEADER_BYTES).played.start, 0);
    }
    team.ends();
}

/// A server that is not there yet is asked again.
#[test]
fn a_server_that_comes_late() {
    // Nobody else listens or dials from here, so that the port is still free when the server comes.
    let address = TcpListener::bind("127.0.0.9:0").unwrap().local_addr().unwrap();
    let splitter = Splitter::start(&["--input", &format!("http://{address}/live")]);
    let line = splitter.process.wait_log("trying again", PATIENCE);
    assert!(line.contains("cannot connect to"), "{line}");
    let team = Team::of(splitter, 1);
    let player = team.play().pop().unwrap();
    let listener = TcpListener::bind(address).unwrap();
    let (mut connection, _) = publish::accept(&listener).unwrap();
    let source = Recipe { seed: 52, millis: 2_000, ..Recipe::default() }.make();
    connection.write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
    publish::paced(source.chunks(2_048), |block| connection.write_all(block)).unwrap();
    team.splitter.wait_taken(source.len(), PATIENCE);

    // And when it answers no.
    drop(connection);
    let (mut connection, _) = publish::accept(&listener).unwrap();
    connection.write_all(b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap();
    let line = team.splitter.process.wait_log("answers 404", PATIENCE);
    assert!(line.contains("check the URL"), "{line}");
    team.splitter.process.terminate();
    assert_eq!(place(&source, &player.finish()).played, 0..source.len());
}

/// A publisher that breaks off leaves the team together; the next one goes on, for the same players.
#[test]
fn a_publisher_that_breaks_off() {
    let splitter = Splitter::start(&["--input", "push:127.0.0.1:0/live"]);
    let door = splitter.ingest.unwrap();
    let team = Team::of(splitter, 2);
    team.wait_complete();
    let players = team.play();
    let (first, second) =
        ([53, 54].map(|seed| Recipe { seed, millis: 2_000, ..Recipe::default() }.make())).into();
    break_off(door, &first);
    team.splitter.process.wait_log("waiting for the next", PATIENCE);
    team.splitter.wait_taken(first.len(), PATIENCE);
    assert_eq!(publish::publish(door, "/live", Method::PutChunked, &second).unwrap().0, 200);
    team.splitter.wait_taken(first.len() + second.len(), PATIENCE);
    let stats = team
        .splitter
        .process
        .wait_stats("two publishers", PATIENCE, |stats| stats["ingest"]["restarts_total"] == 1);
    assert_eq!((&stats["team_peers"], &stats["crashes_total"]), (&2.into(), &0.into()), "{stats:#}");
    team.splitter.process.terminate();
    let both = [first, second].concat();
    for player in players {
        assert_eq!(assert_to_the_end(&both, &player.finish(), HEADER_BYTES).played.start, 0);
    }
}

/// Sends all of `stream` in chunks, and vanishes without the last one.
fn break_off(door: SocketAddr, stream: &[u8]) {
    let mut connection = http::connect(door).unwrap();
    write!(connection, "PUT /live HTTP/1.1\r\nHost: {door}\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    publish::paced(stream.chunks(2_048), |block| {
        write!(connection, "{:x}\r\n", block.len())?;
        connection.write_all(block)?;
        connection.write_all(b"\r\n")
    })
    .unwrap();
}

/// A publisher that keeps silent is told of once, and is heard when it goes on. Its silence costs no player its connection.
#[test]
fn a_publisher_that_stalls() {
    let splitter = Splitter::start(&["--input", "push:127.0.0.1:0/live"]);
    let door = splitter.ingest.unwrap();
    let team = Team::of(splitter, 2);
    team.wait_complete();
    let players = team.play();
    let source = Recipe { seed: 55, millis: 3_000, ..Recipe::default() }.make();
    let (before, after) = source.split_at(source.len() / 2 / PACKET_BYTES * PACKET_BYTES);
    let mut connection = http::connect(door).unwrap();
    write!(connection, "POST /live HTTP/1.1\r\nHost: {door}\r\nContent-Length: {}\r\n\r\n", source.len())
        .unwrap();
    publish::paced(before.chunks(2_048), |block| connection.write_all(block)).unwrap();
    team.splitter.process.wait_stats("a stall", PATIENCE, |stats| stats["ingest"]["state"] == "stalled");
    team.splitter.process.wait_log("check that it is still sending", PATIENCE);

    publish::paced(after.chunks(2_048), |block| connection.write_all(block)).unwrap();
    team.splitter.wait_taken(source.len(), PATIENCE);
    assert_eq!(http::response(connection).unwrap().status, 200);
    team.splitter.process.terminate();
    for player in players {
        assert_eq!(assert_to_the_end(&source, &player.finish(), HEADER_BYTES).played.start, 0);
    }
    let log = team.splitter.process.log();
    assert_eq!(log.matches("check that it is still sending").count(), 1, "{log}");
}

/// Two publishers at once, a wrong password, a wrong path, a wrong method: each is told why, and the stream goes on.
#[test]
fn publishers_that_are_refused() {
    let splitter = Splitter::start(&["--input", "push:source:hackme@127.0.0.1:0/live"]);
    let door = splitter.ingest.unwrap();
    let team = Team::of(splitter, 1);
    team.wait_complete();
    let player = team.play().pop().unwrap();
    let source = Recipe { seed: 56, millis: 4_000, ..Recipe::default() }.make();
    let sent = source.clone();
    let publisher = std::thread::spawn(move || publish::publish(door, "/live", Method::PutChunked, &sent));
    player.wait_bytes(50_000, PATIENCE);

    for (request, status, says) in [
        (
            format!("PUT /live HTTP/1.1\r\nHost: h\r\n{BASIC}Transfer-Encoding: chunked\r\n\r\n"),
            409,
            "another publisher",
        ),
        (format!("SOURCE /live HTTP/1.0\r\n{BASIC}\r\n"), 403, "another publisher"),
        (
            "PUT /live HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            401,
            "password is wrong",
        ),
        (
            format!("PUT /other HTTP/1.1\r\nHost: h\r\n{BASIC}Transfer-Encoding: chunked\r\n\r\n"),
            404,
            "at /live only",
        ),
        (format!("GET /live HTTP/1.1\r\nHost: h\r\n{BASIC}\r\n"), 405, "players find it at a peer"),
    ] {
        let (got, text) = ask(door, &request);
        assert_eq!(got, status, "{request}: {text}");
        assert!(text.contains(says), "{request}: {text}");
    }
    assert_eq!(publisher.join().unwrap().unwrap().0, 200);
    team.splitter.wait_taken(source.len(), PATIENCE);
    let stats =
        team.splitter.process.wait_stats("refusals", PATIENCE, |stats| stats["ingest"]["refused_total"] == 5);
    assert_eq!(stats["ingest"]["restarts_total"], 0, "{stats:#}");
    team.splitter.process.terminate();
    assert_eq!(assert_to_the_end(&source, &player.finish(), HEADER_BYTES).played.start, 0);
}

fn ask(door: SocketAddr, request: &str) -> (u16, String) {
    let mut connection = http::connect(door).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    let response = http::response(connection).unwrap();
    (response.status, response.text().unwrap())
}

/// Another format is another stream: players of the old one end properly, new ones get the new one.
#[test]
fn a_source_that_changes_its_format() {
    let splitter = Splitter::start(&["--input", "push:127.0.0.1:0/live"]);
    let door = splitter.ingest.unwrap();
    let team = Team::of(splitter, 2);
    team.wait_complete();
    let old = team.play();
    let film = Recipe { seed: 57, millis: 2_000, ..Recipe::default() }.make();
    assert_eq!(publish::publish(door, "/live", Method::PutChunked, &film).unwrap().0, 200);
    team.splitter.wait_taken(film.len(), PATIENCE);

    let text = b"plain bytes follow the film\n".repeat(6_000);
    let mut connection = http::connect(door).unwrap();
    write!(
        connection,
        "PUT /live HTTP/1.1\r\nHost: {door}\r\nContent-Type: video/x-ticker\r\nContent-Length: {}\r\n\r\n",
        text.len()
    )
    .unwrap();
    let (begin, rest) = text.split_at(text.len() / 2);
    publish::paced(begin.chunks(2_048), |block| connection.write_all(block)).unwrap();
    for player in old {
        assert_eq!(assert_to_the_end(&film, &player.finish(), HEADER_BYTES).played.start, 0);
    }
    let new = team.play();
    new.iter().for_each(|player| {
        player.wait_bytes(1, PATIENCE);
        assert_eq!(player.content_type(), "video/x-ticker");
    });
    publish::paced(rest.chunks(2_048), |block| connection.write_all(block)).unwrap();
    team.splitter.wait_taken(film.len() + text.len(), PATIENCE);
    hang_up(connection);
    team.splitter.process.terminate();
    for player in new {
        let output = player.finish();
        assert!(text.ends_with(&output), "{} bytes that are no tail of the text", output.len());
    }
}

fn hang_up(mut connection: TcpStream) {
    connection.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    connection.read_to_end(&mut rest).unwrap();
    assert!(rest.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&rest));
}

/// A source that is over can leave the team waiting.
#[test]
fn a_team_that_waits_for_another_run() {
    let source = Recipe { seed: 58, millis: 1_500, ..Recipe::default() }.make();
    let file = TempFile::new("wait.ts", &source);
    let mut team = Team::start(2, &["--input", file.path(), "--on-end", "wait"]);
    let players = team.play();
    team.splitter.process.wait_log("the team is kept together", PATIENCE);
    let length = u64::try_from(source.len()).unwrap();
    team.peers.iter().for_each(|peer| peer.wait_played(length, PATIENCE));
    assert!(team.splitter.process.is_running());
    team.splitter.process.terminate();
    for player in players {
        assert_eq!(assert_to_the_end(&source, &player.finish(), HEADER_BYTES).played.start, 0);
    }
    team.ends();
}
