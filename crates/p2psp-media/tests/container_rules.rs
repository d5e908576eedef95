//! The cutter's rules and limits where real files do not reach: streams put together element by element.

use bytes::Bytes;
use p2psp_media::container::{Container, Cutter, PAYLOAD_BYTES_MAX_DEFAULT};
use p2psp_media::fuzzing::check_ingested;
use p2psp_media::record::{Ingested, STREAM_HEADER_BYTES_MAX};

/// Cuts a whole stream: what came out, and where in the stream players can start.
fn cut(stream: &[u8]) -> (Vec<Ingested>, Vec<usize>) {
    let (mut cutter, mut out) = (Cutter::new(PAYLOAD_BYTES_MAX_DEFAULT), Vec::new());
    for chunk in stream.chunks(5000) {
        cutter.push(&Bytes::copy_from_slice(chunk), &mut out);
    }
    cutter.finish(&mut out);
    assert!(check_ingested(&out, PAYLOAD_BYTES_MAX_DEFAULT) == stream);
    let (mut at, mut starts) = (0, Vec::new());
    for ingested in &out {
        if let Ingested::Record(record) = ingested {
            if record.random_access {
                starts.push(at);
            }
            at += record.payload.len();
        }
    }
    (out, starts)
}

fn header_versions(out: &[Ingested]) -> usize {
    out.iter().filter(|i| matches!(i, Ingested::Header(_))).count()
}

mod webm {
    use super::*;

    const LOOKAHEAD: usize = 256 * 1024;

    fn element(id: &[u8], body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(body.len()).expect("small") | 0x1000_0000;
        [id, &size.to_be_bytes(), body].concat()
    }

    /// Track 1 is video, track 2 audio.
    fn start() -> Vec<u8> {
        let track = |number, kind| {
            element(&[0xAE], &[element(&[0xD7], &[number]), element(&[0x83], &[kind])].concat())
        };
        let tracks = element(&[0x16, 0x54, 0xAE, 0x6B], &[track(1, 1), track(2, 2)].concat());
        let ebml = element(&[0x1A, 0x45, 0xDF, 0xA3], &element(&[0x42, 0x82], b"webm"));
        [&ebml[..], &[0x18, 0x53, 0x80, 0x67, 0xFF], &tracks].concat()
    }

    fn cluster(children: &[Vec<u8>]) -> Vec<u8> {
        let timestamp = element(&[0xE7], &[0]);
        [&[0x1F, 0x43, 0xB6, 0x75, 0xFF][..], &timestamp, &children.concat()].concat()
    }

    fn block(track: u8, flags: u8, len: usize) -> Vec<u8> {
        [&[0x80 | track, 0, 0, flags][..], &vec![7; len]].concat()
    }

    fn simple_block(track: u8, flags: u8, len: usize) -> Vec<u8> {
        element(&[0xA3], &block(track, flags, len))
    }

    fn group(track: u8, is_reference: bool) -> Vec<u8> {
        let reference = if is_reference { element(&[0xFB], &[0xFF]) } else { Vec::new() };
        element(&[0xA0], &[element(&[0xA1], &block(track, 0, 50)), reference].concat())
    }

    #[test]
    fn a_cluster_is_a_start_if_its_first_video_block_is_a_keyframe() {
        for (children, is_start, what) in [
            (vec![simple_block(1, 0x80, 50)], true, "keyframe"),
            (vec![simple_block(1, 0, 50)], false, "no keyframe"),
            (vec![simple_block(2, 0x80, 50), simple_block(1, 0x80, 50)], true, "audio before a keyframe"),
            (vec![simple_block(2, 0x80, 50), simple_block(1, 0, 50)], false, "audio before no keyframe"),
            (vec![simple_block(2, 0x80, 50)], false, "audio alone, in a stream with video"),
            (vec![group(1, false)], true, "a group without references"),
            (vec![group(1, true)], false, "a group with a reference"),
            (vec![group(2, false), group(1, true)], false, "an audio group before a reference"),
        ] {
            let stream = [start(), cluster(&children), cluster(&[simple_block(1, 0x80, 9)])].concat();
            let (_, starts) = cut(&stream);
            assert_eq!(starts.len(), 1 + usize::from(is_start), "{what}");
            assert_eq!(starts.contains(&start().len()), is_start, "{what}");
        }
    }

