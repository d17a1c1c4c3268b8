//! MessagePack.
//!
//! Owns: its reader and writer. Big integers are extension 1, timestamps extension 2.

use std::borrow::Cow;
use std::collections::BTreeMap;

use waterspout_core::value::{Row, RowWriter, ValueRef, map_entries};

use super::number::from_unsigned;
use super::{
    EXTENSION, Fault, Items, KEY, MAX_DEPTH, NOT_UNICODE, Read, TOO_DEEP, TOO_LARGE, Write, check_size,
};

const BIG: u8 = 1;
const TIME: u8 = 2;

/// Reads MessagePack.
#[derive(Debug, Clone)]
pub(in super::super) struct PackReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What a value begins with.
enum Head<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Beyond 63 bits.
    Unsigned(u64),
    Float(f64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Extension(u8, &'a [u8]),
    Array(u32),
    Map(u32),
}

impl<'a> PackReader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(count).ok_or(Fault::Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(Fault::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    #[inline]
    fn number<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (number, _) = self.bytes[self.at..]
            .split_first_chunk::<N>()
            .ok_or(Fault::Truncated)?;
        self.at += N;
        Ok(*number)
    }

    fn length(&mut self, bytes: u8) -> Result<usize, Fault> {
        Ok(match bytes {
            1 => usize::from(self.number::<1>()?[0]),
            2 => usize::from(u16::from_be_bytes(self.number()?)),
            _ => u32::from_be_bytes(self.number()?) as usize,
        })
    }

    fn extension(&mut self, length: usize) -> Result<Head<'a>, Fault> {
        let [kind] = self.number::<1>()?;
        Ok(Head::Extension(kind, self.take(length)?))
    }

    #[inline]
    fn head(&mut self) -> Result<Head<'a>, Fault> {
        let at = self.at;
        let [tag] = self.number::<1>()?;
        Ok(match tag {
            0x00..=0x7f => Head::Int(i64::from(tag)),
            0x80..=0x8f => Head::Map(u32::from(tag & 0x0f)),
            0x90..=0x9f => Head::Array(u32::from(tag & 0x0f)),
            0xa0..=0xbf => Head::Text(self.take(usize::from(tag & 0x1f))?),
            0xc0 => Head::Null,
            0xc2 => Head::Bool(false),
            0xc3 => Head::Bool(true),
            0xc4..=0xc6 => {
                let length = self.length(1 << (tag - 0xc4))?;
                Head::Bytes(self.take(length)?)
            }
            0xc7..=0xc9 => {
                let length = self.length(1 << (tag - 0xc7))?;
                self.extension(length)?
            }
            0xca => Head::Float(f64::from(f32::from_be_bytes(self.number()?))),
            0xcb => Head::Float(f64::from_be_bytes(self.number()?)),
            0xcc => Head::Int(i64::from(self.number::<1>()?[0])),
            0xcd => Head::Int(i64::from(u16::from_be_bytes(self.number()?))),
            0xce => Head::Int(i64::from(u32::from_be_bytes(self.number()?))),
            0xcf => {
                let value = u64::from_be_bytes(self.number()?);
                i64::try_from(value).map_or(Head::Unsigned(value), Head::Int)
            }
            0xd0 => Head::Int(i64::from(i8::from_be_bytes(self.number()?))),
            0xd1 => Head::Int(i64::from(i16::from_be_bytes(self.number()?))),
            0xd2 => Head::Int(i64::from(i32::from_be_bytes(self.number()?))),
            0xd3 => Head::Int(i64::from_be_bytes(self.number()?)),
            0xd4..=0xd8 => self.extension(1 << (tag - 0xd4))?,
            0xd9..=0xdb => {
                let length = self.length(1 << (tag - 0xd9))?;
                Head::Text(self.take(length)?)
            }
            0xdc => Head::Array(u32::from(u16::from_be_bytes(self.number()?))),
            0xdd => Head::Array(u32::from_be_bytes(self.number()?)),
            0xde => Head::Map(u32::from(u16::from_be_bytes(self.number()?))),
            0xdf => Head::Map(u32::from_be_bytes(self.number()?)),
            0xc1 => {
                return Err(Fault::Unexpected {
                    expected: "MessagePack",
                    at,
                });
            }
            0xe0..=0xff => Head::Int(i64::from(tag as i8)),
        })
    }

    fn map(&mut self, entries: u32, row: &mut RowWriter<'_>, depth: u32) -> Result<(), Fault> {
        if depth >= MAX_DEPTH {
            return Err(TOO_DEEP);
        }
        let mut map = BTreeMap::new();
        let mut size = 0;
        for _ in 0..entries {
            let Head::Text(key) = self.head()? else {
                return Err(KEY);
            };
            let key = std::str::from_utf8(key).map_err(|_| NOT_UNICODE)?;
            let mut encoded = Vec::new();
            self.field(&mut RowWriter::new(&mut encoded), depth + 1)?;
            size += key.len() + encoded.len() + 1;
            check_size(size)?;
            map.insert(key.to_owned(), encoded);
        }
        row.map(&map);
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Result<&str, Fault> {
    check_size(bytes.len() + 6)?;
    std::str::from_utf8(bytes).map_err(|_| NOT_UNICODE)
}

impl<'a> Read<'a> for PackReader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[inline]
    fn array(&mut self) -> Result<Items, Fault> {
        let at = self.at;
        match self.head()? {
            Head::Array(left) => Ok(Items {
                left,
                ..Items::default()
            }),
            _ => Err(Fault::Unexpected {
                expected: "array",
                at,
            }),
        }
    }

    #[inline]
    fn next(&mut self, items: &mut Items) -> Result<bool, Fault> {
        let more = items.left > 0;
        items.left = items.left.saturating_sub(1);
        Ok(more)
    }

    fn is_array(&self) -> bool {
        matches!(self.bytes.get(self.at), Some(0x90..=0x9f | 0xdc | 0xdd))
    }

    fn null(&mut self) -> bool {
        let is_null = self.bytes.get(self.at) == Some(&0xc0);
        self.at += usize::from(is_null);
        is_null
    }

    fn bool(&mut self) -> Result<bool, Fault> {
        let at = self.at;
        match self.head()? {
            Head::Bool(value) => Ok(value),
            _ => Err(Fault::Unexpected {
                expected: "boolean",
                at,
            }),
        }
    }

    #[inline]
    fn int(&mut self) -> Result<i64, Fault> {
        let at = self.at;
        match self.head()? {
            Head::Int(value) => Ok(value),
            _ => Err(Fault::Unexpected {
                expected: "integer",
                at,
            }),
        }
    }

    fn text(&mut self) -> Result<Cow<'a, str>, Fault> {
        let at = self.at;
        match self.head()? {
            Head::Text(bytes) => Ok(Cow::Borrowed(text(bytes)?)),
            _ => Err(Fault::Unexpected { expected: "text", at }),
        }
    }

    #[inline]
    fn field(&mut self, row: &mut RowWriter<'_>, depth: u32) -> Result<(), Fault> {
        match self.head()? {
            Head::Null => row.null(),
            Head::Bool(value) => row.bool(value),
            Head::Int(value) => row.int(value),
            Head::Unsigned(value) => row.big_int(&from_unsigned(value)),
            Head::Float(value) => row.float(value),
            Head::Text(bytes) => row.text(text(bytes)?),
            Head::Bytes(bytes) => {
                check_size(bytes.len() + 6)?;
                row.bytes(bytes)
            }
            Head::Extension(BIG, bytes) => {
                check_size(bytes.len() + 6)?;
                row.big_int(bytes)
            }
            Head::Extension(TIME, bytes) => {
                let micros = <[u8; 8]>::try_from(bytes).map_err(|_| EXTENSION)?;
                row.timestamp(i64::from_be_bytes(micros))
            }
            Head::Extension(..) => return Err(EXTENSION),
            Head::Array(elements) => {
                if depth >= MAX_DEPTH {
                    return Err(TOO_DEEP);
                }
                return row
                    .list(|list| {
                        for _ in 0..elements {
                            self.field(list, depth + 1)?;
                            if list.bytes_so_far() > waterspout_core::value::MAX_VALUE_BYTES {
                                return Err(TOO_LARGE);
                            }
                        }
                        Ok(())
                    })
                    .map(drop);
            }
            Head::Map(entries) => return self.map(entries, row, depth),
        };
        Ok(())
    }

    fn skip(&mut self) -> Result<(), Fault> {
        let length = PackSkip::default().go_on(&self.bytes[self.at..])?;
        self.at += length;
        Ok(())
    }

    fn is_at_end(&mut self) -> bool {
        self.at == self.bytes.len()
    }
}

