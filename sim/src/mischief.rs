//! Members that keep the letter of the protocol and not its spirit. Owns what such a node withholds and what it says; the machine
//! inside it is the product's own, and knows nothing of it.

mod poison;

pub use poison::{Harm, Poison};

use crate::links::NodeId;
use p2psp_core::{Instant, Train};
use p2psp_wire::{ChunkNumber, Control, Datagram, Slot, Witness};
use poison::{Foreign, Poisoner};
use std::{borrow::Cow, collections::BTreeMap};

/// What a free rider withholds of what it should relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withholds {
    /// Everything.
    All,
    /// Half of the copies, at random.
    Copies,
    /// Everything for half of its teammates.
    Mates,
    /// Every second of its turns, for everybody.
    Turns,
}

/// What a member says that is not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Nothing of this seat's ever comes.
    Against(Slot),
    /// It could not send anything in time.
    Late,
    /// It never got a turn.
    Nothing,
    /// Nothing of this seat's ever comes, and nobody else is ever complained about.
    Conspires(Slot),
}

/// Who misbehaves, and how.
#[derive(Debug, Default)]
pub(crate) struct Mischief {
    withholding: BTreeMap<NodeId, (Withholds, Withheld)>,
    lying: BTreeMap<NodeId, Lie>,
    poisoning: BTreeMap<NodeId, Poisoner>,
    /// Of which splitter, and what it gives out.
    foreign: Option<(NodeId, Foreign)>,
    /// Whose chunk is which: a liar knows.
    origins: BTreeMap<ChunkNumber, Slot>,
}

/// Trains that a free rider has had to send, by their first number, and whether it sends them.
type Withheld = BTreeMap<ChunkNumber, bool>;
/// Trains whose fate is remembered: more than are under way at a time.
const WITHHELD_MAX: usize = 256;

/// Chunks whose origins are remembered, for liars: more than a witness is behind.
const ORIGINS_MAX: usize = 8192;

impl Mischief {
    pub(crate) fn withhold(&mut self, node: NodeId, what: Withholds) {
        self.withholding.insert(node, (what, Withheld::new()));
    }

    pub(crate) fn lie(&mut self, node: NodeId, lie: Lie) {
        self.lying.insert(node, lie);
    }

    pub(crate) fn poison(&mut self, node: NodeId, how: Poison) {
        if let Poison::Foreign(splitter) = how {
            self.foreign = Some((splitter, Foreign::default()));
        }
        self.poisoning.insert(node, Poisoner::new(how));
    }

    /// What a poisoner has done.
    pub(crate) fn harm(&self, node: NodeId) -> Option<&Harm> {
        self.poisoning.get(&node).map(|poisoner| &poisoner.harm)
    }

    /// A node hangs up on another.
    pub(crate) fn on_hangup(&mut self, now: Instant, from: NodeId, to: NodeId) {
        for (node, victim) in [(from, to), (to, from)] {
            if let Some(poisoner) = self.poisoning.get_mut(&node) {
                poisoner.on_cut(now, victim);
            }
        }
    }

    /// What comes from a node to another in place of these.
    pub(crate) fn altered(
        &mut self,
        now: Instant,
        from: NodeId,
        to: NodeId,
        datagrams: Vec<Datagram>,
    ) -> Vec<Datagram> {
        let nothing = Foreign::default();
        let foreign = self.foreign.as_ref().map_or(&nothing, |(_, foreign)| foreign);
        match self.poisoning.get_mut(&from) {
            Some(poisoner) => poisoner.altered(now, to, datagrams, foreign),
            None => datagrams,
        }
    }

    /// A splitter gives a turn out.
    pub(crate) fn on_turn(&mut self, splitter: NodeId, train: &Train) {
        if let Some((_, foreign)) = self.foreign.as_mut().filter(|(of, _)| *of == splitter) {
            foreign.on_turn(train);
            return;
        }
        if self.lying.is_empty() {
            return;
        }
        for datagram in train.iter() {
            if let Datagram::Chunk(chunk) = datagram {
                self.origins.insert(chunk.number(), chunk.header().origin);
                if self.origins.len() > ORIGINS_MAX {
                    self.origins.pop_first();
                }
            }
        }
    }

    /// What a node sends of a train; `coin` is thrown for each datagram where chance decides.
    pub(crate) fn sent(
        &mut self,
        from: NodeId,
        to: NodeId,
        train: &Train,
        mut coin: impl FnMut() -> bool,
    ) -> Train {
        let Some(first) = train.first().map(Datagram::number) else { return Train::clone(train) };
        let sent = train.iter().filter(|_| self.sends(from, to, first, &mut coin));
        sent.cloned().collect()
    }

    fn sends(
        &mut self,
        from: NodeId,
        to: NodeId,
        first: ChunkNumber,
        coin: &mut impl FnMut() -> bool,
    ) -> bool {
        let Some((what, trains)) = self.withholding.get_mut(&from) else { return true };
        match what {
            Withholds::All => false,
            Withholds::Copies => coin(),
            Withholds::Mates => to.index().is_multiple_of(2),
            Withholds::Turns => {
                let before = trains.last_key_value().is_some_and(|(_, sent)| *sent);
                let sends = *trains.entry(first).or_insert(!before);
                if trains.len() > WITHHELD_MAX {
                    trains.pop_first();
                }
                sends
            }
        }
    }

    /// Whether a node misbehaves in what it sends.
    pub(crate) fn withholds(&self, node: NodeId) -> bool {
        self.withholding.contains_key(&node)
    }

    /// What a node makes of what its machine says, if it says anything.
    pub(crate) fn said<'a>(
        &self,
        from: NodeId,
        own: Option<Slot>,
        message: &'a Control,
    ) -> Option<Cow<'a, Control>> {
        let (lie, witness) = match (self.lying.get(&from), message) {
            (Some(lie), Control::Witness(witness)) => (lie, witness),
            (Some(Lie::Conspires(slot)), Control::Complaint { accused, .. }) if accused != slot => {
                return None;
            }
            _ => return Some(Cow::Borrowed(message)),
        };
        let is_of = |number: ChunkNumber, slot: Option<Slot>| {
            slot.is_some() && self.origins.get(&number).copied() == slot
        };
        let denied = match lie {
            Lie::Against(slot) | Lie::Conspires(slot) => Some(*slot),
            Lie::Nothing => own,
            Lie::Late => None,
        };
        let came = witness.iter().map(|(number, came)| came && !is_of(number, denied));
        let late = if *lie == Lie::Late { 100_000 } else { witness.copies_late() };
        Some(Cow::Owned(Control::Witness(Witness::new(witness.first(), came, late))))
    }
}
