//! Voices and turns by hand: who is found guilty, when, and by whom.

use super::{
    BAD_SHARE, Fairness, FairnessConfig, MONITOR_WEIGHT, OFFENDERS_MAX, Pool, Ruling, SETTLING, TURNS_MAX,
    sequential::HONEST,
};
use crate::Instant;
use p2psp_wire::{ChunkNumber, PeerId, Slot, Witness};
use std::time::Duration;

/// A round of 64 members at 5 Mb/s, and its turn.
const ROUND: Duration = Duration::from_millis(210);
const TURN_CHUNKS: u64 = 2;

struct Bench {
    fairness: Fairness,
    now: Instant,
    members: u16,
    next: u64,
}

fn slot(n: u16) -> Slot {
    Slot::new(n).unwrap()
}

fn key(n: u16) -> PeerId {
    let mut key = [0; 32];
    key[..2].copy_from_slice(&n.to_be_bytes());
    PeerId::new(key)
}

fn number(n: u64) -> ChunkNumber {
    ChunkNumber::new(n).unwrap()
}

impl Bench {
    fn new(members: u16, monitors: u16) -> Self {
        let mut fairness = Fairness::default();
        let config = FairnessConfig { monitors: (0..monitors).map(key).collect(), ..FairnessConfig::new() };
        let now = Instant::from_micros(1_000_000);
        for n in 0..members {
            fairness.admit(now, slot(n), key(n), &config);
        }
        Self { fairness, now: now + SETTLING, members, next: 100 }
    }

    /// One turn of a member's, after which everybody speaks: `came` by voice and place in the turn, and how many copies are owned
    /// up to.
    fn turn(&mut self, origin: u16, late: u32, came: impl Fn(u16, u64) -> bool) -> Vec<Ruling> {
        let first = number(self.next);
        self.next += TURN_CHUNKS;
        self.fairness.on_turn(self.now, slot(origin), first, 2);
        for voice in 0..self.members {
            let owned = if voice == origin { late } else { 0 };
            let witness = Witness::new(first, (0..TURN_CHUNKS).map(|place| came(voice, place)), owned);
            self.fairness.on_witness(slot(voice), &witness);
        }
        let rulings = self.fairness.judge(self.now + Duration::from_millis(100));
        self.now = self.now + ROUND;
        rulings
    }

    /// The rulings of so many turns, each with the number of its turn.
    fn turns(
        &mut self,
        count: u64,
        origin: u16,
        late: u32,
        came: impl Fn(u64, u16, u64) -> bool,
    ) -> Vec<(u64, Ruling)> {
        let judged = |turn| self.turn(origin, late, |voice, place| came(turn, voice, place));
        let rulings: Vec<Vec<Ruling>> = (1..=count).map(judged).collect();
        (1..).zip(rulings).flat_map(|(turn, rulings)| rulings.into_iter().map(move |r| (turn, r))).collect()
    }
}

/// The first turn at which this origin is expelled.
fn expelled_at(rulings: &[(u64, Ruling)], origin: u16) -> Option<u64> {
    rulings.iter().find(|(_, ruling)| *ruling == Ruling::Expel(slot(origin))).map(|(turn, _)| *turn)
}

fn rests(rulings: &[(u64, Ruling)]) -> Vec<u64> {
    rulings.iter().filter(|(_, ruling)| matches!(ruling, Ruling::Rest(..))).map(|(turn, _)| *turn).collect()
}

/// R-FAIR-8: in any team, with any number of monitors, an honest origin's turn is bad with less than the probability that the test
/// is built for: a tenth of it at 5 % loss on each link, and all of it at 10 %. Summed over all ways in which voices can miss a chunk.
#[test]
fn an_honest_turn_is_hardly_ever_bad() {
    let choose = |n: u32| {
        let mut row = vec![1.0_f64];
        for k in 0..n {
            row.push(row[k as usize] * f64::from(n - k) / f64::from(k + 1));
        }
        row
    };
    for (loss, most) in [(0.05, HONEST / 10.0), (0.10, HONEST)] {
        for (members, monitors) in (0..=64).flat_map(|n| (0..=8).map(move |m| (n, m))) {
            if members + monitors < 3 {
                continue;
            }
            let weightiest = if monitors == 0 { 1 } else { MONITOR_WEIGHT };
            let (of_members, of_monitors) = (choose(members), choose(monitors));
            let probability = |row: &[f64], n: u32, k: u32| {
                row[k as usize] * f64::powf(loss, k.into()) * f64::powf(1.0 - loss, (n - k).into())
            };
            let mut bad = 0.0;
            for (a, b) in (0..=members).flat_map(|a| (0..=monitors).map(move |b| (a, b))) {
                let weight = f64::from(members + MONITOR_WEIGHT * monitors);
                let pool = Pool { chunks: 1.0, weight, missed: f64::from(a + MONITOR_WEIGHT * b) };
                if pool.is_missed(weightiest, 0.0, BAD_SHARE) {
                    bad += probability(&of_members, members, a) * probability(&of_monitors, monitors, b);
                }
            }
            assert!(bad <= most, "{members} members and {monitors} monitors at {loss}: {bad}");
        }
    }
}

