//! Draws the test card into planes of samples, and reads its machine-readable counter back from a decoded picture.
//!
//! The counter is a row of [`COUNTER_CELLS`] equal cells across the whole width, white for 1 and black for 0: `1 0`, the
//! frame's number in 32 bits, most significant first, four bits of check sum, `0 1`.

use super::font::{GLYPH_HEIGHT, GLYPH_WIDTH, glyph};

/// Cells of the counter row.
pub const COUNTER_CELLS: usize = 40;

const BLACK: [u8; 3] = [16, 128, 128];
const WHITE: [u8; 3] = [235, 128, 128];
const GREY: [u8; 3] = [60, 128, 128];
/// Y, Cb, Cr of the 75 % bars of ITU-R BT.471, as BT.601 codes them.
const BARS: [[u8; 3]; 8] = [
    [180, 128, 128],
    [162, 44, 142],
    [131, 156, 44],
    [112, 72, 58],
    [84, 184, 198],
    [65, 100, 212],
    [35, 212, 114],
    [16, 128, 128],
];

/// Planes of an 4:2:0 picture, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Luma, then two chroma planes of half the sides.
    pub(super) planes: [Vec<u8>; 3],
}

impl Picture {
    pub(super) fn new(width: usize, height: usize) -> Self {
        let chroma = vec![128; width / 2 * (height / 2)];
        Self { width, height, planes: [vec![16; width * height], chroma.clone(), chroma] }
    }

    /// Fills a rectangle; sides are rounded down to even pixels, and cut off at the picture's edge.
    fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: [u8; 3]) {
        for ((plane, value), shift) in self.planes.iter_mut().zip(colour).zip([0, 1, 1]) {
            let stride = self.width >> shift;
            for row in plane.chunks_exact_mut(stride).skip(y >> shift).take(height >> shift) {
                row.iter_mut().skip(x >> shift).take(width >> shift).for_each(|sample| *sample = value);
            }
        }
    }

    fn text(&mut self, text: &str, x: usize, y: usize, dot: usize) {
        for (i, c) in text.chars().enumerate() {
            for (row, bits) in glyph(c).into_iter().enumerate() {
                for column in (0..GLYPH_WIDTH).filter(|column| bits >> (GLYPH_WIDTH - 1 - column) & 1 == 1) {
                    let at = x + (i * (GLYPH_WIDTH + 1) + column) * dot;
                    self.fill(at, y + row * dot, dot, dot, WHITE);
                }
            }
        }
    }
}

/// Draws frame number `frame`. `picture` is black, or holds an earlier frame.
pub(super) fn draw(picture: &mut Picture, frame: u64, unix_ms: u64) {
    let (width, height) = (picture.width, picture.height);
    // In rows of macroblocks: bars on top, then what moves. Everything keeps to the same place, so that most
    // macroblocks of a frame are those of the frame before.
    let clock_dot = width / 320 * 6;
    let number_dot = width / 320 * 4;
    let moving = height - 32;
    let number_y = moving - (GLYPH_HEIGHT * number_dot + 4).next_multiple_of(16);
    let clock_y = number_y - (GLYPH_HEIGHT * clock_dot + 2).next_multiple_of(16);
    for (i, colour) in BARS.into_iter().enumerate() {
        picture.fill(i * width / 8, 0, width / 8 + 1, clock_y, colour);
    }
    picture.fill(0, clock_y, width, height - clock_y, BLACK);

    let seconds = unix_ms / 1000 % 86_400;
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let clock_width = clock.len() * (GLYPH_WIDTH + 1) * clock_dot;
    picture.text(&clock, (width.saturating_sub(clock_width)) / 4 * 2, clock_y + 2, clock_dot);
    let label_dot = number_dot / 2;
    picture.text("P2PSP", 16, number_y, label_dot);
    picture.text("UTC", 16, number_y + 8 * label_dot, label_dot);
    let number = format!("#{:07}", frame % 10_000_000);
    let number_width = number.len() * (GLYPH_WIDTH + 1) * number_dot;
    picture.text(&number, (width - number_width - 16) & !15, number_y + 2, number_dot);

    // A block that goes from left to right once in as many frames as the picture is macroblocks wide.
    let columns = width / 16;
    let column = usize::try_from(frame % u64::try_from(columns).unwrap_or(1)).unwrap_or(0);
    picture.fill(0, moving, width, 16, GREY);
    picture.fill(column * 16, moving, 16, 16, WHITE);

    let cell = width / COUNTER_CELLS / 2 * 2;
    let (top, bottom) = counter_rows(height);
    for (i, bit) in counter_bits(frame).into_iter().enumerate() {
        picture.fill(i * cell, top, cell, bottom - top, if bit { WHITE } else { BLACK });
    }
}

/// First and last-plus-one row of pixels of the counter in a picture of `height` rows.
#[must_use]
pub fn counter_rows(height: usize) -> (usize, usize) {
    (height.saturating_sub(16), height)
}

/// Reads the frame's number, modulo 2^32, from the luma plane of a decoded picture, or from a grey copy of it, of the
/// size it was made in. `None` if there is no counter, or if its check sum is wrong.
#[must_use]
pub fn read_counter(luma: &[u8], width: usize, height: usize) -> Option<u32> {
    let cell = width / COUNTER_CELLS / 2 * 2;
    let (top, bottom) = counter_rows(height);
    let row = luma.get((top + bottom) / 2 * width..)?.get(..width)?;
    let mut bits = [false; COUNTER_CELLS];
    for (i, bit) in bits.iter_mut().enumerate() {
        *bit = *row.get(i * cell + cell / 2)? > 126;
    }
    let number = bits.iter().skip(2).take(32).fold(0u32, |n, &bit| n << 1 | u32::from(bit));
    (counter_bits(u64::from(number)) == bits).then_some(number)
}

fn counter_bits(frame: u64) -> [bool; COUNTER_CELLS] {
    let number = frame & 0xFFFF_FFFF;
    let check = (0..8).fold(0b1010, |sum, nibble| sum ^ (number >> (nibble * 4) & 0xF));
    let word = 0b10 << 38 | number << 6 | check << 2 | 0b01;
    std::array::from_fn(|i| word >> (COUNTER_CELLS - 1 - i) & 1 == 1)
}
