//! The command line: every flag with its help text. A setting that also lives in the file or the environment is an `Option`
//! here, and its default is applied once, in `settings`.

mod connection;
mod ctl;
mod demo;
pub(crate) mod manual;
mod peer;
mod splitter;
mod top;

pub(crate) use connection::ConnectionArgs;
pub(crate) use ctl::{Action, CtlArgs, LimitsArgs, Output, Watched, WeightLimit, What};
pub(crate) use demo::DemoArgs;
pub(crate) use peer::PeerArgs;
pub(crate) use splitter::SplitterArgs;
pub(crate) use top::TopArgs;

use crate::units::Span;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

const ABOUT: &str = "Live streaming to any number of viewers for the upload of about one.

A splitter cuts a live byte stream into numbered chunks and pushes each of them to one peer of a team. That peer relays it \
to all the others, and every peer serves the whole stream to ordinary players over HTTP.";

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  p2psp demo                                  a team of five on this machine, with a test card
  p2psp splitter --input film.ts --loop       stream a file; prints the channel link
  ffmpeg -i rtsp://cam/ -c copy -f mpegts - | p2psp splitter --input -
  p2psp peer 'p2psp://KEY@host:4480'          join, then open http://127.0.0.1:8080/

\x1b[1mSettings:\x1b[0m
  A TOML file (--config FILE), then P2PSP_* variables, then flags; the later wins.
  `p2psp config print splitter` shows what is in force.

\x1b[1mExit codes:\x1b[0m
  0    the stream ended, or the program was asked to leave and did
  1    it failed while running: a port in use, a key file, an input, a child process
  2    the command line, a variable or the settings file is wrong
  3    the splitter cannot be reached, holds another key, gave no seat, or expelled this peer; ctl, top: nobody answers
  4    demo --check: the peers did not play the same bytes
  5    ctl, top: not let in, by token, scope or certificate
  6    ctl: nobody of that key
  7    ctl: no room at the moment, try again
  130, 143  ended at once by a second SIGINT or SIGTERM";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "p2psp", version, about = ABOUT, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct CommonArgs {
    /// Settings file in TOML, with the tables [splitter] and [peer]
    #[arg(long, value_name = "FILE", env = "P2PSP_CONFIG", global = true, help_heading = "General",
          value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// How to write the log on standard error [default: text]
    #[arg(long, value_name = "FORMAT", env = "P2PSP_LOG", global = true, help_heading = "General")]
    pub(crate) log: Option<LogFormat>,
    /// What to log: a level (error, warn, info, debug, trace) or a filter as in RUST_LOG, for example
    /// `info,p2psp_net=debug` [default: RUST_LOG, or info]
    #[arg(long, value_name = "FILTER", env = "P2PSP_LOG_LEVEL", global = true, help_heading = "General")]
    pub(crate) log_level: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take a live source in and push it to a team
    Splitter {
        #[command(flatten)]
        settings: Box<SplitterArgs>,
        #[command(flatten)]
        report: ReportArgs,
    },
    /// Join a channel, relay to the team, serve players on this machine
    Peer {
        #[command(flatten)]
        settings: Box<PeerArgs>,
        #[command(flatten)]
        report: ReportArgs,
    },
    /// Run a splitter and a team of peers on this machine, and show how they do
    Demo(DemoArgs),
    /// Ask or steer a running splitter or peer
    Ctl(CtlArgs),
    /// Watch a running team or peer on the terminal
    Top(TopArgs),
    /// Check a settings file, show the settings in force, or what a file may say
    #[command(subcommand, after_help = ConfigCommand::EXAMPLES)]
    Config(ConfigCommand),
    /// Print a shell's completion script
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Write the man pages, one for each command
    Man {
        /// The folder to write them into; made if there is none
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
}

/// What to do with settings.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether the file given with --config, and the environment, are right
    Check,
    /// Show the settings that a command would run with, as a settings file without secrets
    #[command(subcommand)]
    Print(PrintCommand),
    /// Print the JSON Schema of the settings file, for editors and checks
    Schema,
}

impl ConfigCommand {
    const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  p2psp config check --config p2psp.toml
  p2psp config print splitter --config p2psp.toml --team-size 64
  p2psp config schema >p2psp.schema.json            then, as the file's first line: #:schema ./p2psp.schema.json

\x1b[1mExit codes:\x1b[0m
  0    the settings are right
  2    one of them is not, or the file cannot be read: standard error names file, line, key, and what would be right";
}

/// Whose settings to show.
#[derive(Debug, Subcommand)]
pub(crate) enum PrintCommand {
    /// Those of `p2psp splitter` with the same flags
    Splitter(Box<SplitterArgs>),
    /// Those of `p2psp peer` with the same flags
    Peer(Box<PeerArgs>),
}

/// How to write the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// A line for people, coloured on a terminal
    #[default]
    Text,
    /// A JSON object on a line
    Json,
}

impl LogFormat {
    /// Its name as a setting.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// What to do when the source is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnEnd {
    /// Say goodbye to the team and exit
    #[default]
    Exit,
    /// Keep the team together until stopped
    Wait,
}

/// How peers tell the source's bytes from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Integrity {
    /// By signed lists of hashes: nothing that the channel's key did not sign is played
    #[default]
    Manifest,
    /// The same, and each chunk carries a signature of its own too, so that it is believed at once; costs more of everything
    Signature,
    /// Not at all: any peer can put what it likes into the stream, and nothing that is lost can be rebuilt; for
    /// laboratories
    None,
}

impl Integrity {
    /// Its name as a setting.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Signature => "signature",
            Self::None => "none",
        }
    }
}

/// How a peer passes chunks on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Relay {
    /// To all teammates at once, as fast as the uplink allows
    #[default]
    Burst,
    /// To one teammate for each chunk received, as P2PSP was first published; for comparison
    Classic,
}

/// What programs read from standard output.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ReportArgs {
    /// What to print on standard output once the ports are open: a few lines for people, one JSON object, or nothing
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "For programs")]
    pub(crate) ready: Ready,
    /// Print the statistics as a JSON object on standard output each so often
    #[arg(long, value_name = "DURATION", help_heading = "For programs")]
    pub(crate) stats_every: Option<Span>,
    /// Print the statistics as a JSON object on standard output before exiting
    #[arg(long, help_heading = "For programs")]
    pub(crate) final_stats: bool,
    /// Leave politely when standard input closes: a supervisor that dies takes this process along
    #[arg(long, help_heading = "For programs")]
    pub(crate) stop_on_eof: bool,
}

/// The form of the ready lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ready {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object on one line
    Json,
    /// Nothing
    None,
}
