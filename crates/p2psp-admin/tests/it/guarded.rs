//! Doors that others reach: TLS, client certificates, tokens and what their scopes open.

use crate::{
    plain::ask,
    services::code,
    team::{DEADLINE, Lab, peer_id},
};
use p2psp_admin::{
    Bind, BindError, Guard, GuardError, GuardFiles, Server,
    client::{Address, Connection, Credentials},
    v1,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

pub(crate) const READ: &str = "read-0123456789abcdef0123456789abcdef";
pub(crate) const OPERATE: &str = "operate-0123456789abcdef0123456789abcdef";
pub(crate) const ADMIN: &str = "admin-0123456789abcdef0123456789abcdef";
/// Reaches this machine, and is no loopback address: what is there speaks TLS.
const HOST: &str = "0.0.0.0";

/// Keys, certificates and tokens in a folder, taken away at the end.
pub(crate) struct Vault {
    folder: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Vault {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("p2psp-vault-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let vault = Self { folder, authority };
        vault.write("ca.pem", &vault.authority.pem(), 0o644);
        vault.write("tokens", &format!("r read {READ}\no operate {OPERATE}\na admin {ADMIN}\n"), 0o600);
        vault
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// A certificate and its key, valid until the end of a year.
    pub(crate) fn certificate(&self, name: &str, year: i32) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 12, 31);
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        (
            self.write(&format!("{name}.pem"), &certificate.pem(), 0o644),
            self.write(&format!("{name}.key"), &key.serialize_pem(), 0o600),
        )
    }

    pub(crate) fn files(&self, server: &(PathBuf, PathBuf), clients: bool, tokens: bool) -> GuardFiles {
        GuardFiles {
            certificate: Some(server.0.clone()),
            key: Some(server.1.clone()),
            clients: clients.then(|| self.path("ca.pem")),
            tokens: tokens.then(|| self.path("tokens")),
        }
    }

    pub(crate) fn credentials(&self, token: Option<&str>) -> Credentials {
        let token = token.map(str::to_owned);
        Credentials { roots: Some(self.path("ca.pem")), token, ..Credentials::default() }
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

pub(crate) async fn connect(lab: &Lab, credentials: &Credentials) -> Result<Connection, String> {
    let address = Address::Tcp { host: HOST.to_owned(), port: lab.tcp.port() };
    Connection::open(&address, credentials, DEADLINE).await.map_err(|error| error.to_string())
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().unwrap().reason.clone()
}

pub(crate) fn expel(n: u16) -> v1::ExpelPeerRequest {
    v1::ExpelPeerRequest { peer: peer_id(n).to_string(), ..v1::ExpelPeerRequest::default() }
}

/// No token, a wrong one, and each scope: what is refused is told why and changes nothing.
#[tokio::test]
async fn tokens_open_what_their_scope_says() {
    let vault = Vault::new("scopes");
    let guard = Guard::read(&vault.files(&vault.certificate("server", 2100), false, true)).unwrap();
    let lab = Lab::guarded("scopes", 3, "0.0.0.0:0", guard).await;
    let open = async |token| connect(&lab, &vault.credentials(token)).await.unwrap();

    for (token, expected) in
        [(None, "NO_TOKEN"), (Some("wrong"), "WRONG_TOKEN"), (Some(&READ[1..]), "WRONG_TOKEN")]
    {
        let connection = open(token).await;
        let status = connection.splitter().get_team(v1::GetTeamRequest {}).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, expected));
        let status = connection.splitter().watch_team(v1::WatchTeamRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    let drain = || v1::DrainRequest { request_id: String::new() };
    let read = open(Some(READ)).await;
    read.splitter().get_team(v1::GetTeamRequest {}).await.unwrap();
    read.splitter().watch_team(v1::WatchTeamRequest::default()).await.unwrap();
    let status = read.splitter().expel_peer(expel(1)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "SCOPE"));
    assert!(status.message().contains("needs the scope operate; r has read"), "{status}");
    assert_eq!(lab.team.peers.slots(), [0, 1, 2], "nothing has happened");

    let operate = open(Some(OPERATE)).await;
    operate.splitter().expel_peer(expel(1)).await.unwrap();
    assert_eq!(lab.team.peers.slots(), [0, 2]);
    assert_eq!(code(operate.runtime().drain(drain()).await), Code::PermissionDenied);
    assert_eq!(lab.team.drains.load(std::sync::atomic::Ordering::Relaxed), 0);
    open(Some(ADMIN)).await.runtime().drain(drain()).await.unwrap();
    assert_eq!(lab.team.drains.load(std::sync::atomic::Ordering::Relaxed), 1);
    // Whoever may open the socket needs no token.
    lab.connect().await.splitter().expel_peer(expel(2)).await.unwrap();
    lab.close().await;
}

/// With tokens a loopback port asks for them, too; probes are answered without, and told no reasons.
#[tokio::test]
async fn plain_http_asks_for_tokens_too() {
    let vault = Vault::new("plain");
    let files = GuardFiles { tokens: Some(vault.path("tokens")), ..GuardFiles::default() };
    let mut lab = Lab::guarded("plain", 1, "127.0.0.1:0", Guard::read(&files).unwrap()).await;
    let get = async |path: &str, token: &str| {
        let address = lab.tcp;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        ask(address, &head).await
    };
    let refused = get("/metrics", "wrong").await;
    assert!(
        refused.starts_with("HTTP/1.1 401") && refused.contains("www-authenticate: Bearer error="),
        "{refused}"
    );
    assert!(get("/metrics", READ).await.contains("\np2psp_splitter_team_peers 1\n"));
    assert!(get("/nowhere", READ).await.starts_with("HTTP/1.1 403"), "what is not known needs the most");
    assert!(get("/nowhere", ADMIN).await.starts_with("HTTP/1.1 404"));
    assert!(get("/livez", "").await.starts_with("HTTP/1.1 200"));
    lab.leave();
    tokio::task::yield_now().await;
    let head = format!("GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", lab.tcp);
    let answer = ask(lab.tcp, &head).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("draining: not at work\n"), "{answer}");
    lab.close().await;
}

/// A client certificate of the right root opens; none, an expired one, or another root's does not, and disturbs nobody.
#[tokio::test]
async fn certificates_open_doors() {
    let (vault, other) = (Vault::new("mtls"), Vault::new("mtls-other"));
    let guard = Guard::read(&vault.files(&vault.certificate("server", 2100), true, false)).unwrap();
    let lab = Lab::guarded("mtls", 2, "0.0.0.0:0", guard).await;
    let with = |certificate| Credentials { certificate, ..vault.credentials(None) };
    let good = connect(&lab, &with(Some(vault.certificate("alice", 2100)))).await.unwrap();
    good.runtime().drain(v1::DrainRequest::default()).await.unwrap();
    for certificate in [None, Some(vault.certificate("late", 2001)), Some(other.certificate("mallory", 2100))]
    {
        // TLS 1.3 clients hear of it with the first answer.
        let outcome = match connect(&lab, &with(certificate)).await {
            Ok(connection) => {
                connection.runtime().get_info(v1::GetInfoRequest {}).await.map_err(|s| s.to_string())
            }
            Err(error) => Err(error),
        };
        assert!(outcome.is_err());
    }
    good.splitter().expel_peer(expel(1)).await.unwrap();
    assert_eq!(lab.team.peers.slots(), [0]);
    lab.close().await;
}

/// With both, a certificate opens the door and a token says what may be done.
#[tokio::test]
async fn certificates_and_tokens_are_both_asked_for() {
    let vault = Vault::new("both");
    let guard = Guard::read(&vault.files(&vault.certificate("server", 2100), true, true)).unwrap();
    let lab = Lab::guarded("both", 2, "0.0.0.0:0", guard).await;
    let certificate = Some(vault.certificate("alice", 2100));
    let with = |token| Credentials { certificate: certificate.clone(), ..vault.credentials(token) };
    let bare = connect(&lab, &with(None)).await.unwrap();
    assert_eq!(code(bare.splitter().get_team(v1::GetTeamRequest {}).await), Code::Unauthenticated);
    let full = connect(&lab, &with(Some(READ))).await.unwrap();
    full.splitter().get_team(v1::GetTeamRequest {}).await.unwrap();
    assert_eq!(code(full.splitter().expel_peer(expel(1)).await), Code::PermissionDenied);
    lab.close().await;
}

/// A server whose certificate is expired, or another root's, is not believed, and hears no token.
#[tokio::test]
async fn servers_are_checked() {
    let (vault, other) = (Vault::new("server"), Vault::new("server-other"));
    for (name, server, says) in [
        ("expired", vault.certificate("s", 2001), "xpired"),
        ("foreign", other.certificate("s", 2100), "invalid peer certificate"),
    ] {
        let guard = Guard::read(&vault.files(&server, false, true)).unwrap();
        let lab = Lab::guarded(&format!("server-{name}"), 0, "0.0.0.0:0", guard).await;
        let error = connect(&lab, &vault.credentials(Some(READ))).await.unwrap_err();
        assert!(error.contains(says), "{error}");
        lab.close().await;
    }
}

/// What others could reach is not opened without TLS and someone who asks; files that do not fit are named.
#[tokio::test]
async fn doors_are_not_opened_unguarded() {
    let vault = Vault::new("unguarded");
    let server = vault.certificate("server", 2100);
    let bind: Bind = "0.0.0.0:0".parse().unwrap();
    let tls_alone = Guard::read(&vault.files(&server, false, false)).unwrap();
    let tokens_alone = GuardFiles { tokens: Some(vault.path("tokens")), ..GuardFiles::default() };
    for guard in [Guard::default(), tls_alone, Guard::read(&tokens_alone).unwrap()] {
        let error = Server::open(std::slice::from_ref(&bind), guard).await.unwrap_err();
        assert!(matches!(error, BindError::Guard(GuardError::Unguarded(_))), "{error}");
    }
    let good = vault.files(&server, true, true);
    let readable = vault.write("readable", "r read x", 0o644);
    let empty = vault.write("empty", "", 0o600);
    let large = vault.write("large", &"# more\n".repeat(40_000), 0o600);
    let other = vault.certificate("other", 2100);
    let with = |change: &dyn Fn(&mut GuardFiles)| {
        let mut files = good.clone();
        change(&mut files);
        Guard::read(&files).unwrap_err().to_string()
    };
    let set = |path: &Path| Some(path.to_owned());
    for (error, says) in [
        (with(&|files| files.key = None), "needs its key"),
        (with(&|files| (files.key, files.certificate) = (None, None)), "need TLS"),
        (with(&|files| files.tokens = set(&readable)), "chmod o="),
        (with(&|files| files.tokens = set(&empty)), "empty, line 1: no token"),
        (with(&|files| files.tokens = set(&large)), "more than 262144 bytes"),
        (with(&|files| files.certificate = set(&empty)), "no certificate in PEM form"),
        (with(&|files| files.key = set(&empty)), "no private key in PEM form"),
        (with(&|files| files.key = set(&other.1)), "cannot be used"),
        (
            with(&|files| files.clients = set(Path::new("/nonexistent/ca.pem"))),
            "cannot read /nonexistent/ca.pem",
        ),
    ] {
        assert!(error.contains(says), "{error}");
    }
    assert!(Guard::read(&good).unwrap().covers(&bind).is_ok());
}

/// Connections that show no token do not stay, so strangers cannot fill the port by doing nothing.
#[tokio::test]
async fn strangers_do_not_stay() {
    let vault = Vault::new("strangers");
    let files = GuardFiles { tokens: Some(vault.path("tokens")), ..GuardFiles::default() };
    let lab = Lab::guarded("strangers", 0, "127.0.0.1:0", Guard::read(&files).unwrap()).await;
    let address: Address = Bind::Tcp(lab.tcp).into();
    let token = Some(READ.to_owned());
    let friend =
        Connection::open(&address, &Credentials { token, ..Credentials::default() }, DEADLINE).await.unwrap();
    friend.splitter().get_team(v1::GetTeamRequest {}).await.unwrap();
    let mut stranger = TcpStream::connect(lab.tcp).await.unwrap();
    // An HTTP/2 client's greeting with empty settings (RFC 9113, 3.4).
    stranger.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    let closed = timeout(Duration::from_secs(15), stranger.read_to_end(&mut Vec::new())).await;
    tokio::time::resume();
    assert!(closed.is_ok(), "it is closed before the server's first ping");
    assert!(before.elapsed() >= Duration::from_secs(10), "after {:?}", before.elapsed());
    friend.splitter().get_team(v1::GetTeamRequest {}).await.unwrap();
    lab.close().await;
}
