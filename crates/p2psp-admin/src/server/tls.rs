//! The beginning of TLS with whoever comes: whose certificate was shown, and what to tell them and the log when it is not good.

use crate::guard::certificate_name;
use rustls::{CertificateError, Error as TlsError, ServerConfig};
use std::{cell::RefCell, io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the other side gets to read why it failed.
const ALERT_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of the other side's that are waited through meanwhile.
const ALERT_BYTES_MAX: u64 = 64 * 1024;

tokio::task_local! {
    /// The certificate that the handshake's other side showed.
    static SHOWN: RefCell<Option<String>>;
}

/// Why there is no TLS.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// As the log names it.
    pub(super) reason: &'static str,
    /// In words, with the certificate's name if one was shown.
    pub(super) why: String,
}

/// A certificate is about to be checked.
pub(crate) fn shown(certificate: &[u8]) {
    // Outside of a handshake of ours nobody wants to know.
    SHOWN.try_with(|shown| *shown.borrow_mut() = Some(certificate_name(certificate))).ok();
}

/// Begins TLS. The other side is told why it fails, if it listens.
pub(super) async fn accept(
    tls: Arc<ServerConfig>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Failure> {
    let handshake = SHOWN.scope(RefCell::new(None), async {
        let accept = TlsAcceptor::from(tls).accept(stream).into_fallible().await;
        accept.map_err(|failed| (failed, SHOWN.with(RefCell::take)))
    });
    match timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(((error, mut stream), certificate))) => {
            timeout(ALERT_TIMEOUT, listen(&mut stream)).await.ok();
            Err(failure(&error, certificate))
        }
        Err(_) => {
            Err(Failure { reason: "NO_TLS", why: format!("no handshake within {HANDSHAKE_TIMEOUT:?}") })
        }
    }
}

/// Ends this side and waits through what the other one still sends: closed with something unread, the connection would be reset, and the
/// alert lost on the way.
async fn listen<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(ALERT_BYTES_MAX), &mut tokio::io::sink()).await?;
    Ok(())
}

fn failure(error: &io::Error, certificate: Option<String>) -> Failure {
    let reason = match error.get_ref().and_then(|error| error.downcast_ref::<TlsError>()) {
        Some(TlsError::NoCertificatesPresented) => "NO_CERTIFICATE",
        Some(TlsError::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "EXPIRED_CERTIFICATE",
        Some(TlsError::InvalidCertificate(_)) => "WRONG_CERTIFICATE",
        _ => "NO_TLS",
    };
    let why = certificate.map_or_else(|| error.to_string(), |name| format!("{name}: {error}"));
    Failure { reason, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who sends on is waited for until the limit, and not a byte longer; who ends sooner, until its end.
    #[tokio::test(start_paused = true)]
    async fn what_comes_after_an_alert_is_limited() {
        let most = usize::try_from(ALERT_BYTES_MAX).unwrap();
        for (sent, left) in [(most - 1, 0), (most, 0), (most + 1, 1)] {
            let (mut here, mut there) = tokio::io::duplex(2 * most);
            there.write_all(&vec![b'x'; sent]).await.unwrap();
            if sent < most {
                there.shutdown().await.unwrap();
            }
            timeout(ALERT_TIMEOUT, listen(&mut here)).await.unwrap().unwrap();
            there.shutdown().await.unwrap();
            let mut rest = Vec::new();
            here.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest.len(), left, "of {sent}");
            assert_eq!(there.read(&mut [0; 1]).await.unwrap(), 0, "this side has ended");
        }
    }
}
