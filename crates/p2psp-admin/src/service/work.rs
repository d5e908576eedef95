//! What the machine was asked, seen to its end: a call that is cancelled is dropped by its connection, and the machine, which knows nothing
//! of that, carries it out all the same. Owns the tasks that wait for the machine, and how many there are at a time.

use super::{Reason, refusal};
use crate::backend::Refusal;
use futures_util::FutureExt;
use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::JoinSet,
};
use tonic::Status;
use tracing::error;

/// Tasks that wait for the machine, each in a place of its own. They end, at the latest, when this is dropped.
#[derive(Debug)]
pub(crate) struct Work {
    places: Arc<Semaphore>,
    places_max: usize,
    tasks: Mutex<JoinSet<()>>,
}

/// Room for one task, from before it begins until the machine has answered.
#[derive(Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Work {
    /// Room for so many.
    pub(crate) fn new(places_max: usize) -> Self {
        let places = Arc::new(Semaphore::new(places_max));
        Self { places, places_max, tasks: Mutex::default() }
    }

    /// A place, if one is free.
    pub(super) fn try_place(&self) -> Option<Place> {
        Arc::clone(&self.places).try_acquire_owned().ok().map(Place)
    }

    /// Runs what was asked as [`Self::see_through`] does, once there is room for it.
    ///
    /// # Errors
    ///
    /// The same.
    pub(super) async fn in_turn<R: Send + 'static>(
        &self,
        name: &'static str,
        asked: impl Future<Output = Result<R, Refusal>> + Send + 'static,
    ) -> Result<R, Status> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Refusal::Ended)?;
        self.see_through(name, Place(place), asked).await
    }

    /// Runs what was asked in a task of this name, whether or not the caller still waits for the answer.
    ///
    /// # Errors
    ///
    /// It is refused, or panics.
    pub(super) async fn see_through<R: Send + 'static>(
        &self,
        name: &'static str,
        place: Place,
        asked: impl Future<Output = Result<R, Refusal>> + Send + 'static,
    ) -> Result<R, Status> {
        let (answer, answered) = oneshot::channel();
        let task = async move {
            let result = match AssertUnwindSafe(asked).catch_unwind().await {
                Ok(result) => result.map_err(Status::from),
                Err(_) => {
                    error!(task = name, "a task panicked: this is a bug, please report it");
                    Err(refusal(Reason::Internal, "it panicked: this is a bug, please report it"))
                }
            };
            drop(place);
            // An error says that the caller has gone meanwhile.
            answer.send(result).ok();
        };
        {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            // A finished task keeps its place in the set until it is asked for.
            while tasks.try_join_next().is_some() {}
            tasks.spawn(task);
        }
        answered.await.unwrap_or_else(|_| Err(Refusal::Ended.into()))
    }

    /// Waits until nothing is under way any more.
    pub(super) async fn over(&self) {
        let all = u32::try_from(self.places_max).unwrap_or(u32::MAX);
        // Nobody closes it; closed, it would be over, too.
        self.places.acquire_many(all).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A panic is the answer of its own call: nothing is left behind, and the next one runs.
    #[tokio::test]
    async fn a_panic_is_told_and_makes_room() {
        let work = Work::new(1);
        let panics = async { panic!("as this test wants it") };
        let place = work.try_place().unwrap();
        let status = work.see_through::<()>("test", place, panics).await.unwrap_err();
        assert_eq!(Reason::of(&status), Some(Reason::Internal));
        let place = work.try_place().unwrap();
        assert_eq!(work.see_through("test", place, async { Ok(7) }).await.unwrap(), 7);
    }
}
