//! One link: its connection, the keys of its sealed datagrams, whether the other side is still there, and how it ends. Knows no
//! machine and no other link.

use super::control::ControlSender;
use crate::seal::{self, EXPORT_BYTES, EXPORT_LABEL, Opener, Sealer};
use p2psp_core::{CloseCode, Instant, LinkId};
use quinn::Connection;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// How long to wait until a closing packet has left.
const CLOSE_SENT_MAX: Duration = Duration::from_millis(50);

/// The step of waits for what quinn does not announce.
const STEP: Duration = Duration::from_millis(1);

/// A link that is up.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) control: ControlSender,
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
    /// Where sealed datagrams go: where the newest one came from (R-SEAL-6).
    pub(super) remote: SocketAddr,
    /// From which of this node's addresses.
    pub(super) local: Option<IpAddr>,
    /// When something was sent to the other side last, sealed.
    pub(super) spoke: Instant,
    /// When something came from the other side last.
    pub(super) heard: Instant,
    /// Nothing came for too long: the link is closed, and this is why.
    pub(super) timed_out: bool,
    /// QUIC packets that had come when this was last looked at.
    quic_packets_in: u64,
}

impl Link {
    /// `None` when the connection gives no keys, which only a handshake that is not over does.
    pub(super) fn new(
        now: Instant,
        connection: Connection,
        control: ControlSender,
        dialed: bool,
    ) -> Option<Self> {
        let mut exported = [0; EXPORT_BYTES];
        connection.export_keying_material(&mut exported, EXPORT_LABEL, b"").ok()?;
        let (sealer, opener) = seal::ends(&exported, dialed);
        Some(Self {
            remote: connection.remote_address(),
            local: connection.local_ip(),
            quic_packets_in: connection.stats().udp_rx.datagrams,
            connection,
            control,
            sealer,
            opener,
            spoke: now,
            heard: now,
            timed_out: false,
        })
    }

    /// Since when nothing at all has come, QUIC's packets included.
    pub(super) fn silent_since(&mut self, now: Instant) -> Instant {
        let quic_packets_in = self.connection.stats().udp_rx.datagrams;
        if std::mem::replace(&mut self.quic_packets_in, quic_packets_in) != quic_packets_in {
            self.heard = now;
        }
        self.heard
    }

    /// Closes the link once what was queued on it is delivered, or the grace has passed. Gives back the link's name.
    pub(super) async fn hang_up(self, id: LinkId, code: CloseCode, grace: Duration) -> LinkId {
        let Self { connection, control, .. } = self;
        // The control stream's end is acknowledged at once, because the other side ends its own on seeing it.
        if timeout(grace, control.finish()).await.is_err() {
            tracing::debug!(link = id.0, "closed a link before all that was queued had gone out");
        }
        if connection.close_reason().is_none() {
            let packets = connection.stats().udp_tx.datagrams;
            close(&connection, code);
            let sent = async {
                while connection.stats().udp_tx.datagrams == packets {
                    sleep(STEP).await;
                }
            };
            timeout(CLOSE_SENT_MAX, sent).await.ok();
        }
        id
    }
}

/// Closes a connection at once.
pub(super) fn close(connection: &Connection, code: CloseCode) {
    connection.close(code.to_wire().into(), b"");
}
