//! A peer's buffer, as operators see it.

use crate::{services::code, team::DEADLINE};
use p2psp_admin::{
    Admin, Answer, Guard, Journal, PeerBackend, Process, Refusal, Server,
    client::{Connection, Credentials},
    v1,
};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;
use tonic::Code;

/// A peer whose buffer is what the test says.
#[derive(Debug)]
struct Peer {
    neighbours: Journal<v1::Neighbour>,
    buffer: Mutex<Result<Option<v1::BufferMap>, Refusal>>,
}

impl PeerBackend for Peer {
    fn info(&self) -> v1::Info {
        v1::Info { role: v1::Role::Peer.into(), ..v1::Info::default() }
    }

    fn status(&self) -> v1::PeerStatus {
        v1::PeerStatus::default()
    }

    fn neighbours(&self) -> &Journal<v1::Neighbour> {
        &self.neighbours
    }

    fn buffer(&self) -> Answer<'_, Option<v1::BufferMap>> {
        let buffer = self.buffer.lock().unwrap().clone();
        Box::pin(async move { buffer })
    }
}

impl Process for Peer {
    fn config(&self) -> String {
        String::new()
    }

    fn log_level(&self) -> String {
        String::new()
    }

    fn set_log_level(&self, _: &str) -> Result<String, Refusal> {
        Ok(String::new())
    }

    fn drain(&self) {}
}

/// As many runs as a map can have, nothing without a seat, and a refusal when the peer is busy.
#[tokio::test]
async fn a_buffer_is_told_as_it_is() {
    const CHUNKS: u64 = 8192;
    let peer = Arc::new(Peer { neighbours: Journal::new(1), buffer: Mutex::new(Ok(None)) });
    let server = Server::open(&["127.0.0.1:0".parse().unwrap()], Guard::default()).await.unwrap();
    let bind = server.binds().first().unwrap().clone();
    let (end, ended) = oneshot::channel::<()>();
    let admin = Admin::peer(Arc::<Peer>::clone(&peer), Arc::<Peer>::clone(&peer));
    let run = server.run(admin, std::future::pending(), async { ended.await.unwrap_or_default() });
    let task = tokio::spawn(run);
    let connection = Connection::open(&bind.into(), &Credentials::default(), DEADLINE).await.unwrap();
    let mut client = connection.peer();
    let request = v1::GetBufferMapRequest {};
    assert_eq!(client.get_buffer_map(request).await.unwrap().into_inner().map, None);

    let state = |n| if n % 2 == 0 { v1::ChunkState::Held } else { v1::ChunkState::Missing };
    let runs = (0..CHUNKS).map(|n| v1::BufferRun { state: state(n).into(), chunks: 1 }).collect();
    let first_number = 1 << 47;
    let map = v1::BufferMap {
        first_number,
        play_number: first_number,
        end_number: first_number + CHUNKS,
        buffer_ms: 9,
        runs,
    };
    *peer.buffer.lock().unwrap() = Ok(Some(map.clone()));
    assert_eq!(client.get_buffer_map(request).await.unwrap().into_inner().map, Some(map));

    for (refusal, expected) in [(Refusal::Busy, Code::ResourceExhausted), (Refusal::Ended, Code::Unavailable)]
    {
        *peer.buffer.lock().unwrap() = Err(refusal);
        assert_eq!(code(client.get_buffer_map(request).await), expected);
    }
    end.send(()).unwrap();
    task.await.unwrap();
}
