//! A client's connection to an admin address. The generated clients speak over it; it is given up with the last of them.

use crate::{
    bind::Bind,
    v1::{
        peer_service_client::PeerServiceClient, runtime_service_client::RuntimeServiceClient,
        splitter_service_client::SplitterServiceClient,
    },
};
use futures_util::future::BoxFuture;
use http::{Request, Response, Uri};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{
    io,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tonic::body::Body;
use tower_service::Service;

/// How long a silent server is waited for, besides the deadline of each call.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Why an admin address does not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody listens there, or may be asked.
    #[error(
        "cannot reach the admin address {bind}: {source}; check that the process runs with --admin {bind}"
    )]
    Io {
        /// Where.
        bind: Bind,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody answers who does not speak HTTP/2.
    #[error("what answers at {bind} is no admin API: {source}")]
    Protocol {
        /// Where.
        bind: Bind,
        /// What was expected.
        source: hyper::Error,
    },
    /// Nobody said anything in time.
    #[error("nothing answered at {bind} within {within:?}")]
    TimedOut {
        /// Where.
        bind: Bind,
        /// How long was waited.
        within: Duration,
    },
}

/// A connection; clones share it.
#[derive(Clone, Debug)]
pub struct Connection {
    requests: http2::SendRequest<Body>,
    origin: Uri,
}

impl Connection {
    /// Connects to an admin address.
    ///
    /// # Errors
    ///
    /// Nobody answers there `within` that time, or not as an admin API does.
    pub async fn open(bind: &Bind, within: Duration) -> Result<Self, ConnectError> {
        let failed = |source| ConnectError::Io { bind: bind.clone(), source };
        let connect = async {
            match bind {
                Bind::Unix(path) => {
                    let stream = UnixStream::connect(path).await.map_err(failed)?;
                    handshake(bind, stream, "localhost").await
                }
                Bind::Tcp(address) => {
                    let stream = TcpStream::connect(address).await.map_err(failed)?;
                    handshake(bind, stream, &address.to_string()).await
                }
            }
        };
        let timed_out = |_| ConnectError::TimedOut { bind: bind.clone(), within };
        timeout(within, connect).await.map_err(timed_out)?
    }

    /// Speaks to the `RuntimeService` of any process.
    #[must_use]
    pub fn runtime(&self) -> RuntimeServiceClient<Self> {
        RuntimeServiceClient::with_origin(self.clone(), self.origin.clone())
    }

    /// Speaks to a splitter.
    #[must_use]
    pub fn splitter(&self) -> SplitterServiceClient<Self> {
        SplitterServiceClient::with_origin(self.clone(), self.origin.clone())
    }

    /// Speaks to a peer.
    #[must_use]
    pub fn peer(&self) -> PeerServiceClient<Self> {
        PeerServiceClient::with_origin(self.clone(), self.origin.clone())
    }
}

async fn handshake<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    bind: &Bind,
    stream: S,
    authority: &str,
) -> Result<Connection, ConnectError> {
    let protocol = |source| ConnectError::Protocol { bind: bind.clone(), source };
    let (requests, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(protocol)?;
    // It ends with the last clone of the connection; what it ends with is every call's error as well.
    drop(tokio::spawn(async move { connection.await.ok() }));
    let origin = Uri::builder().scheme("http").authority(authority).path_and_query("/").build();
    let origin = origin.expect("socket addresses are authorities");
    Ok(Connection { requests, origin })
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Response<Incoming>, hyper::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.requests.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.requests.send_request(request))
    }
}
