//! What can be believed: chunks wait here, by number, until a signed manifest lists their hash, and what is missing of a generation is
//! rebuilt from its parity (R-GEN-5 to R-GEN-7). Owns manifests, what waits for them, and parity; the window behind it holds
//! believed chunks only.

mod testimony;

use crate::{Instant, LinkId, guard::Bucket, protect, window::Window};
use bytes::Bytes;
use p2psp_wire::{ChannelId, Chunk, ChunkNumber, Datagram, Epoch, Integrity, Manifest, Parity};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Chunks that wait for their manifest, of all links together: what a 20 Mb/s stream brings in half a second. Beyond half of it no
/// link may have more than its share waiting, so that nobody crowds the others out; one more than fits is not taken.
pub(super) const HELD_MAX: usize = 1024;
/// Parity chunks that wait for their manifest, likewise.
pub(super) const PARITY_HELD_MAX: usize = 256;
/// Signatures checked in a burst and a second: ten times what an honest stream needs. A check costs 40 us.
const SIGNATURES_BURST: u32 = 256;
const SIGNATURES_PER_SECOND: u32 = 128;
/// After its manifest a generation's last chunks have this long to come by themselves before they are rebuilt ...
const DECODE_WAIT: Duration = Duration::from_millis(20);
/// ... and this long more before they are asked for, as after each time that they were: an origin's burst to 64 teammates takes
/// 60 ms at 20 Mb/s, a round trip 40.
const REPAIR_STEP: Duration = Duration::from_millis(55);
/// Repair pulls for one generation.
pub(super) const REPAIR_TRIES_MAX: u8 = 4;
/// A chunk that has waited for so long lacks its manifest, which is at most a generation's span behind it, and it is asked for ...
const MANIFEST_WAIT: Duration = Duration::from_millis(120);
/// ... again and again, of a teammate first and then of the splitter, as often as this; then the chunk itself is in doubt.
const MANIFEST_STEP: Duration = Duration::from_millis(60);
const MANIFEST_TRIES_MAX: u8 = 4;

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

#[derive(Debug)]
struct Generation {
    manifest: Manifest,
    parity: BTreeMap<u8, Bytes>,
    /// Nothing is missing, or nothing more can be done.
    is_settled: bool,
    /// When it is looked at next; a look before that, for what came meanwhile, asks for nothing.
    look_at: Instant,
    looks: u8,
    /// Which places' chunks came by themselves, a bit each.
    came: u64,
    /// Of which places the origin did its part, likewise (R-FAIR-5).
    done: u64,
    is_told: bool,
    is_witnessed: bool,
    /// When its manifest came.
    since: Instant,
}

#[derive(Debug)]
struct Held {
    chunk: Chunk,
    link: LinkId,
    /// Its origin did its part.
    is_done: bool,
    /// When its manifest is asked for next, and how often it was.
    ask_at: Instant,
    asked: u8,
}

