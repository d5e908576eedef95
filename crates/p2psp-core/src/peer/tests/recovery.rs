//! Signed generations: what is believed, what is rebuilt, and what a liar gets.

use crate::{
    Input, ParityPolicy, PeerEvent, Protection,
    lab::{Lab, SPLITTER, key, signing_key},
    peer::LeftReason,
};
use p2psp_wire::{
    Chunk, ChunkHeader, Control, Datagram, Epoch, Hash, ManifestContents, Parity, Slot, StreamTime,
};
use std::time::Duration;

const CHUNK: Duration = Duration::from_millis(5);

pub(super) fn team(peers: usize, parity_chunks: u8) -> Lab {
    team_that(false, peers, parity_chunks)
}

fn team_that(signs_chunks: bool, peers: usize, parity_chunks: u8) -> Lab {
    let parity = ParityPolicy::Fixed(parity_chunks);
    let protection = Protection { key: signing_key(), signs_chunks, parity };
    let mut lab = Lab::new(|config| config.protection = Some(protection));
    for _ in 0..peers {
        lab.add_peer(|config| config.allow_unsigned = false);
    }
    // Until everybody has been ready for long enough to be heard.
    lab.pass(Duration::from_millis(2_100));
    lab
}

/// On perfect links signing and parity change nothing for the viewer, and nothing has to be rebuilt or asked for.
#[test]
fn a_signed_team_on_perfect_links() {
    for (peers, parity_chunks, signs_chunks) in
        [(1, 4, false), (2, 0, false), (5, 4, false), (20, 4, false), (5, 4, true)]
    {
        let mut lab = team_that(signs_chunks, peers, parity_chunks);
        lab.stream(400, CHUNK, 50);
        lab.pass(Duration::from_secs(1));
        for node in 1..=peers {
            let stats = lab.peer(node).stats();
            assert_eq!(lab.played(node), (0..400).collect::<Vec<_>>(), "{peers} peers, node {node}");
            let faults = (stats.chunks_lost, stats.chunks_asked, stats.chunks_rebuilt, stats.chunks_false);
            assert_eq!(faults, (0, 0, 0, 0), "{peers} peers, node {node}");
            assert_eq!(stats.manifests_received, lab.splitter.stats().manifests_sent);
        }
        let stats = lab.splitter.stats();
        assert_eq!((stats.chunks_sent, stats.violations), (400, 0));
        assert_eq!(stats.parity_sent, stats.manifests_sent * u64::from(parity_chunks));
    }
}

/// R-GEN-6, R-GEN-7: at 2 % loss on every link nothing is missing at the player: parity, healing origins and a few pulls see to it.
/// Without them the same dice lose one chunk in 25.
#[test]
fn loss_stays_invisible() {
    let mut bare = Lab::new(|_| {});
    for _ in 0..12 {
        bare.add_peer(|_| {});
    }
    let mut lab = team(12, 4);
    let mut signed = team_that(true, 12, 4);
    for lab in [&mut bare, &mut lab, &mut signed] {
        lab.stream(200, CHUNK, 50);
        lab.wires.loss_per_mille = 20;
        lab.stream(4000, CHUNK, 50);
        lab.wires.loss_per_mille = 0;
        lab.stream(200, CHUNK, 50);
        lab.pass(Duration::from_secs(1));
    }
    let lost = |lab: &mut Lab| (1..=12).map(|node| lab.peer(node).stats().chunks_lost).sum::<u64>();
    let unprotected = lost(&mut bare);
    assert!((1000..3000).contains(&unprotected), "{unprotected} of 48 000: 2p is 1920");
    for lab in [&mut lab, &mut signed] {
        let stats: Vec<_> = (1..=12).map(|node| lab.peer(node).stats()).collect();
        let sum = |field: fn(&crate::PeerStats) -> u64| stats.iter().map(field).sum::<u64>();
        assert_eq!(lost(lab), 0, "rebuilt {}, asked {}", sum(|s| s.chunks_rebuilt), sum(|s| s.chunks_asked));
        assert!(sum(|s| s.chunks_rebuilt) > 500);
        assert!(sum(|s| s.chunks_healed) > 10, "first-hop losses are healed by their origins");
        let asked = sum(|s| s.chunks_asked);
        assert!(asked * 50 < 48_000, "pulls stay within 2 % of the stream: {asked}");
    }
}

/// A late joiner gets the past with its manifests, and believes it.
#[test]
fn a_late_joiner_believes_the_past() {
    for signs_chunks in [false, true] {
        late_joiner(team_that(signs_chunks, 5, 4));
    }
}