    /// One byte beyond the lookahead, and the Cluster is passed without being a start.
    #[test]
    fn the_first_video_block_is_looked_for_within_a_limit() {
        // Cluster header, timestamp element, and the audio block's own id, size and four bytes.
        let before = 5 + 6 + 1 + 4 + 4;
        for (len, starts_expected) in [(LOOKAHEAD - before, 1), (LOOKAHEAD - before + 1, 0)] {
            let stream =
                [start(), cluster(&[simple_block(2, 0x80, len), simple_block(1, 0x80, 50)])].concat();
            assert_eq!(cut(&stream).1.len(), starts_expected, "{len}");
        }
    }

    #[test]
    fn a_new_beginning_gets_a_new_header_even_if_it_looks_the_same() {
        let once = [start(), cluster(&[simple_block(1, 0x80, 50)])].concat();
        let (out, starts) = cut(&once.repeat(2));
        assert_eq!((header_versions(&out), starts.len()), (2, 2));
    }
}

mod mp4 {
    use super::*;

    const MOOF_BYTES_MAX: usize = 256 * 1024;
    const NON_SYNC: u32 = 0x0001_0000;

    fn plain(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&u32::try_from(body.len() + 8).expect("small").to_be_bytes(), &kind[..], body].concat()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_be_bytes()).collect()
    }

    fn start(handler: &[u8; 4], trex_flags: u32) -> Vec<u8> {
        let hdlr = [&words(&[0, 0]), &handler[..], &words(&[0; 4])].concat();
        let mdia = [plain(b"mdhd", &words(&[0, 0, 0, 1000, 0])), plain(b"hdlr", &hdlr)].concat();
        let trak = [plain(b"tkhd", &words(&[0, 0, 0, 1])), plain(b"mdia", &mdia)].concat();
        let mvex = plain(b"trex", &words(&[0, 1, 1, 0, 0, trex_flags]));
        let moov = [plain(b"trak", &trak), plain(b"mvex", &mvex)].concat();
        [plain(b"ftyp", b"isom\0\0\0\0"), plain(b"moov", &moov)].concat()
    }

    fn moof(tfhd: &[u32], trun: &[u32]) -> Vec<u8> {
        let traf = [plain(b"tfhd", &words(tfhd)), plain(b"trun", &words(trun))].concat();
        [plain(b"moof", &plain(b"traf", &traf)), plain(b"mdat", &[0; 100])].concat()
    }

    /// ISO/IEC 14496-12, 8.8.3.1, 8.8.7.1, 8.8.8.1: first sample flags, then sample flags, then defaults.
    #[test]
    fn a_fragment_is_a_start_if_its_first_video_sample_is_known_to_be_sync() {
        let (audio_alone, start) = (start(b"soun", NON_SYNC), |trex| start(b"vide", trex));
        for (header, fragment, is_start, what) in [
            (start(0), moof(&[0, 1], &[0, 1]), true, "default of the track"),
            (start(NON_SYNC), moof(&[0, 1], &[0, 1]), false, "default of the track"),
            (start(NON_SYNC), moof(&[0x20, 1, 0], &[0, 1]), true, "default of the fragment"),
            (start(NON_SYNC), moof(&[0x2A, 1, 1, 1, 0], &[0, 1]), true, "default behind other fields"),
            (start(NON_SYNC), moof(&[0, 1], &[0x4, 1, 0]), true, "flags of the first sample"),
            (
                start(0),
                moof(&[0, 1], &[0x5, 1, 0, NON_SYNC]),
                false,
                "flags of the first sample, offset before",
            ),
            (start(0), moof(&[0, 1], &[0x600, 1, 9, NON_SYNC]), false, "flags of each sample"),
            (start(0), moof(&[0, 2], &[0, 1]), false, "another track"),
            (start(0), moof(&[0x1, 1, 0, 0], &[0, 1]), false, "samples by file position"),
            (audio_alone, moof(&[0, 1], &[0, 1]), true, "audio alone"),
        ] {
            let stream = [&header[..], &fragment].concat();
            let expected = if is_start { vec![header.len()] } else { vec![] };
            assert_eq!(cut(&stream).1, expected, "{what}");
        }
    }

    #[test]
    fn a_fragment_header_beyond_the_limit_is_no_start() {
        for (excess, is_start) in [(0, true), (1, false)] {
            let traf = [plain(b"tfhd", &words(&[0, 1])), plain(b"trun", &words(&[0, 1]))].concat();
            let traf = plain(b"traf", &traf);
            let free = plain(b"free", &vec![0; MOOF_BYTES_MAX + excess - traf.len() - 16]);
            let stream = [start(b"vide", 0), plain(b"moof", &[traf, free].concat())].concat();
            assert_eq!(cut(&stream).1.len(), usize::from(is_start), "{excess}");
        }
    }
}

