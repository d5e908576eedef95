//! The player port as players use it: real sockets, several at once, old and new HTTP.

use std::time::Duration;

use crate::lab::{HEADER, Lab, config, payload, stream};
use p2psp_media::playout::{BindError, PlayoutConfig, PlayoutServer, SharedSpool, SpoolLimits, Unit};

/// Each player sees, from its own random-access point on, the same bytes as everyone.
#[tokio::test]
async fn two_players_get_the_same_bytes_from_their_join_points() {
    let lab = Lab::playing("video/mp2t", config()).await;
    let (mut early, head) = lab.get("/live").await;
    assert_eq!((head.status, head.value("content-type")), (200, Some("video/mp2t")));
    (1..50).for_each(|number| lab.push(number, number == 20));
    let first = early.decoded(HEADER.len() + 50 * 1128).await;
    assert_eq!(lab.stats().players, 1);

    let (mut late, _) = lab.get("/live.ts").await;
    assert_eq!(late.decoded(HEADER.len()).await[..HEADER.len()], *HEADER);
    // Once more from the start, so that the join is not split between two reads.
    let (mut late, head) = lab.get("/live.ts").await;
    (50..300).for_each(|number| lab.push(number, number % 20 == 0));
    lab.spool.close();
    let (early, late) = (early.body(&head).await, late.body(&head).await);
    assert!([first, early].concat() == stream(0..300), "the early player's bytes differ");
    assert!(late == stream(20..300), "the late player's bytes differ");
    lab.until("players leave", |stats| stats.players == 0 && stats.players_total == 3).await;
}

