//! One plain function for each parser of foreign bytes, which panics when a promise of that parser is broken. Fuzzers,
//! property tests and corpus replays all call these; they hold no state and do no I/O.

use bytes::{Bytes, BytesMut};

use crate::container::{Cutter, PAYLOAD_BYTES_MIN};
use crate::ingest::Source;
use crate::ingest::http_body::{BodyDecoder, Decoded};
use crate::ingest::http_head::{Framing, HEAD_BYTES_MAX, parse_head};
use crate::ingest::rtp;
use crate::record::{Ingested, STREAM_HEADER_BYTES_MAX};

/// The cutter: `input` is two bytes of choices (record size, size of pushes, declared transport stream), then a stream.
///
/// # Panics
///
/// When records lose, add or reorder bytes, break their bounds, or refer to a header that was not announced.
pub fn cutter(input: &[u8]) {
    let Some((&[sizes, pushes], stream)) = input.split_first_chunk::<2>() else { return };
    let payload_bytes_max = PAYLOAD_BYTES_MIN + usize::from(sizes >> 1) * 16;
    let declared = sizes & 1 == 1;
    let mut cutter =
        if declared { Cutter::mpeg_ts(payload_bytes_max) } else { Cutter::new(payload_bytes_max) };
    let mut out = Vec::new();
    for (i, chunk) in stream.chunks(1 + usize::from(pushes) * 7).enumerate() {
        cutter.push(&Bytes::copy_from_slice(chunk), &mut out);
        if i % 5 == 4 {
            cutter.flush(&mut out);
        }
    }
    cutter.finish(&mut out);
    let kept = check_ingested(&out, payload_bytes_max);
    if declared {
        let dropped = usize::try_from(cutter.stats().bytes_dropped).expect("fits: it was in memory");
        assert_eq!(kept.len() + dropped, stream.len(), "every byte is kept or counted as dropped");
        assert!(
            kept.chunks(PAYLOAD_BYTES_MIN).all(|p| p.first() == Some(&0x47)),
            "only whole packets are kept"
        );
    } else {
        assert!(kept == stream, "the records are the stream, byte for byte");
    }
}

/// Checks what one cutter gave out, and returns the payloads in a row.
///
/// # Panics
///
/// When a record is empty, too large or of a header version that is not in force, or when header versions do not count
/// up by one.
#[must_use]
pub fn check_ingested(out: &[Ingested], payload_bytes_max: usize) -> Vec<u8> {
    let mut version: Option<u8> = None;
    let mut bytes = Vec::new();
    for ingested in out {
        match ingested {
            Ingested::Header(header) => {
                assert!(
                    header.bytes.len() <= STREAM_HEADER_BYTES_MAX,
                    "header of {} bytes",
                    header.bytes.len()
                );
                assert_eq!(
                    header.version,
                    version.map_or(0, |v| v.wrapping_add(1)),
                    "versions count up by one"
                );
                assert!(!header.content_type.is_empty());
                version = Some(header.version);
            }
            Ingested::Record(record) => {
                assert!(!record.payload.is_empty() && record.payload.len() <= payload_bytes_max);
                assert_eq!(Some(record.header_version), version, "of the header announced last");
                bytes.extend_from_slice(&record.payload);
            }
        }
    }
    bytes
}

/// The request head of the HTTP door: `input` is what a connection sends.
///
/// # Panics
///
/// When the head is longer than what was sent or than allowed, or when less of it gave another answer than "incomplete".
pub fn http_head(input: &[u8]) {
    let Ok(Some((_, len))) = parse_head(input) else { return };
    assert!(len <= input.len() && len <= HEAD_BYTES_MAX);
    for part in (0..len).filter_map(|n| input.get(..n)) {
        assert!(matches!(parse_head(part), Ok(None)), "a head is awaited until it is whole");
    }
}

/// The request body of the HTTP door: `input` is a byte of choices (framing, size of reads), then a body.
///
/// # Panics
///
/// When more comes out than went in, or when the size of reads makes a difference.
pub fn http_body(input: &[u8]) {
    let Some((&choices, body)) = input.split_first() else { return };
    let framing = match choices & 3 {
        0 => Framing::ToEnd,
        1 => Framing::Length(u64::from(choices) * 10),
        _ => Framing::Chunked,
    };
    let whole = decode_body(framing, body, body.len().max(1));
    assert!(whole.len() <= body.len());
    assert!(decode_body(framing, body, 1 + usize::from(choices >> 2)) == whole, "reads may be of any size");
}

fn decode_body(framing: Framing, body: &[u8], read_bytes: usize) -> Vec<u8> {
    let (mut decoder, mut buf, mut out) = (BodyDecoder::new(framing), BytesMut::new(), Vec::new());
    for read in body.chunks(read_bytes) {
        buf.extend_from_slice(read);
        loop {
            match decoder.decode(&mut buf) {
                Ok(Decoded::Data(data)) => out.extend_from_slice(&data),
                Ok(Decoded::NeedMore) => break,
                Ok(Decoded::End) | Err(_) => return out,
            }
        }
    }
    out
}

/// The RTP header of the UDP door: `input` is a datagram.
///
/// # Panics
///
/// When the payload is empty, or is not a part of the datagram behind the fixed header.
pub fn rtp_packet(input: &[u8]) {
    if let Some(packet) = rtp::parse(input) {
        assert!(!packet.payload.is_empty() && packet.payload.len() <= input.len() - 12);
    }
}

/// The name of a source, as a user writes it.
///
/// # Panics
///
/// When what it was taken for is written in a way that is not understood.
pub fn source_name(input: &[u8]) {
    if let Ok(source) = Source::parse(&String::from_utf8_lossy(input)) {
        assert!(!source.to_string().is_empty());
    }
}
