//! Takes the framing off the body of a request: chunked (RFC 9112 7.1), by length, or none. Pure: bytes in, bytes out;
//! gives the media on as it comes and keeps none of it.

use bytes::{Buf, Bytes, BytesMut};

use super::http_head::Framing;

/// Longest line that says a chunk's size, extensions included.
pub(crate) const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Most bytes of fields after the last chunk.
pub(crate) const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    Data(Bytes),
    End,
    NeedMore,
}

/// The sender's chunks are not chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request's chunked coding is broken")]
pub(crate) struct BodyError;

#[derive(Debug)]
pub(crate) struct BodyDecoder {
    state: State,
    trailer_bytes: usize,
}

#[derive(Debug)]
enum State {
    /// To the end of the connection.
    ToEnd,
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailer,
    Done,
}

impl BodyDecoder {
    pub(crate) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Chunked => State::ChunkSize,
            Framing::Length(n) => State::Length(n),
            Framing::ToEnd => State::ToEnd,
        };
        Self { state, trailer_bytes: 0 }
    }

    /// Whether the connection may end here.
    pub(crate) fn may_end(&self) -> bool {
        matches!(self.state, State::ToEnd | State::Done)
    }

    /// Takes what it can from the front of `buf`; call again until it needs more.
    pub(crate) fn decode(&mut self, buf: &mut BytesMut) -> Result<Decoded, BodyError> {
        loop {
            match &mut self.state {
                State::Done | State::Length(0) => {
                    self.state = State::Done;
                    return Ok(Decoded::End);
                }
                _ if buf.is_empty() => return Ok(Decoded::NeedMore),
                State::ToEnd => return Ok(Decoded::Data(buf.split().freeze())),
                State::Length(left) | State::ChunkData(left) => {
                    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
                    *left -= u64::try_from(n).unwrap_or(*left);
                    let data = buf.split_to(n).freeze();
                    if let State::ChunkData(0) = self.state {
                        self.state = State::ChunkEnd;
                    }
                    return Ok(Decoded::Data(data));
                }
                State::ChunkSize => {
                    let Some(line) = take_line(buf)? else { return Ok(Decoded::NeedMore) };
                    self.state = match chunk_size(&line)? {
                        0 => State::Trailer,
                        n => State::ChunkData(n),
                    };
                }
                State::ChunkEnd => {
                    let Some(line) = take_line(buf)? else { return Ok(Decoded::NeedMore) };
                    if !line.is_empty() {
                        return Err(BodyError);
                    }
                    self.state = State::ChunkSize;
                }
                State::Trailer => {
                    let Some(line) = take_line(buf)? else { return Ok(Decoded::NeedMore) };
                    self.trailer_bytes += line.len() + 1;
                    if self.trailer_bytes > TRAILER_BYTES_MAX {
                        return Err(BodyError);
                    }
                    if line.is_empty() {
                        self.state = State::Done;
                    }
                }
            }
        }
    }
}

/// The next line without its end, or `None` while it is incomplete.
fn take_line(buf: &mut BytesMut) -> Result<Option<Bytes>, BodyError> {
    let Some(end) = buf.iter().take(CHUNK_LINE_BYTES_MAX).position(|&b| b == b'\n') else {
        return if buf.len() >= CHUNK_LINE_BYTES_MAX { Err(BodyError) } else { Ok(None) };
    };
    let mut line = buf.split_to(end).freeze();
    buf.advance(1);
    if line.last() == Some(&b'\r') {
        line.truncate(end - 1);
    }
    Ok(Some(line))
}

fn chunk_size(line: &[u8]) -> Result<u64, BodyError> {
    let digits = line.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
    // from_str_radix would take a sign.
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(BodyError);
    }
    let text = std::str::from_utf8(digits).map_err(|_| BodyError)?;
    u64::from_str_radix(text, 16).map_err(|_| BodyError)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes in pieces of `piece` bytes.
    fn decode(framing: Framing, stream: &[u8], piece: usize) -> Result<(Vec<u8>, bool), BodyError> {
        let (mut decoder, mut buf, mut out) = (BodyDecoder::new(framing), BytesMut::new(), Vec::new());
        for piece in stream.chunks(piece) {
            buf.extend_from_slice(piece);
            loop {
                match decoder.decode(&mut buf)? {
                    Decoded::Data(data) => out.extend_from_slice(&data),
                    Decoded::End => return Ok((out, true)),
                    Decoded::NeedMore => break,
                }
            }
        }
        Ok((out, decoder.may_end()))
    }

    #[test]
    fn bodies_come_out_however_they_are_divided() {
        let chunked = b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nTrailer: x\r\n\r\n";
        for piece in 1..chunked.len() {
            assert_eq!(decode(Framing::Chunked, chunked, piece), Ok((b"hello world".to_vec(), true)));
            assert_eq!(decode(Framing::Length(7), chunked, piece), Ok((chunked[..7].to_vec(), true)));
            assert_eq!(decode(Framing::ToEnd, chunked, piece), Ok((chunked.to_vec(), true)));
        }
        assert_eq!(decode(Framing::Chunked, b"5\r\nhel", 3), Ok((b"hel".to_vec(), false)), "cut short");
        assert_eq!(decode(Framing::Length(0), b"x", 1), Ok((Vec::new(), true)));
    }

    #[test]
    fn broken_chunks_are_refused() {
        for stream in
            [&b"x\r\n"[..], b"\r\n", b"+5\r\nhello", b"5\r\nhelloX\r\n", b"11111111111111111\r\n", b"-1\r\n"]
        {
            assert_eq!(decode(Framing::Chunked, stream, 100), Err(BodyError), "{stream:?}");
        }
    }

    #[test]
    fn limits_hold_at_one_more_than_allowed() {
        let line = |n: usize| format!("1;{}\nx\n0\n\n", "e".repeat(n - 3)).into_bytes();
        assert!(decode(Framing::Chunked, &line(CHUNK_LINE_BYTES_MAX), 1).is_ok());
        assert_eq!(decode(Framing::Chunked, &line(CHUNK_LINE_BYTES_MAX + 1), 1), Err(BodyError));
        let trailer =
            |n: usize| [b"0\n".to_vec(), b"abcdefg\n".repeat(n / 8 - 1), b"abcdef\n\n".to_vec()].concat();
        assert!(decode(Framing::Chunked, &trailer(TRAILER_BYTES_MAX), 64).is_ok());
        assert_eq!(decode(Framing::Chunked, &trailer(TRAILER_BYTES_MAX + 8), 64), Err(BodyError));
    }
}
