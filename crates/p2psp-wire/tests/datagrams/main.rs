//! Properties of datagrams of every kind over arbitrary values and bytes: what is encoded decodes to itself, what decodes is what
//! an encoder makes but for the flags that R-DGRAM-4 tells to ignore, nothing shorter or longer passes for a manifest, and a
//! shard gives its chunk back. proptest prints the failing input and its seed.
#![cfg(test)]

mod values;

use bytes::Bytes;
use p2psp_wire::{
    Chunk, ChunkHeader, ChunkNumber, Datagram, DecodeError, Epoch, Hash, Manifest, ManifestContents, Parity,
    Slot, StreamTime,
    limits::{
        CHUNK_NUMBER_MAX, DATA_CHUNKS_MAX, DATAGRAM_BYTES_MAX, GENERATION_CHUNKS_MAX, HASH_BYTES,
        HEADER_BYTES, PARITY_CHUNKS_MAX, PAYLOAD_BYTES_MAX, SHARD_BYTES_MAX, SHARD_BYTES_MIN,
        SHARD_PREFIX_BYTES, SIGNATURE_BYTES,
    },
};
use proptest::{collection::vec, prelude::*, sample::Index};

/// Where the header has its flags.
const FLAGS: usize = 1;

/// The datagram that an encoder makes of what `datagram` says.
fn encode_again(datagram: &Datagram) -> Datagram {
    match datagram {
        Datagram::Chunk(chunk) => Datagram::Chunk(Chunk::new(*chunk.header(), &chunk.payload()).unwrap()),
        Datagram::Parity(parity) => Datagram::Parity(
            Parity::new(
                parity.first(),
                parity.position(),
                parity.origin(),
                parity.time_us(),
                &parity.shard(),
            )
            .unwrap(),
        ),
        Datagram::Manifest(manifest) => {
            let signature = manifest.signature().as_ref().try_into().unwrap();
            Datagram::Manifest(
                Manifest::new(manifest.contents().clone(), &signature, manifest.origin()).unwrap(),
            )
        }
    }
}

/// The bytes without the flags that this revision ignores: all of them but a chunk's first.
fn canonical(bytes: &Bytes) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[FLAGS] &= u8::from(bytes[0] == 1);
    bytes
}

proptest! {
    #[test]
    fn a_datagram_survives_its_bytes(datagram in values::datagram()) {
        let bytes = datagram.bytes().clone();
        prop_assert!(bytes.len() <= DATAGRAM_BYTES_MAX);
        let decoded = Datagram::decode(bytes).unwrap();
        prop_assert_eq!(decoded.origin(), datagram.origin());
        prop_assert_eq!(decoded.number(), datagram.number());
        prop_assert_eq!(&decoded, &datagram);
        prop_assert_eq!(encode_again(&decoded), datagram);
    }

    /// Bytes near a true datagram, whose header or tail is altered, cut or drawn out.
    #[test]
    fn what_decodes_is_what_an_encoder_makes(
        datagram in values::datagram(),
        damage in vec((any::<Index>(), any::<u8>(), any::<bool>()), 0..4),
        cut in prop_oneof![Just(0_usize), 0..80_usize],
        tail in vec(any::<u8>(), 0..3),
    ) {
        let mut bytes = datagram.bytes().to_vec();
        for (place, byte, in_head) in damage {
            let end = if in_head { bytes.len().min(HEADER_BYTES + 32) } else { bytes.len() };
            bytes[place.index(end)] = byte;
        }
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        bytes.extend(tail);
        let bytes = Bytes::from(bytes);
        if let Ok(decoded) = Datagram::decode(bytes.clone()) {
            prop_assert_eq!(decoded.bytes(), &bytes, "a relay sends what it got");
            prop_assert_eq!(encode_again(&decoded).bytes().to_vec(), canonical(&bytes));
        }
    }

    #[test]
    fn any_bytes_are_refused_or_what_an_encoder_makes(bytes in vec(any::<u8>(), 0..1300), kind in 0..5_u8) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        let bytes = Bytes::from(bytes);
        if let Ok(decoded) = Datagram::decode(bytes.clone()) {
            prop_assert!(bytes.len() <= DATAGRAM_BYTES_MAX);
            prop_assert_eq!(encode_again(&decoded).bytes().to_vec(), canonical(&bytes));
        }
    }

    /// The chunk comes back bit for bit, unknown flags included, however far its shard was filled up.
    #[test]
    fn a_shard_gives_its_chunk_back(
        header in values::chunk_header(),
        payload in vec(any::<u8>(), 1..=PAYLOAD_BYTES_MAX),
        flags in any::<u8>(),
        filling in 0..=SHARD_BYTES_MAX,
    ) {
        let mut bytes = Chunk::new(header, &payload).unwrap().datagram().to_vec();
        bytes[FLAGS] = flags;
        let Ok(Datagram::Chunk(chunk)) = Datagram::decode(bytes.into()) else { panic!("a chunk") };
        let mut shard = chunk.shard_prefix().to_vec();
        shard.extend_from_slice(&chunk.payload());
        prop_assert!(shard.len() <= SHARD_BYTES_MAX);
        shard.resize((shard.len() + filling).min(SHARD_BYTES_MAX), 0);
        let rebuilt = Chunk::from_shard(header.number, header.position, &shard).unwrap();
        prop_assert_eq!(rebuilt, chunk);
    }

    /// What a wrong decoder restores is no chunk, or one within all limits.
    #[test]
    fn any_shard_is_refused_or_a_chunk(
        shard in vec(any::<u8>(), 0..1300),
        length in prop_oneof![any::<u16>(), 0..1300_u16],
        position in any::<u8>(),
    ) {
        let mut shard = shard;
        if let Some(head) = shard.first_chunk_mut() {
            *head = length.to_be_bytes();
        }
        if let Ok(chunk) = Chunk::from_shard(ChunkNumber::ZERO, position, &shard) {
            prop_assert!(chunk.payload_len() <= PAYLOAD_BYTES_MAX && position < GENERATION_CHUNKS_MAX);
            prop_assert_eq!(Datagram::decode(chunk.datagram().clone()), Ok(Datagram::Chunk(chunk.clone())));
            prop_assert_eq!(&chunk.shard_prefix(), shard.first_chunk::<SHARD_PREFIX_BYTES>().unwrap());
        }
    }

    /// Two manifests that differ in anything but their relay sign different texts: no byte of one can stand in another.
    #[test]
    fn different_manifests_sign_different_texts(
        one in values::manifest_contents(),
        other in values::manifest_contents(),
        channel in any::<[u8; 32]>(),
    ) {
        let channel = p2psp_wire::ChannelId::new(channel);
        prop_assert_eq!(one == other, one.signed_text(channel) == other.signed_text(channel));
        prop_assert!(one.signed_text(channel).starts_with(b"p2psp manifest 1\0"));
    }
}

