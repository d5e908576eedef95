//! Between the protobuf types and the checked ones: every rule about a field's length and value stands here, once.

use super::{
    Came, Control, Departure, DepartureReason, Echo, GoodbyeReason, Hello, Integrity, Join, Member,
    NumberRange, Refuse, RefuseReason, RosterDelta, StreamHeader, Welcome, Witness,
};
use crate::{
    ChannelId, ChunkNumber, DecodeError, Epoch, Hash, PeerId, Slot, StreamTime,
    generated::wire::{self, frame::Kind},
    limits::{
        AGENT_BYTES_MAX, CANDIDATES_MAX, CONTENT_TYPE_BYTES_MAX, DETAIL_BYTES_MAX, RANGE_CHUNKS_MAX,
        RANGES_MAX, ROSTER_ENTRIES_MAX, SLOTS_MAX, STREAM_HEADER_BYTES_MAX, TEAM_SIZE_MAX, TICKET_BYTES_MAX,
    },
};
use bytes::Bytes;
use std::net::SocketAddr;

impl From<&Control> for wire::Frame {
    fn from(control: &Control) -> Self {
        let kind = match control {
            Control::Join(join) => Some(Kind::Join(join.into())),
            Control::Welcome(welcome) => Some(Kind::Welcome(welcome.into())),
            Control::Refuse(refuse) => Some(Kind::Refuse(wire::Refuse {
                reason: wire::RefuseReason::from(refuse.reason).into(),
                detail: cut(&refuse.detail, DETAIL_BYTES_MAX),
                retry_after_ms: refuse.retry_after_ms,
            })),
            Control::RosterDelta(delta) => Some(Kind::RosterDelta(delta.into())),
            Control::StreamHeader(header) => Some(Kind::StreamHeader(wire::StreamHeader {
                version: header.version.into(),
                content_type: cut_content_type(&header.content_type),
                header: header.bytes.slice(..header.bytes.len().min(STREAM_HEADER_BYTES_MAX)),
            })),
            Control::Ready { teammates } => {
                Some(Kind::Ready(wire::Ready { teammates: from_team_count(*teammates) }))
            }
            Control::Hello(hello) => Some(Kind::Hello(wire::Hello {
                channel: key(hello.channel.as_bytes()),
                epoch: hello.epoch.0,
                slot: hello.slot.get().into(),
            })),
            Control::Goodbye(reason) => {
                Some(Kind::Goodbye(wire::Goodbye { reason: wire::GoodbyeReason::from(*reason).into() }))
            }
            Control::Request { origins } => {
                Some(Kind::Request(wire::Request { origins: from_slots(origins) }))
            }
            Control::Prune { origins } => Some(Kind::Prune(wire::Prune { origins: from_slots(origins) })),
            Control::Silent { origins } => Some(Kind::Silent(wire::Silent { origins: from_slots(origins) })),
            Control::Lost { ranges } => Some(Kind::Lost(wire::Lost { ranges: from_ranges(ranges) })),
            Control::Pull { ranges, generations } => Some(Kind::Pull(wire::Pull {
                ranges: from_ranges(ranges),
                generations: generations.iter().take(RANGES_MAX).map(|first| first.get()).collect(),
            })),
            Control::Choke { ranges, retry_after_ms } => Some(Kind::Choke(wire::Choke {
                ranges: from_ranges(ranges),
                retry_after_ms: *retry_after_ms,
            })),
            Control::Report { chunks_due, chunks_missing } => Some(Kind::Report(wire::Report {
                chunks_due: *chunks_due,
                chunks_missing: (*chunks_missing).min(*chunks_due),
            })),
            Control::Complaint { accused, number, hash } => Some(Kind::Complaint(wire::Complaint {
                accused: accused.get().into(),
                number: number.get(),
                hash: Bytes::copy_from_slice(&hash.0),
            })),
            Control::Probe { token } => Some(Kind::Probe(wire::Probe { token: *token })),
            Control::Alive { token } => Some(Kind::Alive(wire::Alive { token: *token })),
            Control::Witness(witness) => Some(Kind::Witness(wire::Witness {
                first: witness.first().get(),
                chunks: witness.chunks(),
                came: witness.bits().clone(),
                copies_late: witness.copies_late(),
            })),
            Control::Echo(echo) => Some(Kind::Echo(wire::Echo {
                sent_us: echo.sent_us,
                number: echo.came.map(|came| came.number.get()),
                came_us: echo.came.map_or(0, |came| came.came_us),
                received: echo.received,
                parity_position: echo.came.and_then(|came| came.parity_position).map(u32::from),
            })),
            Control::Capacity { uplink_bits_per_s } => {
                Some(Kind::Capacity(wire::Capacity { uplink_bits_per_s: *uplink_bits_per_s }))
            }
            Control::Unknown => None,
        };
        Self { kind }
    }
}

