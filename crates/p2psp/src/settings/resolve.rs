//! From settings as given to what the runtimes take: defaults are filled in here and nowhere else, and every value is checked with
//! the setting's name in the message.

use super::SettingsError;
use crate::{
    cli::{Integrity, OnEnd, PeerArgs, Relay, SplitterArgs},
    units::Span,
};
use p2psp_core::RelayPolicy;
use p2psp_media::{ingest::Credentials, playout::PlayoutConfig, testcard::TestCardConfig};
use p2psp_net::Identity;
use p2psp_peer::Player;
use p2psp_splitter::{Pace, Source, card_of_rate};
use p2psp_wire::ChannelLink;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// User name of Icecast's tools.
const PUSH_USER: &str = "source";
/// Time for leaving politely.
const GRACE: Duration = Duration::from_secs(3);
/// Shortest and longest play-out delay: below, nothing rides out a scheduler's hiccup; above, no window holds the stream.
const DELAY_MIN: Duration = Duration::from_millis(20);
const DELAY_MAX: Duration = Duration::from_secs(30);

/// What a splitter runs with. `identity` comes from the key file of [`SplitterArgs::key`].
///
/// # Errors
///
/// [`SettingsError::Value`] names the setting.
pub(crate) fn splitter(
    args: &SplitterArgs,
    identity: Identity,
) -> Result<p2psp_splitter::Config, SettingsError> {
    let mut config = p2psp_splitter::Config::new(source(args)?, identity);
    config.epoch_file = args.key.as_deref().map(beside);
    set(&mut config.listen, args.listen);
    set(&mut config.advertise, args.advertise.clone());
    set(&mut config.team_size_max, args.team_size);
    set(&mut config.own_copies_max, args.own_copies);
    set(&mut config.uplink_bits_per_s, args.uplink.map(|rate| rate.0));
    set(&mut config.wait_peers, args.wait_peers);
    config.integrity = match args.integrity.unwrap_or_default() {
        Integrity::Manifest => p2psp_splitter::Integrity::Manifest,
        Integrity::Signature => p2psp_splitter::Integrity::Signature,
        Integrity::None => p2psp_splitter::Integrity::None,
    };
    config.parity_chunks = args.parity;
    let monitors = args.monitor.iter().flatten().map(|key| key.trim().parse());
    config.fairness.monitors =
        monitors.collect::<Result<_, _>>().map_err(|error| value("monitor", &error))?;
    set(&mut config.fairness.ban, args.ban.map(|ban| ban.0));
    config.on_end = match args.on_end.unwrap_or_default() {
        OnEnd::Exit => p2psp_splitter::OnEnd::Exit,
        OnEnd::Wait => p2psp_splitter::OnEnd::Wait,
    };
    config.grace = span(args.grace, GRACE);
    config.check().map_err(|error| value(error.setting(), &error))?;
    Ok(config)
}

/// The file beside a channel's key that remembers the number of its last run.
fn beside(key: &Path) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push(".epoch");
    name.into()
}

/// What a peer runs with. `identity` comes from the key file of [`PeerArgs::key`].
///
/// # Errors
///
/// [`SettingsError::Value`] names the setting.
pub(crate) fn peer(args: &PeerArgs, identity: Identity) -> Result<p2psp_peer::Config, SettingsError> {
    let Some(link) = &args.link else {
        let problem =
            "none was given; write the channel link that the splitter printed: p2psp peer 'p2psp://…'";
        return Err(SettingsError::Value { setting: "link", problem: problem.to_owned() });
    };
    let link: ChannelLink = link.trim().parse().map_err(|error| value("link", &error))?;
    let mut config = p2psp_peer::Config::new(link, identity);
    config.listen = args.listen;
    set(&mut config.advertise, args.advertise.clone());
    set(&mut config.uplink_bits_per_s, args.uplink.map(|rate| rate.0));
    set(&mut config.target_delay, args.delay.map(|delay| delay.0));
    if !(DELAY_MIN..=DELAY_MAX).contains(&config.target_delay) {
        let problem = format!(
            "{} is not between {} and {}",
            Span(config.target_delay),
            Span(DELAY_MIN),
            Span(DELAY_MAX)
        );
        return Err(SettingsError::Value { setting: "delay", problem });
    }
    config.relay = match args.relay.unwrap_or_default() {
        Relay::Burst => RelayPolicy::Burst,
        Relay::Classic => RelayPolicy::Classic,
    };
    config.eco = args.eco.unwrap_or(false);
    config.rejoin = args.rejoin.unwrap_or(true);
    config.allow_unsigned = args.allow_unsigned.unwrap_or(false);
    if let Some(Span(timeout)) = args.join_timeout {
        config.join_timeout = Some(timeout).filter(|timeout| !timeout.is_zero());
    }
    config.grace = span(args.grace, GRACE);
    config.player = if args.no_player.unwrap_or(false) { None } else { Some(player(args)) };
    Ok(config)
}

