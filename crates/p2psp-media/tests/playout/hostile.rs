//! The player port against what it must survive: strangers' web pages, broken clients, and players that do not read.

use std::time::Duration;

use crate::lab::{Client, HEADER, Lab, config, payload, stream};
use p2psp_media::playout::{PlayoutConfig, REFUSALS_MAX, REQUEST_HEAD_BYTES_MAX, SpoolLimits};
use tokio::net::TcpSocket;

#[tokio::test]
async fn foreign_names_are_refused_with_a_sentence() {
    let named = PlayoutConfig { host_names: vec!["tv.lan".to_owned()], ..config() };
    let lab = Lab::playing("video/mp2t", named).await;
    for path in ["/live", "/", "/stats"] {
        let (status, text) =
            lab.ask(&format!("GET {path} HTTP/1.1\r\nHost: evil.example:8080\r\n\r\n")).await;
        assert_eq!(status, 421, "{path}");
        assert!(text.contains("does not answer to the name evil.example"), "{text}");
        assert!(text.contains("--player-host evil.example"), "{text}");
    }
    for host in ["", "Host: localhost\r\nHost: localhost\r\n", "Host: ]\r\n"] {
        assert_eq!(lab.ask(&format!("GET / HTTP/1.1\r\n{host}\r\n")).await.0, 400, "{host:?}");
    }
    for host in ["localhost", "127.0.0.1:1", "[::1]:9", "tv.lan"] {
        assert_eq!(lab.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.0, 200, "{host}");
    }
    assert_eq!(lab.stats().refused_host_total, 6);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_what_there_is() {
    let lab = Lab::playing("video/mp2t", config()).await;
    for path in ["/nope", "/live.xyz", "/assets/../Cargo.toml", "/assets/", "//live"] {
        let (status, text) = lab.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        assert_eq!(status, 404, "{path}");
        assert!(text.contains("/live.ts, /live.m3u, /stats and /events"), "{text}");
    }
    for method in ["POST", "PUT", "DELETE", "SOURCE", "TRACE"] {
        let (status, text) = lab
            .ask(&format!("{method} /live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"))
            .await;
        assert!(status == 405 && text.contains("allow: GET, HEAD, OPTIONS"), "{text}");
    }
    let stats = lab.stats();
    assert_eq!((stats.refused_not_found_total, stats.refused_method_total), (5, 5));
}

/// Whatever comes on the socket, the connection ends and the next player is served.
#[tokio::test]
async fn random_bytes_do_no_harm() {
    let lab = Lab::playing("video/mp2t", config()).await;
    for seed in 1..=64u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let noise: Vec<u8> = (0..seed * 64)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[0]
            })
            .chain(*b"\r\n\r\n")
            .collect();
        let mut client = lab.client().await;
        client.send_bytes(&noise).await;
        let answer = client.rest().await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "seed {seed}: {answer}");
    }
    assert_eq!(lab.stats().refused_malformed_total, 64);
    assert_eq!(lab.get("/live").await.1.status, 200);
}

#[tokio::test]
async fn a_request_head_has_a_limit() {
    let lab = Lab::playing("video/mp2t", config()).await;
    let frame = "GET / HTTP/1.1\r\nHost: localhost\r\nX: \r\nConnection: close\r\n\r\n";
    for (size, status) in [(REQUEST_HEAD_BYTES_MAX / 2, 200), (REQUEST_HEAD_BYTES_MAX + 1, 431)] {
        let filler = "x".repeat(size - frame.len());
        let mut client = lab.client().await;
        client.send(&frame.replace("X: ", &format!("X: {filler}"))).await;
        assert_eq!(client.head().await.status, status, "{size} bytes");
    }
    // More header fields than the parser takes.
    let mut client = lab.client().await;
    client.send(&format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "A: b\r\n".repeat(100))).await;
    assert_eq!(client.head().await.status, 431);
}

#[tokio::test]
async fn an_unfinished_head_is_cut_off() {
    let config = PlayoutConfig { header_timeout: Duration::from_millis(50), ..config() };
    let lab = Lab::playing("video/mp2t", config).await;
    for beginning in ["", "GET /live HTTP/1.1\r\nHost:"] {
        let mut client = lab.client().await;
        client.send(beginning).await;
        client.rest().await;
    }
    assert_eq!(lab.stats().idle_total, 2);
}

