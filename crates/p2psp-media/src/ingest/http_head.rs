//! The head of an HTTP/1 or Icecast source request, from a socket that anyone may write to. Pure: bytes in, a head out.
//! hyper cannot do this: it takes the body of an Icecast request for empty, as HTTP/1.1 has it.

use std::fmt;

/// Largest request head. Icecast's tools send some 500 bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most header fields of a request.
pub(crate) const HEAD_FIELDS_MAX: usize = 64;

/// A request for sending a stream, as far as the door needs it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    pub(crate) framing: Framing,
    pub(crate) expects_continue: bool,
    /// The value of the `Authorization` field.
    pub(crate) authorization: Option<String>,
    pub(crate) content_type: Option<String>,
    /// It asks like an Icecast source: by SOURCE, or with `ice-` fields.
    pub(crate) is_icecast: bool,
}

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Chunked,
    Length(u64),
    /// To the end of the connection.
    ToEnd,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("this is not an HTTP request")]
    Malformed,
    #[error("the request's head is longer than {HEAD_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the request has more than {HEAD_FIELDS_MAX} header fields")]
    TooManyFields,
    #[error("the request's Content-Length is not a number, or there are two")]
    Length,
    #[error("the only transfer coding understood here is chunked")]
    Coding,
}

/// The password stays out of logs.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("framing", &self.framing)
            .finish_non_exhaustive()
    }
}

/// Reads the head at the front of `bytes`: with its length, or `None` while it is incomplete.
pub(crate) fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, HeadError> {
    let len = match head_len(bytes) {
        Some(len) if len > HEAD_BYTES_MAX => return Err(HeadError::TooLarge),
        None if bytes.len() >= HEAD_BYTES_MAX => return Err(HeadError::TooLarge),
        // Asked of whole heads too: the answer must not depend on how the network divides them.
        _ if !plausible(bytes) => return Err(HeadError::Malformed),
        None => return Ok(None),
        Some(len) => len,
    };
    let text = as_http(bytes.get(..len).unwrap_or_default());
    let mut fields = [httparse::EMPTY_HEADER; HEAD_FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(&text) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyFields),
        Ok(httparse::Status::Partial) | Err(_) => return Err(HeadError::Malformed),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(HeadError::Malformed);
    };
    let mut head = Head {
        method: method.to_owned(),
        path: path_of(target).to_owned(),
        framing: Framing::ToEnd,
        expects_continue: false,
        authorization: None,
        content_type: None,
        is_icecast: method == "SOURCE",
    };
    for field in request.headers.iter() {
        let value = std::str::from_utf8(field.value).unwrap_or_default().trim();
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") {
                return Err(HeadError::Coding);
            }
            head.framing = Framing::Chunked;
        } else if is("content-length") {
            let length = value.parse().map_err(|_| HeadError::Length)?;
            // With both, RFC 9112 6.3 lets chunked win; two lengths are an attack or a bug.
            match head.framing {
                Framing::Chunked => {}
                Framing::ToEnd => head.framing = Framing::Length(length),
                Framing::Length(_) => return Err(HeadError::Length),
            }
        } else if is("expect") {
            head.expects_continue = value.eq_ignore_ascii_case("100-continue");
        } else if is("authorization") {
            head.authorization = Some(value.to_owned());
        } else if is("content-type") {
            head.content_type = Some(value.to_owned());
        } else if field.name.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("ice-")) {
            head.is_icecast = true;
        }
    }
    if head.is_icecast && head.method == "SOURCE" {
        // Some tools put a Content-Length of 0 here, and send a stream all the same.
        head.framing = match head.framing {
            Framing::Length(0) | Framing::ToEnd => Framing::ToEnd,
            framing @ (Framing::Chunked | Framing::Length(_)) => framing,
        };
    }
    Ok(Some((head, len)))
}

