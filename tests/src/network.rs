//! A network of the test's own, whose loopback loses packets: a network namespace with netfilter rules. Owns the namespace, the
//! loss and its count; who sends what is the test's business.
//!
//! Loss is the kernel's own: every UDP packet that arrives is dropped with the same probability, whatever became of those before
//! it. Trains of segments are cut into packets first, or one drop would take a whole train. The kernel's random numbers have no
//! seed, and processes are never scheduled twice alike: what is to be replayed is the simulator's business.

use serde_json::Value;
use std::{
    io::Write,
    process::{Command, Stdio},
    thread,
};

const RULES: &str = "
    table inet links {
        counter arrived { }
        counter lost { }
        chain arrivals { type filter hook input priority 0; policy accept; }
    }";

/// The namespace that this thread, and what it starts, is in. There is no way out: see [`Network::run`].
#[derive(Debug)]
pub struct Network(());

/// What arrived on all links together, UDP only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Packets that came, those that were then lost included.
    pub arrived: u64,
    /// Packets that were lost.
    pub lost: u64,
}

impl Network {
    /// Runs `test` in a network of its own, on a thread of its own: namespaces belong to threads, and are inherited by the
    /// threads and the processes that they start.
    ///
    /// # Panics
    ///
    /// When `test` does, and where namespaces or the tools to set them up are not to be had: `.ci/run packages` installs
    /// nftables, iproute2 and ethtool, and root may use them.
    pub fn run(test: impl FnOnce(&Self) + Send) {
        let panic = thread::scope(|scope| {
            scope
                .spawn(|| {
                    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap_or_else(|error| {
                        panic!("no network namespace: {error}; these tests need root")
                    });
                    tool("ip", &["link", "set", "lo", "up"], "");
                    tool("ethtool", &["-K", "lo", "tx-udp-segmentation", "off"], "");
                    tool("nft", &["-f", "-"], RULES);
                    test(&Self(()));
                })
                .join()
                .err()
        });
        if let Some(panic) = panic {
            std::panic::resume_unwind(panic);
        }
    }

    /// From now on each UDP packet is lost with a probability of `per_mille` in a thousand.
    pub fn lose(&self, per_mille: u32) {
        let rules = format!(
            "flush chain inet links arrivals
             add rule inet links arrivals meta l4proto udp counter name arrived
             add rule inet links arrivals meta l4proto udp numgen random mod 1000 < {per_mille} counter name lost drop"
        );
        tool("nft", &["-f", "-"], &rules);
    }

    /// What arrived and what was lost since the first [`lose`](Self::lose).
    #[must_use]
    pub fn counts(&self) -> Counts {
        let listed = tool("nft", &["-j", "list", "counters"], "");
        let listed: Value = serde_json::from_str(&listed).expect("nft lists counters as JSON");
        let packets = |name: &str| {
            let counters = listed["nftables"].as_array().expect("a list");
            let found = counters.iter().find(|entry| entry["counter"]["name"] == name);
            found.and_then(|entry| entry["counter"]["packets"].as_u64()).expect("our counter")
        };
        Counts { arrived: packets("arrived"), lost: packets("lost") }
    }
}

/// Runs a tool to its end, which must be a good one, and gives what it printed.
fn tool(name: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(name)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {name}: {error}; `.ci/run packages` installs it"));
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads its input");
    let output = child.wait_with_output().expect("our child");
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} {arguments:?} failed: {out}{errors}");
    out.into_owned()
}
