//! Sealed datagrams (R-SEAL-1 to 6): what a link's two ends derive from its handshake, how a datagram is sealed and opened, and
//! which of them are taken. Knows no socket, no link table and no datagram's meaning.
//!
//! A chunk as a QUIC DATAGRAM costs four to five times what its encryption and its system calls cost; QUIC keeps what is done
//! once a link: the handshake, identities, the control stream.

use p2psp_wire::limits::DATAGRAM_BYTES_MAX;
use ring::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, KeyType, Prk},
};
use std::fmt;

/// Mark and the low half of the number, in the clear but authenticated.
const HEADER_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// What sealing adds to a datagram.
pub(crate) const OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;
/// The longest sealed datagram.
pub(crate) const SEALED_BYTES_MAX: usize = DATAGRAM_BYTES_MAX + OVERHEAD_BYTES;

/// What both ends ask of TLS (RFC 8446, section 7.5).
pub(crate) const EXPORT_LABEL: &[u8] = b"EXPORTER-p2psp-seal";
/// How much: a secret for what the dialer sends, and one for what it receives.
pub(crate) const EXPORT_BYTES: usize = 64;

/// Datagrams that one key seals (R-SEAL-3): what RFC 9001 (section 6.6) allows for AES-128-GCM is twice as many.
const KEY_NUMBERS: u64 = 1 << 22;
/// How many numbers behind the newest may still come, each once (R-SEAL-4).
const WINDOW_NUMBERS: u64 = 128;

/// Which direction of which link a sealed datagram is of: its first eight bytes.
///
/// The first byte is zero (R-SEAL-2), so that no QUIC packet looks like it: their second bit is always set (RFC 9000, section 17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Mark([u8; 8]);

/// Whether a packet is a sealed datagram, and not QUIC's.
pub(crate) const fn is_sealed(packet: &[u8]) -> bool {
    matches!(packet.first(), Some(0))
}

/// Why a sealed datagram was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too short or too long for one.
    Size,
    /// It came before, or so late that this cannot be told.
    Replayed,
    /// The key does not open it: forged, or damaged on the way.
    Forged,
}

/// The keys of one direction, by what the handshake gave.
struct Secret(Prk);

impl Secret {
    fn new(secret: &[u8]) -> Self {
        Self(Prk::new_less_safe(HKDF_SHA256, secret))
    }

    fn mark(&self) -> Mark {
        let [a, b, c, d, e, f, g] = self.expand(&[b"mark"]);
        Mark([0, a, b, c, d, e, f, g])
    }

    fn key(&self, epoch: u64) -> Key {
        let epoch_bytes = epoch.to_be_bytes();
        let key: [u8; 16] = self.expand(&[b"key", &epoch_bytes]);
        Key {
            epoch,
            aead: LessSafeKey::new(
                UnboundKey::new(&AES_128_GCM, &key).expect("16 bytes are a key of AES-128"),
            ),
            iv: self.expand(&[b"iv", &epoch_bytes]),
        }
    }

    fn expand<const N: usize>(&self, info: &[&[u8]]) -> [u8; N] {
        struct Bytes(usize);
        impl KeyType for Bytes {
            fn len(&self) -> usize {
                self.0
            }
        }
        let mut bytes = [0; N];
        self.0
            .expand(info, Bytes(N))
            .and_then(|okm| okm.fill(&mut bytes))
            .expect("no length here comes near HKDF's 255 hashes");
        bytes
    }
}

/// The key of one epoch.
struct Key {
    epoch: u64,
    aead: LessSafeKey,
    iv: [u8; 12],
}

