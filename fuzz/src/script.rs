//! Arbitrary bytes as a script of choices: what a hostile or broken network might bring, in an order that a fuzzer can vary byte
//! by byte. Values lean towards what is near a limit or near zero; every value within its type can be had.

use crate::generation::{Shape, channel};
use bytes::Bytes;
use p2psp_wire::{
    ChannelId, Chunk, ChunkHeader, ChunkNumber, Control, Datagram, Departure, DepartureReason, Epoch,
    GoodbyeReason, Hash, Hello, Integrity, Join, Manifest, ManifestContents, Member, NumberRange, Parity,
    PeerId, Refuse, RefuseReason, RosterDelta, Slot, StreamHeader, StreamTime, Welcome, Witness,
    limits::{
        CHUNK_NUMBER_MAX, DATA_CHUNKS_MAX, HASH_BYTES, PARITY_CHUNKS_MAX, SHARD_BYTES_MIN, SIGNATURE_BYTES,
        TEAM_SIZE_MAX,
    },
};
use std::net::SocketAddr;

/// Bytes not yet used. Every method gives `None` when they are used up: the script is over.
#[derive(Debug)]
pub(crate) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(crate) const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        Some(self.byte()? & 1 == 1)
    }

    /// Small, a power of two, near the largest chunk number, or near the largest number of all.
    pub(crate) fn number(&mut self) -> Option<u64> {
        Some(match self.byte()? {
            byte @ 0..=159 => byte.into(),
            byte @ 160..=223 => 1 << (byte - 160),
            byte @ 224..=239 => CHUNK_NUMBER_MAX - u64::from(byte - 224),
            byte @ 240..=255 => u64::MAX - u64::from(byte - 240),
        })
    }

    fn number_u32(&mut self) -> Option<u32> {
        Some(u32::try_from(self.number()?).unwrap_or(u32::MAX))
    }

    fn count(&mut self) -> Option<u16> {
        Some(u16::try_from(self.number()?).map_or(TEAM_SIZE_MAX, |count| count.min(TEAM_SIZE_MAX)))
    }

    pub(crate) fn chunk_number(&mut self) -> Option<ChunkNumber> {
        Some(ChunkNumber::ZERO.plus(self.number()?))
    }

    /// Mostly one of the first eight, so that scripts meet the same member again.
    pub(crate) fn slot(&mut self) -> Option<Slot> {
        let byte = u16::from(self.byte()?);
        Slot::new(if byte < 240 { byte % 8 } else { byte * 2 + 1 }).ok()
    }

    /// One of eight, or the splitter.
    pub(crate) fn peer(&mut self) -> Option<PeerId> {
        let byte = self.byte()?;
        Some(if byte < 32 { channel().into() } else { PeerId::new([byte % 8; 32]) })
    }

    pub(crate) fn address(&mut self) -> Option<SocketAddr> {
        let (ip, port) = (self.byte()?, self.byte()?);
        let port = u16::from(port);
        Some(match ip {
            0..=63 => ([127, 0, 0, 1], port).into(),
            64..=127 => ([192, 168, 0, ip], port).into(),
            128..=191 => ([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(ip)], port).into(),
            192..=255 => ([203, 0, 113, ip], port).into(),
        })
    }

    /// Up to fifteen of something.
    fn several<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.byte()? & 15;
        (0..count).map(|_| one(self)).collect()
    }

    fn channel(&mut self) -> Option<ChannelId> {
        Some(if self.byte()? < 240 { channel() } else { ChannelId::new([1; 32]) })
    }

    fn epoch(&mut self) -> Option<Epoch> {
        Some(Epoch(u32::from(self.byte()? >> 6)))
    }

    fn ranges(&mut self) -> Option<Vec<NumberRange>> {
        self.several(|script| {
            let (first, chunks) = (script.chunk_number()?, script.number()? % 200);
            NumberRange::new(first, first.plus(chunks)).ok()
        })
    }

    /// A chunk whose header says anything at all.
    pub(crate) fn chunk(&mut self) -> Option<Datagram> {
        let (number, origin, byte) = (self.chunk_number()?, self.slot()?, self.byte()?);
        let header = ChunkHeader {
            number,
            origin,
            position: byte >> 2,
            header_version: byte & 3,
            random_access: self.flag()?,
            time_us: self.number_u32()?,
        };
        Chunk::new(header, b"payload").ok().map(Datagram::Chunk)
    }

    /// A parity chunk or a manifest that belongs to nothing, and that nobody signed.
    pub(crate) fn loose(&mut self) -> Option<Datagram> {
        let (first, origin, byte) = (self.chunk_number()?, self.slot()?, self.byte()?);
        if byte & 1 == 0 {
            let shard = [byte; SHARD_BYTES_MIN];
            return Parity::new(first, byte >> 2, origin, self.number_u32()?, &shard)
                .ok()
                .map(Datagram::Parity);
        }
        let contents = ManifestContents {
            epoch: self.epoch()?,
            first,
            position: 0,
            data_chunks: 1 + byte % DATA_CHUNKS_MAX,
            shard_bytes: 1138,
            closed: StreamTime::from_micros(self.number()?),
            previous: Hash::default(),
            hashes: vec![Hash::default(); usize::from(1 + byte % DATA_CHUNKS_MAX)],
        };
        Manifest::new(contents, &[byte; SIGNATURE_BYTES], origin).ok().map(Datagram::Manifest)
    }

    /// What a true generation is like: mostly eight chunks at most and three for parity, sometimes as many as there can be.
    pub(crate) fn shape(&mut self) -> Option<Shape> {
        let (first, counts) = (self.chunk_number()?, self.byte()?);
        let (data_chunks, parity_chunks) = match counts {
            0..=239 => (1 + (counts & 7), counts >> 3 & 3),
            240..=255 => (DATA_CHUNKS_MAX, PARITY_CHUNKS_MAX - (counts - 240)),
        };
        let (origin, relays) = (self.slot()?, self.byte()?);
        Some(Shape {
            first,
            data_chunks,
            parity_chunks,
            listed_before: if relays & 8 == 0 { 0 } else { data_chunks / 2 },
            origin,
            origins: 1 + (relays & 7),
            epoch: self.epoch()?,
            closed: StreamTime::from_micros(self.number()?),
        })
    }

    /// Some of these, as the bits of two bytes choose; their order is kept.
    pub(crate) fn some_of(&mut self, datagrams: &[Datagram]) -> Option<Vec<Datagram>> {
        let bits = u16::from_be_bytes([self.byte()?, self.byte()?]);
        let chosen = (0..16).cycle().zip(datagrams).filter(|(bit, _)| bits >> bit & 1 == 1);
        Some(chosen.map(|(_, datagram)| datagram.clone()).collect())
    }

    /// Mostly leaves them alone, else changes one byte of one, as a hostile relay may. What then is none is left out: a host
    /// tells of it by other means.
    pub(crate) fn alter(&mut self, datagrams: &mut Vec<Datagram>) -> Option<()> {
        let nth = match self.byte()? {
            0..=127 => return Some(()),
            byte @ 128..=255 => usize::from(byte - 128) % datagrams.len().max(1),
        };
        let (offset, bits) = (usize::from(self.byte()?), self.byte()?);
        if nth >= datagrams.len() {
            return Some(());
        }
        let mut bytes = datagrams.remove(nth).bytes().to_vec();
        let offset = offset % bytes.len();
        if let Some(byte) = bytes.get_mut(offset) {
            *byte ^= bits;
        }
        if let Ok(altered) = Datagram::decode(bytes.into()) {
            datagrams.insert(nth, altered);
        }
        Some(())
    }

    /// Any message, whoever may send it.
    pub(crate) fn control(&mut self) -> Option<Control> {
        let kind = self.byte()?;
        Some(match kind & 15 {
            0 => Control::Join(self.join()?),
            1 => Control::Welcome(self.welcome()?),
            2 => Control::Refuse(Refuse {
                reason: RefuseReason::TeamFull,
                detail: String::from("no"),
                retry_after_ms: self.number_u32()?,
            }),
            3 | 15 => Control::RosterDelta(self.roster_delta()?),
            4 => Control::StreamHeader(StreamHeader {
                version: self.byte()?,
                content_type: String::from("video/mp2t"),
                bytes: Bytes::from_static(b"header"),
            }),
            5 => Control::Ready { teammates: self.count()? },
            6 => Control::Hello(Hello { channel: self.channel()?, epoch: self.epoch()?, slot: self.slot()? }),
            7 => Control::Goodbye(match self.byte()? & 3 {
                0 => GoodbyeReason::Expelled,
                1 => GoodbyeReason::Leaving,
                2 => GoodbyeReason::StreamEnded,
                _ => GoodbyeReason::Unspecified,
            }),
            8 => Control::Request { origins: self.several(Self::slot)? },
            9 => Control::Prune { origins: self.several(Self::slot)? },
            10 => Control::Lost { ranges: self.ranges()? },
            11 => Control::Pull {
                ranges: self.ranges()?,
                generations: if kind & 16 == 0 { Vec::new() } else { self.several(Self::chunk_number)? },
            },
            12 => Control::Choke { ranges: self.ranges()?, retry_after_ms: self.number_u32()? },
            13 => Control::Silent { origins: self.several(Self::slot)? },
            _ if kind & 16 != 0 => {
                let (one, other) = (self.number_u32()?, self.number_u32()?);
                Control::Report { chunks_due: one.max(other), chunks_missing: one.min(other) }
            }
            _ if kind & 32 != 0 => Control::Complaint {
                accused: self.slot()?,
                number: self.chunk_number()?,
                hash: Hash([self.byte()?; HASH_BYTES]),
            },
            _ if kind & 192 == 192 => {
                let (first, late) = (self.chunk_number()?, self.number_u32()?);
                let came = self.several(Self::byte)?;
                let bits = came.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
                Control::Witness(Witness::new(first, bits, late))
            }
            _ if kind & 64 != 0 => Control::Probe { token: self.number_u32()? },
            _ if kind & 128 != 0 => Control::Alive { token: self.number_u32()? },
            _ => Control::Unknown,
        })
    }

    fn join(&mut self) -> Option<Join> {
        Some(Join {
            revision: u32::from(self.byte()? > 8),
            channel: self.channel()?,
            ticket: Bytes::new(),
            candidates: self.several(Self::address)?,
            eco: self.flag()?,
            agent: String::from("script"),
            target_delay_ms: self.number_u32()?,
        })
    }

    fn welcome(&mut self) -> Option<Welcome> {
        let (slot, epoch, observed) = (self.slot()?, self.epoch()?, self.address()?);
        let (team_size_max, next_number) = (self.count()?, self.chunk_number()?);
        let (stream_time, epoch_unix_us) = (StreamTime::from_micros(self.number()?), self.number()?);
        let byte = self.byte()?;
        Some(Welcome {
            revision: 1,
            slot,
            epoch,
            observed,
            team_size_max,
            next_number,
            stream_time,
            epoch_unix_us,
            random_access: if byte & 1 == 1 { Some(self.chunk_number()?) } else { None },
            members: self.count()?,
            integrity: match byte >> 1 & 3 {
                0 => Integrity::None,
                1 => Integrity::Unspecified,
                _ => Integrity::Manifest,
            },
        })
    }

    fn roster_delta(&mut self) -> Option<RosterDelta> {
        Some(RosterDelta {
            epoch: self.epoch()?,
            view: self.number()?,
            joined: self.several(|script| {
                let (slot, peer) = (script.slot()?, script.peer()?);
                Some(Member { slot, peer, candidates: vec![script.address()?] })
            })?,
            left: self.several(|script| {
                Some(Departure { slot: script.slot()?, reason: DepartureReason::Crashed })
            })?,
        })
    }
}
