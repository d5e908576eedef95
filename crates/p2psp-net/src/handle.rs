//! How the rest of a process talks to the machine: commands that run on its task, between two inputs. Knows no transport.

use crate::stats::{NetStats, Stats};
use p2psp_core::Instant;
use std::{fmt, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// Commands that may wait for the machine: a few turns of a fast source. `call` waits for room, `try_cast` refuses.
pub(crate) const COMMANDS_MAX: usize = 64;

/// A command as the driver gets it.
pub(crate) type Command<M> = Box<dyn FnOnce(&mut M, Instant) + Send>;

/// What the driver is asked.
pub(crate) enum Order<M> {
    /// Run this on the machine.
    Run(Command<M>),
    /// Close all links and end. The sender is dropped when the driver has ended.
    Shutdown { grace: Duration, ended: oneshot::Sender<()> },
}

/// The node has ended; nothing runs commands any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node has ended")]
pub struct Gone;

/// Why a command without an answer was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CastError {
    /// As many commands wait as may wait; try later, or [`Handle::call`], which waits.
    #[error("too many commands wait for the node")]
    Full,
    /// The node has ended.
    #[error("the node has ended")]
    Gone,
}

/// Talks to a running node. Clones talk to the same one; the node ends, as by [`Handle::shutdown`], when the last is dropped.
pub struct Handle<M> {
    orders: mpsc::Sender<Order<M>>,
    stats: Arc<Stats>,
}

impl<M> Handle<M> {
    pub(crate) const fn new(orders: mpsc::Sender<Order<M>>, stats: Arc<Stats>) -> Self {
        Self { orders, stats }
    }

    /// Runs a command on the machine's task, between two inputs, and gives back what it returns. Waits for room in the
    /// queue: a source that calls for each turn is slowed to what the machine takes.
    ///
    /// # Errors
    ///
    /// [`Gone`] when the node has ended, or ends before the command ran.
    pub async fn call<R: Send + 'static>(
        &self,
        command: impl FnOnce(&mut M, Instant) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        let (answer, answered) = oneshot::channel();
        let command: Command<M> = Box::new(move |machine, now| {
            // An error says that the caller was dropped meanwhile; the command has run all the same.
            answer.send(command(machine, now)).ok();
        });
        self.orders.send(Order::Run(command)).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }

    /// Runs a command on the machine's task without an answer, and without waiting.
    ///
    /// # Errors
    ///
    /// [`CastError::Full`] when too many commands wait, [`CastError::Gone`] when the node has ended.
    pub fn try_cast(&self, command: impl FnOnce(&mut M, Instant) + Send + 'static) -> Result<(), CastError> {
        self.orders.try_send(Order::Run(Box::new(command))).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CastError::Full,
            mpsc::error::TrySendError::Closed(_) => CastError::Gone,
        })
    }

    /// Closes all links after what was sent has gone out, for at most `grace`, and ends the node. Returns when it has ended;
    /// at once when it had. What the machine itself should say to its peers it must have said before.
    pub async fn shutdown(&self, grace: Duration) {
        let (ended, has_ended) = oneshot::channel();
        if self.orders.send(Order::Shutdown { grace, ended }).await.is_ok() {
            // The sender is never used, only dropped.
            has_ended.await.ok();
        }
    }

    /// What the network did so far; stays readable after the node has ended.
    #[must_use]
    pub fn stats(&self) -> NetStats {
        self.stats.snapshot()
    }
}

impl<M> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { orders: self.orders.clone(), stats: Arc::clone(&self.stats) }
    }
}

impl<M> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("ended", &self.orders.is_closed()).finish_non_exhaustive()
    }
}