impl Key {
    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce.iter_mut().skip(4).zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Both directions of a new link. `exported` is what TLS gave for [`EXPORT_LABEL`], `dialed` says which end this is.
pub(crate) fn ends(exported: &[u8; EXPORT_BYTES], dialed: bool) -> (Sealer, Opener) {
    let (dialer, acceptor) = exported.split_at(EXPORT_BYTES / 2);
    let (own, other) = if dialed { (dialer, acceptor) } else { (acceptor, dialer) };
    (Sealer::new(Secret::new(own)), Opener::new(Secret::new(other)))
}

/// Seals what one end sends.
pub(crate) struct Sealer {
    secret: Secret,
    mark: Mark,
    key: Key,
    next_number: u64,
}

impl Sealer {
    fn new(secret: Secret) -> Self {
        Self { mark: secret.mark(), key: secret.key(0), next_number: 0, secret }
    }

    /// Seals a datagram, or nothing for a keep-alive (R-SEAL-5), and appends it to `packets`.
    pub(crate) fn seal(&mut self, datagram: &[u8], packets: &mut Vec<u8>) {
        let number = self.next_number;
        self.next_number += 1;
        if number / KEY_NUMBERS != self.key.epoch {
            self.key = self.secret.key(number / KEY_NUMBERS);
        }
        let header = header(self.mark, number);
        packets.extend_from_slice(&header);
        let start = packets.len();
        packets.extend_from_slice(datagram);
        let tag = self
            .key
            .aead
            .seal_in_place_separate_tag(
                self.key.nonce(number),
                Aad::from(header),
                packets.get_mut(start..).unwrap_or_default(),
            )
            .expect("a datagram is far below AES-GCM's 64 GiB");
        packets.extend_from_slice(tag.as_ref());
    }
}

/// Opens what one end receives.
pub(crate) struct Opener {
    secret: Secret,
    mark: Mark,
    key: Key,
    window: Window,
}

/// What was sealed, and whether it is the newest of its link so far.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened<'a> {
    /// Empty for a keep-alive.
    pub(crate) datagram: &'a [u8],
    pub(crate) is_newest: bool,
}

impl Opener {
    fn new(secret: Secret) -> Self {
        Self { mark: secret.mark(), key: secret.key(0), window: Window::default(), secret }
    }

    /// What the datagrams for this end begin with.
    pub(crate) const fn mark(&self) -> Mark {
        self.mark
    }

    /// Opens a packet in place, once.
    pub(crate) fn open<'a>(&mut self, packet: &'a mut [u8]) -> Result<Opened<'a>, Refused> {
        if packet.len() > SEALED_BYTES_MAX {
            return Err(Refused::Size);
        }
        let (header, sealed) = packet.split_first_chunk_mut::<HEADER_BYTES>().ok_or(Refused::Size)?;
        if sealed.len() < TAG_BYTES {
            return Err(Refused::Size);
        }
        let header = *header;
        let number = self.window.complete(low_number(&header));
        if !self.window.takes(number) {
            return Err(Refused::Replayed);
        }
        let epoch = number / KEY_NUMBERS;
        // A datagram of another epoch is rare: its key is made for it, and kept once it has proven to be the newest.
        let other = (epoch != self.key.epoch).then(|| self.secret.key(epoch));
        let key = other.as_ref().unwrap_or(&self.key);
        let datagram = key
            .aead
            .open_in_place(key.nonce(number), Aad::from(header), sealed)
            .map_err(|_| Refused::Forged)?;
        let is_newest = self.window.take(number);
        if let Some(other) = other.filter(|_| is_newest) {
            self.key = other;
        }
        Ok(Opened { datagram, is_newest })
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("mark", &self.mark).finish_non_exhaustive()
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("mark", &self.mark).finish_non_exhaustive()
    }
}

/// The mark of a packet that is long enough to have one.
pub(crate) fn mark(packet: &[u8]) -> Option<Mark> {
    packet.first_chunk().copied().map(Mark)
}

fn header(mark: Mark, number: u64) -> [u8; HEADER_BYTES] {
    let [_, _, _, _, low @ ..] = number.to_be_bytes();
    let mut header = [0; HEADER_BYTES];
    for (byte, value) in header.iter_mut().zip(mark.0.into_iter().chain(low)) {
        *byte = value;
    }
    header
}

