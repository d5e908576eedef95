//! What must hold of everything that a machine sends or plays, whatever it is given: a peer passes on and plays nothing that
//! neither the splitter's own link nor a signed manifest vouches for (R-GEN-5), and a splitter's manifests list just what it
//! sent, each once, one chained to the other (R-GEN-4).

use crate::generation::{hash, is_signed, shard};
use bytes::Bytes;
use p2psp_wire::{Chunk, ChunkNumber, Datagram, Manifest};
use std::collections::{BTreeMap, BTreeSet};

/// Whose output is watched, and how.
#[derive(Debug, Default)]
pub(crate) enum Watch {
    /// It may believe whatever comes.
    #[default]
    Credulous,
    /// A peer that takes no unsigned stream.
    Wary(Vouched),
    /// A splitter that signs.
    Signing(Published),
}

impl Watch {
    /// These came over the splitter's own link, or belong to a generation that the channel's key has signed.
    pub(crate) fn vouch(&mut self, datagrams: &[Datagram]) {
        if let Self::Wary(vouched) = self {
            datagrams.iter().for_each(|datagram| vouched.add(datagram));
        }
    }

    /// These were sent.
    pub(crate) fn sent(&mut self, datagrams: &[Datagram]) {
        match self {
            Self::Credulous => {}
            Self::Wary(vouched) => datagrams.iter().for_each(|datagram| vouched.check(datagram)),
            Self::Signing(published) => datagrams.iter().for_each(|datagram| published.add(datagram)),
        }
    }

    /// This was played.
    pub(crate) fn played(&self, chunk: &Chunk) {
        if let Self::Wary(vouched) = self {
            vouched.check_chunk(chunk);
        }
    }
}

/// What a wary peer may pass on and play.
#[derive(Debug, Default)]
pub(crate) struct Vouched {
    chunks: BTreeSet<Bytes>,
    shards: BTreeSet<Bytes>,
}

impl Vouched {
    fn add(&mut self, datagram: &Datagram) {
        match datagram {
            Datagram::Chunk(chunk) => self.chunks.insert(chunk.datagram().clone()),
            Datagram::Parity(parity) => self.shards.insert(parity.shard()),
            // A manifest speaks for itself.
            Datagram::Manifest(_) => true,
        };
    }

    fn check(&self, datagram: &Datagram) {
        match datagram {
            Datagram::Chunk(chunk) => self.check_chunk(chunk),
            // What a parity chunk's header says beside its place is not hashed.
            Datagram::Parity(parity) => {
                assert!(self.shards.contains(&parity.shard()), "false parity is passed on: {parity:?}");
            }
            Datagram::Manifest(manifest) => {
                assert!(is_signed(manifest), "an unsigned manifest is passed on: {manifest:?}");
            }
        }
    }

    fn check_chunk(&self, chunk: &Chunk) {
        assert!(self.chunks.contains(chunk.datagram()), "a false chunk is played or passed on: {chunk:?}");
    }
}

/// What a splitter has sent.
#[derive(Debug, Default)]
pub(crate) struct Published {
    chunks: BTreeMap<ChunkNumber, Chunk>,
    parity: BTreeMap<(ChunkNumber, u8), Bytes>,
    /// By the generation's first number, and the first place that each lists.
    manifests: BTreeMap<(ChunkNumber, u8), Manifest>,
}

impl Published {
    fn add(&mut self, datagram: &Datagram) {
        match datagram {
            Datagram::Chunk(chunk) => {
                let first = self.chunks.entry(chunk.number()).or_insert_with(|| chunk.clone());
                assert_eq!(first, chunk, "one number stands for two chunks");
                self.manifests.values().for_each(|manifest| check_listed(manifest, chunk));
            }
            Datagram::Parity(parity) => {
                let twice = self.parity.insert((parity.first(), parity.position()), parity.shard());
                assert_eq!(twice, None, "parity goes out once");
            }
            Datagram::Manifest(manifest) => self.add_manifest(manifest),
        }
    }

