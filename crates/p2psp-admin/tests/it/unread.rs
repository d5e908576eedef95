//! Clients that ask and do not read: each is told, or cut, in time, with one line, and at no more cost than its own window.

use crate::{
    lines::Lines,
    strict::{Bystander, GET_TEAM, WATCH_TEAM, details, over_tcp, raw, tokens},
    team::{DEADLINE, Lab, peer},
};
use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use p2psp_admin::{Reason, limits, v1};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic::body::Body;

/// Lets time pass, second by second, while everyone goes on with their work: sockets are looked at every few dozen turns.
async fn pass(time: Duration) {
    tokio::time::pause();
    for _ in 0..time.as_secs() {
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..500 {
            tokio::task::yield_now().await;
        }
    }
    tokio::time::resume();
}

/// A watcher that opens a small window and never reads gets no more than that window, is cut in time, with one line, and the others on
/// its own connection go on.
#[tokio::test]
async fn a_watcher_that_never_reads_is_cut() {
    const WINDOW: u32 = 4 * 1024;
    let lab = Lab::open("strict-unread", 128).await;
    let lines = Lines::catch();
    let stream = TcpStream::connect(lab.tcp).await.unwrap();
    // Its answers to pings must not wait for the real time that passes while the test's is made to.
    stream.set_nodelay(true).unwrap();
    let (mut requests, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .handshake::<_, Body>(TokioIo::new(stream))
        .await
        .unwrap();
    drop(tokio::spawn(async move { connection.await.ok() }));
    let unread: Response<Incoming> = requests.send_request(raw(WATCH_TEAM, &[], &[])).await.unwrap();
    let mut bystander = Bystander::of(&lab).await;
    bystander.goes_on(&lab).await;

    pass(limits::UNREAD_MAX - Duration::from_secs(1)).await;
    assert_eq!(lines.take(), [""; 0], "not yet");
    pass(Duration::from_secs(2)).await;
    lines.one(&["by=\"loopback\" from=\"127.0.0.1:", WATCH_TEAM, "UNREAD"]);
    bystander.goes_on(&lab).await;
    let (mut body, mut read) = (unread.into_body(), 0);
    let ended = loop {
        match timeout(DEADLINE, body.frame()).await.unwrap() {
            Some(Ok(frame)) => read += frame.into_data().map_or(0, |data: Bytes| data.len()),
            Some(Err(error)) => break error,
            None => panic!("it did not end well"),
        }
    };
    assert!(read <= usize::try_from(WINDOW).unwrap(), "{read} bytes");
    assert!(format!("{ended:?}").contains("CANCEL"), "{ended:?}");
    let answer = timeout(DEADLINE, requests.send_request(raw(GET_TEAM, &[], &[]))).await.unwrap().unwrap();
    assert_eq!(answer.headers().get("grpc-status"), None, "the connection goes on");
    lab.close().await;
}

/// A watcher that reads, but too late, is told to begin anew, with one line.
#[tokio::test]
async fn a_watcher_that_reads_too_late_is_told_to_begin_anew() {
    let lab = Lab::open("strict-late", 64).await;
    let mut bystander = Bystander::of(&lab).await;
    let mut client = over_tcp(&lab, None).await.splitter();
    let mut late = client.watch_team(v1::WatchTeamRequest::default()).await.unwrap().into_inner();
    let lines = Lines::catch();
    // Members with long lists of addresses fill the windows soon.
    let candidates = vec!["[2001:db8:1234:5678:9abc:def0:1234:5678]:65535".to_owned(); 8];
    for joined_unix_ms in 0..20_000 {
        let candidates = candidates.clone();
        lab.team.peers.put(7, v1::Peer { joined_unix_ms, candidates, ..peer(7) });
        let message = timeout(DEADLINE, bystander.messages.message()).await.unwrap().unwrap().unwrap();
        bystander.revision += 1;
        assert_eq!(message.revision, bystander.revision, "whoever reads hears everything");
    }
    let ended = loop {
        match timeout(DEADLINE, late.message()).await.unwrap() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it did not end well"),
            Err(status) => break status,
        }
    };
    details(Err::<(), _>(ended), Reason::Resync);
    lines.one(&["by=\"loopback\" from=\"127.0.0.1:", WATCH_TEAM, "RESYNC"]);
    bystander.goes_on(&lab).await;
    lab.close().await;
}

/// A scraper that asks and asks and takes nothing off its socket is cut in time, with one line.
#[tokio::test]
async fn a_scraper_that_never_reads_is_cut() {
    let lab = Lab::open("strict-scraper", 1).await;
    let mut bystander = Bystander::of(&lab).await;
    let lines = Lines::catch();
    let (mut answers, mut stream) = TcpStream::connect(lab.tcp).await.unwrap().into_split();
    let head = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", lab.tcp);
    // It asks for as long as it can: first both sides' buffers fill up, then the server reads nothing any more because its answers do not
    // leave.
    let asks =
        tokio::spawn(async move { while stream.write_all(head.repeat(100).as_bytes()).await.is_ok() {} });
    bystander.goes_on(&lab).await;
    pass(limits::UNREAD_MAX - Duration::from_secs(5)).await;
    assert_eq!(lines.take(), [""; 0], "not yet");
    // How long the buffers took, nobody knows.
    for _ in 0..limits::UNREAD_MAX.as_secs() {
        if !lines.have_come() {
            pass(Duration::from_secs(1)).await;
        }
    }
    lines.one(&["by=\"loopback\" from=\"127.0.0.1:", "connection", "UNREAD"]);
    let mut rest = Vec::new();
    timeout(DEADLINE, answers.read_to_end(&mut rest)).await.unwrap().ok();
    timeout(DEADLINE, asks).await.unwrap().unwrap();
    bystander.goes_on(&lab).await;
    lab.close().await;
}