/// As a manifest of nothing special, which each test changes in one thing.
fn contents() -> ManifestContents {
    ManifestContents {
        epoch: Epoch(3),
        first: ChunkNumber::new(100_000).unwrap(),
        position: 0,
        data_chunks: 8,
        shard_bytes: 1138,
        closed: StreamTime::from_micros(5 << 32 | 77),
        previous: Hash([7; HASH_BYTES]),
        hashes: vec![Hash([9; HASH_BYTES]); 12],
    }
}

fn manifest(contents: ManifestContents) -> Result<Manifest, DecodeError> {
    Manifest::new(contents, &[0x5a; SIGNATURE_BYTES], Slot::new(7).unwrap())
}

/// No piece of a manifest, and nothing longer than it, passes for one.
#[test]
fn a_manifest_has_one_length() {
    let whole = manifest(contents()).unwrap().datagram().clone();
    for length in 0..whole.len() {
        assert!(Datagram::decode(whole.slice(..length)).is_err(), "{length} bytes of {}", whole.len());
    }
    assert!(Datagram::decode(whole.clone()).is_ok());
    for extra in 1..=DATAGRAM_BYTES_MAX + 1 - whole.len() {
        let longer = [whole.to_vec(), vec![0; extra]].concat();
        assert!(Datagram::decode(longer.into()).is_err(), "{extra} bytes more");
    }
}

/// A chunk and a parity chunk end where their datagram does, so that cutting one gives a shorter one, down to its least.
#[test]
fn a_cut_header_is_no_datagram() {
    let parity = Parity::new(ChunkNumber::ZERO, 8, Slot::FIRST, 0, &[1; SHARD_BYTES_MIN]).unwrap();
    for length in 0..parity.datagram().len() {
        assert!(Datagram::decode(parity.datagram().slice(..length)).is_err(), "{length} bytes of parity");
    }
    let header = ChunkHeader {
        number: ChunkNumber::ZERO,
        origin: Slot::FIRST,
        position: 0,
        header_version: 0,
        random_access: false,
        time_us: 0,
    };
    let chunk = Chunk::new(header, &[1]).unwrap();
    for length in 0..chunk.datagram().len() {
        assert!(Datagram::decode(chunk.datagram().slice(..length)).is_err(), "{length} bytes of a chunk");
    }
    assert_eq!(Chunk::new(header, &[]), Err(DecodeError::Missing("payload")));
    assert_eq!(Chunk::new(header, &[0; PAYLOAD_BYTES_MAX + 1]), Err(DecodeError::TooLong("payload")));
    let far = ChunkHeader { position: GENERATION_CHUNKS_MAX, ..header };
    assert_eq!(Chunk::new(far, &[1]), Err(DecodeError::Invalid("generation position")));
}

