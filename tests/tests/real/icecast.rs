//! A real Icecast server between the sender and the splitter, which fetches the stream from it.

use crate::{
    clips::short_ts,
    tools::{ffmpeg, run, tool},
};
use p2psp_tests::{bytes::place, process::Process, team::Team};
use std::{fs, net::TcpListener, path::PathBuf, time::Duration};

const PEERS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);

/// A server with a folder of its own, both gone when this is dropped.
struct Server {
    port: u16,
    folder: PathBuf,
    process: Option<Process>,
}

impl Server {
    fn start() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Icecast does not run as root: it becomes somebody who must be able to write here.
        let folder = std::env::temp_dir().join(format!("p2psp-icecast-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let place = folder.display();
        let config = format!(
            "<icecast><hostname>localhost</hostname><limits><sources>2</sources><burst-on-connect>0</burst-on-connect></limits>\
             <authentication><source-password>hackme</source-password><admin-user>admin</admin-user>\
             <admin-password>hackme</admin-password></authentication>\
             <listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>\
             <paths><basedir>{place}</basedir><logdir>{place}</logdir><webroot>{place}</webroot><adminroot>{place}</adminroot></paths>\
             <logging><accesslog>-</accesslog><errorlog>-</errorlog><loglevel>3</loglevel></logging>\
             <security><chroot>0</chroot><changeowner><user>nobody</user><group>nogroup</group></changeowner></security></icecast>"
        );
        let file = folder.join("icecast.xml");
        fs::write(&file, config).unwrap();
        let process = Process::start("icecast2", tool("icecast2").arg("-c").arg(&file));
        Self { port, folder, process: Some(process) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.take());
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// The splitter asks until the server has a source, and plays it from there to its end.
#[test]
fn fetched_from_icecast() {
    let server = Server::start();
    let mount = format!("127.0.0.1:{}/live.ts", server.port);
    let mut team = Team::start(PEERS, &["--input", &format!("http://{mount}")]);
    let players = team.play();
    team.splitter.process.wait_log("trying again", PATIENCE);
    let source = short_ts();
    let url = format!("icecast://source:hackme@{mount}");
    let copy =
        ["-re", "-i", source.path(), "-c", "copy", "-f", "mpegts", "-content_type", "video/mp2t", &url];
    run(&mut ffmpeg(&copy), PATIENCE);
    let taken = team.splitter.process.wait_stats("the end of the source", PATIENCE, |stats| {
        stats["ingest"]["restarts_total"].as_u64() >= Some(2)
            && stats["ingest"]["bytes_total"] == stats["bytes_total"]
    });
    assert!(taken["bytes_total"].as_u64() > Some(100_000), "{taken:#}");
    team.splitter.process.terminate();
    for player in players {
        let place = place(&source.bytes, &player.finish());
        assert!(place.played.len() > source.bytes.len() / 2, "{place:?} of {}", source.bytes.len());
    }
    team.ends();
}
