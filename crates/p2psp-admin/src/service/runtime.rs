//! `RuntimeService`: who answers, its settings, its log, its end.

use super::{Mutations, caller, invalid, limits};
use crate::{
    backend::Process,
    server::Shared,
    v1::{
        DrainRequest, DrainResponse, GetConfigRequest, GetConfigResponse, GetInfoRequest, GetInfoResponse,
        GetLogLevelRequest, GetLogLevelResponse, SetLogLevelRequest, SetLogLevelResponse,
        runtime_service_server::RuntimeService,
    },
};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Answers `RuntimeService`.
#[derive(Clone)]
pub(crate) struct RuntimeCalls {
    pub(crate) shared: Arc<Shared>,
    pub(crate) process: Arc<dyn Process>,
    pub(crate) mutations: Arc<Mutations>,
}

#[tonic::async_trait]
impl RuntimeService for RuntimeCalls {
    async fn get_info(&self, _: Request<GetInfoRequest>) -> Result<Response<GetInfoResponse>, Status> {
        Ok(Response::new(GetInfoResponse { info: Some(self.shared.info()) }))
    }

    async fn get_config(&self, _: Request<GetConfigRequest>) -> Result<Response<GetConfigResponse>, Status> {
        Ok(Response::new(GetConfigResponse { toml: self.process.config() }))
    }

    async fn get_log_level(
        &self,
        _: Request<GetLogLevelRequest>,
    ) -> Result<Response<GetLogLevelResponse>, Status> {
        Ok(Response::new(GetLogLevelResponse { filter: self.process.log_level() }))
    }

    async fn set_log_level(
        &self,
        request: Request<SetLogLevelRequest>,
    ) -> Result<Response<SetLogLevelResponse>, Status> {
        let caller = caller(&request);
        let SetLogLevelRequest { filter, request_id } = request.into_inner();
        if filter.is_empty() || filter.len() > limits::FILTER_BYTES_MAX {
            return Err(invalid("filter", format!("has 1 to {} bytes", limits::FILTER_BYTES_MAX)));
        }
        let (process, wanted) = (Arc::clone(&self.process), filter.clone());
        let command =
            async move { process.set_log_level(&wanted).map(|previous| SetLogLevelResponse { previous }) };
        self.mutations.run(&caller, "SetLogLevel", &request_id, &filter, command).await
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Result<Response<DrainResponse>, Status> {
        let caller = caller(&request);
        let (shared, process) = (Arc::clone(&self.shared), Arc::clone(&self.process));
        let command = async move {
            shared.drain();
            process.drain();
            Ok(DrainResponse {})
        };
        self.mutations.run(&caller, "Drain", &request.into_inner().request_id, "", command).await
    }
}
