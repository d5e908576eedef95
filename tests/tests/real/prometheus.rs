//! A real Prometheus that scrapes a live team: every query of the dashboards, and every recording rule, gives numbers.

use crate::tools::{artefact, tool};
use p2psp_tests::{
    http::{self, get_json},
    process::Process,
    team::{Peer, Splitter},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Rules are evaluated every 15 s, and rates need two scrapes.
const PATIENCE: Duration = Duration::from_secs(90);
const PEERS: usize = 3;

/// A server with a folder of its own, both gone when this is dropped.
struct Server {
    address: SocketAddr,
    folder: PathBuf,
    process: Option<Process>,
}

impl Server {
    fn start(splitter: &str, peers: &[String]) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = std::env::temp_dir().join(format!("p2psp-prometheus-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let rules = shipped("prometheus/p2psp.rules.yml");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n\
             - {{job_name: p2psp-splitter, static_configs: [{{targets: ['{splitter}']}}]}}\n\
             - {{job_name: p2psp-peer, static_configs: [{{targets: ['{}']}}]}}\n",
            rules.display(),
            peers.join("', '"),
        );
        let file = folder.join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let mut command = tool("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let process = Process::start("prometheus", &mut command);
        process.wait_log("Server is ready to receive web requests", PATIENCE);
        Self { address, folder, process: Some(process) }
    }

    /// The values that a query gives now.
    fn query(&self, query: &str) -> Vec<f64> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = get_json(self.address, &format!("/api/v1/query?query={encoded}")).unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let number = |sample: &Value| sample["value"][1].as_str().unwrap().parse().unwrap();
        answer["data"]["result"].as_array().unwrap().iter().map(number).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.take());
        fs::remove_dir_all(&self.folder).ok();
    }
}

fn shipped(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy")).join(name)
}

/// The queries of a dashboard by panel, for one process.
fn queries(name: &str, instance: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(shipped(&format!("grafana/dashboards/{name}.json"))).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let query = query.replace("$instance", instance).replace("$__rate_interval", "10s");
            assert!(!query.contains('$'), "{query}");
            queries.push((panel["title"].to_string(), query));
        }
    }
    queries
}

/// Prometheus' own word on names, kinds and help of what a process with this admin address tells.
fn assert_by_the_conventions(name: &str, admin: &str) {
    let text = http::get(admin.parse().unwrap(), "/metrics").unwrap().text().unwrap();
    let path = artefact(&format!("{name}.metrics"));
    fs::write(&path, &text).unwrap();
    let mut promtool = tool("promtool");
    let done = promtool.args(["check", "metrics"]).stdin(fs::File::open(&path).unwrap()).output().unwrap();
    let said = [done.stdout, done.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(done.status.success() && said.is_empty(), "{}, {}:\n{said}", path.display(), done.status);
}

#[test]
fn dashboards_and_rules_give_numbers() {
    let admin = |process: &Process| process.ready()["admin"][0].as_str().unwrap().to_owned();
    let splitter = Splitter::start(&["--input", "testcard", "--admin", "127.0.0.1:0"]);
    let start = |n| Peer::start(&format!("peer {n}"), &splitter.link, &["--admin", "127.0.0.1:0"]);
    let peers: Vec<Peer> = (0..PEERS).map(start).collect();
    splitter.wait_ready(PEERS);
    let (splitter_at, peers_at) =
        (admin(&splitter.process), peers.iter().map(|peer| admin(&peer.process)).collect::<Vec<_>>());
    assert_by_the_conventions("splitter", &splitter_at);
    assert_by_the_conventions("peer", &peers_at[0]);
    let server = Server::start(&splitter_at, &peers_at);

    let mut left: BTreeMap<String, String> = BTreeMap::new();
    for (panel, query) in
        queries("p2psp-team", &splitter_at).into_iter().chain(queries("p2psp-peer", &peers_at[0]))
    {
        left.insert(query, panel);
    }
    assert!(left.len() > 60, "{} queries", left.len());
    let rules = fs::read_to_string(shipped("prometheus/p2psp.rules.yml")).unwrap();
    for record in rules.lines().filter_map(|line| line.trim_start().strip_prefix("- record: ")) {
        left.insert(record.to_owned(), "a recording rule".to_owned());
    }

    let deadline = Instant::now() + PATIENCE;
    loop {
        left.retain(|query, _| {
            let values = server.query(query);
            values.is_empty() || !values.iter().all(|value| value.is_finite())
        });
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "these give nothing: {left:#?}");
        // Figures come every second at most: a peer's next statistics are soon enough to look again.
        let before = peers[0].process.wait_stats("any", PATIENCE, |_| true)["uptime_ms"].as_u64().unwrap();
        peers[0].wait_stats("newer figures", |stats| stats["uptime_ms"].as_u64().unwrap() >= before + 1000);
    }
    assert_eq!(server.query("count(up == 1)"), [4.0]);
    assert_eq!(server.query("sum(p2psp_splitter_team_peers)"), [3.0]);
    assert!(server.query("ALERTS{alertstate=\"firing\"}").is_empty(), "nothing is wrong with this team");
}
