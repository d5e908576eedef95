//! What an operator may choose about a splitter, with the defaults and their reasons.

use p2psp_core::{FairnessConfig, ParityPolicy, Protection};
use p2psp_media::{
    ingest::{IngestOptions, Source},
    testcard::{TestCard, TestCardConfig},
};
use p2psp_net::Identity;
use p2psp_wire::{Slot, limits};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// Steps of the test card's width above 320 pixels: up to 1280.
const CARD_STEPS_MAX: u16 = 15;

/// UDP port of splitters, in the range without registrations.
const PORT: u16 = 4480;

/// What happens when the source has ended for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnEnd {
    /// The team is told goodbye and the run ends.
    #[default]
    Exit,
    /// The team stays together until the run is stopped.
    Wait,
}

/// How peers can tell the source's bytes from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Integrity {
    /// The channel's key signs the hashes of each generation's chunks, parity among them: nothing else is played.
    #[default]
    Manifest,
    /// The same, and each chunk carries a signature of its own too: it is believed the moment it comes, for 64 bytes and the check
    /// of a signature more. Only play-out delays too short to wait for manifests are worth that.
    Signature,
    /// Nothing is signed and nothing can be rebuilt: any member may put what it likes into the stream. For laboratories, to
    /// measure the rest against.
    None,
}

/// Most members of a team: one slot of it is the splitter's own (R-TURN-5).
pub const TEAM_SIZE_MAX: u16 = Slot::SPLITTER.get();

/// Most copies that a splitter may send beside its one: one for each member.
pub const OWN_COPIES_MAX: u16 = TEAM_SIZE_MAX;

/// Settings of a splitter.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the stream comes from.
    pub source: Source,
    /// How its door behaves.
    pub ingest: IngestOptions,
    /// The channel's key.
    pub identity: Identity,
    /// Where the number of the last run of this channel is kept, so that the next one is larger whatever the clock says.
    /// Made if there is none. Default: nowhere, which is right for a key that serves one run.
    pub epoch_file: Option<PathBuf>,
    /// UDP address of its one socket. Default 0.0.0.0:4480.
    pub listen: SocketAddr,
    /// `host:port` as peers reach it, for the channel link. Default: none, so this machine's own address.
    pub advertise: Vec<String>,
    /// How peers verify the stream. Default: by signed manifests.
    pub integrity: Integrity,
    /// Redundant chunks for each generation, 0 to 16: as many of its chunks can be rebuilt. A turn's chunks are lost together, so
    /// there are never fewer than a turn has, unless zero, which sends none. None go without manifests. Default: `None`, as many
    /// as the members' losses ask for.
    pub parity_chunks: Option<u8>,
    /// How members that do not do their share are dealt with. Default: no monitors, bans of ten minutes.
    pub fairness: FairnessConfig,
    /// Most members. Default 128.
    pub team_size_max: u16,
    /// Most copies of the stream that it sends beside its one, where the members' uplinks do not suffice. Who would need more gets
    /// no seat. 0 to 511, default 3.
    pub own_copies_max: u16,
    /// Most that it sends, all links together. Default 100 Mb/s.
    pub uplink_bits_per_s: u64,
    /// What happens when the source has ended for good. Default: exit.
    pub on_end: OnEnd,
    /// Open the source only when so many members are ready. Default 0.
    pub wait_peers: u16,
    /// Longest time for leaving politely. Default 3 s.
    pub grace: Duration,
}

