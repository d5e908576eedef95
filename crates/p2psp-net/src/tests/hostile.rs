//! Random bytes, cut frames, frames that are too large: on the UDP port, as datagrams, on the control stream. Counted, told to
//! the machine where there is one to judge, and nobody else is the worse for it.

use super::{
    attacker::{self, Datagrams},
    *,
};
use crate::seal;
use futures_util::FutureExt;
use p2psp_core::LinkDown;
use p2psp_wire::{
    ALPN, DecodeError,
    limits::{DATAGRAM_BYTES_MAX, FRAME_BYTES_MAX},
};
use quinn::Connection;

/// Numbers that look random and replay (xorshift64*).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_be_bytes()[0]).collect()
    }
}

/// A length prefix of three bytes.
fn varint(value: usize) -> Vec<u8> {
    let [.., high, middle, low] = (value << 2 & 0x1f_0000 | value << 1 & 0x7f00 | value & 0x7f).to_be_bytes();
    vec![low | 0x80, middle | 0x80, high]
}

/// A node with one good link, and an attacker on a second one.
struct Siege {
    node: TestNode,
    good: LinkId,
    other: TestNode,
    bad: LinkId,
    raw: Connection,
    datagrams: Datagrams,
    _endpoint: quinn::Endpoint,
}

async fn siege() -> Siege {
    let mut node = start(config());
    let mut other = start(config());
    other.dial(&node).await;
    let (good, _) = node.expect_up().await;
    let (link, _) = other.expect_up().await;
    // The dialer speaks first: that opens the control stream.
    other.say(Output::Control { link, message: ready(1) }).await;
    node.expect("message", |input| matches!(input, Input::Control { .. }).then_some(())).await;
    let (endpoint, raw) = attacker::connect(&Identity::generate(), ALPN, node.addr, node.peer).await.unwrap();
    let (bad, _) = node.expect_up().await;
    let datagrams = Datagrams::of(&raw);
    Siege { node, good, other, bad, raw, datagrams, _endpoint: endpoint }
}

impl Siege {
    /// The next complaint about the attacker's link.
    async fn complaint(&mut self) -> (DecodeError, bool) {
        let bad = self.bad;
        let find = |input| match input {
            Input::Malformed { link, error, control } => Some((link, error, control)),
            _ => None,
        };
        let (link, error, control) = self.node.expect("complaint", find).await;
        assert_eq!(link, bad);
        (error, control)
    }

    /// The good link still carries everything both ways.
    async fn good_link_works(&mut self) {
        self.node.say(Output::Train { link: self.good, datagrams: train(0..8, 1128) }).await;
        assert_eq!(self.other.expect_chunks(8).await[..], train(0..8, 1128)[..]);
        self.node.say(Output::Control { link: self.good, message: ready(9) }).await;
        let find = |input| if let Input::Control { message, .. } = input { Some(message) } else { None };
        assert_eq!(self.other.expect("message", find).await, ready(9));
    }
}

/// Packets that are no QUIC at all, and QUIC that breaks off: nothing happens.
#[tokio::test]
async fn noise_on_the_port_changes_nothing() {
    let mut siege = siege().await;
    let seed = 0x5eed_0001;
    println!("seed {seed:#x}");
    let mut noise = Noise(seed);
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for round in 0..2_000_usize {
        let size = [1, 7, 20, 50, 1199, 1200, 1232, 1472, 9_000, 60_000][round % 10];
        let mut packet = noise.bytes(size);
        match round % 4 {
            // A long header that claims to be an Initial of version 1, an unknown version, our own datagrams' first byte.
            0 => packet.splice(..size.min(5), [0xc3, 0, 0, 0, 1].into_iter().take(size)).for_each(drop),
            1 => packet.splice(..size.min(5), [0xc3, 9, 9, 9, 9].into_iter().take(size)).for_each(drop),
            2 => packet[0] = 0,
            _ => {}
        }
        socket.send_to(&packet, siege.node.addr).await.unwrap();
    }
    siege.good_link_works().await;
    let late = start(config());
    late.dial(&siege.node).await;
    assert_eq!(siege.node.expect_up().await.1, late.peer);
}

/// Datagrams that are no chunks: too short, too long, of no kind, with fields out of range. The good ones between them arrive.
#[tokio::test]
async fn bad_datagrams_are_counted() {
    let mut siege = siege().await;
    let good = chunk(5, 1128);
    let mut unknown_kind = good.bytes().to_vec();
    unknown_kind[0] = 0x3f;
    let mut bad_slot = good.bytes().to_vec();
    bad_slot[2..4].copy_from_slice(&[0xff, 0xff]);
    let cases = [
        (vec![1], DecodeError::Truncated("datagram header")),
        (good.bytes()[..15].to_vec(), DecodeError::Truncated("datagram header")),
        (good.bytes()[..16].to_vec(), DecodeError::Missing("payload")),
        (unknown_kind, DecodeError::UnknownKind(0x3f)),
        (bad_slot, DecodeError::Invalid("origin slot")),
        // A note of a probe, which belongs on the control stream (R-NOTE-1).
        (vec![4, 0x8a, 1, 2, 8, 5], DecodeError::Invalid("note")),
    ];
    let count = cases.len() as u64;
    for (bytes, expected) in cases {
        siege.datagrams.send(&bytes);
        assert_eq!(siege.complaint().await, (expected, false));
    }
    siege.datagrams.send(good.bytes());
    assert_eq!(siege.node.expect_chunks(1).await, [good]);
    assert_eq!(siege.node.stats().malformed_datagrams, count);
    siege.good_link_works().await;
}