fn late_joiner(mut lab: Lab) {
    lab.stream(500, CHUNK, 100);
    let late = lab.add_peer(|config| config.allow_unsigned = false);
    lab.stream(100, CHUNK, 100);
    lab.pass(Duration::from_secs(1));
    let played = lab.played(late);
    assert_eq!(played.first(), Some(&400));
    assert_eq!(played, (400..600).collect::<Vec<_>>());
}

pub(super) fn forged(number: u64, origin: u16, position: u8) -> Datagram {
    let header = ChunkHeader {
        number: p2psp_wire::ChunkNumber::new(number).unwrap(),
        origin: Slot::new(origin).unwrap(),
        position,
        header_version: 0,
        random_access: true,
        time_us: 0,
    };
    Datagram::Chunk(Chunk::new(header, b"poison").unwrap())
}

/// R-GEN-5: not one byte of a poisoner is played; each victim parts with it when the manifest is there, or at
/// once where each chunk is signed, and has every chunk.
#[test]
fn poison_is_never_played() {
    for signs_chunks in [false, true] {
        let noticed = poisoned(team_that(signs_chunks, 8, 4));
        // Where each chunk proves itself the first three have the poisoner expelled before it reaches the others.
        assert!(noticed == 7 || (signs_chunks && noticed >= 3), "{noticed} noticed");
    }
}

/// How many parted with it.
fn poisoned(mut lab: Lab) -> usize {
    let mut noticed = 0;
    lab.stream(100, CHUNK, 50);
    for _ in 0..10 {
        let next = lab.splitter.stats().next_number.get();
        for victim in [1, 3, 4, 5, 6, 7, 8] {
            if lab.wires.linked(victim, 2) {
                let link = lab.wires.link(victim, 2);
                // Node 2 sits in slot 1 and claims chunks that will be others'.
                let datagrams = (0..6).map(|n| forged(next + n, 1, 0)).collect();
                lab.inject(victim, Input::Train { link, datagrams });
            }
        }
        lab.stream(20, CHUNK, 50);
    }
    lab.pass(Duration::from_secs(1));
    for victim in [1, 3, 4, 5, 6, 7, 8] {
        let poison = lab
            .events(victim)
            .iter()
            .any(|event| matches!(event, PeerEvent::Play(chunk) if chunk.payload().as_ref() == b"poison"));
        assert!(!poison, "node {victim} played poison");
        let blamed =
            |event: &&PeerEvent| matches!(event, PeerEvent::Violation { peer, .. } if *peer == key(2));
        let has_noticed = lab.events(victim).iter().filter(blamed).count() >= 1;
        assert_eq!(lab.peer(victim).stats().chunks_false >= 1, has_noticed, "node {victim}");
        noticed += usize::from(has_noticed);
        assert_eq!(lab.peer(victim).stats().chunks_lost, 0, "node {victim}");
    }
    // R-FAIR-3: the team has told the splitter, and the key gets no seat again.
    assert!(lab.splitter.roster().all(|(_, peer)| peer != key(2)), "the poisoner is out");
    let stats = lab.splitter.stats();
    assert_eq!((stats.expulsions, stats.members), (1, 7));
    assert!(matches!(lab.events(2).last(), Some(PeerEvent::Left(LeftReason::Expelled))));
    noticed
}

/// R-FAIR-2: who lies about nothing but a chunk's place in its generation is accused of that, and not of what is true.
#[test]
fn a_false_place_is_evidence() {
    let mut lab = team(8, 4);
    lab.stream(200, CHUNK, 50);
    let chunk = played_chunk(&lab, 3, 100);
    let header = ChunkHeader { position: (chunk.header().position + 1) % 8, ..*chunk.header() };
    let moved = Chunk::new(header, &chunk.payload()).unwrap();
    let link = lab.wires.link(SPLITTER, 2);
    lab.inject(SPLITTER, Input::Control { link, message: complaint(5, &moved) });
    assert_eq!((lab.splitter.stats().members, lab.splitter.stats().complaints), (8, 1));
}

