//! Strangers on the team's links: who speaks another version of the protocol is told apart and counted; who speaks this one and
//! then breaks it is hung up on, while the team plays on without a byte missing.

use crate::{
    hostile::under_attack,
    stranger::{ANSWER, connect, listen},
};
use p2psp_tests::{cli, noise::Noise, process::LEAVE, team::Splitter};
use p2psp_wire::{ALPN, ChannelId, limits::FRAME_BYTES_MAX};
use std::{
    future::Future,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};
use tokio::time::timeout;

const OTHER_VERSION: &[u8] = b"p2psp/99";
const PATIENCE: Duration = Duration::from_secs(20);

fn run<R>(future: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A peer of another version does not get in, and is counted as that; one of this version does.
#[test]
fn a_peer_of_another_version() {
    let splitter = Splitter::start(&["--input", "testcard"]);
    let refused = run(async { connect(splitter.listen, OTHER_VERSION).await.map(drop) }).unwrap_err();
    // TLS alert 120, no_application_protocol (RFC 7301), as QUIC reports it.
    let alert = quinn::TransportErrorCode::crypto(120);
    let told =
        matches!(&refused, quinn::ConnectionError::ConnectionClosed(close) if close.error_code == alert);
    assert!(told, "{refused:?}");
    splitter
        .process
        .wait_stats("a wrong version", PATIENCE, |stats| stats["net"]["handshakes_wrong_version"] == 1);
    run(async { connect(splitter.listen, ALPN).await.map(drop) }).expect("this version");
}

/// A splitter of another version is told apart from one that is not there.
#[test]
fn a_splitter_of_another_version() {
    run(async {
        let other = listen(OTHER_VERSION);
        let link = format!("p2psp://{}@{}", ChannelId::new([9; 32]), other.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            while let Some(incoming) = other.accept().await {
                // Its handshake fails, which is the point.
                incoming.await.ok();
            }
        });
        let log = tokio::task::spawn_blocking(move || {
            let mut peer =
                cli::start("peer", &["peer", &link, "--player", "127.0.0.1:0", "--join-timeout", "2s"]);
            peer.exits_with(3, LEAVE);
            peer.log()
        });
        let log = log.await.unwrap();
        serving.abort();
        assert!(
            log.contains("speaks another version of the protocol") && log.contains("update the older"),
            "{log}"
        );
    });
}

/// Each way to break the control stream, and datagrams that nobody sealed: from a stranger to every member.
#[test]
fn noise_on_the_links() {
    let mut noise = Noise::new(71);
    let varint = |value: usize| {
        let byte = |shift: usize, more: u8| u8::try_from(value >> shift & 0x7F).unwrap() | more;
        vec![byte(0, 0x80), byte(7, 0x80), byte(14, 0)]
    };
    let bodies: Vec<Vec<u8>> = vec![
        // One more than allowed; a length that never ends; a frame cut short; no message; unlike any message.
        [varint(FRAME_BYTES_MAX + 1), noise.bytes(100)].concat(),
        vec![0xFF; 64],
        [varint(1_000), noise.bytes(10)].concat(),
        vec![0],
        [varint(500), noise.bytes(500)].concat(),
        noise.bytes(200_000),
    ];
    under_attack(72, |team| {
        let targets: Vec<SocketAddr> =
            team.peers.iter().map(|peer| peer.listen).chain([team.splitter.listen]).collect();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        run(async {
            for target in targets {
                for body in &bodies {
                    let (endpoint, connection) = connect(target, ALPN).await.unwrap();
                    for size in [0, 1, 15, 16, 100, 1_100] {
                        // A first byte of zero is what sealed datagrams begin with.
                        socket.send_to(&[vec![0], noise.bytes(size)].concat(), target).unwrap();
                    }
                    let (mut send, _receive) = connection.open_bi().await.unwrap();
                    // It may hang up before all of it was sent.
                    if send.write_all(body).await.is_ok() {
                        send.finish().ok();
                    }
                    timeout(ANSWER, connection.closed()).await.expect("to be hung up on");
                    endpoint.close(0_u8.into(), b"");
                }
            }
        });
        let malformed = |stats: &serde_json::Value| {
            stats["net"]["malformed_controls"].as_u64() >= Some(3)
                && stats["net"]["sealed_unknown"].as_u64() >= Some(18)
        };
        team.splitter.process.wait_stats("malformed input", PATIENCE, malformed);
        team.peers.iter().for_each(|peer| {
            peer.wait_stats("malformed input", malformed);
        });
    });
}
