//! Which value a plain scalar is, as kubectl reads it.
//!
//! Owns: YAML 1.1's words for booleans and null, and its numbers, in the form that kubectl takes before it sends JSON.
//! Leaves to others: quoted scalars, which are always text. Invariant: what is no other value is text.

use serde_json::{Number, Value};

/// The largest whole number that a float holds exactly along with all smaller ones.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The value of a plain scalar.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return None;
    }
    let plain = text.replace('_', "");
    whole(&plain).or_else(|| fraction(&plain))
}

/// A whole number: decimal, `0x`, `0o`, `0b`, or octal after a 0.
fn whole(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0o" | "0O") => (8, &digits[2..]),
        Some("0b" | "0B") => (2, &digits[2..]),
        Some(_) if digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let size = u64::from_str_radix(digits, radix).ok()?;
    if !negative {
        return Some(size.into());
    }
    0i64.checked_sub_unsigned(size).map(Number::from)
}

/// A decimal fraction. One that is a whole number is one: JSON does not tell them apart.
fn fraction(text: &str) -> Option<Number> {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let decimal = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    if !body.bytes().all(decimal)
        || !body.bytes().any(|byte| byte.is_ascii_digit())
        || body.starts_with(['e', 'E'])
    {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    if value.fract() == 0.0 && value.abs() < EXACT {
        // Exact: the value is whole and small enough.
        #[allow(clippy::cast_possible_truncation)]
        return Some((value as i64).into());
    }
    Number::from_f64(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_are_read_as_kubectl_reads_them() {
        // Seen with kubectl 1.32, `kubectl label --local -o json`.
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("y", json!(true)),
            ("tRue", json!("tRue")),
            ("12", json!(12)),
            ("-7", json!(-7)),
            ("+7", json!(7)),
            ("1_000", json!(1000)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("017", json!(15)),
            ("0b101", json!(5)),
            ("0", json!(0)),
            ("-0", json!(0)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1e3", json!(1000)),
            ("2.0", json!(2)),
            ("18446744073709551615", json!(u64::MAX)),
            ("99999999999999999999", json!(1e20)),
            ("30s", json!("30s")),
            ("1.2.3", json!("1.2.3")),
            ("-", json!("-")),
            (".", json!(".")),
            ("--1", json!("--1")),
            ("089", json!(89)),
            ("inf", json!("inf")),
            ("1e999", json!("1e999")),
            ("word", json!("word")),
        ] {
            assert_eq!(resolve(text), value, "{text}");
        }
    }
}
