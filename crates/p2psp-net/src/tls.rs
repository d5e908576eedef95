//! TLS 1.3 as the protocol wants it (R-LINK-1): both sides prove an Ed25519 raw public key (RFC 7250), AES-128-GCM before
//! ChaCha20, X25519, our ALPN, no resumption. Knows keys and handshakes; who may connect is the machine's business.

use crate::Identity;
use p2psp_wire::{ALPN, PeerId};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider,
        ring::{cipher_suite, default_provider, kx_group},
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};
use std::{any::Any, sync::Arc};

/// What comes before the 32 key bytes in an Ed25519 SubjectPublicKeyInfo (RFC 8410, section 4): SEQUENCE { SEQUENCE { OID
/// 1.3.101.112 }, BIT STRING }.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// TLS alert `access_denied` (RFC 8446, section 6): how our verifier ends a handshake with another key than the dialed one.
pub(crate) const ALERT_WRONG_KEY: u8 = 49;
/// TLS alert `no_application_protocol` (RFC 7301): the two sides speak different major versions of the protocol.
pub(crate) const ALERT_WRONG_ALPN: u8 = 120;

/// The handshake of the accepting side.
pub(crate) fn server(identity: &Identity) -> Arc<dyn quinn::crypto::ServerConfig> {
    let config = QuicServerConfig::try_from(server_config(identity))
        .expect("AES-128-GCM, QUIC's initial suite, is among ours");
    Arc::new(config)
}

/// The handshake of the dialing side. The name to dial is [`server_name`]'s.
pub(crate) fn client(identity: &Identity) -> Arc<dyn quinn::crypto::ClientConfig> {
    let config = QuicClientConfig::try_from(client_config(identity))
        .expect("AES-128-GCM, QUIC's initial suite, is among ours");
    Arc::new(config)
}

pub(crate) fn server_config(identity: &Identity) -> ServerConfig {
    let provider = provider();
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3 suites")
        .with_client_cert_verifier(Arc::new(Verifier { provider }))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified(identity))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config
}

pub(crate) fn client_config(identity: &Identity) -> ClientConfig {
    let provider = provider();
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3 suites")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { provider }))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified(identity))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config
}

/// The name under which a peer is dialed: its key in base32, which is a valid DNS label. It never travels (no SNI); it tells
/// the verifier which key to insist on.
pub(crate) fn server_name(peer: PeerId) -> String {
    peer.to_string()
}

/// The key that the other side proved, from quinn's `Connection::peer_identity`.
pub(crate) fn proven_peer(identity: Option<Box<dyn Any>>) -> Option<PeerId> {
    let chain = identity?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    peer_of_spki(chain.first()?).ok()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519],
        ..default_provider()
    })
}

fn certified(identity: &Identity) -> Arc<CertifiedKey> {
    let spki = [&SPKI_PREFIX[..], identity.peer_id().as_bytes()].concat();
    Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], identity.signing_key()))
}

fn peer_of_spki(spki: &[u8]) -> Result<PeerId, Error> {
    spki.strip_prefix(&SPKI_PREFIX)
        .and_then(|key| PeerId::try_from(key).ok())
        .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
}

/// Accepts Ed25519 raw public keys only. The dialing side insists on the key in the server name; the accepting side takes any:
/// the key is the peer's name, and the machine judges it.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn verify_signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(spki.as_ref()),
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        spki: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = peer_of_spki(spki)?;
        if server_name.to_str().parse() == Ok(found) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is never offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, spki, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        spki: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        peer_of_spki(spki).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is never offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, spki, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fixed prefix is what rustls itself writes for an Ed25519 key.
    #[test]
    fn spki_prefix_is_rustls_own() {
        let identity = Identity::generate();
        let key = identity.signing_key();
        let spki = key.public_key().unwrap();
        assert_eq!(spki.as_ref(), certified(&identity).cert[0].as_ref());
        assert_eq!(peer_of_spki(spki.as_ref()), Ok(identity.peer_id()));
    }

    /// Keys of other kinds, and keys that are too short or too long, are no peers.
    #[test]
    fn other_keys_are_no_peers() {
        let good = certified(&Identity::generate()).cert[0].to_vec();
        let mut other_algorithm = good.clone();
        other_algorithm[8] = 0x6e; // X25519
        for spki in [&good[..43], &[&good[..], &[0]].concat(), &other_algorithm, &[][..]] {
            assert!(peer_of_spki(spki).is_err());
        }
    }
}
