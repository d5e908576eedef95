//! The HTTP doors over real sockets: publishers that come (PUT, POST, Icecast), and servers that are fetched from.

mod door;

use std::time::Duration;

use door::{Door, golden, within};
use p2psp_media::ingest::{IngestOptions, IngestState, Source, queue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Opens the push door on a free port.
async fn push_door(prefix: &str, path: &str, options: IngestOptions) -> Door {
    let source = Source::parse(&format!("push:{prefix}127.0.0.1:0{path}")).expect("a source");
    let mut door = Door::open_with(source, options, queue());
    door.status(|s| s.local_address.is_some()).await;
    door
}

async fn connect(door: &Door) -> TcpStream {
    let address = door.status.borrow().local_address.expect("it listens");
    within(TcpStream::connect(address)).await.expect("loopback")
}

async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    within(stream.write_all(bytes)).await.expect("the door takes it");
}

/// Reads a reply's head.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.expect("a whole reply"));
    }
    String::from_utf8(head).expect("text")
}

/// Reads to the end of the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    within(stream.read_to_string(&mut text)).await.expect("text");
    text
}

/// Sends one request and gives the whole reply.
async fn ask(door: &Door, request: &str) -> String {
    let mut stream = connect(door).await;
    send(&mut stream, request.as_bytes()).await;
    rest(&mut stream).await
}

#[tokio::test]
async fn every_kind_of_publisher_is_taken_and_answered() {
    let media = golden("av.ts");
    let chunked: Vec<u8> = media
        .chunks(3000)
        .flat_map(|c| [format!("{:x}\r\n", c.len()).as_bytes(), c, b"\r\n"].concat())
        .chain(*b"0\r\n\r\n")
        .collect();
    let length = format!("PUT /a HTTP/1.1\r\nContent-Length: {}\r\n\r\n", media.len());
    for (request, body, first, last) in [
        // curl -T -, ffmpeg -method PUT
        (
            "PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
            &chunked,
            "HTTP/1.1 100 Continue",
            "HTTP/1.1 200 OK",
        ),
        ("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", &chunked, "", "HTTP/1.1 200 OK"),
        (length.as_str(), &media, "", "HTTP/1.1 200 OK"),
        // ffmpeg icecast://, and with -legacy_icecast 1
        (
            "PUT /a HTTP/1.1\r\nExpect: 100-continue\r\nIce-Public: 0\r\n\r\n",
            &media,
            "HTTP/1.1 100 Continue",
            "HTTP/1.1 200 OK",
        ),
        ("SOURCE /a HTTP/1.1\r\nice-name: x\r\n\r\n", &media, "HTTP/1.1 200 OK", ""),
        ("SOURCE /a ICE/1.0\r\n\r\n", &media, "HTTP/1.1 200 OK", ""),
    ] {
        let mut door = push_door("", "", IngestOptions::default()).await;
        let mut stream = connect(&door).await;
        send(&mut stream, request.as_bytes()).await;
        if !first.is_empty() {
            assert!(head(&mut stream).await.starts_with(first), "{request}");
        }
        send(&mut stream, body).await;
        assert!(door.bytes(media.len()).await == media, "{request}");
        assert_eq!(door.starts(), 3, "{request}");
        stream.shutdown().await.unwrap();
        assert!(rest(&mut stream).await.starts_with(last), "{request}");
        let status = door.status(|s| s.state == IngestState::Connecting).await;
        assert_eq!((status.bytes, status.refused), (u64::try_from(media.len()).unwrap(), 0), "{request}");
        door.stop().await;
    }
}

