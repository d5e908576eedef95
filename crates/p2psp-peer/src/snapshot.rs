//! A peer's figures at one moment, as programs and the player page read them: one flat JSON object with stable names. Counters
//! count from the start and end in `_total`; times are milliseconds.

use crate::{bridge::millis, progress::Progress};
use p2psp_core::{Peer, PeerStats};
use p2psp_media::playout::PlayoutStats;
use p2psp_net::NetStats;
use p2psp_wire::{ChannelId, PeerId};
use serde::Serialize;
use std::{net::SocketAddr, time::Duration};

/// Where a peer stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Looking for a seat.
    #[default]
    Joining,
    /// Has one.
    Member,
    /// Out, for good.
    Left,
}

/// Whose figures they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    pub(crate) peer: PeerId,
    pub(crate) channel: ChannelId,
    pub(crate) listen: SocketAddr,
}

/// The figures of one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// Always `peer`.
    pub role: &'static str,
    /// Version of the software.
    pub version: &'static str,
    /// This peer's identity.
    pub peer: String,
    /// The channel.
    pub channel: String,
    /// The address of its UDP socket.
    pub listen: SocketAddr,
    /// Time since the start.
    pub uptime_ms: u64,
    /// Where it stands.
    pub state: State,
    /// What keeps it from a seat, if something does.
    pub trouble: Option<String>,
    /// Its seat, while it has one.
    pub slot: Option<u16>,
    /// The splitter's run.
    pub epoch: Option<u32>,
    /// How the splitter sees it.
    pub observed: Option<SocketAddr>,
    /// Members of the team, this one included; 0 without a seat.
    pub team_peers: u16,
    /// Teammates with a link.
    pub teammates_linked: u16,

    /// From the start to the first welcome.
    pub welcome_ms: Option<u64>,
    /// From the start to the first chunk that was played: from then on a player gets its first byte at once.
    pub first_play_ms: Option<u64>,
    /// From the start to the first byte that went to a player.
    pub first_byte_ms: Option<u64>,

    /// How far the newest chunk held is ahead of the play-out.
    pub buffer_ms: u64,
    /// Chunks held ahead of the play-out.
    pub buffered_chunks: u64,
    /// Overlay delay, median: from the splitter's taking a chunk in to its arrival here, by both wall clocks.
    pub delay_ms: Option<f64>,
    /// The same as `delay_ms`.
    pub delay_ms_p50: Option<f64>,
    /// Overlay delay that 99 % of the chunks do not exceed.
    pub delay_ms_p99: Option<f64>,
    /// All overlay delays so far: pairs of the largest delay of a bucket in microseconds, and how many fell into it.
    pub delay_buckets_us: Vec<(u64, u32)>,

    /// Chunks received, each once.
    pub received_chunks_total: u64,
    /// Payload bytes received, each chunk once.
    pub received_bytes_total: u64,
    /// Of these, bytes that the splitter sent, in turns or in answer to pulls; the rest came from teammates.
    pub splitter_bytes_total: u64,
    /// Of the chunks received, those that came from the splitter in turns.
    pub splitter_chunks_total: u64,
    /// Chunks that came in answer to pulls.
    pub pulled_chunks_total: u64,
    /// Chunks of which it is settled whether they came by themselves, as told to the splitter; counted from this peer's having had
    /// the whole team's chunks, and where the stream is signed.
    pub due_chunks_total: u64,
    /// Of these, chunks that did not come by themselves: rebuilt, pulled or lost. The loss before repair.
    pub missing_chunks_total: u64,
    /// Chunks that did not come and were rebuilt from parity.
    pub rebuilt_chunks_total: u64,
    /// Chunks of its own turns that never reached it, rebuilt, and relayed late.
    pub healed_chunks_total: u64,
    /// Chunks asked of others because parity did not suffice, once for each time.
    pub asked_chunks_total: u64,
    /// Datagrams dropped because no manifest lists them, or the channel's key did not sign them.
    pub false_chunks_total: u64,
    /// Parity chunks received, each once.
    pub parity_chunks_total: u64,
    /// Manifests received, each once.
    pub manifests_total: u64,
    /// Chunks relayed, one for each teammate.
    pub sent_chunks_total: u64,
    /// Payload bytes relayed, parity and manifests among them.
    pub sent_bytes_total: u64,
    /// Chunks sent in answer to pulls.
    pub served_chunks_total: u64,
    /// Copies not sent because they had become too old.
    pub expired_chunks_total: u64,
    /// What it sends at most at present, all links together, bits a second.
    pub uplink_bits_per_s: u64,
    /// What its uplink was found to carry, bits a second; 0 while it has shown no limit.
    pub uplink_carried_bits_per_s: u64,
    /// Chunks played.
    pub played_chunks_total: u64,
    /// Payload bytes played.
    pub played_bytes_total: u64,
    /// Chunks that did not come in time.
    pub lost_chunks_total: u64,
    /// Lost of all that should have been played, 0 to 1.
    pub loss_ratio: f64,
    /// Times that the play-out stood still for a quarter of a second or more while the source went on; counted when it goes on.
    pub stalls_total: u64,
    /// How long it stood still, all of these together.
    pub stalled_ms_total: u64,
    /// Copies that were here already.
    pub duplicate_chunks_total: u64,
    /// Chunks behind the play-out.
    pub late_chunks_total: u64,
    /// Chunks from a member that has no right to send them.
    pub unexpected_chunks_total: u64,
    /// Requests sent for origins that do not reach this peer.
    pub requests_total: u64,
    /// Prunes sent.
    pub prunes_total: u64,
    /// Malformed input.
    pub malformed_total: u64,
    /// Links hung up for breaking a rule.
    pub violations_total: u64,
    /// Times that the splitter's link was lost.
    pub splitter_losses_total: u64,
    /// The next chunk to play.
    pub play_number: u64,

    /// The network node.
    pub net: NetStats,
    /// The player port, if there is one.
    pub playout: Option<PlayoutStats>,
}

