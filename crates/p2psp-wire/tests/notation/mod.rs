//! Reads the notation of the golden vectors, which the README beside the vectors describes. Knows how a value is written down, and
//! nothing of what the crate under test makes of it.

use bytes::Bytes;
use p2psp_wire::{
    Came, ChannelId, Chunk, ChunkHeader, ChunkNumber, Control, Datagram, DecodeError, Departure,
    DepartureReason, Echo, Epoch, GoodbyeReason, Hash, Hello, Integrity, Join, Manifest, ManifestContents,
    Member, NumberRange, Parity, PeerId, Refuse, RefuseReason, RosterDelta, Slot, StreamHeader, StreamTime,
    Welcome, Witness,
};
use serde_json::{Value, json};
use std::{fmt, ops::Index};

/// One case of a vector file; prints as its name.
pub(crate) struct Case(Value);

/// The cases of a vector file.
pub(crate) fn cases(file: &str) -> Vec<Case> {
    let Value::Object(mut file) = serde_json::from_str(file).unwrap() else { panic!("a file is an object") };
    let Some(Value::Array(cases)) = file.remove("cases") else { panic!("a file has cases") };
    assert!(!cases.is_empty());
    cases.into_iter().map(Case).collect()
}

impl Case {
    pub(crate) fn name(&self) -> &str {
        self.0["name"].as_str().unwrap()
    }

    pub(crate) fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field)
    }

    pub(crate) fn hex(&self) -> Bytes {
        hex(&self.0["hex"])
    }

    pub(crate) fn error(&self) -> Option<Value> {
        self.get("error").cloned()
    }

    /// Whether encoding gives other bytes than the case's.
    pub(crate) fn decode_only(&self) -> bool {
        self.get("decode_only").is_some_and(|value| value.as_bool().unwrap())
    }
}

impl Index<&str> for Case {
    type Output = Value;

    fn index(&self, field: &str) -> &Value {
        self.get(field).unwrap_or_else(|| panic!("{self}: no `{field}`"))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.name())
    }
}

/// Bytes: hexadecimal text up to a `#`, a repetition, or a list of these.
pub(crate) fn hex(value: &Value) -> Bytes {
    let mut digits = String::new();
    expand(value, &mut |piece| {
        let piece = piece.as_str().unwrap();
        digits.extend(piece.split('#').next().unwrap().split_whitespace());
    });
    data_encoding::HEXLOWER.decode(digits.as_bytes()).unwrap().into()
}

/// A text: a string, a repetition, or a list of these.
pub(crate) fn text(value: &Value) -> String {
    let mut text = String::new();
    expand(value, &mut |piece| text.push_str(piece.as_str().unwrap()));
    text
}

/// A list with its repetitions written out.
pub(crate) fn items(list: &Value) -> Vec<Value> {
    let mut items = Vec::new();
    for item in list.as_array().unwrap() {
        match (item.get("repeat"), item.get("times")) {
            (Some(item), Some(times)) => items.extend(std::iter::repeat_n(item.clone(), number(times))),
            _ => items.push(item.clone()),
        }
    }
    items
}

fn expand(value: &Value, piece: &mut dyn FnMut(&Value)) {
    if let Some(list) = value.as_array() {
        list.iter().for_each(|value| expand(value, piece));
    } else if let Some(repeated) = value.get("repeat") {
        (0..number::<usize>(&value["times"])).for_each(|_| expand(repeated, piece));
    } else {
        piece(value);
    }
}

/// A number, or its decimal text from 2^53 up.
pub(crate) fn number<N: TryFrom<u64, Error: fmt::Debug>>(value: &Value) -> N {
    let wide = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    N::try_from(wide.unwrap_or_else(|| panic!("{value} is no number"))).unwrap()
}

pub(crate) fn chunk_number(value: &Value) -> ChunkNumber {
    ChunkNumber::new(number(value)).unwrap()
}

/// The error as the vectors write it.
pub(crate) fn decode_error(error: DecodeError) -> Value {
    match error {
        DecodeError::Truncated(field) => json!({"kind": "Truncated", "field": field}),
        DecodeError::TooLong(field) => json!({"kind": "TooLong", "field": field}),
        DecodeError::Invalid(field) => json!({"kind": "Invalid", "field": field}),
        DecodeError::Missing(field) => json!({"kind": "Missing", "field": field}),
        DecodeError::UnknownKind(kind) => json!({"kind": "UnknownKind", "value": kind}),
        DecodeError::Protobuf => json!({"kind": "Protobuf"}),
        other => panic!("{other:?} has no notation yet"),
    }
}

