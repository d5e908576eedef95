//! Members that mean harm (R-GEN-5, R-FAIR-1 to R-FAIR-4): what they send is not played, and costs them their links and seats, and
//! nobody else anything.

use super::{
    Size,
    lab::{CHUNKS_PER_SECOND, Lab, played_and_lost, reference},
};
use crate::{Lie, Loss, NodeId, Poison, Report, StreamSpec};
use p2psp_core::{LeftReason, PeerStats};
use p2psp_wire::{
    ChunkNumber, Control, Hash, NumberRange, Slot,
    limits::{DATA_CHUNKS_MAX, SLOTS_MAX},
};
use std::time::Duration;

/// Until then everybody behaves.
const PEACE: Duration = Duration::from_secs(3);
/// From one fabricated message to the next.
const PACE: Duration = Duration::from_millis(50);
/// One generation, in seconds: what the first false chunk to no link may take. A victim knows when it has the manifest, which is at most
/// half a generation behind the chunk ...
const GENERATION_S: f64 = DATA_CHUNKS_MAX as f64 / CHUNKS_PER_SECOND as f64;
/// ... and for so long more where that has to be asked for, because its origin is another attacker, to which the link is cut already.
const ASKED_S: f64 = 0.16;
/// What R-PULL-3 lets a link have at once, and for each second.
const ANSWERS_BURST: f64 = 4096.0;
const ANSWERS_PER_SECOND: f64 = 256.0;
const ON_OFF: Poison = Poison::OnOff(300);

/// What an attack may achieve.
struct Bars {
    /// Attackers that must be expelled: all, or none must.
    expelled: bool,
    /// From the first false chunk to no link, at most.
    cut_s: f64,
    continuity: f64,
}

/// A team some of whose members attack.
struct Siege {
    lab: Lab,
    attackers: Vec<NodeId>,
    honest: Vec<NodeId>,
}

impl Siege {
    /// `per_cent` of the members are about to attack.
    fn begin(seed: u64, peers: usize, per_cent: usize) -> Self {
        Self::begin_amid(Loss::None, seed, peers, per_cent)
    }

    /// The same, where the network loses something anyhow.
    fn begin_amid(loss: Loss, seed: u64, peers: usize, per_cent: usize) -> Self {
        let mut lab = reference(seed, peers, loss);
        // Where in a round and in a generation it begins is the seed's choice.
        lab.run_to(PEACE + Duration::from_millis(seed.wrapping_mul(389) % 1_000));
        let attackers = (peers * per_cent / 100).max(1);
        // Spread over the team.
        let attacks = |index: usize| (index + 1) * attackers / peers > index * attackers / peers;
        let (attackers, honest): (Vec<_>, Vec<_>) =
            lab.peers.iter().enumerate().partition(|(index, _)| attacks(*index));
        let nodes = |found: Vec<(usize, &NodeId)>| found.into_iter().map(|(_, node)| *node).collect();
        let (attackers, honest) = (nodes(attackers), nodes(honest));
        Self { lab, attackers, honest }
    }

    fn poison(&mut self, how: Poison) {
        for node in &self.attackers {
            self.lab.world.poison(*node, how);
        }
    }

    /// Whom the attackers want out.
    fn scapegoat(&self) -> Option<Slot> {
        self.honest.first().and_then(|node| self.lab.world.view(*node).slot)
    }

    /// Lets all attackers say something again and again, to whom it may concern.
    fn chatter(&mut self, span: Duration, pace: Duration, mut say: impl FnMut(&mut Lab, NodeId)) {
        let end = self.lab.world.now() + span;
        while self.lab.world.now() < end {
            for node in &self.attackers {
                say(&mut self.lab, *node);
            }
            self.lab.world.run_for(pace);
        }
    }

