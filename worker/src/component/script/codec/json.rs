//! JSON, with the forms that the values without a form in JSON have.
//!
//! Owns: its reader, which takes `NaN` and `Infinity` as well, which Python writes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use waterspout_core::value::{MAX_VALUE_BYTES, Row, RowWriter, ValueRef};

use super::number::{self, MAX_DIGITS};
use super::{
    Fault, Items, KEY, MAX_DEPTH, NOT_UNICODE, NUMBER, Read, TAGGED, TOO_DEEP, TOO_LARGE, check_size,
};

/// Reads JSON.
#[derive(Debug, Clone)]
pub(in super::super) struct JsonReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> JsonReader<'a> {
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    #[inline]
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Fault> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(self.unexpected(expected))
        }
    }

    fn unexpected(&self, expected: &'static str) -> Fault {
        if self.at >= self.bytes.len() {
            Fault::Truncated
        } else {
            Fault::Unexpected {
                expected,
                at: self.at,
            }
        }
    }

    fn word(&mut self, word: &str) -> bool {
        self.peek();
        let found = self.bytes[self.at..].starts_with(word.as_bytes());
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// The digits of a number, and whether it is a whole one.
    #[inline]
    fn digits(&mut self) -> Result<(&'a str, bool), Fault> {
        self.peek();
        let rest = &self.bytes[self.at..];
        let mut is_whole = true;
        let length = rest
            .iter()
            .position(|byte| {
                is_whole &= !matches!(byte, b'.' | b'e' | b'E');
                !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
            })
            .unwrap_or(rest.len());
        if length == 0 {
            return Err(self.unexpected("value"));
        }
        // These bytes are ASCII.
        let digits = std::str::from_utf8(&rest[..length]).map_err(|_| NOT_UNICODE)?;
        let is_whole = !digits.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) || is_whole;
        self.at += length;
        Ok((digits, is_whole))
    }

    /// A text as it stands, up to the quote that ends it; whether it has escapes.
    fn raw_text(&mut self) -> Result<(&'a [u8], bool), Fault> {
        self.expect(b'"', "text")?;
        let start = self.at;
        let mut has_escapes = false;
        loop {
            let rest = &self.bytes[self.at..];
            let next = memchr::memchr2(b'"', b'\\', rest).ok_or(Fault::Truncated)?;
            self.at += next + 1;
            if rest[next] == b'"' {
                return Ok((&self.bytes[start..self.at - 1], has_escapes));
            }
            has_escapes = true;
            self.at += 1;
            if self.at > self.bytes.len() {
                return Err(Fault::Truncated);
            }
        }
    }

    /// A map; a plain one is taken as it stands, whatever its keys are.
    fn map(&mut self, row: &mut RowWriter<'_>, depth: u32, is_plain: bool) -> Result<(), Fault> {
        if depth >= MAX_DEPTH {
            return Err(TOO_DEEP);
        }
        self.expect(b'{', "map")?;
        let mut map = BTreeMap::new();
        let mut size = 0;
        let mut items = Items::default();
        while self.next_of(&mut items, b'}')? {
            if self.peek() != Some(b'"') {
                return Err(if self.at < self.bytes.len() {
                    KEY
                } else {
                    Fault::Truncated
                });
            }
            let key = self.text()?.into_owned();
            self.expect(b':', "colon")?;
            if key == "$map" && !is_plain {
                if !map.is_empty() || self.peek() != Some(b'{') {
                    return Err(TAGGED);
                }
                self.map(row, depth + 1, true)?;
                return if self.eat(b'}') { Ok(()) } else { Err(TAGGED) };
            }
            let mut encoded = Vec::new();
            self.field(&mut RowWriter::new(&mut encoded), depth + 1)?;
            size += key.len() + encoded.len() + 1;
            check_size(size)?;
            map.insert(key, encoded);
        }
        match map.first_key_value() {
            Some((key, encoded)) if !is_plain && map.len() == 1 && key.starts_with('$') => {
                let value = Row::new(encoded).get(0).ok_or(TAGGED)?;
                tagged(key, value, row)
            }
            _ => {
                row.map(&map);
                Ok(())
            }
        }
    }

    #[inline]
    fn next_of(&mut self, items: &mut Items, end: u8) -> Result<bool, Fault> {
        if items.is_done || self.eat(end) {
            items.is_done = true;
            return Ok(false);
        }
        if !std::mem::take(&mut items.is_first) {
            self.expect(b',', "comma")?;
        }
        Ok(true)
    }
}

/// A value that has no form of its own in JSON.
fn tagged(key: &str, value: ValueRef<'_>, row: &mut RowWriter<'_>) -> Result<(), Fault> {
    match (key, value) {
        ("$bytes", ValueRef::Text(text)) => row.bytes(&STANDARD.decode(text).map_err(|_| TAGGED)?),
        ("$time", ValueRef::Int(micros)) => row.timestamp(micros),
        ("$int", ValueRef::Text(text)) => {
            let bytes = number::from_hex(text).or_else(|| number::from_decimal(text));
            row.big_int(&bytes.ok_or(TAGGED)?)
        }
        ("$float", ValueRef::Text("NaN")) => row.float(f64::NAN),
        ("$float", ValueRef::Text("Infinity")) => row.float(f64::INFINITY),
        ("$float", ValueRef::Text("-Infinity")) => row.float(f64::NEG_INFINITY),
        ("$float", ValueRef::Text(digits)) => row.float(digits.parse().map_err(|_| TAGGED)?),
        _ => return Err(TAGGED),
    };
    Ok(())
}

