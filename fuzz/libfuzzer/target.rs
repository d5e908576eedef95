//! Every fuzzing binary: gives libFuzzer's bytes to the target whose name the binary has.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| p2psp_fuzz::run(env!("CARGO_BIN_NAME"), data));
