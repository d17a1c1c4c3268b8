//! The positions of a worker's spouts, and the roots that processes died of, kept on its volume: small files per task.
//!
//! A task is known by its number and by the epoch since which tasks are numbered so: of another numbering nothing is read.

use crate::poison::{Cause, Tally};
use crate::volume::{Volume, VolumeError};

/// Since when tasks are numbered so, and the task's number.
pub(super) type Numbered = (u64, u32);

/// Where each spout task of this worker goes on.
#[derive(Debug, Clone)]
pub struct Positions {
    volume: Volume,
}

impl Positions {
    /// The positions on a volume.
    pub fn on(volume: &Volume) -> Self {
        Self {
            volume: volume.clone(),
        }
    }

    /// Where a task goes on, if a process before this one got anywhere.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(&self, (since, task): Numbered) -> Result<Option<serde_json::Value>, VolumeError> {
        self.volume.read(&file_of(since, task))
    }

    /// Forgets where a task was: it goes on elsewhere.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn forget(&self, (since, task): Numbered) -> Result<(), VolumeError> {
        self.volume.remove(&file_of(since, task))?;
        self.volume.remove(&tallies_of(since, task))
    }

    /// What processes before this one died of, of the roots of a task.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn tallies(&self, (since, task): Numbered) -> Result<Vec<Tally>, VolumeError> {
        Ok(self.volume.read(&tallies_of(since, task))?.unwrap_or_default())
    }

    /// Keeps what [`Positions::tallies`] gives to the next process.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_tallies(&self, (since, task): Numbered, tallies: &[Tally]) -> Result<(), VolumeError> {
        match tallies {
            [] => self.volume.remove(&tallies_of(since, task)),
            _ => self.volume.write(&tallies_of(since, task), &tallies),
        }
    }

    /// This process died of a root of a task.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn count_death(
        &self,
        (since, task): Numbered,
        key: u64,
        cause: Cause,
        is_sure: bool,
    ) -> Result<(), VolumeError> {
        let mut tallies = self.tallies((since, task))?;
        let known = tallies.iter_mut().find(|tally| tally.key == key);
        match known {
            Some(tally) => tally.count(cause, is_sure),
            None => {
                let mut tally = Tally::new(key, cause);
                tally.count(cause, is_sure);
                tallies.push(tally);
            }
        }
        self.save_tallies((since, task), &tallies)
    }

    /// Keeps where a task goes on.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, (since, task): Numbered, position: &serde_json::Value) -> Result<(), VolumeError> {
        self.volume.write(&file_of(since, task), position)
    }
}

fn tallies_of(since: u64, task: u32) -> String {
    named("deaths", since, task)
}

fn file_of(since: u64, task: u32) -> String {
    named("position", since, task)
}

fn named(what: &str, since: u64, task: u32) -> String {
    match since {
        0 => format!("{what}-{task}.json"),
        _ => format!("{what}-{since}-{task}.json"),
    }
}