/// Who relays nothing is found out by its fifth turn, who withholds from every second teammate likewise, who withholds every
/// second turn by its thirteenth; before that they did their share for as long as anybody likes.
#[test]
fn free_riders_are_found_out_in_time() {
    type Came = fn(u64, u16, u64) -> bool;
    let kinds: [(&str, Came, u64); 4] = [
        ("everything", |_, _, _| false, 5),
        ("every second teammate's", |_, voice, _| voice % 2 == 0, 6),
        ("every second chunk", |_, _, place| place == 0, 6),
        ("every second turn", |turn, _, _| turn % 2 == 0, 13),
    ];
    for (what, came, latest) in kinds {
        let mut bench = Bench::new(64, 0);
        assert_eq!(bench.turns(200, 7, 0, |_, voice, _| voice != 3), []);
        // What the origin says of itself is that it had its turns.
        let rulings = bench.turns(20, 7, 0, |turn, voice, place| voice == 7 || came(turn, voice, place));
        let at = expelled_at(&rulings, 7);
        assert!(at.is_some_and(|at| at <= latest), "{what}: {rulings:?}");
        assert!(at >= Some(latest - 1), "{what}: earlier than the arithmetic allows: {rulings:?}");
    }
}

/// A third of the team that swears that nothing comes from an honest origin gets it a rest, and never expelled, although the others lose
/// one chunk in twenty.
#[test]
fn a_third_that_lies_expels_nobody() {
    let mut bench = Bench::new(64, 0);
    let rulings = bench
        .turns(2_000, 7, 0, |turn, voice, place| voice > 21 && (turn + u64::from(voice) + place) % 20 != 0);
    assert_eq!(expelled_at(&rulings, 7), None);
    assert!(!rests(&rulings).is_empty());
}

/// R-FAIR-7: what its origin never had is the splitter's loss, and what it owns up to is no fraud. Neither is guilt, and both cost
/// turns, each time longer.
#[test]
fn who_owns_up_keeps_the_seat() {
    let nothing_came: fn(u64, u16, u64) -> bool = |_, _, _| false;
    let others_miss: fn(u64, u16, u64) -> bool = |_, voice, _| voice == 7;
    for (late, came) in [(0, nothing_came), (126, others_miss)] {
        let mut bench = Bench::new(64, 0);
        let rulings = bench.turns(100, 7, late, came);
        assert_eq!(expelled_at(&rulings, 7), None, "{late}");
        assert_eq!(rests(&rulings).first(), Some(&7), "{late}");
        let before: Vec<u32> = rulings
            .iter()
            .filter_map(|(_, ruling)| if let Ruling::Rest(_, before) = ruling { Some(*before) } else { None })
            .collect();
        assert_eq!(before, (0..).take(before.len()).collect::<Vec<_>>(), "{late}");
    }
    // One copy in three owned up to is not enough.
    let mut bench = Bench::new(64, 0);
    let rulings = bench.turns(20, 7, 30, |_, voice, _| voice == 7);
    assert!(expelled_at(&rulings, 7).is_some());
}

/// What the whole team suffers is nobody's guilt, and who is cut off from the others is no free rider.
#[test]
fn common_misery_is_no_guilt() {
    let mut bench = Bench::new(20, 0);
    for round in 0..100 {
        for origin in 0..20 {
            // Two camps that do not hear each other.
            let rulings = bench.turn(origin, 0, |voice, _| voice % 2 == origin % 2);
            assert!(!rulings.iter().any(|r| matches!(r, Ruling::Expel(_))), "round {round}: {rulings:?}");
        }
    }
    let mut bench = Bench::new(20, 0);
    for round in 0..100 {
        for origin in 0..20 {
            // Nobody hears member 4, and it hears nobody.
            let rulings = bench.turn(origin, 0, |voice, _| (voice == 4) == (origin == 4));
            assert!(!rulings.iter().any(|r| matches!(r, Ruling::Expel(_))), "round {round}: {rulings:?}");
        }
    }
}

/// R-FAIR-7: a monitor's word counts double. Half of ten, all of its four monitors among them, makes a turn bad that half of ten
/// members does not.
#[test]
fn monitors_weigh_more() {
    for (monitors, expected) in [(0, false), (4, true)] {
        let mut bench = Bench::new(11, monitors);
        let rulings = bench.turns(40, 10, 0, |_, voice, _| voice >= 5);
        assert_eq!(expelled_at(&rulings, 10).is_some(), expected, "{monitors} monitors: {rulings:?}");
    }
}

