//! Reads values from a row that was checked when its bytes came in.
//!
//! Invariant: a [`Row`] over bytes that did not pass [`super::check_row`] and were not written by
//! [`super::RowWriter`] may panic or give wrong values, so frames from outside are checked first.

use std::fmt;

use super::{LONG, Value, tag};

/// One tuple's fields, encoded one behind the other.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    bytes: &'a [u8],
}

/// A value that borrows from its row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A 64-bit float.
    Float(f64),
    /// UTF-8 text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// The encodings of the list's values, one behind the other.
    List(Row<'a>),
    /// The encoded entries of a map; [`map_entries`] reads them.
    Map(&'a [u8]),
    /// An integer beyond 64 bits: big-endian two's complement.
    BigInt(&'a [u8]),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
}

impl<'a> Row<'a> {
    /// A row over bytes that are known to be well formed.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// All fields, encoded.
    #[inline]
    pub fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The encoding of field `index`, or `None` beyond the last field.
    #[inline(always)]
    pub fn raw(self, index: usize) -> Option<&'a [u8]> {
        let rest = self.from(index)?;
        Some(&rest[..encoded_length(rest)])
    }

    /// Field `index` and what is behind it.
    #[inline(always)]
    fn from(self, index: usize) -> Option<&'a [u8]> {
        let mut rest = self.bytes;
        for _ in 0..index {
            if rest.is_empty() {
                return None;
            }
            rest = &rest[encoded_length(rest)..];
        }
        (!rest.is_empty()).then_some(rest)
    }

    /// The value of field `index`, or `None` beyond the last field.
    #[inline]
    pub fn get(self, index: usize) -> Option<ValueRef<'a>> {
        self.raw(index).map(decode)
    }

    /// The text of field `index`, or `None` if it is missing or no text.
    #[inline]
    pub fn text(self, index: usize) -> Option<&'a str> {
        let (&tag, sized) = self.from(index)?.split_first()?;
        if tag != tag::TEXT {
            return None;
        }
        let (length, skip) = length(sized);
        Some(text(&sized[skip..skip + length]))
    }

    /// The integer of field `index`, or `None` if it is missing or no integer.
    #[inline]
    pub fn int(self, index: usize) -> Option<i64> {
        let (&tag, payload) = self.from(index)?.split_first()?;
        (tag == tag::INT).then(|| i64::from_le_bytes(eight(payload)))
    }

    /// All fields in order.
    pub fn iter(self) -> impl Iterator<Item = ValueRef<'a>> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (field, behind) = rest.split_at(encoded_length(rest));
            rest = behind;
            Some(decode(field))
        })
    }
}

impl PartialEq for Row<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl ValueRef<'_> {
    /// An owned copy.
    pub fn to_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value),
            Self::Float(value) => Value::Float(value),
            Self::Text(value) => Value::Text(value.to_owned()),
            Self::Bytes(value) => Value::Bytes(value.to_owned()),
            Self::List(row) => Value::List(row.iter().map(ValueRef::to_value).collect()),
            Self::Map(content) => {
                let entries = map_entries(content);
                Value::Map(
                    entries
                        .map(|(key, value)| (key.to_owned(), value.to_value()))
                        .collect(),
                )
            }
            Self::BigInt(bytes) => Value::BigInt(bytes.to_owned()),
            Self::Timestamp(micros) => Value::Timestamp(micros),
        }
    }
}

/// The entries of a [`ValueRef::Map`], sorted by key.
pub fn map_entries(mut content: &[u8]) -> impl Iterator<Item = (&str, ValueRef<'_>)> {
    std::iter::from_fn(move || {
        if content.is_empty() {
            return None;
        }
        let (length, skip) = length(content);
        let key = text(&content[skip..skip + length]);
        let rest = &content[skip + length..];
        let (value, behind) = rest.split_at(encoded_length(rest));
        content = behind;
        Some((key, decode(value)))
    })
}

/// The length that is written at the start of `bytes`, and how many bytes it takes.
#[inline]
pub(super) fn length(bytes: &[u8]) -> (usize, usize) {
    if bytes[0] == LONG {
        (
            u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize,
            5,
        )
    } else {
        (usize::from(bytes[0]), 1)
    }
}

/// The length of the value at the start of `bytes`, its tag included.
#[inline]
fn encoded_length(bytes: &[u8]) -> usize {
    match bytes[0] {
        tag::NULL | tag::FALSE | tag::TRUE => 1,
        tag::INT | tag::FLOAT | tag::TIME => 9,
        _ => {
            let (length, skip) = length(&bytes[1..]);
            1 + skip + length
        }
    }
}

#[inline]
fn eight(payload: &[u8]) -> [u8; 8] {
    [
        payload[0], payload[1], payload[2], payload[3], payload[4], payload[5], payload[6], payload[7],
    ]
}

/// Text that was checked when it came in.
#[inline]
#[allow(
    unsafe_code,
    reason = "checking at every read costs a fifth of word count's throughput"
)]
fn text(bytes: &[u8]) -> &str {
    debug_assert!(std::str::from_utf8(bytes).is_ok());
    // SAFETY: rows are written from `&str` by `RowWriter::text`, or were checked by `check_row` on the way in.
    unsafe { std::str::from_utf8_unchecked(bytes) }
}

#[inline]
fn decode(field: &[u8]) -> ValueRef<'_> {
    let payload = &field[1..];
    match field[0] {
        tag::FALSE => ValueRef::Bool(false),
        tag::TRUE => ValueRef::Bool(true),
        tag::INT => ValueRef::Int(i64::from_le_bytes(eight(payload))),
        tag::FLOAT => ValueRef::Float(f64::from_le_bytes(eight(payload))),
        tag::TIME => ValueRef::Timestamp(i64::from_le_bytes(eight(payload))),
        tag::NULL => ValueRef::Null,
        sized => {
            let (_, skip) = length(payload);
            let payload = &payload[skip..];
            match sized {
                tag::TEXT => ValueRef::Text(text(payload)),
                tag::BYTES => ValueRef::Bytes(payload),
                tag::LIST => ValueRef::List(Row::new(payload)),
                tag::MAP => ValueRef::Map(payload),
                _ => ValueRef::BigInt(payload),
            }
        }
    }
}
