//! Who passes on what it is given (R-FAIR-5 to R-FAIR-10). Members say which chunks came by themselves; their words are pooled turn by
//! turn, and a sequential test for each origin tells a free rider from bad luck. Owns voices, turns under judgement and scores; knows
//! no link, and takes no seat away itself.

mod rulings;
mod sequential;
#[cfg(test)]
mod tests;

use crate::{Instant, SlotSet};
use p2psp_wire::{ChunkNumber, PeerId, Slot, Witness};
use sequential::{Cusum, FULL, HALF, HONEST, Pace};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

/// How a splitter deals with members that do not do their share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FairnessConfig {
    /// Members that the channel's operator runs: in a verdict each counts as two. Nothing on the wire tells them apart.
    pub monitors: BTreeSet<PeerId>,
    /// How long a key that was expelled gets no seat.
    pub ban: Duration,
}

impl FairnessConfig {
    /// The defaults: no monitors, bans of ten minutes.
    #[must_use]
    pub const fn new() -> Self {
        Self { monitors: BTreeSet::new(), ban: Duration::from_secs(600) }
    }
}

impl Default for FairnessConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// A monitor's word counts as much as that of so many others. More, and two of them could make a turn bad by themselves.
const MONITOR_WEIGHT: u32 = 2;
/// A member is heard, and its own turns are judged, when it has been ready for so long: by then its links are up.
const SETTLING: Duration = Duration::from_secs(2);
/// A turn is judged when nine of ten have spoken, or after this time: a generation, three hops, 200 ms in which copies may come
/// late and 250 ms between two witnesses.
const JUDGE_AFTER: Duration = Duration::from_millis(850);
const SPOKEN_PERCENT: u32 = 90;
/// Its origin has so long to speak of a turn itself: who was held up for a moment owns up to it by then ...
const OWN_WORD_AFTER: Duration = Duration::from_millis(1_500);
/// ... and who is heard so long after it and says nothing has nothing to say ...
const OWN_WORD_SPAN: Duration = Duration::from_millis(1_000);
/// ... but of whom nothing is heard at all may be dead, and dead members are no free riders. The turn is forgotten then.
const FORGET_AFTER: Duration = Duration::from_secs(4);
/// Turns are looked at no more often than this.
const LOOK_SPAN: Duration = Duration::from_millis(25);
/// Turns under judgement: those of one second at 60 Mb/s. One more drops the oldest, unjudged.
const TURNS_MAX: usize = 1024;
/// Fewer voices than this judge nobody.
const VOICES_MIN: usize = 3;
/// A turn is bad when more than this share of the voices misses it, beside one: a third that lies, with the losses of the others, is
/// less ...
const BAD_SHARE: f64 = 0.42;
/// ... and when it is this much worse than those of half of the other origins: what everybody suffers is nobody's guilt.
const BAD_EXCESS: f64 = 0.32;
/// The same for turns that are missed for whatever reason, which cost turns and not the seat.
const LAME_SHARE: f64 = 0.25;
const LAME_EXCESS: f64 = 0.20;
/// Shares of lame turns that are told apart, and the score that says so.
const LAME_HONEST: f64 = 0.05;
const LAME_GUILTY: f64 = 0.6;
const LAME_THRESHOLD: f64 = 15.0;
/// An origin is not judged when half of the others lose more than this.
const BASELINE_MAX: f64 = 0.5;
/// A member that says it misses more than this share of the others' chunks is cut off, and no free rider.
const CUT_OFF_SHARE: f64 = 0.5;
/// Weight of the newest turn, or word, in a mean.
const NEWEST: f64 = 0.25;
/// Keys remembered as expelled before, and for how long; one more forgets the oldest.
const OFFENDERS_MAX: usize = 1024;
const OFFENDER_SPAN: Duration = Duration::from_secs(24 * 3600);
/// A key that was expelled before is found guilty at this share of the score.
const OFFENDER_SHARE: f64 = 0.5;

/// What follows from the judged turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// Takes turns and does not pass them on: out.
    Expel(Slot),
    /// Its turns are over and it has said nothing since: it may be dead.
    Ask(Slot),
    /// Its turns do not reach the others, for whatever reason: none for a while, and how often that was before.
    Rest(Slot, u32),
}

