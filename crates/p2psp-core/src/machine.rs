//! The contract between a machine and its host: inputs, outputs, and the one loop that connects them.

use crate::Instant;
use p2psp_wire::{Control, Datagram, DecodeError, PeerId};
use std::{net::SocketAddr, sync::Arc};

/// The host's handle for one link; never reused within a machine's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// Datagrams that travel together to one peer. Clones share them.
pub type Train = Arc<[Datagram]>;

/// What a host tells a machine.
#[derive(Clone, Debug)]
pub enum Input {
    /// A link is up: the handshake proved that `peer` holds its key.
    LinkUp {
        /// The host's name for it.
        link: LinkId,
        /// The proven identity.
        peer: PeerId,
        /// Where it was reached, or where it came from.
        remote: SocketAddr,
        /// This side dialed.
        dialed: bool,
    },
    /// A link is gone; its handle will not be seen again. Not told after the machine's own [`Output::Hangup`].
    LinkDown {
        /// Which link.
        link: LinkId,
        /// Why.
        why: LinkDown,
    },
    /// A dial that [`Output::Dial`] asked for came to nothing at all of its addresses.
    DialFailed {
        /// Whom it should have reached.
        peer: PeerId,
        /// Something answered, and proved another key.
        wrong_key: bool,
    },
    /// A control message came.
    Control {
        /// From where.
        link: LinkId,
        /// What.
        message: Control,
    },
    /// Datagrams came, in this order, from one peer.
    Train {
        /// From where.
        link: LinkId,
        /// What; not empty.
        datagrams: Vec<Datagram>,
    },
    /// Bytes came that are no message. The host decodes, the machine judges.
    Malformed {
        /// From where.
        link: LinkId,
        /// What is wrong with them.
        error: DecodeError,
        /// They came on the control stream, which cannot go on after them.
        control: bool,
    },
    /// The link's send queue is full: no trains to it until [`Input::LinkReady`].
    LinkBlocked {
        /// Which link.
        link: LinkId,
    },
    /// The link's send queue has room again.
    LinkReady {
        /// Which link.
        link: LinkId,
    },
    /// The shared uplink is spent: no trains at all until [`Input::UplinkReady`].
    UplinkBlocked,
    /// The shared uplink has room again.
    UplinkReady,
    /// A [`Wake`] came due. Extra ticks are harmless.
    Tick,
}

/// Why a link is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkDown {
    /// The other side closed it with this code.
    Closed(CloseCode),
    /// Nothing came from the other side for the idle time.
    TimedOut,
    /// The transport failed, or the other side closed without a code of ours.
    Transport,
}

/// Why a link is closed on purpose. Travels as QUIC's application error code (R-LINK-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseCode {
    /// The sender is done: left, or the stream is over.
    Done,
    /// Both sides dialed; the other link stays (R-LINK-3).
    Duplicate,
    /// The splitter gave no seat; a `Refuse` came before.
    Refused,
    /// The receiver is not a member of this team.
    Stranger,
    /// The other channel, or another epoch of this one.
    OtherStream,
    /// The other side broke a rule.
    Violation,
    /// Expected messages did not come in time.
    Timeout,
    /// A code that this revision does not know.
    Unknown,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::Duplicate => 1,
            Self::Refused => 2,
            Self::Stranger => 3,
            Self::OtherStream => 4,
            Self::Violation => 5,
            Self::Timeout => 6,
            Self::Unknown => 255,
        }
    }

    /// The code of a number from the wire.
    #[must_use]
    pub const fn from_wire(code: u64) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::Duplicate,
            2 => Self::Refused,
            3 => Self::Stranger,
            4 => Self::OtherStream,
            5 => Self::Violation,
            6 => Self::Timeout,
            _ => Self::Unknown,
        }
    }
}

