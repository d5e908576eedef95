//! Notes: control messages of which the next one says as much, each in a datagram of its own (R-NOTE-1). Nobody acknowledges a note,
//! repeats it or waits for it. Owns which messages they are, and the byte in front of them.

use crate::{Control, DecodeError, limits::DATAGRAM_BYTES_MAX};
use bytes::{BufMut, Bytes, BytesMut};

/// First byte of a note; chunks, parity and manifests have others (R-DGRAM-2).
const KIND_NOTE: u8 = 4;

impl Control {
    /// Whether this message travels as a note, and not on the control stream.
    #[must_use]
    pub const fn is_note(&self) -> bool {
        matches!(self, Self::Echo(echo) if echo.came.is_some())
    }

    /// The message as a note, or `None` where it belongs on the control stream.
    #[must_use]
    pub fn to_note(&self) -> Option<Bytes> {
        if !self.is_note() {
            return None;
        }
        let mut note = BytesMut::new();
        note.put_u8(KIND_NOTE);
        self.encode_body(&mut note);
        Some(note.freeze())
    }

    /// Reads a note; `None` where the datagram is something else.
    ///
    /// # Errors
    ///
    /// [`DecodeError::TooLong`] beyond [`DATAGRAM_BYTES_MAX`], [`DecodeError::Invalid`] for a message that belongs on the control
    /// stream, else what [`Control::decode`] says.
    pub fn from_note(datagram: &Bytes) -> Option<Result<Self, DecodeError>> {
        if datagram.first() != Some(&KIND_NOTE) {
            return None;
        }
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Some(Err(DecodeError::TooLong("note")));
        }
        Some(Self::decode(datagram.slice(1..)).and_then(|message| {
            let is_fit = message.is_note() || message == Self::Unknown;
            if is_fit { Ok(message) } else { Err(DecodeError::Invalid("note")) }
        }))
    }
}