/// Length of the head with its empty line.
fn head_len(bytes: &[u8]) -> Option<usize> {
    let window = bytes.get(..bytes.len().min(HEAD_BYTES_MAX + 4)).unwrap_or_default();
    let crlf = window.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
    let lf = window.windows(2).position(|w| w == b"\n\n").map(|at| at + 2);
    match (crlf, lf) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Whether this may still become a request: it begins with a short method in capitals.
fn plausible(bytes: &[u8]) -> bool {
    let method = bytes.iter().take_while(|&&b| b != b' ').take(16);
    method.clone().all(u8::is_ascii_uppercase) && method.count() < 16
}

/// Old tools say `ICE/1.0` for `HTTP/1.0`.
fn as_http(head: &[u8]) -> Vec<u8> {
    let line_len = head.iter().position(|&b| b == b'\n').unwrap_or(head.len());
    let (line, rest) = head.split_at(line_len);
    match line.trim_ascii_end().strip_suffix(b"ICE/1.0") {
        Some(start) => [start, b"HTTP/1.0\r", rest].concat(),
        None => head.to_vec(),
    }
}

/// The path of a request target, absolute or not.
fn path_of(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => target,
    };
    path.split('?').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<(Head, usize)>, HeadError> {
        parse_head(text.as_bytes())
    }

    #[test]
    fn heads_of_real_senders_are_understood() {
        for (text, method, path, framing, expects, icecast) in [
            (
                "PUT /live.ts HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
                "PUT",
                "/live.ts",
                Framing::Chunked,
                true,
                false,
            ),
            (
                "POST /x?y=1 HTTP/1.1\r\nContent-Length: 42\r\n\r\n",
                "POST",
                "/x",
                Framing::Length(42),
                false,
                false,
            ),
            (
                "PUT /live.ogg HTTP/1.1\r\nExpect: 100-continue\r\nIce-Public: 0\r\n\r\n",
                "PUT",
                "/live.ogg",
                Framing::ToEnd,
                true,
                true,
            ),
            ("SOURCE /m HTTP/1.0\r\nice-name: n\r\n\r\n", "SOURCE", "/m", Framing::ToEnd, false, true),
            ("SOURCE /m ICE/1.0\r\ncontent-length: 0\r\n\r\n", "SOURCE", "/m", Framing::ToEnd, false, true),
            ("OPTIONS * HTTP/1.1\nHost: h\n\n", "OPTIONS", "*", Framing::ToEnd, false, false),
            ("PUT http://h:1/p HTTP/1.1\r\n\r\n", "PUT", "/p", Framing::ToEnd, false, false),
        ] {
            let (head, len) = parse(text).unwrap().unwrap();
            assert_eq!(len, text.len());
            assert_eq!((head.method.as_str(), head.path.as_str()), (method, path));
            assert_eq!(
                (head.framing, head.expects_continue, head.is_icecast),
                (framing, expects, icecast),
                "{text}"
            );
        }
    }

    #[test]
    fn a_head_is_awaited_and_its_body_left_alone() {
        let text = "PUT / HTTP/1.1\r\nA: b\r\n\r\nmedia";
        for cut in 0..text.len() - 6 {
            assert_eq!(parse(&text[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(parse(text).unwrap().unwrap().1, text.len() - 5);
    }

    #[test]
    fn limits_hold_at_one_more_than_allowed() {
        let head = |len: usize| {
            let fixed = "PUT / HTTP/1.1\r\nA: \r\n\r\n";
            format!("PUT / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(len - fixed.len()))
        };
        assert!(parse(&head(HEAD_BYTES_MAX)).is_ok_and(|h| h.is_some()));
        assert_eq!(parse(&head(HEAD_BYTES_MAX + 1)), Err(HeadError::TooLarge));
        assert_eq!(parse(&"A".repeat(HEAD_BYTES_MAX)), Err(HeadError::TooLarge), "no end in sight");
        let fields = |n: usize| format!("PUT / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(n));
        assert!(parse(&fields(HEAD_FIELDS_MAX)).is_ok_and(|h| h.is_some()));
        assert_eq!(parse(&fields(HEAD_FIELDS_MAX + 1)), Err(HeadError::TooManyFields));
    }

    #[test]
    fn what_is_no_request_is_refused_at_once() {
        assert_eq!(parse_head(&[0x47; 188]), Err(HeadError::Malformed));
        assert_eq!(parse_head(&[0x16, 3, 1, 2, 0]), Err(HeadError::Malformed), "TLS on the wrong port");
        assert_eq!(parse("PUT /\r\n\r\n"), Err(HeadError::Malformed));
        let length = |fields: &str| parse(&format!("PUT / HTTP/1.1\r\n{fields}\r\n"));
        assert_eq!(length("Content-Length: -1\r\n"), Err(HeadError::Length));
        assert_eq!(length("Content-Length: 1\r\nContent-Length: 2\r\n"), Err(HeadError::Length));
        assert_eq!(length("Transfer-Encoding: gzip\r\n"), Err(HeadError::Coding));
    }
}
