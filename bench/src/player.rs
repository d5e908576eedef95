//! One player per peer: takes the stream over HTTP as any player does, checks every byte, and times what comes. Owns no
//! process; what a window is, is told to it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use http_body_util::BodyExt;
use tokio::{sync::Notify, task::spawn_local, time::timeout};

use crate::{
    BenchError, http,
    source::Clock,
    stamps::{Checker, Layout, Seen},
};

/// Delays in microseconds, up to a minute, within 0.1 %.
pub type Delays = Histogram<u64>;

/// An empty histogram of delays.
///
/// # Panics
/// Never: the bounds are constants that the histogram takes.
#[must_use]
pub fn delays() -> Delays {
    Histogram::new_with_max(60_000_000, 3).expect("bounds that a histogram takes")
}

/// A quantile in milliseconds, 0 when nothing was counted.
#[must_use]
pub fn quantile_ms(delays: &Delays, quantile: f64) -> f64 {
    delays.value_at_quantile(quantile) as f64 / 1000.0
}

/// Which packets count, by index; shared by all players of a run.
#[derive(Debug)]
pub struct Window {
    from: Cell<u64>,
    to: Cell<u64>,
}

impl Default for Window {
    fn default() -> Self {
        Self { from: Cell::new(u64::MAX), to: Cell::new(u64::MAX) }
    }
}

impl Window {
    /// Counts packets from that index on.
    pub fn open(&self, index: u64) {
        self.from.set(index);
    }

    /// Counts none from that index on.
    pub fn close(&self, index: u64) {
        self.to.set(index);
    }

    fn has(&self, index: u64) -> bool {
        (self.from.get()..self.to.get()).contains(&index)
    }
}

/// What all players of a run share.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The stream.
    pub layout: Arc<Layout>,
    /// The bench's clock.
    pub clock: Clock,
    /// What counts.
    pub window: Rc<Window>,
}

/// What one player has seen so far.
#[derive(Debug)]
pub struct Seat {
    bytes: Cell<u64>,
    first_byte: Cell<Option<Instant>>,
    /// Stamped packets of the window.
    in_window: Cell<u64>,
    missing: Cell<u64>,
    wrong: Cell<u64>,
    delays: RefCell<Delays>,
    ended: RefCell<Option<String>>,
    news: Notify,
}

/// A running player.
#[derive(Clone, Debug)]
pub struct Player(Rc<Seat>);

impl Player {
    /// Asks that player port for the live stream, until the bench ends. Must run in a `LocalSet`.
    #[must_use]
    pub fn start(authority: String, setting: Setting) -> Self {
        let seat = Rc::new(Seat {
            bytes: Cell::default(),
            first_byte: Cell::default(),
            in_window: Cell::default(),
            missing: Cell::default(),
            wrong: Cell::default(),
            delays: RefCell::new(delays()),
            ended: RefCell::default(),
            news: Notify::new(),
        });
        spawn_local({
            let seat = Rc::clone(&seat);
            async move {
                let why = match seat.play(&authority, &setting).await {
                    Ok(()) => format!("http://{authority}/live ended"),
                    Err(cause) => cause.to_string(),
                };
                seat.ended.replace(Some(why));
                seat.news.notify_waiters();
            }
        });
        Self(seat)
    }

    /// Stream bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.get()
    }

    /// Stamped packets of the window so far.
    #[must_use]
    pub fn in_window(&self) -> u64 {
        self.0.in_window.get()
    }

    /// Packets that are missing between others, over the whole run.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.0.missing.get()
    }

    /// Packets that are not the source's or not in its order, over the whole run.
    #[must_use]
    pub fn wrong(&self) -> u64 {
        self.0.wrong.get()
    }

    /// Adds the delays of the window's packets, made to played.
    ///
    /// # Panics
    /// Never for histograms made by [`delays`].
    pub fn add_delays(&self, to: &mut Delays) {
        to.add(&*self.0.delays.borrow()).expect("histograms of one shape");
    }

    /// Why it plays no more, if so.
    #[must_use]
    pub fn ended(&self) -> Option<String> {
        self.0.ended.borrow().clone()
    }

    /// Waits for the first byte of the stream: when it came.
    ///
    /// # Errors
    /// The stream ends before, or nothing comes in time.
    pub async fn first_byte(&self, within: Duration) -> Result<Instant, BenchError> {
        let wait = async {
            loop {
                let news = self.0.news.notified();
                if let Some(at) = self.0.first_byte.get() {
                    return Ok(at);
                }
                if let Some(cause) = self.ended() {
                    return Err(BenchError::Http { url: "/live".into(), cause });
                }
                news.await;
            }
        };
        let late = |_| Err(BenchError::Deadline { what: "the first byte at a player".into(), within });
        timeout(within, wait).await.unwrap_or_else(late)
    }
}

