//! Who carries how much of the stream (R-TURN-4 to R-TURN-6): water is filled into the members' uplinks, what does not fit the splitter
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
/// Whose share has fallen is not taken for silent for so long: its teammates have to see how rare its turns are now.
const EASED: Duration = Duration::from_secs(3);
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

/// Who carries it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Balance {
    /// No member's share is above this; in stream bits a second. Infinite where nobody has a limit.
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

    /// Fills the members' uplinks evenly. `usable` is what each can take; infinite where it has told nothing.
    pub(super) fn balance(&self, mut usable: Vec<f64>) -> Balance {
        usable.sort_unstable_by(f64::total_cmp);
        let mut rest = self.bits_per_s;
        for (place, room) in usable.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "at most the size of a team")]
            let level = rest / (usable.len() - place) as f64;
            if *room >= level {
                return Balance { level, own: 0.0, lacking: 0.0 };
            }
            rest -= room;
        }
        let own = rest.min(self.own_max());
        Balance { level: usable.last().copied().unwrap_or(0.0), own, lacking: rest - own }
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
        let usable = |splitter: &Self, member: &Member| {
            let fits = splitter.turn_chunks_max(member.capacity) > 0;
            if member.eco || !fits {
                0.0
            } else {
                member.capacity.map_or(f64::INFINITY, |c| demand.usable(c))
            }
        };
        let owners: Vec<(Slot, f64)> = self
            .members
            .iter()
            .filter(|(_, member)| member.ready)
            .map(|(slot, member)| (slot, usable(self, member)))
            .collect();
        let balance = demand.balance(owners.iter().map(|(_, usable)| *usable).collect());
        // What nobody can carry is laid on all in proportion, and alike where none can carry anything: late is better than never.
        let is_hopeless = balance.level <= 0.0 && balance.own <= 0.0;
        let level = if balance.level > 0.0 { balance.level } else { balance.own };
        for (slot, usable) in owners {
            let weight = if is_hopeless { WEIGHT_DEFAULT } else { weight(usable.min(level), level) };
            if let Some(member) = self.members.get_mut(slot) {
                if weight < member.weight / 5 * 4 {
                    member.eased_until = now + EASED;
                }
                self.schedule.reweigh(member, if member.eco { 0 } else { weight });
            }
        }
        self.schedule.reweigh_own(weight(balance.own, level));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a thousand")]
        let per_mille = |bits: f64| (bits / demand.bits_per_s * 1000.0).round() as u16;
        self.stats.own_share_per_mille = per_mille(balance.own);
        self.stats.lacking_per_mille = per_mille(balance.lacking);
    }

    /// Whether the uplinks that are known cannot carry one member more. Who is to relay is taken to bring what the others have on
    /// average.
    pub(super) fn lacks_uplink(&self, is_eco: bool) -> bool {
        if self.members.len() == 0 {
            return false;
        }
        let demand = self.demand(self.members.len() + 1);
        let usable = |member: &Member| {
            if member.eco { 0.0 } else { member.capacity.map_or(f64::INFINITY, |c| demand.usable(c)) }
        };
        let mut usable: Vec<f64> = self.members.iter().map(|(_, member)| usable(member)).collect();
        #[expect(clippy::cast_precision_loss, reason = "at most the size of a team")]
        let mean = usable.iter().sum::<f64>() / usable.len() as f64;
        usable.push(if is_eco { 0.0 } else { mean });
        demand.balance(usable).lacking > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(members: usize) -> Demand {
        Demand { bits_per_s: 1000.0, members, own_copies_max: 3.0 }
    }

    /// Who has room shares evenly what the others cannot take; nobody known to be short of uplink changes nothing.
    #[test]
    fn water_finds_its_level() {
        let even = demand(4).balance(vec![f64::INFINITY; 4]);
        assert_eq!(even, Balance { level: 250.0, own: 0.0, lacking: 0.0 });
        let uneven = demand(4).balance(vec![100.0, f64::INFINITY, 50.0, f64::INFINITY]);
        assert_eq!(uneven, Balance { level: 425.0, own: 0.0, lacking: 0.0 });
        let weights: Vec<u32> =
            [100.0, 50.0, 425.0].iter().map(|share| weight(*share, uneven.level)).collect();
        assert_eq!(weights, [60, 30, 256]);
    }

    /// Theory 2.2: the splitter takes what is left, `w_0 = 1 - sum w_i`, up to its owner's limit; the rest is lacking.
    #[test]
    fn the_splitter_fills_the_rest() {
        let filled = demand(4).balance(vec![200.0, 100.0, 0.0, 300.0]);
        assert_eq!(filled, Balance { level: 300.0, own: 400.0, lacking: 0.0 });
        // Sixteen members: three copies are a fifth of the stream.
        let short = demand(16).balance(vec![40.0; 16]);
        assert_eq!(short, Balance { level: 40.0, own: 200.0, lacking: 160.0 });
        let alone = demand(1).balance(vec![0.0]);
        assert_eq!(alone, Balance { level: 0.0, own: 1000.0, lacking: 0.0 }, "an eco member alone");
    }
}
