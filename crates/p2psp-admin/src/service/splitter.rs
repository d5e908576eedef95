//! `SplitterService`: the channel, the team, and what can be done about a member.

use super::{
    Mutations, Work, caller, invalid, limits,
    mask::Mask,
    page, peer_id,
    reason::no_peer,
    watch::{Told, watch},
};
use crate::{
    backend::SplitterBackend,
    journal::Record,
    server::Shared,
    v1::{
        Ban, BanPeerRequest, BanPeerResponse, ExpelPeerRequest, ExpelPeerResponse, GetChannelRequest,
        GetChannelResponse, GetPeerRequest, GetPeerResponse, GetTeamRequest, GetTeamResponse,
        ListBansRequest, ListBansResponse, ListPeersRequest, ListPeersResponse, Peer, PeerDeparture,
        SetPeerWeightLimitRequest, SetPeerWeightLimitResponse, TeamSnapshot, UnbanPeerRequest,
        UnbanPeerResponse, UpdateLimitsRequest, UpdateLimitsResponse, WatchTeamRequest, WatchTeamResponse,
        splitter_service_server::SplitterService, watch_team_response::Event,
    },
};
use futures_util::{Stream, StreamExt};
use p2psp_wire::PeerId;
use std::{pin::Pin, sync::Arc, time::Duration};
use tonic::{Request, Response, Status};

/// Answers `SplitterService`.
#[derive(Clone)]
pub(crate) struct SplitterCalls {
    pub(crate) shared: Arc<Shared>,
    pub(crate) backend: Arc<dyn SplitterBackend>,
    pub(crate) mutations: Arc<Mutations>,
    /// Questions to the machine.
    pub(crate) looks: Arc<Work>,
}

impl Record for Peer {
    fn is_same(&self, other: &Self) -> bool {
        let (blocked, missing_ratio) = (other.blocked, other.missing_ratio);
        Self { blocked, missing_ratio, ..self.clone() } == *other
    }
}

#[tonic::async_trait]
impl SplitterService for SplitterCalls {
    type WatchTeamStream = Pin<Box<dyn Stream<Item = Result<WatchTeamResponse, Status>> + Send + 'static>>;

    async fn get_channel(
        &self,
        _: Request<GetChannelRequest>,
    ) -> Result<Response<GetChannelResponse>, Status> {
        Ok(Response::new(GetChannelResponse { channel: Some(self.backend.channel()) }))
    }

    async fn get_team(&self, _: Request<GetTeamRequest>) -> Result<Response<GetTeamResponse>, Status> {
        Ok(Response::new(GetTeamResponse { team: Some(self.backend.team()) }))
    }

    async fn list_peers(
        &self,
        request: Request<ListPeersRequest>,
    ) -> Result<Response<ListPeersResponse>, Status> {
        let ListPeersRequest { page_size, page_token, read_mask } = request.into_inner();
        let mask = Mask::read(read_mask.as_ref())?;
        let journal = self.backend.peers();
        let (after, max) = page::wanted_slots(journal.instance(), page_size, &page_token)?;
        let (peers, next, total) = journal.page(after, max);
        Ok(Response::new(ListPeersResponse {
            peers: peers.into_iter().map(|peer| mask.apply(peer)).collect(),
            next_page_token: page::token(journal.instance(), next),
            total_size: u32::try_from(total).unwrap_or(u32::MAX),
        }))
    }

    async fn get_peer(&self, request: Request<GetPeerRequest>) -> Result<Response<GetPeerResponse>, Status> {
        let GetPeerRequest { peer, read_mask } = request.into_inner();
        let mask = Mask::read(read_mask.as_ref())?;
        let peer = peer_id(&peer)?.to_string();
        let found = self.backend.peers().find(|member| member.peer == peer);
        match found {
            Some(peer) => Ok(Response::new(GetPeerResponse { peer: Some(mask.apply(peer)) })),
            None => Err(no_peer(
                &peer,
                format!("{peer} has no seat in this team: ListPeers gives those that have"),
            )),
        }
    }

    async fn watch_team(
        &self,
        request: Request<WatchTeamRequest>,
    ) -> Result<Response<Self::WatchTeamStream>, Status> {
        let token = request.into_inner().resume_token;
        let backend = Arc::clone(&self.backend);
        let messages = watch(backend, |backend| backend.peers(), &token, self.shared.closing())?;
        Ok(Response::new(Box::pin(messages.map(|message| {
            message.map(|(point, told)| WatchTeamResponse {
                resume_token: point.resume_token,
                revision: point.revision,
                event: event(told),
            })
        }))))
    }