#[tokio::test]
async fn stream_answers_carry_the_headers_of_a_live_stream() {
    let lab = Lab::playing("video/mp2t", config()).await;
    for request in ["", "Range: bytes=0-\r\n"] {
        let mut client = lab.client().await;
        client.send(&format!("GET /live HTTP/1.1\r\nHost: localhost\r\n{request}\r\n")).await;
        let head = client.head().await;
        assert_eq!(head.status, 200, "{request:?}");
        assert!(head.chunked() && head.length().is_none());
        assert_eq!(head.value("cache-control"), Some("no-store"));
        assert_eq!(head.value("accept-ranges"), Some("none"));
        assert_eq!(head.value("connection"), Some("close"));
        assert_eq!(head.value("x-content-type-options"), Some("nosniff"));
        assert_eq!(head.value("cross-origin-resource-policy"), Some("same-origin"));
        assert_eq!(head.value("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn http_1_0_players_get_plain_bytes() {
    let lab = Lab::playing("video/mp2t", config()).await;
    for host in ["", "Host: 127.0.0.1\r\n"] {
        let mut client = lab.client().await;
        client.send(&format!("GET /live HTTP/1.0\r\n{host}\r\n")).await;
        let head = client.head().await;
        assert!(head.status == 200 && !head.chunked() && head.length().is_none(), "{}", head.text);
        assert_eq!(client.exactly(HEADER.len() + 1128).await, stream([0]));
    }
}

#[tokio::test]
async fn head_and_options_are_answered_without_a_stream() {
    let lab = Lab::playing("video/mp2t", config()).await;
    let mut client = lab.client().await;
    client.send("HEAD /live HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!((head.status, head.value("content-type"), head.length()), (200, Some("video/mp2t"), None));
    assert!(client.rest().await.is_empty());

    let (status, text) = lab.ask("OPTIONS /live HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(status == 204 && text.contains("allow: GET, HEAD, OPTIONS"), "{text}");
    assert_eq!(lab.stats().players_total, 0);
}

#[tokio::test]
async fn an_extension_must_fit_the_container() {
    let lab = Lab::playing("video/webm", config()).await;
    assert_eq!(lab.get("/live.webm").await.1.status, 200);
    let (status, text) = lab.ask("GET /live.ts HTTP/1.1\r\nHost: localhost:7\r\n\r\n").await;
    assert_eq!(status, 404);
    assert!(text.contains("this stream is video/webm: open http://localhost:7/live.webm"), "{text}");
}

#[tokio::test]
async fn a_player_waits_for_the_stream_to_begin() {
    let lab = Lab::silent(config(), SpoolLimits::default()).await;
    let mut client = lab.client().await;
    client.send("GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    // An answer to another request: by now the first one has been taken up.
    lab.ask("GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    lab.header("video/mp2t", 0);
    lab.push(1, false);
    lab.push(2, true);
    assert_eq!(client.head().await.status, 200);
    assert_eq!(client.decoded(HEADER.len() + 1128).await, stream([2]));
}

#[tokio::test]
async fn a_stream_that_does_not_begin_is_a_503_with_the_reason() {
    let config = PlayoutConfig { start_wait: Duration::from_millis(20), ..config() };
    let lab = Lab::silent(config, SpoolLimits::default()).await;
    let request = "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (status, text) = lab.ask(request).await;
    assert!(status == 503 && text.contains("retry-after: 2") && text.contains("has not begun"), "{text}");
    lab.header("video/mp2t", 0);
    lab.push(0, false);
    let (status, text) = lab.ask(request).await;
    assert!(status == 503 && text.contains("keyframe"), "{text}");
    lab.spool.close();
    let (status, text) = lab.ask(request).await;
    assert!(status == 503 && text.contains("the stream is over"), "{text}");
    assert_eq!(lab.stats().refused_not_ready_total, 3);
}

#[tokio::test]
async fn a_new_header_ends_the_connection_where_players_could_not_follow() {
    for (kind, follows) in [("video/webm", false), ("video/mp2t", true)] {
        let lab = Lab::playing(kind, config()).await;
        let (mut client, _) = lab.get("/live").await;
        assert_eq!(client.decoded(HEADER.len() + 1128).await, stream([0]));
        lab.header(kind, 1);
        lab.spool.push(Unit { payload: payload(1), random_access: true, header_version: 1 });
        let next = client.chunk().await;
        assert_eq!(next, follows.then(|| payload(1).to_vec()), "{kind}");
        // Whoever connects anew gets the new header.
        let (mut again, _) = lab.get("/live").await;
        assert_eq!(again.decoded(HEADER.len() + 1128).await, stream([1]));
    }
}

#[tokio::test]
async fn writes_are_batched() {
    let config = PlayoutConfig { write_interval: Duration::from_millis(10), ..config() };
    let lab = Lab::playing("video/mp2t", config).await;
    let (mut client, _) = lab.get("/live").await;
    client.decoded(HEADER.len() + 1128).await;
    (1..=40).for_each(|number| lab.push(number, false));
    let chunk = client.chunk().await.unwrap();
    assert_eq!(chunk.len(), 40 * 1128, "units that were there together came apart");
}

#[tokio::test]
async fn the_playlist_names_the_address_that_was_asked() {
    let named = PlayoutConfig { channel_name: "News\r\nhttp://evil/".to_owned(), ..config() };
    let lab = Lab::playing("video/mp2t", named).await;
    let (status, text) = lab.ask("GET /live.m3u HTTP/1.1\r\nHost: localhost:8080\r\n\r\n").await;
    assert!(status == 200 && text.contains("content-type: audio/x-mpegurl"), "{text}");
    let list = "#EXTM3U\n#EXTINF:-1,News  http://evil/\nhttp://localhost:8080/live.ts\n";
    assert!(text.ends_with(list), "{text}");
}

#[tokio::test]
async fn figures_are_the_peers_with_the_ports_own_below() {
    let lab = Lab::playing("video/mp2t", config()).await;
    let (_player, _) = lab.get("/live").await;
    let (mut client, head) = lab.get("/stats").await;
    assert_eq!(head.value("content-type"), Some("application/json"));
    let stats: serde_json::Value = serde_json::from_slice(&client.body(&head).await).unwrap();
    assert_eq!(stats["team_peers"], 5);
    assert_eq!(stats["playout"]["players"], 1);
    assert_eq!(stats["playout"]["live_path"], "/live.ts");
    assert_eq!(stats["playout"]["content_type"], "video/mp2t");

    let (mut client, head) = lab.get("/events").await;
    assert_eq!(head.value("content-type"), Some("text/event-stream"));
    for begin in ["retry: 2000\ndata: ", "data: "] {
        let event = String::from_utf8(client.chunk().await.unwrap()).unwrap();
        let json = event.strip_prefix(begin).and_then(|rest| rest.strip_suffix("\n\n")).expect("one event");
        assert!(!json.contains('\n'));
        let stats: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(stats["playout"]["players_total"], 1);
    }
}

#[tokio::test]
async fn the_page_is_served_with_its_policy_and_validators() {
    let lab = Lab::playing("video/mp2t", config()).await;
    let (mut client, head) = lab.get("/").await;
    assert_eq!(head.value("content-type"), Some("text/html; charset=utf-8"));
    assert!(
        head.value("content-security-policy")
            .unwrap()
            .starts_with("default-src 'self'; media-src 'self' blob:;")
    );
    assert_eq!(head.value("cache-control"), Some("no-cache"));
    assert!(client.body(&head).await.starts_with(b"<!doctype html>"));

    let etag = head.value("etag").unwrap();
    let again = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: \"x\", {etag}\r\nConnection: close\r\n\r\n"
    );
    let mut client = lab.client().await;
    client.send(&again).await;
    assert_eq!(client.head().await.status, 304);
    assert!(client.rest().await.is_empty());

    let (mut client, head) = lab.get("/assets/mpegts-1.8.2.js").await;
    assert_eq!(head.value("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(client.body(&head).await.len(), head.length().unwrap());
}

#[tokio::test]
async fn only_configured_origins_may_fetch_media() {
    let config = PlayoutConfig { cors_origins: vec!["https://tv.example".to_owned()], ..config() };
    let lab = Lab::playing("video/mp2t", config).await;
    let request = |method: &str, path: &str, origin: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n")
    };
    for (path, origin, allowed) in [
        ("/live", "https://tv.example", true),
        ("/live", "https://evil.example", false),
        ("/stats", "https://tv.example", false),
    ] {
        let (_, text) = lab.ask(&request("HEAD", path, origin)).await;
        assert_eq!(
            text.contains("access-control-allow-origin: https://tv.example"),
            allowed,
            "{path} {origin}"
        );
        assert!(text.contains("vary: Origin"));
        let (status, text) = lab.ask(&request("OPTIONS", path, origin)).await;
        assert_eq!(status, 204);
        assert_eq!(text.contains("access-control-allow-methods"), allowed, "{path} {origin}");
    }
}

/// A stream's type comes from the network: were it HTML, the stream could run scripts in the port's name.
#[tokio::test]
async fn a_type_that_is_no_media_is_served_as_bytes() {
    let lab = Lab::playing("text/html", config()).await;
    assert_eq!(lab.get("/live").await.1.value("content-type"), Some("application/octet-stream"));
}

#[tokio::test]
async fn shutdown_ends_streams_cleanly_and_soon() {
    let lab = Lab::playing("video/mp2t", config()).await;
    let (mut player, head) = lab.get("/live").await;
    let (mut feed, feed_head) = lab.get("/events").await;
    lab.push(1, false);
    let report = lab.stop().await;
    assert_eq!((report.finished, report.aborted), (2, 0));
    assert_eq!(player.body(&head).await, stream([0, 1]));
    let events = String::from_utf8(feed.body(&feed_head).await).unwrap();
    assert!(events.starts_with("retry: 2000\ndata: {"), "{events:?}");
}

#[tokio::test]
async fn a_port_in_use_says_what_to_do() {
    let lab = Lab::playing("video/mp2t", config()).await;
    let taken = PlayoutConfig { listen: lab.address, ..config() };
    let spool = SharedSpool::new(SpoolLimits::default());
    let error = PlayoutServer::bind(taken, spool.clone(), || ().into()).await.unwrap_err();
    assert!(matches!(error, BindError::InUse(address) if address == lab.address));
    let text = error.to_string();
    assert!(text.contains(&lab.address.port().to_string()) && text.contains("--player,"), "{text}");

    let foreign = PlayoutConfig { listen: "192.0.2.1:0".parse().unwrap(), ..config() };
    let error = PlayoutServer::bind(foreign, spool, || ().into()).await.unwrap_err();
    assert!(matches!(error, BindError::NotOurs(_)), "{error}");
}