mod flv {
    use super::*;

    fn tag(kind: u8, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len()).expect("small").to_be_bytes();
        [&[kind], &len[1..], &[0; 7], body, &(11 + u32::from_be_bytes(len)).to_be_bytes()].concat()
    }

    fn start(flags: u8) -> Vec<u8> {
        [b"FLV\x01".as_slice(), &[flags], &[0, 0, 0, 9, 0, 0, 0, 0]].concat()
    }

    #[test]
    fn keyframes_of_old_and_new_codecs_are_starts_and_configurations_are_not() {
        for (config, key, delta) in [
            // H.264; H.265 in the extended header; Sorenson, which has no configuration.
            (&[0x17, 0, 0, 0, 0][..], &[0x17, 1, 0, 0, 0, 1][..], &[0x27, 1, 0, 0, 0, 1][..]),
            (
                &[0x90, b'h', b'v', b'c', b'1'],
                &[0x91, b'h', b'v', b'c', b'1', 0],
                &[0xA1, b'h', b'v', b'c', b'1'],
            ),
            (&[0x52, 0], &[0x12, 0], &[0x22, 0]),
        ] {
            let head = [start(5), tag(9, config)].concat();
            let stream = [&head[..], &tag(9, key), &tag(9, delta), &tag(9, key)].concat();
            let second = stream.len() - tag(9, key).len();
            assert_eq!(cut(&stream).1, [head.len(), second], "{config:02x?}");
        }
    }

    #[test]
    fn a_new_configuration_is_a_new_header_and_the_same_again_is_not() {
        let config = |b| tag(9, &[0x17, 0, 0, 0, 0, b]);
        let key = tag(9, &[0x17, 1, 0, 0, 0, 1]);
        let same = [&start(5)[..], &config(1), &key, &config(1), &key].concat();
        assert_eq!(header_versions(&cut(&same).0), 1);
        let other = [&start(5)[..], &config(1), &key, &config(2), &key].concat();
        assert_eq!(header_versions(&cut(&other).0), 2);
    }

    #[test]
    fn a_promised_video_that_never_comes_leaves_audio_joinable() {
        let audio = tag(8, &[0x2F; 400]);
        let stream = [start(5), audio.repeat(200)].concat();
        let first = cut(&stream).1[0] - start(5).len();
        assert_eq!(first % audio.len(), 0, "at the beginning of a tag");
        assert!((64..70).contains(&(first / audio.len())), "after {} tags", first / audio.len());
    }
}

#[test]
fn a_transport_stream_without_tables_is_passed_on_after_a_limit() {
    let packet = |n: usize| {
        let mut packet = [0xAA; 188];
        packet[..4].copy_from_slice(&[0x47, 0x01, 0x00, 0x10 | u8::try_from(n % 16).unwrap()]);
        packet
    };
    let stream: Vec<u8> = (0..2000).flat_map(packet).collect();
    let (mut cutter, mut out) = (Cutter::new(PAYLOAD_BYTES_MAX_DEFAULT), Vec::new());
    let held = 2 * STREAM_HEADER_BYTES_MAX / 188 * 188;
    cutter.push(&Bytes::copy_from_slice(&stream[..held]), &mut out);
    assert_eq!((cutter.container(), out.len()), (Some(Container::MpegTs), 0), "the tables may still come");
    cutter.push(&Bytes::copy_from_slice(&stream[held..held + 188]), &mut out);
    assert!(out.len() > 100, "one packet more than may wait");
    assert_eq!(cut(&stream).1, [] as [usize; 0], "nothing to start at");
}
