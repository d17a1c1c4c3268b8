//! Writes JSON, with the forms that the values without a form in JSON have.

use std::io::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use waterspout_core::value::{ValueRef, map_entries};

use super::{Write, number};

/// Writes JSON.
#[derive(Debug)]
pub(in super::super) struct JsonWriter {
    out: Vec<u8>,
    /// Nothing stands before the next element.
    is_first: bool,
}

impl JsonWriter {
    #[inline]
    fn separate(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
    }

    fn quoted(&mut self, text: &str) {
        self.out.push(b'"');
        let mut rest = text.as_bytes();
        while let Some(next) = rest
            .iter()
            .position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\'))
        {
            self.out.extend_from_slice(&rest[..next]);
            match rest[next] {
                byte @ (b'"' | b'\\') => self.out.extend_from_slice(&[b'\\', byte]),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                // Writing to a vector never fails.
                byte => drop(write!(self.out, "\\u{byte:04x}")),
            }
            rest = &rest[next + 1..];
        }
        self.out.extend_from_slice(rest);
        self.out.push(b'"');
    }

    fn tagged(&mut self, key: &str, write: impl FnOnce(&mut Self)) {
        self.begin_map(1);
        self.key(key);
        write(self);
        self.end_map();
    }

    fn entries(&mut self, content: &[u8]) {
        self.begin_map(0);
        for (key, value) in map_entries(content) {
            self.key(key);
            self.value(value);
        }
        self.end_map();
    }
}

impl Write for JsonWriter {
    fn new(out: Vec<u8>) -> Self {
        Self { out, is_first: true }
    }

    fn begin(&mut self, _elements: usize) {
        self.separate();
        self.out.push(b'[');
        self.is_first = true;
    }

    fn end(&mut self) {
        self.out.push(b']');
        self.is_first = false;
    }

    fn begin_map(&mut self, _entries: usize) {
        self.separate();
        self.out.push(b'{');
        self.is_first = true;
    }

    fn key(&mut self, key: &str) {
        self.separate();
        self.quoted(key);
        self.out.push(b':');
        self.is_first = true;
    }

    fn end_map(&mut self) {
        self.out.push(b'}');
        self.is_first = false;
    }

    fn null(&mut self) {
        self.separate();
        self.out.extend_from_slice(b"null");
    }

    fn int(&mut self, value: i64) {
        self.separate();
        // Writing to a vector never fails.
        drop(write!(self.out, "{value}"));
    }

    fn text(&mut self, value: &str) {
        self.separate();
        self.quoted(value);
    }

    fn value(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.null(),
            ValueRef::Bool(value) => {
                self.separate();
                self.out.extend_from_slice(if value { b"true" } else { b"false" });
            }
            ValueRef::Int(value) => self.int(value),
            ValueRef::Float(value) if value.is_finite() => {
                self.separate();
                drop(write!(self.out, "{value:?}"));
            }
            ValueRef::Float(value) => {
                let name = if value.is_nan() {
                    "NaN"
                } else if value > 0.0 {
                    "Infinity"
                } else {
                    "-Infinity"
                };
                self.tagged("$float", |writer| writer.text(name));
            }
            ValueRef::Text(value) => self.text(value),
            ValueRef::Bytes(value) => self.tagged("$bytes", |writer| writer.text(&STANDARD.encode(value))),
            ValueRef::List(content) => {
                self.begin(0);
                content.iter().for_each(|value| self.value(value));
                self.end();
            }
            ValueRef::Map(content) => {
                let only = map_entries(content)
                    .take(2)
                    .map(|(key, _)| key)
                    .collect::<Vec<_>>();
                let is_tag = matches!(*only, [key] if key.starts_with('$'));
                if is_tag || map_entries(content).any(|(key, _)| key == "$map") {
                    self.tagged("$map", |writer| writer.entries(content));
                } else {
                    self.entries(content);
                }
            }
            ValueRef::BigInt(bytes) => self.tagged("$int", |writer| writer.text(&number::to_hex(bytes))),
            ValueRef::Timestamp(micros) => self.tagged("$time", |writer| writer.int(micros)),
        }
    }

    fn done(self) -> Vec<u8> {
        self.out
    }
}
