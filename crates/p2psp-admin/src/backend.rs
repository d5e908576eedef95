//! What a runtime has to offer for the admin API to be served. Knows no transport: a backend may be a test's.

use crate::{Journal, v1};
use p2psp_wire::PeerId;
use std::{
    fmt,
    net::SocketAddr,
    pin::Pin,
    time::{Duration, SystemTime},
};

/// Milliseconds since 1970-01-01 UTC.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl v1::Info {
    /// A process of this role that began then; its state is yet to be said.
    #[must_use]
    pub fn of(
        role: v1::Role,
        started_unix_ms: u64,
        version: &str,
        channel: &str,
        listen: SocketAddr,
    ) -> Self {
        Self {
            role: role.into(),
            version: version.to_owned(),
            started_unix_ms,
            uptime_ms: unix_ms().saturating_sub(started_unix_ms),
            channel: channel.to_owned(),
            listen: listen.to_string(),
            ..Self::default()
        }
    }
}

/// A command's answer, later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send + 'a>>;

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// As many commands wait as may wait: `RESOURCE_EXHAUSTED`.
    #[error("too many commands are waiting; try again in a moment")]
    Busy,
    /// It is about something that is not there: `NOT_FOUND`.
    #[error("{0}")]
    NotFound(String),
    /// A value makes no sense: `INVALID_ARGUMENT`.
    #[error("{field}: {problem}")]
    Invalid {
        /// The request's field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The process is ending: `UNAVAILABLE`.
    #[error("the process is ending")]
    Ended,
}

/// New limits of a team, each in its range; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsChange {
    /// Most members, 1 to [`TEAM_SIZE_MAX`](crate::limits::TEAM_SIZE_MAX).
    pub team_size_max: Option<u16>,
    /// Most copies of the stream beside the splitter's one.
    pub own_copies_max: Option<u16>,
    /// Most that the splitter sends, above 0.
    pub uplink_bits_per_s: Option<u64>,
    /// How long a member that the splitter itself expels gets no seat.
    pub ban: Option<Duration>,
}

/// The process around a runtime.
pub trait Process: Send + Sync + 'static {
    /// The settings in force as a settings file, without secrets.
    fn config(&self) -> String;
    /// The log's filter.
    fn log_level(&self) -> String;
    /// Sets the log's filter and gives the one before.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`] for what is no filter.
    fn set_log_level(&self, filter: &str) -> Result<String, Refusal>;
    /// Begins to leave politely, and returns.
    fn drain(&self);
}

/// A splitter. Nothing here but the answers may wait.
pub trait SplitterBackend: fmt::Debug + Send + Sync + 'static {
    /// The process, without what belongs to the process around it.
    fn info(&self) -> v1::Info;
    /// The channel and its source.
    fn channel(&self) -> v1::Channel;
    /// The team's limits and figures.
    fn team(&self) -> v1::Team;
    /// The members by slot.
    fn peers(&self) -> &Journal<v1::Peer>;
    /// Expels a member and bans it for `ban`; gives the slot it had.
    fn expel(&self, peer: PeerId, ban: Duration) -> Answer<'_, u32>;
    /// Bans a key for `ban`; gives the slot it had.
    fn ban(&self, peer: PeerId, ban: Duration) -> Answer<'_, Option<u32>>;
    /// Ends a ban.
    fn unban(&self, peer: PeerId) -> Answer<'_, ()>;
    /// The bans in force by ascending key, and how long they still hold.
    fn bans(&self) -> Answer<'_, Vec<(PeerId, Duration)>>;
    /// Limits a member's weight, 0 to [`WEIGHT_LIMIT_MAX`](crate::limits::WEIGHT_LIMIT_MAX), or takes the limit away; gives the one
    /// before.
    fn set_weight_limit(&self, peer: PeerId, limit: Option<u32>) -> Answer<'_, Option<u32>>;
    /// Changes the team's limits; gives those in force then.
    fn update_limits(&self, change: LimitsChange) -> Answer<'_, v1::TeamLimits>;
}

/// A peer. Nothing here but the answer may wait.
pub trait PeerBackend: fmt::Debug + Send + Sync + 'static {
    /// The process, without what belongs to the process around it.
    fn info(&self) -> v1::Info;
    /// The peer's place and figures.
    fn status(&self) -> v1::PeerStatus;
    /// The teammates by slot.
    fn neighbours(&self) -> &Journal<v1::Neighbour>;
    /// The chunks around the play-out now; `None` without a seat.
    fn buffer(&self) -> Answer<'_, Option<v1::BufferMap>>;
}