impl Snapshot {
    pub(crate) fn new(subject: &Subject) -> Self {
        Self {
            role: "peer",
            version: env!("CARGO_PKG_VERSION"),
            peer: subject.peer.to_string(),
            channel: subject.channel.to_string(),
            listen: subject.listen,
            uptime_ms: 0,
            state: State::default(),
            trouble: None,
            slot: None,
            epoch: None,
            observed: None,
            team_peers: 0,
            teammates_linked: 0,
            welcome_ms: None,
            first_play_ms: None,
            first_byte_ms: None,
            buffer_ms: 0,
            buffered_chunks: 0,
            delay_ms: None,
            delay_ms_p50: None,
            delay_ms_p99: None,
            delay_buckets_us: Vec::new(),
            received_chunks_total: 0,
            received_bytes_total: 0,
            splitter_bytes_total: 0,
            splitter_chunks_total: 0,
            pulled_chunks_total: 0,
            due_chunks_total: 0,
            missing_chunks_total: 0,
            rebuilt_chunks_total: 0,
            healed_chunks_total: 0,
            asked_chunks_total: 0,
            false_chunks_total: 0,
            parity_chunks_total: 0,
            manifests_total: 0,
            sent_chunks_total: 0,
            sent_bytes_total: 0,
            served_chunks_total: 0,
            expired_chunks_total: 0,
            uplink_bits_per_s: 0,
            uplink_carried_bits_per_s: 0,
            played_chunks_total: 0,
            played_bytes_total: 0,
            lost_chunks_total: 0,
            loss_ratio: 0.0,
            stalls_total: 0,
            stalled_ms_total: 0,
            duplicate_chunks_total: 0,
            late_chunks_total: 0,
            unexpected_chunks_total: 0,
            requests_total: 0,
            prunes_total: 0,
            malformed_total: 0,
            violations_total: 0,
            splitter_losses_total: 0,
            play_number: 0,
            net: NetStats::default(),
            playout: None,
        }
    }

    /// The same peer, `uptime` after its start.
    pub(crate) fn with_progress(self, progress: &Progress, uptime: Duration) -> Self {
        let state = match (progress.left, progress.seat) {
            (Some(_), _) => State::Left,
            (None, Some(_)) => State::Member,
            (None, None) => State::Joining,
        };
        Self {
            uptime_ms: millis(uptime),
            state,
            trouble: progress.trouble.as_ref().map(ToString::to_string),
            slot: progress.seat.map(|seat| seat.slot.get()),
            epoch: progress.seat.map(|seat| seat.epoch.0),
            observed: progress.seat.map(|seat| seat.observed),
            welcome_ms: progress.welcome_after.map(millis),
            first_play_ms: progress.play_after.map(millis),
            stalls_total: progress.stalls,
            stalled_ms_total: millis(progress.stalled),
            ..self
        }
    }

    /// The same peer with the machine's figures.
    pub(crate) fn with_machine(self, figures: &Figures) -> Self {
        let Figures { stats, buffer, delay_p50, delay_p99, delay_buckets_us } = figures;
        Self {
            team_peers: if self.slot.is_some() { stats.teammates.saturating_add(1) } else { 0 },
            teammates_linked: stats.teammates_linked,
            buffer_ms: millis(*buffer),
            buffered_chunks: stats.buffered_chunks,
            delay_ms: delay_p50.map(fine_millis),
            delay_ms_p50: delay_p50.map(fine_millis),
            delay_ms_p99: delay_p99.map(fine_millis),
            delay_buckets_us: delay_buckets_us.clone(),
            received_chunks_total: stats.chunks_from_splitter
                + stats.chunks_from_teammates
                + stats.chunks_pulled,
            received_bytes_total: stats.bytes_received,
            splitter_bytes_total: stats.bytes_from_splitter,
            splitter_chunks_total: stats.chunks_from_splitter,
            pulled_chunks_total: stats.chunks_pulled,
            due_chunks_total: stats.chunks_due,
            missing_chunks_total: stats.chunks_missing,
            rebuilt_chunks_total: stats.chunks_rebuilt,
            healed_chunks_total: stats.chunks_healed,
            asked_chunks_total: stats.chunks_asked,
            false_chunks_total: stats.chunks_false,
            parity_chunks_total: stats.parity_received,
            manifests_total: stats.manifests_received,
            sent_chunks_total: stats.chunks_relayed,
            sent_bytes_total: stats.bytes_relayed,
            served_chunks_total: stats.chunks_served,
            expired_chunks_total: stats.chunks_expired,
            uplink_bits_per_s: stats.uplink_bits_per_s,
            uplink_carried_bits_per_s: stats.uplink_carried_bits_per_s,
            played_chunks_total: stats.chunks_played,
            played_bytes_total: stats.bytes_played,
            lost_chunks_total: stats.chunks_lost,
            loss_ratio: ratio(stats.chunks_lost, stats.chunks_lost + stats.chunks_played),
            duplicate_chunks_total: stats.chunks_duplicate,
            late_chunks_total: stats.chunks_late,
            unexpected_chunks_total: stats.chunks_unexpected,
            requests_total: stats.requests_sent,
            prunes_total: stats.prunes_sent,
            malformed_total: stats.malformed,
            violations_total: stats.violations,
            splitter_losses_total: stats.splitter_losses,
            play_number: stats.play_number.get(),
            ..self
        }
    }
}

