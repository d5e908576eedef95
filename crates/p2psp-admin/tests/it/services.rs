//! What operators ask for, answered.

use crate::team::{DEADLINE, Lab, peer, peer_id};
use p2psp_admin::{limits, v1};
use std::{collections::BTreeMap, sync::atomic::Ordering};
use tokio::time::timeout;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;
use v1::watch_team_response::Event;

/// Pages of any size give every member once, in order, while members come and go.
#[tokio::test]
async fn a_team_is_listed_page_by_page() {
    let lab = Lab::open("pages", 120).await;
    let mut client = lab.connect().await.splitter();
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListPeersRequest { page_size: 7, page_token, ..v1::ListPeersRequest::default() };
        let page = client.list_peers(request).await.unwrap().into_inner();
        seen.extend(page.peers.iter().map(|peer| peer.slot));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        // Behind and in front of the page.
        lab.team
            .peers
            .remove(u16::try_from(seen[0]).unwrap() + u16::try_from(seen.len()).unwrap() / 14, "goodbye");
    }
    assert!(seen.is_sorted() && seen.len() >= 110, "{seen:?}");
    seen.dedup();
    let all = client.list_peers(v1::ListPeersRequest::default()).await.unwrap().into_inner();
    assert_eq!(all.peers.len(), usize::try_from(limits::PAGE_SIZE_DEFAULT).unwrap());
    lab.close().await;
}

#[tokio::test]
async fn a_member_is_shown_and_masked() {
    let lab = Lab::open("get", 3).await;
    let mut client = lab.connect().await.splitter();
    let mut request = v1::GetPeerRequest { peer: peer_id(2).to_string(), read_mask: None };
    let found = client.get_peer(request.clone()).await.unwrap().into_inner().peer.unwrap();
    assert_eq!(found, peer(2));
    request.read_mask = Some(prost_types::FieldMask { paths: vec!["slot".to_owned()] });
    let masked = client.get_peer(request).await.unwrap().into_inner().peer.unwrap();
    assert_eq!(masked, v1::Peer { slot: 2, ..v1::Peer::default() });
    lab.close().await;
}

/// Fifty watchers of a churning team each replay it to what it is, and miss no revision.
#[tokio::test]
async fn watchers_follow_a_churning_team() {
    const CHANGES: u16 = 500;
    let lab = Lab::open("watch", 64).await;
    let mut watchers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let mut client = lab.connect().await.splitter();
        let messages = client.watch_team(v1::WatchTeamRequest::default()).await.unwrap().into_inner();
        watchers.spawn(replay(messages, 64 + u64::from(CHANGES)));
    }
    for n in 0..CHANGES / 2 {
        lab.team.peers.remove(n % 64, "crashed");
        tokio::task::yield_now().await;
        lab.team.peers.put(n % 64, v1::Peer { joined_unix_ms: n.into(), ..peer(n % 64) });
        tokio::task::yield_now().await;
    }
    let now: Vec<v1::Peer> = (0..64).map(|slot| lab.team.peers.get(slot).unwrap()).collect();
    while let Some(seen) = watchers.join_next().await {
        assert_eq!(seen.unwrap(), now);
    }
    lab.close().await;
}

/// A watch that is cut goes on, over another connection, behind the last message that was read: no revision is missed, none is told twice.
/// A token of another run gives everything anew.
#[tokio::test]
async fn a_watch_is_taken_up_again() {
    let lab = Lab::open("resume", 4).await;
    let change = |joined_unix_ms| lab.team.peers.put(1, v1::Peer { joined_unix_ms, ..peer(1) });
    let mut token = String::new();
    let mut at = None;
    for round in 0..5 {
        let connection = lab.connect().await;
        let request = v1::WatchTeamRequest { resume_token: token.clone() };
        let mut messages = connection.splitter().watch_team(request).await.unwrap().into_inner();
        change(100 + round);
        // It is cut with messages that were sent and not read.
        for _ in 0..2 {
            let message = timeout(DEADLINE, messages.message()).await.unwrap().unwrap().unwrap();
            let is_first = matches!(message.event, Some(Event::Snapshot(_)));
            assert_eq!(is_first, at.is_none(), "everything is told once");
            assert_eq!(message.revision, at.map_or(message.revision, |at: u64| at + 1));
            (at, token) = (Some(message.revision), message.resume_token);
            change(200 + round);
        }
        drop((messages, connection));
        lab.team.peers.remove(2, "crashed");
        lab.team.peers.put(2, peer(2));
    }
    for (token, is_known) in [(token.clone(), true), (token.replace("feed", "beef"), false)] {
        let request = v1::WatchTeamRequest { resume_token: token };
        let mut client = lab.connect().await.splitter();
        let mut messages = client.watch_team(request).await.unwrap().into_inner();
        let first = timeout(DEADLINE, messages.message()).await.unwrap().unwrap().unwrap();
        if is_known {
            assert_eq!(Some(first.revision), at.map(|at| at + 1));
        } else {
            let Some(Event::Snapshot(all)) = first.event else { panic!("{first:?}") };
            let now: Vec<v1::Peer> = (0..4).map(|slot| lab.team.peers.get(slot).unwrap()).collect();
            assert_eq!(all.peers, now);
            assert!(Some(first.revision) > at);
        }
    }
    lab.close().await;
}

