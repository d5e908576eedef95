//! Takes the titles out of a Shoutcast stream: after each `icy-metaint` bytes of media comes a length byte and sixteen
//! times as many bytes of text. Pure.

use bytes::{Buf, Bytes};

/// Between media and titles.
#[derive(Debug)]
pub(super) struct IcyStripper {
    interval: u64,
    media_left: u64,
    /// Bytes of text to pass over.
    text_left: usize,
}

impl IcyStripper {
    /// `interval` bytes of media between titles; `None` if that is 0, which would be titles alone.
    pub(super) fn new(interval: u64) -> Option<Self> {
        (interval > 0).then_some(Self { interval, media_left: interval, text_left: 0 })
    }

    /// The media in the next bytes, in order.
    pub(super) fn strip(&mut self, mut bytes: Bytes, media: &mut Vec<Bytes>) {
        while !bytes.is_empty() {
            if self.text_left > 0 {
                let n = self.text_left.min(bytes.len());
                bytes.advance(n);
                self.text_left -= n;
            } else if self.media_left > 0 {
                let n = usize::try_from(self.media_left).unwrap_or(usize::MAX).min(bytes.len());
                media.push(bytes.split_to(n));
                self.media_left -= u64::try_from(n).unwrap_or(self.media_left);
            } else {
                self.text_left = usize::from(bytes.get_u8()) * 16;
                self.media_left = self.interval;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_taken_out_however_the_bytes_are_divided() {
        let mut stream = b"abcde\x01StreamTitle='x';".to_vec();
        stream.resize(5 + 1 + 16, b';');
        stream.extend_from_slice(b"fghij\x00klm");
        for piece in 1..stream.len() {
            let mut stripper = IcyStripper::new(5).unwrap();
            let mut media = Vec::new();
            for bytes in stream.chunks(piece) {
                stripper.strip(Bytes::copy_from_slice(bytes), &mut media);
            }
            assert_eq!(media.concat(), b"abcdefghijklm", "in pieces of {piece}");
        }
        assert!(IcyStripper::new(0).is_none());
    }
}
