//! What can be believed: chunks wait here, by number, until a signed manifest lists their hash, and what is missing of a generation is
//! rebuilt from its parity (R-GEN-5 to R-GEN-7). Owns manifests, what waits for them, and parity; the window behind it holds
//! believed chunks only.

mod generation;
mod testimony;
mod waiting;
mod wants;

use crate::{
    Instant, LinkId,
    guard::{Bucket, Guard, MANIFESTS_BURST_MAX, MANIFESTS_PER_SECOND},
    manifests::Manifests,
    protect,
    window::Window,
};
use generation::Generation;
use p2psp_wire::{
    ChannelId, Chunk, ChunkNumber, Datagram, Epoch, Integrity, Manifest, ManifestContents, Parity,
    StreamTime, limits::DATA_CHUNKS_MAX,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use waiting::Held;
use wants::Wants;

/// Chunks that wait for their manifest, of all links together: what a 20 Mb/s stream brings in half a second. Beyond half of it no
/// link may have more than its share waiting, so that nobody crowds the others out; one more than fits is not taken.
pub(super) const HELD_MAX: usize = 1024;
/// Waiting chunks of one link, two generations, beyond which none of it is taken that lies far ahead: no manifest may find it out for long.
pub(super) const AHEAD_OF_LINK_MAX: usize = 2 * DATA_CHUNKS_MAX as usize;
/// Parity chunks that wait for their manifest, likewise.
pub(super) const PARITY_HELD_MAX: usize = 256;
/// Signatures checked in a burst and a second: twice what one link may have checked. A check costs 40 us.
const SIGNATURES_BURST: u32 = 2 * MANIFESTS_BURST_MAX;
const SIGNATURES_PER_SECOND: u32 = 2 * MANIFESTS_PER_SECOND;
/// After its last manifest a generation's last chunks have this long to come by themselves before they are rebuilt ...
const DECODE_WAIT: Duration = Duration::from_millis(20);
/// ... and this long more before they are asked for, as after each time that they were: an origin's burst to 64 teammates takes
/// 60 ms at 20 Mb/s, a round trip 40.
const REPAIR_STEP: Duration = Duration::from_millis(55);
/// Repair pulls for one generation.
pub(super) const REPAIR_TRIES_MAX: u8 = 4;
/// A chunk's manifest may be made as long after it as manifests are apart, and its relay takes so much longer at most: then it is
/// asked for ...
const MANIFEST_WAIT: Duration = Duration::from_millis(40);
/// ... again and again, of a teammate first and then of the splitter.
const MANIFEST_TRIES_MAX: u8 = 4;
/// Manifests that come in one answer come within this time.
const ANSWER_SPAN: Duration = Duration::from_millis(5);
/// From one manifest to the next, at least, where generations have one each: they may grow from one to the next ...
const MANIFEST_SPAN_MIN: Duration = Duration::from_millis(80);
/// ... or where they are large enough for several ...
const PART_SPAN_MIN: Duration = Duration::from_millis(40);
/// ... and at most: no generation stays open for longer (R-GEN-1).
const MANIFEST_SPAN_MAX: Duration = Duration::from_millis(300);

/// What a chunk, a parity chunk or a manifest turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Listed by a signed manifest, or signed itself.
    Believed,
    /// No manifest yet, and no room to wait for it.
    Dropped,
    /// No manifest yet.
    Waits,
    /// Not what the manifest lists, or not signed.
    Bad,
    /// There already.
    Known,
}

/// What a manifest brought about.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// Chunks that it lists, and over which link they came.
    pub(super) believed: Vec<(Chunk, LinkId)>,
    /// Links over which something came that it does not list.
    pub(super) culprits: Vec<Culprit>,
}

/// Who sent what is false.
#[derive(Debug)]
pub(super) struct Culprit {
    pub(super) link: LinkId,
    /// What is false.
    pub(super) evidence: Datagram,
}

