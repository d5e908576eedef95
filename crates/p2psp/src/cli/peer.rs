//! Flags of `p2psp peer`; the same struct is the `[peer]` table of the settings file.

use super::Relay;
use crate::{
    settings::schema,
    units::{BitRate, Span},
};
use clap::{Args, ValueHint};
use p2psp_admin::{Bind, GuardFiles};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, path::PathBuf};

/// Settings of a peer as given; none is filled in.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[command(after_help = PeerArgs::EXAMPLES)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PeerArgs {
    /// The channel link that the splitter printed: p2psp://KEY@HOST:PORT
    #[arg(value_name = "LINK", env = "P2PSP_PEER_LINK")]
    #[schemars(regex(pattern = schema::LINK))]
    pub(crate) link: Option<String>,

    /// Address of the player page and the stream [default: 127.0.0.1:8080]
    #[arg(long, value_name = "IP:PORT", env = "P2PSP_PEER_PLAYER", help_heading = "Players")]
    #[schemars(regex(pattern = schema::SOCKET))]
    pub(crate) player: Option<SocketAddr>,
    /// When the player port is in use, take the next free one above it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          env = "P2PSP_PEER_PLAYER_NEXT_FREE", help_heading = "Players")]
    pub(crate) player_next_free: Option<bool>,
    /// Serve no player, only relay
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          env = "P2PSP_PEER_NO_PLAYER", help_heading = "Players")]
    pub(crate) no_player: Option<bool>,
    /// Another name under which browsers may ask for the player page; may be given more than once
    /// [default: localhost and this machine's addresses]
    #[arg(
        long,
        value_name = "NAME",
        env = "P2PSP_PEER_PLAYER_HOST",
        value_delimiter = ',',
        help_heading = "Players"
    )]
    pub(crate) player_host: Option<Vec<String>>,
    /// A site, as `https://example.org`, whose pages may play the stream; may be given more than once [default: none]
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "P2PSP_PEER_PLAYER_ORIGIN",
        value_delimiter = ',',
        help_heading = "Players"
    )]
    pub(crate) player_origin: Option<Vec<String>>,
    /// What the player page calls the stream [default: P2PSP]
    #[arg(long, value_name = "TEXT", env = "P2PSP_PEER_NAME", help_heading = "Players")]
    pub(crate) name: Option<String>,
    /// How long after a chunk left the splitter it is played: more rides out more jitter; 20ms to 30s
    /// [default: 500ms]
    #[arg(long, value_name = "DURATION", env = "P2PSP_PEER_DELAY", help_heading = "Players")]
    pub(crate) delay: Option<Span>,

    /// UDP address for the team's links
    /// [default: any port, of the splitter's address family]
    #[arg(long, value_name = "IP:PORT", env = "P2PSP_PEER_LISTEN", help_heading = "Team")]
    #[schemars(regex(pattern = schema::SOCKET))]
    pub(crate) listen: Option<SocketAddr>,
    /// Another address at which teammates may reach this peer, for example a forwarded port; may be given more than once
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "P2PSP_PEER_ADVERTISE",
        value_delimiter = ',',
        help_heading = "Team"
    )]
    #[schemars(inner(regex(pattern = schema::SOCKET)))]
    pub(crate) advertise: Option<Vec<SocketAddr>>,
    /// Most that this peer sends, all links together [default: 100M]
    #[arg(long, value_name = "BITRATE", env = "P2PSP_PEER_UPLINK", help_heading = "Team")]
    pub(crate) uplink: Option<BitRate>,
    /// Receive only: relay nothing, for metered and mobile networks
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          env = "P2PSP_PEER_ECO", help_heading = "Team")]
    pub(crate) eco: Option<bool>,
    /// How chunks are passed on [default: burst]
    #[arg(long, value_name = "POLICY", env = "P2PSP_PEER_RELAY", help_heading = "Team")]
    pub(crate) relay: Option<Relay>,
    /// Join although the splitter does not sign its stream (--integrity none): any peer could change it; for
    /// laboratories only
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          env = "P2PSP_PEER_ALLOW_UNSIGNED", help_heading = "Team")]
    pub(crate) allow_unsigned: Option<bool>,
    /// File with this peer's private key, made if there is none; without it each start is a new peer
    #[arg(long, value_name = "FILE", env = "P2PSP_PEER_KEY", value_hint = ValueHint::FilePath, help_heading = "Team")]
    pub(crate) key: Option<PathBuf>,
    /// How long to try for the first seat before giving up; 0 tries for ever [default: 20s]
    #[arg(long, value_name = "DURATION", env = "P2PSP_PEER_JOIN_TIMEOUT", help_heading = "Team")]
    pub(crate) join_timeout: Option<Span>,
    /// Join again when the splitter is lost [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          env = "P2PSP_PEER_REJOIN", help_heading = "Team")]
    pub(crate) rejoin: Option<bool>,
    /// Longest time for saying goodbye when asked to leave [default: 3s]
    #[arg(long, value_name = "DURATION", env = "P2PSP_PEER_GRACE", help_heading = "Team")]
    pub(crate) grace: Option<Span>,

    /// Answer operators here (p2psp ctl, gRPC, Prometheus on /metrics): a Unix socket that only this user opens, as
    /// unix:/run/p2psp/peer.sock, a loopback address, which every user of this machine reaches, or another address, which needs
    /// the four settings below; may be given more than once [default: nobody is answered]
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "P2PSP_PEER_ADMIN",
        value_delimiter = ',',
        help_heading = "Operators"
    )]
    #[schemars(inner(regex(pattern = schema::BIND)), with = "Option<Vec<String>>")]
    pub(crate) admin: Option<Vec<Bind>>,
    /// Certificate with which addresses other than loopback answer, over TLS; PEM, those up to the root after it
    #[arg(long, value_name = "FILE", env = "P2PSP_PEER_ADMIN_CERT", value_hint = ValueHint::FilePath,
          help_heading = "Operators")]
    pub(crate) admin_cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", env = "P2PSP_PEER_ADMIN_KEY", value_hint = ValueHint::FilePath,
          help_heading = "Operators")]
    pub(crate) admin_key: Option<PathBuf>,
    /// Roots of client certificates, PEM: over TLS only their holders are let in, to do everything unless tokens say otherwise
    #[arg(long, value_name = "FILE", env = "P2PSP_PEER_ADMIN_CLIENTS", value_hint = ValueHint::FilePath,
          help_heading = "Operators")]
    pub(crate) admin_clients: Option<PathBuf>,
    /// Bearer tokens, a line `NAME SCOPE TOKEN` each, the scope being read, operate or admin: asked for at all addresses but Unix
    /// sockets
    #[arg(long, value_name = "FILE", env = "P2PSP_PEER_ADMIN_TOKENS", value_hint = ValueHint::FilePath,
          help_heading = "Operators")]
    pub(crate) admin_tokens: Option<PathBuf>,
}

impl PeerArgs {
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
  p2psp peer 'p2psp://KEY@tv.example.org:4480'      then open http://127.0.0.1:8080/
  p2psp peer LINK --player 127.0.0.1:8081           a second peer on the same machine
  p2psp peer LINK --player 0.0.0.0:8080             players on other machines may watch
  p2psp peer LINK --delay 2s --uplink 5M            a rough network, a small uplink
  mpv http://127.0.0.1:8080/live                    in a player of your choice";
}
