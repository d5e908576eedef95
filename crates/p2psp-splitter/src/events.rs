//! The machine's events for people: one log line for each change of the team, and what the runtime waits for. Runs on the
//! node's driver: never waits.

use crate::admin;
use p2psp_admin::{Journal, v1};
use p2psp_core::SplitterEvent;
use p2psp_wire::{DepartureReason, RefuseReason, Slot};
use serde::Serialize;
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::{Notify, watch};
use tracing::{debug, info, warn};

/// What the runtime waits for, and what it counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Team {
    /// Members that get turns.
    pub(crate) ready: BTreeSet<Slot>,
    /// Everyone was told goodbye.
    pub(crate) closed: bool,
    /// Joins refused.
    pub(crate) refusals: Refusals,
}

/// Joins refused since the start, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Refusals {
    /// The key is banned.
    pub refused_banned_total: u64,
    /// The splitter is shutting down.
    pub refused_closing_total: u64,
    /// The uplinks carry no further viewer.
    pub refused_no_uplink_total: u64,
    /// Another revision of the protocol.
    pub refused_revision_total: u64,
    /// The team has no free seat.
    pub refused_team_full_total: u64,
    /// Another channel.
    pub refused_wrong_channel_total: u64,
}

impl Refusals {
    fn count(&mut self, reason: RefuseReason) {
        let count = match reason {
            RefuseReason::Banned => &mut self.refused_banned_total,
            RefuseReason::Closing => &mut self.refused_closing_total,
            RefuseReason::NoUplink => &mut self.refused_no_uplink_total,
            RefuseReason::Revision => &mut self.refused_revision_total,
            RefuseReason::TeamFull => &mut self.refused_team_full_total,
            RefuseReason::WrongChannel => &mut self.refused_wrong_channel_total,
            // Nobody is refused so: there are no tickets yet.
            RefuseReason::Ticket | RefuseReason::Unspecified => return,
        };
        *count += 1;
    }
}

/// The owner of a machine's events.
#[derive(Debug)]
pub(crate) struct Events {
    team: watch::Sender<Team>,
    /// The members as operators see them.
    peers: Arc<Journal<v1::Peer>>,
    /// There is more to see than the event tells.
    changed: Arc<Notify>,
    /// The last reason for a refusal: joiners come back every few seconds, the line is written once.
    refused: Option<RefuseReason>,
}

impl Events {
    pub(crate) const fn new(
        team: watch::Sender<Team>,
        peers: Arc<Journal<v1::Peer>>,
        changed: Arc<Notify>,
    ) -> Self {
        Self { team, peers, changed, refused: None }
    }

    /// Takes one event, in order.
    pub(crate) fn on_event(&mut self, event: SplitterEvent) {
        admin::record(&self.peers, &event);
        if matches!(event, SplitterEvent::Joined { .. } | SplitterEvent::Ready { .. }) {
            self.changed.notify_one();
        }
        match event {
            SplitterEvent::Joined { peer, slot, remote } => {
                self.refused = None;
                info!(peer = %peer.short(), %slot, %remote, "a peer joined");
            }
            SplitterEvent::Ready { slot, teammates } => {
                debug!(%slot, teammates, "a peer is ready");
                self.team.send_modify(|team| {
                    team.ready.insert(slot);
                });
            }
            SplitterEvent::Refused { peer, reason } => {
                self.team.send_modify(|team| team.refusals.count(reason));
                if self.refused.replace(reason) == Some(reason) {
                    debug!(peer = %peer.short(), ?reason, "a peer was refused");
                } else {
                    warn!(peer = %peer.short(), ?reason, "a peer was refused{}", advice(reason));
                }
            }
            SplitterEvent::Departed { peer, slot, reason } => {
                self.team.send_modify(|team| {
                    team.ready.remove(&slot);
                });
                self.refused = None;
                match reason {
                    DepartureReason::Goodbye => info!(peer = %peer.short(), %slot, "a peer left"),
                    DepartureReason::Crashed => {
                        info!(peer = %peer.short(), %slot, "a peer is gone without goodbye")
                    }
                    DepartureReason::Expelled | DepartureReason::Unspecified => {
                        warn!(peer = %peer.short(), %slot, "a peer was put out");
                    }
                }
            }
            SplitterEvent::Violation { peer, what } => {
                warn!(peer = %peer.short(), what, "a peer broke a rule and was hung up");
            }
            SplitterEvent::Closed => self.team.send_modify(|team| team.closed = true),
        }
    }
}

const fn advice(reason: RefuseReason) -> &'static str {
    match reason {
        RefuseReason::TeamFull => ": the team is full; raise --team-size if the uplinks carry more",
        RefuseReason::NoUplink => {
            ": the members' uplinks carry no further one; let the splitter send more copies with --own-copies"
        }
        RefuseReason::Revision => ": it speaks another version of the protocol",
        RefuseReason::WrongChannel => ": it asked for another channel",
        RefuseReason::Banned | RefuseReason::Closing | RefuseReason::Ticket | RefuseReason::Unspecified => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2psp_wire::PeerId;

    /// The set of ready members follows who is ready and who left.
    #[test]
    fn readiness_follows_the_events() {
        let (sender, team) = watch::channel(Team::default());
        let peers = Arc::new(Journal::new(1));
        let mut events = Events::new(sender, Arc::clone(&peers), Arc::default());
        let slot = |slot| Slot::new(slot).unwrap();
        let peer = PeerId::new([1; 32]);
        for event in [
            SplitterEvent::Joined { peer, slot: slot(0), remote: "192.0.2.1:1".parse().unwrap() },
            SplitterEvent::Ready { slot: slot(0), teammates: 0 },
            SplitterEvent::Ready { slot: slot(1), teammates: 1 },
            SplitterEvent::Ready { slot: slot(1), teammates: 2 },
        ] {
            events.on_event(event);
        }
        assert_eq!(team.borrow().ready.len(), 2);
        assert_eq!(peers.slots(), [0], "operators see who joined");
        events.on_event(SplitterEvent::Departed { peer, slot: slot(0), reason: DepartureReason::Crashed });
        assert_eq!(team.borrow().ready, BTreeSet::from([slot(1)]));
        assert!(!team.borrow().closed);
        events.on_event(SplitterEvent::Closed);
        assert!(team.borrow().closed);
    }

    /// Each reason is counted for itself, and nothing else is.
    #[test]
    fn refusals_are_counted_by_reason() {
        let (sender, team) = watch::channel(Team::default());
        let mut events = Events::new(sender, Arc::new(Journal::new(1)), Arc::default());
        let peer = PeerId::new([1; 32]);
        for (reason, times) in [
            (RefuseReason::Banned, 1),
            (RefuseReason::Closing, 2),
            (RefuseReason::NoUplink, 3),
            (RefuseReason::Revision, 4),
            (RefuseReason::TeamFull, 5),
            (RefuseReason::WrongChannel, 6),
        ] {
            (0..times).for_each(|_| events.on_event(SplitterEvent::Refused { peer, reason }));
        }
        let expected = Refusals {
            refused_banned_total: 1,
            refused_closing_total: 2,
            refused_no_uplink_total: 3,
            refused_revision_total: 4,
            refused_team_full_total: 5,
            refused_wrong_channel_total: 6,
        };
        assert_eq!(*team.borrow(), Team { refusals: expected, ..Team::default() });
    }
}
