//! What an operator may change about a team while it runs: how large it may be, what the splitter may add, how long expulsions hold, and
//! how much a member gets to carry (R-TURN-7). Owns the limits of members, by key; what follows from them is for `shares` and `admission`.

use super::{Splitter, members::WEIGHT_DEFAULT};
use crate::{Instant, Output};
use p2psp_wire::PeerId;
use std::{collections::BTreeMap, time::Duration};

/// Keys with a limit of their own. One more frees the one that was set longest ago of those that have no seat.
const WEIGHT_LIMITS_MAX: usize = 1024;

/// Limits of a team that may change while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most members; see [`SplitterConfig::team_size_max`](super::SplitterConfig::team_size_max). Where more are there, they stay.
    pub team_size_max: u16,
    /// Most copies of the stream that the splitter sends beside its one (R-TURN-5).
    pub own_copies_max: u16,
    /// How long a key that the splitter itself expels gets no seat.
    pub ban: Duration,
}

/// A key has no seat, and no limit that could be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownPeer;

/// Limits of members. They hold for the key, so that nobody loses its own by coming back.
#[derive(Debug, Default)]
pub(super) struct WeightLimits {
    /// The limit, and which of all settings it was.
    limits: BTreeMap<PeerId, (u32, u64)>,
    set: u64,
}

impl WeightLimits {
    pub(super) fn of(&self, peer: PeerId) -> Option<u32> {
        self.limits.get(&peer).map(|(limit, _)| *limit)
    }

    fn put(&mut self, peer: PeerId, limit: u32, is_seated: impl Fn(PeerId) -> bool) {
        self.set += 1;
        self.limits.insert(peer, (limit, self.set));
        if self.limits.len() > WEIGHT_LIMITS_MAX {
            let absent = self.limits.iter().filter(|(peer, _)| !is_seated(**peer));
            let oldest = absent.min_by_key(|(_, (_, set))| *set).map(|(peer, _)| *peer);
            self.limits.retain(|peer, _| Some(*peer) != oldest);
        }
    }
}