/// R-FAIR-1: parity and manifests that are false cost the seat as chunks do.
#[test]
fn false_parity_and_manifests_are_evidence() {
    let parity = |lab: &Lab| {
        let chunk = played_chunk(lab, 3, 100);
        let first = chunk.number().minus(chunk.header().position.into());
        Datagram::Parity(Parity::new(first, 40, Slot::new(1).unwrap(), 0, &[7; 100]).unwrap())
    };
    for is_parity in [true, false] {
        let mut lab = team(8, 4);
        lab.stream(200, CHUNK, 50);
        let datagram = if is_parity { parity(&lab) } else { strange_manifest(&lab) };
        for victim in [1, 3, 4] {
            let link = lab.wires.link(victim, 2);
            lab.inject(victim, Input::Train { link, datagrams: vec![datagram.clone()] });
        }
        lab.pass(Duration::from_millis(100));
        assert!(lab.splitter.roster().all(|(_, peer)| peer != key(2)), "parity: {is_parity}");
        assert_eq!(lab.splitter.stats().expulsions, 1, "parity: {is_parity}");
    }
}

/// R-FAIR-2: the whole team accuses one of what nobody could have sent yet, and then of what is just near enough.
#[test]
fn far_chunks_are_no_evidence() {
    let mut lab = team(8, 4);
    lab.stream(200, CHUNK, 50);
    let end = lab.splitter.stats().next_number.get() + 4096;
    for (number, members) in [(end, 8), (end - 1, 7)] {
        for accuser in [1, 2, 3, 4] {
            let message = Control::Complaint {
                accused: Slot::new(5).unwrap(),
                number: p2psp_wire::ChunkNumber::new(number).unwrap(),
                hash: Hash([9; 16]),
            };
            lab.inject(SPLITTER, Input::Control { link: lab.wires.link(SPLITTER, accuser), message });
        }
        assert_eq!(lab.splitter.stats().members, members, "chunk {number}");
    }
}

fn complaint(accused: u16, evidence: &Chunk) -> Control {
    Control::Complaint {
        accused: Slot::new(accused).unwrap(),
        number: evidence.number(),
        hash: crate::protect::hash_evidence(evidence.datagram()),
    }
}

fn played_chunk(lab: &Lab, node: usize, number: u64) -> Chunk {
    let is_chunk =
        |event: &&PeerEvent| matches!(event, PeerEvent::Play(chunk) if chunk.number().get() == number);
    let Some(PeerEvent::Play(chunk)) = lab.events(node).iter().find(is_chunk) else {
        panic!("node {node} has played chunk {number}")
    };
    chunk.clone()
}

/// R-FAIR-4: one member that accuses all others moves nobody, and whose evidence is the true chunk's hash is out itself.
#[test]
fn liars_expel_nobody() {
    let mut lab = team(8, 4);
    lab.stream(200, CHUNK, 50);
    let link = lab.wires.link(SPLITTER, 2);
    let number = p2psp_wire::ChunkNumber::new(150).unwrap();
    for accused in [0, 2, 3, 4, 5, 6, 7] {
        for _ in 0..5 {
            let accused = Slot::new(accused).unwrap();
            let message = Control::Complaint { accused, number, hash: Hash([9; 16]) };
            lab.inject(SPLITTER, Input::Control { link, message });
        }
    }
    assert_eq!((lab.splitter.stats().members, lab.splitter.stats().expulsions), (8, 0));
    let chunk = played_chunk(&lab, 3, 100);
    lab.inject(SPLITTER, Input::Control { link, message: complaint(5, &chunk) });
    assert!(lab.splitter.roster().all(|(_, peer)| peer != key(2)));
    assert_eq!(lab.splitter.stats().members, 7);
}

/// R-FAIR-3: complaints of members that are not ready, are new, or own no turns count as little as they do: three of them expel nobody,
/// three of eight that own turns do, however many others are there.
#[test]
fn cheap_seats_are_no_voices() {
    let mut lab = team(8, 4);
    lab.stream(200, CHUNK, 50);
    for node in 9..=14 {
        lab.add_peer(|config| (config.allow_unsigned, config.eco) = (false, node > 11));
    }
    lab.wires.held.push(15);
    lab.wires.held.push(16);
    for _ in 15..=16 {
        lab.add_peer(|config| config.allow_unsigned = false);
    }
    let complain = |lab: &mut Lab, accusers: &[usize]| {
        lab.stream(20, CHUNK, 50);
        let number = lab.splitter.stats().next_number;
        for accuser in accusers {
            let message = Control::Complaint { accused: Slot::new(4).unwrap(), number, hash: Hash([9; 16]) };
            lab.inject(SPLITTER, Input::Control { link: lab.wires.link(SPLITTER, *accuser), message });
        }
        lab.splitter.stats().expulsions
    };
    assert_eq!(complain(&mut lab, &[9, 10, 11, 15, 16]), 0, "new, or not ready");
    lab.stream(500, CHUNK, 50);
    assert_eq!(complain(&mut lab, &[12, 13, 14, 15, 16]), 0, "without turns");
    lab.stream(500, CHUNK, 50);
    assert_eq!((lab.splitter.stats().members, lab.splitter.stats().members_ready), (16, 14));
    // Eleven own turns by now.
    assert_eq!(complain(&mut lab, &[1, 2, 3]), 0);
    assert_eq!(complain(&mut lab, &[9]), 1);
}

