//! Team logic of P2PSP as state machines: a [`Splitter`] and a [`Peer`] that own no socket, clock, task or entropy.
//!
//! Time, link state and received messages come in through [`Machine::handle_input`]; what to do goes out through
//! [`Machine::poll_output`]. A host ([`drain`] is its one loop) carries the outputs to a network: tokio and quinn in
//! production, virtual links in the simulator and in unit tests. The same inputs give the same outputs, bit for bit.
//!
//! The contract every host keeps:
//!
//! 1. After each `handle_input` or command, [`drain`] before waiting.
//! 2. `now` never decreases (an earlier value is taken as the latest seen). A returned [`Wake`] lies after `now`.
//! 3. After a send that filled a link's queue or spent the uplink, [`drain`] tells the machine before the next output; the
//!    machine holds trains back until [`Input::LinkReady`] or [`Input::UplinkReady`]. So it decides late, and what it
//!    sends is fresh.
//! 4. Remote input never gives an error or a panic: it gives a state change, a counter, or a [`Output::Hangup`].
//! 5. Work per call is at most linear in team size; every queue has a named bound.

mod delay;
mod guard;
#[cfg(test)]
mod lab;
mod machine;
mod manifests;
mod pacer;
pub mod peer;
mod protect;
mod serve;
mod slots;
pub mod splitter;
mod time;
mod uplink;
mod window;

pub use delay::DelayHistogram;
pub use machine::{
    CloseCode, Input, LinkDown, LinkId, Links, Machine, Output, SendReport, Timer, Train, Wake, drain,
};
pub use pacer::Pacer;
pub use peer::{
    BUFFER_BEHIND_MAX, BUFFER_CHUNKS_MAX, BufferView, ChunkState, LeftReason, Peer, PeerConfig, PeerEvent,
    PeerStats, RelayPolicy, TeammateView,
};
pub use protect::SigningKey;
pub use slots::SlotSet;
pub use splitter::{
    FairnessConfig, IngestError, Limits, MemberView, ParityPolicy, Protection, Splitter, SplitterConfig,
    SplitterEvent, SplitterStats, UnknownPeer, WEIGHT_DEFAULT,
};
pub use time::Instant;
