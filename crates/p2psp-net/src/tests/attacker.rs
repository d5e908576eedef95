//! The other end of a link in the hands of someone who keeps to no rule: quinn without our host around it.

use crate::{Identity, tls};
use p2psp_wire::PeerId;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, ServerConfig, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use std::{net::SocketAddr, sync::Arc};

/// Room for whatever an attacker wants to send.
fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .initial_mtu(1452)
        .datagram_receive_buffer_size(Some(1 << 20))
        .max_concurrent_bidi_streams(VarInt::from_u32(9));
    Arc::new(transport)
}

/// A socket, and how to connect from it as `identity`, speaking `alpn`.
pub(super) fn client(identity: &Identity, alpn: &[u8]) -> (Endpoint, ClientConfig) {
    let mut tls = tls::client_config(identity);
    tls.alpn_protocols = vec![alpn.to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    config.transport_config(transport());
    (Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap(), config)
}

/// Connects as `identity`, speaking `alpn`.
pub(super) async fn connect(
    identity: &Identity,
    alpn: &[u8],
    to: SocketAddr,
    peer: PeerId,
) -> Result<(Endpoint, Connection), ConnectionError> {
    let (endpoint, config) = client(identity, alpn);
    let connection = endpoint.connect_with(config, to, &tls::server_name(peer)).unwrap().await?;
    Ok((endpoint, connection))
}

/// Listens as `identity`, speaking `alpn`.
pub(super) fn listen(identity: &Identity, alpn: &[u8]) -> Endpoint {
    let mut tls = tls::server_config(identity);
    tls.alpn_protocols = vec![alpn.to_vec()];
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    config.transport_config(transport());
    Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap()
}