/// Why settings do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No member, or more than a team may have.
    #[error("a team has 1 to {max} peers, not {0}", max = TEAM_SIZE_MAX)]
    TeamSize(u16),
    /// More copies than a team has members.
    #[error("a splitter sends 0 to {max} copies beside its one, not {0}", max = OWN_COPIES_MAX)]
    OwnCopies(u16),
    /// Waiting for more members than the team takes.
    #[error("cannot wait for {wait_peers} peers in a team of at most {team_size_max}")]
    WaitPeers {
        /// As asked for.
        wait_peers: u16,
        /// As asked for.
        team_size_max: u16,
    },
    /// More parity than a generation has room for.
    #[error("a generation has 0 to {max} parity chunks, not {0}", max = limits::PARITY_CHUNKS_MAX)]
    Parity(u8),
    /// A channel link has room for so many addresses.
    #[error("a channel link has at most {max} addresses, not {0}", max = limits::LINK_ADDRESSES_MAX)]
    TooManyAddresses(usize),
    /// An advertised address is no address.
    #[error("cannot advertise `{0}`: write host:port, with IPv6 addresses in brackets")]
    Advertise(String),
}

impl ConfigError {
    /// Which setting is at fault.
    #[must_use]
    pub const fn setting(&self) -> &'static str {
        match self {
            Self::TeamSize(_) => "team_size",
            Self::OwnCopies(_) => "own_copies",
            Self::Parity(_) => "parity",
            Self::WaitPeers { .. } => "wait_peers",
            Self::TooManyAddresses(_) | Self::Advertise(_) => "advertise",
        }
    }
}

impl Config {
    /// The defaults for a source.
    #[must_use]
    pub fn new(source: Source, identity: Identity) -> Self {
        Self {
            source,
            ingest: IngestOptions {
                payload_bytes_max: limits::PAYLOAD_BYTES_MAX,
                ..IngestOptions::default()
            },
            identity,
            epoch_file: None,
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
            advertise: Vec::new(),
            integrity: Integrity::default(),
            parity_chunks: None,
            fairness: FairnessConfig::new(),
            team_size_max: 128,
            own_copies_max: 3,
            uplink_bits_per_s: 100_000_000,
            on_end: OnEnd::default(),
            wait_peers: 0,
            grace: Duration::from_secs(3),
        }
    }

    /// What the machine is told of it: the channel's own key signs.
    pub(crate) fn protection(&self) -> Option<Protection> {
        let signs_chunks = match self.integrity {
            Integrity::Manifest => false,
            Integrity::Signature => true,
            Integrity::None => return None,
        };
        let parity = self.parity_chunks.map_or(ParityPolicy::Adaptive, ParityPolicy::Fixed);
        Some(Protection { key: self.identity.manifest_key(), signs_chunks, parity })
    }

    /// How the door behaves: it cuts chunks no larger than their proof leaves room for.
    pub(crate) fn ingest(&self) -> IngestOptions {
        let room = self.protection().map_or(limits::PAYLOAD_BYTES_MAX, |how| how.payload_bytes_max());
        IngestOptions { payload_bytes_max: self.ingest.payload_bytes_max.min(room), ..self.ingest }
    }

    /// Checks what no single field can say.
    ///
    /// # Errors
    ///
    /// The first thing that does not fit.
    pub fn check(&self) -> Result<(), ConfigError> {
        let (team_size_max, wait_peers) = (self.team_size_max, self.wait_peers);
        if !(1..=TEAM_SIZE_MAX).contains(&team_size_max) {
            return Err(ConfigError::TeamSize(team_size_max));
        }
        if self.own_copies_max > OWN_COPIES_MAX {
            return Err(ConfigError::OwnCopies(self.own_copies_max));
        }
        if wait_peers > team_size_max {
            return Err(ConfigError::WaitPeers { wait_peers, team_size_max });
        }
        if let Some(parity_chunks) = self.parity_chunks.filter(|chunks| *chunks > limits::PARITY_CHUNKS_MAX) {
            return Err(ConfigError::Parity(parity_chunks));
        }
        if self.advertise.len() > limits::LINK_ADDRESSES_MAX {
            return Err(ConfigError::TooManyAddresses(self.advertise.len()));
        }
        let channel = self.identity.channel_id();
        let fits = |address: &&String| {
            let link: Result<p2psp_wire::ChannelLink, _> = format!("p2psp://{channel}@{address}").parse();
            link.is_ok_and(|link| link.splitters == [address.to_ascii_lowercase()])
        };
        match self.advertise.iter().find(|address| !fits(address)) {
            Some(wrong) => Err(ConfigError::Advertise(wrong.clone())),
            None => Ok(()),
        }
    }
}