impl Splitter {
    /// The limits in force.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        Limits {
            team_size_max: self.config.team_size_max,
            own_copies_max: self.config.own_copies_max,
            ban: self.config.fairness.ban,
        }
    }

    /// Sets the limits. They hold for what comes: nobody who is there loses its seat, bans that were given stand.
    pub const fn set_limits(&mut self, limits: Limits) {
        let Limits { team_size_max, own_copies_max, ban } = limits;
        self.config.team_size_max = team_size_max;
        self.config.own_copies_max = own_copies_max;
        self.config.fairness.ban = ban;
        self.balance_at = Instant::ORIGIN;
    }

    /// Has the host send no more than this, all links together, from now on.
    pub fn set_uplink(&mut self, bits_per_s: u64) {
        self.outbox.push_back(Output::UplinkRate { bits_per_s });
    }

    /// Lets a member carry at most this weight, 0 to [`WEIGHT_DEFAULT`] (more is that), from its next turn on and whenever it comes back; `None` takes
    /// the limit away. The limit before, if there was one.
    ///
    /// # Errors
    ///
    /// The key has no seat; a limit that it has may be taken away all the same.
    pub fn set_weight_limit(
        &mut self,
        now: Instant,
        peer: PeerId,
        limit: Option<u32>,
    ) -> Result<Option<u32>, UnknownPeer> {
        self.advance(now);
        let limit = limit.map(|limit| limit.min(WEIGHT_DEFAULT));
        let before = self.weight_limits.of(peer);
        let slot = self.members.slot_of_peer(peer);
        if slot.is_none() && (limit.is_some() || before.is_none()) {
            return Err(UnknownPeer);
        }
        match limit {
            Some(limit) => {
                let members = &self.members;
                self.weight_limits.put(peer, limit, |peer| members.slot_of_peer(peer).is_some());
            }
            None => drop(self.weight_limits.limits.remove(&peer)),
        }
        if let Some(slot) = slot
            && let Some(member) = self.members.get_mut(slot)
        {
            member.weight_max = limit.unwrap_or(WEIGHT_DEFAULT);
            // At once down; up is for the next look at the shares, which is at the next turn.
            let weight = member.weight;
            self.reweigh(slot, weight);
            self.balance_at = Instant::ORIGIN;
        }
        Ok(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        LinkDown, Machine, MemberView, PeerEvent, SplitterConfig,
        lab::{self, Lab, SPLITTER, at, key},
    };
    use p2psp_wire::{Control, Epoch, RefuseReason};

    const LIMIT: u32 = 64;

    fn view(lab: &Lab, node: usize) -> MemberView {
        let views = lab.splitter.member_views(lab.now);
        views.into_iter().find(|view| view.peer == key(node)).expect("a member")
    }

    /// Chunks that the splitter sends to each of `nodes` within `seconds` of a stream of 200 chunks a second.
    fn shares(lab: &mut Lab, nodes: usize, seconds: u64) -> Vec<usize> {
        lab.wires.sent.clear();
        lab.stream(seconds * 200, Duration::from_millis(5), 50);
        (1..=nodes)
            .map(|node| {
                lab.wires.sent.iter().filter(|(from, to, _)| (*from, *to) == (SPLITTER, node)).count()
            })
            .collect()
    }

    /// R-TURN-7: the limit stands whatever is computed afterwards, the others carry what it leaves, and all of it ends.
    #[test]
    fn a_limit_holds_against_what_is_computed_later() {
        let mut lab = lab::team(4);
        let before = shares(&mut lab, 4, 4);
        assert!(before.iter().all(|share| share.abs_diff(200) < 20), "{before:?}");
        let now = lab.now;
        assert_eq!(lab.splitter.set_weight_limit(now, key(2), Some(LIMIT)), Ok(None));
        assert_eq!((view(&lab, 2).weight, view(&lab, 2).weight_limit), (LIMIT, Some(LIMIT)), "at once");
        // A quarter of what each of three others gets, over hundreds of looks at the shares.
        let limited = shares(&mut lab, 4, 8);
        assert_eq!(view(&lab, 2).weight, LIMIT);
        assert!(limited[1].abs_diff(1_600 / 13) < 20, "{limited:?}");
        assert!([0, 2, 3].iter().all(|n| limited[*n].abs_diff(1_600 * 4 / 13) < 40), "{limited:?}");
        lab.add_peer(|_| {});
        lab.pass(Duration::from_secs(1));
        let joined = shares(&mut lab, 5, 8);
        assert!(view(&lab, 2).weight == LIMIT && joined[1] * 3 < joined[4], "somebody came: {joined:?}");

        let now = lab.now;
        assert_eq!(lab.splitter.set_weight_limit(now, key(2), None), Ok(Some(LIMIT)));
        let after = shares(&mut lab, 5, 8);
        assert_eq!((view(&lab, 2).weight, view(&lab, 2).weight_limit), (WEIGHT_DEFAULT, None));
        assert!(after.iter().all(|share| share.abs_diff(320) < 40), "{after:?}");
    }

    /// A member with the limit 0 receives and gives nothing, nobody takes it for dead, and nobody loses a chunk.
    #[test]
    fn a_limit_of_nothing_gives_no_turns() {
        let mut lab = lab::team(4);
        shares(&mut lab, 4, 2);
        let now = lab.now;
        lab.splitter.set_weight_limit(now, key(3), Some(0)).unwrap();
        let share = shares(&mut lab, 4, 10);
        lab.pass(Duration::from_secs(1));
        assert_eq!(share[2], 0);
        let stats = lab.splitter.stats();
        assert_eq!((stats.silenced, stats.crashes, stats.own_turns, stats.lacking_per_mille), (0, 0, 0, 0));
        for node in 1..=4 {
            let stats = lab.peer(node).stats();
            assert_eq!((stats.chunks_lost, stats.chunks_unexpected), (0, 0), "node {node}");
            assert!(stats.chunks_played > 2_000, "node {node}: {stats:?}");
            assert!(stats.requests_sent < 40, "node {node} asks for turns that are not: {stats:?}");
        }
        let now = lab.now;
        lab.splitter.set_weight_limit(now, key(3), Some(WEIGHT_DEFAULT)).unwrap();
        assert!(shares(&mut lab, 4, 4)[2] > 100, "turns again");
    }

    /// R-CRASH-2: in a large team the turns of a member with a small limit lie further apart than its teammates wait, who name it again and
    /// again; it keeps its turns, and nobody is silenced.
    #[test]
    fn rare_turns_are_no_silence() {
        const PEERS: usize = 16;
        // A turn each 1.5, 2.5 and 6.8 s, where others have one each 0.16 s.
        for limit in [28, 16, 6] {
            let mut lab = lab::team(PEERS);
            lab.stream(100, Duration::from_millis(10), 50);
            let now = lab.now;
            lab.splitter.set_weight_limit(now, key(2), Some(limit)).unwrap();
            lab.wires.sent.clear();
            lab.wires.said.clear();
            lab.stream(2_500, Duration::from_millis(10), 50);
            let named =
                lab.wires.said.iter().filter(|(.., said)| matches!(said, Control::Silent { .. })).count();
            assert!(named >= PEERS - 1, "limit {limit}: {named}");
            assert_eq!(lab.splitter.stats().silenced, 0, "limit {limit}");
            let to = |node: usize| {
                lab.wires.sent.iter().filter(|(from, to, _)| (*from, *to) == (SPLITTER, node)).count()
            };
            let due = to(1) * limit as usize / WEIGHT_DEFAULT as usize;
            assert!(to(2).abs_diff(due) <= 2, "limit {limit}: {} of {due}", to(2));
        }
    }

    /// R-TURN-7: where nobody may carry anything the splitter sends what its own limit allows, and the rest nobody gets in a turn.
    #[test]
    fn where_all_limits_are_nothing_the_splitters_holds() {
        let mut lab = Lab::new(|config| config.own_copies_max = 1);
        for _ in 0..5 {
            lab.add_peer(|_| {});
        }
        shares(&mut lab, 5, 2);
        let now = lab.now;
        for node in 1..=5 {
            lab.splitter.set_weight_limit(now, key(node), Some(0)).unwrap();
        }
        let before = lab.splitter.stats();
        shares(&mut lab, 5, 10);
        let stats = lab.splitter.stats();
        // One copy more than its one, of four.
        assert!((stats.own_turns - before.own_turns).abs_diff(500) < 10, "{stats:?}");
        assert_eq!((stats.own_share_per_mille, stats.lacking_per_mille), (250, 750));
        assert_eq!(stats.turns_sent, before.turns_sent);
    }

    /// A limit beyond the highest weight is that, for who comes back too.
    #[test]
    fn limits_are_capped() {
        let mut lab = lab::team(3);
        let now = lab.now;
        lab.splitter.set_weight_limit(now, key(2), Some(4 * WEIGHT_DEFAULT)).unwrap();
        assert_eq!(view(&lab, 2).weight_limit, Some(WEIGHT_DEFAULT));
        let link = lab.wires.link(SPLITTER, 2);
        lab.wires.cut(SPLITTER, link, LinkDown::TimedOut);
        lab.pass(Duration::from_secs(3));
        let share = shares(&mut lab, 3, 4);
        assert!(share.iter().all(|share| share.abs_diff(267) < 20), "{share:?}");
    }

    /// Coming back is no way around a limit; it can be lifted meanwhile, and who is not there gets none.
    #[test]
    fn limits_hold_for_the_key() {
        let mut lab = lab::team(3);
        let now = lab.now;
        assert_eq!(lab.splitter.set_weight_limit(now, key(9), Some(1)), Err(UnknownPeer));
        assert_eq!(lab.splitter.set_weight_limit(now, key(9), None), Err(UnknownPeer));
        lab.splitter.set_weight_limit(now, key(2), Some(LIMIT)).unwrap();
        let link = lab.wires.link(SPLITTER, 2);
        lab.wires.cut(SPLITTER, link, LinkDown::TimedOut);
        lab.pass(Duration::from_secs(3));
        assert_eq!(lab.splitter.stats().joins, 4, "it came back");
        assert_eq!((view(&lab, 2).weight, view(&lab, 2).weight_limit), (LIMIT, Some(LIMIT)));
        let share = shares(&mut lab, 3, 4);
        assert!(share[1].abs_diff(800 / 9) < 20, "{share:?}");

        let now = lab.now;
        lab.splitter.expel_peer(now, key(2), Duration::ZERO).unwrap();
        assert_eq!(lab.splitter.set_weight_limit(now, key(2), Some(1)), Err(UnknownPeer));
        assert_eq!(lab.splitter.set_weight_limit(now, key(2), None), Ok(Some(LIMIT)), "lifted while away");
    }

    /// Who is there stays, also by a new link, when the team is made smaller; newcomers find it full until it is small enough.
    #[test]
    fn a_smaller_team_expels_nobody() {
        let mut lab = lab::team(4);
        let limits = lab.splitter.limits();
        lab.splitter.set_limits(Limits { team_size_max: 2, own_copies_max: 0, ..limits });
        let link = lab.wires.link(SPLITTER, 3);
        lab.wires.cut(SPLITTER, link, LinkDown::TimedOut);
        lab.pass(Duration::from_secs(3));
        let joined = |lab: &Lab| (lab.splitter.member_views(lab.now).len(), lab.splitter.stats().joins);
        assert_eq!(joined(&lab), (4, 5), "one has come back, nobody is gone");
        let refused = |lab: &Lab, node| {
            lab.events(node).iter().any(|event| {
                matches!(event, PeerEvent::Refused { reason: RefuseReason::TeamFull, again: true, .. })
            })
        };
        let node = lab.add_peer(|_| {});
        lab.pass(Duration::from_secs(1));
        assert!(refused(&lab, node) && joined(&lab) == (4, 5));
        lab.splitter.set_limits(Limits { team_size_max: 5, ..lab.splitter.limits() });
        lab.pass(Duration::from_secs(20));
        assert_eq!(joined(&lab), (5, 6), "there is room again");
        let expected = Limits { team_size_max: 5, own_copies_max: 0, ban: limits.ban };
        assert_eq!(lab.splitter.limits(), expected);
    }

    /// The host is told the rate once for each change.
    #[test]
    fn the_host_is_told_the_uplink() {
        let mut splitter = Splitter::new(SplitterConfig::new(lab::channel(), Epoch(1), 0), at(1));
        splitter.set_uplink(5_000_000);
        assert!(matches!(splitter.poll_output(at(1)), Output::UplinkRate { bits_per_s: 5_000_000 }));
        assert!(matches!(splitter.poll_output(at(1)), Output::Wait(_)));
    }

    /// One more than is kept frees the oldest of those that are not there.
    #[test]
    fn limits_are_bounded() {
        let mut limits = WeightLimits::default();
        for n in 0..WEIGHT_LIMITS_MAX {
            limits.put(key(n + 1), 7, |_| false);
        }
        limits.put(key(1), 8, |_| false);
        assert_eq!(limits.limits.len(), WEIGHT_LIMITS_MAX);
        limits.put(key(5_000), 9, |peer| peer == key(2));
        assert_eq!(limits.limits.len(), WEIGHT_LIMITS_MAX);
        let kept = [1, 2, 3, 4, 5_000].map(|n| limits.of(key(n)));
        assert_eq!(kept, [Some(8), Some(7), None, Some(7), Some(9)]);
    }
}
