//! Pages of a list in a stable order, and the tokens that lead from one to the next. A token names the last record given, not a
//! place in the list, so that members that come and go neither repeat nor hide others; it serves one run of the process.

use super::{invalid, limits, reason::stale};
use std::str::FromStr;
use tonic::Status;

/// Which records are wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted<'a> {
    /// Behind this one.
    pub(super) after: Option<&'a str>,
    /// At most so many.
    pub(super) max: usize,
}

/// Reads a request's paging fields.
pub(super) fn wanted(instance: u64, page_size: u32, page_token: &str) -> Result<Wanted<'_>, Status> {
    if page_size > limits::PAGE_SIZE_MAX {
        return Err(invalid("page_size", format!("is at most {}", limits::PAGE_SIZE_MAX)));
    }
    let max = if page_size == 0 { limits::PAGE_SIZE_DEFAULT } else { page_size };
    let after = match page_token {
        "" => None,
        token => {
            let (run, after) = parts(token).ok_or_else(|| invalid("page_token", NO_TOKEN))?;
            if run != instance {
                return Err(stale("page_token"));
            }
            Some(after)
        }
    };
    Ok(Wanted { after, max: usize::try_from(max).unwrap_or(usize::MAX) })
}

/// What is wrong with a token that no list gave.
const NO_TOKEN: &str = "is no token of this list: begin again with the first page";

/// The run that gave a token, and what it says beside; `None` for what none gave.
pub(super) fn parts(token: &str) -> Option<(u64, &str)> {
    let (run, rest) = token.split_once('-').filter(|_| token.len() <= limits::LIST_TOKEN_BYTES_MAX)?;
    Some((u64::from_str_radix(run, 16).ok()?, rest))
}

/// Reads the record behind which a page begins.
pub(super) fn behind<T: FromStr>(after: Option<&str>) -> Result<Option<T>, Status> {
    after.map(|after| after.parse().map_err(|_| invalid("page_token", NO_TOKEN))).transpose()
}

/// Reads one whose records are named by slots.
pub(super) fn wanted_slots(
    instance: u64,
    page_size: u32,
    page_token: &str,
) -> Result<(Option<u16>, usize), Status> {
    let Wanted { after, max } = wanted(instance, page_size, page_token)?;
    Ok((behind(after)?, max))
}

/// The token behind the record `last`; empty when it is the last of all.
pub(super) fn token(instance: u64, last: Option<impl std::fmt::Display>) -> String {
    last.map_or_else(String::new, |last| format!("{instance:x}-{last}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn tokens_lead_on_in_their_run_only() {
        assert_eq!(wanted_slots(7, 0, "").unwrap(), (None, 100));
        assert_eq!(wanted_slots(7, limits::PAGE_SIZE_MAX, &token(7, Some(41))).unwrap(), (Some(41), 512));
        assert_eq!(token(7, None::<u16>), "");
        for (size, wrong) in [(513, ""), (1, "41"), (1, "8-41"), (1, "7-x"), (1, "7-"), (1, "7-70000")] {
            assert_eq!(wanted_slots(7, size, wrong).unwrap_err().code(), Code::InvalidArgument, "{wrong}");
        }
    }
}
