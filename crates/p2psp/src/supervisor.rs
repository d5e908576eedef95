//! What a service manager is told (`sd_notify(3)`): the ports are open, the process is leaving. Nothing where nobody asks, which is
//! when `NOTIFY_SOCKET` is not set.

use sd_notify::NotifyState;
use tracing::warn;

/// All ports are open.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The settings are being read again; [`ready`] follows.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "the service manager is not told of the reload: no monotonic clock"),
    }
}

/// The process was asked to leave, and does.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager cannot be told; is NOTIFY_SOCKET right?");
    }
}