/// Voices, turns and scores.
#[derive(Debug, Default)]
pub(super) struct Fairness {
    members: BTreeMap<Slot, Account>,
    turns: VecDeque<Turn>,
    offenders: BTreeMap<PeerId, Instant>,
    looked: Instant,
    /// Something was said since.
    is_news: bool,
    /// Expulsions of the last while.
    expelled: VecDeque<Instant>,
}

/// A member that is ready, as a voice and as an origin.
#[derive(Debug)]
struct Account {
    settled: Instant,
    weight: u32,
    /// When it last said anything.
    heard: Instant,
    sensitivity: f64,
    /// Share of the others' chunks that it says it misses.
    misses: f64,
    last_turn: Option<Instant>,
    pace: Pace,
    /// Share of its copies that others say they miss; `None` before the first judged turn.
    missed: Option<f64>,
    /// Copies that it owned up to, and that no missing one was set off against.
    credit: f64,
    full: Cusum,
    half: Cusum,
    lame: Cusum,
    rests: u32,
    /// Turns given before do not count towards the next rest.
    rested: Instant,
}

/// A turn under judgement.
#[derive(Debug)]
struct Turn {
    origin: Slot,
    given: Instant,
    first: ChunkNumber,
    /// Weight of all who may speak, and of the weightiest of them.
    electorate: u32,
    weightiest: u32,
    chunks: Vec<Heard>,
    is_judged: bool,
}

/// What is said of one chunk.
#[derive(Clone, Debug)]
struct Heard {
    spoken: SlotSet,
    weight: u32,
    missed: u32,
    /// What its origin says itself: it had it in time.
    had: Option<bool>,
}

impl Fairness {
    /// A member is ready for turns.
    pub(super) fn admit(&mut self, now: Instant, slot: Slot, peer: PeerId, config: &FairnessConfig) {
        self.offenders.retain(|_, at| now.since(*at) < OFFENDER_SPAN);
        let is_offender = self.offenders.contains_key(&peer);
        let account = Account {
            settled: now + SETTLING,
            weight: if config.monitors.contains(&peer) { MONITOR_WEIGHT } else { 1 },
            heard: now,
            sensitivity: if is_offender { OFFENDER_SHARE } else { 1.0 },
            misses: 0.0,
            last_turn: None,
            pace: Pace::new(),
            missed: None,
            credit: 0.0,
            full: Cusum::new(HONEST, FULL),
            half: Cusum::new(HONEST, HALF),
            lame: Cusum::new(LAME_HONEST, LAME_GUILTY),
            rests: 0,
            rested: now,
        };
        self.members.insert(slot, account);
    }

    /// Whether a member has been ready for long enough to be heard.
    pub(super) fn has_settled(&self, now: Instant, slot: Slot) -> bool {
        self.members.get(&slot).is_some_and(|account| account.settled <= now)
    }

    /// A member is gone: its turns are judged no more, and what it said stays said.
    pub(super) fn forget(&mut self, slot: Slot) {
        if self.members.remove(&slot).is_some() {
            self.turns.retain(|turn| turn.origin != slot);
        }
    }

    /// A key was expelled.
    pub(super) fn remember(&mut self, now: Instant, peer: PeerId) {
        if self.offenders.len() >= OFFENDERS_MAX
            && let Some(oldest) = self.offenders.iter().min_by_key(|(_, at)| **at).map(|(peer, _)| *peer)
        {
            self.offenders.remove(&oldest);
        }
        self.offenders.insert(peer, now);
    }

