//! EBML elements (RFC 8794): ids, sizes, and a walk over the children of a small element. Knows no Matroska ids.

use super::read::u8_at;

/// The longest element header: four bytes of id, eight of size.
pub(super) const HEADER_BYTES_MAX: usize = 12;

/// The first bytes of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) id: u32,
    /// `None`: unknown, the element ends where something begins that cannot be its child.
    pub(super) size: Option<u64>,
    /// Length of id and size.
    pub(super) header_bytes: usize,
}

pub(super) enum Parsed {
    Element(Element),
    NeedMore,
    Invalid,
}

/// Reads an element header; unlike RFC 8794, ids are taken with their marker bit, as everyone writes them.
pub(super) fn element_at(bytes: &[u8], at: usize) -> Parsed {
    let Some(first) = u8_at(bytes, at) else { return Parsed::NeedMore };
    let id_len = leading(first);
    if id_len > 4 {
        return Parsed::Invalid;
    }
    let Some(id) = bytes.get(at..at + id_len) else { return Parsed::NeedMore };
    let id = id.iter().fold(0u32, |n, &b| n << 8 | u32::from(b));
    match vint_at(bytes, at + id_len) {
        Some(Ok((size, size_len))) => Parsed::Element(Element { id, size, header_bytes: id_len + size_len }),
        Some(Err(Invalid)) => Parsed::Invalid,
        None => Parsed::NeedMore,
    }
}

/// A length starting with eight zero bits.
pub(super) struct Invalid;

/// A variable-length number: its value (`None` if all ones, the unknown size) and its length.
pub(super) fn vint_at(bytes: &[u8], at: usize) -> Option<Result<(Option<u64>, usize), Invalid>> {
    let first = u8_at(bytes, at)?;
    let len = leading(first);
    if len > 8 {
        return Some(Err(Invalid));
    }
    let digits = bytes.get(at..at + len)?;
    let raw = digits.iter().fold(0u64, |n, &b| n << 8 | u64::from(b));
    let mask = (1u64 << (7 * len)) - 1;
    let value = raw & mask;
    Some(Ok(((value != mask).then_some(value), len)))
}

fn leading(first: u8) -> usize {
    usize::try_from(first.leading_zeros()).unwrap_or(8) + 1
}

/// The children of an element whose body is all there; stops at the first that does not fit.
pub(super) fn children(body: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let Parsed::Element(Element { id, size: Some(size), header_bytes }) = element_at(rest, 0) else {
            return None;
        };
        let end = header_bytes.checked_add(usize::try_from(size).ok()?)?;
        let child = rest.get(header_bytes..end)?;
        rest = rest.get(end..)?;
        Some((id, child))
    })
}

/// An unsigned integer body of up to eight bytes.
pub(super) fn uint(body: &[u8]) -> Option<u64> {
    (body.len() <= 8).then(|| body.iter().fold(0u64, |n, &b| n << 8 | u64::from(b)))
}
