//! Swarms drawn by their seed: every class of fault off, mild or brutal. While they last the oracle's rules hold; when they stop,
//! everybody that is left must play on without a gap.

use super::Size;
use crate::{Fault, Latency, Loss, NetworkConfig, NodeId, Report, Rng, StreamSpec, TeamId, World};
use p2psp_core::{Instant, ParityPolicy, RelayPolicy};
use std::{collections::BTreeSet, time::Duration};

/// After the last fault: links time out, routes are found, those who lost the splitter are back.
const HEALING: Duration = Duration::from_secs(15);
/// Then nobody may miss a chunk for this long.
const CLEAN: Duration = Duration::from_secs(5);

/// What a seed stands for.
#[derive(Debug)]
struct Faults {
    peers: usize,
    chunks_per_second: u32,
    relay: RelayPolicy,
    jitter: Duration,
    loss: Loss,
    stall: Option<(f64, Duration)>,
    /// Mean life of a member; `None`: all stay.
    life: Option<Duration>,
    crash_share: f64,
    /// Share of pairs that never reach each other.
    blocked_share: f64,
    /// Time between breaks of a pair's way, each for up to two seconds.
    breaks: Option<(Duration, Fault)>,
    eco_share: f64,
    /// Uplink in multiples of the stream rate.
    uplink: f64,
    /// Signed, with so much redundancy, and judged; `None`: bare.
    parity: Option<ParityPolicy>,
}

impl Faults {
    fn draw(rng: &mut Rng, size: Size) -> Self {
        let most = if size == Size::Full { 48 } else { 14 };
        let peers = 4 + rng.index(most - 4);
        let secs = Duration::from_secs;
        let millis = Duration::from_millis;
        let loss = match rng.below(5) {
            0 | 1 => Loss::None,
            2 => Loss::Independent(0.005),
            3 => Loss::Bursts { mean: 0.01, length: 8.0 },
            _ => Loss::Independent(0.08),
        };
        Self {
            peers,
            chunks_per_second: [50, 100, 300, 700].get(rng.index(4)).copied().unwrap_or(100),
            relay: if rng.chance(0.8) { RelayPolicy::Burst } else { RelayPolicy::Classic },
            jitter: pick(rng, Duration::ZERO, millis(4), millis(60)),
            loss,
            stall: pick(rng, None, Some((0.001, millis(5))), Some((0.02, millis(40)))),
            life: pick(rng, None, Some(secs(60)), Some(secs(12))),
            crash_share: pick(rng, 0.0, 0.2, 1.0),
            blocked_share: pick(rng, 0.0, 0.05, 0.25),
            breaks: pick(rng, None, Some((secs(3), Fault::Datagrams)), Some((secs(1), Fault::Silence))),
            eco_share: pick(rng, 0.0, 0.1, 0.5),
            uplink: pick(rng, 20.0, 5.0, 3.0),
            parity: pick(rng, None, Some(ParityPolicy::Adaptive), Some(ParityPolicy::Fixed(2))),
        }
    }
}

fn pick<T>(rng: &mut Rng, off: T, mild: T, brutal: T) -> T {
    match rng.below(4) {
        0 | 1 => off,
        2 => mild,
        _ => brutal,
    }
}

/// One swarm.
pub(super) fn swarm(seed: u64, size: Size, report: &mut Report) {
    let mut rng = Rng::new(seed ^ 0x5a);
    let faults = Faults::draw(&mut rng, size);
    report.line(format!("{faults:?}"));
    let network = NetworkConfig {
        latency: Latency::Plane { base: Duration::from_millis(2), per_unit: Duration::from_millis(40) },
        jitter: faults.jitter,
        loss: faults.loss,
        stall: faults.stall,
        through_wire: 7,
        ..NetworkConfig::default()
    };
    let mut world = World::new(network, false, seed);
    let stream = StreamSpec { parity: faults.parity, ..StreamSpec::new(faults.chunks_per_second) };
    let mut run = Run {
        team: world.add_team(stream, None, |_| ()),
        faults,
        rng,
        alive: Vec::new(),
        eco: BTreeSet::new(),
    };
    let span = Duration::from_secs(if size == Size::Full { 40 } else { 12 });
    run.with_faults(&mut world, Instant::ORIGIN + span);
    run.heal(&mut world);
    world.run_for(HEALING);
    let before: Vec<(u64, u64)> = run.alive.iter().map(|peer| seen(&world, *peer)).collect();
    world.run_for(CLEAN);
    let after: Vec<(u64, u64)> = run.alive.iter().map(|peer| seen(&world, *peer)).collect();
    let gaps: u64 = before.iter().zip(&after).map(|(before, after)| after.1 - before.1).sum();
    let whole = u64::from(run.faults.chunks_per_second) * CLEAN.as_secs();
    let stuck = before.iter().zip(&after).filter(|(before, after)| after.0 - before.0 + 60 < whole).count();
    report.at_most("chunks lost after all faults stopped", gaps as f64, 0.0);
    report.at_most("peers that do not play then", stuck as f64, 0.0);
    let members = world.splitter_stats(run.team).members;
    report.near("members that the splitter knows", f64::from(members), run.alive.len() as f64, 0.0);
    report.world(&mut world);
}

