//! Whether a member that its teammates have stopped hearing still lives (R-CRASH-5): it is asked over its own link, which nobody else
//! has a say in. Owns the questions under way and how fast each member answers; knows no link and no seat.

use crate::Instant;
use p2psp_wire::Slot;
use std::{collections::BTreeMap, time::Duration};

/// Probes of one cycle; more would tell no more.
const PROBES_MAX: u8 = 3;
/// A member of which nothing comes for this long after the first probe is dead ...
const PATIENCE_MIN: Duration = Duration::from_millis(400);
/// ... or for so many of its round trips, because the stream under the probes repeats what is lost: two losses in a row delay an
/// answer by no more ...
const PATIENCE_ROUND_TRIPS: u32 = 6;
/// ... but never for longer than this: the transport has noticed by then.
const PATIENCE_MAX: Duration = Duration::from_millis(2_500);
/// After a cycle's begin no other one begins for this long, whoever asks for it.
const REST: Duration = Duration::from_secs(2);
/// A member without teammates, whom nobody else can miss, is asked so often ...
const LONE_BEAT: Duration = Duration::from_millis(200);

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send this member a probe.
    Ask(Slot, u32),
    /// It is dead.
    Dead(Slot),
}

/// Cycles of probes, one a member at most.
#[derive(Debug, Default)]
pub(super) struct Probes {
    pulses: BTreeMap<Slot, Pulse>,
    token: u32,
}

/// What is known of one member.
#[derive(Debug)]
struct Pulse {
    began: Instant,
    /// Its teammates miss it: silence is its end.
    is_doubted: bool,
    /// Its turns were taken away for that.
    is_silenced: bool,
    /// Something came of it since the newest probe.
    is_heard: bool,
    sent: u8,
    /// The newest probe, and when it was sent.
    newest: (u32, Instant),
    /// When the next step is due; `None` when it is known to live.
    next: Option<Instant>,
    /// The shortest time from a probe to its answer so far.
    round_trip: Option<Duration>,
}

impl Pulse {
    fn patience(&self) -> Duration {
        let wait = self.round_trip.unwrap_or_default() * PATIENCE_ROUND_TRIPS;
        wait.clamp(PATIENCE_MIN, PATIENCE_MAX)
    }

    /// A new cycle of probes begins, at whose end it is dead.
    fn doubt(&mut self, now: Instant, is_silenced: bool) {
        self.began = now;
        self.is_doubted = true;
        self.is_silenced = is_silenced;
        self.sent = 0;
        self.next = Some(now);
    }

    /// When a member without teammates is asked next: ... or, where it is far, as often as answers can come. Nothing follows from
    /// the silence of one whose distance is not known.
    fn beat(&self) -> Option<Instant> {
        Some(self.newest.1 + self.round_trip?.clamp(LONE_BEAT, PATIENCE_MAX))
    }

    /// When its next step is due.
    fn due(&self, is_lone: bool) -> Option<Instant> {
        self.next.or_else(|| self.beat().filter(|_| is_lone))
    }
}

impl Probes {
    /// A member begins to own turns: how long it takes to answer is measured once.
    pub(super) fn measure(&mut self, now: Instant, slot: Slot) {
        self.pulses.entry(slot).or_insert(Pulse {
            began: now,
            is_doubted: false,
            is_silenced: false,
            is_heard: false,
            sent: 0,
            newest: (0, now),
            next: Some(now),
            round_trip: None,
        });
    }

    /// It is asked once whether it lives, and nothing follows when it says nothing.
    pub(super) fn ask(&mut self, now: Instant, slot: Slot) {
        self.measure(now, slot);
        let Some(pulse) = self.pulses.get_mut(&slot).filter(|pulse| pulse.next.is_none()) else { return };
        if now.since(pulse.began) >= REST {
            pulse.began = now;
            pulse.is_doubted = false;
            pulse.sent = 0;
            pulse.next = Some(now);
        }
    }

    /// Enough members miss it, and its turns were taken away for that or not.
    pub(super) fn doubt(&mut self, now: Instant, slot: Slot, is_silenced: bool) {
        self.measure(now, slot);
        let Some(pulse) = self.pulses.get_mut(&slot) else { return };
        if pulse.is_doubted && now.since(pulse.began) < REST {
            pulse.is_silenced |= is_silenced;
            return;
        }
        pulse.doubt(now, is_silenced);
    }

    /// Something came over its link: it lives. True when that ends a cycle for which its turns were taken away.
    pub(super) fn on_heard(&mut self, slot: Slot) -> bool {
        let Some(pulse) = self.pulses.get_mut(&slot) else { return false };
        pulse.is_heard = true;
        pulse.is_doubted && pulse.next.take().is_some() && pulse.is_silenced
    }

    /// Whether it was asked lately, and lives.
    pub(super) fn has_answered(&self, now: Instant, slot: Slot) -> bool {
        let has_answered =
            |pulse: &Pulse| pulse.is_doubted && pulse.next.is_none() && now.since(pulse.began) < REST;
        self.pulses.get(&slot).is_some_and(has_answered)
    }

