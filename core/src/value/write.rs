//! Appends values to a row of bytes, in the canonical encoding.

use std::collections::BTreeMap;

use super::{LONG, SMALL, Value, load_small, tag};

/// Writes the fields of one row, in the order of the stream's fields.
#[derive(Debug)]
pub struct RowWriter<'a> {
    data: &'a mut Vec<u8>,
    fields: u32,
}

impl<'a> RowWriter<'a> {
    /// Appends to `data`, which keeps what it holds.
    #[inline]
    pub fn new(data: &'a mut Vec<u8>) -> Self {
        Self { data, fields: 0 }
    }

    /// How many fields have been written.
    #[inline]
    pub fn fields(&self) -> u32 {
        self.fields
    }

    /// A null.
    #[inline]
    pub fn null(&mut self) -> &mut Self {
        self.data.push(tag::NULL);
        self.wrote()
    }

    /// A truth value.
    #[inline]
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.data.push(if value { tag::TRUE } else { tag::FALSE });
        self.wrote()
    }

    /// A 64-bit integer.
    #[inline]
    pub fn int(&mut self, value: i64) -> &mut Self {
        self.eight(tag::INT, value.to_le_bytes());
        self.wrote()
    }

    /// A 64-bit float.
    #[inline]
    pub fn float(&mut self, value: f64) -> &mut Self {
        self.eight(tag::FLOAT, canonical(value).to_le_bytes());
        self.wrote()
    }

    /// A text.
    #[inline]
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.sized(tag::TEXT, value.as_bytes());
        self.wrote()
    }

    /// Bytes.
    #[inline]
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.sized(tag::BYTES, value);
        self.wrote()
    }

    /// A point in time, in microseconds since 1970-01-01T00:00:00Z.
    #[inline]
    pub fn timestamp(&mut self, micros: i64) -> &mut Self {
        self.eight(tag::TIME, micros.to_le_bytes());
        self.wrote()
    }

    /// A field that is encoded already, such as one read by [`super::Row::raw`].
    #[inline]
    pub fn raw(&mut self, encoded: &[u8]) -> &mut Self {
        self.data.extend_from_slice(encoded);
        self.wrote()
    }

    /// Several fields that are encoded already, one behind the other.
    #[inline]
    pub fn encoded(&mut self, encoded: &[u8], fields: u32) -> &mut Self {
        self.data.extend_from_slice(encoded);
        self.fields += fields;
        self
    }

    /// Any value.
    pub fn value(&mut self, value: &Value) -> &mut Self {
        append(self.data, value);
        self.wrote()
    }

    /// An integer of any size: big-endian two's complement.
    pub fn big_int(&mut self, bytes: &[u8]) -> &mut Self {
        append_big(self.data, bytes);
        self.wrote()
    }

    /// A list of what `write` writes.
    ///
    /// # Errors
    /// That of `write`; nothing is written then.
    pub fn list<E>(
        &mut self,
        write: impl FnOnce(&mut RowWriter<'_>) -> Result<(), E>,
    ) -> Result<&mut Self, E> {
        let mut content = Vec::new();
        write(&mut RowWriter::new(&mut content))?;
        self.sized(tag::LIST, &content);
        Ok(self.wrote())
    }

    /// A map of values that are encoded already.
    pub fn map(&mut self, entries: &BTreeMap<String, Vec<u8>>) -> &mut Self {
        let mut content = Vec::new();
        for (key, encoded) in entries {
            append_length(&mut content, key.len());
            content.extend_from_slice(key.as_bytes());
            content.extend_from_slice(encoded);
        }
        self.sized(tag::MAP, &content);
        self.wrote()
    }

    /// How many bytes the data has by now, with what was there before.
    #[inline]
    pub fn bytes_so_far(&self) -> usize {
        self.data.len()
    }

    #[inline]
    fn wrote(&mut self) -> &mut Self {
        self.fields += 1;
        self
    }

    #[inline]
    fn eight(&mut self, tag: u8, payload: [u8; 8]) {
        let mut encoded = [tag; 9];
        encoded[1..].copy_from_slice(&payload);
        self.data.extend_from_slice(&encoded);
    }

    #[inline]
    fn sized(&mut self, tag: u8, payload: &[u8]) {
        if payload.len() <= SMALL {
            // One copy of a fixed size, cut off where the payload ends.
            let end = self.data.len() + 2 + payload.len();
            let mut encoded = [0; 2 + SMALL];
            encoded[0] = tag;
            encoded[1] = payload.len() as u8;
            encoded[2..].copy_from_slice(&load_small(payload).to_le_bytes());
            self.data.extend_from_slice(&encoded);
            self.data.truncate(end);
        } else {
            self.longer(tag, payload);
        }
    }

    #[inline(never)]
    fn longer(&mut self, tag: u8, payload: &[u8]) {
        self.data.reserve(6 + payload.len());
        self.data.push(tag);
        append_length(self.data, payload.len());
        self.data.extend_from_slice(payload);
    }
}

/// The one bit pattern that stands for a float.
fn canonical(value: f64) -> f64 {
    if value.is_nan() {
        f64::NAN
    } else if value == 0.0 {
        0.0
    } else {
        value
    }
}

#[inline]
pub(crate) fn append_length(data: &mut Vec<u8>, length: usize) {
    if length < usize::from(LONG) {
        data.push(length as u8);
    } else {
        data.push(LONG);
        data.extend_from_slice(&(length as u32).to_le_bytes());
    }
}

pub(super) fn append(data: &mut Vec<u8>, value: &Value) {
    let mut row = RowWriter::new(data);
    match value {
        Value::Null => {
            row.null();
        }
        Value::Bool(value) => {
            row.bool(*value);
        }
        Value::Int(value) => {
            row.int(*value);
        }
        Value::Float(value) => {
            row.float(*value);
        }
        Value::Text(value) => {
            row.text(value);
        }
        Value::Bytes(value) => {
            row.bytes(value);
        }
        Value::Timestamp(micros) => {
            row.timestamp(*micros);
        }
        Value::BigInt(bytes) => append_big(data, bytes),
        Value::List(values) => {
            let mut content = Vec::new();
            for value in values {
                append(&mut content, value);
            }
            row.sized(tag::LIST, &content);
        }
        Value::Map(entries) => {
            let mut content = Vec::new();
            for (key, value) in entries {
                append_length(&mut content, key.len());
                content.extend_from_slice(key.as_bytes());
                append(&mut content, value);
            }
            row.sized(tag::MAP, &content);
        }
    }
}

/// A big integer as its shortest form, or as an integer where it fits.
fn append_big(data: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = shortest(bytes);
    if bytes.len() <= 8 {
        let fill = if bytes.first().is_some_and(|first| first & 0x80 != 0) {
            0xff
        } else {
            0
        };
        let mut eight = [fill; 8];
        eight[8 - bytes.len()..].copy_from_slice(bytes);
        RowWriter::new(data).int(i64::from_be_bytes(eight));
    } else {
        RowWriter::new(data).sized(tag::BIG, bytes);
    }
}

/// Without leading bytes that only repeat the sign.
pub(super) fn shortest(mut bytes: &[u8]) -> &[u8] {
    while let [first, second, ..] = bytes {
        let repeats = (*first == 0 && second & 0x80 == 0) || (*first == 0xff && second & 0x80 != 0);
        if !repeats {
            break;
        }
        bytes = &bytes[1..];
    }
    bytes
}