/// R-FAIR-10: who was expelled before is found out by its third turn, a day later by its fifth again.
#[test]
fn trust_is_halved_for_a_day() {
    for (hours, turns) in [(1, 3), (23, 3), (25, 5)] {
        let mut bench = Bench::new(64, 0);
        bench.fairness.remember(bench.now, key(7));
        bench.fairness.forget(slot(7));
        bench.now = bench.now + Duration::from_secs(3600 * hours);
        bench.fairness.admit(bench.now, slot(7), key(7), &FairnessConfig::new());
        bench.now = bench.now + SETTLING;
        bench.turns(20, 7, 0, |_, _, _| true);
        let rulings = bench.turns(10, 7, 0, |_, voice, _| voice == 7);
        assert_eq!(expelled_at(&rulings, 7), Some(turns), "after {hours} hours");
    }
}

/// A voice counts once for a chunk, counts when it has settled, and judges nobody with fewer than two others.
#[test]
fn voices_are_counted() {
    let mut bench = Bench::new(3, 0);
    assert_eq!(bench.turns(100, 0, 0, |_, voice, _| voice == 0), [], "two voices");
    let mut bench = Bench::new(12, 0);
    for _ in 0..50 {
        bench.fairness.on_turn(bench.now, slot(0), number(bench.next), 1);
        for (voice, came) in [(0, true), (1, false), (2, true), (3, true), (4, true), (5, true), (6, true)] {
            for _ in 0..10 {
                bench.fairness.on_witness(slot(voice), &Witness::new(number(bench.next), [came], 0));
            }
        }
        bench.next += 1;
        bench.now = bench.now + ROUND;
        assert_eq!(bench.fairness.judge(bench.now), []);
    }
    // Twelve newcomers that hear nobody yet do not outvote six that hear everybody.
    let mut bench = Bench::new(7, 0);
    let settled = bench.now;
    for n in 7..19 {
        bench.fairness.admit(settled, slot(n), key(n), &FairnessConfig::new());
    }
    bench.members = 19;
    let turns = SETTLING.as_millis() / ROUND.as_millis();
    assert_eq!(bench.turns(u64::try_from(turns).unwrap(), 0, 0, |_, voice, _| voice < 7), []);
}

/// Of whom nothing is heard after its turns may be dead: it is asked for, and never expelled. Who is heard, and says nothing of its
/// turns, is judged a little later.
#[test]
fn the_dead_are_no_free_riders() {
    for lives in [false, true] {
        let mut bench = Bench::new(64, 0);
        bench.turns(20, 7, 0, |_, _, _| true);
        let mut rulings = Vec::new();
        for _ in 0..20 {
            let first = number(bench.next);
            bench.next += 2;
            bench.fairness.on_turn(bench.now, slot(7), first, 2);
            for voice in (0..64).filter(|voice| *voice != 7) {
                bench.fairness.on_witness(slot(voice), &Witness::new(first, [false, false], 0));
            }
            if lives {
                bench.fairness.on_heard(bench.now, slot(7));
            }
            rulings.extend(bench.fairness.judge(bench.now + Duration::from_millis(100)));
            bench.now = bench.now + ROUND;
        }
        assert_eq!(rulings.contains(&Ruling::Expel(slot(7))), lives, "{rulings:?}");
        assert_eq!(rulings.contains(&Ruling::Ask(slot(7))), !lives, "{rulings:?}");
    }
}

/// Turns that nobody speaks of are forgotten, one more than fit drops the oldest, and so it is with expelled keys. What is said of
/// unknown chunks means nothing.
#[test]
fn memory_is_bounded() {
    let mut bench = Bench::new(8, 0);
    for n in 0..=TURNS_MAX as u64 {
        bench.fairness.on_turn(bench.now, slot(0), number(n * 2), 2);
    }
    assert_eq!(bench.fairness.turns.len(), TURNS_MAX);
    assert_eq!(bench.fairness.turns.front().unwrap().first, number(2));
    for first in [0, 1, 5_000, p2psp_wire::limits::CHUNK_NUMBER_MAX] {
        bench.fairness.on_witness(slot(1), &Witness::new(number(first), [false; 2_048], u32::MAX));
        bench.fairness.on_witness(slot(400), &Witness::new(number(first), [false; 2_048], u32::MAX));
    }
    let later = bench.now + Duration::from_secs(5);
    assert!(bench.fairness.judge(later).iter().all(|ruling| *ruling == Ruling::Ask(slot(0))));
    assert_eq!((bench.fairness.turns.len(), bench.fairness.deadline()), (0, None));
    for n in 0..=u16::try_from(OFFENDERS_MAX).unwrap() {
        bench.fairness.remember(bench.now + Duration::from_millis(n.into()), key(n));
    }
    assert_eq!(bench.fairness.offenders.len(), OFFENDERS_MAX);
    assert!(!bench.fairness.offenders.contains_key(&key(0)));
}
