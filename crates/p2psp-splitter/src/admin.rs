//! What a splitter shows to operators and lets them do. Reads are answered from the statistics and from the journal of members, never
//! by the machine; commands wait for it in a short queue, or are refused. Knows nothing of the API's transport.

use crate::{config::Config, snapshot::Snapshot};
use p2psp_admin::{Answer, Journal, Refusal, SplitterBackend, unix_ms, v1};
use p2psp_core::{Instant, MemberView, Splitter, SplitterEvent};
use p2psp_net::{CastError, Handle};
use p2psp_wire::{DepartureReason, PeerId};
use std::{sync::Arc, time::Duration};
use tokio::sync::{oneshot, watch};

/// A running splitter as the admin API sees it.
#[derive(Debug)]
pub(crate) struct Backend {
    handle: Handle<Splitter>,
    stats: watch::Receiver<Snapshot>,
    peers: Arc<Journal<v1::Peer>>,
    team_size_max: u16,
    uplink_bits_per_s: u64,
    started_unix_ms: u64,
}

impl Backend {
    pub(crate) fn new(
        config: &Config,
        handle: Handle<Splitter>,
        stats: watch::Receiver<Snapshot>,
        peers: Arc<Journal<v1::Peer>>,
        started_unix_ms: u64,
    ) -> Self {
        Self {
            handle,
            stats,
            peers,
            team_size_max: config.team_size_max,
            uplink_bits_per_s: config.uplink_bits_per_s,
            started_unix_ms,
        }
    }

    /// Runs a command on the machine, if there is room for it.
    async fn command<R: Send + 'static>(
        &self,
        command: impl FnOnce(&mut Splitter, Instant) -> R + Send + 'static,
    ) -> Result<R, Refusal> {
        let (answer, answered) = oneshot::channel();
        let command = move |splitter: &mut Splitter, now| {
            // An error says that the caller was dropped meanwhile; the command has run all the same.
            answer.send(command(splitter, now)).ok();
        };
        self.handle.try_cast(command).map_err(|error| match error {
            CastError::Full => Refusal::Busy,
            CastError::Gone => Refusal::Ended,
        })?;
        answered.await.map_err(|_| Refusal::Ended)
    }
}

impl SplitterBackend for Backend {
    fn info(&self) -> v1::Info {
        let stats = self.stats.borrow();
        let (started, listen) = (self.started_unix_ms, stats.listen);
        let mut info = v1::Info::of(v1::Role::Splitter, started, stats.version, &stats.channel, listen);
        // Its port was open before it was shown to anyone. A source that pauses takes nothing from that: publishers find their way
        // here by the same probes.
        info.set_state(v1::RuntimeState::Ready);
        info
    }

    fn channel(&self) -> v1::Channel {
        let stats = self.stats.borrow();
        let ingest = &stats.ingest;
        v1::Channel {
            channel: stats.channel.clone(),
            link: stats.link.clone(),
            epoch: stats.epoch,
            integrity: stats.integrity.to_owned(),
            source: ingest.source.clone(),
            source_state: ingest.state.to_owned(),
            source_reason: ingest.reason.clone().unwrap_or_default(),
            container: ingest.container.clone().unwrap_or_default(),
            source_listen: ingest.listen.map(|address| address.to_string()).unwrap_or_default(),
            figures: figures(ingest),
        }
    }

    fn team(&self) -> v1::Team {
        let stats = self.stats.borrow();
        v1::Team {
            channel: stats.channel.clone(),
            team_size_max: self.team_size_max.into(),
            uplink_bits_per_s: self.uplink_bits_per_s,
            figures: figures(&*stats),
        }
    }

    fn peers(&self) -> &Journal<v1::Peer> {
        &self.peers
    }

    fn expel(&self, peer: PeerId, ban: Duration) -> Answer<'_, u32> {
        Box::pin(async move {
            let slot = self.command(move |splitter, now| splitter.expel_peer(now, peer, ban)).await?;
            let slot = slot.ok_or_else(|| Refusal::NotFound(format!("{peer} has no seat in this team")))?;
            Ok(slot.get().into())
        })
    }

    fn ban(&self, peer: PeerId, ban: Duration) -> Answer<'_, Option<u32>> {
        Box::pin(async move {
            let slot = self.command(move |splitter, now| splitter.ban_peer(now, peer, ban)).await?;
            Ok(slot.map(|slot| slot.get().into()))
        })
    }

    fn unban(&self, peer: PeerId) -> Answer<'_, ()> {
        Box::pin(async move {
            let was_banned = self.command(move |splitter, now| splitter.unban_peer(now, peer)).await?;
            if was_banned { Ok(()) } else { Err(Refusal::NotFound(format!("{peer} is not banned"))) }
        })
    }

    fn bans(&self) -> Answer<'_, Vec<(PeerId, Duration)>> {
        Box::pin(self.command(|splitter, now| splitter.bans(now)))
    }
}

/// Statistics as the API's figures, which have the same names.
fn figures<F: serde::de::DeserializeOwned>(stats: &impl serde::Serialize) -> Option<F> {
    serde_json::to_value(stats).ok().and_then(|value| serde_json::from_value(value).ok())
}

