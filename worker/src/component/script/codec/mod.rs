//! How messages of scripts are written and read: JSON and MessagePack, straight from rows and into rows.
//!
//! Owns: both encodings, and how each value of a tuple looks in them. Leaves to others: what a message says. Pure.
//! Invariants: no bytes make a reader panic, recurse without bound or take memory beyond a small multiple of what it
//! was given; a value that is read is in the canonical form of rows.

mod json;
mod json_write;
mod msgpack;
mod number;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use thiserror::Error;
use waterspout_core::value::{MAX_VALUE_BYTES, Row, RowWriter, Value, ValueRef};

pub(super) use json::JsonReader;
pub(super) use json_write::JsonWriter;
pub(super) use msgpack::{PackReader, PackSkip, PackWriter};

/// How deep lists and maps may be nested, within a value.
const MAX_DEPTH: u32 = waterspout_core::value::MAX_DEPTH;

/// Why bytes are not the message that was expected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Fault {
    /// The bytes end too early.
    #[error("the message ends in the middle")]
    Truncated,
    /// Something else stands there.
    #[error("byte {at} of the message is no {expected}")]
    Unexpected {
        /// What was expected.
        expected: &'static str,
        /// Where, in bytes.
        at: usize,
    },
    /// A value that no tuple can have.
    #[error("{0}")]
    Value(&'static str),
}

impl Fault {
    /// Whether the message is well formed, and only a value in it cannot be.
    pub(super) fn is_of_value(&self) -> bool {
        matches!(self, Self::Value(_))
    }
}

pub(super) const TOO_DEEP: Fault = Fault::Value("a value is nested deeper than 64 lists and maps");
pub(super) const TOO_LARGE: Fault = Fault::Value("a value is larger than 16 MiB");
pub(super) const NOT_UNICODE: Fault = Fault::Value("a text is not Unicode");
pub(super) const KEY: Fault = Fault::Value("a key of a map is no text");
pub(super) const NUMBER: Fault = Fault::Value("an integer in JSON has more than 4,300 digits");
pub(super) const EXTENSION: Fault = Fault::Value("a value is of a MessagePack extension that is not known");
pub(super) const TAGGED: Fault =
    Fault::Value("a map whose only key begins with `$` is none of the forms that values have in JSON");

/// The two encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// MessagePack.
    MessagePack,
    /// JSON.
    Json,
}

/// What is left of an array that is being read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Items {
    /// For MessagePack.
    left: u32,
    /// For JSON: nothing was read yet.
    is_first: bool,
    /// For JSON: its end was read.
    is_done: bool,
}

impl Default for Items {
    fn default() -> Self {
        Self {
            left: 0,
            is_first: true,
            is_done: false,
        }
    }
}

/// Reads one message.
pub(super) trait Read<'a>: Sized + Clone {
    /// A reader of these bytes.
    fn new(bytes: &'a [u8]) -> Self;
    /// Begins an array.
    fn array(&mut self) -> Result<Items, Fault>;
    /// Whether the array has another element, which is to be read next.
    fn next(&mut self, items: &mut Items) -> Result<bool, Fault>;
    /// Whether the next thing is an array.
    fn is_array(&self) -> bool;
    /// Reads a null, if the next thing is one.
    fn null(&mut self) -> bool;
    /// A truth value.
    fn bool(&mut self) -> Result<bool, Fault>;
    /// An integer of 64 bits.
    fn int(&mut self) -> Result<i64, Fault>;
    /// A text.
    fn text(&mut self) -> Result<Cow<'a, str>, Fault>;
    /// Any value, as a field of a row.
    fn field(&mut self, row: &mut RowWriter<'_>, depth: u32) -> Result<(), Fault>;
    /// Passes over anything.
    fn skip(&mut self) -> Result<(), Fault>;
    /// Whether all was read.
    fn is_at_end(&mut self) -> bool;

    /// Any value.
    fn value(&mut self) -> Result<Value, Fault> {
        let mut data = Vec::new();
        self.field(&mut RowWriter::new(&mut data), 0)?;
        let value = Row::new(&data).get(0).map(ValueRef::to_value);
        Ok(value.expect("a field was just written"))
    }

    /// An unsigned integer.
    fn unsigned(&mut self) -> Result<u64, Fault> {
        let expected = Fault::Value("a number is negative");
        u64::try_from(self.int()?).map_err(|_| expected)
    }

    /// The elements that are left of an array are passed over.
    fn skip_rest(&mut self, items: &mut Items) -> Result<(), Fault> {
        while self.next(items)? {
            self.skip()?;
        }
        Ok(())
    }
}

/// Writes one message.
pub(super) trait Write {
    /// A writer that appends to `out`.
    fn new(out: Vec<u8>) -> Self;
    /// Begins an array of so many elements.
    fn begin(&mut self, elements: usize);
    /// Ends an array.
    fn end(&mut self);
    /// Begins a map of so many entries.
    fn begin_map(&mut self, entries: usize);
    /// The key of the entry whose value comes next.
    fn key(&mut self, key: &str);
    /// Ends a map.
    fn end_map(&mut self);
    /// A null.
    fn null(&mut self);
    /// An integer.
    fn int(&mut self, value: i64);
    /// A text.
    fn text(&mut self, value: &str);
    /// A value.
    fn value(&mut self, value: ValueRef<'_>);
    /// What was written.
    fn done(self) -> Vec<u8>;

    /// A row as an array of so many fields.
    #[inline]
    fn row(&mut self, row: Row<'_>, fields: usize) {
        self.begin(fields);
        for value in row.iter() {
            self.value(value);
        }
        self.end();
    }
}

/// Refuses a value that is too large, by how many bytes it took.
fn check_size(bytes: usize) -> Result<(), Fault> {
    if bytes > MAX_VALUE_BYTES {
        return Err(TOO_LARGE);
    }
    Ok(())
}
