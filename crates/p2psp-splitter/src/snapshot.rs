//! A splitter's figures at one moment, as programs read them: one JSON object with stable names. Counters count from the start
//! and end in `_total`; times are milliseconds.

use crate::{config::Integrity, events::Refusals};
use p2psp_core::SplitterStats;
use p2psp_media::ingest::{IngestState, IngestStatus};
use p2psp_net::NetStats;
use p2psp_wire::{ChannelLink, Epoch, PeerId, Slot};
use serde::Serialize;
use std::{net::SocketAddr, time::Duration};

/// The figures of one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// Always `splitter`.
    pub role: &'static str,
    /// Version of the software.
    pub version: &'static str,
    /// The channel.
    pub channel: String,
    /// The channel link.
    pub link: String,
    /// The address of its UDP socket.
    pub listen: SocketAddr,
    /// The number of this run.
    pub epoch: u32,
    /// How peers verify the stream: `manifest` or `none`.
    pub integrity: &'static str,
    /// Time since the start.
    pub uptime_ms: u64,

    /// Members with a seat.
    pub team_peers: u16,
    /// Members that get turns.
    pub team_ready: u16,
    /// Who they are, by ascending slot.
    pub members: Vec<MemberFigures>,
    /// Joins that got a seat.
    pub joins_total: u64,
    /// Joins refused.
    pub refusals_total: u64,
    /// Why they were.
    #[serde(flatten)]
    pub refusals: Refusals,
    /// Members that said goodbye.
    pub goodbyes_total: u64,
    /// Members whose link died.
    pub crashes_total: u64,
    /// Members put out of the schedule by their teammates' reports.
    pub silenced_total: u64,

    /// Chunks taken from the source.
    pub chunks_total: u64,
    /// Payload bytes taken from the source.
    pub bytes_total: u64,
    /// Chunks sent in turns.
    pub sent_chunks_total: u64,
    /// Datagram bytes sent in turns, parity and manifests among them: payload and our header.
    pub sent_bytes_total: u64,
    /// Parity chunks sent.
    pub parity_chunks_total: u64,
    /// Parity chunks of a generation at present.
    pub parity_chunks: u8,
    /// Manifests sent.
    pub manifests_total: u64,
    /// Turns sent.
    pub turns_total: u64,
    /// Chunks of a turn at the present rate.
    pub turn_chunks: u16,
    /// Chunks sent in answer to pulls.
    pub served_chunks_total: u64,
    /// Chunks that no member was ready to take.
    pub unsent_chunks_total: u64,
    /// Chunks dropped because the uplink stayed spent.
    pub overflowed_chunks_total: u64,
    /// Chunks that members reported lost.
    pub reported_lost_chunks_total: u64,
    /// Chunks that members reported missing, rebuilt or fetched ones among them.
    pub reported_missing_chunks_total: u64,
    /// Complaints about members that sent what no manifest lists.
    pub complaints_total: u64,
    /// Turns that the splitter sent to every member itself, because the members' uplinks do not suffice.
    pub own_turns_total: u64,
    /// Of a thousand turns, how many are such ones at present.
    pub own_share_per_mille: u16,
    /// Of a thousand turns, how many are more than anybody is known to carry at present.
    pub lacking_per_mille: u16,
    /// Members expelled.
    pub expulsions_total: u64,
    /// Of these, those that took turns and did not pass them on.
    pub free_riders_total: u64,
    /// Times that a member got no turns for a while, because its turns did not reach the others.
    pub rests_total: u64,
    /// Malformed input.
    pub malformed_total: u64,
    /// Links hung up for breaking a rule.
    pub violations_total: u64,
    /// The next chunk's number.
    pub next_number: u64,

    /// The source.
    pub ingest: IngestFigures,
    /// The network node.
    pub net: NetStats,
}

/// A member of the team.
#[derive(Clone, Debug, Serialize)]
pub struct MemberFigures {
    /// Its seat.
    pub slot: u16,
    /// Its identity.
    pub peer: String,
}

/// The source and its door.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct IngestFigures {
    /// The source, without passwords.
    pub source: String,
    /// `connecting`, `live`, `stalled`, `ended` or `failed`.
    pub state: &'static str,
    /// Why it failed.
    pub reason: Option<String>,
    /// What it was recognised as.
    pub container: Option<String>,
    /// Where the door listens, for those that do.
    pub listen: Option<SocketAddr>,
    /// Media bytes that came in.
    pub bytes_total: u64,
    /// Records passed on.
    pub records_total: u64,
    /// Times it was started or dialed again, or a publisher came after another.
    pub restarts_total: u64,
    /// Records dropped because the splitter took no more.
    pub dropped_records_total: u64,
    /// Bytes dropped because they were no part of the stream.
    pub dropped_bytes_total: u64,
    /// Times the structure of the stream was lost.
    pub structure_losses_total: u64,
    /// RTP packets that never came.
    pub rtp_lost_packets_total: u64,
    /// Connections refused at the door.
    pub refused_total: u64,
    /// How long it brought nothing after it had been live: silent, awaited again, or failed.
    pub gap_ms_total: u64,
}