/// The datagram of a case, made from its values.
pub(crate) fn datagram(case: &Case) -> Datagram {
    if let Some(fields) = case.get("chunk") {
        let header = ChunkHeader {
            number: chunk_number(&fields["number"]),
            origin: slot(&fields["origin"]),
            position: number(&fields["position"]),
            header_version: number(&fields["header_version"]),
            random_access: fields["random_access"].as_bool().unwrap(),
            time_us: number(&fields["time_us"]),
        };
        return Datagram::Chunk(Chunk::new(header, &hex(&fields["payload"])).unwrap());
    }
    if let Some(fields) = case.get("parity") {
        let (first, origin) = (chunk_number(&fields["first"]), slot(&fields["origin"]));
        let (position, time_us) = (number(&fields["position"]), number(&fields["time_us"]));
        return Datagram::Parity(
            Parity::new(first, position, origin, time_us, &hex(&fields["shard"])).unwrap(),
        );
    }
    let fields = &case["manifest"];
    let contents = ManifestContents {
        epoch: Epoch(number(&fields["epoch"])),
        first: chunk_number(&fields["first"]),
        position: fields.get("position").map_or(0, number),
        data_chunks: number(&fields["data_chunks"]),
        shard_bytes: number(&fields["shard_bytes"]),
        closed: StreamTime::from_micros(number(&fields["closed_us"])),
        previous: hash(&fields["previous"]),
        hashes: items(&fields["hashes"]).iter().map(hash).collect(),
    };
    assert_eq!(contents.parity_chunks(), number::<u8>(&fields["parity_chunks"]), "{case}");
    let signature = hex(&fields["signature"]).as_ref().try_into().unwrap();
    Datagram::Manifest(Manifest::new(contents, &signature, slot(&fields["origin"])).unwrap())
}

pub(crate) fn hash(value: &Value) -> Hash {
    Hash(hex(value).as_ref().try_into().unwrap())
}

