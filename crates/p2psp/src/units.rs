//! Rates and durations as people write them: `4M`, `2500k`, `500ms`, `1.5s`. Exact decimal arithmetic, no floats; the text that
//! a value prints as parses back to the same value.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr, time::Duration};

/// A bit rate in bits per second, above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BitRate(pub(crate) u64);

/// A length of time, at most [`SPAN_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub(crate) Duration);

/// Longest time that a setting takes: one week, and no sum of a few of them overflows anything.
const SPAN_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Highest rate that a setting takes: a terabit per second.
pub(crate) const BIT_RATE_MAX: u64 = 1_000_000_000_000;

const RATE_UNITS: [(&str, u64); 4] = [("", 1), ("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000)];
const SPAN_UNITS: [(&str, u64); 5] =
    [("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000)];

/// Why a text is no rate or no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnitError {
    #[error("a bit rate is a number and k, M or G: for example 4M, 2500k or 1.5M")]
    Rate,
    #[error("a bit rate lies between 1 and {BIT_RATE_MAX} bits per second")]
    RateRange,
    #[error("a duration is a number and us, ms, s, m or h: for example 500ms, 1.5s or 2m")]
    Span,
    #[error("a duration is at most 168h")]
    SpanRange,
}

impl FromStr for BitRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text);
        let unit =
            ["bit/s", "b/s", "bps", "bit", "b"].iter().find_map(|end| unit.strip_suffix(end)).unwrap_or(unit);
        let scale = RATE_UNITS.iter().find(|(name, _)| *name == unit || (*name == "k" && unit == "K"));
        let (_, scale) = scale.ok_or(UnitError::Rate)?;
        match scaled(number, *scale).ok_or(UnitError::Rate)? {
            rate @ 1..=BIT_RATE_MAX => Ok(Self(rate)),
            _ => Err(UnitError::RateRange),
        }
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        whole(f, self.0, &RATE_UNITS)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text);
        let scale = SPAN_UNITS.iter().find(|(name, _)| *name == unit);
        let nanos = match scale {
            Some((_, scale)) => scaled(number, *scale).ok_or(UnitError::Span)?,
            // Zero needs no unit, and means the same in all of them.
            None if unit.is_empty() && scaled(number, 1) == Some(0) => 0,
            None => return Err(UnitError::Span),
        };
        let span = Duration::from_nanos(nanos);
        if span <= SPAN_MAX { Ok(Self(span)) } else { Err(UnitError::SpanRange) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        if nanos == 0 { f.write_str("0s") } else { whole(f, nanos, &SPAN_UNITS) }
    }
}

/// Reads and writes a setting by its text form; a bare number in a file is read as its digits.
macro_rules! by_text {
    ($name:ident, $what:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ByText;
                impl de::Visitor<'_> for ByText {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($what)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$name, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(ByText)
            }
        }
    };
}

by_text!(BitRate, "a bit rate such as \"4M\"");
by_text!(Span, "a duration such as \"500ms\"");

/// The leading number, and what follows it.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// `number` times `scale`, exact; `None` when it is no number, too large, or finer than one.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || (fraction.is_empty() && number.contains('.')) || fraction.contains('.') {
        return None;
    }
    let mut sum = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let mut place = scale;
    for digit in fraction.bytes() {
        let digit = u64::from(digit - b'0');
        if digit != 0 && !place.is_multiple_of(10) {
            return None;
        }
        place /= 10;
        sum = sum.checked_add(digit * place)?;
    }
    Some(sum)
}

/// Writes a value in the largest unit that holds it without a fraction.
fn whole(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    match units.iter().rev().find(|(_, scale)| value.is_multiple_of(*scale)) {
        Some((unit, scale)) => write!(f, "{}{unit}", value / scale),
        // Nanoseconds have no unit of their own; no setting needs them.
        None => write!(f, "{}us", value / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_as_people_write_them() {
        for (text, bits) in [
            ("4M", 4_000_000),
            ("4Mb/s", 4_000_000),
            ("4 Mbit/s", 4_000_000),
            ("2500k", 2_500_000),
            ("2500K", 2_500_000),
            ("1.5M", 1_500_000),
            ("0.1k", 100),
            ("64000", 64_000),
            ("1G", 1_000_000_000),
            ("1000G", BIT_RATE_MAX),
        ] {
            assert_eq!(text.parse(), Ok(BitRate(bits)), "{text}");
        }
        for text in
            ["", "M", "4m", "4MB", "-4M", "1..5M", "1.", ".5M", "0.0001k", "4M x", "99999999999999999999"]
        {
            assert_eq!(text.parse::<BitRate>(), Err(UnitError::Rate), "{text}");
        }
        for text in ["0", "0M", "1001G"] {
            assert_eq!(text.parse::<BitRate>(), Err(UnitError::RateRange), "{text}");
        }
    }

    #[test]
    fn durations_as_people_write_them() {
        for (text, millis) in [
            ("500ms", 500),
            ("1.5s", 1500),
            ("2 s", 2000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("0", 0),
            ("168h", 604_800_000),
        ] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "500", "5 minutes", "-1s", "s", "1.0000000001s", "1,5s"] {
            assert_eq!(text.parse::<Span>(), Err(UnitError::Span), "{text}");
        }
        assert_eq!("169h".parse::<Span>(), Err(UnitError::SpanRange));
    }

    #[test]
    fn what_is_printed_parses_back() {
        for bits in [1, 999, 1_000, 64_000, 1_500_000, 4_000_000, 1_000_000_000, 1_234_567] {
            assert_eq!(BitRate(bits).to_string().parse(), Ok(BitRate(bits)));
        }
        for micros in [0, 1, 999, 1_000, 1_500, 500_000, 1_500_000, 60_000_000, 3_600_000_000] {
            let span = Span(Duration::from_micros(micros));
            assert_eq!(span.to_string().parse(), Ok(span));
        }
        assert_eq!(BitRate(2_500_000).to_string(), "2500k");
        assert_eq!(Span(Duration::from_millis(1500)).to_string(), "1500ms");
    }
}
