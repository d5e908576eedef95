//! `p2psp config`: whether settings are right, and what would be in force. Opens nothing that the settings name.

use crate::{
    cli::{Cli, Command, CommonArgs, ConfigCommand, PeerArgs, PrintCommand, SplitterArgs},
    exit::Failure,
    report::print,
    settings::{self, Role, SettingsError, Sources, checked, schema::schema},
};
use clap::Parser;
use p2psp_wire::{ChannelId, ChannelLink};

/// Checks or shows settings.
///
/// # Errors
///
/// One of them is not right.
pub(crate) fn run(command: ConfigCommand, common: &CommonArgs) -> Result<(), Failure> {
    // What a file may say depends on nobody's settings.
    let sources = || settings::sources(common, settings::environment()?);
    match command {
        ConfigCommand::Check => check(common, &sources()?)?,
        ConfigCommand::Print(PrintCommand::Splitter(flags)) => print(&checked(&*flags, &sources()?)?.shown()),
        ConfigCommand::Print(PrintCommand::Peer(flags)) => print(&peer(*flags, &sources()?)?.shown()),
        ConfigCommand::Schema => print(&schema()),
    }
    Ok(())
}

/// What a splitter and a peer would say of these settings without any flags.
fn check(common: &CommonArgs, sources: &Sources) -> Result<(), Failure> {
    sources.filter()?;
    checked(&splitter_variables(), sources)?;
    let peer = peer(peer_variables(), sources)?;
    match &common.config {
        Some(path) => print(&format!("{} is right", path.display())),
        None => print("the environment is right; --config FILE checks a file, too"),
    }
    if sources.places.has(PeerArgs::TABLE) && peer.link.is_none() {
        print("a peer needs a link beside it: `link` in [peer], P2PSP_PEER_LINK, or p2psp peer LINK");
    }
    Ok(())
}

/// A peer's settings; without a link the rest can be right all the same.
fn peer(flags: PeerArgs, sources: &Sources) -> Result<PeerArgs, SettingsError> {
    if flags.link.is_some() || sources.file.peer.link.is_some() {
        return checked(&flags, sources);
    }
    let splitters = vec!["127.0.0.1:4480".to_owned()];
    let any = ChannelLink { channel: ChannelId::new([0; 32]), splitters, trackers: Vec::new() };
    let settings = checked(&PeerArgs { link: Some(any.to_string()), ..flags }, sources)?;
    Ok(PeerArgs { link: None, ..settings })
}

/// What the environment says to a splitter.
fn splitter_variables() -> SplitterArgs {
    let Command::Splitter { settings, .. } = Cli::parse_from(["p2psp", "splitter"]).command else {
        return SplitterArgs::default();
    };
    *settings
}

/// What the environment says to a peer.
fn peer_variables() -> PeerArgs {
    let Command::Peer { settings, .. } = Cli::parse_from(["p2psp", "peer"]).command else {
        return PeerArgs::default();
    };
    *settings
}
