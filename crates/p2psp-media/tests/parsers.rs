//! The doors' small parsers against arbitrary input, alone and behind beginnings that get them going. The promises are
//! in `p2psp_media::fuzzing`.

use p2psp_media::fuzzing::{http_body, http_head, rtp_packet, source_name};
use proptest::prelude::*;

proptest! {
    #[test]
    fn request_heads(
        start in prop::sample::select(vec![
            "", "PUT /live.ts HTTP/1.1\r\n", "SOURCE /m ICE/1.0\r\nContent-Length: ", "OPTIONS * HTTP/1.1\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", "PUT / HTTP/1.1\r\n\r\n",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
        lines in "([A-Za-z-]{1,12}: [ -~]{0,20}\r?\n){0,5}\r?\n?",
    ) {
        http_head(&[start.as_bytes(), lines.as_bytes(), &rest].concat());
        http_head(&[start.as_bytes(), &rest].concat());
    }

    #[test]
    fn request_bodies(
        choices in any::<u8>(),
        chunks in "([0-9a-f]{1,2}(;x=y)?\r?\n[a-z]{0,20}\r?\n){0,6}(0\r\n\r\n)?",
        rest in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        http_body(&[&[choices], chunks.as_bytes(), &rest].concat());
        http_body(&[&[choices], &rest[..]].concat());
    }

    #[test]
    fn well_formed_chunks(choices in any::<u8>(), chunks in prop::collection::vec("[a-z]{1,50}", 0..8)) {
        let body: String = chunks.iter().map(|c| format!("{:x}\r\n{c}\r\n", c.len())).collect();
        http_body(&[&[choices | 2], body.as_bytes(), b"0\r\n\r\n"].concat());
    }

    #[test]
    fn rtp_packets(first in 0x80u8..=0xBF, rest in prop::collection::vec(any::<u8>(), 0..100)) {
        rtp_packet(&[&[first], &rest[..]].concat());
        rtp_packet(&rest);
    }

    #[test]
    fn source_names(
        scheme in prop::sample::select(vec![
            "", "http://", "https://u:p@", "udp://", "rtp://@", "push:", "listen:http://", "testcard:", "file:", "x://",
        ]),
        rest in "[ -~é]{0,40}",
    ) {
        source_name(format!("{scheme}{rest}").as_bytes());
    }
}
