//! The floor: what the same fan-out costs with UDP, AES-128-GCM per pair and nothing else. Real processes on blocking
//! sockets, the same chunks, rate and turns as the team that it stands beside. Owns its own measuring.

mod node;
mod sealing;

use std::time::Duration;

use tokio::time::sleep;

use node::{Counts, Hello, Plan};
pub use node::{run_peer, run_splitter};

use crate::{
    BenchError,
    process::{Process, RunDirectory, command},
    procfs,
};

/// Hidden subcommand of a peer.
pub const PEER_COMMAND: &str = "floor-peer";
/// Hidden subcommand of the splitter.
pub const SPLITTER_COMMAND: &str = "floor-splitter";

/// Most time for a process of the floor to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Before the window: caches and branch predictors settle within a few rounds.
const WARM_UP: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Peers, at least 2.
    pub peers: usize,
    /// Chunks of a turn.
    pub turn_chunks: u16,
    /// Chunks per second.
    pub chunks_per_s: f64,
    /// Payload bytes of a chunk.
    pub chunk_bytes: usize,
    /// Length of the window.
    pub window: Duration,
}

/// What it cost.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// CPU seconds of the peers per GB (10^9 bytes) of payload that they received.
    pub cpu_s_per_gb: f64,
    /// Chunks received, of those that should have been, 0 to 1.
    pub continuity: f64,
}

/// Runs the floor once.
///
/// # Errors
/// A process cannot be started, ends, or delivers nothing.
pub async fn measure(shape: Shape, directory: &RunDirectory) -> Result<Figures, BenchError> {
    let program = std::env::current_exe().map_err(BenchError::io("failed to find this program"))?;
    let start = |name: String, role: &str| {
        let mut command = command(&program);
        command.arg(role);
        Process::start(name, command, None, directory)
    };
    let mut peers = Vec::with_capacity(shape.peers);
    for place in 0..shape.peers {
        peers.push(start(format!("floor-peer-{place}"), PEER_COMMAND)?);
    }
    let mut splitter = start("floor-splitter".into(), SPLITTER_COMMAND)?;

    let mut ports = Vec::with_capacity(shape.peers + 1);
    for process in peers.iter_mut().chain([&mut splitter]) {
        ports.push(process.hear::<Hello>(ANSWER_WITHIN).await?.port);
    }
    for (own_id, process) in (0_u32..).zip(peers.iter_mut().chain([&mut splitter])) {
        let plan = Plan {
            own_id,
            ports: ports.clone(),
            turn_chunks: shape.turn_chunks,
            chunks_per_s: shape.chunks_per_s,
            chunk_bytes: shape.chunk_bytes,
        };
        let plan = serde_json::to_string(&plan).map_err(|cause| splitter_fault(cause.to_string()))?;
        process.tell(&plan).await?;
    }

    sleep(WARM_UP).await;
    let before = Reading::take(&mut splitter, &mut peers).await?;
    sleep(shape.window).await;
    let after = Reading::take(&mut splitter, &mut peers).await?;
    for process in peers.into_iter().chain([splitter]) {
        // Peers sleep in their sockets and leave by the signal; there is nothing to wait for.
        process.stop(Duration::from_secs(1)).await;
    }

    let payload_gb = after.payload_bytes.saturating_sub(before.payload_bytes) as f64 / 1e9;
    let expected = (after.dealt - before.dealt) as f64 * shape.peers as f64;
    if payload_gb == 0.0 || expected == 0.0 {
        return Err(splitter_fault("the floor delivered nothing".into()));
    }
    Ok(Figures {
        cpu_s_per_gb: after.cpu.saturating_sub(before.cpu).as_secs_f64() / payload_gb,
        continuity: (after.chunks - before.chunks) as f64 / expected,
    })
}

const fn splitter_fault(what: String) -> BenchError {
    BenchError::CrossCheck(what)
}

/// Sums over the peers at one moment.
#[derive(Default)]
struct Reading {
    cpu: Duration,
    dealt: u64,
    chunks: u64,
    payload_bytes: u64,
}

impl Reading {
    async fn take(splitter: &mut Process, peers: &mut [Process]) -> Result<Self, BenchError> {
        splitter.tell("report").await?;
        let dealt = splitter.hear::<Counts>(ANSWER_WITHIN).await?.chunks_sent;
        let mut sum = Self { dealt, ..Self::default() };
        for peer in peers {
            let counts = peer.hear::<Counts>(ANSWER_WITHIN).await?;
            sum.chunks += counts.chunks;
            sum.payload_bytes += counts.payload_bytes;
            sum.cpu += procfs::cpu_time(peer.pid())
                .map_err(|cause| peer.fault(format!("cannot be measured: {cause}")))?;
        }
        Ok(sum)
    }
}
