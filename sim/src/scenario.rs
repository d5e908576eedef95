//! The experiments by name. Each builds worlds from a seed, lets them run, and reports what it measured beside what docs/background.md
//! predicts and how far off it may be.

mod attacks;
mod buffer;
mod churn;
mod cost;
mod delivery;
mod fairness;
mod join;
mod lab;
mod loss;
mod published;
mod reach;
mod recovery;
mod residual;
mod scale;
mod silence;
mod swarm;
mod uplinks;

use crate::Report;

/// How much of an experiment to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// As the figures are quoted.
    Full,
    /// A few seconds of a debug build: the same checks on smaller teams and shorter streams.
    Small,
}

/// One experiment.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// Other names that find it.
    pub aliases: &'static [&'static str],
    /// What it shows, in a line.
    pub about: &'static str,
    run: fn(u64, Size, &mut Report),
}

impl Scenario {
    /// Runs it. The same seed and size give the same report.
    #[must_use]
    pub fn run(&self, seed: u64, size: Size) -> Report {
        let mut report = Report::new(self.name, seed);
        (self.run)(seed, size, &mut report);
        report
    }
}

/// All experiments, in the order in which `run all` takes them.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "e1",
        aliases: &[],
        about: "bytes: splitter Tx/R = 1, peer Tx/R = w (N-1), equal and unequal weights",
        run: delivery::e1,
    },
    Scenario {
        name: "e2",
        aliases: &["e3"],
        about: "last and mean delay of burst relay (paced at U) and classic relay (paced at R)",
        run: delivery::e2_e3,
    },
    Scenario {
        name: "e4",
        aliases: &[],
        about: "smallest play-out delay with continuity 1",
        run: buffer::e4,
    },
    Scenario {
        name: "e5",
        aliases: &["e6"],
        about: "round time, and full reception after a join",
        run: join::e5_e6,
    },
    Scenario {
        name: "e7",
        aliases: &["e8", "e9"],
        about: "N-1 links, R/N for each pair, one copy from the splitter",
        run: delivery::e7_e8_e9,
    },
    Scenario {
        name: "e11",
        aliases: &[],
        about: "what crashes cost the others: H T_d / tau",
        run: loss::e11,
    },
    Scenario {
        name: "e12",
        aliases: &[],
        about: "continuity under packet loss, without recovery",
        run: loss::e12,
    },
    Scenario {
        name: "nat-pairs",
        aliases: &["e13"],
        about: "pairs that cannot reach each other are served through a third",
        run: reach::nat_pairs,
    },
    Scenario {
        name: "polite",
        aliases: &[],
        about: "joins and goodbyes on a perfect network: nobody loses or gets twice a single chunk",
        run: churn::polite,
    },
    Scenario {
        name: "churn",
        aliases: &[],
        about: "joins, goodbyes and crashes with jitter and loss: the others lose what E11 and E12 predict",
        run: churn::churn,
    },
    Scenario {
        name: "flash",
        aliases: &[],
        about: "a crowd joins within a second: quick start, and nobody else notices",
        run: join::flash,
    },
    Scenario {
        name: "swarm",
        aliases: &[],
        about: "faults of every class drawn by the seed; when they stop, everybody plays on without a gap",
        run: swarm::swarm,
    },
    Scenario {
        name: "bm1",
        aliases: &["bm-1"],
        about: "published loss against buffer with classic pacing, and the same with burst relay",
        run: published::bm1,
    },
    Scenario {
        name: "loss",
        aliases: &[],
        about: "signed generations under loss of 0.5 to 10 %: continuity, and what it costs",
        run: recovery::loss,
    },
    Scenario {
        name: "e15",
        aliases: &[],
        about: "what parity leaves over, beside what the code's arithmetic says",
        run: residual::e15,
    },
    Scenario {
        name: "first-hop",
        aliases: &[],
        about: "the splitter's own links lose 2 to 10 %: what the whole team misses is made good",
        run: cost::first_hop,
    },
    Scenario {
        name: "cost",
        aliases: &[],
        about: "control and manifest bytes beside the media, and source to player, at 1 % loss on every link",
        run: cost::cost,
    },
    Scenario {
        name: "poison",
        aliases: &[],
        about: "members that alter what they relay, always, on and off, for some: nothing played, everybody expelled",
        run: attacks::poison,
    },
    Scenario {
        name: "conspiracy",
        aliases: &[],
        about: "poisoners that accuse an honest member and spare each other: out all the same, and it keeps its seat",
        run: attacks::conspiracy,
    },
    Scenario {
        name: "forgery",
        aliases: &[],
        about: "true chunks again, under other numbers, in another channel: none of them played",
        run: attacks::forgery,
    },
    Scenario {
        name: "flood",
        aliases: &[],
        about: "members that ask everybody for everything, all the time: nobody else notices",
        run: attacks::flood,
    },
    Scenario {
        name: "free-riders",
        aliases: &["e16"],
        about: "members that relay nothing or half, a tenth of the team at 5 % loss: expelled in time, and nobody else",
        run: fairness::free_riders,
    },
    Scenario {
        name: "honest",
        aliases: &[],
        about: "members that do what they can under loss, liars, thin uplinks and dead first hops: nobody expelled",
        run: fairness::honest,
    },
    Scenario {
        name: "crashes",
        aliases: &[],
        about: "members that live 120, 600 and 3600 s on average and end by a crash, each of them",
        run: recovery::crashes,
    },
    Scenario {
        name: "mass-death",
        aliases: &[],
        about: "a tenth of the team dies at once: full quality again within a second",
        run: recovery::mass_death,
    },
    Scenario {
        name: "crash",
        aliases: &[],
        about: "members die one by one: their turns go elsewhere within 600 ms, and nobody misses a chunk",
        run: silence::crash,
    },
    Scenario {
        name: "silence",
        aliases: &[],
        about: "the dead are out of the roster within a second, the mute and far keep their seats",
        run: silence::silence,
    },
    Scenario {
        name: "uplinks",
        aliases: &[],
        about: "a fifth of the uplinks carries half of the stream and nobody says so: no queue, no loss, smaller shares",
        run: uplinks::uplinks,
    },
    Scenario {
        name: "spent-uplinks",
        aliases: &[],
        about: "nobody has enough: the splitter sends the rest itself, within its limit, and takes no more than the team carries",
        run: uplinks::spent_uplinks,
    },
    Scenario {
        name: "scale",
        aliases: &[],
        about: "10 000 peers in teams of 100, ten seconds of 100 chunks a second",
        run: scale::scale,
    },
];

/// The experiment of this name or alias.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name || scenario.aliases.contains(&name))
}
