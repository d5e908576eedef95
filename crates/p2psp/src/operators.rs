//! The admin API of a running command: opened before the command is ready, answering until it has ended. Owns what operators may do
//! with the process itself; what they may do with a team is the runtimes' business.

use crate::{
    exit::{Code, Failure},
    logging::Log,
    settings::SettingsError,
    signals::Stop,
};
use p2psp_admin::{Admin, Bind, BindError, Doors, Guard, GuardFiles, Process, Refusal, Server};
use p2psp_net::tasks;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::{sync::oneshot, task::JoinHandle};
use tracing::info;

/// The process as operators steer it.
pub(crate) struct Steering {
    /// The settings in force, without secrets.
    pub(crate) config: Arc<Mutex<String>>,
    pub(crate) log: Arc<Log>,
    pub(crate) stop: Stop,
}

impl Process for Steering {
    fn config(&self) -> String {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn log_level(&self) -> String {
        self.log.filter()
    }

    fn set_log_level(&self, filter: &str) -> Result<String, Refusal> {
        self.log.set_filter(filter).map_err(|error| match error {
            SettingsError::Value { problem, .. } => Refusal::Invalid { field: "filter", problem },
            error @ (SettingsError::Unreadable { .. }
            | SettingsError::Toml { .. }
            | SettingsError::ValueInFile { .. }
            | SettingsError::UnknownKey { .. }
            | SettingsError::UnknownVariable { .. }
            | SettingsError::VariableNoText { .. }) => {
                Refusal::Invalid { field: "filter", problem: error.to_string() }
            }
        })
    }

    fn drain(&self) {
        info!("an operator asks to leave");
        self.stop.ask();
    }
}

/// An open admin API, or none.
#[derive(Debug)]
pub(crate) struct Operators(Option<Server>);

impl Operators {
    /// Opens the addresses, if there are any.
    ///
    /// # Errors
    ///
    /// One of them cannot be had, or not be guarded.
    pub(crate) async fn open(binds: Option<&[Bind]>, files: &GuardFiles) -> Result<Self, Failure> {
        let guard = Guard::read(files).map_err(|error| Failure::of(Code::Usage, &error))?;
        let Some(binds) = binds.filter(|binds| !binds.is_empty()) else { return Ok(Self(None)) };
        let server = Server::open(binds, guard).await.map_err(|error| {
            let code = if matches!(error, BindError::Guard(_)) { Code::Usage } else { Code::Runtime };
            Failure::of(code, &error)
        })?;
        Ok(Self(Some(server)))
    }

    /// The addresses with their real ports.
    pub(crate) fn binds(&self) -> Vec<String> {
        self.0.iter().flat_map(Server::binds).map(ToString::to_string).collect()
    }

    /// What stands at the addresses, to be changed; `None` where there are none.
    pub(crate) fn doors(&self) -> Option<Doors> {
        self.0.as_ref().map(Server::doors)
    }

    /// Answers from now on.
    pub(crate) fn answer(self, admin: impl FnOnce() -> Admin, stop: Stop) -> Answering {
        Answering(self.0.map(|server| {
            let (end, ended) = oneshot::channel::<()>();
            let run = server.run(admin(), stop.asked(), async {
                // A sender that is dropped means the same as one that is used.
                ended.await.ok();
            });
            (end, tasks::spawn("admin", run))
        }))
    }
}

/// A running admin API, or none.
#[derive(Debug)]
pub(crate) struct Answering(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

impl Answering {
    /// Ends it: watchers are told, calls under way get a second.
    pub(crate) async fn end(self) {
        if let Some((end, task)) = self.0 {
            drop(end);
            // A panic in it is in the log.
            task.await.ok();
        }
    }
}
