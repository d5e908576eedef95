//! A peer's buffer, as operators see it.

use crate::{peer::Lab, services::code};
use futures_util::{FutureExt, future::join_all};
use p2psp_admin::{Refusal, limits, v1};
use std::sync::atomic::Ordering;
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

/// As many looks as may be before the machine, and one more, which waits until one of them has its answer.
#[tokio::test]
async fn looks_wait_for_each_other() {
    let lab = Lab::open().await;
    let connection = lab.connect().await;
    let busy = lab.peer.machine.lock().await;
    let look = async || connection.peer().get_buffer_map(v1::GetBufferMapRequest {}).await.map(drop);
    let mut looks = Box::pin(join_all((0..=limits::LOOKS_MAX).map(|_| look())));
    let asked = || usize::try_from(lab.peer.asked.load(Ordering::Relaxed)).unwrap();
    let mut turns = 0;
    // For some time longer than it takes for all to come.
    while turns < 1000 {
        assert!((&mut looks).now_or_never().is_none(), "the machine does not answer");
        tokio::task::yield_now().await;
        turns += if asked() < limits::LOOKS_MAX { 0 } else { 1 };
    }
    assert_eq!(asked(), limits::LOOKS_MAX);
    drop(busy);
    assert!(looks.await.iter().all(Result::is_ok));
    assert_eq!(asked(), limits::LOOKS_MAX + 1);
    lab.close().await;
}
