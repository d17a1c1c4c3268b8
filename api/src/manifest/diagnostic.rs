//! What is wrong with a manifest, and where.
//!
//! Owns: the diagnostic and how it is shown. Leaves to others: finding faults. Invariants: lines and columns count
//! from 1, columns in characters; what is shown of the manifest has no control characters and is at most
//! [`SHOWN`] characters wide, so that a caret stands under what it is about.

use std::fmt;

/// How much of a long line is shown.
const SHOWN: usize = 120;

/// A range of characters on one line of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    /// The line, from 1.
    pub(crate) line: usize,
    /// The first character, from 1.
    pub(crate) column: usize,
    /// How many characters; 0 counts as 1.
    pub(crate) length: usize,
}

/// The text that diagnostics point into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) name: &'a str,
    lines: &'a [&'a str],
}

impl<'a> Source<'a> {
    pub(crate) fn new(name: &'a str, lines: &'a [&'a str]) -> Self {
        Self { name, lines }
    }

    /// The lines of a text. YAML ends a line at a carriage return, too.
    pub(crate) fn lines(text: &'a str) -> Vec<&'a str> {
        let unix = text
            .split('\n')
            .map(|line| line.strip_suffix('\r').unwrap_or(line));
        unix.flat_map(|line| line.split('\r')).collect()
    }

    pub(crate) fn line(&self, line: usize) -> &'a str {
        self.lines.get(line.wrapping_sub(1)).copied().unwrap_or("")
    }

    /// How many characters from `column` on stand on the line, without trailing white space.
    pub(crate) fn rest_of_line(&self, line: usize, column: usize) -> usize {
        self.line(line)
            .trim_end()
            .chars()
            .count()
            .saturating_sub(column.saturating_sub(1))
    }

    pub(crate) fn diagnostic(
        &self,
        span: Span,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Diagnostic {
        Diagnostic {
            file: self.name.to_owned(),
            line: span.line.max(1),
            column: span.column.max(1),
            length: span.length.max(1),
            source_line: self.line(span.line.max(1)).to_owned(),
            message: message.into(),
            help,
        }
    }
}

/// One fault of a manifest. `Display` shows it as compilers do, without a line end at the end:
///
/// ```text
/// error: unknown field `filed`
///  --> wordcount.yaml:14:13
///    |
/// 14 |     split: {filed: line}
///    |             ^^^^^
///    = help: did you mean `field`?
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The manifest's name as it was given.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// How many characters it is about, at least 1.
    pub length: usize,
    /// The whole line.
    pub source_line: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
}

impl std::error::Error for Diagnostic {}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let (shown, indent) = self.shown_line();
        let room = shown.chars().count().saturating_sub(indent).max(1);
        writeln!(formatter, "error: {}", printable(&self.message))?;
        writeln!(
            formatter,
            "{margin}--> {}:{}:{}",
            printable(&self.file),
            self.line,
            self.column
        )?;
        writeln!(formatter, "{margin} |")?;
        writeln!(formatter, "{}", format!("{number} | {shown}").trim_end())?;
        write!(
            formatter,
            "{margin} | {}{}",
            " ".repeat(indent),
            "^".repeat(self.length.min(room))
        )?;
        if let Some(help) = &self.help {
            write!(formatter, "\n{margin} = help: {}", printable(help))?;
        }
        Ok(())
    }
}

impl Diagnostic {
    /// The part of the line that is shown, and how many of its characters stand before the place.
    fn shown_line(&self) -> (String, usize) {
        let characters: Vec<char> = printable(&self.source_line).chars().collect();
        let column = self.column.saturating_sub(1).min(characters.len());
        if characters.len() <= SHOWN {
            return (characters.into_iter().collect(), column);
        }
        let start = column.saturating_sub(SHOWN / 2).min(characters.len() - SHOWN);
        (characters[start..start + SHOWN].iter().collect(), column - start)
    }
}

/// Control characters as one other character each: a terminal must not obey a manifest.
fn printable(text: &str) -> String {
    let plain = |character: char| match character {
        '\t' => ' ',
        control if control.is_control() || bidirectional(control) => '\u{fffd}',
        other => other,
    };
    text.chars().map(plain).collect()
}

/// Characters that reorder the text around them.
fn bidirectional(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: &str, column: usize, length: usize) -> Diagnostic {
        Source::new("a.yaml", &[line]).diagnostic(
            Span {
                line: 1,
                column,
                length,
            },
            "wrong",
            None,
        )
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        let shown = at("name: x", 7, 1).to_string();
        assert_eq!(
            shown,
            "error: wrong\n --> a.yaml:1:7\n  |\n1 | name: x\n  |       ^"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let line = format!("{}here{}", "a".repeat(1000), "b".repeat(1000));
        let shown = at(&line, 1001, 4).to_string();
        let lines: Vec<&str> = shown.lines().collect();
        let caret = lines[4].find('^').expect("there is a caret");
        assert_eq!(&lines[3][caret..caret + 4], "here");
        assert!(lines[3].len() < 130);
    }

    #[test]
    fn control_characters_are_not_shown() {
        assert!(!at("\u{1b}[31mred", 1, 1).to_string().contains('\u{1b}'));
    }

    #[test]
    fn a_place_beyond_the_line_still_has_a_caret() {
        assert!(at("ab", 90, 50).to_string().ends_with("  |   ^"));
    }
}
