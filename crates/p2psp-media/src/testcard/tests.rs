//! What the test card promises without a decoder at hand: its structure, its size, its counter. That decoders show the
//! picture is proven by the black-box tests with real players.

use super::picture::{Picture, draw, read_counter};
use super::*;
use crate::container::{Container, Cutter, PAYLOAD_BYTES_MAX_DEFAULT};
use crate::record::Ingested;

#[test]
fn the_counter_reads_back_at_every_size() {
    for (width, height) in [(320, 192), (640, 368), (1280, 720), (1920, 1072)] {
        let mut picture = Picture::new(width, height);
        for frame in [0, 1, 0x5555_5555, 0xAAAA_AAAA, 0xFFFF_FFFF] {
            draw(&mut picture, frame, 1_700_000_000_000);
            let read = read_counter(&picture.planes[0], width, height);
            assert_eq!(read, Some(u32::try_from(frame).unwrap()), "{width}x{height}");
        }
    }
}

#[test]
fn a_damaged_or_missing_counter_reads_as_none() {
    let mut picture = Picture::new(320, 192);
    assert_eq!(read_counter(&picture.planes[0], 320, 192), None);
    draw(&mut picture, 12345, 0);
    for cell in 0..COUNTER_CELLS {
        let mut damaged = picture.clone();
        let at = 184 * 320 + cell * 8 + 4;
        damaged.planes[0][at] = 255 - damaged.planes[0][at];
        assert_eq!(read_counter(&damaged.planes[0], 320, 192), None, "cell {cell} flipped");
    }
    assert_eq!(read_counter(&picture.planes[0][..100], 320, 192), None);
}

/// Joins are quick and the rate is steady: a keyframe each half second, no frame above six times the mean.
#[test]
fn the_stream_is_steady_and_joinable() {
    let mut card = TestCard::new(TestCardConfig::default()).unwrap();
    let mut cutter = Cutter::new(PAYLOAD_BYTES_MAX_DEFAULT);
    let mut out = Vec::new();
    let sizes: Vec<usize> = (0..250)
        .map(|_| {
            let frame = card.next_frame();
            cutter.push(&frame, &mut out);
            frame.len()
        })
        .collect();
    assert_eq!(cutter.container(), Some(Container::MpegTs));
    let starts = out.iter().filter(|i| matches!(i, Ingested::Record(r) if r.random_access)).count();
    assert_eq!(starts, 250usize.div_ceil(12));
    let headers = out.iter().filter(|i| matches!(i, Ingested::Header(_))).count();
    assert_eq!(headers, 1);
    let (total, largest) = (sizes.iter().sum::<usize>(), *sizes.iter().max().unwrap());
    let bits_per_s = total * 8 / 10;
    assert!((500_000..2_000_000).contains(&bits_per_s), "{bits_per_s} b/s");
    assert!(largest < 10 * total / 250, "largest frame {largest}, mean {}", total / 250);
    assert_eq!(cutter.media_time().unwrap().as_millis(), 249 * 40);
}

#[test]
fn the_same_configuration_gives_the_same_bytes() {
    let make = || {
        let mut card =
            TestCard::new(TestCardConfig { start_unix_ms: 77, ..TestCardConfig::default() }).unwrap();
        (0..30).map(|_| card.next_frame()).collect::<Vec<_>>()
    };
    assert_eq!(make(), make());
}

#[test]
fn every_packet_is_whole_and_counts_up() {
    let mut card = TestCard::new(TestCardConfig::default()).unwrap();
    let mut counters = std::collections::BTreeMap::new();
    for _ in 0..100 {
        for packet in card.next_frame().chunks(188) {
            assert_eq!((packet.len(), packet[0]), (188, 0x47));
            let pid = u16::from_be_bytes([packet[1] & 0x1F, packet[2]]);
            let expected = counters.get(&pid).map_or(0, |last| (last + 1) & 0xF);
            assert_eq!(packet[3] & 0xF, expected, "continuity of PID {pid}");
            counters.insert(pid, expected);
            let adaptation = if packet[3] & 0x20 != 0 { usize::from(packet[4]) } else { 0 };
            assert!(adaptation <= 182, "an adaptation field leaves room for payload");
        }
    }
}

#[test]
fn skipping_goes_forward_to_a_keyframe() {
    let mut card = TestCard::new(TestCardConfig::default()).unwrap();
    card.next_frame();
    card.skip_to(1000);
    assert_eq!(card.frame(), 1000);
    assert_eq!(card.next_frame()[..3], [0x47, 0x40, 0x00], "tables come before a keyframe");
    card.skip_to(5);
    assert_eq!(card.frame(), 1001);
}

#[test]
fn configurations_out_of_bounds_are_refused() {
    let base = TestCardConfig::default();
    for config in [
        TestCardConfig { width: 304, ..base },
        TestCardConfig { width: 328, ..base },
        TestCardConfig { height: 176, ..base },
        TestCardConfig { width: SIDE_MAX + 16, ..base },
        TestCardConfig { fps: 0, ..base },
        TestCardConfig { fps: FPS_MAX + 1, ..base },
        TestCardConfig { gop_frames: 0, ..base },
        TestCardConfig { gop_frames: GOP_FRAMES_MAX + 1, ..base },
    ] {
        assert!(TestCard::new(config).is_err(), "{config:?}");
    }
}
