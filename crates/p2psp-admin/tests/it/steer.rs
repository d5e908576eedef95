//! What operators may change of a running team: a member's share of turns, and the team's limits.

use crate::{
    services::code,
    team::{LIMITS, Lab, peer, peer_id},
};
use p2psp_admin::{limits, v1};
use std::sync::atomic::Ordering;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use v1::watch_team_response::Event;

fn limit(n: u16, limit: Option<u32>, request_id: &str) -> v1::SetPeerWeightLimitRequest {
    let (peer, request_id) = (peer_id(n).to_string(), request_id.to_owned());
    v1::SetPeerWeightLimitRequest { peer, limit, request_id }
}

/// The fields that a refusal names.
fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations = &details.bad_request().expect("it names fields").field_violations;
    violations.iter().map(|violation| violation.field.clone()).collect()
}

/// A limit is shown, is a revision to watchers, and is taken away again; the same request twice is one.
#[tokio::test]
async fn a_weight_limit_is_shown_and_watched() {
    let lab = Lab::open("weight", 3).await;
    let mut client = lab.connect().await.splitter();
    let mut watcher = client.watch_team(v1::WatchTeamRequest::default()).await.unwrap().into_inner();
    watcher.message().await.unwrap();
    for _ in 0..2 {
        let answer = client.set_peer_weight_limit(limit(1, Some(64), "once")).await.unwrap().into_inner();
        assert_eq!(answer.previous, None);
    }
    assert_eq!(lab.team.changes.load(Ordering::Relaxed), 1, "once for each request");
    let expected = v1::Peer { weight_limit: Some(64), ..peer(1) };
    let message = watcher.message().await.unwrap().unwrap();
    assert_eq!((message.revision, message.event), (4, Some(Event::Changed(expected.clone()))));
    let request = v1::GetPeerRequest { peer: peer_id(1).to_string(), read_mask: None };
    assert_eq!(client.get_peer(request).await.unwrap().into_inner().peer, Some(expected));
    let mask = prost_types::FieldMask { paths: vec!["weight_limit".to_owned()] };
    let request = v1::ListPeersRequest { read_mask: Some(mask), ..v1::ListPeersRequest::default() };
    let listed = client.list_peers(request).await.unwrap().into_inner().peers;
    assert_eq!(listed.iter().map(|peer| peer.weight_limit).collect::<Vec<_>>(), [None, Some(64), None]);

    let answer = client.set_peer_weight_limit(limit(1, Some(0), "")).await.unwrap().into_inner();
    assert_eq!(answer.previous, Some(64));
    let answer = client.set_peer_weight_limit(limit(1, None, "")).await.unwrap().into_inner();
    assert_eq!(answer.previous, Some(0));
    for expected in [Some(0), None] {
        let message = watcher.message().await.unwrap().unwrap();
        let Some(Event::Changed(peer)) = message.event else { panic!("{message:?}") };
        assert_eq!(peer.weight_limit, expected);
    }
    lab.close().await;
}

/// Strangers, limits beyond the highest, and an id that was another command's.
#[tokio::test]
async fn weight_limits_that_cannot_be_are_refused() {
    let lab = Lab::open("weight-wrong", 2).await;
    let mut client = lab.connect().await.splitter();
    assert_eq!(code(client.set_peer_weight_limit(limit(9, Some(1), "")).await), Code::NotFound);
    let status =
        client.set_peer_weight_limit(limit(1, Some(limits::WEIGHT_LIMIT_MAX + 1), "")).await.unwrap_err();
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["limit".to_owned()]));
    assert!(status.message().contains("leave it out"), "the next step: {status}");
    let nobody = v1::SetPeerWeightLimitRequest { peer: "x".to_owned(), ..limit(1, Some(1), "") };
    assert_eq!(fields(&client.set_peer_weight_limit(nobody).await.unwrap_err()), ["peer"]);
    assert_eq!(lab.team.changes.load(Ordering::Relaxed), 0);

    client.set_peer_weight_limit(limit(1, Some(limits::WEIGHT_LIMIT_MAX), "id")).await.unwrap();
    for other in [limit(1, Some(1), "id"), limit(0, Some(limits::WEIGHT_LIMIT_MAX), "id")] {
        assert_eq!(fields(&client.set_peer_weight_limit(other).await.unwrap_err()), ["request_id"]);
    }
    assert_eq!(lab.team.changes.load(Ordering::Relaxed), 1);
    lab.close().await;
}

