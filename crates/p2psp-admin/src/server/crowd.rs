//! The connections that an address has: no more than a limit, and where that is reached those who have yet to show that they may ask
//! give way, the longest first. So nobody fills an address by doing nothing, and whoever is at work stays.

use crate::service::limits::CONNECTIONS_MAX;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::task::{AbortHandle, JoinSet};

/// Connections that are open.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    tasks: JoinSet<()>,
    /// The oldest first; those that ended may still be among them.
    guests: VecDeque<Guest>,
}

#[derive(Debug)]
struct Guest {
    from: Arc<str>,
    /// Someone who is let in made a request.
    known: Arc<AtomicBool>,
    task: AbortHandle,
}

/// Whether one more comes in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is room.
    Free,
    /// There is room because this one, from there, was closed.
    GaveWay(Arc<str>),
    /// All are at work.
    Full,
}

impl Crowd {
    /// Makes room for one more, if that can be.
    pub(super) fn room(&mut self) -> Room {
        self.guests.retain(|guest| !guest.task.is_finished());
        if self.guests.len() < CONNECTIONS_MAX {
            return Room::Free;
        }
        let stranger = self.guests.iter().position(|guest| !guest.known.load(Ordering::Relaxed));
        match stranger.and_then(|index| self.guests.remove(index)) {
            Some(guest) => {
                guest.task.abort();
                Room::GaveWay(guest.from)
            }
            None => Room::Full,
        }
    }

    /// Lets one in; `known` turns true once someone who is let in made a request.
    pub(super) fn enter(
        &mut self,
        from: Arc<str>,
        known: Arc<AtomicBool>,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.tasks.spawn(connection);
        self.guests.push_back(Guest { from, known, task });
    }

    /// Waits until one has ended; never ends while there is none. Cancel safe.
    pub(super) async fn left(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until all have ended.
    pub(super) async fn gone(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Ends all.
    pub(super) async fn close(&mut self) {
        self.tasks.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    /// One more than the limit: the oldest who has shown nothing gives way, and nobody once all are at work.
    #[tokio::test]
    async fn strangers_give_way_and_friends_stay() {
        let mut crowd = Crowd::default();
        let known: Vec<Arc<AtomicBool>> = (0..CONNECTIONS_MAX).map(|_| Arc::default()).collect();
        for (n, known) in known.iter().enumerate() {
            assert_eq!(crowd.room(), Room::Free);
            crowd.enter(n.to_string().into(), Arc::clone(known), pending());
        }
        known[0].store(true, Ordering::Relaxed);
        assert_eq!(crowd.room(), Room::GaveWay("1".into()));
        crowd.left().await;
        crowd.enter("more".into(), Arc::new(AtomicBool::new(true)), pending());
        for known in &known {
            known.store(true, Ordering::Relaxed);
        }
        assert_eq!(crowd.room(), Room::Full);
        crowd.close().await;
        assert_eq!(crowd.room(), Room::Free);
    }
}
