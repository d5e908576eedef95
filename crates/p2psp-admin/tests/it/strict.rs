//! What operators must never be let do, or get wrong, one test each: the right status with its details, one line that says who, what
//! and why, and a bystander who notices nothing.

use crate::{
    guarded::{READ, Vault, expel},
    lines::Lines,
    plain::ask,
    team::{DEADLINE, Lab, peer, peer_id},
};
use bytes::{BufMut, BytesMut};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use p2psp_admin::{
    Bind, Guard, GuardFiles, Reason,
    client::{Address, Connection, Credentials},
    limits, v1,
};
use prost::Message;
use prost_types::FieldMask;
use std::fmt::Debug;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming, body::Body};
use tonic_types::{ErrorDetails, StatusExt};
use tower_service::Service;
use v1::splitter_service_client::SplitterServiceClient;

pub(crate) const GET_TEAM: &str = "/p2psp.admin.v1.SplitterService/GetTeam";
pub(crate) const WATCH_TEAM: &str = "/p2psp.admin.v1.SplitterService/WatchTeam";

/// Someone who watches and lists all the while, over the Unix socket.
pub(crate) struct Bystander {
    client: SplitterServiceClient<Connection>,
    pub(crate) messages: Streaming<v1::WatchTeamResponse>,
    pub(crate) revision: u64,
}

impl Bystander {
    pub(crate) async fn of(lab: &Lab) -> Self {
        let mut client = lab.connect().await.splitter();
        let mut messages = client.watch_team(v1::WatchTeamRequest::default()).await.unwrap().into_inner();
        let revision = messages.message().await.unwrap().unwrap().revision;
        Self { client, messages, revision }
    }

    /// The next change is heard as the next revision, and the list is answered.
    pub(crate) async fn goes_on(&mut self, lab: &Lab) {
        self.revision += 1;
        lab.team.peers.put(0, v1::Peer { joined_unix_ms: self.revision, ..peer(0) });
        let message = loop {
            let message = timeout(DEADLINE, self.messages.message()).await.unwrap().unwrap().unwrap();
            // Without an event it is a sign of life.
            if message.event.is_some() {
                break message;
            }
        };
        assert_eq!(message.revision, self.revision);
        let list = self.client.list_peers(v1::ListPeersRequest::default()).await.unwrap().into_inner();
        assert_eq!(usize::try_from(list.total_size).unwrap(), lab.team.peers.slots().len());
    }
}

/// The details of a refusal, which has this reason, its code, and who explains it.
#[track_caller]
pub(crate) fn details<T: Debug>(result: Result<T, Status>, reason: Reason) -> ErrorDetails {
    let status = result.expect_err("it is refused");
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no reason: {status:?}"));
    assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason.name(), "p2psp.admin.v1"));
    assert_eq!(status.code(), reason.code(), "{status}");
    assert!(status.message().len() > 10, "a message for people: {status}");
    details
}

fn metadata<'a>(details: &'a ErrorDetails, key: &str) -> Option<&'a str> {
    details.error_info()?.metadata.get(key).map(String::as_str)
}

/// The one field that is wrong.
#[track_caller]
pub(crate) fn field(details: &ErrorDetails) -> &str {
    let [violation] = details.bad_request().unwrap().field_violations.as_slice() else {
        panic!("{details:?}")
    };
    assert!(!violation.description.is_empty());
    &violation.field
}

/// A loopback port that asks for tokens, and one who knows its address.
pub(crate) async fn tokens(name: &str) -> (Vault, Lab) {
    let vault = Vault::new(name);
    let files = GuardFiles { tokens: Some(vault.path("tokens")), ..GuardFiles::default() };
    let lab = Lab::guarded(name, 2, "127.0.0.1:0", Guard::read(&files).unwrap()).await;
    (vault, lab)
}

pub(crate) async fn over_tcp(lab: &Lab, token: Option<&str>) -> Connection {
    let address: Address = Bind::Tcp(lab.tcp).into();
    let credentials = Credentials { token: token.map(str::to_owned), ..Credentials::default() };
    Connection::open(&address, &credentials, DEADLINE).await.unwrap()
}

/// The head of an HTTP answer, with its body.
async fn http(lab: &Lab, path: &str, token: Option<&str>) -> String {
    let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let address = lab.tcp;
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{token}Connection: close\r\n\r\n")).await
}