/// What a generation needs.
#[derive(Debug)]
pub(super) enum Repair {
    /// Nothing, or nothing more.
    Nothing,
    /// These were rebuilt.
    Rebuilt(Vec<Chunk>),
    /// Parity does not suffice.
    Lacks {
        /// These are to be asked for.
        asked: Vec<ChunkNumber>,
        /// So many are missing, these among them.
        missing: u64,
        /// Earlier tries for this generation.
        tries: u8,
    },
}

/// Manifests, and what waits for them.
#[derive(Debug)]
pub(super) struct Belief {
    integrity: Integrity,
    channel: ChannelId,
    epoch: Epoch,
    signatures: Bucket,
    manifests: Manifests,
    /// Those of which there is a manifest, by their first numbers.
    generations: BTreeMap<ChunkNumber, Generation>,
    /// When which generation is looked at next.
    looks: BTreeSet<(Instant, ChunkNumber)>,
    wants: Wants,
    /// When the newest manifest was made, and how long after the one before it.
    newest: Option<StreamTime>,
    manifest_span: Duration,
    held: BTreeMap<ChunkNumber, Held>,
    parity: BTreeMap<(ChunkNumber, u8), (Parity, LinkId)>,
    /// Generations before this one are not reported; none is where there is none.
    tell_from: Option<ChunkNumber>,
}

impl Belief {
    pub(super) fn new(now: Instant, integrity: Integrity, channel: ChannelId, epoch: Epoch) -> Self {
        Self {
            integrity,
            channel,
            epoch,
            signatures: Bucket::new(now, SIGNATURES_BURST, SIGNATURES_PER_SECOND),
            manifests: Manifests::default(),
            generations: BTreeMap::new(),
            looks: BTreeSet::new(),
            wants: Wants::default(),
            newest: None,
            manifest_span: MANIFEST_SPAN_MIN,
            held: BTreeMap::new(),
            parity: BTreeMap::new(),
            tell_from: None,
        }
    }

    /// From `edge` on the whole team sends to this member: what is missing then was lost. Members that conspire may have moved it: it counts
    /// up to two generations beyond the newest manifest and what the splitter `told`.
    pub(super) fn tell_from(&mut self, edge: ChunkNumber, told: ChunkNumber) {
        let sure = self.manifests.end().max(told).plus(2 * u64::from(DATA_CHUNKS_MAX));
        let from = edge.min(sure);
        self.tell_from.get_or_insert(from);
    }

    /// A chunk came by itself, maybe after it was rebuilt: then it was late, not lost. False if what was there already may be a
    /// repaired one.
    pub(super) fn on_came(&mut self, number: ChunkNumber) -> bool {
        let Some((generation, place)) = self.generation_of_mut(number) else { return true };
        let has_come = generation.came & place != 0;
        generation.came |= place;
        has_come
    }

    /// How many chunks the generations had that the play-out has left behind since the last call, and how many of them did not
    /// come by themselves (R-GEN-8).
    pub(super) fn tell(&mut self, from: ChunkNumber) -> (u32, u32) {
        let (mut due, mut missing) = (0, 0);
        for (first, generation) in self.generations.range_mut(..from).filter(|(_, known)| !known.is_told) {
            let end = self.manifests.whole(*first).map(|last| last.contents().end());
            if let Some(end) = end.filter(|end| *end <= from) {
                let chunks = u32::try_from(end.since(*first)).unwrap_or(u32::MAX);
                generation.is_told = true;
                due += chunks;
                missing += chunks - generation.came.count_ones().min(chunks);
            }
        }
        (due, missing)
    }

    /// All manifests that the channel's key signed.
    pub(super) const fn manifests(&self) -> &Manifests {
        &self.manifests
    }

