//! Who carries how much of the stream (R-TURN-4 to R-TURN-7): water is filled into the members' uplinks, what does not fit the splitter
//! sends itself, within its owner's limit, and what does not fit even there is the answer to who wants to join. Arithmetic alone;
//! knows no link and no turn.

use super::{Splitter, members::Member, members::WEIGHT_DEFAULT};
use crate::{Instant, uplink::PACKET_OVERHEAD_BYTES};
use p2psp_wire::{Slot, limits::HEADER_BYTES};
use std::time::Duration;

/// Of what a member says it can relay, this much is given to it: turns come in bursts, and pulls are served beside them.
const FILL: f64 = 0.75;
/// A turn must be with the last teammate before its play-out is due: it may take the origin's uplink for so long.
const TURN_TIME_MAX: Duration = Duration::from_millis(350);
/// Shares follow capacities, joins and the rate at most this often.
const BALANCE_SPAN: Duration = Duration::from_millis(200);

/// What is to be carried: bits a second of the stream with its parity and manifests, on the wire, before anybody copies it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Demand {
    pub(super) bits_per_s: f64,
    /// Everybody who is to have it.
    pub(super) members: usize,
    /// What the splitter may upload itself beside its one copy, in copies.
    pub(super) own_copies_max: f64,
}

/// What a member may carry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Room {
    /// How much it can, in stream bits a second; infinite where it has told nothing.
    pub(super) usable: f64,
    /// Its part of what a member without a limit gets, at most: above 0, up to 1 (R-TURN-7).
    pub(super) part: f64,
}

impl Room {
    /// Of a member that carries nothing.
    const NONE: Self = Self { usable: 0.0, part: 1.0 };

    /// The level at which it is full.
    fn full_at(self) -> f64 {
        self.usable / self.part
    }

    /// What it carries at a level.
    fn share(self, level: f64) -> f64 {
        self.usable.min(self.part * level)
    }
}

/// Who carries it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Balance {
    /// The share of a member without a limit that has room; no member's is above it. In stream bits a second.
    pub(super) level: f64,
    /// The splitter's own share, likewise.
    pub(super) own: f64,
    /// What nobody carries.
    pub(super) lacking: f64,
}

impl Demand {
    /// How much of the stream a member can be the origin of, that can relay `capacity` bits a second.
    pub(super) fn usable(&self, capacity: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "rates lie far below 2^52")]
        let (capacity, copies) = (capacity as f64, self.members.saturating_sub(1) as f64);
        if copies == 0.0 { f64::INFINITY } else { FILL * capacity / copies }
    }

    /// What a member may carry of it.
    fn room(&self, member: &Member) -> Room {
        if member.eco || member.weight_max == 0 {
            return Room::NONE;
        }
        Room {
            usable: member.capacity.map_or(f64::INFINITY, |capacity| self.usable(capacity)),
            part: f64::from(member.weight_max) / f64::from(WEIGHT_DEFAULT),
        }
    }

    /// Fills the members' uplinks evenly, each to its part of the level. Limits are parts of what the others carry: the level ends where
    /// the last of those with the highest limit is full, and the rest is the splitter's.
    pub(super) fn balance(&self, mut rooms: Vec<Room>) -> Balance {
        rooms.retain(|room| room.usable > 0.0);
        rooms.sort_unstable_by(|a, b| a.full_at().total_cmp(&b.full_at()));
        let highest = rooms.iter().map(|room| room.part).fold(0.0, f64::max);
        let end = rooms.iter().rfind(|room| room.part >= highest).map_or(0.0, |room| room.full_at());
        let mut rest = self.bits_per_s;
        // Parts are whole numbers of 256ths: their sum is exact.
        let mut parts: f64 = rooms.iter().map(|room| room.part).sum();
        for room in &rooms {
            let level = rest / parts;
            if level > end {
                break;
            }
            if room.full_at() >= level {
                return Balance { level, own: 0.0, lacking: 0.0 };
            }
            rest -= room.usable;
            parts -= room.part;
        }
        let carried: f64 = rooms.iter().map(|room| room.share(end)).sum();
        let rest = (self.bits_per_s - carried).max(0.0);
        let own = rest.min(self.own_max());
        Balance { level: end, own, lacking: rest - own }
    }

    /// The splitter sends a chunk of its own to every member, one of another to one: `members - 1` more copies.
    fn own_max(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "at most the size of a team")]
        let copies = self.members.saturating_sub(1) as f64;
        if copies <= self.own_copies_max {
            self.bits_per_s
        } else {
            self.bits_per_s * self.own_copies_max / copies
        }
    }
}

