//! Instant start (R-START-1): a newcomer asks several teammates at once for what lies between the random-access point that is due
//! and the live edge, so that play begins after a few round trips instead of a buffer time. Owns what was asked of whom.

use crate::{Instant, LinkId, window::Window};
use p2psp_wire::{ChunkNumber, Control, NumberRange, StreamTime};
use std::{collections::BTreeMap, time::Duration};

/// How often the gaps are looked over while starting.
const LOOK_SPAN: Duration = Duration::from_millis(40);
/// A chunk this much older than the newest is missing, not merely under way.
const LATE: Duration = Duration::from_millis(80);
/// An answer that has not come after this time is asked for elsewhere.
const ANSWER_WAIT: Duration = Duration::from_millis(200);
/// Tries for one chunk.
const TRIES_MAX: usize = 4;
/// Chunks asked for and not yet answered.
pub(super) const OUTSTANDING_MAX: usize = 4096;
/// Teammates asked at once.
const SOURCES_MAX: usize = 4;
/// Consecutive chunks asked of one teammate: they come back as trains.
const RUN_CHUNKS: usize = 32;
/// Gaps of the first moments are filled for this long after the join: links still come up.
const START_SPAN: Duration = Duration::from_secs(3);

/// What was asked for.
#[derive(Debug)]
pub(super) struct Start {
    until: Instant,
    look_at: Option<Instant>,
    asked: BTreeMap<ChunkNumber, Asked>,
    turn: usize,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Everybody asked so far, the last one last: an answer that comes after its time is still an answer.
    of: [Option<LinkId>; TRIES_MAX],
    until: Instant,
    tries: usize,
}

impl Asked {
    /// Whether this link was the last one asked.
    fn is_last(&self, link: LinkId) -> bool {
        self.tries.checked_sub(1).and_then(|last| self.of.get(last)) == Some(&Some(link))
    }
}

impl Start {
    pub(super) fn new(now: Instant) -> Self {
        Self { until: now + START_SPAN, look_at: Some(now), asked: BTreeMap::new(), turn: 0 }
    }

    /// Whether somebody is asked for this chunk.
    pub(super) fn has_asked(&self, number: ChunkNumber) -> bool {
        self.asked.contains_key(&number)
    }

    /// A link came up, `links` are now: with enough to ask, the first look is at once.
    pub(super) fn on_link(&mut self, now: Instant, links: usize, teammates: usize) {
        if self.asked.is_empty() && links >= SOURCES_MAX.min(teammates) {
            self.look_at = self.look_at.map(|_| now);
        }
    }

    /// Whether this chunk was asked of that link, and so may come from it.
    pub(super) fn expects(&self, number: ChunkNumber, link: LinkId) -> bool {
        self.asked.get(&number).is_some_and(|asked| asked.of.contains(&Some(link)))
    }

    /// These will not come from that link: ask elsewhere at the next look.
    pub(super) fn on_choke(&mut self, now: Instant, link: LinkId, ranges: &[NumberRange]) {
        for number in ranges.iter().flat_map(|range| range.numbers()) {
            if let Some(asked) = self.asked.get_mut(&number)
                && asked.is_last(link)
            {
                asked.until = now;
            }
        }
    }

    pub(super) fn forget(&mut self, link: LinkId) {
        for asked in self.asked.values_mut().filter(|asked| asked.is_last(link)) {
            asked.until = Instant::ORIGIN;
        }
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.look_at
    }

    /// The pulls to send now. `from` is the play pointer, `live` one past the last chunk that was out before the join; what is
    /// `held` is here already and waits for its manifest.
    pub(super) fn look(
        &mut self,
        now: Instant,
        window: &Window,
        held: impl Fn(ChunkNumber) -> bool,
        from: ChunkNumber,
        live: ChunkNumber,
        sources: &[LinkId],
    ) -> Vec<(LinkId, Control)> {
        if self.look_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        if self.until <= now {
            self.look_at = None;
            self.asked.clear();
            return Vec::new();
        }
        self.look_at = Some(now + LOOK_SPAN);
        self.asked.retain(|number, _| *number >= from && !window.contains(*number));
        if sources.is_empty() {
            return Vec::new();
        }
        let mut wanted: BTreeMap<LinkId, Vec<ChunkNumber>> = BTreeMap::new();
        let mut missing = missing(window, from, live);
        missing.retain(|number| !held(*number));
        for run in missing.chunks(RUN_CHUNKS) {
            self.turn += 1;
            for number in run {
                if let Some((source, asked)) = self.choose(now, *number, sources)
                    && (self.asked.contains_key(number) || self.asked.len() < OUTSTANDING_MAX)
                {
                    self.asked.insert(*number, asked);
                    wanted.entry(source).or_default().push(*number);
                }
            }
        }
        let pull = |(link, numbers)| {
            (link, Control::Pull { ranges: NumberRange::pack(numbers), generations: Vec::new() })
        };
        wanted.into_iter().map(pull).collect()
    }

    /// Whom to ask for a chunk now, if anybody: each further try goes to the next source.
    fn choose(&self, now: Instant, number: ChunkNumber, sources: &[LinkId]) -> Option<(LinkId, Asked)> {
        let before = self.asked.get(&number);
        if before.is_some_and(|asked| asked.until > now || asked.tries >= TRIES_MAX) {
            return None;
        }
        let (mut of, tries) = before.map_or(([None; TRIES_MAX], 0), |asked| (asked.of, asked.tries));
        let pool = sources.len().min(SOURCES_MAX);
        let index = if tries == 0 { self.turn % pool } else { (self.turn + tries) % sources.len() };
        let source = sources.get(index).copied()?;
        *of.get_mut(tries)? = Some(source);
        Some((source, Asked { of, until: now + ANSWER_WAIT, tries: tries + 1 }))
    }
}

/// What is not there and will hardly come by itself: everything before `live`, and later chunks that newer ones have overtaken
/// by [`LATE`].
fn missing(window: &Window, from: ChunkNumber, live: ChunkNumber) -> Vec<ChunkNumber> {
    let from = from.max(window.floor());
    let newest = window.get(window.end().minus(1)).map(|chunk| chunk.header().time_us);
    let overtaken = |number: ChunkNumber| {
        let next = window.first_from(number).map(|chunk| chunk.header().time_us);
        newest.zip(next).is_some_and(|(newest, next)| {
            StreamTime::from_micros(newest.wrapping_sub(next).into()).since(StreamTime::default()) > LATE
        })
    };
    let end = window.end().max(live);
    (0..end.since(from))
        .map(|offset| from.plus(offset))
        .filter(|number| !window.contains(*number))
        .take_while(|number| *number < live || overtaken(*number))
        .take(OUTSTANDING_MAX)
        .collect()
}
