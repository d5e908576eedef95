//! What stands at doors that others can reach: TLS, client certificates, bearer tokens. Owns their files and which doors must have
//! them; what a caller may then do is `access`'.

use crate::{
    access::{TokenError, Tokens},
    bind::Bind,
    server,
};
use ::ring::digest::{Context, SHA256, digest};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{
        NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};
use std::{
    fs,
    io::{self, Read},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes of a file with tokens, certificates or a key.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Where the guard's secrets are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardFiles {
    /// This process's certificate and those up to, but without, the root; PEM.
    pub certificate: Option<PathBuf>,
    /// The certificate's private key; PEM. Others must not be able to read it.
    pub key: Option<PathBuf>,
    /// Roots of client certificates, PEM: who has none of theirs is not let in.
    pub clients: Option<PathBuf>,
    /// Bearer tokens, a line `NAME SCOPE TOKEN` each. Others must not be able to read it.
    pub tokens: Option<PathBuf>,
}

impl GuardFiles {
    /// Whether there are all that are needed, before anyone reads them: `binds` are the addresses that are to be opened.
    ///
    /// # Errors
    ///
    /// One without the other, or an address that others could reach and nobody would ask who they are.
    pub fn check(&self, binds: &[Bind]) -> Result<(), GuardError> {
        match (&self.certificate, &self.key) {
            (Some(_), None) | (None, Some(_)) => return Err(GuardError::Half),
            (None, None) if self.clients.is_some() => return Err(GuardError::ClientsWithoutTls),
            _ => {}
        }
        let is_guarded = self.certificate.is_some() && (self.clients.is_some() || self.tokens.is_some());
        match binds.iter().find_map(Bind::remote) {
            Some(address) if !is_guarded => Err(GuardError::Unguarded(address)),
            _ => Ok(()),
        }
    }
}

/// What stands at the doors. The default asks nothing, and opens no door that others can reach.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) asks_certificates: bool,
    pub(crate) tokens: Option<Arc<Tokens>>,
    /// Of what the files of certificate and key hold.
    shown: Vec<u8>,
    /// Of what the file of client roots holds.
    roots: Vec<u8>,
}

/// What of a guard is another than before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renewed {
    /// The certificate that is shown, or its key.
    pub certificate: bool,
    /// Who is let in: tokens, or roots of client certificates.
    pub callers: bool,
}

/// Why the doors cannot be guarded as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is larger than any that makes sense.
    #[error("{} has more than {FILE_BYTES_MAX} bytes: is it the right file?", .0.display())]
    TooLarge(PathBuf),
    /// A secret that is none.
    #[error("other users can read {}: chmod o= it", .0.display())]
    Open(PathBuf),
    /// Something in a PEM file.
    #[error("{}: {problem}", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Something in the token file.
    #[error("{}, {source}", path.display())]
    Tokens {
        /// Which file.
        path: PathBuf,
        /// Where, and what is wrong.
        source: TokenError,
    },
    /// Key and certificate are no pair, or of a kind that is not supported.
    #[error("the admin certificate and its key cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    /// The roots of client certificates are no roots.
    #[error("client certificates cannot be checked: {0}")]
    Clients(#[from] VerifierBuilderError),
    /// One without the other.
    #[error("a certificate needs its key and a key its certificate: give both, --admin-cert and --admin-key")]
    Half,
    /// Client certificates are part of TLS.
    #[error("client certificates need TLS: give --admin-cert and --admin-key, too")]
    ClientsWithoutTls,
    /// Others could reach it, and nobody would ask who they are.
    #[error(
        "{0} can be reached from other machines, and whoever is let in may steer this process: give --admin-cert and --admin-key, and \
         --admin-tokens or --admin-clients; or take 127.0.0.1, [::1] or a Unix socket"
    )]
    Unguarded(SocketAddr),
}