/// How far one value was passed over, whose bytes arrive in pieces.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct PackSkip {
    at: usize,
    left: u64,
}

impl Default for PackSkip {
    fn default() -> Self {
        Self { at: 0, left: 1 }
    }
}

impl PackSkip {
    /// Goes on; `bytes` begin where the value does, and have all that there was before. The length of the value.
    ///
    /// # Errors
    /// [`Fault::Truncated`] if more bytes are needed.
    pub(in super::super) fn go_on(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        while self.left > 0 {
            let mut reader = PackReader { bytes, at: self.at };
            let more = match reader.head()? {
                Head::Array(elements) => u64::from(elements),
                Head::Map(entries) => 2 * u64::from(entries),
                _ => 0,
            };
            self.left = self.left - 1 + more;
            self.at = reader.at;
        }
        Ok(self.at)
    }
}

/// Writes MessagePack.
#[derive(Debug)]
pub(in super::super) struct PackWriter {
    out: Vec<u8>,
}

impl PackWriter {
    /// A head whose length is in the tag up to `most`, or in 1, 2 or 4 bytes behind it.
    fn sized(&mut self, fix: Option<(u8, usize)>, tags: [Option<u8>; 3], length: usize) {
        match (fix, tags) {
            (Some((tag, most)), _) if length <= most => self.out.push(tag | length as u8),
            (_, [Some(tag), ..]) if length <= 0xff => self.out.extend_from_slice(&[tag, length as u8]),
            (_, [_, Some(tag), _]) if length <= 0xffff => {
                self.out.push(tag);
                self.out.extend_from_slice(&(length as u16).to_be_bytes());
            }
            (_, [.., tag]) => {
                self.out.push(tag.unwrap_or_default());
                self.out.extend_from_slice(&(length as u32).to_be_bytes());
            }
        }
    }