impl TryFrom<wire::Frame> for Control {
    type Error = DecodeError;

    fn try_from(frame: wire::Frame) -> Result<Self, DecodeError> {
        Ok(match frame.kind {
            None => Self::Unknown,
            Some(Kind::Join(join)) => Self::Join(join.try_into()?),
            Some(Kind::Welcome(welcome)) => Self::Welcome(welcome.try_into()?),
            Some(Kind::Refuse(refuse)) => Self::Refuse(Refuse {
                reason: refuse.reason().into(),
                detail: within(refuse.detail, DETAIL_BYTES_MAX, "refuse.detail")?,
                retry_after_ms: refuse.retry_after_ms,
            }),
            Some(Kind::RosterDelta(delta)) => Self::RosterDelta(delta.try_into()?),
            Some(Kind::StreamHeader(header)) => Self::StreamHeader(StreamHeader {
                version: u8::try_from(header.version)
                    .map_err(|_| DecodeError::Invalid("stream_header.version"))?,
                content_type: content_type(header.content_type)?,
                bytes: fitting(header.header, STREAM_HEADER_BYTES_MAX, "stream_header.header")?,
            }),
            Some(Kind::Ready(ready)) => {
                Self::Ready { teammates: team_count(ready.teammates, "ready.teammates")? }
            }
            Some(Kind::Hello(hello)) => Self::Hello(Hello {
                channel: channel(&hello.channel, "hello.channel")?,
                epoch: Epoch(hello.epoch),
                slot: slot(hello.slot, "hello.slot")?,
            }),
            Some(Kind::Goodbye(goodbye)) => Self::Goodbye(goodbye.reason().into()),
            Some(Kind::Request(request)) => {
                Self::Request { origins: slots(&request.origins, "request.origins")? }
            }
            Some(Kind::Prune(prune)) => Self::Prune { origins: slots(&prune.origins, "prune.origins")? },
            Some(Kind::Silent(silent)) => Self::Silent { origins: slots(&silent.origins, "silent.origins")? },
            Some(Kind::Lost(lost)) => Self::Lost { ranges: ranges(&lost.ranges, "lost.ranges")? },
            Some(Kind::Pull(pull)) => {
                at_most(pull.generations.len(), RANGES_MAX, "pull.generations")?;
                let first = |value: &u64| number(*value, "pull.generations");
                Self::Pull {
                    ranges: ranges(&pull.ranges, "pull.ranges")?,
                    generations: pull.generations.iter().map(first).collect::<Result<_, _>>()?,
                }
            }
            Some(Kind::Choke(choke)) => Self::Choke {
                ranges: ranges(&choke.ranges, "choke.ranges")?,
                retry_after_ms: choke.retry_after_ms,
            },
            Some(Kind::Complaint(complaint)) => Self::Complaint {
                accused: slot(complaint.accused, "complaint.accused")?,
                number: number(complaint.number, "complaint.number")?,
                hash: complaint
                    .hash
                    .as_ref()
                    .try_into()
                    .map(Hash)
                    .map_err(|_| DecodeError::Invalid("complaint.hash"))?,
            },
            Some(Kind::Witness(wire::Witness { first, chunks, came, copies_late })) => {
                Self::Witness(Witness::from_bits(number(first, "witness.first")?, chunks, came, copies_late)?)
            }
            Some(Kind::Probe(wire::Probe { token })) => Self::Probe { token },
            Some(Kind::Alive(wire::Alive { token })) => Self::Alive { token },
            Some(Kind::Echo(echo)) => {
                let wire::Echo { sent_us, came_us, received, .. } = echo;
                let position = echo.parity_position.map(u8::try_from).transpose();
                let parity_position = position.map_err(|_| DecodeError::Invalid("echo.parity_position"))?;
                let came = |value| {
                    Ok::<_, DecodeError>(Came {
                        number: number(value, "echo.number")?,
                        parity_position,
                        came_us,
                    })
                };
                Self::Echo(Echo { sent_us, came: echo.number.map(came).transpose()?, received })
            }
            Some(Kind::Capacity(wire::Capacity { uplink_bits_per_s })) => {
                Self::Capacity { uplink_bits_per_s }
            }
            Some(Kind::Report(wire::Report { chunks_due, chunks_missing })) => {
                if chunks_missing > chunks_due {
                    return Err(DecodeError::Invalid("report.chunks_missing"));
                }
                Self::Report { chunks_due, chunks_missing }
            }
        })
    }
}

impl From<&Join> for wire::Join {
    fn from(join: &Join) -> Self {
        Self {
            revision: join.revision,
            channel: key(join.channel.as_bytes()),
            ticket: join.ticket.slice(..join.ticket.len().min(TICKET_BYTES_MAX)),
            candidates: from_candidates(&join.candidates),
            eco: join.eco,
            agent: cut(&join.agent, AGENT_BYTES_MAX),
            target_delay_ms: join.target_delay_ms,
        }
    }
}

