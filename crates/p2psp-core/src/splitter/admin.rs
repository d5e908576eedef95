//! What an operator sees of a team and may do about a member. Owns no state: seats are the members', bans the court's.

use super::{Splitter, members::Member};
use crate::{CloseCode, Instant, Output};
use p2psp_wire::{Control, DepartureReason, GoodbyeReason, PeerId, Slot};
use std::{net::SocketAddr, time::Duration};

/// A member at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberView {
    /// Its seat.
    pub slot: Slot,
    /// Who it is.
    pub peer: PeerId,
    /// Where it is.
    pub remote: Option<SocketAddr>,
    /// Where its teammates reach it, best first.
    pub candidates: Vec<SocketAddr>,
    /// Its links are up: it may own turns.
    pub ready: bool,
    /// It gets no turns because its teammates do not hear it (R-CRASH-2).
    pub silenced: bool,
    /// Its link takes no more at present.
    pub blocked: bool,
    /// Share of turns; 0 for a member that only receives.
    pub weight: u32,
    /// Most that it may be, where the operator has said so.
    pub weight_limit: Option<u32>,
    /// Of the chunks due, which share did not come by themselves, as it last reported; `None` when nothing was reported lately.
    pub missing_share: Option<f64>,
}

impl Splitter {
    /// The members by ascending slot.
    #[must_use]
    pub fn member_views(&self, now: Instant) -> Vec<MemberView> {
        let view = |(slot, member): (Slot, &Member)| MemberView {
            slot,
            peer: member.peer,
            remote: self.links.get(&member.link).map(|link| link.remote),
            candidates: member.candidates.clone(),
            ready: member.ready,
            silenced: member.silenced_until > now,
            blocked: member.blocked,
            weight: member.weight,
            weight_limit: self.weight_limits.of(member.peer),
            missing_share: self.losses.share_of(now, slot),
        };
        self.members.iter().map(view).collect()
    }

    /// Takes a member's seat away, tells it and the team (as R-FAIR-3 does), and gives its key none for `ban`. The seat that it had;
    /// `None` when it has none, in which case nothing happens.
    pub fn expel_peer(&mut self, now: Instant, peer: PeerId, ban: Duration) -> Option<Slot> {
        let now = self.advance(now);
        let slot = self.members.slot_of_peer(peer)?;
        let link = self.members.get(slot)?.link;
        if !ban.is_zero() {
            self.court.ban_for(now, peer, ban);
        }
        self.stats.expulsions += 1;
        self.outbox.push_back(Output::Control { link, message: Control::Goodbye(GoodbyeReason::Expelled) });
        self.depart(now, link, DepartureReason::Expelled);
        self.hang_up(link, CloseCode::Violation);
        Some(slot)
    }

    /// Gives a key no seat for `ban`, and takes away the one that it has. That one, if there was one.
    pub fn ban_peer(&mut self, now: Instant, peer: PeerId, ban: Duration) -> Option<Slot> {
        let now = self.advance(now);
        self.court.ban_for(now, peer, ban);
        self.expel_peer(now, peer, Duration::ZERO)
    }

    /// Ends a key's ban; false when there was none.
    pub fn unban_peer(&mut self, now: Instant, peer: PeerId) -> bool {
        let now = self.advance(now);
        self.court.pardon(now, peer)
    }

