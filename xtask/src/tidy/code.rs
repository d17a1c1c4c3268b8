//! Rust sources as far as the rules look at them: without comments and literals, and with their tests marked.
//!
//! This is no parser. It knows comments, literals, attributes and braces, which is enough to tell code from text and
//! product code from tests in sources that compile.

use std::ops::Range;

/// A source, prepared.
#[derive(Debug)]
pub(super) struct Code {
    /// The source with blanks in place of comments and literals; offsets and lines are those of the source.
    pub(super) text: String,
    /// Where the items under `#[cfg(test)]` are.
    tests: Vec<Range<usize>>,
    /// Modules declared under `#[cfg(test)]` that lie in files of their own.
    pub(super) test_modules: Vec<String>,
}

impl Code {
    /// Prepares a source.
    pub(super) fn new(source: &str) -> Self {
        let text = blank_text(source);
        let mut tests = Vec::new();
        let mut test_modules = Vec::new();
        let mut from = 0;
        while let Some(found) = text[from..].find("#[cfg(") {
            let start = from + found;
            let attribute = start..end_of_group(&text, start + 1);
            from = attribute.end;
            if !is_test(&text[attribute.clone()]) {
                continue;
            }
            let item = skip_attributes(&text, attribute.end);
            let end = end_of_item(&text, item);
            let declared = text[item..end]
                .strip_suffix(';')
                .and_then(|item| item.split_once("mod "));
            if let Some((_, name)) = declared {
                test_modules.push(name.trim().to_owned());
            }
            tests.push(start..end);
            from = end;
        }
        Self {
            text,
            tests,
            test_modules,
        }
    }

    /// Whether an offset lies in tests.
    pub(super) fn is_test(&self, offset: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&offset))
    }

    /// How many lines are not tests.
    pub(super) fn product_lines(&self) -> usize {
        let lines = |text: &str| text.lines().count();
        let tests: usize = self
            .tests
            .iter()
            .map(|range| lines(&self.text[range.clone()]))
            .sum();
        lines(&self.text) - tests
    }
}

/// Whether an attribute `[cfg(..)]` holds in tests only.
fn is_test(attribute: &str) -> bool {
    let words = attribute.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.clone().any(|word| word == "test") && !words.clone().any(|word| word == "not" || word == "any")
}

/// Skips blanks and attributes.
fn skip_attributes(text: &str, mut at: usize) -> usize {
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if !text[at..].starts_with("#[") {
            return at;
        }
        at = end_of_group(text, at + 1);
    }
}

/// The end of the item at `at`: its `;`, or the brace that closes it.
fn end_of_item(text: &str, at: usize) -> usize {
    match text[at..].find(['{', ';']) {
        Some(found) if text[at + found..].starts_with('{') => end_of_group(text, at + found),
        Some(found) => at + found + 1,
        None => text.len(),
    }
}

/// The end of the group whose opening bracket or brace is at `at`.
fn end_of_group(text: &str, at: usize) -> usize {
    let mut depth = 0;
    for (offset, byte) in text.bytes().enumerate().skip(at) {
        match byte {
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return offset + 1;
        }
    }
    text.len()
}

/// The source with blanks in place of comments and literals.
fn blank_text(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    while text.len() < source.len() {
        let rest = &source[text.len()..];
        let follows_word = text.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        match literal_or_comment(rest, follows_word) {
            // A blank for each byte, so that offsets stay.
            Some(length) => {
                let blank = |byte| if byte == b'\n' { '\n' } else { ' ' };
                text.extend(rest[..length].bytes().map(blank));
            }
            None => text.extend(rest.chars().next()),
        }
    }
    text
}

/// The length of the comment or literal that `rest` starts with.
fn literal_or_comment(rest: &str, follows_word: bool) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    if rest.starts_with('"') {
        return Some(quoted(rest, '"'));
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    if follows_word {
        return None;
    }
    ["r", "br", "cr"].iter().find_map(|prefix| {
        let after = rest.strip_prefix(prefix)?;
        let hashes = after.len() - after.trim_start_matches('#').len();
        let content = after[hashes..].strip_prefix('"')?;
        let closing = format!("\"{}", "#".repeat(hashes));
        let length = content
            .find(&closing)
            .map_or(content.len(), |at| at + closing.len());
        Some(rest.len() - content.len() + length)
    })
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest.as_bytes()[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.as_bytes()[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
        } else {
            at += 1;
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// A literal up to its closing quote, which a backslash before it would make a character.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (offset, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return offset + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next()?.1, chars.next()?) {
        ('\\', _) => Some(quoted(rest, '\'')),
        (_, (offset, '\'')) => Some(offset + 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_the_rest_stays() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ */ d", "a                 d"),
            (r#"a("b // c") d"#, "a(        ) d"),
            (r#"a("b\"c") d"#, "a(      ) d"),
            ("a(r#\"b\"c\"#) d", "a(        ) d"),
            ("a(br\"\\\") d", "a(     ) d"),
            ("for\"b\" c", "for    c"),
            ("r#type", "r#type"),
            ("a('\"', '\\'', 'b') d", "a(   ,     ,    ) d"),
            ("<'a>(b: &'a str)", "<'a>(b: &'a str)"),
            ("a(\"\u{e4}\") b", "a(    ) b"),
            ("\"a\nb\"", "  \n  "),
        ];
        for (source, expected) in cases {
            let blanked = blank_text(source);
            assert_eq!(blanked, expected, "{source}");
            assert_eq!(blanked.len(), source.len(), "{source}");
        }
    }

    #[test]
    fn items_under_cfg_test_are_tests() {
        let cases: [(&str, usize, &[&str]); 7] = [
            ("fn a() {}\n", 1, &[]),
            (
                "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() { {} }\n}\n",
                1,
                &[],
            ),
            ("#[cfg(test)]\n#[allow(x)]\nfn b() {\n}\nfn a() {}\n", 1, &[]),
            ("fn a() {}\n#[cfg(test)]\nmod check;\nfn c() {}\n", 2, &["check"]),
            ("#[cfg(all(test, unix))]\npub(crate) mod check;\n", 0, &["check"]),
            ("#[cfg(not(test))]\nfn a() {\n}\n", 3, &[]),
            ("// #[cfg(test)]\nfn a() {}\n", 2, &[]),
        ];
        for (source, lines, modules) in cases {
            let code = Code::new(source);
            assert_eq!(code.product_lines(), lines, "{source}");
            assert_eq!(code.test_modules, modules, "{source}");
        }
    }
}
