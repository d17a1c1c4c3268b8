//! Checks bytes that came from outside before anything reads them as a row.

use thiserror::Error;

use super::{LONG, MAX_VALUE_BYTES, tag, write::shortest};

/// How deep lists and maps may be nested.
pub const MAX_DEPTH: u32 = 64;

/// Why bytes are not a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ValueFault {
    /// The bytes end inside a value.
    #[error("the row ends inside a value")]
    Truncated,
    /// A tag that no version of the encoding has.
    #[error("unknown value tag {0}")]
    UnknownTag(u8),
    /// A text or a map's key is not UTF-8.
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// The same value has a shorter or another form that is the canonical one.
    #[error("a value is not in its canonical form")]
    NotCanonical,
    /// Lists and maps are nested too deep.
    #[error("lists and maps are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// The value is larger than allowed.
    #[error("a value is larger than {MAX_VALUE_BYTES} bytes")]
    TooLarge,
    /// The row has another number of fields than its stream.
    #[error("the row has {found} fields, its stream has {declared}")]
    WrongArity {
        /// Fields of the stream.
        declared: usize,
        /// Fields of the row.
        found: usize,
    },
}

/// Checks that `bytes` are exactly `fields` well-formed, canonical values.
///
/// # Errors
/// The first fault, in reading order.
#[inline]
pub fn check_row(bytes: &[u8], fields: usize) -> Result<(), ValueFault> {
    check_row_of(bytes, fields, false)
}

/// As [`check_row`]. `is_ascii` says that all bytes are known to be below 128: then every text of them is UTF-8.
///
/// # Errors
/// The first fault, in reading order.
#[inline]
pub(crate) fn check_row_of(bytes: &[u8], fields: usize, is_ascii: bool) -> Result<(), ValueFault> {
    let mut rest = bytes;
    let mut found = 0;
    while !rest.is_empty() {
        rest = match rest {
            // Most fields are short texts.
            [tag::TEXT, length, behind @ ..] if is_ascii && *length != LONG => {
                take(behind, usize::from(*length))?.1
            }
            _ => check_value(rest, 0)?,
        };
        found += 1;
    }
    if found == fields {
        Ok(())
    } else {
        Err(ValueFault::WrongArity {
            declared: fields,
            found,
        })
    }
}

/// Checks the value at the start of `bytes` and returns what is behind it.
fn check_value(bytes: &[u8], depth: u32) -> Result<&[u8], ValueFault> {
    let (&tag, rest) = bytes.split_first().ok_or(ValueFault::Truncated)?;
    match tag {
        tag::NULL | tag::FALSE | tag::TRUE => Ok(rest),
        tag::INT | tag::TIME => Ok(take(rest, 8)?.1),
        tag::FLOAT => {
            let (payload, rest) = take(rest, 8)?;
            let bits = u64::from_le_bytes(payload.try_into().map_err(|_| ValueFault::Truncated)?);
            let value = f64::from_bits(bits);
            let canonical = if value.is_nan() {
                bits == f64::NAN.to_bits()
            } else {
                value != 0.0 || bits == 0
            };
            if canonical {
                Ok(rest)
            } else {
                Err(ValueFault::NotCanonical)
            }
        }
        tag::TEXT => {
            let (payload, rest) = sized(rest)?;
            std::str::from_utf8(payload).map_err(|_| ValueFault::NotUtf8)?;
            Ok(rest)
        }
        tag::BYTES => Ok(sized(rest)?.1),
        tag::BIG => {
            let (payload, rest) = sized(rest)?;
            if payload.len() <= 8 || shortest(payload).len() != payload.len() {
                return Err(ValueFault::NotCanonical);
            }
            Ok(rest)
        }
        tag::LIST => {
            let (mut content, rest) = sized(rest)?;
            let depth = deeper(depth)?;
            while !content.is_empty() {
                content = check_value(content, depth)?;
            }
            Ok(rest)
        }
        tag::MAP => {
            let (content, rest) = sized(rest)?;
            check_map(content, deeper(depth)?)?;
            Ok(rest)
        }
        unknown => Err(ValueFault::UnknownTag(unknown)),
    }
}

fn check_map(mut content: &[u8], depth: u32) -> Result<(), ValueFault> {
    let mut last: Option<&[u8]> = None;
    while !content.is_empty() {
        let (key, behind) = sized(content)?;
        std::str::from_utf8(key).map_err(|_| ValueFault::NotUtf8)?;
        if last.is_some_and(|last| last >= key) {
            return Err(ValueFault::NotCanonical);
        }
        last = Some(key);
        content = check_value(behind, depth)?;
    }
    Ok(())
}

fn deeper(depth: u32) -> Result<u32, ValueFault> {
    if depth < MAX_DEPTH {
        Ok(depth + 1)
    } else {
        Err(ValueFault::TooDeep)
    }
}

fn take(bytes: &[u8], count: usize) -> Result<(&[u8], &[u8]), ValueFault> {
    bytes.split_at_checked(count).ok_or(ValueFault::Truncated)
}

/// A length and as many bytes, then the rest.
fn sized(bytes: &[u8]) -> Result<(&[u8], &[u8]), ValueFault> {
    let (&short, rest) = bytes.split_first().ok_or(ValueFault::Truncated)?;
    if short != LONG {
        return take(rest, usize::from(short));
    }
    let (four, rest) = take(rest, 4)?;
    let length = u32::from_le_bytes(four.try_into().map_err(|_| ValueFault::Truncated)?) as usize;
    if length < usize::from(LONG) {
        return Err(ValueFault::NotCanonical);
    }
    if length > MAX_VALUE_BYTES {
        return Err(ValueFault::TooLarge);
    }
    take(rest, length)
}