    /// Chunks in a row went to their origin.
    pub(super) fn on_turn(&mut self, now: Instant, origin: Slot, first: ChunkNumber, chunks: usize) {
        let others = self.members.iter().filter(|(slot, account)| **slot != origin && account.settled <= now);
        let (electorate, weightiest) =
            others.fold((0, 0), |(sum, most), (_, account)| (sum + account.weight, account.weight.max(most)));
        let Some(account) = self.members.get_mut(&origin).filter(|_| chunks > 0) else { return };
        if let Some(last) = account.last_turn.replace(now) {
            account.pace.add(now.since(last));
        }
        if account.settled > now {
            return;
        }
        if self.turns.len() == TURNS_MAX {
            self.turns.pop_front();
        }
        let heard = Heard { spoken: SlotSet::EMPTY, weight: 0, missed: 0, had: None };
        let chunks = vec![heard; chunks];
        self.turns.push_back(Turn {
            origin,
            given: now,
            first,
            electorate,
            weightiest,
            chunks,
            is_judged: false,
        });
    }

    /// A member says something, whatever it is.
    pub(super) fn on_heard(&mut self, now: Instant, slot: Slot) {
        if let Some(account) = self.members.get_mut(&slot) {
            account.heard = now;
        }
    }

    /// A member says what came to it, and what it owes.
    pub(super) fn on_witness(&mut self, from: Slot, witness: &Witness) {
        let Some(account) = self.members.get_mut(&from) else { return };
        account.credit = account.credit / 2.0 + f64::from(witness.copies_late());
        let (weight, settled) = (account.weight, account.settled);
        let (mut of_others, mut missed) = (0_u32, 0_u32);
        let mut turn = self.turns.partition_point(|turn| turn.end() <= witness.first());
        for (number, came) in witness.iter() {
            while self.turns.get(turn).is_some_and(|turn| turn.end() <= number) {
                turn += 1;
            }
            let Some(turn) = self.turns.get_mut(turn) else { break };
            let place = usize::try_from(number.since(turn.first)).unwrap_or(usize::MAX);
            let Some(heard) = turn.chunks.get_mut(place).filter(|_| turn.first <= number) else { continue };
            if turn.origin == from {
                heard.had = Some(came);
                continue;
            }
            of_others += 1;
            missed += u32::from(!came);
            if settled <= turn.given && !turn.is_judged && !heard.spoken.contains(from) {
                heard.spoken.insert(from);
                heard.weight += weight;
                heard.missed += if came { 0 } else { weight };
            }
        }
        if of_others > 0
            && let Some(account) = self.members.get_mut(&from)
        {
            let share = f64::from(missed) / f64::from(of_others);
            account.misses += (share - account.misses) * NEWEST;
        }
        self.is_news = true;
    }

    /// When turns are looked at next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let oldest = self.turns.front()?;
        let waits = [JUDGE_AFTER, OWN_WORD_AFTER, FORGET_AFTER].map(|wait| oldest.given + wait);
        let next = waits.into_iter().find(|at| *at > self.looked).unwrap_or(self.looked);
        Some(if self.is_news { next.min(self.looked + LOOK_SPAN) } else { next })
    }

    /// Judges the turns of which enough was said, if it is time to look.
    pub(super) fn judge(&mut self, now: Instant) -> Vec<Ruling> {
        if self.deadline().is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.looked = now;
        self.is_news = false;
        let team = self.shares();
        let mut rulings = Vec::new();
        for turn in self.turns.iter_mut().filter(|turn| !turn.is_judged) {
            let Some(account) = self.members.get_mut(&turn.origin).filter(|_| turn.is_due(now)) else {
                continue;
            };
            if turn.has_own_word() || turn.given + OWN_WORD_AFTER <= now {
                if !turn.has_own_word() && account.heard < turn.given + OWN_WORD_SPAN {
                    rulings.push(Ruling::Ask(turn.origin));
                    turn.is_judged = turn.given + FORGET_AFTER <= now;
                    continue;
                }
                turn.is_judged = true;
                let baseline = median_of_others(&team, account.missed);
                rulings.extend(account.judge(now, turn, baseline));
            }
        }
        while self.turns.front().is_some_and(|turn| turn.is_judged) {
            self.turns.pop_front();
        }
        rulings
    }

    /// What each origin loses, in ascending order.
    fn shares(&self) -> Vec<f64> {
        let mut shares: Vec<f64> = self.members.values().filter_map(|account| account.missed).collect();
        shares.sort_unstable_by(f64::total_cmp);
        shares
    }
}

