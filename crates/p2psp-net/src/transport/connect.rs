//! From an address to a proven connection: dialing several addresses, waiting for handshakes, and why they fail. Knows no link
//! table and no machine.

use crate::{
    stats::Counters,
    tls::{self, ALERT_WRONG_ALPN, ALERT_WRONG_KEY},
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use p2psp_wire::{PeerId, limits::CANDIDATES_MAX};
use quinn::{ClientConfig, Connecting, Connection, ConnectionError, Endpoint, TransportErrorCode};
use std::{net::SocketAddr, time::Duration};
use tokio::time::{sleep, timeout};

/// How long one address has before the next is tried beside it (RFC 8305, section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Why no connection came of a handshake. The later in this list, the more it says about where to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failure {
    /// There is no address to try, or none that this socket can reach.
    NoAddress,
    /// Nothing came in time.
    TimedOut,
    /// The handshake broke off.
    Broken,
    /// The other side has no room, or does not accept.
    Refused,
    /// The two sides speak different versions.
    WrongVersion,
    /// The key is not the one that was dialed.
    WrongKey,
}

impl From<&ConnectionError> for Failure {
    fn from(error: &ConnectionError) -> Self {
        let code = match error {
            ConnectionError::TimedOut => return Self::TimedOut,
            ConnectionError::VersionMismatch => return Self::WrongVersion,
            ConnectionError::TransportError(error) => error.code,
            ConnectionError::ConnectionClosed(close) => close.error_code,
            ConnectionError::ApplicationClosed(_)
            | ConnectionError::Reset
            | ConnectionError::LocallyClosed
            | ConnectionError::CidsExhausted => return Self::Broken,
        };
        if code == TransportErrorCode::crypto(ALERT_WRONG_KEY) {
            Self::WrongKey
        } else if code == TransportErrorCode::crypto(ALERT_WRONG_ALPN) {
            Self::WrongVersion
        } else if code == TransportErrorCode::CONNECTION_REFUSED {
            Self::Refused
        } else {
            Self::Broken
        }
    }
}

impl Failure {
    pub(super) fn count(self, counters: &Counters) {
        match self {
            Self::NoAddress => return,
            Self::TimedOut => &counters.handshakes_timed_out,
            Self::Broken => &counters.handshakes_broken,
            Self::Refused => &counters.handshakes_refused,
            Self::WrongVersion => &counters.handshakes_wrong_version,
            Self::WrongKey => &counters.handshakes_wrong_key,
        }
        .add_one();
    }

    /// One line about a dial that reached nobody: the cause, and what to do.
    pub(super) fn log_dial(self, peer: PeerId) {
        let peer = peer.short();
        match self {
            Self::WrongKey => {
                tracing::warn!(%peer, "could not reach a peer: another node answers at its address, with another \
                key; check the key and the address, it may have moved")
            }
            Self::WrongVersion => {
                tracing::warn!(%peer, "could not reach a peer: it speaks another version of the protocol; \
                update the older of the two")
            }
            Self::Refused => {
                tracing::info!(%peer, "could not reach a peer: it refused, most likely it has no room; try later")
            }
            Self::Broken => {
                tracing::info!(%peer, "could not reach a peer: the handshake broke off; is it a P2PSP node?")
            }
            Self::TimedOut => {
                tracing::info!(%peer, "could not reach a peer: no answer from any of its addresses; is it up, \
                and does a firewall let UDP through?")
            }
            Self::NoAddress => {
                tracing::info!(%peer, "could not reach a peer: none of its addresses can be reached from this \
                socket (an IPv4 socket cannot reach IPv6 addresses: bind to [::])")
            }
        }
    }
}

/// Waits for a handshake that has begun.
pub(super) async fn within(connecting: Connecting, limit: Duration) -> Result<Connection, Failure> {
    match timeout(limit, connecting).await {
        Ok(result) => result.map_err(|error| Failure::from(&error)),
        Err(_elapsed) => Err(Failure::TimedOut),
    }
}

/// Tries addresses one after another, each with a head start over the next. The first that proves the key wins.
pub(super) async fn dial(
    endpoint: Endpoint,
    client: ClientConfig,
    peer: PeerId,
    addresses: Vec<SocketAddr>,
    limit: Duration,
) -> Result<Connection, Failure> {
    let server_name = tls::server_name(peer);
    let mut attempts = FuturesUnordered::new();
    let mut failure = Failure::NoAddress;
    for address in addresses.into_iter().take(CANDIDATES_MAX) {
        let Ok(connecting) = endpoint.connect_with(client.clone(), address, &server_name) else { continue };
        attempts.push(within(connecting, limit));
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(connection) => return Ok(connection),
                Err(error) => failure = failure.max(error),
            },
            () = sleep(NEXT_ADDRESS) => {}
        }
    }
    while let Some(result) = attempts.next().await {
        match result {
            Ok(connection) => return Ok(connection),
            Err(error) => failure = failure.max(error),
        }
    }
    Err(failure)
}
