//! The other end of a link in the hands of someone who keeps to no rule: quinn without our host around it.

use crate::{
    Identity,
    seal::{self, EXPORT_BYTES, EXPORT_LABEL, Sealer},
    tls,
};
use p2psp_wire::PeerId;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, ServerConfig, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
};

/// Room for whatever an attacker wants to send.
fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.initial_mtu(1452).max_concurrent_bidi_streams(VarInt::from_u32(9));
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

/// Sends sealed datagrams on a connection's keys, from a socket beside it.
pub(super) struct Datagrams {
    socket: UdpSocket,
    to: SocketAddr,
    sealer: Sealer,
}

impl Datagrams {
    /// On the keys of a connection that this side dialed.
    pub(super) fn of(connection: &Connection) -> Self {
        let mut exported = [0; EXPORT_BYTES];
        connection.export_keying_material(&mut exported, EXPORT_LABEL, b"").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        Self { socket, to: connection.remote_address(), sealer: seal::ends(&exported, true).0 }
    }

    /// A packet with this in it.
    pub(super) fn seal(&mut self, content: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        self.sealer.seal(content, &mut packet);
        packet
    }

    /// Sends bytes as they are.
    pub(super) fn send_raw(&self, packet: &[u8]) {
        self.socket.send_to(packet, self.to).unwrap();
    }

    /// Seals and sends.
    pub(super) fn send(&mut self, content: &[u8]) {
        let packet = self.seal(content);
        self.send_raw(&packet);
    }

    /// Where its packets come from.
    pub(super) fn socket(&self) -> &UdpSocket {
        &self.socket
    }
}
