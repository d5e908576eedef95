//! Announces, in QUIC's transport parameters, that this node acknowledges at leisure. Owns that one edit; the handshake itself
//! is rustls's.
//!
//! A chunk is never sent again, so nobody waits for its acknowledgement; but in a mesh each link carries so few packets that
//! quinn acknowledges every one with a packet of its own after 25 ms, and that doubles the packets of the whole team (1.9 to
//! 2.0 packets sent per chunk, measured). A node that may wait until its own next chunk to that link is due acknowledges for
//! free. quinn asks its peer for at most 25 ms whatever [`quinn::AckFrequencyConfig`] says, *unless the peer announces a larger
//! minimum*: `min_ack_delay` of draft-ietf-quic-ack-frequency, which quinn writes into the parameters without a setting for it.
//! So the parameters are edited on their way into the handshake.

use quinn::{ConnectError, crypto};
use quinn_proto::{Side, transport_parameters::TransportParameters};
use std::{sync::Arc, time::Duration};

/// How long a node may hold an acknowledgement back.
///
/// Longer than the time between two turns to one teammate (154 ms for 32 peers at 4 Mb/s, 480 ms for 100), so that most
/// acknowledgements ride on a chunk; short enough that a control message lost as the last of its burst, which is noticed one
/// round trip and this delay later, still comes well within the machines' time-outs.
pub(crate) const ACK_DELAY: Duration = Duration::from_millis(250);

/// Transport parameter `max_ack_delay`, in milliseconds (RFC 9000, section 18.2).
const MAX_ACK_DELAY: u64 = 0x0b;
/// Transport parameter `min_ack_delay`, in microseconds (draft-ietf-quic-ack-frequency-07, section 3).
const MIN_ACK_DELAY: u64 = 0xff04_de1b;

/// A crypto configuration whose sessions announce [`ACK_DELAY`].
pub(crate) struct PatientCrypto<C>(Arc<C>);

impl<C> PatientCrypto<C> {
    pub(crate) fn new(inner: C) -> Self {
        Self(Arc::new(inner))
    }
}

impl<C: crypto::ClientConfig + 'static> crypto::ClientConfig for PatientCrypto<C> {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn crypto::Session>, ConnectError> {
        Arc::clone(&self.0).start_session(version, server_name, &patient(Side::Server, params))
    }
}

impl<C: crypto::ServerConfig + 'static> crypto::ServerConfig for PatientCrypto<C> {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &quinn::ConnectionId,
    ) -> Result<crypto::Keys, crypto::UnsupportedVersion> {
        self.0.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &quinn::ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.0.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn crypto::Session> {
        Arc::clone(&self.0).start_session(version, &patient(Side::Client, params))
    }
}

/// The same parameters with both ACK delays set. `reader` is the side that will read them.
fn patient(reader: Side, params: &TransportParameters) -> TransportParameters {
    let mut written = Vec::new();
    params.write(&mut written);
    // The fallback is quinn's own behaviour: correct, at the price of its packets.
    edit(&written)
        .and_then(|edited| TransportParameters::read(reader, &mut &edited[..]).ok())
        .unwrap_or(*params)
}

/// Replaces the two delays in a list of (id, length, value), each id and length a QUIC variable-length integer.
fn edit(mut params: &[u8]) -> Option<Vec<u8>> {
    let mut edited = Vec::with_capacity(params.len() + 16);
    while !params.is_empty() {
        let start = params;
        let id = take_varint(&mut params)?;
        let length = usize::try_from(take_varint(&mut params)?).ok()?;
        params = params.get(length..)?;
        if id != MAX_ACK_DELAY && id != MIN_ACK_DELAY {
            edited.extend_from_slice(start.get(..start.len() - params.len())?);
        }
    }
    let millis = u16::try_from(ACK_DELAY.as_millis()).ok()?;
    let micros = u32::try_from(ACK_DELAY.as_micros()).ok()?;
    // Two-byte and four-byte integers (RFC 9000, section 16): the two top bits give the length.
    edited.extend_from_slice(&[0x0b, 2]);
    edited.extend_from_slice(&(millis | 0x4000).to_be_bytes());
    edited.extend_from_slice(&(MIN_ACK_DELAY | 0xc000_0000_0000_0000).to_be_bytes());
    edited.push(4);
    edited.extend_from_slice(&(micros | 0x8000_0000).to_be_bytes());
    Some(edited)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = bytes.split_first()?;
    let more = (1_usize << (first >> 6)) - 1;
    let (tail, rest) = rest.split_at_checked(more)?;
    *bytes = rest;
    Some(tail.iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other parameters stay as they are, the two delays are set, and setting them again changes nothing.
    #[test]
    fn sets_the_delays_and_nothing_else() {
        // initial_max_data 100 (id 4), max_ack_delay 25, min_ack_delay 1000, an unknown parameter of three bytes.
        let written = [
            &[4, 2, 0x40, 100][..],
            &[0x0b, 1, 25],
            &[0xc0, 0, 0, 0, 0xff, 0x04, 0xde, 0x1b, 2, 0x43, 0xe8],
            &[0x40, 0x7b, 3, 1, 2, 3],
        ]
        .concat();
        let edited = edit(&written).unwrap();
        let expected = [
            &[4, 2, 0x40, 100][..],
            &[0x40, 0x7b, 3, 1, 2, 3],
            &[0x0b, 2, 0x40, 250],
            &[0xc0, 0, 0, 0, 0xff, 0x04, 0xde, 0x1b, 4, 0x80, 0x03, 0xd0, 0x90],
        ]
        .concat();
        assert_eq!(edited, expected);
        assert_eq!(edit(&edited).unwrap(), expected);
        assert!(TransportParameters::read(Side::Server, &mut &edited[..]).is_ok());
    }

    /// Cut lists are refused, not guessed at.
    #[test]
    fn refuses_cut_lists() {
        for cut in [&[4][..], &[4, 2], &[4, 2, 0x40], &[0xc0, 0, 0], &[4, 0xff]] {
            assert_eq!(edit(cut), None, "{cut:?}");
        }
    }
}