/// Of another key, brought by node 2.
fn strange_manifest(lab: &Lab) -> Datagram {
    let other = crate::SigningKey::from_seed(&[9; 32]).unwrap();
    let contents = ManifestContents {
        epoch: Epoch(1),
        first: lab.splitter.stats().next_number,
        position: 0,
        data_chunks: 8,
        shard_bytes: 100,
        closed: StreamTime::from_micros(1),
        previous: Hash::default(),
        hashes: vec![Hash([7; 16]); 8],
    };
    let manifest = other.sign(crate::lab::channel(), contents, Slot::new(1).unwrap()).unwrap();
    Datagram::Manifest(manifest)
}

/// Manifests of another key, and changed ones, are nobody's word: they cost their bringer the link.
#[test]
fn forged_manifests_are_refused() {
    let mut lab = team(4, 4);
    lab.stream(100, CHUNK, 50);
    let link = lab.wires.link(1, 2);
    lab.inject(1, Input::Train { link, datagrams: vec![strange_manifest(&lab)] });
    assert_eq!(lab.peer(1).stats().chunks_false, 1);
    lab.stream(100, CHUNK, 50);
    lab.pass(Duration::from_secs(1));
    assert_eq!(lab.peer(1).stats().chunks_lost, 0);
}

/// A peer is not talked down: a splitter that signs nothing is refused, unless a laboratory allows it.
#[test]
fn unsigned_streams_are_refused() {
    let mut lab = Lab::new(|_| {});
    let wary = lab.add_peer(|config| config.allow_unsigned = false);
    assert_eq!(lab.events(wary).last(), Some(&PeerEvent::Left(LeftReason::Unsigned)));
}

/// A member whose every manifest is lost on the way asks for them, and misses nothing.
#[test]
fn lost_manifests_are_fetched() {
    let mut lab = team(6, 4);
    lab.stream(100, CHUNK, 50);
    lab.wires.without_manifests.push(3);
    lab.stream(400, CHUNK, 50);
    lab.pass(Duration::from_secs(1));
    assert!(lab.wires.said.iter().any(|(from, _, message)| {
        *from == 3 && matches!(message, Control::Pull { generations, .. } if !generations.is_empty())
    }));
    assert_eq!(lab.peer(3).stats().chunks_lost, 0);
    assert!(!lab.wires.said.iter().any(|(from, to, message)| {
        (*from, *to) == (3, SPLITTER) && matches!(message, Control::Lost { .. })
    }));
}

/// The generation that the end of the stream leaves open is closed, proven and played like the others.
#[test]
fn the_end_of_a_signed_stream_is_played_out() {
    for chunks in [97, 100, 104] {
        let mut lab = team(4, 4);
        lab.stream(chunks, CHUNK, 10);
        let now = lab.now;
        lab.splitter.close(now);
        lab.pass(Duration::from_secs(7));
        for node in 1..=4 {
            assert_eq!(lab.played(node).len() as u64, chunks, "node {node}");
            assert_eq!(lab.events(node).last(), Some(&PeerEvent::Left(LeftReason::StreamEnded)));
        }
    }
}

/// R-LEAVE-2: all that closes the last generation is lost on its first hop. Nobody but the splitter has it, and it still answers.
#[test]
fn the_last_manifest_is_lost_on_its_first_hop() {
    let mut lab = team(4, 4);
    lab.stream(100, CHUNK, 10);
    lab.wires.holes.extend((1..=4).map(|node| (SPLITTER, node)));
    let now = lab.now;
    lab.splitter.close(now);
    lab.pass(Duration::from_millis(1));
    lab.wires.holes.clear();
    lab.pass(Duration::from_secs(7));
    for node in 1..=4 {
        assert_eq!(lab.played(node).len(), 100, "node {node}");
        assert_eq!(lab.events(node).last(), Some(&PeerEvent::Left(LeftReason::StreamEnded)));
    }
    assert_eq!(lab.splitter_events.last(), Some(&crate::SplitterEvent::Closed));
}
