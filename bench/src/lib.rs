//! Micro-benches and the loopback team bench