    /// A chunk came from a teammate, one of `links`. One without a manifest is kept until that comes, believed or not, or its time to be
    /// played is over. `edge` is the newest number that is trusted.
    pub(super) fn on_chunk(
        &mut self,
        now: Instant,
        chunk: &Chunk,
        link: LinkId,
        links: usize,
        edge: ChunkNumber,
    ) -> Verdict {
        if self.integrity == Integrity::None {
            return Verdict::Believed;
        }
        if let Some(manifest) = self.manifests.listing(chunk.number()) {
            return if generation::lists(manifest, chunk) { Verdict::Believed } else { Verdict::Bad };
        }
        let is_near = self.is_near(chunk.number(), edge);
        if !self.has_room_for_chunk(link, links, is_near) {
            return Verdict::Dropped;
        }
        // One bad signature ends its link, so that nobody can have many checked.
        let is_proven = self.proves_chunks();
        if is_proven && !protect::is_chunk_signed(self.channel, self.epoch, chunk) {
            return Verdict::Bad;
        }
        let held = Held { chunk: chunk.clone(), link, came: now, is_done: false };
        // There is no manifest yet of what lies far ahead, whoever is asked.
        if is_near {
            self.wants.claim(held.first(), now + self.manifest_span + MANIFEST_WAIT, link, links);
        }
        self.held.insert(chunk.number(), held);
        if is_proven { Verdict::Believed } else { Verdict::Waits }
    }

    /// Whether a manifest lists another chunk in this one's place.
    pub(super) fn refutes(&self, chunk: &Chunk) -> bool {
        self.manifests.listing(chunk.number()).is_some_and(|manifest| !generation::lists(manifest, chunk))
    }

    /// Each chunk carries a signature of its own (R-SIGN-1).
    fn proves_chunks(&self) -> bool {
        self.integrity == Integrity::Signature
    }

    /// A believed chunk as players get it: without its signature, where each has one.
    pub(super) fn bare(&self, chunk: Chunk) -> Chunk {
        let signed = Some(&chunk).filter(|_| self.proves_chunks());
        signed.and_then(Chunk::split_signature).map_or(chunk, |(bare, _)| bare)
    }

    /// A parity chunk came from a teammate, one of `links`.
    pub(super) fn on_parity(&mut self, parity: &Parity, link: LinkId, links: usize) -> Verdict {
        if self.integrity == Integrity::None {
            return Verdict::Known;
        }
        if let Some(last) = self.manifests.whole(parity.first())
            && let Some(generation) = self.generations.get_mut(&parity.first())
        {
            return generation.take(last, parity);
        }
        let place = (parity.first(), parity.position());
        if self.parity.contains_key(&place) {
            return Verdict::Known;
        }
        if self.manifests.listing(parity.first()).is_some_and(|manifest| manifest.first() != parity.first()) {
            return Verdict::Bad;
        }
        if !self.has_room_for_parity(link, links) {
            return Verdict::Dropped;
        }
        self.parity.insert(place, (parity.clone(), link));
        Verdict::Waits
    }

