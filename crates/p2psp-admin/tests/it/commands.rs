//! Commands whose caller goes away, ids that come again, and readers who ask the machine as much as they can.

use crate::{
    guarded::{OPERATE, READ, expel},
    lines::Lines,
    services::code,
    strict::{over_tcp, tokens},
    team::{DEADLINE, Lab, peer_id},
};
use futures_util::{FutureExt, future::join_all};
use p2psp_admin::{client::Connection, limits, v1};
use tokio::time::timeout;
use tonic::Code;
use tonic_types::StatusExt;

/// A call that is dropped while the machine is at its command: it is done once, with one line, and the same id gets its answer.
#[tokio::test]
async fn a_command_outlives_its_call() {
    let lab = Lab::open("outlives", 3).await;
    let mut client = over_tcp(&lab, None).await.splitter();
    let mut other = client.clone();
    let request = v1::ExpelPeerRequest { request_id: "once".to_owned(), ..expel(1) };
    let lines = Lines::catch();
    let busy = lab.team.machine.lock().await;
    {
        let mut call = Box::pin(client.expel_peer(request.clone()));
        while lab.team.peers.get(1).is_some() {
            assert!((&mut call).now_or_never().is_none(), "the machine does not answer");
            tokio::task::yield_now().await;
        }
    }
    // The server has heard of the end of that call when it has answered these.
    for _ in 0..10 {
        other.get_team(v1::GetTeamRequest {}).await.unwrap();
    }
    assert_eq!(lines.take(), [""; 0]);
    drop(busy);
    let again = timeout(DEADLINE, client.expel_peer(request.clone())).await.unwrap();
    assert_eq!(again.unwrap().into_inner().slot, 1);
    let told = lines.take();
    let [done, again] = told.as_slice() else { panic!("{told:#?}") };
    for (line, says) in [(done, "a command was carried out"), (again, "a command came again")] {
        for says in [says, "by=\"loopback\"", "ExpelPeer", &request.peer, "once", " p2psp_admin::audit: "] {
            assert!(line.contains(says), "{says:?} is not in {line}");
        }
    }
    assert_eq!(lab.team.peers.slots(), [0, 2]);
    lab.close().await;
}

/// The end of the API waits for a command whose caller has gone, so that it is told to the audit.
#[tokio::test]
async fn a_command_is_told_at_the_end() {
    let lab = Lab::open("outlives-end", 3).await;
    let mut client = over_tcp(&lab, None).await.splitter();
    let lines = Lines::catch();
    let team = std::sync::Arc::clone(&lab.team);
    let busy = team.machine.lock().await;
    {
        let mut call = Box::pin(client.expel_peer(expel(1)));
        while team.peers.get(1).is_some() {
            assert!((&mut call).now_or_never().is_none(), "the machine does not answer");
            tokio::task::yield_now().await;
        }
    }
    drop(client);
    let free = async {
        // The server is about to end meanwhile.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        drop(busy);
    };
    futures_util::future::join(lab.close(), free).await;
    lines.one(&["a command was carried out", "ExpelPeer"]);
}

/// How long a ban holds is told to the audit, and is part of what an id stands for; what is the default is the same as nothing.
#[tokio::test]
async fn a_bans_length_belongs_to_its_command() {
    let lab = Lab::open("ban-length", 3).await;
    let mut client = over_tcp(&lab, None).await.splitter();
    let lines = Lines::catch();
    let of = |peer: u16, ban_ms| v1::ExpelPeerRequest { ban_ms, request_id: "id".to_owned(), ..expel(peer) };
    let ban_of = |peer: u16, ban_ms| {
        let v1::ExpelPeerRequest { peer, ban_ms, request_id } = of(peer, ban_ms);
        v1::BanPeerRequest { peer, ban_ms, request_id }
    };
    client.expel_peer(of(1, None)).await.unwrap();
    lines.one(&["ExpelPeer", &format!("{} ban_ms=600000", peer_id(1)), "carried out"]);
    client.expel_peer(of(1, Some(600_000))).await.unwrap();
    lines.one(&["ExpelPeer", "came again"]);
    client.ban_peer(ban_of(77, Some(5_000))).await.unwrap();
    lines.one(&["BanPeer", &format!("{} ban_ms=5000", peer_id(77)), "carried out"]);
    let others = [
        client.expel_peer(of(1, Some(600_001))).await.map(drop),
        client.ban_peer(ban_of(77, Some(5_001))).await.map(drop),
        client.ban_peer(ban_of(77, None)).await.map(drop),
    ];
    for other in others {
        let status = other.unwrap_err();
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "request_id");
        assert_eq!(code(Err::<(), _>(status)), Code::InvalidArgument);
    }
    let told = lines.take();
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(told.iter().all(|line| line.contains("INVALID_FIELD")), "{told:#?}");
    let bans: Vec<u128> = lab.team.bans.lock().unwrap().values().map(|ban| ban.as_millis()).collect();
    assert_eq!(bans, [600_000, 5_000]);
    lab.close().await;
}

/// A reader that has as many calls under way as it may, and drops them, and begins others, takes no operator's room at the machine.
#[tokio::test]
async fn readers_take_no_operators_room() {
    let (_vault, lab) = tokens("readers").await;
    let mut operator = over_tcp(&lab, Some(OPERATE)).await.splitter();
    let streams = usize::try_from(limits::STREAMS_MAX).unwrap();
    let mut readers = Vec::new();
    for _ in 0..limits::CALLS_MAX / streams {
        readers.push(over_tcp(&lab, Some(READ)).await);
    }
    let look = async |connection: &Connection| {
        connection.splitter().list_bans(v1::ListBansRequest::default()).await.map(drop)
    };
    let busy = lab.team.machine.lock().await;
    for round in 0..2 {
        let all = readers.iter().flat_map(|connection| (0..streams).map(move |_| look(connection)));
        let mut looks = Box::pin(join_all(all));
        let mut turns = 0;
        // For some time longer than it takes for all to come.
        while turns < 1000 {
            assert!((&mut looks).now_or_never().is_none(), "the machine does not answer");
            tokio::task::yield_now().await;
            turns += if lab.team.queued() < limits::LOOKS_MAX { 0 } else { 1 };
        }
        assert_eq!(lab.team.queued(), limits::LOOKS_MAX, "round {round}");
    }
    let mut command = Box::pin(operator.expel_peer(expel(1)));
    while lab.team.peers.get(1).is_some() {
        assert!((&mut command).now_or_never().is_none(), "it waits for the machine");
        tokio::task::yield_now().await;
    }
    drop(busy);
    assert_eq!(timeout(DEADLINE, command).await.unwrap().unwrap().into_inner().slot, 1);
    timeout(DEADLINE, async { while look(&readers[0]).await.is_err() {} }).await.unwrap();
    lab.close().await;
}
