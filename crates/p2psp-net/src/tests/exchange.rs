//! What two well-behaved nodes do: identities, control messages, trains, acknowledgements, the uplink.

use super::*;
use p2psp_core::CloseCode;
use p2psp_wire::{Came, Echo, StreamHeader, limits::PAYLOAD_BYTES_MAX};

/// Both ends learn who the other is, who dialed, and from where.
#[tokio::test]
async fn links_prove_identities() {
    let (mut dialer, mut acceptor) = (start(config()), start(config()));
    dialer.dial(&acceptor).await;
    let up = |input| match input {
        Input::LinkUp { peer, remote, dialed, .. } => Some((peer, remote, dialed)),
        _ => None,
    };
    assert_eq!(dialer.expect("link", up).await, (acceptor.peer, acceptor.addr, true));
    assert_eq!(acceptor.expect("link", up).await, (dialer.peer, dialer.addr, false));
    assert_eq!(dialer.stats().handshakes_ok, 1);
    assert_eq!(acceptor.stats().links, 1);
    dialer.end().await;
    acceptor.end().await;
}

/// Control messages arrive in order in both directions, although the accepting side spoke before there was a stream, and
/// although the largest of them takes several windows.
#[tokio::test]
async fn control_messages_keep_their_order() {
    let (mut dialer, at_dialer, mut acceptor, at_acceptor) = pair().await;
    let big = Control::StreamHeader(StreamHeader {
        version: 3,
        content_type: "video/mp2t".into(),
        bytes: vec![0x47; p2psp_wire::limits::STREAM_HEADER_BYTES_MAX].into(),
    });
    let messages: Vec<Control> =
        (0..60).map(|number| if number % 20 == 7 { big.clone() } else { ready(number) }).collect();
    for (node, link) in [(&acceptor, at_acceptor), (&dialer, at_dialer)] {
        let messages = messages.clone();
        let say = move |script: &mut Script, _| {
            for message in messages {
                script.say(Output::Control { link, message });
            }
        };
        node.handle.call(say).await.unwrap();
    }
    for node in [&mut dialer, &mut acceptor] {
        for expected in &messages {
            let find = |input| if let Input::Control { message, .. } = input { Some(message) } else { None };
            assert_eq!(&node.expect("message", find).await, expected);
        }
    }
    assert_eq!(dialer.stats().control_in, 60);
    assert_eq!(acceptor.stats().control_out, 60);
}

/// Chunks of every size arrive as they were sent, from a link's first packet on: the largest needs no MTU discovery.
#[tokio::test]
async fn trains_arrive_whole() {
    let (mut dialer, at_dialer, mut acceptor, at_acceptor) = pair().await;
    let mut sent: Vec<Datagram> = Vec::new();
    for (turn, payload_bytes) in [PAYLOAD_BYTES_MAX, 1, 1128, 188, 1167].into_iter().enumerate() {
        let datagrams = train(turn as u64 * 8..turn as u64 * 8 + 8, payload_bytes);
        sent.extend(datagrams.iter().cloned());
        dialer.say(Output::Train { link: at_dialer, datagrams: datagrams.clone() }).await;
        acceptor.say(Output::Train { link: at_acceptor, datagrams }).await;
    }
    assert_eq!(acceptor.expect_chunks(sent.len()).await, sent);
    assert_eq!(dialer.expect_chunks(sent.len()).await, sent);
    let stats = dialer.stats();
    assert_eq!((stats.chunks_out, stats.chunks_in, stats.trains_out), (40, 40, 5));
    assert_eq!(stats.chunk_bytes_in, sent.iter().map(|datagram| datagram.bytes().len() as u64).sum::<u64>());
    assert_eq!(stats.chunks_dropped_full + stats.chunks_dropped_gone, 0);
}

/// A turn reaches the machine as a train, not chunk by chunk.
#[tokio::test]
async fn a_turn_arrives_as_a_train() {
    let (dialer, link, mut acceptor, _) = pair().await;
    dialer.say(Output::Train { link, datagrams: train(0..8, 1128) }).await;
    acceptor.expect_chunks(8).await;
    let trains = acceptor.stats().trains_in;
    assert!(trains <= 2, "8 chunks in {trains} trains");
}

/// A link that carries chunks carries nothing else: no acknowledgements, no keep-alives.
#[tokio::test]
async fn media_travels_alone() {
    const TRAINS: u32 = 40;
    let (mut dialer, link, mut acceptor, _) = pair().await;
    let distance = Duration::from_millis(30);
    // The handshake's last packets are none of the media's.
    dialer.say(Output::Control { link, message: ready(1) }).await;
    acceptor.expect("message", |input| matches!(input, Input::Control { .. }).then_some(())).await;
    let begin = move |script: &mut Script, now| {
        script.stream = Some((link, train(0..1, 1128), TRAINS, distance));
        script.wake = Some(now + distance);
    };
    dialer.handle.call(begin).await.unwrap();
    acceptor.expect_chunks(TRAINS as usize).await;
    let (sender, receiver) = (dialer.stats(), acceptor.stats());
    // What is left are the handshake, one message, and a keep-alive a second from the side that has nothing to say.
    assert!(sender.packets_without_chunk() <= 12, "{sender:?}");
    assert!(receiver.udp_packets_out <= 12 + 2, "{receiver:?}");
    assert_eq!((sender.sealed_packets_out, sender.chunks_out), (u64::from(TRAINS), u64::from(TRAINS)));
    dialer.say(Output::Hangup { link, code: CloseCode::Done }).await;
    acceptor.expect("end", |input| matches!(input, Input::LinkDown { .. }).then_some(())).await;
    dialer.until("the closed link in the sums", |stats| stats.links == 0).await;
    assert!(dialer.stats().udp_packets_out >= sender.udp_packets_out, "a closed link stays in the sums");
    dialer.seen.close();
}