impl Guard {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// One of them is missing or wrong; the error says what to do.
    pub fn read(files: &GuardFiles) -> Result<Self, GuardError> {
        files.check(&[])?;
        // Each file is read once: what is compared later is what is used now.
        let certificate = load(files.certificate.as_deref(), contents)?;
        let key = load(files.key.as_deref(), secret)?;
        let clients = load(files.clients.as_deref(), contents)?;
        let tokens = load(files.tokens.as_deref(), secret)?;
        let (shown, roots) = (hash(&[&certificate, &key]), hash(&[&clients]));
        let asks_certificates = clients.is_some();
        let tls = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(Arc::new(tls(certificate, key, clients)?)),
            // The files fit together: there is neither.
            _ => None,
        };
        let tokens = tokens.map(|(path, text)| {
            let tokens = Tokens::parse(&String::from_utf8_lossy(&text));
            tokens.map_err(|source| GuardError::Tokens { path: path.to_owned(), source })
        });
        Ok(Self { tls, asks_certificates, tokens: tokens.transpose()?.map(Arc::new), shown, roots })
    }

    /// What of this is another than it was in `old`.
    pub(crate) fn renewed(&self, old: &Self) -> Renewed {
        Renewed {
            certificate: self.shown != old.shown,
            callers: self.roots != old.roots || self.tokens != old.tokens,
        }
    }

    /// Whether an address may be opened with this guard.
    ///
    /// # Errors
    ///
    /// Others could reach it, and nobody would ask who they are.
    pub fn covers(&self, bind: &Bind) -> Result<(), GuardError> {
        match bind.remote() {
            Some(address) if self.tls.is_none() || !(self.asks_certificates || self.tokens.is_some()) => {
                Err(GuardError::Unguarded(address))
            }
            _ => Ok(()),
        }
    }
}

/// What both sides of TLS compute with.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A file and what is in it.
type Loaded<'a> = (&'a Path, Vec<u8>);

fn load(
    path: Option<&Path>,
    read: fn(&Path) -> Result<Vec<u8>, GuardError>,
) -> Result<Option<Loaded<'_>>, GuardError> {
    path.map(|path| Ok((path, read(path)?))).transpose()
}

/// Tells files' contents apart; no file is something else than an empty one.
fn hash(files: &[&Option<Loaded<'_>>]) -> Vec<u8> {
    let mut hash = Context::new(&SHA256);
    for file in files {
        let contents = file.as_ref().map(|(_, contents)| contents.as_slice());
        hash.update(digest(&SHA256, contents.unwrap_or_default()).as_ref());
        hash.update(&[u8::from(contents.is_some())]);
    }
    hash.finish().as_ref().to_vec()
}

fn tls(
    certificate: Loaded<'_>,
    key: Loaded<'_>,
    clients: Option<Loaded<'_>>,
) -> Result<ServerConfig, GuardError> {
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some((path, text)) => {
            let roots = Arc::new(roots_in(path, &text)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
            builder.with_client_cert_verifier(Arc::new(Noticing(verifier)))
        }
    };
    let chain = certificates_in(certificate.0, &certificate.1)?;
    let mut config = builder.with_single_cert(chain, private_key_in(key.0, &key.1)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A session that is taken up again would not be checked again: its certificate may have expired meanwhile.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// How a certificate is named in the log: the beginning of its SHA-256, as `openssl x509 -fingerprint -sha256` tells it, in lower
/// case and without colons.
pub(crate) fn certificate_name(certificate: &[u8]) -> String {
    let hash = ::ring::digest::digest(&::ring::digest::SHA256, certificate);
    let digits: String = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("certificate {digits}")
}

/// Notes which certificate is shown before it is checked: of one that is no good nothing is known afterwards.
#[derive(Debug)]
struct Noticing(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Noticing {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        server::tls::shown(end_entity);
        self.0.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Roots in a PEM file.
pub(crate) fn roots(path: &Path) -> Result<RootCertStore, GuardError> {
    roots_in(path, &contents(path)?)
}

fn roots_in(path: &Path, text: &[u8]) -> Result<RootCertStore, GuardError> {
    let mut roots = RootCertStore::empty();
    for root in certificates_in(path, text)? {
        roots.add(root).map_err(|error| pem(path, error))?;
    }
    Ok(roots)
}

/// Certificates in a PEM file; at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, GuardError> {
    certificates_in(path, &contents(path)?)
}

fn certificates_in(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, GuardError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(pem(path, "has no certificate in PEM form")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(pem(path, error)),
    }
}

/// The private key in a PEM file that others cannot read.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, GuardError> {
    private_key_in(path, &secret(path)?)
}

fn private_key_in(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, GuardError> {
    PrivateKeyDer::from_pem_slice(text)
        .map_err(|error| pem(path, format!("has no private key in PEM form: {error}")))
}

fn pem(path: &Path, problem: impl std::fmt::Display) -> GuardError {
    GuardError::Pem { path: path.to_owned(), problem: problem.to_string() }
}

/// A file that others must not be able to read.
fn secret(path: &Path) -> Result<Vec<u8>, GuardError> {
    let unreadable = |source| GuardError::Unreadable { path: path.to_owned(), source };
    if fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o007 != 0 {
        return Err(GuardError::Open(path.to_owned()));
    }
    contents(path)
}

fn contents(path: &Path) -> Result<Vec<u8>, GuardError> {
    let unreadable = |source| GuardError::Unreadable { path: path.to_owned(), source };
    let mut contents = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut contents).map_err(unreadable)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(GuardError::TooLarge(path.to_owned()));
    }
    Ok(contents)
}
