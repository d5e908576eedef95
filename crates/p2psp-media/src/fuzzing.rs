//! One plain function for each parser of foreign bytes, which panics when a promise of that parser is broken. Fuzzers,
//! property tests and corpus replays all call these; they hold no state and do no I/O.

use bytes::Bytes;

use crate::container::{Cutter, PAYLOAD_BYTES_MIN};
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
