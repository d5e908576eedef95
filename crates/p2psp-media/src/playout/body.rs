//! Answer bodies: fixed bytes, the live stream, and the event feed. Owns how units become writes and when a body ends.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep};

use super::batch::Batch;
use super::config::PlayoutConfig;
use super::counters::{Counters, Feed, count};
use super::shared::SpoolReader;
use super::spool::{BATCH_PARTS_MAX, Read, wide};

/// Time between two events of one feed.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// Tells bodies that the server is closing.
#[derive(Clone, Debug)]
pub(super) struct Closing(pub(super) watch::Receiver<bool>);

impl Closing {
    /// Ends once the server is closing, or is gone.
    pub(super) async fn begun(mut self) {
        // An error means that the server was dropped, which is as good as closing.
        self.0.wait_for(|closing| *closing).await.ok();
    }

    fn boxed(self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.begun())
    }
}

/// Any body that the player port answers with.
pub(super) enum ReplyBody {
    /// All of it, now.
    Full(Option<Bytes>),
    /// Nothing, of a length that is not told: HEAD of a stream.
    Untold,
    Stream(StreamBody),
    Events(EventBody),
}

impl Body for ReplyBody {
    type Data = Batch;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Batch>, Infallible>>> {
        let batch = match self.get_mut() {
            Self::Full(bytes) => bytes.take().map(Batch::from),
            Self::Untold => None,
            Self::Stream(stream) => ready!(stream.poll_batch(context)),
            Self::Events(events) => ready!(events.poll_batch(context)),
        };
        Poll::Ready(batch.map(|batch| Ok(Frame::data(batch))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(None) | Self::Untold)
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => {
                let len = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(wide(len))
            }
            Self::Untold | Self::Stream(_) | Self::Events(_) => SizeHint::default(),
        }
    }
}

/// The live stream as one player sees it.
pub(super) struct StreamBody {
    reader: SpoolReader,
    batch_bytes_max: usize,
    write_interval: Duration,
    /// Armed while the next write must wait for company.
    pause: Pin<Box<Sleep>>,
    paused: bool,
    closing: Pin<Box<dyn Future<Output = ()> + Send>>,
    counters: Arc<Counters>,
}

impl StreamBody {
    pub(super) fn new(
        reader: SpoolReader,
        config: &PlayoutConfig,
        closing: Closing,
        counters: Arc<Counters>,
    ) -> Self {
        count(&counters.players);
        count(&counters.players_total);
        Self {
            reader,
            batch_bytes_max: config.batch_bytes_max.max(1),
            write_interval: config.write_interval,
            pause: Box::pin(tokio::time::sleep(Duration::ZERO)),
            paused: false,
            closing: closing.boxed(),
            counters,
        }
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Batch>> {
        if self.paused {
            ready!(self.pause.as_mut().poll(context));
            self.paused = false;
        }
        let mut batch = Batch::default();
        match self.reader.read(context, &mut batch, self.batch_bytes_max) {
            Read::Data => {}
            Read::Wait => {
                ready!(self.closing.as_mut().poll(context));
                return Poll::Ready(None);
            }
            Read::End => return Poll::Ready(None),
        }
        let bytes = batch.remaining();
        self.counters.bytes.fetch_add(wide(bytes), Relaxed);
        if bytes > 0 {
            self.counters.first_byte.get_or_init(std::time::Instant::now);
        }
        // A full batch means that there is more; anything less is the live edge, where units come one by one.
        let full = bytes >= self.batch_bytes_max || batch.parts() >= BATCH_PARTS_MAX;
        if !full && !self.write_interval.is_zero() {
            self.pause.as_mut().reset(Instant::now() + self.write_interval);
            self.paused = true;
        }
        Poll::Ready(Some(batch))
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        self.counters.players.fetch_sub(1, Relaxed);
    }
}

/// How long a browser waits before it connects to a broken feed again.
const EVENT_RETRY: &str = "retry: 2000\n";

/// Server-sent events: what the callback gives, now and once a second, which is the sign of life as well. A reader that is slower gets
/// fewer events, each of the moment that it is made in: nothing waits for it but what the kernel's buffer takes, and one that takes
/// nothing is disconnected like any player.
pub(super) struct EventBody {
    give: Box<dyn Fn() -> String + Send>,
    /// The first event goes with the head: a timer would be up to a millisecond late.
    first: bool,
    interval: Interval,
    _feed: Feed,
    closing: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl EventBody {
    /// `give` must give one line.
    pub(super) fn new(give: impl Fn() -> String + Send + 'static, feed: Feed, closing: Closing) -> Self {
        let mut interval = tokio::time::interval_at(Instant::now() + EVENT_INTERVAL, EVENT_INTERVAL);
        // A feed that was held up goes on with the present, not with a burst of the past.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { give: Box::new(give), first: true, interval, _feed: feed, closing: closing.boxed() }
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Batch>> {
        let is_first = std::mem::take(&mut self.first);
        if is_first || self.interval.poll_tick(context).is_ready() {
            let retry = if is_first { EVENT_RETRY } else { "" };
            return Poll::Ready(Some(Bytes::from(format!("{retry}data: {}\n\n", (self.give)())).into()));
        }
        ready!(self.closing.as_mut().poll(context));
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use std::task::Waker;

    /// A reader that was away for a minute gets one event of the present, and not sixty of the past.
    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_the_present() {
        let (made, counters) = (Arc::new(AtomicU64::new(0)), Arc::new(Counters::default()));
        let feed = Feed::open(&counters, 1).unwrap();
        assert!(Feed::open(&counters, 1).is_none(), "there is room for one");
        let (_open, closing) = watch::channel(false);
        let counted = Arc::clone(&made);
        let give = move || counted.fetch_add(1, Relaxed).to_string();
        let mut body = EventBody::new(give, feed, Closing(closing));
        let mut context = Context::from_waker(Waker::noop());
        let mut events = |after| {
            let mut events = 0;
            while let Poll::Ready(batch) = body.poll_batch(&mut context) {
                assert!(batch.is_some(), "the feed has not ended");
                events += 1;
            }
            assert_eq!(made.load(Relaxed), after, "nothing is made in advance");
            events
        };
        assert_eq!(events(1), 1);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(events(2), 1);
        tokio::time::advance(EVENT_INTERVAL).await;
        assert_eq!(events(3), 1);
    }
}
