//! A node's Ed25519 key: made, read, kept in a file that nobody else can read. Never shows the secret; knows no TLS handshake
//! and no peer.

use data_encoding::BASE64;
use p2psp_wire::{ChannelId, PeerId};
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use rustls::{
    pki_types::{PrivatePkcs8KeyDer, pem::PemObject},
    sign::SigningKey,
};
use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Most bytes of a key file. An Ed25519 key takes about 120.
const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;

/// A node's Ed25519 key pair. Clones share it; neither `Debug` nor `Display` shows the secret.
#[derive(Clone)]
pub struct Identity {
    peer: PeerId,
    signing: Arc<dyn SigningKey>,
    manifests: p2psp_core::SigningKey,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The bytes are no Ed25519 key in PKCS#8 form.
    #[error("this is no Ed25519 private key in PKCS#8 form; `openssl genpkey -algorithm ed25519` makes one")]
    NoKey,
    /// A file holds no Ed25519 key.
    #[error(
        "{} holds no Ed25519 private key in PKCS#8 form (PEM or DER); move it away to get a new key, \
         or make one with `openssl genpkey -algorithm ed25519`", .0.display()
    )]
    NoKeyInFile(PathBuf),
    /// Others than the owner can read or change the key file; its mode is given.
    #[error("others can read or change the key file {} (mode {mode:03o}); run `chmod 600` on it", .path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file cannot be read.
    #[error("cannot read the key file {}: {source}; check its path and permissions", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be made.
    #[error("cannot write the key file {}: {source}; check that its folder can be written", .path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Identity {
    /// A new key from the system's entropy.
    ///
    /// # Panics
    ///
    /// When the system has no entropy to give: nothing secure can be done without.
    #[must_use]
    pub fn generate() -> Self {
        Self::from_pkcs8(&generate_pkcs8()).expect("ring reads the keys that it makes")
    }

    /// The key in a PKCS#8 document (RFC 5958; version 1 without the public key is read too).
    ///
    /// # Errors
    ///
    /// [`IdentityError::NoKey`] when `der` is no Ed25519 private key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, IdentityError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| IdentityError::NoKey)?;
        let peer = PeerId::try_from(pair.public_key().as_ref()).map_err(|_| IdentityError::NoKey)?;
        let signing = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(der))
            .map_err(|_| IdentityError::NoKey)?;
        Ok(Self { peer, signing, manifests: p2psp_core::SigningKey::new(pair) })
    }

    /// The same key for manifests: a splitter's node key is its channel's (R-ID-3).
    #[must_use]
    pub fn manifest_key(&self) -> p2psp_core::SigningKey {
        self.manifests.clone()
    }

    /// Reads the key file (PEM or DER), or makes it: PEM, mode 0600, its folder made where missing. When two processes make
    /// the same file at once, both get the key of the first.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] says which file, what is wrong with it and what to do.
    pub fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        let write_error = |source| IdentityError::Write { path: path.to_owned(), source };
        match File::open(path) {
            Ok(file) => return load(path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(IdentityError::Read { path: path.to_owned(), source }),
        }
        create(path).map_err(write_error)?;
        let file =
            File::open(path).map_err(|source| IdentityError::Read { path: path.to_owned(), source })?;
        load(path, file)
    }

    /// Who the node is.
    #[must_use]
    pub const fn peer_id(&self) -> PeerId {
        self.peer
    }

    /// The same key as a channel's: a splitter proves the channel's own key (R-ID-3).
    #[must_use]
    pub const fn channel_id(&self) -> ChannelId {
        ChannelId::new(*self.peer.as_bytes())
    }

    /// For the TLS handshake.
    pub(crate) fn signing_key(&self) -> Arc<dyn SigningKey> {
        Arc::clone(&self.signing)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.peer).finish()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.peer.fmt(f)
    }
}

fn generate_pkcs8() -> Vec<u8> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("the system has entropy");
    document.as_ref().to_vec()
}

