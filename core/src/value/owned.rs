//! An owned value, for configuration, tests and code that is not on the hot path.

use std::collections::BTreeMap;

use super::write;

/// A value of a tuple's field, owned.
#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A 64-bit integer. `1` and `1.0` differ.
    Int(i64),
    /// A 64-bit float. NaN equals NaN, and -0.0 equals 0.0.
    Float(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Values in order.
    List(Vec<Value>),
    /// Values by text key.
    Map(BTreeMap<String, Value>),
    /// An integer of any size: big-endian two's complement. One that fits into 64 bits equals that [`Value::Int`].
    BigInt(Vec<u8>),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
}

impl Value {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut data = Vec::new();
        write::append(&mut data, self);
        data
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.encode() == other.encode()
    }
}

impl Eq for Value {}

impl std::hash::Hash for Value {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.encode().hash(state);
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
