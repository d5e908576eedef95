//! SIGHUP: the settings file is read again, and what can change in a running process does. Owns which settings those are, and what is
//! said of the others; a file that is not right changes nothing.

use crate::{
    cli::{CommonArgs, LogFormat, SplitterArgs},
    exit::{Code, Failure},
    logging::{Filter, Log},
    settings::{self, Role, Sources, checked, redacted},
    signals::Stop,
    supervisor,
    units::{BitRate, Span},
};
use p2psp_admin::{Doors, Guard, LimitsChange, Renewed, SplitterBackend, v1};
use p2psp_net::tasks;
use std::{
    io::{self, IsTerminal, stderr, stdin, stdout},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::spawn_blocking,
};
use tracing::{Level, enabled, error, info, warn};

/// Settings of a role that count from the moment when they are read again; [`Reload::apply`] is where they take effect. All others take
/// a restart, those aside that limit a team ([`Role::LIMITS`]). Of the settings before the first table `log_level` counts too.
const LIVE: [&str; 4] = ["admin_cert", "admin_key", "admin_clients", "admin_tokens"];

/// What of a running command can change.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) log: Arc<Log>,
    /// What stands at the operators' addresses; `None` where there are none.
    pub(crate) doors: Option<Doors>,
    /// The team that the process has; `None` in a peer.
    pub(crate) team: Option<Arc<dyn SplitterBackend>>,
    pub(crate) stop: Stop,
}

/// Where a running command's settings came from, and what is in force.
#[derive(Debug)]
pub(crate) struct Reload<A> {
    common: CommonArgs,
    flags: A,
    in_force: A,
    log: LogFormat,
    /// As the file or a flag says, whatever operators have made of it since.
    log_level: Option<String>,
    /// What operators are shown.
    shown: Arc<Mutex<String>>,
}

/// What a file that was read again made of the settings.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// What counts from now on.
    changed: Vec<String>,
    /// What would count after a restart.
    pending: Vec<String>,
}

/// Everything that a file and those that it names ask for; all of it is right.
struct Asked<A> {
    sources: Sources,
    settings: A,
    filter: Filter,
    guard: Guard,
}

impl<A: Role> Asked<A> {
    /// Reads and checks all of it.
    ///
    /// # Errors
    ///
    /// Something is not right.
    fn read(common: &CommonArgs, flags: &A) -> Result<Self, Failure> {
        let sources = settings::sources(common, settings::environment()?)?;
        let settings = checked(flags, &sources)?;
        // Where nobody says, it is what it would be at a start.
        let filter = sources.filter()?;
        // Where there are no addresses nobody stands; the files have to be right all the same, as at a start.
        let guard = Guard::read(&settings.guard()).map_err(|problem| Failure::of(Code::Usage, &problem))?;
        Ok(Self { sources, settings, filter, guard })
    }
}

impl<A: Role> Reload<A> {
    /// `flags` win over what the file says now and later.
    ///
    /// # Errors
    ///
    /// A setting is not right.
    pub(crate) fn new(common: CommonArgs, flags: A, sources: &Sources) -> Result<Self, Failure> {
        let in_force = checked(&flags, sources)?;
        let shown = Arc::new(Mutex::new(in_force.shown()));
        Ok(Self { common, flags, in_force, log: sources.log, log_level: sources.log_level.clone(), shown })
    }

    /// The settings that the command runs with.
    pub(crate) const fn in_force(&self) -> &A {
        &self.in_force
    }

    /// What operators are shown of them, now and after each change.
    pub(crate) fn shown(&self) -> Arc<Mutex<String>> {
        Arc::clone(&self.shown)
    }

    /// Reads the file again with each SIGHUP, until the process ends. A SIGHUP that comes because the terminal is gone means what it always
    /// did.
    ///
    /// # Errors
    ///
    /// The system refuses to hand over the signal.
    pub(crate) fn listen(self, running: Running) -> Result<(), Failure> {
        let hangup = signal(SignalKind::hangup()).map_err(|problem: io::Error| {
            Failure::new(Code::Runtime, format!("cannot listen to SIGHUP: {problem}"))
        })?;
        // The task lives as long as the process, whose settings it looks after.
        drop(tasks::spawn("reload", self.run(hangup, running)));
        Ok(())
    }

    async fn run(mut self, mut hangup: Signal, running: Running) {
        let had_terminal = has_terminal();
        while hangup.recv().await.is_some() {
            if had_terminal && !has_terminal() {
                info!("the terminal is closed; leaving");
                running.stop.ask();
                return;
            }
            supervisor::reloading();
            if let Err(failure) = self.reload(&running).await {
                error!("the settings stay as they are: {failure}");
            }
            supervisor::ready();
        }
    }

    /// Reads everything, checks everything, and only then changes anything: nothing fails halfway.
    async fn reload(&mut self, running: &Running) -> Result<(), Failure> {
        let (common, flags) = (self.common.clone(), self.flags.clone());
        // The stream does not wait for a disk.
        let asked = spawn_blocking(move || Asked::read(&common, &flags));
        let asked = asked.await.map_err(|problem| Failure::of(Code::Runtime, &problem))??;
        self.apply(running, asked).await
    }

