//! SIGHUP: the settings file is read again, and what can change in a running process does. Owns which settings those are, and what is
//! said of the others; a file that is not right changes nothing.

use crate::{
    cli::{CommonArgs, PeerArgs, SplitterArgs},
    exit::{Code, Failure},
    logging::{self, Log},
    settings::{self, FileSettings, SettingsError, merge, redacted},
    supervisor,
};
use p2psp_admin::{Doors, GuardFiles};
use p2psp_net::{Identity, tasks};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};
use tracing::{error, info, warn};

/// Settings of a role that change while the process runs: what their files hold is read again each time.
const LIVE: [&str; 4] = ["admin_cert", "admin_key", "admin_clients", "admin_tokens"];

/// The settings of a command, as a table of the file.
pub(crate) trait Role: Clone + Serialize + DeserializeOwned + Send + 'static {
    /// The table's name.
    const TABLE: &'static str;
    /// What a file says of it.
    fn of(file: &FileSettings) -> &Self;
    /// Whether the command could run with these.
    ///
    /// # Errors
    ///
    /// The first setting that is not right.
    fn check(&self) -> Result<(), SettingsError>;
    /// What stands at the operators' doors.
    fn guard(&self) -> GuardFiles;
    /// These, with defaults where nothing is said, as a settings file without secrets.
    fn shown(&self) -> String;
}

impl Role for SplitterArgs {
    const TABLE: &'static str = "splitter";

    fn of(file: &FileSettings) -> &Self {
        &file.splitter
    }

    fn check(&self) -> Result<(), SettingsError> {
        settings::splitter(self, Identity::generate()).map(drop)
    }

    fn guard(&self) -> GuardFiles {
        self.guard()
    }

    fn shown(&self) -> String {
        settings::shown(Self::TABLE, &merge(self, &settings::Defaults::splitter()))
    }
}

impl Role for PeerArgs {
    const TABLE: &'static str = "peer";

    fn of(file: &FileSettings) -> &Self {
        &file.peer
    }

    fn check(&self) -> Result<(), SettingsError> {
        settings::peer(self, Identity::generate()).map(drop)
    }

    fn guard(&self) -> GuardFiles {
        self.guard()
    }

    fn shown(&self) -> String {
        settings::shown(Self::TABLE, &merge(self, &settings::Defaults::peer()))
    }
}

/// Where a running command's settings came from, and what is in force.
#[derive(Debug)]
pub(crate) struct Reload<A> {
    common: CommonArgs,
    flags: A,
    in_force: A,
    log_level: Option<String>,
    /// What operators are shown.
    shown: Arc<Mutex<String>>,
}

impl<A: Role> Reload<A> {
    /// `flags` win over what the file says now and later.
    pub(crate) fn new(common: CommonArgs, flags: A, file: &FileSettings, log_level: Option<String>) -> Self {
        let in_force = merge(&flags, A::of(file));
        let shown = Arc::new(Mutex::new(in_force.shown()));
        Self { common, flags, in_force, log_level, shown }
    }

    /// The settings that the command runs with.
    pub(crate) const fn in_force(&self) -> &A {
        &self.in_force
    }

    /// What operators are shown of them, now and after each change.
    pub(crate) fn shown(&self) -> Arc<Mutex<String>> {
        Arc::clone(&self.shown)
    }

    /// Does so with each SIGHUP, until the task is dropped with the process. Without a settings file the signal keeps its usual meaning,
    /// which is that the terminal is gone.
    ///
    /// # Errors
    ///
    /// The system refuses to hand over the signal.
    pub(crate) fn listen(
        self,
        log: Arc<Log>,
        doors: Option<Doors>,
    ) -> Result<Option<JoinHandle<()>>, Failure> {
        if self.common.config.is_none() {
            return Ok(None);
        }
        let hangup = signal(SignalKind::hangup()).map_err(|problem: io::Error| {
            Failure::new(Code::Runtime, format!("cannot listen to SIGHUP: {problem}"))
        })?;
        Ok(Some(tasks::spawn("reload", self.run(hangup, log, doors))))
    }

    async fn run(mut self, mut hangup: Signal, log: Arc<Log>, doors: Option<Doors>) {
        while hangup.recv().await.is_some() {
            supervisor::reloading();
            if let Err(failure) = self.reload(&log, doors.as_ref()) {
                error!("the settings stay as they are: {failure}");
            }
            supervisor::ready();
        }
    }

    /// Reads everything, checks everything, and only then changes anything.
    fn reload(&mut self, log: &Log, doors: Option<&Doors>) -> Result<(), Failure> {
        let sources = settings::sources(&self.common, settings::environment()?)?;
        let asked = merge(&self.flags, A::of(&sources.file));
        asked.check()?;
        // Where nobody says, it is what it would be at a start.
        let filter = Some(sources.log_level).filter(|filter| *filter != self.log_level);
        let shown = filter.as_ref().map(|filter| logging::filter(filter.as_deref())).transpose()?;
        let has_new_doors = match doors {
            Some(doors) => {
                doors.reread(&asked.guard()).map_err(|problem| Failure::of(Code::Usage, &problem))?
            }
            None => false,
        };
        let mut changes = 0;
        if has_new_doors {
            info!("certificates and tokens of the admin addresses were read again; connections begin anew");
            changes += 1;
        }
        if let (Some(filter), Some(shown)) = (filter, shown) {
            let before = log.set_filter(&shown)?;
            info!(setting = "log_level", from = before, to = shown, "changed");
            self.log_level = filter;
            changes += 1;
        }
        changes += self.compare(&asked, doors.is_some());
        if changes == 0 {
            info!("the settings were read again: nothing has changed");
        }
        Ok(())
    }

    /// Says what differs, and keeps what does from now on. How many settings that are.
    fn compare(&mut self, asked: &A, has_doors: bool) -> usize {
        let table =
            |settings: &A| toml::Table::try_from(settings).expect("settings are tables of texts and numbers");
        let (old, new) = (table(&self.in_force), table(asked));
        let (old_shown, new_shown) = (redacted(&self.in_force), redacted(asked));
        let shown = |table: &toml::Table, key: &str| {
            table.get(key).map_or_else(|| "its default".to_owned(), ToString::to_string)
        };
        let mut kept = old.clone();
        let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| old.get(*name) != new.get(*name));
        for name in &names {
            let (setting, from, to) =
                (format!("{}.{name}", A::TABLE), shown(&old_shown, name), shown(&new_shown, name));
            if has_doors && LIVE.contains(&name.as_str()) {
                info!(setting, from, to, "changed");
                match new.get(*name) {
                    Some(value) => kept.insert((*name).clone(), value.clone()),
                    None => kept.remove(*name),
                };
            } else {
                warn!(setting, from, to, "a change that takes a restart");
            }
        }
        self.in_force = kept.try_into().expect("each value came from the same type");
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = self.in_force.shown();
        names.len()
    }
}
