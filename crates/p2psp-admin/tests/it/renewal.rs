//! Another guard at doors that are open: who is let in is let in at once, and who is not any more does not stay.

use crate::team::{DEADLINE, Lab};
use p2psp_admin::{
    Guard, GuardFiles, Renewed,
    client::{Address, Connection, Credentials},
    v1,
};
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};
use tokio::time::timeout;
use tonic::Code;

const OLD: &str = "old-0123456789abcdef0123456789abcdef";
const NEW: &str = "new-0123456789abcdef0123456789abcdef";

/// A token file, taken away at the end.
struct TokenFile(PathBuf);

impl TokenFile {
    fn new(text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("p2psp-renewal-{}.tokens", std::process::id()));
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, text).unwrap();
        Self(path)
    }

    fn guard(&self) -> Guard {
        Guard::read(&GuardFiles { tokens: Some(self.0.clone()), ..GuardFiles::default() }).unwrap()
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

/// A watch that was begun with a token that is taken back is cut; one over the Unix socket goes on, and so does everyone's where only a
/// comment has changed.
#[tokio::test]
async fn nobody_stays_who_is_not_let_in_any_more() {
    let tokens = TokenFile::new(&format!("alice read {OLD}\n"));
    let lab = Lab::guarded("renewal", 3, "127.0.0.1:0", tokens.guard()).await;
    let connect = async |token: &str| {
        let address = Address::Tcp { host: lab.tcp.ip().to_string(), port: lab.tcp.port() };
        let credentials = Credentials { token: Some(token.to_owned()), ..Credentials::default() };
        Connection::open(&address, &credentials, DEADLINE).await.unwrap()
    };
    let (old, local) = (connect(OLD).await, lab.connect().await);
    let watch = async |connection: &Connection| {
        let watch = connection.splitter().watch_team(v1::WatchTeamRequest::default()).await;
        let mut messages = watch.unwrap().into_inner();
        messages.message().await.unwrap().unwrap();
        messages
    };
    let (mut watched, mut watched_locally) = (watch(&old).await, watch(&local).await);

    fs::write(&tokens.0, format!("# Alice looks.\nalice read {OLD}\n")).unwrap();
    assert_eq!(lab.doors.replace(tokens.guard()).unwrap(), Renewed::default());
    old.splitter().get_team(v1::GetTeamRequest {}).await.unwrap();

    fs::write(&tokens.0, format!("alice read {NEW}\n")).unwrap();
    let renewed = lab.doors.replace(tokens.guard()).unwrap();
    assert_eq!(renewed, Renewed { callers: true, certificate: false });
    let cut = async { while let Ok(Some(_)) = watched.message().await {} };
    timeout(DEADLINE, cut).await.expect("the watch is cut");
    let again = connect(OLD).await.splitter().get_team(v1::GetTeamRequest {}).await;
    assert_eq!(again.unwrap_err().code(), Code::Unauthenticated);
    connect(NEW).await.splitter().get_team(v1::GetTeamRequest {}).await.unwrap();

    lab.team.peers.remove(1, "goodbye");
    timeout(DEADLINE, watched_locally.message()).await.expect("the socket's watch goes on").unwrap().unwrap();
    local.splitter().get_team(v1::GetTeamRequest {}).await.unwrap();
}
