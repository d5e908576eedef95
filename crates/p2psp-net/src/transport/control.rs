//! One link's control stream: a bounded queue in, a reader that takes no more than the machine has taken. The dialer opens the
//! stream; what the accepting side sends before that waits in its queue. Knows frames, not what they mean.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream::unfold};
use p2psp_core::CloseCode;
use p2psp_wire::{Control, DecodeError, FrameDecoder};
use quinn::{Connection, ReadError, RecvStream, SendStream};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// Most messages that wait for one link. A roster of 512 members takes 8 messages, a newcomer's welcome a dozen.
const QUEUE_FRAMES_MAX: usize = 256;
/// Most bytes that wait for one link: the largest stream header and the largest roster, twice over.
const QUEUE_BYTES_MAX: usize = 512 * 1024;

/// Most messages handed over at once: a frame of two bytes must not become a list that the other side sized.
const READ_FRAMES_MAX: usize = 64;

/// How long a link may stay after the other side ended its control stream, which it does only to hang up.
const END_GRACE: Duration = Duration::from_secs(1);

/// What goes to the writer.
#[derive(Debug)]
enum Outgoing {
    /// An encoded frame.
    Frame(Bytes),
    /// No more frames; tell when all are delivered.
    Finish(oneshot::Sender<()>),
}

/// What sender and writer both know.
#[derive(Debug, Default)]
struct Shared {
    /// Bytes that quinn has not taken yet.
    queued_bytes: AtomicUsize,
    /// The stream is open.
    is_open: AtomicBool,
}

/// The queue of a link's writer.
#[derive(Debug)]
pub(super) struct ControlSender {
    queue: mpsc::Sender<Outgoing>,
    shared: Arc<Shared>,
}

impl ControlSender {
    /// Queues a message. False when the queue is over its limits, or its writer is gone.
    pub(super) fn send(&self, message: &Control) -> bool {
        let mut frame = BytesMut::new();
        message.encode(&mut frame);
        let queued = self.shared.queued_bytes.fetch_add(frame.len(), Ordering::Relaxed) + frame.len();
        queued <= QUEUE_BYTES_MAX && self.queue.try_send(Outgoing::Frame(frame.freeze())).is_ok()
    }

    /// Ends the stream and waits until the other side has all of it, or cannot get it any more.
    pub(super) async fn finish(self) {
        if !self.shared.is_open.load(Ordering::Relaxed)
            && self.shared.queued_bytes.load(Ordering::Relaxed) == 0
        {
            return;
        }
        let (delivered, done) = oneshot::channel();
        if self.queue.send(Outgoing::Finish(delivered)).await.is_ok() {
            // An error says that the writer is gone, which is an end too.
            done.await.ok();
        }
    }
}

/// What the reader found.
#[derive(Debug)]
pub(super) enum Reading {
    /// Messages in order; at least one.
    Messages(Vec<Control>),
    /// Bytes that are no message, or a stream that broke off; nothing comes after.
    Malformed(DecodeError),
    /// The connection is closed, and what had come was read.
    End,
}

/// The control stream of a new link: its queue, its reader, and its writer. Both must be polled; the reader opens the stream.
pub(super) fn open(
    connection: Connection,
    dialed: bool,
) -> (ControlSender, impl Stream<Item = Reading> + Send + 'static, impl Future<Output = ()> + Send + 'static)
{
    let (queue, frames) = mpsc::channel(QUEUE_FRAMES_MAX);
    let shared = Arc::new(Shared::default());
    let sender = ControlSender { queue, shared: Arc::clone(&shared) };
    let (opened, stream) = oneshot::channel();
    let (ended, remote_ended) = oneshot::channel();
    let reader = Reader { connection, ended: Some(ended), decoder: FrameDecoder::new(), failed: None };
    (sender, reader.read(dialed, opened), write(frames, shared, stream, remote_ended))
}

