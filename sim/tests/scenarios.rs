//! Every scenario, small, on fixed seeds: the checks are the full ones' with bars as wide as so small a sample asks for. A seed
//! that once found a fault stays here.

use p2psp_sim::scenario::{ALL, Size};

/// One seed for each scenario that is cheap enough for a debug build, and more where chance plays a part.
#[test]
fn small_scenarios_pass_on_fixed_seeds() {
    let mut failures = Vec::new();
    for scenario in ALL.iter().filter(|scenario| scenario.name != "scale") {
        let seeds: &[u64] =
            if ["swarm", "churn", "flash"].contains(&scenario.name) { &[1, 2, 3] } else { &[1] };
        for seed in seeds {
            let report = scenario.run(*seed, Size::Small);
            println!("{} --seed {seed}: {}", scenario.name, if report.pass() { "ok" } else { "FAILED" });
            if !report.pass() {
                failures.push(format!("{} --seed {seed}\n{report}", scenario.name));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The same seed gives the same deliveries in the same order, another seed gives others.
#[test]
fn a_seed_replays() {
    let scenario = ALL.iter().find(|scenario| scenario.name == "swarm").expect("the registry has it");
    let hash = |seed| scenario.run(seed, Size::Small).to_json()["trace_hash"].clone();
    assert_eq!(hash(7), hash(7));
    assert_ne!(hash(7), hash(8));
}