    fn add_manifest(&mut self, manifest: &Manifest) {
        assert!(is_signed(manifest), "a manifest is not signed: {manifest:?}");
        let (first, contents) = (manifest.first(), manifest.contents());
        let place = (first, contents.position);
        if let Some(known) = self.manifests.get(&place) {
            assert_eq!(known, manifest, "one place has two manifests");
            return;
        }
        if let Some((_, before)) = self.manifests.range(..place).next_back() {
            let end = before.contents().end();
            assert!(end <= contents.start(), "manifests overlap: {before:?}, {manifest:?}");
            let is_closed = before.first() == first || before.contents().is_last();
            assert!(is_closed, "a generation begins before the last was closed: {before:?}, {manifest:?}");
            if end == contents.start() {
                assert_eq!(contents.previous, hash(&before.payload()), "the chain of manifests is broken");
            }
        }
        self.chunks.values().for_each(|chunk| check_listed(manifest, chunk));
        let parity = (contents.position..).zip(&contents.hashes).skip(contents.data_chunks.into());
        for (position, listed) in parity {
            if let Some(shard) = self.parity.get(&(first, position)) {
                assert_eq!(hash(shard), *listed, "parity {position} of {first} is not what was sent");
            }
        }
        self.manifests.insert(place, manifest.clone());
    }
}

/// A chunk of the manifest's generation is what it lists at that place.
fn check_listed(manifest: &Manifest, chunk: &Chunk) {
    let contents = manifest.contents();
    if !(contents.start()..contents.end()).contains(&chunk.number()) {
        return;
    }
    let place = chunk.number().since(contents.first);
    assert_eq!(u64::from(chunk.header().position), place, "{chunk:?} has another place in {manifest:?}");
    let nth = chunk.number().since(contents.start());
    let listed = usize::try_from(nth).ok().and_then(|nth| contents.hashes.get(nth));
    assert_eq!(listed, Some(&hash(&shard(chunk))), "{chunk:?} is not what {manifest:?} lists");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::{Shape, datagrams};
    use p2psp_wire::{Epoch, Slot, StreamTime};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn generation(first: u64) -> Vec<Datagram> {
        let shape = Shape {
            first: ChunkNumber::new(first).unwrap(),
            data_chunks: 2,
            parity_chunks: 1,
            listed_before: 0,
            origin: Slot::FIRST,
            origins: 1,
            epoch: Epoch(0),
            closed: StreamTime::from_micros(7),
        };
        datagrams(shape).unwrap()
    }

    fn altered(datagram: &Datagram) -> Datagram {
        let mut bytes = datagram.bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        Datagram::decode(bytes.into()).unwrap()
    }

    fn is_alarmed(watch: &mut Watch, datagram: Datagram) -> bool {
        catch_unwind(AssertUnwindSafe(|| watch.sent(&[datagram]))).is_err()
    }

    /// One byte of any kind of datagram is enough.
    #[test]
    fn a_wary_peer_that_passes_on_what_is_false_is_found_out() {
        let generation = generation(100);
        let mut watch = Watch::Wary(Vouched::default());
        watch.vouch(&generation);
        for datagram in generation {
            let false_one = altered(&datagram);
            assert!(!is_alarmed(&mut watch, datagram));
            assert!(is_alarmed(&mut watch, false_one));
        }
    }

    #[test]
    fn a_splitter_that_lists_what_it_did_not_send_is_found_out() {
        let (first, second) = (generation(100), generation(102));
        let signing = || Watch::Signing(Published::default());
        let mut watch = signing();
        first.iter().for_each(|datagram| assert!(!is_alarmed(&mut watch, datagram.clone())));
        assert!(is_alarmed(&mut watch, second[3].clone()), "it does not name the manifest before it");
        assert!(is_alarmed(&mut watch, altered(&first[0])), "one number, two chunks");
        for place in [0, 2] {
            let mut watch = signing();
            assert!(!is_alarmed(&mut watch, altered(&first[place])));
            assert!(is_alarmed(&mut watch, first[3].clone()), "datagram {place} is another than listed");
        }
        let mut watch = signing();
        assert!(!is_alarmed(&mut watch, first[3].clone()));
        assert!(is_alarmed(&mut watch, generation(101)[3].clone()), "generations overlap");
    }
}
