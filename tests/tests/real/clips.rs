//! The clips that are streamed, made by ffmpeg once per test run: a moving picture with a clock, and noise.

use crate::tools::{artefact, ffmpeg, run};
use std::{fs, path::PathBuf, sync::OnceLock, time::Duration};

const MAKING: Duration = Duration::from_secs(120);

/// A clip as a file, and its bytes.
pub(crate) struct Clip {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

impl Clip {
    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

/// H.264 and AAC in a transport stream, a keyframe a second.
pub(crate) fn short_ts() -> &'static Clip {
    static CLIP: OnceLock<Clip> = OnceLock::new();
    CLIP.get_or_init(|| make_ts("short.ts", 6))
}

/// The same, long enough for players one after another.
pub(crate) fn long_ts() -> &'static Clip {
    static CLIP: OnceLock<Clip> = OnceLock::new();
    CLIP.get_or_init(|| make_ts("long.ts", 40))
}

fn make_ts(name: &str, seconds: u32) -> Clip {
    let video = ["-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-pix_fmt", "yuv420p", "-b:v", "800k"];
    let made = make(
        &format!("made-{name}"),
        seconds,
        &[&video[..], &["-c:a", "aac", "-b:a", "96k", "-f", "mpegts"]].concat(),
    );
    // What a sender that copies this file puts out: its packets are laid out anew.
    let path = artefact(name);
    run(&mut ffmpeg(&["-i", made.path(), "-c", "copy", "-f", "mpegts", path.to_str().unwrap()]), MAKING);
    Clip { bytes: fs::read(&path).unwrap(), path }
}

/// VP8 and Vorbis in WebM, as live senders write it.
pub(crate) fn webm() -> &'static Clip {
    static CLIP: OnceLock<Clip> = OnceLock::new();
    CLIP.get_or_init(|| {
        let video = ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-g", "25", "-b:v", "700k"];
        let rest = ["-c:a", "libvorbis", "-f", "webm", "-live", "1", "-cluster_time_limit", "1000"];
        make("clip.webm", 36, &[&video[..], &rest].concat())
    })
}

/// Vorbis in Ogg.
pub(crate) fn ogg() -> &'static Clip {
    static CLIP: OnceLock<Clip> = OnceLock::new();
    CLIP.get_or_init(|| {
        make(
            "clip.ogg",
            30,
            &["-vn", "-c:a", "libvorbis", "-b:a", "128k", "-page_duration", "100000", "-f", "ogg"],
        )
    })
}

fn make(name: &str, seconds: u32, coding: &[&str]) -> Clip {
    let path = artefact(name);
    let (picture, sound) = (
        format!("testsrc2=size=320x192:rate=25:duration={seconds}"),
        format!("anoisesrc=color=pink:amplitude=0.2:duration={seconds}"),
    );
    let mut command = ffmpeg(&["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound]);
    run(command.args(coding).arg(&path), MAKING);
    Clip { bytes: fs::read(&path).unwrap(), path }
}