/// A token that nobody has: UNAUTHENTICATED and 401, a line without the token; of a flood as many lines as allowed, and not one more.
#[tokio::test]
async fn a_wrong_token_is_refused() {
    const WRONG: &str = "sesame-0123456789abcdef0123456789abcdef";
    let (_vault, lab) = tokens("strict-wrong").await;
    let mut bystander = Bystander::of(&lab).await;
    let lines = Lines::catch();
    let mut client = over_tcp(&lab, Some(WRONG)).await.splitter();
    details(client.get_team(v1::GetTeamRequest {}).await, Reason::WrongToken);
    let line = lines.one(&["a stranger", "127.0.0.1:", GET_TEAM, "WRONG_TOKEN"]);
    assert!(!line.contains("sesame"), "{line}");
    bystander.goes_on(&lab).await;

    let answer = http(&lab, "/metrics", Some(WRONG)).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains("www-authenticate: Bearer error=\"invalid_token\"\r\n"), "{answer}");
    let line = lines.one(&["a stranger", "/metrics", "WRONG_TOKEN"]);
    assert!(!line.contains("sesame") && !answer.contains("sesame"), "{line}");

    for _ in 0..limits::REFUSAL_LINES_MAX {
        details(client.get_team(v1::GetTeamRequest {}).await, Reason::WrongToken);
    }
    let told = lines.take().len() + 2;
    assert_eq!(told, usize::try_from(limits::REFUSAL_LINES_MAX).unwrap(), "and two more are not told");
    bystander.goes_on(&lab).await;
    lab.close().await;
}

