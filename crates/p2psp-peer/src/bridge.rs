//! From the machine's events to the player ring, the log and the progress. Runs on the node's driver: never waits.

use crate::{progress::Progress, stalls::Stalls};
use p2psp_core::PeerEvent;
use p2psp_media::{
    playout::{SharedSpool, Unit},
    record::StreamHeader,
};
use p2psp_wire::Epoch;
use std::time::Instant;
use tokio::sync::watch;
use tracing::{debug, info, warn};

/// The owner of a machine's events.
#[derive(Debug)]
pub(crate) struct Bridge {
    spool: SharedSpool,
    progress: watch::Sender<Progress>,
    /// The splitter, as the link names it.
    splitter: String,
    started: Instant,
    epoch: Option<Epoch>,
    /// Added to the header versions of this run, which begin anew with each: players must not take one run's for another's.
    version_base: u8,
    /// The newest header's version as players know it.
    version: u8,
    playing: bool,
    stalls: Stalls,
}

impl Bridge {
    pub(crate) fn new(
        spool: SharedSpool,
        progress: watch::Sender<Progress>,
        splitter: String,
        started: Instant,
    ) -> Self {
        Self {
            spool,
            progress,
            splitter,
            started,
            epoch: None,
            version_base: 0,
            version: 0,
            playing: false,
            stalls: Stalls::default(),
        }
    }

    /// Takes one event, in order.
    pub(crate) fn on_event(&mut self, event: PeerEvent) {
        // The way of each chunk: everything else is rare.
        if let (true, PeerEvent::Play(chunk)) = (self.playing, &event) {
            return self.play(chunk);
        }
        let after = self.started.elapsed();
        let mut new = false;
        self.progress.send_modify(|progress| new = progress.on_event(&event, &self.splitter, after));
        match event {
            PeerEvent::Play(chunk) => {
                self.playing = true;
                info!(after_ms = millis(after), "the first chunk is played");
                self.play(&chunk);
            }
            PeerEvent::Header(header) => self.header(header),
            PeerEvent::Gap { first, chunks } => {
                debug!(%first, chunks, "chunks did not come in time");
                self.spool.gap(chunks);
            }
            PeerEvent::Joined { slot, epoch, teammates, observed } => {
                if self.epoch.replace(epoch).is_some_and(|old| old != epoch) {
                    self.version_base = self.version.wrapping_add(1);
                    self.stalls.on_other_run();
                    if self.playing {
                        // Nothing of the old run continues in the new one.
                        self.spool.gap(1);
                    }
                }
                info!(%slot, epoch = epoch.0, teammates, %observed, "has a seat in the team");
            }
            PeerEvent::Teammate { peer, up } => debug!(peer = %peer.short(), up, "link to a teammate"),
            PeerEvent::Refused { .. } | PeerEvent::SplitterLost { .. } => {
                let progress = self.progress.borrow();
                // What ends the run is told by whoever runs it.
                if let (true, false, Some(trouble)) = (new, progress.is_hopeless(), &progress.trouble) {
                    warn!("{trouble}; trying again");
                }
            }
            PeerEvent::OtherStream { peer } if self.progress.borrow().seat.is_none() => {
                // Whoever joined the splitter's new run first is met while on the way there.
                debug!(peer = %peer.short(), "a teammate follows another run of this channel");
            }
            PeerEvent::OtherStream { peer } => warn!(
                peer = %peer.short(),
                "a teammate follows another run of this channel: two splitters are using one key; stop one of them"
            ),
            PeerEvent::Violation { peer, what } => {
                warn!(peer = %peer.short(), what, "a peer broke a rule and was hung up");
            }
            PeerEvent::Left(reason) => {
                info!(?reason, "left the team");
                self.spool.close();
            }
        }
    }

    fn play(&mut self, chunk: &p2psp_wire::Chunk) {
        let header = chunk.header();
        if let Some(stall) = self.stalls.on_play(self.started.elapsed(), header) {
            debug!(stalled_ms = millis(stall), "the play-out stood still");
            self.progress.send_modify(|progress| progress.on_stall(stall));
        }
        self.spool.push(Unit {
            payload: chunk.payload(),
            random_access: header.random_access,
            header_version: header.header_version.wrapping_add(self.version_base),
        });
    }

    fn header(&mut self, header: p2psp_wire::StreamHeader) {
        let p2psp_wire::StreamHeader { version, content_type, bytes } = header;
        info!(version, content_type, bytes = bytes.len(), "the stream's format");
        let version = version.wrapping_add(self.version_base);
        self.version = version;
        if let Err(error) = self.spool.set_header(StreamHeader { version, content_type, bytes }) {
            // The wire has the same limit, so this is a fault between our own crates.
            warn!(%error, "the splitter's stream header was dropped");
        }
    }
}

