//! Clients that ask for what is not there, noise, crowds, and sockets that belong to others: nobody else notices.

use crate::{
    guarded::{OPERATE, READ},
    lines::Lines,
    services::code,
    strict::{Bystander, GET_TEAM, details, over_tcp, raw, tokens},
    team::{DEADLINE, Lab, peer_id},
};
use futures_util::FutureExt;
use http::StatusCode;
use p2psp_admin::{
    Bind, BindError, Guard, Reason, Server,
    client::{Address, Connection, Credentials},
    limits, v1,
};
use std::os::unix::fs::PermissionsExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower_service::Service;

#[tokio::test]
async fn what_is_not_there_is_told() {
    let lab = Lab::open("absent", 1).await;
    let connection = lab.connect().await;
    let mut client = connection.splitter();
    let get = |peer: String| v1::GetPeerRequest { peer, read_mask: None };
    let status = client.get_peer(get(peer_id(5).to_string())).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.get_error_details().error_info().unwrap().reason, "NOT_FOUND");
    assert_eq!(code(client.get_peer(get("nonsense".to_owned())).await), Code::InvalidArgument);
    let list = |page_size, page_token: &str, paths: &[&str]| v1::ListPeersRequest {
        page_size,
        page_token: page_token.to_owned(),
        read_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
    };
    for wrong in
        [list(513, "", &[]), list(1, "dead-3", &[]), list(1, "feed-x", &[]), list(1, "", &["colour"])]
    {
        assert_eq!(code(client.list_peers(wrong).await), Code::InvalidArgument);
    }
    // A service of another role, and a method that no service has.
    assert_eq!(code(connection.peer().get_status(v1::GetStatusRequest {}).await), Code::Unimplemented);
    let mut grpc =
        tonic::client::Grpc::with_origin(connection.clone(), http::Uri::from_static("http://localhost/"));
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/p2psp.admin.v1.SplitterService/Explode");
    let codec = tonic_prost::ProstCodec::<v1::GetTeamRequest, v1::GetTeamResponse>::default();
    let unknown = grpc.unary(tonic::Request::new(v1::GetTeamRequest {}), path, codec).await;
    assert_eq!(code(unknown), Code::Unimplemented);
    lab.close().await;
}

/// Noise on the port ends its own connection only, with a line. Connections that ask for nothing give way to new ones; whoever is at
/// work stays, and only when all are is one more closed at once.
#[tokio::test]
async fn noise_and_crowds_disturb_nobody() {
    let lab = Lab::open("noise", 1).await;
    let mut bystander = Bystander::of(&lab).await;
    let lines = Lines::catch();
    let mut noise = TcpStream::connect(lab.tcp).await.unwrap();
    noise.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello \r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(DEADLINE, noise.read_to_end(&mut answer)).await.unwrap().unwrap();
    lines.come().await;
    lines.one(&["from=\"127.0.0.1:", "connection", "NO_HTTP"]);

    let friend = over_tcp(&lab, None).await;
    friend.runtime().get_info(v1::GetInfoRequest {}).await.unwrap();
    let mut crowd = Vec::new();
    for _ in 1..limits::CONNECTIONS_MAX {
        crowd.push(TcpStream::connect(lab.tcp).await.unwrap());
    }
    assert_eq!(lines.take(), [""; 0]);
    let mut friends = vec![over_tcp(&lab, None).await];
    friends[0].runtime().get_info(v1::GetInfoRequest {}).await.unwrap();
    let oldest = timeout(DEADLINE, crowd[0].read(&mut [0; 1])).await.unwrap();
    assert!(matches!(oldest, Ok(0) | Err(_)), "closed: {oldest:?}");
    lines.one(&["CROWD", &format!("from=\"{}\"", crowd[0].local_addr().unwrap())]);

    for _ in 2..limits::CONNECTIONS_MAX {
        let one = over_tcp(&lab, None).await;
        one.runtime().get_info(v1::GetInfoRequest {}).await.unwrap();
        friends.push(one);
    }
    lines.take();
    let mut one_more = TcpStream::connect(lab.tcp).await.unwrap();
    let read = timeout(DEADLINE, one_more.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "closed: {read:?}");
    friend.runtime().get_info(v1::GetInfoRequest {}).await.unwrap();
    bystander.goes_on(&lab).await;
    lab.close().await;
}