fn seen(world: &World, peer: NodeId) -> (u64, u64) {
    let view = world.view(peer);
    (view.played, view.lost)
}

struct Run {
    team: TeamId,
    faults: Faults,
    rng: Rng,
    alive: Vec<NodeId>,
    eco: BTreeSet<NodeId>,
}

impl Run {
    fn with_faults(&mut self, world: &mut World, end: Instant) {
        for _ in 0..self.faults.peers {
            self.join(world);
            let pause = self.rng.span(Duration::from_millis(100));
            world.run_for(pause);
        }
        let mut broken: Vec<(Instant, NodeId, NodeId)> = Vec::new();
        while world.now() < end {
            world.run_for(Duration::from_millis(50));
            let now = world.now();
            let (mended, still) = broken.into_iter().partition(|(until, ..)| *until <= now);
            broken = still;
            for (_, a, b) in mended {
                world.set_fault(a, b, Fault::Clear);
            }
            if let Some(life) = self.faults.life
                && self.rng.chance(0.05 * self.faults.peers as f64 / life.as_secs_f64())
            {
                self.replace_one(world);
            }
            if let Some((spacing, fault)) = self.faults.breaks
                && self.rng.chance(0.05 / spacing.as_secs_f64())
                && let Some((a, b)) = self.pair(world)
            {
                world.set_fault(a, b, fault);
                broken.push((now + self.rng.span(Duration::from_secs(2)), a, b));
            }
        }
        for (_, a, b) in broken {
            world.set_fault(a, b, Fault::Clear);
        }
    }

    fn heal(&mut self, world: &mut World) {
        let network = world.network_mut();
        network.loss = Loss::None;
        network.jitter = Duration::from_millis(2);
        network.stall = None;
    }

    fn join(&mut self, world: &mut World) {
        // Owners must be able to carry the team, with room for catching up and for those that cannot reach each other.
        let owners = self.alive.iter().filter(|peer| !self.eco.contains(peer)).count();
        let carried = owners as f64 * self.faults.uplink > 2.0 * (self.faults.peers as f64 + 1.0);
        let eco = self.rng.chance(self.faults.eco_share) && carried;
        let relay = self.faults.relay;
        // Packets with their overhead, c times over.
        let rate = f64::from(self.faults.chunks_per_second) * 1202.0 * 8.0 * self.faults.uplink;
        // The first member helps everybody that cannot reach others (below).
        let rate = if self.alive.is_empty() { rate * 4.0 } else { rate };
        let peer = world.add_peer(self.team, Some(super::lab::bits_per_second(rate)), |config| {
            config.eco = eco;
            config.relay = relay;
            config.target_delay =
                Duration::from_millis(if relay == RelayPolicy::Classic { 4000 } else { 800 });
        });
        // The first member stays, and everybody reaches it: without anybody who reaches both, a pair cannot be helped.
        for other in self.alive.iter().skip(1) {
            if self.rng.chance(self.faults.blocked_share) {
                world.set_fault(peer, *other, Fault::Silence);
                world.set_fault(*other, peer, Fault::Silence);
            }
        }
        if eco {
            self.eco.insert(peer);
        }
        self.alive.push(peer);
    }

    fn replace_one(&mut self, world: &mut World) {
        if self.alive.len() > 2 {
            let goes = self.alive.remove(1 + self.rng.index(self.alive.len() - 1));
            if self.rng.chance(self.faults.crash_share) {
                world.crash(goes);
            } else {
                world.leave(goes);
            }
        }
        self.join(world);
    }

    /// Two members, or a member and the splitter, whose way is clear now.
    fn pair(&mut self, world: &World) -> Option<(NodeId, NodeId)> {
        let a = self.alive.get(self.rng.index(self.alive.len())).copied()?;
        let b = if self.rng.chance(0.1) {
            world.splitter(self.team)?
        } else {
            self.alive.get(self.rng.index(self.alive.len())).copied()?
        };
        (a != b && world.fault(a, b) == Fault::Clear).then_some((a, b))
    }
}
