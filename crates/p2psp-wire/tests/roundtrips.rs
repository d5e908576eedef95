//! Properties of the codec over arbitrary values and bytes: what is encoded decodes to itself, however a stream is cut; what
//! is over a limit is cut to it and still decodes; and no bytes make a decoder panic. proptest prints the failing input and
//! its seed.
#![cfg(test)]

mod values;

use bytes::{Bytes, BytesMut};
use p2psp_wire::{
    ChannelId, ChannelLink, ChunkNumber, Control, FrameDecoder, NumberRange, PeerId, StreamTime,
    limits::{CHUNK_NUMBER_MAX, FRAME_BYTES_MAX, RANGE_CHUNKS_MAX, RANGES_MAX},
};
use proptest::{collection::vec, prelude::*};
use std::collections::BTreeSet;
use values::Size;

proptest! {
    #[test]
    fn a_message_within_limits_survives_its_frame(message in values::control(Size::Within)) {
        prop_assert_eq!(decode_all(&encode(&message), usize::MAX)?, vec![message]);
    }

    #[test]
    fn a_message_over_its_limits_is_cut_to_what_a_decoder_accepts(message in values::control(Size::Over)) {
        let frame = encode(&message);
        let decoded = decode_all(&frame, usize::MAX)?;
        prop_assert_eq!(decoded.len(), 1);
        prop_assert_eq!(encode(&decoded[0]), frame, "cutting once is enough");
    }

    #[test]
    fn a_stream_gives_its_messages_however_it_is_cut(
        messages in vec(values::control(Size::Within), 0..6),
        pieces in vec(1_usize..5000, 1..40),
    ) {
        let stream: Bytes = messages.iter().flat_map(encode).collect();
        let mut decoder = FrameDecoder::new();
        let mut decoded = Vec::new();
        let mut rest: &[u8] = &stream;
        for piece_bytes in pieces.iter().cycle() {
            let room = decoder.room();
            prop_assert!(room > 0, "a decoder that gave all its frames has room");
            prop_assert!(room <= FRAME_BYTES_MAX + 3, "a decoder holds one frame at most");
            let (piece, later) = rest.split_at(rest.len().min(*piece_bytes).min(room));
            decoder.push(piece).unwrap();
            while let Some(message) = decoder.poll().unwrap() {
                decoded.push(message);
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(decoded, messages);
    }

    #[test]
    fn a_decoder_refuses_more_than_it_has_room_for(filled in 0..FRAME_BYTES_MAX) {
        let mut decoder = FrameDecoder::new();
        decoder.push(&vec![0x80; filled]).unwrap();
        let room = decoder.room();
        prop_assert!(decoder.push(&vec![0; room + 1]).is_err());
        prop_assert_eq!(decoder.room(), room, "what was refused is not kept");
        prop_assert!(decoder.push(&vec![0; room]).is_ok());
    }

    #[test]
    fn any_frame_is_refused_or_decodes_to_what_encodes_again(frame in vec(any::<u8>(), 0..300)) {
        if let Ok(message) = Control::decode(frame.into()) {
            prop_assert_eq!(decode_all(&encode(&message), usize::MAX)?, vec![message]);
        }
    }

    #[test]
    fn a_damaged_frame_is_refused_or_decodes_to_what_encodes_again(
        message in values::control(Size::Within),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut frame = encode(&message).to_vec();
        for (place, byte) in damage {
            *place.get_mut(&mut frame) = byte;
        }
        let mut decoder = FrameDecoder::new();
        decoder.push(&frame).unwrap();
        while let Ok(Some(message)) = decoder.poll() {
            prop_assert_eq!(decode_all(&encode(&message), usize::MAX)?, vec![message]);
        }
    }

    #[test]
    fn a_key_survives_its_text(bytes in any::<[u8; 32]>(), upper in any::<bool>()) {
        let text = PeerId::new(bytes).to_string();
        prop_assert_eq!(text.len(), 52);
        prop_assert_eq!(&ChannelId::new(bytes).to_string(), &text);
        let text = if upper { text.to_ascii_uppercase() } else { text };
        prop_assert_eq!(text.parse(), Ok(PeerId::new(bytes)));
        prop_assert_eq!(text.parse(), Ok(ChannelId::new(bytes)));
    }

    #[test]
    fn any_text_is_no_key_or_the_text_of_one(text in "[a-zA-Z2-7=é ]{50,54}") {
        if let Ok(key) = text.parse::<PeerId>() {
            prop_assert_eq!(key.to_string(), text.to_ascii_lowercase(), "one key has one text");
        }
    }

    #[test]
    fn a_link_survives_its_text(link in values::link()) {
        prop_assert_eq!(link.to_string().parse(), Ok(link));
    }

    #[test]
    fn any_text_is_no_link_or_one_that_prints_again(text in "(p2psp://)?([a-z2-7]{52}@)?[a-z0-9.:\\[\\]/?=&#@%é-]{0,60}") {
        if let Ok(link) = text.parse::<ChannelLink>() {
            prop_assert_eq!(link.to_string().parse(), Ok(link));
        }
    }

    #[test]
    fn a_stream_time_is_found_again_from_anywhere_within_half_a_lap(
        time in prop_oneof![any::<u64>(), (0_u64..4, -3_i64..3).prop_map(|(lap, step)| (lap << 32).saturating_add_signed(step))],
        offset in -(1_i64 << 31) + 1..1 << 31,
    ) {
        let time = StreamTime::from_micros(time);
        let Some(near) = time.as_micros().checked_add_signed(offset) else { return Ok(()) };
        prop_assert_eq!(StreamTime::expand(time.truncate(), StreamTime::from_micros(near)), time);
    }

    #[test]
    fn an_expanded_time_keeps_its_low_bits_whatever_the_clock(truncated in any::<u32>(), near in any::<u64>()) {
        prop_assert_eq!(StreamTime::expand(truncated, StreamTime::from_micros(near)).truncate(), truncated);
    }

    #[test]
    fn packed_ranges_name_just_the_numbers_they_were_made_of(
        runs in vec((1_u64..2000, 1_u64..100), 0..80),
        start in prop_oneof![0_u64..1000, CHUNK_NUMBER_MAX - 9000..=CHUNK_NUMBER_MAX],
    ) {
        let mut numbers = BTreeSet::new();
        let mut next = start;
        for (gap, length) in runs {
            next = next.saturating_add(gap);
            numbers.extend((next..next + length).filter_map(|number| ChunkNumber::new(number).ok()));
            next += length;
        }
        let ranges = NumberRange::pack(numbers.iter().copied());
        let named: Vec<ChunkNumber> = ranges.iter().flat_map(|range| range.numbers()).collect();
        let expected: Vec<ChunkNumber> = numbers.iter().copied().take(named.len()).collect();
        prop_assert_eq!(&named, &expected, "the first numbers, each once, in order");
        prop_assert!(ranges.windows(2).all(|pair| pair[0].last().next() < pair[1].first()), "as few ranges as they take");
        let full = ranges.len() == RANGES_MAX || named.len() == usize::try_from(RANGE_CHUNKS_MAX).unwrap();
        prop_assert!(named.len() == numbers.len() || full, "nothing is left out while there is room");
        let pull = Control::Pull { ranges, generations: Vec::new() };
        prop_assert_eq!(decode_all(&encode(&pull), 7)?, vec![pull]);
    }
}

fn encode(message: &Control) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out.freeze()
}

/// All messages of a whole stream that comes in pieces of at most `piece_bytes`.
fn decode_all(stream: &[u8], piece_bytes: usize) -> Result<Vec<Control>, TestCaseError> {
    let mut decoder = FrameDecoder::new();
    let mut messages = Vec::new();
    for piece in stream.chunks(piece_bytes.min(decoder.room())) {
        decoder.push(piece).map_err(|error| TestCaseError::fail(error.to_string()))?;
        while let Some(message) = decoder.poll().map_err(|error| TestCaseError::fail(error.to_string()))? {
            messages.push(message);
        }
    }
    prop_assert_eq!(decoder.room(), FRAME_BYTES_MAX + 3, "nothing is left over");
    Ok(messages)
}
