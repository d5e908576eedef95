//! Frames of the floor: AES-128-GCM with one key per pair and direction, an explicit counter and a replay window.
//! Owns keys, nonces and counters; knows no sockets. The keys are public constants: it measures cost, it hides nothing.

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Sender (4 bytes) and counter (8 bytes), in the clear and authenticated.
pub(super) const HEAD_BYTES: usize = 12;
/// What a frame adds to its content.
pub(super) const OVERHEAD_BYTES: usize = HEAD_BYTES + 16;
/// Counters that may arrive behind the newest one.
const REPLAY_SPAN: u64 = 64;

/// Both directions between this node and one other.
pub(super) struct Pair {
    own_id: u32,
    seal: LessSafeKey,
    open: LessSafeKey,
    /// Counter of the last frame sent.
    sent: u64,
    newest: u64,
    /// Bit `n` stands for counter `newest - n`.
    received: u64,
}

impl Pair {
    pub(super) fn new(own_id: u32, other_id: u32) -> Self {
        Self {
            own_id,
            seal: key(own_id, other_id),
            open: key(other_id, own_id),
            sent: 0,
            newest: 0,
            received: 0,
        }
    }

    /// Appends the frame of that content.
    pub(super) fn seal(&mut self, content: &[u8], out: &mut Vec<u8>) {
        self.sent += 1;
        let at = out.len();
        out.extend(self.own_id.to_le_bytes());
        out.extend(self.sent.to_le_bytes());
        out.extend_from_slice(content);
        let Some((head, body)) = out.get_mut(at..).and_then(|frame| frame.split_at_mut_checked(HEAD_BYTES))
        else {
            unreachable!("the head was just written")
        };
        let tag = self
            .seal
            .seal_in_place_separate_tag(nonce(self.own_id, self.sent), Aad::from(&*head), body)
            .expect("a frame is far below the cipher's longest message");
        out.extend_from_slice(tag.as_ref());
    }

    /// The content of a frame from the other, or `None` when it is forged, cut, or a replay.
    pub(super) fn open<'a>(&mut self, frame: &'a mut [u8]) -> Option<&'a [u8]> {
        let (sender, counter) = head(frame)?;
        if self.is_replay(counter) {
            return None;
        }
        let (head, body) = frame.split_at_mut_checked(HEAD_BYTES)?;
        let content = self.open.open_in_place(nonce(sender, counter), Aad::from(&*head), body).ok()?;
        if counter > self.newest {
            let shift = counter - self.newest;
            self.received = if shift < REPLAY_SPAN { self.received << shift } else { 0 } | 1;
            self.newest = counter;
        } else {
            self.received |= 1 << (self.newest - counter);
        }
        Some(content)
    }

    const fn is_replay(&self, counter: u64) -> bool {
        counter + REPLAY_SPAN <= self.newest
            || (counter <= self.newest && self.received >> (self.newest - counter) & 1 == 1)
    }
}

/// Who says to have sent a frame.
pub(super) fn sender(frame: &[u8]) -> Option<u32> {
    head(frame).map(|(sender, _)| sender)
}

fn head(frame: &[u8]) -> Option<(u32, u64)> {
    let (sender, rest) = frame.split_first_chunk::<4>()?;
    let counter = rest.first_chunk::<8>()?;
    Some((u32::from_le_bytes(*sender), u64::from_le_bytes(*counter)))
}

fn key(from: u32, to: u32) -> LessSafeKey {
    let mut bytes = [5; 16];
    for (byte, value) in bytes.iter_mut().zip(from.to_le_bytes().into_iter().chain(to.to_le_bytes())) {
        *byte = value;
    }
    LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &bytes).expect("16 bytes are a key"))
}

fn nonce(sender: u32, counter: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    for (byte, value) in bytes.iter_mut().zip(sender.to_le_bytes().into_iter().chain(counter.to_le_bytes())) {
        *byte = value;
    }
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_the_other_sealed() {
        let (mut a, mut b) = (Pair::new(1, 2), Pair::new(2, 1));
        let mut frame = Vec::new();
        a.seal(b"content", &mut frame);
        assert_eq!(frame.len(), 7 + OVERHEAD_BYTES);
        assert_eq!(sender(&frame), Some(1));
        assert_eq!(b.open(&mut frame), Some(b"content".as_slice()));
    }

    /// The floor must do what any honest data plane does: refuse replays, forgeries and another pair's frames.
    #[test]
    fn refuses_replays_and_forgeries() {
        let (mut a, mut b, mut c) = (Pair::new(1, 2), Pair::new(2, 1), Pair::new(3, 1));
        let frames: Vec<Vec<u8>> = (0..100_u8)
            .map(|i| {
                let mut frame = Vec::new();
                a.seal(&[i], &mut frame);
                frame
            })
            .collect();
        let open = |pair: &mut Pair, i: usize| pair.open(&mut frames[i].clone()).map(<[u8]>::to_vec);
        assert_eq!(open(&mut b, 2), Some(vec![2]));
        assert_eq!(open(&mut b, 2), None);
        assert_eq!(open(&mut b, 0), Some(vec![0]), "late but new");
        assert_eq!(open(&mut b, 0), None);
        assert_eq!(open(&mut b, 99), Some(vec![99]));
        assert_eq!(open(&mut b, 1), None, "behind the window");
        assert_eq!(open(&mut c, 50), None);
        let mut forged = frames[98].clone();
        forged[HEAD_BYTES] ^= 1;
        assert_eq!(b.open(&mut forged), None);
        assert_eq!(b.open(&mut [0; 11]), None);
    }
}
