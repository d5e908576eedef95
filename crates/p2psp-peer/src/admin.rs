//! What a peer shows to operators. All but the buffer, which is of a moment, is answered from the statistics and from the journal of
//! teammates, never by the machine. Knows nothing of the API's transport.

use crate::snapshot::{Snapshot, State};
use p2psp_admin::{Answer, Journal, PeerBackend, Refusal, unix_ms, v1};
use p2psp_core::{BufferView, ChunkState, Peer, PeerEvent, TeammateView};
use p2psp_net::{CastError, Handle};
use std::sync::Arc;
use tokio::sync::{oneshot, watch};

/// A running peer as the admin API sees it.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) handle: Handle<Peer>,
    pub(crate) stats: watch::Receiver<Snapshot>,
    pub(crate) neighbours: Arc<Journal<v1::Neighbour>>,
    /// The player page's address, if players are served.
    pub(crate) player: Option<String>,
    pub(crate) started_unix_ms: u64,
}

impl PeerBackend for Backend {
    fn info(&self) -> v1::Info {
        info(&self.stats.borrow(), self.started_unix_ms)
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

    fn buffer(&self) -> Answer<'_, Option<v1::BufferMap>> {
        let (answer, answered) = oneshot::channel();
        let look = move |peer: &mut Peer, _| {
            // An error says that the caller was dropped meanwhile.
            answer.send(peer.buffer()).ok();
        };
        let asked = self.handle.try_cast(look).map_err(|error| match error {
            CastError::Full => Refusal::Busy,
            CastError::Gone => Refusal::Ended,
        });
        Box::pin(async move {
            asked?;
            let view = answered.await.map_err(|_| Refusal::Ended)?;
            Ok(view.map(|view| map(&view)))
        })
    }
}

fn info(stats: &Snapshot, started_unix_ms: u64) -> v1::Info {
    let mut info = v1::Info::of(v1::Role::Peer, started_unix_ms, stats.version, &stats.channel, stats.listen);
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

/// A view of the buffer as the API has it.
fn map(view: &BufferView) -> v1::BufferMap {
    let run = |(state, chunks): &(ChunkState, u64)| {
        let state = match state {
            ChunkState::Held => v1::ChunkState::Held,
            ChunkState::Unproved => v1::ChunkState::Unproved,
            ChunkState::Asked => v1::ChunkState::Asked,
            ChunkState::Missing => v1::ChunkState::Missing,
            ChunkState::Lost => v1::ChunkState::Lost,
        };
        v1::BufferRun { state: state.into(), chunks: *chunks }
    };
    v1::BufferMap {
        first_number: view.first.get(),
        play_number: view.play.get(),
        end_number: view.end.get(),
        buffer_ms: u64::try_from(view.ahead.as_millis()).unwrap_or(u64::MAX),
        runs: view.runs.iter().map(run).collect(),
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
        let told = |state, trouble: Option<&str>| {
            let snapshot = Snapshot { state, trouble: trouble.map(str::to_owned), ..snapshot() };
            let info = info(&snapshot, 0);
            (info.state(), info.reason)
        };
        assert_eq!(
            told(State::Joining, Some("no answer")),
            (v1::RuntimeState::Starting, "no answer".to_owned())
        );
        assert_eq!(told(State::Member, None), (v1::RuntimeState::Ready, String::new()));
        assert_eq!(told(State::Left, None).0, v1::RuntimeState::Draining);
    }

    /// The map says what the view says, in the API's words.
    #[test]
    fn buffers_are_mapped() {
        let number = |n| p2psp_wire::ChunkNumber::new(n).unwrap();
        let states = [
            ChunkState::Held,
            ChunkState::Lost,
            ChunkState::Unproved,
            ChunkState::Asked,
            ChunkState::Missing,
        ];
        let view = BufferView {
            first: number(10),
            play: number(20),
            end: number(25),
            ahead: std::time::Duration::from_micros(1_999),
            runs: states.into_iter().zip(1..).collect(),
        };
        let map = map(&view);
        let numbers = (map.first_number, map.play_number, map.end_number, map.buffer_ms);
        assert_eq!(numbers, (10, 20, 25, 1));
        let runs: Vec<_> = map.runs.iter().map(|run| (run.state().name(), run.chunks)).collect();
        assert_eq!(runs, [("held", 1), ("lost", 2), ("unproved", 3), ("asked", 4), ("missing", 5)]);
    }
}