/// A connection carries so many calls at a time; one more waits until one of them ends.
#[tokio::test]
async fn calls_of_a_connection_are_limited() {
    let lab = Lab::open("calls", 1).await;
    let mut bystander = Bystander::of(&lab).await;
    let connection = over_tcp(&lab, None).await;
    let mut watches = Vec::new();
    for _ in 0..limits::STREAMS_MAX {
        let watch = connection.splitter().watch_team(v1::WatchTeamRequest::default()).await;
        watches.push(watch.unwrap().into_inner());
    }
    let mut client = connection.runtime();
    let mut one_more = std::pin::pin!(client.get_info(v1::GetInfoRequest {}));
    for _ in 0..100 {
        assert!((&mut one_more).now_or_never().is_none(), "it waits");
        bystander.goes_on(&lab).await;
    }
    drop(watches.pop());
    timeout(DEADLINE, one_more).await.unwrap().unwrap();
    lab.close().await;
}

/// Plain HTTP has its limit for heads, too: 431, one line, and the connection alone ends.
#[tokio::test]
async fn heads_of_plain_http_are_limited() {
    let lab = Lab::open("heads", 1).await;
    let mut bystander = Bystander::of(&lab).await;
    let lines = Lines::catch();
    for (bytes, expected) in [(limits::HEAD_BYTES_MAX / 2, "200"), (limits::HEAD_BYTES_MAX + 1, "431")] {
        let mut stream = TcpStream::connect(lab.tcp).await.unwrap();
        let long = "y".repeat(bytes);
        let head = format!(
            "GET /livez HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nX-Long: {long}\r\n\r\n",
            lab.tcp
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        timeout(DEADLINE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {expected}"));
    }
    lines.come().await;
    lines.one(&["from=\"127.0.0.1:", "connection", "NO_HTTP", "too large"]);
    bystander.goes_on(&lab).await;
    lab.close().await;
}

/// Heads over HTTP/2 that are refused have a reason for as long as they are read at all; one byte more is 431, and the connection goes on.
#[tokio::test]
async fn heads_that_are_not_read_are_refused() {
    let lab = Lab::open("heads-unread", 1).await;
    let mut bystander = Bystander::of(&lab).await;
    let mut connection = over_tcp(&lab, None).await;
    let mut ask = async |bytes: usize| {
        let request = raw(GET_TEAM, &[], &[("x-long", "y".repeat(bytes))]);
        let answer = timeout(DEADLINE, connection.call(request)).await.unwrap().unwrap();
        let refused = Status::from_header_map(answer.headers()).and_then(|status| Reason::of(&status));
        (answer.status(), refused)
    };
    let read = (StatusCode::OK, Some(Reason::HeadTooLarge));
    let unread = (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, None);
    // What a head is without the long header is found out.
    let max = usize::try_from(limits::HEAD_BYTES_READ).unwrap();
    let (mut most, mut more) = (max - 1024, max);
    assert_eq!((ask(most).await, ask(more).await), (read, unread));
    while more - most > 1 {
        let bytes = most.midpoint(more);
        match ask(bytes).await {
            answer if answer == read => most = bytes,
            answer if answer == unread => more = bytes,
            answer => panic!("{bytes} bytes: {answer:?}"),
        }
    }
    let target = "POST".len() + "http".len() + "localhost".len() + GET_TEAM.len();
    let pseudo = ":method".len() + ":scheme".len() + ":authority".len() + ":path".len();
    let fields =
        "tetrailers".len() + "content-typeapplication/grpc".len() + "content-length5".len() + "x-long".len();
    assert_eq!(more + target + pseudo + fields + 8 * 32, max, "as RFC 9113, 6.5.2, counts");
    bystander.goes_on(&lab).await;
    lab.close().await;
}

/// A caller has so many calls under way, whatever its connections; one more is refused, and another caller's are not.
#[tokio::test]
async fn calls_of_a_caller_are_limited() {
    let (_vault, lab) = tokens("caller-calls").await;
    let mut bystander = Bystander::of(&lab).await;
    let lines = Lines::catch();
    let mut watches = Vec::new();
    while watches.len() < limits::CALLS_MAX {
        let mut client = over_tcp(&lab, Some(READ)).await.splitter();
        for _ in 0..limits::CALLS_MAX / 4 {
            let watch = client.watch_team(v1::WatchTeamRequest::default()).await.unwrap().into_inner();
            watches.push((client.clone(), watch));
        }
    }
    let mut client = over_tcp(&lab, Some(READ)).await.splitter();
    let refused = details(client.get_team(v1::GetTeamRequest {}).await, Reason::TooManyCalls);
    assert_eq!(refused.quota_failure().unwrap().violations.len(), 1);
    lines.one(&["by=\"r\"", "GetTeam", "TOO_MANY_CALLS", "128"]);
    over_tcp(&lab, Some(OPERATE)).await.splitter().get_team(v1::GetTeamRequest {}).await.unwrap();
    bystander.goes_on(&lab).await;
    // The server hears of the end some time later.
    watches.clear();
    timeout(DEADLINE, async { while client.get_team(v1::GetTeamRequest {}).await.is_err() {} })
        .await
        .unwrap();
    lab.close().await;
}

/// Without a token health is all that gRPC answers; reflection and every method of ours ask for one.
#[tokio::test]
async fn strangers_see_health_and_nothing_else() {
    let (_vault, lab) = tokens("strangers-see").await;
    let mut connection = over_tcp(&lab, None).await;
    let health = raw("/grpc.health.v1.Health/Check", &[], &[]);
    assert_eq!(connection.call(health).await.unwrap().headers().get("grpc-status"), None);
    let answer = connection.call(raw("/grpc.health.v1.Health/List", &[], &[])).await.unwrap();
    let status = Status::from_header_map(answer.headers()).unwrap();
    assert_eq!(status.code(), Code::Unimplemented, "it is no secret that there is none");
    for path in [
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/p2psp.admin.v1.RuntimeService/GetInfo",
        "/p2psp.admin.v1.RuntimeService/GetConfig",
        "/p2psp.admin.v1.RuntimeService/Drain",
        "//p2psp.admin.v1.RuntimeService/Drain",
        "/P2PSP.admin.v1.RuntimeService/Drain",
        "/livez/../metrics",
        "/",
    ] {
        let answer = connection.call(raw(path, &[], &[])).await.unwrap();
        let is_open = path == "/";
        let status = Status::from_header_map(answer.headers());
        assert_eq!(status.map(|status| status.code()), (!is_open).then_some(Code::Unauthenticated), "{path}");
    }
    assert_eq!(lab.team.drains.load(std::sync::atomic::Ordering::Relaxed), 0);
    lab.close().await;
}

/// Only its owner opens a socket; one that is in use is not taken away, one that was left behind is.
#[tokio::test]
async fn sockets_belong_to_their_owner() {
    let lab = Lab::open("socket", 0).await;
    let Bind::Unix(path) = lab.unix.clone() else { panic!("a socket") };
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let taken = Server::open(std::slice::from_ref(&lab.unix), Guard::default()).await.unwrap_err();
    assert!(matches!(taken, BindError::InUse(_)), "{taken}");
    UnixStream::connect(&path).await.unwrap();

    let left = path.with_file_name("left.sock");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    let bind = Bind::Unix(left.clone());
    drop(Server::open(std::slice::from_ref(&bind), Guard::default()).await.unwrap());
    assert!(!left.exists());

    std::fs::write(&left, "precious").unwrap();
    let error = Server::open(&[bind], Guard::default()).await.unwrap_err().to_string();
    assert!(error.contains("no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&left).unwrap(), "precious");
    std::fs::remove_file(&left).unwrap();
    lab.close().await;
}

/// Nobody there, and somebody who speaks something else.
#[tokio::test]
async fn clients_say_what_is_wrong() {
    let nobody: Address = "unix:/nonexistent/p2psp.sock".parse().unwrap();
    let error = Connection::open(&nobody, &Credentials::default(), DEADLINE).await.unwrap_err().to_string();
    assert!(error.contains("check that the process runs with --admin unix:/nonexistent"), "{error}");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: Address = Bind::Tcp(listener.local_addr().unwrap()).into();
    let other = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
        stream
    });
    let outcome = match Connection::open(&address, &Credentials::default(), DEADLINE).await {
        Ok(connection) => {
            let call =
                timeout(DEADLINE, async { connection.runtime().get_info(v1::GetInfoRequest {}).await });
            call.await.unwrap().map(|_| ()).map_err(|status| status.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    assert!(outcome.is_err());
    drop(other.await.unwrap());
}
