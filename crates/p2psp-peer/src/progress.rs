//! How far a peer has come, for people: its seat, what keeps it from one, and when things first happened. Pure bookkeeping over
//! the machine's events.

use p2psp_core::{LeftReason, PeerEvent};
use p2psp_wire::{Epoch, RefuseReason, Slot};
use std::{fmt, net::SocketAddr, time::Duration};

/// What keeps a peer from a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing answers at the splitter's addresses.
    Unreachable {
        /// The splitter, as the link names it.
        splitter: String,
    },
    /// Something answers there, but with another key.
    WrongKey {
        /// The splitter, as the link names it.
        splitter: String,
    },
    /// The splitter does not sign its stream.
    Unsigned {
        /// The splitter, as the link names it.
        splitter: String,
    },
    /// The splitter said no.
    Refused {
        /// Why.
        reason: RefuseReason,
        /// In its words.
        detail: String,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { splitter } => write!(
                f,
                "cannot reach the splitter at {splitter}: check that it runs, that the channel link is its newest, and \
                 that UDP passes the firewalls on the way"
            ),
            Self::WrongKey { splitter } => write!(
                f,
                "the splitter at {splitter} does not hold the channel's key: get a fresh channel link; a splitter \
                 without a key file (--key) makes a new channel with each start"
            ),
            Self::Unsigned { splitter } => write!(
                f,
                "the splitter at {splitter} does not sign its stream, so anyone in the team could change it: have it run with \
                 --integrity manifest, or, in a laboratory, join with --allow-unsigned"
            ),
            Self::Refused { reason, detail } => {
                write!(f, "the splitter gave no seat: {}", refusal(*reason))?;
                if detail.is_empty() { Ok(()) } else { write!(f, " (it says: {})", printable(detail)) }
            }
        }
    }
}

const fn refusal(reason: RefuseReason) -> &'static str {
    match reason {
        RefuseReason::Banned => "this peer is banned; ask the channel's operator",
        RefuseReason::Closing => "the stream is about to end; try again when it is back",
        RefuseReason::NoUplink => "the team's uplinks cannot carry one more viewer; it is tried again",
        RefuseReason::Revision => {
            "it speaks another version of the protocol; install the same version of p2psp on both sides"
        }
        RefuseReason::TeamFull => "the team is full; try again later, or ask for a larger one (--team-size)",
        RefuseReason::Ticket => {
            "the admission ticket is missing or not valid; ask the channel's operator for one"
        }
        RefuseReason::WrongChannel => "it does not carry this channel; get a fresh channel link",
        RefuseReason::Unspecified => "it gave a reason that this version does not know; try a newer one",
    }
}

/// Remote text as far as it may reach a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// How far the peer has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The seat it has now.
    pub(crate) seat: Option<Seat>,
    /// What keeps it from one now.
    pub(crate) trouble: Option<Trouble>,
    /// Out of the team, for good.
    pub(crate) left: Option<LeftReason>,
    /// Times that the splitter could not be reached or was lost: its addresses may have changed.
    pub(crate) losses: u64,
    /// From the start to the first welcome.
    pub(crate) welcome_after: Option<Duration>,
    /// From the start to the first chunk that was played.
    pub(crate) play_after: Option<Duration>,
    /// Times that a viewer saw the stream stand still, and for how long altogether.
    pub(crate) stalls: u64,
    pub(crate) stalled: Duration,
}

/// A seat in the team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) slot: Slot,
    pub(crate) epoch: Epoch,
    pub(crate) observed: SocketAddr,
}

impl Progress {
    /// Takes an event in; true when it says something new to people. `after` is the time since the start.
    pub(crate) fn on_event(&mut self, event: &PeerEvent, splitter: &str, after: Duration) -> bool {
        match event {
            PeerEvent::Joined { slot, epoch, observed, .. } => {
                self.seat = Some(Seat { slot: *slot, epoch: *epoch, observed: *observed });
                self.trouble = None;
                self.welcome_after.get_or_insert(after);
                true
            }
            PeerEvent::Refused { reason, detail, .. } => {
                self.seat = None;
                self.note(Trouble::Refused { reason: *reason, detail: detail.clone() })
            }
            PeerEvent::SplitterLost { wrong_key, .. } => {
                self.seat = None;
                self.losses += 1;
                let splitter = splitter.to_owned();
                self.note(if *wrong_key {
                    Trouble::WrongKey { splitter }
                } else {
                    Trouble::Unreachable { splitter }
                })
            }
            PeerEvent::Left(reason) => {
                self.seat = None;
                self.left = Some(*reason);
                if *reason == LeftReason::Unsigned {
                    self.trouble = Some(Trouble::Unsigned { splitter: splitter.to_owned() });
                }
                true
            }
            PeerEvent::Play(_) => {
                self.play_after.get_or_insert(after);
                false
            }
            PeerEvent::Header(_)
            | PeerEvent::Gap { .. }
            | PeerEvent::Teammate { .. }
            | PeerEvent::OtherStream { .. }
            | PeerEvent::Violation { .. } => false,
        }
    }