fn low_number(header: &[u8; HEADER_BYTES]) -> u32 {
    header.last_chunk().copied().map_or(0, u32::from_be_bytes)
}

/// Which numbers came: the newest, and those of [`WINDOW_NUMBERS`] up to it.
#[derive(Debug, Default)]
struct Window {
    /// One more than the newest; 0 before the first.
    next: u64,
    /// Bit `i` is `next - 1 - i`.
    came: u128,
}

impl Window {
    /// The number with this low half that is nearest to the next one.
    fn complete(&self, low: u32) -> u64 {
        const HALF: u64 = 1 << 31;
        // How far it lies behind half a turn before the next number; numbers begin at zero, so the first half turn is cut short.
        let from = self.next.saturating_sub(HALF);
        let [_, _, _, _, from_low @ ..] = from.to_be_bytes();
        from + u64::from(low.wrapping_sub(u32::from_be_bytes(from_low)))
    }

    fn takes(&self, number: u64) -> bool {
        match self.next.checked_sub(number) {
            None | Some(0) => true,
            Some(behind) if behind <= WINDOW_NUMBERS => self.came >> (behind - 1) & 1 == 0,
            Some(_) => false,
        }
    }

    /// Marks a number that it takes. Says whether it is the newest.
    fn take(&mut self, number: u64) -> bool {
        if let Some(behind) = self.next.checked_sub(number).filter(|behind| *behind > 0) {
            self.came |= 1 << (behind - 1);
            return false;
        }
        let ahead = number - self.next + 1;
        self.came = if ahead < WINDOW_NUMBERS { self.came << ahead } else { 0 } | 1;
        self.next = number.saturating_add(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn pair() -> (Sealer, Opener) {
        let exported = std::array::from_fn(|at| u8::try_from(at).unwrap());
        (ends(&exported, true).0, ends(&exported, false).1)
    }

    fn sealed(sealer: &mut Sealer, datagram: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        sealer.seal(datagram, &mut packet);
        packet
    }

    proptest! {
        /// What one end seals the other opens, in whatever order it comes, each once, with the overhead that was promised.
        #[test]
        fn opens_what_was_sealed_once(
            datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1194), 1..40),
            order in any::<u64>(),
        ) {
            let (mut sealer, mut opener) = pair();
            let mut packets: Vec<_> = datagrams
                .iter()
                .map(|datagram| (datagram.clone(), sealed(&mut sealer, datagram)))
                .collect();
            let turn = usize::try_from(order % 40).unwrap() % packets.len();
            packets.rotate_left(turn);
            for (datagram, packet) in &packets {
                prop_assert_eq!(packet.len(), datagram.len() + OVERHEAD_BYTES);
                prop_assert!(is_sealed(packet));
                prop_assert_eq!(mark(packet), Some(opener.mark()));
                let mut copy = packet.clone();
                prop_assert_eq!(opener.open(&mut copy).unwrap().datagram, &datagram[..]);
                let mut again = packet.clone();
                prop_assert_eq!(opener.open(&mut again), Err(Refused::Replayed));
            }
        }

        /// The window takes each number at most once, and never one that is too old to tell.
        #[test]
        fn takes_each_number_once(numbers in prop::collection::vec(0_u64..600, 1..300)) {
            let (mut window, mut came, mut newest) = (Window::default(), BTreeSet::new(), None::<u64>);
            for number in numbers {
                let is_old = newest.is_some_and(|newest| number + WINDOW_NUMBERS <= newest);
                let expected = !is_old && !came.contains(&number);
                prop_assert_eq!(window.takes(number), expected, "{} after {:?}", number, came);
                if expected {
                    prop_assert_eq!(window.take(number), newest.is_none_or(|newest| number > newest));
                    came.insert(number);
                    newest = newest.max(Some(number));
                }
            }
        }

        /// The low half of a number is enough, while it is less than half a turn from the next one.
        #[test]
        fn completes_numbers(next in 0_u64..1 << 40, distance in -(1_i64 << 31)..1 << 31) {
            let window = Window { next, came: 0 };
            if let Some(number) = next.checked_add_signed(distance) {
                let low = u32::try_from(number & 0xffff_ffff).unwrap();
                prop_assert_eq!(window.complete(low), number);
            }
        }

        /// A changed packet does not open, wherever the change is behind the mark, and leaves no trace.
        #[test]
        fn refuses_what_was_changed(at in 8_usize..60, bit in 0_u8..8) {
            let (mut sealer, mut opener) = pair();
            let mut good = sealed(&mut sealer, &[7; 32]);
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            prop_assert_eq!(opener.open(&mut bad), Err(Refused::Forged));
            prop_assert_eq!(opener.open(&mut good).unwrap().datagram, &[7; 32]);
        }

        /// Whatever comes is refused, not panicked over.
        #[test]
        fn noise_is_refused(mut noise in prop::collection::vec(any::<u8>(), 0..1500)) {
            let (_, mut opener) = pair();
            prop_assert!(opener.open(&mut noise).is_err());
        }
    }