/// Manifests, and what waits for them.
#[derive(Debug)]
pub(super) struct Belief {
    integrity: Integrity,
    channel: ChannelId,
    epoch: Epoch,
    signatures: Bucket,
    generations: BTreeMap<ChunkNumber, Generation>,
    /// When which generation is looked at next.
    looks: BTreeSet<(Instant, ChunkNumber)>,
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
            generations: BTreeMap::new(),
            looks: BTreeSet::new(),
            held: BTreeMap::new(),
            parity: BTreeMap::new(),
            tell_from: None,
        }
    }

    /// From this chunk on the whole team sends to this member: what is missing then was lost.
    pub(super) fn tell_from(&mut self, number: ChunkNumber) {
        self.tell_from.get_or_insert(number);
    }

    /// A chunk came by itself, maybe after it was rebuilt: then it was late, not lost.
    pub(super) fn on_came(&mut self, number: ChunkNumber) {
        if let Some(generation) = self.generation_of_mut(number) {
            generation.came |= 1_u64 << number.since(generation.manifest.first()).min(63);
        }
    }

    /// How many chunks the generations had that the play-out has left behind since the last call, and how many of them did not
    /// come by themselves (R-GEN-8).
    pub(super) fn tell(&mut self, from: ChunkNumber) -> (u32, u32) {
        let (mut due, mut missing) = (0, 0);
        for generation in self.generations.range_mut(..from).map(|(_, generation)| generation) {
            let contents = generation.manifest.contents();
            if !generation.is_told && contents.end() <= from {
                let chunks = contents.data_chunks;
                generation.is_told = true;
                due += u32::from(chunks);
                missing += u32::from(chunks) - generation.came.count_ones().min(chunks.into());
            }
        }
        (due, missing)
    }

    /// Whether this chunk waits for its manifest.
    pub(super) fn holds(&self, number: ChunkNumber) -> bool {
        self.held.contains_key(&number)
    }

    /// The manifest of the generation that begins with this chunk.
    pub(super) fn manifest(&self, first: ChunkNumber) -> Option<&Manifest> {
        self.generations.get(&first).map(|generation| &generation.manifest)
    }

    /// The manifest of the generation that this chunk belongs to.
    pub(super) fn manifest_of(&self, number: ChunkNumber) -> Option<&Manifest> {
        self.generation_of(number).map(|generation| &generation.manifest)
    }

    /// A chunk came from a teammate, one of `links`. One without a manifest is kept until that comes, believed or not.
    pub(super) fn on_chunk(&mut self, now: Instant, chunk: &Chunk, link: LinkId, links: usize) -> Verdict {
        if self.integrity == Integrity::None {
            return Verdict::Believed;
        }
        if let Some(generation) = self.generation_of(chunk.number()) {
            return if generation.lists(chunk) { Verdict::Believed } else { Verdict::Bad };
        }
        let waiting = self.held.values().map(|held| held.link);
        if !has_room(waiting, self.held.len(), HELD_MAX, link, links) {
            return Verdict::Dropped;
        }
        // One bad signature ends its link, so that nobody can have many checked.
        let is_proven = self.proves_chunks();
        if is_proven && !protect::is_chunk_signed(self.channel, self.epoch, chunk) {
            return Verdict::Bad;
        }
        let held = Held { chunk: chunk.clone(), link, is_done: false, ask_at: now + MANIFEST_WAIT, asked: 0 };
        self.held.insert(chunk.number(), held);
        if is_proven { Verdict::Believed } else { Verdict::Waits }
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
        if let Some(generation) = self.generations.get_mut(&parity.first()) {
            return generation.take(parity);
        }
        let place = (parity.first(), parity.position());
        if self.parity.contains_key(&place) {
            return Verdict::Known;
        }
        let waiting = self.parity.values().map(|(_, link)| *link);
        if !has_room(waiting, self.parity.len(), PARITY_HELD_MAX, link, links) {
            return Verdict::Dropped;
        }
        self.parity.insert(place, (parity.clone(), link));
        Verdict::Waits
    }

    /// A manifest came: if the channel's key signed it, whatever waited for it is judged.
    pub(super) fn on_manifest(
        &mut self,
        now: Instant,
        manifest: &Manifest,
        window: &Window,
    ) -> (Verdict, Resolved) {
        let (contents, mut resolved) = (manifest.contents(), Resolved::default());
        if self.integrity == Integrity::None || self.generations.contains_key(&contents.first) {
            return (Verdict::Known, resolved);
        }
        if !self.signatures.take(now, 1) {
            return (Verdict::Dropped, resolved);
        }
        if contents.epoch != self.epoch || !protect::is_signed(self.channel, manifest) {
            return (Verdict::Bad, resolved);
        }
        let numbers = contents.first..contents.end();
        let waiting: Vec<ChunkNumber> = self.held.range(numbers).map(|(number, _)| *number).collect();
        // One that had to be asked for comes after all that could come by itself: no more waiting for that.
        let is_late = waiting.iter().any(|number| self.held.get(number).is_some_and(|held| held.asked > 0));
        let look_at = if is_late { now } else { now + DECODE_WAIT };
        // Who is not linked with everybody yet misses what nobody has lost.
        let is_early = self.tell_from.is_none_or(|from| contents.first < from);
        // What proves itself is in the window already.
        let is_proven = self.proves_chunks();
        let mut generation = Generation {
            manifest: manifest.clone(),
            parity: BTreeMap::new(),
            is_settled: false,
            look_at,
            looks: u8::from(is_late),
            came: 0,
            done: 0,
            is_told: is_early,
            is_witnessed: is_early,
            since: now,
        };
        // Own turns are believed without a manifest.
        for position in 0..contents.data_chunks {
            let number = contents.first.plus(position.into());
            if window.contains(number) && !self.held.contains_key(&number) {
                generation.came |= 1 << position;
                generation.done |= 1 << position;
            }
        }
        for held in waiting.iter().filter_map(|number| self.held.remove(number)) {
            let Held { chunk, link, is_done, .. } = held;
            if generation.lists(&chunk) {
                generation.came |= 1 << chunk.header().position;
                generation.done |= u64::from(is_done) << chunk.header().position;
                if !is_proven {
                    resolved.believed.push((chunk, link));
                }
            } else if !is_proven {
                resolved.culprits.push(Culprit { link, evidence: Datagram::Chunk(chunk) });
            }
        }
        let places = (contents.first, 0)..(contents.first, u8::MAX);
        let waiting: Vec<(ChunkNumber, u8)> = self.parity.range(places).map(|(place, _)| *place).collect();
        for (parity, link) in waiting.iter().filter_map(|place| self.parity.remove(place)) {
            if generation.take(&parity) == Verdict::Bad {
                resolved.culprits.push(Culprit { link, evidence: Datagram::Parity(parity) });
            }
        }
        self.looks.insert((look_at, contents.first));
        self.generations.insert(contents.first, generation);
        (Verdict::Believed, resolved)
    }

    /// When something is due to be repaired or asked for.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let look = self.looks.first().map(|(at, _)| *at);
        let overdue = self.held.first_key_value().map(|(_, held)| held.ask_at);
        look.into_iter().chain(overdue).min()
    }

    /// What is due to be repaired now. `from` is the play pointer: what lies before it is lost.
    pub(super) fn repair(&mut self, now: Instant, window: &Window, from: ChunkNumber) -> Option<Repair> {
        let (at, first) = self.looks.first().filter(|(at, _)| *at <= now).copied()?;
        self.looks.remove(&(at, first));
        let Some(generation) = self.generations.get_mut(&first) else { return Some(Repair::Nothing) };
        let missing = generation.missing(window, from);
        if missing.is_empty() || generation.is_settled {
            generation.settle();
            return Some(Repair::Nothing);
        }
        if missing.len() <= generation.parity.len() {
            let rebuilt = generation.rebuild(window);
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
        let late =
            self.generation_of(number).filter(|generation| !generation.is_settled && generation.looks > 0);
        if let Some(first) = late.map(|generation| generation.manifest.first()) {
            self.looks.insert((now, first));
        }
    }

    /// The generation whose manifest is overdue, as the oldest waiting chunk says it, and how often it was asked for. A chunk whose
    /// manifest does not come although the splitter was asked is dropped: it may have lied about its place.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<(ChunkNumber, u8)> {
        let mut oldest = self.held.first_entry()?;
        let (number, held) = (*oldest.key(), oldest.get_mut());
        if held.ask_at > now {
            return None;
        }
        if held.asked == MANIFEST_TRIES_MAX {
            oldest.remove();
            return None;
        }
        held.ask_at = now + MANIFEST_STEP;
        held.asked += 1;
        Some((number.minus(held.chunk.header().position.into()), held.asked - 1))
    }

    fn generation_of_mut(&mut self, number: ChunkNumber) -> Option<&mut Generation> {
        let (_, generation) = self.generations.range_mut(..=number).next_back()?;
        (number < generation.manifest.contents().end()).then_some(generation)
    }

    fn generation_of(&self, number: ChunkNumber) -> Option<&Generation> {
        let (_, generation) = self.generations.range(..=number).next_back()?;
        (number < generation.manifest.contents().end()).then_some(generation)
    }

    /// Lets go of what lies below the window, and of what waits for a play-out that has gone by.
    pub(super) fn forget_before(&mut self, floor: ChunkNumber, from: ChunkNumber) {
        while let Some((_, generation)) = self.generations.first_key_value()
            && generation.manifest.contents().end() <= floor
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

impl Generation {
    /// Whether the manifest lists this chunk at its place.
    fn lists(&self, chunk: &Chunk) -> bool {
        let contents = self.manifest.contents();
        let place = usize::try_from(chunk.number().since(contents.first)).unwrap_or(usize::MAX);
        usize::from(chunk.header().position) == place
            && contents.hashes.get(place).is_some_and(|hash| *hash == protect::hash_chunk(chunk))
    }

    fn take(&mut self, parity: &Parity) -> Verdict {
        let contents = self.manifest.contents();
        let is_parity = parity.position() >= contents.data_chunks;
        let shard = parity.shard();
        let listed = contents.hashes.get(usize::from(parity.position())).filter(|_| is_parity);
        if listed.is_none_or(|hash| *hash != protect::hash_bytes(&shard)) {
            return Verdict::Bad;
        }
        if self.is_settled || self.parity.insert(parity.position(), shard).is_some() {
            return Verdict::Known;
        }
        Verdict::Believed
    }

    fn missing(&self, window: &Window, from: ChunkNumber) -> Vec<ChunkNumber> {
        let contents = self.manifest.contents();
        (0..u64::from(contents.data_chunks))
            .map(|position| contents.first.plus(position))
            .filter(|number| *number >= from.max(window.floor()) && !window.contains(*number))
            .collect()
    }

    /// Rebuilds what the window lacks; each piece must be what the manifest lists.
    fn rebuild(&self, window: &Window) -> Vec<Chunk> {
        let contents = self.manifest.contents();
        let data_chunks = usize::from(contents.data_chunks);
        let place = |position: usize| contents.first.plus(position as u64);
        let data: Vec<(usize, &Chunk)> = (0..data_chunks)
            .filter_map(|position| window.get(place(position)).map(|chunk| (position, chunk)))
            .collect();
        let parity: Vec<(usize, Bytes)> = self
            .parity
            .iter()
            .map(|(position, shard)| (usize::from(*position) - data_chunks, shard.clone()))
            .collect();
        let parity_chunks = usize::from(contents.parity_chunks());
        let shards =
            protect::decode(data_chunks, parity_chunks, usize::from(contents.shard_bytes), &data, &parity);
        shards
            .into_iter()
            .filter_map(|(position, shard)| {
                Chunk::from_shard(place(position), u8::try_from(position).ok()?, &shard).ok()
            })
            .filter(|chunk| self.lists(chunk))
            .collect()
    }

    /// Nothing more is done for this generation, and its parity is let go.
    fn settle(&mut self) {
        self.is_settled = true;
        self.parity.clear();
    }
}

/// Whether one more may wait: there is room, and while it is scarce the link has no more than its share of it.
fn has_room(
    waiting: impl Iterator<Item = LinkId>,
    waiting_now: usize,
    limit: usize,
    link: LinkId,
    links: usize,
) -> bool {
    if waiting_now < limit / 2 {
        return true;
    }
    let share = (2 * limit / (links + 1)).max(limit / 32);
    waiting_now < limit && waiting.filter(|owner| *owner == link).count() < share
}
