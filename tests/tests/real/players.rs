//! What people watch with: ffprobe, mpv, and the peer's own page in Chromium, on H.264 with AAC in a transport stream, on WebM and
//! on Ogg. All of them come while the stream is running.

use crate::{
    clips::{Clip, long_ts, ogg, webm},
    tools::{artefact, run, run_to_any_end, tool},
};
use p2psp_tests::{http, team::Team};
use serde_json::Value;
use std::time::Duration;

const PEERS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);

/// A team that plays `clip` at its own speed, and has begun.
fn playing(clip: &Clip) -> Team {
    let team = Team::start(PEERS, &["--input", clip.path()]);
    team.wait_complete();
    team.peers[0].wait_played(200_000.min(u64::try_from(clip.bytes.len()).unwrap() / 8), PATIENCE);
    team
}

/// What ffprobe finds at a peer: the codecs, by kind.
fn assert_probed(team: &Team, peer: usize, expected: &[(&str, &str)]) {
    let url = format!("http://{}/live", team.peers[peer].player);
    let mut probe = tool("ffprobe");
    probe.args(["-loglevel", "error", "-show_streams", "-show_entries", "frame=media_type", "-show_frames"]);
    probe.args(["-read_intervals", "%+2", "-of", "compact", &url]);
    let output = run(&mut probe, PATIENCE);
    for (kind, codec) in expected {
        let found = output.lines().any(|line| {
            line.contains(&format!("codec_name={codec}|")) && line.contains(&format!("codec_type={kind}|"))
        });
        assert!(found, "no {codec} in:\n{output}");
        let frames = output.matches(&format!("frame|media_type={kind}")).count();
        assert!(frames >= 20, "{frames} {kind} frames in:\n{output}");
    }
    for complaint in ["error", "corrupt", "missing", "invalid", "concealing"] {
        assert!(!output.to_lowercase().contains(complaint), "{complaint}:\n{output}");
    }
}

/// mpv begins to play, and says nothing of damage.
fn assert_mpv_plays(team: &Team, peer: usize) {
    let url = format!("http://{}/live", team.peers[peer].player);
    let mut mpv = tool("timeout");
    tool("mpv");
    mpv.args([
        "--signal=INT",
        "6",
        "mpv",
        "--no-config",
        "--vo=null",
        "--ao=null",
        "--msg-level=all=v",
        &url,
    ]);
    // `timeout` ends it: a live stream has no end.
    let (_, output) = run_to_any_end(&mut mpv, PATIENCE);
    assert!(output.contains("playback restart complete"), "{output}");
    for complaint in ["error while decoding", "Error while decoding", "corrupt", "concealing"] {
        assert!(!output.contains(complaint), "{complaint}:\n{output}");
    }
}

/// The peer's own page plays in Chromium: time goes on, pictures come, no media error.
fn assert_page_plays(team: &Team, peer: usize, screenshot: &str) {
    let page = format!("http://{}/", team.peers[peer].player);
    let screenshot = artefact(screenshot);
    std::fs::remove_file(&screenshot).ok();
    tool("chromium");
    let mut node = tool("node");
    node.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/browser/play.mjs")).args([&page, "8"]).arg(&screenshot);
    let (code, output) = run_to_any_end(&mut node, PATIENCE);
    assert_eq!(code, Some(0), "{output}");
    let json = &output[output.find('{').expect("a result")..=output.rfind('}').expect("a result")];
    let result: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {output}"));
    assert_eq!(result["errors"], serde_json::json!([]), "{result:#}");
    assert!(result["advanced"].as_f64() > Some(4.0), "{result:#}");
    assert!(result["frames"].as_u64() > Some(50) && result["width"] == 320, "{result:#}");
    assert!(screenshot.is_file(), "no screenshot at {}", screenshot.display());
    eprintln!(
        "{page}: picture after {} ms, advanced {} s, screenshot {}",
        result["startMs"],
        result["advanced"],
        screenshot.display()
    );
}

/// Nobody lost a chunk while players came and went.
fn assert_nothing_lost(team: &Team) {
    for peer in &team.peers {
        let stats = http::get_json(peer.player, "/stats").unwrap();
        assert_eq!(stats["lost_chunks_total"], 0, "{stats:#}");
    }
}

#[test]
fn a_transport_stream() {
    let team = playing(long_ts());
    assert_probed(&team, 1, &[("video", "h264"), ("audio", "aac")]);
    assert_mpv_plays(&team, 2);
    assert_page_plays(&team, 3, "page-ts.png");
    assert_nothing_lost(&team);
}

#[test]
fn webm_with_its_header_replayed() {
    let team = playing(webm());
    assert_probed(&team, 1, &[("video", "vp8"), ("audio", "vorbis")]);
    assert_mpv_plays(&team, 2);
    assert_page_plays(&team, 3, "page-webm.png");
    assert_nothing_lost(&team);
}

#[test]
fn ogg_with_its_header_replayed() {
    let team = playing(ogg());
    assert_probed(&team, 1, &[("audio", "vorbis")]);
    assert_mpv_plays(&team, 2);
    assert_nothing_lost(&team);
}

/// The built-in picture needs no other program to be made; a browser needs none of ours to show it.
#[test]
fn the_test_card() {
    let team = Team::start(2, &["--input", "testcard"]);
    team.peers[0].wait_played(50_000, PATIENCE);
    assert_probed(&team, 0, &[("video", "h264")]);
    assert_page_plays(&team, 1, "page-testcard.png");
}
