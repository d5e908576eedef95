//! Flags of `p2psp top`.

use super::ConnectionArgs;
use crate::units::Span;
use clap::Args;
use p2psp_admin::client::Address;

/// Whom to watch, and how often to ask.
#[derive(Args, Clone, Debug)]
#[command(after_help = TopArgs::EXAMPLES)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// Admin address of a peer of the team, so that the view leads into it, too; may be given more than once, at most 32 times
    /// [default: none]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', help_heading = "Connection")]
    pub(crate) peer: Vec<Address>,
    /// How often to ask for figures, at least 100ms; who comes and goes is told at once
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub(crate) every: Span,
}

impl TopArgs {
    const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  p2psp top                                          the team of the splitter at 127.0.0.1:4490
  p2psp top --admin unix:/run/p2psp/peer.sock        one peer and its teammates
  p2psp top --peer 127.0.0.1:4491                    the team, and one of its peers from inside

\x1b[1mKeys:\x1b[0m
  Up, Down, k, j, PgUp, PgDn, Home, End   choose a row
  Enter, Right                            look into it
  Esc, Backspace, Left                    back
  s, r                                    sort by the next column; the other way round
  /                                       show only rows that contain a text; Esc shows all again
  p, Space                                hold the picture, and go on
  ?, h                                    help
  q, Ctrl-C                               quit

\x1b[1mExit codes:\x1b[0m
  0    quit, or asked to leave by a signal
  1    the terminal failed
  2    the command line is wrong, or standard input or output is no terminal
  3    the address does not answer at the start; later on it is tried again and again
  5    not let in: no token or a wrong one, or a certificate that is not accepted";
}