/// No token: UNAUTHENTICATED and 401, whatever is asked but the probes; a stream is refused before its first message.
#[tokio::test]
async fn no_token_is_refused() {
    let (_vault, lab) = tokens("strict-none").await;
    let mut bystander = Bystander::of(&lab).await;
    let lines = Lines::catch();
    let mut client = over_tcp(&lab, None).await.splitter();
    details(client.get_team(v1::GetTeamRequest {}).await, Reason::NoToken);
    lines.one(&["a stranger", "127.0.0.1:", GET_TEAM, "NO_TOKEN", "Bearer TOKEN"]);
    details(client.watch_team(v1::WatchTeamRequest::default()).await, Reason::NoToken);
    lines.one(&["a stranger", WATCH_TEAM, "NO_TOKEN"]);
    let answer = http(&lab, "/metrics", None).await;
    assert!(
        answer.starts_with("HTTP/1.1 401 ") && answer.contains("www-authenticate: Bearer\r\n"),
        "{answer}"
    );
    lines.one(&["a stranger", "/metrics", "NO_TOKEN"]);
    assert!(http(&lab, "/readyz", None).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(lines.take(), [""; 0], "a probe is nothing to tell of");
    bystander.goes_on(&lab).await;
    lab.close().await;
}

/// A token that may do less: PERMISSION_DENIED and 403 with what is needed, nothing is done, and the line names whose token it is even
/// while strangers flood the log.
#[tokio::test]
async fn a_wrong_scope_is_refused() {
    let (_vault, lab) = tokens("strict-scope").await;
    let mut bystander = Bystander::of(&lab).await;
    let mut stranger = over_tcp(&lab, None).await.splitter();
    let mut client = over_tcp(&lab, Some(READ)).await.splitter();
    let lines = Lines::catch();
    for _ in 0..=limits::REFUSAL_LINES_MAX {
        details(stranger.get_team(v1::GetTeamRequest {}).await, Reason::NoToken);
    }
    lines.take();
    let refused = details(client.expel_peer(expel(1)).await, Reason::Scope);
    assert_eq!((metadata(&refused, "needed"), metadata(&refused, "has")), (Some("operate"), Some("read")));
    let line = lines.one(&["by=\"r\"", "127.0.0.1:", "SplitterService/ExpelPeer", "SCOPE", "operate"]);
    assert!(!line.contains(READ), "{line}");
    assert_eq!(lab.team.peers.slots(), [0, 1], "nobody is expelled");
    client.get_team(v1::GetTeamRequest {}).await.unwrap();

    let answer = http(&lab, "/unheard-of", Some(READ)).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(
        answer.contains("www-authenticate: Bearer error=\"insufficient_scope\", scope=\"admin\"\r\n"),
        "{answer}"
    );
    lines.one(&["by=\"r\"", "/unheard-of", "SCOPE"]);
    bystander.goes_on(&lab).await;
    lab.close().await;
}

/// A key without a seat, or a ban: NOT_FOUND that names the key, from every call that takes one.
#[tokio::test]
async fn an_unknown_peer_is_not_found() {
    let lab = Lab::open("strict-peer", 2).await;
    let mut bystander = Bystander::of(&lab).await;
    let mut client = over_tcp(&lab, None).await.splitter();
    let lines = Lines::catch();
    let key = peer_id(77).to_string();
    let get = v1::GetPeerRequest { peer: key.clone(), read_mask: None };
    let unban = v1::UnbanPeerRequest { peer: key.clone(), request_id: "r-1".to_owned() };
    let expel = v1::ExpelPeerRequest { ban_ms: Some(0), request_id: "r-2".to_owned(), ..expel(77) };
    let (peer, request_id) = (key.clone(), "r-3".to_owned());
    let weight = v1::SetPeerWeightLimitRequest { peer, limit: Some(3), request_id };
    for (call, result) in [
        ("GetPeer", client.get_peer(get).await.map(drop)),
        ("UnbanPeer", client.unban_peer(unban).await.map(drop)),
        ("ExpelPeer", client.expel_peer(expel).await.map(drop)),
        ("SetPeerWeightLimit", client.set_peer_weight_limit(weight).await.map(drop)),
    ] {
        let refused = details(result, Reason::NotFound);
        let resource = refused.resource_info().unwrap();
        assert_eq!(
            (&*resource.resource_type, &resource.resource_name),
            ("p2psp.admin.v1.Peer", &key),
            "{call}"
        );
        let subject = match call {
            "ExpelPeer" => format!("{key} ban_ms=0"),
            "SetPeerWeightLimit" => format!("{key} limit=3"),
            _ => key.clone(),
        };
        assert_eq!(metadata(&refused, "subject"), Some(&*subject), "{call}");
    }
    let told = lines.take();
    assert_eq!(told.len(), 4, "{told:#?}");
    for (line, says) in told.iter().zip(["GetPeer", "UnbanPeer", "ExpelPeer", "SetPeerWeightLimit"]) {
        assert!(line.contains(says) && line.contains(&key) && line.contains("NOT_FOUND"), "{line}");
        assert!(line.contains("by=\"loopback\" from=\"127.0.0.1:"), "{line}");
        assert!(line.contains("r-") || says == "GetPeer", "a command's line has its request id: {line}");
    }
    // What is no key at all is another mistake.
    let nonsense = v1::GetPeerRequest { peer: "nobody".to_owned(), read_mask: None };
    assert_eq!(field(&details(client.get_peer(nonsense).await, Reason::InvalidField)), "peer");
    lines.one(&["GetPeer", "INVALID_FIELD", "52 base32 characters"]);
    bystander.goes_on(&lab).await;
    lab.close().await;
}

/// A token of another run says so; one of another list, garbage and one that is too long are no tokens; one of this run holds on
/// while members come and go, even when the one that it names is gone.
#[tokio::test]
async fn a_stale_page_token_is_refused() {
    let lab = Lab::open("strict-page", 4).await;
    let mut bystander = Bystander::of(&lab).await;
    let mut client = over_tcp(&lab, None).await.splitter();
    let list = |page_token: &str| v1::ListPeersRequest {
        page_size: 2,
        page_token: page_token.to_owned(),
        ..v1::ListPeersRequest::default()
    };
    let good = client.list_peers(list("")).await.unwrap().into_inner().next_page_token;
    for n in [50, 51] {
        let ban = v1::BanPeerRequest { peer: peer_id(n).to_string(), ..v1::BanPeerRequest::default() };
        client.ban_peer(ban).await.unwrap();
    }
    let bans = |page_token: &str| v1::ListBansRequest {
        page_size: 1,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    let of_bans = client.list_bans(bans("")).await.unwrap().into_inner().next_page_token;
    assert!(!good.is_empty() && !of_bans.is_empty());
    let lines = Lines::catch();

    let other_run = good.replace("feed", "beef");
    let longest = format!("feed-{}", "0".repeat(limits::LIST_TOKEN_BYTES_MAX - 5));
    for (token, reason) in [
        (&*other_run, Reason::StalePageToken),
        (&*of_bans, Reason::InvalidField),
        ("garbage", Reason::InvalidField),
        ("\u{202e}-\n1", Reason::InvalidField),
        ("feed-", Reason::InvalidField),
        ("feed-65536", Reason::InvalidField),
        (&format!("{longest}1"), Reason::InvalidField),
    ] {
        let refused = details(client.list_peers(list(token)).await, reason);
        assert_eq!(field(&refused), "page_token", "{token}");
        lines.one(&["by=\"loopback\" from=\"127.0.0.1:", "ListPeers", reason.name(), "begin again"]);
        bystander.goes_on(&lab).await;
    }
    client.list_peers(list(&longest)).await.expect("as long as a token may be: slot 0");
    assert_eq!(field(&details(client.list_bans(bans(&good)).await, Reason::InvalidField)), "page_token");
    lines.one(&["ListBans", "INVALID_FIELD"]);

    lab.team.peers.remove(1, "goodbye");
    lab.team.peers.put(9, peer(9));
    let page = client.list_peers(list(&good)).await.unwrap().into_inner();
    assert_eq!(page.peers.iter().map(|peer| peer.slot).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(lines.take(), [""; 0]);
    lab.close().await;
}

/// A path that no member has: INVALID_ARGUMENT that names the field, says which there are, and repeats of a long path only so much.
#[tokio::test]
async fn an_unknown_field_mask_path_is_refused() {
    let lab = Lab::open("strict-mask", 1).await;
    let mut bystander = Bystander::of(&lab).await;
    let mut client = over_tcp(&lab, None).await.splitter();
    let lines = Lines::catch();
    let long = "x".repeat(limits::REQUEST_BYTES_MAX - 100);
    for path in ["colour", "peer.slot", "", "a\nb", &long] {
        let read_mask = Some(FieldMask { paths: vec!["slot".to_owned(), path.to_owned()] });
        let get = v1::GetPeerRequest { peer: peer_id(0).to_string(), read_mask: read_mask.clone() };
        let list = v1::ListPeersRequest { read_mask, ..v1::ListPeersRequest::default() };
        for (call, result) in [
            ("GetPeer", client.get_peer(get).await.map(drop)),
            ("ListPeers", client.list_peers(list).await.map(drop)),
        ] {
            let refused = details(result, Reason::InvalidField);
            assert_eq!(field(&refused), "read_mask", "{call}");
            let violation = &refused.bad_request().unwrap().field_violations[0].description;
            assert!(violation.contains("known are slot, peer") && violation.len() < 300, "{violation}");
        }
        let told = lines.take();
        assert_eq!(told.len(), 2, "one for each call: {told:#?}");
        assert!(told.iter().all(|line| line.contains("read_mask") && line.len() < 1000), "{told:#?}");
        bystander.goes_on(&lab).await;
    }
    lab.close().await;
}

/// A gRPC call with a body as it is, and more headers.
pub(crate) fn raw(path: &str, message: &[u8], headers: &[(&'static str, String)]) -> Request<Body> {
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(message.len().try_into().unwrap());
    body.put_slice(message);
    let mut request = Request::post(format!("http://localhost{path}")).header("te", "trailers");
    request = request.header("content-type", "application/grpc");
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_str(value).unwrap());
    }
    request.body(Body::new(Full::new(body.freeze()))).unwrap()
}

/// The refusal that an answer is.
fn refusal<B: Debug>(answer: &Response<B>) -> Result<(), Status> {
    Err(Status::from_header_map(answer.headers()).unwrap_or_else(|| panic!("no status: {answer:?}")))
}

/// One byte more than a message, or a head, may have; a body that is compressed, however small it is, and one that is no message:
/// RESOURCE_EXHAUSTED, UNIMPLEMENTED and INTERNAL with their reasons, and the connection goes on.
#[tokio::test]
async fn an_oversize_message_is_refused() {
    let lab = Lab::open("strict-oversize", 1).await;
    let mut bystander = Bystander::of(&lab).await;
    let mut connection = over_tcp(&lab, None).await;
    let mut client = connection.runtime();
    let lines = Lines::catch();
    // A field's key and length take three bytes.
    let request =
        |bytes: usize| v1::SetLogLevelRequest { filter: "x".repeat(bytes - 3), request_id: String::new() };
    assert_eq!(request(limits::REQUEST_BYTES_MAX).encoded_len(), limits::REQUEST_BYTES_MAX);
    let fits = client.set_log_level(request(limits::REQUEST_BYTES_MAX)).await;
    assert_eq!(
        field(&details(fits, Reason::InvalidField)),
        "filter",
        "it is read, and too long for a filter"
    );
    lines.one(&["SetLogLevel", "INVALID_FIELD"]);
    let refused = client.set_log_level(request(limits::REQUEST_BYTES_MAX + 1)).await;
    assert_eq!(metadata(&details(refused, Reason::RequestTooLarge), "bytes_max"), Some("16384"));
    lines.one(&["by=\"loopback\" from=\"127.0.0.1:", "SetLogLevel", "REQUEST_TOO_LARGE"]);
    bystander.goes_on(&lab).await;

    // The head: what it is without the long header is found out first.
    let measure = |bytes: usize| raw(GET_TEAM, &[], &[("x-long", "y".repeat(bytes))]);
    let mut most = 0;
    for step in [8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2, 1] {
        let answer = connection.call(measure(most + step)).await.unwrap();
        let status = answer.headers().get("grpc-status").map(HeaderValue::as_bytes);
        if status.is_none() || status == Some(b"0") {
            most += step;
        }
    }
    assert!(most > limits::HEAD_BYTES_MAX / 2);
    lines.take();
    // The lines of this caller are used up by the search; another one's are not.
    let mut connection = lab.connect().await;
    let shorter = connection.call(measure(limits::HEAD_BYTES_MAX - 1000)).await.unwrap();
    assert_eq!(shorter.headers().get("grpc-status"), None);
    let answer = connection.call(measure(limits::HEAD_BYTES_MAX)).await.unwrap();
    assert_eq!(metadata(&details(refusal(&answer), Reason::HeadTooLarge), "bytes_max"), Some("16384"));
    lines.one(&["the Unix socket", GET_TEAM, "HEAD_TOO_LARGE"]);
    bystander.goes_on(&lab).await;

    // Twenty bytes of gzip that say they are four gigabytes.
    let bomb = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x63\x00\x00\x00\x00\x00\xff\xff\xff\xff";
    let answer = connection.call(raw(GET_TEAM, bomb, &[("grpc-encoding", "gzip".to_owned())])).await.unwrap();
    details(refusal(&answer), Reason::Compressed);
    lines.one(&["the Unix socket", GET_TEAM, "COMPRESSED"]);
    let answer = connection.call(raw(GET_TEAM, b"\xff\xff\xff", &[])).await.unwrap();
    details(refusal(&answer), Reason::Malformed);
    lines.one(&["the Unix socket", GET_TEAM, "MALFORMED"]);
    bystander.goes_on(&lab).await;
    connection.splitter().get_team(v1::GetTeamRequest {}).await.unwrap();
    lab.close().await;
}

/// What is refused because of a page, and a method that is not there, have reasons and lines as well.
#[tokio::test]
async fn every_other_refusal_has_its_reason() {
    let lab = Lab::open("strict-others", 1).await;
    let mut connection = over_tcp(&lab, None).await;
    let lines = Lines::catch();
    for (path, headers, reason) in [
        (GET_TEAM, &[("origin", "https://evil.example".to_owned())][..], Reason::Browser),
        ("/p2psp.admin.v1.SplitterService/Explode", &[], Reason::UnknownMethod),
        ("/p2psp.admin.v1.PeerService/GetStatus", &[], Reason::UnknownMethod),
    ] {
        let answer = connection.call(raw(path, &[], headers)).await.unwrap();
        details(refusal(&answer), reason);
        lines.one(&[path, reason.name()]);
    }
    lab.close().await;
}

/// As a code says it is for programs, so does each reason: its code is the one that gRPC has for such cases.
#[test]
fn codes_are_those_that_programs_expect() {
    for (reason, code) in [
        (Reason::NoToken, Code::Unauthenticated),
        (Reason::WrongToken, Code::Unauthenticated),
        (Reason::Scope, Code::PermissionDenied),
        (Reason::NotFound, Code::NotFound),
        (Reason::StalePageToken, Code::InvalidArgument),
        (Reason::InvalidField, Code::InvalidArgument),
        (Reason::RequestTooLarge, Code::ResourceExhausted),
        (Reason::Resync, Code::ResourceExhausted),
        (Reason::Busy, Code::ResourceExhausted),
    ] {
        assert_eq!(reason.code(), code, "{reason:?}");
    }
}
