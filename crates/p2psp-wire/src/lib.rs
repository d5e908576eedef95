#![doc = include_str!("../README.md")]
//!
//! # Map
//!
//! This crate owns what travels: identifiers ([`PeerId`], [`ChannelId`], [`Slot`], [`ChunkNumber`]), the channel link
//! ([`ChannelLink`]), datagrams ([`Datagram`]), control messages ([`Control`], [`FrameDecoder`]) and every maximum
//! ([`limits`]). It knows no socket, clock, task or policy. The normative text is `docs/protocol.md`; rule numbers
//! such as R-DGRAM-1 cite it.

mod control;
mod datagram;
mod error;
mod frame;
mod id;
pub mod limits;
mod link;
mod manifest;
mod note;

/// Protobuf types as generated; private, because their fields are unchecked.
#[expect(unreachable_pub, unnameable_types, clippy::all, reason = "generated code")]
mod generated {
    pub mod wire {
        include!("generated/p2psp.wire.v1.rs");
    }
}

pub use control::{
    Came, Control, Departure, DepartureReason, Echo, GoodbyeReason, Hello, Integrity, Join, Member,
    NumberRange, Refuse, RefuseReason, RosterDelta, StreamHeader, Welcome, Witness,
};
pub use datagram::{Chunk, ChunkHeader, Datagram, Parity};
pub use error::DecodeError;
pub use frame::FrameDecoder;
pub use id::{ChannelId, ChunkNumber, Epoch, IdError, PeerId, Slot, StreamTime};
pub use link::{ChannelLink, LinkError};
pub use manifest::{Hash, Manifest, ManifestContents};

/// Revision of the protocol within its ALPN: raised when a member must know something new to take part (R-LINK-1).
pub const PROTOCOL_REVISION: u32 = 1;

/// ALPN of the protocol's major version (R-LINK-1).
pub const ALPN: &[u8] = b"p2psp/1";
