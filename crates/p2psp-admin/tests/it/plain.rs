//! Prometheus and probes, as plain HTTP clients see them.

use crate::team::{DEADLINE, Lab, peer};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// What comes back for a request's head.
pub(crate) async fn ask(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

async fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")).await
}

/// A scrape of a large team is small and as long as one of a small team but for digits.
#[tokio::test]
async fn metrics_do_not_grow_with_the_team() {
    let lab = Lab::open("metrics", 1).await;
    let small = get(lab.tcp, "/metrics").await;
    assert!(small.starts_with("HTTP/1.1 200 OK\r\n"), "{small}");
    assert!(small.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(small.contains("\np2psp_splitter_team_peers 1\n"));
    for slot in 0..256 {
        lab.team.peers.put(slot, peer(slot));
    }
    let large = get(lab.tcp, "/metrics").await;
    assert!(large.contains("\np2psp_splitter_team_peers 256\n"));
    assert_eq!(large.lines().count(), small.lines().count());
    assert!(large.len() < 200_000 / 8, "{} bytes", large.len());
    lab.close().await;
}

#[tokio::test]
async fn probes_tell_whether_the_process_is_at_work() {
    let mut lab = Lab::open("probes", 0).await;
    assert!(get(lab.tcp, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(get(lab.tcp, "/readyz").await.starts_with("HTTP/1.1 200"));
    lab.leave();
    // The server sees the end of one future before it polls the other.
    tokio::task::yield_now().await;
    let answer = get(lab.tcp, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("draining: "), "{answer}");
    assert!(get(lab.tcp, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(get(lab.tcp, "/metrics").await.contains("\np2psp_draining 1\n"));
    lab.close().await;
}

/// Pages in browsers, and names that others made to point here, get nothing.
#[tokio::test]
async fn browsers_are_turned_away() {
    let lab = Lab::open("browsers", 0).await;
    for (head, expected) in [
        ("GET /metrics HTTP/1.1\r\nHost: localhost\r\n", "200"),
        ("GET /metrics HTTP/1.1\r\nHost: [::1]:80\r\n", "200"),
        ("GET /metrics HTTP/1.1\r\nHost: rebound.example\r\n", "403"),
        ("GET /metrics HTTP/1.1\r\n", "403"),
        ("GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n", "403"),
        ("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n", "405"),
        ("GET /nothing HTTP/1.1\r\nHost: localhost\r\n", "404"),
        (
            "POST /p2psp.admin.v1.RuntimeService/Drain HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n",
            "403",
        ),
    ] {
        let answer = ask(lab.tcp, &format!("{head}Connection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{head}: {answer}");
    }
    assert_eq!(lab.team.drains.load(std::sync::atomic::Ordering::Relaxed), 0);
    lab.close().await;
}