fn load(path: &Path, file: File) -> Result<Identity, IdentityError> {
    let read_error = |source| IdentityError::Read { path: path.to_owned(), source };
    refuse_exposed(path, &file)?;
    let mut bytes = Vec::new();
    file.take(KEY_FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(read_error)?;
    let identity = match PrivatePkcs8KeyDer::from_pem_slice(&bytes) {
        Ok(der) => Identity::from_pkcs8(der.secret_pkcs8_der()),
        Err(_not_pem) => Identity::from_pkcs8(&bytes),
    };
    identity.map_err(|_| IdentityError::NoKeyInFile(path.to_owned()))
}

#[cfg(unix)]
fn refuse_exposed(path: &Path, file: &File) -> Result<(), IdentityError> {
    use std::os::unix::fs::PermissionsExt;
    let read_error = |source| IdentityError::Read { path: path.to_owned(), source };
    let mode = file.metadata().map_err(read_error)?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(IdentityError::Exposed { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn refuse_exposed(_path: &Path, _file: &File) -> Result<(), IdentityError> {
    // Elsewhere the user's profile folder is private by its inherited access list.
    Ok(())
}

/// Writes a new key beside `path` and links it into place, so that no reader ever sees half a key and no key is overwritten.
fn create(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // The new key's own name makes the draft's name unique among processes and threads.
    let der = generate_pkcs8();
    let unique = Identity::from_pkcs8(&der).map_err(io::Error::other)?.peer_id().short();
    let draft = folder.join(format!(".key-{unique}"));
    let mut file = options.open(&draft)?;
    let written = file.write_all(pem(&der).as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    fs::remove_file(&draft)?;
    linked
}

fn pem(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
    let body = BASE64.encode(der);
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder of the test's own, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("p2psp-net-{}-{count}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// The second call reads what the first one wrote, through folders that did not exist.
    #[test]
    fn a_key_file_keeps_the_identity() {
        let folder = Folder::new();
        let path = folder.0.join("deep/down/node.key");
        let made = Identity::load_or_create(&path).unwrap();
        assert_eq!(Identity::load_or_create(&path).unwrap().peer_id(), made.peer_id());
        assert_ne!(Identity::generate().peer_id(), made.peer_id());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft stays behind");
    }

    /// Only the owner can read a new key file; one that others can read is refused with the remedy.
    #[cfg(unix)]
    #[test]
    fn a_key_file_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::new();
        let path = folder.0.join("node.key");
        Identity::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o644, 0o620, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Identity::load_or_create(&path).unwrap_err();
            assert!(matches!(error, IdentityError::Exposed { mode: found, .. } if found == mode), "{error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    /// DER and PEM give the same key; a file without a key is named, never overwritten.
    #[test]
    fn reads_der_and_refuses_the_rest() {
        let folder = Folder::new();
        let der = generate_pkcs8();
        let expected = Identity::from_pkcs8(&der).unwrap().peer_id();
        let private = |name: &str, bytes: &[u8]| {
            let path = folder.0.join(name);
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options.open(&path).unwrap().write_all(bytes).unwrap();
            path
        };
        assert_eq!(Identity::load_or_create(&private("key.der", &der)).unwrap().peer_id(), expected);
        assert_eq!(
            Identity::load_or_create(&private("key.pem", pem(&der).as_bytes())).unwrap().peer_id(),
            expected
        );
        for (name, bytes) in
            [("empty", &b""[..]), ("text", b"hello"), ("cut", &der[..40]), ("huge", &[7; 100_000])]
        {
            let path = private(name, bytes);
            let error = Identity::load_or_create(&path).unwrap_err();
            assert!(matches!(&error, IdentityError::NoKeyInFile(found) if *found == path), "{name}: {error}");
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }

    /// Many threads that make the same file agree on one key.
    #[test]
    fn racing_makers_agree() {
        let folder = Folder::new();
        let path = folder.0.join("node.key");
        let ids: Vec<PeerId> = std::thread::scope(|scope| {
            let makers: Vec<_> =
                (0..8).map(|_| scope.spawn(|| Identity::load_or_create(&path).unwrap().peer_id())).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]));
    }

    /// Neither form of printing shows more than the public key.
    #[test]
    fn printing_hides_the_secret() {
        let identity = Identity::generate();
        assert_eq!(format!("{identity:?}"), format!("Identity({:?})", identity.peer_id()));
        assert_eq!(identity.to_string(), identity.peer_id().to_string());
        assert_eq!(identity.channel_id().as_bytes(), identity.peer_id().as_bytes());
    }
}