/// What is no datagram of this link at this time goes no further than the seal: replayed, forged, another's, cut, too long. A
/// keep-alive is not the machine's business either.
#[tokio::test]
async fn what_does_not_open_is_counted() {
    let mut siege = siege().await;
    let packet = siege.datagrams.seal(chunk(5, 100).bytes());
    siege.datagrams.send_raw(&packet);
    assert_eq!(siege.node.expect_chunks(1).await, [chunk(5, 100)]);
    siege.datagrams.send_raw(&packet);
    let mut forged = siege.datagrams.seal(chunk(6, 100).bytes());
    *forged.last_mut().unwrap() ^= 1;
    siege.datagrams.send_raw(&forged);
    let cut = siege.datagrams.seal(&[])[..seal::OVERHEAD_BYTES - 1].to_vec();
    siege.datagrams.send_raw(&cut);
    siege.datagrams.send(&[1; DATAGRAM_BYTES_MAX + 1]);
    let mut other_link = siege.datagrams.seal(chunk(7, 100).bytes());
    other_link[7] ^= 1;
    siege.datagrams.send_raw(&other_link);
    siege.datagrams.send_raw(&[0]);
    siege.datagrams.send(&[]);
    siege
        .node
        .until("all of it", |stats| {
            (stats.sealed_replayed, stats.sealed_forged, stats.sealed_unknown) == (1, 3, 2)
        })
        .await;
    siege.datagrams.send(chunk(8, 100).bytes());
    assert_eq!(siege.node.expect_chunks(1).await, [chunk(8, 100)]);
    assert_eq!(siege.node.stats().malformed_datagrams, 0);
    siege.good_link_works().await;
}

/// Datagrams follow the other side when its address changes, which only its newest datagram can say: an old one that somebody
/// sends again from elsewhere moves nothing.
#[tokio::test]
async fn datagrams_follow_the_other_side() {
    let mut siege = siege().await;
    let late = siege.datagrams.seal(chunk(1, 100).bytes());
    siege.datagrams.send(chunk(2, 100).bytes());
    siege.node.expect_chunks(1).await;
    let thief = Datagrams::of(&siege.raw);
    thief.send_raw(&late);
    assert_eq!(siege.node.expect_chunks(1).await, [chunk(1, 100)], "it is genuine, and came late");
    siege.node.say(Output::Train { link: siege.bad, datagrams: train(0..1, 500) }).await;
    let socket = siege.datagrams.socket().try_clone().unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let (packet, thief) = tokio::task::spawn_blocking(move || {
        let mut packet = vec![0; 2_000];
        let size = socket.recv(&mut packet).unwrap();
        packet.truncate(size);
        (packet, thief)
    })
    .await
    .unwrap();
    assert_eq!(packet.len(), chunk(0, 500).bytes().len() + seal::OVERHEAD_BYTES);
    thief.socket().set_nonblocking(true).unwrap();
    assert!(thief.socket().recv(&mut [0; 2_000]).is_err(), "nothing went to the thief");
}

/// A flood of bad datagrams is judged datagram by datagram, without keeping the good link from its turn.
#[tokio::test]
async fn a_flood_of_bad_datagrams_stalls_nobody() {
    let mut siege = siege().await;
    for _ in 0..50 {
        for _ in 0..100 {
            siege.datagrams.send(&[9; 1000]);
        }
        tokio::task::yield_now().await;
    }
    siege.good_link_works().await;
    siege.node.until("the flood", |stats| stats.malformed_datagrams > 50).await;
}

/// Control streams that carry no message: the machine is told once, what came before counts, and the link's other traffic and
/// the other links go on.
#[tokio::test]
async fn bad_frames_are_told_once() {
    let mut first = bytes::BytesMut::new();
    ready(3).encode(&mut first);
    let cases: [(&str, Vec<u8>, DecodeError); 4] = [
        ("oversize", varint(FRAME_BYTES_MAX + 1), DecodeError::TooLong("control frame")),
        ("endless prefix", vec![0xff; 10], DecodeError::TooLong("control frame")),
        ("no protobuf", vec![4, 0xff, 0xff, 0xff, 0xff], DecodeError::Protobuf),
        ("noise", vec![3, 0x0f, 1, 2], DecodeError::Protobuf),
    ];
    for (name, bytes, expected) in cases {
        let mut siege = siege().await;
        let (mut send, _receive) = siege.raw.open_bi().await.unwrap();
        send.write_all(&[&first[..], &bytes, &first[..]].concat()).await.unwrap();
        let find = |input| if let Input::Control { message, .. } = input { Some(message) } else { None };
        assert_eq!(siege.node.expect("message", find).await, ready(3), "{name}");
        assert_eq!(siege.complaint().await, (expected, true), "{name}");
        siege.datagrams.send(chunk(5, 100).bytes());
        siege.node.expect_chunks(1).await;
        siege.good_link_works().await;
        let stats = siege.node.stats();
        // The good link's first message, and the one before the bad one.
        assert_eq!((stats.malformed_controls, stats.control_in), (1, 2), "{name}");
    }
}