/// Notes come between trains as they were sent, and cost QUIC nothing (R-NOTE-1).
#[tokio::test]
async fn notes_travel_beside_the_control_stream() {
    const NOTES: u32 = 50;
    let (dialer, link, mut acceptor, _) = pair().await;
    dialer.say(Output::Control { link, message: ready(1) }).await;
    acceptor.expect("message", |input| matches!(input, Input::Control { .. }).then_some(())).await;
    let note = |number: u32| {
        let came =
            Came { number: ChunkNumber::new(number.into()).unwrap(), parity_position: None, came_us: 7 };
        Control::Echo(Echo { sent_us: number, came: Some(came), received: 0 })
    };
    let before = dialer.stats();
    for number in 0..NOTES {
        dialer.say(Output::Control { link, message: note(number) }).await;
        dialer.say(Output::Train { link, datagrams: train(number.into()..u64::from(number) + 1, 100) }).await;
        let find = |input| if let Input::Control { message, .. } = input { Some(message) } else { None };
        assert_eq!(acceptor.expect("note", find).await, note(number));
        acceptor.expect_chunks(1).await;
    }
    let (sender, receiver) = (dialer.stats(), acceptor.stats());
    assert_eq!(sender.control_out - before.control_out, u64::from(NOTES));
    assert_eq!(receiver.control_in, 1 + u64::from(NOTES));
    assert_eq!(sender.sealed_packets_out - before.sealed_packets_out, 2 * u64::from(NOTES));
    assert!(sender.packets_without_chunk() <= 12 + u64::from(NOTES), "{sender:?}");
    assert!(receiver.udp_packets_out <= 12 + 2, "nobody acknowledges: {receiver:?}");
}

/// Silence is no absence: a link on which neither side has anything to say stays up by its keep-alives, past the idle time.
#[tokio::test]
async fn a_silent_link_stays_up() {
    let brisk = || {
        let mut config = config();
        config.idle_timeout = Duration::from_millis(200);
        config.keep_alive = Duration::from_millis(50);
        config
    };
    let (mut dialer, mut acceptor) = (start(brisk()), start(brisk()));
    dialer.dial(&acceptor).await;
    let (link, _) = dialer.expect_up().await;
    acceptor.expect_up().await;
    // Ten of its keep-alives are two and a half idle times.
    acceptor.until("keep-alives", |stats| stats.sealed_packets_in >= 10).await;
    dialer.until("keep-alives", |stats| stats.sealed_packets_in >= 10).await;
    dialer.say(Output::Train { link, datagrams: train(0..2, 1128) }).await;
    acceptor.expect_chunks(2).await;
    assert_eq!((dialer.stats().links_lost, acceptor.stats().links_lost), (0, 0));
}

/// The shared uplink: past the burst the machine is told to wait, and told when to go on, on time.
#[tokio::test]
async fn the_uplink_is_paced() {
    const ROUNDS: u64 = 5;
    let mut slow = config();
    slow.uplink_bits_per_s = 8_000_000;
    let (mut dialer, mut acceptor) = (start(slow), start(config()));
    dialer.dial(&acceptor).await;
    let (link, _) = dialer.expect_up().await;
    acceptor.expect_up().await;
    let began = tokio::time::Instant::now();
    for round in 0..ROUNDS {
        // In one turn: 64 chunks of 1184 bytes and 80 of seal and headers, 80 896 bytes, more than the burst of 65 536.
        let turn = move |script: &mut Script, _| {
            for chunks in 0..4 {
                let first = (round * 4 + chunks) * 16;
                script.say(Output::Train { link, datagrams: train(first..first + 16, PAYLOAD_BYTES_MAX) });
            }
        };
        dialer.handle.call(turn).await.unwrap();
        dialer.expect("blocked", |input| matches!(input, Input::UplinkBlocked).then_some(())).await;
        dialer.expect("ready", |input| matches!(input, Input::UplinkReady).then_some(())).await;
    }
    let least = Duration::from_micros(ROUNDS * 80_896 - 65_536);
    assert!(began.elapsed() >= least, "{:?} < {least:?}", began.elapsed());
    assert_eq!(dialer.stats().uplink_blocks, ROUNDS);
    acceptor.expect_chunks(64 * usize::try_from(ROUNDS).unwrap()).await;
}
