//! Holds this crate against the golden vectors of whole generations in `tests/vectors/generations.json`, and of signed chunks in
//! `signed_chunks.json`, with the hash, the signature and the erasure code that the protocol names: what a second implementation
//! must come to, step by step.
#![cfg(test)]

#[expect(dead_code, reason = "the reader of all vector files")]
mod notation;

use bytes::Bytes;
use notation::{Case, cases, hash, hex, items};
use p2psp_wire::{Chunk, Datagram, DecodeError, Epoch, Hash, Manifest, Parity, limits::HASH_BYTES};
use ring::{
    digest::{SHA256, digest},
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use serde_json::Value;

fn vectors() -> impl Iterator<Item = Case> {
    cases(include_str!("vectors/generations.json")).into_iter()
}

fn truncated_sha256(bytes: &[u8]) -> Hash {
    Hash(*digest(&SHA256, bytes).as_ref().first_chunk::<HASH_BYTES>().unwrap())
}

fn datagram(value: &Value) -> Datagram {
    Datagram::decode(hex(value)).unwrap()
}

fn chunks(case: &Case) -> Vec<Chunk> {
    let chunk = |value: &Value| {
        let Datagram::Chunk(chunk) = datagram(value) else { panic!("{case}: no chunk") };
        chunk
    };
    items(&case["chunks"]).iter().map(chunk).collect()
}

fn parity(case: &Case) -> Vec<Parity> {
    let parity = |value: &Value| {
        let Datagram::Parity(parity) = datagram(value) else { panic!("{case}: no parity") };
        parity
    };
    items(&case["parity"]).iter().map(parity).collect()
}

/// The last, or only, manifest of a case.
fn manifest(case: &Case) -> Manifest {
    manifest_in(&case["manifest"])
}

fn manifest_in(value: &Value) -> Manifest {
    let Datagram::Manifest(manifest) = datagram(value) else { panic!("no manifest: {value}") };
    manifest
}

/// All manifests of a generation, each with the text that is signed.
fn manifests(case: &Case) -> Vec<(Manifest, Bytes)> {
    let earlier = case.get("earlier").map(items).unwrap_or_default();
    let one = |value: &Value| (manifest_in(&value["manifest"]), hex(&value["signed_text"]));
    earlier.iter().map(one).chain([(manifest(case), hex(&case["signed_text"]))]).collect()
}

fn shard(chunk: &Chunk) -> Vec<u8> {
    [chunk.shard_prefix().as_slice(), &chunk.payload()].concat()
}

/// The generations themselves, without the cases about signatures alone.
fn generations() -> impl Iterator<Item = Case> {
    vectors().filter(|case| case.get("chunks").is_some())
}

#[test]
fn a_manifest_lists_its_generation() {
    for case in generations() {
        let (chunks, parity, manifest) = (chunks(&case), parity(&case), manifest(&case));
        let contents = manifest.contents();
        assert_eq!(contents.end().since(contents.first), chunks.len() as u64, "{case}");
        assert_eq!(usize::from(contents.parity_chunks()), parity.len(), "{case}");
        let listed = manifests(&case);
        let mut position = 0;
        for (part, _) in &listed {
            let (part, is_last) = (part.contents(), part == &manifest);
            assert_eq!((part.first, part.position, part.is_last()), (contents.first, position, is_last));
            position += part.data_chunks;
        }
        let listed: Vec<Hash> = listed.iter().flat_map(|(part, _)| part.contents().hashes.clone()).collect();
        let shards: Vec<Vec<u8>> = chunks.iter().map(shard).collect();
        let parity_shards: Vec<Bytes> = parity.iter().map(Parity::shard).collect();
        let mut hashes: Vec<Hash> = shards.iter().map(|shard| truncated_sha256(shard)).collect();
        hashes.extend(parity_shards.iter().map(|shard| truncated_sha256(shard)));
        assert_eq!(listed, hashes, "{case}");
        for (place, chunk) in (0_u8..).zip(&chunks) {
            assert_eq!(chunk.number(), contents.first.plus(place.into()), "{case}");
            assert_eq!(chunk.header().position, place, "{case}");
        }
        for (place, parity) in (position..).zip(&parity) {
            assert_eq!((parity.first(), parity.position()), (contents.first, place), "{case}");
            assert_eq!(parity.time_us(), contents.closed.truncate(), "{case}");
        }
        let longest = shards.iter().map(Vec::len).max().unwrap();
        assert_eq!(usize::from(contents.shard_bytes), longest.next_multiple_of(2), "{case}");
        let filled: Vec<Vec<u8>> = shards
            .into_iter()
            .map(|mut shard| {
                shard.resize(contents.shard_bytes.into(), 0);
                shard
            })
            .collect();
        assert_eq!(filled, items(&case["shards"]).iter().map(hex).collect::<Vec<_>>(), "{case}");
        if !parity.is_empty() {
            let made = reed_solomon_simd::encode(filled.len(), parity.len(), &filled).unwrap();
            assert_eq!(made, parity_shards, "{case}");
        }
    }
}

#[test]
fn what_is_lost_of_a_generation_comes_back() {
    for case in generations() {
        let (chunks, parity) = (chunks(&case), parity(&case));
        let lost: Vec<usize> = items(&case["lost"]).iter().map(notation::number).collect();
        if lost.is_empty() {
            continue;
        }
        let filled: Vec<Bytes> = items(&case["shards"]).iter().map(hex).collect();
        let left = filled.iter().enumerate().filter(|(place, _)| !lost.contains(place));
        let parity_shards = parity.iter().map(Parity::shard).enumerate();
        let restored = reed_solomon_simd::decode(chunks.len(), parity.len(), left, parity_shards).unwrap();
        assert_eq!(restored.len(), lost.len(), "{case}");
        for (place, shard) in restored {
            let number = manifest(&case).first().plus(place as u64);
            let chunk = Chunk::from_shard(number, u8::try_from(place).unwrap(), &shard);
            assert_eq!(chunk.as_ref(), Ok(&chunks[place]), "{case}: chunk {place} bit for bit");
        }
    }
}

#[test]
fn a_manifest_is_what_the_channel_signs() {
    for case in generations() {
        let seed = hex(&case["seed"]);
        let key = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let channel = notation::channel(&case["channel"]);
        assert_eq!(key.public_key().as_ref(), channel.as_bytes(), "{case}");
        for (manifest, expected) in manifests(&case) {
            let text = manifest.contents().signed_text(channel);
            assert_eq!(text, expected, "{case}");
            assert_eq!(manifest.signature(), key.sign(&text).as_ref(), "{case}: Ed25519 is deterministic");
        }
        let last = manifest(&case).payload();
        assert_eq!(truncated_sha256(&last), hash(&case["previous_of_the_next"]), "{case}");
    }
}

/// Every manifest holds the hash of the one before it; the first one's is zeros.
#[test]
fn manifests_are_chained() {
    let mut previous = Hash::default();
    for case in generations() {
        for (manifest, _) in manifests(&case) {
            assert_eq!(manifest.contents().previous, previous, "{case}");
            previous = truncated_sha256(&manifest.payload());
        }
    }
}

#[test]
fn what_the_channel_did_not_sign_is_told_apart() {
    let mut verified = Vec::new();
    for case in vectors() {
        let (channel, manifest) = (notation::channel(&case["channel"]), manifest(&case));
        let text = manifest.contents().signed_text(channel);
        let key = UnparsedPublicKey::new(&ED25519, channel.as_bytes());
        let is_signed = key.verify(&text, &manifest.signature()).is_ok();
        let expected = case.get("verifies").is_none_or(|verifies| verifies.as_bool().unwrap());
        assert_eq!(is_signed, expected, "{case}");
        verified.push(is_signed);
    }
    assert!(verified.contains(&true) && verified.contains(&false));
}

#[test]
fn signed_chunks_are_told_apart() {
    let mut verified = Vec::new();
    for case in cases(include_str!("vectors/signed_chunks.json")) {
        let (channel, epoch) = (notation::channel(&case["channel"]), Epoch(notation::number(&case["epoch"])));
        let Datagram::Chunk(signed) = datagram(&case["signed"]) else { panic!("{case}: no chunk") };
        let split = signed.split_signature();
        let key = UnparsedPublicKey::new(&ED25519, channel.as_bytes());
        let is_signed = split.as_ref().is_some_and(|(chunk, signature)| {
            key.verify(&chunk.signed_text(channel, epoch), signature).is_ok()
        });
        assert_eq!(is_signed, case["verifies"].as_bool().unwrap(), "{case}");
        verified.push(is_signed);
        if !is_signed {
            continue;
        }
        let (chunk, signature) = split.unwrap();
        assert_eq!(Datagram::Chunk(chunk.clone()), datagram(&case["chunk"]), "{case}");
        assert_eq!(chunk.signed_text(channel, epoch), hex(&case["signed_text"]), "{case}");
        assert_eq!(signature, hex(&case["signature"]), "{case}");
        assert_eq!(chunk.with_signature(signature.as_ref().try_into().unwrap()), Ok(signed), "{case}");
    }
    assert!(verified.contains(&true) && verified.contains(&false));
}

/// One byte more than a signature leaves room for.
#[test]
fn a_full_chunk_has_no_room_for_a_signature() {
    let largest = cases(include_str!("vectors/signed_chunks.json")).into_iter().nth(1).unwrap();
    let Datagram::Chunk(chunk) = datagram(&largest["chunk"]) else { panic!("a chunk") };
    let longer = Chunk::new(*chunk.header(), &[chunk.payload(), Bytes::from_static(&[0])].concat()).unwrap();
    assert!(chunk.with_signature(&[0; 64]).is_ok());
    assert_eq!(longer.with_signature(&[0; 64]), Err(DecodeError::TooLong("payload")));
}