    /// Holds what came of it against the bars.
    fn end(mut self, name: &str, bars: &Bars, report: &mut Report) {
        let world = &self.lab.world;
        let expelled_at = |node: &NodeId| {
            let view = world.view(*node);
            view.left_at.filter(|_| view.left == Some(LeftReason::Expelled))
        };
        let seconds = |values: Vec<f64>| values.into_iter().fold(0.0, f64::max);
        let expelled = self.attackers.iter().filter_map(expelled_at).count();
        let harms: Vec<_> = self.attackers.iter().map(|node| world.harm(*node)).collect();
        let after = |node: &NodeId| Some(expelled_at(node)?.since(world.harm(*node).third()?).as_secs_f64());
        let slowest = seconds(self.attackers.iter().filter_map(after).collect());
        let longest = seconds(harms.iter().map(|harm| harm.longest(world.now()).as_secs_f64()).collect());
        let victims: usize = harms.iter().map(crate::Harm::victims).sum();
        let seats = self.honest.iter().filter(|node| world.view(**node).left.is_some()).count();
        let (played, lost) = played_and_lost(world, &self.honest);
        let stats = world.splitter_stats(self.lab.team);
        report.line(format!(
            "{name}: {} attackers, {victims} victims, {expelled} expelled at most {slowest:.3} s after the third false chunk, links \
             cut at most {longest:.3} s after the first; {} complaints, {} rests; the honest lost {lost} of {played}",
            self.attackers.len(),
            stats.complaints,
            stats.rested,
        ));
        if bars.expelled {
            report.near(&format!("{name}: expelled"), expelled as f64, self.attackers.len() as f64, 0.0);
            report.at_most(&format!("{name}: out after the third false chunk, s"), slowest, 1.0);
        }
        report.at_most(&format!("{name}: from the first false one to no link, s"), longest, bars.cut_s);
        report.at_most(&format!("{name}: honest members that lost their seats"), seats as f64, 0.0);
        let kept = played as f64 / (played + lost).max(1) as f64;
        report.at_least(&format!("{name}: continuity of the honest"), kept, bars.continuity);
        self.lab.heals(name, report);
        report.world(&mut self.lab.world);
    }
}

fn sizes(size: Size) -> (usize, Duration) {
    if size == Size::Full { (64, Duration::from_secs(12)) } else { (20, Duration::from_secs(3)) }
}

/// Members that alter what they relay: always, on and off, and for a quarter of the team only, which is not enough to expel them. And such
/// as take the places of what is to come.
pub(super) fn poison(seed: u64, size: Size, report: &mut Report) {
    let (peers, span) = sizes(size);
    let asked_s = GENERATION_S + ASKED_S;
    for (name, per_cent, how, expelled, cut_s, continuity) in [
        ("10 %, always", 10, Poison::Always, true, GENERATION_S, 0.9999),
        ("10 %, on and off", 10, ON_OFF, true, GENERATION_S, 0.9999),
        ("10 %, a quarter of the team", 10, Poison::Some(4), false, asked_s, 0.999),
        // What one has taken another does not get: it is found out by what it took behind that.
        ("10 %, squatting", 10, Poison::Squats, true, asked_s, 0.9999),
        ("30 %, always", 30, Poison::Always, true, asked_s, 0.999),
        ("30 %, on and off", 30, ON_OFF, true, asked_s, 0.999),
        ("30 %, a quarter of the team", 30, Poison::Some(4), false, asked_s, 0.99),
    ] {
        let mut siege = Siege::begin(seed, peers, per_cent);
        siege.poison(how);
        siege.lab.world.run_for(span);
        siege.end(name, &Bars { expelled, cut_s, continuity }, report);
    }
}

/// Poisoners that accuse an honest member with one voice, deny that its turns come, and never complain about each other.
pub(super) fn conspiracy(seed: u64, size: Size, report: &mut Report) {
    let (peers, span) = sizes(size);
    for (name, per_cent, poisons, cut_s, continuity) in [
        ("10 % poison", 10, true, GENERATION_S, 0.9999),
        ("30 % poison", 30, true, GENERATION_S + ASKED_S, 0.999),
        ("30 % only accuse", 30, false, 0.0, 0.9999),
    ] {
        let mut siege = Siege::begin(seed, peers, per_cent);
        let Some(scapegoat) = siege.scapegoat() else { continue };
        for node in siege.attackers.clone() {
            siege.lab.world.lie(node, Lie::Conspires(scapegoat));
        }
        if poisons {
            siege.poison(ON_OFF);
        }
        siege.chatter(span, PACE, |lab, node| {
            let number = lab.world.splitter_stats(lab.team).next_number.minus(1);
            let message = Control::Complaint { accused: scapegoat, number, hash: Hash::default() };
            if let Some(splitter) = lab.world.splitter(lab.team) {
                lab.world.say(node, splitter, &message);
            }
        });
        siege.end(name, &Bars { expelled: poisons, cut_s, continuity }, report);
    }
}

