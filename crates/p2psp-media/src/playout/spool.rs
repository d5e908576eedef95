//! The ring of played units and the cursors that read it. Owns order, late join, holes, slow readers and every bound on
//! memory; has no clock, lock, task or socket, and never looks into a payload.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::batch::Batch;
use super::format::Framing;
use crate::record::{Record, STREAM_HEADER_BYTES_MAX, StreamHeader};

/// Stream headers kept at once: the ring's units span at most a few format changes, and each may be 64 KiB.
pub const HEADERS_MAX: usize = 8;

/// Payloads in one batch: with chunked coding's two more, they fit one `writev` of 64 slices.
pub(super) const BATCH_PARTS_MAX: usize = 60;

/// One played unit of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The bytes; an empty unit is ignored.
    pub payload: Bytes,
    /// A player that has the stream header can start at the first byte.
    pub random_access: bool,
    /// The [`StreamHeader::version`] that the unit belongs to.
    pub header_version: u8,
}

impl From<Record> for Unit {
    fn from(record: Record) -> Self {
        Self {
            payload: record.payload,
            random_access: record.random_access,
            header_version: record.header_version,
        }
    }
}

/// What the ring may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolLimits {
    /// Payload bytes; the oldest units go first. Default 8 MiB, 16 s at 4 Mb/s: it should hold two random-access points.
    pub bytes_max: usize,
    /// Units. Default 16 384, which at 1128 bytes each is beyond `bytes_max`: it bounds streams of tiny units.
    pub units_max: usize,
    /// A reader further behind the live edge moves to the newest random-access point. Default 4 MiB, 8 s at 4 Mb/s.
    pub reader_lag_bytes_max: usize,
    /// A player of a sound-only stream starts so many bytes behind the live edge: its points are dense, and players want
    /// some seconds before they make a sound. Default 64 KiB, 4 s at 128 kb/s, as Icecast does.
    pub audio_burst_bytes: usize,
}

impl Default for SpoolLimits {
    fn default() -> Self {
        Self {
            bytes_max: 8 << 20,
            units_max: 16_384,
            reader_lag_bytes_max: 4 << 20,
            audio_burst_bytes: 64 << 10,
        }
    }
}

/// Why [`Spool::set_header`] refused a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stream header of {bytes} bytes is over the limit of {STREAM_HEADER_BYTES_MAX}")]
pub struct HeaderError {
    /// Size of the refused header.
    pub bytes: usize,
}

/// Counters of a ring since it was made, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolStats {
    /// Units accepted.
    pub units: u64,
    /// Payload bytes accepted.
    pub bytes: u64,
    /// Units that never came, as told by [`Spool::gap`], and units too large for the ring.
    pub units_missing: u64,
    /// Times that a reader was moved to a newer random-access point.
    pub skips: u64,
    /// Units in the ring now.
    pub units_held: usize,
    /// Payload bytes in the ring now.
    pub bytes_held: usize,
    /// Random-access points in the ring now; without one a new player has to wait.
    pub points_held: usize,
}

/// What [`Spool::read`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Bytes were put into the batch.
    Data,
    /// Nothing to read until the next call that writes.
    Wait,
    /// This cursor will never read again: the ring is closed and drained, or the stream changed to something that
    /// cannot follow on the same connection.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not placed yet.
    Start,
    /// Reading unit after unit.
    Flow,
    /// A hole passed in a nested container: waits for the first random-access point at or after `next`.
    SeekNext,
    /// Fell out of the ring: waits for the newest random-access point at or after `next`.
    SeekNewest,
    /// Nothing more, ever.
    End,
}

/// A reader's place in the ring. Cheap; the ring does not know how many there are.
#[derive(Debug)]
pub struct Cursor {
    phase: Phase,
    next: u64,
    /// The header in whose terms the player reads; set once placed.
    header: Option<Arc<StreamHeader>>,
    framing: Framing,
    /// Put the header's bytes before the next random-access point.
    header_due: bool,
}

#[derive(Debug)]
struct Slot {
    unit: Unit,
    /// Position of the payload's first byte among all bytes ever pushed.
    offset: u64,
    after_hole: bool,
}

/// The ring.
#[derive(Debug)]
pub struct Spool {
    limits: SpoolLimits,
    slots: VecDeque<Slot>,
    /// Number of the oldest slot; slots are numbered in push order.
    first: u64,
    /// Numbers of the random-access points in the ring, ascending.
    random_access: VecDeque<u64>,
    headers: VecDeque<Arc<StreamHeader>>,
    hole: bool,
    closed: bool,
    stats: SpoolStats,
}

impl Spool {
    /// An empty ring.
    pub fn new(limits: SpoolLimits) -> Self {
        Self {
            limits,
            slots: VecDeque::new(),
            first: 0,
            random_access: VecDeque::new(),
            headers: VecDeque::new(),
            hole: false,
            closed: false,
            stats: SpoolStats::default(),
        }
    }

