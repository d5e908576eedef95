//! What a member tells the splitter several times a second: which chunks came by themselves, how many copies it owes and could not
//! send in time (R-FAIR-5, R-FAIR-6), and how much had to be repaired (R-GEN-8). Owns when that is told, and what is owed; what came
//! is `belief`'s.

use super::Peer;
use crate::{Instant, Output};
use p2psp_wire::{Chunk, Control, Datagram, StreamTime, Witness};
use std::time::Duration;

/// From one witness to the next.
const WITNESS_SPAN: Duration = Duration::from_millis(250);
/// With every so many there goes a report, in the same packet: the splitter acknowledges each, and a team's acknowledgements add up.
const REPORT_EVERY: u8 = 4;
/// Runs of chunks told at once; more, where manifests are missing in between, wait for the next time.
const RUNS_MAX: usize = 8;
/// A copy that goes out, or a turn that comes in, later than this is late: teammates may not wait for it.
pub(super) const LATE: Duration = Duration::from_millis(100);

/// When what is told next, and copies that could not be sent in time since then.
#[derive(Debug)]
pub(super) struct Witnessing {
    tell_at: Instant,
    /// Witnesses since the last report.
    told: u8,
    late: u64,
}

impl Witnessing {
    pub(super) const fn new(now: Instant) -> Self {
        Self { tell_at: now, told: 0, late: 0 }
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.tell_at
    }
}

impl Peer {
    /// A turn of this member's own came: what of it cannot reach everybody in time is owned up to.
    pub(super) fn on_own_turn(&mut self, now: Instant, turn: &[Datagram]) {
        let Some(seat) = &mut self.seat else { return };
        let clock = seat.playout.stream_time(now);
        let is_late = |chunk: &Chunk| clock.since(StreamTime::expand(chunk.header().time_us, clock)) > LATE;
        let chunks = turn
            .iter()
            .filter_map(|datagram| if let Datagram::Chunk(chunk) = datagram { Some(chunk) } else { None });
        let (mates, linked) = (u64::from(seat.team.len()), seat.team.up().len() as u64);
        for chunk in chunks {
            seat.witnessing.late += if is_late(chunk) { mates } else { mates.saturating_sub(linked) };
        }
    }

    /// Tells what has settled, if it is time to.
    pub(super) fn witness_tick(&mut self, now: Instant) {
        let Some(seat) = self.seat.as_mut().filter(|seat| seat.witnessing.tell_at <= now) else { return };
        seat.witnessing.tell_at = now + WITNESS_SPAN;
        seat.witnessing.late += seat.relay.take_late();
        seat.witnessing.told = (seat.witnessing.told + 1) % REPORT_EVERY;
        let Some(link) = self.life.splitter_link() else { return };
        if seat.witnessing.told == 0 {
            let (chunks_due, chunks_missing) = seat.belief.tell(seat.playout.next_number());
            self.stats.chunks_due += u64::from(chunks_due);
            self.stats.chunks_missing += u64::from(chunks_missing);
            let message = Control::Report { chunks_due, chunks_missing };
            self.outbox.extend((chunks_due > 0).then_some(Output::Control { link, message }));
        }
        for run in seat.belief.testify(now, RUNS_MAX) {
            let late = std::mem::take(&mut seat.witnessing.late) + seat.relay.overdue(now);
            let late = u32::try_from(late).unwrap_or(u32::MAX);
            let witness = Witness::new(run.first, run.done, late);
            self.outbox.push_back(Output::Control { link, message: Control::Witness(witness) });
        }
    }
}
