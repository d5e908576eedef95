//! Counts a frame's fields before protobuf allocates for them: an empty list element takes two bytes on the wire and up to 64 in
//! memory, so that the limits on decoded lists would come too late. Knows which messages have lists, and no other rule.

use crate::{DecodeError, limits::FRAME_FIELDS_MAX};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// Where in a frame a field stands, as far as lists of messages, texts or bytes lie below it.
#[derive(Clone, Copy)]
enum Place {
    /// In the frame itself.
    Frame,
    /// In a message with lists whose elements have none.
    Lists,
    /// In a roster delta, whose members have a list.
    RosterDelta,
}

impl Place {
    /// What stands in this place's length-delimited `field`, by the numbers of `control.proto`; `None` where no list is.
    const fn within(self, field: u32) -> Option<Self> {
        match (self, field) {
            // join, lost, pull, choke
            (Self::Frame, 1 | 11 | 12 | 13) => Some(Self::Lists),
            (Self::Frame, 4) => Some(Self::RosterDelta),
            // joined
            (Self::RosterDelta, 3) => Some(Self::Lists),
            _ => None,
        }
    }
}

/// # Errors
///
/// [`DecodeError::TooLong`] when the frame has more than [`FRAME_FIELDS_MAX`] length-delimited fields (R-CTRL-2),
/// [`DecodeError::Protobuf`] when it is not well-formed.
pub(super) fn check(frame: &[u8]) -> Result<(), DecodeError> {
    let mut left = FRAME_FIELDS_MAX;
    count(frame, Place::Frame, &mut left)
}

/// Takes the fields of `message` off those that are `left`. Recurses three places deep at most.
fn count(mut message: &[u8], place: Place, left: &mut usize) -> Result<(), DecodeError> {
    while !message.is_empty() {
        let (field, wire_type) = decode_key(&mut message).map_err(|_| DecodeError::Protobuf)?;
        if wire_type != WireType::LengthDelimited {
            skip_field(wire_type, field, &mut message, DecodeContext::default())
                .map_err(|_| DecodeError::Protobuf)?;
            continue;
        }
        *left = left.checked_sub(1).ok_or(DecodeError::TooLong("control frame fields"))?;
        let length = decode_varint(&mut message).map_err(|_| DecodeError::Protobuf)?;
        let (body, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| message.split_at_checked(length))
            .ok_or(DecodeError::Protobuf)?;
        message = rest;
        if let Some(place) = place.within(field) {
            count(body, place, left)?;
        }
    }
    Ok(())
}
