//! Targets for `p2psp-wire`: no bytes make a decoder panic or keep more than its limits say, and what decodes encodes to
//! something that decodes to the same.

use bytes::{Bytes, BytesMut};
use p2psp_wire::{
    ChannelLink, Chunk, Control, Datagram, FrameDecoder, Manifest, Parity, PeerId, StreamTime,
    limits::{DATAGRAM_BYTES_MAX, FRAME_BYTES_MAX, LINK_ADDRESSES_MAX, LINK_BYTES_MAX, SHARD_BYTES_MAX},
};

/// First byte of a chunk (R-DGRAM-2), the one kind whose first flag has a meaning.
const KIND_CHUNK: u8 = 1;

/// Most bytes of a frame's length prefix.
const PREFIX_BYTES_MAX: usize = 3;

/// A datagram as a link delivers it.
///
/// # Panics
///
/// When the decoder accepts what an encoder does not give back, byte by byte but for flags without a meaning (R-DGRAM-4); when a
/// chunk does not survive its shard, or a note (R-NOTE-1) its own encoding.
pub fn datagram(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Some(note) = Control::from_note(&bytes) {
        assert!(Datagram::decode(bytes).is_err(), "a note would be relayed");
        let message = note.unwrap_or(Control::Unknown);
        assert_eq!(
            message.to_note().and_then(|note| Control::from_note(&note)),
            message.is_note().then_some(Ok(message))
        );
        return;
    }
    let Ok(decoded) = Datagram::decode(bytes.clone()) else { return };
    assert!(data.len() <= DATAGRAM_BYTES_MAX, "an oversize datagram decodes");
    assert_eq!(*decoded.bytes(), bytes, "a relay would send other bytes than it got");
    let again = match &decoded {
        Datagram::Chunk(chunk) => {
            let mut shard = [chunk.shard_prefix().as_slice(), &chunk.payload()].concat();
            shard.resize(SHARD_BYTES_MAX, 0);
            let rebuilt = Chunk::from_shard(chunk.number(), chunk.header().position, &shard);
            assert_eq!(rebuilt.as_ref(), Ok(chunk), "a shard gives another chunk back");
            Chunk::new(*chunk.header(), &chunk.payload()).map(Datagram::Chunk)
        }
        Datagram::Parity(parity) => {
            let (first, position, origin) = (parity.first(), parity.position(), parity.origin());
            Parity::new(first, position, origin, parity.time_us(), &parity.shard()).map(Datagram::Parity)
        }
        Datagram::Manifest(manifest) => {
            let signature = manifest.signature();
            let signature = signature.as_ref().try_into().expect("a signature has one length");
            Manifest::new(manifest.contents().clone(), signature, manifest.origin()).map(Datagram::Manifest)
        }
    };
    let again = again.expect("what decodes is within limits");
    assert_eq!((again.origin(), again.number()), (decoded.origin(), decoded.number()));
    let mut canonical = data.to_vec();
    if let [kind, flags, ..] = canonical.as_mut_slice() {
        *flags &= u8::from(*kind == KIND_CHUNK);
    }
    assert_eq!(again.bytes().as_ref(), canonical, "the decoder takes what no encoder makes");
    assert_eq!(Datagram::decode(again.bytes().clone()), Ok(again));
}

/// One control frame without its length prefix.
///
/// # Panics
///
/// When a decoded message does not survive its own encoding, or encodes to more than a frame.
pub fn control_frame(data: &[u8]) {
    let Ok(message) = Control::decode(Bytes::copy_from_slice(data)) else { return };
    let mut frame = BytesMut::new();
    message.encode(&mut frame);
    assert!(
        frame.len() <= FRAME_BYTES_MAX + PREFIX_BYTES_MAX,
        "a decoded message encodes to an oversize frame"
    );
    let (messages, outcome) = read(&frame, &[frame.len().max(1)]);
    assert!(outcome.is_ok(), "a decoded message encodes to one that does not decode: {outcome:?}");
    assert_eq!(messages, [message]);
}

/// A control stream: the first four bytes say how it is cut, the rest is the stream.
///
/// # Panics
///
/// When a stream gives other messages in pieces than it gives whole, or a decoder takes in more than a frame.
pub fn frame_stream(data: &[u8]) {
    let Some((cuts, stream)) = data.split_first_chunk::<4>() else { return };
    let pieces = cuts.map(|cut| usize::from(cut) + 1);
    assert_eq!(read(stream, &pieces), read(stream, &[usize::MAX]), "cut into pieces of {pieces:?} bytes");
}

/// Text that a user pastes as a channel link.
///
/// # Panics
///
/// When an accepted link does not survive its own text, or breaks a limit.
pub fn channel_link(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match text.parse::<ChannelLink>() {
        Ok(link) => {
            assert!(text.len() <= LINK_BYTES_MAX, "an oversize link parses");
            assert!(!link.splitters.is_empty(), "a link without a splitter parses");
            assert!(link.splitters.len() + link.trackers.len() <= LINK_ADDRESSES_MAX);
            assert_eq!(link.to_string().parse(), Ok(link));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Text that a user pastes as a peer's or channel's key.
///
/// # Panics
///
/// When one key has two texts in lower case.
pub fn identifier(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match text.parse::<PeerId>() {
        Ok(key) => assert_eq!(key.to_string(), text.to_ascii_lowercase()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A truncated stream time (4 bytes) beside a remote clock (8 bytes).
///
/// # Panics
///
/// When the expanded time has other low bits, or lies further away than half a lap although a nearer one exists.
pub fn stream_time(data: &[u8]) {
    let Some((&truncated, rest)) = data.split_first_chunk::<4>() else { return };
    let Some((&near, _)) = rest.split_first_chunk::<8>() else { return };
    let (truncated, near) = (u32::from_be_bytes(truncated), u64::from_be_bytes(near));
    let time = StreamTime::expand(truncated, StreamTime::from_micros(near));
    assert_eq!(time.truncate(), truncated);
    let lap = 1 << 32;
    let off = time.as_micros().abs_diff(near);
    let at_an_end = near < lap || near > u64::MAX - lap;
    assert!(off <= lap / 2 || at_an_end && off <= lap, "{time:?} is {off} us off");
}

/// What a decoder makes of `stream` when it comes in pieces of these sizes, in turn.
fn read(stream: &[u8], piece_bytes: &[usize]) -> (Vec<Control>, Result<usize, p2psp_wire::DecodeError>) {
    let mut decoder = FrameDecoder::new();
    let room_max = decoder.room();
    assert_eq!(room_max, FRAME_BYTES_MAX + PREFIX_BYTES_MAX);
    let mut messages = Vec::new();
    let mut rest = stream;
    for piece_bytes in piece_bytes.iter().cycle() {
        let room = decoder.room();
        assert!(room > 0, "a decoder that gave all its frames has no room");
        let (piece, later) = rest.split_at(rest.len().min(*piece_bytes).min(room));
        decoder.push(piece).expect("the piece is no larger than the room");
        loop {
            match decoder.poll() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    (messages, Ok(room_max - decoder.room()))
}
