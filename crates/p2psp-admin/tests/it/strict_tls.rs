//! Certificates that are no good: the client is told by a TLS alert, the log by one line that names the certificate, and a bystander
//! notices nothing.

use crate::{
    guarded::{Vault, connect},
    lines::Lines,
    strict::Bystander,
    team::{DEADLINE, Lab},
};
use p2psp_admin::{
    Guard, chain,
    client::{Credentials, certificate_problem},
    v1,
};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::TLS13,
};
use std::{path::PathBuf, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// The beginning of a certificate's SHA-256.
fn fingerprint(pem: &PathBuf) -> String {
    let certificate = CertificateDer::from_pem_file(pem).unwrap();
    let hash = ring::digest::digest(&ring::digest::SHA256, &certificate);
    hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Shows a certificate, or none, and gives what the client hears and the line that the log has.
async fn shown(
    name: &str,
    certificate: impl FnOnce(&Vault) -> Option<(PathBuf, PathBuf)>,
    reason: &str,
) -> String {
    let vault = Vault::new(name);
    let guard = Guard::read(&vault.files(&vault.certificate("server", 2100), true, false)).unwrap();
    let lab = Lab::guarded(name, 2, "0.0.0.0:0", guard).await;
    let mut bystander = Bystander::of(&lab).await;
    let with = |certificate| Credentials { certificate, ..vault.credentials(None) };
    let friend = connect(&lab, &with(Some(vault.certificate("alice", 2100)))).await.unwrap();
    friend.runtime().get_info(v1::GetInfoRequest {}).await.unwrap();

    let lines = Lines::catch();
    let certificate = certificate(&vault);
    // TLS 1.3 clients hear of it with the first answer.
    let heard = match connect(&lab, &with(certificate.clone())).await {
        Ok(connection) => {
            let refused =
                connection.runtime().get_info(v1::GetInfoRequest {}).await.expect_err("it is refused");
            let problem = certificate_problem(&refused).expect("it is a certificate's");
            format!("{}: {problem}", chain(&refused))
        }
        Err(error) => error,
    };
    // The server waits a moment for the client to read the alert.
    lines.come().await;
    let name = certificate.map_or_else(String::new, |(pem, _)| fingerprint(&pem));
    lines.one(&["a stranger", "from=\"127.0.0.1:", reason, &name]);
    friend.runtime().get_info(v1::GetInfoRequest {}).await.unwrap();
    bystander.goes_on(&lab).await;
    assert!(lines.take().is_empty());
    lab.close().await;
    heard
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let heard =
        shown("strict-expired", |vault| Some(vault.certificate("late", 2001)), "EXPIRED_CERTIFICATE").await;
    assert!(heard.contains("CertificateExpired") && heard.contains("get a new one"), "{heard}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let other = Vault::new("strict-other");
    let heard =
        shown("strict-foreign", |_| Some(other.certificate("mallory", 2100)), "WRONG_CERTIFICATE").await;
    assert!(heard.contains("UnknownCA") && heard.contains("--admin-clients signed"), "{heard}");
}

#[tokio::test]
async fn no_certificate_is_refused() {
    let heard = shown("strict-bare", |_| None, "NO_CERTIFICATE").await;
    assert!(heard.contains("CertificateRequired") && heard.contains("give --cert"), "{heard}");
}

/// A client that remembers its sessions.
fn connector(vault: &Vault, (certificate, key): (PathBuf, PathBuf)) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(vault.path("ca.pem")).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
        .unwrap();
    TlsConnector::from(Arc::new(config))
}

/// No session is taken up again, so that a certificate is checked each time: it may have expired since.
#[tokio::test]
async fn certificates_are_checked_each_time() {
    let vault = Vault::new("strict-again");
    let guard = Guard::read(&vault.files(&vault.certificate("server", 2100), true, false)).unwrap();
    let lab = Lab::guarded("strict-again", 0, "0.0.0.0:0", guard).await;
    let connector = connector(&vault, vault.certificate("alice", 2100));
    let name = ServerName::try_from("0.0.0.0").unwrap();
    for _ in 0..3 {
        let stream = TcpStream::connect(lab.tcp).await.unwrap();
        let mut stream = connector.connect(name.clone(), stream).await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        // With the answer come the tickets, if there are any.
        let ask = "GET /livez HTTP/1.1\r\nHost: tv\r\nConnection: close\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    lab.close().await;
}

/// The connection of a client that is told so is closed, not reset, whatever it sent meanwhile: a reset may overtake the alert.
#[tokio::test]
async fn an_alert_is_not_overtaken_by_a_reset() {
    let vault = Vault::new("strict-alert");
    let guard = Guard::read(&vault.files(&vault.certificate("server", 2100), true, false)).unwrap();
    let lab = Lab::guarded("strict-alert", 0, "0.0.0.0:0", guard).await;
    let connector = connector(&vault, vault.certificate("late", 2001));
    let stream = TcpStream::connect(lab.tcp).await.unwrap();
    let name = ServerName::try_from("0.0.0.0").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    // The server has not answered the certificate yet: both run on this thread.
    stream.write_all(&[b'x'; 1000]).await.unwrap();
    let told = timeout(DEADLINE, stream.read(&mut [0; 1])).await.unwrap().unwrap_err();
    assert!(told.to_string().contains("CertificateExpired"), "{told}");
    let (mut stream, _) = stream.into_inner();
    assert_eq!(timeout(DEADLINE, stream.read(&mut [0; 1])).await.unwrap().unwrap(), 0, "it is closed");
    drop(stream);
    lab.close().await;
}