    /// An answer came. One that nobody waits for says nothing about time.
    pub(super) fn on_alive(&mut self, now: Instant, slot: Slot, token: u32) {
        let Some(pulse) = self.pulses.get_mut(&slot).filter(|pulse| pulse.sent > 0) else { return };
        if pulse.newest.0 == token {
            let took = now.since(pulse.newest.1);
            pulse.round_trip = Some(pulse.round_trip.map_or(took, |shortest| shortest.min(took)));
        }
    }

    /// A member is gone.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.pulses.remove(&slot);
    }

    /// When the next step is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let is_lone = self.is_lone();
        self.pulses.values().filter_map(|pulse| pulse.due(is_lone)).min()
    }

    /// Nobody else is there who could miss a member.
    fn is_lone(&self) -> bool {
        self.pulses.len() == 1
    }

    /// The next step that is due, if one is. A splitter that wakes up late takes each step late: an answer that waits to be read
    /// must not be missed because time has passed here.
    pub(super) fn step(&mut self, now: Instant) -> Option<Step> {
        let is_lone = self.is_lone();
        let (slot, pulse) =
            self.pulses.iter_mut().find(|(_, pulse)| pulse.due(is_lone).is_some_and(|at| at <= now))?;
        if pulse.next.is_none() {
            if pulse.is_heard {
                pulse.is_doubted = false;
                pulse.sent = 0;
            } else {
                pulse.doubt(now, false);
            }
        }
        let slot = *slot;
        if pulse.sent == PROBES_MAX {
            self.pulses.remove(&slot);
            return Some(Step::Dead(slot));
        }
        self.token = self.token.wrapping_add(1);
        pulse.newest = (self.token, now);
        pulse.is_heard = false;
        pulse.sent += 1;
        // Two probes follow at three tenths of the patience each; the last one has four tenths for its answer.
        let tenths = if pulse.sent == PROBES_MAX { 4 } else { 3 };
        pulse.next = pulse.is_doubted.then(|| now + pulse.patience() * tenths / 10);
        Some(Step::Ask(slot, self.token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::slot;

    const NOW: Instant = Instant::from_micros(5_000_000);

    /// Everything that falls due up to `end`, with its time in milliseconds.
    fn run(probes: &mut Probes, end: Duration) -> Vec<(u128, Step)> {
        let mut steps = Vec::new();
        while let Some(at) = probes.deadline().filter(|at| *at <= NOW + end) {
            steps.extend(probes.step(at).map(|step| (at.since(NOW).as_millis(), step)));
        }
        steps
    }

    /// Three probes within the patience, then the end; and nothing after it.
    #[test]
    fn three_probes_and_the_end() {
        let mut probes = Probes::default();
        probes.doubt(NOW, slot(4), false);
        let steps = run(&mut probes, Duration::from_secs(60));
        let expected = [
            (0, Step::Ask(slot(4), 1)),
            (120, Step::Ask(slot(4), 2)),
            (240, Step::Ask(slot(4), 3)),
            (400, Step::Dead(slot(4))),
        ];
        assert_eq!(steps, expected);
    }

    /// Any word is life, and whoever asks again at once gets no second cycle.
    #[test]
    fn a_word_is_life() {
        let mut probes = Probes::default();
        probes.doubt(NOW, slot(4), true);
        run(&mut probes, Duration::from_millis(160));
        assert!(probes.on_heard(slot(4)), "its turns are given back");
        assert!(!probes.on_heard(slot(4)), "once");
        for wait in [200, 1_000, 1_999] {
            assert!(probes.has_answered(NOW + Duration::from_millis(wait), slot(4)), "{wait} ms");
            probes.doubt(NOW + Duration::from_millis(wait), slot(4), true);
            assert_eq!(probes.deadline(), None, "{wait} ms");
        }
        assert!(!probes.has_answered(NOW + REST, slot(4)));
        probes.doubt(NOW + REST, slot(4), false);
        assert_eq!(probes.deadline(), Some(NOW + REST));
    }

    /// A measurement asks once, and buries nobody; a far member has six round trips, and no more than the longest patience.
    #[test]
    fn far_members_have_more_time() {
        for (round_trip, patience) in [(40, 400), (200, 1_200), (10_000, 2_500)] {
            let mut probes = Probes::default();
            probes.measure(NOW, slot(1));
            assert_eq!(run(&mut probes, Duration::from_secs(60)), [(0, Step::Ask(slot(1), 1))]);
            let answered = NOW + Duration::from_millis(round_trip);
            probes.on_alive(answered, slot(1), 7);
            probes.on_alive(answered, slot(1), 1);
            probes.doubt(answered, slot(1), true);
            let steps = run(&mut probes, Duration::from_secs(60));
            assert_eq!(steps.last(), Some(&(u128::from(round_trip + patience), Step::Dead(slot(1)))));
            assert_eq!(steps.len(), 4);
        }
    }

    /// A splitter that was held up asks all its questions, and waits for each answer as long as ever.
    #[test]
    fn a_late_splitter_blames_nobody() {
        let mut probes = Probes::default();
        probes.doubt(NOW, slot(4), false);
        assert!(matches!(probes.step(NOW), Some(Step::Ask(..))));
        let late = NOW + Duration::from_secs(9);
        assert!(matches!(probes.step(late), Some(Step::Ask(..))));
        assert_eq!(probes.step(late), None);
        assert_eq!(probes.deadline(), Some(late + Duration::from_millis(120)));
    }

    /// Who is asked on nobody's doubt is asked once in a while, and is never found dead by it.
    #[test]
    fn a_question_has_no_end() {
        let mut probes = Probes::default();
        probes.ask(NOW, slot(4));
        assert_eq!(run(&mut probes, Duration::from_secs(60)), [(0, Step::Ask(slot(4), 1))]);
        for (wait, expected) in [(1_999, None), (2_000, Some(Step::Ask(slot(4), 2))), (2_001, None)] {
            let now = NOW + Duration::from_millis(wait);
            probes.ask(now, slot(4));
            assert_eq!(probes.step(now), expected, "{wait} ms");
        }
        probes.doubt(NOW + REST + REST, slot(4), false);
        assert!(
            run(&mut probes, Duration::from_secs(60)).iter().any(|(_, step)| *step == Step::Dead(slot(4)))
        );
    }

    /// A lone member whose round trip is known, and how its probes go: each is answered after `round_trip`, up to its death.
    fn alone(round_trip: u64, dies: u64) -> Option<u64> {
        let after = |millis: u64| NOW + Duration::from_millis(millis);
        let mut probes = Probes::default();
        probes.measure(NOW, slot(0));
        let mut asked = Vec::new();
        for millis in 0..dies + 10_000 {
            while let Some(step) = probes.step(after(millis)) {
                match step {
                    Step::Ask(_, token) => asked.push((millis + round_trip, token)),
                    Step::Dead(_) => return Some(millis),
                }
            }
            for (_, token) in asked.extract_if(.., |(at, _)| *at == millis && millis < dies) {
                probes.on_heard(slot(0));
                probes.on_alive(after(millis), slot(0), token);
            }
        }
        None
    }

    /// Who has no teammates that could miss it is asked all the time, and out within 800 ms of its last word, but not before
    /// nothing has come for as long as others would wait, and its patience is over.
    #[test]
    fn nobody_else_need_miss_a_lone_member() {
        for dies in 30_000..30_250 {
            let dead = alone(20, dies).unwrap();
            assert!((dies + 580..=dies + 800).contains(&dead), "dies at {dies}, out at {dead}");
        }
        // From 400 ms on, three probes at once are on the way: six round trips, and at most the longest patience.
        for (round_trip, patience) in [(300, 1_800), (600, 2_500)] {
            let dead = alone(round_trip, 30_000).unwrap();
            assert!(dead >= 30_000 + patience, "{round_trip} ms away: out at {dead}");
        }
        // Whose answers take longer than that, the first one included, is never in doubt.
        assert_eq!(alone(20_000, 20_000), None, "it has never answered");
    }

    /// A lone member is put out no sooner than one among others: it was not heard for 200 ms, and for 400 ms more.
    #[test]
    fn a_stall_costs_no_lone_member_its_seat() {
        for silent in [250, 599] {
            let mut probes = Probes::default();
            probes.measure(NOW, slot(0));
            assert_eq!(probes.step(NOW), Some(Step::Ask(slot(0), 1)));
            probes.on_heard(slot(0));
            probes.on_alive(NOW + Duration::from_millis(1), slot(0), 1);
            // Asked again at 200 ms, and heard no more from then on; in doubt from 400 ms.
            let steps = run(&mut probes, Duration::from_millis(200 + silent));
            assert!(steps.iter().all(|(_, step)| matches!(step, Step::Ask(..))), "{silent}: {steps:?}");
            assert!(!probes.on_heard(slot(0)), "no turns were taken away");
            let beat = probes.deadline().unwrap();
            assert_eq!(probes.step(beat).map(|step| matches!(step, Step::Ask(..))), Some(true));
            assert_eq!(probes.step(beat), None, "one question, and no doubt");
        }
    }

    /// With a second member the others' word is what counts again.
    #[test]
    fn two_members_are_not_asked() {
        let mut probes = Probes::default();
        for n in [0, 1] {
            probes.measure(NOW, slot(n));
            probes.on_alive(NOW, slot(n), 0);
        }
        assert_eq!(run(&mut probes, Duration::ZERO).len(), 2);
        probes.on_alive(NOW, slot(0), 1);
        probes.on_alive(NOW, slot(1), 2);
        assert_eq!(probes.deadline(), None);
        probes.forget(slot(0));
        assert!(probes.deadline().is_some(), "the last one is alone");
    }

    /// Who is gone is asked nothing.
    #[test]
    fn the_gone_are_left_alone() {
        let mut probes = Probes::default();
        probes.doubt(NOW, slot(4), false);
        probes.forget(slot(4));
        assert_eq!((probes.deadline(), probes.step(NOW)), (None, None));
    }
}
