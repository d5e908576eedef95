//! What an ingest door hands to the splitter: records cut at container units, and the versioned stream header that a
//! late joiner needs before its first random-access point. Knows nothing of chunks' numbers, peers or sockets.

use bytes::Bytes;

/// One unit of the stream, small enough to be one chunk.
///
/// Concatenating the payloads of all records in order gives the source's bytes back, exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// At least 1 and at most the cutter's `payload_bytes_max` bytes.
    pub payload: Bytes,
    /// A player that has the stream header can start at the first byte of this payload.
    pub random_access: bool,
    /// The header version this record belongs to; see [`StreamHeader::version`].
    pub header_version: u8,
}

/// Bytes that a player must see before the first random-access point: PAT+PMT, an EBML header, FLV configuration
/// tags, `ftyp`+`moov`, Ogg header pages. Empty for containers that need none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHeader {
    /// Counts up by one, wrapping, each time the header's bytes change.
    pub version: u8,
    /// MIME type for HTTP, for example `video/mp2t`.
    pub content_type: String,
    /// At most [`STREAM_HEADER_BYTES_MAX`] bytes.
    pub bytes: Bytes,
}

/// Largest stream header: fMP4 `moov` boxes and Ogg comment pages with pictures reach tens of kilobytes.
pub const STREAM_HEADER_BYTES_MAX: usize = 64 * 1024;

/// What a cutter or an ingest door produces, in stream order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ingested {
    /// Sent before the first record that needs it, and again whenever it changes.
    Header(StreamHeader),
    /// The next unit of the stream.
    Record(Record),
}