impl IngestFigures {
    pub(crate) fn new(source: &str, status: &IngestStatus, gap: Duration) -> Self {
        let (state, reason) = match &status.state {
            IngestState::Connecting => ("connecting", None),
            IngestState::Live => ("live", None),
            IngestState::Stalled => ("stalled", None),
            IngestState::Ended => ("ended", None),
            IngestState::Failed { reason } => ("failed", Some(reason.clone())),
        };
        Self {
            source: source.to_owned(),
            state,
            reason,
            container: status.container.map(|container| container.to_string()),
            listen: status.local_address,
            bytes_total: status.bytes,
            records_total: status.records,
            restarts_total: status.restarts,
            dropped_records_total: status.records_dropped,
            dropped_bytes_total: status.bytes_dropped,
            structure_losses_total: status.structure_losses,
            rtp_lost_packets_total: status.rtp_packets_lost,
            refused_total: status.refused,
            gap_ms_total: millis(gap),
        }
    }
}

impl Snapshot {
    pub(crate) fn new(
        link: &ChannelLink,
        listen: SocketAddr,
        epoch: Epoch,
        integrity: Integrity,
        ingest: IngestFigures,
    ) -> Self {
        Self {
            role: "splitter",
            version: env!("CARGO_PKG_VERSION"),
            channel: link.channel.to_string(),
            link: link.to_string(),
            listen,
            epoch: epoch.0,
            integrity: match integrity {
                Integrity::Manifest => "manifest",
                Integrity::Signature => "signature",
                Integrity::None => "none",
            },
            uptime_ms: 0,
            team_peers: 0,
            team_ready: 0,
            members: Vec::new(),
            joins_total: 0,
            refusals_total: 0,
            refusals: Refusals::default(),
            goodbyes_total: 0,
            crashes_total: 0,
            silenced_total: 0,
            chunks_total: 0,
            bytes_total: 0,
            sent_chunks_total: 0,
            sent_bytes_total: 0,
            parity_chunks_total: 0,
            parity_chunks: 0,
            manifests_total: 0,
            turns_total: 0,
            turn_chunks: 0,
            served_chunks_total: 0,
            unsent_chunks_total: 0,
            overflowed_chunks_total: 0,
            reported_lost_chunks_total: 0,
            reported_missing_chunks_total: 0,
            complaints_total: 0,
            own_turns_total: 0,
            own_share_per_mille: 0,
            lacking_per_mille: 0,
            expulsions_total: 0,
            free_riders_total: 0,
            rests_total: 0,
            malformed_total: 0,
            violations_total: 0,
            next_number: 0,
            ingest,
            net: NetStats::default(),
        }
    }

    /// The same place with newer figures.
    pub(crate) fn renewed(
        self,
        uptime: Duration,
        (stats, refusals): (&SplitterStats, Refusals),
        roster: &[(Slot, PeerId)],
        ingest: IngestFigures,
        net: NetStats,
    ) -> Self {
        let members = roster
            .iter()
            .map(|(slot, peer)| MemberFigures { slot: slot.get(), peer: peer.to_string() })
            .collect();
        Self {
            uptime_ms: millis(uptime),
            team_peers: stats.members,
            team_ready: stats.members_ready,
            members,
            joins_total: stats.joins,
            refusals_total: stats.refusals,
            refusals,
            goodbyes_total: stats.goodbyes,
            crashes_total: stats.crashes,
            silenced_total: stats.silenced,
            chunks_total: stats.chunks_in,
            bytes_total: stats.bytes_in,
            sent_chunks_total: stats.chunks_sent,
            sent_bytes_total: stats.bytes_sent,
            parity_chunks_total: stats.parity_sent,
            parity_chunks: stats.parity_chunks,
            manifests_total: stats.manifests_sent,
            turns_total: stats.turns_sent,
            turn_chunks: stats.turn_chunks,
            served_chunks_total: stats.chunks_served,
            unsent_chunks_total: stats.chunks_unsent,
            overflowed_chunks_total: stats.chunks_overflowed,
            reported_lost_chunks_total: stats.chunks_reported_lost,
            reported_missing_chunks_total: stats.chunks_reported_missing,
            complaints_total: stats.complaints,
            own_turns_total: stats.own_turns,
            own_share_per_mille: stats.own_share_per_mille,
            lacking_per_mille: stats.lacking_per_mille,
            expulsions_total: stats.expulsions,
            free_riders_total: stats.free_riders,
            rests_total: stats.rested,
            malformed_total: stats.malformed,
            violations_total: stats.violations,
            next_number: stats.next_number.get(),
            ingest,
            net,
            ..self
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
