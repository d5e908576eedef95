//! A client's connection to an admin address, over TLS where others could listen. The generated clients speak over it; it is given up
//! with the last of them.

use crate::{
    bind::Bind,
    causes::causes,
    guard::{GuardError, certificates, private_key, provider, roots},
    v1::{
        peer_service_client::PeerServiceClient, runtime_service_client::RuntimeServiceClient,
        splitter_service_client::SplitterServiceClient,
    },
};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, Uri, header::AUTHORIZATION};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName, version::TLS13};
use std::{
    error::Error,
    fmt, io,
    net::IpAddr,
    path::PathBuf,
    str::FromStr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tower_service::Service;

/// How long a silent server is waited for, besides the deadline of each call.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Where an admin API answers, as clients name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket's path, written `unix:/run/p2psp/admin.sock`.
    Unix(PathBuf),
    /// A host and a port, written `tv.example.org:4490`; spoken to over TLS unless it is this machine's loopback.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no admin address: write unix:/run/p2psp/admin.sock, 127.0.0.1:4490 or tv.example.org:4490")]
pub struct ParseAddressError(String);

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let wrong = || ParseAddressError(text.to_owned());
        if text.starts_with("unix:") {
            return text.parse::<Bind>().map(Self::from).map_err(|_| wrong());
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        // A name, or an address without brackets that has no colon of its own.
        let is_host = ServerName::try_from(bare).is_ok() && (bare != host || !host.contains(':'));
        if is_host { Ok(Self::Tcp { host: bare.to_owned(), port }) } else { Err(wrong()) }
    }
}

impl From<Bind> for Address {
    fn from(bind: Bind) -> Self {
        match bind {
            Bind::Unix(path) => Self::Unix(path),
            Bind::Tcp(address) => Self::Tcp { host: address.ip().to_string(), port: address.port() },
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// What a client shows, and what it believes.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Roots of the server's certificate, PEM; the public ones by default.
    pub roots: Option<PathBuf>,
    /// This client's certificate and its key, PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A bearer token.
    pub token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "(set)");
        f.debug_struct("Credentials")
            .field("roots", &self.roots)
            .field("certificate", &self.certificate)
            .field("token", &token)
            .finish()
    }
}

/// Why an admin address does not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody listens there, or may be asked.
    #[error(
        "cannot reach the admin address {address}: {source}; check that the process runs with --admin {address}"
    )]
    Io {
        /// Where.
        address: Address,
        /// What the system says.
        source: io::Error,
    },
    /// Not one of us, or not believed.
    #[error(
        "no TLS with {address}: {source}; --ca names the root of its certificate, --cert and --cert-key this side's"
    )]
    Tls {
        /// Where.
        address: Address,
        /// What is wrong.
        source: io::Error,
    },
    /// The credentials cannot be used.
    #[error(transparent)]
    Credentials(#[from] GuardError),
    /// The token has characters that no token has.
    #[error("the token is none: it has characters that cannot be sent")]
    Token,
    /// Somebody answers who does not speak HTTP/2.
    #[error("what answers at {address} is no admin API: {source}")]
    Protocol {
        /// Where.
        address: Address,
        /// What was expected.
        source: hyper::Error,
    },
    /// Nobody said anything in time.
    #[error("nothing answered at {address} within {within:?}")]
    TimedOut {
        /// Where.
        address: Address,
        /// How long was waited.
        within: Duration,
    },
}

