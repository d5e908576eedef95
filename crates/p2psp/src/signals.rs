//! Being asked to leave: the first SIGINT or SIGTERM, or the end of standard input where that counts, asks politely; a second
//! signal ends the process at once.

use p2psp_net::tasks;
use std::{io, process};
use tokio::{
    io::AsyncReadExt,
    select,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tracing::{info, warn};

/// Shells report a process that a signal ended as 128 and the signal's number.
const SIGNAL_BASE: i32 = 128;

/// Tells that it is time to leave. Clones share the news.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    asked: watch::Receiver<bool>,
    ask: watch::Sender<bool>,
}

impl Stop {
    /// Listens from now on; with `on_eof`, to the end of standard input too.
    ///
    /// # Errors
    ///
    /// The system refuses to hand over signals.
    pub(crate) fn listen(on_eof: bool) -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (sender, asked) = watch::channel(false);
        let ask = sender.clone();
        // Both tasks live as long as the process, which is what they are about.
        drop(tasks::spawn("signals", {
            let sender = sender.clone();
            async move {
                let first = either(&mut interrupt, &mut terminate).await;
                sender.send_replace(true);
                info!(signal = first.as_raw_value(), "leaving; a second signal ends at once");
                let second = either(&mut interrupt, &mut terminate).await;
                warn!(signal = second.as_raw_value(), "ended at once");
                process::exit(SIGNAL_BASE + second.as_raw_value());
            }
        }));
        if on_eof {
            drop(tasks::spawn("standard input", async move {
                let mut input = tokio::io::stdin();
                let mut ignored = [0; 256];
                while input.read(&mut ignored).await.is_ok_and(|bytes| bytes > 0) {}
                sender.send_replace(true);
                info!("standard input is closed; leaving");
            }));
        }
        Ok(Self { asked, ask })
    }

    /// It is time: as if a signal had come.
    pub(crate) fn ask(&self) {
        self.ask.send_replace(true);
    }

    /// Resolves when it is time.
    pub(crate) async fn asked(mut self) {
        // The sender lives as long as this.
        self.asked.wait_for(|asked| *asked).await.ok();
    }
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) -> SignalKind {
    select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    }
}