impl TryFrom<wire::Join> for Join {
    type Error = DecodeError;

    fn try_from(join: wire::Join) -> Result<Self, DecodeError> {
        Ok(Self {
            revision: join.revision,
            channel: channel(&join.channel, "join.channel")?,
            ticket: fitting(join.ticket, TICKET_BYTES_MAX, "join.ticket")?,
            candidates: candidates(&join.candidates, "join.candidates")?,
            eco: join.eco,
            agent: within(join.agent, AGENT_BYTES_MAX, "join.agent")?,
            target_delay_ms: join.target_delay_ms,
        })
    }
}

impl From<&Welcome> for wire::Welcome {
    fn from(welcome: &Welcome) -> Self {
        Self {
            revision: welcome.revision,
            slot: welcome.slot.get().into(),
            epoch: welcome.epoch.0,
            observed: welcome.observed.to_string(),
            team_size_max: from_team_count(welcome.team_size_max),
            next_number: welcome.next_number.get(),
            stream_time_us: welcome.stream_time.as_micros(),
            epoch_unix_us: welcome.epoch_unix_us,
            random_access_number: welcome.random_access.map(ChunkNumber::get),
            members: from_team_count(welcome.members),
            integrity: wire::Integrity::from(welcome.integrity).into(),
        }
    }
}

impl TryFrom<wire::Welcome> for Welcome {
    type Error = DecodeError;

    fn try_from(welcome: wire::Welcome) -> Result<Self, DecodeError> {
        Ok(Self {
            revision: welcome.revision,
            slot: slot(welcome.slot, "welcome.slot")?,
            epoch: Epoch(welcome.epoch),
            observed: socket_address(&welcome.observed, "welcome.observed")?,
            team_size_max: team_count(welcome.team_size_max, "welcome.team_size_max")?,
            next_number: number(welcome.next_number, "welcome.next_number")?,
            stream_time: StreamTime::from_micros(welcome.stream_time_us),
            epoch_unix_us: welcome.epoch_unix_us,
            random_access: welcome
                .random_access_number
                .map(|value| number(value, "welcome.random_access_number"))
                .transpose()?,
            members: team_count(welcome.members, "welcome.members")?,
            integrity: welcome.integrity().into(),
        })
    }
}

impl From<&RosterDelta> for wire::RosterDelta {
    fn from(delta: &RosterDelta) -> Self {
        let joined = delta.joined.iter().take(ROSTER_ENTRIES_MAX).map(|member| wire::Member {
            slot: member.slot.get().into(),
            peer: key(member.peer.as_bytes()),
            candidates: from_candidates(&member.candidates),
        });
        let left = delta.left.iter().take(ROSTER_ENTRIES_MAX).map(|departure| wire::Departure {
            slot: departure.slot.get().into(),
            reason: wire::DepartureReason::from(departure.reason).into(),
        });
        Self { epoch: delta.epoch.0, view: delta.view, joined: joined.collect(), left: left.collect() }
    }
}

impl TryFrom<wire::RosterDelta> for RosterDelta {
    type Error = DecodeError;

    fn try_from(delta: wire::RosterDelta) -> Result<Self, DecodeError> {
        at_most(delta.joined.len(), ROSTER_ENTRIES_MAX, "roster_delta.joined")?;
        at_most(delta.left.len(), ROSTER_ENTRIES_MAX, "roster_delta.left")?;
        let member = |member: &wire::Member| {
            Ok(Member {
                slot: slot(member.slot, "member.slot")?,
                peer: PeerId::try_from(member.peer.as_ref())
                    .map_err(|_| DecodeError::Invalid("member.peer"))?,
                candidates: candidates(&member.candidates, "member.candidates")?,
            })
        };
        let departure = |departure: &wire::Departure| {
            Ok(Departure { slot: slot(departure.slot, "departure.slot")?, reason: departure.reason().into() })
        };
        Ok(Self {
            epoch: Epoch(delta.epoch),
            view: delta.view,
            joined: delta.joined.iter().map(member).collect::<Result<_, DecodeError>>()?,
            left: delta.left.iter().map(departure).collect::<Result<_, DecodeError>>()?,
        })
    }
}

/// Defines both directions between a reason and its protobuf twin.
macro_rules! reasons {
    ($name:ident { $($variant:ident),+ }) => {
        impl From<$name> for wire::$name {
            fn from(reason: $name) -> Self {
                match reason { $($name::$variant => Self::$variant),+ }
            }
        }
        impl From<wire::$name> for $name {
            fn from(reason: wire::$name) -> Self {
                match reason { $(wire::$name::$variant => Self::$variant),+ }
            }
        }
    };
}
reasons!(RefuseReason { Banned, Closing, NoUplink, Revision, TeamFull, Ticket, WrongChannel, Unspecified });
reasons!(DepartureReason { Crashed, Expelled, Goodbye, Unspecified });
reasons!(Integrity { Manifest, None, Signature, Unspecified });
reasons!(GoodbyeReason { Expelled, Leaving, StreamEnded, Unspecified });

