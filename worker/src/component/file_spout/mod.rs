//! `file` as a spout: the lines of files. Re-readable: a position is a file and an offset in it.
//!
//! Owns: which lines a task reads (`bounded`, `follow`), replays, the check for UTF-8. Leaves to others: reading
//! lines (`reader`). No line is kept in memory: one that failed is read again where it was.

mod bounded;
mod follow;
mod reader;

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use waterspout_core::component::file::{FileSpoutConfig, InvalidUtf8};
use waterspout_core::position::Window;

use super::{ComponentError, Context, EmitRoot, Polled, Spout, registry};
use bounded::Bounded;
use follow::Follow;
use reader::LineReader;

/// Most lines of one poll.
const BATCH: usize = 128;
/// Most messages between the oldest in flight and the newest.
const MAX_SPAN: usize = 1 << 20;

/// The spout.
#[derive(Debug)]
pub struct FileSpout {
    source: Source,
    invalid_utf8: InvalidUtf8,
    window: Window<Place>,
    again: VecDeque<u64>,
    /// Where the last replay was read: the next one is often the line behind it.
    replayed: Option<(u32, LineReader)>,
}

/// Where a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Which range, or which file.
    part: u32,
    offset: u64,
}

#[derive(Debug)]
enum Source {
    Bounded(Bounded),
    Follow(Follow),
}

/// What reading a line came to.
enum Next {
    Line,
    /// Nothing now.
    Nothing,
    /// Nothing ever.
    End,
}

impl FileSpout {
    /// Makes the spout.
    ///
    /// # Errors
    /// If the settings are none, or no file can be read.
    pub fn new(config: &Value, context: &Context) -> Result<Self, ComponentError> {
        let config: FileSpoutConfig = registry::parse(config, context)?;
        let (index, tasks) = (context.index as usize, context.tasks as usize);
        let source = if config.follow {
            Source::Follow(Follow::new(&context.base, &config.path, index, tasks)?)
        } else {
            Source::Bounded(Bounded::new(
                &find_some(&context.base, &config.path)?,
                index,
                tasks,
            )?)
        };
        Ok(Self {
            source,
            invalid_utf8: config.invalid_utf8,
            window: Window::starting_at(0),
            again: VecDeque::new(),
            replayed: None,
        })
    }

    fn emit_again(&mut self, message: u64, out: &mut impl EmitRoot) -> Result<(), ComponentError> {
        let Some(&place) = self.window.get(message) else {
            return Ok(());
        };
        let (path, file) = match &self.source {
            Source::Bounded(bounded) => bounded.file(place.part)?,
            Source::Follow(follow) => follow.file(place.part)?,
        };
        let known = self
            .replayed
            .take()
            .filter(|(part, reader)| *part == place.part && reader.offset() == place.offset);
        let mut reader = known.map_or_else(|| LineReader::at(&path, file, place.offset), |known| known.1);
        match reader.next_line()? {
            Some(line) => emit(out, message, line.bytes, self.invalid_utf8, &path, place.offset)?,
            None => {
                tracing::warn!(path = %path.display(), offset = place.offset, "a line to be emitted again is gone");
                self.window.finish(message);
            }
        }
        self.replayed = Some((place.part, reader));
        Ok(())
    }
}

fn emit(
    out: &mut impl EmitRoot,
    message: u64,
    line: &[u8],
    invalid: InvalidUtf8,
    path: &Path,
    offset: u64,
) -> Result<(), ComponentError> {
    match std::str::from_utf8(line) {
        Ok(text) => out.emit_root(0, message, |row| {
            row.text(text);
        }),
        Err(_) if invalid == InvalidUtf8::Replace => {
            let text = String::from_utf8_lossy(line);
            out.emit_root(0, message, |row| {
                row.text(&text);
            })
        }
        Err(error) => Err(ComponentError::Tuple(format!(
            "'{}' is not UTF-8 at byte {}; convert it, or set 'invalidUtf8: Replace'",
            path.display(),
            offset + error.valid_up_to() as u64
        ))),
    }
}

impl Spout for FileSpout {
    fn poll(&mut self, out: &mut impl EmitRoot) -> Result<Polled, ComponentError> {
        let mut room = out.room().min(BATCH);
        while room > 0
            && out.room() > 0
            && let Some(message) = self.again.pop_front()
        {
            self.emit_again(message, out)?;
            room -= 1;
        }
        if self.window.span() >= MAX_SPAN {
            return Ok(Polled::Idle(Duration::from_millis(1)));
        }
        for _ in 0..room {
            // A few long lines are as many as there is room for.
            if out.room() == 0 {
                break;
            }
            let (window, invalid) = (&mut self.window, self.invalid_utf8);
            let take = |place: Place, line: &[u8], path: &Path| {
                emit(out, window.push(place), line, invalid, path, place.offset)
            };
            let next = match &mut self.source {
                Source::Bounded(bounded) => bounded.next(take)?,
                Source::Follow(follow) => follow.next(take)?,
            };
            match next {
                Next::Line => {}
                Next::Nothing => return Ok(Polled::Idle(follow::LOOK_EVERY)),
                Next::End if self.again.is_empty() => return Ok(Polled::Done),
                Next::End => return Ok(Polled::More),
            }
        }
        Ok(Polled::More)
    }

    fn ack(&mut self, message: u64) {
        self.window.finish(message);
    }

    fn fail(&mut self, message: u64) {
        if self.window.get(message).is_some() {
            self.again.push_back(message);
        }
    }

    fn position(&self) -> Option<Value> {
        Some(match &self.source {
            Source::Bounded(bounded) => bounded.position(self.window.oldest()),
            Source::Follow(follow) => follow.position(self.window.iter()),
        })
    }

    fn resume(&mut self, position: Value) -> Result<(), ComponentError> {
        match &mut self.source {
            Source::Bounded(bounded) => bounded.resume(position),
            Source::Follow(follow) => follow.resume(position),
        }
    }

    fn resume_part(&mut self, positions: &[Option<Value>]) -> Result<(), ComponentError> {
        match &mut self.source {
            Source::Bounded(bounded) => bounded.resume_part(positions),
            Source::Follow(follow) => positions
                .iter()
                .flatten()
                .try_for_each(|position| follow.resume(position.clone())),
        }
    }
}

/// The files that a pattern names, sorted.
fn find(base: &Path, pattern: &str) -> Result<Vec<PathBuf>, ComponentError> {
    let full = base.join(pattern);
    if full.is_dir() {
        return Err(ComponentError::Settings(format!(
            "'{pattern}' is a directory (looked in '{}'); name files in it, such as '{}/*'",
            base.display(),
            pattern.trim_end_matches('/')
        )));
    }
    let found = glob::glob(&full.to_string_lossy())
        .map_err(|error| ComponentError::Settings(format!("'{pattern}' is no pattern: {error}")))?;
    let mut files = Vec::new();
    for path in found {
        let path = path.map_err(|error| ComponentError::outside(format!("look for '{pattern}'"), error))?;
        if !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The files that a pattern names; at least one.
fn find_some(base: &Path, pattern: &str) -> Result<Vec<PathBuf>, ComponentError> {
    let files = find(base, pattern)?;
    if files.is_empty() {
        let problem = format!(
            "no file matches '{pattern}' (looked in '{}'); mend 'path'",
            base.display()
        );
        return Err(ComponentError::Settings(problem));
    }
    Ok(files)
}

type OpenFile = (PathBuf, Arc<File>);

#[cfg(test)]
mod tests;
