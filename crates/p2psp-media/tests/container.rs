//! The cutter on real files of each container: what it recognises, where it says that players can start, and that it
//! loses no byte however the source divides them.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use bytes::Bytes;
use p2psp_media::container::{Container, Cutter, LOST_BYTES_MAX, PAYLOAD_BYTES_MAX_DEFAULT};
use p2psp_media::fuzzing::{check_ingested, cutter};
use p2psp_media::record::{Ingested, Record, STREAM_HEADER_BYTES_MAX, StreamHeader};
use proptest::prelude::*;

fn golden(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn cut(stream: &[u8], push_bytes: usize) -> (Vec<Ingested>, Cutter) {
    let mut cutter = Cutter::new(PAYLOAD_BYTES_MAX_DEFAULT);
    let mut out = Vec::new();
    for chunk in stream.chunks(push_bytes) {
        cutter.push(&Bytes::copy_from_slice(chunk), &mut out);
    }
    (out, cutter)
}

fn cut_all(stream: &[u8], push_bytes: usize) -> Vec<Ingested> {
    let (mut out, mut cutter) = cut(stream, push_bytes);
    cutter.finish(&mut out);
    assert!(
        check_ingested(&out, PAYLOAD_BYTES_MAX_DEFAULT) == stream,
        "records are the stream, byte for byte"
    );
    out
}

fn headers(out: &[Ingested]) -> Vec<&StreamHeader> {
    out.iter().filter_map(|i| if let Ingested::Header(h) = i { Some(h) } else { None }).collect()
}

fn records(out: &[Ingested]) -> Vec<&Record> {
    out.iter().filter_map(|i| if let Ingested::Record(r) = i { Some(r) } else { None }).collect()
}

fn starts(out: &[Ingested]) -> Vec<&Record> {
    records(out).into_iter().filter(|r| r.random_access).collect()
}

struct Sample {
    file: &'static str,
    container: Container,
    content_type: &'static str,
    /// First bytes of the stream header.
    header: &'static [u8],
    /// First bytes of each record where a player can start.
    start: &'static [u8],
    starts: RangeInclusive<usize>,
}

const EBML: &[u8] = &[0x1A, 0x45, 0xDF, 0xA3];
const CLUSTER: &[u8] = &[0x1F, 0x43, 0xB6, 0x75];
const PAT: &[u8] = &[0x47, 0x40, 0, 0x10];
/// First packet of the first stream's PES.
const PES: &[u8] = &[0x47, 0x41, 0];
const FTYP: &[u8] = b"\0\0\0\x1cftyp";

/// Fifteen video frames with a keyframe each five, so three starting points; audio in about 0.2 s to 0.5 s.
#[rustfmt::skip]
const SAMPLES: &[Sample] = &[
    Sample { file: "av.ts", container: Container::MpegTs, content_type: "video/mp2t", header: PAT, start: PES, starts: 3..=3 },
    Sample { file: "a.ts", container: Container::MpegTs, content_type: "video/mp2t", header: PAT, start: PES, starts: 3..=40 },
    Sample { file: "av.flv", container: Container::Flv, content_type: "video/x-flv", header: b"FLV\x01\x05", start: &[9], starts: 3..=3 },
    Sample { file: "a.flv", container: Container::Flv, content_type: "video/x-flv", header: b"FLV\x01\x04", start: &[8], starts: 4..=20 },
    Sample { file: "av.mp4", container: Container::Mp4, content_type: "video/mp4", header: FTYP, start: &[0, 0], starts: 3..=3 },
    Sample { file: "a.mp4", container: Container::Mp4, content_type: "audio/mp4", header: FTYP, start: &[0, 0], starts: 3..=4 },
    Sample { file: "av.webm", container: Container::WebM, content_type: "video/webm", header: EBML, start: CLUSTER, starts: 3..=3 },
    Sample { file: "sized.webm", container: Container::WebM, content_type: "video/webm", header: EBML, start: CLUSTER, starts: 3..=3 },
    Sample { file: "a.webm", container: Container::WebM, content_type: "audio/webm", header: EBML, start: CLUSTER, starts: 4..=6 },
    Sample { file: "vorbis.ogg", container: Container::Ogg, content_type: "audio/ogg", header: b"OggS\0\x02", start: b"OggS\0", starts: 3..=10 },
    Sample { file: "opus.ogg", container: Container::Ogg, content_type: "audio/ogg", header: b"OggS\0\x02", start: b"OggS\0", starts: 3..=10 },
    Sample { file: "flac.ogg", container: Container::Ogg, content_type: "audio/ogg", header: b"OggS\0\x02", start: b"OggS\0", starts: 3..=20 },
    Sample { file: "theora.ogv", container: Container::Ogg, content_type: "video/ogg", header: b"OggS\0\x02", start: b"OggS\0", starts: 1..=3 },
    Sample { file: "a.mp3", container: Container::Raw, content_type: "audio/mpeg", header: b"", start: b"", starts: 6..=6 },
    Sample { file: "a.aac", container: Container::Raw, content_type: "audio/aac", header: b"", start: b"", starts: 6..=6 },
    Sample { file: "plain.mp4", container: Container::Raw, content_type: "video/mp4", header: b"", start: b"", starts: 14..=14 },
];

#[test]
fn every_container_is_recognised_with_its_header_and_its_starting_points() {
    for s in SAMPLES {
        let stream = golden(s.file);
        let (mut out, mut cutter) = cut(&stream, 1000);
        assert_eq!(cutter.container(), Some(s.container), "{}", s.file);
        cutter.finish(&mut out);
        let headers = headers(&out);
        assert_eq!(headers.len(), 1, "{}: {headers:?}", s.file);
        assert_eq!((headers[0].content_type.as_str(), headers[0].version), (s.content_type, 0), "{}", s.file);
        assert!(headers[0].bytes.starts_with(s.header), "{}: {:02x?}", s.file, &headers[0].bytes[..]);
        let starts = starts(&out);
        assert!(s.starts.contains(&starts.len()), "{}: {} starting points", s.file, starts.len());
        for start in starts {
            assert!(start.payload.starts_with(s.start), "{}: {:02x?}", s.file, &start.payload[..16]);
        }
        assert_eq!(cutter.stats().structure_losses, 0, "{}", s.file);
    }
}

/// A stream must not look different because the network divided it differently.
#[test]
fn the_division_into_pushes_changes_nothing() {
    for s in SAMPLES {
        let stream = golden(s.file);
        let whole = cut_all(&stream, usize::MAX);
        for push_bytes in [1, 2, 187, 1316, 4096] {
            assert!(cut_all(&stream, push_bytes) == whole, "{} in pushes of {push_bytes}", s.file);
        }
    }
}

#[test]
fn transport_streams_are_cut_in_six_packets_and_just_before_a_random_access_packet() {
    let out = cut_all(&golden("av.ts"), 1316);
    for record in records(&out) {
        assert!(record.payload.len() % 188 == 0 && record.payload.len() <= 1128);
        assert!(record.payload.chunks(188).all(|p| p[0] == 0x47));
    }
    let header = &headers(&out)[0].bytes;
    assert_eq!(header.len(), 2 * 188, "one packet each of PAT and PMT");
    assert_eq!(&header[188..191], &[0x47, 0x50, 0x00], "PMT on PID 4096, where ffmpeg puts it");
    for start in starts(&out) {
        assert_eq!(start.payload[5] & 0x40, 0x40, "random_access_indicator in the first packet");
    }
}

/// Encoders that never set random_access_indicator are joined at parameter sets or IDR slices.
#[test]
fn keyframes_without_the_indicator_are_found_in_the_video_itself() {
    let mut stream = golden("av.ts");
    for packet in stream.chunks_mut(188).filter(|p| p[3] & 0x20 != 0 && p[4] > 0) {
        packet[5] &= !0x40;
    }
    assert_eq!(starts(&cut_all(&stream, 1316)).len(), 3);
}

#[test]
fn a_transport_stream_cut_in_mid_packet_is_still_one() {
    let stream = &golden("av.ts")[100..];
    let (out, cutter) = cut(stream, 1316);
    assert_eq!(cutter.container(), Some(Container::MpegTs));
    assert_eq!(starts(&out).len(), 3);
    cut_all(stream, 1316);
}

/// UDP: bytes between packets are dropped and counted, and the packets after them are in step again.
#[test]
fn a_declared_transport_stream_drops_what_is_between_packets() {
    let clean = golden("av.ts");
    let mut damaged = clean[..188 * 10].to_vec();
    damaged.extend_from_slice(b"this is not a packet");
    damaged.extend_from_slice(&clean[188 * 10..]);
    let mut cutter = Cutter::mpeg_ts(PAYLOAD_BYTES_MAX_DEFAULT);
    let mut out = Vec::new();
    cutter.push(&damaged.into(), &mut out);
    cutter.finish(&mut out);
    assert_eq!(check_ingested(&out, PAYLOAD_BYTES_MAX_DEFAULT), clean);
    assert_eq!((cutter.stats().bytes_dropped, cutter.stats().structure_losses), (20, 1));
}

#[test]
fn null_packets_stay() {
    let mut null = [0xFF; 188];
    null[..4].copy_from_slice(&[0x47, 0x1F, 0xFF, 0x10]);
    let mut stream = golden("av.ts");
    let tail = stream.split_off(188 * 20);
    stream.extend(null.repeat(7));
    stream.extend(tail);
    let out = cut_all(&stream, 1316);
    assert_eq!(starts(&out).len(), 3);
}

#[test]
fn a_changed_program_gets_a_new_header_and_the_same_program_again_does_not() {
    let (video, audio) = (golden("av.ts"), golden("a.ts"));
    let out = cut_all(&[&video[..], &audio[..]].concat(), 1316);
    assert_eq!(headers(&out).len(), 2);
    let same = cut_all(&[&video[..], &video[..]].concat(), 1316);
    assert_eq!(headers(&same).len(), 1);
}

/// A publisher that comes back: the version counts on, and changes exactly when players must be told.
#[test]
fn a_restarted_source_keeps_counting_header_versions() {
    for (first, second, versions) in [
        ("av.ts", "av.ts", 1),
        ("av.ts", "a.ts", 2),
        ("av.webm", "av.webm", 2),
        ("av.flv", "av.ts", 2),
        ("av.mp4", "av.mp4", 2),
        ("vorbis.ogg", "opus.ogg", 2),
        ("a.mp3", "a.mp3", 1),
    ] {
        let (mut out, mut cutter) = cut(&golden(first), 1316);
        cutter.finish(&mut out);
        cutter.push(&golden(second).into(), &mut out);
        cutter.finish(&mut out);
        let bytes = check_ingested(&out, PAYLOAD_BYTES_MAX_DEFAULT);
        assert_eq!(bytes, [golden(first), golden(second)].concat(), "{first} {second}");
        assert_eq!(headers(&out).len(), versions, "{first} {second}");
    }
}

/// The format changes in the middle of one connection, without a word.
#[test]
fn another_container_in_mid_stream_is_recognised() {
    for (first, second) in [
        ("av.ts", "av.webm"),
        ("av.webm", "av.ts"),
        ("av.flv", "av.flv"),
        ("av.flv", "opus.ogg"),
        ("opus.ogg", "av.flv"),
        ("av.mp4", "av.ts"),
        ("theora.ogv", "av.mp4"),
    ] {
        let both = cut_all(&[golden(first), golden(second)].concat(), 1316);
        let (alone, after) = (starts(&both).len(), starts(&cut_all(&golden(second), 1316)).len());
        assert!(alone > after, "{first} then {second}: {alone} starting points, {after} in the second alone");
        let last = headers(&both).last().unwrap().content_type.clone();
        assert_eq!(last, headers(&cut_all(&golden(second), 1316))[0].content_type, "{first} then {second}");
    }
}

#[test]
fn damage_costs_starting_points_but_not_the_stream() {
    for file in ["av.ts", "av.webm", "av.mp4", "opus.ogg"] {
        let clean = golden(file);
        let at = starts(&cut_all(&clean, 1316))[1].payload.clone();
        let at = clean.windows(at.len()).position(|w| w == &at[..]).unwrap();
        let mut damaged = clean[..at].to_vec();
        damaged.extend_from_slice(&[0; 77]);
        damaged.extend_from_slice(&clean[at..]);
        let all = starts(&cut_all(&clean, 1316)).len();
        let left = starts(&cut_all(&damaged, 1316)).len();
        assert!(left + 1 >= all, "{file}: {left} of {all} starting points left");
    }
}

#[test]
fn bytes_without_structure_end_as_plain_bytes() {
    let mut stream = golden("av.webm");
    stream.truncate(12_000);
    let noise = usize::try_from(LOST_BYTES_MAX).unwrap() + 4096;
    stream.extend(std::iter::repeat_n(0, noise));
    let (out, cutter) = cut(&stream, 1316);
    assert_eq!(cutter.container(), Some(Container::Raw));
    assert_eq!(headers(&out).last().unwrap().content_type, "application/octet-stream");
}

/// One byte more than a header may have, and the stream goes out as plain bytes, with a count that says so.
#[test]
fn a_header_larger_than_allowed_falls_back_to_plain_bytes() {
    let ftyp = b"\0\0\0\x10ftypisom\0\0\0\0";
    for (excess, counted) in [(0, 0), (1, 1)] {
        let moov_len = STREAM_HEADER_BYTES_MAX - ftyp.len() + excess;
        let mut stream = ftyp.to_vec();
        stream.extend_from_slice(&u32::try_from(moov_len).unwrap().to_be_bytes());
        stream.extend_from_slice(b"moov\0\0\0\x08mvex");
        let free = u32::try_from(moov_len - 16).unwrap();
        stream.extend_from_slice(&free.to_be_bytes());
        stream.extend_from_slice(b"free");
        stream.resize(ftyp.len() + moov_len, 0);
        let (mut out, mut cutter) = cut(&stream, 1316);
        cutter.finish(&mut out);
        assert_eq!(check_ingested(&out, PAYLOAD_BYTES_MAX_DEFAULT), stream);
        assert_eq!(cutter.stats().headers_too_large, counted);
        assert_eq!(headers(&out)[0].bytes.len(), if excess == 0 { STREAM_HEADER_BYTES_MAX } else { 0 });
    }
}

#[test]
fn an_unfragmented_mp4_is_counted_and_passed_on() {
    let (_, cutter) = cut(&golden("plain.mp4"), 1316);
    assert_eq!(cutter.stats().mp4_not_fragmented, 1);
}

#[test]
fn media_time_follows_the_stream() {
    for (file, from_ms, to_ms) in [
        ("av.ts", 1200, 1600),
        ("av.flv", 1200, 1600),
        ("av.webm", 1200, 1600),
        ("av.mp4", 900, 1100),
        ("opus.ogg", 1400, 1600),
        ("vorbis.ogg", 1400, 1600),
        ("flac.ogg", 1400, 1600),
    ] {
        let stream = golden(file);
        let mut cutter = Cutter::new(PAYLOAD_BYTES_MAX_DEFAULT);
        let (mut out, mut first) = (Vec::new(), None);
        for chunk in stream.chunks(100) {
            cutter.push(&Bytes::copy_from_slice(chunk), &mut out);
            first = first.or_else(|| cutter.media_time());
        }
        let last = cutter.media_time().unwrap();
        let origin = if matches!(file, "opus.ogg" | "vorbis.ogg" | "flac.ogg") {
            std::time::Duration::ZERO
        } else {
            first.unwrap()
        };
        let ms = (last - origin).as_millis();
        assert!((from_ms..to_ms).contains(&ms), "{file}: {ms} ms from first to last");
    }
}

#[test]
fn a_hint_names_bytes_that_nothing_else_names() {
    for (hint, expected) in [
        ("text/plain; charset=utf-8", "text/plain"),
        ("evil\r\nX: y", "application/octet-stream"),
        ("no slash", "application/octet-stream"),
    ] {
        let mut cutter = Cutter::new(PAYLOAD_BYTES_MAX_DEFAULT);
        let mut out = Vec::new();
        cutter.hint_content_type(hint);
        cutter.push(&Bytes::from(vec![b'x'; 3000]), &mut out);
        assert_eq!(headers(&out)[0].content_type, expected);
    }
}

#[test]
fn flush_lets_a_partial_record_go() {
    let stream = golden("av.ts");
    let (mut out, mut cutter) = cut(&stream[..188 * 8], 188);
    let before = records(&out).len();
    cutter.flush(&mut out);
    assert!(records(&out).len() > before);
    assert_eq!(check_ingested(&out, PAYLOAD_BYTES_MAX_DEFAULT), &stream[..188 * 8]);
}

/// Two real streams in a row, the first with bytes changed, taken out and put in.
fn damaged_sample() -> impl Strategy<Value = Vec<u8>> {
    let file = || prop::sample::select(SAMPLES.iter().map(|s| s.file).collect::<Vec<_>>());
    let edit = (any::<prop::sample::Index>(), 0usize..400, any::<u8>(), any::<bool>());
    (any::<[u8; 2]>(), file(), file(), prop::collection::vec(edit, 0..6)).prop_map(
        |(choices, a, b, edits)| {
            let mut stream = golden(a);
            for (at, len, byte, insert) in edits {
                let at = at.index(stream.len());
                let end = if insert { at } else { (at + len).min(stream.len()) };
                stream.splice(at..end, std::iter::repeat_n(byte, if insert { len } else { len % 3 }));
            }
            [&choices[..], &stream, &golden(b)].concat()
        },
    )
}

proptest! {

    /// Random bytes, alone and behind the magic of each container.
    #[test]
    fn garbage_never_panics_and_never_loses_a_byte(
        magic in prop::sample::select(vec![
            &b""[..], b"FLV\x01\x05\0\0\0\x09\0\0\0\0", b"OggS\0\x02", b"\0\0\0\x10ftypisom\0\0\0\0",
            &[0x1A, 0x45, 0xDF, 0xA3, 0x80, 0x18, 0x53, 0x80, 0x67, 0xFF], b"ID3", &[0xFF, 0xFB, 0x90, 0x00],
        ]),
        choices in any::<(u8, u8)>(),
        garbage in prop::collection::vec(any::<u8>(), 0..8000),
    ) {
        cutter(&[&[choices.0, choices.1], magic, &garbage].concat());
    }

    #[test]
    fn damage_never_panics_and_never_loses_a_byte(stream in damaged_sample()) {
        cutter(&stream);
    }
}
