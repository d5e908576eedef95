//! `PeerService`: a peer's place, its teammates, its leaving.

use super::{
    Mutations, Work, caller,
    mask::Mask,
    page,
    watch::{Told, watch},
};
use crate::{
    backend::{PeerBackend, Process},
    journal::Record,
    server::Shared,
    v1::{
        GetBufferMapRequest, GetBufferMapResponse, GetStatusRequest, GetStatusResponse, LeaveRequest,
        LeaveResponse, ListNeighboursRequest, ListNeighboursResponse, Neighbour, NeighbourDeparture,
        NeighbourSnapshot, WatchNeighboursRequest, WatchNeighboursResponse, peer_service_server::PeerService,
        watch_neighbours_response::Event,
    },
};
use futures_util::{Stream, StreamExt};
use std::{pin::Pin, sync::Arc};
use tonic::{Request, Response, Status};

/// Answers `PeerService`.
#[derive(Clone)]
pub(crate) struct PeerCalls {
    pub(crate) shared: Arc<Shared>,
    pub(crate) process: Arc<dyn Process>,
    pub(crate) backend: Arc<dyn PeerBackend>,
    pub(crate) mutations: Arc<Mutations>,
    /// Questions to the machine.
    pub(crate) looks: Arc<Work>,
}

impl Record for Neighbour {
    fn is_same(&self, other: &Self) -> bool {
        let blocked = other.blocked;
        Self { blocked, ..self.clone() } == *other
    }
}

#[tonic::async_trait]
impl PeerService for PeerCalls {
    type WatchNeighboursStream =
        Pin<Box<dyn Stream<Item = Result<WatchNeighboursResponse, Status>> + Send + 'static>>;

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        Ok(Response::new(GetStatusResponse { status: Some(self.backend.status()) }))
    }

    async fn list_neighbours(
        &self,
        request: Request<ListNeighboursRequest>,
    ) -> Result<Response<ListNeighboursResponse>, Status> {
        let ListNeighboursRequest { page_size, page_token, read_mask } = request.into_inner();
        let mask = Mask::read(read_mask.as_ref())?;
        let journal = self.backend.neighbours();
        let (after, max) = page::wanted_slots(journal.instance(), page_size, &page_token)?;
        let (neighbours, next, total) = journal.page(after, max);
        Ok(Response::new(ListNeighboursResponse {
            neighbours: neighbours.into_iter().map(|neighbour| mask.apply(neighbour)).collect(),
            next_page_token: page::token(journal.instance(), next),
            total_size: u32::try_from(total).unwrap_or(u32::MAX),
        }))
    }

    async fn watch_neighbours(
        &self,
        request: Request<WatchNeighboursRequest>,
    ) -> Result<Response<Self::WatchNeighboursStream>, Status> {
        let token = request.into_inner().resume_token;
        let backend = Arc::clone(&self.backend);
        let messages = watch(backend, |backend| backend.neighbours(), &token, self.shared.closing())?;
        Ok(Response::new(Box::pin(messages.map(|message| {
            message.map(|(point, told)| WatchNeighboursResponse {
                resume_token: point.resume_token,
                revision: point.revision,
                event: event(told),
            })
        }))))
    }

    async fn get_buffer_map(
        &self,
        _: Request<GetBufferMapRequest>,
    ) -> Result<Response<GetBufferMapResponse>, Status> {
        let backend = Arc::clone(&self.backend);
        let map = self.looks.in_turn("GetBufferMap", async move { backend.buffer().await }).await?;
        Ok(Response::new(GetBufferMapResponse { map }))
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Result<Response<LeaveResponse>, Status> {
        let caller = caller(&request);
        let (shared, process) = (Arc::clone(&self.shared), Arc::clone(&self.process));
        let command = async move {
            shared.drain();
            process.drain();
            Ok(LeaveResponse {})
        };
        self.mutations.run(&caller, "Leave", &request.into_inner().request_id, "", command).await
    }
}

fn event(told: Told<Neighbour>) -> Option<Event> {
    match told {
        Told::All(neighbours) => Some(Event::Snapshot(NeighbourSnapshot { neighbours })),
        Told::Put(neighbour) => Some(Event::Changed(neighbour)),
        Told::Gone { last, reason: _ } => {
            Some(Event::Departed(NeighbourDeparture { slot: last.slot, peer: last.peer }))
        }
        Told::Alive => None,
    }
}
