//! A lossless H.264 encoder for pictures with much that is flat or unchanged (ITU-T H.264, Constrained Baseline). Four
//! kinds of macroblock: skipped, copied down, copied right, and raw samples. No transform, no motion, no rate control.

use super::picture::Picture;

const NAL_AUD: u8 = 0x09;
const NAL_SPS: u8 = 0x67;
const NAL_PPS: u8 = 0x68;
const NAL_IDR: u8 = 0x65;
const NAL_SLICE: u8 = 0x41;

/// Macroblock types of an I slice, table 7-11; in a P slice five more.
const I_16X16_VERTICAL: u32 = 1;
const I_16X16_HORIZONTAL: u32 = 2;
const I_PCM: u32 = 25;
/// Chroma prediction modes, table 7-16.
const CHROMA_HORIZONTAL: u32 = 1;
const CHROMA_VERTICAL: u32 = 2;

#[derive(Debug)]
pub(super) struct Encoder {
    width_mbs: usize,
    height_mbs: usize,
    parameter_sets: Vec<u8>,
    previous: Option<Picture>,
    frame_num: u32,
    idr_pic_id: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Macroblock {
    Skip,
    CopyDown,
    CopyRight,
    Raw,
}

impl Encoder {
    pub(super) fn new(width: u16, height: u16, fps: u16) -> Self {
        let (width_mbs, height_mbs) = (u32::from(width / 16), u32::from(height / 16));
        let mut parameter_sets = Vec::new();
        nal(NAL_SPS, sps(width_mbs, height_mbs, u32::from(fps)), &mut parameter_sets);
        nal(NAL_PPS, pps(), &mut parameter_sets);
        Self {
            width_mbs: usize::from(width / 16),
            height_mbs: usize::from(height / 16),
            parameter_sets,
            previous: None,
            frame_num: 0,
            idr_pic_id: 0,
        }
    }

    /// One access unit in byte-stream format (annex B), which decodes to exactly `picture`.
    pub(super) fn encode(&mut self, picture: &Picture, keyframe: bool) -> Vec<u8> {
        let mut unit = Vec::new();
        let mut delimiter = Bits::default();
        // primary_pic_type: 0 for I slices alone, 1 for I and P.
        delimiter.put(if keyframe { 0 } else { 1 }, 3);
        nal(NAL_AUD, delimiter.trailing(), &mut unit);
        let previous = self.previous.as_ref().filter(|_| !keyframe);
        if previous.is_none() {
            unit.extend_from_slice(&self.parameter_sets);
            self.frame_num = 0;
        }
        let mut bits = Bits::default();
        self.slice_header(&mut bits, previous.is_none());
        self.macroblocks(&mut bits, picture, previous);
        nal(if previous.is_some() { NAL_SLICE } else { NAL_IDR }, bits.trailing(), &mut unit);
        if previous.is_none() {
            self.idr_pic_id = (self.idr_pic_id + 1) % 16;
        }
        self.frame_num = (self.frame_num + 1) % 16;
        self.previous = Some(picture.clone());
        unit
    }

    /// 7.3.3.
    fn slice_header(&self, bits: &mut Bits, idr: bool) {
        bits.ue(0); // first_mb_in_slice
        bits.ue(if idr { 7 } else { 5 }); // slice_type: all slices of the picture are I, or P
        bits.ue(0); // pic_parameter_set_id
        bits.put(self.frame_num, 4);
        if idr {
            bits.ue(self.idr_pic_id);
            bits.put(0, 2); // no_output_of_prior_pics_flag, long_term_reference_flag
        } else {
            bits.put(0, 1); // num_ref_idx_active_override_flag
            bits.put(0, 1); // ref_pic_list_modification_flag_l0
            bits.put(0, 1); // adaptive_ref_pic_marking_mode_flag
        }
        bits.ue(0); // slice_qp_delta, se(0) and ue(0) being the same
        bits.ue(1); // disable_deblocking_filter_idc: what is flat must stay as it is
    }