pub(crate) fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use p2psp_core::LeftReason;
    use p2psp_media::playout::{Batch, Read, SpoolLimits};
    use p2psp_wire::{Chunk, ChunkHeader, ChunkNumber, Slot};
    use std::task::{Context, Waker};
    use std::time::Duration;

    fn chunk(number: u64, random_access: bool, payload: &'static [u8]) -> PeerEvent {
        let header = ChunkHeader {
            number: ChunkNumber::new(number).unwrap(),
            origin: Slot::new(0).unwrap(),
            position: 0,
            header_version: 3,
            random_access,
            time_us: 0,
        };
        PeerEvent::Play(Chunk::new(header, payload).unwrap())
    }

    fn bridge() -> (Bridge, SharedSpool, watch::Receiver<Progress>) {
        let spool = SharedSpool::new(SpoolLimits::default());
        let (sender, receiver) = watch::channel(Progress::default());
        (Bridge::new(spool.clone(), sender, "h:1".to_owned(), Instant::now()), spool, receiver)
    }

    fn drain(spool: &SharedSpool) -> (Vec<u8>, Read) {
        use bytes::Buf;
        let mut reader = spool.reader();
        let mut context = Context::from_waker(Waker::noop());
        let mut batch = Batch::default();
        while reader.read(&mut context, &mut batch, usize::MAX) == Read::Data {}
        let last = reader.read(&mut context, &mut batch, usize::MAX);
        (batch.copy_to_bytes(batch.remaining()).to_vec(), last)
    }

    /// What the machine plays reaches a player behind the header, and ends when the machine has left.
    #[test]
    fn events_become_a_stream() {
        let (mut bridge, spool, progress) = bridge();
        let header = p2psp_wire::StreamHeader {
            version: 3,
            content_type: "video/mp2t".to_owned(),
            bytes: Bytes::from_static(b"HEAD "),
        };
        bridge.on_event(PeerEvent::Header(header));
        bridge.on_event(chunk(7, true, b"seven "));
        bridge.on_event(chunk(8, false, b"eight"));
        assert_eq!(drain(&spool), (b"HEAD seven eight".to_vec(), Read::Wait));
        assert!(progress.borrow().play_after.is_some());

        bridge.on_event(PeerEvent::Gap { first: ChunkNumber::new(9).unwrap(), chunks: 2 });
        assert_eq!(spool.stats().units_missing, 2);
        bridge.on_event(PeerEvent::Left(LeftReason::StreamEnded));
        assert_eq!(drain(&spool).1, Read::End);
        assert_eq!(progress.borrow().left, Some(LeftReason::StreamEnded));
    }

    /// A new run numbers its headers from the same begin; who plays a container that cannot change on the way is told to start
    /// anew all the same.
    #[test]
    fn a_new_epochs_header_is_another_one() {
        let (mut bridge, spool, _progress) = bridge();
        let joined = |epoch| PeerEvent::Joined {
            slot: Slot::new(1).unwrap(),
            epoch: Epoch(epoch),
            teammates: 0,
            observed: "192.0.2.1:9".parse().unwrap(),
        };
        let header = |bytes| {
            PeerEvent::Header(p2psp_wire::StreamHeader {
                version: 3,
                content_type: "video/webm".to_owned(),
                bytes: Bytes::from_static(bytes),
            })
        };
        let mut reader = spool.reader();
        let mut read = || {
            let mut batch = Batch::default();
            let read = reader.read(&mut Context::from_waker(Waker::noop()), &mut batch, usize::MAX);
            let length = bytes::Buf::remaining(&batch);
            (bytes::Buf::copy_to_bytes(&mut batch, length), read)
        };
        for event in [joined(1), header(b"HEAD "), chunk(7, true, b"seven")] {
            bridge.on_event(event);
        }
        assert_eq!(read(), (Bytes::from_static(b"HEAD seven"), Read::Data));
        for event in [joined(2), header(b"OTHER "), chunk(1, true, b"one")] {
            bridge.on_event(event);
        }
        assert_eq!(read(), (Bytes::new(), Read::End));
        assert_eq!(drain(&spool), (b"OTHER one".to_vec(), Read::Wait));
    }

    /// A pause that viewers see is counted, in whichever run the stream goes on.
    #[test]
    fn a_pause_is_a_stall() {
        let (mut bridge, _spool, progress) = bridge();
        let pause = Duration::from_secs(2);
        let seen = |progress: &watch::Receiver<Progress>| {
            let progress = progress.borrow();
            (progress.stalls, progress.stalled >= pause * u32::try_from(progress.stalls).unwrap())
        };
        bridge.on_event(chunk(7, true, b"seven"));
        bridge.on_event(chunk(8, false, b"eight"));
        assert_eq!(seen(&progress), (0, true));
        bridge.started = bridge.started.checked_sub(pause).unwrap();
        bridge.on_event(chunk(10, false, b"ten"));
        assert_eq!(seen(&progress), (1, true));
        for epoch in [1, 2] {
            bridge.on_event(PeerEvent::Joined {
                slot: Slot::new(1).unwrap(),
                epoch: Epoch(epoch),
                teammates: 0,
                observed: "192.0.2.1:9".parse().unwrap(),
            });
        }
        bridge.started = bridge.started.checked_sub(pause).unwrap();
        bridge.on_event(chunk(11, true, b"other"));
        assert_eq!(seen(&progress), (2, true));
    }

    /// A new run of the splitter is a hole for players, also when no chunk number is missing.
    #[test]
    fn a_new_epoch_is_a_hole() {
        let (mut bridge, spool, _progress) = bridge();
        let joined = |epoch| PeerEvent::Joined {
            slot: Slot::new(1).unwrap(),
            epoch: Epoch(epoch),
            teammates: 0,
            observed: "192.0.2.1:9".parse().unwrap(),
        };
        bridge.on_event(joined(1));
        bridge.on_event(joined(2));
        assert_eq!(spool.stats().units_missing, 0, "nothing was played yet");
        bridge.on_event(chunk(1, true, b"x"));
        bridge.on_event(joined(2));
        assert_eq!(spool.stats().units_missing, 0, "the same run goes on");
        bridge.on_event(joined(3));
        assert_eq!(spool.stats().units_missing, 1);
    }
}
