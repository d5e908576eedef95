//! What a peer shows to operators. Everything is answered from the statistics and from the journal of teammates, never by the machine.
//! Knows nothing of the API's transport.

use crate::snapshot::{Snapshot, State};
use p2psp_admin::{Journal, PeerBackend, unix_ms, v1};
use p2psp_core::{PeerEvent, TeammateView};
use std::sync::Arc;
use tokio::sync::watch;

/// A running peer as the admin API sees it.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) stats: watch::Receiver<Snapshot>,
    pub(crate) neighbours: Arc<Journal<v1::Neighbour>>,
    /// The player page's address, if players are served.
    pub(crate) player: Option<String>,
    pub(crate) started_unix_ms: u64,
}

impl PeerBackend for Backend {
    fn info(&self) -> v1::Info {
        let stats = self.stats.borrow();
        let (started, listen) = (self.started_unix_ms, stats.listen);
        let mut info = v1::Info::of(v1::Role::Peer, started, stats.version, &stats.channel, listen);
        info.set_state(match stats.state {
            State::Joining => v1::RuntimeState::Starting,
            State::Member => v1::RuntimeState::Ready,
            State::Left => v1::RuntimeState::Draining,
        });
        info.reason = match stats.state {
            State::Joining => stats.trouble.clone().unwrap_or_else(|| "looking for a seat".to_owned()),
            State::Member => String::new(),
            State::Left => "out of the team".to_owned(),
        };
        info
    }

    fn status(&self) -> v1::PeerStatus {
        let stats = self.stats.borrow();
        let state = match stats.state {
            State::Joining => "joining",
            State::Member => "member",
            State::Left => "left",
        };
        v1::PeerStatus {
            peer: stats.peer.clone(),
            channel: stats.channel.clone(),
            state: state.to_owned(),
            trouble: stats.trouble.clone().unwrap_or_default(),
            slot: stats.slot.map(u32::from),
            epoch: stats.epoch,
            observed: stats.observed.map(|address| address.to_string()).unwrap_or_default(),
            player: self.player.clone().unwrap_or_default(),
            figures: figures(&stats),
        }
    }

    fn neighbours(&self) -> &Journal<v1::Neighbour> {
        &self.neighbours
    }
}

/// Statistics as the API's figures, which have the same names; delays apart, which JSON has as pairs.
fn figures(stats: &Snapshot) -> Option<v1::PeerFigures> {
    let value = serde_json::to_value(stats).ok()?;
    let mut figures: v1::PeerFigures = serde_json::from_value(value).ok()?;
    let buckets = stats.delay_buckets_us.iter();
    figures.delay_buckets = buckets
        .map(|(upper_us, count)| v1::DelayBucketFigures { upper_us: *upper_us, count: (*count).into() })
        .collect();
    Some(figures)
}

/// Whether an event makes it worth to look at the teammates before the next second.
pub(crate) const fn is_worth_a_look(event: &PeerEvent) -> bool {
    matches!(event, PeerEvent::Joined { .. } | PeerEvent::Teammate { .. } | PeerEvent::Left(_))
}

/// Writes who the teammates are.
pub(crate) fn refresh(neighbours: &Journal<v1::Neighbour>, views: &[TeammateView]) {
    let is_there = |slot: &u16| views.iter().any(|view| view.slot.get() == *slot);
    for slot in neighbours.slots().into_iter().filter(|slot| !is_there(slot)) {
        neighbours.remove(slot, "left");
    }
    for view in views {
        let (slot, peer) = (view.slot.get(), view.peer.to_string());
        let before = neighbours.get(slot);
        if before.as_ref().is_some_and(|before| before.peer != peer) {
            // Another took the seat between two looks.
            neighbours.remove(slot, "left");
        }
        let known = before.filter(|before| before.peer == peer);
        neighbours.put(
            slot,
            v1::Neighbour {
                slot: slot.into(),
                peer,
                linked: view.linked,
                blocked: view.blocked,
                candidates: view.candidates.iter().map(ToString::to_string).collect(),
                since_unix_ms: known.map_or_else(unix_ms, |known| known.since_unix_ms),
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Subject;
    use p2psp_wire::{ChannelId, PeerId, Slot};

    fn snapshot() -> Snapshot {
        let listen = "127.0.0.1:9".parse().unwrap();
        Snapshot::new(&Subject { peer: PeerId::new([1; 32]), channel: ChannelId::new([2; 32]), listen })
    }

    /// Every figure of the API is one of the statistics: renaming one there would silently show zero here.
    #[test]
    fn figures_are_the_statistics() {
        let mut snapshot = snapshot();
        snapshot.playout = Some(p2psp_media::playout::PlayoutStats::default());
        snapshot.lost_chunks_total = 7;
        snapshot.net.udp_bytes_out = 9;
        snapshot.delay_buckets_us = vec![(1_279, 2)];
        let json = serde_json::to_value(&snapshot).unwrap();
        for (figures, place) in [
            (serde_json::to_value(v1::PeerFigures::default()).unwrap(), ""),
            (serde_json::to_value(v1::PlayoutFigures::default()).unwrap(), "/playout"),
            (serde_json::to_value(v1::NetFigures::default()).unwrap(), "/net"),
        ] {
            let found = json.pointer(place).unwrap();
            for name in figures.as_object().unwrap().keys().filter(|name| *name != "delay_buckets") {
                assert!(found.get(name).is_some(), "{place}: {name}");
            }
        }
        let figures = figures(&snapshot).unwrap();
        assert_eq!((figures.lost_chunks_total, figures.net.unwrap().udp_bytes_out), (7, 9));
        assert_eq!(figures.delay_buckets, [v1::DelayBucketFigures { upper_us: 1_279, count: 2 }]);
    }

    /// Whoever is not in the view is gone, and who took its seat is another.
    #[test]
    fn teammates_follow_the_views() {
        let journal = Journal::new(1);
        let view = |slot, n, linked| TeammateView {
            slot: Slot::new(slot).unwrap(),
            peer: PeerId::new([n; 32]),
            linked,
            blocked: false,
            candidates: vec!["192.0.2.1:1".parse().unwrap()],
        };
        refresh(&journal, &[view(1, 1, false), view(2, 2, true)]);
        refresh(&journal, &[view(1, 1, true), view(2, 3, false)]);
        let seen = |slot| journal.get(slot).map(|mate| (mate.peer, mate.linked));
        assert_eq!(seen(1), Some((PeerId::new([1; 32]).to_string(), true)));
        assert_eq!(seen(2), Some((PeerId::new([3; 32]).to_string(), false)));
        refresh(&journal, &[]);
        assert!(journal.slots().is_empty());
    }

    #[test]
    fn a_peer_is_ready_with_a_seat() {
        let info = |state, trouble: Option<&str>| {
            let snapshot = Snapshot { state, trouble: trouble.map(str::to_owned), ..snapshot() };
            let (_, stats) = watch::channel(snapshot);
            let neighbours = Arc::new(Journal::new(1));
            let info = Backend { stats, neighbours, player: None, started_unix_ms: 0 }.info();
            (info.state(), info.reason)
        };
        assert_eq!(
            info(State::Joining, Some("no answer")),
            (v1::RuntimeState::Starting, "no answer".to_owned())
        );
        assert_eq!(info(State::Member, None), (v1::RuntimeState::Ready, String::new()));
        assert_eq!(info(State::Left, None).0, v1::RuntimeState::Draining);
    }
}
