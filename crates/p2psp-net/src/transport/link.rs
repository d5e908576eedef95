//! One link: its connection, the train reader, and how it ends. Knows no machine and no other link.

use super::control::ControlSender;
use bytes::Bytes;
use futures_util::{FutureExt, Stream, stream::unfold};
use p2psp_core::{CloseCode, LinkId};
use quinn::{Connection, ConnectionError};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Most datagrams taken as one train: whatever a fast sender does, the other links get their turn.
const TRAIN_DATAGRAMS_MAX: usize = 64;

/// How long to wait until a closing packet has left.
const CLOSE_SENT_MAX: Duration = Duration::from_millis(50);

/// The step of waits for what quinn does not announce.
const STEP: Duration = Duration::from_millis(1);

/// A link that is up.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) control: ControlSender,
    /// Of the two readers, how many go on.
    pub(super) readers: u8,
    /// Room in an empty send queue.
    room_max: usize,
}

impl Link {
    pub(super) fn new(connection: Connection, control: ControlSender) -> Self {
        let room_max = connection.datagram_send_buffer_space();
        Self { connection, control, readers: 2, room_max }
    }

    /// Whether a link that was full takes trains again: at half, so that it does not flutter.
    pub(super) fn has_room(&self) -> bool {
        self.connection.datagram_send_buffer_space() >= self.room_max / 2
    }

    /// Closes the link once what was queued on it is delivered, or the grace has passed. Gives back the link's name.
    pub(super) async fn hang_up(self, id: LinkId, code: CloseCode, grace: Duration) -> LinkId {
        let Self { connection, control, room_max, .. } = self;
        // The control stream's end is acknowledged at once, because the other side ends its own on seeing it.
        let flushed = async {
            control.finish().await;
            while connection.close_reason().is_none() && connection.datagram_send_buffer_space() < room_max {
                sleep(STEP).await;
            }
        };
        if timeout(grace, flushed).await.is_err() {
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

/// What the train reader found.
#[derive(Debug)]
pub(super) enum Reading {
    /// Datagrams that were there at once, in order; at least one.
    Train(Vec<Bytes>),
    /// The connection is closed, and what had come was read.
    End,
}

/// Reads datagrams as the trains they came in.
pub(super) fn read_trains(connection: Connection) -> impl Stream<Item = Reading> + Send + 'static {
    unfold(Some(connection), |connection| async {
        let connection = connection?;
        match read_train(&connection).await {
            Ok(train) => Some((Reading::Train(train), Some(connection))),
            Err(_) => Some((Reading::End, None)),
        }
    })
}

async fn read_train(connection: &Connection) -> Result<Vec<Bytes>, ConnectionError> {
    let mut train = vec![connection.read_datagram().await?];
    while train.len() < TRAIN_DATAGRAMS_MAX {
        // An error now comes again with the next read, after this train.
        let Some(Ok(datagram)) = connection.read_datagram().now_or_never() else { break };
        train.push(datagram);
    }
    Ok(train)
}