fn key(bytes: &[u8; 32]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn at_most(length: usize, limit: usize, field: &'static str) -> Result<(), DecodeError> {
    if length > limit { Err(DecodeError::TooLong(field)) } else { Ok(()) }
}

fn within(text: String, limit: usize, field: &'static str) -> Result<String, DecodeError> {
    at_most(text.len(), limit, field)?;
    Ok(text)
}

fn fitting(bytes: Bytes, limit: usize, field: &'static str) -> Result<Bytes, DecodeError> {
    at_most(bytes.len(), limit, field)?;
    Ok(bytes)
}

/// A content type goes into an HTTP header as it stands: visible ASCII and spaces only (RFC 9110, section 5.5).
fn content_type(text: String) -> Result<String, DecodeError> {
    if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(DecodeError::Invalid("stream_header.content_type"));
    }
    within(text, CONTENT_TYPE_BYTES_MAX, "stream_header.content_type")
}

/// The longest head of `text` within `limit` bytes that ends at a character's end.
fn cut(text: &str, limit: usize) -> String {
    let fits = |(start, character): &(usize, char)| start + character.len_utf8() <= limit;
    text.char_indices().take_while(fits).map(|(_, character)| character).collect()
}

/// The longest head of `text` that [`content_type`] lets through.
fn cut_content_type(text: &str) -> String {
    text.chars().take_while(|character| matches!(character, ' '..='~')).take(CONTENT_TYPE_BYTES_MAX).collect()
}

fn slot(value: u32, field: &'static str) -> Result<Slot, DecodeError> {
    Slot::try_from(value).map_err(|_| DecodeError::Invalid(field))
}

fn slots(values: &[u32], field: &'static str) -> Result<Vec<Slot>, DecodeError> {
    at_most(values.len(), SLOTS_MAX, field)?;
    values.iter().map(|value| slot(*value, field)).collect()
}

fn from_slots(slots: &[Slot]) -> Vec<u32> {
    slots.iter().take(SLOTS_MAX).map(|slot| slot.get().into()).collect()
}

fn number(value: u64, field: &'static str) -> Result<ChunkNumber, DecodeError> {
    ChunkNumber::new(value).map_err(|_| DecodeError::Invalid(field))
}

fn ranges(values: &[wire::Range], field: &'static str) -> Result<Vec<NumberRange>, DecodeError> {
    at_most(values.len(), RANGES_MAX, field)?;
    let mut chunks = 0;
    values
        .iter()
        .map(|range| {
            let range = NumberRange::new(number(range.first, field)?, number(range.last, field)?)?;
            chunks += range.chunks();
            if chunks > RANGE_CHUNKS_MAX { Err(DecodeError::TooLong(field)) } else { Ok(range) }
        })
        .collect()
}

/// The longest head of `ranges` within both limits: a receiver would refuse the whole message, not the tail.
fn from_ranges(ranges: &[NumberRange]) -> Vec<wire::Range> {
    let mut room = RANGE_CHUNKS_MAX;
    let fits = |range: &&NumberRange| {
        let fits = range.chunks() <= room;
        room = room.saturating_sub(range.chunks());
        fits
    };
    let range = |range: &NumberRange| wire::Range { first: range.first().get(), last: range.last().get() };
    ranges.iter().take(RANGES_MAX).take_while(fits).map(range).collect()
}

fn channel(bytes: &[u8], field: &'static str) -> Result<ChannelId, DecodeError> {
    ChannelId::try_from(bytes).map_err(|_| DecodeError::Invalid(field))
}

fn team_count(value: u32, field: &'static str) -> Result<u16, DecodeError> {
    u16::try_from(value).ok().filter(|count| *count <= TEAM_SIZE_MAX).ok_or(DecodeError::Invalid(field))
}

fn from_team_count(count: u16) -> u32 {
    count.min(TEAM_SIZE_MAX).into()
}

fn socket_address(text: &str, field: &'static str) -> Result<SocketAddr, DecodeError> {
    text.parse().map_err(|_| DecodeError::Invalid(field))
}

fn candidates(texts: &[String], field: &'static str) -> Result<Vec<SocketAddr>, DecodeError> {
    at_most(texts.len(), CANDIDATES_MAX, field)?;
    texts.iter().map(|text| socket_address(text, field)).collect()
}

fn from_candidates(candidates: &[SocketAddr]) -> Vec<String> {
    candidates.iter().take(CANDIDATES_MAX).map(ToString::to_string).collect()
}
