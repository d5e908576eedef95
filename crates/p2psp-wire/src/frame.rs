//! Framing of the control stream: a varint length, then one protobuf frame (R-CTRL-1). The decoder takes bytes as they come
//! and never holds more than one frame's worth.

use crate::{Control, DecodeError, limits::FRAME_BYTES_MAX};
use bytes::{Buf, Bytes, BytesMut};

/// Most bytes of a length prefix that can announce an allowed frame.
const PREFIX_BYTES_MAX: usize = 3;

/// Cuts a byte stream into control messages.
///
/// After an error the stream has no more frames to give: close the link.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: BytesMut,
}

impl FrameDecoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many more bytes one call of [`push`](Self::push) may bring, so that the buffer stays within one frame.
    #[must_use]
    pub fn room(&self) -> usize {
        (FRAME_BYTES_MAX + PREFIX_BYTES_MAX).saturating_sub(self.buffer.len())
    }

    /// Adds bytes as they came from the stream.
    ///
    /// # Errors
    ///
    /// [`DecodeError::TooLong`] when `bytes` exceed [`room`](Self::room): the caller read on without draining frames.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        if bytes.len() > self.room() {
            return Err(DecodeError::TooLong("control frame"));
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole message, or `None` until more bytes come.
    ///
    /// # Errors
    ///
    /// The frame announces more than [`FRAME_BYTES_MAX`], or its contents break a rule of their message.
    pub fn poll(&mut self) -> Result<Option<Control>, DecodeError> {
        let mut length = 0_usize;
        let mut prefix_bytes = 0;
        loop {
            let Some(&byte) = self.buffer.get(prefix_bytes) else { return Ok(None) };
            length |= usize::from(byte & 0x7f) << (7 * prefix_bytes);
            prefix_bytes += 1;
            if byte & 0x80 == 0 {
                break;
            }
            if prefix_bytes == PREFIX_BYTES_MAX {
                return Err(DecodeError::TooLong("control frame"));
            }
        }
        if length > FRAME_BYTES_MAX {
            return Err(DecodeError::TooLong("control frame"));
        }
        if self.buffer.len() < prefix_bytes + length {
            return Ok(None);
        }
        self.buffer.advance(prefix_bytes);
        let frame: Bytes = self.buffer.split_to(length).freeze();
        Control::decode(frame).map(Some)
    }
}
