//! The lines that the server writes, as an operator's log would have them.

use crate::team::DEADLINE;
use std::{
    cell::RefCell,
    sync::{Arc, Mutex, Once},
};
use tokio::{sync::Notify, time::timeout};

/// Catches what this thread logs, and with it what the server does, whose tasks run on the same one.
pub(crate) struct Lines {
    text: Text,
}

#[derive(Clone, Default)]
struct Text {
    bytes: Arc<Mutex<Vec<u8>>>,
    written: Arc<Notify>,
}

thread_local! {
    static CAUGHT: RefCell<Option<Text>> = const { RefCell::new(None) };
}

/// Writes to whoever catches this thread's lines.
struct Writer;

impl std::io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        CAUGHT.with_borrow(|caught| {
            if let Some(text) = caught {
                text.bytes.lock().unwrap().extend_from_slice(bytes);
                text.written.notify_one();
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    pub(crate) fn catch() -> Self {
        // One subscriber for all threads: with one for each, a thread that has none may decide for all that a line is of no interest.
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::INFO)
                .with_ansi(false)
                .without_time()
                .with_writer(|| Writer)
                .finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
        let text = Text::default();
        CAUGHT.set(Some(text.clone()));
        Self { text }
    }

    /// The lines since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.text.bytes.lock().unwrap());
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    /// The one line since the last call, in which all of these are.
    #[track_caller]
    pub(crate) fn one(&self, says: &[&str]) -> String {
        let lines = self.take();
        let [line] = lines.as_slice() else { panic!("exactly one line: {lines:#?}") };
        for what in says.iter().chain(&[" p2psp_admin::audit: "]) {
            assert!(line.contains(what), "{what:?} is not in {line}");
        }
        line.clone()
    }

    /// Whether there are lines since the last call of those above.
    pub(crate) fn have_come(&self) -> bool {
        !self.text.bytes.lock().unwrap().is_empty()
    }

    /// Waits for a line.
    pub(crate) async fn come(&self) {
        while !self.have_come() {
            timeout(DEADLINE, self.text.written.notified()).await.expect("a line");
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        CAUGHT.set(None);
    }
}
