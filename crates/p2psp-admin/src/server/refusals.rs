//! The log's line for each refusal: who, what, why, and never a secret. Owns how many of them are written: neither strangers nor an
//! operator's program that fails in a loop may fill a disk, and no flood hides another caller's lines.

use crate::service::{
    AUDIT, clipped,
    limits::{REFUSAL_LINES_MAX, REFUSAL_SPAN},
};
use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tracing::warn;

/// Callers whose lines are counted apart; there are at most 64 tokens, but any number of certificates.
const CALLERS_MAX: usize = 256;

/// Whose request it is.
#[derive(Clone, Debug)]
pub(super) struct Whose {
    /// Where it comes from.
    pub(super) from: Arc<str>,
    /// The caller's name, once it is known.
    pub(super) by: Option<Arc<str>>,
    /// What is asked for.
    pub(super) call: Arc<str>,
}

impl Whose {
    /// A request for this path.
    pub(super) fn new(from: &Arc<str>, by: Option<&Arc<str>>, path: &str) -> Self {
        Self { from: Arc::clone(from), by: by.cloned(), call: clipped(path).into() }
    }
}

/// Refusals in the log.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<Option<Arc<str>>, Span>>);

#[derive(Debug)]
struct Span {
    began: Instant,
    refusals: u32,
}

impl Refusals {
    /// Tells of a request that is refused with a status.
    pub(super) fn tell(&self, whose: &Whose, status: &Status) {
        // A caller that went away, or the end of the process, refuses nobody anything.
        if matches!(status.code(), Code::Ok | Code::Cancelled | Code::Unavailable) {
            return;
        }
        let details = status.get_error_details();
        let info = details.error_info();
        let reason = info.map_or("", |info| info.reason.as_str());
        let about: BTreeMap<_, _> = info.map(|info| info.metadata.iter().collect()).unwrap_or_default();
        self.write(whose, reason, status.message(), &about);
    }

    /// Tells of a connection that is not served, or no longer.
    pub(super) fn tell_connection(&self, from: &Arc<str>, by: Option<&Arc<str>>, reason: &str, why: &str) {
        let whose = Whose { from: Arc::clone(from), by: by.cloned(), call: "connection".into() };
        self.write(&whose, reason, why, &"");
    }

    /// Tells of a call whose answer is not read.
    pub(super) fn tell_unread(&self, whose: &Whose, why: &str) {
        self.write(whose, "UNREAD", why, &"");
    }

    fn write(&self, whose: &Whose, reason: &str, why: &str, about: &dyn Debug) {
        let Some(untold) = self.count(whose.by.as_ref(), Instant::now()) else { return };
        let by = whose.by.as_deref().unwrap_or("a stranger");
        let (from, call) = (&*whose.from, &*whose.call);
        let why = clipped(why);
        // Debug forms: what callers wrote neither breaks nor forges lines.
        match untold {
            0 => warn!(target: AUDIT, ?by, ?from, ?call, reason, ?why, ?about, "refused"),
            _ => warn!(target: AUDIT, ?by, ?from, ?call, reason, ?why, ?about, untold, "refused"),
        }
    }

    /// Whether this refusal is told, and how many of the same caller before it were not.
    fn count(&self, by: Option<&Arc<str>>, now: Instant) -> Option<u32> {
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |span: &Span| now.duration_since(span.began) >= REFUSAL_SPAN;
        let mut by = by.cloned();
        if !spans.contains_key(&by) && spans.len() >= CALLERS_MAX {
            // Spans that are over and kept nothing back need not be remembered.
            spans.retain(|_, span| !is_over(span) || span.refusals > REFUSAL_LINES_MAX);
            if spans.len() >= CALLERS_MAX {
                by = None;
            }
        }
        match spans.get_mut(&by) {
            Some(span) if !is_over(span) => {
                span.refusals = span.refusals.saturating_add(1);
                (span.refusals <= REFUSAL_LINES_MAX).then_some(0)
            }
            before => {
                let untold = before.map_or(0, |span| span.refusals.saturating_sub(REFUSAL_LINES_MAX));
                spans.insert(by, Span { began: now, refusals: 1 });
                Some(untold)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flood writes ten lines in ten seconds, and the next one says how many it was; another caller's lines are written all the
    /// while.
    #[test]
    fn floods_do_not_fill_the_log() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let told = (0..1000).filter(|_| refusals.count(None, start).is_some()).count();
        assert_eq!(told, usize::try_from(REFUSAL_LINES_MAX).unwrap());
        let alice = Arc::from("alice");
        assert_eq!(refusals.count(Some(&alice), start), Some(0));
        assert_eq!(refusals.count(None, start + REFUSAL_SPAN), Some(1000 - REFUSAL_LINES_MAX));
        assert_eq!(refusals.count(None, start + REFUSAL_SPAN), Some(0));
    }

    /// As many callers as are counted apart, and one more, who shares the strangers' lines.
    #[test]
    fn callers_beyond_the_limit_share_lines() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let count = |name: &str, now| refusals.count(Some(&Arc::from(name)), now);
        for n in 0..CALLERS_MAX {
            assert_eq!(count(&n.to_string(), start), Some(0));
        }
        let told = (0..1000).filter(|n| count(&format!("more {n}"), start).is_some()).count();
        assert_eq!(told, usize::try_from(REFUSAL_LINES_MAX).unwrap());
        assert!(refusals.0.lock().unwrap().len() <= CALLERS_MAX + 1);
        assert_eq!(count("later", start + REFUSAL_SPAN), Some(0));
        assert!(refusals.0.lock().unwrap().len() <= 2, "what is over is forgotten");
    }
}