    /// A manifest came over the link that `guard` watches: if the channel's key signed it, whatever waited for it is judged.
    pub(super) fn on_manifest(
        &mut self,
        now: Instant,
        manifest: &Manifest,
        window: &Window,
        guard: &mut Guard,
    ) -> (Verdict, Resolved) {
        let (contents, mut resolved) = (manifest.contents(), Resolved::default());
        let first = contents.first;
        let is_known = self.manifests.get(first, contents.position).is_some();
        let is_past = contents.end() <= window.floor();
        if self.integrity == Integrity::None || is_known || is_past {
            return (Verdict::Known, resolved);
        }
        if !guard.admit_manifest(now) || !self.signatures.take(now, 1) {
            return (Verdict::Dropped, resolved);
        }
        if contents.epoch != self.epoch || !protect::is_signed(self.channel, manifest) {
            return (Verdict::Bad, resolved);
        }
        self.on_pace(contents);
        // Who is not linked with everybody yet misses what nobody has lost.
        let is_early = self.tell_from.is_none_or(|from| first < from);
        // What proves itself is in the window already.
        let is_proven = self.proves_chunks();
        let generation = self.generations.entry(first).or_insert_with(|| Generation::new(is_early));
        // Own turns are believed without a manifest.
        for place in contents.position..contents.position + contents.data_chunks {
            let number = first.plus(place.into());
            if window.contains(number) && !self.held.contains_key(&number) {
                generation.came |= 1 << place;
                generation.done |= 1 << place;
            }
        }
        let numbers = contents.start()..contents.end();
        let waiting: Vec<ChunkNumber> = self.held.range(numbers).map(|(number, _)| *number).collect();
        for held in waiting.iter().filter_map(|number| self.held.remove(number)) {
            let Held { chunk, link, is_done, came: _ } = held;
            if generation::lists(manifest, &chunk) {
                generation.came |= 1 << chunk.header().position;
                generation.done |= u64::from(is_done) << chunk.header().position;
                if !is_proven {
                    resolved.believed.push((chunk, link));
                }
            } else if !is_proven {
                resolved.culprits.push(Culprit { link, evidence: Datagram::Chunk(chunk) });
            }
        }
        // Parity of a generation that would begin within this one.
        let within = (contents.start().max(first.next()), 0)..(contents.end(), 0);
        let waiting: Vec<(ChunkNumber, u8)> = self.parity.range(within).map(|(place, _)| *place).collect();
        for (parity, link) in waiting.iter().filter_map(|place| self.parity.remove(place)) {
            resolved.culprits.push(Culprit { link, evidence: Datagram::Parity(parity) });
        }
        self.manifests.insert(manifest.clone());
        let Some(last) = self.manifests.whole(first) else {
            if contents.is_last() {
                // What comes before it is there soon, or lost.
                self.wants.add(first, now + DECODE_WAIT + REPAIR_STEP);
            } else {
                generation.answered = self.wants.remove(first).map(|asked_at| (asked_at, now));
                let is_claimed = self.claims(first).next().is_some();
                let span = if is_claimed { self.manifest_span } else { MANIFEST_SPAN_MAX };
                self.wants.add(first, now + span + MANIFEST_WAIT);
            }
            return (Verdict::Believed, resolved);
        };
        generation.whole_at.get_or_insert(now);
        let places = (first, 0)..(first, u8::MAX);
        let waiting: Vec<(ChunkNumber, u8)> = self.parity.range(places).map(|(place, _)| *place).collect();
        for (parity, link) in waiting.iter().filter_map(|place| self.parity.remove(place)) {
            if generation.take(last, &parity) == Verdict::Bad {
                resolved.culprits.push(Culprit { link, evidence: Datagram::Parity(parity) });
            }
        }
        // What had to be asked for comes after all that could come by itself: no more waiting for that. Unless it was asked for too
        // soon, and is no answer.
        let answered = generation.answered.filter(|(_, at)| now.since(*at) < ANSWER_SPAN);
        let asked_at = self.wants.remove(first).or_else(|| answered.map(|(asked_at, _)| asked_at));
        generation.look_at =
            asked_at.map_or(now + DECODE_WAIT, |asked_at| now.max(asked_at + DECODE_WAIT + REPAIR_STEP));
        generation.looks = u8::from(asked_at.is_some());
        self.looks.insert((generation.look_at, first));
        (Verdict::Believed, resolved)
    }

    /// A manifest tells how far apart they are.
    fn on_pace(&mut self, contents: &ManifestContents) {
        let newest = self.newest.map_or(0, StreamTime::as_micros);
        let Some(span_us) = contents.closed.as_micros().checked_sub(newest).filter(|us| *us > 0) else {
            return;
        };
        let is_part = !contents.is_last() || contents.position > 0;
        let least = if is_part { PART_SPAN_MIN } else { MANIFEST_SPAN_MIN };
        if self.newest.is_some() {
            self.manifest_span = Duration::from_micros(span_us).clamp(least, MANIFEST_SPAN_MAX);
        }
        self.newest = Some(contents.closed);
    }

