//! What a fuzzer calls: one plain function a target, each given arbitrary bytes as a remote or a file would send them, each
//! asserting what must hold whatever they are. The libFuzzer binaries in `fuzz/libfuzzer` and the replay of the corpus in
//! `cargo test` share [`TARGETS`]; this crate itself knows no fuzzer.
//!
//! To add a target: write its function, add its line to [`TARGETS`], put seeds into `fuzz/corpus/<name>/`, and repeat the line in
//! `fuzz/libfuzzer/Cargo.toml`. The replay test says which of these is missing.

pub mod core;
mod generation;
mod script;
mod watch;
pub mod wire;

use p2psp_media::fuzzing as media;

/// A target's name, which is also its corpus folder's, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, in order of the alphabet.
pub const TARGETS: &[Target] = &[
    ("channel_link", wire::channel_link),
    ("control_frame", wire::control_frame),
    ("cutter", media::cutter),
    ("datagram", wire::datagram),
    ("frame_stream", wire::frame_stream),
    ("http_body", media::http_body),
    ("http_head", media::http_head),
    ("identifier", wire::identifier),
    ("peer_inputs", core::peer_inputs),
    ("rtp_packet", media::rtp_packet),
    ("source_name", media::source_name),
    ("splitter_inputs", core::splitter_inputs),
    ("stream_time", wire::stream_time),
];

/// Runs the target called `name`.
///
/// # Panics
///
/// When there is no such target, and when the bytes break what the target asserts.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    let (_, target) = target.expect("each fuzzing binary is named after a target");
    target(data);
}