/// Why the other side does not accept this side's certificate, in words and with what to do, if that is the end of a connection: it is
/// told by a TLS alert, with TLS 1.3 after this side believes the connection to be open.
#[must_use]
pub fn certificate_problem(error: &(dyn Error + 'static)) -> Option<&'static str> {
    // HTTP/2 keeps of what ended its connection the text alone.
    let mut texts = causes(error).map(ToString::to_string);
    texts.find_map(|text| problem(text.strip_prefix("received fatal alert: ")?))
}

fn problem(alert: &str) -> Option<&'static str> {
    match alert {
        "CertificateExpired" => {
            Some("this certificate has expired: get a new one of the same root for --cert and --cert-key")
        }
        "CertificateRequired" => Some("a certificate is asked for: give --cert and --cert-key"),
        "UnknownCA"
        | "BadCertificate"
        | "CertificateUnknown"
        | "CertificateRevoked"
        | "UnsupportedCertificate"
        | "DecryptError"
        | "AccessDenied" => Some(
            "this certificate is not accepted: --cert needs one that a root of the process's --admin-clients signed",
        ),
        _ => None,
    }
}

/// A connection; clones share it.
#[derive(Clone, Debug)]
pub struct Connection {
    requests: http2::SendRequest<Body>,
    origin: Uri,
    authorization: Option<HeaderValue>,
}

impl Connection {
    /// Connects to an admin address.
    ///
    /// # Errors
    ///
    /// Nobody answers there `within` that time, or not as an admin API does; or the credentials are no good.
    pub async fn open(
        address: &Address,
        credentials: &Credentials,
        within: Duration,
    ) -> Result<Self, ConnectError> {
        let failed = |source| ConnectError::Io { address: address.clone(), source };
        let authorization = credentials.token.as_ref().map(|token| {
            let mut value =
                HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| ConnectError::Token)?;
            value.set_sensitive(true);
            Ok::<_, ConnectError>(value)
        });
        let authorization = authorization.transpose()?;
        let connect = async {
            match address {
                Address::Unix(path) => {
                    let stream = UnixStream::connect(path).await.map_err(failed)?;
                    handshake(address, stream, "http", "localhost").await
                }
                Address::Tcp { host, port } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
                    // Small requests must not wait for acknowledgements; where that cannot be, they do.
                    stream.set_nodelay(true).ok();
                    let authority = address.to_string();
                    if is_loopback(host) {
                        return handshake(address, stream, "http", &authority).await;
                    }
                    let name = ServerName::try_from(host.clone())
                        .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
                    let connector = TlsConnector::from(Arc::new(tls(credentials)?));
                    let stream = connector
                        .connect(name, stream)
                        .await
                        .map_err(|source| ConnectError::Tls { address: address.clone(), source })?;
                    handshake(address, stream, "https", &authority).await
                }
            }
        };
        let timed_out = |_| ConnectError::TimedOut { address: address.clone(), within };
        let connection = timeout(within, connect).await.map_err(timed_out)??;
        Ok(Self { authorization, ..connection })
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

/// Whether this machine itself answers, so that nobody listens on the way.
fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn tls(credentials: &Credentials) -> Result<ClientConfig, GuardError> {
    let roots = match &credentials.roots {
        Some(path) => roots(path)?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots);
    let mut config = match &credentials.certificate {
        Some((certificate, key)) => {
            builder.with_client_auth_cert(certificates(certificate)?, private_key(key)?)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

async fn handshake<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    address: &Address,
    stream: S,
    scheme: &str,
    authority: &str,
) -> Result<Connection, ConnectError> {
    let protocol = |source| ConnectError::Protocol { address: address.clone(), source };
    let (requests, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(protocol)?;
    // It ends with the last clone of the connection; what it ends with is every call's error as well.
    drop(tokio::spawn(async move { connection.await.ok() }));
    let origin = Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build();
    let origin = origin.expect("server names and addresses are authorities");
    Ok(Connection { requests, origin, authorization: None })
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Response<Incoming>, hyper::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.requests.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        Box::pin(self.requests.send_request(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_back() {
        for text in
            ["unix:/run/a.sock", "127.0.0.1:4490", "[2001:db8::1]:1", "tv.example.org:4490", "localhost:1"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for wrong in
            ["unix:", "4490", "tv.example.org", "2001:db8::1:4490", "a b:1", ":1", "tv.example.org:99999"]
        {
            let error = wrong.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("tv.example.org:4490"), "{wrong}");
        }
        for (host, expected) in
            [("localhost", true), ("127.1.2.3", true), ("::1", true), ("192.0.2.1", false)]
        {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
        let shown = Credentials { token: Some("secret".to_owned()), ..Credentials::default() };
        assert!(!format!("{shown:?}").contains("secret"));
    }
}