    /// The play-out goes on after it stood still for so long.
    pub(crate) fn on_stall(&mut self, stall: Duration) {
        self.stalls += 1;
        self.stalled = self.stalled.saturating_add(stall);
    }

    /// Something that no try at the same address can mend.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.welcome_after.is_none() && matches!(self.trouble, Some(Trouble::WrongKey { .. }))
    }

    /// True when the trouble is another one than before.
    fn note(&mut self, trouble: Trouble) -> bool {
        let new = self.trouble.as_ref() != Some(&trouble);
        self.trouble = Some(trouble);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(wrong_key: bool) -> PeerEvent {
        PeerEvent::SplitterLost { wrong_key, retry_in: Some(Duration::from_secs(1)) }
    }

    fn joined(slot: u16) -> PeerEvent {
        PeerEvent::Joined {
            slot: Slot::new(slot).unwrap(),
            epoch: Epoch(1),
            teammates: 3,
            observed: "192.0.2.1:9".parse().unwrap(),
        }
    }

    /// The same trouble is told once; a seat ends it; the first welcome's time stays.
    #[test]
    fn each_change_is_told_once() {
        let mut progress = Progress::default();
        let told = |progress: &mut Progress, event, millis| {
            progress.on_event(&event, "tv.example:4480", Duration::from_millis(millis))
        };
        assert!(told(&mut progress, lost(false), 1));
        assert!(!told(&mut progress, lost(false), 2));
        assert!(told(&mut progress, lost(true), 3));
        assert!(progress.is_hopeless());
        assert!(told(&mut progress, joined(4), 40));
        assert!(!progress.is_hopeless() && progress.trouble.is_none());
        assert!(told(&mut progress, lost(false), 50));
        assert!(progress.seat.is_none());
        assert!(told(&mut progress, joined(5), 60));
        assert_eq!(progress.welcome_after, Some(Duration::from_millis(40)));
        assert_eq!(progress.losses, 4);
        assert!(told(&mut progress, PeerEvent::Left(LeftReason::StreamEnded), 70));
        assert_eq!(progress.left, Some(LeftReason::StreamEnded));
    }

    /// Why a peer left is told, also where no message of the splitter's says it.
    #[test]
    fn an_unsigned_stream_is_a_trouble() {
        let mut progress = Progress::default();
        let left = PeerEvent::Left(LeftReason::Unsigned);
        assert!(progress.on_event(&left, "tv.example:4480", Duration::ZERO));
        assert_eq!(progress.trouble, Some(Trouble::Unsigned { splitter: "tv.example:4480".to_owned() }));
    }

    /// Each trouble says what it is and what to do.
    #[test]
    fn troubles_name_cause_and_next_step() {
        let splitter = "tv.example:4480".to_owned();
        for (trouble, cause, step) in [
            (Trouble::Unreachable { splitter: splitter.clone() }, "cannot reach", "check that"),
            (Trouble::Unsigned { splitter: splitter.clone() }, "does not sign", "--allow-unsigned"),
            (Trouble::WrongKey { splitter }, "does not hold the channel's key", "fresh channel link"),
            (
                Trouble::Refused { reason: RefuseReason::TeamFull, detail: "128\u{1b}[2J of 128".to_owned() },
                "the team is full",
                "try again later",
            ),
            (
                Trouble::Refused { reason: RefuseReason::Revision, detail: String::new() },
                "another version",
                "install the same version",
            ),
        ] {
            let text = trouble.to_string();
            assert!(text.contains(cause) && text.contains(step), "{text}");
            assert!(!text.contains('\u{1b}') && !text.contains('\n'), "{text:?}");
        }
    }
}