    /// The bans in force by ascending key, and how long each still holds.
    #[must_use]
    pub fn bans(&self, now: Instant) -> Vec<(PeerId, Duration)> {
        self.court.bans(now.max(self.latest)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Input, LinkId, Machine, SplitterConfig};
    use p2psp_wire::{ChannelId, Epoch, Join, PROTOCOL_REVISION, RefuseReason};

    const CHANNEL: ChannelId = ChannelId::new([7; 32]);

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    fn peer(n: u8) -> PeerId {
        PeerId::new([n; 32])
    }

    fn splitter() -> Splitter {
        Splitter::new(SplitterConfig::new(CHANNEL, Epoch(1), 0), at(0))
    }

    /// A peer asks for a seat over a new link; what the splitter says to that.
    fn join(splitter: &mut Splitter, now: Instant, n: u8, link: u32) -> Vec<Output<crate::SplitterEvent>> {
        let link = LinkId(link);
        let remote = SocketAddr::from(([192, 0, 2, n], 4480));
        splitter.handle_input(now, Input::LinkUp { link, peer: peer(n), remote, dialed: false });
        let join = Join {
            revision: PROTOCOL_REVISION,
            channel: CHANNEL,
            ticket: bytes::Bytes::new(),
            candidates: Vec::new(),
            eco: n == 3,
            agent: String::new(),
            target_delay_ms: 500,
        };
        splitter.handle_input(now, Input::Control { link, message: Control::Join(join) });
        outputs(splitter, now)
    }

    fn outputs(splitter: &mut Splitter, now: Instant) -> Vec<Output<crate::SplitterEvent>> {
        let mut outputs = Vec::new();
        loop {
            let output = splitter.poll_output(now);
            if matches!(output, Output::Wait(_)) {
                return outputs;
            }
            outputs.push(output);
        }
    }

    fn refusal(outputs: &[Output<crate::SplitterEvent>]) -> Option<RefuseReason> {
        outputs.iter().find_map(|output| {
            let Output::Control { message: Control::Refuse(refuse), .. } = output else { return None };
            Some(refuse.reason)
        })
    }

    #[test]
    fn members_are_seen_as_they_are() {
        let mut splitter = splitter();
        join(&mut splitter, at(1), 2, 2);
        join(&mut splitter, at(1), 3, 3);
        splitter.handle_input(
            at(1),
            Input::Control { link: LinkId(2), message: Control::Ready { teammates: 1 } },
        );
        outputs(&mut splitter, at(2));
        let views = splitter.member_views(at(2));
        assert_eq!(views.iter().map(|view| view.peer).collect::<Vec<_>>(), [peer(2), peer(3)]);
        assert!(views[0].ready && views[0].weight > 0 && !views[0].silenced && !views[0].blocked);
        assert!(!views[1].ready && views[1].weight == 0, "the second only receives");
        assert_eq!(views[0].remote, Some("192.0.2.2:4480".parse().unwrap()));
        assert_eq!(views[0].candidates, ["192.0.2.2:4480".parse().unwrap()]);
        assert_eq!(views[0].missing_share, None);
        let report = Control::Report { chunks_due: 100, chunks_missing: 10 };
        splitter.handle_input(at(2), Input::Control { link: LinkId(2), message: report });
        assert_eq!(
            splitter.member_views(at(2))[0].missing_share,
            None,
            "without generations nothing is kept"
        );
    }

    /// An expelled member is told, its team too, and it gets no seat until its ban is over or ended.
    #[test]
    fn expelled_members_stay_out_for_their_ban() {
        let mut splitter = splitter();
        join(&mut splitter, at(1), 2, 2);
        join(&mut splitter, at(1), 3, 3);
        outputs(&mut splitter, at(2));
        assert_eq!(splitter.expel_peer(at(3), peer(9), Duration::from_secs(5)), None);
        assert!(
            outputs(&mut splitter, at(3)).is_empty() && splitter.bans(at(3)).is_empty(),
            "nothing happens"
        );

        let slot = splitter.expel_peer(at(3), peer(2), Duration::from_secs(5)).unwrap();
        let told = outputs(&mut splitter, at(3));
        assert!(told.iter().any(|output| matches!(
            output,
            Output::Control { link: LinkId(2), message: Control::Goodbye(GoodbyeReason::Expelled) }
        )));
        assert!(told.iter().any(|output| matches!(output, Output::Hangup { link: LinkId(2), .. })));
        let departed = |output: &Output<_>| {
            matches!(output, Output::Control { link: LinkId(3), message: Control::RosterDelta(delta) }
                if delta.left.iter().any(|left| left.slot == slot && left.reason == DepartureReason::Expelled))
        };
        assert!(told.iter().any(departed), "{told:?}");
        assert_eq!(splitter.stats().expulsions, 1);
        assert_eq!(splitter.bans(at(4)), [(peer(2), Duration::from_secs(4))]);
        assert_eq!(refusal(&join(&mut splitter, at(4), 2, 4)), Some(RefuseReason::Banned));
        assert!(splitter.unban_peer(at(5), peer(2)));
        assert!(!splitter.unban_peer(at(5), peer(2)));
        assert_eq!(refusal(&join(&mut splitter, at(5), 2, 5)), None);
    }

    /// Without a ban a member may come back at once; a stranger may be banned before it comes, and a longer ban stands.
    #[test]
    fn bans_stand_alone() {
        let mut splitter = splitter();
        join(&mut splitter, at(1), 2, 2);
        assert!(splitter.expel_peer(at(2), peer(2), Duration::ZERO).is_some());
        assert_eq!(refusal(&join(&mut splitter, at(3), 2, 3)), None);
        assert_eq!(splitter.ban_peer(at(4), peer(8), Duration::from_secs(1)), None);
        assert_eq!(refusal(&join(&mut splitter, at(4), 8, 8)), Some(RefuseReason::Banned));
        assert_eq!(refusal(&join(&mut splitter, at(5), 8, 9)), None, "it is over");
        assert!(splitter.ban_peer(at(6), peer(8), Duration::from_secs(60)).is_some(), "it loses its seat");
        assert_eq!(splitter.bans(at(6)).len(), 1);
    }
}
