//! The doors that need no network peer: files, commands, the test card, and datagrams over loopback.

mod door;

use std::net::SocketAddr;
use std::time::Duration;

use door::{Door, golden, path, within};
use p2psp_media::container::Container;
use p2psp_media::ingest::{Batch, IngestError, IngestOptions, IngestState, Pace, Source, queue};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;

fn file(name: &str, pace: Pace) -> Source {
    Source::File { path: path(name), pace, repeat: false }
}

#[tokio::test]
async fn a_file_comes_out_byte_for_byte_and_ends() {
    for name in ["av.ts", "av.webm", "av.flv", "av.mp4", "theora.ogv", "a.mp3"] {
        let mut door = Door::open(file(name, Pace::Unpaced));
        assert!(door.bytes(usize::MAX).await == golden(name), "{name}");
        assert!(door.starts() > 0, "{name}");
        let (end, status) = door.ended().await;
        assert!(end.is_ok());
        assert_eq!(status.state, IngestState::Ended);
        assert_eq!(status.bytes, u64::try_from(golden(name).len()).unwrap());
        assert!(status.records > 0 && status.container.is_some(), "{name}");
    }
}

/// 1.5 s of media take 1.5 s, whatever the container; the virtual clock says so without waiting.
#[tokio::test(start_paused = true)]
async fn a_file_is_paced_by_its_own_clock() {
    for (name, pace, ms) in [
        ("av.ts", Pace::Clock, 1200..1600),
        ("av.flv", Pace::Clock, 1200..1600),
        ("av.webm", Pace::Clock, 1200..1600),
        ("opus.ogg", Pace::Clock, 800..1600),
        ("a.mp3", Pace::Rate(32_000), 1450..1600),
    ] {
        let start = Instant::now();
        let mut door = Door::open(file(name, pace));
        assert!(door.bytes(usize::MAX).await == golden(name), "{name}");
        let took = start.elapsed().as_millis();
        assert!(ms.contains(&took), "{name}: {took} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_file_goes_on_at_its_pace() {
    let start = Instant::now();
    let mut door = Door::open(file("av.ts", Pace::Clock).with_repeat(true));
    let once = golden("av.ts");
    let bytes = door.bytes(once.len() * 3).await;
    assert!(bytes[..once.len() * 3] == once.repeat(3));
    assert_eq!(door.headers().len(), 1, "the same program has the same header");
    let took = start.elapsed().as_millis();
    assert!((3600..4800).contains(&took), "{took} ms");
    assert_eq!(door.stop().await.state, IngestState::Ended);
}

#[tokio::test]
async fn a_file_that_cannot_be_played_says_why_and_what_to_do() {
    let missing = Source::parse("/nonexistent/film.ts").unwrap();
    let (end, status) = Door::open(missing).ended().await;
    let error = end.unwrap_err();
    assert!(matches!(error, IngestError::Open { .. }));
    assert!(
        error.to_string().contains("/nonexistent/film.ts") && error.to_string().contains("check the path")
    );
    assert_eq!(status.state, IngestState::Failed { reason: error.to_string() });

    let (end, _) = Door::open(file("a.mp3", Pace::Clock)).ended().await;
    let error = end.unwrap_err();
    assert!(
        matches!(error, IngestError::NoClock { .. }) && error.to_string().contains("--rate 4M"),
        "{error}"
    );

    let empty = std::env::temp_dir().join(format!("p2psp-media-empty-{}", std::process::id()));
    std::fs::write(&empty, b"").unwrap();
    let source = Source::File { path: empty.clone(), pace: Pace::Clock, repeat: true };
    let (end, _) = Door::open(source).ended().await;
    std::fs::remove_file(&empty).unwrap();
    let error = end.unwrap_err();
    assert!(
        matches!(error, IngestError::Empty { .. }) && error.to_string().contains("name another"),
        "{error}"
    );
}

/// The queue is bounded, and behind it the source waits.
#[tokio::test]
async fn a_splitter_that_takes_nothing_makes_the_source_wait() {
    let source = file("av.ts", Pace::Unpaced).with_repeat(true);
    let mut door = Door::open_with(source, IngestOptions::default(), mpsc::channel(2));
    door.status(|s| s.bytes > 0).await;
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    // Two batches are queued and one waits to be; the header's packets make a batch or so more.
    let bytes = door.status.borrow().bytes;
    assert!(bytes <= 5 * 2048, "{bytes} bytes were read");
    door.bytes(200_000).await;
    door.stop().await;
}

/// A receiver that is gone ends every kind of door.
#[tokio::test(start_paused = true)]
async fn a_door_ends_with_its_receiver() {
    for source in ["testcard", "udp://127.0.0.1:0", "push:127.0.0.1:0", "http://127.0.0.1:9/"] {
        let (sender, records) = queue();
        drop(records);
        let door =
            Door::open_with(Source::parse(source).unwrap(), IngestOptions::default(), (sender, queue().1));
        assert!(door.ended().await.0.is_ok(), "{source}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_test_card_comes_in_real_time_and_can_be_joined() {
    let start = Instant::now();
    let mut door = Door::open(Source::parse("testcard:320x192@10").unwrap());
    let status = door.status(|s| s.state == IngestState::Live).await;
    assert_eq!(status.container, Some(Container::MpegTs));
    while door.starts() < 5 {
        let more = door.bytes(0).await.len() + 1;
        door.bytes(more).await;
    }
    let took = start.elapsed().as_millis();
    assert!((2000..2200).contains(&took), "five keyframes half a second apart: {took} ms");
    assert_eq!(door.headers().len(), 1);
    door.stop().await;
}

/// A receiver that stops for long costs frames, not the clock: afterwards the card is where it should be.
#[tokio::test(start_paused = true)]
async fn the_test_card_leaves_frames_out_rather_than_lag() {
    let (sender, records) = mpsc::channel(1);
    let mut door = Door::open_with(
        Source::parse("testcard:320x192@10").unwrap(),
        IngestOptions::default(),
        (sender, records),
    );
    door.bytes(1).await;
    tokio::time::advance(Duration::from_secs(100)).await;
    let start = Instant::now();
    let before = door.bytes(0).await.len();
    let mut after = before;
    while start.elapsed() < Duration::from_secs(2) {
        after = door.bytes(after + 1).await.len();
    }
    // 1000 frames were due in between; had they all come, they would be some 4 MB.
    assert!(after - before < 1_000_000, "{} bytes came", after - before);
    door.stop().await;
}

#[cfg(unix)]
mod exec {
    use super::*;

    #[tokio::test]
    async fn a_command_is_read_and_started_again_when_it_ends() {
        let once = golden("av.ts");
        let mut door =
            Door::open(Source::Exec(format!("cat '{}'; echo so long >&2; exit 3", path("av.ts").display())));
        assert!(door.bytes(once.len() * 2).await[..once.len() * 2] == once.repeat(2));
        assert_eq!(door.headers().len(), 1);
        let status = door.status(|s| s.restarts >= 1).await;
        assert_eq!(status.container, Some(Container::MpegTs));
        door.stop().await;
    }

    #[tokio::test]
    async fn a_command_that_cannot_run_is_retried_not_fatal() {
        let mut door = Door::open(Source::Exec("/nonexistent/encoder".into()));
        let status = door.status(|s| s.restarts >= 2).await;
        assert_eq!((status.state, status.bytes), (IngestState::Connecting, 0));
        door.stop().await;
    }

    /// A shell's children must not outlive the door: an encoder that runs on would hold the camera.
    #[tokio::test]
    async fn stopping_kills_the_command_with_its_children() {
        let command = format!("sleep 1000 & echo $!; cat '{}'; wait", path("av.ts").display());
        let mut door = Door::open(Source::Exec(command));
        let bytes = door.bytes(golden("av.ts").len()).await;
        let line = bytes.split(|&b| b == b'\n').next().unwrap();
        let child: i32 = std::str::from_utf8(line).unwrap().parse().unwrap();
        assert!(is_running(child));
        door.stop().await;
        let gone = async {
            while is_running(child) {
                tokio::task::yield_now().await;
            }
        };
        within(gone).await;
    }

    fn is_running(process: i32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
    }

    #[tokio::test]
    async fn a_silent_source_is_said_to_have_stalled_until_it_goes_on() {
        let options = IngestOptions { stall_after: Duration::from_millis(100), ..IngestOptions::default() };
        let fifo = std::env::temp_dir().join(format!("p2psp-media-stall-{}", std::process::id()));
        let fifo_path = fifo.display();
        let command = format!(
            "rm -f '{fifo_path}'; mkfifo '{fifo_path}'; cat '{media}'; read go < '{fifo_path}'; cat '{media}'; sleep 1000",
            media = path("av.ts").display()
        );
        let mut door = Door::open_with(Source::Exec(command), options, queue());
        let stream = golden("av.ts");
        assert!(door.bytes(stream.len()).await == stream, "the last partial record does not wait for more");
        door.status(|s| s.state == IngestState::Stalled).await;
        tokio::fs::write(&fifo, b"go\n").await.unwrap();
        door.status(|s| s.state == IngestState::Live).await;
        assert!(door.bytes(stream.len() * 2).await == stream.repeat(2));
        door.stop().await;
        std::fs::remove_file(&fifo).unwrap();
    }
}

async fn udp_door(scheme: &str, queue: (mpsc::Sender<Batch>, mpsc::Receiver<Batch>)) -> (Door, UdpSocket) {
    let source = Source::parse(&format!("{scheme}://127.0.0.1:0")).expect("a source");
    let mut door = Door::open_with(source, IngestOptions::default(), queue);
    let address = door.status(|s| s.local_address.is_some()).await.local_address.expect("it listens");
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    socket.connect(address).await.expect("loopback");
    (door, socket)
}

#[tokio::test]
async fn datagrams_become_whole_packets_and_nothing_else() {
    let (mut door, socket) = udp_door("udp", queue()).await;
    let stream = golden("av.ts");
    let noise = b"noise that no encoder sends";
    let mut noise_bytes = 0;
    for (i, datagram) in stream.chunks(1316).enumerate() {
        if i % 5 == 2 {
            socket.send(noise).await.unwrap();
            noise_bytes += noise.len();
        }
        socket.send(datagram).await.unwrap();
    }
    assert!(door.bytes(stream.len()).await == stream, "whole packets, all of them, and nothing between");
    assert_eq!(door.starts(), 3);
    let status = door.status(|s| s.bytes >= u64::try_from(stream.len() + noise_bytes).unwrap()).await;
    assert_eq!(status.bytes_dropped, u64::try_from(noise_bytes).unwrap());
    assert_eq!(status.structure_losses, 3);
    door.stop().await;
}

#[tokio::test]
async fn rtp_headers_come_off_and_gaps_are_counted() {
    let (mut door, socket) = udp_door("rtp", queue()).await;
    let stream = golden("av.ts");
    let mut expected = Vec::new();
    for (i, payload) in (0u16..).zip(stream.chunks(1316)) {
        let [high, low] = (i.wrapping_add(65_530)).to_be_bytes();
        let packet = [&[0x80, 33, high, low][..], &[0; 8], payload].concat();
        // The third never comes, the fourth twice.
        let copies = match i {
            2 => 0,
            3 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            socket.send(&packet).await.unwrap();
        }
        expected.extend_from_slice(if copies > 0 { payload } else { &[] });
    }
    socket.send(b"not RTP").await.unwrap();
    assert!(door.bytes(expected.len()).await == expected);
    let status = door.status(|s| s.bytes_dropped >= 1328 + 7).await;
    assert_eq!((status.rtp_packets_lost, status.bytes_dropped), (1, 1328 + 7));
    door.stop().await;
}

/// A splitter that does not keep up costs records, which are counted, but neither memory nor the header.
#[tokio::test]
async fn datagrams_that_nobody_takes_are_dropped_and_counted() {
    let (mut door, socket) = udp_door("udp", mpsc::channel(1)).await;
    let stream = golden("av.ts");
    let mut sent = 0;
    while door.status.borrow().records_dropped < 100 {
        for datagram in stream.chunks(1316) {
            socket.send(datagram).await.unwrap();
        }
        sent += 1;
        assert!(sent < 10_000, "the queue of one batch never filled");
        tokio::task::yield_now().await;
    }
    door.bytes(stream.len()).await;
    assert_eq!(door.headers().len(), 1);
    let status = door.stop().await;
    assert!(status.records_dropped >= 100, "{status:?}");
}

#[tokio::test]
async fn a_multicast_group_is_joined() {
    let port = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let group: SocketAddr = format!("239.255.77.1:{port}").parse().unwrap();
    let mut door = Door::open(Source::parse(&format!("udp://{group}?interface=127.0.0.1")).unwrap());
    door.status(|s| s.local_address.is_some()).await;
    let sender = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    sender.set_multicast_if_v4(&std::net::Ipv4Addr::LOCALHOST).unwrap();
    let stream = golden("av.ts");
    for datagram in stream.chunks(1316) {
        sender.send_to(datagram, &group.into()).unwrap();
    }
    assert!(door.bytes(stream.len()).await == stream);
    door.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_told_with_the_next_step() {
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let listening = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    for source in [
        format!("udp://{}", taken.local_addr().unwrap()),
        format!("push:{}", listening.local_addr().unwrap()),
    ] {
        let (end, _) = Door::open(Source::parse(&source).unwrap()).ended().await;
        let error = end.unwrap_err();
        assert!(matches!(error, IngestError::Bind { .. }), "{source}");
        assert!(error.to_string().contains("choose another port"), "{error}");
    }
}