/// What the machine says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) stats: PeerStats,
    pub(crate) buffer: Duration,
    pub(crate) delay_p50: Option<Duration>,
    pub(crate) delay_p99: Option<Duration>,
    pub(crate) delay_buckets_us: Vec<(u64, u32)>,
}

impl Figures {
    pub(crate) fn of(peer: &Peer) -> Self {
        Self {
            stats: peer.stats(),
            buffer: peer.buffer_delay(),
            delay_p50: peer.delays().quantile(500),
            delay_p99: peer.delays().quantile(990),
            delay_buckets_us: peer.delays().buckets().collect(),
        }
    }
}

/// Milliseconds with one decimal.
fn fine_millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 10_000.0).round() / 10.0
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people; counters stay far below 2^52")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Seat;
    use p2psp_core::LeftReason;
    use p2psp_wire::{Epoch, Slot};

    fn subject() -> Subject {
        Subject {
            peer: PeerId::new([1; 32]),
            channel: ChannelId::new([2; 32]),
            listen: "127.0.0.1:9".parse().unwrap(),
        }
    }

    /// The keys that the player page reads are there, as numbers.
    #[test]
    fn the_player_page_finds_its_figures() {
        let mut stats = PeerStats::default();
        (stats.teammates, stats.teammates_linked) = (4, 2);
        (stats.chunks_lost, stats.chunks_played, stats.bytes_received) = (1, 99, 12_345);
        (stats.bytes_from_splitter, stats.chunks_due, stats.chunks_missing) = (2_345, 50, 3);
        let seat =
            Seat { slot: Slot::new(3).unwrap(), epoch: Epoch(7), observed: "192.0.2.1:9".parse().unwrap() };
        let mut progress = Progress { seat: Some(seat), ..Progress::default() };
        [1_500, 250].into_iter().for_each(|millis| progress.on_stall(Duration::from_millis(millis)));
        let figures = Figures {
            stats,
            buffer: Duration::from_millis(480),
            delay_p50: Some(Duration::from_micros(1_249)),
            delay_p99: None,
            delay_buckets_us: vec![(1_279, 2)],
        };
        let snapshot =
            Snapshot::new(&subject()).with_progress(&progress, Duration::from_secs(2)).with_machine(&figures);
        let json = serde_json::to_value(snapshot).unwrap();
        for (key, value) in [
            ("team_peers", serde_json::json!(5)),
            ("slot", serde_json::json!(3)),
            ("buffer_ms", serde_json::json!(480)),
            ("delay_ms", serde_json::json!(1.2)),
            ("delay_ms_p99", serde_json::Value::Null),
            ("delay_buckets_us", serde_json::json!([[1_279, 2]])),
            ("received_bytes_total", serde_json::json!(12_345)),
            ("splitter_bytes_total", serde_json::json!(2_345)),
            ("sent_bytes_total", serde_json::json!(0)),
            ("due_chunks_total", serde_json::json!(50)),
            ("missing_chunks_total", serde_json::json!(3)),
            ("lost_chunks_total", serde_json::json!(1)),
            ("stalls_total", serde_json::json!(2)),
            ("stalled_ms_total", serde_json::json!(1_750)),
            ("played_chunks_total", serde_json::json!(99)),
            ("teammates_linked", serde_json::json!(2)),
            ("trouble", serde_json::Value::Null),
            ("loss_ratio", serde_json::json!(0.01)),
            ("state", serde_json::json!("member")),
            ("uptime_ms", serde_json::json!(2_000)),
        ] {
            assert_eq!(json[key], value, "{key}");
        }
    }

    #[test]
    fn states_follow_the_progress() {
        let state =
            |progress: &Progress| Snapshot::new(&subject()).with_progress(progress, Duration::ZERO).state;
        let mut progress = Progress::default();
        assert_eq!(state(&progress), State::Joining);
        progress.left = Some(LeftReason::Asked);
        assert_eq!(state(&progress), State::Left);
    }
}
