//! One more than allowed: links, handshakes, queues.

use super::{attacker, *};
use crate::tls;
use futures_util::future::join_all;
use p2psp_core::{CloseCode, LinkDown};
use p2psp_wire::{ALPN, StreamHeader, limits::STREAM_HEADER_BYTES_MAX};

/// The link past `links_max` is refused, and welcome once another one is gone.
#[tokio::test]
async fn one_link_too_many_is_refused() {
    let mut small = config();
    small.links_max = 2;
    let mut full = start(small);
    let mut others = Vec::new();
    for _ in 0..2 {
        let mut other = start(config());
        other.dial(&full).await;
        let (link, _) = other.expect_up().await;
        full.expect_up().await;
        others.push((other, link));
    }
    let mut late = start(config());
    late.dial(&full).await;
    late.expect("refusal", |input| matches!(input, Input::DialFailed { wrong_key: false, .. }).then_some(()))
        .await;
    assert_eq!((late.stats().handshakes_refused, full.stats().incoming_refused), (1, 1));
    // A full node does not dial either.
    full.say(Output::Dial { peer: late.peer, addresses: vec![late.addr] }).await;
    full.expect("refusal", |input| matches!(input, Input::DialFailed { wrong_key: false, .. }).then_some(()))
        .await;
    let (leaver, link) = others.pop().unwrap();
    leaver.say(Output::Hangup { link, code: CloseCode::Done }).await;
    full.expect("room", |input| matches!(input, Input::LinkDown { .. }).then_some(())).await;
    late.dial(&full).await;
    late.expect_up().await;
    assert_eq!(full.expect_up().await.1, late.peer);
}

/// A node dials up to `links_max` links, and not one more.
#[tokio::test]
async fn one_dial_too_many_is_refused() {
    let mut small = config();
    small.links_max = 2;
    let mut dialer = start(small);
    let others = [start(config()), start(config()), start(config())];
    for other in &others[..2] {
        dialer.dial(other).await;
        assert_eq!(dialer.expect_up().await.1, other.peer);
    }
    dialer.dial(&others[2]).await;
    let refused = dialer
        .expect("refusal", |input| if let Input::DialFailed { peer, .. } = input { Some(peer) } else { None })
        .await;
    assert_eq!(refused, others[2].peer);
    let stats = dialer.stats();
    assert_eq!((stats.links, stats.dials, stats.dials_failed), (2, 3, 1));
}

/// In a crowd, addresses have to prove themselves; those who can all get in.
#[tokio::test]
async fn a_crowd_must_prove_its_addresses() {
    const CROWD: usize = 80;
    let mut patient = config();
    patient.handshake_timeout = DEADLINE;
    patient.idle_timeout = DEADLINE;
    let mut node = start(patient);
    let (endpoint, client) = attacker::client(&Identity::generate(), ALPN);
    let name = tls::server_name(node.peer);
    // Nothing is awaited before all have begun, so their first packets come together.
    let crowd: Vec<_> =
        (0..CROWD).map(|_| endpoint.connect_with(client.clone(), node.addr, &name).unwrap()).collect();
    let connected = within("the crowd", join_all(crowd)).await;
    let failed: Vec<_> = connected.iter().filter_map(|result| result.as_ref().err()).collect();
    assert!(failed.is_empty(), "{failed:?} {:?}", node.stats());
    for _ in 0..CROWD {
        node.expect_up().await;
    }
    let stats = node.stats();
    assert!(stats.incoming_retried > 0, "{stats:?}");
    assert_eq!((stats.links, stats.incoming_refused), (CROWD as u64, 0));
}

/// A link whose other side does not read its control stream is closed when its queue is full; the others go on.
#[tokio::test]
async fn who_does_not_read_is_hung_up() {
    let mut node = start(config());
    let other = start(config());
    other.dial(&node).await;
    let (good, _) = node.expect_up().await;
    let (_endpoint, raw) =
        attacker::connect(&Identity::generate(), ALPN, node.addr, node.peer).await.unwrap();
    let (bad, _) = node.expect_up().await;
    let (mut send, _never_read) = raw.open_bi().await.unwrap();
    let mut hello = bytes::BytesMut::new();
    ready(1).encode(&mut hello);
    send.write_all(&hello).await.unwrap();
    node.expect("message", |input| matches!(input, Input::Control { .. }).then_some(())).await;
    let header = Control::StreamHeader(StreamHeader {
        version: 1,
        content_type: "video/mp2t".into(),
        bytes: vec![0x47; STREAM_HEADER_BYTES_MAX].into(),
    });
    let mut sent_bytes = 0_usize;
    while node.stats().control_overflows == 0 {
        assert!(sent_bytes < 64 << 20, "{sent_bytes} bytes are held for who does not read");
        node.say(Output::Control { link: bad, message: header.clone() }).await;
        sent_bytes += STREAM_HEADER_BYTES_MAX;
    }
    let find = |input| if let Input::LinkDown { link, why } = input { Some((link, why)) } else { None };
    assert_eq!(node.expect("end", find).await, (bad, LinkDown::Transport));
    assert_eq!(node.stats().control_overflows, 1);
    node.say(Output::Train { link: good, datagrams: train(0..4, 1128) }).await;
    let mut other = other;
    other.expect_chunks(4).await;
}
