//! The one home of `tokio::spawn`: every task has a name, a panic in it is one log line, and a group of tasks ends with its
//! owner. Knows nothing of what the tasks do.

use futures_util::FutureExt;
use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{Mutex, PoisonError},
};
use tokio::task::{JoinHandle, JoinSet};

/// Starts a task. `name` says in the log which one panicked; the panic still reaches whoever awaits the handle.
///
/// Dropping the handle detaches the task: keep it, await it or abort it.
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(named(name, future))
}

/// Tasks that end together, at the latest when the group is dropped.
#[derive(Debug, Default)]
pub(crate) struct Group {
    tasks: Mutex<JoinSet<()>>,
}

impl Group {
    /// Starts a task in the group.
    pub(crate) fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // A finished task keeps its place until it is asked for: without this the set would grow with every link.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(named(name, future));
    }

    /// Stops what still runs.
    pub(crate) fn abort_all(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

async fn named<F: Future>(name: &'static str, future: F) -> F::Output {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(output) => output,
        Err(panic) => {
            tracing::error!(
                task = name,
                cause = reason(&*panic),
                "a task panicked: this is a bug, please report it"
            );
            resume_unwind(panic)
        }
    }
}

/// The message of a panic.
fn reason(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown")
}
