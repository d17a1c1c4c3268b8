//! The lines of files as they are at the start, shared out to tasks by file and range.
//!
//! Files are cut into ranges, and the ranges dealt to the tasks in turn. A range has the lines that *start* in it. Task,
//! range and line are the same in each life, so a position is a range and an offset.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::reader::{LineReader, open};
use super::{ComponentError, Next, OpenFile, Place};

/// How long a range is, in bytes.
const RANGE: u64 = 4 << 20;

#[derive(Debug)]
struct Range {
    path: PathBuf,
    start: u64,
    end: u64,
}

/// What is left to read.
#[derive(Debug)]
pub(super) struct Bounded {
    ranges: Vec<Range>,
    /// The range at hand.
    part: usize,
    reader: Option<LineReader>,
    /// Where to start in the range at hand, if not at its start.
    from: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    path: PathBuf,
    start: u64,
    offset: u64,
}

impl Bounded {
    pub(super) fn new(files: &[PathBuf], index: usize, tasks: usize) -> Result<Self, ComponentError> {
        Self::with_range(files, index, tasks, RANGE)
    }

    pub(super) fn with_range(
        files: &[PathBuf],
        index: usize,
        tasks: usize,
        range: u64,
    ) -> Result<Self, ComponentError> {
        let mut ranges = Vec::new();
        for path in files {
            // Opened now, so that what cannot be read is known before the first tuple.
            let length = open(path)?
                .metadata()
                .map_err(|error| ComponentError::outside(format!("look at '{}'", path.display()), error))?
                .len();
            let mut start = 0;
            while start < length {
                let end = (start + range).min(length);
                ranges.push(Range {
                    path: path.clone(),
                    start,
                    end,
                });
                start = end;
            }
        }
        let ranges = ranges.into_iter().skip(index).step_by(tasks.max(1)).collect();
        Ok(Self {
            ranges,
            part: 0,
            reader: None,
            from: None,
        })
    }

    /// Hands the next line to `take`.
    pub(super) fn next(
        &mut self,
        take: impl FnOnce(Place, &[u8], &Path) -> Result<(), ComponentError>,
    ) -> Result<Next, ComponentError> {
        loop {
            let Some(range) = self.ranges.get(self.part) else {
                return Ok(Next::End);
            };
            if self.reader.is_none() {
                let file = open(&range.path)?;
                self.reader = Some(match self.from.take() {
                    Some(offset) => LineReader::at(&range.path, file, offset),
                    None => LineReader::from(&range.path, file, range.start)?,
                });
            }
            let part = self.part as u32;
            if let Some(reader) = &mut self.reader
                && reader.offset() < range.end
                && let Some(line) = reader.next_line()?
            {
                let place = Place {
                    part,
                    offset: line.offset,
                };
                take(place, line.bytes, &range.path)?;
                if !line.is_complete {
                    reader.skip_rest();
                }
                return Ok(Next::Line);
            }
            self.part += 1;
            self.reader = None;
        }
    }

    pub(super) fn file(&self, part: u32) -> Result<OpenFile, ComponentError> {
        let path = &self.ranges[part as usize].path;
        Ok((path.clone(), open(path)?))
    }

    /// Where the next life goes on.
    pub(super) fn position(&self, oldest: Option<&Place>) -> Value {
        let place = oldest.copied().or_else(|| {
            let offset = self.reader.as_ref().map(LineReader::offset).or(self.from)?;
            Some(Place {
                part: self.part as u32,
                offset,
            })
        });
        let Some(place) = place else {
            // Between two ranges, or at the end.
            return match self.ranges.get(self.part) {
                Some(range) => json!({"path": range.path, "start": range.start}),
                None => json!({"done": true}),
            };
        };
        let range = &self.ranges[place.part as usize];
        json!(Position {
            path: range.path.clone(),
            start: range.start,
            offset: place.offset
        })
    }

    pub(super) fn resume(&mut self, position: Value) -> Result<(), ComponentError> {
        if position.get("done").is_some() {
            self.part = self.ranges.len();
            return Ok(());
        }
        let offset = position.get("offset").and_then(Value::as_u64);
        let path = position.get("path").and_then(Value::as_str).map(Path::new);
        let start = position.get("start").and_then(Value::as_u64);
        let known = self
            .ranges
            .iter()
            .position(|range| Some(range.path.as_path()) == path && Some(range.start) == start);
        self.part = known.ok_or_else(|| {
            ComponentError::Settings(format!(
                "the position {position} is in none of the files; were they moved?"
            ))
        })?;
        self.from = offset;
        Ok(())
    }
}
