//! What a splitter shows to operators and lets them do. Reads are answered from the statistics and from the journal of members; the list
//! of bans, and commands, wait for the machine in a short queue, or are refused. Knows nothing of the API's transport.

use crate::{config::Config, snapshot::Snapshot};
use p2psp_admin::{Answer, Journal, LimitsChange, Refusal, SplitterBackend, unix_ms, v1};
use p2psp_core::{Instant, Limits, MemberView, Splitter, SplitterEvent};
use p2psp_net::{CastError, Handle};
use p2psp_wire::{DepartureReason, PeerId};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{oneshot, watch};

/// A running splitter as the admin API sees it.
#[derive(Debug)]
pub(crate) struct Backend {
    handle: Handle<Splitter>,
    stats: watch::Receiver<Snapshot>,
    peers: Arc<Journal<v1::Peer>>,
    limits: Arc<InForce>,
    started_unix_ms: u64,
}

/// The team's limits as they are now: written by the machine's task alone, right when they change.
#[derive(Debug)]
pub(crate) struct InForce(Mutex<v1::TeamLimits>);

impl InForce {
    /// Those that a splitter begins with.
    pub(crate) fn of(config: &Config) -> Self {
        let limits = Limits {
            team_size_max: config.team_size_max,
            own_copies_max: config.own_copies_max,
            ban: config.fairness.ban,
        };
        Self(Mutex::new(told(limits, config.uplink_bits_per_s)))
    }

    fn now(&self) -> v1::TeamLimits {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the machine's limits.
    fn change(&self, splitter: &mut Splitter, change: LimitsChange) -> v1::TeamLimits {
        let before = splitter.limits();
        splitter.set_limits(Limits {
            team_size_max: change.team_size_max.unwrap_or(before.team_size_max),
            own_copies_max: change.own_copies_max.unwrap_or(before.own_copies_max),
            ban: change.ban.unwrap_or(before.ban),
        });
        if let Some(bits_per_s) = change.uplink_bits_per_s {
            splitter.set_uplink(bits_per_s);
        }
        let mut limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *limits = told(splitter.limits(), change.uplink_bits_per_s.unwrap_or(limits.uplink_bits_per_s));
        *limits
    }
}

/// Limits as the API has them.
fn told(limits: Limits, uplink_bits_per_s: u64) -> v1::TeamLimits {
    v1::TeamLimits {
        team_size_max: limits.team_size_max.into(),
        own_copies_max: limits.own_copies_max.into(),
        uplink_bits_per_s,
        ban_ms: u64::try_from(limits.ban.as_millis()).unwrap_or(u64::MAX),
    }
}

impl Backend {
    pub(crate) fn new(
        handle: Handle<Splitter>,
        stats: watch::Receiver<Snapshot>,
        peers: Arc<Journal<v1::Peer>>,
        limits: Arc<InForce>,
        started_unix_ms: u64,
    ) -> Self {
        Self { handle, stats, peers, limits, started_unix_ms }
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
        let v1::TeamLimits { team_size_max, own_copies_max, uplink_bits_per_s, ban_ms } = self.limits.now();
        let stats = self.stats.borrow();
        let (channel, figures) = (stats.channel.clone(), figures(&*stats));
        v1::Team { channel, team_size_max, uplink_bits_per_s, figures, own_copies_max, ban_ms }
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

    fn set_weight_limit(&self, peer: PeerId, limit: Option<u32>) -> Answer<'_, Option<u32>> {
        Box::pin(async move {
            let peers = Arc::clone(&self.peers);
            let set = move |splitter: &mut Splitter, now| {
                let before = splitter.set_weight_limit(now, peer, limit);
                // Who watches is told before who asked is answered.
                refresh(&peers, splitter.member_views(now));
                before
            };
            let unknown = |_| {
                let problem = if limit.is_some() { "has no seat in this team" } else { "has no limit" };
                Refusal::NotFound(format!("{peer} {problem}"))
            };
            self.command(set).await?.map_err(unknown)
        })
    }

    fn update_limits(&self, change: LimitsChange) -> Answer<'_, v1::TeamLimits> {
        let limits = Arc::clone(&self.limits);
        Box::pin(self.command(move |splitter, _| limits.change(splitter, change)))
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
                member.weight_limit = view.weight_limit;
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
    use p2psp_core::SplitterConfig;
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

    /// The API's ranges are the machine's, and a change leaves what it does not name.
    #[test]
    fn limits_are_the_machines() {
        assert_eq!(p2psp_admin::limits::WEIGHT_LIMIT_MAX, p2psp_core::WEIGHT_DEFAULT);
        let config = Config::new(crate::Source::parse("testcard").unwrap(), p2psp_net::Identity::generate());
        assert_eq!(p2psp_admin::limits::TEAM_SIZE_MAX, crate::TEAM_SIZE_MAX);
        assert_eq!(p2psp_admin::limits::OWN_COPIES_MAX, crate::OWN_COPIES_MAX);
        let machine = SplitterConfig::new(ChannelId::new([1; 32]), Epoch(1), 0);
        let mut splitter = Splitter::new(machine, Instant::ORIGIN);
        let limits = InForce::of(&config);
        let before = limits.now();
        assert_eq!(
            limits.change(&mut splitter, LimitsChange::default()),
            before,
            "their defaults are the same"
        );
        let change =
            LimitsChange { team_size_max: Some(7), uplink_bits_per_s: Some(9), ..LimitsChange::default() };
        let expected = v1::TeamLimits { team_size_max: 7, uplink_bits_per_s: 9, ..before };
        assert_eq!((limits.change(&mut splitter, change), limits.now()), (expected, expected));
        assert_eq!(splitter.limits().team_size_max, 7);
        let change =
            LimitsChange { own_copies_max: Some(0), ban: Some(Duration::ZERO), ..LimitsChange::default() };
        let expected = v1::TeamLimits { own_copies_max: 0, ban_ms: 0, ..expected };
        assert_eq!(limits.change(&mut splitter, change), expected);
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
            weight_limit: Some(64),
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
        assert_eq!(member.weight_limit, Some(64));
        assert_eq!(
            (member.candidates.as_slice(), member.missing_ratio),
            (&["192.0.2.1:1".to_owned()][..], Some(0.25))
        );
        record(&peers, &SplitterEvent::Departed { peer, slot, reason: DepartureReason::Crashed });
        assert_eq!(peers.get(3), None);
    }
}