    /// Makes a header known. Units of a version without a header are held back, so call this before their first.
    ///
    /// # Errors
    /// The header is larger than [`STREAM_HEADER_BYTES_MAX`]; nothing changes.
    pub fn set_header(&mut self, header: StreamHeader) -> Result<(), HeaderError> {
        if header.bytes.len() > STREAM_HEADER_BYTES_MAX {
            return Err(HeaderError { bytes: header.bytes.len() });
        }
        if self.headers.back().is_some_and(|newest| **newest == header) {
            return Ok(());
        }
        self.headers.retain(|known| known.version != header.version);
        self.headers.push_back(Arc::new(header));
        if self.headers.len() > HEADERS_MAX {
            self.headers.pop_front();
        }
        Ok(())
    }

    /// The newest header.
    pub fn header(&self) -> Option<&Arc<StreamHeader>> {
        self.headers.back()
    }

    /// Appends the next unit in play order; drops the oldest ones that no longer fit. After [`Spool::close`], ignored.
    pub fn push(&mut self, unit: Unit) {
        let len = unit.payload.len();
        if len == 0 || self.closed {
            return;
        }
        if len > self.limits.bytes_max || self.limits.units_max == 0 {
            self.gap(1);
            return;
        }
        while self.slots.len() >= self.limits.units_max
            || self.stats.bytes_held.saturating_add(len) > self.limits.bytes_max
        {
            self.evict();
        }
        if unit.random_access {
            self.random_access.push_back(self.end());
        }
        self.slots.push_back(Slot { unit, offset: self.stats.bytes, after_hole: self.hole });
        self.hole = false;
        self.stats.units += 1;
        self.stats.bytes += wide(len);
        self.stats.bytes_held += len;
    }

    /// Says that `count` units between the last and the next one are lost for good.
    pub fn gap(&mut self, count: u64) {
        if count > 0 {
            self.hole = true;
            self.stats.units_missing = self.stats.units_missing.saturating_add(count);
        }
    }

    /// The stream is over: cursors read what is left, then end.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// True once the stream is over.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Counters and what is held now.
    pub fn stats(&self) -> SpoolStats {
        SpoolStats { units_held: self.slots.len(), points_held: self.random_access.len(), ..self.stats }
    }