/// What the better half of the team's origins loses at most, beside the one that loses `own`.
fn median_of_others(team: &[f64], own: Option<f64>) -> f64 {
    let place = own.map_or(team.len(), |own| team.partition_point(|share| *share < own));
    let others = team.len() - usize::from(own.is_some() && place < team.len());
    let middle = others.saturating_sub(1) / 2;
    let median = if place <= middle { team.get(middle + 1) } else { team.get(middle) };
    median.filter(|_| others > 0).copied().unwrap_or(0.0)
}

impl Turn {
    /// The number behind its last chunk.
    fn end(&self) -> ChunkNumber {
        self.first.plus(self.chunks.len() as u64)
    }

    /// Whether its origin has spoken of all of it.
    fn has_own_word(&self) -> bool {
        self.chunks.iter().all(|heard| heard.had.is_some())
    }

    /// Whether enough was said, or waited.
    fn is_due(&self, now: Instant) -> bool {
        let is_told = |heard: &Heard| heard.weight * 100 >= self.electorate * SPOKEN_PERCENT;
        self.given + JUDGE_AFTER <= now || (self.electorate > 0 && self.chunks.iter().all(is_told))
    }
}

impl Account {
    /// One more turn of this member's is over.
    fn judge(&mut self, now: Instant, turn: &Turn, baseline: f64) -> Option<Ruling> {
        // Of a turn that half of those who may speak say nothing about, nothing is known.
        let is_told =
            |heard: &&Heard| heard.spoken.len() >= VOICES_MIN && heard.weight * 2 >= turn.electorate;
        let told: Vec<&Heard> = turn.chunks.iter().filter(is_told).collect();
        let all = Pool::of(told.iter().copied());
        let share = all.share()?;
        let mean = self.missed.get_or_insert(share);
        *mean += (share - *mean) * NEWEST;
        if baseline > BASELINE_MAX {
            return None;
        }
        let is_lame = all.is_missed(turn.weightiest, 0.0, LAME_SHARE.max(baseline + LAME_EXCESS));
        // What the origin says it never had is the first hop's loss, and what it owned up to costs it turns: neither is guilt.
        let owed = Pool::of(told.iter().copied().filter(|heard| heard.had != Some(false)));
        let excused = self.credit.min(owed.missed);
        let may_judge = owed.share().is_some() && self.misses <= CUT_OFF_SHARE;
        if may_judge {
            self.credit -= excused;
            let is_bad = owed.is_missed(turn.weightiest, excused, BAD_SHARE.max(baseline + BAD_EXCESS));
            let threshold = self.pace.threshold() * self.sensitivity;
            // Both go on, whichever speaks first.
            if (self.full.add(is_bad) >= threshold) | (self.half.add(is_bad) >= threshold) {
                return Some(Ruling::Expel(turn.origin));
            }
        }
        // Who is half convicted gets its turns until the verdict: a rest would put it off.
        let is_on_trial = self.full.score().max(self.half.score()) * 2.0 >= self.pace.threshold();
        if turn.given < self.rested || self.lame.add(is_lame) < LAME_THRESHOLD || is_on_trial {
            return None;
        }
        self.lame.reset();
        self.rests += 1;
        self.rested = now;
        Some(Ruling::Rest(turn.origin, self.rests - 1))
    }
}

/// What is said of several chunks together.
struct Pool {
    chunks: f64,
    weight: f64,
    missed: f64,
}

impl Pool {
    fn of<'a>(heard: impl Iterator<Item = &'a Heard>) -> Self {
        heard.fold(Self { chunks: 0.0, weight: 0.0, missed: 0.0 }, |sum, heard| Self {
            chunks: sum.chunks + 1.0,
            weight: sum.weight + f64::from(heard.weight),
            missed: sum.missed + f64::from(heard.missed),
        })
    }

    /// Of what was said, how much says that it was missed.
    fn share(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.missed / self.weight)
    }

    /// Whether the weightiest voice and this share of all miss each chunk, or as many on average (R-FAIR-7).
    fn is_missed(&self, weightiest: u32, excused: f64, share: f64) -> bool {
        self.missed - excused >= self.chunks.mul_add(f64::from(weightiest), share * self.weight)
    }
}