    /// Puts in force what can be, and says what that was and what cannot.
    async fn apply(&mut self, running: &Running, asked: Asked<A>) -> Result<(), Failure> {
        let Asked { sources, settings, filter, guard } = asked;
        // The addresses that are open are those of the start.
        if let Some(doors) = &running.doors {
            doors.check(&guard).map_err(|problem| Failure::of(Code::Usage, &problem))?;
        }
        let limits = changed(self.in_force.limits(), settings.limits());
        // Before they change; operators may have set others than the file says.
        let old_limits = running.team.as_ref().map(|team| told(&team.team())).unwrap_or_default();
        if let Some(team) = running.team.as_ref().filter(|_| limits != LimitsChange::default()) {
            // The last that may fail, and then it changes nothing.
            team.update_limits(limits).await.map_err(|refusal| Failure::of(Code::Runtime, &refusal))?;
        }
        let renewed = match &running.doors {
            Some(doors) => {
                doors.replace(guard).expect("nobody else changes what is there, and it was checked")
            }
            None => Renewed::default(),
        };
        let mut outcome = Outcome::default();
        if renewed.certificate {
            outcome.changed.push("the admin certificate, for new connections".to_owned());
        }
        if renewed.callers {
            let callers = "who is let in at the admin addresses, whose TCP connections begin anew";
            outcome.changed.push(callers.to_owned());
        }
        if sources.log != self.log {
            outcome.pending.push(format!("log: {} -> {}", self.log.name(), sources.log.name()));
        }
        self.compare(&settings, running.doors.is_some(), old_limits, &mut outcome);
        if sources.log_level == self.log_level {
            self.tell(&outcome);
            return Ok(());
        }
        self.log_level = sources.log_level;
        outcome.changed.insert(0, format!("log_level: {} -> {filter}", running.log.filter()));
        // Told while the log shows it: before it falls silent, or after it was silent.
        if enabled!(Level::INFO) {
            self.tell(&outcome);
            running.log.set(filter);
        } else {
            running.log.set(filter);
            self.tell(&outcome);
        }
        Ok(())
    }

    /// Finds what differs, and keeps what does from now on. `old_limits` are those of the team that were in force.
    fn compare(&mut self, asked: &A, has_doors: bool, old_limits: toml::Table, outcome: &mut Outcome) {
        let table =
            |settings: &A| toml::Table::try_from(settings).expect("settings are tables of texts and numbers");
        let (old, new) = (table(&self.in_force), table(asked));
        let (mut old_shown, new_shown) = (redacted(&self.in_force), redacted(asked));
        old_shown.extend(old_limits);
        let mut kept = old.clone();
        let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| old.get(*name) != new.get(*name));
        for name in names {
            let line = difference(A::TABLE, name, &old_shown, &new_shown);
            let name_is_in = |names: &[&str]| names.contains(&name.as_str());
            if name_is_in(A::LIMITS) || has_doors && name_is_in(&LIVE) {
                outcome.changed.push(line);
                match new.get(name) {
                    Some(value) => kept.insert(name.clone(), value.clone()),
                    None => kept.remove(name),
                };
            } else {
                outcome.pending.push(line);
            }
        }
        self.in_force = kept.try_into().expect("each value came from the same type");
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = self.in_force.shown();
    }

    /// A line for each kind of news.
    fn tell(&self, outcome: &Outcome) {
        if !outcome.changed.is_empty() {
            info!(
                changed = outcome.changed.join("; "),
                "the settings were read again, and these are in force"
            );
        }
        if !outcome.pending.is_empty() {
            warn!(
                pending = outcome.pending.join("; "),
                "these settings differ from those in force, and take a restart"
            );
        }
        match &self.common.config {
            _ if *outcome != Outcome::default() => {}
            Some(path) => info!("{} was read again: nothing has changed", path.display()),
            None => info!(
                "there is no settings file to read again, for none was given with --config; the admin certificates and tokens have not \
                 changed"
            ),
        }
    }
}

/// What of `new` is not as it was. What operators set meanwhile stays where the file asks for nothing else than before.
fn changed(old: LimitsChange, new: LimitsChange) -> LimitsChange {
    fn other<T: PartialEq>(old: Option<T>, new: Option<T>) -> Option<T> {
        if new == old { None } else { new }
    }
    LimitsChange {
        team_size_max: other(old.team_size_max, new.team_size_max),
        own_copies_max: other(old.own_copies_max, new.own_copies_max),
        uplink_bits_per_s: other(old.uplink_bits_per_s, new.uplink_bits_per_s),
        ban: other(old.ban, new.ban),
    }
}

/// A team's limits as a settings file has them.
fn told(team: &v1::Team) -> toml::Table {
    let limits = SplitterArgs {
        team_size: u16::try_from(team.team_size_max).ok(),
        own_copies: u16::try_from(team.own_copies_max).ok(),
        uplink: Some(BitRate(team.uplink_bits_per_s)),
        ban: Some(Span(Duration::from_millis(team.ban_ms))),
        ..SplitterArgs::default()
    };
    toml::Table::try_from(limits).expect("settings are tables of texts and numbers")
}

/// `splitter.team_size: 20 -> 30`; of a secret only the name.
fn difference(table: &str, name: &str, old: &toml::Table, new: &toml::Table) -> String {
    let shown =
        |table: &toml::Table| table.get(name).map_or_else(|| "its default".to_owned(), ToString::to_string);
    let (from, to) = (shown(old), shown(new));
    if from == to { format!("{table}.{name}") } else { format!("{table}.{name}: {from} -> {to}") }
}

/// Whether someone sits before this process. A terminal that was closed is none any more.
fn has_terminal() -> bool {
    stdin().is_terminal() || stdout().is_terminal() || stderr().is_terminal()
}
