//! What the settings of both roles have in common: a table of the file, a check before anything is opened, and what operators may see.

use super::{Defaults, SettingsError, Sources, merge, peer, redacted, splitter};
use crate::{
    cli::{PeerArgs, SplitterArgs},
    logging::Filter,
};
use p2psp_admin::{Bind, GuardFiles, LimitsChange};
use p2psp_net::Identity;
use serde::{Serialize, de::DeserializeOwned};

/// The settings of a command, as a table of the file.
pub(crate) trait Role: Clone + Serialize + DeserializeOwned + Send + 'static {
    /// The table's name.
    const TABLE: &'static str;

    /// The settings that limit a team: a running one takes others.
    const LIMITS: &'static [&'static str];

    /// What a file says of it.
    fn of(sources: &Sources) -> &Self;

    /// What is in force where nobody says anything.
    fn defaults() -> Self;

    /// Whether the command could run with these, as far as that shows without opening anything.
    ///
    /// # Errors
    ///
    /// The first setting that is not right.
    fn check(&self) -> Result<(), SettingsError>;

    /// Where operators are answered.
    fn admin(&self) -> &[Bind];

    /// What stands at the operators' doors.
    fn guard(&self) -> GuardFiles;

    /// What [`Self::LIMITS`] say, defaults where nothing is said.
    fn limits(&self) -> LimitsChange;

    /// These, with defaults where nothing is said, as a settings file without secrets.
    fn shown(&self) -> String {
        let all = redacted(&merge(self, &Self::defaults()));
        format!("[{}]\n{all}", Self::TABLE).trim_end().to_owned()
    }
}

/// The settings that a command runs with: `flags`, and what the file says beside them.
///
/// # Errors
///
/// One of them is not right; where it comes from the file, with its line.
pub(crate) fn checked<A: Role>(flags: &A, sources: &Sources) -> Result<A, SettingsError> {
    let settings = merge(flags, A::of(sources));
    let doors = settings.guard().check(settings.admin());
    let doors =
        doors.map_err(|problem| SettingsError::Value { setting: "admin", problem: problem.to_string() });
    let flags = toml::Table::try_from(flags).expect("settings are tables of texts and numbers");
    settings.check().and(doors).map_err(|error| {
        let is_a_flag =
            matches!(&error, SettingsError::Value { setting, .. } if flags.contains_key(*setting));
        if is_a_flag { error } else { sources.placed(Some(A::TABLE), error) }
    })?;
    Ok(settings)
}

impl Sources {
    /// The filter of the log.
    ///
    /// # Errors
    ///
    /// It does not parse.
    pub(crate) fn filter(&self) -> Result<Filter, SettingsError> {
        Filter::new(self.log_level.as_deref()).map_err(|error| {
            let is_the_files = self.log_level == self.file.log_level;
            if is_the_files { self.placed(None, error) } else { error }
        })
    }

    /// The same error with the line of the file that the value stands in, if it has one there.
    fn placed(&self, table: Option<&str>, error: SettingsError) -> SettingsError {
        let SettingsError::Value { setting, problem } = error else { return error };
        let name = table.map_or_else(|| setting.to_owned(), |table| format!("{table}.{setting}"));
        match self.places.line(&name) {
            Some(line) => SettingsError::ValueInFile {
                path: self.places.path().to_owned(),
                line,
                setting: name,
                problem,
            },
            None => SettingsError::Value { setting, problem },
        }
    }
}

/// What roles answer alike, for everything of a role is called as the role is.
macro_rules! alike {
    ($role:ident) => {
        const TABLE: &'static str = stringify!($role);

        fn of(sources: &Sources) -> &Self {
            &sources.file.$role
        }

        fn defaults() -> Self {
            Defaults::$role()
        }

        fn check(&self) -> Result<(), SettingsError> {
            $role(self, Identity::generate()).map(drop)
        }

        fn admin(&self) -> &[Bind] {
            self.admin.as_deref().unwrap_or_default()
        }

        fn guard(&self) -> GuardFiles {
            self.guard()
        }
    };
}

impl Role for SplitterArgs {
    alike!(splitter);

    const LIMITS: &'static [&'static str] = &["team_size", "own_copies", "uplink", "ban"];

    fn limits(&self) -> LimitsChange {
        let all = merge(self, &Self::defaults());
        LimitsChange {
            team_size_max: all.team_size,
            own_copies_max: all.own_copies,
            uplink_bits_per_s: all.uplink.map(|rate| rate.0),
            ban: all.ban.map(|span| span.0),
        }
    }
}

impl Role for PeerArgs {
    alike!(peer);

    const LIMITS: &'static [&'static str] = &[];

    fn limits(&self) -> LimitsChange {
        LimitsChange::default()
    }
}