    /// When something is due to be repaired or asked for.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let look = self.looks.first().map(|(at, _)| *at);
        look.into_iter().chain(self.wants.deadline()).min()
    }

    /// What is due to be repaired now. `from` is the play pointer: what lies before it is lost.
    pub(super) fn repair(&mut self, now: Instant, window: &Window, from: ChunkNumber) -> Option<Repair> {
        let (at, first) = self.looks.first().filter(|(at, _)| *at <= now).copied()?;
        self.looks.remove(&(at, first));
        let (Some(generation), Some(last)) = (self.generations.get_mut(&first), self.manifests.whole(first))
        else {
            return Some(Repair::Nothing);
        };
        let missing = generation::missing(first..last.contents().end(), window, from);
        if missing.is_empty() || generation.is_settled {
            generation.settle();
            return Some(Repair::Nothing);
        }
        if missing.len() <= generation.parity.len() {
            let rebuilt = generation.rebuild(&self.manifests, last, window);
            generation.settle();
            return Some(Repair::Rebuilt(rebuilt));
        }
        if generation.look_at > at {
            return Some(Repair::Nothing);
        }
        if generation.looks > REPAIR_TRIES_MAX {
            generation.settle();
            return Some(Repair::Nothing);
        }
        let looked = generation.looks;
        generation.looks += 1;
        generation.look_at = now + REPAIR_STEP;
        self.looks.insert((generation.look_at, first));
        let Some(tries) = looked.checked_sub(1) else { return Some(Repair::Nothing) };
        // Each time others are asked for, and one more of them: what nobody has must not be all that is asked for.
        let needed = missing.len() - generation.parity.len();
        let asked = (needed + usize::from(tries)).min(missing.len());
        let skipped = usize::from(tries) * needed;
        let asked = missing.iter().cycle().skip(skipped).take(asked).copied().collect();
        Some(Repair::Lacks { asked, missing: missing.len() as u64, tries })
    }

    /// A chunk or parity chunk came late to its generation: what it lacks may be rebuilt now.
    pub(super) fn look_soon(&mut self, now: Instant, number: ChunkNumber) {
        let first = self.manifests.listing(number).map(Manifest::first);
        let is_late = |generation: &Generation| !generation.is_settled && generation.looks > 0;
        if let Some(first) = first.filter(|first| self.generations.get(first).is_some_and(is_late)) {
            self.looks.insert((now, first));
        }
    }

    /// A generation with manifests that are overdue, and how often they were asked for.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<(ChunkNumber, u8)> {
        while let Some((first, tries)) = self.wants.due(now) {
            let is_claimed = self.claims(first).next().is_some();
            let is_begun = self.generations.contains_key(&first) && self.manifests.whole(first).is_none();
            if tries < MANIFEST_TRIES_MAX && (is_claimed || is_begun) {
                return Some((first, tries));
            }
            // When it was asked for there may have been no manifest yet of what came later: a liar can begin a want too early.
            let asked_at = self.wants.asked_at(first);
            let later = self.claims(first).map(|held| held.came).filter(|came| Some(*came) > asked_at).min();
            if let Some(came) = later {
                self.wants.renew(first, came + self.manifest_span + MANIFEST_WAIT);
            } else {
                self.wants.remove(first);
            }
        }
        None
    }

    /// The generation of a chunk that a manifest lists, and the bit of its place there.
    fn generation_of_mut(&mut self, number: ChunkNumber) -> Option<(&mut Generation, u64)> {
        let first = self.manifests.listing(number)?.first();
        Some((self.generations.get_mut(&first)?, 1 << number.since(first).min(63)))
    }

    /// Lets go of what lies below the window, and of what waits for a play-out that has gone by.
    pub(super) fn forget_before(&mut self, floor: ChunkNumber, from: ChunkNumber) {
        self.manifests.forget_before(floor);
        while let Some((first, _)) = self.generations.first_key_value()
            && self.manifests.of_generation(*first).next().is_none()
        {
            self.generations.pop_first();
        }
        while self.held.first_key_value().is_some_and(|(number, _)| *number < from) {
            self.held.pop_first();
        }
        while self.parity.first_key_value().is_some_and(|((first, _), _)| *first < floor) {
            self.parity.pop_first();
        }
    }
}
