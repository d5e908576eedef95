//! Arbitrary values of every type on the wire, within their limits or over them where the types allow it.

use bytes::Bytes;
use p2psp_wire::{
    Came, ChannelId, ChannelLink, ChunkNumber, Control, Departure, DepartureReason, Echo, Epoch,
    GoodbyeReason, Hash, Hello, Integrity, Join, Member, NumberRange, PeerId, Refuse, RefuseReason,
    RosterDelta, Slot, StreamHeader, StreamTime, Welcome, Witness,
    limits::{
        AGENT_BYTES_MAX, CANDIDATES_MAX, CHUNK_NUMBER_MAX, CONTENT_TYPE_BYTES_MAX, DETAIL_BYTES_MAX,
        RANGE_CHUNKS_MAX, RANGES_MAX, ROSTER_ENTRIES_MAX, SLOTS_MAX, STREAM_HEADER_BYTES_MAX, TEAM_SIZE_MAX,
        TICKET_BYTES_MAX, WITNESS_CHUNKS_MAX,
    },
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use std::{net::SocketAddr, ops::RangeInclusive};

/// Whether values keep their limits or may break those that the types leave open.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Size {
    Within,
    Over,
}

impl Size {
    /// Lengths from nothing to the limit, or to half as much again.
    fn up_to(self, limit: usize) -> RangeInclusive<usize> {
        0..=if self == Self::Over { limit + limit / 2 } else { limit }
    }
}

pub(crate) fn control(size: Size) -> impl Strategy<Value = Control> {
    prop_oneof![
        join(size).prop_map(Control::Join),
        welcome(size).prop_map(Control::Welcome),
        refuse(size).prop_map(Control::Refuse),
        roster_delta(size).prop_map(Control::RosterDelta),
        stream_header(size).prop_map(Control::StreamHeader),
        count(size).prop_map(|teammates| Control::Ready { teammates }),
        (channel(), any::<u32>(), slot()).prop_map(|(channel, epoch, slot)| Control::Hello(Hello {
            channel,
            epoch: Epoch(epoch),
            slot
        })),
        select(vec![
            GoodbyeReason::Expelled,
            GoodbyeReason::Leaving,
            GoodbyeReason::StreamEnded,
            GoodbyeReason::Unspecified
        ])
        .prop_map(Control::Goodbye),
        slots(size).prop_map(|origins| Control::Request { origins }),
        slots(size).prop_map(|origins| Control::Prune { origins }),
        slots(size).prop_map(|origins| Control::Silent { origins }),
        ranges(size).prop_map(|ranges| Control::Lost { ranges }),
        (ranges(size), vec(number(), size.up_to(RANGES_MAX)))
            .prop_map(|(ranges, generations)| Control::Pull { ranges, generations }),
        (ranges(size), any::<u32>())
            .prop_map(|(ranges, retry_after_ms)| Control::Choke { ranges, retry_after_ms }),
        (any::<u32>(), any::<u32>())
            .prop_map(|(a, b)| Control::Report { chunks_due: a.max(b), chunks_missing: a.min(b) }),
        (slot(), number(), any::<[u8; 16]>()).prop_map(|(accused, number, hash)| Control::Complaint {
            accused,
            number,
            hash: Hash(hash)
        }),
        any::<u32>().prop_map(|token| Control::Probe { token }),
        any::<u32>().prop_map(|token| Control::Alive { token }),
        witness(size).prop_map(Control::Witness),
        (any::<u32>(), option::of(came()), any::<u32>())
            .prop_map(|(sent_us, came, received)| Control::Echo(Echo { sent_us, came, received })),
        any::<u64>().prop_map(|uplink_bits_per_s| Control::Capacity { uplink_bits_per_s }),
        Just(Control::Unknown),
    ]
}

fn join(size: Size) -> impl Strategy<Value = Join> {
    let fields = (
        any::<u32>(),
        channel(),
        vec(any::<u8>(), size.up_to(TICKET_BYTES_MAX)),
        candidates(size),
        any::<bool>(),
        text(size, AGENT_BYTES_MAX),
        any::<u32>(),
    );
    fields.prop_map(|(revision, channel, ticket, candidates, eco, agent, target_delay_ms)| Join {
        revision,
        channel,
        ticket: ticket.into(),
        candidates,
        eco,
        agent,
        target_delay_ms,
    })
}

fn welcome(size: Size) -> impl Strategy<Value = Welcome> {
    let seat = (any::<u32>(), slot(), any::<u32>(), any::<SocketAddr>().prop_map(as_written));
    let stream = (number(), any::<u64>(), any::<u64>(), option::of(number()));
    let integrity =
        select(vec![Integrity::Manifest, Integrity::None, Integrity::Signature, Integrity::Unspecified]);
    let team = (count(size), count(size));
    (seat, stream, team, integrity).prop_map(|(seat, stream, (team_size_max, members), integrity)| Welcome {
        revision: seat.0,
        slot: seat.1,
        epoch: Epoch(seat.2),
        observed: seat.3,
        team_size_max,
        next_number: stream.0,
        stream_time: StreamTime::from_micros(stream.1),
        epoch_unix_us: stream.2,
        random_access: stream.3,
        members,
        integrity,
    })
}

fn came() -> impl Strategy<Value = Came> {
    (number(), option::of(any::<u8>()), any::<u32>()).prop_map(|(number, parity_position, came_us)| Came {
        number,
        parity_position,
        came_us,
    })
}