/// Writes what an event says about the members. Who is there is told by events alone, in their order.
pub(crate) fn record(peers: &Journal<v1::Peer>, event: &SplitterEvent) {
    match event {
        SplitterEvent::Joined { peer, slot, remote } => {
            let mut member = v1::Peer {
                slot: slot.get().into(),
                peer: peer.to_string(),
                remote: remote.to_string(),
                joined_unix_ms: unix_ms(),
                ..v1::Peer::default()
            };
            member.set_state(v1::PeerState::Joining);
            peers.put(slot.get(), member);
        }
        SplitterEvent::Departed { slot, reason, .. } => peers.remove(slot.get(), name(*reason)),
        SplitterEvent::Ready { .. }
        | SplitterEvent::Refused { .. }
        | SplitterEvent::Violation { .. }
        | SplitterEvent::Closed => {}
    }
}

/// Writes how the members are. Runs on the driver's task, between two inputs: a member that a view does not name any more, or names
/// already, has its event on the way.
pub(crate) fn refresh(peers: &Journal<v1::Peer>, views: Vec<MemberView>) {
    for view in views {
        let name = view.peer.to_string();
        let state = match (view.ready, view.silenced, view.weight) {
            (false, _, _) => v1::PeerState::Joining,
            (true, _, 0) => v1::PeerState::Eco,
            (true, true, _) => v1::PeerState::Silenced,
            (true, false, _) => v1::PeerState::Ready,
        };
        peers.update(view.slot.get(), |member| {
            if member.peer == name {
                member.set_state(state);
                member.candidates = view.candidates.iter().map(ToString::to_string).collect();
                member.weight = view.weight;
                member.blocked = view.blocked;
                member.missing_ratio = view.missing_share;
            }
        });
    }
}

const fn name(reason: DepartureReason) -> &'static str {
    match reason {
        DepartureReason::Goodbye => "goodbye",
        DepartureReason::Crashed => "crashed",
        DepartureReason::Expelled => "expelled",
        DepartureReason::Unspecified => "unspecified",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Integrity, snapshot::IngestFigures};
    use p2psp_wire::{ChannelId, Epoch, Slot};

    fn names(value: serde_json::Value) -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    }

    /// Every figure of the API is one of the statistics: renaming one there would silently show zero here.
    #[test]
    fn figures_are_the_statistics() {
        let link = format!("p2psp://{}@h:1", ChannelId::new([1; 32])).parse().unwrap();
        let local = "127.0.0.1:1".parse().unwrap();
        let mut snapshot = Snapshot::new(&link, local, Epoch(1), Integrity::None, IngestFigures::default());
        snapshot.joins_total = 7;
        snapshot.net.udp_bytes_out = 9;
        let json = serde_json::to_value(&snapshot).unwrap();
        for (figures, place) in [
            (serde_json::to_value(v1::SplitterFigures::default()).unwrap(), "/"),
            (serde_json::to_value(v1::IngestFigures::default()).unwrap(), "/ingest"),
            (serde_json::to_value(v1::NetFigures::default()).unwrap(), "/net"),
        ] {
            let found = json.pointer(place.trim_end_matches('/')).unwrap();
            for name in names(figures) {
                assert!(found.get(&name).is_some(), "{place}: {name}");
            }
        }
        let figures: v1::SplitterFigures = figures(&snapshot).unwrap();
        assert_eq!((figures.joins_total, figures.net.unwrap().udp_bytes_out), (7, 9));
    }

    /// Members come and go by events; views change those that are there, and nobody else.
    #[test]
    fn members_follow_events_and_views() {
        let peers = Journal::new(1);
        let (slot, peer) = (Slot::new(3).unwrap(), PeerId::new([1; 32]));
        let remote = "192.0.2.1:1".parse().unwrap();
        let view = |peer, ready| MemberView {
            slot,
            peer,
            remote: Some(remote),
            candidates: vec![remote],
            ready,
            silenced: false,
            blocked: true,
            weight: 16,
            missing_share: Some(0.25),
        };
        refresh(&peers, vec![view(peer, true)]);
        assert_eq!(peers.get(3), None, "its event has not come");
        record(&peers, &SplitterEvent::Joined { peer, slot, remote });
        assert_eq!(peers.get(3).unwrap().state(), v1::PeerState::Joining);
        refresh(&peers, vec![view(PeerId::new([2; 32]), true)]);
        assert_eq!(peers.get(3).unwrap().state(), v1::PeerState::Joining, "that is another's");
        refresh(&peers, vec![view(peer, true)]);
        let member = peers.get(3).unwrap();
        assert_eq!((member.state(), member.weight, member.blocked), (v1::PeerState::Ready, 16, true));
        assert_eq!(
            (member.candidates.as_slice(), member.missing_ratio),
            (&["192.0.2.1:1".to_owned()][..], Some(0.25))
        );
        record(&peers, &SplitterEvent::Departed { peer, slot, reason: DepartureReason::Crashed });
        assert_eq!(peers.get(3), None);
    }
}
