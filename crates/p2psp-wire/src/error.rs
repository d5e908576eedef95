//! The one error of decoding. It is small and `Copy`, and holds no remote bytes.

use std::fmt;

/// Why remote bytes are not a message of this protocol. Names the field at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the named field does.
    Truncated(&'static str),
    /// The named field is longer, or has more elements, than its limit in [`limits`](crate::limits).
    TooLong(&'static str),
    /// The named field has a value that its rule forbids.
    Invalid(&'static str),
    /// The named field is required and absent.
    Missing(&'static str),
    /// A datagram of a kind that this revision does not define.
    UnknownKind(u8),
    /// A control frame that is not well-formed protobuf.
    Protobuf,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated(field) => write!(f, "{field} is cut short"),
            Self::TooLong(field) => write!(f, "{field} is over its limit"),
            Self::Invalid(field) => write!(f, "{field} has a forbidden value"),
            Self::Missing(field) => write!(f, "{field} is missing"),
            Self::UnknownKind(kind) => write!(f, "datagram kind {kind} is unknown"),
            Self::Protobuf => write!(f, "control frame is not valid protobuf"),
        }
    }
}

impl std::error::Error for DecodeError {}
