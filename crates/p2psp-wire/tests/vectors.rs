//! Holds this crate against the golden vectors in `tests/vectors/`, in both directions: the bytes give the values, the values
//! give the bytes, and what is broken is refused with the named error. The notation is described in the README there.
#![cfg(test)]

mod notation;

use bytes::{Bytes, BytesMut};
use notation::{Case, cases, control, datagram, items, text};
use p2psp_wire::{
    ChannelId, ChannelLink, Control, Datagram, FrameDecoder, IdError, LinkError, Parity, PeerId, Slot,
    StreamTime,
};
use serde_json::{Value, json};

#[test]
fn datagrams_decode_and_encode_as_their_vectors_say() {
    for case in cases(include_str!("vectors/datagrams.json")) {
        let bytes = case.hex();
        let decoded = Datagram::decode(bytes.clone());
        if let Some(error) = case.error() {
            assert_eq!(error, notation::decode_error(decoded.unwrap_err()), "{case}");
            continue;
        }
        let decoded = decoded.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(decoded.bytes(), &bytes, "{case}: a relay sends what it got");
        let encoded = datagram(&case);
        assert_eq!(encoded.bytes() == &bytes, !case.decode_only(), "{case}: {:02x?}", encoded.bytes());
        match (&decoded, &encoded) {
            (Datagram::Chunk(decoded), Datagram::Chunk(encoded)) => {
                assert_eq!(decoded.header(), encoded.header(), "{case}");
                assert_eq!(decoded.payload(), encoded.payload(), "{case}");
            }
            (Datagram::Parity(decoded), Datagram::Parity(encoded)) => {
                let fields = |parity: &Parity| {
                    (parity.first(), parity.origin(), parity.position(), parity.time_us(), parity.shard())
                };
                assert_eq!(fields(decoded), fields(encoded), "{case}");
            }
            (Datagram::Manifest(decoded), Datagram::Manifest(encoded)) => {
                assert_eq!(decoded.contents(), encoded.contents(), "{case}");
                assert_eq!(decoded.origin(), encoded.origin(), "{case}");
                assert_eq!(decoded.signature(), encoded.signature(), "{case}");
            }
            _ => panic!("{case}: another kind"),
        }
    }
}

#[test]
fn control_messages_decode_and_encode_as_their_vectors_say() {
    for case in cases(include_str!("vectors/control.json")) {
        let frame = case.hex();
        let decoded = read(&frame, frame.len());
        if let Some(error) = case.error() {
            assert_eq!(decoded, (vec![], Err(error)), "{case}");
            continue;
        }
        let message = control(&case["message"]);
        assert_eq!(decoded, (vec![message.clone()], Ok(0)), "{case}");
        let mut encoded = BytesMut::new();
        message.encode(&mut encoded);
        assert_eq!(encoded == frame, !case.decode_only(), "{case}: encoded {encoded:02x?}");
    }
}

#[test]
fn notes_decode_and_encode_as_their_vectors_say() {
    for case in cases(include_str!("vectors/notes.json")) {
        let note = case.hex();
        assert!(Datagram::decode(note.clone()).is_err(), "{case}: nothing that is relayed");
        let decoded = Control::from_note(&note).expect("each case is a note");
        if let Some(error) = case.error() {
            assert_eq!(error, notation::decode_error(decoded.unwrap_err()), "{case}");
            continue;
        }
        let message = control(&case["message"]);
        assert_eq!(decoded.as_ref(), Ok(&message), "{case}");
        assert_eq!(message.to_note() == Some(note), !case.decode_only(), "{case}");
    }
}

#[test]
fn streams_give_their_messages_however_they_are_cut() {
    for case in cases(include_str!("vectors/streams.json")) {
        let stream = case.hex();
        let messages: Vec<Control> = items(&case["messages"]).iter().map(control).collect();
        let end = case.error().map_or_else(|| Ok(notation::number(&case["rest_bytes"])), Err);
        for piece_bytes in 1..=stream.len().max(1) {
            let expected = (messages.clone(), end.clone());
            assert_eq!(read(&stream, piece_bytes), expected, "{case}, in pieces of {piece_bytes} bytes");
        }
    }
}

