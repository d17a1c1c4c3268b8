//! The lines of files that grow, without an end.
//!
//! Files are shared out to tasks by their names' hash, so that a new file changes nothing for the others. Only complete
//! lines are emitted. A file that was replaced (another inode) is read on as a new one, and the old one is kept open
//! until its lines are acked; one that became shorter starts anew.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use waterspout_core::hash::hash_fields;

use super::reader::{LineReader, open};
use super::{ComponentError, Next, OpenFile, Place, find, find_some};

/// How often files are looked at that had nothing new.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often new files are looked for.
const FIND_EVERY: Duration = Duration::from_secs(1);

/// A file, or one that was at the same path before.
#[derive(Debug)]
struct Tailed {
    path: PathBuf,
    inode: u64,
    /// `None` once it was replaced and all its lines are acked.
    file: Option<Arc<File>>,
    reader: Option<LineReader>,
    /// Where the next line starts.
    offset: u64,
    replaced: bool,
}

/// The files of one task.
#[derive(Debug)]
pub(super) struct Follow {
    base: PathBuf,
    pattern: String,
    index: usize,
    tasks: usize,
    files: Vec<Tailed>,
    /// The file that is read next.
    turn: usize,
    found: Instant,
    resumed: Vec<Position>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    path: PathBuf,
    inode: u64,
    offset: u64,
}

impl Follow {
    pub(super) fn new(
        base: &Path,
        pattern: &str,
        index: usize,
        tasks: usize,
    ) -> Result<Self, ComponentError> {
        find_some(base, pattern)?;
        let mut follow = Self {
            base: base.to_owned(),
            pattern: pattern.to_owned(),
            index,
            tasks,
            files: Vec::new(),
            turn: 0,
            found: Instant::now(),
            resumed: Vec::new(),
        };
        follow.look_for_files()?;
        Ok(follow)
    }

    /// Adds files that are new, or at the path of one that was replaced.
    pub(super) fn look_for_files(&mut self) -> Result<(), ComponentError> {
        self.found = Instant::now();
        for path in find(&self.base, &self.pattern)? {
            let owner = hash_fields(path.as_os_str().as_encoded_bytes(), 0) % self.tasks as u64;
            let known = self.files.iter().any(|file| file.path == path && !file.replaced);
            if owner != self.index as u64 || known {
                continue;
            }
            let file = open(&path)?;
            let inode = inode_of(&path, &file)?;
            let offset = self
                .resumed
                .iter()
                .rfind(|known| known.path == path && known.inode == inode);
            let offset = offset.map_or(0, |known| known.offset);
            self.files.push(Tailed {
                path,
                inode,
                file: Some(file),
                reader: None,
                offset,
                replaced: false,
            });
        }
        Ok(())
    }

    /// Hands the next line of any file to `take`.
    pub(super) fn next(
        &mut self,
        take: impl FnOnce(Place, &[u8], &Path) -> Result<(), ComponentError>,
    ) -> Result<Next, ComponentError> {
        if self.found.elapsed() >= FIND_EVERY {
            self.look_for_files()?;
        }
        for _ in 0..self.files.len() {
            let part = self.turn % self.files.len();
            let tailed = &mut self.files[part];
            let Some(file) = tailed.file.clone() else {
                self.turn = part + 1;
                continue;
            };
            let reader = tailed
                .reader
                .get_or_insert_with(|| LineReader::at(&tailed.path, file, tailed.offset));
            if let Some(line) = reader.next_line()?
                && line.is_complete
            {
                let place = Place {
                    part: part as u32,
                    offset: line.offset,
                };
                take(place, line.bytes, &tailed.path)?;
                tailed.offset = reader.offset();
                return Ok(Next::Line);
            }
            tailed.look()?;
            self.turn = part + 1;
        }
        Ok(Next::Nothing)
    }

    pub(super) fn file(&self, part: u32) -> Result<OpenFile, ComponentError> {
        let tailed = &self.files[part as usize];
        let file = tailed.file.clone().map_or_else(|| open(&tailed.path), Ok)?;
        Ok((tailed.path.clone(), file))
    }

    /// Where the next life goes on: in each file at the oldest line that is not acked.
    pub(super) fn position<'a>(&self, in_flight: impl Iterator<Item = &'a Place>) -> Value {
        let mut low: Vec<u64> = self.files.iter().map(|file| file.offset).collect();
        for place in in_flight {
            let low = &mut low[place.part as usize];
            *low = (*low).min(place.offset);
        }
        let files = self.files.iter().zip(low).filter(|(file, _)| !file.replaced);
        let files: Vec<_> = files
            .map(|(file, offset)| Position {
                path: file.path.clone(),
                inode: file.inode,
                offset,
            })
            .collect();
        json!({ "files": files })
    }

    pub(super) fn resume(&mut self, position: Value) -> Result<(), ComponentError> {
        #[derive(Deserialize)]
        struct Files {
            files: Vec<Position>,
        }
        let Files { files } = serde_json::from_value(position).map_err(|error| {
            ComponentError::Settings(format!("the position of a file spout does not parse: {error}"))
        })?;
        // Files of other tasks are not this one's, whatever is known of them.
        self.resumed.extend(files);
        self.files.clear();
        self.look_for_files()
    }
}

impl Tailed {
    /// Looks whether the file was replaced or became shorter, after all that is in it was read.
    fn look(&mut self) -> Result<(), ComponentError> {
        self.reader = None;
        if self.replaced {
            return Ok(());
        }
        let Some(file) = &self.file else { return Ok(()) };
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        if length < self.offset {
            tracing::warn!(path = %self.path.display(), "a file that is followed became shorter: it is read anew");
            self.offset = 0;
        }
        // A file that is gone may be about to be replaced.
        let now = std::fs::metadata(&self.path).map(|metadata| metadata.ino());
        if now.is_ok_and(|inode| inode != self.inode) {
            self.replaced = true;
        }
        Ok(())
    }
}

fn inode_of(path: &Path, file: &File) -> Result<u64, ComponentError> {
    file.metadata()
        .map(|metadata| metadata.ino())
        .map_err(|error| ComponentError::outside(format!("look at '{}'", path.display()), error))
}
