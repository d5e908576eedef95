//! Flags of `p2psp ctl`: asking and steering a running process.

use super::ConnectionArgs;
use crate::units::{BitRate, Span};
use clap::{Args, Subcommand, ValueEnum};
use std::{fmt, num::ParseIntError, str::FromStr};

/// Whom to ask, what, and how to show the answer.
#[derive(Args, Clone, Debug)]
#[command(after_help = CtlArgs::EXAMPLES)]
pub(crate) struct CtlArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// How to show the answer
    #[arg(
        long,
        short,
        value_name = "FORMAT",
        default_value = "table",
        global = true,
        help_heading = "Output"
    )]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// How to show an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Columns for people
    #[default]
    Table,
    /// All columns
    Wide,
    /// A JSON object; when watching, one on each line
    Json,
    /// A YAML document; when watching, one after the other
    Yaml,
}

/// What to ask or do.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Action {
    /// Show something
    Get {
        /// What
        what: What,
        /// Go on and show each change of the peers or neighbours, until interrupted
        #[arg(long, short)]
        watch: bool,
    },
    /// Show all that is known of a member, or of a peer's teammate
    Describe {
        /// Its key, or enough of the key's beginning
        #[arg(value_name = "PEER")]
        peer: String,
    },
    /// The same as `get --watch`
    Watch {
        /// What
        what: Watched,
    },
    /// Take a member's seat away; it is told, and does not come back by itself
    Expel {
        /// Its key, or enough of the key's beginning
        #[arg(value_name = "PEER")]
        peer: String,
        /// How long it gets no seat again; 0 for no ban
        #[arg(long, value_name = "DURATION", default_value = "10m")]
        ban: Span,
    },
    /// Give a key no seat for a while, and take away the one that it has; forgotten when the splitter ends
    Ban {
        /// The key, or enough of its beginning if it is a member's
        #[arg(value_name = "PEER")]
        peer: String,
        /// For how long
        #[arg(long = "for", value_name = "DURATION", default_value = "10m")]
        span: Span,
    },
    /// End a ban
    Unban {
        /// The key, or enough of its beginning if it is banned
        #[arg(value_name = "PEER")]
        peer: String,
    },
    /// Let a member carry less of the stream: the limit holds whenever it comes back, until the splitter ends
    WeightLimit {
        /// Its key, or enough of the key's beginning
        #[arg(value_name = "PEER")]
        peer: String,
        /// Most that its weight may be, 0 to 256, or none: with 128 it gets half as many turns as a member that nothing limits,
        /// with 0 it only receives
        #[arg(value_name = "LIMIT")]
        limit: WeightLimit,
    },
    /// Show the team's limits, or change those that are given until the splitter ends
    Limits(LimitsArgs),
    /// Ask the process to leave politely, as SIGTERM does
    Drain,
    /// Show what the log shows, or change that until the process ends
    LogLevel {
        /// A level (error, warn, info, debug, trace) or a filter as in RUST_LOG
        #[arg(value_name = "FILTER")]
        filter: Option<String>,
    },
}

/// New limits of a team.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LimitsArgs {
    /// Most peers in the team, at most 511; where more are there, they stay, and nobody joins until there are fewer
    #[arg(long, value_name = "PEERS")]
    pub(crate) team_size: Option<u32>,
    /// Most copies of the stream that the splitter sends beside its one, where the peers' uplinks do not suffice
    #[arg(long, value_name = "COPIES")]
    pub(crate) own_copies: Option<u32>,
    /// Most that the splitter sends, all links together
    #[arg(long, value_name = "BITRATE")]
    pub(crate) uplink: Option<BitRate>,
    /// How long a peer that the splitter itself expels gets no seat
    #[arg(long, value_name = "DURATION")]
    pub(crate) ban: Option<Span>,
}

/// A member's weight limit: a number, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WeightLimit(pub(crate) Option<u32>);

impl FromStr for WeightLimit {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|limit| Self(Some(limit))) }
    }
}

impl fmt::Display for WeightLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => limit.fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Any process: who answers, and how it is
    Info,
    /// Any process: its settings, without secrets
    Config,
    /// A splitter: its channel and source
    Channel,
    /// A splitter: its team in numbers
    Team,
    /// A splitter: its team's limits
    Limits,
    /// A splitter: the members
    Peers,
    /// A splitter: who gets no seat
    Bans,
    /// A peer: its place and figures
    Status,
    /// A peer: its teammates
    Neighbours,
    /// A peer: which chunks around the play-out are here
    Buffer,
}

/// What can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Watched {
    /// A splitter's members
    Peers,
    /// A peer's teammates
    Neighbours,
}

impl CtlArgs {
    const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  p2psp splitter --admin 127.0.0.1:4490      a splitter that answers
  p2psp ctl get peers -w                     its members, and who comes and goes
  p2psp ctl describe jz4qk                   one of them, by the beginning of its key
  p2psp ctl expel jz4qk --ban 1h
  p2psp ctl weight-limit jz4qk 64            a quarter of what others carry; none lifts it
  p2psp ctl limits --team-size 200 --uplink 20M
  p2psp ctl --admin unix:/run/p2psp/peer.sock get status -o json
  p2psp ctl log-level info,p2psp_core=debug

\x1b[1mExit codes:\x1b[0m
  0    done
  1    refused: not what this process does, or a fault
  2    the command line is wrong, or the process says that a value is
  3    the address does not answer in time, or the process ended
  5    not let in: no token or a wrong one, too small a scope, or a certificate that is not accepted
  6    nobody, or no ban, of that key
  7    no room at the moment: too many commands wait, or too many calls are under way; try again";
}
