//! Where the admin API listens: Unix sockets that only their owner opens, loopback, and addresses that others reach, which need a
//! [`Guard`](crate::Guard). Owns how such an address is written, opened and taken away again.

use crate::guard::GuardError;
use std::{
    fmt, fs, io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// How a Unix socket's address begins.
const UNIX: &str = "unix:";

/// Rights of a Unix socket: whoever runs the process, and root.
const SOCKET_MODE: u32 = 0o600;

/// An address of the admin API.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Bind {
    /// A Unix socket's path, written `unix:/run/p2psp/admin.sock`.
    Unix(PathBuf),
    /// An address, written `127.0.0.1:4490`; TLS if it is not loopback.
    Tcp(SocketAddr),
}

/// Why a text is no address of the admin API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseBindError {
    /// Neither of both kinds.
    #[error(
        "`{0}` is no admin address: write unix:/run/p2psp/admin.sock, or an address such as 127.0.0.1:4490"
    )]
    Form(String),
}

/// Why an address of the admin API cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Nothing would stand between it and other machines.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// Another process answers there.
    #[error("the admin address {0} is in use by another process: choose another with --admin")]
    InUse(Bind),
    /// Anything else.
    #[error("cannot open the admin address {bind}: {source}; choose another with --admin")]
    Other {
        /// Which.
        bind: Bind,
        /// What the system says.
        source: io::Error,
    },
}

impl FromStr for Bind {
    type Err = ParseBindError;

    fn from_str(text: &str) -> Result<Self, ParseBindError> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return if path.is_empty() {
                Err(ParseBindError::Form(text.to_owned()))
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| ParseBindError::Form(text.to_owned()))
    }
}

impl Bind {
    /// The address, if other machines may reach it.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) if !address.ip().to_canonical().is_loopback() => Some(*address),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }
}

impl TryFrom<String> for Bind {
    type Error = ParseBindError;

    fn try_from(text: String) -> Result<Self, ParseBindError> {
        text.parse()
    }
}

impl From<Bind> for String {
    fn from(bind: Bind) -> Self {
        bind.to_string()
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// An open address.
#[derive(Debug)]
pub(crate) enum Listener {
    Unix(UnixListener, SocketFile),
    Tcp(TcpListener),
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream, SocketAddr),
}

impl Accepted {
    /// Where it comes from, for the log.
    pub(crate) fn from(&self) -> Arc<str> {
        match self {
            Self::Unix(_) => "the Unix socket".into(),
            Self::Tcp(_, from) => from.to_string().into(),
        }
    }
}

impl Listener {
    /// Opens an address; a Unix socket that nobody listens on any more is replaced.
    pub(crate) async fn open(bind: &Bind) -> Result<Self, BindError> {
        let other = |source| BindError::Other { bind: bind.clone(), source };
        match bind {
            Bind::Tcp(address) => match TcpListener::bind(address).await {
                Ok(listener) => Ok(Self::Tcp(listener)),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(BindError::InUse(bind.clone())),
                Err(error) => Err(other(error)),
            },
            Bind::Unix(path) => {
                if UnixStream::connect(path).await.is_ok() {
                    return Err(BindError::InUse(bind.clone()));
                }
                if fs::symlink_metadata(path).is_ok_and(|found| !is_socket(&found)) {
                    let problem = "something that is no socket is there";
                    return Err(other(io::Error::new(io::ErrorKind::AlreadyExists, problem)));
                }
                open_socket(path)
                    .map(|listener| Self::Unix(listener, SocketFile(path.clone())))
                    .map_err(other)
            }
        }
    }

    /// The address with its real port.
    pub(crate) fn bind(&self) -> io::Result<Bind> {
        match self {
            Self::Unix(_, SocketFile(path)) => Ok(Bind::Unix(path.clone())),
            Self::Tcp(listener) => listener.local_addr().map(Bind::Tcp),
        }
    }

    /// The next connection. Cancel safe.
    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                // A change that a watcher hears must not wait for the acknowledgement of the one before; late is better than never.
                stream.set_nodelay(true).ok();
                Ok(Accepted::Tcp(stream, from))
            }
        }
    }
}

fn is_socket(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    found.file_type().is_socket()
}

/// Opens the socket in a folder that nobody else enters and moves it: it cannot be reached before it has the rights that it shall have,
/// whatever the process's mask is.
fn open_socket(path: &Path) -> io::Result<UnixListener> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = DraftFolder::new(path.with_file_name(format!(".{name}.{}", std::process::id())))?;
    let draft = folder.0.join("s");
    let listener = UnixListener::bind(&draft)?;
    let moved = fs::set_permissions(&draft, fs::Permissions::from_mode(SOCKET_MODE))
        .and_then(|()| fs::rename(&draft, path));
    if let Err(error) = moved {
        // It is in the way of the folder's end.
        fs::remove_file(&draft).ok();
        return Err(error);
    }
    Ok(listener)
}

/// A folder that only its owner enters, taken away when it is empty.
struct DraftFolder(PathBuf);

impl DraftFolder {
    fn new(path: PathBuf) -> io::Result<Self> {
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for DraftFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            tracing::debug!(%error, path = %self.0.display(), "an admin socket's draft folder is left");
        }
    }
}

/// A socket's file, taken away with its listener.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, path = %self.0.display(), "an admin socket's file is left");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket is moved to its name out of a folder that nobody else enters, of which nothing is left, also when it cannot be moved.
    #[tokio::test]
    async fn sockets_are_made_where_nobody_else_comes() {
        let folder = std::env::temp_dir().join(format!("p2psp-bind-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let draft = DraftFolder::new(folder.join("draft")).unwrap();
        assert_eq!(fs::metadata(&draft.0).unwrap().permissions().mode() & 0o777, 0o700);
        drop(draft);
        let path = folder.join("a.sock");
        let listener = open_socket(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "the socket alone");
        drop(listener);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        open_socket(&path).unwrap_err();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "what was in its place");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn addresses_parse_back_and_tell_who_reaches_them() {
        for text in
            ["unix:/run/p2psp/admin.sock", "127.0.0.1:4490", "[::1]:0", "127.9.9.9:1", "[::ffff:127.0.0.1]:1"]
        {
            let bind: Bind = text.parse().unwrap();
            assert_eq!((bind.to_string().as_str(), bind.remote()), (text, None));
        }
        for text in ["0.0.0.0:4490", "[::]:4490", "192.0.2.1:4490"] {
            let bind: Bind = text.parse().unwrap();
            assert_eq!(bind.remote(), Some(text.parse().unwrap()));
        }
        for (text, says) in
            [("unix:", "unix:/run"), ("4490", "127.0.0.1:4490"), ("localhost:4490", "127.0.0.1:4490")]
        {
            let error = text.parse::<Bind>().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
