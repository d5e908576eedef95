//! How many calls each caller has under way. An answer is kept until it has left, so what a caller begins and does not read is memory;
//! with a limit for each, one stolen token costs little and keeps nobody else out.

use crate::service::limits::CALLS_MAX;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Calls under way, by the caller's name; nobody is in it who has none.
#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<BTreeMap<Arc<str>, usize>>);

/// One call under way.
#[derive(Debug)]
pub(super) struct Call {
    calls: Arc<Calls>,
    by: Arc<str>,
}

impl Calls {
    /// Begins a call; `None` when the caller has as many as it may have.
    pub(super) fn begin(self: &Arc<Self>, by: &Arc<str>) -> Option<Call> {
        let mut calls = self.lock();
        let under_way = calls.entry(Arc::clone(by)).or_default();
        if *under_way >= CALLS_MAX {
            return None;
        }
        *under_way += 1;
        Some(Call { calls: Arc::clone(self), by: Arc::clone(by) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut calls = self.calls.lock();
        if let Some(under_way) = calls.get_mut(&self.by) {
            *under_way -= 1;
            if *under_way == 0 {
                calls.remove(&self.by);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many as allowed and not one more, each caller for itself; one that ends makes room, and who has none is forgotten.
    #[test]
    fn each_caller_has_its_own_limit() {
        let calls = Arc::<Calls>::default();
        let (alice, bob) = (Arc::from("alice"), Arc::from("bob"));
        let mut begun: Vec<Call> = (0..CALLS_MAX).map(|_| calls.begin(&alice).unwrap()).collect();
        assert!(calls.begin(&alice).is_none());
        assert!(calls.begin(&bob).is_some());
        begun.pop();
        begun.push(calls.begin(&alice).unwrap());
        assert!(calls.begin(&alice).is_none());
        drop(begun);
        assert!(calls.lock().is_empty());
    }
}
