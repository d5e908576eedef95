//! A running node's figures as its owner follows them. Knows not what they say.

use tokio::sync::watch;

/// The newest figures, and a way to wait for newer ones.
#[derive(Clone, Debug)]
pub struct StatsFeed<T> {
    seen: watch::Receiver<T>,
}

impl<T: Clone> StatsFeed<T> {
    /// Follows whoever sends figures.
    #[must_use]
    pub const fn new(seen: watch::Receiver<T>) -> Self {
        Self { seen }
    }

    /// The newest figures.
    #[must_use]
    pub fn newest(&self) -> T {
        self.seen.borrow().clone()
    }

    /// Waits for newer figures than were last seen; false when there will be none.
    pub async fn renewed(&mut self) -> bool {
        self.seen.changed().await.is_ok()
    }
}