/// A text without its escapes.
fn unescape(raw: &[u8]) -> Result<String, Fault> {
    let raw = std::str::from_utf8(raw).map_err(|_| NOT_UNICODE)?;
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(next) = rest.find('\\') {
        text.push_str(&rest[..next]);
        let escape = rest.as_bytes().get(next + 1).copied();
        rest = rest.get(next + 2..).ok_or(NOT_UNICODE)?;
        text.push(match escape {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'u') => {
                let unit = unit(&mut rest)?;
                match unit {
                    0xd800..=0xdbff => {
                        let low = rest.strip_prefix("\\u").ok_or(NOT_UNICODE)?;
                        rest = low;
                        let low = self::unit(&mut rest)?;
                        if !(0xdc00..=0xdfff).contains(&low) {
                            return Err(NOT_UNICODE);
                        }
                        char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
                            .ok_or(NOT_UNICODE)?
                    }
                    _ => char::from_u32(unit).ok_or(NOT_UNICODE)?,
                }
            }
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            _ => return Err(NOT_UNICODE),
        });
    }
    text.push_str(rest);
    Ok(text)
}

/// The four hexadecimal digits that `rest` begins with.
fn unit(rest: &mut &str) -> Result<u32, Fault> {
    let digits = rest.get(..4).ok_or(NOT_UNICODE)?;
    *rest = &rest[4..];
    u32::from_str_radix(digits, 16).map_err(|_| NOT_UNICODE)
}

impl<'a> Read<'a> for JsonReader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn array(&mut self) -> Result<Items, Fault> {
        self.expect(b'[', "array")?;
        Ok(Items::default())
    }

    #[inline]
    fn next(&mut self, items: &mut Items) -> Result<bool, Fault> {
        self.next_of(items, b']')
    }

    fn is_array(&self) -> bool {
        self.clone().peek() == Some(b'[')
    }

    fn null(&mut self) -> bool {
        self.word("null")
    }

    fn bool(&mut self) -> Result<bool, Fault> {
        if self.word("true") {
            Ok(true)
        } else if self.word("false") {
            Ok(false)
        } else {
            Err(self.unexpected("boolean"))
        }
    }

    #[inline]
    fn int(&mut self) -> Result<i64, Fault> {
        let at = self.at;
        let (digits, is_whole) = self.digits()?;
        let value = digits.parse().ok().filter(|_| is_whole);
        value.ok_or(Fault::Unexpected {
            expected: "integer",
            at,
        })
    }

    fn text(&mut self) -> Result<Cow<'a, str>, Fault> {
        let (raw, has_escapes) = self.raw_text()?;
        let text = if has_escapes {
            Cow::Owned(unescape(raw)?)
        } else {
            Cow::Borrowed(std::str::from_utf8(raw).map_err(|_| NOT_UNICODE)?)
        };
        check_size(text.len() + 6)?;
        Ok(text)
    }

    #[inline]
    fn field(&mut self, row: &mut RowWriter<'_>, depth: u32) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => {
                row.text(&self.text()?);
            }
            Some(b'{') => return self.map(row, depth, false),
            Some(b'[') => {
                if depth >= MAX_DEPTH {
                    return Err(TOO_DEEP);
                }
                let mut items = self.array()?;
                row.list(|list| {
                    while self.next(&mut items)? {
                        self.field(list, depth + 1)?;
                        if list.bytes_so_far() > MAX_VALUE_BYTES {
                            return Err(TOO_LARGE);
                        }
                    }
                    Ok(())
                })?;
            }
            Some(b'n') if self.word("null") => {
                row.null();
            }
            Some(b't' | b'f') => {
                row.bool(self.bool()?);
            }
            Some(b'N') if self.word("NaN") => {
                row.float(f64::NAN);
            }
            Some(b'I') if self.word("Infinity") => {
                row.float(f64::INFINITY);
            }
            Some(b'-') if self.word("-Infinity") => {
                row.float(f64::NEG_INFINITY);
            }
            Some(_) => {
                let at = self.at;
                let (digits, is_whole) = self.digits()?;
                let expected = Fault::Unexpected {
                    expected: "number",
                    at,
                };
                if !is_whole {
                    row.float(digits.parse().map_err(|_| expected)?);
                } else if let Ok(value) = digits.parse() {
                    row.int(value);
                } else if digits.len() > MAX_DIGITS {
                    return Err(NUMBER);
                } else {
                    row.big_int(&number::from_decimal(digits).ok_or(expected)?);
                }
            }
            None => return Err(Fault::Truncated),
        }
        Ok(())
    }

    fn skip(&mut self) -> Result<(), Fault> {
        let mut depth = 0u64;
        loop {
            match self.peek().ok_or(Fault::Truncated)? {
                b'"' => {
                    self.raw_text()?;
                }
                b'[' | b'{' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b']' | b'}' => {
                    depth = depth.checked_sub(1).ok_or(self.unexpected("value"))?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                byte => {
                    let start = self.at;
                    let is_word =
                        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
                    self.at += self.bytes[start..]
                        .iter()
                        .take_while(|byte| is_word(byte))
                        .count();
                    if !is_word(&byte) {
                        return Err(self.unexpected("value"));
                    }
                }
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn is_at_end(&mut self) -> bool {
        self.peek().is_none()
    }
}
