//! How enumerations are called in what tools print: the proto's names without their prefix, in lower case.

use crate::v1::{ChunkState, PeerState, Role, RuntimeState};
use serde::Serializer;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
pub(crate) fn role<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    let name = Role::try_from(*value).map_or("unknown", |role| match role {
        Role::Unspecified => "unspecified",
        Role::Splitter => "splitter",
        Role::Peer => "peer",
    });
    serializer.serialize_str(name)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
pub(crate) fn runtime_state<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(RuntimeState::try_from(*value).map_or("unknown", RuntimeState::name))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
pub(crate) fn peer_state<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(PeerState::try_from(*value).map_or("unknown", PeerState::name))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
pub(crate) fn chunk_state<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(ChunkState::try_from(*value).map_or("unknown", ChunkState::name))
}

impl ChunkState {
    /// The state in one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Held => "held",
            Self::Unproved => "unproved",
            Self::Asked => "asked",
            Self::Missing => "missing",
            Self::Lost => "lost",
        }
    }
}

impl RuntimeState {
    /// The state in one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

impl PeerState {
    /// The state in one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Joining => "joining",
            Self::Ready => "ready",
            Self::Eco => "eco",
            Self::Silenced => "silenced",
        }
    }
}