    async fn expel_peer(
        &self,
        request: Request<ExpelPeerRequest>,
    ) -> Result<Response<ExpelPeerResponse>, Status> {
        let caller = caller(&request);
        let ExpelPeerRequest { peer, ban_ms, request_id } = request.into_inner();
        let (peer, ban) = (peer_id(&peer)?, ban(ban_ms)?);
        let backend = Arc::clone(&self.backend);
        let command = async move { Ok(ExpelPeerResponse { slot: backend.expel(peer, ban).await? }) };
        self.mutations.run(&caller, "ExpelPeer", &request_id, &subject(peer, ban), command).await
    }

    async fn ban_peer(&self, request: Request<BanPeerRequest>) -> Result<Response<BanPeerResponse>, Status> {
        let caller = caller(&request);
        let BanPeerRequest { peer, ban_ms, request_id } = request.into_inner();
        let (peer, ban) = (peer_id(&peer)?, ban(ban_ms)?);
        if ban.is_zero() {
            return Err(invalid("ban_ms", "is more than 0: UnbanPeer ends a ban"));
        }
        let backend = Arc::clone(&self.backend);
        let command = async move { Ok(BanPeerResponse { slot: backend.ban(peer, ban).await? }) };
        self.mutations.run(&caller, "BanPeer", &request_id, &subject(peer, ban), command).await
    }

    async fn unban_peer(
        &self,
        request: Request<UnbanPeerRequest>,
    ) -> Result<Response<UnbanPeerResponse>, Status> {
        let caller = caller(&request);
        let UnbanPeerRequest { peer, request_id } = request.into_inner();
        let peer = peer_id(&peer)?;
        let backend = Arc::clone(&self.backend);
        let command = async move { backend.unban(peer).await.map(|()| UnbanPeerResponse {}) };
        self.mutations.run(&caller, "UnbanPeer", &request_id, &peer.to_string(), command).await
    }

    async fn list_bans(
        &self,
        request: Request<ListBansRequest>,
    ) -> Result<Response<ListBansResponse>, Status> {
        let ListBansRequest { page_size, page_token, read_mask } = request.into_inner();
        let mask = Mask::read(read_mask.as_ref())?;
        let instance = self.backend.peers().instance();
        let wanted = page::wanted(instance, page_size, &page_token)?;
        let after = page::behind::<PeerId>(wanted.after)?;
        let backend = Arc::clone(&self.backend);
        let bans = self.looks.in_turn("ListBans", async move { backend.bans().await }).await?;
        let mut rest = bans.into_iter().filter(|(peer, _)| after.is_none_or(|after| *peer > after));
        let page: Vec<_> = rest.by_ref().take(wanted.max).collect();
        let last = page.last().map(|(peer, _)| *peer).filter(|_| rest.next().is_some());
        let bans = page.into_iter().map(|(peer, remaining)| Ban {
            peer: peer.to_string(),
            remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
        });
        let next_page_token = page::token(instance, last);
        Ok(Response::new(ListBansResponse {
            bans: bans.map(|ban| mask.apply(ban)).collect(),
            next_page_token,
        }))
    }

    async fn set_peer_weight_limit(
        &self,
        request: Request<SetPeerWeightLimitRequest>,
    ) -> Result<Response<SetPeerWeightLimitResponse>, Status> {
        self.limit_weight(request).await
    }

    async fn update_limits(
        &self,
        request: Request<UpdateLimitsRequest>,
    ) -> Result<Response<UpdateLimitsResponse>, Status> {
        self.change_limits(request).await
    }
}

fn event(told: Told<Peer>) -> Option<Event> {
    match told {
        Told::All(peers) => Some(Event::Snapshot(TeamSnapshot { peers })),
        Told::Put(peer) => Some(Event::Changed(peer)),
        Told::Gone { last, reason } => {
            let reason = reason.to_owned();
            Some(Event::Departed(PeerDeparture { slot: last.slot, peer: last.peer, reason }))
        }
        Told::Alive => None,
    }
}

/// For the audit, and to tell a request that comes again from another one.
fn subject(peer: PeerId, ban: Duration) -> String {
    format!("{peer} ban_ms={}", ban.as_millis())
}

fn ban(ban_ms: Option<u64>) -> Result<Duration, Status> {
    let ban = ban_ms.map_or(limits::BAN_DEFAULT, Duration::from_millis);
    if ban > limits::BAN_MAX {
        return Err(invalid("ban_ms", format!("is at most {}, a year", limits::BAN_MAX.as_millis())));
    }
    Ok(ban)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn bans_are_bounded() {
        let max = u64::try_from(limits::BAN_MAX.as_millis()).unwrap();
        assert_eq!(ban(None).unwrap(), limits::BAN_DEFAULT);
        assert_eq!(ban(Some(max)).unwrap(), limits::BAN_MAX);
        assert_eq!(ban(Some(max + 1)).unwrap_err().code(), Code::InvalidArgument);
    }
}
