//! Amounts of memory as Kubernetes writes them (`512Mi`, `2Gi`).
//!
//! Owns: reading and writing them, and the form that serde uses, for fields that hold bytes. Leaves to others: which
//! amounts make sense where. Invariant: `parse(&format(bytes)) == Ok(bytes)` for whole kibibytes.

use serde::{Deserialize, Deserializer, Serializer, de};

/// What an amount looks like, as a regular expression. [`parse`] takes the same texts.
pub const PATTERN: &str = "^[0-9]{1,9}(Ki|Mi|Gi)$";

/// Why a text is not an amount of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an amount of memory is a whole number with a unit: `65536Ki`, `512Mi`, `2Gi`")]
pub struct NotAQuantity;

const UNITS: [(&str, u64); 3] = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];

/// The bytes of an amount.
///
/// # Errors
///
/// The text does not match [`PATTERN`].
pub fn parse(text: &str) -> Result<u64, NotAQuantity> {
    let (unit, factor) = UNITS
        .iter()
        .find(|(unit, _)| text.ends_with(unit))
        .ok_or(NotAQuantity)?;
    let digits = &text[..text.len() - unit.len()];
    if !(1..=9).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotAQuantity);
    }
    // Nine digits of gibibytes are below 2^60.
    Ok(digits.parse::<u64>().map_err(|_| NotAQuantity)? * factor)
}

/// The shortest way to write so many bytes, rounded down to kibibytes.
#[must_use]
pub fn format(bytes: u64) -> String {
    let (unit, factor) = UNITS
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .unwrap_or(&UNITS[2]);
    format!("{}{unit}", bytes / factor)
}

/// For `#[serde(with = "quantity")]` on a field of bytes.
///
/// # Errors
///
/// Those of the serializer.
pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*bytes))
}

/// For `#[serde(with = "quantity")]` on a field of bytes.
///
/// # Errors
///
/// The value is not a text, or the text is not an amount of memory.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_with_their_unit_and_written_the_shortest_way() {
        for (text, bytes) in [
            ("64Ki", 64 << 10),
            ("512Mi", 512 << 20),
            ("2Gi", 2 << 30),
            ("1025Mi", 1025 << 20),
        ] {
            assert_eq!((parse(text), format(bytes)), (Ok(bytes), text.to_owned()));
        }
        for wrong in [
            "",
            "Mi",
            "5",
            "5M",
            "-1Mi",
            "1.5Gi",
            "1234567890Ki",
            "5 Mi",
            "５Mi",
        ] {
            assert_eq!(parse(wrong), Err(NotAQuantity), "{wrong}");
        }
    }
}
