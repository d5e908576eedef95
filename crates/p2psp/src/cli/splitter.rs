//! Flags of `p2psp splitter`; the same struct is the `[splitter]` table of the settings file.

use super::{Integrity, OnEnd};
use crate::{
    settings::schema,
    units::{BitRate, Span},
};
use clap::{Args, ValueHint};
use p2psp_admin::{Bind, GuardFiles};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, path::PathBuf};

/// Settings of a splitter as given; none is filled in.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[command(after_help = SplitterArgs::EXAMPLES)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SplitterArgs {
    /// Where the stream comes from [default: testcard]
    ///
    /// testcard                 a generated picture with a running clock and a frame counter
    /// testcard:640x368@25      the same in another size, at other frames per second
    /// -                        standard input
    /// FILE                     a file, sent at the speed at which it plays
    /// exec:COMMAND             what a command writes; started again when it ends
    /// http://HOST/PATH         fetched from a server, https and Icecast included
    /// push:ADDR:PORT[/PATH]    pushed here: HTTP PUT or POST, or an Icecast source
    /// udp://ADDR:PORT          MPEG-TS in UDP datagrams that come in here; multicast groups too
    /// rtp://ADDR:PORT          MPEG-TS in RTP
    #[arg(
        long,
        short,
        value_name = "SOURCE",
        env = "P2PSP_SPLITTER_INPUT",
        help_heading = "Source",
        verbatim_doc_comment
    )]
    pub(crate) input: Option<String>,
    /// Send a file or standard input at this bit rate, instead of at the speed of its own clock; for the test card, about
    /// how large it is
    #[arg(long, value_name = "BITRATE", env = "P2PSP_SPLITTER_RATE", help_heading = "Source")]
    pub(crate) rate: Option<BitRate>,
    /// Begin again when the file is over
    #[arg(long = "loop", id = "loop", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", env = "P2PSP_SPLITTER_LOOP", help_heading = "Source")]
    pub(crate) r#loop: Option<bool>,
    /// What to do when the source is over for good [default: exit]
    #[arg(long, value_name = "ACTION", env = "P2PSP_SPLITTER_ON_END", help_heading = "Source")]
    pub(crate) on_end: Option<OnEnd>,
    /// Start the source only when so many peers are ready for it [default: 0]
    #[arg(long, value_name = "PEERS", env = "P2PSP_SPLITTER_WAIT_PEERS", help_heading = "Source")]
    #[schemars(range(max = p2psp_splitter::TEAM_SIZE_MAX))]
    pub(crate) wait_peers: Option<u16>,
    /// User name that whoever pushes to `push:` must give [default: source]
    #[arg(long, value_name = "NAME", env = "P2PSP_SPLITTER_USER", help_heading = "Source")]
    pub(crate) user: Option<String>,
    /// Password that whoever pushes to `push:` must give; better set in the file or the environment, where other users
    /// of this machine cannot read it [default: none is asked for]
    #[arg(long, value_name = "PASSWORD", env = "P2PSP_SPLITTER_PASSWORD", help_heading = "Source")]
    pub(crate) password: Option<String>,

    /// UDP address for the team's links [default: 0.0.0.0:4480]
    #[arg(long, value_name = "IP:PORT", env = "P2PSP_SPLITTER_LISTEN", help_heading = "Team")]
    #[schemars(regex(pattern = schema::SOCKET))]
    pub(crate) listen: Option<SocketAddr>,
    /// Address for the channel link, as peers reach this machine; may be given more than once
    /// [default: this machine's own address]
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "P2PSP_SPLITTER_ADVERTISE",
        value_delimiter = ',',
        help_heading = "Team"
    )]
    #[schemars(length(max = p2psp_wire::limits::LINK_ADDRESSES_MAX), inner(regex(pattern = schema::HOST)))]
    pub(crate) advertise: Option<Vec<String>>,
    /// File with the channel's private key, made if there is none; without it each start makes a new channel. FILE.epoch
    /// beside it counts the runs
    #[arg(long, value_name = "FILE", env = "P2PSP_SPLITTER_KEY", value_hint = ValueHint::FilePath,
          help_heading = "Team")]
    pub(crate) key: Option<PathBuf>,
    /// Most peers in the team, at most 511 [default: 128]
    #[arg(long, value_name = "PEERS", env = "P2PSP_SPLITTER_TEAM_SIZE", help_heading = "Team")]
    #[schemars(range(min = 1, max = p2psp_splitter::TEAM_SIZE_MAX))]
    pub(crate) team_size: Option<u16>,
    /// How peers tell this source's bytes from others [default: manifest]
    #[arg(long, value_name = "WAY", env = "P2PSP_SPLITTER_INTEGRITY", help_heading = "Team")]
    pub(crate) integrity: Option<Integrity>,
    /// Redundant chunks sent with each 100 ms of the stream, at most 16: so many lost ones are rebuilt without asking;
    /// 0 sends none [default: 2 to 16, by the losses that the peers report]
    #[arg(long, value_name = "CHUNKS", env = "P2PSP_SPLITTER_PARITY", help_heading = "Team")]
    #[schemars(range(max = p2psp_wire::limits::PARITY_CHUNKS_MAX))]
    pub(crate) parity: Option<u8>,
    /// Key of a peer that you run to watch the team: in a verdict on a free rider its word counts double; may be given more
    /// than once [default: none]
    #[arg(
        long,
        value_name = "PEER",
        env = "P2PSP_SPLITTER_MONITOR",
        value_delimiter = ',',
        help_heading = "Team"
    )]
    #[schemars(inner(regex(pattern = schema::KEY)))]
    pub(crate) monitor: Option<Vec<String>>,
    /// How long a peer that was expelled gets no seat [default: 10m]
    #[arg(long, value_name = "DURATION", env = "P2PSP_SPLITTER_BAN", help_heading = "Team")]
    pub(crate) ban: Option<Span>,
    /// Most copies of the stream that this machine sends beside its one, at most 511, where the peers' uplinks do not suffice; a peer
    /// that would need more gets no seat [default: 3]
    #[arg(long, value_name = "COPIES", env = "P2PSP_SPLITTER_OWN_COPIES", help_heading = "Team")]
    #[schemars(range(max = p2psp_splitter::OWN_COPIES_MAX))]
    pub(crate) own_copies: Option<u16>,
    /// Most that this machine sends, all links together [default: 100M]
    #[arg(long, value_name = "BITRATE", env = "P2PSP_SPLITTER_UPLINK", help_heading = "Team")]
    pub(crate) uplink: Option<BitRate>,
    /// Longest time for saying goodbye when asked to leave [default: 3s]
    #[arg(long, value_name = "DURATION", env = "P2PSP_SPLITTER_GRACE", help_heading = "Team")]
    pub(crate) grace: Option<Span>,

    /// Answer operators here (p2psp ctl, gRPC, Prometheus on /metrics): a Unix socket that only this user opens, as
    /// unix:/run/p2psp/splitter.sock, a loopback address, which every user of this machine reaches, or another address, which needs
    /// the four settings below; may be given more than once [default: nobody is answered]
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "P2PSP_SPLITTER_ADMIN",
        value_delimiter = ',',
        help_heading = "Operators"
    )]
    #[schemars(inner(regex(pattern = schema::BIND)), with = "Option<Vec<String>>")]
    pub(crate) admin: Option<Vec<Bind>>,
    /// Certificate with which addresses other than loopback answer, over TLS; PEM, those up to the root after it
    #[arg(long, value_name = "FILE", env = "P2PSP_SPLITTER_ADMIN_CERT", value_hint = ValueHint::FilePath,
          help_heading = "Operators")]
    pub(crate) admin_cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", env = "P2PSP_SPLITTER_ADMIN_KEY", value_hint = ValueHint::FilePath,
          help_heading = "Operators")]
    pub(crate) admin_key: Option<PathBuf>,
    /// Roots of client certificates, PEM: over TLS only their holders are let in, to do everything unless tokens say otherwise
    #[arg(long, value_name = "FILE", env = "P2PSP_SPLITTER_ADMIN_CLIENTS", value_hint = ValueHint::FilePath,
          help_heading = "Operators")]
    pub(crate) admin_clients: Option<PathBuf>,
    /// Bearer tokens, a line `NAME SCOPE TOKEN` each, the scope being read, operate or admin: asked for at all addresses but Unix
    /// sockets
    #[arg(long, value_name = "FILE", env = "P2PSP_SPLITTER_ADMIN_TOKENS", value_hint = ValueHint::FilePath,
          help_heading = "Operators")]
    pub(crate) admin_tokens: Option<PathBuf>,
}

impl SplitterArgs {
    /// What stands at the operators' doors.
    pub(crate) fn guard(&self) -> GuardFiles {
        GuardFiles {
            certificate: self.admin_cert.clone(),
            key: self.admin_key.clone(),
            clients: self.admin_clients.clone(),
            tokens: self.admin_tokens.clone(),
        }
    }

    const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  p2psp splitter                                    the test card, on UDP port 4480
  p2psp splitter --key channel.key --advertise tv.example.org:4480
  p2psp splitter --input film.ts --loop
  p2psp splitter --admin 127.0.0.1:4490             then: p2psp ctl get peers
  ffmpeg -re -i film.mkv -c copy -f mpegts - | p2psp splitter --input -
  p2psp splitter --input 'exec:ffmpeg -f v4l2 -i /dev/video0 -c:v libx264 -g 30 -f mpegts -'
  p2psp splitter --input push:127.0.0.1:8000/live
  ffmpeg -re -i film.mkv -c copy -f mpegts -method PUT http://127.0.0.1:8000/live";
}
