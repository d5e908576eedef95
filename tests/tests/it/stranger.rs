//! A stranger that speaks QUIC with a raw public key, as docs/protocol.md has it (R-LINK-1), and none of this project's code
//! around it: what it says next is up to the test.

use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, ServerConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use ring::signature::KeyPair;
use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring::{default_provider, sign::any_eddsa_type},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::AlwaysResolvesServerRawPublicKeys,
    sign::CertifiedKey,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// Before the key itself: SubjectPublicKeyInfo of Ed25519 (RFC 8410).
const SPKI: [u8; 12] = [0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00];
/// An answer comes sooner, or not at all.
pub(crate) const ANSWER: Duration = Duration::from_secs(20);

fn key() -> Arc<CertifiedKey> {
    let pkcs8 = ring::signature::Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
    let public = ring::signature::Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let spki = [&SPKI[..], public.public_key().as_ref()].concat();
    let signer = any_eddsa_type(&pkcs8.as_ref().into()).unwrap();
    Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], signer))
}

/// Connects to whoever is at `to`, speaking `alpn`.
pub(crate) async fn connect(to: SocketAddr, alpn: &[u8]) -> Result<(Endpoint, Connection), ConnectionError> {
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key())));
    tls.alpn_protocols = vec![alpn.to_vec()];
    tls.enable_sni = false;
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint.connect_with(config, to, "anyone").unwrap();
    let connection = tokio::time::timeout(ANSWER, connecting).await.expect("an answer")?;
    Ok((endpoint, connection))
}

/// Listens as a splitter would, speaking `alpn`.
pub(crate) fn listen(alpn: &[u8]) -> Endpoint {
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key())));
    tls.alpn_protocols = vec![alpn.to_vec()];
    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap()
}

/// Trusts everyone.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is never offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
