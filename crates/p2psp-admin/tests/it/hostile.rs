//! Clients that ask for what is not there, too much, or never read: each gets its status, and nobody else notices.

use crate::{
    services::code,
    team::{DEADLINE, Lab, peer, peer_id},
};
use p2psp_admin::{
    Bind, BindError, Guard, Server,
    client::{Address, Connection, Credentials},
    limits, v1,
};
use std::os::unix::fs::PermissionsExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tonic::Code;
use tonic_types::StatusExt;

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

/// A request may be as long as the limit says, and one byte more is refused before it is read.
#[tokio::test]
async fn oversize_requests_are_refused() {
    let lab = Lab::open("oversize", 0).await;
    let mut client = lab.connect().await.runtime();
    // A field's key and length take three bytes.
    let request =
        |bytes: usize| v1::SetLogLevelRequest { filter: "x".repeat(bytes - 3), request_id: String::new() };
    let fits = client.set_log_level(request(limits::REQUEST_BYTES_MAX)).await;
    assert_eq!(code(fits), Code::InvalidArgument, "read, and found too long for a filter");
    let status = client.set_log_level(request(limits::REQUEST_BYTES_MAX + 1)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    client.get_info(v1::GetInfoRequest {}).await.unwrap();
    lab.close().await;
}

/// A watcher that reads nothing while the team changes is told to begin anew; it cost no more than its connection's window.
#[tokio::test]
async fn a_watcher_that_does_not_read_is_told_to_begin_anew() {
    let lab = Lab::open("slow", 64).await;
    let mut slow_client = lab.connect().await.splitter();
    let mut slow = slow_client.watch_team(v1::WatchTeamRequest::default()).await.unwrap().into_inner();
    let mut quick_client = lab.connect().await.splitter();
    let mut quick = quick_client.watch_team(v1::WatchTeamRequest::default()).await.unwrap().into_inner();
    quick.message().await.unwrap();
    // Members with long lists of addresses fill the windows soon.
    for n in 0..20_000_u64 {
        let candidates = vec!["[2001:db8:1234:5678:9abc:def0:1234:5678]:65535".to_owned(); 8];
        lab.team.peers.put(7, v1::Peer { joined_unix_ms: n, candidates, ..peer(7) });
        timeout(DEADLINE, quick.message()).await.unwrap().unwrap().expect("whoever reads hears everything");
    }
    let mut read = 0;
    let status = loop {
        match timeout(DEADLINE, slow.message()).await.unwrap() {
            Ok(Some(_)) => read += 1,
            Ok(None) => panic!("it did not end well"),
            Err(status) => break status,
        }
    };
    assert!(read < 20_000, "what it did read was in its window: {read}");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.get_error_details().error_info().unwrap().reason, "RESYNC");
    let mut again = slow_client.watch_team(v1::WatchTeamRequest::default()).await.unwrap().into_inner();
    let message = timeout(DEADLINE, again.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(message.revision, 64 + 20_000);
    lab.close().await;
}

/// Noise on the port ends its own connection only; connections beyond the limit are closed at once.
#[tokio::test]
async fn noise_and_crowds_disturb_nobody() {
    let lab = Lab::open("noise", 0).await;
    let mut client = lab.connect().await.runtime();
    let mut noise = TcpStream::connect(lab.tcp).await.unwrap();
    noise.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello \r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(DEADLINE, noise.read_to_end(&mut answer)).await.unwrap().unwrap();
    let mut crowd = Vec::new();
    for _ in 0..limits::CONNECTIONS_MAX {
        crowd.push(TcpStream::connect(lab.tcp).await.unwrap());
    }
    let mut one_more = TcpStream::connect(lab.tcp).await.unwrap();
    let read = timeout(DEADLINE, one_more.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "closed: {read:?}");
    client.get_info(v1::GetInfoRequest {}).await.unwrap();
    drop(crowd);
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