/// The weight of a share, where [`WEIGHT_DEFAULT`] stands for `level`.
fn weight(share: f64, level: f64) -> u32 {
    if share <= 0.0 {
        return 0;
    }
    let scaled = (share / level * f64::from(WEIGHT_DEFAULT)).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the range of weights"
    )]
    let weight = scaled.clamp(1.0, f64::from(WEIGHT_DEFAULT) * 1024.0) as u32;
    weight
}

/// Bits of a chunk's packet on the wire.
const fn wire_bits(payload_bytes: usize) -> u64 {
    ((payload_bytes + HEADER_BYTES + PACKET_OVERHEAD_BYTES) * 8) as u64
}

impl Splitter {
    /// A member says what it can relay.
    pub(super) fn on_capacity(&mut self, slot: Slot, uplink_bits_per_s: u64) {
        if let Some(member) = self.members.get_mut(slot) {
            member.capacity = Some(uplink_bits_per_s);
            self.balance_at = Instant::ORIGIN;
        }
    }

    /// What would be to carry with so many members.
    fn demand(&self, members: usize) -> Demand {
        let chunks = self.turns.within(Duration::from_secs(1));
        #[expect(clippy::cast_precision_loss, reason = "rates and sizes lie far below 2^52")]
        let chunk_bits = (chunks.saturating_mul(wire_bits(self.payload_bytes))) as f64;
        let beside = self.generations.as_ref().map_or(0.0, |open| {
            // A manifest is nearly a chunk.
            (f64::from(open.given()) + 1.0) / f64::from(open.data_chunks().max(1))
        });
        Demand {
            bits_per_s: chunk_bits * (1.0 + beside),
            members,
            own_copies_max: self.config.own_copies_max.into(),
        }
    }

    /// Chunks that a turn of this member may have, so that the last teammate has them in time; 0: not even one.
    pub(super) fn turn_chunks_max(&self, capacity: Option<u64>) -> u64 {
        let copies = self.members.len().saturating_sub(1) as u64;
        let Some(capacity) = capacity.filter(|_| copies > 0) else { return u64::MAX };
        let bits = u128::from(capacity) * TURN_TIME_MAX.as_micros() / 1_000_000;
        let turn = u128::from(copies * wire_bits(self.payload_bytes));
        u64::try_from(bits / turn.max(1)).unwrap_or(u64::MAX)
    }

    /// What the weights of those that own turns add up to.
    fn weights(&self) -> u32 {
        self.members.iter().filter(|(_, member)| member.ready).map(|(_, member)| member.weight).sum()
    }