/// What is set changes, what is not stays, and everybody sees what is in force.
#[tokio::test]
async fn limits_change_one_by_one() {
    let lab = Lab::open("limits", 4).await;
    let mut client = lab.connect().await.splitter();
    let first = v1::UpdateLimitsRequest {
        team_size_max: Some(2),
        uplink_bits_per_s: Some(limits::UPLINK_BITS_PER_S_MAX),
        request_id: "once".to_owned(),
        ..v1::UpdateLimitsRequest::default()
    };
    let mut expected =
        v1::TeamLimits { team_size_max: 2, uplink_bits_per_s: limits::UPLINK_BITS_PER_S_MAX, ..LIMITS };
    for _ in 0..2 {
        let answer = client.update_limits(first.clone()).await.unwrap().into_inner();
        assert_eq!(answer.limits, Some(expected));
    }
    assert_eq!(lab.team.changes.load(Ordering::Relaxed), 1, "once for each request");
    let most = v1::UpdateLimitsRequest {
        team_size_max: Some(limits::TEAM_SIZE_MAX.into()),
        own_copies_max: Some(0),
        ban_ms: Some(0),
        ..v1::UpdateLimitsRequest::default()
    };
    expected.team_size_max = limits::TEAM_SIZE_MAX.into();
    (expected.own_copies_max, expected.ban_ms) = (0, 0);
    let answer = client.update_limits(most).await.unwrap().into_inner();
    assert_eq!(answer.limits, Some(expected));
    let team = client.get_team(v1::GetTeamRequest {}).await.unwrap().into_inner().team.unwrap();
    let v1::Team { team_size_max, own_copies_max, uplink_bits_per_s, ban_ms, .. } = team;
    assert_eq!(v1::TeamLimits { team_size_max, own_copies_max, uplink_bits_per_s, ban_ms }, expected);
    lab.close().await;
}

/// Each limit with one more, all of a request at once; nothing of it is carried out.
#[tokio::test]
async fn limits_out_of_range_are_all_named() {
    let lab = Lab::open("limits-wrong", 1).await;
    let mut client = lab.connect().await.splitter();
    let year_ms = u64::try_from(limits::BAN_MAX.as_millis()).unwrap();
    let request = v1::UpdateLimitsRequest {
        team_size_max: Some(u32::from(limits::TEAM_SIZE_MAX) + 1),
        own_copies_max: Some(u32::from(limits::OWN_COPIES_MAX) + 1),
        uplink_bits_per_s: Some(limits::UPLINK_BITS_PER_S_MAX + 1),
        ban_ms: Some(year_ms + 1),
        request_id: String::new(),
    };
    let status = client.update_limits(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(fields(&status), ["team_size_max", "own_copies_max", "uplink_bits_per_s", "ban_ms"]);
    assert!(status.message().contains("1 to 511, not 512"), "{status}");
    let none = v1::UpdateLimitsRequest {
        team_size_max: Some(0),
        uplink_bits_per_s: Some(0),
        own_copies_max: Some(1 << 16),
        ..v1::UpdateLimitsRequest::default()
    };
    let status = client.update_limits(none).await.unwrap_err();
    assert_eq!(fields(&status), ["team_size_max", "own_copies_max", "uplink_bits_per_s"]);
    let nothing = client.update_limits(v1::UpdateLimitsRequest::default()).await.unwrap_err();
    assert!(nothing.code() == Code::InvalidArgument && nothing.message().contains("GetTeam"), "{nothing}");
    assert_eq!(lab.team.changes.load(Ordering::Relaxed), 0);
    assert_eq!(*lab.team.limits.lock().unwrap(), LIMITS);
    lab.close().await;
}
