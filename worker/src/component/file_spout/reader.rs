//! Lines of a file, with the offset of each.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::ComponentError;

/// Bytes that are read at once.
const READ: usize = 256 << 10;
/// The longest line, in bytes: the largest value.
const MAX_LINE: usize = 16 << 20;

/// Reads a file line by line from an offset.
#[derive(Debug)]
pub(super) struct LineReader {
    path: PathBuf,
    file: Arc<File>,
    buffer: Vec<u8>,
    /// Where the next line starts in `buffer`.
    next: usize,
    /// The offset of the next line in the file.
    offset: u64,
}

/// One line, without its line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Where it starts in the file.
    pub(super) offset: u64,
    pub(super) bytes: &'a [u8],
    /// Whether a line end follows. Without one the file ends here, for now.
    pub(super) is_complete: bool,
}

/// Opens a file for reading.
pub(super) fn open(path: &Path) -> Result<Arc<File>, ComponentError> {
    File::open(path)
        .map(Arc::new)
        .map_err(|error| ComponentError::outside(format!("open '{}'", path.display()), error))
}

impl LineReader {
    /// Reads the lines from `offset` on, where a line must start.
    pub(super) fn at(path: &Path, file: Arc<File>, offset: u64) -> Self {
        Self {
            path: path.to_owned(),
            file,
            buffer: Vec::new(),
            next: 0,
            offset,
        }
    }

    /// Reads the lines that start at `offset` or behind it.
    pub(super) fn from(path: &Path, file: Arc<File>, offset: u64) -> Result<Self, ComponentError> {
        let Some(before) = offset.checked_sub(1) else {
            return Ok(Self::at(path, file, 0));
        };
        let mut reader = Self::at(path, file, before);
        // What is before the first line end belongs to the line before.
        if !reader.next_line()?.is_none_or(|line| line.is_complete) {
            reader.skip_rest();
        }
        Ok(reader)
    }

    /// The offset of the next line.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next line, or `None` at the end of the file. An incomplete line is read again at the next call.
    pub(super) fn next_line(&mut self) -> Result<Option<Line<'_>>, ComponentError> {
        let mut searched = 0;
        let (length, is_complete) = loop {
            let rest = &self.buffer[self.next..];
            if let Some(found) = memchr::memchr(b'\n', &rest[searched..]) {
                break (searched + found, true);
            }
            searched = rest.len();
            if searched > MAX_LINE {
                return Err(ComponentError::Tuple(format!(
                    "'{}' has a line longer than 16 MiB at byte {}; a value cannot be larger, so split the file otherwise",
                    self.path.display(),
                    self.offset
                )));
            }
            if self.fill()? == 0 {
                break (searched, false);
            }
        };
        if length == 0 && !is_complete {
            return Ok(None);
        }
        let (start, offset) = (self.next, self.offset);
        if is_complete {
            self.next += length + 1;
            self.offset += length as u64 + 1;
        }
        let bytes = &self.buffer[start..start + length];
        let bytes = if is_complete {
            bytes.strip_suffix(b"\r").unwrap_or(bytes)
        } else {
            bytes
        };
        Ok(Some(Line {
            offset,
            bytes,
            is_complete,
        }))
    }

    /// Passes over an incomplete line: the file will not grow.
    pub(super) fn skip_rest(&mut self) {
        self.offset += (self.buffer.len() - self.next) as u64;
        self.next = self.buffer.len();
    }

    /// Reads more behind what is in the buffer. How many bytes came.
    fn fill(&mut self) -> Result<usize, ComponentError> {
        self.buffer.drain(..self.next);
        self.next = 0;
        let held = self.buffer.len();
        self.buffer.resize(held + READ, 0);
        let read = self
            .file
            .read_at(&mut self.buffer[held..], self.offset + held as u64);
        let count =
            read.map_err(|error| ComponentError::outside(format!("read '{}'", self.path.display()), error));
        self.buffer
            .truncate(held + count.as_ref().map_or(0, |count| *count));
        count
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn lines_from(content: &[u8], offset: u64, end: u64) -> Vec<(u64, Vec<u8>)> {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(content).expect("it can be written");
        let mut reader =
            LineReader::from(file.path(), open(file.path()).expect("it exists"), offset).expect("it reads");
        let mut lines = Vec::new();
        while reader.offset() < end
            && let Some(line) = reader.next_line().expect("it reads")
        {
            lines.push((line.offset, line.bytes.to_vec()));
            if !line.is_complete {
                break;
            }
        }
        lines
    }

    proptest! {
        #[test]
        fn ranges_have_each_line_once(content in "[ab\\n]{0,60}", cut in 1u64..20) {
            let content = content.into_bytes();
            let length = content.len() as u64;
            let whole = lines_from(&content, 0, length);
            let mut parts = Vec::new();
            let mut start = 0;
            while start < length {
                parts.extend(lines_from(&content, start, (start + cut).min(length)));
                start += cut;
            }
            prop_assert_eq!(&parts, &whole);
            let expected: Vec<_> = String::from_utf8(content).expect("ascii").lines().map(str::to_owned).collect();
            let found: Vec<_> = whole.into_iter().map(|line| String::from_utf8(line.1).expect("ascii")).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
