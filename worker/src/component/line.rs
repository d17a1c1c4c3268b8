//! Rows as lines of text, for the sinks that people and programs read.
//!
//! Text: the values with a tab between them. A tab, line feed, carriage return or backslash inside a text is written
//! as `\t`, `\n`, `\r` or `\\`; null is empty; bytes are hexadecimal; big integers are decimal; lists and maps are JSON.
//! JSON: an object with the stream's field names as keys. What JSON lacks becomes a text: bytes in hexadecimal, NaN and
//! infinities as `"NaN"`, `"Infinity"`, `"-Infinity"`, big integers in decimal, and a timestamp as its microseconds since
//! 1970 (a number).

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;
use waterspout_core::component::stdout::LineFormat;
use waterspout_core::value::{Row, Value, ValueRef};

use super::decimal::decimal;

/// Appends a row and a line feed.
pub fn append_line(line: &mut Vec<u8>, format: LineFormat, fields: &[String], row: Row<'_>) {
    match format {
        LineFormat::Text => append_text(line, row),
        LineFormat::Json => append_json(line, fields, row),
    }
    line.push(b'\n');
}

fn append_text(line: &mut Vec<u8>, row: Row<'_>) {
    for (index, value) in row.iter().enumerate() {
        if index > 0 {
            line.push(b'\t');
        }
        match value {
            ValueRef::Null => {}
            ValueRef::Text(text) => append_escaped(line, text),
            ValueRef::Int(value) => line.extend_from_slice(value.to_string().as_bytes()),
            ValueRef::Bool(value) => line.extend_from_slice(value.to_string().as_bytes()),
            ValueRef::Float(value) => line.extend_from_slice(value.to_string().as_bytes()),
            ValueRef::Timestamp(micros) => line.extend_from_slice(micros.to_string().as_bytes()),
            ValueRef::Bytes(bytes) => line.extend_from_slice(hexadecimal(bytes).as_bytes()),
            ValueRef::BigInt(bytes) => line.extend_from_slice(decimal(bytes).as_bytes()),
            ValueRef::List(_) | ValueRef::Map(_) => {
                line.extend_from_slice(to_json(&value.to_value()).to_string().as_bytes());
            }
        }
    }
}

fn append_escaped(line: &mut Vec<u8>, text: &str) {
    if !text
        .bytes()
        .any(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b'\\'))
    {
        line.extend_from_slice(text.as_bytes());
        return;
    }
    for byte in text.bytes() {
        match byte {
            b'\t' => line.extend_from_slice(b"\\t"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\\' => line.extend_from_slice(b"\\\\"),
            other => line.push(other),
        }
    }
}

fn append_json(line: &mut Vec<u8>, fields: &[String], row: Row<'_>) {
    line.push(b'{');
    for (index, (field, value)) in fields.iter().zip(row.iter()).enumerate() {
        if index > 0 {
            line.push(b',');
        }
        line.extend_from_slice(json!(field).to_string().as_bytes());
        line.push(b':');
        line.extend_from_slice(to_json(&value.to_value()).to_string().as_bytes());
    }
    line.push(b'}');
}

fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) | Value::Timestamp(value) => json!(value),
        Value::Float(value) if value.is_finite() => json!(value),
        Value::Float(value) if value.is_nan() => json!("NaN"),
        Value::Float(value) => json!(if *value > 0.0 { "Infinity" } else { "-Infinity" }),
        Value::Text(text) => json!(text),
        Value::Bytes(bytes) => json!(hexadecimal(bytes)),
        Value::BigInt(bytes) => json!(decimal(bytes)),
        Value::List(values) => values.iter().map(to_json).collect(),
        Value::Map(entries) => {
            let entries: BTreeMap<_, _> = entries.iter().map(|(key, value)| (key, to_json(value))).collect();
            json!(entries)
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: LineFormat, values: &[Value]) -> String {
        let fields: Vec<_> = (0..values.len()).map(|index| format!("f{index}")).collect();
        let row: Vec<u8> = values.iter().flat_map(Value::encode).collect();
        let mut line = Vec::new();
        append_line(&mut line, format, &fields, Row::new(&row));
        String::from_utf8(line).expect("lines are UTF-8")
    }

    #[test]
    fn a_line_of_text_has_one_tab_between_values_and_one_line_feed() {
        let values = [
            Value::from("a\tb\\\n"),
            Value::Int(-3),
            Value::Null,
            Value::Float(0.5),
            Value::Bytes(vec![0, 255]),
            Value::BigInt(vec![1, 0, 0, 0, 0, 0, 0, 0, 0]),
        ];
        assert_eq!(
            line(LineFormat::Text, &values),
            "a\\tb\\\\\\n\t-3\t\t0.5\t00ff\t18446744073709551616\n"
        );
    }

    #[test]
    fn a_line_of_json_is_an_object_with_the_fields_names() {
        let values = [
            Value::from("ä\"\n"),
            Value::Float(f64::NAN),
            Value::List(vec![Value::Int(1), Value::Bool(true)]),
        ];
        assert_eq!(
            line(LineFormat::Json, &values),
            "{\"f0\":\"ä\\\"\\n\",\"f1\":\"NaN\",\"f2\":[1,true]}\n"
        );
    }
}