    /// A cursor that will start at the newest random-access point.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            phase: Phase::Start,
            next: 0,
            header: None,
            framing: Framing::SelfSynchronising,
            header_due: false,
        }
    }

    /// Places a new cursor at the newest random-access point whose header is known (see also
    /// [`SpoolLimits::audio_burst_bytes`]), and gives that header; `None` while there is no such point. A cursor once
    /// placed stays, and gives the header that it reads in terms of. Nobody starts once the ring is closed.
    pub fn start(&self, cursor: &mut Cursor) -> Option<Arc<StreamHeader>> {
        if cursor.phase == Phase::Start {
            if self.closed {
                return None;
            }
            let (newest, header) = self.newest_start(0)?;
            let number =
                if header.content_type.starts_with("audio/") { self.burst_start(&header) } else { None };
            let number = number.unwrap_or(newest);
            cursor.phase = Phase::Flow;
            cursor.next = number;
            cursor.framing = Framing::of(&header.content_type);
            cursor.header = Some(header);
            cursor.header_due = true;
        }
        cursor.header.clone()
    }

    /// Appends to `batch` what the cursor is to see next: the header's bytes where they are due, then units, until the
    /// batch holds `bytes_max` bytes (overshooting by less than one unit) or the ring has no more. The batch must have
    /// room for at least one byte, or the answer means nothing.
    pub fn read(&mut self, cursor: &mut Cursor, batch: &mut Batch, bytes_max: usize) -> Read {
        let before = batch.remaining();
        loop {
            match cursor.phase {
                Phase::Start => {
                    if self.start(cursor).is_none() {
                        return self.wait(cursor);
                    }
                }
                Phase::SeekNext | Phase::SeekNewest => {
                    if !self.seek(cursor) {
                        return self.wait(cursor);
                    }
                }
                Phase::Flow => {
                    let stop = self.skip_if_lagging(cursor);
                    if cursor.phase == Phase::Flow {
                        self.copy_out(cursor, batch, bytes_max, stop);
                    }
                    if batch.remaining() > before {
                        return Read::Data;
                    }
                    if cursor.phase == Phase::Flow {
                        return self.wait(cursor);
                    }
                }
                Phase::End => return Read::End,
            }
        }
    }

    fn wait(&self, cursor: &mut Cursor) -> Read {
        if self.closed {
            cursor.phase = Phase::End;
            return Read::End;
        }
        Read::Wait
    }

    /// Moves a cursor that lags too far. Gives the number at which [`Self::copy_out`] must stop so that the move can
    /// happen between two elements of a nested container.
    fn skip_if_lagging(&mut self, cursor: &mut Cursor) -> u64 {
        let end = self.end();
        if cursor.next < self.first {
            self.stats.skips += 1;
            cursor.phase = Phase::SeekNewest;
            return end;
        }
        let Some(slot) = self.slot(cursor.next) else { return end };
        let lag = self.stats.bytes.saturating_sub(slot.offset);
        if lag <= wide(self.limits.reader_lag_bytes_max) || self.newest_start(cursor.next + 1).is_none() {
            return end;
        }
        if cursor.framing == Framing::Nested && !slot.unit.random_access {
            let boundary = self.random_access.get(self.point(cursor.next));
            return boundary.copied().unwrap_or(end);
        }
        self.stats.skips += 1;
        cursor.phase = Phase::SeekNewest;
        end
    }

    /// Places a seeking cursor; false while there is no random-access point for it.
    fn seek(&self, cursor: &mut Cursor) -> bool {
        let found = match cursor.phase {
            Phase::SeekNext => self.next_start(cursor.next),
            Phase::Start | Phase::Flow | Phase::SeekNewest | Phase::End => self.newest_start(cursor.next),
        };
        let Some((number, header)) = found else { return false };
        cursor.next = number;
        cursor.phase = Phase::Flow;
        if cursor.header.as_ref().is_some_and(|own| own.version != header.version) {
            self.change_header(cursor, header);
            cursor.header_due = true;
        }
        true
    }

    /// Goes on in terms of another header, or ends where a player could not follow.
    fn change_header(&self, cursor: &mut Cursor, header: Arc<StreamHeader>) {
        let same_type = cursor.header.as_ref().is_some_and(|own| own.content_type == header.content_type);
        if cursor.framing == Framing::Nested || !same_type {
            cursor.phase = Phase::End;
        }
        cursor.header = Some(header);
    }

    fn copy_out(&self, cursor: &mut Cursor, batch: &mut Batch, bytes_max: usize, stop: u64) {
        let Some(skip) = cursor.next.checked_sub(self.first).and_then(|n| usize::try_from(n).ok()) else {
            return;
        };
        for slot in self.slots.range(skip.min(self.slots.len())..) {
            if batch.remaining() >= bytes_max || batch.parts() >= BATCH_PARTS_MAX || cursor.next >= stop {
                return;
            }
            let unit = &slot.unit;
            let cut = slot.after_hole && !cursor.header_due;
            if cut && cursor.framing == Framing::Nested && !unit.random_access {
                cursor.phase = Phase::SeekNext;
                return;
            }
            if cursor.header.as_ref().is_some_and(|own| own.version != unit.header_version) {
                let Some(header) = self.header_of(unit.header_version) else { return };
                self.change_header(cursor, header);
                if cursor.phase == Phase::End {
                    return;
                }
                // Without a hole the new header was part of the bytes already sent.
                cursor.header_due |= cut;
            }
            if unit.random_access && cursor.header_due {
                cursor.header_due = false;
                if let Some(header) = &cursor.header {
                    batch.push(header.bytes.clone());
                }
            }
            batch.push(unit.payload.clone());
            cursor.next += 1;
        }
    }

    fn end(&self) -> u64 {
        self.first + wide(self.slots.len())
    }

    fn evict(&mut self) {
        if let Some(slot) = self.slots.pop_front() {
            self.stats.bytes_held -= slot.unit.payload.len();
            if self.random_access.front() == Some(&self.first) {
                self.random_access.pop_front();
            }
            self.first += 1;
        }
    }

    fn header_of(&self, version: u8) -> Option<Arc<StreamHeader>> {
        self.headers.iter().rev().find(|header| header.version == version).cloned()
    }

    fn start_at(&self, number: u64) -> Option<(u64, Arc<StreamHeader>)> {
        Some((number, self.header_of(self.slot(number)?.unit.header_version)?))
    }

    /// The newest random-access point at or after `from` whose header is known.
    fn newest_start(&self, from: u64) -> Option<(u64, Arc<StreamHeader>)> {
        self.random_access.range(self.point(from)..).rev().find_map(|number| self.start_at(*number))
    }

    /// The newest point of the header's stream that has the burst behind it; without one, the oldest point.
    fn burst_start(&self, header: &StreamHeader) -> Option<u64> {
        let mut found = None;
        for number in self.random_access.iter().rev() {
            let slot = self.slot(*number)?;
            if slot.unit.header_version != header.version {
                break;
            }
            found = Some(*number);
            if self.stats.bytes - slot.offset >= wide(self.limits.audio_burst_bytes) {
                break;
            }
        }
        found
    }

    fn slot(&self, number: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// The oldest such point.
    fn next_start(&self, from: u64) -> Option<(u64, Arc<StreamHeader>)> {
        self.random_access.range(self.point(from)..).find_map(|number| self.start_at(*number))
    }

    /// Index of the first random-access point at or after `from`.
    fn point(&self, from: u64) -> usize {
        self.random_access.partition_point(|number| *number < from)
    }
}

/// A size as a 64-bit count; no machine has sizes beyond.
pub(super) fn wide(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}