/// What an HTTP/2 client sends first, with a `WatchTeam` call: its preface, its settings, and the request (RFC 9113, 3.4 and 4.1).
fn watch_from_the_wire() -> Vec<u8> {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const DATA: u8 = 0;
    const END_HEADERS: u8 = 4;
    const END_STREAM: u8 = 1;
    let frame = |kind, flags, stream: u8, payload: &[u8]| {
        let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[..], &[kind, flags, 0, 0, 0, stream], payload].concat()
    };
    // Names by their place in HPACK's table (RFC 7541, A), values as they are.
    let value = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let (post, http, path, authority, content_type) = (0x83, 0x86, 0x04, 0x01, [0x0f, 0x10]);
    let head = [
        &[post, http, path][..],
        &value(WATCH_TEAM),
        &[authority],
        &value("localhost"),
        &content_type,
        &value("application/grpc"),
    ]
    .concat();
    let empty = [0; 5];
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &head),
        frame(DATA, END_STREAM, 1, &empty),
    ]
    .concat()
}

/// A client that freezes after it has asked, with room for all answers in the system's buffers: it is cut when it has given no sign of life
/// for too long, with one line, and the others are served all the while.
#[tokio::test]
async fn a_frozen_client_is_cut() {
    let lab = Lab::open("unread-frozen", 2).await;
    let mut bystander = Bystander::of(&lab).await;
    let lines = Lines::catch();
    let mut frozen = TcpStream::connect(lab.tcp).await.unwrap();
    frozen.set_nodelay(true).unwrap();
    frozen.write_all(&watch_from_the_wire()).await.unwrap();
    // It is answered: what it asked is understood, and no word of it is read.
    timeout(DEADLINE, frozen.readable()).await.unwrap().unwrap();
    for _ in 0..5 {
        pass(limits::UNREAD_MAX / 6).await;
        bystander.goes_on(&lab).await;
    }
    assert_eq!(lines.take(), [""; 0], "not yet");
    pass(limits::UNREAD_MAX / 3).await;
    lines.one(&["by=\"loopback\" from=\"127.0.0.1:", "connection", "UNREAD", "keep-alive timed out"]);
    bystander.goes_on(&lab).await;
    let mut answer = Vec::new();
    timeout(DEADLINE, frozen.read_to_end(&mut answer)).await.unwrap().ok();
    let told = String::from_utf8_lossy(&answer);
    assert!(told.contains(&peer(1).peer), "the team was on its way");
    pass(limits::UNREAD_MAX).await;
    assert_eq!(lines.take(), [""; 0]);
    bystander.goes_on(&lab).await;
    lab.close().await;
}

/// A scraper that keeps its connection, as Prometheus does, is nothing to tell of, however long it asks for nothing; nor is a client that
/// goes away, politely or not.
#[tokio::test]
async fn idle_connections_are_nothing_to_tell_of() {
    let lab = Lab::open("unread-idle", 1).await;
    let lines = Lines::catch();
    let mut stream = TcpStream::connect(lab.tcp).await.unwrap();
    let head = format!("GET /livez HTTP/1.1\r\nHost: {}\r\n\r\n", lab.tcp);
    stream.write_all(head.as_bytes()).await.unwrap();
    timeout(DEADLINE, stream.read(&mut [0; 1024])).await.unwrap().unwrap();
    let watcher = over_tcp(&lab, None).await;
    let mut watch =
        watcher.splitter().watch_team(v1::WatchTeamRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap();
    pass(limits::UNREAD_MAX * 2).await;
    assert_eq!(lines.take(), [""; 0]);
    drop((stream, watch, watcher));
    let mut half = TcpStream::connect(lab.tcp).await.unwrap();
    half.write_all(b"GET /livez HT").await.unwrap();
    drop(half);
    let mut bystander = Bystander::of(&lab).await;
    for _ in 0..100 {
        bystander.goes_on(&lab).await;
    }
    assert_eq!(lines.take(), [""; 0]);
    lab.close().await;
}

/// A client that was refused, or that only asks whether the process lives, is closed in time without another line; one that says nothing
/// at all has a line.
#[tokio::test]
async fn a_connection_has_one_line() {
    let (_vault, lab) = tokens("unread-strangers").await;
    let lines = Lines::catch();
    let mut streams = Vec::new();
    for path in ["/metrics", "/readyz", ""] {
        let mut stream = TcpStream::connect(lab.tcp).await.unwrap();
        if !path.is_empty() {
            let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", lab.tcp);
            stream.write_all(head.as_bytes()).await.unwrap();
            timeout(DEADLINE, stream.read(&mut [0; 1024])).await.unwrap().unwrap();
        }
        streams.push(stream);
    }
    lines.one(&["/metrics", "NO_TOKEN"]);
    pass(Duration::from_secs(15)).await;
    for stream in &mut streams {
        timeout(DEADLINE, stream.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    }
    lines.one(&["a stranger", "from=\"127.0.0.1:", "connection", "SILENT"]);
    lab.close().await;
}
