//! Somebody else's gRPC client, which knows nothing but the address: it finds the schema by reflection.

use crate::tools::run;
use p2psp_tests::team::{Peer, Splitter};
use serde_json::Value;
use std::{path::Path, process::Command, time::Duration};

const PATIENCE: Duration = Duration::from_secs(30);

/// Calls `method`, or lists all methods; gives what buf printed.
fn buf_curl(arguments: &[&str]) -> String {
    let buf = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/schema/node_modules/.bin/buf"));
    assert!(buf.exists(), "buf is not installed: run `.ci/run packages`, or `npm ci` in tests/schema");
    run(
        Command::new(buf).args(["curl", "--protocol", "grpc", "--http2-prior-knowledge"]).args(arguments),
        PATIENCE,
    )
}

#[test]
fn the_team_is_listed_by_reflection_alone() {
    let splitter = Splitter::start(&["--input", "testcard", "--admin", "127.0.0.1:0"]);
    let peers: Vec<Peer> =
        (0..2).map(|n| Peer::start(&format!("peer {n}"), &splitter.link, &[] as &[&str])).collect();
    splitter.wait_ready(peers.len());
    let at = format!("http://{}", splitter.process.ready()["admin"][0].as_str().unwrap());
    let methods = buf_curl(&["--list-methods", &at]);
    assert!(methods.contains("p2psp.admin.v1.SplitterService/ListPeers"), "{methods}");
    assert!(!methods.contains("PeerService/"), "what is not served is not shown: {methods}");
    let answer = buf_curl(&[&format!("{at}/p2psp.admin.v1.SplitterService/ListPeers")]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let mut listed: Vec<&str> =
        answer["peers"].as_array().unwrap().iter().map(|peer| peer["peer"].as_str().unwrap()).collect();
    let ready: Vec<Value> = peers.iter().map(|peer| peer.process.ready()).collect();
    let mut expected: Vec<&str> = ready.iter().map(|ready| ready["peer"].as_str().unwrap()).collect();
    listed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    assert_eq!(answer["totalSize"], 2);
}