    fn extension(&mut self, kind: u8, bytes: &[u8]) {
        self.sized(None, [Some(0xc7), Some(0xc8), Some(0xc9)], bytes.len());
        self.out.push(kind);
        self.out.extend_from_slice(bytes);
    }

    fn list(&mut self, content: Row<'_>) {
        self.begin(content.iter().count());
        content.iter().for_each(|value| self.value(value));
    }
}

impl Write for PackWriter {
    fn new(out: Vec<u8>) -> Self {
        Self { out }
    }

    #[inline]
    fn begin(&mut self, elements: usize) {
        self.sized(Some((0x90, 15)), [None, Some(0xdc), Some(0xdd)], elements);
    }

    fn end(&mut self) {}

    fn begin_map(&mut self, entries: usize) {
        self.sized(Some((0x80, 15)), [None, Some(0xde), Some(0xdf)], entries);
    }

    fn key(&mut self, key: &str) {
        self.text(key);
    }

    fn end_map(&mut self) {}

    fn null(&mut self) {
        self.out.push(0xc0);
    }

    #[inline]
    fn int(&mut self, value: i64) {
        match value {
            0..=0x7f => self.out.push(value as u8),
            -32..=-1 => self.out.push(value as i8 as u8),
            0x80..=0xffff => {
                self.out.push(0xcd);
                self.out.extend_from_slice(&(value as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.out.push(0xce);
                self.out.extend_from_slice(&(value as u32).to_be_bytes());
            }
            _ => {
                self.out.push(0xd3);
                self.out.extend_from_slice(&value.to_be_bytes());
            }
        }
    }

    #[inline]
    fn text(&mut self, value: &str) {
        self.sized(
            Some((0xa0, 31)),
            [Some(0xd9), Some(0xda), Some(0xdb)],
            value.len(),
        );
        self.out.extend_from_slice(value.as_bytes());
    }

    #[inline]
    fn value(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.null(),
            ValueRef::Bool(value) => self.out.push(if value { 0xc3 } else { 0xc2 }),
            ValueRef::Int(value) => self.int(value),
            ValueRef::Float(value) => {
                self.out.push(0xcb);
                self.out.extend_from_slice(&value.to_be_bytes());
            }
            ValueRef::Text(value) => self.text(value),
            ValueRef::Bytes(value) => {
                self.sized(None, [Some(0xc4), Some(0xc5), Some(0xc6)], value.len());
                self.out.extend_from_slice(value);
            }
            ValueRef::List(content) => self.list(content),
            ValueRef::Map(content) => {
                self.begin_map(map_entries(content).count());
                for (key, value) in map_entries(content) {
                    self.text(key);
                    self.value(value);
                }
            }
            ValueRef::BigInt(bytes) => self.extension(BIG, bytes),
            ValueRef::Timestamp(micros) => self.extension(TIME, &micros.to_be_bytes()),
        }
    }

    fn done(self) -> Vec<u8> {
        self.out
    }
}
