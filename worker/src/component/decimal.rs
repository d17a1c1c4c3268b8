//! Big integers as people read them.
//!
//! Owns: two's complement to decimal digits. Invariant: what a number costs is bounded: one that is very long is written in
//! hexadecimal, as `0x..` or `-0x..`, which takes a time in its length and not in the square of it.

use std::fmt::Write;

/// From this many bytes on a number is written in hexadecimal; about 9,900 decimal digits.
const LONG: usize = 4096;
/// The most decimal digits that fit into 64 bits.
const DIGITS: u64 = 10_000_000_000_000_000_000;

/// An integer in big-endian two's complement.
pub(super) fn decimal(bytes: &[u8]) -> String {
    let is_negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let magnitude = if is_negative {
        negated(bytes)
    } else {
        bytes.to_owned()
    };
    let mut text = String::new();
    if is_negative {
        text.push('-');
    }
    if bytes.len() > LONG {
        text.push_str("0x");
        for byte in magnitude {
            // Writing to a text does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        return text;
    }
    let mut parts = Vec::new();
    let mut words: Vec<u32> = magnitude
        .rchunks(4)
        .rev()
        .map(|chunk| chunk.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
        .collect();
    while words.iter().any(|word| *word != 0) {
        parts.push(divide(&mut words));
    }
    let _ = write!(text, "{}", parts.pop().unwrap_or(0));
    for part in parts.iter().rev() {
        let _ = write!(text, "{part:019}");
    }
    text
}

/// Divides a number, its highest word first, by [`DIGITS`]; what is left over.
fn divide(words: &mut Vec<u32>) -> u64 {
    let mut rest: u128 = 0;
    for word in words.iter_mut() {
        let whole = rest << 32 | u128::from(*word);
        *word = (whole / u128::from(DIGITS)) as u32;
        rest = whole % u128::from(DIGITS);
    }
    let zeros = words.iter().take_while(|word| **word == 0).count();
    words.drain(..zeros);
    rest as u64
}

fn negated(bytes: &[u8]) -> Vec<u8> {
    let mut negated: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
    for byte in negated.iter_mut().rev() {
        let (sum, carries) = byte.overflowing_add(1);
        *byte = sum;
        if !carries {
            return negated;
        }
    }
    // Only zero carries out of its first byte, and it is no negative number.
    negated
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn large_powers_and_long_numbers_have_their_forms() {
        let googol = "1".to_owned() + &"0".repeat(100);
        // 10 to the 100th.
        let bytes = [
            0x12, 0x49, 0xad, 0x25, 0x94, 0xc3, 0x7c, 0xeb, 0x0b, 0x27, 0x84, 0xc4, 0xce, 0x0b, 0xf3, 0x8a,
            0xce, 0x40, 0x8e, 0x21, 0x1a, 0x7c, 0xaa, 0xb2, 0x43, 0x08, 0xa8, 0x2e, 0x8f, 0x10, 0x00, 0x00,
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        ];
        assert_eq!(decimal(&bytes), googol);
        assert_eq!(decimal(&[]), "0");
        let long = [&[0xff][..], &[0; LONG]].concat();
        assert_eq!(decimal(&long), "-0x01".to_owned() + &"00".repeat(LONG));
    }

    proptest! {
        #[test]
        fn a_number_of_128_bits_reads_as_rust_writes_it(number: i128) {
            prop_assert_eq!(decimal(&number.to_be_bytes()), number.to_string());
        }
    }
}