/// Encoders refuse what decoders would: each limit of a manifest, and one past it.
#[test]
fn a_manifest_over_a_limit_cannot_be_made() {
    let with = |change: fn(&mut ManifestContents)| {
        let mut contents = contents();
        change(&mut contents);
        manifest(contents).map(|manifest| manifest.contents().parity_chunks())
    };
    let hashes = |count: u8| vec![Hash::default(); count.into()];
    assert_eq!(with(|_| ()), Ok(4));
    assert_eq!(with(|c| c.data_chunks = 0), Err(DecodeError::Invalid("manifest data chunks")));
    assert_eq!(
        with(|c| (c.data_chunks, c.hashes) = (0, Vec::new())),
        Err(DecodeError::Invalid("manifest data chunks"))
    );
    // Nothing but parity, behind what others list; and of 48 chunks, none is past the last.
    assert_eq!(with(|c| (c.position, c.data_chunks, c.hashes) = (47, 0, vec![Hash::default(); 4])), Ok(4));
    assert_eq!(with(|c| c.position = 40), Ok(4));
    assert_eq!(with(|c| c.position = 41), Err(DecodeError::Invalid("manifest data chunks")));
    assert_eq!(with(|c| c.position = 48), Err(DecodeError::Invalid("manifest position")));
    // What is not the last lists chunks, and no parity.
    assert_eq!(with(|c| (c.data_chunks, c.shard_bytes) = (12, 0)), Ok(0));
    assert_eq!(
        with(|c| (c.position, c.data_chunks, c.shard_bytes, c.hashes) = (8, 0, 0, Vec::new())),
        Err(DecodeError::Invalid("manifest shard bytes"))
    );
    assert_eq!(with(|c| c.data_chunks = 12), Ok(0));
    assert_eq!(with(|c| c.data_chunks = 13), Err(DecodeError::Missing("manifest hashes")));
    assert_eq!(with(|c| c.hashes.clear()), Err(DecodeError::Missing("manifest hashes")));
    let with_counts = |data: u8, total: u8| {
        manifest(ManifestContents { data_chunks: data, hashes: hashes(total), ..contents() })
            .map(|manifest| manifest.datagram().len())
    };
    let most = DATA_CHUNKS_MAX + PARITY_CHUNKS_MAX;
    assert_eq!(most, GENERATION_CHUNKS_MAX);
    assert!(with_counts(DATA_CHUNKS_MAX, most).unwrap() <= DATAGRAM_BYTES_MAX, "the largest fits a datagram");
    assert_eq!(with_counts(DATA_CHUNKS_MAX + 1, most), Err(DecodeError::Invalid("manifest data chunks")));
    assert_eq!(
        with_counts(8, 8 + PARITY_CHUNKS_MAX + 1),
        Err(DecodeError::Invalid("manifest parity chunks"))
    );
    assert_eq!(with_counts(1, u8::MAX), Err(DecodeError::Invalid("manifest parity chunks")));
    assert_eq!(
        manifest(ManifestContents { data_chunks: 1, hashes: vec![Hash::default(); 70_000], ..contents() })
            .err(),
        Some(DecodeError::Invalid("manifest parity chunks"))
    );
    for (shard_bytes, is_allowed) in [
        (0, false),
        (10, false),
        (11, false),
        (12, true),
        (13, false),
        (1177, false),
        (1178, true),
        (1179, false),
        (1180, false),
        (u16::MAX, false),
    ] {
        let made = manifest(ManifestContents { shard_bytes, ..contents() });
        assert_eq!(made.is_ok(), is_allowed, "shards of {shard_bytes} bytes");
    }
    for (behind_last, is_allowed) in [(CHUNK_NUMBER_MAX, true), (CHUNK_NUMBER_MAX + 1, false)] {
        let first = ChunkNumber::new(behind_last - 8).unwrap();
        assert_eq!(
            manifest(ManifestContents { first, ..contents() }).is_ok(),
            is_allowed,
            "up to {behind_last}"
        );
    }
}

#[test]
fn a_parity_chunk_over_a_limit_cannot_be_made() {
    let make = |position, bytes: usize| {
        Parity::new(ChunkNumber::ZERO, position, Slot::FIRST, 0, &vec![1; bytes])
            .map(|parity| parity.shard().len())
    };
    assert_eq!(make(8, 0), Err(DecodeError::Missing("shard")));
    assert_eq!(make(8, SHARD_BYTES_MIN - 1), Err(DecodeError::Invalid("shard length")));
    assert_eq!(make(8, SHARD_BYTES_MIN), Ok(SHARD_BYTES_MIN));
    assert_eq!(make(8, SHARD_BYTES_MIN + 1), Err(DecodeError::Invalid("shard length")));
    assert_eq!(make(8, SHARD_BYTES_MAX), Ok(SHARD_BYTES_MAX));
    assert_eq!(make(8, SHARD_BYTES_MAX + 1), Err(DecodeError::TooLong("shard")));
    assert_eq!(make(0, 12), Err(DecodeError::Invalid("generation position")));
    assert_eq!(make(1, 12), Ok(12));
    assert_eq!(make(GENERATION_CHUNKS_MAX - 1, 12), Ok(12));
    assert_eq!(make(GENERATION_CHUNKS_MAX, 12), Err(DecodeError::Invalid("generation position")));
}