/// The team as a watcher knows it at a revision.
async fn replay(mut messages: tonic::Streaming<v1::WatchTeamResponse>, until: u64) -> Vec<v1::Peer> {
    let mut seen: BTreeMap<u32, v1::Peer> = BTreeMap::new();
    let mut at = None;
    while at != Some(until) {
        let message = timeout(DEADLINE, messages.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(message.revision, at.map_or(message.revision, |at| at + 1), "no revision is missed");
        at = Some(message.revision);
        match message.event {
            Some(Event::Snapshot(all)) => {
                seen = all.peers.into_iter().map(|peer| (peer.slot, peer)).collect()
            }
            Some(Event::Changed(peer)) => drop(seen.insert(peer.slot, peer)),
            Some(Event::Departed(gone)) => {
                assert_eq!(gone.reason, "crashed");
                seen.remove(&gone.slot);
            }
            None => {}
        }
    }
    seen.into_values().collect()
}

/// Expelling is seen by watchers, once for each request id; a ban can be listed and ended.
#[tokio::test]
async fn members_are_expelled_banned_and_pardoned() {
    let lab = Lab::open("expel", 3).await;
    let mut client = lab.connect().await.splitter();
    let mut watcher = client.watch_team(v1::WatchTeamRequest::default()).await.unwrap().into_inner();
    watcher.message().await.unwrap();
    let expel = v1::ExpelPeerRequest {
        peer: peer_id(1).to_string(),
        ban_ms: Some(5_000),
        request_id: "once".to_owned(),
    };
    for _ in 0..2 {
        assert_eq!(client.expel_peer(expel.clone()).await.unwrap().into_inner().slot, 1);
    }
    let message = watcher.message().await.unwrap().unwrap();
    let departure = v1::PeerDeparture { slot: 1, peer: expel.peer.clone(), reason: "expelled".to_owned() };
    assert_eq!(message.event, Some(Event::Departed(departure)));
    let again = v1::ExpelPeerRequest { request_id: "twice".to_owned(), ..expel.clone() };
    assert_eq!(code(client.expel_peer(again).await), Code::NotFound);

    let stranger = v1::BanPeerRequest { peer: peer_id(77).to_string(), ..v1::BanPeerRequest::default() };
    assert_eq!(client.ban_peer(stranger).await.unwrap().into_inner().slot, None);
    let first = v1::ListBansRequest { page_size: 1, ..v1::ListBansRequest::default() };
    let page = client.list_bans(first.clone()).await.unwrap().into_inner();
    assert_eq!(page.bans, [v1::Ban { peer: peer_id(1).to_string(), remaining_ms: 5_000 }]);
    let masked = v1::ListBansRequest {
        read_mask: Some(prost_types::FieldMask { paths: vec!["peer".to_owned()] }),
        ..first.clone()
    };
    let bans = client.list_bans(masked).await.unwrap().into_inner().bans;
    assert_eq!(bans, [v1::Ban { peer: peer_id(1).to_string(), remaining_ms: 0 }]);
    let next = v1::ListBansRequest { page_token: page.next_page_token, ..first };
    let page = client.list_bans(next).await.unwrap().into_inner();
    assert_eq!(page.bans[0].remaining_ms, 600_000, "the default");
    assert_eq!(page.next_page_token, "");

    let unban = v1::UnbanPeerRequest { peer: expel.peer, request_id: String::new() };
    client.unban_peer(unban.clone()).await.unwrap();
    assert_eq!(code(client.unban_peer(unban).await), Code::NotFound);
    lab.close().await;
}

#[tokio::test]
async fn the_process_is_shown_and_steered() {
    let lab = Lab::open("runtime", 0).await;
    let mut client = lab.connect().await.runtime();
    let info = client.get_info(v1::GetInfoRequest {}).await.unwrap().into_inner().info.unwrap();
    assert_eq!((info.pid, info.state()), (std::process::id(), v1::RuntimeState::Ready));
    let config = client.get_config(v1::GetConfigRequest {}).await.unwrap().into_inner();
    assert!(config.toml.contains("(set)"));
    let set = |filter: &str| v1::SetLogLevelRequest { filter: filter.to_owned(), request_id: String::new() };
    let changed = client.set_log_level(set("debug")).await.unwrap().into_inner();
    assert_eq!(changed.previous, "info");
    let now = client.get_log_level(v1::GetLogLevelRequest {}).await.unwrap().into_inner();
    assert_eq!(now.filter, "debug");
    for wrong in ["loud", "", &"x".repeat(limits::FILTER_BYTES_MAX + 1)] {
        let status = client.set_log_level(set(wrong)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "filter");
    }
    for _ in 0..2 {
        client.drain(v1::DrainRequest { request_id: "d".to_owned() }).await.unwrap();
    }
    assert_eq!(lab.team.drains.load(Ordering::Relaxed), 1, "once for each request");
    let info = client.get_info(v1::GetInfoRequest {}).await.unwrap().into_inner().info.unwrap();
    assert_eq!(info.state(), v1::RuntimeState::Draining);
    lab.close().await;
}

/// A watcher hears of the end, and does not keep the process.
#[tokio::test]
async fn the_end_is_told() {
    let lab = Lab::open("end", 1).await;
    let mut client = lab.connect().await.splitter();
    let mut watcher = client.watch_team(v1::WatchTeamRequest::default()).await.unwrap().into_inner();
    watcher.message().await.unwrap();
    lab.close().await;
    let status = timeout(DEADLINE, watcher.message()).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

/// Health is told of the process and of each service, and follows it.
#[tokio::test]
async fn health_follows_the_process() {
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    };
    let mut lab = Lab::open("health", 0).await;
    let origin = http::Uri::from_static("http://localhost/");
    let mut client = HealthClient::with_origin(lab.connect().await, origin);
    for service in ["", "p2psp.admin.v1.SplitterService", "p2psp.admin.v1.RuntimeService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut watch = client.watch(request).await.unwrap().into_inner();
        let status = |message: Option<tonic_health::pb::HealthCheckResponse>| message.unwrap().status();
        while status(watch.message().await.unwrap()) != ServingStatus::Serving {}
        if service.ends_with("RuntimeService") {
            lab.leave();
            // What is told every so often is told again, also while nothing has changed.
            let told = async { while status(watch.message().await.unwrap()) != ServingStatus::NotServing {} };
            timeout(DEADLINE, told).await.unwrap();
        }
    }
    let request = HealthCheckRequest { service: "p2psp.admin.v1.PeerService".to_owned() };
    assert_eq!(code(client.check(request).await), Code::NotFound, "a splitter has none");
    lab.close().await;
}

/// Both versions of reflection list what is served, and nothing else.
#[tokio::test]
async fn reflection_lists_what_is_served() {
    use futures_util::stream;
    let lab = Lab::open("reflection", 0).await;
    let expected =
        ["grpc.health.v1.Health", "p2psp.admin.v1.RuntimeService", "p2psp.admin.v1.SplitterService"];
    macro_rules! list {
        ($version:ident) => {{
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
            };
            let origin = http::Uri::from_static("http://localhost/");
            let mut client = ServerReflectionClient::with_origin(lab.connect().await, origin);
            let message_request = Some(MessageRequest::ListServices(String::new()));
            let request = ServerReflectionRequest { message_request, ..ServerReflectionRequest::default() };
            let asked = Request::new(stream::iter([request]));
            let mut answers = client.server_reflection_info(asked).await.unwrap().into_inner();
            let answer = answers.message().await.unwrap().unwrap().message_response;
            let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
            let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
            names.sort();
            names.retain(|name| !name.starts_with("grpc.reflection."));
            assert_eq!(names, expected);
        }};
    }
    list!(v1);
    list!(v1alpha);
    lab.close().await;
}

pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> Code {
    result.expect_err("it is refused").code()
}
