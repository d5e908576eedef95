//! The built-in test card: colour bars, a running clock, a frame counter to read by eye and another to read by machine,
//! as H.264 in a transport stream. A pure function of the frame's number and the start time: no clock, no I/O, no
//! encoder library. Knows nothing of how the frames are paced or sent.

mod font;
mod h264;
mod mux;
mod picture;

#[cfg(test)]
mod tests;

use bytes::Bytes;

use h264::Encoder;
use mux::Mux;
pub use picture::{COUNTER_CELLS, counter_rows, read_counter};
use picture::{Picture, draw};

/// Smallest picture: the counter needs 40 cells of 8 pixels, the clock eight digits.
pub const WIDTH_MIN: u16 = 320;
/// Smallest picture: bars, clock, counter and the moving block below one another.
pub const HEIGHT_MIN: u16 = 192;
/// Largest picture, in either direction: beyond 1920 pixels nobody learns more from a test card.
pub const SIDE_MAX: u16 = 1920;
/// Most frames per second.
pub const FPS_MAX: u16 = 60;
/// Most frames from one keyframe to the next: a viewer who joins waits no longer than that.
pub const GOP_FRAMES_MAX: u16 = 600;

/// What the test card looks like. The default is 320 x 192 at 25 frames per second with a keyframe each 0.48 s, about
/// 1 Mb/s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestCardConfig {
    /// Pixels, a multiple of 16.
    pub width: u16,
    /// Pixels, a multiple of 16.
    pub height: u16,
    /// Frames per second.
    pub fps: u16,
    /// Frames from one keyframe to the next.
    pub gop_frames: u16,
    /// Milliseconds since 1970 UTC at frame 0: what the clock shows.
    pub start_unix_ms: u64,
}

impl Default for TestCardConfig {
    fn default() -> Self {
        Self { width: 320, height: 192, fps: 25, gop_frames: 12, start_unix_ms: 0 }
    }
}

/// Why a configuration is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TestCardError {
    /// The picture's sides.
    #[error(
        "a test card has {WIDTH_MIN} to {SIDE_MAX} by {HEIGHT_MIN} to {SIDE_MAX} pixels, in steps of 16: not {width}x{height}"
    )]
    Size {
        /// As asked for.
        width: u16,
        /// As asked for.
        height: u16,
    },
    /// Frames per second.
    #[error("a test card has 1 to {FPS_MAX} frames per second, not {0}")]
    Fps(u16),
    /// Frames from one keyframe to the next.
    #[error("a test card has a keyframe each 1 to {GOP_FRAMES_MAX} frames, not {0}")]
    Gop(u16),
}

/// The generator.
#[derive(Debug)]
pub struct TestCard {
    config: TestCardConfig,
    encoder: Encoder,
    mux: Mux,
    picture: Picture,
    frame: u64,
    /// Frames since the last keyframe; `None` before the first.
    since_keyframe: Option<u16>,
}

impl TestCard {
    /// A test card that begins with frame 0.
    ///
    /// # Errors
    ///
    /// When a side, the frame rate or the keyframe distance is out of bounds.
    pub fn new(config: TestCardConfig) -> Result<Self, TestCardError> {
        let TestCardConfig { width, height, fps, gop_frames, .. } = config;
        let side = |n: u16, min| n.is_multiple_of(16) && (min..=SIDE_MAX).contains(&n);
        if !side(width, WIDTH_MIN) || !side(height, HEIGHT_MIN) {
            return Err(TestCardError::Size { width, height });
        }
        if !(1..=FPS_MAX).contains(&fps) {
            return Err(TestCardError::Fps(fps));
        }
        if !(1..=GOP_FRAMES_MAX).contains(&gop_frames) {
            return Err(TestCardError::Gop(gop_frames));
        }
        Ok(Self {
            config,
            encoder: Encoder::new(width, height, fps),
            mux: Mux::new(),
            picture: Picture::new(usize::from(width), usize::from(height)),
            frame: 0,
            since_keyframe: None,
        })
    }

    /// The transport-stream packets of the next frame; a keyframe comes with the tables before it.
    pub fn next_frame(&mut self) -> Bytes {
        let TestCardConfig { fps, gop_frames, start_unix_ms, .. } = self.config;
        let keyframe = self.since_keyframe.is_none_or(|n| n + 1 >= gop_frames);
        self.since_keyframe = Some(if keyframe { 0 } else { self.since_keyframe.map_or(0, |n| n + 1) });
        let unix_ms = start_unix_ms + self.frame * 1000 / u64::from(fps);
        draw(&mut self.picture, self.frame, unix_ms);
        let access_unit = self.encoder.encode(&self.picture, keyframe);
        let ticks = self.frame * mux::TICKS_PER_S / u64::from(fps);
        self.frame += 1;
        self.mux.frame(&access_unit, ticks, keyframe)
    }

    /// The number of the frame that [`next_frame`](Self::next_frame) will make.
    #[must_use]
    pub fn frame(&self) -> u64 {
        self.frame
    }

    /// Leaves frames out, so that frame `frame` comes next, as a keyframe. Never goes back.
    pub fn skip_to(&mut self, frame: u64) {
        if frame > self.frame {
            self.frame = frame;
            self.since_keyframe = None;
        }
    }
}
