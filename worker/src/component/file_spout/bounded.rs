//! The lines of files as they are at the start, shared out to tasks by file and range.
//!
//! Files are cut into ranges, and the ranges dealt to the tasks in turn. A range has the lines that *start* in it. Task,
//! range and line are the same in each life, so a position is a range and an offset. When the number of tasks changes, the
//! ranges are dealt anew, and each task knows how far any of them was read before.

use std::collections::BTreeMap;
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
    /// The ranges of all tasks; those of this one are every so many from its own first on.
    all: Vec<Range>,
    index: usize,
    tasks: usize,
    /// How far ranges were read when there was another number of tasks: up to this offset.
    read: BTreeMap<usize, u64>,
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

/// How far ranges were read before: all before one of them, and some of the others.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    /// The path and the start of the first range that was not read to its end; none if all were.
    from: Option<(PathBuf, u64)>,
    some: Vec<Position>,
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
        Ok(Self {
            all: ranges,
            index,
            tasks: tasks.max(1),
            read: BTreeMap::new(),
            part: 0,
            reader: None,
            from: None,
        })
    }

    /// Which of all ranges one of this task's is.
    fn global(&self, part: usize) -> usize {
        self.index + part * self.tasks
    }

    fn range(&self, part: usize) -> Option<&Range> {
        self.all.get(self.global(part))
    }

    fn find(&self, path: &Path, start: u64) -> Result<usize, ComponentError> {
        let known = self
            .all
            .iter()
            .position(|range| range.path == path && range.start == start);
        known.ok_or_else(|| {
            ComponentError::Settings(format!(
                "the position at {start} in '{}' is in none of the files; were they moved?",
                path.display()
            ))
        })
    }

    /// Hands the next line to `take`.
    pub(super) fn next(
        &mut self,
        take: impl FnOnce(Place, &[u8], &Path) -> Result<(), ComponentError>,
    ) -> Result<Next, ComponentError> {
        loop {
            let Some(range) = self.all.get(self.index + self.part * self.tasks) else {
                return Ok(Next::End);
            };
            if self.reader.is_none() {
                let before = self.read.get(&(self.index + self.part * self.tasks)).copied();
                let from = self.from.take().max(before);
                if from >= Some(range.end) {
                    self.part += 1;
                    continue;
                }
                let file = open(&range.path)?;
                self.reader = Some(match from {
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
        let path = &self.all[self.global(part as usize)].path;
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
        let (part, offset) = place.map_or((self.part, None), |place| {
            (place.part as usize, Some(place.offset))
        });
        let mut position = match (self.range(part), offset) {
            (Some(range), Some(offset)) => json!(Position {
                path: range.path.clone(),
                start: range.start,
                offset,
            }),
            // Between two ranges, or at the end.
            (Some(range), None) => json!({"path": range.path, "start": range.start}),
            (None, _) => json!({"done": true}),
        };
        if !self.read.is_empty() {
            position["before"] = json!(self.before());
        }
        position
    }

    fn before(&self) -> Before {
        let is_read = |at: usize| self.read.get(&at) >= Some(&self.all[at].end);
        let from = (0..self.all.len()).find(|&at| !is_read(at));
        let some = self
            .read
            .iter()
            .filter(|(at, _)| from.is_some_and(|from| **at >= from));
        Before {
            from: from.map(|at| (self.all[at].path.clone(), self.all[at].start)),
            some: some
                .map(|(&at, &offset)| Position {
                    path: self.all[at].path.clone(),
                    start: self.all[at].start,
                    offset,
                })
                .collect(),
        }
    }

    /// Takes in that ranges were read before.
    fn take_before(&mut self, position: &Value) -> Result<(), ComponentError> {
        let Some(before) = position.get("before") else {
            return Ok(());
        };
        let before = Before::deserialize(before).map_err(|error| {
            ComponentError::Settings(format!("the position of a file spout does not parse: {error}"))
        })?;
        let from = match &before.from {
            Some((path, start)) => self.find(path, *start)?,
            None => self.all.len(),
        };
        (0..from).for_each(|at| self.was_read(at, None));
        for some in before.some {
            let at = self.find(&some.path, some.start)?;
            self.was_read(at, Some(some.offset));
        }
        Ok(())
    }

    /// A range was read up to an offset, or to its end.
    fn was_read(&mut self, at: usize, offset: Option<u64>) {
        let Some(range) = self.all.get(at) else { return };
        let offset = offset.unwrap_or(range.end);
        let known = self.read.entry(at).or_insert(0);
        *known = offset.max(*known);
    }

    /// Which range a position is in, and where there; none if all are done.
    fn place(&self, position: &Value) -> Result<Option<(usize, Option<u64>)>, ComponentError> {
        if position.get("done").is_some() {
            return Ok(None);
        }
        let offset = position.get("offset").and_then(Value::as_u64);
        let path = position.get("path").and_then(Value::as_str).map(Path::new);
        let start = position.get("start").and_then(Value::as_u64);
        let at = self.find(path.unwrap_or(Path::new("")), start.unwrap_or(0))?;
        Ok(Some((at, offset)))
    }

    pub(super) fn resume(&mut self, position: Value) -> Result<(), ComponentError> {
        self.take_before(&position)?;
        let Some((at, offset)) = self.place(&position)? else {
            self.part = self.all.len();
            return Ok(());
        };
        self.part = at / self.tasks;
        self.from = offset;
        Ok(())
    }

    pub(super) fn resume_part(&mut self, positions: &[Option<Value>]) -> Result<(), ComponentError> {
        let tasks = positions.len();
        for (index, position) in positions.iter().enumerate() {
            let Some(position) = position else { continue };
            self.take_before(position)?;
            let (until, offset) = self.place(position)?.unwrap_or((self.all.len(), None));
            (index..until)
                .step_by(tasks)
                .for_each(|at| self.was_read(at, None));
            if offset.is_some() {
                self.was_read(until, offset);
            }
        }
        Ok(())
    }
}