    fn macroblocks(&self, bits: &mut Bits, picture: &Picture, previous: Option<&Picture>) {
        let type_offset = if previous.is_some() { 5 } else { 0 };
        let mut skipped = 0;
        // Kinds of the row above and of this row, for the context of coeff_token.
        let mut above: Vec<Option<Macroblock>> = vec![None; self.width_mbs];
        for y in 0..self.height_mbs {
            let mut left = None;
            for (x, slot) in above.iter_mut().enumerate() {
                let kind = choose(picture, previous, x, y);
                if kind == Macroblock::Skip {
                    skipped += 1;
                } else {
                    if previous.is_some() {
                        bits.ue(skipped);
                        skipped = 0;
                    }
                    match kind {
                        Macroblock::CopyDown => {
                            bits.ue(type_offset + I_16X16_VERTICAL);
                            bits.ue(CHROMA_VERTICAL);
                            no_residual(bits, left, *slot);
                        }
                        Macroblock::CopyRight => {
                            bits.ue(type_offset + I_16X16_HORIZONTAL);
                            bits.ue(CHROMA_HORIZONTAL);
                            no_residual(bits, left, *slot);
                        }
                        Macroblock::Raw | Macroblock::Skip => {
                            bits.ue(type_offset + I_PCM);
                            bits.align();
                            for (plane, size) in [(0, 16), (1, 8), (2, 8)] {
                                for row in rows(picture, plane, size, x, y) {
                                    bits.bytes(row);
                                }
                            }
                        }
                    }
                }
                left = Some(kind);
                *slot = Some(kind);
            }
        }
        if skipped > 0 {
            bits.ue(skipped);
        }
    }
}

/// mb_qp_delta, and a luma DC block without coefficients. How "none" is written depends on what the neighbours have
/// (9.2.1): raw macroblocks count as 16, all others here as 0.
fn no_residual(bits: &mut Bits, left: Option<Macroblock>, above: Option<Macroblock>) {
    bits.ue(0);
    if left == Some(Macroblock::Raw) || above == Some(Macroblock::Raw) {
        bits.put(0b00_0011, 6);
    } else {
        bits.put(1, 1);
    }
}

fn choose(picture: &Picture, previous: Option<&Picture>, x: usize, y: usize) -> Macroblock {
    let planes = [(0, 16), (1, 8), (2, 8)];
    if let Some(previous) = previous
        && planes.iter().all(|&(p, size)| rows(picture, p, size, x, y).eq(rows(previous, p, size, x, y)))
    {
        return Macroblock::Skip;
    }
    let copies_down = || {
        planes.iter().all(|&(p, size)| {
            let above = rows(picture, p, size, x, y - 1).last();
            rows(picture, p, size, x, y).all(|row| Some(row) == above)
        })
    };
    if y > 0 && copies_down() {
        return Macroblock::CopyDown;
    }
    let copies_right = || {
        planes.iter().all(|&(p, size)| {
            let left = rows(picture, p, size, x - 1, y).map(|row| row.last());
            rows(picture, p, size, x, y).zip(left).all(|(row, l)| row.iter().all(|s| Some(s) == l))
        })
    };
    if x > 0 && copies_right() { Macroblock::CopyRight } else { Macroblock::Raw }
}

/// The rows of a macroblock in one plane.
fn rows(picture: &Picture, plane: usize, size: usize, x: usize, y: usize) -> impl Iterator<Item = &[u8]> {
    let stride = picture.width * size / 16;
    let samples = picture.planes.get(plane).map(Vec::as_slice).unwrap_or_default();
    samples
        .chunks_exact(stride)
        .skip(y * size)
        .take(size)
        .map(move |row| row.get(x * size..(x + 1) * size).unwrap_or_default())
}

/// 7.3.2.1.1 and annex E.
fn sps(width_mbs: u32, height_mbs: u32, fps: u32) -> Vec<u8> {
    let mbs = width_mbs * height_mbs;
    // Table A-1: the lowest level from 3.0 up whose frame size and macroblock rate suffice.
    let level = match (mbs, mbs * fps) {
        (..=1620, ..=40_500) => 30,
        (..=3600, ..=108_000) => 31,
        (..=8192, ..=245_760) => 40,
        _ => 51,
    };
    let mut bits = Bits::default();
    bits.put(66, 8); // profile_idc: Baseline
    bits.put(0b1100_0000, 8); // constraint_set0 and 1: what Main decoders play as well
    bits.put(level, 8);
    bits.ue(0); // seq_parameter_set_id
    bits.ue(0); // log2_max_frame_num_minus4
    bits.ue(2); // pic_order_cnt_type: output order is decoding order
    bits.ue(1); // max_num_ref_frames
    bits.put(0, 1); // gaps_in_frame_num_value_allowed_flag
    bits.ue(width_mbs - 1);
    bits.ue(height_mbs - 1);
    bits.put(0b11, 2); // frame_mbs_only_flag, direct_8x8_inference_flag
    bits.put(0, 1); // frame_cropping_flag
    bits.put(1, 1); // vui_parameters_present_flag
    bits.put(0, 1); // aspect_ratio_info_present_flag
    bits.put(0, 1); // overscan_info_present_flag
    bits.put(1, 1); // video_signal_type_present_flag
    bits.put(0b10101, 5); // unspecified format, limited range, colour description follows
    for bt601 in [6, 6, 6] {
        bits.put(bt601, 8);
    }
    bits.put(0, 1); // chroma_loc_info_present_flag
    bits.put(1, 1); // timing_info_present_flag
    bits.put(1, 32); // num_units_in_tick: a field
    bits.put(fps * 2, 32); // time_scale
    bits.put(1, 1); // fixed_frame_rate_flag
    bits.put(0b00, 2); // no HRD parameters
    bits.put(0, 1); // pic_struct_present_flag
    bits.put(1, 1); // bitstream_restriction_flag: decoders need not wait for reordering
    bits.put(1, 1); // motion_vectors_over_pic_boundaries_flag
    for value in [0, 0, 1, 1, 0, 1] {
        // max_bytes_per_pic_denom, max_bits_per_mb_denom, two of log2_max_mv_length, num_reorder, dec_buffering
        bits.ue(value);
    }
    bits.trailing()
}

/// 7.3.2.2.
fn pps() -> Vec<u8> {
    let mut bits = Bits::default();
    bits.ue(0); // pic_parameter_set_id
    bits.ue(0); // seq_parameter_set_id
    bits.put(0b00, 2); // CAVLC, no bottom-field orders
    bits.ue(0); // num_slice_groups_minus1
    bits.ue(0); // num_ref_idx_l0_default_active_minus1
    bits.ue(0); // num_ref_idx_l1_default_active_minus1
    bits.put(0, 3); // weighted prediction
    bits.ue(0); // pic_init_qp_minus26
    bits.ue(0); // pic_init_qs_minus26
    bits.ue(0); // chroma_qp_index_offset
    bits.put(0b100, 3); // deblocking control present; no constrained intra, no redundant pictures
    bits.trailing()
}

/// Wraps a payload in a NAL unit of the byte-stream format, with emulation prevention (7.4.1).
fn nal(header: u8, payload: Vec<u8>, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 0, 1, header]);
    let mut zeros = 0;
    for byte in payload {
        if zeros >= 2 && byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
}

/// A bit string, most significant bit first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Bits in the last byte that are free.
    free: u32,
}

impl Bits {
    fn put(&mut self, value: u32, bits: u32) {
        for i in (0..bits).rev() {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            self.free -= 1;
            if let Some(last) = self.bytes.last_mut()
                && value >> i & 1 == 1
            {
                *last |= 1 << self.free;
            }
        }
    }

    /// Exp-Golomb, 9.1.
    fn ue(&mut self, value: u32) {
        let len = (value + 1).ilog2();
        self.put(0, len);
        self.put(value + 1, len + 1);
    }

    fn align(&mut self) {
        self.free = 0;
    }

    /// Appends whole bytes; only after [`align`](Self::align).
    fn bytes(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.free, 0);
        self.bytes.extend_from_slice(bytes);
    }

    /// rbsp_trailing_bits.
    fn trailing(mut self) -> Vec<u8> {
        self.put(1, 1);
        self.bytes
    }
}