fn refuse(size: Size) -> impl Strategy<Value = Refuse> {
    let reason = select(vec![
        RefuseReason::Banned,
        RefuseReason::Closing,
        RefuseReason::NoUplink,
        RefuseReason::Revision,
        RefuseReason::TeamFull,
        RefuseReason::Ticket,
        RefuseReason::WrongChannel,
        RefuseReason::Unspecified,
    ]);
    (reason, text(size, DETAIL_BYTES_MAX), any::<u32>()).prop_map(|(reason, detail, retry_after_ms)| Refuse {
        reason,
        detail,
        retry_after_ms,
    })
}

fn roster_delta(size: Size) -> impl Strategy<Value = RosterDelta> {
    let member = (slot(), any::<[u8; 32]>(), candidates(size)).prop_map(|(slot, peer, candidates)| Member {
        slot,
        peer: PeerId::new(peer),
        candidates,
    });
    let reason = select(vec![
        DepartureReason::Crashed,
        DepartureReason::Expelled,
        DepartureReason::Goodbye,
        DepartureReason::Unspecified,
    ]);
    let departure = (slot(), reason).prop_map(|(slot, reason)| Departure { slot, reason });
    let joined = vec(member, size.up_to(ROSTER_ENTRIES_MAX));
    (any::<u32>(), any::<u64>(), joined, vec(departure, size.up_to(ROSTER_ENTRIES_MAX)))
        .prop_map(|(epoch, view, joined, left)| RosterDelta { epoch: Epoch(epoch), view, joined, left })
}

fn witness(size: Size) -> impl Strategy<Value = Witness> {
    let most = usize::try_from(WITNESS_CHUNKS_MAX).unwrap();
    (number(), vec(any::<bool>(), size.up_to(most)), any::<u32>())
        .prop_map(|(first, came, copies_late)| Witness::new(first, came, copies_late))
}

fn stream_header(size: Size) -> impl Strategy<Value = StreamHeader> {
    let content_type = match size {
        Size::Within => vec(b' '..=b'~', 0..=CONTENT_TYPE_BYTES_MAX)
            .prop_map(|bytes| bytes.into_iter().map(char::from).collect())
            .boxed(),
        Size::Over => text(size, CONTENT_TYPE_BYTES_MAX).boxed(),
    };
    // The bytes themselves do not matter to the codec, their number does.
    (any::<u8>(), content_type, any::<u8>(), size.up_to(STREAM_HEADER_BYTES_MAX)).prop_map(
        |(version, content_type, byte, length)| StreamHeader {
            version,
            content_type,
            bytes: Bytes::from(vec![byte; length]),
        },
    )
}

pub(crate) fn link() -> impl Strategy<Value = ChannelLink> {
    let port = 1_u16..;
    let address = prop_oneof![
        ("[a-z0-9][a-z0-9.-]{0,30}", port.clone()).prop_map(|(host, port)| format!("{host}:{port}")),
        (any::<[u8; 4]>(), port.clone()).prop_map(|(ip, port)| SocketAddr::from((ip, port)).to_string()),
        (any::<[u16; 8]>(), port).prop_map(|(ip, port)| SocketAddr::from((ip, port)).to_string()),
    ];
    (channel(), vec(address.clone(), 1..=4), vec(address, 0..=4))
        .prop_map(|(channel, splitters, trackers)| ChannelLink { channel, splitters, trackers })
}

fn ranges(size: Size) -> impl Strategy<Value = Vec<NumberRange>> {
    let (count, chunks) = match size {
        Size::Within => (0..=RANGES_MAX, 1..=32),
        Size::Over => (size.up_to(RANGES_MAX), 1..=RANGE_CHUNKS_MAX),
    };
    let range = (0..=CHUNK_NUMBER_MAX - RANGE_CHUNKS_MAX, chunks).prop_map(|(first, chunks)| {
        let first = ChunkNumber::new(first).unwrap();
        NumberRange::new(first, first.plus(chunks - 1)).unwrap()
    });
    vec(range, count)
}

fn candidates(size: Size) -> impl Strategy<Value = Vec<SocketAddr>> {
    vec(any::<SocketAddr>().prop_map(as_written), size.up_to(CANDIDATES_MAX))
}

/// An address as its text says it: the text of an IPv6 address has no flow label.
fn as_written(address: SocketAddr) -> SocketAddr {
    address.to_string().parse().unwrap()
}

fn text(size: Size, limit: usize) -> impl Strategy<Value = String> {
    vec(any::<char>(), size.up_to(limit)).prop_map(move |characters| {
        let mut text: String = characters.into_iter().collect();
        while size == Size::Within && text.len() > limit {
            text.pop();
        }
        text
    })
}

fn count(size: Size) -> impl Strategy<Value = u16> {
    0..=if size == Size::Over { u16::MAX } else { TEAM_SIZE_MAX }
}

fn slots(size: Size) -> impl Strategy<Value = Vec<Slot>> {
    vec(slot(), size.up_to(SLOTS_MAX))
}

fn slot() -> impl Strategy<Value = Slot> {
    (0..TEAM_SIZE_MAX).prop_map(|slot| Slot::new(slot).unwrap())
}

fn number() -> impl Strategy<Value = ChunkNumber> {
    prop_oneof![0..=CHUNK_NUMBER_MAX, Just(0), Just(CHUNK_NUMBER_MAX)]
        .prop_map(|number| ChunkNumber::new(number).unwrap())
}

fn channel() -> impl Strategy<Value = ChannelId> {
    any::<[u8; 32]>().prop_map(ChannelId::new)
}