/// A frame cut short by the stream's end, and a stream that is reset, are told as what they are.
#[tokio::test]
async fn cut_control_streams_are_told() {
    let mut frame = bytes::BytesMut::new();
    ready(300).encode(&mut frame);
    let mut siege_cut = siege().await;
    let (mut send, _receive) = siege_cut.raw.open_bi().await.unwrap();
    send.write_all(&frame[..frame.len() - 1]).await.unwrap();
    send.finish().unwrap();
    assert_eq!(siege_cut.complaint().await, (DecodeError::Truncated("control frame"), true));
    siege_cut.good_link_works().await;
    let mut siege_reset = siege().await;
    let (mut send, _receive) = siege_reset.raw.open_bi().await.unwrap();
    send.write_all(&frame).await.unwrap();
    siege_reset.node.expect("message", |input| matches!(input, Input::Control { .. }).then_some(())).await;
    send.reset(7_u32.into()).unwrap();
    assert_eq!(siege_reset.complaint().await, (DecodeError::Truncated("control stream"), true));
    siege_reset.good_link_works().await;
}

/// A stream of the smallest frames reaches the machine in portions, and all of it.
#[tokio::test]
async fn many_small_frames_come_in_portions() {
    const FRAMES: usize = 20_000;
    let mut siege = siege().await;
    let (mut send, _receive) = siege.raw.open_bi().await.unwrap();
    let write = async {
        // A frame of no bytes is a message of no known kind.
        send.write_all(&vec![0; FRAMES]).await.unwrap();
    };
    let node = &mut siege.node;
    let read = async {
        for _ in 0..FRAMES {
            let find = |input| if let Input::Control { message, .. } = input { Some(message) } else { None };
            assert_eq!(node.expect("message", find).await, Control::Unknown);
        }
    };
    tokio::join!(write, read);
    siege.good_link_works().await;
}

/// One control stream is all that a link has: more, or one way only, cannot be opened; from the accepting side none at all.
#[tokio::test]
async fn further_streams_cannot_be_opened() {
    let siege = siege().await;
    let (mut send, _receive) = siege.raw.open_bi().await.unwrap();
    send.write_all(&[0]).await.unwrap();
    assert!(siege.raw.open_bi().now_or_never().is_none());
    assert!(siege.raw.open_uni().now_or_never().is_none());
    let listener = attacker::listen(&Identity::generate(), ALPN);
    let address = listener.local_addr().unwrap();
    let accept = async { listener.accept().await.unwrap().await };
    let dial = async {
        // The key does not matter here: the connection is all that the accepting side needs.
        let dialer = start(config());
        dialer.say(Output::Dial { peer: siege.node.peer, addresses: vec![address] }).await;
        dialer
    };
    let (accepted, _dialer) = tokio::join!(accept, dial);
    if let Ok(accepted) = accepted {
        assert!(accepted.open_bi().now_or_never().is_none());
        assert!(accepted.open_uni().now_or_never().is_none());
    }
}

/// Who ends its control stream but stays is put out after a second: a link without control is no link.
#[tokio::test]
async fn a_half_closed_link_is_closed() {
    let mut siege = siege().await;
    let (mut send, _receive) = siege.raw.open_bi().await.unwrap();
    send.write_all(&[0]).await.unwrap();
    send.finish().unwrap();
    let bad = siege.bad;
    let find = |input| if let Input::LinkDown { link, why } = input { Some((link, why)) } else { None };
    assert_eq!(siege.node.expect("end", find).await, (bad, LinkDown::Transport));
    siege.good_link_works().await;
}

/// Handshakes that never end take their place for the handshake time, no longer.
#[tokio::test]
async fn unfinished_handshakes_are_dropped() {
    let mut impatient = config();
    impatient.handshake_timeout = Duration::from_millis(300);
    impatient.links_max = 1;
    let mut node = start(impatient);
    let (addr, peer) = (node.addr, node.peer);
    // The first packet of a real handshake, and never a second: its sender is stopped, and its answers go to a relay that drops them.
    let relay = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut packet = [0; 2000];
    let identity = Identity::generate();
    let size = tokio::select! {
        size = relay.recv(&mut packet) => size.unwrap(),
        _ = attacker::connect(&identity, ALPN, relay.local_addr().unwrap(), peer) => panic!("nobody answers"),
    };
    relay.send_to(&packet[..size], addr).await.unwrap();
    node.until("the time-out", |stats| stats.handshakes_timed_out == 1).await;
    let late = start(config());
    late.dial(&node).await;
    assert_eq!(node.expect_up().await.1, late.peer);
}
