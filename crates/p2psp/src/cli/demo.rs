//! Flags of `p2psp demo`.

use super::Integrity;
use crate::units::{BitRate, Span};
use clap::{Args, value_parser};

/// What to show, and for how long.
#[derive(Args, Clone, Debug)]
#[command(after_help = DemoArgs::EXAMPLES)]
pub(crate) struct DemoArgs {
    /// Peers in the team
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u16).range(1..=128))]
    pub(crate) peers: u16,
    /// Where the stream comes from, as for `p2psp splitter`
    #[arg(long, short, value_name = "SOURCE", default_value = "testcard")]
    pub(crate) input: String,
    /// Bit rate of the test card, or at which to send the input
    #[arg(long, value_name = "BITRATE")]
    pub(crate) rate: Option<BitRate>,
    /// Begin again when the input file is over
    #[arg(long = "loop")]
    pub(crate) repeat: bool,
    /// End by itself after so long [default with --check: 10s]
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) duration: Option<Span>,
    /// Play every peer's stream here too, and exit with 0 only if all of them are the same bytes and nothing was lost
    #[arg(long)]
    pub(crate) check: bool,
    /// Port of the first peer's player page; the next free one above it when it is in use
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub(crate) player_port: u16,
    /// How peers tell the source's bytes from others, as for `p2psp splitter`
    #[arg(long, value_name = "WAY")]
    pub(crate) integrity: Option<Integrity>,
    /// Redundant chunks sent with each 100 ms of the stream, as for `p2psp splitter`
    #[arg(long, value_name = "CHUNKS")]
    pub(crate) parity: Option<u8>,
    /// How long after a chunk left the splitter the peers play it [default: 500ms]
    #[arg(long, value_name = "DURATION")]
    pub(crate) delay: Option<Span>,
}

impl DemoArgs {
    const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  p2psp demo                              open the printed page in a browser; Ctrl-C ends it
  p2psp demo --peers 12 --rate 4M
  p2psp demo --input film.ts --loop
  p2psp demo --for 20s --check            a self-test";
}
