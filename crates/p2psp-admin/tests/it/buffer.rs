//! A peer's buffer, as operators see it.

use crate::{peer::Lab, services::code};
use p2psp_admin::{Refusal, v1};
use tonic::Code;

/// As many runs as a map can have, nothing without a seat, and a refusal when the peer is busy.
#[tokio::test]
async fn a_buffer_is_told_as_it_is() {
    const CHUNKS: u64 = 8192;
    let lab = Lab::open().await;
    let mut client = lab.connect().await.peer();
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
    *lab.peer.buffer.lock().unwrap() = Ok(Some(map.clone()));
    assert_eq!(client.get_buffer_map(request).await.unwrap().into_inner().map, Some(map));

    for (refusal, expected) in [(Refusal::Busy, Code::ResourceExhausted), (Refusal::Ended, Code::Unavailable)]
    {
        *lab.peer.buffer.lock().unwrap() = Err(refusal);
        assert_eq!(code(client.get_buffer_map(request).await), expected);
    }
    lab.close().await;
}