    /// How far apart the turns of a member with the weight 1 are at the present shares; those of heavier ones are closer by as much. Zero
    /// until the stream's rate is known.
    pub(super) fn stride(&self) -> Duration {
        const SECOND: Duration = Duration::from_secs(1);
        let chunks = self.turns.chunks() * u64::from(self.weights() + self.schedule.own_weight());
        let nanos = u128::from(chunks) * SECOND.as_nanos();
        let nanos = nanos.checked_div(self.turns.within(SECOND).into()).unwrap_or(0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Weights follow what members can relay, and who is there.
    pub(super) fn rebalance(&mut self, now: Instant) {
        if now < self.balance_at {
            return;
        }
        self.balance_at = now + BALANCE_SPAN;
        let demand = self.demand(self.members.len());
        if demand.bits_per_s <= 0.0 {
            return;
        }
        let room = |splitter: &Self, member: &Member| {
            let fits = splitter.turn_chunks_max(member.capacity) > 0;
            if fits { demand.room(member) } else { Room::NONE }
        };
        let owners: Vec<(Slot, Room)> = self
            .members
            .iter()
            .filter(|(_, member)| member.ready)
            .map(|(slot, member)| (slot, room(self, member)))
            .collect();
        let Balance { level, own, lacking } = demand.balance(owners.iter().map(|(_, room)| *room).collect());
        // What nobody can carry is laid on the members in proportion, and alike where none can carry anything: late is better than never.
        let is_hopeless = level <= 0.0 && lacking > 0.0;
        for (slot, room) in owners {
            let weight = if is_hopeless { WEIGHT_DEFAULT } else { weight(room.share(level), level) };
            self.reweigh(slot, weight);
        }
        let weights = self.weights();
        if weights > 0 {
            let level = (demand.bits_per_s - own) * f64::from(WEIGHT_DEFAULT) / f64::from(weights);
            self.schedule.reweigh_rest(weight(own, level), 0);
        } else {
            let level = demand.bits_per_s;
            self.schedule.reweigh_rest(weight(own, level), weight(lacking, level));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a thousand")]
        let per_mille = |bits: f64| (bits / demand.bits_per_s * 1000.0).round() as u16;
        self.stats.own_share_per_mille = per_mille(own);
        self.stats.lacking_per_mille = per_mille(lacking);
    }

    /// Gives a member this weight, or as much of it as it may have.
    pub(super) fn reweigh(&mut self, slot: Slot, weight: u32) {
        let Some(member) = self.members.get_mut(slot) else { return };
        let weight = weight.min(member.weight_max);
        if weight < member.weight / 5 * 4 {
            member.turns_at_share = 0;
        }
        self.schedule.reweigh(member, if member.eco { 0 } else { weight });
    }

    /// Whether the uplinks that are known cannot carry one member more. Who is to relay is taken to bring what the others have on
    /// average.
    pub(super) fn lacks_uplink(&self, is_eco: bool) -> bool {
        if self.members.len() == 0 {
            return false;
        }
        let demand = self.demand(self.members.len() + 1);
        let mut rooms: Vec<Room> = self.members.iter().map(|(_, member)| demand.room(member)).collect();
        #[expect(clippy::cast_precision_loss, reason = "at most the size of a team")]
        let mean = rooms.iter().map(|room| room.usable).sum::<f64>() / rooms.len() as f64;
        rooms.push(if is_eco { Room::NONE } else { Room { usable: mean, part: 1.0 } });
        demand.balance(rooms).lacking > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(members: usize) -> Demand {
        Demand { bits_per_s: 1000.0, members, own_copies_max: 3.0 }
    }

    fn free(usable: &[f64]) -> Vec<Room> {
        usable.iter().map(|usable| Room { usable: *usable, part: 1.0 }).collect()
    }

    /// Who has room shares evenly what the others cannot take; nobody known to be short of uplink changes nothing.
    #[test]
    fn water_finds_its_level() {
        let even = demand(4).balance(free(&[f64::INFINITY; 4]));
        assert_eq!(even, Balance { level: 250.0, own: 0.0, lacking: 0.0 });
        let uneven = demand(4).balance(free(&[100.0, f64::INFINITY, 50.0, f64::INFINITY]));
        assert_eq!(uneven, Balance { level: 425.0, own: 0.0, lacking: 0.0 });
        let weights: Vec<u32> =
            [100.0, 50.0, 425.0].iter().map(|share| weight(*share, uneven.level)).collect();
        assert_eq!(weights, [60, 30, 256]);
    }

    /// Theory 2.2: the splitter takes what is left, `w_0 = 1 - sum w_i`, up to its owner's limit; the rest is lacking.
    #[test]
    fn the_splitter_fills_the_rest() {
        let filled = demand(4).balance(free(&[200.0, 100.0, 0.0, 300.0]));
        assert_eq!(filled, Balance { level: 300.0, own: 400.0, lacking: 0.0 });
        // Sixteen members: three copies are a fifth of the stream.
        let short = demand(16).balance(free(&[40.0; 16]));
        assert_eq!(short, Balance { level: 40.0, own: 200.0, lacking: 160.0 });
        let alone = demand(1).balance(free(&[0.0]));
        assert_eq!(alone, Balance { level: 0.0, own: 1000.0, lacking: 0.0 }, "an eco member alone");
    }

    /// R-TURN-7: a part of what the others get, less where the uplink is short of that, and never more than the others can carry.
    #[test]
    fn limits_are_parts_of_the_level() {
        let half = Room { usable: f64::INFINITY, part: 0.5 };
        let mut rooms = free(&[f64::INFINITY; 2]);
        rooms.push(half);
        let balance = demand(3).balance(rooms);
        assert_eq!(balance, Balance { level: 400.0, own: 0.0, lacking: 0.0 });
        assert_eq!((weight(half.share(400.0), 400.0), half.share(400.0)), (128, 200.0));

        // What it leaves does not overflow the others: 150 are short of 300, 60 of its half.
        let mut rooms = free(&[150.0, f64::INFINITY]);
        rooms.push(Room { usable: 60.0, part: 0.5 });
        assert_eq!(demand(3).balance(rooms), Balance { level: 790.0, own: 0.0, lacking: 0.0 });
        let quarters = vec![Room { usable: f64::INFINITY, part: 0.25 }; 4];
        assert_eq!(demand(4).balance(quarters), Balance { level: 1000.0, own: 0.0, lacking: 0.0 });
    }

    /// R-TURN-7: where the others are full a limited member gets its part of what they carry and no more, however much it could; the
    /// splitter adds the rest, up to its limit.
    #[test]
    fn limits_hold_where_the_others_are_full() {
        let weights = |usable: f64, part: f64, own_copies_max: f64| {
            let limited = Room { usable: f64::INFINITY, part };
            let mut rooms = free(&[usable; 2]);
            rooms.push(limited);
            let demand = Demand { own_copies_max, ..demand(3) };
            let balance = demand.balance(rooms);
            (weight(usable, balance.level), weight(limited.share(balance.level), balance.level), balance)
        };
        let filled = Balance { level: 300.0, own: 325.0, lacking: 0.0 };
        assert_eq!(weights(300.0, 0.25, 3.0), (256, 64, filled));
        let filled = Balance { level: 200.0, own: 599.21875, lacking: 0.0 };
        assert_eq!(weights(200.0, 1.0 / 256.0, 3.0), (256, 1, filled));
        let short = Balance { level: 300.0, own: 0.0, lacking: 325.0 };
        assert_eq!(weights(300.0, 0.25, 0.0), (256, 64, short));
    }

    /// R-TURN-7: where all have limits they are parts of what those with the highest carry, and members that can carry nothing are no
    /// measure of the others.
    #[test]
    fn the_highest_limit_is_the_measure() {
        let rooms = [(100.0, 0.5), (f64::INFINITY, 0.25), (0.0, 1.0)];
        let balance = demand(3).balance(rooms.map(|(usable, part)| Room { usable, part }).into());
        assert_eq!(balance, Balance { level: 200.0, own: 850.0, lacking: 0.0 });
        let nobody = demand(16).balance(vec![Room::NONE; 16]);
        assert_eq!(nobody, Balance { level: 0.0, own: 200.0, lacking: 800.0 });
    }
}
