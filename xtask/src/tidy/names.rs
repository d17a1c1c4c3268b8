//! The paths that a source names, with `use` trees written out.
//!
//! `use std::{env, time::Instant}` names `std::env` and `std::time::Instant`; `env::var(..)` names `env::var`.

/// A path that is named somewhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// Its segments, joined by `::`.
    pub(super) path: String,
    /// Where its last segment starts.
    pub(super) offset: usize,
    /// Whether it is called, as a function or as a macro, or stands alone in an attribute.
    pub(super) role: Role,
}

/// How a path is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It is followed by `(`.
    Call,
    /// It is followed by `!`.
    Macro,
    /// It is the attribute, or one that `cfg_attr` sets.
    Attribute,
    /// It is a method or a field of something.
    Member,
    /// It is defined here.
    Definition,
    /// Anything else.
    Other,
}

impl Name {
    /// Whether the path is `prefix` or begins with it.
    pub(super) fn starts_with(&self, prefix: &str) -> bool {
        let rest = self.path.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }

    /// Whether one of the segments is this one.
    pub(super) fn has(&self, segment: &str) -> bool {
        self.path.split("::").any(|each| each == segment)
    }

    /// The last segment.
    pub(super) fn last(&self) -> &str {
        self.path.rsplit("::").next().unwrap_or(&self.path)
    }
}

/// All paths of a source without comments and literals.
pub(super) fn names(code: &str) -> Vec<Name> {
    let tokens = tokens(code);
    let mut names = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let before = at.checked_sub(1).map_or("", |before| tokens[before].text);
        // `use<..>` in a type says what it captures.
        if tokens[at].text == "use" && text(&tokens, at + 1) != "<" && before != "." {
            at = use_tree(&tokens, at + 1, "", &mut names);
        } else if tokens[at].is_word() {
            at = path(&tokens, at, &mut names);
        } else {
            at += 1;
        }
    }
    names
}

#[derive(Debug, Clone, Copy)]
struct Token<'c> {
    text: &'c str,
    offset: usize,
}

impl Token<'_> {
    fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// Words, `::`, `..` and single characters.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut offset = 0;
    while let Some(first) = code[offset..].chars().next() {
        let rest = &code[offset..];
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") || rest.starts_with("..") {
            2
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            let text = &rest[..length];
            tokens.push(Token { text, offset });
        }
        offset += length;
    }
    tokens
}

fn text<'c>(tokens: &[Token<'c>], at: usize) -> &'c str {
    tokens.get(at).map_or("", |token| token.text)
}

