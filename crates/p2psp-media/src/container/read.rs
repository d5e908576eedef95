//! Reading big-endian numbers out of slices that may be too short. Owns no format.

/// The byte at `at`.
pub(crate) fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// The `N` bytes from `at` on.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

/// Big-endian, 16 bits.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_be_bytes)
}

/// Big-endian, 24 bits.
pub(crate) fn u24_at(bytes: &[u8], at: usize) -> Option<u32> {
    let [a, b, c] = array_at::<3>(bytes, at)?;
    Some(u32::from_be_bytes([0, a, b, c]))
}

/// Big-endian, 32 bits.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_be_bytes)
}

/// Big-endian, 64 bits.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_be_bytes)
}

/// A length read from a file, as an index; lengths beyond the address space become the largest index.
pub(crate) fn to_len(n: impl TryInto<usize>) -> usize {
    n.try_into().unwrap_or(usize::MAX)
}
