//! Durations as people write them (`30s`, `1m30s`, `250ms`).
//!
//! Owns: reading and writing them, and the form that serde uses, for fields that hold milliseconds.
//! Leaves to others: which durations make sense where. Invariant: `parse(&format(ms)) == Ok(ms)`.

use serde::{Deserialize, Deserializer, Serializer, de};

/// What a duration looks like, as a regular expression. [`parse`] takes the same texts.
pub const PATTERN: &str = "^([0-9]{1,9}(ms|s|m|h)){1,4}$";

/// Why a text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a duration is a whole number with a unit, one or more times: `500ms`, `30s`, `1m30s`, `2h`")]
pub struct NotADuration;

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// The milliseconds of a duration.
///
/// # Errors
///
/// The text does not match [`PATTERN`].
pub fn parse(text: &str) -> Result<u64, NotADuration> {
    let mut rest = text;
    let mut total = 0u64;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=9).contains(&digits) {
            return Err(NotADuration);
        }
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, after) = after.split_at(letters);
        let factor = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or(NotADuration)?
            .1;
        // Nine digits of hours are far below 2^64 milliseconds, and so are four of them.
        total += number.parse::<u64>().map_err(|_| NotADuration)? * factor;
        rest = after;
        if rest.is_empty() {
            return Ok(total);
        }
    }
    Err(NotADuration)
}

/// The shortest usual way to write so many milliseconds: `1m30s`, `500ms`, `0s`.
#[must_use]
pub fn format(milliseconds: u64) -> String {
    let mut rest = milliseconds;
    let mut text = String::new();
    for (unit, factor) in UNITS.iter().rev() {
        let number = rest / factor;
        rest %= factor;
        if number > 0 {
            text.push_str(&number.to_string());
            text.push_str(unit);
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

/// For `#[serde(with = "duration")]` on a field of milliseconds.
///
/// # Errors
///
/// Those of the serializer.
pub fn serialize<S: Serializer>(milliseconds: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*milliseconds))
}

/// For `#[serde(with = "duration")]` on a field of milliseconds.
///
/// # Errors
///
/// The value is not a text, or the text is not a duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(de::Error::custom)
}

/// For `#[serde(with = "duration::optional")]` on a field of milliseconds that may be absent.
pub mod optional {
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes it as people do.
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(milliseconds: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match milliseconds {
            Some(milliseconds) => super::serialize(milliseconds, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads what people write.
    ///
    /// # Errors
    ///
    /// The value is not a text, or the text is not a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse(&text).map_err(de::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("0s", 0),
            ("1h1m1s1ms", 3_661_001),
        ] {
            assert_eq!(parse(text), Ok(milliseconds), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "30 s",
            "-1s",
            "1.5s",
            "30S",
            "1234567890s",
            "1s1s1s1s1s",
            "30sx",
            "ten",
        ] {
            assert_eq!(parse(text), Err(NotADuration), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for milliseconds in [0, 1, 999, 1_000, 61_000, 3_600_000, 86_399_999] {
            assert_eq!(parse(&format(milliseconds)), Ok(milliseconds));
        }
        assert_eq!(format(90_000), "1m30s");
    }
}
