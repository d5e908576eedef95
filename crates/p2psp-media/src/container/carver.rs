//! Turns "the next n bytes belong together" into records. Owns the byte buffer, the current record and the announced
//! stream header; refuses to know any container.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use crate::record::{Ingested, Record, STREAM_HEADER_BYTES_MAX, StreamHeader};

/// Bytes that may wait at the start of a stream for its header to be complete. Twice the largest header: WebM may put
/// seek heads and tags around the parts that count.
pub(super) const HOLD_BYTES_MAX: usize = 2 * STREAM_HEADER_BYTES_MAX;

/// New buffer space is taken in blocks of this size, so that many small records share one allocation.
const BLOCK_BYTES: usize = 64 * 1024;

/// Undelivered bytes, and how much of them the parser has already assigned to the record being filled.
#[derive(Debug)]
pub(super) struct Carver {
    buf: BytesMut,
    /// Bytes at the front of `buf` that the parser is done with.
    decided: usize,
    payload_bytes_max: usize,
    random_access: bool,
    /// Every record is a random-access point: streams without known structure.
    random_access_always: bool,
    /// Records wait until the header is known, see [`HOLD_BYTES_MAX`].
    hold: bool,
    content_type: String,
    header: Option<StreamHeader>,
    /// The last media timestamp that went by, from any origin.
    pub(super) media_time: Option<Duration>,
    pub(super) records: u64,
}

impl Carver {
    pub(super) fn new(payload_bytes_max: usize) -> Self {
        Self {
            buf: BytesMut::new(),
            decided: 0,
            payload_bytes_max,
            random_access: false,
            random_access_always: false,
            hold: false,
            content_type: String::new(),
            header: None,
            media_time: None,
            records: 0,
        }
    }

    /// Starts a new stream: what follows is of `content_type` and is held back until its header comes, if `hold`.
    pub(super) fn begin(
        &mut self,
        content_type: &str,
        payload_bytes_max: usize,
        hold: bool,
        out: &mut Vec<Ingested>,
    ) {
        self.cut(false, out);
        content_type.clone_into(&mut self.content_type);
        self.payload_bytes_max = payload_bytes_max;
        self.random_access_always = false;
        self.hold = hold;
        self.media_time = None;
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.buf.capacity() - self.buf.len() < bytes.len() {
            self.buf.reserve(bytes.len().max(BLOCK_BYTES));
        }
        self.buf.extend_from_slice(bytes);
    }

    pub(super) fn payload_bytes_max(&self) -> usize {
        self.payload_bytes_max
    }

    /// The bytes that the parser has not assigned yet.
    pub(super) fn rest(&self) -> &[u8] {
        self.buf.get(self.decided..).unwrap_or_default()
    }

    /// Assigns the next `n` bytes to the current record; full records go out.
    pub(super) fn advance(&mut self, n: usize, out: &mut Vec<Ingested>) {
        self.decided = self.decided.saturating_add(n).min(self.buf.len());
        if self.hold && self.decided > HOLD_BYTES_MAX {
            self.release(out);
        }
        if !self.hold {
            while self.decided >= self.payload_bytes_max {
                self.emit(self.payload_bytes_max, out);
            }
        }
    }

    /// Throws the next `n` unassigned bytes away.
    pub(super) fn discard(&mut self, n: usize, out: &mut Vec<Ingested>) {
        self.cut(false, out);
        self.buf.advance(n.min(self.buf.len()));
    }

    /// Ends the current record; the next one starts at a random-access point if `random_access`.
    pub(super) fn cut(&mut self, random_access: bool, out: &mut Vec<Ingested>) {
        self.release(out);
        if self.decided > 0 {
            self.emit(self.decided, out);
        }
        self.random_access = random_access;
    }

    /// A random-access point of a stream that has one in nearly every unit: ends the record only when it is at least
    /// half full, because hundreds of tiny datagrams a second cost more than a late start of some milliseconds.
    pub(super) fn cut_soft(&mut self, out: &mut Vec<Ingested>) {
        if self.decided == 0 || self.decided >= self.payload_bytes_max / 2 {
            self.cut(true, out);
        }
    }

    /// A unit ended: a nearly full record goes out as it is, so that the next unit does not depend on it.
    pub(super) fn unit_end(&mut self, out: &mut Vec<Ingested>) {
        if !self.hold && self.decided >= self.payload_bytes_max / 4 * 3 {
            self.cut(false, out);
        }
    }

    /// Lets a partly filled record go, unless the stream's header is still awaited.
    pub(super) fn flush(&mut self, out: &mut Vec<Ingested>) {
        if !self.hold && self.decided > 0 {
            self.emit(self.decided, out);
        }
    }

    /// From here on, every record is a random-access point, and none waits for a header.
    pub(super) fn always_random_access(&mut self, out: &mut Vec<Ingested>) {
        if !self.hold {
            self.cut(false, out);
        }
        self.random_access_always = true;
        self.set_header(Bytes::new(), false, out);
    }

    pub(super) fn set_content_type(&mut self, content_type: &str) {
        content_type.clone_into(&mut self.content_type);
    }

    /// Announces `bytes` as the stream header. The same header again is silent, unless `restart` says that the stream
    /// started over, which no player survives without being told.
    pub(super) fn set_header(&mut self, bytes: Bytes, restart: bool, out: &mut Vec<Ingested>) {
        let same =
            self.header.as_ref().is_some_and(|h| h.bytes == bytes && h.content_type == self.content_type);
        if !same || restart {
            if !self.hold && self.decided > 0 {
                self.emit(self.decided, out);
            }
            self.announce(bytes, out);
        }
        self.release(out);
    }

    fn announce(&mut self, bytes: Bytes, out: &mut Vec<Ingested>) {
        let version = self.header.as_ref().map_or(0, |h| h.version.wrapping_add(1));
        let header = StreamHeader { version, content_type: self.content_type.clone(), bytes };
        self.header = Some(header.clone());
        out.push(Ingested::Header(header));
    }

    fn release(&mut self, out: &mut Vec<Ingested>) {
        if self.hold {
            self.hold = false;
            self.advance(0, out);
        }
    }

    fn emit(&mut self, n: usize, out: &mut Vec<Ingested>) {
        if self.header.as_ref().is_none_or(|h| h.content_type != self.content_type) {
            self.announce(Bytes::new(), out);
        }
        let header_version = self.header.as_ref().map_or(0, |h| h.version);
        let payload = self.buf.split_to(n).freeze();
        self.decided -= n;
        let random_access = std::mem::take(&mut self.random_access) || self.random_access_always;
        self.records += 1;
        out.push(Ingested::Record(Record { payload, random_access, header_version }));
    }
}