fn player(args: &PeerArgs) -> Player {
    let mut playout = PlayoutConfig::default();
    set(&mut playout.listen, args.player);
    set(&mut playout.channel_name, args.name.clone());
    set(&mut playout.host_names, args.player_host.clone());
    set(&mut playout.cors_origins, args.player_origin.clone());
    Player { playout, next_free: args.player_next_free.unwrap_or(false) }
}

/// The source with its pace, repetition and password.
fn source(args: &SplitterArgs) -> Result<Source, SettingsError> {
    let text = args.input.as_deref().unwrap_or("testcard");
    let mut source = Source::parse(text).map_err(|error| value("input", &error))?;
    if let Some(rate) = args.rate {
        source = match source {
            Source::File { .. } | Source::Stdin { .. } => source.with_pace(Pace::Rate(rate.0)),
            Source::TestCard(_) if text.trim() == "testcard" => Source::TestCard(card_of_rate(rate.0)),
            Source::Exec(_)
            | Source::HttpListen(_)
            | Source::HttpPull(_)
            | Source::Rtp(_)
            | Source::TestCard(_)
            | Source::Udp(_) => {
                let problem = format!(
                    "`{source}` comes at its own rate; only files, standard input and testcard have one"
                );
                return Err(SettingsError::Value { setting: "rate", problem });
            }
        };
    }
    if args.r#loop == Some(true) {
        if !matches!(source, Source::File { .. }) {
            let problem = format!("`{source}` cannot begin again; only files can");
            return Err(SettingsError::Value { setting: "loop", problem });
        }
        source = source.with_repeat(true);
    }
    if args.user.is_some() || args.password.is_some() {
        let setting = if args.password.is_some() { "password" } else { "user" };
        let Source::HttpListen(listen) = &mut source else {
            let problem = format!("nobody pushes to `{source}`; only push:ADDRESS:PORT asks for one");
            return Err(SettingsError::Value { setting, problem });
        };
        let Some(password) = &args.password else {
            return Err(SettingsError::Value {
                setting,
                problem: "it needs a password beside it".to_owned(),
            });
        };
        let user = args.user.clone().unwrap_or_else(|| PUSH_USER.to_owned());
        listen.credentials = Some(Credentials { user, password: password.clone() });
    }
    Ok(source)
}

/// The defaults as settings, for `p2psp config print` and for checks of the help texts.
pub(crate) struct Defaults;

impl Defaults {
    pub(crate) fn splitter() -> SplitterArgs {
        let config =
            p2psp_splitter::Config::new(Source::TestCard(TestCardConfig::default()), Identity::generate());
        SplitterArgs {
            input: Some("testcard".to_owned()),
            r#loop: Some(false),
            on_end: Some(OnEnd::default()),
            wait_peers: Some(config.wait_peers),
            listen: Some(config.listen),
            team_size: Some(config.team_size_max),
            own_copies: Some(config.own_copies_max),
            integrity: Some(Integrity::default()),
            parity: config.parity_chunks,
            ban: Some(Span(config.fairness.ban)),
            uplink: Some(crate::units::BitRate(config.uplink_bits_per_s)),
            grace: Some(Span(config.grace)),
            ..SplitterArgs::default()
        }
    }

    pub(crate) fn peer() -> PeerArgs {
        let nowhere = ChannelLink {
            channel: p2psp_wire::ChannelId::new([0; 32]),
            splitters: Vec::new(),
            trackers: Vec::new(),
        };
        let config = p2psp_peer::Config::new(nowhere, Identity::generate());
        let playout = config.player.unwrap_or_default().playout;
        PeerArgs {
            player: Some(playout.listen),
            player_next_free: Some(false),
            no_player: Some(false),
            name: Some(playout.channel_name),
            delay: Some(Span(config.target_delay)),
            uplink: Some(crate::units::BitRate(config.uplink_bits_per_s)),
            eco: Some(config.eco),
            relay: Some(Relay::default()),
            join_timeout: config.join_timeout.map(Span),
            rejoin: Some(config.rejoin),
            allow_unsigned: Some(config.allow_unsigned),
            grace: Some(Span(config.grace)),
            ..PeerArgs::default()
        }
    }
}

fn set<T>(place: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *place = given;
    }
}

fn span(given: Option<Span>, default: Duration) -> Duration {
    given.map_or(default, |span| span.0)
}

fn value(setting: &'static str, problem: &dyn std::fmt::Display) -> SettingsError {
    SettingsError::Value { setting, problem: problem.to_string() }
}
