//! Values: what a tuple's field can hold, and their one encoding.
//!
//! Owns: [`Value`], its borrowed twin [`ValueRef`], the canonical encoding, and with it equality and hash. Leaves
//! to others: frames, routing, schemas.
//!
//! The encoding is canonical: **two values are equal if and only if their encodings are the same bytes**. NaN is
//! stored as one bit pattern and -0.0 as 0.0, a big integer that fits into 64 bits becomes an integer, and the keys
//! of a map are sorted. So equality, hash and grouping need the bytes only, in every language.
//!
//! ```text
//! value := tag payload
//!  0 null        -
//!  1 false       -
//!  2 true        -
//!  3 integer     8 bytes, little-endian, two's complement
//!  4 float       8 bytes, little-endian, IEEE 754
//!  5 text        length, UTF-8
//!  6 bytes       length, bytes
//!  7 list        length of the content in bytes, values
//!  8 map         length of the content in bytes, (length, UTF-8 key, value) sorted by key, no key twice
//!  9 big integer length, big-endian two's complement, no superfluous leading byte, never within 64 bits
//! 10 timestamp   8 bytes, little-endian, microseconds since 1970-01-01T00:00:00Z
//! length := u8 below 255 | 255, u32 little-endian of at least 255
//! ```

mod check;
mod owned;
mod read;
mod small;
mod write;

pub(crate) use check::check_row_of;
pub use check::{MAX_DEPTH, ValueFault, check_row};
pub use owned::Value;
pub use read::{Row, ValueRef, map_entries};
pub use small::{SMALL, append_small, load_small};
pub use write::RowWriter;

/// The largest encoding of one value, in bytes (16 MiB).
pub const MAX_VALUE_BYTES: usize = 16 << 20;

pub(crate) mod tag {
    pub(crate) const NULL: u8 = 0;
    pub(crate) const FALSE: u8 = 1;
    pub(crate) const TRUE: u8 = 2;
    pub(crate) const INT: u8 = 3;
    pub(crate) const FLOAT: u8 = 4;
    pub(crate) const TEXT: u8 = 5;
    pub(crate) const BYTES: u8 = 6;
    pub(crate) const LIST: u8 = 7;
    pub(crate) const MAP: u8 = 8;
    pub(crate) const BIG: u8 = 9;
    pub(crate) const TIME: u8 = 10;
}

/// A length below this is one byte.
pub(crate) const LONG: u8 = 255;
