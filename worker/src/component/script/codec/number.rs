//! Integers beyond 64 bits, as digits and as bytes.
//!
//! Owns: the ways between decimal digits, hexadecimal digits and big-endian two's complement. Decimal digits are
//! bounded, since their conversion takes quadratic time. Pure.

use std::fmt::Write as _;

/// Most decimal digits; Python's own bound.
pub(super) const MAX_DIGITS: usize = 4_300;

/// Two's complement of an integer in decimal digits, which may have a sign. `None` if it is none, or has too many digits.
pub(super) fn from_decimal(text: &str) -> Option<Vec<u8>> {
    let (digits, is_negative) = unsigned(text);
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    // Words of 32 bits, the least significant first.
    let mut words: Vec<u32> = Vec::new();
    for chunk in digits.as_bytes().chunks(9) {
        let mut carry = chunk
            .iter()
            .fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        let factor = 10u64.pow(chunk.len() as u32);
        for word in &mut words {
            carry += u64::from(*word) * factor;
            *word = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            words.push(carry as u32);
        }
    }
    let magnitude: Vec<u8> = words.iter().rev().flat_map(|word| word.to_be_bytes()).collect();
    Some(signed(magnitude, is_negative))
}

/// Two's complement of an integer as `0x1f` or `-0x1f`. `None` if it is none.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (digits, is_negative) = unsigned(text);
    let digits = digits.strip_prefix("0x")?.as_bytes();
    if digits.is_empty() {
        return None;
    }
    let nibble = |digit: &u8| char::from(*digit).to_digit(16).map(|nibble| nibble as u8);
    let nibbles: Option<Vec<u8>> = digits.iter().map(nibble).collect();
    let mut nibbles = nibbles?;
    if nibbles.len() % 2 == 1 {
        nibbles.insert(0, 0);
    }
    let magnitude = nibbles.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    Some(signed(magnitude, is_negative))
}

/// An integer in two's complement as `0x1f` or `-0x1f`.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    let is_negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let magnitude = if is_negative {
        negated(bytes.to_vec())
    } else {
        bytes.to_vec()
    };
    let mut text = String::from(if is_negative { "-0x" } else { "0x" });
    let first = magnitude
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(magnitude.len());
    for (position, byte) in magnitude[first..].iter().enumerate() {
        // Writing to a text never fails.
        let _ = if position == 0 {
            write!(text, "{byte:x}")
        } else {
            write!(text, "{byte:02x}")
        };
    }
    if first == magnitude.len() {
        text.push('0');
    }
    text
}

/// Two's complement of an unsigned integer.
pub(super) fn from_unsigned(value: u64) -> [u8; 9] {
    let mut bytes = [0; 9];
    bytes[1..].copy_from_slice(&value.to_be_bytes());
    bytes
}

fn unsigned(text: &str) -> (&str, bool) {
    match text.strip_prefix('-') {
        Some(digits) => (digits, true),
        None => (text, false),
    }
}

fn signed(mut magnitude: Vec<u8>, is_negative: bool) -> Vec<u8> {
    magnitude.insert(0, 0);
    if is_negative {
        negated(magnitude)
    } else {
        magnitude
    }
}

fn negated(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut carry = true;
    for byte in bytes.iter_mut().rev() {
        let (sum, overflows) = (!*byte).overflowing_add(u8::from(carry));
        *byte = sum;
        carry = overflows;
    }
    // The smallest number of its length: its magnitude needs a byte more.
    if carry
        || bytes.first().is_some_and(|first| first & 0x80 != 0) && bytes[1..].iter().all(|byte| *byte == 0)
    {
        bytes.insert(0, 0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_and_hexadecimal_digits_are_the_same_integer() {
        for (decimal, hex) in [
            ("0", "0x0"),
            ("255", "0xff"),
            ("-128", "-0x80"),
            ("-32768", "-0x8000"),
            ("18446744073709551616", "0x10000000000000000"),
            (
                "-170141183460469231731687303715884105728",
                "-0x80000000000000000000000000000000",
            ),
            ("1000000000000000000000000000", "0x33b2e3c9fd0803ce8000000"),
        ] {
            let bytes = from_decimal(decimal).expect("digits");
            assert_eq!(to_hex(&bytes), hex);
            assert_eq!(to_hex(&from_hex(hex).expect("digits")), hex);
        }
        assert_eq!(from_decimal(&"9".repeat(MAX_DIGITS + 1)), None);
        assert!(from_decimal("").is_none() && from_decimal("-").is_none() && from_hex("0x").is_none());
    }
}