/// Writes frames until there are no more. Once the other side has hung up nothing more is written: the stream ends, and this
/// end carries the acknowledgement for which the other side waits.
async fn write(
    mut frames: mpsc::Receiver<Outgoing>,
    shared: Arc<Shared>,
    stream: oneshot::Receiver<SendStream>,
    mut remote_ended: oneshot::Receiver<()>,
) {
    let Ok(mut stream) = stream.await else { return };
    shared.is_open.store(true, Ordering::Relaxed);
    let mut is_ended = false;
    loop {
        let outgoing = tokio::select! {
            biased;
            _ = &mut remote_ended, if !is_ended => {
                is_ended = true;
                stream.finish().ok();
                continue;
            }
            outgoing = frames.recv() => outgoing,
        };
        match outgoing {
            Some(Outgoing::Frame(frame)) => {
                let bytes = frame.len();
                if !is_ended && stream.write_chunk(frame).await.is_err() {
                    return;
                }
                shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            Some(Outgoing::Finish(delivered)) => {
                stream.finish().ok();
                stream.stopped().await.ok();
                delivered.send(()).ok();
                return;
            }
            None => return,
        }
    }
}

struct Reader {
    connection: Connection,
    /// Tells the writer that the other side ended its stream.
    ended: Option<oneshot::Sender<()>>,
    decoder: FrameDecoder,
    /// Found behind messages that had to go first.
    failed: Option<DecodeError>,
}

/// Where the reader is.
enum Phase {
    /// The stream is not open yet; it goes to the writer when it is.
    Opening(bool, oneshot::Sender<SendStream>),
    /// Frames come.
    Reading(RecvStream),
    /// Frames came, and then something else.
    Failing(DecodeError),
    /// No more frames will come; the connection may still be there.
    Closing,
}

impl Reader {
    fn read(
        self,
        dialed: bool,
        opened: oneshot::Sender<SendStream>,
    ) -> impl Stream<Item = Reading> + Send + 'static {
        unfold(Some((self, Phase::Opening(dialed, opened))), |state| async move {
            let (mut reader, phase) = state?;
            let (reading, phase) = reader.next(phase).await;
            Some((reading, phase.map(|phase| (reader, phase))))
        })
    }

    async fn next(&mut self, mut phase: Phase) -> (Reading, Option<Phase>) {
        loop {
            phase = match phase {
                Phase::Opening(dialed, opened) => {
                    let streams = if dialed {
                        self.connection.open_bi().await
                    } else {
                        self.connection.accept_bi().await
                    };
                    let Ok((send, receive)) = streams else { return (Reading::End, None) };
                    // An error says that the link was hung up meanwhile.
                    opened.send(send).ok();
                    Phase::Reading(receive)
                }
                Phase::Reading(mut stream) => match self.read_messages(&mut stream).await {
                    Ok(messages) if messages.is_empty() => {
                        if let Some(ended) = self.ended.take() {
                            ended.send(()).ok();
                        }
                        if timeout(END_GRACE, self.connection.closed()).await.is_err() {
                            super::link::close(&self.connection, CloseCode::Timeout);
                        }
                        Phase::Closing
                    }
                    Ok(messages) => return (Reading::Messages(messages), Some(Phase::Reading(stream))),
                    Err(Broken::Connection) => Phase::Closing,
                    Err(Broken::Stream(error)) => Phase::Failing(error),
                },
                Phase::Failing(error) => return (Reading::Malformed(error), Some(Phase::Closing)),
                Phase::Closing => {
                    self.connection.closed().await;
                    return (Reading::End, None);
                }
            }
        }
    }

    /// The next messages, at most [`READ_FRAMES_MAX`]; none at the stream's end.
    async fn read_messages(&mut self, stream: &mut RecvStream) -> Result<Vec<Control>, Broken> {
        let mut messages = Vec::new();
        loop {
            while messages.len() < READ_FRAMES_MAX && self.failed.is_none() {
                match self.decoder.poll() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(error) => {
                        self.failed = Some(error);
                        break;
                    }
                }
            }
            if !messages.is_empty() {
                return Ok(messages);
            }
            if let Some(error) = self.failed.take() {
                return Err(Broken::Stream(error));
            }
            match stream.read_chunk(self.decoder.room(), true).await {
                Ok(Some(chunk)) => self.decoder.push(&chunk.bytes).map_err(Broken::Stream)?,
                Ok(None) if self.decoder.room() == FrameDecoder::new().room() => return Ok(messages),
                Ok(None) => return Err(Broken::Stream(DecodeError::Truncated("control frame"))),
                Err(ReadError::ConnectionLost(_)) => return Err(Broken::Connection),
                Err(
                    ReadError::Reset(_)
                    | ReadError::ClosedStream
                    | ReadError::IllegalOrderedRead
                    | ReadError::ZeroRttRejected,
                ) => return Err(Broken::Stream(DecodeError::Truncated("control stream"))),
            }
        }
    }
}

/// Why there are no more messages.
enum Broken {
    Connection,
    Stream(DecodeError),
}