/// The test card whose bit rate comes nearest to `bits_per_s`: the picture's size makes the rate. Draws one keyframe interval
/// of each size up to the right one, which takes some milliseconds.
#[must_use]
pub fn card_of_rate(bits_per_s: u64) -> TestCardConfig {
    let mut best = (u64::MAX, TestCardConfig::default());
    for step in 0..=CARD_STEPS_MAX {
        let width = 320 + step * 64;
        // 16 to 9, in whole macroblocks.
        let height = (width * 9 / 16).next_multiple_of(16).max(192);
        let card = TestCardConfig { width, height, ..TestCardConfig::default() };
        let rate = bit_rate(card);
        let miss = rate.abs_diff(bits_per_s);
        if miss < best.0 {
            best = (miss, card);
        }
        if rate >= bits_per_s {
            break;
        }
    }
    best.1
}

/// Bit rate of a test card over its first keyframe interval.
fn bit_rate(config: TestCardConfig) -> u64 {
    let Ok(mut card) = TestCard::new(config) else { return 0 };
    let bytes: usize = (0..config.gop_frames).map(|_| card.next_frame().len()).sum();
    8 * u64::try_from(bytes).unwrap_or(u64::MAX) * u64::from(config.fps) / u64::from(config.gop_frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::new(Source::parse("testcard").unwrap(), Identity::generate())
    }

    #[test]
    fn what_does_not_fit_is_told() {
        assert_eq!(config().check(), Ok(()));
        for (change, says) in [
            ((|c| c.team_size_max = 0) as fn(&mut Config), "1 to 511"),
            (|c| c.team_size_max = 512, "not 512"),
            (|c| c.own_copies_max = 512, "0 to 511"),
            (|c| c.wait_peers = 129, "at most 128"),
            (|c| c.parity_chunks = Some(17), "0 to 16"),
            (|c| c.advertise = vec!["tv.example.org".to_owned()], "host:port"),
            (|c| c.advertise = vec!["tv.example.org:4480?x=y".to_owned()], "host:port"),
            (|c| c.advertise = vec!["h:1".to_owned(); 9], "at most 8"),
        ] {
            let mut config = config();
            change(&mut config);
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let good = Config {
            advertise: vec!["TV.example.org:4480".to_owned(), "[2001:db8::1]:1".to_owned()],
            ..config()
        };
        assert_eq!(good.check(), Ok(()));
    }

    /// Unless told otherwise a stream is signed with the channel's own key: peers know no other.
    #[test]
    fn streams_are_signed_by_default() {
        let mut config = config();
        let protection = config.protection().unwrap();
        assert_eq!(protection.key.channel(), Some(config.identity.channel_id()));
        assert_eq!((protection.signs_chunks, protection.parity), (false, ParityPolicy::Adaptive));
        assert_eq!(config.ingest().payload_bytes_max, limits::PAYLOAD_BYTES_MAX);
        config.integrity = Integrity::Signature;
        assert!(config.protection().is_some_and(|protection| protection.signs_chunks));
        assert_eq!(config.ingest().payload_bytes_max, limits::PAYLOAD_BYTES_MAX - limits::SIGNATURE_BYTES);
        config.integrity = Integrity::None;
        assert!(config.protection().is_none());
    }

    /// A larger rate gives a larger card, and what is in reach is met within a third.
    #[test]
    fn cards_come_near_to_a_rate() {
        for rate in [1_000_000, 2_000_000] {
            let card = card_of_rate(rate);
            let got = bit_rate(card);
            assert!(got.abs_diff(rate) < rate / 3, "{rate}: {got} with {card:?}");
        }
        assert!(card_of_rate(2_000_000).width > card_of_rate(1_000_000).width);
    }
}