/// What a decoder makes of `stream` when it comes in pieces of `piece_bytes`: the messages, then the error or how many bytes
/// wait for more.
fn read(stream: &Bytes, piece_bytes: usize) -> (Vec<Control>, Result<usize, Value>) {
    let mut decoder = FrameDecoder::new();
    let empty = decoder.room();
    let mut messages = Vec::new();
    for piece in stream.chunks(piece_bytes) {
        let mut rest = piece;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(decoder.room()));
            assert!(!now.is_empty(), "a decoder that has given all frames has room");
            decoder.push(now).unwrap();
            rest = later;
            loop {
                match decoder.poll() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(error) => return (messages, Err(notation::decode_error(error))),
                }
            }
        }
    }
    (messages, Ok(empty - decoder.room()))
}

#[test]
fn identifiers_read_and_write_as_their_vectors_say() {
    for case in cases(include_str!("vectors/ids.json")) {
        if let Some(slot) = case.get("slot") {
            let slot: u32 = notation::number(slot);
            let outcome = Slot::try_from(slot).map(|slot| u32::from(slot.get()));
            assert_eq!(outcome.map_err(id_error), case.error().map_or(Ok(slot), Err), "{case}");
        } else if let Some(number) = case.get("chunk_number") {
            let number = notation::number(number);
            let outcome = p2psp_wire::ChunkNumber::new(number).map(p2psp_wire::ChunkNumber::get);
            assert_eq!(outcome.map_err(id_error), case.error().map_or(Ok(number), Err), "{case}");
        } else {
            let key = text(&case["key"]);
            let bytes = case.get("bytes").map(notation::hex);
            let expected = case.error().map_or_else(|| Ok(bytes.clone().unwrap()), Err);
            let peer = key.parse::<PeerId>().map(|id| Bytes::copy_from_slice(id.as_bytes()));
            let channel = key.parse::<ChannelId>().map(|id| Bytes::copy_from_slice(id.as_bytes()));
            assert_eq!(peer.map_err(id_error), expected, "{case}");
            assert_eq!(channel.map_err(id_error), expected, "{case}");
            if let Some(bytes) = bytes {
                let written = PeerId::try_from(bytes.as_ref()).unwrap().to_string();
                assert_eq!(written == key, !case.decode_only(), "{case}: written {written}");
            }
        }
    }
}

#[test]
fn stream_times_expand_as_their_vectors_say() {
    for case in cases(include_str!("vectors/times.json")) {
        let near = StreamTime::from_micros(notation::number(&case["near_us"]));
        let time = StreamTime::from_micros(notation::number(&case["time_us"]));
        let truncated = notation::number(&case["truncated"]);
        assert_eq!(StreamTime::expand(truncated, near), time, "{case}");
        assert_eq!(time.truncate(), truncated, "{case}");
    }
}

#[test]
fn links_parse_and_print_as_their_vectors_say() {
    for case in cases(include_str!("vectors/links.json")) {
        let source = text(&case["text"]);
        let parsed = source.parse::<ChannelLink>();
        if let Some(error) = case.error() {
            assert_eq!(parsed.map_err(link_error), Err(error), "{case}");
            continue;
        }
        let strings = |value: &Value| items(value).iter().map(text).collect();
        let link = ChannelLink {
            channel: text(&case["link"]["channel"]).parse().unwrap(),
            splitters: strings(&case["link"]["splitters"]),
            trackers: strings(&case["link"]["trackers"]),
        };
        assert_eq!(parsed.unwrap_or_else(|error| panic!("{case}: {error}")), link, "{case}");
        assert_eq!(link.to_string(), case.get("canonical").map_or(source, text), "{case}");
        assert_eq!(link.to_string().parse(), Ok(link), "{case}: the canonical text parses to the same link");
    }
}

fn id_error(error: IdError) -> Value {
    match error {
        IdError::KeyLength(length) => json!({"kind": "KeyLength", "value": length}),
        IdError::KeyText => json!({"kind": "KeyText"}),
        IdError::Slot(slot) => json!({"kind": "Slot", "value": slot}),
        // Numbers from 2^53 up stand as text, for readers whose numbers are doubles.
        IdError::ChunkNumber(number) if number < 1 << 53 => json!({"kind": "ChunkNumber", "value": number}),
        IdError::ChunkNumber(number) => json!({"kind": "ChunkNumber", "value": number.to_string()}),
    }
}

fn link_error(error: LinkError) -> Value {
    match error {
        LinkError::Key(error) => json!({"kind": "Key", "id": id_error(error)}),
        LinkError::Address(address) => json!({"kind": "Address", "address": address}),
        LinkError::TooLong
        | LinkError::Scheme
        | LinkError::NoKey
        | LinkError::TooManyAddresses
        | LinkError::Path => json!({"kind": format!("{error:?}")}),
        _ => panic!("{error:?} has no notation yet"),
    }
}