/// Reads a path outside of `use`; returns where it ends.
fn path(tokens: &[Token<'_>], start: usize, names: &mut Vec<Name>) -> usize {
    let mut path = tokens[start].text.to_owned();
    let mut last = start;
    while text(tokens, last + 1) == "::" && tokens.get(last + 2).is_some_and(Token::is_word) {
        last += 2;
        path.push_str("::");
        path.push_str(tokens[last].text);
    }
    let before = |back: usize| start.checked_sub(back).map_or("", |at| text(tokens, at));
    let role = match (before(2), before(1), text(tokens, last + 1)) {
        (_, ".", _) => Role::Member,
        (_, "fn" | "mod" | "struct" | "enum" | "trait" | "let" | "const" | "static", _) => Role::Definition,
        ("#", "[", _) => Role::Attribute,
        (_, ",", ")" | "," | "=") if in_cfg_attr(tokens, start) => Role::Attribute,
        (_, _, "(") => Role::Call,
        (_, _, "!") if text(tokens, last + 2) != "=" => Role::Macro,
        _ => Role::Other,
    };
    let offset = tokens[last].offset;
    names.push(Name { path, offset, role });
    last + 1
}

/// Whether the attribute that the token lies in is a `cfg_attr`.
fn in_cfg_attr(tokens: &[Token<'_>], at: usize) -> bool {
    let opening = tokens[..at].iter().rposition(|token| token.text == "#");
    opening.is_some_and(|opening| {
        let closed = tokens[opening..at].iter().any(|token| token.text == "]");
        !closed && text(tokens, opening + 2) == "cfg_attr"
    })
}

/// Reads what follows `use` or a brace in it, up to `;`, `,` or the closing brace; returns where it ends.
fn use_tree(tokens: &[Token<'_>], start: usize, prefix: &str, names: &mut Vec<Name>) -> usize {
    let mut path = prefix.to_owned();
    let mut at = start;
    while at < tokens.len() {
        match tokens[at].text {
            ";" | "," | "}" => break,
            "{" => {
                at = use_tree(tokens, at + 1, &path, names);
                while text(tokens, at) == "," {
                    at = use_tree(tokens, at + 1, &path, names);
                }
                return at + 1;
            }
            // Another name for it.
            "as" => at += 2,
            "::" => at += 1,
            "self" if !path.is_empty() => at += 1,
            segment => {
                if !path.is_empty() {
                    path.push_str("::");
                }
                path.push_str(segment);
                at += 1;
            }
        }
    }
    // Nothing is named between a last comma and its brace.
    if at > start {
        let offset = tokens[at.min(tokens.len()) - 1].offset;
        names.push(Name {
            path,
            offset,
            role: Role::Other,
        });
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(code: &str) -> Vec<String> {
        names(code).into_iter().map(|name| name.path).collect()
    }

    #[test]
    fn use_trees_are_written_out() {
        let cases: [(&str, &[&str]); 8] = [
            ("use std::env;", &["std::env"]),
            ("use std::{env, fs};", &["std::env", "std::fs"]),
            (
                "use std::{fs::{self, File}, time::Instant as I};",
                &["std::fs", "std::fs::File", "std::time::Instant"],
            ),
            ("pub use ::tonic::*;", &["pub", "tonic::*"]),
            ("use a::{b, c,}; d::e()", &["a::b", "a::c", "d::e"]),
            ("use {a::b, c};", &["a::b", "c"]),
            ("use a::{\n  b,\n};\nc", &["a::b", "c"]),
            ("-> impl A + use<> { b; }", &["impl", "A", "use", "b"]),
        ];
        for (code, expected) in cases {
            assert_eq!(paths(code), expected, "{code}");
        }
    }

    #[test]
    fn what_is_no_rust_is_read_to_its_end_all_the_same() {
        for code in [
            "use",
            "use {",
            "use a::{b; c}",
            "use {{{,,",
            "use a as",
            "use ::",
            "a::",
            "#[",
            "use a::{b,",
        ] {
            assert!(names(code).len() <= 4, "{code}");
        }
    }

    #[test]
    fn a_path_has_a_role() {
        let cases = [
            ("std::thread::sleep(a)", "std::thread::sleep", Role::Call),
            ("sleep(a)", "sleep", Role::Call),
            ("clock.sleep(a)", "sleep", Role::Member),
            ("fn sleep(a)", "sleep", Role::Definition),
            ("todo!()", "todo", Role::Macro),
            ("todo != b", "todo", Role::Other),
            ("#[ignore]", "ignore", Role::Attribute),
            ("#[ignore = 1]", "ignore", Role::Attribute),
            ("#[cfg_attr(unix, ignore)]", "ignore", Role::Attribute),
            ("f(a, ignore)", "ignore", Role::Other),
            ("0..sleep(a)", "sleep", Role::Call),
        ];
        for (code, path, role) in cases {
            let found = names(code).into_iter().find(|name| name.path == path);
            assert_eq!(found.map(|name| name.role), Some(role), "{code}");
        }
    }

    #[test]
    fn segments_are_compared_whole() {
        let name = &names("std::environment::Instantly")[0];
        assert!(!name.starts_with("std::env") && !name.has("Instant"));
        assert!(name.starts_with("std::environment") && name.last() == "Instantly");
    }
}