/// What a machine tells its host.
#[must_use]
#[derive(Clone, Debug)]
pub enum Output<E> {
    /// Send these to one peer, back to back.
    Train {
        /// To whom.
        link: LinkId,
        /// What.
        datagrams: Train,
    },
    /// Send a message on the link's control stream.
    Control {
        /// To whom.
        link: LinkId,
        /// What.
        message: Control,
    },
    /// Reach this peer at any of these addresses; accept no other key.
    Dial {
        /// Whom.
        peer: PeerId,
        /// Where, best first; not empty.
        addresses: Vec<SocketAddr>,
    },
    /// Close the link, after what was sent on its control stream has gone out.
    Hangup {
        /// Which link.
        link: LinkId,
        /// Why.
        code: CloseCode,
    },
    /// All trains together go out at this rate from now on.
    UplinkRate {
        /// On the wire, headers included; never above what the machine was given.
        bits_per_s: u64,
    },
    /// Something that the machine's owner wants to know.
    Event(E),
    /// Nothing more to do until the wake comes due or an input arrives.
    Wait(Option<Wake>),
}

/// When a machine wants its next [`Input::Tick`], and on whose behalf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wake {
    /// Not before this instant.
    pub at: Instant,
    /// Which of the machine's timers asked; "who keeps waking us" is one log line.
    pub timer: Timer,
}

/// The timers of both machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each name is the part of the machine that asked")]
pub enum Timer {
    Join,
    Leave,
    Links,
    Playout,
    Pull,
    Relay,
    Report,
    Roster,
    Turn,
}

/// A state machine of the protocol.
pub trait Machine {
    /// What it reports to its owner.
    type Event;

    /// Takes an input. Total: no error, no panic.
    fn handle_input(&mut self, now: Instant, input: Input);

    /// The next thing to do.
    fn poll_output(&mut self, now: Instant) -> Output<Self::Event>;
}

/// What a host's network found when it sent a train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendReport {
    /// The link's queue is full now.
    pub link_blocked: bool,
    /// The shared uplink is spent now.
    pub uplink_blocked: bool,
}

/// The network as a machine's host offers it.
pub trait Links {
    /// Sends datagrams back to back. A link that is gone swallows them; its [`Input::LinkDown`] is on the way.
    fn send_train(&mut self, now: Instant, link: LinkId, datagrams: &Train) -> SendReport;
    /// Sends a control message.
    fn send_control(&mut self, now: Instant, link: LinkId, message: &Control);
    /// Starts to dial; answered by [`Input::LinkUp`] or [`Input::DialFailed`].
    fn dial(&mut self, now: Instant, peer: PeerId, addresses: &[SocketAddr]);
    /// Closes a link.
    fn hangup(&mut self, now: Instant, link: LinkId, code: CloseCode);
    /// Sets the rate of the pacer that all links share (R-UPLINK-1), in bits a second on the wire. A host without one ignores it.
    fn set_uplink_rate(&mut self, now: Instant, bits_per_s: u64) {
        let _ = (now, bits_per_s);
    }
}

/// Carries a machine's outputs to its host until it waits. The one loop: tokio, simulator and tests differ only in `links`.
pub fn drain<M: Machine, L: Links>(
    machine: &mut M,
    now: Instant,
    links: &mut L,
    mut on_event: impl FnMut(M::Event),
) -> Option<Wake> {
    loop {
        match machine.poll_output(now) {
            Output::Train { link, datagrams } => {
                let report = links.send_train(now, link, &datagrams);
                if report.link_blocked {
                    machine.handle_input(now, Input::LinkBlocked { link });
                }
                if report.uplink_blocked {
                    machine.handle_input(now, Input::UplinkBlocked);
                }
            }
            Output::Control { link, message } => links.send_control(now, link, &message),
            Output::Dial { peer, addresses } => links.dial(now, peer, &addresses),
            Output::Hangup { link, code } => links.hangup(now, link, code),
            Output::UplinkRate { bits_per_s } => links.set_uplink_rate(now, bits_per_s),
            Output::Event(event) => on_event(event),
            Output::Wait(wake) => {
                debug_assert!(
                    wake.is_none_or(|wake| wake.at > now),
                    "a wake lies after now: {wake:?} at {now:?}"
                );
                return wake;
            }
        }
    }
}