/// Every maximum has a case at it and a case one past it; this lists where they stand, so that a new limit is not forgotten.
#[test]
fn every_limit_has_a_vector_at_it_and_one_past_it() {
    let sources = include_str!("../src/limits.rs");
    let names: Vec<&str> = sources
        .lines()
        .filter_map(|line| line.strip_prefix("pub const "))
        .filter_map(|line| line.split(':').next())
        .collect();
    let vectors: Vec<Case> = [
        include_str!("vectors/datagrams.json"),
        include_str!("vectors/control.json"),
        include_str!("vectors/ids.json"),
        include_str!("vectors/links.json"),
    ]
    .into_iter()
    .flat_map(cases)
    .collect();
    let outcome = |name: &str| {
        let case = vectors.iter().find(|case| case.name() == name);
        case.unwrap_or_else(|| panic!("no vector is called `{name}`")).error().is_none()
    };
    for (limit, at, past) in LIMITS {
        assert!(outcome(at), "{limit}: `{at}` is allowed");
        assert!(!outcome(past), "{limit}: `{past}` is refused");
    }
    let listed: Vec<&str> = LIMITS.iter().map(|(limit, ..)| *limit).collect();
    assert_eq!(names, listed, "limits.rs and this list agree, in order");
}

const LIMITS: [(&str, &str, &str); 28] = [
    ("HEADER_BYTES", "smallest payload, one byte", "header one byte short"),
    ("DATAGRAM_BYTES_MAX", "largest datagram, 1194 bytes", "one byte over the largest datagram"),
    ("SHARD_BYTES_MAX", "manifest of shards of 1178 bytes", "manifest of shards of 1179 bytes"),
    ("SHARD_PREFIX_BYTES", "smallest parity shard, 12 bytes", "parity shard of 10 bytes"),
    ("SHARD_BYTES_MIN", "manifest of shards of 12 bytes", "manifest of shards of 11 bytes"),
    ("PAYLOAD_BYTES_MAX", "largest chunk, 1168 bytes of payload", "chunk one byte over its payload"),
    ("CHUNK_NUMBER_MAX", "chunk number 281474976710655", "chunk number 281474976710656"),
    ("GENERATION_CHUNKS_MAX", "generation position 63, the last", "generation position 64"),
    ("DATA_CHUNKS_MAX", "manifest of 48 data chunks", "manifest of 49 data chunks"),
    ("PARITY_CHUNKS_MAX", "manifest of 16 parity chunks", "manifest of 17 parity chunks"),
    ("HASH_BYTES", "manifest in the middle of a stream", "manifest with a hash too few"),
    ("SIGNATURE_BYTES", "manifest in the middle of a stream", "manifest one byte short"),
    ("TEAM_SIZE_MAX", "slot 511", "slot 512"),
    ("FRAME_BYTES_MAX", "a frame of 66560 bytes", "a frame of 66561 bytes"),
    ("FRAME_FIELDS_MAX", "a frame of 1024 fields", "a frame of 1025 fields"),
    ("STREAM_HEADER_BYTES_MAX", "stream header of 65536 bytes", "stream header of 65537 bytes"),
    ("CONTENT_TYPE_BYTES_MAX", "content type of 64 bytes", "content type of 65 bytes"),
    ("TICKET_BYTES_MAX", "ticket of 512 bytes", "ticket of 513 bytes"),
    ("CANDIDATES_MAX", "eight candidates", "nine candidates"),
    ("AGENT_BYTES_MAX", "agent of 64 bytes", "agent of 65 bytes"),
    ("DETAIL_BYTES_MAX", "detail of 256 bytes", "detail of 257 bytes"),
    ("ROSTER_ENTRIES_MAX", "64 members joined", "65 members joined"),
    ("SLOTS_MAX", "request of 64 slots", "request of 65 slots"),
    ("RANGES_MAX", "pull of 64 ranges", "pull of 65 ranges"),
    ("RANGE_CHUNKS_MAX", "pull of 2048 chunks in two ranges", "pull of 2049 chunks in two ranges"),
    ("WITNESS_CHUNKS_MAX", "witness of 2048 chunks", "witness of 2049 chunks"),
    ("LINK_BYTES_MAX", "1024 bytes", "1025 bytes"),
    ("LINK_ADDRESSES_MAX", "eight addresses", "nine addresses"),
];