/// A player that never reads holds back nobody, keeps a bounded amount, and is disconnected.
#[tokio::test]
async fn a_player_that_never_reads_is_dropped_and_harms_nobody() {
    let config =
        PlayoutConfig { stalled_max: Duration::from_millis(300), send_buffer_bytes: 4096, ..config() };
    let limits = SpoolLimits {
        bytes_max: 1 << 20,
        units_max: 2000,
        reader_lag_bytes_max: 512 << 10,
        ..SpoolLimits::default()
    };
    let lab = Lab::silent(config, limits).await;
    lab.header("video/mp2t", 0);
    lab.push(0, true);

    let mut deaf = small_window_client(&lab).await;
    deaf.send("GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let (mut good, _) = lab.get("/live").await;
    lab.until("both play", |stats| stats.players == 2).await;

    // Far more than all buffers together: 45 MB, in portions that the good player has to have before the next.
    let mut seen = good.decoded(HEADER.len() + 1128).await.len();
    for portion in 0..1000u64 {
        let numbers = portion * 40 + 1..portion * 40 + 41;
        numbers.clone().for_each(|number| lab.push(number, number % 40 == 0));
        let expected = 40 * 1128;
        let got = good.decoded(expected).await;
        assert!(got == numbers.flat_map(payload).collect::<Vec<u8>>(), "portion {portion} differs");
        seen += got.len();
        assert!(lab.spool.stats().bytes_held <= limits.bytes_max);
    }
    assert_eq!(seen, HEADER.len() + 1128 * 40_001);
    lab.until("the deaf player is dropped", |stats| stats.stalled_total == 1 && stats.players == 1).await;
    // What the deaf one was given stayed within the kernel's buffers and one batch.
    let given_to_deaf = lab.stats().bytes_total - seen as u64;
    assert!(given_to_deaf < 1 << 20, "{given_to_deaf} bytes were taken for a player that reads nothing");
}

#[tokio::test]
async fn a_player_that_wakes_up_lands_on_the_newest_random_access_point() {
    let config = PlayoutConfig { send_buffer_bytes: 4096, ..config() };
    let limits = SpoolLimits {
        bytes_max: 1 << 20,
        units_max: 2000,
        reader_lag_bytes_max: 256 << 10,
        ..SpoolLimits::default()
    };
    let lab = Lab::silent(config, limits).await;
    lab.header("video/mp2t", 0);
    lab.push(0, true);
    let mut sleepy = small_window_client(&lab).await;
    sleepy.send("GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    lab.until("it plays", |stats| stats.players == 1).await;
    for number in 1..5000 {
        lab.push(number, number % 100 == 0);
        if number % 100 == 0 {
            // The server gets to run and fills the sleepy player's buffers.
            lab.ask("GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        }
    }
    lab.spool.close();
    let head = sleepy.head().await;
    let body = sleepy.body(&head).await;
    let units: Vec<u64> = body[HEADER.len()..]
        .chunks(1128)
        .map(|unit| u64::from_be_bytes(unit[..8].try_into().unwrap()))
        .collect();
    let jumps: Vec<&[u64]> = units.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
    assert!(
        !jumps.is_empty() && jumps.iter().all(|pair| pair[1] > pair[0] && pair[1] % 100 == 0),
        "{jumps:?}"
    );
    assert_eq!(units.last(), Some(&4999));
    assert_eq!(lab.stats().skips_total, jumps.len() as u64);
    assert_eq!(body.len(), HEADER.len() + 1128 * units.len());
}

/// One page more than may watch is told so; the others go on, players play, and a place that becomes free is given away.
#[tokio::test]
async fn event_feeds_have_a_limit() {
    let lab = Lab::playing("video/mp2t", PlayoutConfig { event_feeds_max: 3, ..config() }).await;
    let mut feeds = Vec::new();
    for _ in 0..3 {
        feeds.push(lab.get("/events").await);
    }
    let (mut refused, head) = lab.get("/events").await;
    assert_eq!((head.status, head.value("retry-after")), (503, Some("2")));
    let sentence = String::from_utf8(refused.body(&head).await).unwrap();
    assert!(sentence.starts_with("3 pages watch this peer already"), "{sentence}");
    assert_eq!((lab.stats().feeds, lab.stats().refused_full_total), (3, 1));
    assert_eq!(lab.ask("GET /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.0, 200);
    assert_eq!(lab.get("/live").await.1.status, 200);
    for (feed, _) in &mut feeds {
        // The first event, and the next one.
        assert!(feed.chunk().await.is_some() && feed.chunk().await.is_some());
    }
    drop(feeds.pop());
    lab.until("a place is free", |stats| stats.feeds == 2).await;
    assert_eq!(lab.get("/events").await.1.status, 200);
}

#[tokio::test]
async fn connections_beyond_the_limit_hear_why() {
    let config = PlayoutConfig { connections_max: 2, ..config() };
    let lab = Lab::playing("video/mp2t", config).await;
    let (mut first, _) = lab.get("/live").await;
    let (second, _) = lab.get("/live").await;
    let (mut third, head) = lab.get("/live").await;
    assert_eq!(
        (head.status, head.value("retry-after"), head.value("connection")),
        (503, Some("2"), Some("close"))
    );
    let sentence = String::from_utf8(third.body(&head).await).unwrap();
    assert!(sentence.starts_with("all 2 connections of this player port are in use"), "{sentence}");

    // Beyond that there is not even an answer: silent connections take all places for refusals.
    let mut silent = Vec::new();
    for _ in 0..REFUSALS_MAX {
        silent.push(lab.client().await);
    }
    let mut beyond = lab.client().await;
    assert!(beyond.rest().await.is_empty());
    drop(silent);

    // The players themselves were not touched, and a place that becomes free is given away.
    assert_eq!(first.decoded(HEADER.len() + 1128).await, stream([0]));
    drop(second);
    let player = async {
        loop {
            let mut client = lab.client().await;
            client.send("GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            let status = client.head_or_end().await;
            if status == Some(200) {
                return;
            }
        }
    };
    tokio::time::timeout(crate::lab::DEADLINE, player).await.expect("no place becomes free");
    assert!(lab.stats().refused_full_total >= 2);
}

#[tokio::test]
async fn shutdown_cuts_what_does_not_end() {
    let config =
        PlayoutConfig { shutdown_grace: Duration::from_millis(50), send_buffer_bytes: 4096, ..config() };
    let lab = Lab::playing("video/mp2t", config).await;
    let mut deaf = small_window_client(&lab).await;
    deaf.send("GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    lab.until("it plays", |stats| stats.players == 1).await;
    // Nowhere to skip to, so all of it waits for the player.
    (1..3000).for_each(|number| lab.push(number, false));
    lab.ask("GET /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    let report = lab.stop().await;
    assert_eq!(report.aborted, 1);
}

/// A connection whose receive buffer is as small as the kernel allows, so that not reading is felt soon.
async fn small_window_client(lab: &Lab) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    Client::new(socket.connect(lab.address).await.unwrap())
}