/// True chunks where they do not belong: again, under other numbers, in another channel.
pub(super) fn forgery(seed: u64, size: Size, report: &mut Report) {
    let (peers, span) = sizes(size);
    let mut siege = Siege::begin(seed, peers, 10);
    siege.poison(Poison::Replayed);
    siege.lab.world.run_for(span);
    let surplus: u64 = siege
        .honest
        .iter()
        .map(|node| siege.lab.world.peer_stats(*node))
        .fold(0, |sum, stats| sum + stats.chunks_duplicate + stats.chunks_late + stats.chunks_unexpected);
    report.at_least("replayed: copies refused by the honest", surplus as f64, 1.0);
    siege.end("replayed", &Bars { expelled: false, cut_s: GENERATION_S, continuity: 0.9999 }, report);

    let mut siege = Siege::begin(seed, peers, 10);
    siege.poison(Poison::Renumbered);
    siege.lab.world.run_for(span);
    siege.end("renumbered", &Bars { expelled: true, cut_s: GENERATION_S, continuity: 0.9999 }, report);

    let mut siege = Siege::begin(seed, peers, 10);
    let stream = StreamSpec { start: siege.lab.world.now(), ..siege.lab.stream };
    let other = siege.lab.world.add_team(stream, None, |_| ());
    for _ in 0..4 {
        siege.lab.world.add_peer(other, None, |_| ());
    }
    siege.lab.world.run_for(Duration::from_secs(2));
    if let Some(splitter) = siege.lab.world.splitter(other) {
        siege.poison(Poison::Foreign(splitter));
    }
    siege.lab.world.run_for(span);
    // They take the true manifests' places too.
    let bars = Bars { expelled: true, cut_s: GENERATION_S + ASKED_S, continuity: 0.9999 };
    siege.end("from another channel", &bars, report);
}

/// Members that ask everybody for everything: as fast as they may, and faster; once, or from now on.
pub(super) fn flood(seed: u64, size: Size, report: &mut Report) {
    let (peers, _) = sizes(size);
    let span = Duration::from_secs(if size == Size::Full { 5 } else { 2 });
    let lossy = Loss::Independent(0.02);
    let (pull, request): (Demand, Demand) = (everything, every_origin);
    // A link may carry 64 control messages a second for long. Who sends more is hung up on by everybody: a tenth of the team is gone
    // at once, as if it had died.
    for (name, loss, pace_ms, demand, continuity) in [
        ("50 pulls a second", Loss::None, 20, pull, 0.9999),
        ("500 pulls a second", Loss::None, 2, pull, 0.999),
        ("50 pulls a second, 2 % lost", lossy, 20, pull, 0.9999),
        ("10 requests a second", Loss::None, 100, request, 0.9999),
        ("10 requests a second, 2 % lost", lossy, 100, request, 0.9999),
    ] {
        let mut siege = Siege::begin_amid(loss, seed, peers, 10);
        // A splitter takes no requests.
        let is_pull = matches!(demand(&siege.lab), Control::Pull { .. });
        let splitter = siege.lab.world.splitter(siege.lab.team).filter(|_| is_pull);
        let targets: Vec<NodeId> = splitter.into_iter().chain(siege.honest.clone()).collect();
        let honest = |siege: &Siege, count: fn(&PeerStats) -> u64| -> u64 {
            siege.honest.iter().map(|node| count(&siege.lab.world.peer_stats(*node))).sum()
        };
        let before =
            (honest(&siege, |stats| stats.chunks_served), honest(&siege, |stats| stats.chunks_relayed));
        siege.chatter(span, Duration::from_millis(pace_ms), |lab, node| {
            for target in &targets {
                lab.world.say(node, *target, &demand(lab));
            }
        });
        let answers = (honest(&siege, |stats| stats.chunks_served) - before.0) as f64;
        let relayed = (honest(&siege, |stats| stats.chunks_relayed) - before.1) as f64;
        let links = (siege.honest.len() * siege.attackers.len()) as f64;
        let most = ANSWERS_BURST + ANSWERS_PER_SECOND * span.as_secs_f64();
        report.at_most(&format!("{name}: answers a link"), answers / links, most);
        let stream = f64::from(CHUNKS_PER_SECOND) * span.as_secs_f64() * siege.honest.len() as f64;
        report.line(format!("{name}: the honest relayed {:.3} copies of the stream", relayed / stream));
        siege.end(name, &Bars { expelled: false, cut_s: GENERATION_S, continuity }, report);
    }
}

type Demand = fn(&Lab) -> Control;

/// All origins that a request can name.
fn every_origin(_: &Lab) -> Control {
    let slots = 0..u16::try_from(SLOTS_MAX).unwrap_or(u16::MAX);
    Control::Request { origins: slots.filter_map(|slot| Slot::new(slot).ok()).collect() }
}

/// The longest pull that there is, up to the newest chunk.
fn everything(lab: &Lab) -> Control {
    let next = lab.world.splitter_stats(lab.team).next_number;
    let first = next.minus(p2psp_wire::limits::RANGE_CHUNKS_MAX - 1);
    let ranges: Vec<NumberRange> = NumberRange::new(first, next).into_iter().collect();
    let generations: Vec<ChunkNumber> = Vec::new();
    Control::Pull { ranges, generations }
}