impl Seat {
    async fn play(&self, authority: &str, setting: &Setting) -> Result<(), BenchError> {
        let mut body = http::open(authority, "/live").await?;
        let mut checker = Checker::default();
        while let Some(frame) = body.frame().await {
            let fail = |cause: hyper::Error| BenchError::Http {
                url: format!("http://{authority}/live"),
                cause: cause.to_string(),
            };
            let Ok(data) = frame.map_err(fail)?.into_data() else { continue };
            if self.bytes.get() == 0 && !data.is_empty() {
                self.first_byte.set(Some(Instant::now()));
                self.news.notify_waiters();
            }
            self.bytes.set(self.bytes.get() + u64::try_from(data.len()).unwrap_or(u64::MAX));
            let now_us = setting.clock.now_us();
            let mut delays = self.delays.borrow_mut();
            checker.feed(&setting.layout, &data, |seen| match seen {
                Seen::Stamped { index, made_us } => {
                    if setting.window.has(index) {
                        self.in_window.set(self.in_window.get() + 1);
                        delays.saturating_record(now_us.saturating_sub(made_us));
                    }
                }
                Seen::Gap { packets } => self.missing.set(self.missing.get() + packets),
                Seen::Wrong => self.wrong.set(self.wrong.get() + 1),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::LocalSet,
    };

    use super::*;

    /// Serves packets 0..600 without 100..112 in chunked coding to one player, then ends.
    async fn serve(listener: TcpListener, layout: Arc<Layout>) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let len = stream.read(&mut request).await.unwrap();
        assert!(request[..len].starts_with(b"GET /live HTTP/1.1\r\n"));
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        for index in (0..600).filter(|index| !(100..112).contains(index)) {
            stream.write_all(b"BC\r\n").await.unwrap();
            stream.write_all(&layout.packet(index, 0)).await.unwrap();
            stream.write_all(b"\r\n").await.unwrap();
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
    }

    /// Only the window counts, what is missing is found, delays are taken, and the end is told.
    #[test]
    fn plays_and_counts() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let layout = Arc::new(Layout::new(4_000_000));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let authority = listener.local_addr().unwrap().to_string();
            let server = spawn_local(serve(listener, Arc::clone(&layout)));
            let window = Rc::new(Window::default());
            window.open(90);
            window.close(200);
            let player = Player::start(authority, Setting { layout, clock: Clock::start(), window });
            player.first_byte(Duration::from_secs(10)).await.unwrap();
            server.await.unwrap();
            while player.ended().is_none() {
                tokio::task::yield_now().await;
            }
            assert_eq!((player.in_window(), player.missing(), player.wrong()), (110 - 12, 12, 0));
            assert_eq!(player.bytes(), 588 * 188);
            let mut all = delays();
            player.add_delays(&mut all);
            assert_eq!(all.len(), 98);
        });
    }

    /// Nobody there: the cause is told at once, not at the deadline.
    #[test]
    fn tells_that_nobody_answers() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let authority = listener.local_addr().unwrap().to_string();
            drop(listener);
            let setting = Setting {
                layout: Arc::new(Layout::new(4_000_000)),
                clock: Clock::start(),
                window: Rc::new(Window::default()),
            };
            let error =
                Player::start(authority, setting).first_byte(Duration::from_secs(10)).await.unwrap_err();
            assert!(error.to_string().contains("refused"), "{error}");
        });
    }
}