/// A control message: `"unknown"`, or an object whose one key is the message's kind.
pub(crate) fn control(value: &Value) -> Control {
    let Some(message) = value.as_object() else {
        assert_eq!(value, "unknown");
        return Control::Unknown;
    };
    let (kind, fields) = message.iter().next().unwrap();
    match kind.as_str() {
        "join" => Control::Join(Join {
            revision: number(&fields["revision"]),
            channel: channel(&fields["channel"]),
            ticket: hex(&fields["ticket"]),
            candidates: addresses(&fields["candidates"]),
            eco: fields["eco"].as_bool().unwrap(),
            agent: text(&fields["agent"]),
            target_delay_ms: number(&fields["target_delay_ms"]),
        }),
        "welcome" => Control::Welcome(Welcome {
            revision: number(&fields["revision"]),
            slot: slot(&fields["slot"]),
            epoch: Epoch(number(&fields["epoch"])),
            observed: text(&fields["observed"]).parse().unwrap(),
            team_size_max: number(&fields["team_size_max"]),
            next_number: chunk_number(&fields["next_number"]),
            stream_time: StreamTime::from_micros(number(&fields["stream_time_us"])),
            epoch_unix_us: number(&fields["epoch_unix_us"]),
            random_access: Some(&fields["random_access_number"]).filter(|v| !v.is_null()).map(chunk_number),
            members: number(&fields["members"]),
            integrity: match fields.get("integrity").map(text).as_deref() {
                Some("manifest") => Integrity::Manifest,
                Some("none") => Integrity::None,
                Some("signature") => Integrity::Signature,
                Some("unspecified") | None => Integrity::Unspecified,
                Some(other) => panic!("{other} is no way to verify chunks"),
            },
        }),
        "refuse" => Control::Refuse(Refuse {
            reason: match text(&fields["reason"]).as_str() {
                "banned" => RefuseReason::Banned,
                "closing" => RefuseReason::Closing,
                "no_uplink" => RefuseReason::NoUplink,
                "revision" => RefuseReason::Revision,
                "team_full" => RefuseReason::TeamFull,
                "ticket" => RefuseReason::Ticket,
                "wrong_channel" => RefuseReason::WrongChannel,
                "unspecified" => RefuseReason::Unspecified,
                other => panic!("{other} is no reason to refuse"),
            },
            detail: text(&fields["detail"]),
            retry_after_ms: number(&fields["retry_after_ms"]),
        }),
        "roster_delta" => Control::RosterDelta(RosterDelta {
            epoch: Epoch(number(&fields["epoch"])),
            view: number(&fields["view"]),
            joined: items(&fields["joined"]).iter().map(member).collect(),
            left: items(&fields["left"]).iter().map(departure).collect(),
        }),
        "stream_header" => Control::StreamHeader(StreamHeader {
            version: number(&fields["version"]),
            content_type: text(&fields["content_type"]),
            bytes: hex(&fields["header"]),
        }),
        "ready" => Control::Ready { teammates: number(&fields["teammates"]) },
        "hello" => Control::Hello(Hello {
            channel: channel(&fields["channel"]),
            epoch: Epoch(number(&fields["epoch"])),
            slot: slot(&fields["slot"]),
        }),
        "goodbye" => Control::Goodbye(match text(fields).as_str() {
            "expelled" => GoodbyeReason::Expelled,
            "leaving" => GoodbyeReason::Leaving,
            "stream_ended" => GoodbyeReason::StreamEnded,
            "unspecified" => GoodbyeReason::Unspecified,
            other => panic!("{other} is no reason to say goodbye"),
        }),
        "request" => Control::Request { origins: slots(&fields["origins"]) },
        "prune" => Control::Prune { origins: slots(&fields["origins"]) },
        "silent" => Control::Silent { origins: slots(&fields["origins"]) },
        "report" => Control::Report {
            chunks_due: number(&fields["chunks_due"]),
            chunks_missing: number(&fields["chunks_missing"]),
        },
        "witness" => {
            let (bits, chunks): (Bytes, usize) = (hex(&fields["came"]), number(&fields["chunks"]));
            let came = (0..chunks).map(|chunk| bits[chunk / 8] >> (chunk % 8) & 1 == 1);
            Control::Witness(Witness::new(
                chunk_number(&fields["first"]),
                came,
                number(&fields["copies_late"]),
            ))
        }
        "probe" => Control::Probe { token: number(&fields["token"]) },
        "alive" => Control::Alive { token: number(&fields["token"]) },
        "echo" => Control::Echo(Echo {
            sent_us: number(&fields["sent_us"]),
            came: fields.get("number").map(|value| Came {
                number: chunk_number(value),
                parity_position: fields.get("parity_position").map(number),
                came_us: number(&fields["came_us"]),
            }),
            received: number(&fields["received"]),
        }),
        "capacity" => Control::Capacity { uplink_bits_per_s: number(&fields["uplink_bits_per_s"]) },
        "complaint" => Control::Complaint {
            accused: slot(&fields["accused"]),
            number: chunk_number(&fields["number"]),
            hash: hash(&fields["hash"]),
        },
        "lost" => Control::Lost { ranges: ranges(&fields["ranges"]) },
        "pull" => Control::Pull {
            ranges: ranges(&fields["ranges"]),
            generations: fields
                .get("generations")
                .map(items)
                .unwrap_or_default()
                .iter()
                .map(chunk_number)
                .collect(),
        },
        "choke" => Control::Choke {
            ranges: ranges(&fields["ranges"]),
            retry_after_ms: number(&fields["retry_after_ms"]),
        },
        other => panic!("{other} is no message"),
    }
}

fn member(fields: &Value) -> Member {
    Member {
        slot: slot(&fields["slot"]),
        peer: PeerId::try_from(hex(&fields["peer"]).as_ref()).unwrap(),
        candidates: addresses(&fields["candidates"]),
    }
}

fn departure(fields: &Value) -> Departure {
    Departure {
        slot: slot(&fields["slot"]),
        reason: match text(&fields["reason"]).as_str() {
            "crashed" => DepartureReason::Crashed,
            "expelled" => DepartureReason::Expelled,
            "goodbye" => DepartureReason::Goodbye,
            "unspecified" => DepartureReason::Unspecified,
            other => panic!("{other} is no reason to depart"),
        },
    }
}

pub(crate) fn channel(value: &Value) -> ChannelId {
    ChannelId::try_from(hex(value).as_ref()).unwrap()
}

fn addresses(value: &Value) -> Vec<std::net::SocketAddr> {
    items(value).iter().map(|address| text(address).parse().unwrap()).collect()
}

fn slot(value: &Value) -> Slot {
    Slot::try_from(number::<u32>(value)).unwrap()
}

fn slots(value: &Value) -> Vec<Slot> {
    items(value).iter().map(slot).collect()
}

fn ranges(value: &Value) -> Vec<NumberRange> {
    items(value)
        .iter()
        .map(|range| NumberRange::new(chunk_number(&range[0]), chunk_number(&range[1])).unwrap())
        .collect()
}