    /// A direction's packets open at the other end only: neither at its own, nor on another link.
    #[test]
    fn directions_and_links_are_apart() {
        let exported = std::array::from_fn(|at| if at < EXPORT_BYTES / 2 { 3 } else { 5 });
        let (mut sealer, mut own_opener) = ends(&exported, true);
        let (_, mut other_link) = ends(&[4; EXPORT_BYTES], false);
        let mut packet = sealed(&mut sealer, b"x");
        assert_ne!(mark(&packet), Some(other_link.mark()));
        assert_eq!(own_opener.open(&mut packet.clone()), Err(Refused::Forged));
        assert_eq!(other_link.open(&mut packet), Err(Refused::Forged));
    }

    /// The key changes with the epoch, both ends follow by the number alone, and what was sealed before still opens.
    #[test]
    fn keys_change_in_time() {
        let (mut sealer, mut opener) = pair();
        sealer.next_number = KEY_NUMBERS - 2;
        opener.window.next = KEY_NUMBERS - 2;
        let packets: Vec<_> = (0..4_u8).map(|n| sealed(&mut sealer, &[n])).collect();
        assert_eq!((sealer.key.epoch, opener.key.epoch), (1, 0));
        for n in [0_u8, 3, 1, 2] {
            assert_eq!(opener.open(&mut packets[usize::from(n)].clone()).unwrap().datagram, &[n]);
        }
        assert_eq!(opener.key.epoch, 1);
        assert_ne!(opener.secret.key(0).iv, opener.key.iv);
    }

    /// Sizes: nothing sealed is a keep-alive, one byte less is nothing; the longest datagram opens, one byte more does not.
    #[test]
    fn sizes_have_ends() {
        let (mut sealer, mut opener) = pair();
        let mut empty = sealed(&mut sealer, &[]);
        assert_eq!(opener.open(&mut empty.clone()[..OVERHEAD_BYTES - 1]), Err(Refused::Size));
        assert_eq!(opener.open(&mut empty).unwrap(), Opened { datagram: &[], is_newest: true });
        let mut longest = sealed(&mut sealer, &[1; DATAGRAM_BYTES_MAX]);
        assert_eq!(opener.open(&mut longest).unwrap().datagram.len(), DATAGRAM_BYTES_MAX);
        let mut longer = sealed(&mut sealer, &[1; DATAGRAM_BYTES_MAX + 1]);
        assert_eq!(opener.open(&mut longer), Err(Refused::Size));
    }

    /// The bytes that docs/protocol.md gives as its example: whoever writes a second implementation starts here.
    #[test]
    fn the_published_vector() {
        let (mut sealer, _) = pair();
        let first = sealed(&mut sealer, b"p2psp");
        let hex: String = first.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "00c210e6ef493a3f00000000f97585b4842fc2bc928d644c8bdee67497e1b28731");
    }
}