/// libshout asks what the server can do, and tries without a password first.
#[tokio::test]
async fn the_way_of_libshout_is_understood() {
    let mut door = push_door("source:hack%40me@", "/live.ogg", IngestOptions::default()).await;
    let mut stream = connect(&door).await;
    send(&mut stream, b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive\r\n\r\n").await;
    let options = head(&mut stream).await;
    assert!(options.starts_with("HTTP/1.1 200 OK") && options.contains("SOURCE"), "{options}");
    send(&mut stream, b"SOURCE /live.ogg HTTP/1.0\r\n\r\n").await;
    let refused = rest(&mut stream).await;
    assert!(refused.starts_with("HTTP/1.1 401 ") && refused.contains("WWW-Authenticate: Basic"), "{refused}");

    let mut stream = connect(&door).await;
    send(&mut stream, b"SOURCE /live.ogg HTTP/1.0\r\nAuthorization: Basic c291cmNlOmhhY2tAbWU=\r\n\r\n")
        .await;
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
    let media = golden("opus.ogg");
    send(&mut stream, &media).await;
    drop(stream);
    assert!(door.bytes(media.len()).await == media);
    door.status(|s| s.state == IngestState::Connecting && s.refused == 1).await;
    door.stop().await;
}

#[tokio::test]
async fn requests_that_bring_no_stream_are_told_why() {
    let mut door = push_door("source:pw@", "/live.ts", IngestOptions::default()).await;
    let wrong = "Authorization: Basic c291cmNlOm5vcGU=\r\n";
    let right = "Authorization: Basic c291cmNlOnB3\r\n";
    for (request, status, says) in [
        (format!("PUT /other HTTP/1.1\r\n{right}\r\n"), "404", "at /live.ts only"),
        (format!("PUT /live.ts HTTP/1.1\r\n{wrong}\r\n"), "401", "wrong"),
        ("GET /live.ts HTTP/1.1\r\n\r\n".into(), "405", "Allow: PUT, POST, SOURCE"),
        ("DELETE / HTTP/1.1\r\n\r\n".into(), "405", "players find it at a peer"),
        ("PUT / HTTP/1.1\r\nContent-Length: many\r\n\r\n".into(), "400", "Content-Length"),
        ("\u{16}\u{3}\u{1} TLS, perhaps".into(), "400", "not an HTTP request"),
        (format!("PUT / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65)), "431", "more than 64"),
        (format!("PUT / HTTP/1.1\r\nA: {}", "b".repeat(17_000)), "431", "longer than 16384"),
    ] {
        let reply = ask(&door, &request).await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {reply}");
        assert!(reply.contains(says), "{request}: {reply}");
    }
    assert_eq!(door.status(|s| s.refused == 8).await.bytes, 0);
    door.stop().await;
}

/// The virtual clock moves on as soon as nothing else can happen.
#[tokio::test(start_paused = true)]
async fn a_request_that_never_ends_is_ended() {
    let door = push_door("", "", IngestOptions::default()).await;
    let reply = ask(&door, "PUT / HTTP/1.1\r\nHos").await;
    assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
    door.stop().await;
}

/// A half-open connection would hold the door for ever.
#[tokio::test(start_paused = true)]
async fn a_publisher_that_is_silent_for_a_minute_is_hung_up_on() {
    let mut door = push_door("", "", IngestOptions::default()).await;
    let mut stream = connect(&door).await;
    send(&mut stream, b"SOURCE / HTTP/1.0\r\n\r\n").await;
    head(&mut stream).await;
    let start = tokio::time::Instant::now();
    door.status(|s| s.state == IngestState::Stalled).await;
    door.status(|s| s.state == IngestState::Connecting).await;
    let silent = start.elapsed().as_secs();
    assert!((60..=65).contains(&silent), "after {silent} s");
    assert_eq!(within(stream.read(&mut [0; 1])).await.unwrap_or(0), 0, "closed");
    door.stop().await;
}

/// One request more than a connection may make without bringing a stream.
#[tokio::test]
async fn a_connection_that_only_asks_is_closed() {
    let mut door = push_door("", "", IngestOptions::default()).await;
    let mut stream = connect(&door).await;
    for _ in 0..4 {
        send(&mut stream, b"OPTIONS * HTTP/1.1\r\n\r\n").await;
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
    }
    assert_eq!(within(stream.read(&mut [0; 1])).await.unwrap_or(0), 0, "closed");
    door.status(|s| s.refused == 1).await;
    door.stop().await;
}

#[tokio::test]
async fn a_second_publisher_is_refused_while_the_first_sends() {
    let mut door = push_door(
        "",
        "",
        IngestOptions { takeover_after: Duration::from_secs(600), ..IngestOptions::default() },
    )
    .await;
    let mut first = connect(&door).await;
    send(&mut first, b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let media = golden("av.ts");
    send(&mut first, &[b"ffff\r\n", &media[..]].concat()).await;
    door.bytes(media.len()).await;

    let reply = ask(&door, "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 409 ") && reply.contains("another publisher"), "{reply}");
    let reply = ask(&door, "SOURCE / HTTP/1.0\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 403 ") && reply.contains("silent for 600 s"), "{reply}");

    send(&mut first, &media).await;
    assert!(door.bytes(media.len() * 2).await == media.repeat(2), "the first is not disturbed");
    door.status(|s| s.refused == 2).await;
    door.stop().await;
}

/// OBS and others come back over a new connection while the server still holds the old one.
#[tokio::test]
async fn a_silent_publisher_gives_way_to_a_new_one() {
    let options = IngestOptions { takeover_after: Duration::ZERO, ..IngestOptions::default() };
    let mut door = push_door("", "", options).await;
    let media = golden("av.ts");
    let mut first = connect(&door).await;
    send(&mut first, b"SOURCE / HTTP/1.0\r\n\r\n").await;
    head(&mut first).await;
    send(&mut first, &media[..188 * 50 + 100]).await;
    door.bytes(188 * 50).await;

    let mut second = connect(&door).await;
    send(&mut second, b"SOURCE / HTTP/1.0\r\n\r\n").await;
    assert!(head(&mut second).await.starts_with("HTTP/1.1 200 OK"));
    send(&mut second, &media).await;
    let bytes = door.bytes(188 * 50 + 100 + media.len()).await;
    assert!(bytes == [&media[..188 * 50 + 100], &media].concat());
    assert_eq!(door.headers().len(), 1, "the same program: players go on");
    assert_eq!(within(first.read(&mut [0; 1])).await.unwrap_or(0), 0, "the first is hung up on");
    assert_eq!(door.status(|s| s.restarts == 1).await.state, IngestState::Live);
    door.stop().await;
}

#[tokio::test]
async fn a_body_cut_short_or_broken_is_told_and_the_door_stays() {
    let mut door = push_door("", "", IngestOptions::default()).await;
    let media = golden("av.ts");
    for body in [&b"not a chunk size\r\n"[..], b"10\r\nonly this"] {
        let mut stream = connect(&door).await;
        send(&mut stream, b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        send(&mut stream, body).await;
        stream.shutdown().await.unwrap();
        let reply = rest(&mut stream).await;
        assert!(reply.starts_with("HTTP/1.1 400 ") && reply.contains("cut short"), "{reply}");
    }
    let before = door.status.borrow().bytes;
    let mut stream = connect(&door).await;
    send(&mut stream, b"SOURCE / HTTP/1.0\r\n\r\n").await;
    send(&mut stream, &media).await;
    door.status(|s| s.bytes == before + u64::try_from(media.len()).unwrap()).await;
    door.stop().await;
}

/// More connections than may wait are closed; the one that publishes is not disturbed.
#[tokio::test]
async fn idle_connections_are_bounded() {
    let mut door = push_door("", "", IngestOptions::default()).await;
    let mut publisher = connect(&door).await;
    send(&mut publisher, b"SOURCE / HTTP/1.0\r\n\r\n").await;
    assert!(head(&mut publisher).await.starts_with("HTTP/1.1 200 OK"));
    let mut idle = Vec::new();
    for _ in 0..17 {
        idle.push(connect(&door).await);
    }
    door.status(|s| s.refused == 1).await;
    assert_eq!(within(idle[16].read(&mut [0; 1])).await.unwrap_or(0), 0, "the seventeenth is closed");
    let media = golden("av.ts");
    send(&mut publisher, &media).await;
    assert!(door.bytes(media.len()).await == media);
    door.stop().await;
}

/// A server that gives one canned reply to each connection, in turn, and tells what was asked.
async fn server(replies: Vec<Vec<u8>>, hold_open: bool) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let task = tokio::spawn(async move {
        let (mut requests, mut open) = (Vec::new(), Vec::new());
        for reply in replies {
            let (mut stream, _) = listener.accept().await.expect("a client");
            requests.push(head(&mut stream).await);
            stream.write_all(&reply).await.ok();
            if hold_open {
                open.push(stream);
            }
        }
        if hold_open {
            std::future::pending::<()>().await;
        }
        requests
    });
    (address, task)
}

fn reply(head: &str, body: &[u8]) -> Vec<u8> {
    [head.as_bytes(), b"\r\n\r\n", body].concat()
}

#[tokio::test]
async fn a_live_stream_is_fetched_through_redirects_and_dialed_again_when_it_ends() {
    let media = golden("av.ts");
    let (address, served) = server(
        vec![
            reply("HTTP/1.1 302 Found\r\nLocation: next?x=1", b""),
            reply("HTTP/1.0 200 OK\r\nContent-Type: video/mp2t", &media),
            reply("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0", b""),
            reply("HTTP/1.1 200 OK", &media),
        ],
        false,
    )
    .await;
    let mut door = Door::open(Source::parse(&format!("http://me:pw@{address}/dir/live.ts")).unwrap());
    assert!(door.bytes(media.len() * 2).await == media.repeat(2));
    let requests = within(served).await.unwrap();
    assert!(requests[0].starts_with("GET /dir/live.ts HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[1].starts_with("GET /dir/next?x=1 HTTP/1.1\r\n"), "{}", requests[1]);
    for request in &requests[..2] {
        let request = request.to_lowercase();
        assert!(request.contains(&format!("host: {address}")), "{request}");
        assert!(request.contains("authorization: basic bwu6chc="), "{request}");
        assert!(!request.contains("icy-metadata"), "no titles are asked for");
    }
    assert!(door.status(|s| s.restarts >= 2).await.bytes >= u64::try_from(media.len() * 2).unwrap());
    door.stop().await;
}

#[tokio::test]
async fn shoutcast_titles_are_taken_out() {
    let media = golden("a.mp3");
    let mut body = Vec::new();
    for (i, part) in media.chunks(1000).enumerate() {
        body.extend_from_slice(part);
        if part.len() == 1000 {
            body.push(u8::from(i % 2 == 0));
            body.extend_from_slice(if i % 2 == 0 { b"StreamTitle='a';" } else { b"" });
        }
    }
    let (address, _) = server(vec![reply("ICY 200 OK\r\nicy-metaint:1000", &body)], true).await;
    let mut door = Door::open(Source::parse(&format!("http://{address}/")).unwrap());
    assert!(door.bytes(media.len()).await == media);
    assert_eq!(door.headers()[0].content_type, "audio/mpeg");
    door.stop().await;
}

/// A file would come as fast as the network can: it is paced by its clock, and ends for good.
#[tokio::test]
async fn a_file_on_a_server_is_paced_and_ends() {
    let media = golden("av.ts");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}", media.len());
    let (address, _) = server(vec![reply(&head, &media)], true).await;
    let start = std::time::Instant::now();
    let mut door = Door::open(Source::parse(&format!("http://{address}/film.ts")).unwrap());
    assert!(door.bytes(usize::MAX).await == media);
    assert!(start.elapsed() >= Duration::from_millis(1200), "1.4 s of media in {:?}", start.elapsed());
    let (end, status) = door.ended().await;
    assert!(end.is_ok());
    assert_eq!((status.state, status.restarts), (IngestState::Ended, 0));
}

#[tokio::test]
async fn a_server_that_stalls_is_dialed_again() {
    let media = golden("av.ts");
    let replies = vec![reply("HTTP/1.1 200 OK", &media), reply("HTTP/1.1 200 OK", &media)];
    let (address, _) = server(replies, true).await;
    let options = IngestOptions { stall_after: Duration::from_millis(200), ..IngestOptions::default() };
    let mut door = Door::open_with(Source::parse(&format!("http://{address}/")).unwrap(), options, queue());
    assert!(door.bytes(media.len() * 2).await == media.repeat(2));
    assert!(door.status(|s| s.restarts >= 1).await.restarts >= 1);
    door.stop().await;
}

/// Not there, not HTTP, not TLS, redirects without end: tried again, never fatal, never a hot loop.
#[tokio::test]
async fn a_server_that_cannot_be_used_is_tried_again() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let garbage = || vec![reply("nonsense", b"nonsense"); 8];
    let (not_http, _) = server(garbage(), false).await;
    let round = vec![reply("HTTP/1.1 301 Moved\r\nLocation: /again\r\nContent-Length: 0", b""); 30];
    let (circular, _) = server(round, false).await;
    for url in [
        format!("http://{gone}/"),
        format!("http://{not_http}/"),
        format!("https://{gone}/"),
        format!("http://{circular}/"),
    ] {
        let start = std::time::Instant::now();
        let mut door = Door::open(Source::parse(&url).unwrap());
        let status = door.status(|s| s.restarts >= 2).await;
        assert_eq!((status.state, status.bytes), (IngestState::Connecting, 0), "{url}");
        assert!(start.elapsed() >= Duration::from_millis(250), "{url}: a pause between tries");
        door.stop().await;
    }
}
