//! `split`: one tuple per word of a text field, cut at Unicode white space.

use serde_json::Value;
use waterspout_core::component::split::SplitConfig;

use super::{Bolt, ComponentError, Context, Emit, FieldIndex, Tuple, registry};

/// The bolt.
#[derive(Debug)]
pub struct Split {
    component: String,
    name: String,
    field: FieldIndex,
}

impl Split {
    /// Makes the bolt.
    ///
    /// # Errors
    /// If the settings are none, or an input has no such field.
    pub fn new(config: &Value, context: &Context) -> Result<Self, ComponentError> {
        let config: SplitConfig = registry::parse(config, context)?;
        let field = context.field(&config.field)?;
        Ok(Self {
            component: context.component.clone(),
            name: config.field,
            field,
        })
    }
}

impl Bolt for Split {
    #[inline]
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        let Some(text) = tuple.row.text(self.field.of(tuple.stream)) else {
            return Err(super::not_text(&self.component, &self.name));
        };
        let mut rest = text;
        while let Some((word, behind)) = next_word(rest) {
            out.emit(0, |row| {
                row.text(word);
            })?;
            rest = behind;
        }
        Ok(())
    }
}

/// The first word and what is behind it.
#[inline]
fn next_word(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let start = bytes.iter().position(|&byte| byte > b' ' || !is_space(byte))?;
    let end = start + word_length(&bytes[start..]);
    match bytes.get(end) {
        None => Some((&text[start..], "")),
        // Not ASCII: white space may take several bytes.
        Some(0x80..) => next_word_of_any(text),
        Some(_) => Some((&text[start..end], &text[end + 1..])),
    }
}

/// How many bytes from the start are neither ASCII white space nor beyond ASCII.
#[inline]
fn word_length(bytes: &[u8]) -> usize {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const BELOW_SPACE: u64 = 0x2121_2121_2121_2121;
    let mut length = 0;
    while let Some(eight) = bytes[length..].first_chunk::<8>() {
        let eight = u64::from_le_bytes(*eight);
        // The high bit of each byte that is beyond ASCII or at most a space; bits above the lowest one may be wrong.
        let found = (eight.wrapping_sub(BELOW_SPACE) | eight) & HIGH;
        if found == 0 {
            length += 8;
            continue;
        }
        length += (found.trailing_zeros() / 8) as usize;
        if bytes[length] >= 0x80 || is_space(bytes[length]) {
            return length;
        }
        length += 1;
    }
    let rest = &bytes[length..];
    length
        + rest
            .iter()
            .position(|&byte| byte >= 0x80 || is_space(byte))
            .unwrap_or(rest.len())
}

/// The white space of ASCII, as `char::is_whitespace` has it.
#[inline]
fn is_space(byte: u8) -> bool {
    byte == b' ' || (9..=13).contains(&byte)
}

fn next_word_of_any(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    if text.is_empty() {
        return None;
    }
    Some(text.split_once(char::is_whitespace).unwrap_or((text, "")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let mut words = Vec::new();
        let mut rest = text;
        while let Some((word, behind)) = next_word(rest) {
            words.push(word);
            rest = behind;
        }
        words
    }

    proptest! {
        #[test]
        fn words_are_those_of_unicode(text in "[ \\t\\n\\u{85}\\u{a0}\\u{2003}\\u{3000}a-cäßλ漢]{0,40}") {
            prop_assert_eq!(words(&text), text.split_whitespace().collect::<Vec<_>>());
        }

        #[test]
        fn words_of_any_text_are_those_of_unicode(text in "\\PC{0,40}") {
            prop_assert_eq!(words(&text), text.split_whitespace().collect::<Vec<_>>());
        }
    }
}
